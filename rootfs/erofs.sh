#!/bin/bash
# rootfs/erofs.sh TREE IMAGE    an uncompressed EROFS file of a directory: the same tree, the same bytes.
# All belongs to root, all times are one, nothing tells one image from another.
set -euo pipefail
export LC_ALL=C
PATH=$PATH:/usr/sbin:/sbin
uuid=d01a0000-0000-4000-8000-000000000001	# the same for every image: it identifies nothing
epoch=946728000					# every timestamp in the image: 2000-01-01 12:00; zip has none before 1980

command -v mkfs.erofs >/dev/null || { echo "mkfs.erofs is not here: apt-get install erofs-utils" >&2; exit 1; }
said=$(mkfs.erofs --quiet -x-1 -T$epoch -U$uuid --all-root "$2" "$1" 2>&1) || {
	echo "mkfs.erofs failed: $(tail -n 3 <<<"$said")" >&2
	exit 1
}

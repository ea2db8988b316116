#!/bin/sh
# build.sh - builds init and packs it as the guest's initramfs.
#
# usage: guest/build.sh [--init FILE] OUTPUT.cpio
#
#   --init FILE   pack FILE as /init instead, compiled first if it is a .c (tests)
#
# The archive is uncompressed newc, written here byte by byte: no root, no cpio,
# and the same input gives the same bytes. CC names the compiler (musl-gcc).
set -eu
export LC_ALL=C

here=$(cd "$(dirname "$0")" && pwd)
init=
if [ "${1-}" = --init ]; then
	init=$2
	shift 2
fi
[ $# -eq 1 ] || { echo "usage: guest/build.sh [--init FILE] OUTPUT.cpio" >&2; exit 2; }
output=$1
work=$(mktemp -d "$output.XXXXXX")
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# musl has no linux/*.h: they come after its own, from the system
compile() {
	cc=${CC:-musl-gcc}
	multiarch=$($cc -print-multiarch 2>/dev/null || gcc -print-multiarch)
	$cc -std=c11 -Os -static -fno-pie -no-pie -fno-asynchronous-unwind-tables \
		-fno-stack-protector -ffunction-sections -fdata-sections \
		-Wall -Wextra -Werror -Wshadow -Wvla -Wconversion ${CFLAGS-} \
		-idirafter /usr/include -idirafter "/usr/include/$multiarch" \
		-Wl,--gc-sections -Wl,--build-id=none -Wl,-z,noseparate-code -Wl,-z,norelro -s \
		-o "$work/init" "$@"
	init=$work/init
}

ino=0
# entry MODE RDEV_MAJOR RDEV_MINOR NAME [FILE]
entry() {
	ino=$((ino + 1))
	size=0
	[ $# -lt 5 ] || size=$(wc -c <"$5")
	nlink=1
	[ "$(($1 & 0170000))" -ne "$((0040000))" ] || nlink=2
	printf '070701%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%08X%s\0' \
		"$ino" "$(($1))" 0 0 "$nlink" 0 "$size" 0 0 "$2" "$3" "$((${#4} + 1))" 0 "$4"
	pad $((110 + ${#4} + 1))
	[ $# -lt 5 ] || { cat "$5"; pad "$size"; }
}

# zeros up to a multiple of four
pad() {
	case $(($1 % 4)) in
	1) printf '\0\0\0' ;;
	2) printf '\0\0' ;;
	3) printf '\0' ;;
	esac
}

case $init in
'') compile "$here"/*.c ;;
*.c) compile "$init" ;;
esac
: >"$work/empty"
{
	entry 0040755 0 0 dev
	# an empty file: the kernel opens it as descriptors 0 to 2, where a device
	# without a driver would be refused and logged
	entry 0100600 0 0 dev/console "$work/empty"
	entry 0020600 1 11 dev/kmsg
	entry 0040755 0 0 proc
	entry 0040755 0 0 root
	entry 0040755 0 0 cg
	entry 0040755 0 0 t
	entry 0100755 0 0 init "$init"
	entry 0 0 0 'TRAILER!!!'
} >"$work/cpio"
mv "$work/cpio" "$output"

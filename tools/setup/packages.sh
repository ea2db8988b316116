#!/bin/bash
# Installs the Debian packages that the build and the tests need.
#   tools/setup/packages.sh [PURPOSE...]     (all but intel by default)
#   tools/setup/packages.sh --list           (just print the names)
# This is the one place where they are listed.  Nothing missing: nothing done.
set -euo pipefail

# purpose   package                why
list='
build       build-essential        gcc, make and libc headers
build       musl-tools             the VMM, init and the kvm-host agent are static musl programs
build       libfdt-dev             device trees (the VMM)
build       libjansson-dev         JSON (the command)
build       libsodium-dev          SHA-256 and random bytes (the command)
build       libinih-dev            policy files (the command)
build       libarchive-dev         /in and /out archives (the command)
kernel      linux-source-6.12      the source of the guest kernel
kernel      flex                   its build
kernel      bison                  its build
kernel      bc                     its build
kernel      libelf-dev             its build
kernel      libssl-dev             its build
kernel      xz-utils               the source is packed with it
run         e2fsprogs              mke2fs: the disks of --out and --scratch
rootfs      python3                tools/image
rootfs      zstd                   layers of OCI images
rootfs      erofs-utils            mkfs.erofs
rootfs      mmdebstrap             picks the files of an image from packages
rootfs      busybox-static         the tools of the base image
kvm-host    qemu-system-x86        emulates the KVM host
kvm-host    kmod                   modinfo and depmod for its modules
kvm-host    cpio                   its initramfs
kvm-host    xz-utils               its kernel is packed with it
kvm-host    musl-tools             its agent
kvm-host    python3                its outside part
intel       bochs                  emulates a KVM host with VMX; only when asked for
intel       bochsbios              its firmware
intel       vgabios                the firmware of its display
intel       bochs-x                its displays: one must be there
intel       grub-common            grub-mkrescue: its kernel is started from a disk
intel       grub-pc-bin            GRUB for a BIOS
intel       xorriso                grub-mkrescue needs it
intel       mtools                 grub-mkrescue needs it
intel       erofs-utils            mkfs.erofs: the files of its host
test        python3                the test driver
test        e2fsprogs              debugfs: hostile file systems
test        python3-jsonschema     checks results against the schema
test        strace                 counts system calls
test        clang                  the fuzzers
test        llvm                   their reports
test        libclang-rt-14-dev     their runtime
test        shellcheck             lint
test        zsh                    completions are tried in it
test        fish                   completions are tried in it
'

say() { printf 'packages: %s\n' "$*" >&2; }

wanted() { # purposes
	awk -v want=" $* " 'NF && (want == "  " ? $1 != "intel" : index(want, " " $1 " ")) { print $2 }' <<<"$list" | sort -u
}

# What of the arguments is not installed.
missing() {
	dpkg-query -W -f '${db:Status-Abbrev} ${Package}\n' "$@" 2>/dev/null |
		awk '$1 == "ii" { print $2 }' | sort -u | comm -13 - <(printf '%s\n' "$@")
}

if [ "${1-}" = --list ]; then
	wanted
	exit 0
fi
export LC_ALL=C
mapfile -t names < <(wanted "$@")
if ! command -v dpkg-query >/dev/null || ! command -v apt-get >/dev/null; then
	say "this is not Debian; needed are the equivalents of: ${names[*]}"
	say "(known to work: Debian 12; with them in place set DOLANIA_PACKAGES=ok)"
	[ "${DOLANIA_PACKAGES-}" = ok ]
	exit
fi
mapfile -t lacking < <(missing "${names[@]}")
[ "${#lacking[@]}" -eq 0 ] && exit 0

install="apt-get install -y --no-install-recommends ${lacking[*]}"
if [ "$(id -u)" -ne 0 ]; then
	say "missing: ${lacking[*]}"
	say "run as root:  apt-get update; $install"
	exit 1
fi

top=$(cd "$(dirname "$0")/../.." && pwd)
mkdir -p "$top/build/setup"
log=$top/build/setup/apt.log
export DEBIAN_FRONTEND=noninteractive
started=$SECONDS
say "installing ${lacking[*]}"
try() { $install -qq -o Dpkg::Use-Pty=0 -o DPkg::Lock::Timeout=300 >>"$log" 2>&1 </dev/null; }
# Old lists may still do.  If not, get new ones; a third-party source that is
# out of order is no reason to stop as long as Debian's own answer.
if ! try; then
	apt-get update -qq -o DPkg::Lock::Timeout=300 >>"$log" 2>&1 </dev/null || true
	if ! try; then
		tail -n 5 "$log" >&2
		say "could not install them; the whole log is $log"
		exit 1
	fi
fi
say "installed ${#lacking[@]} packages in $((SECONDS - started)) s"

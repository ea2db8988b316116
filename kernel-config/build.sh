#!/bin/bash
# Builds a guest kernel from Debian's linux-source-6.12 and the fragments here.
#
#   kernel-config/build.sh [default|loopback|microvm]
#   kernel-config/build.sh --without NUMBER DIR
#   kernel-config/build.sh --check CONFIG
#
#   default   build/share/dolania/vmlinux            no network at all
#   loopback  build/share/dolania/vmlinux-loopback   with 127.0.0.1
#   microvm   build/bench/vmlinux-microvm            the default one, as QEMU's microvm boots it
#
# --without: the default one less the patch of that number, and less those that do not fit
# without it, as DIR/vmlinux; for tests/bench/patches.
#
# --check: whether what the patches assume (assumed.config) is true of CONFIG.
#
# The result is cached: its key is a hash over the fragments, patches, this
# script, the source package's version and the compiler's. The unpacked source
# and the object directory are shared by the variants, so a second variant
# recompiles only what its options touch. Symbols for profiling and for reading
# an oops: build/kernel/VARIANT/{vmlinux.sym,System.map}.
set -euo pipefail
export LC_ALL=C

without=
if [ "${1-}" = --without ]; then
	[ $# -eq 3 ] || { echo "usage: $0 --without NUMBER DIR" >&2; exit 2; }
	without=$2 dir=$(realpath -m "$3")
	compgen -G "$(dirname "$0")/patches/$without-*.patch" >/dev/null || { echo "$0: there is no patch $without" >&2; exit 2; }
	set -- default
fi
variant=${1:-default}
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
top=$(dirname "$here")
work=$top/build/kernel
tarball=/usr/src/linux-source-6.12.tar.xz
fragments=(base virtio log)

case $variant in
default|--check)  out=$top/build/share/dolania/vmlinux ;;
loopback) out=$top/build/share/dolania/vmlinux-loopback; fragments+=(loopback) ;;
microvm)  out=$top/build/bench/vmlinux-microvm; fragments+=(microvm) ;;
*)        echo "usage: $0 [default|loopback|microvm]" >&2; exit 2 ;;
esac
if [ -n "$without" ]; then
	out=$dir/vmlinux
else
	dir=$work/$variant
fi

die() { echo "kernel $variant: $*" >&2; exit 1; }

# One line that is overwritten on a terminal; silent otherwise (say() talks).
progress() { if [ -t 2 ]; then printf '\r\033[Kkernel %s: %s' "$variant" "$*" >&2; fi; }
say() { if [ -t 2 ]; then printf '\r\033[K' >&2; fi; echo "kernel $variant: $*" >&2; }

# What decides the unpacked source.
source_key() {
	echo "$version"
	declare -f unpack
}

# What decides the kernel: that, patches, fragments, this script, the compiler.
kernel_key() {
	source_key
	cat "${patches[@]}" "${fragments[@]}" "$here/assumed.config" "$here/build.sh"
	${CC:-gcc} -dumpfullversion
}

hash() { sha256sum | cut -d' ' -f1; }

# Only what an x86 build without hardware drivers can reach: a third of the
# files. Every Kconfig and Makefile stays, they include each other.
unpack() {
	local a x=()
	for a in alpha arc arm arm64 csky hexagon loongarch m68k microblaze mips \
	         nios2 openrisc parisc powerpc riscv s390 sh sparc um xtensa; do
		x+=(--exclude="*/arch/$a/*.[chS]")
	done
	for a in drivers/gpu drivers/net/ethernet drivers/net/wireless drivers/media \
	         drivers/staging drivers/scsi drivers/iio drivers/infiniband sound; do
		x+=(--exclude="*/$a/*.[chS]")
	done
	rm -rf "$work/src" "$work/obj"
	mkdir -p "$work/src"
	tar --no-same-owner -xJf "$tarball" -C "$work/src" --strip-components=1 "${x[@]}" \
		--exclude='*/Documentation/*/*' --exclude='*/tools/testing/*' \
		--exclude='*/tools/perf/*' --exclude='*/arch/*.dts' --exclude='*/arch/*.dtsi'
	mkdir "$work/src/.applied"
}

fits() { patch -s --fuzz=0 --batch --dry-run -d "$work/src" -p1 <"$1" >/dev/null; }

# Takes back the patches that were applied and applies the present ones, so
# that a changed patch recompiles what it touches and nothing else: a file that
# is in the end what it was before keeps its time.
apply_patches() {
	local p i file applied=$work/src/.applied before=$work/before there=() files=()
	if [ "$(cat "$applied"/*.patch 2>/dev/null | hash)" = "$(cat "${patches[@]}" /dev/null | hash)" ]; then return; fi
	rm -f "$work/src/.key"		# unpacked anew if this is interrupted
	for p in "$applied"/*.patch; do [ -e "$p" ] && there+=("$p"); done
	mapfile -t files < <(sed -n 's,^--- a/,,p' "${there[@]}" "${patches[@]}" /dev/null | sort -u)
	rm -rf "$before"
	mkdir "$before"
	(cd "$work/src" && cp -a --parents "${files[@]}" "$before")
	for ((i = ${#there[@]} - 1; i >= 0; i--)); do	# last applied, first reverted
		patch -s -R -d "$work/src" -p1 <"${there[i]}"
		rm "${there[i]}"
	done
	for p in "${patches[@]}"; do
		if [ -n "$without" ] && ! fits "$p"; then
			say "without $without, $(basename "$p") does not fit: left out too"
			continue
		fi
		patch -s -d "$work/src" -p1 <"$p"
		cp "$p" "$applied/"
	done
	for file in "${files[@]}"; do
		if cmp -s "$before/$file" "$work/src/$file"; then touch -r "$before/$file" "$work/src/$file"; fi
	done
	rm -r "$before"
	echo "$skey" >"$work/src/.key"
}

# Every option line must have its reason in the comment line above it.
check_reasons() {
	awk 'function bad() { printf "%s:%d: no reason above %s\n", FILENAME, FNR, $0; n++ }
	     FNR == 1 { prev = "" }
	     /^CONFIG_/ || /^# CONFIG_.* is not set$/ { if (prev != "reason") bad(); prev = "option"; next }
	     /^# ./ { prev = "reason"; next }
	     { prev = "" }
	     END { exit n > 0 }' "$@" >&2
}

# Every requested option must be in the configuration as requested; a later
# fragment overrides an earlier one. An option that is off may also be absent
# (its dependencies are off).
#   check_taken CONFIGURATION FRAGMENT...
check_taken() {
	awk 'NR == FNR { if (/^CONFIG_/) { split($0, a, "="); have[a[1]] = $0 } next }
	     /^CONFIG_/ { split($0, a, "="); want[a[1]] = $0 }
	     /^# CONFIG_.* is not set$/ { want[$2] = "off" }
	     END { for (o in want) {
			is = o in have ? have[o] : "off"
			if (is != want[o]) { print "  " o ": wanted " want[o] ", got " is; n++ } }
		exit n > 0 }' "$@" >&2
}

# What the patches rely on, in the finished configuration, whoever asked for it.
check_assumed() {
	check_reasons "$here/assumed.config" || die "an assumption has no reason"
	check_taken "$1" "$here/assumed.config" || [ -n "$without" ] || die "what the patches assume (assumed.config) is not true of $1"
}

kmake() {
	make -C "$work/src" O="$work/obj" ARCH=x86_64 CC="${CC:-gcc}" \
		KBUILD_BUILD_TIMESTAMP='Thu Jan  1 00:00:00 UTC 1970' KBUILD_BUILD_VERSION=1 \
		KBUILD_BUILD_USER=dolania KBUILD_BUILD_HOST=dolania "$@"
}

fail() {
	say "failed; errors and last lines of $log:"
	grep -aE 'rror:|\*\*\* ' "$log" | head -n 10 >&2 || true
	tail -n 20 "$log" >&2
	exit 1
}

build() {
	local start=$SECONDS count total
	log=$dir/build.log
	mkdir -p "$dir" "$(dirname "$out")"
	rm -f "$dir/key"

	if [ "$(cat "$work/src/.key" 2>/dev/null)" != "$skey" ]; then
		progress "unpacking $tarball"
		unpack
		echo "$skey" >"$work/src/.key"
	fi
	apply_patches

	mkdir -p "$work/obj"
	cat "${fragments[@]}" >"$dir/requested.config"
	progress "configuring"
	kmake KCONFIG_ALLCONFIG="$dir/requested.config" allnoconfig >"$log" 2>&1 || fail
	kmake olddefconfig >>"$log" 2>&1 </dev/null || fail
	# An option that is a patch's goes with it.
	check_taken "$work/obj/.config" "${fragments[@]}" || [ -n "$without" ] || die "options above did not take effect"
	check_assumed "$work/obj/.config"
	cp "$work/obj/.config" "$dir/config"

	say "building ($(nproc) jobs, log $log)"
	kmake -j"$(nproc)" vmlinux >>"$log" 2>&1 </dev/null &
	local pid=$!
	trap 'kill $pid 2>/dev/null' EXIT
	total=$(cat "$work/objects" 2>/dev/null || echo 1060)
	while kill -0 $pid 2>/dev/null; do
		count=$(grep -cE '^  (CC|AS) ' "$log" || true)
		progress "compiled $count of at most ~$total, $((SECONDS - start)) s"
		sleep 1
	done
	wait $pid || fail
	trap - EXIT

	cp "$work/obj/vmlinux" "$dir/vmlinux.sym"
	cp "$work/obj/System.map" "$dir/System.map"
	objcopy --strip-all "$dir/vmlinux.sym" "$out.new"
	mv "$out.new" "$out"
	if [ -n "$without" ]; then (cd "$work/src/.applied" && ls) >"$dir/patches"; fi
	echo "$key" >"$dir/key"
	say "$(stat -c %s "$out") bytes in $((SECONDS - start)) s: ${out#"$top"/}"
}

if [ "${1-}" = --check ]; then
	[ $# -eq 2 ] && [ -r "$2" ] || { echo "usage: $0 --check CONFIG" >&2; exit 2; }
	variant=check
	check_assumed "$2"
	exit 0
fi
cd "$here"
fragments=("${fragments[@]/%/.config}")
patches=()
for p in "$here"/patches/*.patch; do
	if [ ! -e "$p" ]; then continue; fi
	if [ -n "$without" ] && [[ $p == */$without-* ]]; then continue; fi
	patches+=("$p")
done

version=$(dpkg-query -W -f '${Version}' linux-source-6.12 2>/dev/null) ||
	die "the package linux-source-6.12 is not installed"
cached() {
	key=$(kernel_key | hash)
	[ -e "$out" ] && [ "$(cat "$dir/key" 2>/dev/null)" = "$key" ]
}
if cached; then exit 0; fi

skey=$(source_key | hash)
check_reasons "${fragments[@]}" || die "a fragment has an option without a reason"
[ -r "$tarball" ] || die "$tarball is missing; install the package linux-source-6.12"
mkdir -p "$work"
exec 9>"$work/lock"
if ! flock -n 9; then
	say "waiting for another build"
	flock 9
	if cached; then exit 0; fi
fi
build
exit 0

#!/bin/bash
# Builds the parts of the emulated KVM host in build/kvm-host/:
#   vmlinux     Debian's kernel, unpacked from its .deb (nothing is installed)
#   initrd      our agent as /init and the modules that KVM and 9p need
#   deb         what of the package may be of use, unpacked; the bench takes vhost from it
# and with the argument "intel":
#   intel.iso   for Bochs: the packed kernel and an initramfs with kvm-intel, started by GRUB
# All are kept as long as what they are made from does not change.
set -euo pipefail

here=$(cd "$(dirname "$0")" && pwd)
top=$(cd "$here/../.." && pwd)
out=$top/build/kvm-host
meta=linux-image-6.12-amd64 # what it resolves to today is in $out/kernel.name

# In the order of loading; dependencies are added by modules.dep.
modules="9pnet_virtio 9p overlay irqbypass ccp kvm kvm-amd"

say() { printf 'kvm-host: %s\n' "$*" >&2; }
die() { say "$*"; exit 125; }
started=$SECONDS

# For Bochs, which has no virtio; crc32c_generic is asked for by name, as the kernel's crypto would.
intel_modules="irqbypass kvm kvm-intel scsi_mod sd_mod libata ata_piix crc32c_generic erofs overlay"

stamp=$(cat "$here"/*.[ch] "$here/build.sh" | sha256sum | cut -c1-16)
current() {
	[ "$(cat "$out/stamp" 2>/dev/null)" = "$stamp" ] && [ -e "$out/vmlinux" ] && [ -e "$out/initrd" ] &&
		{ [ "${1-}" != intel ] || [ "$(cat "$out/intel.stamp" 2>/dev/null)" = "$stamp" ]; }
}
current "${1-}" && exit 0
mkdir -p "$out"
exec 9>"$out/lock"
flock 9
current "${1-}" && exit 0 # another one built it

for tool in apt-get dpkg-deb musl-gcc xz cpio depmod; do
	PATH=$PATH:/sbin:/usr/sbin command -v "$tool" >/dev/null || die "needs '$tool'; run tools/setup/packages.sh kvm-host"
done
[ "${1-}" != intel ] || command -v grub-mkrescue >/dev/null || die "needs 'grub-mkrescue'; run tools/setup/packages.sh intel"
work=$(mktemp -d "$out/work.XXXXXX")
trap 'rm -rf "$work"' EXIT

# Downloads the package that $meta stands for, and prints its name.
try_download() {
	local pkg
	pkg=$(apt-cache depends "$meta" 2>/dev/null | awk '/Depends: linux-image/ { print $2; exit }')
	[ -n "$pkg" ] || { echo "apt knows no $meta" >"$work/apt.log"; return 1; }
	say "getting the kernel package $pkg (about 105 MB, once)"
	(cd "$work" && apt-get download -qq -o APT::Sandbox::User=root "$pkg" >apt.log 2>&1) &&
		echo "$pkg"
}

# The kernel: ./boot/vmlinuz-* and ./lib/modules from the package.
fetch_kernel() {
	local pkg deb
	pkg=$(try_download) || {
		# No lists, or old ones: get new ones if we may.
		[ "$(id -u)" -ne 0 ] || apt-get update -qq >"$work/apt.log" 2>&1 </dev/null || true
		pkg=$(try_download) ||
			die "apt cannot get $meta ($(tail -n 1 "$work/apt.log")); Debian 12 with its security archive has it: 'apt-get update' as root, then again"
	}
	deb=$(echo "$work"/*.deb)
	mkdir "$work/deb"
	dpkg-deb --fsys-tarfile "$deb" | tar -x -C "$work/deb" --wildcards \
		'./boot/vmlinuz-*' './boot/config-*' './lib/modules/*/modules.*' \
		'./lib/modules/*/kernel/net/9p/*' './lib/modules/*/kernel/fs/9p/*' \
		'./lib/modules/*/kernel/fs/netfs/*' './lib/modules/*/kernel/fs/overlayfs/*' \
		'./lib/modules/*/kernel/virt/*' './lib/modules/*/kernel/arch/x86/kvm/*' \
		'./lib/modules/*/kernel/drivers/crypto/ccp/*' './lib/modules/*/kernel/fs/fscache/*' \
		'./lib/modules/*/kernel/drivers/ata/*' './lib/modules/*/kernel/drivers/scsi/*' \
		'./lib/modules/*/kernel/fs/erofs/*' './lib/modules/*/kernel/lib/libcrc32c*' \
		'./lib/modules/*/kernel/crypto/crc32c_generic*' \
		'./lib/modules/*/kernel/drivers/vhost/*' './lib/modules/*/kernel/net/vmw_vsock/*' \
		2>"$work/tar.log" || [ -d "$work/deb/lib/modules" ] || die "cannot unpack $deb"
	rm -f "$deb"
	find "$work/deb/lib/modules" -name '*.ko.xz' -exec xz -d {} +
	PATH=$PATH:/sbin:/usr/sbin depmod -b "$work/deb" "$(ls "$work/deb/lib/modules")" 2>/dev/null
	python_unpack "$work/deb/boot"/vmlinuz-* "$work/vmlinux"
	rm -rf "$out/deb"
	mv "$work/deb" "$out/deb"
	mv "$work/vmlinux" "$out/vmlinux"
	echo "$pkg" >"$out/kernel.name"
}

# The ELF inside a bzImage: started through its PVH entry, it need not unpack
# itself under emulation, which saves seconds at every start.
python_unpack() {
	/usr/bin/python3 - "$1" "$2" <<'PY'
import struct, subprocess, sys
data = open(sys.argv[1], "rb").read()
setup = (data[0x1f1] or 4) + 1
offset, length = struct.unpack_from("<II", data, 0x248)
payload = data[setup * 512 + offset:][:length]
tools = {b"\xfd7zXZ": "xz", b"\x28\xb5\x2f\xfd": "zstd", b"\x1f\x8b": "gzip"}
tool = next((t for m, t in tools.items() if payload.startswith(m)), None)
if tool is None:
    sys.exit("kvm-host: the kernel is packed in a way that is not known here")
# Four bytes of length follow the stream; the tools call that trailing garbage.
elf = subprocess.run([tool, "-dc"], input=payload[:-4], stdout=subprocess.PIPE).stdout
if not elf.startswith(b"\x7fELF"):
    sys.exit("kvm-host: no ELF in the kernel image")
open(sys.argv[2], "wb").write(elf)
PY
}

# The modules asked for and what they need, each after its dependencies.
module_order() {
	awk -v want="$modules" '
	function name(p) { sub(/.*\//, "", p); sub(/\.ko.*/, "", p); gsub(/-/, "_", p); return p }
	function visit(n,   i, k, d) {
		if (seen[n]++) return
		k = split(deps[n], d, " ")
		for (i = k; i >= 1; i--) visit(name(d[i]))
		if (file[n] == "") { print "missing " n > "/dev/stderr"; exit 1 }
		print file[n]
	}
	{ split($0, a, ":"); p = a[1]; n = name(p); sub(/\.xz$/, "", p); file[n] = p; deps[n] = a[2] }
	END { k = split(want, w, " "); for (i = 1; i <= k; i++) visit(name(w[i])) }
	' "$1/modules.dep"
}

[ -e "$out/vmlinux" ] && compgen -G "$out/deb/lib/modules/*/kernel/drivers/vhost" >/dev/null &&
	{ [ "${1-}" != intel ] || compgen -G "$out/deb/lib/modules/*/kernel/drivers/ata" >/dev/null; } || fetch_kernel
moddir=$(echo "$out"/deb/lib/modules/*)

# An initramfs with these modules of what lies in $work/root: pack FILE MODULE...
pack() {
	local file=$1
	shift
	modules=$*
	rm -f "$work/root"/*.ko
	module_order "$moddir" | while read -r path; do
		cp "$moddir/$path" "$work/root/$(basename "$path")"
		echo "/$(basename "$path")"
	done >"$work/root/modules.list"
	(cd "$work/root" && find . -print0 | LC_ALL=C sort -z | cpio --quiet -0 -o -H newc -R 0:0 2>/dev/null) >"$file"
}

mkdir -p "$work/root/dev"
musl-gcc -static -Os -std=gnu11 -Wall -Wextra -Werror -idirafter /usr/include \
	-idirafter "/usr/include/$(gcc -print-multiarch)" -o "$work/root/init" "$here"/*.c
# shellcheck disable=SC2086 # words
pack "$work/initrd" $modules
mv "$work/initrd" "$out/initrd"
if [ "${1-}" = intel ]; then
	mkdir -p "$work/iso/boot/grub"
	touch "$work/root/wire"
	# shellcheck disable=SC2086 # words
	pack "$work/iso/boot/initrd" $intel_modules
	cp "$out"/deb/boot/vmlinuz-* "$work/iso/boot/vmlinuz"
	cat >"$work/iso/boot/grub/grub.cfg" <<-'GRUB'
		set timeout=0
		menuentry host {
			linux /boot/vmlinuz console=ttyS0,115200 loglevel=4 panic=-1 nokaslr mitigations=off tsc=reliable no_timer_check noreplace-smp lsm=landlock random.trust_cpu=on rcupdate.rcu_expedited=1 cryptomgr.notests audit=0
			initrd /boot/initrd
		}
	GRUB
	grub-mkrescue -o "$work/intel.iso" "$work/iso" >"$work/grub.log" 2>&1 || die "grub-mkrescue: $(tail -n 1 "$work/grub.log")"
	mv "$work/intel.iso" "$out/intel.iso"
	echo "$stamp" >"$out/intel.stamp"
fi
echo "$stamp" >"$out/stamp"
say "built ($(cat "$out/kernel.name")) in $((SECONDS - started)) s"

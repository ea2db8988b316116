#!/bin/sh
# measure.sh - everything that is measured, inside the room (inside.sh); for run.
#
# usage: measure.sh WHAT... in the checkout's directory
#
# Prints sections, each begun by a line "## NAME"; run reads them. REPEAT, WARM,
# FEW, MANY, PEER_FEW and PEER_MANY come in the environment.
set -eu

bin=build/bench/bin
dolania=$PWD/build/bin/dolania
tracing=/sys/kernel/tracing

# The peer, lean: no serial port, no legacy devices, no option ROM.
peer() { # COMMAND...: with QEMU's command line behind it
	"$@" qemu-system-x86_64 \
		-M microvm,acpi=off,isa-serial=off,rtc=off,pic=off,pit=off,x-option-roms=off \
		-accel kvm -cpu host -m 128M -nodefaults -no-user-config -display none -no-reboot \
		-kernel "$PWD/build/bench/vmlinux-microvm" -initrd "$PWD/build/bench/microvm.cpio" \
		-append "reboot=t quiet" \
		-drive "if=none,id=root,file=$PWD/build/share/dolania/images/base.erofs,format=raw,readonly=on" \
		-device virtio-blk-device,drive=root
}
default() { "$@" "$dolania" run -c true; }
small() { "$@" "$dolania" run --memory 128M -c true; }

# Exits as the emulated host's KVM saw them, by reason, of one run.
exits() { # FUNCTION
	echo 'hist:keys=reason' >$tracing/events/kvm/kvm_userspace_exit/trigger
	echo 'hist:keys=exit_reason' >$tracing/events/kvm/kvm_exit/trigger
	"$1" env
	echo "# userspace"
	cat $tracing/events/kvm/kvm_userspace_exit/hist
	echo "# hardware"
	cat $tracing/events/kvm/kvm_exit/hist
	echo '!hist:keys=reason' >$tracing/events/kvm/kvm_userspace_exit/trigger
	echo '!hist:keys=exit_reason' >$tracing/events/kvm/kvm_exit/trigger
}

for what; do
	echo "## $what"
	case $what in
	dolania.cost) default $bin/count "$WARM" "$FEW" "$MANY" "$REPEAT" ;;
	dolania_128m.cost) small $bin/count "$WARM" "$FEW" "$MANY" "$REPEAT" ;;
	microvm.cost) peer $bin/count 1 "$PEER_FEW" "$PEER_MANY" "$REPEAT" ;;
	true.cost) $bin/count "$WARM" "$FEW" "$MANY" "$REPEAT" /bin/true ;;
	dolania.phases) build/bin/bench-phases 5 ;;
	dolania_128m.phases) build/bin/bench-phases 5 128M ;;
	dolania_128m.exits) exits small ;;
	microvm.exits) exits peer ;;
	dolania_128m.maps) small $bin/maps run dolania-vmm ;;
	microvm.maps) peer $bin/maps run qemu-system-x86_64 ;;
	microvm.maps_end) peer $bin/maps exit qemu-system-x86_64 ;;
	*) echo "measure.sh: $what?" >&2; exit 2 ;;
	esac
done
echo "## done"

#!/bin/sh
# measure.sh - everything that is measured, inside the room (inside.sh); for run.
#
# usage: measure.sh WHAT... in the checkout's directory
#
# Prints sections, each begun by a line "## NAME"; run and work read them. REPEAT, WARM,
# FEW, MANY, PHASES, PROFILED, PEER_FEW, PEER_MANY, PARKED and PARKED_SECONDS come in the environment.
set -eu

bin=build/bench/bin
command=$PWD/build/bin/dolania
tracing=/sys/kernel/tracing

# The peer, lean: no serial port, no legacy devices, no option ROM. $serial, $quiet and $more: for the look below.
machine() { # MEMORY IMAGE KERNEL-WORDS COMMAND...: with QEMU's command line behind it
	memory=$1 image=$2 words=$3
	shift 3
	"$@" -M microvm,acpi=off,isa-serial=${serial-off},rtc=off,pic=off,pit=off,x-option-roms=off \
		-accel kvm -cpu host -m "$memory" -nodefaults -no-user-config -display none -no-reboot \
		-kernel "$PWD/build/bench/vmlinux-microvm" -initrd "$PWD/build/bench/microvm.cpio" \
		-append "reboot=t ${quiet-quiet} $words" \
		-drive "if=none,id=root,file=$PWD/build/share/dolania/images/$image.erofs,format=raw,readonly=on" \
		-device virtio-blk-device,drive=root ${more-}
}
peer() { machine 128M base "" "$@" qemu-system-x86_64; }
# A peer that panics ends as one that is through: its console tells which.
peer_works() {
	serial=on quiet='' more='-serial stdio'
	peer env >/tmp/peer.log
	while read -r line; do
		case $line in *'reboot: Restarting system'*) return 0 ;; esac
	done </tmp/peer.log
	cat /tmp/peer.log >&2
	return 1
}
dolania() { "$@" "$command" run -c true; }
dolania_128m() { "$@" "$command" run --memory 128M -c true; }
dolania_2g() { "$@" "$command" run --memory 2G -c true; }
# 100 files of 10 KB: packed by each run; packed by an earlier one; with all of them read.
dolania_in_packed() { "$@" "$command" run --in-cache off --in /tmp/in -c true; }
dolania_in_cached() { XDG_CACHE_HOME=/tmp/cache "$@" "$command" run --in /tmp/in -c true; }
dolania_in_read() { XDG_CACHE_HOME=/tmp/cache "$@" "$command" run --in /tmp/in -c 'cat /in/* >/dev/null'; }
# What changed seconds ago is not kept, and the room is as young.
keep_input() {
	until [ -e "$(echo /tmp/cache/dolania/inputs/*.erofs)" ]; do dolania_in_cached env; done
}
microvm() { peer "$@"; }

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

# What one run asked of its devices, by address and direction (mmio: type 1 reads, 2 writes; pio: rw 0 reads).
accesses() { # FUNCTION EVENT KEYS
	echo "hist:keys=$3" >$tracing/events/kvm/$2/trigger
	"$1" env
	cat $tracing/events/kvm/$2/hist
	echo "!hist:keys=$3" >$tracing/events/kvm/$2/trigger
}

# Where processes wait for the host's kernel in one run (uninterruptibly), for how long (ns), and in which functions.
waits() { # FUNCTION
	echo 1 >/proc/sys/kernel/sched_schedstats
	echo 'hist:keys=comm:vals=delay' >$tracing/events/sched/sched_stat_blocked/trigger
	echo 'hist:keys=prev_comm,common_stacktrace if prev_state == 2' >$tracing/events/sched/sched_switch/trigger
	"$1" env
	cat $tracing/events/sched/sched_stat_blocked/hist $tracing/events/sched/sched_switch/hist
	echo '!hist:keys=comm:vals=delay' >$tracing/events/sched/sched_stat_blocked/trigger
	echo '!hist:keys=prev_comm,common_stacktrace if prev_state == 2' >$tracing/events/sched/sched_switch/trigger
}

# Work inside a VM: what job.c does there (with its image and input), and drive.c's counts for it.
choose() { # JOB
	image=base input=small
	case $1 in
	trip) counts="1 1 200 4" job="in 1" ;;
	seq) counts="1 1 1 8" input=large job="seq /in/data 8388608" ;;
	random) counts="1 1 1 4" input=large job="random /in/data 256" ;;
	out) counts="1 8388608 1 4" job="out 8388608" ;;
	in) counts="8388608 1 1 4" job="in 8388608" ;;
	python) counts="1 1 1 3" image=python job="exec python3 -c pass" ;;
	node) counts="1 1 1 3" image=node job="exec node -e 0" ;;
	compile) counts="1 1 1 3" image=toolchain job="exec gcc -O2 -c -o /tmp/compile.o /in/compile.c" ;;
	*) echo "measure.sh: $1?" >&2; exit 2 ;;
	esac
	input=$PWD/build/bench/jobs/$input
}
work_dolania() {
	$bin/drive $counts "$command" run --quiet --wall off --output 1G --in-cache off --runtime $image --in "$input" \
		--exec -- /in/job $job
}
# As much memory as dolania's guest has by default.
work_microvm() {
	modprobe vhost_vsock
	machine 688M $image "job=\"/in/job $job\"" $bin/drive -v $counts qemu-system-x86_64 \
		-drive "if=none,id=input,file=$input.erofs,format=raw,readonly=on" -device virtio-blk-device,drive=input \
		-device vhost-vsock-device,guest-cid=3
}
# The same file and program in the emulated host itself; the images' programs do not run there.
work_host() {
	[ $image = base ] || return 0
	mkdir -p /in
	mount --bind "$input" /in
	$bin/drive $counts /in/job $job
	umount /in
}
work() { # HOW JOB
	choose "$2"
	if [ -e "build/share/dolania/images/$image.erofs" ]; then "work_$1"; else echo "missing $image"; fi
}

# VMs that only wait, and what one run beside them costs (density.c).
density() { # density's command line, up to what it parks
	"$@" -- "$command" run --quiet --wall off --memory 64M -c 'echo; exec sleep 1000000'
}

case "$*" in *dolania_in_*) keep_input ;; esac
for what; do
	echo "## $what"
	name=${what%%.*}
	case $what in
	dolania_work.* | microvm_work.* | host_work.*) work "${name%_work}" "${what#*.}" ;;
	microvm.works) (peer_works) ;;
	microvm.cost) peer $bin/count 1 "$PEER_FEW" "$PEER_MANY" "$REPEAT" ;;
	version.cost) $bin/count "$WARM" "$FEW" "$MANY" "$REPEAT" "$command" version ;;
	true.cost) $bin/count "$WARM" "$FEW" "$MANY" "$REPEAT" /bin/true ;;
	dolania*.cost) $name $bin/count "$WARM" "$FEW" "$MANY" "$REPEAT" ;;
	dolania.phases) build/bin/bench-phases "$PHASES" ;;
	dolania_128m.phases) build/bin/bench-phases "$PHASES" 128M ;;
	dolania_2g.phases) build/bin/bench-phases "$PHASES" 2G ;;
	*.exits) exits $name ;;
	*.waits) $name env; waits $name ;;
	*.registers) accesses $name kvm_mmio gpa.hex,type ;;
	dolania*.maps) $name $bin/maps run dolania-vmm ;;
	*.ports) accesses $name kvm_pio port.hex,rw ;;
	*.msrs) accesses $name kvm_msr ecx.hex,write ;;
	dolania*.pages) $name $bin/maps pages dolania-vmm ;;
	dolania*.profile) $name $bin/mark "$WARM" "$PROFILED" ;;
	microvm.profile) peer $bin/mark "$WARM" "$PROFILED" ;;
	density) density $bin/density "$PARKED_SECONDS" $PARKED -- $bin/count "$WARM" "$FEW" "$MANY" 1 "$command" run -c true ;;
	density.wait | density.run)
		density $bin/density -p "${what#*.}" "$PARKED_SECONDS" $PARKED -- "$command" run -c true ;;
	host.symbols) cat /proc/kallsyms ;;
	microvm.maps) peer $bin/maps run qemu-system-x86_64 ;;
	microvm.maps_end) peer $bin/maps exit qemu-system-x86_64 ;;
	*) echo "measure.sh: $what?" >&2; exit 2 ;;
	esac
done
echo "## done"

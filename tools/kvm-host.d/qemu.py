"""qemu: the machine of kvm-host: one QEMU under TCG, the sockets to it, its memory."""
import ctypes
import os
import resource
import signal
import socket
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
BUILD = os.path.join(TOP, "build/kvm-host")
PORTS = ("ctl", "in", "out", "err", "dump")


class HostFailed(Exception):
    """The emulated host did not do its part."""


class DiedEarly(HostFailed):
    """It died before COMMAND began."""


def receive(sock, size):
    """What is there; nothing once QEMU is gone."""
    try:
        return sock.recv(size)
    except OSError:
        return b""


def send(sock, data):
    """Thread or not: a QEMU that is gone is noticed elsewhere."""
    try:
        sock.sendall(data)
    except OSError:
        pass


def qemu_args(opts, fds):
    smp = opts["cpus"]
    args = ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none",
            "-no-reboot", "-machine", "q35,vmport=off,smbus=off,sata=off,i8042=off,usb=off,hpet=off,memory-backend=ram",
            "-object", f"memory-backend-file,id=ram,share=on,mem-path=/proc/self/fd/{fds['ram']},size={opts['memory']}",
            "-cpu", "EPYC,+svm,+npt,+invtsc", "-smp", smp, "-m", f"{opts['memory']}b",
            "-kernel", f"{BUILD}/vmlinux", "-initrd", f"{BUILD}/initrd",
            "-append", " ".join(cmdline(opts))]
    if opts["icount"]:
        args += ["-accel", "tcg,thread=single", "-icount", "shift=0,sleep=off",
                 "-rtc", "base=2025-01-01T00:00:00,clock=vm", "-seed", "1"]
    else:
        args += ["-accel", "tcg,thread=multi,tb-size=512"]
    # First, so that its ports are /dev/vport0pN.
    args += ["-device", "virtio-serial-pci,id=ports"]
    for nr, name in enumerate(PORTS, 1):
        args += ["-chardev", f"socket,id={name},fd={fds[name]}",
                 "-device", f"virtserialport,bus=ports.0,nr={nr},chardev={name},name=dolania.{name}"]
    for tag, path, extra in (("root", "/", ",readonly=on"), ("checkout", TOP, "")):
        args += ["-fsdev", f"local,id={tag},path={path},security_model=none,multidevs=remap{extra}",
                 "-device", f"virtio-9p-pci,fsdev={tag},mount_tag={tag}"]
    args += ["-chardev", f"socket,id=console,fd={fds['console']}", "-serial", "chardev:console"]
    return args


def cmdline(opts):
    """The emulated host's kernel command line, each word with its reason."""
    return ["console=ttyS0",
            "loglevel=7" if opts["console"] else "loglevel=4",
            "panic=-1",               # with -no-reboot: QEMU ends, and we say so
            "nokaslr",                # the same addresses each time
            "mitigations=off",        # costly under emulation, protects nothing here
            "tsc=reliable",           # no watchdog, no calibration against slow timers
            "no_timer_check", "noreplace-smp" if opts["cpus"] == "1" else "nowatchdog",
            "lsm=landlock",           # Landlock on, the others off
            "random.trust_cpu=on", "rcupdate.rcu_expedited=1",
            "cryptomgr.notests", "audit=0", "quiet" if not opts["console"] else "printk.time=1"]


def die_with_parent():
    """QEMU never outlives us, and does not get the terminal's Ctrl-C."""
    os.setsid()
    ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


class Machine:
    """One QEMU, the sockets to it, and what it last said."""

    boot_limit_s = 120

    def __init__(self, opts):
        self.opts = opts
        self.ours = {}
        theirs = {}
        for name in (*PORTS, "console"):
            self.ours[name], theirs[name] = socket.socketpair()
        fds = {name: sock.fileno() for name, sock in theirs.items()}
        # The machine's RAM is ours, so that it can be looked at from outside.
        self.ram = os.memfd_create("ram")
        os.ftruncate(self.ram, opts["memory"])
        fds["ram"] = self.ram
        self.log = os.memfd_create("qemu-stderr")
        try:
            self.qemu = subprocess.Popen(
                qemu_args(opts, fds), stdin=subprocess.DEVNULL, stdout=self.log,
                stderr=self.log, pass_fds=list(fds.values()), cwd="/",
                preexec_fn=die_with_parent)
        except OSError as e:
            raise HostFailed(f"cannot start QEMU ({e}); run tools/setup/packages.sh") from e
        for sock in theirs.values():
            sock.close()
        self.console = bytearray()

    def kill(self):
        if self.qemu.poll() is None:
            self.qemu.kill()
        self.qemu.wait()

    def read_console(self):
        data = receive(self.ours["console"], 65536)
        self.console += data
        if self.opts["console"]:
            os.write(2, data)
        del self.console[:-16384]
        return bool(data)

    def last_words(self):
        log = os.pread(self.log, 65536, 0).decode(errors="replace")
        log = "\n".join(x for x in log.splitlines() if "TCG doesn't support" not in x)
        text = self.console.decode(errors="replace").replace("\r", "")
        lines = text.splitlines()
        told = [x for x in lines[:-12] if any(w in x for w in ("panic", "BUG:", "Oops", "RIP: 0010", "agent:"))]
        return "\n".join([log, *told, *lines[-12:]]).strip()

    def dump_memory(self, path):
        """Writes all of the RAM, raw and sparse, while the machine stands still: to it, the time jumps.

        Not by QEMU's own "stop": that never ends where the processor has just entered a VM with an interrupt
        (docs/kvm-host.md).
        """
        self.qemu.send_signal(signal.SIGSTOP)
        try:
            # Once this returns not one of its threads runs.
            if os.waitid(os.P_PID, self.qemu.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code != os.CLD_STOPPED:
                raise HostFailed("QEMU ended before its memory was dumped")
            with open(path, "wb") as f:
                copy_sparse(self.ram, f.fileno(), os.fstat(self.ram).st_size)
        except OSError as e:
            raise HostFailed(f"dump to {path}: {e.strerror}") from e
        finally:
            self.qemu.send_signal(signal.SIGCONT)


def copy_sparse(src, dst, size):
    """Copies what is not a hole in src and not zero."""
    os.ftruncate(dst, size)
    step = 1 << 20
    zero = bytes(step)
    at = 0
    while at < size:
        try:
            at = os.lseek(src, at, os.SEEK_DATA)
        except OSError:
            return  # only holes from here on
        end = os.lseek(src, at, os.SEEK_HOLE)
        while at < end:
            block = os.pread(src, min(step, end - at), at)
            if block != zero[:len(block)]:
                os.pwrite(dst, block, at)
            at += len(block)

"""bochs: the machine of kvm-host --vendor intel: one Bochs, whose processor has VMX with EPT.

It has the same sockets as the machine in qemu.py.  wire.c is their other end:
what comes out is framed on Bochs's stdout, what goes in is a disk that grows.
Every file of this machine is a memfd or a pipe, so that nothing is left of it.
"""
import ctypes
import os
import re
import select
import signal
import socket
import struct
import subprocess
import threading

import disks
from qemu import PORTS, HostFailed, die_with_parent, send

CYLINDER = 16 * 63 * 512            # Bochs wants disks of whole ones
WIRE_BYTES = 4096 * CYLINDER        # 2 GiB, and only what is written takes memory
CTL_AT, IN_AT = 1 << 20, 16 << 20   # as in wire.c
MARK = b"\0wire\n"
FRAME = 0xd01a0000
CONTINUE = "c\n" * 10000             # each triple fault, a guest's too, stops in the debugger
ESCAPE = b"\x1b"
SAID = re.compile(rb"\(0\)[^\n]*\n|Next at[^\n]*\n|<bochs:\d+> ")    # by the debugger

CONFIG = """\
config_interface: textconfig
display_library: rfb, options="timeout=0"
plugin_ctrl: speaker=0, gameport=0, parallel=0
cpu: model=corei7_haswell_4770, count=1, ips=100000000, reset_on_triple_fault=0
clock: sync=none, time0=utc
memory: guest={mib}, host={mib}
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/bochs/VGABIOS-lgpl-latest
port_e9_hack: enabled=1
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata1: enabled=1, ioaddr1=0x170, ioaddr2=0x370, irq=15
ata0-master: type=cdrom, path={iso}, status=inserted
ata0-slave: type=disk, path={system}, mode=flat
ata1-master: type=disk, path={checkout}, mode=flat
ata1-slave: type=disk, path={wire}, mode=flat
boot: cdrom
com1: enabled=1, mode=file, dev={console}
log: {log}
panic: action=fatal
error: action=ignore
info: action=ignore
"""
CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000


def alone():
    """The display that Bochs insists on listens for TCP: where nobody can connect."""
    if ctypes.CDLL(None).unshare(CLONE_NEWNET | (0 if os.geteuid() == 0 else CLONE_NEWUSER)) != 0:
        raise OSError("no network namespace of its own")
    die_with_parent()


class Wire:
    """What came over port 0xe9, without what Bochs's debugger said in between (wire.c)."""

    def __init__(self, fd):
        self.fd, self.raw, self.coded, self.plain, self.marked = fd, b"", b"", bytearray(), False

    def read(self, n):
        """As many bytes, fewer at the end."""
        while len(self.plain) < n:
            data = os.read(self.fd, 1 << 16)
            if not data:
                break
            self.raw += data
            if self.marked or MARK in self.raw:
                self.clean()
        data = bytes(self.plain[:n])
        del self.plain[:n]
        return data

    def clean(self):
        if not self.marked:
            self.raw, self.marked = self.raw.partition(MARK)[2], True
        while m := re.search(rb"[(N<]", self.raw):
            self.coded += self.raw[:m.start()]
            self.raw = self.raw[m.start():]
            if not (said := SAID.match(self.raw)):
                break
            self.raw = self.raw[said.end():]
        else:
            self.coded, self.raw = self.coded + self.raw, b""
        whole = self.coded.removesuffix(ESCAPE)
        first, *others = whole.split(ESCAPE)
        self.plain += first + b"".join(bytes([x[0] ^ 0x40]) + x[1:] for x in others)
        self.coded = self.coded[len(whole):]


class Console:
    """The reading end of a pipe, as the relay wants it."""

    def __init__(self, fd):
        self.fd = fd

    def fileno(self):
        return self.fd


class Machine:
    """One Bochs, the sockets to it, and what it last said."""

    boot_limit_s = 400

    def __init__(self, opts):
        self.opts = opts
        self.memory = opts["memory"]
        self.ours, self.theirs = {}, {}
        for name in PORTS:
            self.ours[name], self.theirs[name] = socket.socketpair()
        console_r, console_w = os.pipe()
        self.ours["console"] = Console(console_r)
        self.console = bytearray()
        self.wire, self.log = os.memfd_create("wire"), os.memfd_create("bochs-log")
        self.said = os.memfd_create("bochs-stderr")
        os.ftruncate(self.wire, WIRE_BYTES)
        fds = {"wire": self.wire, "log": self.log, "console": console_w}
        for name, path in disks.prepare().items():
            fds[name] = os.open(path, os.O_RDONLY)
        self.start(fds)
        for fd in fds.values():
            if fd not in (self.wire, self.log):
                os.close(fd)
        threading.Thread(target=self.outward, daemon=True).start()
        threading.Thread(target=self.inward, daemon=True).start()

    def start(self, fds):
        paths = {name: f"/proc/self/fd/{fd}" for name, fd in fds.items()}
        texts = []
        for text in (CONFIG.format(mib=self.memory >> 20, **paths), CONTINUE):
            texts.append(os.memfd_create("bochs-config"))
            os.write(texts[-1], text.encode())
        command = ["bochs", "-q", "-f", f"/proc/self/fd/{texts[0]}", "-rc", f"/proc/self/fd/{texts[1]}"]
        try:
            self.bochs = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self.said,
                                          pass_fds=[*fds.values(), *texts], cwd="/", preexec_fn=alone)
        except (OSError, subprocess.SubprocessError) as e:
            raise HostFailed(f"cannot start Bochs ({e}); run tools/setup/packages.sh intel") from e
        for fd in texts:
            os.close(fd)

    def outward(self):
        """Thread: Bochs's stdout, to the sockets.  Before the mark it is the debugger's."""
        out = Wire(self.bochs.stdout.fileno())
        try:
            while len(head := out.read(8)) == 8:
                kind, n = struct.unpack("<II", head)
                if kind & ~0xff != FRAME or not 1 <= kind & 0xff <= len(PORTS):
                    os.write(self.said, b"Bochs said what is no frame: " + head)
                    return
                send(self.theirs[PORTS[(kind & 0xff) - 1]], out.read(n))
        finally:
            for name in PORTS:
                self.theirs[name].shutdown(socket.SHUT_RDWR)

    def inward(self):
        """Thread: what is for the machine, onto its disk; then how much there is."""
        at, end = {"ctl": CTL_AT, "in": IN_AT}, {"ctl": IN_AT, "in": WIRE_BYTES}
        while at:
            for sock in select.select([self.theirs[name] for name in at], [], [])[0]:
                name = next(n for n in at if self.theirs[n] is sock)
                try:
                    data = sock.recv(1 << 18)
                except OSError:
                    data = b""
                if not data:
                    del at[name]
                    continue
                if at[name] + len(data) > end[name]:
                    os.write(self.said, f"more than {end[name] - (CTL_AT, IN_AT)[name == 'in']} bytes of "
                             f"{'stdin' if name == 'in' else 'control'} do not go with --vendor intel".encode())
                    self.bochs.kill()
                    return
                os.pwrite(self.wire, data, at[name])
                at[name] += len(data)
                os.pwrite(self.wire, struct.pack("<Q", at[name] - (CTL_AT, IN_AT)[name == "in"]), 8 * (name == "in"))

    def kill(self):
        if self.bochs.poll() is None:
            self.bochs.kill()
        self.bochs.wait()

    def read_console(self):
        data = os.read(self.ours["console"].fileno(), 65536)
        self.console += data
        if self.opts["console"]:
            os.write(2, data)
        del self.console[:-16384]
        return bool(data)

    def last_words(self):
        said = [x for fd in (self.said, self.log) for x in os.pread(fd, 1 << 20, 0).decode(errors="replace").splitlines()
                if "ALSA" not in x and "[PLUGIN" not in x]
        lines = self.console.decode(errors="replace").replace("\r", "").splitlines()
        return "\n".join([*said[-8:], *lines[-12:]]).strip()

    def dump_memory(self, path):
        """All of the guest's RAM, while it stands still.  Bochs keeps it in pieces of 1 MiB, in the order of their first use."""
        self.bochs.send_signal(signal.SIGSTOP)
        try:
            if os.waitid(os.P_PID, self.bochs.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT).si_code != os.CLD_STOPPED:
                raise HostFailed("Bochs ended before its memory was dumped")
            start = self.ram()
            with open(f"/proc/{self.bochs.pid}/mem", "rb", buffering=0) as src, open(path, "wb") as dst:
                dst.truncate(self.memory)
                for at in range(0, self.memory, 1 << 20):
                    src.seek(start + at)
                    piece = src.read(1 << 20)
                    if piece.count(0) != len(piece):
                        os.pwrite(dst.fileno(), piece, at)
        except OSError as e:
            raise HostFailed(f"dump to {path}: {e.strerror}") from e
        finally:
            self.bochs.send_signal(signal.SIGCONT)

    def ram(self):
        """Where it begins in Bochs: the one mapping that is as large, at the first whole page behind malloc's word."""
        with open(f"/proc/{self.bochs.pid}/maps", encoding="ascii") as f:
            for line in f:
                start, end = (int(x, 16) for x in line.split()[0].split("-"))
                if self.memory <= end - start < self.memory + (64 << 20):
                    return start + 4096
        raise HostFailed("the guest's memory was not found in Bochs")

"""A script cannot talk its way out: what the host saw stays what the host saw."""
import json
import struct

from lib import SLOWNESS, in_time, needs, run, scratch, stream_bytes, wall_s, write_file

PYTHON = "build/share/dolania/images/python.erofs"


def frame(kind, *values):
    """A frame of guest/wire.h, as init would send it."""
    return struct.pack("<II15Q", 0x30465244, kind, *values, *([0] * (15 - len(values))))


def test_fake_results_are_just_output():
    fake = json.dumps({"end": {"reason": "exited", "by": "host", "code": 0}, "host": {"wall_ns": 1}}).encode()
    text = fake + b"\n" + frame(3, 1, 0) + frame(2, 1) + b"\x00exit 0\n" + b"dolania: result: exited 0\n"
    with scratch() as d:
        file = write_file(d, "job.sh", "cat; cat /in/fake >&2; exit 3\n")
        write_file(d, "fake", text)
        r = run("--in", d, file, stdin=text)
        assert (r.code, r.reason, r.result["end"]["by"]) == (3, "exited", "guest")
        assert r.out == text
        assert r.err == text
        assert stream_bytes(r, "stdout") == stream_bytes(r, "stderr") == len(text)


VSOCK = r"""
import ctypes, errno, os, socket, sys
AF_VSOCK = 40
tried = refused = 0
for kind in (socket.SOCK_STREAM, socket.SOCK_DGRAM, socket.SOCK_SEQPACKET):
    for source in (None, 1, 600, 1023, 5000):
        tried += 1
        try:
            s = socket.socket(AF_VSOCK, kind)
            if source:
                s.bind((3, source))
            s.connect((2, 1))
            s.send(bytes.fromhex(sys.argv[1]))
            print("CONNECTED", kind, source)
        except OSError as e:
            refused += 1
for port in list(range(0, 64)) + [1023, 1024, 2**31, 2**32 - 1]:
    tried += 1
    try:
        s = socket.socket(AF_VSOCK, socket.SOCK_STREAM)
        s.connect((2, port))
        print("CONNECTED to", port)
    except OSError:
        refused += 1
try:
    socket.socketpair(AF_VSOCK)
    print("PAIR")
except OSError:
    pass
libc = ctypes.CDLL(None, use_errno=True)
# io_uring, bpf, userfaultfd, kexec, user namespaces, modules: there is no such door
for nr, args in ((425, (8, 0)), (321, (0, 0, 0)), (323, (0,)), (246, (0, 0, 0, 0)), (272, (0x10000000,)),
                 (175, (0, 0, 0)), (313, (0, 0, 0)), (165, (0, 0, 0, 0, 0)), (169, (0xfee1dead, 672274793, 0x1234567, 0))):
    if libc.syscall(nr, *args) >= 0:
        print("OPEN", nr)
# the 32-bit ways in: int $0x80, and the x32 numbers
import mmap
def child(code):
    pid = os.fork()
    if pid == 0:
        m = mmap.mmap(-1, 4096, prot=7)
        m.write(code)
        f = ctypes.CFUNCTYPE(ctypes.c_long)(ctypes.addressof(ctypes.c_char.from_buffer(m)))
        os._exit(1 if f() >= 0 else 0)
    return os.waitpid(pid, 0)[1]
int80 = bytes.fromhex("53 b867010000 bb28000000 b901000000 31d2 cd80 4863c0 5b c3")
x32 = bytes.fromhex("b829000040 bf28000000 be01000000 31d2 0f05 c3")
for code in (int80, x32):
    if os.waitstatus_to_exitcode(child(code)) == 1:
        print("ABI", code.hex())
print("tried", tried, "refused", refused)
sys.exit(4)
"""


@needs(PYTHON)
def test_no_vsock_port_opens():
    with scratch() as d:
        r = run(write_file(d, "job.py", VSOCK), frame(3, 1, 0).hex())
        assert (r.code, r.reason) == (4, "exited")
        assert r.out == b"tried 83 refused 83\n"


def test_kills_everything_it_can_reach():
    r = run("-c", "trap '' HUP TERM INT QUIT; sleep 100 & kill -9 -1; kill -9 1; kill -STOP 1; kill -9 $PPID; "
                  "kill -9 0 2>/dev/null; echo survived; exit 5")
    # 'kill -9 0' reaches the script's own group, the script with it.
    assert (r.code, r.reason) == (137, "signaled")


def test_cannot_kill_init():
    r = run("-c", "kill -9 -1 2>/dev/null; kill -9 1 && echo killed; kill -STOP 1 && echo stopped; "
                  "for p in /proc/[0-9]*; do p=${p#/proc/}; [ $p = $$ ] || kill -9 $p 2>/dev/null; done; "
                  "echo survived; exit 5")
    assert (r.code, r.out) == (5, b"survived\n")


def test_closes_everything():
    r = run("--exec", "--", "bash", "-c", "echo before; for i in {0..254}; do eval \"exec $i<&-\"; done; echo lost; exit 7")
    assert (r.code, r.out, r.reason) == (7, b"before\n", "exited")


def test_devices_and_kernel_knobs_are_shut():
    r = run("-c", "for f in /dev/kmsg /dev/vda /dev/vdb /dev/mem /dev/port /proc/kcore /proc/sysrq-trigger "
                  "/proc/1/mem /proc/1/environ /proc/sys/kernel/core_pattern /sys/fs/cgroup/cgroup.procs "
                  "/proc/1/fd/0 /proc/1/maps /dev/console /dev/vsock; do "
                  "( : <\"$f\" ) 2>/dev/null && echo \"read $f\"; ( : >>\"$f\" ) 2>/dev/null && echo \"write $f\"; done; "
                  "ls /proc/1/fd 2>/dev/null; busybox reboot -f 2>/dev/null && echo rebooted; "
                  "busybox mount -t tmpfs x /tmp 2>/dev/null && echo mounted; busybox umount -l /proc 2>/dev/null && echo umounted; "
                  "busybox insmod /tmp/x 2>/dev/null && echo module; chroot / true 2>/dev/null && echo chrooted; "
                  "unshare -U true 2>/dev/null && echo userns; exit 0")
    assert r.code == 0
    allowed = {"read /proc/sys/kernel/core_pattern", "read /sys/fs/cgroup/cgroup.procs"}
    assert set(r.text.splitlines()) <= allowed, r.text


def test_flooding_both_streams():
    wall = wall_s() + 4
    r = in_time(lambda: run("--wall", f"{wall}s", "--output", "256K", "-c",
                            "yes AAAAAAAAAAAAAAA >&2 & yes BBBBBBBBBBBBBBB & yes CCCCCCC & wait"))
    assert (r.code, r.reason) == (124, "wall_limit")
    assert len(r.out) == 256 << 10 and set(r.out) <= set(b"BC\n")
    assert r.err.startswith(b"AAAAAAAAAAAAAAA\n")
    assert 256 << 10 <= len(r.err) < (256 << 10) + 2000
    # what the host counted goes on past what it passed on
    assert stream_bytes(r, "stdout") > 256 << 10


def test_fork_bomb():
    wall = wall_s()
    # A shell whose fork is refused ends: so the outer one forks nothing any more.
    r = in_time(lambda: run("--wall", f"{wall}s", "-c", "b() { b | b & }; (b; b); echo bombed; while :; do :; done"))
    assert r.reason == "wall_limit", r
    assert r.took_s < wall + 10 * SLOWNESS


def test_fills_every_file_system():
    r = run("--wall", "40s", "-c",
            "for d in /tmp /work /dev/shm /run /var/tmp /out; do dd if=/dev/zero of=$d/fill bs=1M count=2048 2>/dev/null && echo $d; done; "
            "echo full; exit 6", timeout=100)
    assert (r.code, r.out) == (6, b"full\n"), r


def test_control_frames_through_every_descriptor():
    """Whatever descriptor the script has, bytes that look like init's frames are bytes."""
    with scratch() as d:
        write_file(d, "frame", frame(3, 1, 0))
        r = run("--in", d, "--exec", "--", "bash", "-c", "for fd in {0..20} 63 255; do cat /in/frame >&$fd; "
                "cat /in/frame >/proc/self/fd/$fd; done 2>/dev/null; exit 9")
        assert (r.code, r.reason, r.result["end"]["by"]) == (9, "exited", "guest")
        assert r.out == frame(3, 1, 0) * (len(r.out) // 128)


def test_a_liar_changes_only_what_is_the_guests_to_say():
    """The same work, once honest and once with lies around it: the host's view is the same kind."""
    honest = run("-c", "head -c 1000 /dev/zero; exit 0")
    liar = run("-c", "head -c 1000 /dev/zero; echo '{\"end\":{\"reason\":\"guest_panic\"}}' >/dev/null; "
                     "echo 'Kernel panic - not syncing: fake' >/dev/kmsg; logger -p kern.emerg fake; exit 0")
    for r in (honest, liar):
        assert (r.code, r.reason) == (0, "exited")
        assert stream_bytes(r, "stdout") == 1000
    assert set(honest.result["host"]) == set(liar.result["host"])

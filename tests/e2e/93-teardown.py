"""The end of a run has a bound, whatever holds the VMM, its pipes or the extractor."""
import contextlib
import ctypes
import glob
import os
import signal
import subprocess
import threading
import time

import lib
from lib import DOLANIA, SLOWNESS, Skip, hostile, scratch, slow

# tools/libdolania/confine.h: how long a process that was killed is waited for.
GONE_S = 30
PTRACE_CONT, PTRACE_DETACH, PTRACE_SEIZE, TRACE_EXIT = 7, 17, 0x4206, 1 << 6


@contextlib.contextmanager
def waiting_run(script, *options):
    """A run whose script said "up" and waits for a line; yields (its Popen, the VMM's pid, the result's path)."""
    if os.geteuid() != 0:
        raise Skip("needs root, to open what is the VMM's")
    with scratch() as d:
        path = os.path.join(d, "r.json")
        with subprocess.Popen([DOLANIA, "run", "--result", path, *options, "-c", f"echo up; read x; {script}"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            try:
                assert os.read(p.stdout.fileno(), 3) == b"up\n"
                yield p, child_of(p.pid, "dolania-vmm"), path
            finally:
                p.kill()
                p.wait(30 * SLOWNESS)


def child_of(pid, name):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        for child in map(int, f.read().split()):
            with open(f"/proc/{child}/stat", encoding="ascii") as s:
                if f"({name[:15]})" in s.read():
                    return child
    raise AssertionError(f"{pid} has no child {name}")


def copies_of_pipes(vmm):
    """Ends of our own of all pipes that the VMM may write to: stdout, stderr, its log and notices."""
    copies = []
    for fd in glob.glob(f"/proc/{vmm}/fd/*"):
        if os.readlink(fd).startswith("pipe:"):
            with open(f"/proc/{vmm}/fdinfo/{os.path.basename(fd)}", encoding="ascii") as f:
                flags = next(int(line.split()[1], 8) for line in f if line.startswith("flags:"))
            if flags & os.O_ACCMODE == os.O_WRONLY:
                copies.append(os.open(fd, os.O_WRONLY | os.O_NONBLOCK))
    return copies


def end_of(p, path, timeout, send=b"go\n"):
    """The Run, once it has ended by itself; how long that took."""
    started = time.monotonic()
    try:
        out, err = p.communicate(send, timeout=timeout)
    except subprocess.TimeoutExpired as e:
        raise AssertionError(f"no end within {timeout} s") from e
    r = lib.read_result(path)
    r.code, r.out, r.err, r.took_s = p.returncode, out, err, time.monotonic() - started
    lib.last_run = r
    return r


def test_a_stray_copy_of_the_vmms_pipes():
    """Another process has them open: no end of file will come, and every byte was there before."""
    for size in (5, 300000):
        with waiting_run(f"head -c {size} /dev/zero | tr '\\0' x; echo last >&2") as (p, vmm, path):
            copies = copies_of_pipes(vmm)
            assert len(copies) == 5, copies     # its log is 1 and 2
            r = end_of(p, path, 20 * SLOWNESS)
            for fd in copies:
                os.close(fd)
        assert (r.code, r.reason) == (0, "exited") and r.out == b"x" * size and r.err == b"last\n", r


def test_a_stray_writer_does_not_make_it_endless():
    """What another process writes after the VMM's end is not the run's."""
    with waiting_run("echo last") as (p, vmm, path):
        copies, over = copies_of_pipes(vmm), threading.Event()

        def flood(fd):
            while not over.is_set():
                with contextlib.suppress(BlockingIOError, BrokenPipeError):
                    os.write(fd, b"y" * 4096)

        threads = [threading.Thread(target=flood, args=(fd,)) for fd in copies]
        for t in threads:
            t.start()
        try:
            r = end_of(p, path, 30 * SLOWNESS)
        finally:
            over.set()
            for t in threads:
                t.join()
            for fd in copies:
                os.close(fd)
    assert r.reason == "exited" and r.code == 0, str(r)[:2000]


class Held:
    """The VMM is traced by us, and we never wait for it: its parent cannot reap it."""

    def __init__(self, pid, options=0):
        self.pid, self.ptrace = pid, ctypes.CDLL(None, use_errno=True).ptrace
        self.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
        assert self.ptrace(PTRACE_SEIZE, pid, None, options) == 0, os.strerror(ctypes.get_errno())

    def let_go(self):
        for _ in range(3):
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self.pid, 0x40000000 | os.WNOHANG)
            self.ptrace(PTRACE_DETACH, self.pid, None, None)


def judge_left(r):
    host = r.result["host"]
    assert host["vmm"]["left"] and host["vmm"]["status"] is None and host["vmm"]["signal"] is None, r
    assert not host["discard"]["complete"], r
    assert any("did not disappear" in x for x in host["discard"]["excluded"]), r
    assert any("did not disappear" in x for x in r.result["end"]["notes"]), r


@hostile
def test_a_vmm_that_was_killed_and_does_not_disappear():
    """Held by a debugger after its death, as by a kernel that is stuck: waited for, then left, and that is said."""
    with waiting_run("true") as (p, vmm, path):
        held = Held(vmm)
        os.kill(vmm, signal.SIGKILL)
        r = end_of(p, path, (GONE_S + 15) * SLOWNESS, send=None)
        held.let_go()
    assert r.reason == "vmm_fault" and r.code == 121 and GONE_S - 1 < r.took_s, r
    judge_left(r)


@hostile
def test_a_cancelled_vmm_that_does_not_disappear():
    with waiting_run("true") as (p, vmm, path):
        held = Held(vmm)
        os.kill(vmm, signal.SIGSTOP)
        p.terminate()
        r = end_of(p, path, (GONE_S + 15) * SLOWNESS, send=None)
        held.let_go()
    assert r.reason == "cancelled" and p.returncode == -signal.SIGTERM, r
    judge_left(r)


@slow
def test_a_vmm_that_ended_its_run_and_stays():
    """What it sent counts; nothing is read from its disks, which it may still write to, so it is no success."""
    with scratch() as d, waiting_run("echo last; echo x > /out/f", "--out", f"{d}/out") as (p, vmm, path):
        held = Held(vmm, TRACE_EXIT)
        r = end_of(p, path, (2 * GONE_S + 60) * SLOWNESS)
        held.let_go()
        assert os.listdir(f"{d}/out") == []
    assert (r.code, r.reason, r.out) == (125, "host_io", b"last\n") and r.result["host"]["vmm"]["killed"], r
    assert "not all of /out came back" in r.result["end"]["message"], r
    judge_left(r)


def test_a_held_vmm_that_is_let_go_is_no_news():
    """Dead, and reaped late: as any other run that was cancelled."""
    with waiting_run("true") as (p, vmm, path):
        held = Held(vmm)
        p.terminate()
        time.sleep(3)
        assert p.poll() is None
        held.let_go()
        r = end_of(p, path, 15 * SLOWNESS, send=None)
    assert r.reason == "cancelled" and not r.result["host"]["vmm"]["left"], r
    assert r.result["host"]["discard"]["complete"], r


@slow
def test_an_extractor_that_takes_nothing():
    """Stopped, as one that an archive took over could stop itself."""
    with scratch() as d, waiting_run("head -c 900k /dev/zero > /out/f", "--out", f"{d}/out", "--disk", "1M") as (p, _, path):
        os.kill(child_of(p.pid, "dolania-extract"), signal.SIGSTOP)
        r = end_of(p, path, 400)
    assert r.code == 125 and r.reason == "host_io" and b"the extractor was killed" in r.err, r


def test_doctor_ends():
    assert "Runs can work here" in lib.command("doctor").stdout

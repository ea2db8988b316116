"""Events: what is told of a guest's oddities, when, and that stock guests raise no alarm."""
import json
import os
import signal
import subprocess
import threading
import time

from lib import DOLANIA, SLOWNESS, TOP, guest_with, needs, run, scratch, write_file

PYTHON = "build/share/dolania/images/python.erofs"


def lines(path):
    with open(path, encoding="utf-8") as f:
        return [json.loads(line) for line in f]


def worst(r):
    return max(e["severity"] for e in r.result["events"])


def test_an_event_is_told_while_the_guest_still_runs():
    with scratch() as d:
        path = os.path.join(d, "events")
        seen = []

        def watch():
            end = time.monotonic() + 60 * SLOWNESS
            while time.monotonic() < end and not seen:
                if os.path.exists(path) and any(e["kind"] == "vsock_refused" for e in lines(path)):
                    seen.append(time.monotonic())
                time.sleep(0.05)
        thread = threading.Thread(target=watch)
        thread.start()
        r = run(*guest_with(init="knocks"), "--events", path, "-c", "exit 3")
        ended = time.monotonic()
        thread.join()
        assert (r.code, r.reason) == (3, "exited"), r
        assert seen and ended - seen[0] > 1, (seen, ended)
        mine = [e for e in lines(path) if e["kind"] == "vsock_refused"]
        # when it was first seen (by a slow reader when there were two), and at the end if the count is another
        assert [e["count"] for e in mine] in ([1, 2], [2]), mine
        assert all(e["severity"] == "S2" and e["first_value"] == 77 for e in mine)
        assert all(e["run_id"] == r.result["run_id"] for e in lines(path))
        assert 0 < mine[0]["ns"] and mine == sorted(mine, key=lambda e: e["ns"])
        assert {"severity": "S2", "kind": "vsock_refused", "count": 2, "first_value": 77} in r.result["events"]


def test_events_file_is_appended_to_by_several_runs():
    with scratch() as d:
        path = os.path.join(d, "events")
        ids = [run("--events", path, "-c", "true").result["run_id"] for _ in range(2)]
        assert {e["run_id"] for e in lines(path)} == set(ids)
        assert {e["severity"] for e in lines(path)} == {"S0"}, "boot probes and nothing else"


def test_events_file_that_cannot_be_written_is_told():
    with scratch() as d:
        r = run("--events", d, "-c", "true")
        assert (r.code, r.reason, r.errlines) == (125, "usage", 1)
        assert d in r.errtext and "Is a directory" in r.errtext
    r = run("--events", "/dev/full", "-c", "exit 4")
    assert (r.code, r.reason) == (4, "exited")
    assert "cannot write --events: No space left on device" in r.errtext


def test_events_reader_that_does_not_read_costs_lines_not_time():
    with scratch() as d:
        path = os.path.join(d, "fifo")
        os.mkfifo(path)
        fd = os.open(path, os.O_RDWR)
        filler = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        try:
            while True:
                os.write(filler, b"x" * 4096)
        except BlockingIOError:
            pass
        r = run("--events", path, "-c", "exit 5")
        os.close(filler)
        os.close(fd)
        assert (r.code, r.reason) == (5, "exited")
        assert "did not keep up" in r.errtext


def test_cancel_while_a_result_pipe_has_no_reader():
    """Found in review: open(2) waited for the reader, deaf to every signal."""
    with scratch() as d:
        path = os.path.join(d, "fifo")
        os.mkfifo(path)
        for option in ("--result", "--events"):
            with subprocess.Popen([DOLANIA, "run", option, path, "-c", "true"]) as p:
                time.sleep(0.5)
                assert p.poll() is None
                p.send_signal(signal.SIGINT)
                assert p.wait(timeout=10) == -signal.SIGINT
        with subprocess.Popen([DOLANIA, "run", "--result", path, "-c", "exit 6"]) as p:
            with open(path, encoding="utf-8") as f:
                assert json.load(f)["end"]["code"] == 6
            assert p.wait(timeout=60) == 6


# No benign run raises S3 or more.  lib.run_one() sees to that in every test of
# this suite; these are the loads that a monitor could take for an attack.

def test_fork_bomb_is_no_attack_on_the_host():
    r = run("--pids", "40", "--wall", f"{20 * SLOWNESS}s", "-c", ":(){ :|:& }; : 2>/dev/null; sleep 2; exit 0")
    assert r.reason in ("exited", "wall_limit", "signaled"), r
    assert worst(r) <= "S1", r


def test_memory_hog_is_no_attack():
    r = run("--memory", "64M", "-c", "x=0123456789abcdef; while :; do x=$x$x; done")
    assert r.reason == "guest_oom", r
    assert {"severity": "S1", "kind": "guest_oom", "count": 1, "first_value": 0} in r.result["events"]
    assert worst(r) == "S1"


@needs(PYTHON)
def test_a_debugger_is_no_attack():
    """Found in review: block steps make the guest's kernel ask for one and the same MSR, each time."""
    r = run("--runtime", "python", "-c", """
import ctypes, os, signal, sys
libc = ctypes.CDLL(None)
libc.ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
pid = os.fork()
if pid == 0:
    libc.ptrace(0, 0, None, None)
    os.kill(os.getpid(), signal.SIGSTOP)
    for i in range(10000):
        pass
    os._exit(0)
os.waitpid(pid, 0)
steps = 0
while steps < 500:
    libc.ptrace(33, pid, None, None)
    if not os.WIFSTOPPED(os.waitpid(pid, 0)[1]):
        break
    steps += 1
print(steps, flush=True)
os._exit(0)
""")
    assert (r.code, r.reason) == (0, "exited") and int(r.text) > 100, r
    assert worst(r) <= "S1", r


def test_panic_is_odd_and_no_attack():
    r = run(*guest_with(init="panics"), "-c", "true")
    assert r.reason == "guest_panic", r
    assert worst(r) == "S1", r


@needs(PYTHON)
def test_compilers_at_work_raise_nothing():
    """Python's own compiler over its library; cc1, brought in, over a source of ours."""
    r = run("--runtime", "python", "-c", "import glob, py_compile\n"
            "for f in glob.glob('/usr/lib/python3.11/asyncio/*.py'):\n"
            "    py_compile.compile(f, cfile='/tmp/x.pyc', doraise=True)\n")
    assert (r.code, worst(r)) == (0, "S0"), r
    cc1 = subprocess.run(["gcc", "-print-prog-name=cc1"], capture_output=True, text=True, check=True).stdout.strip()
    needed = subprocess.run(["ldd", cc1], capture_output=True, text=True, check=True).stdout.split()
    libs = [word for word in needed if word.startswith("/")]
    with scratch() as d:
        for file in [cc1, *libs]:
            subprocess.run(["cp", "-L", file, d], check=True)
        source = os.path.join(TOP, "vmm/virtio/queue.c")
        subprocess.run(["gcc", "-E", "-P", f"-I{TOP}", "-o", os.path.join(d, "queue.i"), source], check=True)
        write_file(d, "job.sh", "set -e\n/in/ld-linux-x86-64.so.2 --library-path /in /in/cc1 -quiet -fpreprocessed -O2 "
                                "/in/queue.i -o /tmp/queue.s\ngrep -c '^queue_pop:' /tmp/queue.s\n")
        r = run("--in", d, "--wall", f"{60 * SLOWNESS}s", os.path.join(d, "job.sh"))
        assert (r.code, r.text) == (0, "1\n"), r
        assert worst(r) == "S0", r

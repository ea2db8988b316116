"""The command on a terminal: Ctrl-Z and fg, Ctrl-C, and what the guest may send to it."""
import ctypes
import os
import pty
import re
import select
import signal
import subprocess
import tempfile
import time

from lib import DOLANIA, SLOWNESS, read_result


class Terminal:
    """An interactive bash on a terminal of its own."""

    def __init__(self):
        self.seen = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.environ.update(PS1="$ ", TERM="dumb", HISTFILE="/dev/null")
            os.execvp("bash", ["bash", "--norc", "--noprofile", "--noediting", "-i"])

    def __enter__(self):
        self.type("stty -echo; echo rea''dy\n")
        self.expect(rb"ready")
        return self

    def __exit__(self, *_):
        os.kill(self.pid, signal.SIGKILL)
        os.close(self.fd)
        os.waitpid(self.pid, 0)

    def type(self, text):
        os.write(self.fd, text.encode())

    def expect(self, pattern, limit_s=30):
        """Reads until `pattern` was seen; takes everything up to its end."""
        deadline = time.monotonic() + limit_s * SLOWNESS
        while True:
            found = re.search(pattern, self.seen)
            if found:
                got, self.seen = self.seen[:found.end()], self.seen[found.end():]
                return got
            left = deadline - time.monotonic()
            assert left > 0, f"no {pattern!r} in {self.seen!r}"
            if select.select([self.fd], [], [], left)[0]:
                self.seen += os.read(self.fd, 65536)


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
        return [int(x) for x in f.read().split()]


def stat_of(pid):
    """From the state on; "X" if there is no such process."""
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(") ")[2].split()
    except FileNotFoundError:
        return ["X"]


def state(pid):
    return stat_of(pid)[0]


def cpu_ticks(pid):
    return sum(map(int, stat_of(pid)[11:13]))


def wait_until(true, limit_s=5):
    deadline = time.monotonic() + limit_s * SLOWNESS
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_ctrl_z_and_fg():
    with tempfile.TemporaryDirectory() as d, Terminal() as t:
        t.type(f"{DOLANIA} run --wall 200s --result {d}/r -c 'echo st''arted; i=0; "
               "while [ $i -lt 40 ]; do i=$((i+1)); echo tick$i; sleep 0.1; done; exit 11'; echo status=$?.\n")
        t.expect(rb"tick3\b")
        t.type("\x1a")
        t.expect(rb"Stopped")
        t.type("jobs -l; echo asked\n")
        t.expect(rb"asked")
        time.sleep(1)
        t.type("fg\n")
        t.expect(rb"tick40\b")
        t.type("echo status=$?.\n")
        t.expect(rb"status=11\.")
        r = read_result(f"{d}/r")
        assert r.reason == "exited", r


def test_ctrl_z_and_fg_twice_while_spinning():
    with tempfile.TemporaryDirectory() as d, Terminal() as t:
        t.type(f"{DOLANIA} run --wall 200s --result {d}/r -c 'echo begun; i=0; "
               "while [ $i -lt 300000 ]; do i=$((i+1)); done; echo finished; exit 12'\n")
        t.expect(rb"begun")
        for _ in range(2):
            t.type("\x1a")
            t.expect(rb"Stopped")
            t.type("fg\n")
            time.sleep(0.3)
        t.expect(rb"finished", 60)
        t.type("echo status=$?.\n")
        t.expect(rb"status=12\.")
        assert read_result(f"{d}/r").reason == "exited"


def test_ctrl_c():
    with tempfile.TemporaryDirectory() as d, Terminal() as t:
        t.type(f"{DOLANIA} run --result {d}/r -c 'echo begun; sleep 1000'\n")
        t.expect(rb"begun")
        t.type("\x03")
        time.sleep(0.5)
        t.type("\necho status=$?.\n")
        t.expect(rb"status=130\.")
        assert read_result(f"{d}/r").reason == "cancelled"


def test_ctrl_backslash_does_not_leave_a_vm():
    with Terminal() as t:
        t.type(f"{DOLANIA} run -c 'echo begun; sleep 1000'\n")
        t.expect(rb"begun")
        t.type("\x1c")
        t.type("\necho status=$?.\n")
        t.expect(rb"status=(131|130|143)\.")


def test_control_sequences_are_harmless_on_a_terminal():
    with Terminal() as t:
        t.type(f"{DOLANIA} run -c \"printf 'A\\033]0;title\\007B\\033[2JC\\033P+q\\033\\\\\\\\D\\233E\\n'; "
               "printf 'err\\033[6n\\n' >&2\"; echo sta''tus=$?.\n")
        got = t.expect(rb"status=0\.")
        assert b"\x1b" not in got and b"\x9b" not in got and b"\x07" not in got, got
        assert b"A" in got and b"E" in got


def test_output_is_untouched_when_redirected():
    with tempfile.TemporaryDirectory() as d, Terminal() as t:
        t.type(f"{DOLANIA} run -c \"printf 'A\\033[2JB\\n'\" >{d}/out; echo sta''tus=$?.\n")
        t.expect(rb"status=0\.")
        with open(f"{d}/out", "rb") as f:
            assert f.read() == b"A\x1b[2JB\n"


def test_terminal_is_not_passed_as_stdin():
    with Terminal() as t:
        t.type(f"{DOLANIA} run -c 'read x; echo \"got=$x.\"'; echo sta''tus=$?.\n")
        got = t.expect(rb"status=0\.")
        assert b"got=." in got, got


def test_a_vm_that_waits_after_ctrl_z_ends_with_its_supervisor():
    """Found in review: it was really stopped, and stayed so where no init takes orphans of another session.

    As in a container whose first process is a shell: we inherit it, from our own session.
    """
    pr_set_child_subreaper = 36
    libc = ctypes.CDLL(None)
    libc.prctl(pr_set_child_subreaper, 1)
    try:
        with subprocess.Popen([DOLANIA, "run", "-c", "echo up; while :; do :; done"], stdout=subprocess.PIPE,
                              process_group=0) as p:    # one that can be stopped: not an orphan
            assert p.stdout.readline() == b"up\n"
            vmm = children(p.pid)[0]
            p.send_signal(signal.SIGTSTP)
            wait_until(lambda: state(p.pid) == "T")
            time.sleep(0.3)
            used = cpu_ticks(vmm)
            time.sleep(0.5)
            assert cpu_ticks(vmm) == used, "the guest goes on"
            p.kill()
        wait_until(lambda: state(vmm) in "ZX", 15)
        os.waitpid(vmm, 0)
    finally:
        libc.prctl(pr_set_child_subreaper, 0)

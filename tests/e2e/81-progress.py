"""The line on a terminal that says what a run is doing: where it is, where it is not, and that it leaves no trace."""
import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import tempfile
import termios
import time

from lib import DOLANIA, SLOWNESS, read_result, wall_s

ERASE = b"\r\x1b[K"
LINE = re.compile(rb"\rdolania: [a-z]+[^\r\n\x1b]*\x1b\[K")


class Screen:
    """What a terminal shows of the bytes that came: the lines, and the one that the cursor is in."""

    def __init__(self):
        self.lines, self.now, self.at = [], bytearray(), 0

    def take(self, data):
        i = 0
        while i < len(data):
            if data.startswith(b"\x1b[K", i):
                del self.now[self.at:]
                i += 3
                continue
            c = data[i]
            i += 1
            if c == 0x0d:
                self.at = 0
            elif c == 0x0a:
                self.lines.append(bytes(self.now))
                self.now, self.at = bytearray(), 0
            else:
                self.now[self.at:self.at + 1] = bytes([c])
                self.at += 1


def on_terminal(*args, env=None, columns=80, stdout=None, act=None, shell=None):
    """Runs it with stderr (and stdout, and the controlling terminal) a terminal; (status, bytes, moments of each)."""
    env = {**os.environ, "TERM": "xterm", "NO_COLOR": "", **(env or {})}
    pid, fd = pty.fork()
    if pid == 0:
        if stdout is not None:
            os.dup2(stdout, 1)
        if shell:
            os.execve("/bin/bash", ["bash", "--norc", "-c", shell], env)
        os.execve(DOLANIA, [DOLANIA, "run", *map(str, args)], env)
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    seen, moments, deadline = b"", [], time.monotonic() + 60 * SLOWNESS
    while time.monotonic() < deadline:
        if act:
            act(fd, seen)
        if not select.select([fd], [], [], 0.2)[0]:
            continue
        try:
            data = os.read(fd, 65536)
        except OSError:
            break
        moments.append((time.monotonic(), data))
        seen += data
    os.close(fd)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), seen, moments


def shown(data):
    s = Screen()
    s.take(data)
    return s.lines, bytes(s.now)


def slow(*more):
    return ("--wall", f"{wall_s() * 4}s", *more, "-c", "sleep 3; echo one; sleep 2; echo two >&2; sleep 2; exit 5")


def test_what_is_being_done_is_told_and_nothing_is_left_of_it():
    status, seen, moments = on_terminal(*slow())
    assert status == 5, seen
    assert re.search(rb"\rdolania: running \d+s/[\dms]+\x1b\[K", seen), seen
    assert len(set(re.findall(rb"running (\d+)s", seen))) >= 4, seen
    assert shown(seen) == ([b"one", b"two"], b""), seen
    assert b"collecting" not in seen, seen              # there is nothing to collect
    # no more than four a second, and nothing in the first half
    draws = [t for t, data in moments for _ in LINE.findall(data)]
    assert len(draws) <= 4 * (draws[-1] - draws[0]) + 2, (len(draws), draws[-1] - draws[0])
    # the only sequence is 'erase to the end of the line'
    assert set(re.findall(rb"\x1b..?", seen)) == {b"\x1b[K"}, seen


def test_where_it_is_not_drawn():
    for env, more in (({}, ("--quiet",)), ({"NO_COLOR": "1"}, ()), ({"TERM": "dumb"}, ()), ({"TERM": ""}, ()), ({}, ("-i",))):
        status, seen, _ = on_terminal(*slow(*more), env=env)
        assert status == 5 and seen == b"one\r\ntwo\r\n", (env, more, seen)
    # narrower than the line
    status, seen, _ = on_terminal(*slow(), columns=12)
    assert status == 5 and seen == b"one\r\ntwo\r\n", seen
    # stderr is no terminal, though stdout is
    with tempfile.TemporaryDirectory() as d:
        status, seen, _ = on_terminal(shell=f"exec {DOLANIA} run --wall 100s -c 'sleep 3; echo one' 2>{d}/err")
        assert status == 0 and seen == b"one\r\n", seen
        assert os.path.getsize(f"{d}/err") == 0


def test_a_short_run_shows_nothing():
    """Before half a second has passed; an emulated host takes longer than that to boot one."""
    status, seen, moments = on_terminal("--wall", "100s", "nonexistent-script")
    assert status == 125 and b"\x1b" not in seen, seen
    started = time.monotonic()
    _, seen, moments = on_terminal("--wall", "100s", "-c", "true")
    first = next((t for t, data in moments if LINE.search(data)), None)
    assert first is None or first - started >= 0.45, first - started
    assert shown(seen) == ([], b""), seen


def test_a_line_that_the_script_has_not_ended_is_not_broken():
    script = "printf begun; sleep 3; printf ' more'; sleep 2; echo .; sleep 2; printf 'err' >&2; sleep 3"
    status, seen, _ = on_terminal("--wall", "200s", "-c", script)
    assert status == 0
    assert shown(seen) == ([b"begun more."], b"err"), seen
    assert not LINE.search(seen[seen.index(b"begun"):seen.index(b".\r\n")]), seen
    assert LINE.search(seen[seen.index(b".\r\n"):]), seen        # and then again
    assert not LINE.search(seen[seen.index(b"err"):]), seen


def test_many_lines_on_both_streams_are_whole():
    script = "i=0; while [ $i -lt 40 ]; do echo out$i; echo err$i >&2; i=$((i+1)); sleep 0.1; done"
    status, seen, _ = on_terminal("--wall", "200s", "-c", script)
    lines, rest = shown(seen)
    assert status == 0 and rest == b"", seen
    assert sorted(lines) == sorted([b"out%d" % n for n in range(40)] + [b"err%d" % n for n in range(40)]), lines


def test_our_own_lines_stand_alone():
    wall = wall_s()
    status, seen, _ = on_terminal("--wall", f"{wall}s", "-c", "echo x; sleep 1000")
    lines, rest = shown(seen)
    assert status == 124 and rest == b"", seen
    assert lines[0] == b"x" and lines[1].startswith(b"dolania: wall limit of ") and len(lines) == 2, lines


def test_a_pipe_may_end_on_the_same_screen():
    """Before its first byte the line is erased, and it does not come back: who reads may write to the terminal."""
    status, seen, _ = on_terminal(shell=f"{DOLANIA} run --wall 200s -c 'sleep 3; echo one; sleep 4; echo two' | cat")
    assert status == 0 and shown(seen) == ([b"one", b"two"], b""), seen
    assert LINE.search(seen[:seen.index(b"one")]) and not LINE.search(seen[seen.index(b"one"):]), seen


def test_a_file_gets_nothing_of_it():
    with tempfile.TemporaryFile() as out:
        status, seen, _ = on_terminal(*slow(), stdout=out.fileno())
        out.seek(0)
        assert out.read() == b"one\n"
    assert status == 5 and shown(seen) == ([b"two"], b""), seen
    assert LINE.search(seen[seen.index(b"two"):]), seen     # it goes on after the script's own line


def test_what_comes_back_is_collected_by_then():
    with tempfile.TemporaryDirectory() as d:
        status, seen, _ = on_terminal("--wall", "200s", "--out", f"{d}/out", "-c", "echo one; echo x >/out/f; sleep 2")
        assert os.path.getsize(f"{d}/out/f") == 2
    assert status == 0 and shown(seen) == ([b"one"], b""), seen
    assert re.search(rb"\rdolania: collecting\x1b\[K", seen), seen
    # the second VM is not told as a run of its own
    assert not re.search(rb"booting|running", seen[seen.index(b"collecting"):]), seen


def test_a_line_that_was_begun_stays_while_files_are_collected():
    with tempfile.TemporaryDirectory() as d:
        status, seen, _ = on_terminal("--wall", "200s", "--out", f"{d}/out", "-c", "echo x >/out/f; sleep 3; printf begun")
        assert os.path.getsize(f"{d}/out/f") == 2
    assert status == 0 and shown(seen) == ([], b"begun") and not LINE.search(seen[seen.index(b"begun"):]), seen


def test_ctrl_c_leaves_no_line():
    typed = []

    def act(fd, seen):
        if not typed and re.search(rb"running \d+s", seen):
            typed.append(os.write(fd, b"\x03"))
    status, seen, _ = on_terminal("--wall", "200s", "-c", "sleep 1000", act=act)
    lines, rest = shown(seen)
    assert status == -signal.SIGINT and rest == b"" and len(lines) == 1 and b"cancelled" in lines[0], seen


def test_not_from_the_background():
    done = f"{DOLANIA} run --wall 100s -c 'sleep 4; exit 3' & wait $!; echo status=$?."
    status, seen, _ = on_terminal(shell=f"set -m; {done}")
    assert status == 0 and not LINE.search(seen) and b"status=3." in seen, seen


def test_a_terminal_that_takes_nothing_does_not_hold_up_the_end():
    """Its reader is gone for a while, as after Ctrl-S; the wall limit is kept all the same."""
    wall = wall_s()
    with tempfile.TemporaryDirectory() as d:
        master, slave = pty.openpty()
        termios.tcflow(slave, termios.TCOOFF)
        with subprocess.Popen([DOLANIA, "run", "--result", f"{d}/r", "--wall", f"{wall}s", "-c", "sleep 1000"], stderr=slave,
                              stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, env={**os.environ, "TERM": "xterm"}) as p:
            time.sleep(wall * 3 + 2)
            termios.tcflow(slave, termios.TCOON)
            assert p.wait(30 * SLOWNESS) == 124
        r = read_result(f"{d}/r")
        assert r.reason == "wall_limit" and not r.result["host"]["vmm"]["killed"], r
        os.close(slave)
        os.close(master)

"""What a script leaves running is killed at its end: a note and the result count it, and what it wrote is delivered."""
from lib import needs, run

PYTHON = "build/share/dolania/images/python.erofs"
FORKS = """
import os, signal, sys, time
def leave(what):
    r, w = os.pipe()
    if os.fork() == 0:
        what()
        print(os.getpid() > 0, flush=True)
        os.write(w, b'x')
        signal.pause()
    os.read(r, 1)
def twice():
    if os.fork() > 0:
        os._exit(0)
def deaf():
    for s in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(s, signal.SIG_IGN)
"""


def note(n):
    return f"guest killed {n} process{'' if n == 1 else 'es'} that the script left running; 'wait' in the script lets them finish"


def left(n, r, code=0):
    assert (r.code, r.result["guest"]["killed_processes"]) == (code, n), r
    assert r.result["end"]["notes"] == ([note(n)] if n else []), r
    assert r.errtext.endswith(f"dolania: note: {note(n)}\n") if n else r.err == b"", r


def test_a_note_counts_them():
    for n, code, script in ((1, 0, "sleep 1000 & echo x"), (3, 7, "sleep 1000 & sleep 1000 & sleep 1000 & echo x; exit 7"),
                            (1, 0, "setsid sleep 1000 & sleep 0.5; echo x"), (1, 0, "(sleep 1000 &) ; echo x"),
                            (1, 0, "sleep 1000 & kill -STOP $!; echo x"), (1, 0, "nohup sleep 1000 >/dev/null 2>&1 & echo x"),
                            (1, 137, "sleep 1000 & echo x; kill -9 $$")):
        r = run("-c", script)
        assert r.out == b"x\n", r
        if code == 137:
            assert r.result["guest"]["killed_processes"] == n and note(n) in r.errtext, r
        else:
            left(n, r, code)


def test_none_where_none_is_left():
    for script in ("true", "sleep 0.2 & wait", "sleep 1000 & kill $!; wait", "yes | head -n 1 >/dev/null", "exit 0 | exit 0",
                   "true & true & wait", "(true &); sleep 0.5"):
        left(0, run("-c", script))


def test_its_output_before_is_there_and_later_is_not():
    r = run("-c", "(echo early; sleep 1000; echo late) & sleep 0.5")
    assert r.out == b"early\n", r
    left(2, r)         # the subshell and its sleep


@needs(PYTHON)
def test_however_they_hide():
    r = run("--runtime", "python", "-c", FORKS + "for what in (os.setsid, twice, deaf, lambda: None): leave(what)")
    assert r.out == b"True\n" * 4, r
    left(4, r)
    # threads are of one process
    r = run("--runtime", "python", "-c", FORKS + "import threading\ndef many():\n"
            "    for _ in range(3): threading.Thread(target=time.sleep, args=(1000,), daemon=True).start()\nleave(many)")
    assert r.out == b"True\n", r
    left(1, r)


def test_not_those_that_were_killed_for_memory():
    r = run("--memory", "32M", "-c", "sleep 1000 & tail /dev/zero")
    assert r.reason == "guest_oom" and r.result["guest"]["killed_processes"] == 0 and r.result["end"]["notes"] == [], r

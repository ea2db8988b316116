"""What Python printed before a run was ended has arrived: its lines are written as they are printed."""
import os
import signal
import subprocess
import tempfile

from lib import DOLANIA, SLOWNESS, hostile, guest_with, needs, read_result, run, scratch, wall_s, write_file

PYTHON = "build/share/dolania/images/python.erofs"
NODE = "build/share/dolania/images/node.erofs"
PRINT = "print('step 1'); print('step', 2, '\\u00e9'); "
KEPT = "step 1\nstep 2 \u00e9\n".encode()
SLEEP = PRINT + "import time; time.sleep(1000)"


def python(*args):
    return run("--runtime", "python", *args)


def ended(r, reason, printed=KEPT):
    assert (r.reason, r.out) == (reason, printed), r


@needs(PYTHON)
def test_at_a_limit():
    wall = f"{2 * wall_s()}s"
    ended(python("--wall", wall, "-c", SLEEP), "wall_limit")
    ended(python("--wall", wall, "-c", PRINT + "\nwhile True: pass"), "wall_limit")
    ended(python("--cpu-time", wall, "--wall", "200s", "-c", PRINT + "\nwhile True: pass"), "cpu_limit")
    ended(python("--memory", "48M", "-c", PRINT + "x = []\nwhile True: x.append(bytes(1 << 20))"), "guest_oom")
    with scratch() as d:
        kills = write_file(d, "kills.ini", "[policy]\nlike = standard\n[kill]\noutput = yes\n")
        r = python("--policy", kills, "--output", "64", "-c", PRINT + "import time; print('x' * 100); time.sleep(1000)")
        assert r.reason == "output_limit" and r.out.startswith(KEPT), r


@needs(PYTHON)
def test_at_its_own_hand():
    for code in ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "import os; os._exit(3)", "import os; os.abort()",
                 "import ctypes; ctypes.string_at(0)"):
        r = python("-c", PRINT + code)
        assert r.out == KEPT and r.code != 0, r


@needs(PYTHON)
def test_when_cancelled():
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "result")
        with subprocess.Popen([DOLANIA, "run", "--wall", "200s", "--result", path, "--runtime", "python", "-c", SLEEP],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as p:
            assert p.stdout.read(len(KEPT)) == KEPT      # while it sleeps
            p.send_signal(signal.SIGTERM)
            assert p.communicate(timeout=60 * SLOWNESS)[0] == b""
        assert read_result(path).reason == "cancelled"


@hostile
@needs(PYTHON)
def test_when_the_guest_panics():
    r = python(*guest_with(init="panics"), "-c", PRINT + "import os; os._exit(3)")
    ended(r, "guest_panic")


@needs(PYTHON)
def test_however_python_is_started():
    """-S alone starts without site, and so without the hook."""
    end = "; import os; os._exit(0)"
    code = "print('a'); print('b')" + end
    with scratch() as d:
        write_file(d, "m.py", code.replace("; ", "\n"))

        calls = (("-I", "-c", code), ("-E", "-c", code), ("-s", "-c", code), ("-B", "-O", "-c", code), ("-u", "-c", code),
                 ("-X", "utf8", "-c", code), ("-m", "m"), ("m.py",),
                 ("-c", f"import subprocess, sys, os; subprocess.run([sys.executable, '-I', '-c', {code!r}]); os._exit(0)"),
                 ("-c", "import os, sys\nprint('a')\nif os.fork() == 0: print('b'); os._exit(0)\nos.wait(); os._exit(0)"),
                 ("-c", "import venv, subprocess, os\nvenv.create('/tmp/v')\n"
                        f"subprocess.run(['/tmp/v/bin/python', '-c', {code!r}])\nos._exit(0)"))
        for call in calls:
            r = python("--work", d, "--exec", "--", "python3", *call)
            assert (r.code, r.out, r.err) == (0, b"a\nb\n", b""), (call, r)
        r = python("--work", d, write_file(d, "m2.py", code))
        assert (r.code, r.out) == (0, b"a\nb\n"), r


@needs(PYTHON)
def test_what_else_is_as_it_was():
    """Closed, a file, bytes, a line without its end: as without the hook."""
    r = python("-c", "import sys, os\nprint('held', end=''); sys.stdout.flush(); print('lost', end='')\nos._exit(0)")
    assert (r.code, r.out) == (0, b"held"), r
    r = python("--exec", "--", "sh", "-c", "python3 -c 'print(1); import os; os._exit(0)' >/tmp/f; wc -c </tmp/f; "
               "python3 -c 'import sys; print(sys.stdout, file=sys.stderr)' >&-; python3 -c 'print(2)' | cat")
    assert (r.code, r.out.split(), r.err) == (0, [b"0", b"2"], b"None\n"), r
    r = python("-c", "import sys; print(sys.stdout.encoding, sys.stdout.errors, sys.stdout.newlines, sys.stdout.name)")
    assert (r.code, r.out) == (0, b"utf-8 surrogateescape None <stdout>\n"), r
    r = python("-c", "print('x' * 100000); print('y\\nz')")
    assert (r.code, r.out) == (0, b"x" * 100000 + b"\ny\nz\n"), r


def test_shells_write_at_once():
    for shell in ("bash", "sh"):
        r = run("--exec", "--", shell, "-c", "echo one; printf 'two'; kill -9 $$")
        assert (r.code, r.reason, r.out) == (137, "signaled", b"one\ntwo"), r


@needs(NODE)
def test_node_writes_at_once():
    r = run("--runtime", "node", "--wall", "200s", "-c", "console.log('one'); process.stdout.write('two'); process.kill(process.pid, 9)",
            timeout=200)
    assert (r.code, r.reason, r.out) == (137, "signaled", b"one\ntwo"), r

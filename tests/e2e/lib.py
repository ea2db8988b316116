"""What the end-to-end tests are written with.

A test is a function test_* in tests/e2e/*.py.  It fails by raising; plain
asserts do, and the driver shows the last Run with them.

    from lib import run, slow

    def test_exit_status():
        r = run("-c", "exit 7")
        assert r.code == 7
        assert r.result["end"]["reason"] == "exited"
"""
import json
import os
import signal
import subprocess
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
DOLANIA = os.path.join(TOP, "build/bin/dolania")
# Everything is slower under emulation; limits that only catch hangs are scaled.
EMULATED = bool(os.environ.get("DOLANIA_KVM_HOST"))
SLOWNESS = 4 if EMULATED else 1
TEST_LIMIT_S = 60 * SLOWNESS

last_run = None


class Skip(Exception):
    """Raise it to skip the rest of a test; say why."""


class Run:
    """One call of dolania: code, out and err (bytes), result (dict or None)."""

    def __init__(self, args, code, out, err, result, took_s):
        self.args, self.code, self.out, self.err = args, code, out, err
        self.result, self.took_s = result, took_s

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def errtext(self):
        return self.err.decode(errors="replace")

    @property
    def reason(self):
        return self.result["end"]["reason"] if self.result else None

    def __str__(self):
        def cut(b):
            return b if len(b) < 2000 else b[:1000] + b" ... " + b[-1000:]
        return (f"dolania {' '.join(map(str, self.args))}\n  status {self.code}, {self.took_s:.2f} s\n"
                f"  stdout {cut(self.out)!r}\n  stderr {cut(self.err)!r}\n  result {json.dumps(self.result)}")


def dolania(*args, stdin=b"", timeout=60, env=None, cwd=None, result_file=None):
    """Calls the command with exactly these arguments."""
    global last_run
    started = time.monotonic()
    timed_out = None
    with subprocess.Popen([DOLANIA, *map(str, args)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, cwd=cwd) as p:
        try:
            out, err = p.communicate(stdin, timeout=timeout * SLOWNESS)
        except subprocess.TimeoutExpired as e:
            p.kill()
            out, err = p.communicate()
            timed_out = e
    result = None
    if result_file:
        try:
            with open(result_file, encoding="utf-8") as f:
                result = json.load(f)
        except (OSError, ValueError):
            pass
    last_run = Run(args, p.returncode, out, err, result, time.monotonic() - started)
    if timed_out:
        raise AssertionError(f"dolania did not end within {timeout * SLOWNESS} s")
    return last_run


def run(*args, **kwargs):
    """dolania run --result TEMPORARY args..."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "result.json")
        return dolania("run", "--result", path, *args, result_file=path, **kwargs)


def slow(test):
    """Only with --full."""
    test.slow = True
    return test


def native_only(test):
    """Not under emulation: it measures time, or needs what TCG lacks."""
    test.native_only = True
    return test


def needs(path):
    """Only if this part of the checkout is there (build/share/dolania/python.erofs)."""
    def mark(test):
        test.needs = getattr(test, "needs", []) + [path]
        return test
    return mark


def why_skipped(test, full):
    if getattr(test, "slow", False) and not full:
        return "slow (tests/run --full)"
    if getattr(test, "native_only", False) and EMULATED:
        return "not under emulation"
    for path in getattr(test, "needs", []):
        if not os.path.exists(os.path.join(TOP, path)):
            return f"{path} is not there"
    return None


class TestTimeout(Exception):
    pass


def on_alarm(*_):
    raise TestTimeout(f"the test took longer than {TEST_LIMIT_S} s")


def run_one(tally, name, test, full, rerun):
    """Runs one test for the driver."""
    global last_run
    why = why_skipped(test, full)
    if why:
        tally.skip(name, why)
        return
    last_run = None
    started = time.monotonic()
    signal.signal(signal.SIGALRM, on_alarm)
    signal.alarm(TEST_LIMIT_S * (10 if getattr(test, "slow", False) else 1))
    try:
        test()
        tally.ok(name, time.monotonic() - started)
    except Skip as e:
        tally.skip(name, str(e))
    except Exception:
        detail = traceback.format_exc() + (f"{last_run}\n" if last_run else "")
        tally.fail(name, time.monotonic() - started, detail,
                   rerun + (" --full" if getattr(test, "slow", False) else ""))
    finally:
        signal.alarm(0)

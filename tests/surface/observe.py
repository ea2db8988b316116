"""Which system calls the VMM really makes: end-to-end tests with every dolania under strace.

Only the set of calls counts here, not what the tests say: under strace the clock
runs away from some of them.  strace follows the command into the VMM, as root;
what the VMM does before its seccomp filter is in force ("set-up") and after it
("loop") are kept apart.
"""
import glob
import importlib.util
import json
import os
import re
import shutil
import signal
import sys
import time

import facts

TRACES = "/tmp/dolania-surface"
PARTS = os.path.join(facts.OUT, "observed")
TEST_LIMIT_S = 120


class Seen:
    """Names of system calls and numbers of ioctl requests, by phase."""

    def __init__(self):
        self.runs = 0
        self.calls = {"setup": set(), "loop": set()}
        self.requests = {"setup": set(), "loop": set()}

    def add(self, path):
        """One process's trace.  False if it has not ended yet."""
        with open(path, encoding="utf-8", errors="replace") as f:
            lines = f.read().splitlines()
        if not lines or not lines[-1].startswith("+++ "):
            return False
        phase = None
        for line in lines:
            call = re.match(r"(\w+)\((?:(?:\d+|-1), )?(0x[0-9a-f]+)?", line)
            if not call:
                continue
            name, number = call[1], call[2]
            if phase is None:
                if name == "execveat" and line.endswith("= 0"):
                    phase = "setup"
                continue
            self.calls[phase].add(name)
            if name == "ioctl":
                self.requests[phase].add(int(number, 16))
            elif phase == "setup" and re.match(r"prctl\(0x16, .*= 0$", line):
                phase = "loop"
                self.runs += 1
        return True


def wrapper():
    """A command like dolania, but traced; the tracer is no parent of it, so that tests see the same tree."""
    shutil.rmtree(TRACES, ignore_errors=True)
    os.makedirs(TRACES)
    path = os.path.join(TRACES, "dolania")
    with open(path, "w", encoding="ascii") as f:
        f.write(f"#!/bin/sh\n[ -w {TRACES} ] || exec {facts.TOP}/build/bin/dolania \"$@\"\n"    # not root: not traced
                f"exec strace -D -f -ff -q -X raw -s 0 -o {TRACES}/trace-$$ "
                f"{facts.TOP}/build/bin/dolania \"$@\"\n")
    os.chmod(path, 0o755)
    return path


def take(seen, wait_s=0):
    """Read the traces of processes that ended, and remove them."""
    end = time.monotonic() + wait_s
    while True:
        left = 0
        for path in glob.glob(f"{TRACES}/trace-*"):
            if seen.add(path):
                os.unlink(path)
            else:
                left += 1
        if not left or time.monotonic() > end:
            return
        time.sleep(0.2)


class Slow(Exception):
    pass


def out_of_time(*_):
    raise Slow


def modules():
    """The end-to-end tests' modules, but those that trace the VMM themselves."""
    names = [os.path.basename(f)[:-3] for f in sorted(glob.glob(os.path.join(facts.TOP, "tests/e2e/[0-9]*.py")))]
    return [n for n in names if n not in ("92-faults", "95-surface")]


def load(module):
    path = os.path.join(facts.TOP, "tests/e2e", f"{module}.py")
    spec = importlib.util.spec_from_file_location(f"e2e_{module}", path)
    loaded = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


def run_test(lib, test):
    """What came of it, in a few words."""
    signal.signal(signal.SIGALRM, out_of_time)
    signal.alarm(TEST_LIMIT_S)
    try:
        test()
    except lib.Skip as e:
        return f"skipped: {e}"
    except Exception as e:
        return f"failed under strace: {type(e).__name__}"
    finally:
        signal.alarm(0)
    return "ok"


def module(name):
    """All tests of a module that are not slow, traced; what was seen goes to a file of PARTS."""
    sys.path.insert(0, os.path.join(facts.TOP, "tests/e2e"))
    import lib
    lib.DOLANIA = wrapper()
    lib.SLOWNESS *= 4
    seen, verdicts = Seen(), {}
    for key, test in list(vars(load(name)).items()):
        if not key.startswith("test_") or not callable(test) or lib.why_skipped(test, False):
            continue
        started = time.monotonic()
        verdicts[f"{name}.{key[5:]}"] = verdict = run_test(lib, test)
        take(seen)
        print(f"{name}.{key[5:]}: {verdict} ({time.monotonic() - started:.0f} s)", flush=True)
    take(seen, 30)
    os.makedirs(PARTS, exist_ok=True)
    with open(os.path.join(PARTS, f"{name}.json"), "w", encoding="utf-8") as f:
        json.dump({"runs": seen.runs, "verdicts": verdicts,
                   "calls": {p: sorted(s) for p, s in seen.calls.items()},
                   "requests": {p: sorted(s) for p, s in seen.requests.items()}}, f, indent=1)


def together(names):
    """What was seen of all modules."""
    total = {"runs": 0, "tests": 0, "failed": [], "calls": {}, "requests": {}}
    for name in names:
        with open(os.path.join(PARTS, f"{name}.json"), encoding="utf-8") as f:
            part = json.load(f)
        total["runs"] += part["runs"]
        total["tests"] += sum(not v.startswith("skipped") for v in part["verdicts"].values())
        total["failed"] += [n for n, v in part["verdicts"].items() if v.startswith("failed")]
        for what in ("calls", "requests"):
            for phase in ("setup", "loop"):
                total[what][phase] = sorted({*total[what].get(phase, []), *part[what][phase]})
    total["requests"] = {p: [f"{r:#x}" for r in s] for p, s in total["requests"].items()}
    return total

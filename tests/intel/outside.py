"""The outside of the suite `intel`: one host with VMX runs it, and says a line for each test.

No file comes back from that host, so its lines are read and counted.  When all
have run, its memory is searched for what the guests of 30-residue.py held.
"""
import os
import re
import select
import shutil
import subprocess
import tempfile
import time

import lib

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
TOOLS = ("bochs", "grub-mkrescue", "xorriso", "mkfs.erofs", "dpkg-query", "git")
SILENCE_S = 1800        # the longest test there is, and more


def why_not():
    lacking = [x for x in TOOLS if not shutil.which(x)]
    return f"needs {' '.join(lacking)} (tools/setup/packages.sh intel)" if lacking else None


def marks():
    """The guests' and the control's.  Not before they are searched for: this file is loaded inside, too."""
    return tuple(b"-".join((first, b"mark", last)) for first, last in ((b"resi", b"due"), (b"cont", b"rol")))


def count(path, what):
    """How often a file that is sparse has these bytes."""
    found, kept = 0, b""
    with open(path, "rb", buffering=0) as f:
        while piece := f.read(1 << 24):
            found += (kept + piece).count(what)
            kept = piece[-len(what) + 1:]
    return found


def judge_residue(tally, dump, rerun):
    started = time.monotonic()
    left, control = (count(dump, mark) for mark in marks())
    name = "intel/residue"
    if control and not left:
        tally.ok(name, time.monotonic() - started)
    else:
        tally.fail(name, time.monotonic() - started,
                   f"the host's memory has {left} of the guests' marks, and {control} of the control's", rerun)


class Lines:
    """What the suite inside says, passed on to the tally."""

    def __init__(self, tally):
        self.tally, self.detail, self.failed, self.seen = tally, [], None, set()

    def end_of_failure(self):
        if self.failed:
            name, took = self.failed
            self.tally.fail(name, took, "\n".join(self.detail), f"tests/run {name.replace('/', ' ', 1)}")
        self.failed, self.detail = None, []

    def take(self, line):
        if m := re.match(r"(ok|FAIL) (\S+) \(([\d.]+)s\)$", line):
            self.end_of_failure()
            self.seen.add(m[2])
            if m[1] == "ok":
                self.tally.ok(m[2], float(m[3]))
            else:
                self.failed = (m[2], float(m[3]))
        elif m := re.match(r"skip (\S+): (.*)$", line):
            self.end_of_failure()
            self.tally.skip(m[1], m[2])
        elif line.startswith("  | "):
            self.detail.append(line[4:])


def follow(process, lines):
    """Its lines until it ends; a host that is silent for too long is ended."""
    kept = b""
    while select.select([process.stdout], [], [], SILENCE_S)[0]:
        data = os.read(process.stdout.fileno(), 1 << 16)
        if not data:
            return process.wait()
        *whole, kept = (kept + data).split(b"\n")
        for line in whole:
            lines.take(line.decode(errors="replace"))
    process.kill()
    process.wait()
    return f"silence for {SILENCE_S} s"


def build():
    """What the tests inside would build themselves: there is no compiler."""
    subprocess.run([os.path.join(TOP, "tests/hostile/run"), "--build"], stdin=subprocess.DEVNULL,
                   stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True)
    lib.guest_with(init="exits")
    lib.guest_with(kernel="triple")


def run(tally, full, patterns):
    why = why_not()
    if why:
        tally.skip("intel", why)
        return
    rerun = "tests/run intel"
    try:
        build()
    except (OSError, subprocess.CalledProcessError) as e:
        tally.fail("intel as a whole", 0, f"its guests could not be built: {e}\n{getattr(e, 'stdout', '')}", rerun)
        return
    with tempfile.TemporaryDirectory(dir=os.path.join(TOP, "build")) as d:
        dump = os.path.join(d, "memory")
        command = [os.path.join(TOP, "tools/kvm-host"), "--vendor", "intel", "--quiet", "--dump-memory", dump, "--",
                   "env", "DOLANIA_TESTS_INSIDE=/tmp/counts", os.path.join(TOP, "tests/run"),
                   *(["--full"] if full else []), "--here", "intel", *patterns]
        lines = Lines(tally)
        with subprocess.Popen(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as p:
            rc = follow(p, lines)
        lines.end_of_failure()
        if rc not in (0, 1):
            tally.fail("intel as a whole", 0, f"its host ended with {rc}", rerun)
        elif any("30-residue" in x for x in lines.seen):
            judge_residue(tally, dump, rerun)

"""Set-up when the host fails it: every system call and every allocation, one at a time.

Whichever fails, there is a result with one reason or a clear error, and no
process, descriptor or file is left behind.
"""
import contextlib
import errno
import functools
import glob
import json
import os
import re
import resource
import subprocess

from lib import DOLANIA, SLOWNESS, TOP, check_schema, each, made, scratch, slow, write_file

BUILT = os.path.join(TOP, "build/tests/faults")
# System calls that put the VMM behind its walls: close_range, setresuid, setresgid, execveat, pivot_root, mount, umount2,
# clone, prctl, prlimit64, landlock_create_ruleset and landlock_restrict_self.
WALLS = (436, 117, 119, 322, 155, 165, 166, 56, 157, 302, 444, 446)
# Of every so many calls one is failed in `make test`; all of them with --full.
STRIDE = 9
PRLIMIT = 302


def build(name, out, *arguments):
    source = os.path.join(TOP, "tests/e2e/faults", name + ".c")
    library = os.path.join(TOP, "build/lib/libdolania.a")
    return made(os.path.join(BUILT, out), [source, library], lambda new: [
        ["gcc", "-D_GNU_SOURCE", "-O1", f"-I{TOP}", "-o", new, source, *arguments]])


@functools.cache
def failnth():
    return build("failnth", "failnth")


@functools.cache
def allocnth():
    """Where dolania would be, so that it finds the VMM and the images."""
    wraps = [f"-Wl,--wrap={f}" for f in ("malloc", "calloc", "realloc", "strdup")]
    for part in ("libexec", "share"):
        os.makedirs(BUILT, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            os.symlink(os.path.join(TOP, "build", part), os.path.join(BUILT, part))
    return build("allocnth", "bin/allocnth", os.path.join(TOP, "build/lib/libdolania.a"), "-static-pie", *wraps,
                 "-ljansson", "-lsodium")


def files_outside():
    return sorted(glob.glob("/tmp/*") + glob.glob("/dev/shm/*") + glob.glob("/run/dolania*"))


def vmm_processes():
    found = []
    for path in glob.glob("/proc/[0-9]*/comm"):
        try:
            with open(path, encoding="utf-8") as f:
                if f.read().startswith("dolania"):
                    found.append(path)
        except OSError:
            pass
    return found


class Faulty:
    """One run of dolania with one failing call: status, err, result, log."""

    def __init__(self, who, n, number, directory):
        result, log = (os.path.join(directory, f"{who}-{n}.{x}") for x in ("json", "log"))
        p = subprocess.run([failnth(), who, str(n), str(number), log, "--", DOLANIA, "run", "--result", result, "-c",
                            "echo out"], stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * SLOWNESS, check=False)
        self.what = (who, n, errno.errorcode[number])
        self.status, self.out, self.err = p.returncode, p.stdout, p.stderr.decode(errors="replace")
        with open(log, encoding="utf-8") as f:
            self.log = dict(word.split("=") for word in f.read().split())
        self.result = None
        if os.path.exists(result) and os.path.getsize(result):
            with open(result, encoding="utf-8") as f:
                self.result = json.load(f)

    def about_locking(self):
        """prlimit is for walls, and for locking memory, which root can without; where it cannot be had that is told."""
        return int(self.log["failed"]) == PRLIMIT and int(self.log["resource"]) == resource.RLIMIT_MEMLOCK

    def check(self, fds):
        lines = [line for line in self.err.splitlines() if line.startswith("dolania:")]
        about = (self.what, self.log, self.status, self.err, self.result and self.result["end"])
        if self.log["failed"] == "-1":          # a run's calls vary by a few: wake-ups of poll
            assert self.what[1] > int(self.log["calls"]) and self.status == 0, about
            return
        assert self.log["children"] == "0", about
        assert int(self.log["fds"]) <= fds, about
        if self.result is None:
            # Not even the result file or the streams could be had.
            assert self.status == 125 and len(lines) == 1, about
            return
        check_schema(self.result)
        reason = self.result["end"]["reason"]
        if reason == "exited":
            assert int(self.log["failed"]) not in WALLS or self.about_locking(), (
                "a wall was missing and the run went on", about)
            assert self.status == 0 and self.out == b"out\n", about
        else:
            # a file that is forbidden is the caller's to give
            usage = ("usage",) if self.what[0] == "caller" and self.what[2] == "EPERM" else ()
            assert reason in ("host_unsupported", "host_io", "host_oom", "boot_failed", "vmm_fault", "cancelled", *usage), about
            assert self.status in (125, 121) and lines, about


def fail_all(who, stride, numbers=(errno.ENOMEM,)):
    with scratch() as d:
        Faulty(who, 0, errno.ENOMEM, d)         # the digests are in the cache from here on: fewer calls
        whole = Faulty(who, 0, errno.ENOMEM, d)
        assert whole.status == 0, (whole.err, whole.log)
        calls, fds = int(whole.log["calls"]), int(whole.log["fds"])
        assert calls > 40, whole.log
        before = files_outside()
        wrong = []

        def fail(n, number):
            try:
                Faulty(who, n, number, d).check(fds)
            except AssertionError as e:
                wrong.append(str(e))
        for number in numbers:
            each(lambda n, number=number: fail(n, number), range(1, calls + 1, stride))
        assert not wrong, "\n".join(wrong)
        assert files_outside() == before
        assert not vmm_processes()
        print(f"  {who}: {calls} calls until the guest begins", flush=True)


def test_some_calls_of_the_caller_fail():
    fail_all("caller", STRIDE)


def test_some_calls_of_the_vmm_fail():
    fail_all("vmm", STRIDE)


@slow
def test_every_call_of_the_caller_fails_for_memory():
    fail_all("caller", 1, (errno.ENOMEM,))


@slow
def test_every_call_of_the_caller_is_forbidden():
    fail_all("caller", 1, (errno.EPERM,))


@slow
def test_every_call_of_the_vmm_fails():
    fail_all("vmm", 1, (errno.ENOMEM, errno.EPERM))


def alloc(n, *arguments):
    p = subprocess.run([allocnth(), str(n), *arguments], stdin=subprocess.DEVNULL, capture_output=True,
                       timeout=60 * SLOWNESS, check=False)
    last = p.stderr.decode(errors="replace").splitlines()[-1:]
    found = re.fullmatch(r"allocs=(\d+) fds=(\d+),(\d+) children=(\d) reason=(\w+)", last[0] if last else "")
    assert p.returncode == 0 and found, (n, p.returncode, p.stderr)
    count, before, after, children, reason = found.groups()
    assert before == after and children == "0", (n, last)
    if p.stdout:
        result = json.loads(p.stdout)
        check_schema(result)
        assert result["end"]["reason"] == reason
    return int(count), reason, bool(p.stdout)


def fail_allocations(which):
    with scratch() as d:
        script = write_file(d, "job.sh", "#!/bin/sh\necho out\n")
        os.mkdir(os.path.join(d, "in"))
        write_file(os.path.join(d, "in"), "f", "x")
        arguments = (script, os.path.join(d, "in"))
        count, reason, has_result = alloc(0, *arguments)
        assert (reason, has_result) == ("exited", True) and count > 50
        before = files_outside()
        seen = set()

        def fail(n):
            _, why, result = alloc(n, *arguments)
            # The result itself is made at the end: without memory there is none, and that is told.
            assert why in ("host_oom", "host_io", "boot_failed") or why == "exited", (n, why)
            assert result or why == "exited" or n > 0
            seen.add((why, result))
        each(fail, which(count))
        assert ("exited", False) in seen, seen
        assert files_outside() == before
        assert not vmm_processes()


def test_some_allocations_fail():
    """Most are the result's own fields, after the run."""
    fail_allocations(lambda count: [*range(1, 30, 4), count // 2, count * 2 // 3, count * 3 // 4, count * 7 // 8, count])


@slow
def test_every_allocation_fails():
    fail_allocations(lambda count: range(1, count + 1))

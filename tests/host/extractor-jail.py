"""The extractor, taken over: nothing outside its directory changes, whatever it calls.

tests/host/taken-extractor.c enters the extractor's jail and attacks; libdolania starts it as a run does.
"""
import os
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import archives  # noqa: E402
from lib import TOP, Skip  # noqa: E402

TAKEN = os.path.join(TOP, "build/tests/host/taken-extractor")
CASES = 31
MINE = 0        # the time of its own file, which it may set
FAIL_BY_PATH = {3, 4, 5, 7, 8, 10, 11, 12, 24, 25}      # its filter knows these calls
LAND_INSIDE = {9, 26}   # "../new" is made in the directory: ".." leads nowhere else


def taken():
    sources = [os.path.join(TOP, "tests/host/taken-extractor.c"), os.path.join(TOP, "tools/extract/jail.c")]
    os.makedirs(os.path.dirname(TAKEN), exist_ok=True)
    subprocess.run(["musl-gcc", "-static", "-std=gnu11", "-O1", "-I.", "-idirafter", "/usr/include",
                    "-idirafter", "/usr/include/x86_64-linux-gnu", "-o", TAKEN, *sources], cwd=TOP, check=True)
    return TAKEN


def outside(d):
    """What is not in the directory, times of its inodes too."""
    seen = {}
    for path, was in archives.snapshot(d).items():
        if path != os.fsencode(f"{d}/to") and not path.startswith(os.fsencode(f"{d}/to/")):
            st = os.lstat(path)
            seen[path] = (*was, st.st_ctime_ns)
    return seen


def attack(program, number, **who):
    """The helper's line, what outside changed, what is new there."""
    with tempfile.TemporaryDirectory() as d:
        archives.make_place(d)
        with open(f"{d}/to/mine", "w", encoding="utf-8"):
            pass
        if who:
            for base, dirs, files in os.walk(d):
                for name in [".", *dirs, *files]:
                    os.lchown(os.path.join(base, name), who["user"], who["group"])
        before = outside(d)
        done = subprocess.run([archives.helper(), program, f"{d}/to", "100000", "100"], input=str(number).encode(),
                              capture_output=True, timeout=60, check=False, **who)
        assert os.stat(f"{d}/to/mine").st_mtime == 1 or number != MINE, (number, done)
        after = outside(d)
        return done.stdout.decode(), {p for p in before if before[p] != after.get(p)}, set(after) - set(before)


def each_attack(**who):
    program = taken()
    line, _, _ = attack(program, MINE, **who)
    if line.startswith("not started") and "namespaces" in line:
        raise Skip(line)
    assert line.startswith("1 1 "), line        # the eye: the program is in the jail, and what is allowed works
    for number in range(1, CASES):
        line, changed, new = attack(program, number, **who)
        assert not changed and not new, (number, line, changed, new)
        assert line.startswith("1 1 " if number in LAND_INSIDE else "0 0 "), (number, line)
        assert ("system call it may not make" in line) == (number not in FAIL_BY_PATH | LAND_INSIDE), (number, line)


def test_nothing_outside_changes():
    each_attack()


def test_nothing_outside_changes_as_an_ordinary_user():
    if os.geteuid() != 0:
        raise Skip("needs root to become another user")
    each_attack(user=1234, group=1234, extra_groups=[])

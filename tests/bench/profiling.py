"""profiling: counts the instructions of runs by function, for profile and picture."""
import bisect
import os

from jobs import PROGRAMS, build_jobs, room_files
from room import HERE, OUT, TOP, build, call, compile_static, is_peer, measure

SPACES = ("host", "guest", "user")


class Symbols:
    """Functions by address, from lines as /proc/kallsyms and System.map have them."""

    def __init__(self, lines):
        words = [line.split() for line in lines]
        code = sorted((int(w[0], 16), w[2]) for w in words if len(w) > 2 and w[1] in "tTwW")
        self.at = [at for at, _ in code]
        self.name = [name for _, name in code]

    def find(self, at):
        i = bisect.bisect_right(self.at, at) - 1
        return self.name[i] if i >= 0 else hex(at)

    def address(self, name):
        return self.at[self.name.index(name)]


def guest_symbols(of):
    variant = "microvm" if is_peer(of) else "default"
    with open(f"{TOP}/build/kernel/{variant}/System.map", encoding="ascii") as f:
        return Symbols(f)


def count(of, runs, guest, section=None, more=((), ()), **how):
    """(the lines of profile.c, the host's symbols, the number of runs); of a job of work its steps but the first.
    section: another one of measure.sh than a run's; more, how: what it needs (measure)."""
    if "." in of:
        build_jobs(peer=is_peer(of))
        section, more = of, (PROGRAMS, room_files([of.split(".")[1]]))
    else:
        build([of])
        section = section or f"{of}.profile"
    compile_static("mark")
    call("gcc", "-shared", "-fPIC", "-fvisibility=hidden", "-O2", "-Wall", "-Wextra", "-I.", "-o", f"{OUT}/profile.so",
         f"{HERE}/profile.c")
    plugin = (f"file={OUT}/profile.so,out={OUT}/profile.txt,"
              f"entry={guest.address('x86_64_start_kernel'):x},init={guest.address('run_init_process'):x}")
    got = measure(["host.symbols", section], more=more, qemu=["-plugin", plugin], WARM="1", PROFILED=str(runs), **how)
    with open(f"{OUT}/profile.txt") as f:
        lines = f.read().splitlines()
    steps = [line for line in got[section] if line.startswith("step ")]
    return lines, Symbols(got["host.symbols"]), len(steps) - 1 if steps else runs


def add_up(lines, names):
    """{space: {function: [self, inclusive, calls]}}"""
    sums = {space: {} for space in SPACES}
    for line in lines:
        space, at, *numbers = line.split()
        name = names[space].find(int(at, 16)) if space in names else f"at {int(at, 16) >> 20:x}00000"
        entry = sums[space].setdefault(name, [0, 0, 0])
        for i, n in enumerate(numbers):
            entry[i] += int(n)
    return sums

"""One emulated host, run after run in it, and what its memory holds after each.

    life = Life.get()
    run = life.run("cancel")
    run.during["heap"].whole, run.after, run.answer["result"]

The host is started with the first run and ends with this process, or with a run that
it does not answer: the next one gets a new host.  Its memory is dumped from outside,
by tools/kvm-host, and searched outside.
"""
import atexit
import collections
import contextlib
import glob
import json
import os
import select
import signal
import subprocess
import sys
import tempfile

import canary
from watch import end_host

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
HERE = os.path.join(TOP, "tests/residue/parts")
OUT = os.path.join(TOP, "build/tests/residue")
MEMORY = "768M"
ANSWER_LIMIT_S = 240     # more than parts/inside takes to give up
RUN_LIMIT_S = 600
PAGE_FLAGS = {7: "slab", 10: "free", 12: "anonymous", 11: "mapped", 5: "lru", 26: "page table"}

Found = collections.namedtuple("Found", "words hits whole")


class Image:
    """What a dump holds of a seed's canaries: place -> Found, and the pages with hits."""

    def __init__(self, text):
        self.places, self.pages = {}, []
        for line in text.splitlines():
            kind, *rest = line.split()
            if kind == "place":
                found = map(int, rest[1:])
                # Of several seeds: the sum.
                self.places[rest[0]] = Found(*map(sum, zip(self.places.get(rest[0], (0, 0, 0)), found)))
            else:
                self.pages.append((int(rest[0]), rest[1], int(rest[2])))

    def hits(self, places=canary.PLACES):
        return sum(self.places[p].hits for p in places if p in self.places)

    def bytes(self, places=canary.PLACES):
        return 8 * self.hits(places)

    def __str__(self):
        return ", ".join(f"{p} {8 * f.hits} bytes ({f.words} of {canary.WORDS} words)"
                         for p, f in self.places.items()) or "nothing"


class Run:
    """One run: what the emulated host tells of it, and the dumps while it ran (or None) and after it."""

    def __init__(self, seed, answer, during, after, flags):
        self.seed, self.answer, self.during, self.after, self.flags = seed, answer, during, after, flags

    def words(self, place):
        return canary.words(self.seed, place)

    def hits_in(self, who):
        """After it, in pages that "dolania" or the "vmm" had mapped: (page, place, words)."""
        frames = self.answer["frames"][who]
        return [x for x in self.after.pages if any(first <= x[0] < end for first, end in frames)]

    def hits_in_bytes(self, who):
        return 8 * sum(words for _, _, words in self.hits_in(who))

    @property
    def result(self):
        return self.answer.get("result")

    @property
    def end(self):
        return self.result["end"]["reason"] if self.result else None

    def whereabouts(self):
        """What the pages with hits are to the host's kernel, a line each."""
        lines = []
        for page, place, hits in self.after.pages[:200]:
            bits = self.flags[page] if page < len(self.flags) else 0
            names = [name for bit, name in PAGE_FLAGS.items() if bits >> bit & 1]
            lines.append(f"page {page:#x}: {hits} words of {place}, {' '.join(names) or 'kernel'} ({bits:#x})")
        return "\n".join(lines)


def compile_parts():
    os.makedirs(f"{OUT}/in", exist_ok=True)
    strict = ["-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-Wvla", "-Werror"]
    multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
    subprocess.run(["gcc", *strict, "-o", f"{OUT}/search", f"{HERE}/search.c"], check=True)
    # Mapped in one piece from a disk that ends with it; what it links is its own.
    subprocess.run(["musl-gcc", "-static", "-no-pie", *strict, "-idirafter", "/usr/include", "-idirafter",
                    f"/usr/include/{multiarch}", "-o", f"{OUT}/in/fill", f"{HERE}/fill.c"], check=True)


class Life:
    the_one = None

    @classmethod
    def get(cls):
        if cls.the_one is None:
            cls.the_one = cls()
        return cls.the_one

    def __init__(self):
        compile_parts()
        # From a run's start to full memory, and for a dump: the longest so far.
        self.filled_s, self.dumped_s = 3, 3
        self.dir = tempfile.TemporaryDirectory(prefix="dump-", dir=OUT)
        # One processor, with the guest on it: its registers are put away whenever parts/inside runs.
        self.host = subprocess.Popen(
            [f"{TOP}/tools/kvm-host", "--quiet", "--root", "--memory", MEMORY, "--",
             f"{HERE}/inside"], cwd=TOP, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        atexit.register(self.close)

    def close(self):
        atexit.unregister(self.close)
        Life.the_one = None
        with contextlib.suppress(BrokenPipeError):
            self.host.stdin.close()
        try:
            self.host.wait(10)
        except subprocess.TimeoutExpired:
            end_host(self.host)
        self.dir.cleanup()

    def ask(self, request):
        with contextlib.suppress(BrokenPipeError):  # it ended: so does its stdout
            self.host.stdin.write(json.dumps(request) + "\n")
            self.host.stdin.flush()
        if not select.select([self.host.stdout], [], [], ANSWER_LIMIT_S)[0]:
            self.close()
            raise TimeoutError(f"no answer from the emulated host in {ANSWER_LIMIT_S} s")
        line = self.host.stdout.readline()
        if not line:
            self.close()
            raise EOFError(f"the emulated host ended with {self.host.returncode}")
        answer = json.loads(line)
        if "error" in answer:
            raise RuntimeError(f"in the emulated host: {answer['error']}")
        return answer

    def run(self, end, dolania=f"{TOP}/build/bin/dolania", during=True, also=(), **more):
        """Makes one run end like that; searches the host's memory before (if `during`) and after it.

        `also`: seeds of earlier runs that are searched for, too.  Other keys are for parts/inside.
        """
        signal.alarm(RUN_LIMIT_S)   # parts/inside and ask() know better who is late
        seed = canary.new_seed()
        # A new name each time: the host inside takes what it knows of the old one for granted.
        path = {name: os.path.join(self.dir.name, f"{name}-{seed[:8]}") for name in ("during", "after", "flags")}
        answer = self.ask({"end": end, "seed": seed, "dolania": dolania, "wall_s": int(2 * (self.filled_s + self.dumped_s)),
                           **path, **more, **({} if during else {"during": None})})
        self.filled_s = max(self.filled_s, answer["filled_s"])
        self.dumped_s = max(self.dumped_s, answer.get("dumped_s", 0))
        with open(path["flags"], "rb") as f:
            flags = memoryview(f.read()).cast("Q").tolist()
        run = Run(seed, answer, search(path["during"], seed) if during else None,
                  search(path["after"], seed, *also), flags)
        for name in path.values():
            if os.path.exists(name):
                os.unlink(name)
        return run


def search(dump, *seeds):
    done = subprocess.run([f"{OUT}/search", dump], input="".join(map(canary.lines, seeds)), capture_output=True, text=True,
                          check=True)
    return Image(done.stdout)


def tell(text):
    print(f"residue: {text}", flush=True)

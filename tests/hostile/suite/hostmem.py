"""An eye for what the host's kernel holds: looked at before, during and after a run.

Tables that KVM makes for a guest are SecPageTables; what it allocates else is in Slab, VmallocUsed and Percpu.
The machine must be ours alone: others' memory is counted, too.
"""
import threading
import time

MIB = 1 << 20
# What a run may add while it lasts.  The first is guests' tables; Slab has inodes and pages' trees of memfds as well.
MOST = {"SecPageTables": 6 * MIB, "PageTables": 4 * MIB, "Slab": 12 * MIB, "VmallocUsed": 4 * MIB, "Percpu": 2 * MIB,
        "KernelStack": MIB}
# What may be left of it, once the kernel had time to free it.
LEFT = {"SecPageTables": MIB, "VmallocUsed": MIB}
LOOK_S, FREE_S = 0.01, 5


def now():
    with open("/proc/meminfo", encoding="ascii") as f:
        lines = dict(line.split(":", 1) for line in f)
    return {k: int(lines[k].split()[0]) << 10 for k in MOST if k in lines}


class Watch:
    """`with Watch() as w`: then w.grown has the most that each has been above what it was, w.left() what stays."""

    def __init__(self):
        self.over = threading.Event()
        self.thread = threading.Thread(target=self._look)

    def _look(self):
        while not self.over.wait(LOOK_S):
            self._compare()

    def _compare(self):
        for k, n in now().items():
            self.grown[k] = max(self.grown[k], n - self.before[k])

    def __enter__(self):
        self.before = now()
        self.grown = dict.fromkeys(self.before, 0)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.over.set()
        self.thread.join()
        self._compare()

    def left(self):
        """Freed memory comes back late: RCU, and the kernel's own workers."""
        end = time.monotonic() + FREE_S
        while True:
            more = {k: n - self.before[k] for k, n in now().items() if k in LEFT and n - self.before[k] > LEFT[k]}
            if not more or time.monotonic() > end:
                return more
            time.sleep(0.1)


def text(sizes):
    return ", ".join(f"{k} +{n >> 10} KiB" for k, n in sizes.items())


def bounds_text():
    return ", ".join(f"{n // MIB} MiB ({k})" for k, n in MOST.items())


def wrong(watch, most):
    """What is beyond its bound, as a text, or None.  `most`: bounds of the case's own."""
    bounds = {**MOST, **most}
    over = {k: n for k, n in watch.grown.items() if n > bounds[k]}
    if over:
        return f"while it ran: {text(over)}"
    left = watch.left()
    return f"after it: {text(left)}" if left else None

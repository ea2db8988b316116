"""Many runs: at once, and one after another.  Nothing is left, nothing grows."""
import os
import subprocess
import threading

from lib import DOLANIA, SLOWNESS, run, slow

LEFT_IN = ("/tmp", "/dev/shm", "/var/tmp", "/run")


def processes():
    """{pid: state} of every dolania process, and of every zombie."""
    found = {}
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
                head, _, tail = f.read().rpartition(")")
        except OSError:
            continue
        state = tail.split()[0]
        if "dolania" in head or state == "Z":
            found[int(pid)] = (head, state)
    return found


def listing():
    return {d: sorted(os.listdir(d)) for d in LEFT_IN if os.path.isdir(d)}


def meminfo():
    with open("/proc/meminfo", encoding="ascii") as f:
        return {x.split(":")[0]: int(x.split()[1]) << 10 for x in f}


def fds():
    return sorted(os.listdir("/proc/self/fd"))


class Unchanged:
    """What is on the machine before is what is on it after."""

    def __enter__(self):
        self.before = (processes(), listing(), fds())
        return self

    def __exit__(self, *failed):
        if failed[0]:
            return
        processes_now, listing_now, fds_now = processes(), listing(), fds()
        new = {p: x for p, x in processes_now.items() if p not in self.before[0]}
        assert not new, f"left behind: {new}"
        for d, names in listing_now.items():
            added = set(names) - set(self.before[1][d])
            assert not added, f"left in {d}: {added}"
        assert fds_now == self.before[2]


def test_twelve_side_by_side():
    results = {}

    def one(i):
        results[i] = run("--memory", "64M", "-c", f"cat; echo run {i}; echo err {i} >&2; exit {i}", timeout=120,
                         stdin=b"%d " % i * 1000)

    with Unchanged():
        threads = [threading.Thread(target=one, args=(i,)) for i in range(12)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        ids = set()
        for i in range(12):
            r = results[i]
            assert r.code == i, r
            assert r.out == b"%d " % i * 1000 + b"run %d\n" % i, r
            assert r.err == b"err %d\n" % i, r
            ids.add(r.result["run_id"])
        assert len(ids) == 12


def one_after_another(n):
    with Unchanged():
        for i in range(3):
            assert run("-c", "true").code == 0
        early = meminfo()
        for i in range(n):
            kind = i % 4
            if kind == 3:
                r = run("-c", "kill -9 $$")
                assert r.code == 137, r
            elif kind == 2:
                r = run("-c", "head -c 300000 /dev/zero; sleep 100 & exit 9")
                assert (r.code, len(r.out)) == (9, 300000), r
            else:
                r = run("-c", "cat; exit 1", stdin=b"abc")
                assert (r.code, r.out) == (1, b"abc"), r
        late = meminfo()
    # Memory that is in use and not cache; what tmpfs and memfds hold is Shmem.
    grown = {k: late[k] - early[k] for k in ("Shmem", "SUnreclaim", "AnonPages", "PageTables", "KernelStack",
                                             "Unevictable", "Mlocked") if k in early}
    assert all(v < 8 << 20 for v in grown.values()), grown
    return grown


def test_ten_one_after_another():
    one_after_another(10)


@slow
def test_two_hundred_one_after_another():
    one_after_another(200)


def test_no_descriptor_reaches_the_vmm_or_the_next_program():
    """What the caller had open does not get to the VMM; the VMM holds no directory."""
    with open("/etc/passwd", "rb") as extra:
        with subprocess.Popen([DOLANIA, "run", "-c", "echo up; read -r x"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, pass_fds=[extra.fileno()]) as p:
            assert p.stdout.read(3) == b"up\n"
            with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                vmm = f.read().split()[0]
            links = {fd: os.readlink(f"/proc/{vmm}/fd/{fd}") for fd in os.listdir(f"/proc/{vmm}/fd")}
            p.communicate(b"\n", timeout=60 * SLOWNESS)
    assert not any("/etc/passwd" in x for x in links.values()), links

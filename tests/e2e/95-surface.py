"""The surface of a VMM that runs: its seccomp filter as the kernel keeps it, the CPUID that a guest reads,
the system calls it makes.  The whole ledger is docs/surface.md; `make surface` prints it."""
import importlib.util
import os
import signal
import subprocess
import sys
import tempfile
import time

import lib
from lib import SLOWNESS, TOP, Skip, run

sys.path.insert(0, os.path.join(TOP, "tests/surface"))
import bpf
import facts
import ledger
import names
import observe


def confinement():
    path = os.path.join(TOP, "tests/e2e/90-confinement.py")
    spec = importlib.util.spec_from_file_location("confinement", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def needs_root():
    if os.geteuid() != 0:
        raise Skip("needs root")


def test_the_filter_in_force_is_the_one_of_the_ledger():
    needs_root()
    with confinement().running_vmm() as (_, pid):
        programs = bpf.of_process(pid)
    assert len(programs) == 1, f"{len(programs)} filters (none: does the kernel have CONFIG_CHECKPOINT_RESTORE?)"
    assert programs[0] == facts.collect()["program"]
    assert bpf.allowed(programs[0]) == facts.collect()["allowed"]


def guest_cpuid():
    """{(leaf, subleaf): registers} that a program in the guest reads."""
    facts.programs()
    with tempfile.TemporaryDirectory() as d:
        subprocess.run(["cp", os.path.join(facts.OUT, "cpuid"), d], check=True)
        r = run("--in", f"{d}:/in", "-c", "/in/cpuid")
    assert r.code == 0, r
    lines = [[int(w, 0) for w in line.split()] for line in r.text.splitlines()]
    return {(leaf, sub): registers for leaf, sub, *registers in lines}


def test_a_guest_reads_no_cpuid_bit_beyond_the_list():
    offered, seen = ledger.words_of(facts.collect()), guest_cpuid()
    assert seen[0, 0][0] <= 0xd and seen[0x80000000, 0][0] <= 0x8000001d
    # Intel's processors answer a leaf beyond the highest with the highest; so does KVM for them.
    last = [seen.get((seen[0, 0][0], sub)) for sub in range(8)]
    for (leaf, sub), registers in seen.items():
        known = any(w[0] == leaf for w in offered)
        assert known or registers in last, f"leaf {leaf:#x}.{sub} is not in the ledger: {registers}"
        for register, value in enumerate(registers if known else ()):
            word = (leaf, sub if leaf in ledger.WITH_SUBLEAVES else 0, register)
            if word in names.CPUID:
                beyond = value & ~offered.get(word, 0)
                assert not beyond, f"{ledger.word_name(word)}: {beyond:#x} is beyond what the ledger offers"
    assert sum(seen[1, 0][r].bit_count() for r in (2, 3)) > 20      # it did read something
    assert seen[1, 0][2] >> 31 & 1


def stop_and_continue(pid):
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.2)
    os.kill(pid, signal.SIGCONT)


def some_runs():
    """Runs that between them make every call that is ever made."""
    with tempfile.TemporaryDirectory() as d:
        with open(os.path.join(d, "file"), "wb") as f:
            f.write(os.urandom(1 << 20))
        r = run("--in", f"{d}:/in", "-c", "cat; wc -c </in/file >&2", stdin=b"x" * 300000, timeout=120)
    assert r.code == 0 and len(r.out) == 300000, r
    r = run("--wall", "4s", "-c", "echo up; while :; do :; done", timeout=120)
    assert r.reason == "wall_limit", r
    with confinement().running_vmm() as (p, pid):
        stop_and_continue(pid)
        p.terminate()
        p.wait(60 * SLOWNESS)


def test_observed_system_calls_are_allowed_and_known():
    needs_root()
    seen, before = observe.Seen(), lib.DOLANIA
    lib.DOLANIA = observe.wrapper()
    try:
        some_runs()
    finally:
        lib.DOLANIA = before
    observe.take(seen, 60)
    assert seen.runs == 3, seen.runs
    book = ledger.Ledger(facts.collect(), ledger.read_observed())
    allowed = {book.names.call(n) for n in book.f["allowed"]}
    assert not seen.calls["loop"] - allowed, seen.calls["loop"] - allowed
    assert not seen.requests["loop"] - set(book.requests)
    # Another host may have another KVM, but what is done at set-up is a list too.
    listed = {int(r, 0) for r in book.f["setup_ioctl"]}
    assert not seen.requests["setup"] - listed, {book.names.request(r) for r in seen.requests["setup"] - listed}
    assert {"ioctl", "readv", "write", "preadv", "rt_sigtimedwait", "lseek", "exit_group"} <= seen.calls["loop"], seen.calls
    new = {phase: seen.calls[phase] - book.seen(phase) for phase in seen.calls}
    assert not any(new.values()), f"tests/surface/observed.json does not have {new}; run: make surface FULL=1 UPDATE=1"

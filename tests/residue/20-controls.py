"""That the search of 10-ends.py can fail: the same runs where nothing is overwritten."""
import os
import shutil
import signal
import subprocess
import sys

from lib import TOP, slow

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "parts"))
from canary import DISKS, MEMORY, REGISTERS  # noqa: E402
from life import OUT, Life, tell  # noqa: E402

# The source, with these pieces of it left out; each must be there exactly once.
NO_VCPU = {"vmm/run.c": [("\tif (has_vcpu)\n", "\tif (0 && has_vcpu)\n")]}
NO_DISKS = {"vmm/run.c": [("if (r->c->disk_wipe[i])", "if (0 && r->c->disk_wipe[i])")]}
NOTHING = {**NO_VCPU,
           "vmm/mem/wipe.c": [("memset(at, 0, bytes);", "(void)bytes;")],
           "tools/libdolania/discard.c": [("if (!is_zero(base", "if (0 && !is_zero(base"),
                                          ("explicit_bzero(base + at, bytes);", "(void)base;")]}
KERNEL_LIMIT_S = 2400  # a kernel, from nothing, on a busy machine


def variant(name, changes):
    """dolania and its VMM, built from the tree with these changes; never installed."""
    top = os.path.join(OUT, name)
    shutil.rmtree(top, ignore_errors=True)
    os.makedirs(f"{top}/build")
    for part in ("vmm", "tools", "guest"):
        shutil.copytree(f"{TOP}/{part}", f"{top}/{part}")
    shutil.copy2(f"{TOP}/Makefile", top)
    shutil.copytree(f"{TOP}/build/obj", f"{top}/build/obj")
    os.symlink(f"{TOP}/build/share", f"{top}/build/share")
    for path, pairs in changes.items():
        with open(f"{top}/{path}", encoding="utf-8") as f:
            text = f.read()
        for old, new in pairs:
            assert text.count(old) == 1, f"{path} has {text.count(old)} times {old!r}; mend this test"
            text = text.replace(old, new)
        with open(f"{top}/{path}", "w", encoding="utf-8") as f:
            f.write(text)
    done = subprocess.run(["make", f"-j{os.cpu_count()}", "build/bin/dolania", "build/libexec/dolania/dolania-vmm"],
                          cwd=top, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return f"{top}/build/bin/dolania"


def test_hits_when_nothing_is_overwritten():
    dolania = variant("nothing-overwritten", NOTHING)
    for end in ("cancel", "vmm_killed"):
        run = Life.get().run(end, dolania, during=False)
        tell(f"nothing overwritten, {end}: {run.after}")
        for place in (*MEMORY, *REGISTERS):
            assert run.after.places[place].hits > 0, (end, place, run.after)
        assert run.after.bytes(MEMORY) > 8 << 20, run.after


@slow
def test_hits_when_vmm_and_supervisor_are_both_killed():
    """Nobody is left who could overwrite: what docs/discard.md says is not promised is really not had."""
    run = Life.get().run("both_killed", during=False)
    tell(f"VMM and dolania both killed: {run.after}")
    assert run.after.bytes(MEMORY) > 8 << 20, run.after


@slow
def test_hits_when_the_disks_are_not_overwritten():
    """By the VMM, which is the last to hold them: memory is, so all that is found is on the disks."""
    run = Life.get().run("supervisor_killed", variant("disks-not-overwritten", NO_DISKS), during=False)
    tell(f"disks not overwritten, supervisor killed: {run.after}")
    assert run.after.hits(set(MEMORY) - set(DISKS)) == 0, run.after
    assert all(run.after.places[place].hits > 0 for place in DISKS), run.after


@slow
def test_hits_when_the_vcpu_is_not_overwritten():
    """Memory is: so all that is found are registers, of both kinds.

    As many runs as 10-ends.many_runs_leave_nothing has, or fewer: that one finds none.
    """
    dolania = variant("vcpu-not-overwritten", NO_VCPU)
    runs = []
    # Now and then the host has used a freed page again before the dump: of several runs, some show it.
    for _ in range(8):
        run = Life.get().run("cancel", dolania, during=False)
        tell(f"vCPU not overwritten: {run.after}")
        assert run.after.hits(MEMORY) == 0, run.after
        runs.append(run.after.places)
    for place, words in (("gpr", 16), ("ymm", 64)):
        assert sum(place in p and p[place].words == words for p in runs) >= 2, runs


@slow
def test_hits_after_a_run_of_qemu_microvm():
    """The same program as the init of the same kernel in QEMU's microvm, ended by SIGTERM."""
    life = Life.get()
    signal.alarm(KERNEL_LIMIT_S)
    for command in (["kernel-config/build.sh", "microvm"],
                    ["guest/build.sh", "--init", f"{OUT}/in/fill", f"{OUT}/peer.cpio"]):
        subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, check=True)
    run = life.run("peer", kernel=f"{TOP}/build/bench/vmlinux-microvm")
    tell(f"QEMU microvm: while it ran {run.during.bytes()} bytes of canary; after it: {run.after}")
    for place in set(MEMORY) - set(DISKS):
        assert run.during.places[place].hits > 0, (place, run.during)
    assert run.after.bytes(MEMORY) > 8 << 20, run.after

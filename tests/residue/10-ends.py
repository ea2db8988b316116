"""After a run, however it ended, the host's memory holds nothing of it.

A program in the guest fills all it can with a canary of this run (parts/fill.c).
The memory of the emulated host is dumped from outside and searched for each
8-byte word of it, at every byte: once while the program holds it, where all of
it must be found, and once after the run, where none may be (docs/discard.md).
Always in the emulated host: the memory of a real one cannot be dumped.
"""
import os
import signal
import sys

from lib import slow

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "parts"))
from canary import MEMORY, REGISTERS, STREAMS, WORDS  # noqa: E402
from life import Life, tell  # noqa: E402

MIB = 1 << 20
# Bytes of canary that the program puts there.
LEAST = {"heap": 16 * MIB, "stack": 256 * 1024, "files": 8 * MIB, "shared": 4 * MIB, "pipe": 8 * 64 * 1024,
         "socket": 32 * 1024, "scratch": 8 * MIB, "outdisk": MIB // 2}    # a disk and the guest's cache of it
# After a VMM that was killed or crashed KVM frees the vCPU as it is: register-sized remnants.
REGISTER_REMNANTS = 2 * (16 + 64)
PIPE_BYTES = 64 * 1024


def check_filled(run, spinning):
    """The dump while it ran: the search finds what it is to find."""
    assert run.answer["in_time"], "the run was over before the first dump was taken"
    for place, least in LEAST.items():
        found = run.during.places[place]
        assert found.words == WORDS and 8 * found.hits >= least, (place, found)
    if spinning:  # more than the guest's own memory holds of them: KVM's copies
        assert run.during.places["gpr"].hits >= WORDS + 16, run.during.places["gpr"]
        assert run.during.places["ymm"].hits >= 2 * WORDS, run.during.places["ymm"]


def check_log(run, *allowed):
    """What the host's kernel logged meanwhile: no word of the canary, nothing of KVM or about us."""
    text = run.answer["log"].lower()
    for place in (*MEMORY, *REGISTERS):
        assert not any(f"{w:x}" in text for w in run.words(place)), run.answer["log"]
    lines = [x for x in text.splitlines() if any(w in x for w in ("kvm", "vcpu", "dolania"))]
    assert not [x for x in lines if not any(a in x for a in allowed)], lines


def check_locked(run):
    """As root all of the guest's memory that is there is locked, so none of it is swapped."""
    resident, locked = run.answer["resident_bytes"], run.answer["locked_bytes"]
    assert locked == resident > 30 * MIB, (locked, resident)
    if run.result:
        assert run.result["host"]["discard"]["locked"] is True, run.result


def check_cores(run, *names):
    assert [x.split(".")[0] for x in run.answer["cores"]] == list(names), run.answer["cores"]


def check(end, reason=None, status=None, by="vmm", remnants=0, spinning=True, log=(), cores=(), disks=1):
    run = Life.get().run(end)
    tell(f"{end}: while it ran {run.during.bytes()} bytes of canary; after it: {run.after}")
    check_filled(run, spinning)
    assert 8 * run.during.places["outdisk"].hits >= disks * MIB // 2, run.during
    assert run.after.hits((*MEMORY, *STREAMS)) == 0, f"{run.after}\n{run.whereabouts()}"
    assert run.after.hits(REGISTERS) <= remnants, f"{run.after}\n{run.whereabouts()}"
    check_log(run, *log)
    check_cores(run, *cores)
    check_locked(run)
    if reason:
        assert run.end == reason, run.result
        discard = run.result["host"]["discard"]
        assert (discard["complete"], discard["by"]) == (True, by) and discard["disk_bytes"] > 4 * MIB, discard
    if status is not None:
        assert run.answer["status"] == status, run.answer
    return run


def test_exit():
    check("exit", "exited", 0, spinning=False)


def test_wall_limit():
    check("wall_limit", "wall_limit", 124)


def test_cancel():
    """Of the disk of --out nothing is collected then."""
    check("cancel", "cancelled", -signal.SIGTERM, disks=2)


def test_guest_panic():
    check("guest_panic", "guest_panic", 122, spinning=False)


def test_vmm_crash():
    """It leaves no core file either; a program of the same user that crashes as it did leaves one."""
    check("vmm_crash", "vmm_fault", 121, by="supervisor", remnants=REGISTER_REMNANTS,
          log=("segfault at 0 ip 0000000000000000",), cores=["sleep"])


def test_vmm_killed():
    check("vmm_killed", "vmm_fault", 121, by="supervisor", remnants=REGISTER_REMNANTS)


def test_supervisor_killed():
    """The VMM overwrites the disks of --scratch and --out, too."""
    check("supervisor_killed", status=-signal.SIGKILL, disks=2)


def check_output(run, *clean):
    """No page that these had mapped holds any; what went through the pipes between them is the kernel's."""
    assert run.during.hits(STREAMS) > 4 * PIPE_BYTES // 8, run.during
    for who in clean:
        hit = run.hits_in(who)
        assert not hit, f"{who}: {hit}"
    assert run.after.hits((*MEMORY, *REGISTERS)) == 0, f"{run.after}\n{run.whereabouts()}"


def test_output_on_its_way():
    """Output that its reader never took lies in the guest, in rings, in dolania's buffers and in four pipes."""
    run = Life.get().run("output")
    tell(f"output: while it ran {run.during.bytes(STREAMS)} bytes of output; after it in pages that "
         f"were mapped: 0, in the kernel's: {run.after.bytes(STREAMS)}")
    check_output(run, "dolania", "vmm")
    assert run.end == "cancelled", run.result


def test_output_of_a_killed_supervisor():
    """Then nobody can overwrite what it held itself; the VMM overwrites the rings."""
    run = Life.get().run("supervisor_killed", hold="output")
    tell(f"supervisor_killed, with output: after it {run.after}; {run.hits_in_bytes('dolania')} of it were "
         f"dolania's, {run.hits_in_bytes('vmm')} the VMM's")
    check_output(run, "vmm")


def test_supervisor_crash_leaves_no_core_file():
    """It holds output that its reader did not take."""
    run = Life.get().run("supervisor_crash", hold="output", during=False)
    assert run.answer["status"] == -signal.SIGSEGV, run.answer
    check_cores(run, "sleep")


@slow
def test_many_runs_leave_nothing():
    """Each with a canary of its own, searched for after it, and all of them after the last one."""
    seeds = []
    for _ in range(12):
        run = Life.get().run("cancel", during=False)
        assert run.after.hits() == 0, f"{run.after}\n{run.whereabouts()}"
        seeds.append(run.seed)
    run = Life.get().run("exit", also=seeds)
    tell(f"{len(seeds)} runs, nothing after each; then exit: {run.after}")
    assert run.after.hits() == 0, f"{run.after}\n{run.whereabouts()}"

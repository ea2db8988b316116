#!/usr/bin/python3
"""What differs between the vendors, as this suite has seen it; docs/vendors.md is printed from it.

usage: tests/intel/vendors.py >docs/vendors.md
"""
import copy
import os
import sys

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
sys.dont_write_bytecode = True
sys.path[:0] = [os.path.join(TOP, "tests/hostile"), os.path.join(TOP, "tests/e2e")]
from suite import cases, ends  # noqa: E402

# Areas of the hostile guests that are about the processor and the host's KVM.
AREAS = ("cpu", "mem", "irq")
# case: (the end on VMX, what differs)
DIFFERENT = {
    "cpu_page_tables_in_registers": (
        ends.hostile("stuck"),
        "KVM on SVM goes round for ever; on VMX it gives the access to the VMM, which ends the run"),
    "mem_walk_root": (ends.hostile("stuck"), "the same, with CR3 where nothing is"),
}
# case: (its counters on VMX, what differs), where the end is the same
COUNTED = {
    "mem_walk_clflush": ({"exits.mmio_unmapped": 256}, "each CLFLUSH there is an exit until the run ends; on SVM none is"),
}
# case: why it is left out of the suite
NOT_TRIED = {
    "cpu_spin": "Bochs takes no interrupt for the host while a guest runs on with its own off, and leaves it at "
                "an exit of the guest's alone",
    "mem_kvmclock_at_the_end": "the same: it waits with interrupts off, and the host's kernel logs a lockup of 31 s",
}

HEAD = """# The two vendors

The same tests run on AMD's SVM (QEMU) and on Intel's VMX with EPT (Bochs, `tests/run intel`, see
[kvm-host.md](kvm-host.md)), under the same kernel. {tried} hostile guests are about the processor, memory,
interrupts and the host's KVM. {same} of them do the same on both. This page is printed by
`tests/intel/vendors.py`; a test fails where it is wrong.

## What differs

| case | on SVM | on VMX | why |
| --- | --- | --- | --- |
"""
NOT_HEAD = """
## What was not tried on VMX

| case | why |
| --- | --- |
"""
TAIL = """
Neither emulator has notify exits and bus-lock exits, so the rules for them are tested by `tests/unit` alone. Real
processors have errata and timing that emulators do not: no test has run on one.
"""


def here(case):
    """The case as it must end on VMX."""
    other = copy.copy(case)
    if case.name in COUNTED:
        other.reached = {**case.reached, **COUNTED[case.name][0]}
    if case.name not in DIFFERENT:
        return other
    other.end, _ = DIFFERENT[case.name]
    other.wall = "long"
    return other


def text():
    tried = [c for c in cases.CASES if c.area in AREAS and c.name not in NOT_TRIED]
    lines = [HEAD.format(tried=len(tried), same=len(tried) - len(DIFFERENT) - len(COUNTED))]
    for name, (end, why) in DIFFERENT.items():
        amd = next(c for c in cases.CASES if c.name == name).end
        lines.append(f"| `{name}` | {amd.text} | {end.text} | {why} |\n")
    for name, (counters, why) in COUNTED.items():
        amd = next(c for c in cases.CASES if c.name == name).reached
        was, now = (", ".join(f"{k} {x[k]}" for k in counters) for x in (amd, counters))
        lines.append(f"| `{name}` | {was} | {now} | {why} |\n")
    lines.append(NOT_HEAD)
    lines += [f"| `{name}` | {why} |\n" for name, why in NOT_TRIED.items()]
    return "".join(lines) + TAIL


if __name__ == "__main__":
    print(text(), end="")

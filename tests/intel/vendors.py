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
# case: why it is left out of the suite
NOT_TRIED = {
    "cpu_spin": "Bochs does not come back from an endless jump with interrupts off",
}

HEAD = """# The two vendors

The same tests run on AMD's SVM (QEMU) and on Intel's VMX with EPT (Bochs, `tests/run intel`, see
[kvm-host.md](kvm-host.md)), under the same kernel. Of the hostile guests, {tried} are about the processor, memory,
interrupts and the host's KVM. {same} of them end in the same way on both. This page is printed by
`tests/intel/vendors.py`; a test fails where it is wrong.

## What ends otherwise

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
    if case.name not in DIFFERENT:
        return case
    other = copy.copy(case)
    other.end, _ = DIFFERENT[case.name]
    other.wall = "long"
    return other


def text():
    tried = [c for c in cases.CASES if c.area in AREAS and c.name not in NOT_TRIED]
    lines = [HEAD.format(tried=len(tried), same=len(tried) - len(DIFFERENT))]
    for name, (end, why) in DIFFERENT.items():
        amd = next(c for c in cases.CASES if c.name == name).end
        lines.append(f"| `{name}` | {amd.text} | {end.text} | {why} |\n")
    lines.append(NOT_HEAD)
    lines += [f"| `{name}` | {why} |\n" for name, why in NOT_TRIED.items()]
    return "".join(lines) + TAIL


if __name__ == "__main__":
    print(text(), end="")

"""Every hostile guest that is about the processor, memory and interrupts: as on AMD, or as vendors.py has it."""
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import lib  # noqa: E402
import vendors  # noqa: E402
from suite import cases, tests  # noqa: E402

for case in cases.CASES:
    if case.area in vendors.AREAS:
        def test(case=vendors.here(case)):
            if case.name in vendors.NOT_TRIED:
                raise lib.Skip(vendors.NOT_TRIED[case.name])
            tests.judge(case, "release")
        test.hostile = True
        globals()[f"test_{case.name}"] = lib.slow(test) if case.slow else test

"""Test functions for tests/run, one a case and build, one a control."""
import os

import lib

from . import build, cases, controls, harness

BY_NAME = {c.name: c for c in cases.CASES}
symbols = None


def ready():
    global symbols
    if symbols is None:
        build.prepare()
        symbols = build.symbols()


def judge(case, which):
    """An emulated host is itself a process that others keep from running: there a limit may be late, twice."""
    ready()
    if case.waits is not None:
        with open(os.path.join(lib.TOP, case.waits[0]), encoding="utf-8") as f:
            if case.waits[1] not in f.read():
                raise lib.Skip(f"waits for {case.waits}")
    for left in range(2 if lib.EMULATED else 0, -1, -1):
        try:
            return harness.judge(case, which, symbols=symbols)
        except harness.Wrong as e:
            if e.kind != "limit" or left == 0:
                raise
    return None


def add(module, name, test):
    test.hostile = True         # events S3 are what is expected here
    module[f"test_{name}"] = test


def add_cases(module, which):
    for case in cases.CASES:
        add(module, case.name, lambda case=case: judge(case, which))


def check_control(control):
    case = BY_NAME[control.case]
    judge(case, control.build)
    try:
        harness.judge(case, control.build, build.control_root(control), symbols)
    except harness.Wrong as e:
        assert e.kind == control.caught, f"caught by {e}, not by {control.caught}"
        return
    raise AssertionError(f"{control.name} was not caught by {control.case}: the suite is blind there")


def add_controls(module):
    for control in controls.CONTROLS:
        add(module, control.name, lambda control=control: check_control(control))

"""Test functions for tests/run, one a case and build, one a control."""
import os

import lib

from . import build, cases, controls, harness

BY_NAME = {c.name: c for c in cases.CASES}
symbols = None
failed = None


def ready():
    """Built once; what failed is not tried again for each test."""
    global symbols, failed
    if failed is not None:
        raise failed
    if symbols is None:
        try:
            build.prepare()
            symbols = build.symbols()
        except Exception as e:
            failed = e
            raise


def judge(case, which):
    """An emulated host is itself a process that others keep from running: there a limit may be late, twice."""
    ready()
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
        def test(case=case):
            judge(case, which)
        add(module, case.name, lib.slow(test) if case.slow else test)


def check_control(control):
    case = BY_NAME[control.case]
    ready()
    if os.path.exists(build.control_error(control)):
        with open(build.control_error(control), encoding="utf-8") as f:
            raise AssertionError(f.read())
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

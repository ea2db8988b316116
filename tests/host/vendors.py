"""docs/vendors.md is what the suite intel wants, and the suite's outside sees what it must.  No VM."""
import os
import subprocess
import sys
import tempfile

from lib import TOP

sys.path.insert(0, os.path.join(TOP, "tests/intel"))
import outside  # noqa: E402
import vendors  # noqa: E402


def test_the_page_of_the_vendors_is_current():
    page = subprocess.run([f"{TOP}/tests/intel/vendors.py"], capture_output=True, text=True, check=True).stdout
    with open(f"{TOP}/docs/vendors.md", encoding="utf-8") as f:
        assert f.read() == page, "docs/vendors.md is not what tests/intel/vendors.py prints"


def test_the_differences_are_of_cases_that_there_are():
    known = {c.name for c in vendors.cases.CASES if c.area in vendors.AREAS}
    assert set(vendors.DIFFERENT) | set(vendors.COUNTED) | set(vendors.NOT_TRIED) <= known


class Tally:
    """Keeps what it gets."""

    def __init__(self):
        self.got = []

    def ok(self, name, took):
        self.got.append(("ok", name, took))

    def skip(self, name, why):
        self.got.append(("skip", name, why))

    def fail(self, name, _took, detail, rerun):
        self.got.append(("FAIL", name, detail, rerun))


def test_each_line_from_inside_is_counted():
    tally = Tally()
    lines = outside.Lines(tally)
    said = ("ok intel/a.b (0.1s)\nFAIL intel/a.c (2.0s)\n  | one\n  | two\n  rerun: x\nskip intel/a.d: why: so\n"
            "ok intel/a.e (1.0s)")
    with subprocess.Popen(["printf", "%s\\n", said], stdout=subprocess.PIPE) as p:
        assert outside.follow(p, lines) == 0
    lines.end_of_failure()
    assert tally.got == [("ok", "intel/a.b", 0.1), ("FAIL", "intel/a.c", "one\ntwo", "tests/run intel a.c"),
                         ("skip", "intel/a.d", "why: so"), ("ok", "intel/a.e", 1.0)], tally.got


def test_a_mark_in_the_dump_fails_and_so_does_no_control():
    guests, control = outside.marks()
    for marks, ends in ((control, "ok"), (control + guests, "FAIL"), (b"", "FAIL")):
        tally = Tally()
        with tempfile.NamedTemporaryFile() as f:
            f.write(bytes((1 << 24) - 5) + marks)       # over the seam of two reads
            f.flush()
            outside.judge_residue(tally, f.name, "again")
        assert tally.got[0][:2] == (ends, "intel/residue"), tally.got

"""docs/limits.md, "Exits": each number is the code's, and each kind of exit has a rule or ends the run."""
import os
import re
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.realpath(__file__)), "../e2e"))
from lib import TOP  # noqa: E402


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def section():
    return read("docs/limits.md").split("\n## Exits\n")[1].split("\n## ")[0]


def constants(code):
    return {name: int(n) for name, n in re.findall(r"\b([A-Z][A-Z_]+) = (\d+)\b", code)}


def test_the_page_has_the_rules_of_the_code():
    rules = re.findall(r"\[(STORM_\w+)\] = \{ (\d+), (\d+) \}", read("vmm/base/storm.c"))
    rows = [row.split(" | ") for row in re.findall(r"^\| (.*) \|$", section(), re.M)[1:]]
    assert [r[0] for r in rules] == ["STORM_PLAIN", "STORM_MSR", "STORM_BUS_LOCK", "STORM_NOTIFY"] and len(rows) == 4
    for (kind, free, waits), (_, told, how, end) in zip(rules, rows):
        assert told == free, (kind, told, free)
        assert (how, end.split(":")[0]) == (("ends", "at once") if waits == "0" else ("waits", f"after {waits} waits")), kind


def test_the_page_has_the_other_bounds_of_the_code():
    c, text = constants(read("vmm/loop.c")), " ".join(section().split())
    assert f"each request to a device explains {c['EXITS_PER_CHAIN']}" in text
    assert f"{c['SWEEP_MSRS']} different MSRs" in text
    assert f"{c['SWEEP_UNMAPPED']} accesses to addresses without memory" in text
    assert f"page tables for {c['SWEEP_TABLES']} such places" in text
    c = constants(read("vmm/base/storm.h"))
    assert c["STORM_WINDOW_NS"] == 10**9 and f"wait for {c['STORM_WAIT_NS'] // 10**6} ms" in text


def test_each_kind_of_exit_has_a_rule_or_ends_the_run():
    code = read("vmm/loop.c")
    table = dict(re.findall(r"\{ (KVM_EXIT_\w+), (\w+) \}", code))
    assert len(table) >= 10
    for kind, handler in table.items():
        body = code.split(f"\nstatic void {handler}(struct run *r)\n{{")[1].split("\n}\n")[0]
        ruled = re.search(r"\bmind_(storm|plain)\(", body)
        ends = re.search(r"^\t(run_end|end_stuck|end_hostile)\(r,", body, re.M)
        assert ruled or ends or kind == "KVM_EXIT_INTR", f"{kind} is neither bounded nor an end"

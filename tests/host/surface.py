"""The surface ledger, docs/surface.md: what it says is what the code says.  What needs a VM is in e2e/95-surface."""
import os
import sys

from lib import TOP

sys.path.insert(0, os.path.join(TOP, "tests/surface"))
import bpf
import facts
import ledger


def test_code_and_ledger_agree():
    book = ledger.Ledger(facts.collect(), ledger.read_observed())
    wrong = ledger.differences(book)
    assert not wrong, "\n".join(wrong)


def test_the_ledger_notices_a_difference():
    f = facts.collect()
    f["allowed"] = {**f["allowed"], 59: None}      # execve
    f["exit"] = f["exit"][1:]
    wrong = "\n".join(ledger.differences(ledger.Ledger(f, ledger.read_observed())))
    assert "execve is allowed, no test makes it" in wrong
    assert "docs/surface.md, exits: code and ledger differ" in wrong
    assert "-syscalls allowed: " in wrong


def test_the_filter_is_read_as_the_kernel_runs_it():
    """explore() says what is allowed over all numbers; the interpreter agrees where it is asked."""
    f = facts.collect()
    program, allowed = f["program"], f["allowed"]
    arguments = allowed[facts.IOCTL][facts.REQUEST]
    x32, i386, arm64 = 0x40000000, 0x40000003, 0xc00000b7
    for nr in [*range(1024), *range(x32, x32 + 1024), 0xffffffff]:
        # The first argument word that is looked at is ioctl's request: anything else must not matter.
        for args in ((), (0, 0xae80), (1 << 63, 1 << 63, 1, 2, 3, 4)):
            passes = allowed.get(nr, 0) is None or nr == facts.IOCTL and len(args) > 1 and args[1] & 0xffffffff in arguments
            assert (bpf.run(program, nr, args=args) == bpf.ALLOW) == passes, (nr, args)
            for arch in (i386, arm64, 0):
                assert bpf.run(program, nr, arch, args) == bpf.KILL_PROCESS
    for request in {r + d for r in arguments for d in (-1, 0, 1)} | set(range(0xae00, 0xaf00)) | {0x5421, 0x541b}:
        assert (bpf.run(program, facts.IOCTL, args=(0, request)) == bpf.ALLOW) == (request in arguments), request
        # The kernel takes the request as 32 bits, so the upper half decides nothing.
        assert bpf.run(program, facts.IOCTL, args=(0, request | 1 << 40)) == bpf.run(program, facts.IOCTL, args=(0, request))


def test_an_inexact_filter_is_not_called_exact():
    load, allow, kill = (bpf.LD_W_ABS, 0, 0, 0), (bpf.RET_K, 0, 0, bpf.ALLOW), (bpf.RET_K, 0, 0, bpf.KILL_PROCESS)
    arch = [(bpf.LD_W_ABS, 0, 0, bpf.ARCH), (bpf.JEQ, 1, 0, bpf.X86_64), kill]
    for program in ([allow],                                                    # everything
                    [load, (bpf.JEQ, 0, 1, 1), allow, kill],                    # write, of any architecture
                    [*arch, load, (bpf.JGE, 1, 0, 10), allow, kill],            # 0 to 9
                    [*arch, load, (bpf.JEQ, 0, 3, 16), (bpf.LD_W_ABS, 0, 0, 24), (bpf.JGT, 0, 1, 7), allow, kill],
                    [*arch, load, (bpf.AND_K, 0, 0, 0xff), (bpf.JEQ, 0, 1, 1), allow, kill],
                    [*arch, load, (bpf.JEQ, 0, 1, 1), allow, (bpf.RET_K, 0, 0, 0x7ffc0000)]):   # log the rest
        try:
            found = bpf.allowed(program)
        except bpf.Unreadable:
            continue
        raise AssertionError(f"{program} was read as {found}")
    exact = [*arch, load, (bpf.JEQ, 0, 1, 1), allow, (bpf.JEQ, 0, 3, 16), (bpf.LD_W_ABS, 0, 0, 24), (bpf.JEQ, 0, 1, 7), allow, kill]
    assert bpf.allowed(exact) == {1: None, 16: {24: {7}}}


def test_lines_are_counted_without_comments():
    path = os.path.join(facts.OUT, "lines.c")
    os.makedirs(facts.OUT, exist_ok=True)
    with open(path, "w", encoding="ascii") as f:
        f.write('/* one\n two */\n\nint a; // three\n// four\nchar *b = "/* no // comment";\n\t\n'
                "int c = '\"'; /* five */ /*\n six */ int d;\n")
    assert facts.code_lines(os.path.relpath(path, TOP)) == 4

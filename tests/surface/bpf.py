"""A seccomp filter, read exactly: what it lets through over all values of all words.

Nothing is assumed of how the filter was made.  explore() follows every path of
the program with the set of values that lead there, so "allowed" is not a sample:
it holds for all 2^32 system call numbers, architectures and argument words.
run() is a plain interpreter, to check explore() against.
"""
import ctypes
import errno
import os
import struct

ALLOW, KILL_PROCESS = 0x7fff0000, 0x80000000
X86_64 = 0xc000003e
NR, ARCH, WORDS = 0, 4, range(0, 64, 4)      # offsets in struct seccomp_data
LD_W_ABS, LD_IMM, RET_K, RET_A, JA = 0x20, 0x00, 0x06, 0x16, 0x05
JEQ, JGT, JGE, JSET = 0x15, 0x25, 0x35, 0x45
AND_K = 0x54
FULL = (1 << 32) - 1


class Unreadable(Exception):
    """The filter does something that is not followed here."""


def decode(data):
    """[(code, jt, jf, k)] of an array of struct sock_filter."""
    return [struct.unpack_from("<HBBI", data, at) for at in range(0, len(data), 8)]


def run(program, nr, arch=X86_64, args=()):
    """The action for one call."""
    data = struct.pack("<IIQ6Q", nr, arch, 0, *(list(args) + [0] * 6)[:6])
    a, pc = 0, 0
    while True:
        code, jt, jf, k = program[pc]
        pc += 1
        if code == LD_W_ABS:
            a = struct.unpack_from("<I", data, k)[0]
        elif code == LD_IMM:
            a = k
        elif code == AND_K:
            a &= k
        elif code == RET_K:
            return k
        elif code == RET_A:
            return a
        elif code == JA:
            pc += k
        elif code in (JEQ, JGT, JGE, JSET):
            hit = {JEQ: a == k, JGT: a > k, JGE: a >= k, JSET: bool(a & k)}[code]
            pc += jt if hit else jf
        else:
            raise Unreadable(f"instruction {code:#x}")


def narrow(values, code, k, hit):
    """The part of a set of values ((low, high) pairs) that goes this way at a jump."""
    low, high = {JEQ: (k, k), JGT: (k + 1, FULL), JGE: (k, FULL)}[code]
    keep = [(low, high)] if hit else [(0, low - 1), (high + 1, FULL)]
    return tuple((max(a, c), min(b, d)) for a, b in values for c, d in keep if max(a, c) <= min(b, d))


def explore(program):
    """[(action, {offset: values})]: every path, with the values of the words it looked at.

    A word that was masked (BPF_AND) is followed both ways at its jumps: then what
    is reported allowed is allowed for some values, and 'masked' is in the dict.
    """
    found, todo = [], [(0, None, {})]
    while todo:
        pc, a, words = todo.pop()
        code, jt, jf, k = program[pc]
        if code == LD_W_ABS:
            if k not in WORDS:
                raise Unreadable(f"a load at offset {k}")
            todo.append((pc + 1, k, words))
        elif code == AND_K:
            todo.append((pc + 1, "masked", {**words, "masked": True}))
        elif code == RET_K:
            found.append((k, words))
        elif code == JA:
            todo.append((pc + 1 + k, a, words))
        elif code in (JEQ, JGT, JGE, JSET) and a is not None:
            for hit, jump in ((True, jt), (False, jf)):
                if a == "masked" or code == JSET:
                    todo.append((pc + 1 + jump, a, {**words, "masked": True}))
                    continue
                left = narrow(words.get(a, ((0, FULL),)), code, k, hit)
                if left:
                    todo.append((pc + 1 + jump, a, {**words, a: left}))
        else:
            raise Unreadable(f"instruction {code:#x} at {pc}")
    return found


def exact(values):
    return values[0][0] if len(values) == 1 and values[0][0] == values[0][1] else None


def allowed(program):
    """{number: None or {argument offset: [values]}} of a filter that allows by exact number.

    None: with any arguments.  Raises Unreadable when it lets anything else
    through: another architecture, a range of numbers, a range of an argument.
    """
    calls = {}
    for action, words in explore(program):
        if action != ALLOW:
            if action != KILL_PROCESS:
                raise Unreadable(f"an action that is neither allow nor kill: {action:#x}")
            continue
        nr, arch = exact(words.get(NR, ())) if NR in words else None, exact(words.get(ARCH, ((0, FULL),)))
        if arch != X86_64 or nr is None or "masked" in words:
            raise Unreadable(f"allowed in an inexact way: {words}")
        arguments = {at: exact(v) for at, v in words.items() if at not in (NR, ARCH)}
        if None in arguments.values():
            raise Unreadable(f"call {nr}: an argument is allowed by range: {words}")
        if not arguments:
            calls[nr] = None
        elif calls.get(nr, {}) is not None:
            for at, value in arguments.items():
                calls.setdefault(nr, {}).setdefault(at, set()).add(value)
    return calls


def may_pass(program, numbers):
    """Those of `numbers` (of x86-64) that some arguments get through; for any filter."""
    sets = [w for action, w in explore(program) if action == ALLOW]

    def fits(words, at, value):
        return any(a <= value <= b for a, b in words.get(at, ((0, FULL),)))
    return {n for n in numbers if any(fits(w, NR, n) and fits(w, ARCH, X86_64) for w in sets)}


def of_process(pid):
    """The filters of a process (a thread), newest first, as the kernel keeps them.  Needs root."""
    seize, interrupt, detach, get_filter = 0x4206, 0x4207, 17, 0x420c
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]

    def call(what, request, address=None, data=None):
        n = ptrace(request, pid, address, data)
        if n < 0:
            raise OSError(ctypes.get_errno(), f"{what}: {os.strerror(ctypes.get_errno())}")
        return n
    call("attaching", seize)
    try:
        call("stopping", interrupt)
        os.waitpid(pid, 0x40000000)      # __WALL
        programs = []
        while True:
            try:
                n = call("reading the filter", get_filter, len(programs))
            except FileNotFoundError:
                return programs
            except OSError as e:
                if e.errno == errno.EINVAL and not programs:
                    return []        # no filter; also a kernel without CONFIG_CHECKPOINT_RESTORE
                raise
            data = ctypes.create_string_buffer(8 * n)
            call("reading the filter", get_filter, len(programs), ctypes.addressof(data))
            programs.append(decode(data.raw))
    finally:
        ptrace(detach, pid, None, None)

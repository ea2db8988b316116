#!/usr/bin/python3
"""without.py NUMBER[:ARG0] ERRNO COMMAND...: COMMAND on a kernel that lacks a system call.

The call (with this first argument, if one is given) fails with ERRNO in COMMAND
and all its children, as it does where the kernel was built without it.
"""
import ctypes
import os
import struct
import sys

BPF_LD_W_ABS, BPF_JEQ, BPF_RET = 0x20, 0x15, 0x06
RET_ALLOW, RET_ERRNO = 0x7fff0000, 0x00050000
PR_SET_NO_NEW_PRIVS, PR_SET_SECCOMP, MODE_FILTER = 38, 22, 2


def deny(number, arg0, error):
    ops = [(BPF_LD_W_ABS, 0, 0, 0), (BPF_JEQ, 0, 1 if arg0 is None else 3, number)]
    if arg0 is not None:
        ops += [(BPF_LD_W_ABS, 0, 0, 16), (BPF_JEQ, 0, 1, arg0)]
    ops += [(BPF_RET, 0, 0, RET_ERRNO | error), (BPF_RET, 0, 0, RET_ALLOW)]
    code = ctypes.create_string_buffer(b"".join(struct.pack("<HBBI", *op) for op in ops))
    program = ctypes.create_string_buffer(struct.pack("<HxxxxxxQ", len(ops), ctypes.addressof(code)))
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) or \
            libc.prctl(PR_SET_SECCOMP, MODE_FILTER, ctypes.c_void_p(ctypes.addressof(program)), 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")


what, _, first = sys.argv[1].partition(":")
deny(int(what), int(first) if first else None, int(sys.argv[2]))
os.execv(sys.argv[3], sys.argv[3:])

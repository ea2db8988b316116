"""The canaries, as the program in the guest (fill.c) computes them.

Only this side, outside the emulated host, computes them here: inside, nothing
but the guest ever has them.
"""
import os

WORDS = 64
PLACES = ("heap", "stack", "files", "shared", "pipe", "socket", "scratch", "outdisk", "gpr", "ymm", "out", "err")
# What a run holds when it sends no canary, and what of it is in the vCPU.
MEMORY = PLACES[:8]
DISKS = ("scratch", "outdisk")
REGISTERS = ("gpr", "ymm")
STREAMS = ("out", "err")
MASK = (1 << 64) - 1


def new_seed():
    return os.urandom(16).hex()


def mix(x):
    x ^= x >> 31
    x = x * 0x9f8d6c3b5a4e1d27 & MASK
    x ^= x >> 29
    x = x * 0xd52ca97183b60f4d & MASK
    return x ^ x >> 32


def words(seed, place):
    s0, s1 = int(seed[:16], 16), int(seed[16:], 16)
    base = mix(mix(s0 + PLACES.index(place) & MASK) ^ s1)
    return [mix(base + i & MASK) for i in range(WORDS)]


def lines(seed):
    """What search.c reads."""
    return "".join(f"{place} {' '.join(f'{w:x}' for w in words(seed, place))}\n" for place in PLACES)

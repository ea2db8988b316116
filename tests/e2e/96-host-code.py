"""The host kernel's own code: the VMM does not make KVM change it at the end of a run.

KVM keeps rare states of a LAPIC as static keys.  A VM that reaches one makes the kernel rewrite its
own instructions, which interrupts every processor of the host; on an emulated host with two
processors it is also what panics it (docs/kvm-host.md).  What KVM does by itself where there is no
other VM, as it makes or resets a LAPIC, is not ours.
"""
import contextlib
import os
import subprocess
import time

import lib
from lib import Skip, run

TRACING = "/sys/kernel/tracing"
PATCH = "arch_jump_label_transform_apply"


def write(name, text):
    """A file of probes that is opened with O_TRUNC loses those of others."""
    fd = os.open(os.path.join(TRACING, name), os.O_WRONLY)
    try:
        os.write(fd, text.encode())
    finally:
        os.close(fd)


@contextlib.contextmanager
def code_patches():
    """Yields a function that returns the call stacks of all patches of kernel code since."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    mounted = os.path.exists(f"{TRACING}/trace")
    if not mounted and subprocess.run(["mount", "-t", "tracefs", "tracefs", TRACING], check=False,
                                      capture_output=True).returncode != 0:
        raise Skip("no tracefs here")
    try:
        try:
            write("kprobe_events", f"p:dolania_test {PATCH}\n")
        except OSError as e:
            raise Skip("this kernel has no probes") from e
        event = "events/kprobes/dolania_test"
        try:
            write("trace", "\n")
            write(f"{event}/trigger", "stacktrace\n")
            write(f"{event}/enable", "1")

            def stacks():
                with open(f"{TRACING}/trace", encoding="ascii") as f:
                    text = "".join(line for line in f if not line.startswith("#"))
                return text.split("<stack trace>")[1:]
            yield stacks
        finally:
            write(f"{event}/enable", "0")
            write(f"{event}/trigger", "!stacktrace\n")
            write("kprobe_events", "-:dolania_test\n")
    finally:
        if not mounted:
            subprocess.run(["umount", TRACING], check=False)


def test_the_vmm_switches_no_lapic_off_at_the_end():
    with code_patches() as stacks:
        for _ in range(2):
            r = run("-c", "true")
            assert r.reason == "exited", r
            time.sleep(2)       # KVM takes a key back a second late
        seen = stacks()
    # The eye: the host's first VM switches keys of KVM on, whoever makes it.
    if not lib.EMULATED or os.cpu_count() == 1:
        assert seen, "no patch at all was seen"
    for stack in seen:
        assert "apic_set_base" not in stack and "set_sregs" not in stack, stack

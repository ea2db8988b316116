"""docs/hostile.md, made of the cases and controls."""
from . import cases, controls, ends, hostmem, klog

AREAS = {
    "mmio": "Register windows", "ring": "Virtqueues", "blk": "The disk", "scratch": "A disk that may be written to (`--scratch`)", "vsock": "Vsock",
    "control": "The control connection", "log": "The kernel log",
    "cpu": "The processor", "mem": "Memory", "irq": "Interrupt controllers",
}
EYES = {
    "outcome": "another end, or another answer to the guest", "sanitizer": "a sanitizer's report",
    "signal": "the VMM dies by a signal", "limit": "the supervisor has to kill the VMM",
    "counter": "a count that is not the case's", "discard": "the supervisor finds guest memory that was not overwritten", "memory": "the VMM grows",
    "host": "the host's kernel holds more memory", "log": "the host's kernel logs it",
}

HEAD = """# Hostile guests

This page is printed by `tests/hostile/run --table`; a test compares it.

A hostile guest is a small freestanding program that is loaded in place of Linux
and owns the machine from its first instruction: `tests/hostile/cases/` has {cases}
of them, one function each, in one ELF file. The kernel command line says which one
runs. Each runs alone, in a VM of its own, under the ordinary command:

    make hostile                  the whole suite
    make hostile CASE=ring_head_64     one case, with its result (BUILD=sanitizer: on the other build)
    tests/run hostile             the same as tests

For your own guest give any ELF file to `dolania run --kernel FILE`; `tests/hostile/guest/`
has an entry, traps, and virtio drivers to do wrong by hand.

## What is judged

Each case runs twice: against the release build in all of its jail, and against a build
with AddressSanitizer and UndefinedBehaviorSanitizer that is never installed. Each must

* **end exactly as its table says**: the reason, and for a broken rule of virtio the evidence (device,
  queue, index, rule, value). A guest that expects answers checks each of them and says so at its end; anything
  unexpected ends it by a panic with the line of its source;
* **have reached the device**: register accesses, kicks and chains, bytes, exits, as the VMM counted
  them (`host.devices`, `host.exits` of the result). They are compared exactly where the machine's speed does not
  matter. A case that died early fails;
* **keep the invariants**: no report of a sanitizer, neither in the VMM nor in the command; no
  SIGSYS, SIGSEGV or other signal; the VMM ended by itself, in time; its memory beyond the
  guest's RAM and its CPU time within bounds; all guest memory overwritten, by the VMM; no event above S3, and S3 only
  where the run was ended for it; the host's files (disk, kernel, initrd, both programs) unchanged; no VMM left.
  The host's kernel memory, looked at before, during and after the run, grows by no more than {most},
  and no more than 1 MiB of KVM's tables stays; the command ends soon after guest memory was overwritten.
  The host's kernel logs nothing about it while it runs, where the table does not name the line, but for
  {once}, which KVM writes once in the life of a host. The vCPU's registers
  were overwritten, or KVM gave the machine up (`irq_smi`) and the result says that they were not.
  Runs that last until their wall limit are also looked at from outside, twice: the
  same descriptors, memory and threads, guest RAM followed by inaccessible memory.

**Guard pages and canaries.** Behind guest RAM there is always at least a page that nobody can touch
(`vmm/mem/gmem.c`), and functions with arrays have a stack canary (`-fstack-protector-strong`). Either, when hit,
kills the VMM with a signal, which is a failure here: that a case passes says that they are whole; the controls
`gmem_end_unchecked` and `chain_unbounded_release` show that they work. The VMM has no heap. The
sanitizer build has redzones around every array on the stack and every global one.

**The sanitizer build** goes through the same namespaces, Landlock, limits and filter. What it needs more is
three files in its otherwise empty root (dynamic linker, libc, libm: `tests/hostile/sanitizer/libraries.c`) and, to write a
report, `mmap` and `munmap` (`vmm/jail/seccomp.c`, under `__SANITIZE_ADDRESS__`). A test looks
that the release build has none of it.

## Positive controls

A suite that never fails proves nothing. Each control is one line of our own code made weaker, in a copy;
the case that must catch it is run on the unchanged build, where it passes, and on the weakened one.

"""

TAIL = """
## What is not tested here

* **More than 3 GiB of RAM**, and with it ranges over the hole below 4 GiB: the emulated host is smaller. `tests/unit/bugs.c`
  has `range_ends_in_another_region`.
* **Intel.** The emulated host of this suite is an AMD one. `tests/run intel` runs the areas `cpu`, `mem` and `irq` on
  VMX ([vendors.md](vendors.md)). Notify and bus-lock exits exist in neither emulator.
* **KVM itself**, beyond what a guest can make it tell the VMM.
"""


def cell(text):
    return text.replace("|", "\\|")


def evidence(end):
    d = {k.partition(".")[2]: v for k, v in end.details.items() if k.startswith("violation.")}
    if not d:
        return ""

    def number(v):
        return f"`{v}`" if isinstance(v, ends.Place) else str(v) if v < 1 << 17 else f"{v:#x}"
    device = {ends.VSOCK: "vsock", ends.DISK: "disk", ends.SCRATCH: "second disk"}[d["slot"]]
    return f"{device}, queue {number(d['queue'])}, index {d['index']}, value {number(d['value'])}"


def reached(case):
    def number(v):
        return getattr(v, "text", str(v) if not isinstance(v, bytes) else f"{len(v)} bytes")
    parts = []
    for device, name in (("image", "disk"), ("second", "second disk"), ("vsock", "vsock")):
        triple = [case.reached.get(f"{device}.{x}") for x in ("accesses", "kicks", "chains")]
        if any(x is not None for x in triple):
            parts.append(f"{name} {' / '.join(number(x) for x in triple)}")
    parts += [f"{k} {number(v)}" for k, v in case.reached.items() if k.split(".")[0] not in ("image", "second", "vsock")]
    parts += [f"KVM's log: \"{x}\"" for x in case.log]
    return ", ".join(parts)


def text():
    lines = [HEAD.format(cases=len(cases.CASES), most=hostmem.bounds_text(),
                         once=klog.once_text()) + "| control | weakening | file | build | case | seen as |", "|---|---|---|---|---|---|"]
    for c in controls.CONTROLS:
        lines.append(f"| `{c.name}` | {cell(c.about)} | `{c.file}` | {c.build} | `{c.case}` | {EYES[c.caught]} |")
    lines += ["", "## Cases", "", "Counters: register accesses / kicks / chains taken by a device; others by their name in the result. "
              "Values of 2^63 and more read as 2^63 - 1 there."]
    for area, title in AREAS.items():
        of_area = [c for c in cases.CASES if c.area == area]
        lines += ["", f"### {title} ({len(of_area)})", "", "| case | attack | must end as | evidence | counters |",
                  "|---|---|---|---|---|"]
        for c in of_area:
            lines.append(f"| `{c.name}` | {cell(c.about)} | {c.end.text} | {evidence(c.end)} | {reached(c)} |")
    return "\n".join(lines) + "\n" + TAIL

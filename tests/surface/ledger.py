"""docs/surface.md: its generated parts, from the facts; and whether they are what is committed."""
import json
import os
import re

import facts
import names

DOC = os.path.join(facts.TOP, "docs/surface.md")
OBSERVED = os.path.join(facts.TOP, facts.HERE, "observed.json")
UPDATE = "make surface UPDATE=1"
# Why a call is allowed that no test was seen to make.
KEPT = {
    "pwritev": "the disks of --out and --scratch; not there yet when runs were observed",
}
WITH_SUBLEAVES = (0x4, 0x7, 0xb, 0xd, 0x8000001d)
# What jail/seccomp.c does not say beside the call.
OURS = {"ioctl": "KVM, by request: see below", "exit_group": "the end",
        "madvise": "large pages for RAM that the guest begins to use (MADV_COLLAPSE alone)"}
NEAR = 0.1      # how far a count of lines outside the trusted base may be off


class Differs(Exception):
    """Code and ledger differ."""


def read_observed():
    with open(OBSERVED, encoding="utf-8") as f:
        return json.load(f)


def write_observed(path, observed):
    with open(path, "w", encoding="utf-8") as f:
        json.dump(observed, f, indent=1)
        f.write("\n")


def table(head, rows):
    return "\n".join(["| " + " | ".join(head) + " |", "|" + "---|" * len(head),
                      *("| " + " | ".join(str(c) for c in row) + " |" for row in rows)])


def wrapped(words, width=118):
    out, line = [], ""
    for word in words:
        if line and len(line) + 1 + len(word) > width:
            out.append(line)
            line = ""
        line = f"{line} {word}" if line else word
    return "\n".join(out + [line])


def listed(items):
    """The items with commas, in lines that are not too long; an item is not broken."""
    return wrapped(f"{item}," for item in items)[:-1] + "."


def comments():
    """What jail/seccomp.c says of each call it allows."""
    with open(os.path.join(facts.TOP, "vmm/jail/seccomp.c"), encoding="utf-8") as f:
        return {name: text for name, text in re.findall(r"^\tSYS_(\w+),\s*/\* (.*?) \*/", f.read(), re.M)}


def words_of(f):
    """CPUID as {(leaf, subleaf or 0, register): mask}, subleaves that are all alike as one."""
    found = {}
    for (leaf, sub), registers in f["cpuid"].items():
        for register, mask in enumerate(registers):
            if mask:
                found.setdefault((leaf, register), {})[sub] = mask
    out = {}
    for (leaf, register), by_sub in found.items():
        alike = len(set(by_sub.values())) == 1 and len(by_sub) > 8
        for sub, mask in ([(0, by_sub[0])] if alike else by_sub.items()):
            out[leaf, sub, register] = mask
    return out


def bit_names(word, mask):
    known = names.CPUID[word]
    return [known.get(bit, f"bit {bit}") for bit in range(32) if mask >> bit & 1]


def word_name(word):
    leaf, sub, register = word
    return f"{leaf:#x}" + (f".{sub}" if leaf in WITH_SUBLEAVES else "") + " " + ("EAX", "EBX", "ECX", "EDX")[register]


def cpuid_bits(f):
    words = words_of(f)
    return {word: words[word] for word in names.CPUID if word in words}


class Ledger:
    def __init__(self, f, observed):
        self.f, self.observed = f, observed
        self.names = facts.Names()
        self.requests = facts.requests(f["allowed"])
        self.inside, self.outside = facts.lines()

    def seen(self, phase="loop"):
        return set(self.observed["calls"][phase])

    def parts(self):
        return {"summary": self.summary(), "syscalls": self.syscalls(), "ioctls": self.ioctls(), "exits": self.exits(),
                "devices": self.devices(), "ports": self.ports(), "cpuid": self.cpuid(), "msrs": self.msrs(),
                "lines": self.lines(), "near-lines": self.near_lines()}

    def summary(self):
        f = self.f
        allowed = [self.names.call(n) for n in f["allowed"]]
        bits = sum(mask.bit_count() for mask in cpuid_bits(f).values())
        registers = [r for r in f["register"] if r[0] == "vsock"]
        rows = (
            ("syscalls allowed", len(allowed)),
            ("syscalls observed", f"{len(self.seen() & set(allowed))} of them, and no other"),
            ("ioctl requests allowed", len(self.requests)),
            ("KVM ioctls at set-up", len(f["setup_ioctl"])),
            ("KVM capabilities enabled", len(f["enable_cap"])),
            ("exit reasons handled", len(f["exit"])),
            ("MMIO registers of a device", len(registers)),
            ("devices", f"1 vsock, 1 to {int(f['slots'][0]) - 1} disks, 1 IOAPIC"),
            ("port I/O registers", 0),
            ("vsock ports", len(f["port"])),
            ("CPUID bits offered at most", bits),
            ("MSRs offered", f"{len(f['msr'])}, and x2APIC's (0x800-0x8ff)"),
            ("lines of code, trusted base", sum(n for _, _, n in self.inside)),
        )
        return "```\n" + "\n".join(f"{what}: {n}" for what, n in rows) + "\n```"

    def syscalls(self):
        seen, said = self.seen(), comments()
        rows = []
        for n in sorted(self.f["allowed"]):
            name = self.names.call(n)
            why = said.get(name) or OURS.get(name, "")
            if name not in seen:
                why = KEPT.get(name, "**no reason known**")
            rows.append((f"`{name}`", n, "yes" if name in seen else "never", why))
        o = self.observed
        failed = (f"{len(o['failed'])} of them failed, as strace slows a run down and follows only as root "
                  "(tests/surface/observed.json names them)" if o["failed"] else "all of them passed")
        return "\n\n".join((
            f"syscalls allowed: {len(rows)}",
            table(("call", "number", "observed", "for"), rows),
            wrapped(f"Observed in {o['runs']} runs of a VMM, those of {o['tests']} end-to-end tests; {failed}.".split()),
            "Before the filter is in force, to set up, and to end when that fails:\n" + listed(f"`{c}`" for c in sorted(self.seen("setup")))))

    def ioctls(self):
        observed = {int(r, 16) for r in self.observed["requests"]["loop"]}
        rows = [(f"`{self.names.request(r)}`", f"{r:#010x}", "yes" if r in observed else "never") for r in self.requests]
        setup = [f"`{self.names.request(int(r, 0))}`" for r in self.f["setup_ioctl"]]
        caps = [f"`{self.names.caps[int(c, 0)]}`" for c in self.f["enable_cap"]]
        return "\n\n".join((
            f"In the run, by the filter: {len(rows)}.", table(("request", "number", "observed"), rows),
            f"At set-up, before the filter: {len(setup)}.\n" + listed(setup),
            f"Capabilities enabled, where KVM has them: {len(caps)}.\n" + listed(caps)))

    def exits(self):
        exits = [f"`{self.names.exits[int(e, 0)]}`" for e in self.f["exit"]]
        return f"{len(exits)}:\n" + listed(exits)

    def devices(self):
        f = self.f
        by_device = {}
        for device, offset, access in f["register"]:
            by_device.setdefault(device, {})[int(offset, 0)] = access
        virtio = {d: r for d, r in by_device.items() if d != "ioapic"}
        if any(r != virtio["vsock"] for r in virtio.values()):
            raise facts.bpf.Unreadable("the virtio devices do not have the same registers")
        windows = [(name, f"{int(base, 0):#x}", f"{int(size, 0):#x}") for name, base, size in f["window"]]
        registers = [(f"{offset:#05x}", names.REGISTERS.get(offset, "**unknown**"), access)
                     for offset, access in sorted(virtio["vsock"].items())]
        devices = []
        for words in f["device"]:
            mask = int(words[words.index("features") + 1], 0)
            known = {**names.FEATURES, **(names.DISK_FEATURES if "disk" in words[0] else {})}
            devices.append((words[0].replace("_", " "), words[2], words[4],
                            ", ".join(known.get(b, f"bit {b}") for b in range(64) if mask >> b & 1),
                            " ".join(words[words.index("queues") + 1:])))
        index = [f"{int(i, 0):#x}" for _, i in f["index"]]
        ioapic = ", ".join(f"{names.IOAPIC.get(o, '**unknown**')} ({o:#x})" for o in sorted(by_device["ioapic"]))
        return "\n\n".join((
            table(("window", "at", "bytes"), windows) + f"\n\nThe virtio windows are {f['slots'][0]} at most, one a device.",
            f"Registers of a virtio window: {len(registers)}.", table(("offset", "name", "access"), registers),
            table(("device", "id", "configuration bytes", "features offered", "queues"), devices),
            f"The IOAPIC: {ioapic}, and behind them {len(index)} registers: " + ", ".join(index) + "."))

    def ports(self):
        rows = [(n, f"`{name}`") for n, name in self.f["port"]]
        return (table(("port", "name"), rows) +
                f"\n\nFrom source ports up to {self.f['source_port_max'][0]} only, which init can bind and the script cannot.")

    def cpuid(self):
        words, bits = words_of(self.f), cpuid_bits(self.f)
        rows = [(word_name(w), mask.bit_count(), ", ".join(bit_names(w, mask))) for w, mask in bits.items()]
        values = {}
        for leaf, _, register in (w for w in words if w not in bits):
            values.setdefault(leaf, set()).add(("EAX", "EBX", "ECX", "EDX")[register])
        for word, name in names.NEVER:
            bit = {n: b for b, n in names.CPUID[word].items()}[name]
            if words.get(word, 0) >> bit & 1:
                raise Differs(f"the guest may have {name} ({word_name(word)}); tests/surface/names.py says never")
        for leaf, name in names.NEVER_LEAVES.items():
            if any(w[0] == leaf for w in words):
                raise Differs(f"the guest has CPUID leaf {leaf:#x} ({name}); tests/surface/names.py says never")
        return "\n\n".join((
            f"Bits that stand for abilities, at most: {sum(m.bit_count() for m in bits.values())}.",
            table(("word", "bits", "names"), rows),
            "Values (vendor, model, sizes, caches, brand), from the host or constant:\n" +
            listed(f"{leaf:#x} {'/'.join(sorted(regs))}" for leaf, regs in sorted(values.items())),
            "All other leaves and bits are zero. Never there, among others:\n" +
            listed([f"{name} ({word_name(word)})" for word, name in names.NEVER] +
                   [f"leaf {leaf:#x} ({name})" for leaf, name in names.NEVER_LEAVES.items()])))

    def msrs(self):
        if self.f["msr_default"] != ["deny"]:
            raise Differs("MSRs that are not listed are not denied")
        rows = [(f"{int(n, 0):#x}", names.MSRS.get(int(n, 0), "**unknown**"), access) for n, access in self.f["msr"]]
        return f"{len(rows)}, all others are denied by KVM's filter:\n\n" + table(("MSR", "name", "access"), rows)

    def lines(self):
        total = sum(n for _, _, n in self.inside)
        return table(("part", "files", "lines"), [*self.inside, ("**trusted base**", sum(n for _, n, _ in self.inside),
                                                                  f"**{total}**")])

    def near_lines(self):
        return table(("outside of it", "files", "lines, about"),
                     [(what, files, round(n, -2)) for what, files, n in self.outside])

    def column(self):
        """Our cells of the table of others, by the row's name."""
        total = sum(n for _, _, n in self.inside)
        return {"system calls let through": str(len(self.f["allowed"])), "ioctl": f"{len(self.requests)} requests",
                "lines of code": f"{total:,}, C"}

    def complaints(self):
        """What is wrong whatever the document says."""
        wrong = []
        allowed = {self.names.call(n) for n in self.f["allowed"]}
        more = self.seen() - allowed
        if more:
            wrong.append(f"observed after the filter but not allowed by it: {', '.join(sorted(more))}")
        more = {int(r, 16) for r in self.observed["requests"]["loop"]} - set(self.requests)
        if more:
            wrong.append("ioctls observed but not allowed: " + ", ".join(map(self.names.request, more)))
        never = allowed - self.seen()
        for name in sorted(never - set(KEPT)):
            wrong.append(f"{name} is allowed, no test makes it, and tests/surface/ledger.py (KEPT) gives no reason to keep it")
        for name in sorted(set(KEPT) - never):
            wrong.append(f"tests/surface/ledger.py (KEPT) speaks of {name}, which is observed, or not allowed")
        return wrong


def section(name):
    return re.compile(rf"(<!-- surface: {name} -->\n).*?(\n<!-- /surface -->)", re.S)


def cell(row):
    """Of a row of the table of others: its beginning, our cell, the rest."""
    return re.compile(rf"^(\| {row} \| )(.*?)( \| .*)$", re.M)


def near(old, new):
    """Equal but for numbers that are not far from one another."""
    number = re.compile(r"\d+")
    if number.sub("#", old) != number.sub("#", new):
        return False
    return all(abs(int(a) - int(b)) <= max(NEAR * int(a), 3) for a, b in zip(number.findall(old), number.findall(new)))


def differences(ledger):
    """One line for each thing that is not as committed."""
    wrong = ledger.complaints()
    with open(DOC, encoding="utf-8") as f:
        text = f.read()
    for name, new in ledger.parts().items():
        found = section(name).search(text)
        if not found:
            wrong.append(f"docs/surface.md has no section {name}")
            continue
        old = found[0][len(found[1]):-len(found[2])]
        if old == new or (name == "near-lines" and near(old, new)):
            continue
        before, after = old.splitlines(), new.splitlines()
        changed = [f"-{line}" for line in before if line not in after] + [f"+{line}" for line in after if line not in before]
        wrong.append(f"docs/surface.md, {name}: code and ledger differ; if the code is right: {UPDATE}\n  " + "\n  ".join(changed))
    for row, value in ledger.column().items():
        found = cell(row).search(text)
        if not found or found[2] != value:
            wrong.append(f"docs/surface.md, the table of others: '{row}' is {value}; if that is right: {UPDATE}")
    return wrong


def update(ledger):
    with open(DOC, encoding="utf-8") as f:
        text = f.read()
    for name, new in ledger.parts().items():
        if not section(name).search(text):
            raise Differs(f"docs/surface.md has no place for the section {name}")
        text = section(name).sub(lambda m, new=new: m[1] + new + m[2], text)
    for row, value in ledger.column().items():
        text = cell(row).sub(lambda m, value=value: m[1] + value + m[3], text)
    with open(DOC, "w", encoding="utf-8") as f:
        f.write(text)

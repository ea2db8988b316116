"""The facts of the ledger that need no VM: from facts.c, from kernel headers, from counting lines."""
import glob
import os
import re
import subprocess

import bpf

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
OUT = os.path.join(TOP, "build/tests/surface")
HERE = "tests/surface"
IOCTL, REQUEST = 16, 24      # SYS_ioctl; the offset of its request's lower half


def newer(out, *inputs):
    return not os.path.exists(out) or os.path.getmtime(out) < max(map(os.path.getmtime, inputs))


def build(name, command, inputs, depends=(), libraries=()):
    """OUT/name, made again when something it is made from is newer."""
    out = os.path.join(OUT, name)
    if newer(out, *inputs, *depends):
        os.makedirs(OUT, exist_ok=True)
        mine = f"{out}.{os.getpid()}"
        subprocess.run([*command, "-o", mine, *inputs, *libraries], cwd=TOP, check=True)
        os.rename(mine, out)
    return out


def programs():
    """Everything that has to be compiled, so that it need not be in a slow emulated host."""
    os.chdir(TOP)
    if "DOLANIA_KVM_HOST" not in os.environ:
        # The VMM's own objects are linked, so they must be those of its sources.
        subprocess.run(["make", "-s", "build/libexec/dolania/dolania-vmm"], cwd=TOP, check=True,
                       stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL)
    objects = [f"build/obj/{f[:-2]}.o" for f in sorted(glob.glob("vmm/*.c") + glob.glob("vmm/*/*.c"))
               if f not in ("vmm/main.c", "vmm/loop.c")]
    musl = ["musl-gcc", "-static", "-std=gnu11", "-D_GNU_SOURCE=", "-O1", "-Wall", "-Wextra", "-I.", "-idirafter",
            "/usr/include", "-idirafter", f"/usr/include/{multiarch()}"]
    wrap = ["-no-pie", "-Wl,--gc-sections", "-Wl,--wrap=ioctl", "-Wl,--wrap=prctl"]
    libfdt = subprocess.run(["gcc", "-print-file-name=libfdt.a"], capture_output=True, text=True, check=True).stdout.strip()
    build("facts", [*musl, *wrap], [f"{HERE}/facts.c", f"{HERE}/exits.c", *objects],
          ["vmm/loop.c", "tests/unit/machine.h"], [libfdt])
    build("cpuid", musl, [f"{HERE}/cpuid.c"])
    request_names(header("linux/kvm.h"))


def multiarch():
    return subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()


def header(path):
    for place in ("/usr/include", f"/usr/include/{multiarch()}"):
        if os.path.exists(f"{place}/{path}"):
            with open(f"{place}/{path}", encoding="utf-8") as f:
                return f.read()
    raise FileNotFoundError(path)


def request_names(kvm):
    """{number: name} of KVM's ioctls; the numbers hold sizes of structs, so the compiler tells them."""
    names = [name for name in re.findall(r"#define\s+(KVM_\w+)\s+_IO\w*\(KVMIO,", kvm)
             if not re.search("_ARM_|_PPC_|_S390_|_SPAPR_|_RMA$|_RISCV_", name)]      # other architectures
    source = os.path.join(OUT, "requests.c")
    text = "#include <linux/kvm.h>\n#include <stdio.h>\nint main(void)\n{\n" + "".join(
        f'\tprintf("%u {name}\\n", (unsigned){name});\n' for name in names) + "}\n"
    os.makedirs(OUT, exist_ok=True)
    if not os.path.exists(source) or open(source, encoding="utf-8").read() != text:
        with open(source, "w", encoding="utf-8") as f:
            f.write(text)
    told = subprocess.run([build("requests", ["gcc"], [source])], capture_output=True, text=True, check=True).stdout
    return {int(n): name for n, name in reversed([line.split() for line in told.splitlines()])}


class Names:
    """Numbers to the names of the kernel's headers."""

    def __init__(self):
        kvm = header("linux/kvm.h")
        self.calls = {int(n): name for name, n in re.findall(r"#define __NR_(\w+) (\d+)", header("asm/unistd_64.h"))}
        self.exits = {int(n): name for name, n in re.findall(r"#define (KVM_EXIT_(?!IO_|HYPERV_|XEN_)\w+)\s+(\d+)\b", kvm)}
        self.caps = {int(n): name for name, n in re.findall(r"#define (KVM_CAP_\w+)\s+(\d+)\b", kvm)}
        self.requests = request_names(kvm)

    def call(self, n):
        return self.calls.get(n, f"system call {n}")

    def request(self, n):
        return self.requests.get(n, f"{n:#x}")


FIELDS = {"msr": (1, 2), "check_cap": (1,), "enable_cap": (1,), "setup_ioctl": (1,), "exit": (1,)}


def collect():
    """What facts.c prints, as a dict of lists; CPUID as {(leaf, sub): [eax, ebx, ecx, edx]}."""
    programs()
    text = subprocess.run([os.path.join(OUT, "facts")], capture_output=True, text=True, check=True, cwd=TOP).stdout
    facts = {"cpuid": {}}
    for line in text.splitlines():
        words = line.split()
        if words[0] == "cpuid":
            leaf, sub, *registers = (int(w, 0) for w in words[1:])
            facts["cpuid"][leaf, sub] = registers
        else:
            value = words[1:] if len(words) > 2 else words[1]
            if value not in facts.setdefault(words[0], []):
                facts[words[0]].append(value)
    # The filter has a range for each direction: "r" and "w" of one MSR come apart.
    access = {}
    for n, way in facts["msr"]:
        access[n] = access.get(n, "") + way
    facts["msr"] = [[n, access[n]] for n in sorted(access, key=lambda n: int(n, 0))]
    facts["program"] = bpf.decode(bytes.fromhex("".join(
        c[2:4] + c[0:2] + c[4:8] + c[14:16] + c[12:14] + c[10:12] + c[8:10]
        for c in re.findall(".{16}", facts.pop("filter")[0]))))
    facts["allowed"] = bpf.allowed(facts["program"])
    return facts


def requests(allowed):
    """The ioctl requests of a filter; fails when ioctl is not restricted by its request alone."""
    arguments = allowed[IOCTL]
    if arguments is None or set(arguments) != {REQUEST}:
        raise bpf.Unreadable(f"ioctl is filtered by {arguments}, not by its request")
    return sorted(arguments[REQUEST])


def code_lines(path):
    """Lines that hold more than space and comment."""
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        text = f.read()
    # Strings first, so that comment marks inside them are left alone.
    token = re.compile(r'"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'|/\*.*?\*/|//[^\n]*', re.S)
    text = token.sub(lambda m: m[0] if m[0][0] in "\"'" else "\n" * m[0].count("\n"), text)
    return sum(1 for line in text.split("\n") if line.strip())


def lines():
    """[(what, files, lines)] of the trusted base, then the same of what is not in it."""
    def group(what, *patterns):
        files = sorted(f for p in patterns for f in glob.glob(p, root_dir=TOP))
        return what, len(files), sum(map(code_lines, files))
    inside = [group("`vmm/*`", "vmm/*.[ch]")]
    for path in sorted(glob.glob("vmm/*/", root_dir=TOP)):
        inside.append(group(f"`{path}`", f"{path}*.[ch]"))
    inside.append(group("`guest/wire.h`", "guest/wire.h"))
    outside = [group("`tools/libdolania/`, the supervisor", "tools/libdolania/*.[ch]"),
               group("`tools/dolania/`, the command", "tools/dolania/*.[ch]"),
               group("`guest/`, init", "guest/*.[ch]")]
    return inside, outside

"""room: what the bench programs share: the room in the emulated host, and what is read there."""
import io
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tarfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
HERE = os.path.join(TOP, "tests/bench")
OUT = os.path.join(TOP, "build/bench")
KERNEL = os.path.join(TOP, "build/share/dolania/vmlinux")
RUNS = {"WARM": "5", "FEW": "10", "MANY": "60", "PHASES": "5", "PROFILED": "3",
        "PEER_FEW": "3", "PEER_MANY": "13", "PARKED": "0 1 10 50 100", "PARKED_SECONDS": "600"}
STEPS = (("setup", "VMM set-up"), ("boot", "guest kernel to init"), ("start", "init to script"),
         ("script", "script to end"), ("discard", "discard"))
# KVM_EXIT_*, where KVM's trace prints numbers; names as QEMU and KVM call them
USERSPACE = {2: "io", 5: "hlt", 6: "mmio", 8: "shutdown", 10: "intr", 24: "system_event",
             26: "ioapic_eoi", 29: "rdmsr", 30: "wrmsr"}
ROOM_PROGRAMS = ("/bin/sh", "/bin/cat", "/usr/bin/env", "/bin/true", "/bin/rm")
PEER_RAM = 128 << 20
PEER_PROGRAMS = ("/usr/bin/qemu-system-x86_64",)
PEER_FILES = ("/usr/share/qemu/qboot.rom", "/usr/share/qemu/bios-microvm.bin", "/usr/share/qemu/pvh.bin")
INPUT = "/tmp/in"  # 100 files of 10 KB, for --in
INPUT_FILES, INPUT_BYTES = 100, 10 << 10
ROOM_FILES = ("/etc/passwd", "/etc/group")
ROOM_OURS = ("build/share/dolania/vmlinux", "build/share/dolania/init.cpio",
             "build/share/dolania/images/base.erofs", "build/share/dolania/policies/standard.ini",
             "tests/bench/measure.sh")
PEER_OURS = ("build/bench/vmlinux-microvm", "build/bench/microvm.cpio")


def call(*command):
    done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL)
    if done.returncode:
        sys.exit(f"bench: {' '.join(command)} failed ({done.returncode})")


def is_peer(what):
    return what.startswith("microvm")


def compile_static(name, *flags):
    headers = ["-idirafter", "/usr/include", "-idirafter",
               "/usr/include/" + subprocess.check_output(["gcc", "-print-multiarch"], text=True).strip()]
    call("musl-gcc", "-static", "-O2", "-Wall", "-Wextra", "-Wconversion", "-Wshadow", "-I.", *headers, *flags,
         "-o", f"{OUT}/bin/{name}", f"{HERE}/{name}.c")


def is_input(what):
    return what.startswith("dolania_in")


def build(what, as_built=False):
    """What measures, and for the peer its kernel and init."""
    os.makedirs(f"{OUT}/bin", exist_ok=True)
    compile_static("count")
    compile_static("maps")
    if any(map(is_peer, what)):
        if not as_built:
            call("kernel-config/build.sh", "microvm")
        compile_static("microvm-init")
        call("guest/build.sh", "--init", f"{OUT}/bin/microvm-init", f"{OUT}/microvm.cpio")
    if os.path.exists(f"{TOP}/build/lib/libdolania.a"):
        call("gcc", "-std=gnu11", "-O2", "-Wall", "-Wextra", "-I.", "-o", f"{OUT}/phases", f"{HERE}/phases.c",
             "build/lib/libdolania.a", "-larchive", "-ljansson", "-lsodium")


def pack_input(tar):
    """What `dolania_in_*` gives to --in; no two files alike."""
    for i in range(INPUT_FILES):
        info = tarfile.TarInfo(f"{INPUT.lstrip('/')}/{i:02}")
        info.size = INPUT_BYTES
        tar.addfile(info, io.BytesIO(f"{i:07}\n".encode() * (INPUT_BYTES // 8)))


def pack_room(path, what, more=((), ())):
    """Everything the measured commands touch, for inside.sh to unpack on a tmpfs.
    more: (programs, (file, its name in the room)...)."""
    peer = any(map(is_peer, what))
    seen = set()

    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        def put(file, name=None):
            name = name or file
            if name in seen or not os.path.exists(file):  # measure.sh says it when it needs it
                return
            seen.add(name)
            info = tar.gettarinfo(os.path.realpath(file), name.lstrip("/"))
            info.mtime = 0
            with open(file, "rb") as f:
                tar.addfile(info, f)

        def put_program(file, name=None):
            put(file, name)
            ldd = subprocess.run(["ldd", file], capture_output=True, text=True).stdout
            for lib in re.findall(r"(/\S+) \(", ldd):
                put(lib)

        for file in ROOM_PROGRAMS + (PEER_PROGRAMS if peer else ()):
            put_program(file)
        for file in more[0]:
            put_program(file)
        for file, name in more[1]:
            put(file, name)
        for file in ROOM_FILES + (PEER_FILES if peer else ()):
            put(file)
        for file in ROOM_OURS + (PEER_OURS if peer else ()):
            put(f"{TOP}/{file}")
        for file in ("build/bin/dolania", "build/libexec/dolania/dolania-vmm", "build/bench/bin/count",
                     "build/bench/bin/maps", "build/bench/bin/mark"):
            put_program(f"{TOP}/{file}")
        put_program(f"{OUT}/phases", f"{TOP}/build/bin/bench-phases")
        if any(map(is_input, what)):
            pack_input(tar)


def wrap_qemu(arguments):
    """A folder with a QEMU that gets these arguments too; for PATH."""
    folder = f"{OUT}/qemu"
    os.makedirs(folder, exist_ok=True)
    with open(f"{folder}/qemu-system-x86_64", "w") as f:
        f.write(f'#!/bin/sh\nexec {shutil.which("qemu-system-x86_64")} "$@" {shlex.join(arguments)}\n')
    os.chmod(f"{folder}/qemu-system-x86_64", 0o755)
    return folder


def measure(what, repeat=1, qemu=(), more=((), ()), memory="3G", **counts):
    """Runs the measurements in one emulated host; {what: its lines}.
    qemu: more arguments for the emulated host's QEMU.  more: as for pack_room.  memory: of the emulated host.
    counts: as in RUNS."""
    room = f"{OUT}/room.{os.getpid()}.tar"
    pack_room(room, what, more)
    env = {**os.environ, **RUNS, **counts, "REPEAT": str(repeat)}
    if qemu:
        env["PATH"] = wrap_qemu(qemu) + ":" + env["PATH"]
    host = subprocess.Popen(
        ["tools/kvm-host", "--icount", "--root", "--memory", memory, "--", "tests/bench/inside.sh", TOP, room,
         "/bin/sh", "tests/bench/measure.sh", *what], cwd=TOP, env=env, stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE, text=True, errors="replace")
    sections, name = {}, None
    # Ctrl-C reaches both; a SIGTERM only us.
    signal.signal(signal.SIGTERM, lambda *_: (host.terminate(), sys.exit(143)))
    for line in host.stdout:
        if line.startswith("## "):
            name = line.split()[1]
            sections[name] = []
            print(f"bench: {name}", file=sys.stderr, flush=True)
        elif name:
            sections[name].append(line.rstrip("\n"))
    if host.wait() or "done" not in sections:
        sys.exit(f"bench: the measurement {name} failed (status {host.returncode})")
    os.unlink(room)
    return sections


def cost(lines):
    """(instructions, idle ns, spread in percent) of one run."""
    slopes = [(int(n), int(idle)) for word, n, idle in map(str.split, lines) if word == "slope"]
    slopes.sort()
    middle = slopes[len(slopes) // 2]
    spread = 100 * (slopes[-1][0] - slopes[0][0]) / middle[0]
    return middle[0], middle[1], spread


def hist(lines):
    """The histograms of an exits section: ({reason: hits} userspace, total of hardware exits)."""
    found = {"userspace": {}, "hardware": {}}
    for line in lines:
        if line in ("# userspace", "# hardware"):
            part = found[line[2:]]
        hit = re.match(r"\{ \w+:\s+(\d+) \} hitcount:\s+(\d+)", line)
        if hit:
            part[int(hit[1])] = int(hit[2])
    return found["userspace"], sum(found["hardware"].values())


def private_bytes(lines, ram_bytes):
    """(private bytes, resident guest RAM) of a map. What is apart: guest RAM, shared memfds."""
    private = ram = 0
    apart = False
    for line in lines:
        head = re.match(r"([0-9a-f]+)-([0-9a-f]+) \S+ \S+ \S+ \d+\s*(.*)", line)
        if head:
            size = int(head[2], 16) - int(head[1], 16)
            apart = head[3].startswith("/memfd:") or size == ram_bytes
            continue
        word = line.split()
        if not apart and line.startswith("Private_"):
            private += int(word[1]) << 10
        elif apart and line.startswith("Rss:"):
            ram += int(word[1]) << 10
    return private, ram


def figures(name, got):
    """The keys of build/bench.json that follow from what was measured of `name`."""
    n = {}
    peer = is_peer(name)
    if f"{name}.cost" in got:
        n["instructions"], n["idle_ns"], spread = cost(got[f"{name}.cost"])
        n["spread_percent"] = round(spread, 3)
    if f"{name}.phases" in got:
        phases = {word: int(value) for word, value in map(str.split, got[f"{name}.phases"])}
        for key, value in phases.items():
            n[f"{key}_instructions" if key in dict(STEPS) else key] = value
        if "instructions" in n:
            n["rest_instructions"] = n["instructions"] - sum(phases[step] for step, _ in STEPS)
        n["touched_pages"] = phases["touched_bytes"] // 4096
    if f"{name}.exits" in got:
        userspace, n["hardware_exits"] = hist(got[f"{name}.exits"])
        n["userspace_exits"] = sum(userspace.values())
        for reason, hits in sorted(userspace.items()):
            n[f"userspace_exits_{USERSPACE.get(reason, reason)}"] = hits
    if f"{name}.maps" in got:
        n["private_bytes"], _ = private_bytes(got[f"{name}.maps"], PEER_RAM if peer else None)
    if f"{name}.maps_end" in got:
        n["ram_bytes"] = PEER_RAM
        n["touched_pages"] = private_bytes(got[f"{name}.maps_end"], PEER_RAM)[1] // 4096
    return {f"{name}_{key}": value for key, value in n.items()}

"""What the suite runs: the guest, its disk, both builds of the VMM, and the weakened VMMs.

Everything is kept by content: `current()` says whether what is there was made
of the sources as they are.
"""
import contextlib
import fcntl
import glob
import hashlib
import os
import shlex
import shutil
import struct
import subprocess

from . import controls

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__)))))
OUT = os.path.join(TOP, "build/tests/hostile")
GUEST = os.path.join(OUT, "guest.elf")
DISK = os.path.join(OUT, "disk.img")
LARGE_DISK = os.path.join(OUT, "large.img")
DISKS = {"small": DISK, "large": LARGE_DISK}
INITRD = os.path.join(OUT, "initrd")
STAMP = os.path.join(OUT, "stamp")
SANITIZE = "address,undefined"
VMM = "libexec/dolania/dolania-vmm"
POLICIES = "share/dolania/policies"
BUILDS = {"release": os.path.join(TOP, "build"), "sanitizer": os.path.join(TOP, "build/san")}
# Sector 4 and all that follows; sectors 0 and 1 too.
FILL = b"A"
DISK_BYTES = 128 * 1024 + 100       # the last 100 are no sector
LARGE_BYTES = 4 << 20               # as much as one request can read

GUEST_FLAGS = (
    "-std=gnu11 -O1 -g -Wall -Wextra -Werror -Wshadow -ffreestanding -fno-stack-protector -fno-pic -fno-pie "
    "-mno-red-zone -mgeneral-regs-only -fno-asynchronous-unwind-tables -I. -nostdlib -static -no-pie "
    # Loaded where Linux would be.
    "-Wl,-Ttext-segment=0x1000000 -Wl,--build-id=none -Wl,-z,noseparate-code").split()


def sources():
    found = []
    for pattern in ("vmm/**/*.[ch]", "guest/wire.h", "tools/libdolania/*.[ch]", "tools/dolania/*.[ch]",
                    "tools/setup/kvm-probe.*", "tools/make/build.mk", "tests/hostile/**/*.[chS]",
                    "tests/hostile/suite/build.py", "tests/hostile/suite/controls.py"):
        found += glob.glob(os.path.join(TOP, pattern), recursive=True)
    return sorted(found)


def digest():
    h = hashlib.sha256()
    for path in sources():
        h.update(os.path.relpath(path, TOP).encode() + b"\0")
        with open(path, "rb") as f:
            h.update(hashlib.sha256(f.read()).digest())
    return h.hexdigest()


def current():
    try:
        with open(STAMP, encoding="ascii") as f:
            return f.read() == digest()
    except OSError:
        return False


def call(command, **kwargs):
    done = subprocess.run(command, cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, check=False, **kwargs)
    text = done.stdout.decode(errors="replace")
    if done.returncode != 0:
        raise RuntimeError(f"{' '.join(command)}: status {done.returncode}\n{text}")
    return text


def make(sanitize, *words):
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    return call(["make", "--no-print-directory", f"-j{os.cpu_count()}",
                 *([f"SANITIZE={SANITIZE}"] if sanitize else []), *words], env=env)


def write(path, data):
    with open(path + ".new", "wb") as f:
        f.write(data)
    os.replace(path + ".new", path)


def build_guest():
    files = [os.path.relpath(f, TOP) for f in sources() if "/tests/hostile/guest/" in f or "/tests/hostile/cases/" in f]
    call(["gcc", *GUEST_FLAGS, "-o", GUEST + ".new", *(f for f in files if not f.endswith(".h"))])
    os.replace(GUEST + ".new", GUEST)


def build_disks():
    """As much of an EROFS super block as the command looks at; no guest here mounts it."""
    for path, size in ((DISK, DISK_BYTES), (LARGE_DISK, LARGE_BYTES)):
        disk = bytearray(FILL * size)
        disk[1024:2048] = bytes(1024)
        struct.pack_into("<I8xB", disk, 1024, 0xe0f5e1e2, 12)
        struct.pack_into("<I", disk, 1024 + 36, size >> 12)
        write(path, disk)
    write(INITRD, b"none")


def control_root(c):
    return os.path.join(OUT, "controls", c.name)


def control_error(c):
    """Why there is none, in a file: a control whose line is gone fails alone."""
    return os.path.join(control_root(c), "error")


def build_control(c):
    """Compile the changed copy of one file as make would, and link it with the others' objects."""
    home = control_root(c)
    changed = os.path.join(home, os.path.basename(c.file))
    obj = changed[:-2] + ".o"
    target = os.path.join(os.path.relpath(BUILDS[c.build], TOP), VMM)
    for part in ("bin", os.path.dirname(VMM)):
        os.makedirs(os.path.join(home, part), exist_ok=True)
    with open(os.path.join(TOP, c.file), encoding="utf-8") as f:
        weak = c.apply(f.read())
    write(changed, weak.encode())
    sanitize = c.build == "sanitizer"
    lines = make(sanitize, "--dry-run", "-W", c.file, target).splitlines()
    commands = [shlex.split(x) for x in lines if x.startswith(("gcc ", "musl-gcc "))]
    compiles = [x for x in commands if c.file in x]
    links = [x for x in commands if target in x]
    assert len(compiles) == 1 and len(links) == 1, lines
    was = compiles[0][compiles[0].index("-o") + 1]
    # A weakening may leave something unused.
    swap = {c.file: changed, was: obj, target: os.path.join(home, VMM), "-Werror": "-w", "-MMD": "-w", "-MP": "-w"}
    for command in (compiles[0], links[0]):
        call([swap.get(word, word) for word in command])
    shutil.copy(os.path.join(BUILDS[c.build], "bin/dolania"), os.path.join(home, "bin/dolania"))
    shutil.copytree(os.path.join(BUILDS[c.build], POLICIES), os.path.join(home, POLICIES), dirs_exist_ok=True)


def build_all():
    want = digest()
    os.makedirs(OUT, exist_ok=True)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(STAMP)
    make(False, "build")
    make(True, "build")
    build_guest()
    build_disks()
    shutil.rmtree(os.path.join(OUT, "controls"), ignore_errors=True)
    for c in controls.CONTROLS:
        try:
            build_control(c)
        except (RuntimeError, ValueError) as e:
            write(control_error(c), str(e).encode())
    write(STAMP, want.encode())


def prepare():
    """Outside of the emulated host this takes half a minute; inside, minutes."""
    os.makedirs(OUT, exist_ok=True)
    with open(os.path.join(OUT, "lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not current():
            build_all()


def symbols():
    found = {}
    for line in call(["nm", GUEST]).splitlines():
        words = line.split()
        if len(words) == 3:
            found[words[2]] = int(words[0], 16)
    return found

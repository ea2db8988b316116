"""jobs: what work inside the VM needs in the bench's room (work, profile)."""
import os
import random
import shutil

from room import HERE, OUT, TOP, build, call, compile_static

MIB = 1 << 20
DATA_BYTES = 32 * MIB
IMAGES = {"python": "python", "node": "node", "compile": "toolchain"}  # of jobs that need more than base
PROGRAMS = ("/sbin/modprobe", "/bin/mount", "/bin/umount", "/bin/mkdir")
FOLDER = f"{OUT}/jobs"


def build_jobs(as_built=False, peer=True):
    """The programs, and what the jobs read: small and large, as directories and as images for the peer."""
    build(["microvm"] if peer else ["dolania"], as_built)
    compile_static("drive")
    compile_static("job")
    shutil.rmtree(FOLDER, ignore_errors=True)
    for name in ("small", "large"):
        folder = f"{FOLDER}/{name}"
        os.makedirs(folder)
        shutil.copy(f"{OUT}/bin/job", folder)
        shutil.copy(f"{HERE}/compile.c", folder)
        if name == "large":
            with open(f"{folder}/data", "wb") as f:
                f.write(random.Random(1).randbytes(DATA_BYTES))
        call("mkfs.erofs", "--quiet", "-T0", "--all-root", f"{folder}.erofs", folder)


def room_files(jobs):
    files = [f"{OUT}/bin/drive", f"{FOLDER}/small.erofs", f"{FOLDER}/large.erofs"]
    for folder in ("small", "large"):
        files += [f"{FOLDER}/{folder}/{name}" for name in os.listdir(f"{FOLDER}/{folder}")]
    files += [f"{TOP}/build/share/dolania/images/{IMAGES[job]}.erofs" for job in jobs if job in IMAGES]
    pairs = [(file, file) for file in files]
    modules = f"{TOP}/build/kvm-host/deb/lib/modules"  # of the emulated host's kernel
    for folder, _, names in os.walk(modules):
        pairs += [(f"{folder}/{name}", f"/lib/modules{folder[len(modules):]}/{name}") for name in names]
    return pairs

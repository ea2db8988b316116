"""--out, when a guest that owns its kernel left a file system of its own making: a guest reads it, the host never does."""
import os
import random
import re
import struct
import subprocess

from lib import guest_with, hostile, run, scratch, slow

BYTES = 2 << 20
SUPER = 1024
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "MKE2FS_CONFIG": "/dev/null"}


def tool(*words):
    return subprocess.run(words, env=ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True).stdout


def make(d):
    """An ext2 with the files plain, d/inner and twins of names, as a bytearray."""
    tree, image = f"{d}/tree", f"{d}/image"
    os.makedirs(f"{tree}/d")
    for path in ("plain", "d/inner", "twin-one", "twin-two", "aa-aa-aa-aa"):
        with open(f"{tree}/{path}", "w", encoding="ascii") as f:
            f.write(path)
    tool("mke2fs", "-q", "-F", "-t", "ext2", "-b", "4096", "-I", "128", "-O", "none,filetype,sparse_super,large_file",
         "-d", tree, image, f"{BYTES >> 10}k")
    return image


def changed(image, *requests):
    """By debugfs."""
    for request in requests:
        tool("debugfs", "-w", "-R", request, image)
    return content(image)


def content(path):
    with open(path, "rb") as f:
        return bytearray(f.read())


def collected(d, disk, code=0):
    """The run that leaves this disk: it ends as its script did, and what of it is not there is told."""
    os.mkdir(f"{d}/in")
    with open(f"{d}/in/disk", "wb") as f:
        f.write(disk)
    with open(f"{d}/precious", "w", encoding="ascii") as f:
        f.write("precious")
    r = run("--out", f"{d}/o", "--disk", "2M", "--in", f"{d}/in", *guest_with(init="scribbles"), "-c", f"exit {code}")
    out = r.result["out"]
    assert (r.code, r.reason) == (code, "exited") and out["collected_by"] == "second VM", r
    told = [line for line in r.errtext.splitlines() if "/out is full" not in line]     # what the guest claims of its disk
    assert out["complete"] == (out["why_not"] is None), r
    assert len(told) == (not out["complete"]) + (out["refused_total"] > 0), r
    assert content(f"{d}/precious") == b"precious" and set(os.listdir(d)) <= {"tree", "image", "in", "o", "precious"}, r
    return r


def refused(r):
    return {x["name"]: x["why"] for x in r.result["out"]["refused"]}


@hostile
def test_no_file_system_at_all():
    with scratch() as d:
        r = collected(d, random.Random(1).randbytes(BYTES), code=7)
        assert not r.result["out"]["complete"] and not os.listdir(f"{d}/o"), r


@hostile
def test_it_wants_a_panic_and_is_larger_than_its_disk():
    """"errors=panic" in a super block that claims 64 times the disk, with a bitmap outside of it."""
    with scratch() as d:
        disk = content(make(d))
        disk[SUPER + 4:SUPER + 8] = (64 * BYTES // 4096).to_bytes(4, "little")
        disk[SUPER + 60:SUPER + 62] = (3).to_bytes(2, "little")
        disk[4096:4104] = b"\xff\xff\xff\x00" * 2
        r = collected(d, disk)
        assert not r.result["out"]["complete"] and "guest panicked" not in r.errtext, r


@hostile
def test_directories_without_end_and_files_without_size():
    """A directory that holds the root, and itself; a file of 4 TiB; a device; a link out; the rest comes back."""
    with scratch() as d:
        disk = changed(make(d), "ln <2> /d/root", "ln /d /d/itself", "sif /plain size 0x3ffffffffff",
                       "mknod device c 1 1", "symlink /d/link /etc/passwd", "sif /twin-one mode 0104755")
        r = collected(d, disk)
        told = refused(r)
        assert r.result["out"]["complete"] and set(told) == {"d/root", "d/itself", "plain", "device", "d/link", "twin-one"}, told
        assert "could not be read" in told["d/root"] and "could not be read" in told["d/itself"], told
        assert "--disk" in told["plain"] and "device" in told["device"] and "symbolic" in told["d/link"], told
        assert "set-user-ID" in told["twin-one"], told
        assert content(f"{d}/o/d/inner") == b"d/inner" and content(f"{d}/o/twin-two") == b"twin-two", told
        assert not any(os.path.exists(f"{d}/o/{x}") for x in ("plain", "device", "twin-one")), told


@hostile
def test_names_that_no_kernel_makes():
    """The same name twice, names with "/" and "..": refused by the reading kernel, or by the extractor."""
    with scratch() as d:
        disk = content(make(d))
        at = disk.index(b"twin-two")
        disk[at:at + 8] = b"twin-one"
        at = disk.index(b"aa-aa-aa-aa")
        disk[at:at + 11] = b"../precious"
        r = collected(d, disk)
        assert set(os.listdir(f"{d}/o")) <= {"plain", "d", "twin-one", "lost+found"}, r
        assert "could not be read" in refused(r)["."], r       # by its name: what comes after that entry is lost


def flipped(seed):
    """A few hundred bits wrong in what describes the files."""
    rng = random.Random(seed)
    with scratch() as d:
        disk = content(make(d))
        for _ in range(300):
            disk[rng.randrange(SUPER, 64 << 10)] ^= 1 << rng.randrange(8)
        disk[SUPER + 56:SUPER + 58] = b"\x53\xef"
        collected(d, disk)


@hostile
def test_bits_flipped():
    flipped(1)


@slow
@hostile
def test_many_bits_flipped():
    for seed in range(2, 14):
        flipped(seed)


def endless(d):
    """/big is a directory of 4 GiB, all of whose blocks are one block without names."""
    disk = changed(make(d), "mkdir /big")
    found = re.search(r"located at block (\d+), offset (0x[0-9a-f]+)", tool("debugfs", "-R", "imap /big", f"{d}/image"))
    inode = int(found[1]) * 4096 + int(found[2], 16)
    first, = struct.unpack_from("<I", disk, inode + 40)
    empty, single, double = (len(disk) // 4096 - n for n in (1, 2, 3))
    for block, data in ((empty, struct.pack("<IHBB", 0, 4096, 0, 0).ljust(4096, b"\0")),
                        (single, struct.pack("<I", empty) * 1024), (double, struct.pack("<I", single) * 1024)):
        disk[block * 4096:(block + 1) * 4096] = data
    struct.pack_into("<I", disk, inode + 4, 0xfffff000)
    struct.pack_into("<I", disk, inode + 28, 8 << 20)
    struct.pack_into("<15I", disk, inode + 40, first, *[empty] * 11, single, double, 0)
    return disk


@slow
@hostile
def test_reading_it_has_no_end():
    """The second VM's own limit ends it: that is the guest's doing, and not the host's failure."""
    with scratch() as d:
        r = collected(d, endless(d), code=3)
        assert "took longer than it may" in r.errtext and not r.result["out"]["complete"], r

"""Packed inputs that are kept: never an old content, and only from a directory that is the caller's alone.

The packing is done before KVM is asked, so no VM is needed to see it.
"""
import hashlib
import json
import mmap
import os
import resource
import shutil
import subprocess
import tempfile
import time

from lib import DOLANIA, TOP, Skip

SETTLES_S = 3.2     # what changed later than two seconds ago is not kept
TMPFS = "tmpfs"


class Place:
    """A directory of a file system on a disk, with a cache of its own."""

    def __init__(self):
        os.makedirs(f"{TOP}/build/tests", exist_ok=True)
        self.top = tempfile.mkdtemp(dir=f"{TOP}/build/tests")
        self.cache = f"{self.top}/cache"
        os.mkdir(self.cache, 0o700)
        os.mkdir(f"{self.top}/in")
        self.file = f"{self.top}/in/f"
        kind = subprocess.run(["stat", "-f", "-c", "%T", self.top], capture_output=True, text=True, check=True).stdout
        if kind.strip() == TMPFS:
            raise Skip("the checkout lies in a tmpfs")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        shutil.rmtree(self.top)

    def pack(self):
        """(was it kept from an earlier run, its digest)"""
        subprocess.run([DOLANIA, "run", "--quiet", "--result", f"{self.top}/r", "--in", f"{self.top}/in", "-c", "true"],
                       env={**os.environ, "XDG_CACHE_HOME": self.cache}, stdin=subprocess.DEVNULL,
                       stderr=subprocess.DEVNULL, check=False)
        with open(f"{self.top}/r", encoding="utf-8") as f:
            r = json.load(f)
        digest = [m["sha256"] for m in r["measured"] if m["role"] == "input"]
        if not r["inputs"] or not digest:
            raise Skip(f"nothing is packed here: {r['end']['message']}")
        return r["inputs"][0]["cached"], digest[0]


def test_a_write_through_a_mapping_is_seen():
    """Its page was dirty when the file was packed, so the write alone would give the file no new time."""
    with Place() as p:
        with open(p.file, "wb") as f:
            f.write(b"version0".ljust(4096))
        os.sync()
        with open(p.file, "r+b") as f, mmap.mmap(f.fileno(), 4096) as m:
            m[:8] = b"version1"
            time.sleep(SETTLES_S)
            first = p.pack()
            m[:8] = b"version2"
            second = p.pack()
            time.sleep(SETTLES_S)
            third = p.pack()
    assert first[1] != second[1] and second[1] == third[1], (first, second, third)


def measured(p, role, *options):
    """(was it in the cache, the digest)"""
    subprocess.run([DOLANIA, "run", "--quiet", "--result", f"{p.top}/r", *options, "-c", "true"],
                   env={**os.environ, "XDG_CACHE_HOME": p.cache}, stdin=subprocess.DEVNULL,
                   stderr=subprocess.DEVNULL, check=False)
    with open(f"{p.top}/r", encoding="utf-8") as f:
        r = json.load(f)
    found = [m for m in r["measured"] if m["role"] == role]
    if not found:
        raise Skip(f"nothing is measured here: {r['end']['message']}")
    return found[0]["cached"], found[0]["sha256"]


def test_a_digest_follows_a_write_through_a_mapping():
    """The page was dirty when the file was hashed, so the write alone would give the file no new time."""
    size = 128 << 10
    with Place() as p:
        with open(p.file, "wb") as f:
            f.write(b"070701".ljust(size, b"0"))     # begins as a cpio archive does
        os.sync()
        with open(p.file, "r+b") as f, mmap.mmap(f.fileno(), size) as m:
            m[4096:4104] = b"version1"
            time.sleep(SETTLES_S)
            first = measured(p, "initrd", "--initrd", p.file)
            assert measured(p, "initrd", "--initrd", p.file) == (True, first[1]), "an unchanged file is hashed once"
            m[4096:4104] = b"version2"
            second = measured(p, "initrd", "--initrd", p.file)
            want = hashlib.sha256(m[:]).hexdigest()
    assert first[1] != second[1] == want and not second[0], (first, second, want)


def test_the_vmm_that_is_hashed_is_the_one_that_is_executed():
    """One open for both: by its path it could be another one the second time."""
    if shutil.which("strace") is None:
        raise Skip("there is no strace")
    with Place() as p:
        r = subprocess.run(["strace", "-f", "-e", "trace=openat,open", DOLANIA, "run", "--quiet", "--result", f"{p.top}/r", "-c", "true"],
                           stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False,
                           env={**os.environ, "XDG_CACHE_HOME": p.cache})
        opens = [x for x in r.stderr.splitlines() if "dolania-vmm\"" in x]
        assert measured(p, "vmm")[1], "it is measured"
    assert len(opens) == 1, opens


def test_a_write_through_a_mapping_is_seen_through_an_overlay():
    """The dirty pages are those of the file system below."""
    size = 128 << 10
    with Place() as p:
        for name in ("upper", "work", "lower", "over"):
            os.mkdir(f"{p.top}/{name}")
        options = f"lowerdir={p.top}/lower,upperdir={p.top}/upper,workdir={p.top}/work"
        if subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, f"{p.top}/over"], capture_output=True,
                          check=False).returncode != 0:
            raise Skip("no overlay can be mounted")
        try:
            file = f"{p.top}/over/f"
            with open(file, "wb") as f:
                f.write(b"070701".ljust(size, b"0"))
            os.sync()
            with open(file, "r+b") as f, mmap.mmap(f.fileno(), size) as m:
                m[4096:4104] = b"version1"
                time.sleep(SETTLES_S)
                first = measured(p, "initrd", "--initrd", file)
                m[4096:4104] = b"version2"
                second = measured(p, "initrd", "--initrd", file)
                want = hashlib.sha256(m[:]).hexdigest()
        finally:
            subprocess.run(["umount", f"{p.top}/over"], check=True)
    assert first[1] != second[1] == want, (first, second, want)


def test_an_unchanged_input_is_packed_once():
    with Place() as p:
        with open(p.file, "wb") as f:
            f.write(b"x")
        time.sleep(SETTLES_S)
        first, second = p.pack(), p.pack()
    assert not first[0] and second[0] and first[1] == second[1], (first, second)


def test_what_is_kept_is_not_hashed_for_that():
    """A hole costs nothing to pack, and as much as anything else to hash."""
    with Place() as p:
        with open(p.file, "wb") as f:
            f.truncate(256 << 20)
        time.sleep(SETTLES_S)

        def user_s(*args):
            before = resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime
            subprocess.run([DOLANIA, "run", "--quiet", *args, "--in", f"{p.top}/in", "-c", "true"], check=False,
                           env={**os.environ, "XDG_CACHE_HOME": p.cache}, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return resource.getrusage(resource.RUSAGE_CHILDREN).ru_utime - before

        off, first = user_s("--in-cache", "off"), user_s()
        kept = os.listdir(f"{p.cache}/dolania/inputs")
        assert len(kept) == 1 and kept[0].endswith(".erofs"), kept
        assert first < off + 0.5, (off, first)
        was_kept, digest = p.pack()
        with open(f"{p.cache}/dolania/inputs/{kept[0]}", "rb") as f:
            assert was_kept and digest == hashlib.file_digest(f, "sha256").hexdigest()
        assert p.pack() == (True, digest)
        # a link of an earlier version, and a digest without its image, go with the next image
        os.symlink(kept[0], f"{p.cache}/dolania/inputs/{'a' * 64}")
        with open(f"{p.cache}/dolania/inputs/{'b' * 64}.sha256", "w", encoding="ascii") as f:
            f.write("0" * 64)
        with open(f"{p.top}/in/more", "wb"):
            pass
        time.sleep(SETTLES_S)
        user_s()
        left = sorted(name[64:] for name in os.listdir(f"{p.cache}/dolania/inputs"))
        assert left == [".erofs", ".erofs", ".sha256"], left


def test_a_cache_that_others_can_write_is_not_believed():
    def opened(p):
        os.chmod(f"{p.cache}/dolania", 0o777)

    def given(p):
        os.chown(f"{p.cache}/dolania/inputs", 1000, 1000)

    for change in (opened, given) if os.geteuid() == 0 else (opened,):
        with Place() as p:
            with open(p.file, "wb") as f:
                f.write(b"x")
            time.sleep(SETTLES_S)
            p.pack()
            assert p.pack()[0]
            change(p)
            assert not p.pack()[0], change.__name__

"""What we ship as programs: where they are loaded cannot be known, and nothing of them is writable and executable."""
import os
import re
import subprocess
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import archives  # noqa: E402
from lib import TOP, scratch

OURS = {"dolania": "build/bin/dolania", "dolania-vmm": "build/libexec/dolania/dolania-vmm",
        "dolania-extract": "build/libexec/dolania/dolania-extract"}


def readelf(path):
    done = subprocess.run(["readelf", "-hldrW", path], capture_output=True, text=True, check=True, env={"LC_ALL": "C"})
    assert done.stderr == "", done.stderr
    return done.stdout


def segments(text):
    """[(kind, flags)]"""
    return re.findall(r"^  ([A-Z_]+) +0x\S+ 0x\S+ 0x\S+ 0x\S+ 0x\S+ ([RWE ]{3}) 0x", text, re.M)


def no_segment_is_writable_and_executable(name, text):
    found = segments(text)
    assert sum(kind == "LOAD" for kind, _ in found) >= 2, (name, text)
    for kind, flags in found:
        assert "W" not in flags or "E" not in flags, (name, kind, flags)
    assert [flags for kind, flags in found if kind == "GNU_STACK"] == ["RW "], (name, found)
    assert not [kind for kind, _ in found if kind == "INTERP"] and "(NEEDED)" not in text, (name, found)


def test_our_programs_are_static_pie_with_full_relro():
    installed = set(os.listdir(f"{TOP}/build/bin")) | set(os.listdir(f"{TOP}/build/libexec/dolania"))
    assert installed == set(OURS), installed
    for name, path in OURS.items():
        text = readelf(os.path.join(TOP, path))
        assert re.search(r"^  Type: +DYN ", text, re.M), (name, text)
        no_segment_is_writable_and_executable(name, text)
        assert "GNU_RELRO" in [kind for kind, _ in segments(text)], name
        assert "BIND_NOW" in text and "TEXTREL" not in text and re.search(r"FLAGS_1\).*\bPIE\b", text), (name, text)
        kinds = set(re.findall(r"^[0-9a-f]{16} +[0-9a-f]{16} (R_X86_64_\w+)", text, re.M))
        # glibc chooses its string functions as it starts: IRELATIVE names the choosers
        assert kinds - ({"R_X86_64_IRELATIVE"} if name == "dolania" else set()) == {"R_X86_64_RELATIVE"}, (name, kinds)


def test_init_has_no_segment_that_is_writable_and_executable():
    with scratch() as d:
        with open(f"{TOP}/build/share/dolania/init.cpio", "rb") as f:
            subprocess.run(["cpio", "-id", "--quiet", "init"], stdin=f, cwd=d, check=True)
        no_segment_is_writable_and_executable("init", readelf(f"{d}/init"))


def maps_of_an_extractor():
    """[(first address, rights)] of the program's own file, once it is locked in."""
    with tempfile.TemporaryDirectory() as d:
        archives.make_place(d)
        with subprocess.Popen([archives.helper(), archives.EXTRACTOR, f"{d}/to", "100000", "100"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as p:
            try:
                p.stdin.write(archives.entry(b"f", b"x"))
                p.stdin.flush()
                pid = archives.wait_for_extractor(p.pid, f"{d}/to/f")
                with open(f"/proc/{pid}/maps", encoding="utf-8") as f:
                    lines = [x.split() for x in f]
            finally:
                p.stdin.close()
                p.wait()
    return [(int(x[0].split("-")[0], 16), x[1]) for x in lines if len(x) > 5 and x[5].endswith("/dolania-extract")]


def test_tables_are_read_only_at_run_time_and_each_run_lies_elsewhere():
    """RELRO is only asked for in the file: with musl the program has to do it."""
    seen = set()
    for _ in range(4):
        maps = maps_of_an_extractor()
        # headers, code, constants, what was relocated; then what is written
        assert [rights for _, rights in maps] == ["r--p", "r-xp", "r--p", "r--p", "rw-p"], maps
        seen.add(maps[0][0])
    assert len(seen) > 1, seen

"""Words that a script gets into its kernel's log stay a script's: the host claims only what the kernel says itself."""
import os
import re
import shutil

from lib import SLOWNESS, TOP, built, compiler, guest_with, run, scratch

STAMP = "[    0.100000] "
PANIC = "Kernel panic - not syncing: "
SOURCES = [os.path.join(TOP, "tools/libdolania", f) for f in ("events.c", "verdict.c")]


def forger():
    return built("forges-log", "forges-log.c", lambda source, out: [
        [*compiler(), "-D_GNU_SOURCE", "-static", "-s", "-o", out, source]])


def forged(name, file, *options, tries=2):
    with scratch() as d:
        shutil.copy(forger(), os.path.join(d, "forges-log"))
        r = run("--in", d, *options, "--exec", "--", "/in/forges-log", name, "/tmp/" + file)
        assert (r.code, r.reason, r.out) == (7, "exited", b"%d\n" % tries), (r.out, r.err)
        return r


def oopses(r):
    return [e for e in r.result["events"] if e["kind"] == "kernel_oops"]


def test_a_script_forges_no_oops():
    """As its process's name, and as a file's: alone, behind a newline, with a stamp, as the text of a real record."""
    for name, file in (
            ("kernel BUG at ", "a"),
            ("BUG: ", "BUG: unable to handle page fault for address: 0"),
            ("Oops: ", "Oops: general protection fault: 0000 [#1]"),
            ("a\nBUG: ", "a\n" + PANIC + "Fatal exception"),
            ("\nkernel BUG at ", f"a\n{STAMP}{PANIC}Fatal exception\n{STAMP}BUG: Bad page state in process a"),
            ("\n" + STAMP, "\n\n" + "".join(f"{STAMP}BUG: kernel NULL pointer dereference, address: {i}\n" for i in range(3))),
    ):
        assert oopses(forged(name, file)) == [], (name, file)


def test_a_script_forges_no_refused_memory():
    """Its own failure is not put down to memory that nobody refused."""
    words = "__vm_enough_memory: pid: 1, comm: a, bytes: 1 not enough memory for the allocation"
    for file in (words, f"a\n{words}", f"a;{words}", f"a\n4,1,1,-;{words}"):
        notes = forged("-", file, tries=1).result["end"]["notes"]
        assert not any("memory" in n for n in notes), (file, notes)
    notes = forged("a", "a").result["end"]["notes"]
    assert any("refused a request for more memory" in n for n in notes), notes


def test_a_panic_is_the_kernels_last_one():
    """Words of a panic of the script's choice come before the real one."""
    with scratch() as d:
        shutil.copy(forger(), os.path.join(d, "forges-log"))
        r = run(*guest_with(init="panics"), "--wall", f"{60 * SLOWNESS}s", "--in", d, "--exec", "--", "/in/forges-log", "Kernel panic - ",
                f"/tmp/a\n{STAMP}{PANIC}forged\n{STAMP}{PANIC}forged again")
        assert (r.code, r.reason) == (122, "guest_panic")
        assert PANIC + "Attempted to kill init!" in r.result["end"]["message"], r.result["end"]
        log = r.result["end"]["detail"]
        assert "forged" in log                  # it is in the log, as the text of a record, where it is no line like one
        assert not re.search(r"^\[ *\d+\.\d{6}\] Kernel panic - not syncing: forged", log, re.M), log
        assert oopses(r) == []


def test_the_words_are_our_kernels():
    """Each that the host looks for is long enough that no process has that name, and is in the kernel."""
    with open(os.path.join(TOP, "build/share/dolania/vmlinux"), "rb") as f:
        kernel = f.read()
    words = [w for path in SOURCES for w in re.findall(r'"((?:BUG: |Kernel panic)[^"]*)"', open(path, encoding="utf-8").read())]
    assert len(words) >= 8
    for w in words:
        fixed = re.sub("not syncing: .*", "not syncing: ", w)
        assert len(w) >= 16 and fixed.encode() in kernel, w
    assert b"Fatal exception\0" in kernel

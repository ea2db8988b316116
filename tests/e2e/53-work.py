"""--work: a writable copy of a directory, and a host that never sees the writing."""
import os

from lib import needs, run, scratch, write_file

PYTHON = "build/share/dolania/images/python.erofs"


def project(directory):
    top = os.path.join(directory, "project")
    os.makedirs(os.path.join(top, "src/deep"))
    write_file(top, "a", "first\n")
    write_file(top, "read-only", "keep\n", mode=0o444)
    write_file(top, "src/b", "second\n")
    write_file(top, "src/deep/c", "third\n")
    os.symlink("src/b", os.path.join(top, "link"))
    return top


def snapshot(top):
    """All there is to know of a tree, times in nanoseconds too."""
    seen = {}
    for where, dirs, files in os.walk(top):
        for name in [".", *dirs, *files]:
            path = os.path.normpath(os.path.join(where, name))
            st = os.lstat(path)
            content = os.readlink(path) if os.path.islink(path) else None
            if os.path.isfile(path):
                with open(path, "rb") as f:
                    content = f.read()
            seen[path] = (st.st_mode, st.st_uid, st.st_gid, st.st_ino, st.st_nlink, st.st_size, st.st_mtime_ns, st.st_ctime_ns,
                          content)
    return seen


CHANGES = """
pwd; cat a src/b link
echo more >>a && cat a
rm src/b && mv src moved && mv moved/deep/c moved/renamed && rm -r moved/deep
chmod 755 read-only && echo new >read-only && cat read-only
mkdir fresh && echo x >fresh/y && ln a hard && ln -s a soft
echo over >soft && cat a hard
rm link && echo file >link
find . | sort
"""


def test_the_script_changes_its_copy_and_nothing_else():
    with scratch() as d:
        top = project(d)
        before = snapshot(top)
        for more in ((), (), ("--scratch", "8M")):      # each run begins anew
            r = run("--work", top, *more, "-c", "set -e\n" + CHANGES)
            assert r.code == 0 and r.err == b"", r
            assert r.text.splitlines() == [
                "/work", "first", "second", "second", "first", "more", "new", "over", "over", ".", "./a", "./fresh", "./fresh/y",
                "./hard", "./link", "./moved", "./moved/renamed", "./read-only", "./soft"], r
        assert snapshot(top) == before
        assert r.result["inputs"][0] == {"path": top, "place": "/work", "kind": "directory", "writable": True, "files": 4,
                                         "bytes": 24, "cached": r.result["inputs"][0]["cached"], "left_out_total": 0, "left_out": []}, r


def test_a_script_of_the_directory_runs_in_its_place():
    with scratch() as d:
        top = project(d)
        script = write_file(top, "src/job.sh", "#!/bin/sh\necho \"$0\"; pwd; cat \"${0%/*}/b\"; ls -l \"$0\" | cut -c1-10\n", mode=0o644)
        before = snapshot(top)
        r = run("--work", top, script)
        assert (r.code, r.out) == (0, b"/work/src/job.sh\n/work\nsecond\n-rwxr-xr-x\n"), r
        # by another way to the same file
        os.symlink(top, os.path.join(d, "way"))
        r = run("--work", "way", "project/src/../src/job.sh", cwd=d)
        assert r.code == 0 and r.out.startswith(b"/work/src/job.sh\n"), r
        assert snapshot(top) == before


@needs(PYTHON)
def test_python_finds_the_modules_beside_its_script():
    with scratch() as d:
        top = os.path.join(d, "p")
        os.makedirs(os.path.join(top, "tool/lib"))
        write_file(top, "tool/lib/__init__.py", "ANSWER = 42\n")
        script = write_file(top, "tool/main.py", "import os, lib\nprint(lib.ANSWER, os.getcwd(), __file__)\n"
                                                 "print(os.listdir(os.path.dirname(lib.__file__)))\n")
        before = snapshot(top)
        r = run("--work", top, script)
        assert (r.code, r.text.split("\n")[0]) == (0, "42 /work /work/tool/main.py"), r
        assert "__pycache__" in r.text, "the copy is writable, so Python keeps its bytecode there"
        assert snapshot(top) == before


def test_a_script_that_is_not_of_the_directory():
    with scratch() as d:
        top = project(d)
        r = run("--work", top, write_file(d, "job.sh", "echo $0; cat a\n"))
        assert (r.code, r.out) == (0, b"/work/job.sh\nfirst\n"), r
        r = run("--work", top, "-", stdin=b"cat a\n")
        assert (r.code, r.out) == (0, b"first\n"), r
        r = run("--work", top, write_file(d, "a", "echo wrong\n"))
        assert (r.code, r.reason, r.errlines) == (125, "usage", 1) and "take the place" in r.errtext, r


def test_work_and_in_together():
    with scratch() as d:
        top = project(d)
        data = os.path.join(d, "data")
        os.mkdir(data)
        write_file(data, "d", "input\n")
        r = run("--work", top, "--in", data, "--in", f"{data}:/work/data", "--in", f"{data}/d:/work/src/b2", "-c",
                "cat a /in/d data/d src/b2; ls; echo x >data/n 2>/dev/null || echo read-only; echo x >src/n && cat src/n")
        assert r.code == 0, r
        assert r.out == b"first\ninput\ninput\ninput\na\ndata\nlink\nread-only\nsrc\nread-only\nx\n", r
        # where the copy has something too, the input is seen; the host's is what it was
        r = run("--work", top, "--in", f"{data}/d:/work/a", "--in", f"{data}:/work/src", "-c", "cat a src/d; ls src; "
                "(echo x >a) 2>/dev/null || echo read-only")
        assert (r.code, r.out) == (0, b"input\ninput\nd\nread-only\n"), r
        with open(os.path.join(top, "a"), encoding="utf-8") as f:
            assert f.read() == "first\n"
        r = run("--work", top, "--in", f"{data}:/work", "-c", "true")
        assert (r.code, r.reason, r.errlines) == (125, "usage", 1) and "--work" in r.errtext, r


def test_the_copy_counts_as_tmp():
    with scratch() as d:
        top = os.path.join(d, "w")
        os.mkdir(top)
        write_file(top, "large", b"x" * (6 << 20))
        r = run("--work", top, "--tmp", "4M", "-c",
                "chmod 600 large || echo full; (echo more >>large) || echo full; wc -c <large; "
                "dd if=/dev/zero of=f bs=1M count=8 2>/dev/null || echo full; rm f; echo ok >f && cat f; rm large; ls")
        assert r.code == 0, r
        # a copy that did not fit leaves nothing behind
        assert r.text.splitlines() == ["full", "full", "6291456", "full", "ok", "f"], r


def test_with_a_scratch_disk_the_copy_lies_on_it():
    """It grows beyond /tmp and memory; modes, times and names are those of the overlay; neither sees the other."""
    with scratch() as d:
        top = project(d)
        names = [b"with space", b"new\nline", b"\xff\xfe", b"x" * 255, b"-rf"]
        os.makedirs(os.path.join(top, *["d" * 200] * 5))
        os.mkdir(os.path.join(top, "empty"), 0o500)
        for i in range(300):                    # more entries than one read of a directory gives
            write_file(top, f"src/deep/{i:03}-{'n' * 60}", str(i))
        for name in names:
            with open(os.path.join(os.fsencode(top), name), "wb") as f:
                f.write(name)
        write_file(top, "tool", "#!/bin/sh\necho tool\n", mode=0o751)
        os.chmod(top, 0o555)
        before = snapshot(top)
        look = "find . -exec stat -c '%A %u %g %n' {} + | sort; find . -type f -exec stat -c '%Y %s' {} + | sort -u; " \
               "find . -type f -exec sha256sum {} + | sort; ./tool"
        memory = run("--work", top, "-c", look)
        disk = run("--work", top, "--scratch", "64M", "-c", look)
        assert (memory.code, disk.code, disk.err) == (0, 0, b"") and disk.out == memory.out, (memory, disk)
        assert disk.out.count(b"\n") > 600 and disk.out.endswith(b"tool\n"), disk
        r = run("--work", top, "--scratch", "64M", "--tmp", "1M", "--memory", "16M", "-c",
                "dd if=/dev/zero of=large bs=1M count=30 2>/dev/null; wc -c <large; ls -A /scratch | wc -l; pwd; "
                "echo mine >/scratch/f; ls | grep -c '^f$'; df -P . /scratch | awk 'NR > 1 { print $1, $2 }' | sort -u | wc -l; "
                "dd if=/dev/zero of=more bs=1M count=40 2>&1 | grep -c 'No space'")
        assert (r.code, r.text.split()) == (0, ["31457280", "0", "/work", "0", "1", "1"]), r
        script = write_file(top, "src/job.sh", "echo \"$0\"; pwd\n")
        r = run("--work", top, "--scratch", "8M", script)
        assert (r.code, r.out) == (0, b"/work/src/job.sh\n/work\n"), r
        os.unlink(script)
        after = snapshot(top)
        os.chmod(top, 0o755)
        src = os.path.join(top, "src")
        assert {k: v for k, v in after.items() if k != src} == {k: v for k, v in before.items() if k != src}


def test_a_copy_that_does_not_fit_on_the_disk():
    with scratch() as d:
        top = os.path.join(d, "w")
        os.mkdir(top)
        write_file(top, "large", b"x" * (2 << 20))
        r = run("--work", top, "--scratch", "1M", "-c", "true")
        assert (r.code, r.reason, r.errlines) == (125, "usage", 1) and "raise it with --scratch" in r.errtext, r
        os.unlink(os.path.join(top, "large"))
        for i in range(400):                    # few bytes, but a block and an inode each
            write_file(top, str(i), "x")
        r = run("--work", top, "--scratch", "1M", "-c", "true")
        assert (r.code, r.reason, r.errlines) == (125, "boot_failed", 1) and "raise it with --scratch" in r.errtext, r


def test_a_directory_that_was_read_only_can_be_written_in():
    with scratch() as d:
        top = project(d)
        os.chmod(top, 0o555)
        r = run("--work", top, "-c", "touch x && stat -c %a .")
        os.chmod(top, 0o755)
        assert (r.code, r.out) == (0, b"755\n"), r


def test_wrong_directories_are_refused():
    with scratch() as d:
        top = project(d)
        for args, word in ((("--work", os.path.join(top, "nowhere")), "No such file"),
                           (("--work", os.path.join(top, "a")), "not a directory"),
                           (("--work", f"{top}:/in"), "No such file"), (("--work", ""), "--work")):
            r = run(*args, "-c", "true")
            assert (r.code, r.reason, r.errlines) == (125, "usage", 1) and word in r.errtext, r
        r = run("--work", top, "--work", top, "-c", "true")
        assert r.code == 125 and "twice" in r.errtext, r

"""--in: what the script sees of the host's files, how it is packed, and what is refused."""
import glob
import hashlib
import io
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time

from lib import DOLANIA, SLOWNESS, Skip, digest_of, dolania, each, run, scratch, slow, write_file

SETTLED_S = 3.2         # longer than tree.c waits until it trusts a ctime


def tree(directory, name="tree"):
    """A small tree; the same each time."""
    top = os.path.join(directory, name)
    os.makedirs(os.path.join(top, "sub"))
    write_file(top, "a", "first\n")
    write_file(top, "sub/b", "second\n")
    os.symlink("sub/b", os.path.join(top, "link"))
    for path in ("a", "sub/b", "link", "sub", "."):
        os.utime(os.path.join(top, path), (10**9, 10**9), follow_symlinks=False)
    return top


def kept(cache):
    """The images in a cache, the digest of each beside it."""
    images = glob.glob(f"{glob.escape(cache)}/dolania/inputs/*.erofs")
    for path in images:
        with open(path, "rb") as f, open(path.removesuffix("erofs") + "sha256", encoding="ascii") as kept_digest:
            assert kept_digest.read() == hashlib.sha256(f.read()).hexdigest()
    return images


def members(r):
    return {os.fsencode(m.name).removeprefix(b"./"): m for m in
            tarfile.open(fileobj=io.BytesIO(r.out), encoding="utf-8", errors="surrogateescape")}


def wait_until_open(path):
    """Until some process has the file open; False: none did within a while."""
    end = time.monotonic() + 20 * SLOWNESS
    while time.monotonic() < end:
        for fd in glob.glob("/proc/[0-9]*/fd/*"):
            try:
                if os.readlink(fd) == path:
                    return True
            except OSError:
                pass
    return False


def refused(*args, words):
    r = run(*args, "-c", "true")
    assert (r.code, r.reason, r.errlines, r.out) == (125, "usage", 1, b""), r
    for word in words:
        assert word in r.errtext, r


def test_names_modes_links_and_empty_files_survive():
    names = [b"plain", b"with space", b"new\nline", b"tab\t", b"quote'\"", b"\xff\xfe\x80", b"-rf", "\u00e9\u4e2d".encode(),
             b"x" * 255, b"\\back", b"*", b"\x01\x7f"]
    modes = [0o644, 0o755, 0o600, 0o400, 0o777, 0o744]
    with scratch() as d:
        top = os.fsencode(os.path.join(d, "in"))
        os.mkdir(top, 0o750)
        for i, name in enumerate(names):
            with open(os.path.join(top, name), "wb") as f:
                f.write(name * i)               # the first is empty
            os.chmod(os.path.join(top, name), modes[i % len(modes)])
            os.utime(os.path.join(top, name), (0, 10**9 + i))
        deep = os.path.join(top, *[b"d" * 200] * 6)
        os.makedirs(deep)
        os.makedirs(os.path.join(top, b"empty dir"), 0o700)
        links = {b"out": b"/etc/shadow", b"up": b"../../../../etc/passwd", b"dangling": b"no\nwhere", b"long": b"y" * 2000}
        for name, target in links.items():
            os.symlink(target, os.path.join(top, name))
        r = run("--in", os.fsdecode(top), "-c", "cd /in && tar -cf - . && stat -c %a . >&2")
        assert (r.code, r.err) == (0, b"750\n"), r
        seen = members(r)
        for i, name in enumerate(names):
            m = seen.pop(name)
            assert (m.isreg(), m.mode, m.size, m.uid, m.gid, m.mtime) == (True, modes[i % 6], len(name) * i, 1000, 1000,
                                                                            10**9 + i), m
        for name, target in links.items():
            m = seen.pop(name)
            assert (m.issym(), os.fsencode(m.linkname)) == (True, target), m
        assert seen.pop(b"empty dir").mode == 0o700
        assert len([n for n in seen if n.startswith(b"ddd")]) == 6
        assert r.result["inputs"] == [{"path": os.fsdecode(top), "place": "/in", "kind": "directory", "writable": False,
                                       "files": len(names), "bytes": sum(len(n) * i for i, n in enumerate(names)),
                                       "cached": False, "left_out_total": 0, "left_out": []}], r


def test_one_input_is_packed_once_and_a_change_is_seen():
    with scratch() as d:
        cache = os.path.join(d, "cache")
        top = tree(d)
        cached, digests = [], []

        def go(path, **kwargs):
            r = run("--in", path, "-c", "cat /in/a", env={"XDG_CACHE_HOME": cache}, **kwargs)
            assert r.code == 0, r
            cached.append(r.result["inputs"][0]["cached"])
            digests.append(digest_of(r))
            return r.out

        go(top)
        assert not kept(cache), "what changed a moment ago is not kept: the next change may bear the same time"
        time.sleep(SETTLED_S)
        assert go(top) == go(top) == b"first\n"
        assert cached == [False, False, True] and len(set(digests)) == 1 and len(kept(cache)) == 1
        # the same length, and the time of before: only the ctime tells
        st = os.stat(os.path.join(top, "a"))
        write_file(top, "a", "other\n")
        os.utime(os.path.join(top, "a"), ns=(st.st_atime_ns, st.st_mtime_ns))
        assert go(top) == b"other\n" and cached[-1] is False and digests[-1] != digests[0]
        # other inodes, another owner, other times of access, another path: the same image
        other = tree(d, "a place of another name")
        if os.geteuid() == 0:
            os.chown(os.path.join(other, "a"), 12345, 54321)
        os.utime(os.path.join(other, "sub"), (1, 10**9))
        assert go(other) == b"first\n" and digests[-1] == digests[0]


def test_nothing_of_the_host_is_in_the_image():
    with scratch() as d:
        cache, top = os.path.join(d, "cache"), tree(d)
        time.sleep(SETTLED_S)
        r = run("--in", top, "-c", "mount; find / -xdev -print0 2>/dev/null | grep -zF dolania-test; cat /proc/*/mountinfo",
                env={"XDG_CACHE_HOME": cache})
        assert d not in r.text and "dolania-test" not in r.text, r
        with open(kept(cache)[0], "rb") as f:
            image = f.read()
        assert b"dolania-test" not in image and b"/tmp" not in image


def test_the_image_is_one_that_erofs_utils_accept():
    with scratch() as d:
        cache, top = os.path.join(d, "cache"), tree(d)
        os.makedirs(os.path.join(top, "many"))
        for i in range(400):
            write_file(top, f"many/{i}-{'y' * (i % 240)}", "z" * i)
        os.link(os.path.join(top, "a"), os.path.join(top, "many/hard"))
        os.symlink("l" * 2000, os.path.join(top, "long link"))
        time.sleep(SETTLED_S)
        r = run("--in", top, "-c", "cd /in; stat -c %h a; cat many/* | wc -c; readlink 'long link' | wc -c",
                env={"XDG_CACHE_HOME": cache})
        assert r.code == 0 and r.text.split() == ["2", str(sum(range(400)) + 6), "2001"], r
        image = glob.glob(f"{cache}/dolania/inputs/*.erofs")[0]
        p = subprocess.run(["fsck.erofs", image], capture_output=True, text=True, check=False)
        assert p.returncode == 0, p


def test_several_inputs_share_one_disk():
    with scratch() as d:
        a, b = tree(d, "one"), os.path.join(d, "two")
        os.makedirs(os.path.join(b, "more"))
        write_file(b, "c", "third\n", mode=0o600)
        write_file(b, "more/e", "fifth\n")
        file = write_file(d, "data.csv", "fourth\n")
        os.symlink(a, os.path.join(d, "to-one"))
        r = run("--in", a, "--in", b, "--in", file, "--in", f"{file}:/in/x.csv", "--in", f"{os.path.join(d, 'to-one')}/:/in/deep/er/",
                "--in", f"{file}:/etc/passwd", "--in", f"{b}:/work/k/l", "--in", f"{b}:/root", "--in", f"{file}:/tmp/t/",
                "-c", "cd / && find in work root tmp/t | sort; cat /in/a /in/link /in/c /in/data.csv /in/x.csv /in/more/e "
                "/in/deep/er/a /etc/passwd /work/k/l/c /root/more/e /tmp/t/data.csv; "
                "for p in /in/n /in/deep/n /work/k/l/n /root/n /tmp/t/data.csv; do echo >$p && echo $p is writable; done 2>/dev/null; "
                "echo ok >/work/k/n; stat -c '%a %u' /in /in/c /in/deep; grep -c erofs /proc/mounts")
        assert r.code == 0 and r.err == b"", r
        lines = r.text.splitlines()
        assert lines[:13] == ["in", "in/a", "in/c", "in/data.csv", "in/deep", "in/deep/er", "in/deep/er/a", "in/deep/er/link",
                              "in/deep/er/sub", "in/deep/er/sub/b", "in/link", "in/more", "in/more/e"], r
        assert "first second third fourth fourth fifth first fourth third fifth fourth" in " ".join(lines), r
        assert "writable" not in r.text and lines[-4:-1] == ["755 1000", "600 1000", "755 1000"], r
        assert [x["role"] for x in r.result["host"]["disks"]] == ["image", "input"], "all on one disk"
        assert [x["place"] for x in r.result["inputs"]] == ["/in", "/in", "/in/data.csv", "/in/x.csv", "/in/deep/er", "/etc/passwd",
                                                            "/work/k/l", "/root", "/tmp/t/data.csv"]


def test_clashing_names_are_refused():
    with scratch() as d:
        a, b = tree(d, "one"), tree(d, "two")
        file = write_file(d, "a", "x")
        sub = os.path.join(b, "sub")
        for args, word in ((("--in", a, "--in", b), "/in/"), (("--in", a, "--in", file), "/in/a"),
                           (("--in", file, "--in", file), "/in/a"), (("--in", a, "--in", f"{sub}:/in/sub"), "/in/sub"),
                           (("--in", a, "--in", f"{sub}:/in/sub/deeper"), "/in/sub"),
                           (("--in", file, "--in", f"{sub}:/in/a/b"), "/in/a"),
                           (("--in", f"{a}:/opt", "--in", f"{b}:/opt"), "/opt/")):
            refused(*args, words=["both have", word])


def test_wrong_places_are_refused():
    with scratch() as d:
        top = tree(d)
        script = write_file(d, "job.sh", "true\n")
        for place, word in ((":relative", f"absolute path: {top}:/in/relative"), (":ro", "always read-only"), (":rw", "--work"),
                            (":/in:ro", "always read-only"), (":/in/../etc", "'..'"), (":/", "hide"), (":/tmp", "hide"),
                            (":/proc/x", "guest's own"), (":/dev", "guest's own"), (":/in/" + "x" * 300, "255")):
            refused("--in", top + place, words=[word])
        r = run("--in", f"{top}:/work", script)
        assert r.code == 125 and "hides" in r.errtext and r.errlines == 1, r
        r = run("--in", f"{script}:/work/job.sh", script)
        assert r.code == 125 and "hides" in r.errtext and r.errlines == 1, r
        for place, word in (("/opt/nowhere", "directory"), ("/etc/passwd", "directory")):
            r = run("--in", f"{top}:{place}", "-c", "true")
            assert (r.code, r.reason, r.errlines) == (125, "boot_failed", 1) and place in r.errtext and word in r.errtext, r


def test_what_cannot_be_given_is_refused_by_name():
    with scratch() as d:
        top = tree(d)
        fifo = os.path.join(d, "fi\nfo")
        os.mkfifo(fifo)
        refused("--in", fifo, words=["fi\\x0afo", "FIFO"])
        refused("--work", fifo, words=["fi\\x0afo", "FIFO"])
        refused("--in", "", words=["--in"])
        refused("--in", os.path.join(top, "nowhere"), words=["nowhere", "No such file"])
        refused(*["--in", top] * 65, words=["63"])


def test_a_tree_too_deep_is_refused():
    with scratch() as d:
        top = os.path.join(d, "in")
        os.makedirs(os.path.join(top, *["d"] * 300))
        refused("--in", top, words=["nested too deep"])


def test_cache_off_full_and_shared():
    with scratch() as d:
        cache = os.path.join(d, "cache")
        env = {"XDG_CACHE_HOME": cache}
        tops = []
        for i in range(2):
            tops.append(os.path.join(d, f"in{i}"))
            os.mkdir(tops[i])
            write_file(tops[i], "f", os.urandom(600 << 10))
        write_file(d, "large", os.urandom(2 << 20))
        time.sleep(SETTLED_S)

        def go(*args):
            r = run(*args, "-c", "cat /in/f /in/large 2>/dev/null | wc -c", env=env)
            assert r.code == 0, r
            return r.result["inputs"][0]["cached"]

        assert not go("--in-cache", "off", "--in", tops[0]) and not kept(cache)
        assert not go("--in-cache", "1M", "--in", os.path.join(d, "large")) and not kept(cache), "larger than the cache"
        # four at once: one image, and each has it whole
        each(lambda _: go("--in", tops[0]), range(4), jobs=4)
        assert len(kept(cache)) == 1
        first = kept(cache)
        assert not go("--in-cache", "1M", "--in", tops[1])
        assert len(kept(cache)) == 1 and kept(cache) != first, "the one used least lately goes"
        assert len(os.listdir(f"{cache}/dolania/inputs")) == 2, "and its digest"
        assert not go("--in-cache", "off", "--in", tops[1]), "what is off is not read either"
        r = dolania("doctor", env=env)
        assert "packed inputs of earlier runs: 1 (" in r.text and f"in {cache}/dolania/inputs;" in r.text, r
        r = dolania("doctor", env={"XDG_CACHE_HOME": "/dev/null"})
        assert "NOTE     packed inputs" in r.text and "XDG_CACHE_HOME" in r.text and r.code == 0, r
        # what somebody else may have written is not taken
        os.chmod(kept(cache)[0], 0o666)
        assert not go("--in", tops[1])


def test_cancel_while_packing():
    with scratch() as d:
        top = os.path.join(d, "in")
        os.mkdir(top)
        large = write_file(top, "large", b"x" * (200 << 20))
        result = os.path.join(d, "r.json")
        with subprocess.Popen([DOLANIA, "run", "--result", result, "--in", top, "-c", "true"], stderr=subprocess.PIPE,
                              env={**os.environ, "TMPDIR": d}) as p:
            assert wait_until_open(large)
            started = time.monotonic()
            p.send_signal(signal.SIGTERM)
            err = p.communicate(timeout=20 * SLOWNESS)[1]
            assert time.monotonic() - started < 2 * SLOWNESS
        assert p.returncode == -signal.SIGTERM and b"cancelled by SIGTERM before the run began" in err, (p.returncode, err)
        assert sorted(os.listdir(d)) == ["in", "r.json"]


def test_what_changes_while_it_is_packed_is_told_and_not_kept():
    with scratch() as d:
        cache, top = os.path.join(d, "cache"), os.path.join(d, "in\n\x1b[2J")
        os.mkdir(top)
        large, log = write_file(top, "z", b"x" * (40 << 20)), write_file(top, "log", "")
        time.sleep(SETTLED_S)
        wrote = []

        def write():
            # after the first look: "log" has been packed when "z" is
            wrote.append(wait_until_open(large))
            with open(log, "a", encoding="utf-8") as f:
                f.write("line\n")
        writer = threading.Thread(target=write)
        writer.start()
        r = run("--in", top, "-c", "stat -c %s /in/log /in/z", env={"XDG_CACHE_HOME": cache}, timeout=120)
        writer.join()
        assert wrote == [True] and (r.code, r.out) == (0, b"0\n41943040\n"), r
        note = r.result["end"]["notes"][0]      # one line, whatever a name holds
        assert "changed while it was packed" in note and "in\\x0a\\x1b[2J" in note and note in r.errtext, r
        assert not kept(cache)


def test_what_vanishes_while_it_is_packed_is_left_out():
    with scratch() as d:
        top = os.path.join(d, "in")
        os.makedirs(os.path.join(top, "y"))
        large = write_file(top, "a", b"x" * (40 << 20))
        gone = [write_file(top, "y/f", "y"), write_file(top, "z", "z")]
        os.symlink("a", os.path.join(top, "link"))
        wrote = []

        def remove():
            # after the first look: they are packed when the large one has been
            wrote.append(wait_until_open(large))
            for path in (*gone, os.path.join(top, "link")):
                os.unlink(path)
            os.rmdir(os.path.join(top, "y"))
            os.mkfifo(os.path.join(top, "z"))
        remover = threading.Thread(target=remove)
        remover.start()
        r = run("--in-cache", "off", "--in", top, "-c", "ls /in", timeout=120)
        remover.join()
        assert wrote == [True] and (r.code, r.out) == (0, b"a\n"), r
        assert any("changed while it was packed" in n for n in r.result["end"]["notes"]), r


def test_the_umask_and_the_directory_of_the_caller_do_not_matter():
    with scratch() as d:
        a, b = tree(d, "one"), os.path.join(d, "two")
        os.mkdir(b)
        digests = set()
        for mask in ("000", "077"):
            r = run("--in", "one", "--in", "two:/in/two", "-c", "stat -c %a /in; ls /in", cwd=d,
                    before=("sh", "-c", f"umask {mask}; exec \"$@\"", "sh"))
            assert (r.code, r.out) == (0, b"755\na\nlink\nsub\ntwo\n"), r
            digests.add(digest_of(r))
        assert len(digests) == 1 and a


def test_without_privilege():
    if os.geteuid() != 0:
        raise Skip("all the others are it")
    before = ("setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", "--inh-caps=-all", "--no-new-privs")
    with scratch() as d:
        os.chmod(d, 0o777)
        a, b = tree(d, "one"), os.path.join(d, "two")
        os.mkdir(b)
        write_file(b, "c", "third\n")
        r = run("--in", a, "--in", b, "-c", "cat /in/a /in/c", before=before, directory=d, env={"XDG_CACHE_HOME": d})
        assert (r.code, r.out) == (0, b"first\nthird\n"), r


def test_a_file_of_more_than_4_gib_with_holes():
    with scratch() as d:
        with open(os.path.join(d, "sparse"), "wb") as f:
            f.seek(5 << 30)             # more than 32 bits
            f.write(b"end")
        # no --result: it would hash all the zeroes
        r = dolania("run", "--in-cache", "off", "--in", os.path.join(d, "sparse"), "-c",
                    "cd /in; stat -c %s sparse; tail -c 3 sparse")
        assert (r.code, r.out) == (0, b"5368709123\nend"), r


@slow
def test_a_gigabyte_streams_through():
    with scratch() as d:
        top = os.path.join(d, "in")
        os.mkdir(top)
        part = os.urandom(1 << 20)
        h = hashlib.sha256()
        for _ in range(1024):
            h.update(part)
        with open(os.path.join(top, "large"), "wb") as f:
            for _ in range(1024):
                f.write(part)
        result = os.path.join(d, "r.json")
        r = dolania("run", "--in-cache", "off", "--result", result, "--memory", "64M", "--tmp", "4M", "--wall", "600s",
                    "--in", top, "-c", "sha256sum </in/large", result_file=result, timeout=150,
                    before=(sys.executable, "-c", MEASURE))
        assert r.code == 0 and r.text.split()[0] == h.hexdigest(), r
        # the machine's own RAM is in it, 121 MiB
        most = int(r.errtext.split()[-1])
        assert most < 200 << 10, f"{most} KiB resident"


# Runs a command and tells the most memory that it, or a process of its, held.
MEASURE = """
import resource, subprocess, sys
status = subprocess.call(sys.argv[1:])
print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""

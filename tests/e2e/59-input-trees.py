"""--in and --work: what of a tree beside names and contents arrives: its times, its hard links; what is left out."""
import json
import os
import socket
import time

from lib import digest_of, needs, run, scratch, write_file

PYTHON = "build/share/dolania/images/python.erofs"
MADE = 946684800        # 2000-01-01: what no file of the host stands for

# Name and time of each entry, in nanoseconds, without following links.
LOOK = """
import json, os, sys
seen = {}
for top in sys.argv[1:]:
    for where, dirs, files in os.walk(top):
        for name in [".", *dirs, *files]:
            path = os.path.normpath(os.path.join(where, name))
            seen[path] = os.lstat(path).st_mtime_ns
print(json.dumps(seen))
"""

TIMES = {
    "a.c": 1_700_000_000_000_000_001, "a.o": 1_700_000_000_000_000_002,    # the order that make goes by
    "epoch": 0, "before": -86400 * 365 * 10**9 + 5, "1980": 315532800 * 10**9,
    "2038": (2**31 + 5) * 10**9, "2107": (2**32 + 5) * 10**9 + 999_999_999, "2500": 17_000_000_000 * 10**9,
    "sub/deep/f": 1_600_000_000_500_000_000, "sub/link": 1_500_000_000_000_000_000,
    "sub/long": 1_500_000_001_000_000_000,
}
DIRECTORIES = {"sub/deep": 1_400_000_000_123_456_789, "sub/empty": 1_300_000_000_000_000_000, "sub": 1_200_000_000_000_000_000,
               ".": 1_100_000_000_987_654_321}


def dated(directory, name="tree"):
    """A tree in which each entry has a time of its own; {path: time}."""
    top = os.path.join(directory, name)
    os.makedirs(os.path.join(top, "sub/deep"))
    os.mkdir(os.path.join(top, "sub/empty"))
    for path in TIMES:
        if path == "sub/link":
            os.symlink("deep/f", os.path.join(top, path))
        elif path == "sub/long":
            os.symlink("y" * 2000, os.path.join(top, path))
        else:
            write_file(top, path, path)
    for path, ns in {**TIMES, **DIRECTORIES}.items():
        os.utime(os.path.join(top, path), ns=(ns, ns), follow_symlinks=False)
    return top, {path: os.lstat(os.path.join(top, path)).st_mtime_ns for path in {**TIMES, **DIRECTORIES}}


def beneath(place, times):
    return {os.path.normpath(os.path.join(place, path)): ns for path, ns in times.items()}


@needs(PYTHON)
def test_the_times_of_the_host_are_kept():
    with scratch() as d:
        top, times = dated(d)
        file = os.path.join(top, "a.c")
        r = run("--runtime", "python", "--in", top, "--in", f"{file}:/in/sub.c", "--in", f"{top}:/in/own", "--in", f"{top}:/root",
                "--in", f"{file}:/etc/passwd", "--exec", "--", "python3", "-c", LOOK, "/in", "/root", "/etc")
        assert r.code == 0, r
        seen = json.loads(r.text)
        # /in is merged of several: its own date is nobody's
        want = {**beneath("/in", times), "/in": MADE * 10**9, "/in/sub.c": times["a.c"], **beneath("/in/own", times),
                **beneath("/root", times), "/etc/passwd": times["a.c"]}
        got = {path: seen[path] for path in want}
        assert got == want, {path: (got[path], want[path]) for path in want if got[path] != want[path]}


@needs(PYTHON)
def test_the_times_of_a_copy_are_those_of_the_directory():
    with scratch() as d:
        top, times = dated(d)
        script = write_file(d, "look.py", LOOK)
        own = write_file(top, "sub/deep/look.py", LOOK)
        times["sub/deep/look.py"] = times["a.c"]
        os.utime(own, ns=(times["a.c"], times["a.c"]))
        os.utime(os.path.join(top, "sub/deep"), ns=(times["sub/deep"], times["sub/deep"]))
        # the script that is no part of it changes the directory that it is put in
        for args, but in ((("-c", LOOK), ()), ((own,), ()), ((script,), ("/work", "/work/look.py"))):
            args = (*args, "/work") if args[0] != "-c" else ("-c", LOOK, "/work")
            r = run("--runtime", "python", "--work", top, *args)
            assert r.code == 0, r
            seen = {path: ns for path, ns in json.loads(r.text).items() if path not in but}
            want = {path: ns for path, ns in beneath("/work", times).items() if path not in but}
            assert seen == want, {p: (seen.get(p), want.get(p)) for p in {*seen, *want} if seen.get(p) != want.get(p)}
            r = run("--runtime", "python", "--work", top, "--scratch", "8M", *args)
            assert r.code == 0, r
            seen = {path: ns for path, ns in json.loads(r.text).items() if path not in but}
            # that disk keeps whole seconds, of 1901 to 2038
            want = {path: min(ns // 10**9, 2**31 - 1) * 10**9 for path, ns in want.items()}
            assert seen == want, {p: (seen.get(p), want.get(p)) for p in {*seen, *want} if seen.get(p) != want.get(p)}


@needs(PYTHON)
def test_archives_take_every_file_of_an_input():
    """zipfile refuses times before 1980."""
    with scratch() as d:
        top = os.path.join(d, "in")
        os.makedirs(os.path.join(top, "sub"))
        write_file(top, "sub/a.c", "x")
        code = ("import os, shutil; print(len(open(shutil.make_archive('/tmp/a', 'zip', '/work'), 'rb').read()) > 0);"
                "[shutil.make_archive('/tmp/b', k, p) for p in ('/in', '/work', '/tmp', '/out', '/scratch', '/run') "
                "for k in ('zip', 'gztar')]; "
                "print([p for p in ('/tmp', '/in', '/in/x', '/work', '/out', '/run', '/dev/shm', '/var/tmp', '/scratch') "
                "if os.stat(p).st_mtime < 315532800])")
        for more in ((), ("--scratch", "8M")):
            r = run("--runtime", "python", "--work", top, "--in", f"{top}:/in/x/y", "--scratch", "8M", *more, "-c", code)
            assert (r.code, r.text.split("\n")[:2]) == (0, ["True", "[]"]), r


def test_what_the_guest_makes_is_dated_by_the_hosts_clock():
    r = run("-c", "stat -c '%Y %n' / /tmp /work /in /out /run /dev /dev/shm /tmp/home /var/tmp 2>/dev/null")
    now = time.time()
    made = {name: int(at) for at, name in (line.split(" ", 1) for line in r.text.splitlines())}
    late = [name for name in ("/tmp", "/work", "/run", "/dev/shm") if name in made and abs(made[name] - now) > 3600]
    assert r.code == 0 and not late, r


def test_the_digest_covers_times():
    with scratch() as d:
        one, times = dated(d, "one")
        two, _ = dated(d, "two")
        digests = [digest_of(run("--in-cache", "off", "--in", top, "-c", "true")) for top in (one, two)]
        assert digests[0] == digests[1], "equal trees, equal times"
        for path in ("a.c", "sub/link", "sub/empty", "."):
            os.utime(os.path.join(two, path), ns=(0, times[path] + 1), follow_symlinks=False)
            digests.append(digest_of(run("--in-cache", "off", "--in", two, "-c", "true")))
        assert len(set(digests)) == 5, digests
        for path in ("a.c", "sub/link", "sub/empty", "."):
            os.utime(os.path.join(two, path), ns=(5, times[path]), follow_symlinks=False)
        assert digest_of(run("--in-cache", "off", "--in", two, "-c", "true")) == digests[0], "and no other time"


# One file has three names; what is written through one is read through the others.
NAMES = """
import os, json
def seen(): return [open(p).read() for p in ("a", "sub/b", "sub/deep/c")], len({os.stat(p).st_ino for p in ("a", "sub/b", "sub/deep/c")})
told = [seen(), os.stat("a").st_nlink, os.stat("lone").st_nlink]
open("sub/b", "a").write("+b"); told.append(seen())
open("a", "w").write("new"); told.append(seen())
os.chmod("sub/deep/c", 0o600); told.append([oct(os.stat(p).st_mode & 0o777) for p in ("a", "sub/b")])
os.rename("sub/b", "sub/moved"); os.rename("sub/moved", "sub/b"); told.append(seen())
os.rename("sub", "gone"); os.rename("gone", "sub"); told.append(seen())
os.link("a", "d"); open("d", "a").write("+d"); told.append([seen(), os.stat("sub/b").st_nlink])
os.unlink("a"); told.append([open("sub/b").read(), os.stat("sub/b").st_nlink])
os.truncate("d", 1); told.append(open("sub/deep/c").read())
told.append([open("x").read(), open("y").read()]); open("y", "w").write("y"); told.append(open("x").read())
print(json.dumps(told))
"""


@needs(PYTHON)
def test_names_of_one_file_stay_names_of_one_file():
    with scratch() as d:
        top = os.path.join(d, "w")
        os.makedirs(os.path.join(top, "sub/deep"))
        first = write_file(top, "a", "old")
        for other in ("sub/b", "sub/deep/c"):
            os.link(first, os.path.join(top, other))
        lone = write_file(d, "outside", "lone")
        os.link(lone, os.path.join(top, "lone"))
        write_file(top, "x", "")
        os.link(os.path.join(top, "x"), os.path.join(top, "y"))
        for i in range(300):        # more than one read of a directory gives
            os.link(write_file(top, f"sub/{i}", str(i)), os.path.join(top, f"sub/deep/{i}"))
        for more in ((), ("--scratch", "64M")):
            r = run("--runtime", "python", "--work", top, *more, "-c", NAMES)
            assert r.code == 0, r
            assert json.loads(r.text) == [
                [["old"] * 3, 1], 3, 1, [["old+b"] * 3, 1], [["new"] * 3, 1], ["0o600", "0o600"], [["new"] * 3, 1],
                [["new"] * 3, 1], [[["new+d"] * 3, 1], 4], ["new+d", 3], "n", ["", ""], "y"], r
            r = run("--work", top, *more, "-c", "n=0; while [ $n -lt 300 ]; do echo +$n >>sub/$n; n=$((n + 1)); done; "
                    "cat sub/deep/[0-9]* | wc -l; find . -type f -links +1 | wc -l; ls -A /scratch 2>/dev/null")
            assert (r.code, r.text.split()) == (0, ["300", "605"]), r
        # what is shown read-only has them too
        r = run("--in", top, "--in", f"{first}:/in/more/f", "-c", "cd /in; stat -c '%i %h' a sub/b more/f | sort -u | wc -l; stat -c %h a lone")
        assert (r.code, r.text.split()) == (0, ["1", "4", "1"]), r


def test_a_script_of_the_directory_keeps_its_other_names():
    with scratch() as d:
        top = os.path.join(d, "w")
        os.makedirs(os.path.join(top, "sub"))
        script = write_file(top, "sub/job.sh", "#!/bin/sh\nstat -c %h \"$0\"; echo '# more' >>\"$0\"; tail -n 1 other\n")
        os.link(script, os.path.join(top, "other"))
        for more in ((), ("--scratch", "8M")):
            r = run("--work", top, *more, script)
            assert (r.code, r.text.splitlines()) == (0, ["2", "# more"]), r


def unusual(top):
    """FIFOs, a socket and, for root, a device among the files; [name, why] of each, in order."""
    want = [["sub/fi\nfo", "a FIFO"], ["zz", "a FIFO"]]
    os.makedirs(os.path.join(top, "sub"))
    write_file(top, "a", "first\n")
    write_file(top, "sub/b", "second\n")
    os.mkfifo(os.path.join(top, "sub/fi\nfo"))
    os.mkfifo(os.path.join(top, "zz"))
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(os.path.join(top, "sub/s"))
    want.insert(1, ["sub/s", "a socket"])
    if os.geteuid() == 0:
        os.mknod(os.path.join(top, "sub/null"), 0o600 | 0o020000, os.makedev(1, 3))
        want.insert(1, ["sub/null", "a device"])
    return want


def test_what_is_no_file_is_left_out_and_listed():
    with scratch() as d:
        top = os.path.join(d, "w")
        want = unusual(top)
        plain = os.path.join(d, "plain")
        os.mkdir(plain)
        # alone, merged with another, and in a copy of either kind; from the cache too
        for args, place in ((("--in", top), "/in"), (("--in", f"{top}/"), "/in"), (("--in", top, "--in", f"{plain}:/in/x"), "/in"),
                            (("--work", top), "/work"), (("--work", top, "--scratch", "8M"), "/work")):
            r = run(*args, "-c", f"cd {place} && find . ! -name . ! -name x | sort; cat a sub/b")
            assert (r.code, r.text.split()) == (0, ["./a", "./sub", "./sub/b", "first", "second"]), r
            seen = r.result["inputs"][0]
            assert seen["left_out_total"] == len(want) and seen["files"] == 2, r
            assert [[x["name"], x["why"]] for x in seen["left_out"]] == want, r
            note = f"{len(want)} entries of the inputs were left out, first \"sub/fi\\x0afo\""
            assert r.errlines == 1 and note in r.errtext and note in r.result["end"]["notes"][0], r
            assert all("changed while" not in n for n in r.result["end"]["notes"]), r


def test_what_is_left_out_is_counted_beyond_the_list():
    with scratch() as d:
        top = os.path.join(d, "w")
        os.mkdir(top)
        for i in range(100):
            os.mkfifo(os.path.join(top, f"{i:03}"))
        r = run("--in", top, "--in", f"{top}:/in/two", "-c", "find /in | wc -l")
        assert (r.code, r.out, r.errlines) == (0, b"2\n", 1), r
        assert "200 entries" in r.errtext, r
        for seen in r.result["inputs"]:
            assert (seen["left_out_total"], len(seen["left_out"]), seen["left_out"][31]["name"]) == (100, 32, "031"), r


def test_names_of_one_file_take_its_room_once():
    with scratch() as d:
        work = os.path.join(d, "work")
        os.mkdir(work)
        write_file(work, "a", os.urandom(3 << 20))
        for name in ("b", "c"):
            os.link(f"{work}/a", f"{work}/{name}")
        r = run("--work", work, "--scratch", "6M", "-c", "cmp a b && cmp a c && stat -c %h a")
        assert (r.code, r.out) == (0, b"3\n"), r
        os.unlink(f"{work}/b")
        write_file(work, "b", os.urandom(4 << 20))
        r = run("--work", work, "--scratch", "6M", "-c", "true")
        assert (r.code, r.reason) == (125, "usage") and "does not fit" in r.errtext, r

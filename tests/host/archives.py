"""Hostile archives, fed to the real extractor: nothing outside its directory changes.

Each case is made by code: (name, archive, what must be in the directory, how it must end, what
must be among the refusals).  The extractor is started as a run starts it, by libdolania.
"""
import glob
import os
import random
import stat
import subprocess
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
EXTRACTOR = os.path.join(TOP, "build/libexec/dolania/dolania-extract")
HELPER = os.path.join(TOP, "build/tests/host/extract")
MAX_BYTES, MAX_ENTRIES = 1 << 20, 2000
END = b"\0" * 1024


def header(name=b"f", size=0, kind=b"0", mode=0o644, link=b"", prefix=b"", mtime=1, magic=b"ustar\00000", **fields):
    """A ustar header; `fields` replaces raw fields by offset: o124=b'...'."""
    h = bytearray(512)

    def put(at, value):
        h[at:at + len(value)] = value
    put(0, name)
    put(100, b"%07o\0" % mode)
    put(108, b"0001750\0")
    put(116, b"0001750\0")
    put(124, b"%011o\0" % size)
    put(136, b"%011o\0" % mtime)
    put(156, kind)
    put(157, link)
    put(257, magic)
    put(345, prefix)
    for at, value in fields.items():
        put(int(at[1:]), value)
    put(148, b" " * 8)
    if "o148" in fields:
        put(148, fields["o148"])
    else:
        put(148, b"%06o\0 " % sum(h))
    return bytes(h)


def entry(name=b"f", data=b"", **kw):
    return header(name, kw.pop("size", len(data)), **kw) + data + b"\0" * (-len(data) % 512)


def record(key, value):
    body = b" " + key + b"=" + value + b"\n"
    n = len(body)
    while n != len(b"%d" % n) + len(body):
        n = len(b"%d" % n) + len(body)
    return b"%d" % n + body


def pax(*records, raw=None):
    return entry(b"pax", raw if raw is not None else b"".join(record(k, v) for k, v in records), kind=b"x")


def many(n):
    return b"".join(header(b"%d" % i) for i in range(n))


def million():
    return header(b"x") * 1000000 + END


GOOD = entry(b"good", b"fine")
WHOLE, CUT, BROKEN, CROWDED = "", "no end", "malformed", "more files"

# name: (archive, tree, end, refused {name: part of why})
CASES = {
    # a plain one first: the extractor does work
    "plain": (GOOD + entry(b"d/", kind=b"5", mode=0o755) + entry(b"d/x", b"#!", mode=0o755) + END,
              {"good": b"fine", "d": None, "d/x": b"#!"}, WHOLE, {}),
    # traversal
    "dotdot": (entry(b"../evil", b"x") + GOOD + END, {"good": b"fine"}, WHOLE, {"../evil": "'..'"}),
    "dotdot-inside": (entry(b"d/", kind=b"5") + entry(b"d/../../evil", b"x") + END, {"d": None}, WHOLE,
                      {"d/../../evil": "'..'"}),
    "dotdot-last": (entry(b"d/..", kind=b"5") + END, {}, WHOLE, {"d/..": "'..'"}),
    "dotdot-directory": (entry(b"../", kind=b"5") + END, {}, WHOLE, {"..": "'..'"}),
    "absolute": (entry(b"/etc/evil", b"x") + END, {}, WHOLE, {"/etc/evil": "absolute"}),
    "absolute-canary": (lambda d: entry(d.encode() + b"/canary/new", b"x") + END, {}, WHOLE, {}),
    "absolute-pax": (lambda d: pax((b"path", d.encode() + b"/canary/new")) + entry(b"ok", b"x") + END, {}, WHOLE, {}),
    "dotdot-pax": (pax((b"path", b"../canary/new")) + entry(b"ok", b"x") + END, {}, WHOLE, {"../canary/new": "'..'"}),
    "dotdot-prefix": (entry(b"canary/new", b"x", prefix=b"..") + END, {}, WHOLE, {"../canary/new": "'..'"}),
    "two-slashes": (entry(b"a//b", b"x") + END, {}, WHOLE, {"a//b": "names no file"}),
    "dot": (entry(b"./a", b"x") + END, {}, WHOLE, {"./a": "names no file"}),
    "only-dot": (entry(b".", kind=b"5") + END, {}, WHOLE, {".": "names no file"}),
    "empty-name": (entry(b"", b"x") + END, {}, WHOLE, {"": "names no file"}),
    "file-with-slash": (entry(b"a/", b"x") + END, {}, WHOLE, {"a/": "names no file"}),
    "nul-in-pax-path": (pax((b"path", b"a\0b")) + entry(b"ok", b"x") + END, {}, WHOLE, {"a\\x00b": "names no file"}),
    "missing-parent": (entry(b"no/such/f", b"x") + GOOD + END, {"good": b"fine"}, WHOLE, {"no/such/f": "not there"}),
    "file-as-directory": (entry(b"f", b"x") + entry(b"f/g", b"y") + END, {"f": b"x"}, WHOLE, {"f/g": "not there"}),
    # links, devices, and what hides behind them
    "symlink": (entry(b"l", kind=b"2", link=b"/etc/passwd") + GOOD + END, {"good": b"fine"}, WHOLE, {"l": "symbolic"}),
    "symlink-then-file": (entry(b"l", kind=b"2", link=b"../canary") + entry(b"l/new", b"x") + END, {}, WHOLE,
                          {"l": "symbolic", "l/new": "not there"}),
    "symlink-then-same-name": (entry(b"l", kind=b"2", link=b"../canary/old") + entry(b"l", b"x") + END, {"l": b"x"},
                               WHOLE, {"l": "symbolic"}),
    "symlink-with-data": (entry(b"l", b"x" * 512, kind=b"2", link=b"t") + END, {}, BROKEN, {}),
    "hardlink": (entry(b"l", kind=b"1", link=b"../canary/old") + END, {}, WHOLE, {"l": "hard link"}),
    "hardlink-inside": (GOOD + entry(b"l", kind=b"1", link=b"good") + END, {"good": b"fine"}, WHOLE, {"l": "hard link"}),
    "hardlink-with-data": (entry(b"l", b"hidden", kind=b"1", link=b"x") + END, {}, BROKEN, {}),
    "character-device": (entry(b"null", kind=b"3", o329=b"0000001\0", o337=b"0000003\0") + END, {}, WHOLE,
                         {"null": "device"}),
    "block-device": (entry(b"sda", kind=b"4", o329=b"0000010\0") + END, {}, WHOLE, {"sda": "device"}),
    "fifo": (entry(b"p", kind=b"6") + END, {}, WHOLE, {"p": "named pipe"}),
    "contiguous": (entry(b"c", b"x", kind=b"7") + GOOD + END, {"good": b"fine"}, WHOLE, {"c": "neither"}),
    "unknown-kind": (entry(b"z", b"x" * 700, kind=b"Z") + GOOD + END, {"good": b"fine"}, WHOLE, {"z": "neither"}),
    "gnu-long-name": (entry(b"././@LongLink", b"../canary/new\0", kind=b"L") + entry(b"ok", b"x") + END, {"ok": b"x"},
                      WHOLE, {"././@LongLink": "names no file"}),
    "gnu-dumpdir": (entry(b"d", b"Yf\0\0", kind=b"D") + END, {}, WHOLE, {"d": "neither"}),
    "setuid": (entry(b"s", b"x", mode=0o4755) + END, {}, WHOLE, {"s": "set-user-ID"}),
    "setgid": (entry(b"s", b"x", mode=0o2755) + END, {}, WHOLE, {"s": "set-user-ID"}),
    "world-writable": (entry(b"w", b"x", mode=0o777) + END, {"w": b"x"}, WHOLE, {}),
    # what was there
    "overwrite": (entry(b"there", b"x") + END, {}, WHOLE, {"there": "exists"}),
    "overwrite-directory": (entry(b"subdir", b"x") + END, {}, WHOLE, {"subdir": "exists"}),
    "directory-over-file": (entry(b"there", kind=b"5") + END, {}, WHOLE, {"there": "exists"}),
    "through-a-link-there": (entry(b"out/new", b"x") + END, {}, WHOLE, {"out/new": "link"}),
    "over-a-link-there": (entry(b"out", b"x") + entry(b"out/", kind=b"5") + END, {}, WHOLE, {"out": "exists"}),
    "over-a-dangling-link": (entry(b"dangling", b"x") + END, {}, WHOLE, {"dangling": "exists"}),
    "into-a-directory-there": (entry(b"subdir/", kind=b"5") + entry(b"subdir/n", b"x") + END, {"subdir/n": b"x"},
                               WHOLE, {}),
    "duplicates": (entry(b"f", b"one") + entry(b"f", b"two") + entry(b"f", b"three") + END, {"f": b"one"}, WHOLE,
                   {"f": "exists"}),
    "duplicate-directory": (entry(b"d/", kind=b"5") * 3 + END, {"d": None}, WHOLE, {}),
    "case": (entry(b"README", b"1") + entry(b"readme", b"2") + entry(b"ReadMe/", kind=b"5") + END,
             {"README": b"1", "readme": b"2", "ReadMe": None}, WHOLE, {}),
    # bombs
    "bomb-size": (entry(b"f", b"x" * 2000, size=1 << 32) + END, {}, CUT, {"f": "--disk"}),
    "bomb-sum": (b"".join(entry(b"%d" % i, b"x" * 300000) for i in range(5)) + END,
                 {str(i): b"x" * 300000 for i in range(3)}, WHOLE, {"3": "--disk", "4": "--disk"}),
    "bomb-one-byte-over": (entry(b"f", b"x" * (MAX_BYTES + 1)) + GOOD + END, {"good": b"fine"}, WHOLE,
                           {"f": "--disk"}),
    "bomb-largest-octal": (header(b"f", o124=b"77777777777\0") + END, {}, CUT, {"f": "--disk"}),
    "bomb-pax-size": (pax((b"size", b"999999999999999999")) + header(b"f") + END, {}, CUT, {"f": "--disk"}),
    "entries": (many(MAX_ENTRIES + 5) + END, None, CROWDED, {}),
    "a-million-entries": (million, {"x": b""}, CROWDED, {"x": "exists"}),
    "a-million-links": (lambda: header(b"l", kind=b"2", link=b"t") * 1000000 + END, {}, CROWDED, {"l": "symbolic"}),
    "deep": (b"".join(entry(b"d/" * i, kind=b"5") for i in range(1, 40)) + END, {"d/" * 38 + "d": None}, WHOLE, {}),
    "path-too-long": (pax((b"path", b"a/" * 2048 + b"b")) + entry(b"ok", b"x") + END, {}, BROKEN, {}),
    "path-of-4096": (pax((b"path", b"a/" * 2048)) + entry(b"ok", kind=b"0") + END, {}, WHOLE,
                     {"a/" * 120 + "...": "too long"}),
    "name-too-long": (pax((b"path", b"n" * 256)) + entry(b"ok", b"x") + END, {}, WHOLE, {"n" * 240 + "...": "too long"}),
    # sparse tricks
    "gnu-sparse": (entry(b"s", b"x" * 512, kind=b"S") + GOOD + END, {"good": b"fine"}, WHOLE, {"s": "sparse"}),
    "pax-sparse": (pax((b"GNU.sparse.major", b"1"), (b"GNU.sparse.minor", b"0"), (b"GNU.sparse.name", b"../evil"),
                       (b"GNU.sparse.realsize", b"1099511627776")) + entry(b"s", b"1\n0\n0\n" + b"\0" * 506) + END, {},
                   WHOLE, {"s": "not known"}),
    "pax-xattr": (pax((b"SCHILY.xattr.security.capability", b"\1\0\0\2")) + entry(b"c", b"x") + END, {}, WHOLE,
                  {"c": "not known"}),
    # headers
    "truncated-header": (GOOD + header(b"f")[:300], {"good": b"fine"}, CUT, {}),
    "truncated-data": (GOOD + entry(b"f", b"x" * 2048)[:1500], {"good": b"fine"}, CUT, {"f": "ended in it"}),
    "truncated-padding": (entry(b"f", b"x")[:600], {"f": b"x"}, CUT, {}),
    "truncated-pax": (pax((b"path", b"p" * 200))[:700], {}, CUT, {}),
    "no-end-mark": (GOOD, {"good": b"fine"}, CUT, {}),
    "half-an-end-mark": (GOOD + b"\0" * 512 + entry(b"after", b"x") + END, {"good": b"fine"}, BROKEN, {}),
    "after-the-end": (GOOD + END + entry(b"after", b"x") + END, {"good": b"fine"}, BROKEN, {}),
    "nothing": (b"", {}, CUT, {}),
    "only-an-end": (END, {}, WHOLE, {}),
    "garbage": (random.Random(1).randbytes(100000), {}, BROKEN, {}),
    "gzip": (b"\x1f\x8b\x08" + b"\0" * 2000, {}, BROKEN, {}),
    "bad-checksum": (header(b"f", o148=b"000001\0 ") + END, {}, BROKEN, {}),
    "gnu-magic": (header(b"f", magic=b"ustar  \0") + END, {}, BROKEN, {}),
    "v7-header": (header(b"f", magic=b"\0" * 8) + END, {}, BROKEN, {}),
    "base-256-size": (header(b"f", o124=b"\x80" + b"\0" * 10 + b"\x05") + END, {}, BROKEN, {}),
    "negative-base-256": (header(b"f", o124=b"\xff" * 12) + END, {}, BROKEN, {}),
    "negative-size": (header(b"f", o124=b"-0000000005\0") + END, {}, BROKEN, {}),
    "blank-size": (header(b"f", o124=b" " * 12) + END, {}, BROKEN, {}),
    "negative-mtime": (header(b"f", o136=b"\xff" * 12) + END, {}, BROKEN, {}),
    "far-future": (entry(b"f", b"x", mtime=0o77777777777) + END, {"f": b"x"}, WHOLE, {}),
    "directory-with-data": (entry(b"d/", b"x" * 100, kind=b"5") + END, {}, BROKEN, {}),
    "global-header": (entry(b"g", record(b"path", b"../evil"), kind=b"g") + GOOD + END, {}, BROKEN, {}),
    "pax-oversized": (entry(b"x", b"1" * 20000, kind=b"x") + GOOD + END, {}, BROKEN, {}),
    "pax-size-of-gigabytes": (header(b"x", 1 << 32, kind=b"x") + GOOD + END, {}, BROKEN, {}),
    "pax-empty": (header(b"x", 0, kind=b"x") + GOOD + END, {}, BROKEN, {}),
    "pax-two-in-a-row": (pax((b"path", b"a")) + pax((b"path", b"b")) + GOOD + END, {}, BROKEN, {}),
    "pax-alone": (pax((b"path", b"a")) + END, {}, BROKEN, {}),
    "pax-length-lies": (pax(raw=b"99 path=../evil\n") + GOOD + END, {}, BROKEN, {}),
    "pax-length-short": (pax(raw=b"5 path=../evil\n") + GOOD + END, {}, BROKEN, {}),
    "pax-length-zero": (pax(raw=b"0 path=a\n") + GOOD + END, {}, BROKEN, {}),
    "pax-no-newline": (pax(raw=b"8 path=a") + GOOD + END, {}, BROKEN, {}),
    "pax-no-equals": (pax(raw=b"8 patha\n") + GOOD + END, {}, BROKEN, {}),
    "pax-path-twice": (pax((b"path", b"a"), (b"path", b"b")) + GOOD + END, {}, BROKEN, {}),
    "pax-size-negative": (pax((b"size", b"-1")) + GOOD + END, {}, BROKEN, {}),
    "pax-size-huge": (pax((b"size", b"9" * 30)) + GOOD + END, {}, BROKEN, {}),
    "pax-size-of-link": (pax((b"size", b"512")) + entry(b"l", kind=b"2", link=b"x") + GOOD + END, {}, BROKEN, {}),
    "left-out-with-data": (pax((b"DOLANIA.left-out", b"socket")) + entry(b"s", b"x") + END, {}, BROKEN, {}),
    "left-out-nonsense": (pax((b"DOLANIA.left-out", b"because")) + entry(b"s") + END, {}, BROKEN, {}),
    "left-out": (pax((b"DOLANIA.left-out", b"socket")) + entry(b"s") + END, {}, WHOLE, {"s": "a socket"}),
    # names that are only odd are kept, and escaped where they are told
    "odd-names": (entry(b"a\nb", b"1") + entry(b"\xff\xfe", b"2") + entry(b"-rf", b"3") + entry(b"\x1b[31m", b"4") +
                  entry(b"...", b"5") + END,
                  {"a\nb": b"1", "\udcff\udcfe": b"2", "-rf": b"3", "\x1b[31m": b"4", "...": b"5"}, WHOLE, {}),
    "odd-names-refused": (entry(b"a\nb\x1b[2J\xff", kind=b"2", link=b"x") + END, {}, WHOLE,
                          {"a\\x0ab\\x1b[2J\\xff": "symbolic"}),
}


def helper():
    sources = [os.path.join(TOP, "tests/host/extract.c"), os.path.join(TOP, "build/lib/libdolania.a")]
    if not os.path.exists(HELPER) or os.path.getmtime(HELPER) < max(map(os.path.getmtime, sources)):
        os.makedirs(os.path.dirname(HELPER), exist_ok=True)
        subprocess.run(["gcc", "-std=gnu11", "-D_GNU_SOURCE", "-O1", "-I.", "-o", HELPER, *sources, "-ljansson",
                        "-lsodium"], cwd=TOP, check=True)
    return HELPER


def snapshot(top):
    """Everything beneath: kind, mode, times, content; a directory's own times too."""
    seen = {}
    for base, dirs, files in os.walk(os.fsencode(top)):
        for name in [b"."] + dirs + files:
            path = os.path.join(base, name)
            st = os.lstat(path)
            content = b""
            if stat.S_ISREG(st.st_mode):
                with open(path, "rb") as f:
                    content = f.read()
            elif stat.S_ISLNK(st.st_mode):
                content = os.readlink(path)
            seen[path] = (st.st_mode, st.st_uid, st.st_nlink, st.st_ino, st.st_mtime_ns, st.st_size, content)
    return seen


def make_place(d):
    """A canary outside, and a directory `to` with things that were there before."""
    os.mkdir(f"{d}/canary")
    for path, text in ((f"{d}/canary/old", "precious"), (f"{d}/outside", "precious")):
        with open(path, "w", encoding="utf-8") as f:
            f.write(text)
    os.mkdir(f"{d}/to")
    os.mkdir(f"{d}/to/subdir")
    with open(f"{d}/to/there", "w", encoding="utf-8") as f:
        f.write("mine")
    with open(f"{d}/to/subdir/mine", "w", encoding="utf-8") as f:
        f.write("mine")
    os.symlink("../canary", f"{d}/to/out")
    os.symlink("../canary/nothing", f"{d}/to/dangling")


def run_case(archive, d, limit_bytes=MAX_BYTES, limit_entries=MAX_ENTRIES):
    """The helper's first line as a list, and its refusals."""
    done = subprocess.run([helper(), EXTRACTOR, f"{d}/to", str(limit_bytes), str(limit_entries)], input=archive,
                          capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, (done.stdout, done.stderr)
    lines = done.stdout.decode().splitlines()
    return lines[0].split(" ", 6), dict(x.split("\t") for x in lines[1:])


def check(name):
    archive, tree, end, refused = CASES[name]
    with tempfile.TemporaryDirectory() as d:
        make_place(d)
        if callable(archive):
            archive = archive(d) if archive.__code__.co_argcount else archive()
        before = snapshot(d)
        (fine, complete, files, _, _, _, why), told = run_case(archive, d)
        after = snapshot(d)
        assert fine == "1", (name, why)
        assert (complete == "1") == (end == WHOLE) and end in why, (name, complete, why)
        inside = os.fsencode(f"{d}/to")
        for path, was in before.items():
            if path == inside or path.startswith(inside + b"/."):
                continue
            now = after.get(path)
            if stat.S_ISDIR(was[0]) and path.startswith(inside):
                assert now[:2] == was[:2] and now[3] == was[3], (name, path)
            else:
                assert now == was, (name, path, was, now)
        new = {os.path.relpath(p, inside): after[p] for p in set(after) - set(before) if not p.endswith(b"/.")}
        for path, kind in new.items():
            assert stat.S_ISREG(kind[0]) or stat.S_ISDIR(kind[0]), (name, path)
            assert stat.S_IMODE(kind[0]) & 0o7022 == 0, (name, path, oct(kind[0]))
        assert all(p.startswith(inside + b"/") for p in set(after) - set(before)), name
        if tree is not None:
            for path, content in tree.items():
                got = new.pop(os.fsencode(path))
                assert stat.S_ISDIR(got[0]) if content is None else got[6] == content, (name, path, got)
            new = {p: k for p, k in new.items() if not stat.S_ISDIR(k[0])}
            assert not new, (name, "more than expected", new)
        for entry_name, part in refused.items():
            assert part in told.get(entry_name, ""), (name, entry_name, part, told)
        assert int(files) <= MAX_ENTRIES


def test_corpus():
    """At least 40 of them; the host is untouched outside the directory, and what is refused is listed."""
    assert len(CASES) >= 40
    for name in CASES:
        check(name)


def test_refusals_are_counted_beyond_the_list():
    with tempfile.TemporaryDirectory() as d:
        make_place(d)
        line, told = run_case(b"".join(entry(b"%d" % i, kind=b"2", link=b"x") for i in range(500)) + END, d)
        assert line[5] == "500" and len(told) == 64, (line, len(told))


def test_pieces_of_any_size():
    """The same archive byte by byte gives the same tree."""
    archive = CASES["plain"][0]
    with tempfile.TemporaryDirectory() as d:
        make_place(d)
        with subprocess.Popen([helper(), EXTRACTOR, f"{d}/to", "100000", "100"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, bufsize=0) as p:
            for i in range(len(archive)):
                p.stdin.write(archive[i:i + 1])
            p.stdin.close()
            assert p.stdout.read().startswith(b"1 1 2 1 6 0"), p
        assert open(f"{d}/to/d/x", "rb").read() == b"#!" and os.access(f"{d}/to/d/x", os.X_OK)


def test_a_mount_point_is_not_crossed():
    with tempfile.TemporaryDirectory() as d:
        make_place(d)
        os.mkdir(f"{d}/to/mnt")
        if subprocess.run(["mount", "-t", "tmpfs", "none", f"{d}/to/mnt"], check=False).returncode != 0:
            return
        try:
            _, told = run_case(entry(b"mnt/f", b"x") + END, d)
            assert "mount point" in told["mnt/f"] and not os.listdir(f"{d}/to/mnt"), told
        finally:
            subprocess.run(["umount", f"{d}/to/mnt"], check=True)


def test_a_full_disk_is_told():
    """ENOSPC on the host: no half file stays, and it is the host's trouble."""
    with tempfile.TemporaryDirectory() as d:
        os.mkdir(f"{d}/to")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "none", f"{d}/to"], check=False).returncode != 0:
            return
        try:
            line, told = run_case(entry(b"a", b"x" * 1000) + entry(b"b", b"x" * 500000) + entry(b"c", b"x") + END, d)
            assert line[0] == "0" and "No space left" in line[6] and "No space left" in told["b"], (line, told)
            assert os.listdir(f"{d}/to") == ["a"]
        finally:
            subprocess.run(["umount", f"{d}/to"], check=True)


def test_it_can_do_nothing_else():
    """The process that parses: no root, no paths, no way to the network, eight system calls."""
    with tempfile.TemporaryDirectory() as d:
        make_place(d)
        with subprocess.Popen([helper(), EXTRACTOR, f"{d}/to", "100000", "100"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE) as p:
            try:
                p.stdin.write(entry(b"f", b"x"))
                p.stdin.flush()
                pid = wait_for_extractor(p.pid, f"{d}/to/f")
                status = dict(x.split(":\t", 1) for x in open(f"/proc/{pid}/status", encoding="utf-8").read()
                              .splitlines() if ":\t" in x)
                assert status["Seccomp"] == "2" and status["NoNewPrivs"] == "1", status
                assert int(status["CapEff"], 16) == 0 and int(status["CapPrm"], 16) == 0, status
                for space in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
                    assert os.readlink(f"/proc/{pid}/ns/{space}") != os.readlink(f"/proc/self/ns/{space}"), space
                if os.geteuid() == 0:
                    assert not os.listdir(f"/proc/{pid}/root/"), "its root is not empty"
            finally:
                p.stdin.close()
                p.wait()


def wait_for_extractor(parent, made):
    """Its pid, once it has made a file: so it is locked in."""
    import time
    until = time.monotonic() + 20
    while not os.path.exists(made):
        assert time.monotonic() < until
        time.sleep(0.02)
    children = glob.glob(f"/proc/{parent}/task/*/children")
    return int(open(children[0], encoding="utf-8").read().split()[0])

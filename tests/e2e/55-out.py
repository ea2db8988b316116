"""--out: what a script leaves in /out comes back, whatever the end was, and nothing else does."""
import os
import signal
import stat
import subprocess
import tarfile
import tempfile
import time

from lib import DOLANIA, SLOWNESS, Skip, dolania, guest_with, hostile, private_dev, read_result, run, scratch, wall_s

TREE = r"""
cd /out
echo hello > plain; echo '#!/bin/sh' > tool; chmod 755 tool; chmod 600 plain
: > empty; mkdir -p d/hollow; echo in > d/f; touch -d '2020-02-02 02:02:02' d/f
printf nl > "$(printf 'a\nb')"; printf raw > "$(printf '\377\376')"; printf dash > ./-n
long=$(printf '%0255d' 7); printf long > "$long"
p=.; for i in $(seq 1 60); do p=$p/dir$i; done; mkdir -p "$p"; printf deep > "$p/f"
mkdir many; i=0; while [ $i -lt 300 ]; do echo $i > many/$i; i=$((i+1)); done
dd if=/dev/zero of=sparse bs=1 count=1 seek=3000000 2>/dev/null
head -c 300000 /dev/urandom > random; cp random d/copy
ln plain twin
"""


def names(directory):
    return sorted(os.listdir(os.fsencode(directory)))


def content(*path):
    with open(os.path.join(*map(os.fsencode, path)), "rb") as f:
        return f.read()


def test_a_tree_comes_back():
    """Names of any bytes, empty ones, deep ones, many, sparse; execute bit and time; nothing wider than 0755."""
    with scratch() as d:
        r = run("--out", f"{d}/o", "-c", TREE)
        out = r.result["out"]
        assert r.code == 0 and r.err == b"" and out["complete"] and out["refused_total"] == 0, r
        o = f"{d}/o"
        assert content(o, "plain") == b"hello\n" == content(o, "twin") and content(o, "empty") == b""
        assert content(o, "a\nb") == b"nl" and content(o, b"\xff\xfe") == b"raw" and content(o, "-n") == b"dash"
        assert content(o, "%0255d" % 7) == b"long"
        assert content(o, "/".join(f"dir{i}" for i in range(1, 61)) + "/f") == b"deep"
        assert [content(o, "many", str(i)) for i in range(300)] == [b"%d\n" % i for i in range(300)]
        assert content(o, "sparse") == b"\0" * 3000001 and content(o, "random") == content(o, "d", "copy")
        assert os.path.isdir(f"{o}/d/hollow") and not names(f"{o}/d/hollow") and not os.path.exists(f"{o}/lost+found")
        assert stat.S_IMODE(os.stat(f"{o}/tool").st_mode) == 0o755 and stat.S_IMODE(os.stat(f"{o}/plain").st_mode) == 0o644
        assert os.stat(f"{o}/d/f").st_mtime == 1580608922 and os.stat(f"{o}/plain").st_nlink == 1
        assert os.stat(f"{o}/plain").st_uid == os.geteuid()
        files = sum(len(f) for _, _, f in os.walk(o))
        assert out["files"] == files and out["collected_by"] == "second VM", (out, files)


def test_what_is_no_file_is_listed():
    """Links, pipes, sockets and set-id files do not come back, and are told with escaped names."""
    with scratch() as d:
        r = run("--runtime", "python", "--out", f"{d}/o", "-c", r"""
import os, socket
os.chdir('/out')
os.symlink('/etc/passwd', 'link'); os.symlink('/etc', 'dirlink'); os.mkfifo('pipe')
socket.socket(socket.AF_UNIX).bind('sock')
open('setuid', 'w').write('x'); os.chmod('setuid', 0o4755)
os.mknod('whiteout', 0o020000)
os.symlink('x', 'odd\n\x1b[31m'); os.symlink('y' * 200, 'z' * 150)
open('kept', 'w').write('kept')
""")
        told = {x["name"]: x["why"] for x in r.result["out"]["refused"]}
        assert r.code == 0 and r.errlines == 1 and b"8 of what was in /out were refused" in r.err, r
        assert names(f"{d}/o") == [b"kept"] and r.result["out"]["refused_total"] == 8, told
        assert "symbolic" in told["link"] and "symbolic" in told["dirlink"] and "pipe" in told["pipe"]
        assert "socket" in told["sock"] and "set-user-ID" in told["setuid"] and "device" in told["whiteout"]
        assert "symbolic" in told["odd\\x0a\\x1b[31m"] and "symbolic" in told["z" * 150], told


def test_nothing_is_overwritten():
    with scratch() as d:
        os.mkdir(f"{d}/o")
        os.mkdir(f"{d}/o/sub")
        os.mkdir(f"{d}/elsewhere")
        for path in ("o/mine", "o/sub/mine", "elsewhere/mine"):
            with open(f"{d}/{path}", "w", encoding="utf-8") as f:
                f.write("precious")
        os.symlink("../elsewhere", f"{d}/o/link")
        r = run("--out", f"{d}/o", "-c", "cd /out; echo x > mine; mkdir sub link; echo x > sub/mine; echo x > sub/new;"
                " echo x > link/mine; echo x > new")
        told = {x["name"] for x in r.result["out"]["refused"]}
        assert r.code == 0 and told == {"mine", "sub/mine", "link", "link/mine"}, r
        assert content(d, "o/mine") == content(d, "o/sub/mine") == content(d, "elsewhere/mine") == b"precious"
        assert content(d, "o/sub/new") == content(d, "o/new") == b"x\n" and names(f"{d}/elsewhere") == [b"mine"]


def test_after_every_end():
    """A limit, a kill, no memory, a failure: what was written comes back, and the end is what it was."""
    wall = wall_s() + 2
    write = "echo partial > /out/f; mkdir /out/d; echo x > /out/d/g; "
    for options, code, reason in (
            (("--wall", f"{wall}s", "-c", write + "sleep 1000"), 124, "wall_limit"),
            (("--cpu-time", f"{wall}s", "-c", write + "sleep 2; while :; do :; done"), 124, "cpu_limit"),
            (("--memory", "32M", "-c", write + "exec dd if=/dev/zero of=/dev/null bs=64M"), 137, "guest_oom"),
            (("-c", write + "exit 3"), 3, "exited"),
            (("-c", write + "kill -SEGV $$"), 139, "signaled")):
        with scratch() as d:
            r = run("--out", f"{d}/o", *options)
            assert (r.code, r.reason) == (code, reason), r
            out = r.result["out"]
            assert out["complete"] and content(d, "o/f") == b"partial\n" and content(d, "o/d/g") == b"x\n", r


@hostile
def test_after_a_panic_and_a_killed_vmm():
    with scratch() as d:
        r = run("--out", f"{d}/o", *guest_with(init="panics"), "-c", "echo partial > /out/f; sync; echo")
        assert r.reason == "guest_panic" and r.result["out"]["complete"], r
        assert content(d, "o/f") == b"partial\n"
    with scratch() as d:
        with subprocess.Popen([DOLANIA, "run", "--result", f"{d}/r", "--out", f"{d}/o", "-c",
                               "echo partial > /out/f; sync; echo up; sleep 1000"], stdout=subprocess.PIPE) as p:
            assert p.stdout.readline() == b"up\n"
            time.sleep(SLOWNESS)
            vmm = [pid for pid in children(p.pid) if comm(pid) != "dolania-extract"]
            assert len(vmm) == 1, vmm
            os.kill(vmm[0], signal.SIGKILL)
            assert p.wait(60 * SLOWNESS) == 121
        r = read_result(f"{d}/r")
        assert r.reason == "vmm_fault" and r.result["out"]["complete"] and content(d, "o/f") == b"partial\n"


def children(pid):
    with open(f"/proc/{pid}/task/{pid}/children", encoding="utf-8") as f:
        return [int(x) for x in f.read().split()]


def comm(pid):
    with open(f"/proc/{pid}/cmdline", encoding="utf-8") as f:
        return f.read().split("\0")[0]


def test_cancelled_runs_are_not_collected():
    with scratch() as d:
        with subprocess.Popen([DOLANIA, "run", "--result", f"{d}/r", "--out", f"{d}/o", "-c",
                               "echo x > /out/f; echo up; sleep 1000"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            assert p.stdout.readline() == b"up\n"
            p.send_signal(signal.SIGTERM)
            assert p.wait(30 * SLOWNESS) == -signal.SIGTERM
            assert b"nothing of /out came back: the run was cancelled" in p.stderr.read()
        out = read_result(f"{d}/r").result["out"]
        assert not out["complete"] and out["collected_by"] is None and "cancelled" in out["why_not"]
        assert not names(f"{d}/o")


def phase(pid):
    """REPORT_*, which the VMM tells its supervisor `pid`; -1 before it does."""
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            if os.readlink(f"/proc/{pid}/fd/{fd}").startswith("/memfd:dolania-shared"):
                with open(f"/proc/{pid}/fd/{fd}", "rb") as f:
                    return int.from_bytes(os.pread(f.fileno(), 4, 8), "little")
        except FileNotFoundError:
            continue    # closed since it was listed
    return -1


def test_a_cancel_while_memory_is_overwritten():
    """The script has ended, its files are not read yet: they are not waited for, and it is no success."""
    ended = 4
    with scratch() as d:
        with subprocess.Popen([DOLANIA, "run", "--quiet", "--wall", "300s", "--result", f"{d}/r", "--out", f"{d}/o", "--tmp",
                               "64M", "-c", "head -c 32m /dev/zero >/tmp/f; echo x >/out/f"]) as p:
            while phase(p.pid) < ended and p.poll() is None:
                time.sleep(0.001)
            vmm = [pid for pid in children(p.pid) if comm(pid) != "dolania-extract"]
            os.kill(vmm[0], signal.SIGSTOP)
            p.send_signal(signal.SIGTERM)
            time.sleep(SLOWNESS / 4)
            os.kill(vmm[0], signal.SIGCONT)
            assert p.wait(60 * SLOWNESS) == -signal.SIGTERM
        r = read_result(f"{d}/r").result
        assert r["end"]["message"] == "cancelled before /out was collected" and r["out"]["collected_by"] is None, r
        assert not names(f"{d}/o")


def test_disk_is_the_limit():
    """ENOSPC in the script at --disk, and all of that comes back; what only looks small does not."""
    with scratch() as d:
        r = run("--out", f"{d}/o", "--disk", "2M", "-c",
                "cd /out; df -k . | tail -n 1; dd if=/dev/zero of=full bs=64k; echo $?; rm full; "
                "s=$(printf %04096d 7); i=0; while echo -n $s 2>/dev/null > $i; do i=$((i+1)); done; rm -f $i; echo $i; "
                "rm 0 1 2 3 4 5 6 7; dd if=/dev/zero of=huge bs=1 count=1 seek=99999999999 2>/dev/null; echo x > small")
        lines = r.text.split("\n")
        assert lines[0].split()[3] == "2048" and lines[1] == "1" and b"No space left" in r.err, r
        out = r.result["out"]
        blocks = int(lines[2])
        assert 470 <= blocks <= 512 and out["bytes"] <= 2 << 20, r
        assert [x["name"] for x in out["refused"]] == ["huge"] and "--disk" in out["refused"][0]["why"], r
        assert out["complete"] and out["files"] == blocks - 8 + 1 and content(d, "o/small") == b"x\n", r


def test_headers_of_long_names_take_no_room():
    """A full disk of small files with long names comes back, in a directory or in an archive."""
    script = ("cd /out; s=$(printf %04096d 7); n=$(printf %0200d 7); i=0; "
              "while echo -n $s 2>/dev/null > $n$i; do i=$((i+1)); done; rm -f $n$i; echo $i")
    with scratch() as d:
        r = run("--out", f"{d}/o", "--disk", "2M", "-c", script)
        out = r.result["out"]
        assert r.code == 0 and out["complete"] and out["files"] == int(r.text) > 400 and out["refused_total"] == 0, r
        assert out["bytes"] == 4096 * out["files"] <= 2 << 20 < out["archive_bytes"], r
        r = run("--out", f"{d}/o.tar", "--disk", "2M", "-c", script)
        assert r.result["out"]["complete"] and os.path.getsize(f"{d}/o.tar") <= (3 << 20) + (64 << 10), r


def test_one_file_may_fill_it():
    with scratch() as d:
        r = run("--out", f"{d}/o", "--disk", "2M", "-c", "cat /dev/zero > /out/full; stat -c %s /out/full")
        size = int(r.text)
        assert 2000000 < size <= 2 << 20 and r.result["out"]["complete"], r
        assert os.path.getsize(f"{d}/o/full") == size
        assert r.result["end"]["notes"] == ["/out is full (--disk 2M); raise it with --disk"], r


def test_an_archive_is_kept_as_it_is():
    with scratch() as d:
        r = run("--out", f"{d}/o.tar", "-c", TREE + "ln -s plain link; chmod 4711 tool")
        assert r.code == 0 and r.err == b"" and r.result["out"]["complete"], r
        with tarfile.open(f"{d}/o.tar", encoding="utf-8", errors="surrogateescape") as t:
            assert t.extractfile("plain").read() == b"hello\n" and t.getmember("link").issym()
            assert t.getmember("tool").mode == 0o4711 and t.getmember("sparse").size == 3000001
            assert t.extractfile("%0255d" % 7).read() == b"long" and "\udcff\udcfe" in t.getnames()
        assert os.path.getsize(f"{d}/o.tar") == r.result["out"]["archive_bytes"]
        before = content(d, "o.tar")
        r = run("--out", f"{d}/o.tar", "-c", "echo x > /out/x")
        assert (r.code, r.reason) == (125, "usage") and b"is there already" in r.err and content(d, "o.tar") == before, r


def test_what_took_the_archives_place_stays():
    """Found in review: where nothing was collected, the archive was removed by its name."""
    with scratch() as d:
        with subprocess.Popen([DOLANIA, "run", "--out", f"{d}/o.tar", "-c", "echo up; sleep 1000"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            assert p.stdout.readline() == b"up\n"
            os.rename(f"{d}/o.tar", f"{d}/mine.tar")
            with open(f"{d}/o.tar", "wb") as f:
                f.write(b"precious")
            p.send_signal(signal.SIGTERM)
            assert p.wait(30 * SLOWNESS) == -signal.SIGTERM
        assert content(d, "o.tar") == b"precious"


def test_under_a_policy_that_names_its_runtimes():
    """Found by a user: the second VM's image, known by its path then, was not among the names."""
    with scratch() as d:
        for out in ("o", "o.tar"):
            r = run("--policy", "provisional", "--out", f"{d}/{out}", "-c", "echo x > /out/x; exit 3")
            assert (r.code, r.reason, r.err) == (3, "exited", b"") and r.result["out"]["complete"], r
        assert content(d, "o", "x") == b"x\n"


def test_without_it_nothing_changes():
    """/out is a little memory, there is one disk, and no second VM."""
    r = run("-c", "echo x > /out/f && grep -c ' /out tmpfs' /proc/mounts")
    assert r.text == "1\n" and r.result["out"] is None and len(r.result["host"]["disks"]) == 1, r
    assert r.result["host"]["discard"]["disk_bytes"] == 0 == r.result["host"]["discard"]["collector_bytes"]
    assert r.result["end"]["notes"] == ["what is in /out is gone with the machine; --out DIR returns it"], r
    r = run("-c", "echo x > /out/f && rm /out/f; ls -A /out")
    assert (r.code, r.out, r.err) == (0, b"", b""), r


def test_both_disks_and_the_second_vm_are_overwritten():
    with scratch() as d:
        r = run("--out", f"{d}/o", "--scratch", "8M", "-c",
                "head -c 1000000 /dev/urandom > /out/f; head -c 2000000 /dev/urandom > /scratch/f; sync")
        gone = r.result["host"]["discard"]
        assert gone["complete"] and gone["disk_bytes"] >= 3000000 and gone["collector_bytes"] > 1 << 20, r
        assert {x["role"]: x["write_bytes"] > 1000000 for x in r.result["host"]["disks"]} == {
            "image": False, "scratch": True, "out": True}, r


def test_wrong_places_cost_no_run():
    with scratch() as d:
        with open(f"{d}/file", "w", encoding="utf-8") as f:
            f.write("precious")
        for place, words in ((f"{d}/no/such", "not there"), (f"{d}/file", "is no directory"), ("", "no directory is named"),
                             (f"{d}/no/x.tar", "No such file")):
            r = run("--out", place, "-c", "echo ran")
            assert (r.code, r.reason, r.out) == (125, "usage", b"") and words in r.errtext and r.errlines == 1, r
        r = run("--out", f"{d}/a", "--out", f"{d}/b", "-c", "true")
        assert r.code == 125 and "only one" in r.errtext and not os.path.exists(f"{d}/a"), r
        r = run("--out", f"{d}/a", "--disk", "10", "-c", "true")
        assert r.code == 125 and "--disk" in r.errtext, r
        for name in ("o.tgz", "o.tar.gz", "o.zip"):     # no directory of that name is made
            r = run("--out", f"{d}/{name}", "-c", "true")
            assert (r.code, r.reason) == (125, "usage") and "an archive is named FILE.tar" in r.errtext, r
            assert not os.path.exists(f"{d}/{name}")
        assert content(d, "file") == b"precious"
        os.mkdir(f"{d}/elsewhere")
        os.symlink("elsewhere", f"{d}/link")     # put there by who owns the directory, perhaps
        r = run("--out", f"{d}/link", "-c", "true")
        assert r.code == 125 and "symbolic link" in r.errtext and r.errlines == 1, r
        r = run("--out", f"{d}/a.tar", "--runtime", "nonsense", "-c", "true")
        assert r.code == 125 and not os.path.exists(f"{d}/a.tar"), r


def test_trouble_of_the_host_is_no_success():
    """The directory's disk is full: the script's 0 does not stay 0."""
    with scratch() as d:
        os.mkdir(f"{d}/o")
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "none", f"{d}/o"], check=False).returncode != 0:
            raise Skip("needs root, to mount")
        try:
            r = run("--out", f"{d}/o", "-c", "echo a > /out/a; head -c 2000000 /dev/zero > /out/b")
            assert (r.code, r.reason, r.errlines) == (125, "host_io", 1) and "No space left" in r.errtext, r
            assert set(names(f"{d}/o")) <= {b"a"} and not r.result["out"]["complete"], r
        finally:
            subprocess.run(["umount", f"{d}/o"], check=True)


def test_as_an_ordinary_user():
    """Files are the caller's, in a directory of his; nothing in one that is not."""
    if os.geteuid() != 0:
        raise Skip("needs root, to become another user")
    with tempfile.TemporaryDirectory() as d:
        os.chmod(d, 0o755)
        os.mkdir(f"{d}/his")
        os.chown(f"{d}/his", 65534, 65534)
        os.mkdir(f"{d}/roots")
        # root writes into a user's directory: what comes back is the user's
        r = run("--out", f"{d}/his", "-c", "echo x > /out/f")
        assert r.code == 0 and os.stat(f"{d}/his/f").st_uid == 65534, r
        r = as_user("run", "--out", f"{d}/his", "-c", "echo y > /out/g")
        assert r.code == 0 and os.stat(f"{d}/his/g").st_uid == 65534 and content(d, "his/g") == b"y\n", r
        r = as_user("run", "--out", f"{d}/roots", "-c", "echo y > /out/g")
        assert r.code == 125 and "Permission denied" in r.errtext and not names(f"{d}/roots"), r


def as_user(*args):
    """Where everybody may open /dev/kvm."""
    with scratch() as d:
        return dolania(*args, before=(*private_dev(d, kvm=0o666), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"))

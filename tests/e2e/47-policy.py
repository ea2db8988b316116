"""Policies, where a VM is needed to see that they hold: the site's ceiling, what may be executed, kills, and how the
end is told to a judge."""
import os
import signal
import subprocess

from lib import DOLANIA, SLOWNESS, dolania, guest_with, hostile, needs, private_dev, run, scratch, site, wall_s, write_file

PYTHON = "build/share/dolania/images/python.erofs"
S = 10 ** 9


CEILING = """[limits]
wall = 30s
pids = 20
output = 1K

[allow]
runtimes = base
options = runtime, in, env
execute = image-only
"""


def test_the_sites_ceiling_is_over_every_policy():
    with site(CEILING) as before:
        r = run("-c", "i=0; while [ $i -lt 300 ]; do echo 12345678; i=$((i+1)); done", before=before)
        limits = r.result["limits"]
        assert (limits["wall_ns"], limits["pids"], limits["output_bytes"]) == (30 * S, 20, 1024), limits
        assert limits["memory_bytes"] == 512 << 20 and len(r.out) == 1024, r       # of the policy: the site is silent
        policy = r.result["policy"]
        assert policy["name"] == "standard" and policy["site"]["file"] == "/etc/dolania/site.ini", policy
        assert r.errtext == "dolania: note: stdout was cut after 1K of 2700 bytes; this site allows no more " \
            "(/etc/dolania/site.ini, line 4)\n", r
        assert len(policy["site"]["sha256"]) == 64 and policy["execute"] == "image-only", policy
        # what is tighter is taken, from the options and from the policy
        r = run("--pids", "5", "--wall", "29s", "-c", "true", before=before)
        assert (r.code, r.result["limits"]["pids"], r.result["limits"]["wall_ns"]) == (0, 5, 29 * S), r
        assert run("--policy", "provisional", "-c", "true", before=before).result["limits"]["pids"] == 10


def test_what_the_site_does_not_allow_is_refused_with_its_line():
    with site(CEILING) as before:
        for args, words in ((("--wall", "31s"), ("--wall 31s", "at most 30s", "line 2")),
                            (("--wall", "off"), ("--wall off", "at most 30s", "line 2")),
                            (("--policy", "trusted", "--pids", "21"), ("--pids 21", "at most 20", "line 3")),
                            (("--runtime", "python"), ("runtime 'python'", "line 7", "base")),
                            (("--chdir", "/tmp"), ("--chdir", "does not allow this option", "line 8")),
                            (("--execute", "anywhere"), ("--execute anywhere", "image-only", "line 9"))):
            r = run(*args, "-c", "true", before=before)
            assert (r.code, r.reason, r.errlines, r.out) == (125, "usage", 1, b""), (args, r)
            assert all(w in r.errtext for w in words) and "/etc/dolania/site.ini" in r.errtext, (words, r.errtext)


def test_a_site_file_that_cannot_be_trusted_runs_nothing():
    for kwargs, words in (({"mode": 0o666}, ("site.ini",)), ({"directory_mode": 0o777}, ("/etc/dolania",)),
                          ({"text": CEILING + "[limit]\n"}, ("site.ini:10:", "did you mean [limits]?"))):
        with site(**{"text": CEILING, **kwargs}) as before:
            r = run("-c", "echo ran", before=before)
            assert r.code == 125 and r.out == b"" and r.errlines == 1, r
            assert all(w in r.errtext for w in words), (words, r.errtext)


def test_the_sites_default_and_its_own_policies():
    own = "[policy]\nlike = standard\n[limits]\nwall = 17s\n"
    with site("[policy]\ndefault = mine\n", policies={"mine.ini": own, "provisional.ini": own}) as before:
        r = run("-c", "true", before=before)
        assert (r.result["policy"]["name"], r.result["limits"]["wall_ns"]) == ("mine", 17 * S), r
        r = run("--policy", "provisional", "-c", "true", before=before)         # before those that are shipped
        assert (r.result["policy"]["file"], r.result["limits"]["wall_ns"]) == \
            ("/etc/dolania/policies/provisional.ini", 17 * S), r
        assert run("--policy", "standard", "-c", "true", before=before).result["limits"]["wall_ns"] == 60 * S


def test_the_sites_kills_are_added():
    with site("[kill]\noutput = yes\nevents = S2\n[limits]\noutput = 1K\n") as before:
        r = run("--policy", "trusted", "-c", "while :; do echo 1234567; done", before=before)
        assert (r.code, r.reason) == (123, "output_limit"), r
        assert len(r.out) == 1024 and r.result["policy"]["kill_severity"] == "S2", r


# --- what may be executed

PLACES = ("/tmp", "/work", "/run", "/var/tmp", "/dev/shm", "/out", "/scratch", "/in")
# In each place a program of the image's, copied there, and a script: by its name, by the dynamic linker, by its interpreter.
TRY = """
for p in %s; do
    if [ $p != /in ]; then cp /bin/dash $p/prog 2>/dev/null || { echo "$p not writable"; continue; }
        printf '#!/bin/sh\\necho ran\\n' >$p/script; chmod 755 $p/script; fi
    echo "$p" "$($p/prog -c 'echo ran' 2>/dev/null || echo no)" "$($p/script 2>/dev/null || echo no)" \\
        "$(/lib64/ld-linux-x86-64.so.2 $p/prog -c 'echo ran' 2>/dev/null || echo no)" "$(sh $p/script 2>/dev/null || echo no)"
done
""" % " ".join(PLACES)


def executed(*args):
    with scratch() as d:
        # the image's own dash is not at hand here: any program that the guest could run does
        os.makedirs(f"{d}/in")
        write_file(d, "in/script", "#!/bin/sh\necho ran\n", 0o755)
        write_file(d, "in/prog", "#!/bin/sh\necho ran\n", 0o755)
        r = run(*args, "--in", f"{d}/in", "--out", f"{d}/out", "--disk", "8M", "--scratch", "8M", "-c", TRY)
    assert r.code == 0, r
    return {line.split(" ", 1)[0]: line.split(" ", 1)[1] for line in r.text.splitlines()}


def test_image_only_means_that_nothing_else_is_executed():
    got = executed("--execute", "image-only")
    assert set(got) == set(PLACES), got
    for place, what in got.items():
        # only an interpreter of the image's may read it
        assert what == "no no no ran", (place, what)
    got = executed("--execute", "anywhere")
    for place, what in got.items():
        if place not in ("/in", "/dev/shm"):
            assert what == "ran ran ran ran", (place, what)
    assert got["/in"].startswith("ran ran"), got


@needs(PYTHON)
def test_image_only_keeps_memory_files_and_mappings_from_being_executed():
    """noexec of a mount is so for mappings too; and a file in memory, which is on no mount, cannot be made."""
    code = ("import mmap, os\n"
            "with open('/tmp/x', 'wb') as f: f.write(bytes(4096))\n"
            "fd = os.open('/tmp/x', os.O_RDWR)\n"
            "try:\n"
            "    mmap.mmap(fd, 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC); print('mapped')\n"
            "except PermissionError as e: print(e.errno)\n")
    assert run("--runtime", "python", "--execute", "image-only", "-c", code).out == b"1\n"
    assert run("--runtime", "python", "--execute", "anywhere", "-c", code).out == b"mapped\n"
    code = ("import os, subprocess, sys\n"
            "fd = os.memfd_create('x', 0)\n"
            "with open('/bin/dash', 'rb') as f: os.write(fd, f.read())\n"
            "print(subprocess.run([f'/proc/self/fd/{fd}', '-c', 'echo ran'], pass_fds=[fd], capture_output=True).stdout)\n")
    r = run("--runtime", "python", "--execute", "image-only", "-c", code)
    assert r.code == 1 and b"Function not implemented" in r.err, r
    assert run("--runtime", "python", "--execute", "anywhere", "-c", code).out == b"b'ran\\n'\n"


def test_a_script_runs_although_nothing_can_be_executed():
    with scratch() as d:
        r = run("--policy", "provisional", write_file(d, "s.sh", "#!/bin/bash\necho $0 $1; ./none\n"), "x")
        assert r.text.endswith(" x\n") and r.code == 127, r


# --- kills

def kill_policy(d, text):
    return write_file(d, "kill.ini", f"[policy]\nlike = standard\n[kill]\n{text}\n")


def test_an_event_of_the_policys_ends_the_run_with_its_reason():
    """The init of this guest knocks at ports that are not offered once its script has ended, then goes on for 3 s."""
    with scratch() as d:
        for text in ("events = vsock_refused", "events = S2", "events = S1"):
            r = run(*guest_with(init="knocks"), "--policy", kill_policy(d, text), "-c", "echo told; exit 3")
            assert (r.code, r.reason, r.result["end"]["by"]) == (122, "protocol_violation", "host"), (text, r)
            assert r.out == b"told\n" and r.errlines == 1, r
            assert f"the policy '{d}/kill.ini' ends a run for: vsock_refused (S2)" in r.errtext, r.errtext
            assert not r.result["host"]["vmm"]["killed"] and r.result["host"]["discard"]["complete"], r
            # and nothing worse is told of the guest than what it did
            assert {e["kind"] for e in r.result["events"] if e["severity"] >= "S2"} == {"vsock_refused"}, r
        for text in ("events = S3", "events = msr"):        # not for this: it ends as its script did
            r = run(*guest_with(init="knocks"), "--policy", kill_policy(d, text), "-c", "exit 3")
            assert (r.code, r.reason) == (3, "exited"), (text, r)


def test_an_event_of_the_policys_ends_the_second_vm_too():
    """The one that reads the disk of /out: what it did not send is missing, and what it did is among the events."""
    with scratch() as d:
        for text, whole in (("events = vsock_refused", False), ("events = S2", False), ("events = S3", True)):
            r = run(*guest_with(init="knocks-collecting"), "--policy", kill_policy(d, text), "--out", f"{d}/{len(text)}",
                    "--events", f"{d}/events", "-c", "echo x >/out/f; exit 3")
            assert (r.code, r.reason, r.result["out"]["complete"]) == (3, "exited", whole), (text, r)
            why = f"the policy '{d}/kill.ini' ends a run for: vsock_refused (S2)"
            assert whole or (why in r.result["out"]["why_not"] and why in r.errtext), (text, r)
            told = [e for e in r.result["events"] if e["severity"] != "S0"]
            assert told == [{"severity": "S2", "kind": "vsock_refused", "count": 1, "first_value": 77}], (text, r)
            with open(f"{d}/events", encoding="utf-8") as f:
                assert f.read().count('"vsock_refused"') == 1, (text, r)
            os.unlink(f"{d}/events")


def test_output_of_the_policys_ends_the_run():
    with scratch() as d:
        for redirect, stream in (("", "stdout"), (" >&2", "stderr")):
            r = run("--policy", kill_policy(d, "output = yes"), "--output", "2K", "-c", f"while :; do echo 1234567{redirect}; done")
            assert (r.code, r.reason, r.result["end"]["by"]) == (123, "output_limit", "host"), r
            assert f"more than 2K to {stream}; raise it with --output" in r.errtext, r
            assert len(r.out) + r.err.count(b"1234567\n") * 8 == 2048, r
        r = run("--policy", kill_policy(d, "output = yes"), "--output", "10", "-c", "echo 12345678901; sleep 1000")
        assert r.reason == "output_limit" and "wrote more than 10 bytes to stdout; raise it" in r.errtext, r


# --- as the isolate judge tells it

def read_meta(path):
    with open(path, encoding="utf-8") as f:
        return dict(line.rstrip("\n").split(":", 1) for line in f)


def judged(*args, before=()):
    """(status of the command, {key: value} of the meta file, the Run)."""
    with scratch() as d:
        r = dolania("run", "--exit-code", "isolate", "--meta", f"{d}/meta", "--result", f"{d}/result", *args,
                    result_file=f"{d}/result", before=before, timeout=60 * SLOWNESS)
        meta = read_meta(f"{d}/meta")
    assert meta.pop("dolania-reason") == r.reason, (meta, r)
    return r.code, meta, r


def is_time(text):
    return text.count(".") == 1 and len(text.split(".")[1]) == 3 and float(text) > 0


def ran(meta):
    assert is_time(meta.pop("time")) and is_time(meta.pop("time-wall")), meta


def claims(meta):
    """The guest's: kilobytes."""
    assert int(meta.pop("max-rss")) > 100 and int(meta.pop("cg-mem")) > 100, meta


def test_meta_of_a_success():
    code, meta, _ = judged("-c", "true")
    ran(meta)
    claims(meta)
    assert (code, meta) == (0, {"exitcode": "0"}), meta


def test_meta_of_a_script_that_fails():
    code, meta, _ = judged("-c", "exit 3")
    ran(meta)
    claims(meta)
    assert (code, meta) == (1, {"exitcode": "3", "status": "RE"}), meta
    code, meta, _ = judged("--exec", "--", "no-such-program")
    assert code == 1 and meta["status"] == "RE" and "no-such-program" in meta["message"], meta


def test_meta_of_a_signal_and_of_a_lack_of_memory():
    code, meta, _ = judged("-c", "kill -SEGV $$")
    ran(meta)
    claims(meta)
    assert code == 1 and meta.pop("message"), meta
    assert meta == {"exitsig": "11", "status": "SG"}, meta
    code, meta, _ = judged("--memory", "16M", "-c", "x=x; while :; do x=$x$x; done")
    ran(meta)
    claims(meta)
    message = meta.pop("message")
    assert code == 1 and "limit 16M" in message and "--memory" in message, message
    assert meta == {"exitsig": "9", "cg-oom-killed": "1", "killed": "1", "status": "SG"}, meta


def test_meta_of_the_limits_on_time():
    wall = wall_s()
    code, meta, _ = judged("--wall", f"{wall}s", "-c", "sleep 1000")
    assert float(meta["time-wall"]) >= wall, meta
    ran(meta)
    assert code == 1 and meta.pop("message").startswith("wall limit of"), meta
    assert meta == {"killed": "1", "status": "TO"}, meta
    code, meta, _ = judged("--cpu-time", f"{wall}s", "-c", "while :; do :; done")
    assert float(meta["time"]) >= wall, meta
    ran(meta)
    assert code == 1 and meta.pop("message").startswith("CPU"), meta
    assert meta == {"killed": "1", "status": "TO"}, meta


@hostile
def test_meta_of_the_sandboxs_own_failures():
    with scratch() as d:
        code, meta, _ = judged("-c", "true", before=private_dev(d, None))       # no KVM
        assert (code, meta["status"], "time" in meta) == (2, "XX", False) and "/dev/kvm" in meta["message"], meta
    code, meta, _ = judged("--wall", "many", "-c", "true")
    assert (code, meta["status"]) == (2, "XX") and "--wall many" in meta["message"], meta
    with scratch() as d, subprocess.Popen([DOLANIA, "run", "--exit-code", "isolate", "--meta", f"{d}/meta", "-c",
                                           "echo up; sleep 1000"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                                          stderr=subprocess.DEVNULL) as p:
        assert p.stdout.read(3) == b"up\n"
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            os.kill(int(f.read()), signal.SIGKILL)                              # the VMM
        assert p.wait(30 * SLOWNESS) == 2
        meta = read_meta(f"{d}/meta")
        ran(meta)
        assert (meta["status"], meta["killed"], meta["dolania-reason"]) == ("XX", "1", "vmm_fault"), meta
        assert "max-rss" not in meta, meta      # nobody was left to claim it


def test_a_meta_file_that_cannot_be_written():
    r = dolania("run", "--meta", "/dev/full", "-c", "true")
    assert r.code == 125 and "the meta file cannot be written to /dev/full" in r.errtext, r
    r = dolania("run", "--meta", "/nonexistent/m", "-c", "echo ran")
    assert r.code == 125 and r.out == b"" and "--meta /nonexistent/m" in r.errtext, r

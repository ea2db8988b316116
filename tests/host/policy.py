"""Policy files: what is taken, what is refused and with which words.  No VM."""
import json
import os
import random
import subprocess
import tempfile

from lib import DOLANIA, Skip, TOP, command, site

SITE = "/etc/dolania/site.ini"


def check(text):
    """`dolania policy check` of a file with this text; its name is taken out of what is said."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "p.ini")
        with open(path, "wb") as f:
            f.write(text if isinstance(text, bytes) else text.encode())
        r = command("policy", "check", path)
    return r.returncode, (r.stdout + r.stderr).replace(path, "p.ini")


def like(text):
    return "[policy]\nlike = standard\n" + text


BAD = [
    # text, words that must be told
    ("", ["wall under [limits] is not declared", "like = standard"]),
    (like("[limit]\nwall = 1s\n"), ["p.ini:3:", "[limit]", "did you mean [limits]?"]),
    (like("[limits]\nwal = 1s\n"), ["p.ini:4:", "'wal'", "did you mean 'wall'?"]),
    (like("[kill]\nwall = 1s\n"), ["p.ini:4:", "wall belongs under [limits]"]),
    (like("[limits]\nwall = 1 parsec\n"), ["p.ini:4:", "wall = 1 parsec"]),
    (like("[limits]\nmemory = 5Q\n"), ["p.ini:4:", "memory = 5Q"]),
    (like("[limits]\npids = 0\n"), ["p.ini:4:", "pids = 0"]),
    (like("[limits]\npids = -3\n"), ["p.ini:4:", "pids = -3"]),
    (like("[limits]\npids = 32769\n"), ["p.ini:4:", "pids = 32769", "must be a number from 1 to 32768"]),
    (like("[limits]\nwall = 5s\nwall = 6s\n"), ["p.ini:5:", "wall"]),
    (like("[limits]\nwall = 5s\ncpu-time = 9s\n"), ["p.ini:5:", "cpu-time = 9s", "wall = 5s"]),
    (like("[limits]\ncpu-time = 61s\n"), ["p.ini:4:", "cpu-time = 61s", "wall = 60s"]),
    (like("[allow]\nraise = wall tmp\n"), ["p.ini:4:", "commas"]),
    (like("[allow]\nraise = any, wall\n"), ["p.ini:4:", "'any' stands alone"]),
    (like("[allow]\nraise = memori\n"), ["p.ini:4:", "'memori'", "did you mean 'memory'?"]),
    (like("[allow]\noptions = enw\n"), ["p.ini:4:", "'enw'", "did you mean 'env'?"]),
    (like("[allow]\noptions = frobnicate\n"), ["p.ini:4:", "'frobnicate'; there are: runtime, env, chdir, in, work, out, loopback,"]),
    (like("[allow]\noptions = cpus\n"), ["p.ini:4:", "unknown option 'cpus'; there are: runtime,"]),
    (like("[allow]\noptions = env, --in\n"), ["p.ini:4:", "'--in': write it without '--'"]),
    (like("[allow]\noptions = --frobnicate\n"), ["p.ini:4:", "'--frobnicate'; there are: runtime,"]),
    (like("[allow]\nraise = frobnicate\n"), ["p.ini:4:", "'frobnicate'; there are: wall, ", "execute"]),
    (like("[kill]\nevents = frobnicate\n"), ["p.ini:4:", "'frobnicate'; there are: unmapped_mmio, ", "notify"]),
    (like("[allow]\nruntimes = none\n"), ["p.ini:4:", "nothing could be run"]),
    (like("[allow]\nexecute = everything\n"), ["p.ini:4:", "image-only or anywhere"]),
    (like("[kill]\noutput = 10M\n"), ["p.ini:4:", "yes or no"]),
    (like("[kill]\nevents = none\n"), ["p.ini:4:", "S3 and above always end a run; write S3"]),
    (like("[kill]\nevents = S9\n"), ["p.ini:4:", "S1, S2 or S3"]),
    (like("[kill]\nevents = exit_strom\n"), ["p.ini:4:", "did you mean 'exit_storm'?"]),
    *[(like(f"[kill]\nevents = S2, {kind}\n"), ["p.ini:4:", kind, "only when the run is over", "leave it out"])
      for kind in ("guest_oom", "shutdown", "kernel_oops", "vmm_fault")],
    (like("[limits\nwall = 1s\n"), ["p.ini:3:", "']'"]),
    (like("[limits]\nwall\n"), ["p.ini:4:"]),
    (like("[limits]\nwall = " + "1" * 300 + "\n"), ["p.ini:4:", "190 bytes"]),
    (like("[limits]\nwall = 1s\x1b[2J\n"), ["p.ini:4:", "control character"]),
    ("[policy]\nlike = nosuch\n", ["p.ini:2:", "unknown policy 'nosuch'"]),
    ("[policy]\nlike = frobnicate\n", ["p.ini:2: like: unknown policy 'frobnicate'; there are: provisional, standard, trusted\n"]),
    ("[policy]\nlike = standart\n", ["did you mean 'standard'?"]),
    ("[policy]\nlike = ../standard\n", ["p.ini:2:", "name of one installed policy"]),
    (b"\x00" * 100, ["control character"]),
    (b"x" * 100000, ["p.ini"]),
]


def test_bad_files_are_told_with_file_and_line():
    for text, words in BAD:
        status, said = check(text)
        assert status != 0, (text, said)
        assert len(said.splitlines()) == 1, (text, said)
        assert all(w in said for w in words), (text, words, said)
        assert "\x1b" not in said and "\0" not in said, said
        # what cannot be taken is not offered
        assert "cpus" not in said.partition("there are")[2] and "kernel_oops" not in said.partition("there are")[2], said


def test_good_files():
    for text in (like(""), like("; nothing\n\n[limits]\n  wall = 5s\n"), like("[limits]\ncpu-time = off\nwall=90s\r\n"),
                 like("[allow]\nraise = none\noptions = none\n[kill]\nevents = S1, exit_storm\noutput = yes\n")):
        status, said = check(text)
        assert status == 0, (text, said)


def test_a_shorter_wall_is_no_quarrel_with_an_inherited_cpu_time():
    status, said = check("[policy]\nlike = provisional\n[limits]\nwall = 10s\n")
    assert (status, said) == (0, ""), said
    # it is no licence for what a policy that it is like says itself
    with site("", policies={"torn.ini": like("[limits]\nwall = 5s\ncpu-time = 9s\n"),
                            "heir.ini": "[policy]\nlike = torn\n"}) as before:
        r = command("policy", "check", "heir", before=before)
        assert r.returncode == 125 and "heir.ini:2: like: /etc/dolania/policies/torn.ini:5: cpu-time = 9s" in r.stderr, r


def test_what_is_shown_under_a_ceiling_can_be_read_again():
    with tempfile.TemporaryDirectory() as d, site("[limits]\nwall = 30s\npids = 5\n[allow]\nruntimes = base\n") as before:
        for name in ("provisional", "standard", "trusted"):
            r = command("policy", "show", name, before=before)
            assert r.returncode == 0 and "wall = 30s ; this site has a ceiling\n" in r.stdout, r
            assert ("cpu-time = 30s ; as wall: 60s could never be reached\n" in r.stdout) == (name == "provisional"), r
            with open(f"{d}/shown.ini", "w", encoding="utf-8") as f:
                f.write(r.stdout)
            r = command("policy", "check", f"{d}/shown.ini", before=before)
            assert (r.returncode, r.stderr) == (0, ""), r


def test_the_sites_file_is_checked_as_what_it_is():
    """By any of its names; `default` may stand in it, and in no other."""
    text = "[policy]\ndefault = provisional\n[limits]\nwall = 30s\n"
    with site(text) as before:
        for path in (SITE, "/etc/../etc/dolania/site.ini"):
            r = command("policy", "check", path, before=before)
            assert (r.returncode, r.stderr) == (0, ""), r
    status, said = check(text)
    assert status == 125 and f"p.ini:2: default belongs into the site's file, {SITE}" in said, said
    for line, words in (("default = nosuch", f"{SITE}:2: default: unknown policy 'nosuch'; there are: provisional, standard, trusted\n"),
                        ("like = standard", f"{SITE}:2: like has no meaning in a site's file")):
        with site(f"[policy]\n{line}\n") as before:
            r = command("policy", "check", SITE, before=before)
            assert r.returncode == 125 and words in r.stderr, r
    with site("[allow]\nruntimes = base, pyhton\n") as before:
        r = command("policy", "check", SITE, before=before)
        assert r.returncode == 0 and f"note: {SITE}:2: runtimes: there is no image 'pyhton'" in r.stderr, r


def test_doctor_looks_at_the_sites_file():
    """What makes every run end with 125 is not "Runs can work here"."""
    for kwargs, words in (({"text": "[limits]\nwal = 1s\n"}, f"policy: {SITE}:2: unknown key 'wal' under [limits]"),
                          ({"text": "", "mode": 0o777}, f"policy: {SITE}: others than root can write it"),
                          ({"text": "[policy]\ndefault = nosuch\n"}, f"policy: {SITE}:2: default: unknown policy 'nosuch'")):
        with site(**kwargs) as before:
            r = command("doctor", before=before)
            assert r.returncode == 1 and f"MISSING  {words}" in r.stdout, r
            assert r.stdout.endswith("A run cannot work here yet: see MISSING above.\n"), r
    with site("[policy]\ndefault = provisional\n") as before:
        assert f"OK       policy: provisional, under the ceiling of {SITE}\n" in command("doctor", before=before).stdout
    assert "OK       policy: " in command("doctor").stdout


def test_a_runtime_that_is_not_here_is_noted():
    """With status 0: its image may be made later."""
    status, said = check(like("[allow]\nruntimes = base, pyhton, node, python-data, ./mine.erofs, cobol\n"))
    assert status == 0, said
    assert said == ("dolania: note: p.ini:4: runtimes: there is no image 'pyhton' here; did you mean 'python'?\n"
                    "dolania: note: p.ini:4: runtimes: there is no image 'cobol' here\n"), said


def test_comments_are_what_the_manual_says():
    status, said = check(like("# one\n; two\n  ; three\n\t# four\n[limits] ; five\nwall = 5s ; six\npids = 3\t; seven\n"))
    assert status == 0, said
    for text in ("wall = 5s # six", "wall = 5s;six", "wall = ; 5s"):
        status, said = check(like(f"[limits]\n{text}\n"))
        assert status != 0 and "p.ini:4:" in said, (text, said)


def test_shipped_policies_are_good_and_shown_as_they_can_be_read_again():
    for name in ("provisional", "standard", "trusted"):
        assert command("policy", "check", name).returncode == 0
        shown = command("policy", "show", name)
        assert shown.returncode == 0
        status, said = check(shown.stdout)
        assert status == 0, said


def test_a_file_that_is_none():
    with tempfile.TemporaryDirectory() as d:
        os.mkfifo(f"{d}/fifo")
        for path, word in ((d, "regular file"), (f"{d}/fifo", "regular file"), (f"{d}/none", "No such file")):
            r = command("policy", "check", path)
            assert r.returncode != 0 and word in r.stderr, r


def test_options_tighten_and_never_loosen():
    """Refused before anything is started: no KVM is needed."""
    for args, words in ((("--wall", "61s"), ("--wall 61s", "'provisional' allows at most 60s")),
                        (("--pids", "11"), ("--pids 11", "at most 10")),
                        (("--cpu-time", "off"), ("--cpu-time off", "at most 60s")),
                        (("--execute", "anywhere"), ("--execute anywhere", "image-only")),
                        (("--kernel", "/none"), ("--kernel", "does not allow this option"))):
        r = command("run", "--policy", "provisional", *args, "-c", "true")
        assert r.returncode == 125, r
        assert all(w in r.stderr for w in words), r.stderr


def test_a_policy_that_is_larger_than_the_host():
    """Nobody gave --memory: who declares it is told, and what helps.  100G is more than any host gives."""
    for key, option in (("memory", ()), ("tmp", ()), ("scratch", ()), ("disk", ("--out", "/tmp/none.tar"))):
        with tempfile.TemporaryDirectory() as d:
            path = f"{d}/p.ini"
            with open(path, "w", encoding="ascii") as f:
                f.write(like(f"[limits]\n{key} = 100G\n"))
            r = command("run", "--policy", path, *option, "-c", "true")
            assert r.returncode == 125 and len(r.stderr.splitlines()) == 1, r
            assert f"the policy '{path}' declares {key} = 100G; on this host it can be at most " in r.stderr, r
            assert r.stderr.endswith(f"; lower it with --{key}\n"), r
            # who gave it is told of the option; and with less the next error comes
            r = command("run", "--policy", path, *option, f"--{key}", "90G", "-c", "true")
            assert r.returncode == 125 and f"dolania: --{key} 90G: must be from " in r.stderr, r
            r = command("run", "--policy", path, *option, f"--{key}", "16M", "--chdir", "x", "-c", "true")
            assert r.returncode == 125 and "--chdir x" in r.stderr, r
            with site(f"[limits]\n{key} = 99G\n") as before:
                r = command("run", "--policy", path, *option, "-c", "true", before=before)
                assert r.returncode == 125 and f"comes, under this site's ceiling, to {key} = 99G;" in r.stderr, r
            assert command("policy", "check", path).returncode == 0     # on a larger host it may be right


def test_garbage_is_an_error_and_no_crash():
    """Lines of the real files, cut and mixed; the status is 0 or that of an error, never a signal."""
    rng = random.Random(1)
    lines = [t for t, _ in BAD if isinstance(t, str)]
    for name in ("provisional", "trusted"):
        lines += command("policy", "show", name).stdout.splitlines(keepends=True)
    for _ in range(300):
        text = "".join(rng.choices(lines, k=rng.randrange(1, 25))).encode()
        for _ in range(rng.randrange(4)):
            at = rng.randrange(len(text) + 1)
            text = text[:at] + bytes(rng.choices(range(256), k=rng.randrange(3))) + text[at + rng.randrange(3):]
        status, said = check(text)
        assert 0 <= status < 126, (status, text)
        assert status == 0 or len(said.splitlines()) == 1, (text, said)


def test_the_table_of_limits_is_the_documented_one():
    with open(os.path.join(TOP, "docs/limits.md"), encoding="utf-8") as f:
        text = f.read()
    assert command("policy", "table").stdout in text, "docs/limits.md: put in what 'dolania policy table' prints"


def test_a_user_namespace_is_told():
    """There a site's file may be the caller's own: a tmpfs over /etc/dolania, by somebody who is root in it alone."""
    if subprocess.run(["unshare", "-rm", "true"], capture_output=True, check=False).returncode != 0:
        raise Skip("no user namespaces here")
    with tempfile.TemporaryDirectory() as d:
        def run(*before, policy="trusted"):
            r = subprocess.run([*before, DOLANIA, "run", "--result", f"{d}/r", "--policy", policy, "--kernel", "/dev/null", "-c", "true"],
                               stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
            with open(f"{d}/r", encoding="utf-8") as f:
                return r.stderr, json.load(f)["policy"]["ids_are_mapped"]

        inside = ("unshare", "-rm")
        told, mapped = run(*inside)
        assert mapped is True, told
        doctor = subprocess.run([*inside, DOLANIA, "doctor"], capture_output=True, text=True, check=False).stdout
        assert "identity" in doctor, doctor
        with open("/proc/self/uid_map", encoding="utf-8") as f:
            if f.read().split() == ["0", "0", "4294967295"]:
                assert run()[1] is False

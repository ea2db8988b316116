"""The VMM's own cgroup: the second wall around what the host's kernel spends for a guest."""
import contextlib
import os
import shutil
import signal
import subprocess

import lib
from lib import DOLANIA, SLOWNESS, Skip, private_dev, run, scratch

MOUNT = "/sys/fs/cgroup"
USER = 65534


def needs_room():
    """These tests make cgroups: as root, where the root cgroup is the tests' own."""
    if os.geteuid() != 0:
        raise Skip("needs root")
    with open("/proc/self/cgroup", encoding="ascii") as f:
        if "0::/\n" not in f.read().splitlines(keepends=True):
            raise Skip("the tests are not in the root cgroup")
    if not os.path.exists(f"{MOUNT}/cgroup.subtree_control"):
        raise Skip("no cgroup v2")


def read(*path):
    with open(os.path.join(MOUNT, *path), encoding="ascii") as f:
        return f.read().strip()


def ours(where=""):
    return sorted(n for n in os.listdir(os.path.join(MOUNT, where)) if n.startswith("dolania."))


@contextlib.contextmanager
def cgroup(name, delegated=False):
    path = os.path.join(MOUNT, name)
    os.mkdir(path)
    try:
        if delegated:
            with open(f"{path}/cgroup.subtree_control", "w", encoding="ascii") as f:
                f.write("+memory +pids")
            for file in ("", "cgroup.procs", "cgroup.subtree_control", "cgroup.threads"):
                os.chown(os.path.join(path, file), USER, USER)
        yield path
    finally:
        os.rmdir(path)


def into(path):
    """A prefix for a command that shall run in that cgroup."""
    return ("sh", "-c", f'echo $$ > {path}/cgroup.procs && exec "$@"', "sh")


def test_root_gets_one_with_limits():
    needs_room()
    r = run("-c", "true")
    assert r.reason == "exited", r
    g = r.result["host"]["cgroup"]
    assert g["own"] and g["why_not"] is None and r.result["host"]["missing_layers"] == [], r
    ram = r.result["host"]["ram_bytes"]
    assert ram < g["memory_max_bytes"] < ram + ram // 32 + (80 << 20), g
    assert 0 < g["memory_peak_bytes"] < g["memory_max_bytes"], g
    assert ours() == [], "a cgroup is left"


def test_the_vmm_is_in_it_and_the_caller_is_not():
    needs_room()
    with scratch() as d:
        result = os.path.join(d, "result.json")
        with subprocess.Popen([DOLANIA, "run", "--result", result, "--wall", "120s", "-c", "echo up; sleep 100"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as p:
            try:
                assert p.stdout.readline() == b"up\n"
                with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                    vmm = f.read().split()[0]
                (name,) = ours()
                assert read(name, "cgroup.procs").split() == [vmm]
                assert read(name, "pids.max") == "4"
                assert int(read(name, "memory.max")) > 512 << 20
                assert read(name, "cpu.weight") == "50"
                with open(f"/proc/{p.pid}/cgroup", encoding="ascii") as f:
                    assert f.read() == "0::/\n"
            finally:
                p.terminate()
                p.wait(30 * SLOWNESS)
    assert ours() == []


def test_many_at_once_each_have_their_own():
    needs_room()
    runs = []
    lib.each(lambda _: runs.append(run("-c", "sleep 1")), range(4), jobs=4)
    assert [r.result["host"]["cgroup"]["own"] for r in runs] == [True] * 4
    assert ours() == []


def test_one_that_a_killed_supervisor_left_is_taken_over():
    needs_room()
    with subprocess.Popen([DOLANIA, "run", "-c", "echo up; sleep 100"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE) as p:
        assert p.stdout.readline() == b"up\n"
        p.send_signal(signal.SIGKILL)
    left = ours()
    for _ in range(100 * SLOWNESS):
        if not left or not read(left[0], "cgroup.procs"):
            break
        subprocess.run(["sleep", "0.1"], check=True)
    assert len(left) == 1 and read(left[0], "cgroup.procs") == "", "the VMM outlived its supervisor"
    r = run("-c", "true")
    assert r.result["host"]["cgroup"]["own"], r
    assert ours() == []


def test_more_than_its_limit_is_the_hosts_verdict():
    """Memory that KVM or the VMM takes beyond all that a machine of its size needs: here the limit is lowered."""
    needs_room()
    with scratch() as d:
        path = os.path.join(d, "result.json")
        with subprocess.Popen([DOLANIA, "run", "--result", path, "--memory", "512M", "-c",
                               "echo up; read x; head -c 300000000 /dev/zero | tail >/dev/null"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            assert p.stdout.readline() == b"up\n"
            (name,) = ours()
            with open(os.path.join(MOUNT, name, "memory.max"), "w", encoding="ascii") as f:
                f.write("64M")
            _, err = p.communicate(b"go\n", timeout=60 * SLOWNESS)
        r = lib.read_result(path)
    assert r.reason == "host_oom" and p.returncode == 125, (r, err)
    assert b"its cgroup reached its limit" in err, err
    assert r.result["host"]["discard"]["complete"], r
    assert ours() == []


def as_user(d):
    return (*private_dev(d, kvm=0o666), "setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups")


def user_run(d, *before):
    home = os.path.join(d, "home")
    shutil.rmtree(home, ignore_errors=True)
    os.mkdir(home)
    os.chown(home, USER, USER)
    return run("-c", "true", before=(*before, *as_user(d)), directory=home, env={"HOME": home})


def test_an_ordinary_user_without_delegation_runs_without_and_it_is_said():
    needs_room()
    with scratch() as d, cgroup("dolania-test-plain") as plain:
        os.chmod(d, 0o755)
        r = user_run(d, *into(plain))
    assert r.reason == "exited", r
    host = r.result["host"]
    assert host["missing_layers"] == ["cgroup"] and not host["cgroup"]["own"], r
    assert host["cgroup"]["why_not"], r
    assert ours() == []


def test_an_ordinary_user_with_delegation_has_one():
    needs_room()
    with scratch() as d, cgroup("dolania-test", delegated=True) as top, cgroup("dolania-test/leaf") as leaf:
        os.chmod(d, 0o755)
        r = user_run(d, *into(leaf))
        assert r.reason == "exited" and r.result["host"]["cgroup"]["own"], r
        assert ours("dolania-test") == []
        assert top


def test_a_limit_of_the_callers_cgroup_is_never_left():
    needs_room()
    for file, value in (("memory.max", "900M"), ("pids.max", "50"), ("memory.high", "900M")):
        with cgroup("dolania-test") as top, cgroup("dolania-test/leaf") as leaf:
            with open(f"{top}/cgroup.subtree_control", "w", encoding="ascii") as f:
                f.write("+memory +pids")
            with open(f"{leaf}/{file}", "w", encoding="ascii") as f:
                f.write(value)
            r = run("-c", "true", before=into(leaf))
            assert r.reason == "exited", r
            host = r.result["host"]
            assert not host["cgroup"]["own"] and host["missing_layers"] == [], (file, r)
            assert "limits of its own" in host["cgroup"]["why_not"], (file, r)
            assert ours() == ours("dolania-test") == []


def test_doctor_says_it():
    needs_room()
    r = lib.command("doctor")
    assert "OK       a cgroup of the VMM's own" in r.stdout and "kvm.mmio_caching" in r.stdout, r.stdout
    with scratch() as d, cgroup("dolania-test-plain") as plain:
        os.chmod(d, 0o755)
        r = lib.command("doctor", before=(*into(plain), *as_user(d)))
    assert "NOTE     a cgroup of the VMM's own" in r.stdout, r.stdout
    assert "systemd-run --user --scope -p Delegate=yes" in r.stdout, r.stdout

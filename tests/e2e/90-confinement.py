"""What the VMM process holds while a guest runs, and that no layer can be missing."""
import contextlib
import ctypes
import errno
import os
import signal
import subprocess
import time

from lib import DOLANIA, SLOWNESS, TOP, Skip, hostile, private_dev, read_result, run, scratch


@contextlib.contextmanager
def running_vmm(before=()):
    """A run that sleeps; yields (its Popen, the pid of its VMM once the guest runs)."""
    with scratch() as d:
        result = ["--result", os.path.join(d, "result.json")] if not before else []
        command = [*before, DOLANIA, "run", "--wall", "120s", *result, "-c", "echo up; sleep 100"]
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE) as p:
            try:
                assert p.stdout.readline() == b"up\n"
                with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                    yield p, int(f.read().split()[0])
            finally:
                p.terminate()
                p.wait(30 * SLOWNESS)


def status_of(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        return dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)


def test_vmm_has_no_privilege():
    with running_vmm() as (_, pid):
        s = status_of(pid)
    assert "0" not in s["Uid"].split(), s["Uid"]
    assert "0" not in s["Gid"].split(), s["Gid"]
    assert s["CapEff"] == s["CapPrm"] == s["CapInh"] == s["CapAmb"] == "0" * 16
    assert s["NoNewPrivs"] == "1"
    assert s["Seccomp"] == "2"
    if os.geteuid() == 0:
        assert s["Groups"].strip() == "", "root's supplementary groups stay with the VMM"


def test_vmm_has_namespaces_of_its_own():
    with running_vmm() as (_, pid):
        for name in ("user", "mnt", "pid", "net", "ipc", "uts", "cgroup"):
            assert os.readlink(f"/proc/{pid}/ns/{name}") != os.readlink(f"/proc/self/ns/{name}"), name
        assert status_of(pid)["NSpid"].split()[-1] == "1"


def test_network_namespace_ends_after_the_vmm():
    """Else the end of the VM waits for it, 10 ms and more. The supervisor holds it, of whomever it is."""
    with scratch() as d:
        nobody = (*private_dev(d, kvm=0o666), "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
        for before in ((), nobody) if os.geteuid() == 0 else ((),):
            with running_vmm(before) as (p, pid):
                held = [os.readlink(f"/proc/{p.pid}/fd/{n}") for n in os.listdir(f"/proc/{p.pid}/fd")]
                assert os.readlink(f"/proc/{pid}/ns/net") in held, (before, held)


def test_vmm_root_is_empty_and_read_only():
    with running_vmm() as (_, pid):
        assert os.listdir(f"/proc/{pid}/root") == []
        with open(f"/proc/{pid}/mounts", encoding="ascii") as f:
            mounts = f.read().splitlines()
        assert len(mounts) == 1, mounts
        assert "ro" in mounts[0].split()[3].split(",")


def test_vmm_holds_only_what_it_was_given():
    with running_vmm() as (_, pid):
        held = [os.readlink(f"/proc/{pid}/fd/{n}") for n in os.listdir(f"/proc/{pid}/fd")]
        with open(f"/proc/{pid}/environ", "rb") as f:
            assert f.read() == b""
    assert "/dev/kvm" not in held
    for name in held:
        assert name.startswith(("/dev/null", "pipe:", "anon_inode:kvm-", "/memfd:dolania-")) \
            or name.endswith(".erofs"), name


def limits_of(pid):
    with open(f"/proc/{pid}/limits", encoding="ascii") as f:
        return {line[:25].strip(): line[26:].split()[0] for line in f}


def test_vmm_limits():
    with running_vmm() as (_, pid):
        limits = limits_of(pid)
    assert limits["Max core file size"] == "0"
    assert limits["Max open files"] == "0"


class Registers(ctypes.Structure):
    """struct user_regs_struct of x86-64, as far as it is of interest."""
    _fields_ = [("before", ctypes.c_ulonglong * 10), ("rax", ctypes.c_ulonglong),
                ("rcx_rdx", ctypes.c_ulonglong * 2), ("rsi", ctypes.c_ulonglong),
                ("rdi", ctypes.c_ulonglong), ("orig_rax", ctypes.c_ulonglong), ("rip", ctypes.c_ulonglong),
                ("after", ctypes.c_ulonglong * 10)]


def hijack(pid, change):
    """Stop the VMM in its KVM_RUN, change its registers, let it go on: what an exploit could do."""
    attach, detach, getregs, setregs = 16, 17, 12, 13
    ptrace = ctypes.CDLL(None, use_errno=True).ptrace
    ptrace.argtypes = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p]
    r = Registers()
    ioctl, kvm_run = 16, 0xae80
    while (r.orig_rax, r.rsi) != (ioctl, kvm_run):
        if ptrace(attach, pid, None, None) != 0:
            raise Skip("may not trace the VMM (needs root)")
        os.waitpid(pid, 0)
        assert ptrace(getregs, pid, None, ctypes.addressof(r)) == 0
        if (r.orig_rax, r.rsi) != (ioctl, kvm_run):
            assert ptrace(detach, pid, None, None) == 0
            time.sleep(0.01)
    change(r)
    assert ptrace(setregs, pid, None, ctypes.addressof(r)) == 0
    assert ptrace(detach, pid, None, None) == 0


def fault_after(change):
    with running_vmm() as (p, pid):
        hijack(pid, change)
        _, err = p.communicate(timeout=60 * SLOWNESS)
        assert p.returncode == 121, (p.returncode, err)
        return err


def test_a_crash_of_the_vmm_is_a_fault():
    def jump_to_nowhere(r):
        r.rip = 0
    assert b"SEGV" in fault_after(jump_to_nowhere)


def test_a_forbidden_system_call_kills_the_vmm():
    def getpid(r):
        r.rip -= 2      # back to the syscall instruction of KVM_RUN
        r.rax = 39
    assert b"SYS" in fault_after(getpid)


@hostile
def test_a_killed_vmm_is_discarded_by_the_supervisor():
    with scratch() as d:
        result = os.path.join(d, "r.json")
        with subprocess.Popen([DOLANIA, "run", "--result", result, "-c", "echo up; sleep 100"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            assert p.stdout.readline() == b"up\n"
            with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                os.kill(int(f.read().split()[0]), signal.SIGKILL)
            p.communicate(timeout=60 * SLOWNESS)
        r = read_result(result)
    assert r.reason == "vmm_fault"
    discard = r.result["host"]["discard"]
    assert discard["complete"] is True
    assert discard["by"] == "supervisor"
    assert discard["overwritten_bytes"] >= discard["touched_bytes"] > 1 << 20
    # KVM's copy of the registers is out of reach then, and only then.
    assert any("registers" in text for text in discard["excluded"])
    assert not any("registers" in text for text in run("-c", "true").result["host"]["discard"]["excluded"])


def test_the_vmm_dies_with_its_supervisor():
    with running_vmm() as (p, pid):
        p.kill()
        for _ in range(100 * SLOWNESS):
            if not os.path.exists(f"/proc/{pid}"):
                return
            time.sleep(0.1)
        raise AssertionError("the VMM outlived its supervisor")


def test_no_user_namespaces_is_refused():
    path = "/proc/sys/user/max_user_namespaces"
    if not os.access(path, os.W_OK):
        raise Skip("needs root")
    with open(path, encoding="ascii") as f:
        before = f.read()
    try:
        with open(path, "w", encoding="ascii") as f:
            f.write("0")
        r = run("-c", "echo never")
    finally:
        with open(path, "w", encoding="ascii") as f:
            f.write(before)
    assert r.code == 125 and r.out == b""
    assert r.reason == "host_unsupported"
    assert "namespaces" in r.errtext


def without(call, error, *arguments):
    """A run on a kernel that lacks this system call."""
    launcher = os.path.join(TOP, "tests/e2e/faults/without.py")
    return run(*arguments, "-c", "echo never", before=("/usr/bin/python3", launcher, call, str(error)))


def refused(r, *words):
    assert (r.code, r.reason, r.out, r.errlines) == (125, "host_unsupported", b"", 1), r
    for word in words:
        assert word in r.errtext, (word, r)


def test_no_landlock_is_refused():
    for error in (errno.ENOSYS, errno.EOPNOTSUPP):      # not built in; built in and not enabled
        refused(without("444", error), "Landlock", "lsm=landlock")


def test_no_seccomp_is_refused():
    refused(without("157:22", errno.EINVAL), "seccomp", "CONFIG_SECCOMP_FILTER")


def test_no_empty_root_is_refused():
    """What a host does that allows user namespaces and no privilege in them (AppArmor)."""
    refused(without("165", errno.EACCES), "empty root", "AppArmor", "doctor")
    refused(without("155", errno.EPERM), "the VMM could not be confined: its empty root")
    with scratch() as d:        # --out's is made first, and is told by its own name
        refused(without("165", errno.EACCES, "--out", f"{d}/o"), "--out: the extractor: its empty root", "AppArmor")


def test_no_limits_are_refused():
    refused(without("302", errno.EPERM), "resource limits")
    refused(without("157:4", errno.EPERM), "non-dumpable")
    refused(without("157:38", errno.EINVAL), "NO_NEW_PRIVS")


def test_doctor_sees_what_the_jail_lacks():
    from lib import dolania
    launcher = os.path.join(TOP, "tests/e2e/faults/without.py")
    for call, error, words in (("444", errno.ENOSYS, "Landlock"), ("155", errno.EPERM, "user namespaces")):
        r = dolania("doctor", before=("/usr/bin/python3", launcher, call, str(error)))
        assert r.code == 1, r
        assert any(line.startswith("MISSING") and words in line for line in r.text.splitlines()), r.text
    assert dolania("doctor").code == 0


def test_guest_memory_is_locked_where_it_can_be():
    assert run("-c", "true").result["host"]["discard"]["locked"] is (os.geteuid() == 0)
    few = ("prlimit", "--memlock=8388608:8388608")
    as_user = ("setpriv", "--reuid=1000", "--regid=1000", "--clear-groups") if os.geteuid() == 0 else ()
    with scratch() as d:
        os.chmod(d, 0o777)
        r = run("-c", "true", before=(*few, *as_user), env={"XDG_CACHE_HOME": d}, directory=d)
        assert (r.code, r.result["host"]["discard"]["locked"]) == (0, False), r
        r = run("-c", "true", before=("prlimit", "--memlock=unlimited:unlimited", *as_user),
                env={"XDG_CACHE_HOME": d}, directory=d)
        assert (r.code, r.result["host"]["discard"]["locked"]) == (0, True), r


def test_an_ordinary_user_needs_nothing_but_dev_kvm():
    if os.geteuid() != 0:
        raise Skip("needs root to become somebody else")
    with scratch() as d:
        os.chmod(d, 0o777)
        r = run("-c", "echo out; id -u; exit 3", directory=d, env={"XDG_CACHE_HOME": d},
                before=("setpriv", "--reuid=4321", "--regid=4321", "--clear-groups", "--bounding-set=-all",
                        "--inh-caps=-all", "--no-new-privs"))
        assert (r.code, r.out) == (3, b"out\n1000\n"), r

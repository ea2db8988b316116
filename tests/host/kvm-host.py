"""What tools/kvm-host promises (docs/kvm-host.md).  Each call boots a machine."""
import os
import shutil
import signal
import subprocess
import tempfile
import time

from lib import TOP, slow

KVM_HOST = os.path.join(TOP, "tools/kvm-host")


def host(*args, stdin=b"", **kwargs):
    return subprocess.run([KVM_HOST, "--quiet", *args], input=stdin, capture_output=True,
                          timeout=200, check=False, **kwargs)


def test_kvm_runs_linux_code():
    subprocess.run(["tools/setup/kvm-mode"], cwd=TOP, stdout=subprocess.DEVNULL, check=True)
    r = host("--", "build/setup/kvm-probe", cwd=TOP)
    assert r.returncode == 0, r


def test_streams_are_exact_and_apart():
    data = os.urandom(8 << 20)
    r = host("--", "sh", "-c", "cat; echo oops >&2; exit 42", stdin=data)
    assert r.returncode == 42
    assert r.stdout == data
    assert r.stderr == b"oops\n"


def test_writes_reach_the_checkout_and_nothing_else():
    with tempfile.TemporaryDirectory(dir=os.path.join(TOP, "build")) as d:
        r = host("--", "sh", "-c", "echo in > f; echo out > /etc/kvm-host-test; cat /etc/kvm-host-test", cwd=d)
        assert r.stdout == b"out\n", r
        with open(os.path.join(d, "f"), encoding="utf-8") as f:
            assert f.read() == "in\n"
    assert not os.path.exists("/etc/kvm-host-test")


def test_other_users_reach_a_checkout_below_a_closed_directory():
    with tempfile.TemporaryDirectory() as d:    # mode 0700, as root's home is
        r = subprocess.run(["unshare", "--mount", "sh", "-ec", 'mkdir "$1/c"; mount --bind "$0" "$1/c"; cd "$1/c"\n'
                            "exec tools/kvm-host --quiet -- setpriv --reuid=65534 --clear-groups head -n1 README.md",
                            TOP, d], capture_output=True, timeout=200, check=False)
    assert (r.returncode, r.stderr) == (0, b"") and r.stdout.startswith(b"#"), r


def test_sigterm_is_passed_on_and_the_second_one_kills():
    with subprocess.Popen([KVM_HOST, "--quiet", "--", "sh", "-c",
                           "trap 'echo term' TERM; echo up; while :; do sleep 0.1; done"],
                          stdout=subprocess.PIPE) as p:
        assert p.stdout.readline() == b"up\n"
        time.sleep(0.5)
        p.send_signal(signal.SIGTERM)
        assert p.stdout.readline() == b"term\n"
        p.send_signal(signal.SIGTERM)
        assert p.wait(10) == -signal.SIGTERM


@slow
def test_signal_end_is_passed_on():
    assert host("--", "sh", "-c", "kill -SEGV $$").returncode == -signal.SIGSEGV


@slow
def test_a_panic_is_125_and_says_why():
    r = host("--root", "--", "sh", "-c", "echo c > /proc/sysrq-trigger")
    assert r.returncode == 125
    assert b"Kernel panic" in r.stderr or b"sysrq" in r.stderr.lower(), r


def test_a_host_that_dies_while_it_boots_is_started_again():
    """Seen under load: QEMU's TCG let the emulated host's kernel die early. COMMAND and its stdin lose nothing."""
    with tempfile.TemporaryDirectory() as d:
        qemu = os.path.join(d, "qemu-system-x86_64")
        with open(qemu, "w", encoding="ascii") as f:
            f.write(f"""#!/bin/sh
[ -e {d}/tried ] && exec {shutil.which("qemu-system-x86_64")} "$@"
touch {d}/tried
exec {shutil.which("qemu-system-x86_64")} "$@" -initrd /etc/hostname
""")
        os.chmod(qemu, 0o755)
        r = host("--", "cat", stdin=b"all of it", env={**os.environ, "PATH": f"{d}:{os.environ['PATH']}"})
    assert (r.returncode, r.stdout) == (0, b"all of it"), r
    assert b"Kernel panic" in r.stderr, r


@slow
def test_nothing_stays_when_it_is_killed():
    with subprocess.Popen([KVM_HOST, "--quiet", "--", "sh", "-c", "echo up; sleep 100"],
                          stdout=subprocess.PIPE) as p:
        assert p.stdout.readline() == b"up\n"
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            qemu = int(f.read().split()[0])
        p.kill()
        p.wait()
    for _ in range(50):
        try:
            with open(f"/proc/{qemu}/stat", encoding="ascii") as f:
                if f.read().rpartition(")")[2].split()[0] == "Z":
                    return
        except FileNotFoundError:
            return
        time.sleep(0.1)
    raise AssertionError(f"QEMU {qemu} still runs")


@slow
def test_memory_can_be_dumped_after_and_during():
    with tempfile.TemporaryDirectory(dir=os.path.join(TOP, "build")) as d:
        code = ("import os; s = 'here-' + 'is-what-to-find'; "
                "f = os.open('/dev/virtio-ports/dolania.dump', os.O_RDWR); "
                f"os.write(f, b'{d}/during\\n'); print(os.read(f, 99)); del s")
        r = host("--memory", "512M", "--dump-memory", f"{d}/after", "--", "/usr/bin/python3", "-c", code)
        assert r.stdout == b"b'done\\n'\n", r
        with open(f"{d}/during", "rb") as f:
            assert b"here-is-what-to-find" in f.read()
        assert os.stat(f"{d}/after").st_size == 512 << 20


@slow
def test_icount_has_its_own_clock():
    r = host("--icount", "--", "date", "-u", "+%F")
    assert r.stdout == b"2025-01-01\n", r

"""tools/kvm-host --vendor intel as far as it needs no boot: what it refuses, and its half of the wire.  No VM."""
import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time

from lib import TOP, Skip

KVM_HOST = os.path.join(TOP, "tools/kvm-host")
# Speaks as Bochs does with our agent in it: the debugger's words, the mark, then frames.
FAKE = r'''#!/usr/bin/python3
import os, re, struct, sys, time
with open(sys.argv[sys.argv.index("-f") + 1]) as f:
    wire = os.open(re.search(r"ata1-slave:.*path=([^,]+)", f.read())[1], os.O_RDONLY)
with open(os.environ["FAKE_PID"], "w") as f:
    f.write(f"{os.getpid()} {os.readlink('/proc/self/ns/net')}\n")
def put(data):
    for special in b"\x1b(N<":     # the escape first
        data = data.replace(bytes([special]), bytes([0x1b, special ^ 0x40]))
    raw(data)
def raw(data):
    while data:
        data = data[os.write(1, data):]
SAID = b"(0).[125] [0x00000fa07722] 0010:0000000001007722 (unk. ctxt): hlt ; f4\nNext at t=125\n"
def frame(port, data):
    put(struct.pack("<I", 0xd01a0000 | port))
    raw(SAID)
    put(struct.pack("<I", len(data)) + data[:7])
    raw(SAID)
    put(data[7:])
def take(nr, at, n):
    while struct.unpack_from("<Q", os.pread(wire, 512, 0), 8 * nr)[0] < n:
        time.sleep(0.01)
    return os.pread(wire, n, at)
raw(b"(0) [0x0000fffffff0] f000:fff0 (unk. ctxt)\n\0\0wire\n")
job = take(0, 1 << 20, 4 + struct.unpack("<I", take(0, 1 << 20, 4))[0])[4:].split(b"\0")
frame(1, b"ready\n")
at, out = 0, 0
if b"hang" in job:
    time.sleep(1000)
if b"noise" in job:
    put(b"not a frame at all")
while n := struct.unpack("<I", take(1, (16 << 20), at + 4)[at:])[0]:
    data = take(1, 16 << 20, at + 4 + n)[at + 4:]
    frame(3, data)
    at, out = at + 4 + n, out + n
frame(4, b"oops\n")
frame(1, b"exit %d %d 5\n" % (42 << 8, out))
time.sleep(1000)
'''


@contextlib.contextmanager
def fake_bochs():
    for tool in ("grub-mkrescue", "mkfs.erofs", "dpkg-query"):
        if not shutil.which(tool):
            raise Skip(f"needs {tool} (tools/setup/packages.sh intel)")
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "bochs")
        with open(path, "w", encoding="ascii") as f:
            f.write(FAKE)
        os.chmod(path, 0o755)
        yield {**os.environ, "PATH": f"{d}:{os.environ['PATH']}", "FAKE_PID": f"{d}/pid"}


def host(*args, **kwargs):
    return subprocess.run([KVM_HOST, "--quiet", *args], capture_output=True, timeout=200, check=False, **kwargs)


def test_what_does_not_go_is_said():
    for args, words in ((("--vendor", "arm"), b"must be amd or intel"), (("--vendor=intel", "--icount"), b"--icount"),
                        (("--vendor=intel", "--cpus", "2"), b"--cpus"), (("--vendor=intel", "--memory", "3G"), b"2G")):
        r = host(*args, "--", "true")
        assert r.returncode == 125 and words in r.stderr and r.stderr.startswith(b"kvm-host: "), r


def test_without_bochs_it_says_what_to_install():
    with fake_bochs() as env, tempfile.TemporaryDirectory() as d:
        for tool in ("git", "mkfs.erofs", "dpkg-query"):
            os.symlink(shutil.which(tool), os.path.join(d, tool))
        for tool in ("bash", "cat", "sha256sum", "cut", "dirname", "flock", "mkdir"):
            os.symlink(shutil.which(tool), os.path.join(d, tool))
        assert host("--vendor", "intel", "--", "noise", env=env, stdin=subprocess.DEVNULL).returncode == 125  # it builds
        r = host("--vendor", "intel", "--", "true", env={**env, "PATH": d})
    assert r.returncode == 125 and b"needs 'bochs'; run tools/setup/packages.sh intel" in r.stderr, r


def test_every_byte_passes_the_wire_and_the_status_too():
    data = os.urandom(5 << 20) + b"(0)N<\x1b\x1b" * 1000
    with fake_bochs() as env:
        r = host("--vendor", "intel", "--", "cat", input=data, env=env)
        assert (r.returncode, r.stdout == data, r.stderr) == (42, True, b"oops\n"), r.stderr
        # Debugger's words among the frames are no output: the run fails.
        r = host("--vendor", "intel", "--", "noise", stdin=subprocess.DEVNULL, env=env)
        assert (r.returncode, r.stdout) == (125, b"") and b"no frame: not a fr" in r.stderr, r


def test_nothing_stays_when_it_is_killed():
    with fake_bochs() as env:
        before = set(os.listdir("/tmp")) | set(os.listdir(os.path.join(TOP, "build/kvm-host")))
        with subprocess.Popen([KVM_HOST, "--vendor", "intel", "--quiet", "--", "hang"], env=env) as p:
            while not os.path.exists(env["FAKE_PID"]) or not os.path.getsize(env["FAKE_PID"]):
                assert p.poll() is None
                time.sleep(0.05)
            with open(env["FAKE_PID"], encoding="ascii") as f:
                pid, net = f.read().split()
            assert net != os.readlink("/proc/self/ns/net"), "its display listens where others can connect"
            p.send_signal(signal.SIGKILL)
        for _ in range(100):
            if not os.path.exists(f"/proc/{pid}"):
                break
            time.sleep(0.1)
        assert not os.path.exists(f"/proc/{pid}"), "Bochs still runs"
        left = set(os.listdir("/tmp")) | set(os.listdir(os.path.join(TOP, "build/kvm-host")))
        assert not {x for x in left - before if "bochs" in x or x.startswith(("system", "checkout"))}

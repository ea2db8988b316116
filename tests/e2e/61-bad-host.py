"""Bad hosts: no KVM, no permission, full disks, streams that are closed; one line, the right status, a result where there can be one."""
import os
import shutil
import subprocess
import time

from lib import DOLANIA, SLOWNESS, TOP, Skip, dolania, private_dev, read_result, run, scratch
from refusal import as_nobody, check_bad


def test_no_dev_kvm():
    with scratch() as d:
        r = run("-c", "true", before=private_dev(d, kvm=None))
        check_bad(r, ["/dev/kvm"], reason="host_unsupported")


def test_dev_kvm_without_permission():
    if os.geteuid() != 0:
        raise Skip("needs root, to become another user")
    with scratch() as d:
        r = as_nobody(d, "run", "-c", "true", before=private_dev(d, kvm=0o600))
        check_bad(r, ["/dev/kvm", "ermission"], result=False)


def test_as_an_ordinary_user_with_dev_kvm():
    if os.geteuid() != 0:
        raise Skip("needs root, to become another user")
    with scratch() as d:
        r = as_nobody(d, "run", "-c", "echo hello; exit 7", before=private_dev(d, kvm=0o666))
        assert (r.code, r.out, r.err) == (7, b"hello\n", b"")


def test_dev_kvm_is_no_kvm():
    with scratch() as d:
        r = run("-c", "true", before=private_dev(d, kvm="/dev/null"))
        check_bad(r, ["/dev/kvm"], reason="host_unsupported")


def test_doctor_where_there_is_no_kvm():
    with scratch() as d:
        r = dolania("doctor", before=private_dev(d, kvm=None))
        assert r.code != 0
        assert b"/dev/kvm" in r.out + r.err


def test_doctor_tells_where_kvm_is_emulated():
    """By its place where that is known; who has only what is installed is told what to get."""
    with scratch() as d:
        os.mkdir(f"{d}/bin")
        shutil.copy(DOLANIA, f"{d}/bin/dolania")
        before = private_dev(d, kvm=None)
        p = subprocess.run([*before, f"{d}/bin/dolania", "doctor"], capture_output=True, text=True, check=False)
        assert p.returncode == 1 and "get dolania's source tree: its tools/kvm-host" in p.stdout, p
        os.rmdir(f"{d}/dev")
        r = dolania("doctor", before=before)
        assert r.code == 1 and f"'{TOP}/tools/kvm-host -- COMMAND' runs" in r.text and "source tree" not in r.text, r


def test_doctor_here():
    r = dolania("doctor")
    assert r.code == 0, r
    assert b"KVM" in r.out
    assert b"mke2fs: /" in r.out, r


def test_doctor_without_mke2fs():
    """A note that names the options and the package; runs that do not need it work."""
    hide = 'mkdir {d}/empty; for x in /sbin /usr/sbin; do mount --bind {d}/empty $x; done; exec "$@"'
    if os.geteuid() != 0:
        raise Skip("needs root, to mount")
    with scratch() as d:
        before = ("unshare", "-m", "sh", "-c", hide.replace("{d}", d), "sh")
        r = dolania("doctor", before=before)
        assert r.code == 0 and b"mke2fs: not installed" in r.out and b"--out and --scratch need it: sudo apt install e2fsprogs" in r.out, r
        r = dolania("run", "--scratch", "1M", "-c", "true", before=before)
        assert r.code == 125 and "--scratch needs mke2fs" in r.errtext and "e2fsprogs" in r.errtext, r
        assert dolania("run", "-c", "exit 3", before=before).code == 3


def test_result_directory_missing():
    r = dolania("run", "--result", "/nonexistent/dir/r.json", "-c", "echo out")
    assert r.code == 125
    assert "/nonexistent/dir/r.json" in r.errtext


def test_result_on_a_full_device():
    r = dolania("run", "--result", "/dev/full", "-c", "true")
    assert r.code == 125
    assert "/dev/full" in r.errtext and "space" in r.errtext, r


def test_result_on_a_full_disk():
    if os.geteuid() != 0:
        raise Skip("needs root, to mount")
    with scratch() as d:
        script = f"mount -t tmpfs -o size=16k none {d} && (head -c 1M /dev/zero >{d}/fill 2>/dev/null; exec \"$@\")"
        r = dolania("run", "--result", f"{d}/r.json", "-c", "echo out; exit 3",
                    before=("unshare", "-m", "sh", "-c", script, "sh"))
        assert r.code == 125, r
        assert r.out == b"out\n"
        assert f"{d}/r.json" in r.errtext and "space" in r.errtext, r


def test_result_fd_not_open():
    r = dolania("run", "--result-fd", "99", "-c", "true")
    check_bad(r, ["--result-fd", "99"], result=False)
    r = dolania("run", "--result-fd", "x", "-c", "true")
    check_bad(r, ["--result-fd"], result=False)


def test_stdout_is_full():
    with scratch() as d, open("/dev/full", "wb") as full:
        p = subprocess.run([DOLANIA, "run", "--result", f"{d}/r", "-c", "echo x; sleep 1; echo y"], stdout=full,
                           stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60 * SLOWNESS, check=False)
        r = read_result(f"{d}/r")
        assert p.returncode == 125, p
        assert r.reason == "host_io", r
        assert b"stdout" in p.stderr and b"space" in p.stderr, p.stderr


def test_stdout_closed_by_the_reader():
    """Like any program in a pipe: the script gets SIGPIPE; dolania ends soon and says what happened."""
    with scratch() as d:
        with subprocess.Popen([DOLANIA, "run", "--wall", "100s", "--result", f"{d}/r", "-c", "yes; echo rc $? >&2"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            assert p.stdout.read(4) == b"y\ny\n"
            started = time.monotonic()
            p.stdout.close()
            err = p.stderr.read()
            p.wait(60 * SLOWNESS)
        took = time.monotonic() - started
        r = read_result(f"{d}/r")
        assert took < 10 * SLOWNESS, took
        assert r.result["end"]["reason"] in ("exited", "signaled"), r
        assert b"rc 141" in err, err


def test_stdout_closed_before_the_start():
    with scratch() as d:
        p = subprocess.run(["sh", "-c", f'exec "$0" run --result {d}/r -c "echo x; exit 2" >&-', DOLANIA],
                           stdin=subprocess.DEVNULL, stderr=subprocess.PIPE, timeout=60 * SLOWNESS, check=False)
        assert p.returncode in (2, 125), p
        r = read_result(f"{d}/r")
        assert r.result is not None and r.code is None


def test_stdin_closed_before_the_start():
    p = subprocess.run(["sh", "-c", 'exec "$0" run -c "cat; echo x; exit 2" <&-', DOLANIA],
                       capture_output=True, timeout=60 * SLOWNESS, check=False)
    assert (p.returncode, p.stdout) == (2, b"x\n"), p


def test_program_files_missing():
    """A copy of the command alone, without what belongs to it."""
    with scratch() as d:
        copy = os.path.join(d, "dolania")
        shutil.copy(DOLANIA, copy)
        p = subprocess.run([copy, "run", "-c", "true"], stdin=subprocess.DEVNULL, capture_output=True,
                           timeout=60 * SLOWNESS, check=False)
        assert p.returncode == 125, p
        assert len(p.stderr.splitlines()) == 1 and p.stderr.startswith(b"dolania: "), p


def test_the_probe_needs_no_xsave():
    """A processor without XSAVE has no CR4.OSXSAVE either; here it is hidden."""
    with scratch() as d:
        for hidden in ("0u", "(1u << 26)"):
            subprocess.run(["gcc", "-std=gnu11", f"-DKVM_PROBE_HIDDEN={hidden}", "-o", f"{d}/probe",
                            f"{TOP}/tools/setup/kvm-probe.c"], check=True)
            r = subprocess.run([f"{d}/probe"], capture_output=True, text=True, timeout=60, check=False)
            assert (r.returncode, r.stdout) == (0, "KVM runs what a Linux kernel needs\n"), r

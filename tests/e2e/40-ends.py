"""Every way a run can end, provoked for real; what was written before is kept.

The guest has no say in when it ends: 'late_ns' is how long after the limit (by
the host's clock) the last guest instruction may have run.
"""
import os
import shutil
import signal
import subprocess
import tempfile
import time

import lib
from lib import DOLANIA, SLOWNESS, TOP, each, guest_with, hostile, in_time, read_result, run, slow, wall_s

FIRST = "echo partial; printf 'no newline'; echo oops >&2; "
KEPT = b"partial\nno newline"


def kept(r):
    assert r.out == KEPT, r
    assert r.err.startswith(b"oops\n"), r


def one_line(r, *words):
    """dolania said one line, after what the script wrote, with these words in it."""
    said = [x for x in r.errtext.splitlines() if x.startswith("dolania:")]
    assert len(said) == 1, said
    for word in words:
        assert word in said[0], (word, said[0])


def test_exited():
    r = run("-c", FIRST + "exit 0")
    assert (r.code, r.reason, r.result["end"]["by"]) == (0, "exited", "guest")
    kept(r)
    assert r.err == b"oops\n"


def test_signaled():
    r = run("-c", FIRST + "kill -SEGV $$")
    assert (r.code, r.reason, r.result["end"]["by"]) == (139, "signaled", "guest")
    kept(r)


def wall_limit(code, *options):
    wall = wall_s()
    r = in_time(lambda: run("--wall", f"{wall}s", *options, "-c", FIRST + code))
    assert (r.code, r.reason, r.result["end"]["by"]) == (124, "wall_limit", "host")
    kept(r)
    one_line(r, "--wall", f"{wall}s")
    assert r.took_s < wall + 5 * SLOWNESS
    return r


def test_wall_limit_spinning_in_user_space():
    wall_limit("while :; do :; done")


def test_wall_limit_spinning_in_the_kernel():
    # One read(2) of 128 MiB after another: the guest is in its kernel nearly always.
    wall_limit("exec dd if=/dev/zero of=/dev/null bs=128M")


def test_wall_limit_sleeping():
    wall_limit("sleep 1000")


def cpu_limit(code):
    """The limit's reason, its line, and no more CPU than the limit (and what is not the guest's: set-up, wipe)."""
    cpu = wall_s()
    r = run("--cpu-time", f"{cpu}s", "--wall", f"{20 * cpu}s", "-c", FIRST + code)
    assert (r.code, r.reason, r.result["end"]["by"]) == (124, "cpu_limit", "host")
    kept(r)
    one_line(r, "--cpu-time", f"{cpu}s")
    # The kernel looks at CPU timers at its ticks, which an emulated host gets late.
    assert cpu <= r.result["host"]["vcpu_ns"] / 1e9 < cpu + 0.1 * SLOWNESS * SLOWNESS
    assert r.result["limits"]["cpu_ns"] == cpu * 10**9


def test_cpu_limit_spinning_in_user_space():
    cpu_limit("while :; do :; done")


def test_cpu_limit_of_many_processes():
    cpu_limit("for i in 1 2 3 4 5; do (while :; do :; done) & done; wait")


def test_cpu_limit_does_not_count_sleep():
    cpu = wall_s()
    r = run("--cpu-time", f"{cpu}s", "-c", f"sleep {cpu + 2}; exit 7")
    assert (r.code, r.reason) == (7, "exited"), r


def test_the_callers_own_cpu_limit_is_no_fault():
    """Found in review: its SIGKILL looked like an attack on the VMM."""
    cpu = wall_s()
    r = run("-c", "while :; do :; done", before=("prlimit", f"--cpu={cpu}:{cpu}"))
    assert (r.code, r.reason) == (124, "cpu_limit") and "ulimit -t" in r.errtext, r


def test_a_limit_on_file_sizes_is_told():
    """Found in review: SIGXFSZ killed the supervisor, without a word and without a result."""
    r = run("-c", "true", before=("prlimit", "--fsize=2048000"))
    assert (r.code, r.reason, r.errlines) == (125, "host_oom", 1) and "ulimit -f" in r.errtext, r


def test_wall_limit_writing():
    wall = wall_s()
    r = in_time(lambda: run("--wall", f"{wall}s", "--output", "64K", "-c", "yes partial"))
    assert (r.code, r.reason) == (124, "wall_limit")
    assert r.out == b"partial\n" * 8192


def test_wall_limit_with_a_reader_that_does_not_read():
    wall = wall_s()
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "result")
        with subprocess.Popen([DOLANIA, "run", "--wall", f"{wall}s", "--result", path, "-c", "yes"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            # Nobody reads p.stdout until the result is there, or until it is clear that it
            # waits for us with the guest long gone.
            deadline = time.monotonic() + wall + 5 * SLOWNESS
            while p.poll() is None and time.monotonic() < deadline:
                time.sleep(0.2)
            out, _ = p.communicate(timeout=60 * SLOWNESS)
            assert p.returncode == 124
        assert set(out) <= set(b"y\n")
        assert read_result(path).reason == "wall_limit"


def test_a_cancel_with_a_reader_that_does_not_read():
    """Found in review: one signal ended the VM, and dolania waited for the reader until the next one."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "result")
        with subprocess.Popen([DOLANIA, "run", "--result", path, "-c", "echo up >&2; yes"], stdin=subprocess.DEVNULL,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            assert p.stderr.readline() == b"up\n"
            time.sleep(1)
            p.send_signal(signal.SIGTERM)
            assert p.wait(15 * SLOWNESS) == -signal.SIGTERM
            out = p.stdout.read()
        r = read_result(path)
        assert r.reason == "cancelled" and len(out) == r.result["host"]["streams"]["stdout"]["delivered_bytes"], (len(out), r)


@hostile
def test_a_vmm_that_says_it_ended_and_does_not_is_no_wall_limit():
    """Found in review: the script was told to have been too slow."""
    with tempfile.TemporaryDirectory() as d:
        os.makedirs(f"{d}/bin")
        os.makedirs(f"{d}/libexec/dolania")
        os.symlink(f"{TOP}/build/share", f"{d}/share")
        shutil.copy2(DOLANIA, f"{d}/bin/dolania")
        for name in os.listdir(f"{TOP}/build/libexec/dolania"):
            if name != "dolania-vmm":
                shutil.copy2(f"{TOP}/build/libexec/dolania/{name}", f"{d}/libexec/dolania/")
        subprocess.run(["gcc", "-static", f"-I{TOP}", "-o", f"{d}/libexec/dolania/dolania-vmm",
                        f"{TOP}/tests/e2e/guests/vmm-that-stays.c"], check=True)
        p = subprocess.run([f"{d}/bin/dolania", "run", "--memory", "16M", "--tmp", "1M", "--result", f"{d}/r", "-c", "true"],
                           capture_output=True, timeout=50 * SLOWNESS, check=False)
        r = read_result(f"{d}/r")
        assert (p.returncode, r.reason) == (121, "vmm_fault") and b"did not end" in p.stderr, (p, r)


BOOT_S = 120


def boot_limit(kernel):
    """A guest whose init never comes: the wall limit does not count yet, the limit of the boot does."""
    r = run(*guest_with(kernel=kernel), "--wall", "3s", "-c", "true", timeout=200)
    assert (r.code, r.reason, r.result["end"]["by"]) == (125, "boot_failed", "host"), r
    assert BOOT_S <= r.result["host"]["wall_ns"] / 1e9 < BOOT_S + 5 * SLOWNESS, r
    one_line(r, "did not boot within 2m")
    return r


@slow
def test_boot_limit_of_a_guest_that_ignores_interrupts():
    """A kernel of four instructions that spins with interrupts off; nothing in it cooperates."""
    r = boot_limit("spin")
    assert "overloaded" not in r.errtext, r


@slow
def test_boot_limit_of_a_halted_guest():
    """It gets little of a processor, as on a host that is overloaded, and the message says so."""
    r = boot_limit("halt")
    assert "overloaded" in r.errtext and "of CPU time" in r.errtext, r


@slow
def test_boots_under_load_do_not_count():
    """So many at once that boots take longer than the wall limit; each script still has all of it."""
    runs = []
    each(lambda _: runs.append(run("--memory", "32M", "--tmp", "8M", "--wall", "6s", "-c", "echo here", timeout=120)),
         range(16), jobs=16)
    late = 0
    for r in runs:
        at = r.result["host"]["phases_ns"]
        started, ended = at["started"] or at["ready"] or 0, at["ended"] or 0
        late += r.reason == "exited" and started > 6e9
        # A host that busy may keep even this script from its end for so long, counted from its start.
        assert r.reason == "exited" or (r.reason == "wall_limit" and ended - started >= 6e9), str(r)[:600]
    if lib.EMULATED:
        assert late > 0, "no boot took longer than the wall limit"


def test_guest_oom_shell():
    r = run("--memory", "32M", "-c", FIRST + "x=$(tail /dev/zero); echo not reached")
    assert (r.code, r.reason, r.result["end"]["by"]) == (137, "guest_oom", "guest")
    kept(r)
    one_line(r, "--memory", "32M")


def test_guest_oom_awk():
    r = run("--memory", "32M", "-c", FIRST + "exec awk 'BEGIN { s = \"xxxxxxxxxxxxxxxx\"; while (1) s = s s }'")
    assert (r.code, r.reason) == (137, "guest_oom")
    kept(r)


def test_guest_panic():
    """An init that exits: the kernel panics, the result holds the end of its log."""
    r = run(*guest_with(init="exits"), "-c", "true")
    assert (r.code, r.reason, r.result["end"]["by"]) == (122, "guest_panic", "host")
    assert r.out == b""
    assert "Kernel panic" in str(r.result["end"])
    assert "Attempted to kill init" in str(r.result["end"])
    one_line(r, "panic")


def test_guest_panic_after_output():
    """An init that dies once the script has ended: what the script wrote is kept."""
    r = run(*guest_with(init="panics"), "--wall", "60s", "-c", FIRST + "exit 3")
    assert (r.code, r.reason) == (122, "guest_panic")
    kept(r)
    assert "Kernel panic" in str(r.result["end"])
    one_line(r, "panic")


def test_triple_fault():
    """A kernel of two instructions: no interrupt table, then a breakpoint."""
    r = run(*guest_with(kernel="triple"), "-c", "true")
    assert (r.code, r.reason, r.result["end"]["by"]) == (122, "guest_panic", "host")
    one_line(r, "triple fault")


def cancel(sig, code, wait_for=None, delay=0.0):
    """Sends the signal once the script has written `wait_for`; returns (status, out, err, result, took)."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "result")
        with subprocess.Popen([DOLANIA, "run", "--wall", "100s", "--result", path, "-c", code],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            out = p.stdout.read(len(wait_for)) if wait_for else b""
            time.sleep(delay)
            sent = time.monotonic()
            p.send_signal(sig)
            rest, err = p.communicate(timeout=30 * SLOWNESS)
            took = time.monotonic() - sent
        return p.returncode, out + rest, err, read_result(path), took


def check_cancel(sig, code):
    status, out, err, r, took = cancel(sig, FIRST + code, wait_for=KEPT, delay=0.5)
    assert status == -sig, (status, err)
    assert out == KEPT, out
    assert err.startswith(b"oops\n"), err
    assert r.reason == "cancelled" and r.result["end"]["by"] == "host"
    assert took < 3 * SLOWNESS, took
    r.err = err
    one_line(r, signal.Signals(sig).name)


def test_cancel_sigint():
    check_cancel(signal.SIGINT, "sleep 1000")


def test_cancel_sigterm():
    check_cancel(signal.SIGTERM, "while :; do :; done")


def test_cancel_before_the_script_runs():
    said = 0
    for delay in (0.0, 0.05, 0.3, 1.0):
        status, out, err, r, _ = cancel(signal.SIGTERM, "sleep 1000", delay=delay)
        assert status == -signal.SIGTERM, (delay, status, err)
        assert out == b""
        if r.result is not None:
            assert r.reason == "cancelled"
            said += 1
        else:  # so early that dolania had not begun: nothing was said either
            assert err == b"", (delay, err)
    assert said > 0


@hostile
def test_vmm_killed():
    """SIGKILL of the VMM from outside is an end like any other: a result, nothing left."""
    with tempfile.TemporaryDirectory() as d:
        path = os.path.join(d, "result")
        with subprocess.Popen([DOLANIA, "run", "--result", path, "-c", FIRST + "sleep 1000"],
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
            out = p.stdout.read(len(KEPT))
            with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
                vmm = [int(x) for x in f.read().split()]
            assert len(vmm) == 1, vmm
            os.kill(vmm[0], signal.SIGKILL)
            rest, err = p.communicate(timeout=30 * SLOWNESS)
        r = read_result(path)
        assert out + rest == KEPT
        assert p.returncode == 121, (p.returncode, err)
        assert (r.reason, r.result["end"]["by"]) == ("vmm_fault", "host"), r
        assert b"dolania:" in err


def test_supervisor_killed():
    """SIGKILL of dolania takes the VM with it."""
    with subprocess.Popen([DOLANIA, "run", "-c", "echo up; sleep 1000"], stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        assert p.stdout.read(3) == b"up\n"
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            vmm = [int(x) for x in f.read().split()]
        assert vmm
        p.kill()
        p.communicate(timeout=30 * SLOWNESS)
        deadline = time.monotonic() + 5 * SLOWNESS
        while time.monotonic() < deadline and any(alive(v) for v in vmm):
            time.sleep(0.1)
        assert not any(alive(v) for v in vmm)


def alive(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return f.read().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False

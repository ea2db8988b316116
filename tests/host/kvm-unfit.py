"""A KVM that opens but cannot boot an ordinary Linux: said in one line, not found out by a hang.

Only where this machine's own KVM is like that (software virtualization without VMX or SVM).
"""
import os
import subprocess

from lib import DOLANIA, TOP, Skip, needs, run


def unfit_or_skip():
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        raise Skip("no /dev/kvm to open here")
    env = {**os.environ, "DOLANIA_KVM": "auto"}
    mode = subprocess.run(["tools/setup/kvm-mode"], cwd=TOP, env=env, capture_output=True, text=True, check=True)
    if mode.stdout.startswith("native"):
        raise Skip("this machine's KVM boots Linux")


@needs("build/bin/dolania")
def test_run_says_that_this_kvm_cannot_boot_linux():
    unfit_or_skip()
    r = run("-c", "echo no", timeout=20)
    assert r.code == 125, r
    assert r.out == b""
    lines = r.errtext.splitlines()
    assert len(lines) == 1 and lines[0].startswith("dolania: ") and "KVM" in lines[0], lines
    assert (r.reason, r.result["end"]["by"]) == ("host_unsupported", "host")


@needs("build/bin/dolania")
def test_a_short_wall_limit_does_not_hide_it():
    """Also where the limit strikes before the run would have begun to doubt."""
    unfit_or_skip()
    for wall in ("1s", "2s"):
        r = run("--wall", wall, "-c", "echo no", timeout=20)
        assert (r.code, r.reason, r.errlines) == (125, "host_unsupported", 1) and "KVM" in r.errtext, r
        assert "--wall" not in r.errtext, r


@needs("build/bin/dolania")
def test_doctor_says_that_this_kvm_cannot_boot_linux():
    unfit_or_skip()
    r = subprocess.run([DOLANIA, "doctor"], capture_output=True, text=True, timeout=20, check=False)
    assert r.returncode != 0
    assert "KVM" in r.stdout + r.stderr

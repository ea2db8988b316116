"""A VM host that stands still does not stand still the whole suite (tests/e2e/watch.py)."""
import os
import signal
import subprocess
import tempfile

import watch
from lib import TOP


def test_a_host_that_stands_still_is_ended_and_told():
    with tempfile.TemporaryDirectory() as d, \
            subprocess.Popen([f"{TOP}/tools/kvm-host", "--quiet", "--", "sh", "-c", "echo up; sleep 1000"],
                             stdout=subprocess.PIPE) as p:
        assert p.stdout.readline() == b"up\n"
        with open(f"/proc/{p.pid}/task/{p.pid}/children", encoding="ascii") as f:
            qemu = int(f.read().split()[0])
        os.kill(qemu, signal.SIGSTOP)
        now = watch.Now(f"{d}/now")
        now.begin("e2e/first.test", 10000)
        assert now.outlived() is None
        now.begin("e2e/of.it", 2 - watch.SLACK_S)
        assert watch.wait_for(p, now) == (None, "e2e/of.it")
        assert p.returncode == -signal.SIGTERM and not os.path.exists(f"/proc/{qemu}")


def test_a_host_that_ends_is_waited_for():
    with tempfile.TemporaryDirectory() as d, subprocess.Popen(["sh", "-c", "exit 3"]) as p:
        assert watch.wait_for(p, watch.Now(f"{d}/now")) == (3, None)

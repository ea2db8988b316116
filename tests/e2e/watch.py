"""A VM host that stands still is ended and told, whatever it runs: the suite goes on without it.

The tests inside tell what runs, and how long it may, through a file (Now); the
process outside that started the host looks at it (outlived).
"""
import ctypes
import os
import signal
import subprocess
import time

SLACK_S = 60    # to end a test, take it down and begin the next


class Now:
    """The file: the limit in seconds, a space, the test's name."""

    def __init__(self, path):
        self.path = path
        self.text, self.since = None, 0     # what it said last, and since when; our own clock's

    def begin(self, name, limit_s):
        with open(self.path + ".new", "w", encoding="utf-8") as f:
            f.write(f"{limit_s} {name}")
        os.rename(self.path + ".new", self.path)

    def outlived(self):
        """The name of a test that should have been ended long ago, or None."""
        try:
            with open(self.path, encoding="utf-8") as f:
                text = f.read()
        except FileNotFoundError:
            return None     # the host still starts; tools/kvm-host looks after that
        if text != self.text:
            self.text, self.since = text, time.monotonic()
        limit_s, name = text.split(" ", 1)
        return name if time.monotonic() > self.since + float(limit_s) + SLACK_S else None


def end_with_parent():
    """preexec_fn of a host that is not to outlive who started it."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)  # PR_SET_PDEATHSIG


def end_host(process, patience_s=10):
    """Ends tools/kvm-host: its COMMAND, else the machine, else itself."""
    for how in (signal.SIGTERM, signal.SIGTERM, signal.SIGKILL):
        process.send_signal(how)
        try:
            process.wait(patience_s)
            return
        except subprocess.TimeoutExpired:
            pass
    process.wait()


def wait_for(process, now):
    """Its status; or None and the name of the test in which it stood still, and it is gone."""
    while (name := now.outlived()) is None:
        try:
            return process.wait(2), None
        except subprocess.TimeoutExpired:
            pass
    end_host(process)
    return None, name

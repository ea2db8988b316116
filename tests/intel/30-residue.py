"""What guests held is searched for in the memory of the whole host, from outside, at the end (outside.py).

The marks are put together where they are needed, so that no text of ours has them.
"""
import subprocess
import sys

from lib import run

FILL = 'a=resi; b=due; yes "$a-mark-$b" | head -c 4000000 >/tmp/f; x=$(head -c 100000 /tmp/f); '


def test_a_guest_that_exits_is_full_of_marks():
    r = run("--tmp", "8M", "-c", FILL + 'echo ${#x}')
    assert (r.code, r.out) == (0, b"99999\n") or r.out.strip().isdigit() and int(r.out) > 90000, r


def test_a_guest_that_is_ended_is_full_of_marks():
    r = run("--tmp", "8M", "--wall", "3s", "-c", FILL + "while :; do :; done")
    assert r.reason == "wall_limit", r


def test_a_process_of_the_host_holds_the_control():
    """It outlives the suite: what is searched for would be found."""
    code = "import time; x = 'cont-' + 'mark-rol'; print(len(x), flush=True); time.sleep(9999)"
    with open("/dev/null", "rb") as null:
        p = subprocess.Popen([sys.executable, "-c", code], stdin=null, stdout=subprocess.PIPE)
    assert p.stdout.readline() == b"13\n"

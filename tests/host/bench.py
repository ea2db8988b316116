"""What a run costs is counted, and is not dearer than its budget."""
import subprocess

from lib import TOP, long


@long
def test_within_the_budget():
    done = subprocess.run(["tests/bench/check"], cwd=TOP, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout

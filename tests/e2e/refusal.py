"""How a refusal looks: dolania's one line on stderr, the status, the result; for the tests of bad input and bad hosts."""
import os
import subprocess

from lib import DOLANIA, SLOWNESS, Run, run


def bad(*args, words=(), status=125, reason=None, result=True, **kwargs):
    """Calls it; the one line on stderr has the words in it."""
    r = run(*args, **kwargs)
    check_bad(r, words, status, reason, result)
    return r


def check_bad(r, words=(), status=125, reason=None, result=True):
    assert r.code == status, r
    assert r.out == b"", r
    lines = r.errtext.splitlines()
    assert len(lines) == 1 and lines[0].startswith("dolania: "), r
    assert len(lines[0]) > len("dolania: ") + 10, r
    for word in words:
        assert word in lines[0], (word, lines[0])
    if result:
        assert r.result is not None, r
        assert r.result["end"]["by"] == "host", r
        if reason:
            assert r.reason == reason, r


def as_nobody(d, *args, before=()):
    """Calls dolania as uid 65534."""
    os.chmod(d, 0o755)
    p = subprocess.run([*before, "setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", DOLANIA, *args],
                       stdin=subprocess.DEVNULL, capture_output=True, timeout=60 * SLOWNESS, check=False)
    return Run(args, p.returncode, p.stdout, p.stderr, None, 0)

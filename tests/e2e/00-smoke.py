"""The first things that must hold."""
from lib import dolania, run


def test_version():
    r = dolania("version")
    assert r.code == 0 and b"dolania" in r.out


def test_hello():
    r = run("-c", "echo hello; echo oops >&2; exit 7")
    assert r.code == 7
    assert r.out == b"hello\n"
    assert b"oops\n" in r.err
    assert r.reason == "exited"
    assert r.result["end"]["by"] == "guest"


def test_stdin_is_passed_on():
    r = run("-c", "cat", stdin=b"one\x00two\n" * 1000)
    assert r.code == 0
    assert r.out == b"one\x00two\n" * 1000

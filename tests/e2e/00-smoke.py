"""The first things that must hold."""
import os
import subprocess

from lib import TOP, dolania, run


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


def test_the_demo_is_short_and_says_how_it_ended():
    with subprocess.Popen([os.path.join(TOP, "docs/examples/demo.sh")], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True) as p:
        out, err = p.communicate(timeout=60)
    lines = out.splitlines()
    assert p.returncode == 0 and err == "this goes to stderr\n" and len(lines) < 20, (out, err)
    assert "network interfaces: none" in lines and any(x.startswith('end            {"reason": "exited"') for x in lines), out
    assert any(x.startswith("overwritten ") and x.endswith("complete: true") for x in lines), out

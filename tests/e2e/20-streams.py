"""stdin, stdout and stderr: every byte, in order, and no other."""
import hashlib
import os
import subprocess
import threading
import time

from lib import DOLANIA, SLOWNESS, run, scratch, slow

MIB = 1 << 20


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def random_stdout(size):
    r = run("--output", "100M", "--wall", "600s", "-c",
            f"exec 3>&1; head -c {size} /dev/urandom | tee /proc/self/fd/3 | sha256sum >&2", timeout=200)
    assert r.code == 0
    assert len(r.out) == size
    assert sha256(r.out) in r.errtext


def random_stdin(size):
    data = os.urandom(size)
    r = run("--wall", "600s", "-c", "sha256sum", stdin=data, timeout=200)
    assert r.code == 0
    assert r.text.split()[0] == sha256(data)


def test_stdout_8_mib_random():
    random_stdout(8 * MIB)


def test_stdin_8_mib_random():
    random_stdin(8 * MIB)


def test_stdin_to_stdout_64_mib_random():
    """Both ways at once, 64 MiB each, without hashing in the guest."""
    data = os.urandom(64 * MIB)
    r = run("--output", "100M", "--wall", "600s", "-c", "cat", stdin=data, timeout=200)
    assert r.code == 0
    assert len(r.out) == len(data)
    assert sha256(r.out) == sha256(data)
    assert r.err == b""


@slow
def test_stdout_64_mib_random():
    random_stdout(64 * MIB)


@slow
def test_stdin_64_mib_random():
    random_stdin(64 * MIB)


def test_interleaved_kept_apart():
    r = run("-c", "i=0; while [ $i -lt 2000 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done")
    assert r.code == 0
    assert r.out == b"".join(b"out %d\n" % i for i in range(2000))
    assert r.err == b"".join(b"err %d\n" % i for i in range(2000))


def test_no_newline():
    r = run("-c", "printf end; printf fin >&2")
    assert (r.code, r.out, r.err) == (0, b"end", b"fin")


def test_nuls_and_all_bytes():
    every = bytes(range(256)) * 16 + b"\0" * 10000
    r = run("-c", "cat; head -c 5000 /dev/zero >&2", stdin=every)
    assert r.code == 0
    assert r.out == every
    assert r.err == b"\0" * 5000


def test_no_output_at_all():
    r = run("-c", ":")
    assert (r.code, r.out, r.err) == (0, b"", b"")


def test_output_after_stdin_was_closed():
    r = run("-c", "exec <&-; echo one; sleep 1; echo two; exit 6", stdin=b"x" * MIB)
    assert (r.code, r.out) == (6, b"one\ntwo\n")


def test_stdin_not_read():
    r = run("-c", "echo done", stdin=b"x" * (4 * MIB))
    assert (r.code, r.out) == (0, b"done\n")


def test_stdin_read_in_part():
    r = run("-c", "head -c 3; exec <&-; echo", stdin=b"abcdef" * MIB)
    assert (r.code, r.out) == (0, b"abc\n")


def test_stdin_ends():
    r = run("-c", "cat; echo end of file", stdin=b"")
    assert (r.code, r.out) == (0, b"end of file\n")


def test_stdin_from_a_file():
    with scratch() as d:
        path = os.path.join(d, "in")
        data = os.urandom(300000)
        with open(path, "wb") as f:
            f.write(data)
        with open(path, "rb") as f:
            done = subprocess.run([DOLANIA, "run", "-c", "cat"], stdin=f, capture_output=True, timeout=60 * SLOWNESS,
                                  check=False)
        assert done.returncode == 0 and done.stdout == data


def test_stdin_comes_slowly():
    """Each line is answered before the next is sent: nothing waits for a full buffer."""
    with subprocess.Popen([DOLANIA, "run", "-c", "while read -r x; do echo \"got $x\"; done; echo bye"],
                          stdin=subprocess.PIPE, stdout=subprocess.PIPE) as p:
        for i in range(5):
            p.stdin.write(b"%d\n" % i)
            p.stdin.flush()
            assert p.stdout.readline() == b"got %d\n" % i
            time.sleep(0.1)
        p.stdin.close()
        assert p.stdout.read() == b"bye\n"
        assert p.wait(60 * SLOWNESS) == 0


def test_slow_reader():
    """A reader that takes its time loses nothing; the script waits for it."""
    with subprocess.Popen([DOLANIA, "run", "-c", "yes 0123456789abcde | head -c 2000000; echo end >&2"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as p:
        time.sleep(4)
        got = []
        reader = threading.Thread(target=lambda: got.append(p.stderr.read()))
        reader.start()
        out = b""
        while True:
            part = p.stdout.read(50000)
            if not part:
                break
            out += part
            time.sleep(0.02)
        reader.join()
        assert p.wait(60 * SLOWNESS) == 0
        assert out == (b"0123456789abcde\n" * 125000)
        assert got == [b"end\n"]


def test_background_processes_left_behind():
    started = time.monotonic()
    r = run("--wall", "200s", "-c",
            "sleep 1000 & (while :; do sleep 1; done) & (trap '' TERM HUP; sleep 1000) & "
            "(setsid sleep 1000 >/dev/null 2>&1 </dev/null &) ; echo ready; exit 3")
    assert (r.code, r.out) == (3, b"ready\n")
    assert r.reason == "exited"
    assert time.monotonic() - started < 30 * SLOWNESS


def test_background_output_before_the_end_is_kept():
    r = run("-c", "(echo from behind; echo err >&2) & wait; echo last")
    assert (r.code, r.out, r.err) == (0, b"from behind\nlast\n", b"err\n")


def test_output_limit_cuts_and_tells():
    r = run("--output", "10K", "-c", "yes 0123456 | head -c 100000; echo done >&2; exit 2")
    assert r.code == 2, "the script is not ended for it"
    assert r.out == (b"0123456\n" * 1280)
    assert b"done\n" in r.err
    note = r.err.replace(b"done\n", b"").decode()
    assert "--output" in note and note.startswith("dolania:"), note


def test_stdout_and_stderr_closed_by_the_script():
    r = run("-c", "echo first; exec >&- 2>&-; echo lost; exit 8")
    assert (r.code, r.out, r.err) == (8, b"first\n", b"")


def test_reopened_streams():
    r = run("-c", "echo a >/dev/stdout; echo b >>/proc/self/fd/1; echo c >/dev/stderr")
    assert (r.code, r.out, r.err) == (0, b"a\nb\n", b"c\n")


TURNS = "for i in 1 2 3 4 5 6 7 8 9; do echo o$i; echo e$i >&2; done"
IN_TURN = b"".join(b"o%d\ne%d\n" % (i, i) for i in range(1, 10))


def joined(script, how, *options):
    """Runs it by a shell with its redirections `how`."""
    return run(*options, "-c", script, before=("sh", "-c", f'exec "$@" {how}', "sh"))


def test_one_open_file_for_both_keeps_the_order():
    """A file, a pipe, a file that is appended to; and the run's own line after it."""
    with scratch() as d:
        f = os.path.join(d, "f")
        for how in (f">{f} 2>&1", f">>{f} 2>&1", f"2>{f} >&2"):
            r = joined(TURNS, how)
            with open(f, "rb") as file:
                assert file.read() == IN_TURN, (how, r)
            os.unlink(f)
            assert r.result["host"]["streams"]["joined"] is True, r
        r = joined(TURNS + "; printf x; exit 7", "2>&1")
        assert (r.code, r.out, r.err) == (7, IN_TURN + b"x", b""), r
        streams = r.result["host"]["streams"]
        assert (streams["stdout"]["bytes"], streams["stderr"]["bytes"]) == (len(IN_TURN) + 1, 0), r
        r = joined("printf x; sleep 100", "2>&1", "--wall", "1s")
        assert r.code == 124 and r.out.startswith(b"x\ndolania: "), r


def test_two_files_stay_two():
    with scratch() as d:
        r = joined(TURNS, f">{d}/a 2>{d}/b")
        for name, mark in (("a", b"o"), ("b", b"e")):
            with open(os.path.join(d, name), "rb") as file:
                assert file.read() == b"".join(b"%c%d\n" % (mark[0], i) for i in range(1, 10)), r
        assert r.result["host"]["streams"]["joined"] is False, r


def test_the_limit_of_output_is_one_for_both_that_are_one():
    r = joined("head -c 3000 /dev/zero; head -c 3000 /dev/zero >&2", "2>&1", "--output", "4096")
    assert r.out.startswith(bytes(4096)) and r.out.count(b"\0") == 4096, r
    assert r.result["host"]["streams"]["stdout"]["bytes"] == 6000, r


def test_a_joined_reader_that_leaves_is_sigpipe_for_both():
    r = joined("while echo x >&2; do :; done", "2>&1 | head -c 1")
    assert r.result["end"]["reason"] == "signaled" and r.result["end"]["code"] == 13, r

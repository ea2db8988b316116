"""Bad input: one line that names the thing and says what to do, the right status, a result where there can be one."""
import os
import subprocess

from lib import DOLANIA, SHARE, SLOWNESS, dolania, needs, read_result, run, scratch, write_file
from refusal import as_nobody, bad, check_bad


def test_no_such_script():
    bad("/nonexistent/job.sh", words=["/nonexistent/job.sh"], reason="usage")


def test_script_is_a_directory():
    bad("/usr", words=["/usr", "directory"], reason="usage")


def test_script_is_a_device():
    bad("/dev/zero", words=["/dev/zero"], reason="usage")


def test_script_through_a_pipe_is_no_error():
    """What the shell's <(...) gives."""
    p = subprocess.run(["bash", "-c", '"$0" run <(echo "echo piped; exit 3")', DOLANIA], stdin=subprocess.DEVNULL,
                       capture_output=True, timeout=60 * SLOWNESS, check=False)
    assert (p.returncode, p.stdout, p.stderr) == (3, b"piped\n", b"")


def test_script_unreadable():
    with scratch() as d:
        path = write_file(d, "job.sh", "true\n", mode=0)
        if os.geteuid() != 0:
            bad(path, words=[path, "ermission"], reason="usage")
            return
        r = as_nobody(d, "run", path)
        check_bad(r, [path, "ermission"], result=False)


def test_script_over_the_size_limit():
    with scratch() as d:
        path = os.path.join(d, "big.sh")
        with open(path, "wb") as f:
            f.write(b"#!/bin/sh\n")
            f.truncate((16 << 20) + 1)
        bad(path, words=[path, "16"], reason="usage")


def test_script_from_stdin_over_the_size_limit():
    bad("-", stdin=b"#" * ((16 << 20) + 1), words=["16"], reason="usage")


def test_empty_script_is_no_error():
    with scratch() as d:
        r = run(write_file(d, "job.sh", ""))
        assert (r.code, r.out, r.reason) == (0, b"", "exited")


def test_nothing_to_run():
    bad(words=["FILE"], reason="usage")
    bad("--exec", "--", words=["--exec"], reason="usage")
    bad("-c", words=["-c"], reason="usage")


def test_unknown_option():
    bad("--frobnicate", "x.sh", words=["--frobnicate"], reason="usage")


def test_unknown_command():
    r = dolania("frobnicate")
    check_bad(r, ["frobnicate"], result=False)
    r = dolania()
    assert r.code == 125 and b"run" in r.err


def test_bad_values():
    for args, word in ((("--wall", "soon"), "--wall"), (("--wall", "-1s"), "--wall"), (("--wall", "0"), "--wall"),
                       (("--memory", "much"), "--memory"), (("--memory", "-5M"), "--memory"),
                       (("--memory", "99999999999999999999G"), "--memory"), (("--memory", ""), "--memory"),
                       (("--output", "x"), "--output"), (("--exit-code", "perhaps"), "--exit-code"),
                       (("--env", "NOEQUALS"), "--env"), (("--env", "=x"), "--env"),
                       (("--in", "/nonexistent"), "/nonexistent"), (("--in", "/dev/null"), "/dev/null"),
                       (("--chdir", "relative"), "relative"), (("--in", "/etc/apt:relative"), "relative")):
        bad(*args, "-c", "true", words=[word], reason="usage")


def test_memory_too_small():
    bad("--memory", "1M", "-c", "true", words=["--memory", "1M"], reason="usage")


def test_memory_too_large():
    r = run("--memory", "10T", "-c", "true")
    check_bad(r, ["--memory", "10T"])
    assert r.reason in ("usage", "host_oom")


def test_unknown_runtime():
    bad("--runtime", "cobol", "-c", "true", words=["cobol"], reason="usage")
    bad("--runtime", "/nonexistent/x.erofs", "-c", "true", words=["/nonexistent/x.erofs"], reason="usage")


def test_image_empty():
    with scratch() as d:
        path = write_file(d, "empty.erofs", "")
        bad("--runtime", path, "-c", "true", words=[path])


def test_image_is_a_directory():
    with scratch() as d:
        bad("--runtime", d + "/", "-c", "true", words=[d])


def test_image_truncated():
    """Cut in its data: EROFS checks no sizes, so this one is found out at boot, at the latest by the script."""
    with scratch() as d:
        for size in (100, 4096, 65536):
            path = os.path.join(d, f"cut{size}.erofs")
            with open(os.path.join(SHARE, "images/base.erofs"), "rb") as f:
                write_bytes(path, f.read(size))
            r = run("--runtime", path, "--wall", "20s", "-c", "true")
            assert r.code == 125, r
            assert path in r.errtext and r.errlines == 1, r
            assert r.reason in ("usage", "boot_failed"), r


def test_image_that_is_none():
    with scratch() as d:
        path = os.path.join(d, "noise.erofs")
        write_bytes(path, os.urandom(1 << 20))
        r = run("--runtime", path, "--wall", "20s", "-c", "true")
        check_bad(r, [path])


def write_bytes(path, data):
    with open(path, "wb") as f:
        f.write(data)


def test_kernel_not_an_elf():
    with scratch() as d:
        path = write_file(d, "vmlinux", "#!/bin/sh\n" + "x" * 10000)
        bad("--kernel", path, "-c", "true", words=["vmlinux", "ELF"], reason="boot_failed")


def test_kernel_empty():
    with scratch() as d:
        path = write_file(d, "vmlinux", "")
        bad("--kernel", path, "-c", "true", words=["vmlinux"], reason="boot_failed")


def test_kernel_truncated():
    with scratch() as d:
        with open(os.path.join(SHARE, "vmlinux"), "rb") as f:
            data = f.read()
        for size in (20, 64, 200, 4096, len(data) // 2):
            path = os.path.join(d, "vmlinux")
            write_bytes(path, data[:size])
            bad("--kernel", path, "-c", "true", words=["vmlinux"], reason="boot_failed")


def test_kernel_missing():
    bad("--kernel", "/nonexistent/vmlinux", "-c", "true", words=["/nonexistent/vmlinux"])


@needs("build/share/dolania/images/python.erofs")
def test_in_names_the_file_that_cannot_be_read():
    if os.geteuid() == 0:
        before = ("setpriv", "--reuid=4321", "--regid=4321", "--clear-groups")
    else:
        before = ()
    with scratch() as d:
        os.chmod(d, 0o777)
        os.mkdir(os.path.join(d, "in"))
        secret = write_file(os.path.join(d, "in"), "secret", "x", mode=0)
        r = run("--in", os.path.join(d, "in"), "-c", "true", before=before, directory=d, env={"XDG_CACHE_HOME": d})
        assert (r.code, r.reason, r.errlines) == (125, "usage", 1), r
        assert f"{secret}: Permission denied" in r.errtext


@needs("build/share/dolania/images/python.erofs")
def test_windows_line_ends_are_told_also_with_env():
    with scratch() as d:
        r = run(write_file(d, "w.py", "#!/usr/bin/env python3\r\nprint(1)\r\n"))
        assert (r.code, r.errlines) == (127, 1), r
        assert "carriage return" in r.errtext and "carriage return" in r.result["end"]["notes"][0]


def test_in_must_not_hide_the_script():
    with scratch() as d:
        r = run("--in", f"{d}:/work", write_file(d, "job.sh", "true\n"))
        assert (r.code, r.reason, r.errlines) == (125, "usage", 1), r
        assert "hides" in r.errtext


def test_result_dash_is_refused():
    r = dolania("run", "--result", "-", "-c", "true")
    assert r.code == 125 and "--result-fd 1" in r.errtext and r.errlines == 1, r
    assert not os.path.exists("-")


def test_pipes_in_place_of_files_are_refused_at_once():
    """Found in review: open(2) waited for a writer, deaf to signals."""
    with scratch() as d:
        path = os.path.join(d, "fifo")
        os.mkfifo(path)
        for option in ("--kernel", "--initrd", "--runtime"):
            r = run(option, path, "-c", "true", timeout=10)
            assert r.code == 125 and r.errlines == 1 and "regular file" in r.errtext, r


def test_an_initrd_that_is_none():
    """Found by a user: the guest's kernel panicked of it."""
    with scratch() as d:
        for n, text in enumerate((b"", b"#!/bin/sh\n", b"\x1f\x8b" + bytes(100))):
            r = run("--initrd", write_file(d, f"i{n}", text), "-c", "true")
            assert (r.code, r.errlines) == (125, 1) and r.reason in ("usage", "boot_failed") and f"{d}/i{n}" in r.errtext, r


def test_no_file_is_overwritten_but_an_earlier_result():
    """Found by a user: 'dolania run --result s.sh', with the script forgotten, and the script was gone."""
    with scratch() as d:
        script = write_file(d, "s.sh", "#!/bin/sh\nexit 3\n")
        for args in (("--result", script), ("--meta", script), ("--result", script, script), ("--meta", script, script)):
            r = dolania("run", *args)
            assert (r.code, r.errlines) == (125, 1) and "is there already" in r.errtext, r
            with open(script, encoding="ascii") as f:
                assert f.read() == "#!/bin/sh\nexit 3\n"
        for first, second in (("--result", "--meta"), ("--result", "--events"), ("--meta", "--events")):
            r = dolania("run", first, f"{d}/both{first}{second}", second, f"{d}/both{first}{second}", "-c", "true")
            assert (r.code, r.errlines) == (125, 1) and f"{second} {d}/both" in r.errtext, r
        for status in (0, 4):       # what a run wrote, the next one may
            r = dolania("run", "--result", f"{d}/r", "--meta", f"{d}/m", "-c", f"exit {status}")
            assert r.code == status and r.err == b"", r
        r = dolania("run", "--result", f"{d}/r", "--meta", f"{d}/m", "--frobnicate")
        assert r.code == 125 and read_result(f"{d}/r").reason == "usage", r
        r = dolania("run", "--result", f"{d}/r", "--meta", f"{d}/m", "-c", "true")
        assert r.code == 0 and read_result(f"{d}/r").reason == "exited", r


def test_a_wrong_option_before_result_is_in_the_result():
    """Found in review: an unknown option's value was taken for the script, and --result for its argument."""
    with scratch() as d:
        for n, args in enumerate((("--frobnicate", "x"), ("--wall", "soon"), ("--memory=much",), ("--pids", "0"))):
            path = os.path.join(d, f"result{n}")
            r = dolania("run", *args, "--result", path, "-c", "true", result_file=path)
            assert (r.code, r.reason) == (125, "usage"), r
            assert args[0].split("=")[0] in r.result["end"]["message"], r


def test_an_unknown_option_does_not_eat_the_scripts_own():
    """What stands after an existing script is the script's, whatever is wrong before it."""
    with scratch() as d:
        path = os.path.join(d, "result")
        r = dolania("run", "--frobnicate", write_file(d, "job.sh", ""), "--result", path)
        assert r.code == 125 and not os.path.exists(path), r


def test_help_of_an_unknown_command():
    r = dolania("help", "frobnicate")
    check_bad(r, ["frobnicate"], result=False)

"""Scripts: which interpreter, which arguments, what they see, how they end."""
import json
import os
import signal

from lib import SHARE, dolania, each, needs, run, scratch, slow, write_file

PYTHON = "build/share/dolania/images/python.erofs"


def test_sh_script():
    with scratch() as d:
        file = write_file(d, "job.sh", "#!/bin/sh\ni=0\nwhile [ $i -lt 3 ]; do echo line $i; i=$((i+1)); done\n")
        r = run(file)
        assert (r.code, r.out) == (0, b"line 0\nline 1\nline 2\n")
        assert r.reason == "exited"
        assert r.err == b"", "a normal end says nothing of its own"


def test_bash_script():
    with scratch() as d:
        file = write_file(d, "job", '#!/bin/bash\na=(x "y z" w)\necho "${#a[@]} ${a[1]^^} ${BASH_VERSION%%.*}"\n')
        r = run(file)
        assert (r.code, r.out) == (0, b"3 Y Z 5\n")


@needs(PYTHON)
def test_python_script():
    with scratch() as d:
        file = write_file(d, "job", "#!/usr/bin/python3\nimport sys, json, hashlib, sqlite3\n"
                                    "print(json.dumps(sys.argv[1:]), sys.version_info[0])\n")
        r = run(file, "a", "b c")
        assert (r.code, r.out) == (0, b'["a", "b c"] 3\n')


@needs(PYTHON)
def test_interpreter_line_env():
    with scratch() as d:
        file = write_file(d, "job.sh", "#!/usr/bin/env python3\nprint(6 * 7)\n")
        r = run(file)
        assert (r.code, r.out) == (0, b"42\n"), "the '#!' goes before the suffix"


@needs(PYTHON)
def test_interpreter_line_env_settings():
    """What env sets is not its program; nor is an argument of the program a setting."""
    with scratch() as d:
        for words in ("-S python3 -X utf8=1", "-S A=1 B=2 python3", "-i A=1 python3 -X utf8=1", "-S -u X python3",
                      "-S -iu X python3", "-S --chdir /tmp python3", "-S --unset X A=1 python3"):
            r = run(write_file(d, "job", f"#!/usr/bin/env {words}\n"))
            assert r.result["runtime"] == "python", (words, r)


ENV_S = (
    # '#!' line, environment, what the program is to be started with
    ("/usr/bin/env -S sh -eu", (), ["sh", "-eu"]),
    ("/usr/bin/env -S  A=1   B='x y' sh", (), ["A=1", "B=x y", "sh"]),
    ("/usr/bin/env --split-string=sh -e", (), ["sh", "-e"]),
    (r"""/usr/bin/env -S A="1 \"2\" \\ \$HOME" sh""", (), ['A=1 "2" \\ $HOME', "sh"]),
    (r"/usr/bin/env -S A=x\_y sh", (), ["A=x", "y", "sh"]),
    (r"/usr/bin/env -S A='x\_\'y' sh", (), [r"A=x\_'y", "sh"]),
    (r"/usr/bin/env -S sh -e # a comment", (), ["sh", "-e"]),
    (r"/usr/bin/env -S sh\c -e", (), ["sh"]),
    (r"/usr/bin/env -S A=${HOME}/${X}/${NONE} sh", ("X=1 2",), ["A=/tmp/home/1 2/", "sh"]),
    (r"/usr/bin/env -S A= '' sh", (), ["A=", "", "sh"]),
    ("/usr/bin/env -iS A=1 sh", (), ["-i", "A=1", "sh"]),
)


def test_interpreter_line_env_split():
    """`env -S` is taken apart as GNU's env does it, whatever the env of the image can."""
    def check(case):
        line, env, words = case
        with scratch() as d:
            write_file(d, "env", '#!/bin/sh\nfor a; do echo "<$a>"; done\n', 0o755)
            file = write_file(d, "job", f"#!{line.replace('/usr/bin/env', '/in/d/env')}\n")
            r = run(*(x for e in env for x in ("--env", e)), "--in", f"{d}:/in/d", file, "arg 1")
            want = [*words, "/work/job", "arg 1"]
            assert (r.code, r.out.decode().splitlines()) == (0, [f"<{w}>" for w in want]), (line, r)

    each(check, ENV_S)


def test_interpreter_line_env_split_runs():
    with scratch() as d:
        r = run(write_file(d, "job", "#!/usr/bin/env -S A=1 sh -eu\necho $A $-; false; echo no\n"))
        assert r.code == 1 and r.out.startswith(b"1 ") and b"e" in r.out and b"no" not in r.out, r


def test_interpreter_line_env_split_is_refused_where_gnu_env_refuses():
    with scratch() as d:
        for words, why in (("-S sh 'x", "quote"), ("-S $HOME/x", "${NAME}"), (r"-S sh \z", "backslash"),
                           ("-S " + "a " * 126, "")):
            r = run(write_file(d, "job", f"#!/usr/bin/env {words}\n"))
            if why:
                assert (r.code, r.reason, r.errlines) == (125, "usage", 1) and why in r.errtext, (words, r)
            else:
                assert r.reason in ("exited", "not_found"), (words, r)


def test_one_argument_for_env_is_explained():
    with scratch() as d:
        r = run(write_file(d, "job", "#!/usr/bin/env sh -eu\ntrue\n"))
        assert r.code != 0 and "-S sh -eu" in r.errtext, r
        r = run(write_file(d, "job", "#!/usr/bin/env sh\nexit 3\n"))
        assert (r.code, r.err) == (3, b""), r


def test_interpreter_line_with_argument():
    with scratch() as d:
        r = run(write_file(d, "job", "#!/bin/sh -eu\nfalse\necho not reached\n"))
        assert (r.code, r.out) == (1, b"")


def test_interpreter_line_sed():
    with scratch() as d:
        file = write_file(d, "job", "#!/bin/sed -nf\n1s/one/two/p\n")
        r = run("--runtime", "base", file, stdin=b"one\nthree\n")
        # The script is sed's program; it reads the script's stdin.
        assert (r.code, r.out) == (0, b"two\n")


@needs(PYTHON)
def test_suffix_default_python():
    with scratch() as d:
        r = run(write_file(d, "job.py", "import os\nprint(os.getcwd())\n"))
        assert (r.code, r.out) == (0, b"/work\n")


def test_suffix_default_shell():
    with scratch() as d:
        r = run(write_file(d, "job.sh", "echo plain $#\n"), "1", "2")
        assert (r.code, r.out) == (0, b"plain 2\n")


def test_no_line_no_suffix():
    with scratch() as d:
        r = run(write_file(d, "job", "echo plain\n"))
        assert (r.code, r.out) == (0, b"plain\n")


def test_code_on_the_command_line():
    r = run("-c", 'echo "$0" | grep -c . ; echo two; exit 3')
    assert (r.code, r.out) == (3, b"1\ntwo\n")


@needs(PYTHON)
def test_code_with_runtime_python():
    r = run("--runtime", "python", "-c", "import sys; print(sys.implementation.name); sys.exit(9)")
    assert (r.code, r.out) == (9, b"cpython\n")


def test_exec():
    r = run("--exec", "--", "/bin/busybox", "printf", "%s|", "a b", "", "c")
    assert (r.code, r.out) == (0, b"a b||c|")


def test_exec_by_path():
    r = run("--exec", "--", "sh", "-c", "echo $1; exit 4", "zero", "one")
    assert (r.code, r.out) == (4, b"one\n")


def test_script_from_stdin():
    r = run("-", "x", "y z", stdin=b'#!/bin/bash\necho "$# $2"\n')
    assert (r.code, r.out) == (0, b"2 y z\n")


def test_arguments_are_bytes():
    odd = ["", " ", "a\nb", "*", "$HOME", "\\", "--wall", "-c", "é", "\udcff\udc80", "x" * 100000]
    with scratch() as d:
        file = write_file(d, "job.sh", "printf '%s\\0' \"$@\"\n")
        r = run(file, *odd)
        assert r.code == 0
        assert r.out == b"".join(os.fsencode(a) + b"\0" for a in odd)


def test_environment_is_fixed():
    r = run("-c", "env -0 || busybox env -0", env={"SECRET": "1", "LD_PRELOAD": "", "HOME": "/root"})
    names = {line.split(b"=")[0] for line in r.out.replace(b"\0", b"\n").split(b"\n") if b"=" in line}
    assert r.code == 0
    assert b"HOME=/tmp/home" in r.out
    assert b"SECRET" not in names
    assert names <= {b"HOME", b"PATH", b"PWD", b"SHLVL", b"_", b"LANG", b"LC_ALL", b"USER", b"LOGNAME",
                     b"SHELL", b"TMPDIR", b"TERM", b"OLDPWD", b"LC_CTYPE"}, names


def test_env_option():
    r = run("--env", "A=1 2", "--env", "B=", "--env", "A=3=4\n5", "-c", 'printf "%s|%s|" "$A" "${B-unset}"')
    assert (r.code, r.out) == (0, b"3=4\n5||")


def test_chdir_option():
    r = run("--chdir", "/tmp", "-c", "pwd; cd /work && pwd")
    assert (r.code, r.out) == (0, b"/tmp\n/work\n")


def test_chdir_to_nowhere():
    r = run("--chdir", "/nowhere", "-c", "pwd")
    assert r.code not in (0, 124) and r.out == b""
    assert "/nowhere" in r.errtext or "chdir" in r.errtext
    assert r.errlines == 1


def test_place_and_identity():
    r = run("-c", "pwd; id -u; touch /work/a /tmp/b \"$HOME/c\" && echo ok; "
                  "for f in /etc/x /usr/x /x; do touch $f 2>/dev/null && echo bad $f; done; "
                  "cat /proc/self/status | grep -E '^(NoNewPrivs|CapEff|CapPrm|CapBnd):' | head -4")
    lines = r.out.split(b"\n")
    assert lines[0] == b"/work"
    assert int(lines[1]) > 0
    assert lines[2] == b"ok"
    assert b"bad" not in r.out
    assert b"NoNewPrivs:\t1" in r.out
    assert b"CapEff:\t0000000000000000" in r.out


def test_in_directory():
    with scratch() as d:
        tree = os.path.join(d, "tree")
        os.makedirs(os.path.join(tree, "sub/deep"))
        write_file(tree, "a", "1\n")
        write_file(tree, "sub/deep/é", "2\n")
        write_file(tree, "sub/exe", "#!/bin/sh\necho ran\n", mode=0o755)
        os.symlink("../a", os.path.join(tree, "sub/link"))
        r = run("--in", tree, "-c", "cd /in && find . | sort && cat a sub/link sub/deep/* && sub/exe; "
                                    "touch /in/x 2>/dev/null || echo read-only")
        assert r.code == 0
        assert r.text.split() == [".", "./a", "./sub", "./sub/deep", "./sub/deep/é", "./sub/exe", "./sub/link",
                                  "1", "1", "2", "ran", "read-only"]


def test_in_directory_elsewhere():
    with scratch() as d:
        write_file(d, "f", "here\n")
        r = run("--in", f"{d}:/in", "-c", "cat /in/f")
        assert (r.code, r.out) == (0, b"here\n")


def exits_with(codes):
    def check(n):
        r = run("-c", f"exit {n}")
        assert r.code == n, r
        assert r.result["end"]["reason"] == "exited" and r.result["end"]["by"] == "guest", r
    each(check, codes)


def test_exit_codes():
    exits_with([0, 1, 2, 42, 126, 127, 128, 137, 255])


@slow
def test_exit_codes_all():
    exits_with(range(256))


def test_death_by_signal():
    def check(name):
        n = getattr(signal, "SIG" + name)
        r = run("-c", f"echo partial; kill -{name} $$; sleep 5; echo survived")
        assert r.code == 128 + n, r
        assert r.reason == "signaled", r
        assert r.result["end"]["by"] == "guest", r
        assert r.out == b"partial\n", r
        assert r.errlines == 1, r
    each(check, ["TERM", "KILL", "SEGV", "ABRT", "HUP", "USR1"])


def test_program_not_in_the_image():
    r = run("--exec", "--", "no-such-program")
    assert r.code == 127 and r.out == b""
    assert "no-such-program" in r.errtext and r.errlines == 1
    assert r.result["end"]["by"] == "guest"


def test_program_not_executable():
    r = run("--exec", "--", "/etc/passwd")
    assert r.code == 126 and r.out == b""
    assert "/etc/passwd" in r.errtext and r.errlines == 1
    assert r.result["end"]["by"] == "guest"


def test_interpreter_not_in_the_image():
    with scratch() as d:
        r = run("--runtime", "base", write_file(d, "job", "#!/usr/bin/perl6\nsay 1\n"))
        assert r.code == 127
        assert r.errlines == 1


def test_exit_code_isolate_and_zero():
    a = run("--exit-code", "zero", "-c", "exit 7")
    assert a.code == 0 and a.reason == "exited"
    b = run("--exit-code", "isolate", "-c", "exit 7")
    c = run("--exit-code", "isolate", "-c", "exit 0")
    assert c.code == 0 and b.code != 0 and b.code != 124


def test_quiet():
    r = run("--quiet", "-c", "kill -9 $$")
    assert r.code == 137
    assert r.err == b""


def test_result_fd():
    with scratch() as d:
        path = os.path.join(d, "r")
        fd = os.open(path, os.O_RDWR | os.O_CREAT)
        try:
            r = dolania("run", "--result-fd", fd, "-c", "exit 5", pass_fds=[fd])
        finally:
            os.close(fd)
        assert r.code == 5
        with open(path, encoding="utf-8") as f:
            assert json.load(f)["end"]["reason"] == "exited"


def test_an_image_named_by_its_path_runs_sh():
    """Found in review: a path that begins with 'python' was taken for that runtime."""
    with scratch() as d:
        os.mkdir(f"{d}/python")
        os.symlink(os.path.join(SHARE, "images/base.erofs"), f"{d}/python/x.erofs")
        write_file(d, "job", "echo $0\n")
        for args, out in ((("-c", "echo $0"), b"sh\n"), (("job",), b"job\n")):
            r = run("--runtime", "python/x.erofs", *args, cwd=d)
            assert r.code == 0 and r.out.endswith(out), r


NAMES = ("with a space.sh", "\u00e4\u00f6\u4e2d\u6587.sh", "-x.sh", ".hidden.sh", "a\nb.sh", "'\"$(x).sh", "x" * 252 + ".sh",
         b"\xff\xfe.sh", "\t\x1b[1m.sh")


def test_a_script_has_the_name_that_it_has_on_the_host():
    def check(name):
        name = name if isinstance(name, bytes) else name.encode()
        with scratch() as d:
            path = os.path.join(os.fsencode(d), name)
            with open(path, "wb") as f:
                f.write(b'printf %s "$0"; for a in /work/* /work/.h*; do test -e "$a" && printf %s "|$a"; done; exit 0')
            r = run(os.fsdecode(path))
            assert (r.code, r.out) == (0, b"/work/" + name + b"|/work/" + name), r

    each(check, NAMES)


@needs(PYTHON)
def test_a_traceback_has_the_name_of_the_script():
    with scratch() as d:
        r = run(write_file(d, "m\u00e4rz 1.py", "import sys\nassert sys.argv[0] == '/work/m\u00e4rz 1.py'\n1/0\n"))
        assert r.code == 1 and 'File "/work/m\u00e4rz 1.py", line 3' in r.errtext, r


def test_a_byte_order_mark_is_named():
    bom = b"\xef\xbb\xbf"
    with scratch() as d:
        for name, text in (("a.sh", b"#!/bin/sh\necho 1\n"), ("b.sh", b"echo 0\necho 1\n"), ("c", b"#!/bin/bash\necho 1\n"),
                           ("d", b"#!/usr/bin/env -S sh -u\necho 1\n")):
            r = run(write_file(d, name, bom + text))
            assert (r.code, r.out) == (0, b"1\n"), r
            assert "byte order mark" in r.result["end"]["notes"][0] and "byte order mark" in r.errtext, r
        r = run(write_file(d, "a.sh", b"#!/bin/sh\necho 1\n"))
        assert (r.code, r.out, r.err) == (0, b"1\n", b""), r


@needs(PYTHON)
def test_a_byte_order_mark_is_no_matter_for_python():
    with scratch() as d:
        for name, text in (("a.py", b"print(1)\n"), ("b", b"#!/usr/bin/env python3\nprint(1)\n")):
            r = run(write_file(d, name, b"\xef\xbb\xbf" + text))
            assert (r.code, r.out, r.err) == (0, b"1\n", b""), r


def test_utf16_is_refused():
    with scratch() as d:
        for encoding in ("utf-16-le", "utf-16-be"):
            text = "\ufeff#!/bin/sh\necho 1\n".encode(encoding)
            r = run(write_file(d, "a.sh", text))
            assert (r.code, r.reason, r.errlines) == (125, "usage", 1) and "UTF-16" in r.errtext, r


def test_real_time_signals_have_names():
    """As `kill -l` of the guest's bash names them, from the script's own mouth."""
    def check(sig):
        r = run("-c", f"kill -{sig} $$")
        name = {34: "SIGRTMIN", 64: "SIGRTMAX"}.get(sig, f"SIGRTMIN+{sig - 34}")
        assert (r.code, r.reason) == (128 + sig, "signaled") and f"signal {sig} ({name})" in r.errtext, r

    each(check, (34, 35, 49, 50, 63, 64))

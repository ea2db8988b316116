"""What shells are taught of our options: made by the command, so it cannot lag behind.  No VM."""
import contextlib
import os
import pty
import re
import shutil
import subprocess

from lib import DOLANIA, TOP, Skip, command, scratch, write_file

# Runs _dolania as readline would; the words come after '--', the cursor is in the last.
HARNESS = r"""
eval "$(dolania completion bash)"
shift
COMP_WORDS=("$@") COMP_CWORD=$(($# - 1))
_dolania
printf '%s\n' "${COMPREPLY[@]}"
"""


def call(*args):
    return subprocess.run(args, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


def complete(*words, cwd=None, where=os.path.dirname(DOLANIA)):
    env = {**os.environ, "PATH": where + ":" + os.environ["PATH"]}
    r = subprocess.run(["bash", "--norc", "-c", HARNESS, "bash", "--", "dolania", *words], env=env, cwd=cwd,
                       capture_output=True, text=True, check=False)
    assert (r.returncode, r.stderr) == (0, ""), r
    return set(r.stdout.split("\n")) - {""}


def options():
    """Those that the command takes, by its help and its table of limits."""
    text = command("help", "run").stdout
    listed = {o for line in text.splitlines() if line.startswith("  -") for o in re.findall(r"(?<![\w-])--?[a-z][a-z-]*", line)}
    return (listed | set(re.findall(r"also (--[a-z-]+)", text))) - {"--", "--result-fd"} | {"-c", "--exec", "--result-fd"}


def test_each_option_is_completed_and_is_an_option():
    known = complete("run", "-")
    assert options() <= known, options() - known
    for shell, form in (("zsh", "{}["), ("fish", " {} ")):
        text = command("completion", shell).stdout
        for o in known:
            name = o if shell == "zsh" else f"-l {o[2:]}" if o.startswith("--") else f"-s {o[1:]}"
            assert form.format(name) in text or f"{name}=[" in text, (shell, o)
    for o, text in re.findall(r"^complete .*__dolania_before_script -[ls] (\S+)(.*)$", command("completion", "fish").stdout, re.MULTILINE):
        assert re.search(r" -d '.+'$", text), f"{o} has no text"
    assert "['']" not in command("completion", "zsh").stdout
    for o in known:
        said = command("run", o).stderr
        assert "unknown option" not in said and "not supported" not in said, (o, said)


def test_values():
    images = {f[:-6] for f in os.listdir(os.path.join(TOP, "build/share/dolania/images")) if f.endswith(".erofs")} - {"python-test"}
    with scratch() as d:
        os.mkdir(f"{d}/a directory")
        write_file(d, "a file", "")
        for words, expected in (
                (("",), {"run", "policy", "doctor", "completion", "version", "help"}),
                (("ru",), {"run"}), (("policy", ""), {"show", "check", "list", "table"}),
                (("policy", "show", "s"), {"standard"}), (("completion", ""), {"bash", "zsh", "fish"}),
                (("run", "--exit-code", ""), {"mirror", "isolate", "zero"}),
                (("run", "--exit-code", "=", "i"), {"isolate"}), (("run", "--exit-code", "="), {"mirror", "isolate", "zero"}),
                (("run", "--wall", "5s", "--cpu-time", "o"), {"off"}), (("run", "--wall", ""), {"off"}),
                (("run", "--pids", ""), set()), (("run", "--wa"), {"--wall"}), (("run", "--wall", "=", "5s", "--wa"), {"--wall"}),
                (("run", "--work", "a"), {"a directory"}), (("run", "--out", "a"), set()),    # none of ours: bash's own, files (("run", "--in-cache", "o"), {"off"}), (("run", "--in", "d", "--policy", "pro"), {"provisional"}),
                # what belongs to the script is not ours
                (("run", "script.sh", "--wa"), set()), (("run", "-c", "code", "--", "--wa"), set()),
                (("run", "--quiet", "script.sh", "--"), set()), (("run", "-q", "--loopb"), {"--loopback"})):
            got = complete(*words, cwd=d)
            assert got == expected, (words, got)
        # A name first; a file has a '/' in it, and comes once it looks like one.
        policies = {"provisional", "standard", "trusted"}
        for before, names in ((("run", "--runtime"), images), (("run", "--runtime", "="), images),
                              (("run", "--policy"), policies), (("policy", "show"), policies)):
            assert complete(*before, "", cwd=d) == names, (before, complete(*before, "", cwd=d))
            assert complete(*before, "a", cwd=d) == {n for n in names if n.startswith("a")}, before
            assert complete(*before, "./", cwd=d) == {"./a file", "./a directory"}, before
            assert complete(*before, f"{d}/a f", cwd=d) == {f"{d}/a file"}, before


INTERACTIVE = {
    "bash": (["bash", "--norc", "-i"], 'eval "$(dolania completion bash)"'),
    # -D: no dump of what was found is written, -u: nobody is asked about directories of others
    "zsh": (["zsh", "-f", "-i"], 'autoload -Uz compinit; compinit -D -u; eval "$(dolania completion zsh)"'),
}


def typed(lines, cwd, shell="bash"):
    """The words that an interactive shell makes of each line that is typed, TABs in it."""
    program, prepare = INTERACTIVE[shell]
    master, slave = pty.openpty()
    env = {"PATH": os.path.dirname(DOLANIA) + ":" + os.environ["PATH"], "TERM": "dumb", "HOME": cwd, "INPUTRC": "/dev/null"}
    with subprocess.Popen(program, stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=env, start_new_session=True) as p:
        os.close(slave)
        # With ^A the line is given to printf, not to dolania.
        text = "".join(f"dolania {line}\x01printf '{n}<%s>\\n' \n" for n, line in enumerate(lines))
        os.write(master, f"{prepare}\n{text}exit\n".encode())
        said = b""
        with contextlib.suppress(OSError):      # EIO is its end
            while data := os.read(master, 65536):
                said += data
        p.wait()
    os.close(master)
    got = re.findall(r"^(\d+)<(.*)>\r$", said.decode(), flags=re.MULTILINE)
    return [[word for n, word in got if int(n) == i][1:] for i in range(len(lines))]


def becomes(cases, cwd, shell):
    for (line, expected), got in zip(cases, typed([line for line, _ in cases], cwd, shell)):
        assert got == expected, (line, got)


def test_the_line_that_a_shell_makes_of_it():
    with scratch() as d:
        os.makedirs(f"{d}/images of mine")
        write_file(d, "images of mine/own.erofs", "")
        write_file(d, "trusty.ini", "")
        becomes((("run --policy tr\tend", ["run", "--policy", "trusted", "end"]),
                 ("run --policy=tr\tend", ["run", "--policy=trusted", "end"]),
                 ("run --policy ./t\tend", ["run", "--policy", "./trusty.ini", "end"]),
                 ("run --runtime ./im\to\tend", ["run", "--runtime", "./images of mine/own.erofs", "end"]),
                 ("run --runtime ~/im\to\tend", ["run", "--runtime", f"{d}/images of mine/own.erofs", "end"]),
                 ("run --runtime im\tend", ["run", "--runtime", "imend"]),
                 ("run --out tr\tend", ["run", "--out", "trusty.ini", "end"]),
                 ("run --out=im\tend", ["run", "--out=images of mine/end"])), d, "bash")


def test_the_name_of_a_file_is_no_command():
    """bash expands the words that it is given: an image that somebody named so must not run anything."""
    with scratch() as d:
        os.makedirs(f"{d}/share/dolania/images")
        os.mkdir(f"{d}/bin")
        shutil.copy(DOLANIA, f"{d}/bin")
        for name in ("good-1.0", "$(touch PWNED)", "`touch PWNED`", "a b", "~", "${HOME}", "python-test"):
            write_file(d, f"share/dolania/images/{name}.erofs", "")
        assert complete("run", "--runtime", "", cwd=d, where=f"{d}/bin") == {"good-1.0"}
        assert call(f"{d}/bin/dolania", "completion", "runtimes").stdout == "good-1.0\n" and not os.path.exists(f"{d}/PWNED")


def test_usage():
    for args in (("completion",), ("completion", "tcsh"), ("completion", "bash", "x")):
        r = command(*args)
        assert r.returncode == 125 and r.stdout == "" and "bash, zsh or fish" in r.stderr, r
    assert command("completion", "--help").returncode == 0


def have(shell):
    if shutil.which(shell) is None:
        raise Skip(f"no {shell} here")


def test_shells_can_read_them():
    with scratch() as d:
        for shell in ("bash", "zsh", "fish"):
            have(shell)
            path = write_file(d, shell, command("completion", shell).stdout)
            r = call(shell, "-n", path)
            assert (r.returncode, r.stdout, r.stderr) == (0, "", ""), r


def test_the_line_that_zsh_makes_of_it():
    have("zsh")
    with scratch() as d:
        os.makedirs(f"{d}/images of mine")
        write_file(d, "images of mine/own.erofs", "")
        write_file(d, "trusty.ini", "")
        becomes((("compl\tfi\tend", ["completion", "fish", "end"]), ("policy ch\tpro\tend", ["policy", "check", "provisional", "end"]),
                 ("run --policy trusted --exit-code is\tend", ["run", "--policy", "trusted", "--exit-code", "isolate", "end"]),
                 ("run --exit-code=z\tend", ["run", "--exit-code=zero", "end"]),
                 ("run --polic\tprov\tend", ["run", "--policy=provisional", "end"]),
                 ("run --policy ./t\tend", ["run", "--policy", "./trusty.ini", "end"]),
                 ("run --runtime ./im\to\tend", ["run", "--runtime", "./images of mine/own.erofs", "end"]),
                 ("run --work im\tend", ["run", "--work", "images of mine/end"]),
                 ("run --out trus\tend", ["run", "--out", "trusty.ini", "end"]), ("run --out im\tend", ["run", "--out", "images of mine/end"]),
                 ("run --loop\tend", ["run", "--loopback", "end"]), ("run --wall of\tend", ["run", "--wall", "off", "end"]),
                 ("run --env A=1 --env B=2 --in x --in=trus\tend",
                  ["run", "--env", "A=1", "--env", "B=2", "--in", "x", "--in=trusty.ini", "end"]),
                 # what belongs to the script is not ours
                 ("run trusty.ini --wal\t end", ["run", "trusty.ini", "--wal", "end"])), d, "zsh")


def offered(d, text):
    """What fish would offer for the last word."""
    r = subprocess.run(["fish", "--no-config", "-c", f"source {d}/made; complete -C 'dolania {text}'"], cwd=d, capture_output=True,
                       text=True, env={**os.environ, "PATH": os.path.dirname(DOLANIA) + ":" + os.environ["PATH"], "HOME": d})
    assert (r.returncode, r.stderr) == (0, ""), r
    return {line.partition("\t")[0] for line in r.stdout.splitlines()}


def test_what_fish_offers():
    have("fish")
    with scratch() as d:
        write_file(d, "made", command("completion", "fish").stdout)
        os.mkdir(f"{d}/directory")
        write_file(d, "file", "")
        for text, expected in (("", {"run", "policy", "doctor", "completion", "version", "help"}), ("policy check pro", {"provisional"}),
                               ("policy ", {"show", "check", "list", "table"}), ("completion ", {"bash", "zsh", "fish"}),
                               ("run --exit-code ", {"mirror", "isolate", "zero"}), ("run --exit-code=i", {"--exit-code=isolate"}),
                               ("run --policy pro", {"provisional"}), ("run --wall ", {"off"}), ("run --pids ", set()),
                               ("run --work ", {"directory/"}), ("run --out f", {"file"}), ("run --out d", {"directory/"}), ("run --loop", {"--loopback"}), ("run --policy ./fi", {"./file"}),
                               # what belongs to the script is not ours
                               ("run file --wal", set())):
            assert offered(d, text) == expected, (text, offered(d, text))

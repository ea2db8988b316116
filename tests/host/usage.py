"""Command lines that are wrong: one line that says what is meant instead, before anything is started.  No VM."""
import os

from lib import command, scratch, write_file


def refused(*args, words):
    r = command(*args)
    assert (r.returncode, r.stdout, len(r.stderr.splitlines())) == (125, "", 1), r
    assert r.stderr.startswith("dolania: ") and all(w in r.stderr for w in words), (words, r.stderr)
    return r.stderr


def test_commands_without_arguments_refuse_them():
    for args in (("doctor", "x"), ("doctor", "--bogus"), ("version", "x"), ("--version", "--bogus")):
        refused(*args, words=[args[1], f"'{args[0].lstrip('-')}' takes no arguments"])
    for name in ("doctor", "version"):
        for option in ("--help", "-h"):
            r = command(name, option)
            assert r.returncode == 0 and f"usage: dolania {name}\n" in r.stdout and r.stderr == "", r
    for words in ((), ("help",)):
        r = command("help", *words)
        assert r.returncode == 0 and "dolania policy show|check|list|table" in r.stdout, r


def test_a_command_that_is_nearly_one():
    assert refused("runn", "x.sh", words=["'runn'"]).endswith("did you mean 'run'? ('dolania help' lists them)\n")
    assert refused("frobnicate", words=["'frobnicate'"]).endswith("'frobnicate'; 'dolania help' lists them\n")


def test_an_option_is_no_other_options_value():
    for args, name in ((("--append", "-c", "1"), "-c"), (("--env", "--quiet", "x.sh"), "--quiet"),
                       (("--chdir", "--wall", "5s", "x.sh"), "--wall"), (("--policy", "--timeout", "5s", "x.sh"), "--timeout")):
        refused("run", *args, words=[f"{args[0]} needs a value, and {name} is an option", f"{args[0]}={name}"])
    # written so it is one, and the next error is told; a value may begin with '-' all the same
    refused("run", "--append=-c", "none.sh", words=["none.sh: no such script"])
    refused("run", "--chdir", "-x", "-c", "true", words=["--chdir -x: must be an absolute path"])


def test_an_option_that_is_announced_says_why_it_is_refused():
    refused("run", "--cpus", "2", "-c", "true", words=["--cpus is not there yet: a machine has one processor"])


def test_a_size_of_out_without_it():
    refused("run", "--disk", "5M", "-c", "true", words=["--disk", "--out DIR"])


def test_a_script_that_is_in_the_directory_of_work():
    with scratch() as d:
        os.mkdir(f"{d}/proj")
        write_file(d, "proj/main.py", "")
        for work in (f"{d}/proj", f"{d}/proj/"):
            refused("run", "--work", work, "main.py", words=[f"main.py: no such script; did you mean {d}/proj/main.py?"])
        refused("run", "--work", f"{d}/proj", "other.py", words=["other.py: no such script; for code"])


def test_a_file_that_is_no_image():
    with scratch() as d:
        path = write_file(d, "x.erofs", "text\n" * 1000)
        refused("run", "--runtime", path, "-c", "true", words=[f"{path}: not an EROFS image", "dolania-image"])


def test_more_processes_than_the_guest_can_number():
    """Its kernel's pids.max takes 32768: what is above was let through, and the guest did not get up."""
    for pids in ("32769", "4194304", "99999999999999999999999"):
        refused("run", "--pids", pids, "-c", "true", words=[f"--pids {pids}: must be a number from 1 to 32768"])
    # the most there can be is taken: what is told is the next error
    refused("run", "--pids", "32768", "--chdir", "x", "-c", "true", words=["--chdir x"])


def test_what_is_too_long_or_too_large_is_not_called_nonsense():
    most = {"--wall": "too long; at most 2562047h, or off", "--fsize": "too large; at most 8388607T, or off",
            "--memory": "too large; at most 8388607T\n", "--in-cache": "too large; at most 8388607T\n"}
    for option, words in most.items():
        unit = "h" if option == "--wall" else "T"
        for number in ("100000000", "9" * 40, "18446744073709551615"):
            refused("run", option, number + unit, "-c", "true", words=[f"{option} {number}{unit}: {words}"])
    # the most there is is taken, and what is no number stays none
    refused("run", "--wall", "2562047h", "--fsize", "8388607T", "--chdir", "x", "-c", "true", words=["--chdir x"])
    refused("run", "--wall", "9" * 40 + "x", "-c", "true", words=["not a time; write it as"])
    refused("run", "--in-cache", "1Q", "-c", "true", words=["not a size; write it as 512M"])


def test_units_in_upper_and_lower_case():
    """As the manual says: M is minutes where a time stands."""
    shown = []
    for text in ("wall = 64M\nmemory = 64m", "wall = 64min\nmemory = 64mib"):
        with scratch() as d:
            path = write_file(d, "p.ini", f"[policy]\nlike = standard\n[limits]\n{text}\n")
            shown.append(command("policy", "show", path).stdout.split("[limits]")[1])
    assert shown[0] == shown[1] and "wall = 64m\n" in shown[0] and "memory = 64M\n" in shown[0], shown


def test_how_to_have_no_scratch_disk():
    refused("run", "--scratch", "off", "-c", "true", words=["--scratch off", "to have none of it write 0"])
    assert "write 0" not in refused("run", "--output", "off", "-c", "true", words=["this limit cannot be off"])
    refused("run", "--scratch", "0", "--chdir", "x", "-c", "true", words=["--chdir x"])


def test_a_dash_is_no_file():
    for option, words in (("--result", "--result-fd 1"), ("--meta", "a file only"), ("--events", "a file only")):
        refused("run", option, "-", "-c", "true", words=[f"{option} -: ", words, "for a file of that name ./-"])
        assert not os.path.exists("-")
    with scratch() as d:
        for option in ("--result", "--meta", "--events"):   # its directory is not there: it is taken for a file
            refused("run", option, f"{d}/none/-", "-c", "true", words=[f"{option} {d}/none/-: No such file or directory"])


def test_what_is_known_from_elsewhere():
    for option in ("--net", "--network", "--network=host"):
        assert "did you mean" not in refused("run", option, "-c", "true", words=["a VM has no network"])
    refused("run", "--interactive", "x.sh", words=["unknown option --interactive: it is -i"])

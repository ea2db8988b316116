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
            assert r.returncode == 0 and "dolania doctor" in r.stdout and r.stderr == "", r


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

"""docs/controls.md names nothing that is not there.  No VM."""
import os
import re
import subprocess

from lib import TOP

PAGE = os.path.join(TOP, "docs/controls.md")
CONTROLS = ["Isolated execution", "Declared files", "Default-deny network", "CPU limit", "Memory limit", "Disk limit",
            "Process limit", "Descriptor limit", "Output limit", "Pre-installed runtimes only", "No persistent state",
            "Provisional sandboxing of new agents"]


def read(path):
    with open(os.path.join(TOP, path), encoding="utf-8") as f:
        return f.read()


def rows():
    """{control: its other columns}"""
    table = [line.strip("|").split("|") for line in read(PAGE).splitlines() if line.startswith("| **")]
    return {row[0].strip(" *"): [c.strip() for c in row[1:]] for row in table}


def named(text):
    return re.findall(r"`([^`]+)`", text)


def test_each_control_has_a_row_and_each_column_says_something():
    found = rows()
    assert list(found) == CONTROLS, list(found)
    for control, columns in found.items():
        assert len(columns) == 4 and all(columns), control
        assert named(columns[1]) and named(columns[2]), control


def is_defined(name, text):
    """A function of this name has a body there: its name in a line that begins a definition, '{' in column 1 after it."""
    return re.search(r"^[a-z_][\w *]*\b" + re.escape(name) + r"\([^;{]*\)\n\{", text, re.MULTILINE) is not None


def test_files_and_functions_exist():
    for control, columns in rows().items():
        for what in named(columns[1]):
            path, _, function = what.partition(":")
            assert os.path.isfile(os.path.join(TOP, path)), (control, path)
            assert not path.startswith("tests/"), (control, path)
            assert not function or is_defined(function, read(path)), (control, what)


def test_tests_exist():
    for control, columns in rows().items():
        for what in named(columns[2]):
            path, _, test = what.partition(":")
            assert path.startswith("tests/") and os.path.isfile(os.path.join(TOP, path)), (control, path)
            assert not test or re.search(rf"^def test_{test}\(", read(path), re.MULTILINE), (control, what)


def test_options_exist():
    script = subprocess.run([os.path.join(TOP, "build/bin/dolania"), "completion", "bash"], check=True, text=True,
                            stdout=subprocess.PIPE).stdout
    known = set(re.findall(r"--[a-z][a-z-]*", script))
    for control, columns in rows().items():
        for what in named(columns[0]) + [w for w in named(columns[3]) if w.startswith("--")]:
            if what.startswith("--"):
                assert what.split()[0] in known, (control, what)
            elif what.startswith("["):
                section, key = re.fullmatch(r"\[(\w+)\] ([\w-]+)", what).groups()
                assert re.search(rf'"{section}", "{key}"', read("tools/libdolania/policy_parse.c")), (control, what)
            else:
                assert what == "dolania run", (control, what)


def test_the_look_itself_sees():
    text = read("vmm/jail/jail.c")
    assert is_defined("jail_enter", text) and not is_defined("jail_seccomp", text) and not is_defined("jail_ente", text)

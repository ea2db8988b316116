"""/proc as the script sees it: what is open is a list, and the rest is closed."""
import os

from lib import TOP, needs, run

PYTHON = "build/share/dolania/images/python.erofs"
LOOPBACK = "build/share/dolania/vmlinux-loopback"
OPEN = {"cgroups", "cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "sys", "uptime", "version", "vmstat"}
LINKS = {"mounts": "self/mounts", "net": "self/net", "self": None, "thread-self": None}
NOWHERE = {"device-tree": "/sys/firmware/devicetree/base"}

# a line for each entry that is no process: whether it opens, then the permissions of all
LOOK = """cd /proc; for e in *; do
case $e in [0-9]*) echo "process $e"; continue ;; esac
if [ -L "$e" ]; then echo "link $e $(readlink "$e")"
elif true <"$e"; then echo "open $e"
else echo "closed $e"; fi; done 2>/dev/null
stat -c 'mode %n %a' *"""


def look(*options):
    r = run(*options, "-c", LOOK)
    assert (r.code, r.err) == (0, b""), r
    seen = [x.split() for x in r.text.splitlines()]
    links = {x[1]: x[2] for x in seen if x[0] == "link"}
    assert {x[1] for x in seen if x[0] == "open"} == OPEN, r
    wanted = {**LINKS, **NOWHERE}
    assert set(links) == set(wanted) and all(links[k] == v for k, v in wanted.items() if v), r
    closed = {x[1] for x in seen if x[0] == "closed"}
    assert {"interrupts", "iomem", "timer_list", "kmsg", "cmdline"} <= closed, r
    assert {x[2] for x in seen if x[0] == "mode" and x[1] in closed} == {"0"}, r
    assert not [x for x in seen if x[:2] == ["process", "1"]], "init is not the script's to see"


def test_what_is_open_is_on_the_list():
    look()
    look("--policy", "provisional")


@needs(LOOPBACK)
def test_so_it_is_in_the_kernel_with_loopback():
    look("--loopback")


def test_the_threat_model_has_the_same_list():
    with open(os.path.join(TOP, "docs/threat-model.md"), encoding="utf-8") as f:
        text = f.read()
    at = text.index("## What the script sees of its machine")
    rows = [x.split("|")[1] for x in text[at:text.index("\n## ", at + 1)].splitlines() if x.startswith("| `/proc/")]
    documented = {y.strip(" `").removeprefix("/proc/") for x in rows for y in x.split(",")}
    assert {x for x in documented if "/" not in x and not x.startswith("PID")} == OPEN | set(LINKS), documented


def test_settings_are_read_only():
    r = run("-c", "echo x >/proc/sys/kernel/hostname; cat /proc/sys/kernel/kptr_restrict /proc/sys/kernel/dmesg_restrict "
                  "/proc/sys/kernel/hostname; grep -c ' /proc/sys proc ro,' /proc/mounts; find /proc/sys -type f -perm -002; busybox dmesg")
    assert r.text.split() == ["2", "1", "dolania", "1"], r
    assert b"Read-only file system" in r.err and b"ermitted" in r.err, r


@needs(PYTHON)
def test_no_address_of_the_kernel():
    r = run("--runtime", "python", "-c",
            "import re, socket\n"
            "s = socket.socket(socket.AF_UNIX); s.bind('/tmp/s')\n"
            "rows = open('/proc/net/unix').read().splitlines()[1:]\n"
            "print(len(rows) > 0, {x.split(':')[0] for x in rows})\n")
    assert (r.code, r.out) == (0, b"True {'0000000000000000'}\n"), r


def test_there_is_no_sys_and_a_minimal_dev():
    r = run("-c", "ls -A /sys; cd /dev; echo *; echo $(find . -type b) ; ls pts shm")
    assert r.text.split("\n")[0] == "fd full null ptmx pts random shm stderr stdin stdout tty urandom zero", r
    assert set(r.text.split("\n")[1:]) <= {"", "ptmx", "pts:", "shm:"}, r

"""What the kernel holds for a script is the script's: at its limit it ends, or the call fails, and the machine has memory left."""
import os
import shutil

from lib import SLOWNESS, built, compiler, each, run, scratch, slow

LARGE_BYTES = 240 << 20         # more than the machine has, as a file that is charged to nobody
OF_LARGE = ["locked_files", "spliced_files", "sent_files", "gifts"]
FLOOR_KIB = 64 << 10            # of about 215 MiB that are there when the script starts
CHARGED = ["netlink_to_self", "netlink_small", "netlink_acks", "netlink_dumps", "pipes", "unix_bytes", "filters", "messages",
           "sent_files", "sent_tmp"]
BOUNDED = ["ptys", "pty_bytes", "pty_bytes_late", "netlink_to_all", "locked_files", "spliced_files", "gifts"]


def taker():
    return built("takes-memory", "takes-memory.c", lambda source, out: [
        [*compiler(), "-D_GNU_SOURCE", "-static", "-s", "-o", out, source]])


def taken(kind):
    """How the run ended, and the least memory (KiB) that was available in the machine meanwhile."""
    with scratch() as d:
        shutil.copy(taker(), os.path.join(d, "takes-memory"))
        with open(os.path.join(d, "large"), "wb") as f:
            f.truncate(LARGE_BYTES if kind in OF_LARGE else 0)
        r = run("--memory", "64M", "--pids", "64", "--wall", f"{20 * SLOWNESS}s", "--in", d, "--exec", "--",
                "/in/takes-memory", kind)
        least = [int(line.split()[1]) for line in r.out.decode().splitlines() if line.startswith("least ")]
        return r, least


def check(kind):
    r, least = taken(kind)
    end = (r.reason, r.code, r.out.endswith(b"refused\n"))
    assert end[0] == "guest_oom" if kind in CHARGED else end == ("exited", 0, True), (kind, end, r.result["end"], least)
    assert least and least[0] > 2 * FLOOR_KIB and least[-1] >= FLOOR_KIB, (kind, least)


def test_what_waits_in_ptys():
    check("pty_bytes")


def test_what_waits_in_netlink_sockets():
    check("netlink_small")


def test_removed_files_that_sockets_hold():
    check("sent_tmp")


def test_files_that_sockets_hold():
    check("sent_files")


def test_files_that_are_locked():
    check("locked_files")


@slow
def test_other_files_that_are_held():
    each(check, ["spliced_files", "gifts"])


@slow
def test_other_ptys_and_netlink():
    each(check, ["ptys", "pty_bytes_late", "netlink_to_self", "netlink_to_all", "netlink_acks", "netlink_dumps"])


@slow
def test_what_was_charged_always():
    each(check, ["pipes", "unix_bytes", "filters", "messages"])

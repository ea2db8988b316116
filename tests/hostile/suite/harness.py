"""Runs one case and judges it: the end it must meet, what reached the devices, and the invariants."""
import hashlib
import json
import os
import re
import subprocess
import tempfile
import time

import lib

from . import build, cases, ends, hostmem, klog

# Of a VMM, and of a command, that a sanitizer ended (sanitizer/options.c).
STATUS_VMM_FOUND = 99
STATUS_COMMAND_FOUND = 98
# Written once at the start of a VMM with sanitizers: its root has no /proc.
NO_PROC = "==1==WARNING: reading executable name failed with errno 2, some stack frames may not be symbolized"
STDIN = b"what the host's stdin holds\n"
MIB = 1 << 20
# Beyond guest RAM: what the process itself may hold.
OWN_BYTES = {"release": 2 * MIB, "sanitizer": 32 * MIB}
# More of its own between two looks.  khugepaged makes 2 MiB of the few pages of a sanitizer's, now and then.
MORE_BYTES = {"release": MIB, "sanitizer": 8 * MIB}
# From guest memory overwritten to the command's end: KVM takes its tables down, the supervisor reaps and tells.
TEARDOWN_S = 2 * lib.SLOWNESS
CPU_SLACK_NS = 30_000_000           # ticks that rusage may be off by
WALL_S = {"short": 1.6 if lib.EMULATED else 0.5, "middle": 8, "long": 40}
PATIENCE = 5


class Wrong(AssertionError):
    """`kind`: which of the suite's eyes saw it."""

    def __init__(self, kind, text):
        super().__init__(f"{kind}: {text}")
        self.kind = kind


def files(root, disk):
    """The host's files a run uses, as they are."""
    state = {}
    for path in (build.GUEST, disk, build.INITRD):
        with open(path, "rb") as f:
            state[path] = hashlib.sha256(f.read()).hexdigest()
    for path in (os.path.join(root, "bin/dolania"), os.path.join(root, build.VMM), *state):
        s = os.stat(path)
        state[path, "stat"] = (s.st_size, s.st_mtime_ns, s.st_ctime_ns, s.st_mode, s.st_ino)
    return state


def vmms():
    """Processes of any VMM: their second argument is the number of an fd of /dev/kvm."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as f:
                words = f.read().split(b"\0")
        except OSError:
            continue
        if len(words) > 2 and words[0].endswith(b"dolania-vmm") and words[1].startswith(b"kvm="):
            found.append(int(pid))
    return found


def look(pid):
    """What a running VMM holds; of memory what is its own, so not the guest's RAM."""
    fds = sorted(os.listdir(f"/proc/{pid}/fd"), key=int)
    held = [(n, os.readlink(f"/proc/{pid}/fd/{n}")) for n in fds]
    with open(f"/proc/{pid}/status", encoding="ascii") as f:
        status = dict(line.rstrip("\n").split(":\t", 1) for line in f if ":\t" in line)
    with open(f"/proc/{pid}/maps", encoding="ascii") as f:
        maps = [line.split() for line in f]
    return held, int(status["RssAnon"].split()[0]) << 10, int(status["Threads"]), maps


def guarded(maps):
    """Guest RAM is followed by memory that nobody can touch."""
    ram = [i for i, m in enumerate(maps) if len(m) > 5 and m[5].startswith("/memfd:dolania-ram")]
    if len(ram) != 1:
        return False
    end = maps[ram[0]][0].split("-")[1]
    after = maps[ram[0] + 1]
    return after[0].split("-")[0] == end and after[1].startswith("---")


def watch(process, started, wall_s):
    """Looks at the VMM of a run that lasts: twice, while its guest attacks."""
    seen = []
    while process.poll() is None and len(seen) < 2:
        if time.monotonic() < started + (0.6, 0.8)[len(seen)] * wall_s:
            time.sleep(0.02)
            continue
        try:
            with open(f"/proc/{process.pid}/task/{process.pid}/children", encoding="ascii") as f:
                now = look(int(f.read().split()[0]))
            if not any(name == "/dev/kvm" for _, name in now[0]):   # not before its set-up is over
                seen.append(now)
        except (OSError, KeyError, IndexError):
            break
    return seen


def command(case, root, result, patience):
    return [os.path.join(root, "bin/dolania"), "run", "--kernel", build.GUEST, "--initrd", build.INITRD, "--runtime",
            build.DISKS[case.disk], "--append", f"case={case.name}", "--memory", "16M", "--tmp", "1M",
            "--wall", f"{int(WALL_S[case.wall] * patience * 1000)}ms", "--result", result, *case.options,
            "--exec", "--", "/none"]


def run(case, root, patience=1):
    """One run; (lib.Run, what was seen of the VMM meanwhile).  patience: times its wall limit."""
    env = {**os.environ, "ASAN_OPTIONS": f"exitcode={STATUS_COMMAND_FOUND}",
           "UBSAN_OPTIONS": f"exitcode={STATUS_COMMAND_FOUND}"}
    with tempfile.TemporaryDirectory() as d:
        result = os.path.join(d, "result.json")
        started = time.monotonic()
        words = command(case, root, result, patience)
        with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                              env=env) as p:
            p.stdin.write(STDIN)
            seen = watch(p, started, WALL_S[case.wall] * patience) if case.wall == "short" else []
            try:
                out, err = p.communicate(timeout=60 * lib.SLOWNESS)
            except subprocess.TimeoutExpired:
                p.kill()
                out, err = p.communicate()
                raise Wrong("outcome", "the command did not end") from None
        took = time.monotonic() - started
        got = lib.read_result(result).result
    lib.last_run = lib.Run(words[1:], p.returncode, out, err, got, took)
    return lib.last_run, seen


def value(want, r, symbols):
    """What a Place is in this run; anything else as it is."""
    if not isinstance(want, ends.Place):
        return want
    base = r.result["host"]["ram_bytes"] if want.symbol == "ram_end" else symbols[want.symbol]
    return base + want.offset


def counter(path, r):
    host = r.result["host"]
    if path == "stdout":
        return r.out
    group, key = path.split(".")
    if group in ("vsock", "image"):
        return host["devices"][group][key]
    if group == "second":
        return host["devices"]["scratch"][key]
    if group == "exits":
        return host["exits"][key]
    if group == "disk":
        return host["disks"][0][key]
    if group == "second_disk":
        return host["disks"][1][key]
    if group == "port":
        return host["vsock"][key]["from_guest_bytes"]
    if group == "job":
        return host["vsock"][key]["to_guest_bytes"]
    if group == "events":
        return sum(e["count"] for e in r.result["events"] if e["kind"] == key)
    raise KeyError(path)


def source_line(log, root):
    """Where in the source the VMM's own line about a finding (sanitizer/options.c) points."""
    at = re.search(r"dolania-vmm\+(0x[0-9a-f]+)", log)
    if at is None or at[1] == "0x0":
        return ""
    return " " + build.call(["addr2line", "-f", "-e", os.path.join(root, build.VMM), at[1]]).replace("\n", " ").strip()


def check_sanitizers(r, root):
    vmm = r.result["host"]["vmm"] if r.result and r.result["host"] else {}
    text = r.errtext + (vmm.get("log") or "")
    if vmm.get("status") == STATUS_VMM_FOUND or r.code == STATUS_COMMAND_FOUND or "Sanitizer" in r.errtext \
            or "runtime error" in text or "sanitizer:" in text:
        raise Wrong("sanitizer", (vmm.get("log") or r.errtext) + source_line(text, root))


def check_crash(r):
    vmm = r.result["host"]["vmm"]
    if vmm["killed"]:
        raise Wrong("limit", "the supervisor had to kill the VMM")
    if vmm["signal"] is not None:
        raise Wrong("signal", f"the VMM was ended by signal {vmm['signal']}: {vmm['log']}")
    if vmm["status"] != 0 or vmm["log"] not in (None, NO_PROC):
        raise Wrong("outcome", f"the VMM ended with {vmm}")


def check_end(case, r, symbols):
    end, want = r.result["end"], case.end
    if isinstance(want, ends.Storm) and want.too_slow(r.result):
        return
    if isinstance(want, ends.Either) and end["reason"] == want.second.reason:
        want = want.second
    if end["reason"] != want.reason:
        raise Wrong("outcome", f"{end['reason']} ({end['message']}; {end['detail']}), not {want.reason}")
    for key, detail in want.details.items():
        group, _, name = key.rpartition(".")
        at = r.result[group] if group == "violation" else end
        got, must = (at or {}).get(name), value(detail, r, symbols)
        if got != must:
            raise Wrong("outcome", f"{key} is {got!r}, not {must!r} ({r.result['violation']})")
    if want.event is not None:
        kind, first = want.event
        found = [e for e in r.result["events"] if e["kind"] == kind]
        if len(found) != 1 or first is not None and found[0]["first_value"] != first:
            raise Wrong("outcome", f"event {kind} {first}: {r.result['events']}")
    if "violation.name" not in want.details and r.result["violation"] is not None:
        raise Wrong("outcome", f"a violation: {r.result['violation']}")


def check_reached(case, r):
    for path, want in case.reached.items():
        got = counter(path, r)
        ok = want(got) if callable(want) else got == want
        if not ok:
            raise Wrong("counter", f"{path} is {got}, not {getattr(want, 'text', want)}")


def check_host(case, host):
    what = hostmem.wrong(host, case.host)
    if what is not None:
        raise Wrong("host", what)


def check_log(case, log):
    what = klog.wrong(log, case.log)
    if what is not None:
        raise Wrong("log", what)


def check_bounds(case, r, which):
    host = r.result["host"]
    vmm = host["vmm"]
    if host["touched_bytes"] > host["ram_bytes"] or vmm["max_rss_bytes"] > host["touched_bytes"] + OWN_BYTES[which]:
        raise Wrong("memory", f"{vmm['max_rss_bytes']} bytes resident, {host['touched_bytes']} of guest RAM")
    if vmm["user_ns"] + vmm["system_ns"] > host["wall_ns"] + CPU_SLACK_NS:
        raise Wrong("cpu", f"{vmm['user_ns'] + vmm['system_ns']} ns of CPU in {host['wall_ns']} ns")
    discard = host["discard"]
    if not discard["complete"] or discard["by"] != "vmm" or discard["overwritten_bytes"] < discard["touched_bytes"]:
        raise Wrong("discard", json.dumps(discard))
    kept = [x for x in discard["excluded"] if "registers" in x]
    if bool(kept) != case.dead:
        raise Wrong("discard", f"of registers the result says {kept}")
    grave = {e["severity"] for e in r.result["events"] if e["severity"] >= "S3"}
    if grave - ({"S3"} if r.result["end"]["reason"] == "protocol_violation" else set()):
        raise Wrong("outcome", f"events {r.result['events']}")


def check_teardown(r):
    took = r.took_s - r.result["host"]["phases_ns"]["discarded"] / 1e9
    if took > TEARDOWN_S:
        raise Wrong("limit", f"the command ended {took:.1f} s after guest memory was overwritten")


def check_seen(seen, which="release"):
    """Two looks at one VMM: no fd, byte or thread more, and the guard in its place."""
    if len(seen) != 2:
        raise Wrong("outcome", "the VMM could not be looked at: it ended early")
    (fds, rss, threads, maps), (fds2, rss2, threads2, _) = seen
    if fds != fds2:
        raise Wrong("fds", f"{fds} became {fds2}")
    if rss2 > rss + MORE_BYTES[which]:
        raise Wrong("memory", f"{rss} bytes became {rss2}")
    # Newer kernels add a worker of KVM's own.
    if threads > 2 or threads2 != threads or not guarded(maps):
        raise Wrong("memory", f"{threads} threads, maps {maps}")


def is_fine(seen, which):
    try:
        check_seen(seen, which)
        return True
    except Wrong:
        return False


def judge(case, which, root=None, symbols=None):
    """Runs `case` on the build `which` (or what lies at `root`); raises Wrong."""
    root = root or build.BUILDS[which]
    before, others = files(root, build.DISKS[case.disk]), set(vmms())
    with hostmem.Watch() as host, klog.Watch() as log:
        r, seen = run(case, root)
    if case.wall == "short" and not is_fine(seen, which):      # a loaded machine, where it was looked at in its set-up?
        r, seen = run(case, root, PATIENCE)
    if r.result is None:
        raise Wrong("outcome", f"no result: {r}")
    check_sanitizers(r, root)
    if r.result["host"] is None:
        raise Wrong("outcome", f"no VM: {r}")
    check_crash(r)
    check_host(case, host)
    check_log(case, log)
    check_end(case, r, symbols if symbols is not None else build.symbols())
    check_reached(case, r)
    check_bounds(case, r, which)
    check_teardown(r)
    if r.code != r.result["end"]["status"]:
        raise Wrong("outcome", f"status {r.code}")
    if case.wall == "short":
        check_seen(seen, which)
        if lib.late_s(r) > lib.LATE_S * (3 if lib.EMULATED else 1):
            raise Wrong("limit", f"{lib.late_s(r)} s late")
    left = set(vmms()) - others
    if left:
        raise Wrong("limit", f"VMMs are left: {left}")
    if files(root, build.DISKS[case.disk]) != before:
        raise Wrong("files", "a file of the host's was changed")
    return r

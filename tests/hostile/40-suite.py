"""The suite itself: that it is whole, that its eyes see, that its page is true, that nothing of it is installed."""
import copy
import glob
import os
import re
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.realpath(__file__)))
import lib  # noqa: E402
from suite import build, cases, controls, harness, table, tests  # noqa: E402

VMM_DIR = os.path.join(lib.TOP, "vmm")


def read(path):
    with open(path, encoding="utf-8") as f:
        return f.read()


def test_the_page_is_current():
    assert read(os.path.join(lib.TOP, "docs/hostile.md")) == table.text(), \
        "docs/hostile.md is not what tests/hostile/run --table prints"


def test_every_case_has_its_code():
    written = []
    for path in glob.glob(os.path.join(lib.TOP, "tests/hostile/cases/*.c")):
        written += re.findall(r"^CASE\((\w+)\)", read(path), re.M)
    assert sorted(written) == sorted(c.name for c in cases.CASES)
    assert len(set(written)) == len(written) >= 24


def test_every_rule_of_virtio_is_broken():
    names = re.findall(r'\[VIOLATION_\w+\] = "(\w+)"', read(os.path.join(VMM_DIR, "virtio/queue.c")))
    broken = {c.end.details.get("violation.name") for c in cases.CASES}
    assert len(names) > 20 and set(names) - {"none"} <= broken, set(names) - broken


def test_every_area_and_every_eye():
    assert {c.area for c in cases.CASES} == set(table.AREAS)
    assert len(controls.CONTROLS) >= 6
    assert {c.caught for c in controls.CONTROLS} == set(table.EYES)
    assert {c.build for c in controls.CONTROLS} == set(build.BUILDS)


def wrong(kind, check, *args):
    try:
        check(*args)
    except harness.Wrong as e:
        assert e.kind == kind, e
        return
    raise AssertionError(f"{kind} was not seen")


def test_eyes_that_no_control_opens():
    """A good run's result, with one thing wrong in it at a time."""
    case = tests.BY_NAME["blk_types"]
    r = tests.judge(case, "release")

    def spoilt(change):
        other = copy.copy(r)
        other.result = copy.deepcopy(r.result)
        change(other.result)
        return other

    harness.check_reached(case, r)
    harness.check_bounds(case, r, "release")
    wrong("counter", harness.check_reached, case,
          spoilt(lambda x: x["host"]["devices"]["image"].update(kicks=31)))
    wrong("cpu", harness.check_bounds, case, spoilt(lambda x: x["host"]["vmm"].update(user_ns=10**12)), "release")
    wrong("outcome", harness.check_bounds, case, spoilt(lambda x: x["events"].append(
        {"severity": "S4", "kind": "vmm_fault", "count": 1, "first_value": 0})), "release")
    wrong("outcome", harness.check_crash, spoilt(lambda x: x["host"]["vmm"].update(status=1)))
    wrong("discard", harness.check_bounds, case, spoilt(lambda x: x["host"]["discard"]["excluded"].append(
        "the vCPU's registers")), "release")
    harness.check_teardown(r)
    late = copy.copy(r)
    late.took_s += 60
    wrong("limit", harness.check_teardown, late)
    fds, maps = [("0", "/dev/null")], [["1000-3000", "rw-s", "0", "0", "9", "/memfd:dolania-ram"],
                                       ["3000-4000", "---p", "0", "0", "0"]]
    good = (fds, 1000, 1, maps)
    harness.check_seen([good, good])
    wrong("fds", harness.check_seen, [good, (fds + [("9", "socket:[1]")], 1000, 1, maps)])
    wrong("memory", harness.check_seen, [good, (fds, 100 << 20, 1, maps)])
    wrong("memory", harness.check_seen, [good, (fds, 1000, 2, maps)])
    wrong("memory", harness.check_seen, [(fds, 1000, 1, [maps[0], ["5000-6000", "---p", "0", "0", "0"]]), good])
    wrong("outcome", harness.check_seen, [good])


test_eyes_that_no_control_opens.hostile = True


def test_nothing_is_written_after_the_wipe():
    """The supervisor is stopped while its VMM ends; then every byte of what was guest memory is looked at."""
    tests.ready()
    case = tests.BY_NAME["mem_kvmclock_at_the_end"]
    for _ in range(3):
        with lib.scratch() as d:
            result = os.path.join(d, "result.json")
            words = harness.command(case, build.BUILDS["release"], result, 1)
            with subprocess.Popen(words, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as p:
                try:
                    vmm = wait_for_vmm(p.pid)
                    os.kill(p.pid, signal.SIGSTOP)
                    for _ in range(600 * lib.SLOWNESS):
                        if open(f"/proc/{vmm}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[0] == "Z":
                            break
                        time.sleep(0.1)
                    ram = [f"/proc/{p.pid}/fd/{n}" for n in os.listdir(f"/proc/{p.pid}/fd")
                           if "dolania-ram" in os.readlink(f"/proc/{p.pid}/fd/{n}")]
                    assert len(ram) == 1, ram
                    left = not_zero(ram[0])
                finally:
                    os.kill(p.pid, signal.SIGCONT)
                    p.wait(60 * lib.SLOWNESS)
            r = lib.read_result(result)
            assert r.reason == "exited" and r.result["host"]["touched_bytes"] > 1 << 20, r
            assert not left, f"bytes at {left} of guest memory are not zero after the wipe"
            assert r.result["host"]["discard"]["by"] == "vmm", r


test_nothing_is_written_after_the_wipe.hostile = True


def wait_for_vmm(pid):
    """The VMM of that command, once its guest may run: it has closed /dev/kvm."""
    for _ in range(200 * lib.SLOWNESS):
        try:
            with open(f"/proc/{pid}/task/{pid}/children", encoding="ascii") as f:
                vmm = int(f.read().split()[0])
            names = [os.readlink(f"/proc/{vmm}/fd/{n}") for n in os.listdir(f"/proc/{vmm}/fd")]
            if "anon_inode:kvm-vm" in names and "/dev/kvm" not in names:
                return vmm
        except (OSError, IndexError):
            pass
        time.sleep(0.02)
    raise AssertionError("the VMM did not come up")


def not_zero(path):
    found = []
    with open(path, "rb") as f:
        at, end = 0, os.fstat(f.fileno()).st_size
        while at < end:
            try:
                at = os.lseek(f.fileno(), at, os.SEEK_DATA)
            except OSError:
                break
            block = os.pread(f.fileno(), 1 << 20, at)
            if block.count(0) != len(block):
                found.append(at + next(i for i, b in enumerate(block) if b))
            at += len(block)
    return found


def test_a_changed_file_is_seen():
    before = harness.files(build.BUILDS["release"], build.DISK)
    os.utime(build.DISK, ns=(1, 1))
    assert harness.files(build.BUILDS["release"], build.DISK) != before


def test_a_guest_that_dies_early_fails():
    """The command line names no case: the guest panics at once, and no judge may be content."""
    tests.ready()
    for case in (tests.BY_NAME["blk_types"], tests.BY_NAME["ring_head_64"], tests.BY_NAME["cpu_triple_fault"]):
        other = copy.copy(case)
        other.name = "nobody"
        try:
            harness.judge(other, "release", symbols=tests.symbols)
        except harness.Wrong:
            continue
        raise AssertionError(f"{case.name} is content with a guest that did nothing")


test_a_guest_that_dies_early_fails.hostile = True


def test_release_has_no_sanitizer():
    """What the sanitizer build may do more is in one place, and not in the VMM that is installed."""
    tests.ready()
    places = subprocess.run(["grep", "-rln", "__SANITIZE", "vmm", "guest", "tools/libdolania", "tools/dolania"],
                            cwd=lib.TOP, stdout=subprocess.PIPE, check=False).stdout.decode().split()
    assert places == ["vmm/jail/seccomp.c"], places
    vmm = os.path.join(build.BUILDS["release"], build.VMM)
    names = build.call(["nm", vmm])
    assert "asan" not in names and "ubsan" not in names
    assert "__stack_chk_fail" in names, "no stack canaries"
    assert "__asan_on_error" in build.call(["nm", os.path.join(build.BUILDS["sanitizer"], build.VMM)])
    headers = build.call(["readelf", "-lW", vmm])
    assert "INTERP" not in headers, "the VMM that is installed is static"


def test_nothing_of_it_is_installed():
    with lib.scratch() as d:
        build.call(["make", "--no-print-directory", "install", f"DESTDIR={d}", "IMAGES=base"])
        put = [os.path.relpath(os.path.join(p, f), d) for p, _, fs in os.walk(d) for f in fs]
        assert "usr/local/bin/dolania" in put and "usr/local/libexec/dolania/dolania-vmm" in put, put
        strange = [p for p in put if re.search(r"\bsan\b|hostile", p) and not p.endswith("/hostile.md")]
        assert not strange, strange
        for name in ("bin/dolania", "libexec/dolania/dolania-vmm"):
            assert "asan" not in build.call(["nm", f"{d}/usr/local/{name}"]), name

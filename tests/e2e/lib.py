"""What the end-to-end tests are written with.

A test is a function test_* in tests/e2e/*.py.  It fails by raising; plain
asserts do, and the driver shows the last Run with them.

    from lib import run, slow

    def test_exit_status():
        r = run("-c", "exit 7")
        assert r.code == 7
        assert r.result["end"]["reason"] == "exited"
"""
import concurrent.futures
import contextlib
import glob
import json
import os
import signal
import subprocess
import tempfile
import time
import traceback

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.realpath(__file__))))
DOLANIA = os.path.join(TOP, "build/bin/dolania")
# Everything is slower under emulation; limits that only catch hangs are scaled.
EMULATED = bool(os.environ.get("DOLANIA_KVM_HOST"))
SLOWNESS = 4 if EMULATED else 1
SHARE = os.path.join(TOP, "build/share/dolania")
# How long after a limit a guest instruction may run; the same everywhere.
LATE_S = 0.1
TEST_LIMIT_S = 60 * SLOWNESS

last_run = None
# Events S3 and S4 in the results of the test that runs.
grave_events = []


class Skip(Exception):
    """Raise it to skip the rest of a test; say why."""


class Run:
    """One call of dolania: code, out and err (bytes), result (dict or None)."""

    def __init__(self, args, code, out, err, result, took_s):
        self.args, self.code, self.out, self.err = args, code, out, err
        self.result, self.took_s = result, took_s

    @property
    def text(self):
        return self.out.decode(errors="replace")

    @property
    def errtext(self):
        return self.err.decode(errors="replace")

    @property
    def errlines(self):
        """How many lines of stderr are dolania's own."""
        return sum(x.startswith("dolania:") for x in self.errtext.splitlines())

    @property
    def reason(self):
        return self.result["end"]["reason"] if self.result else None

    def __str__(self):
        def cut(b):
            return b if len(b) < 2000 else b[:1000] + b" ... " + b[-1000:]
        return (f"dolania {' '.join(map(str, self.args))}\n  status {self.code}, {self.took_s:.2f} s\n"
                f"  stdout {cut(self.out)!r}\n  stderr {cut(self.err)!r}\n  result {json.dumps(self.result)}")


def command(*args, before=()):
    """Calls dolania where no VM is made: what it says is text."""
    return subprocess.run([*before, DOLANIA, *map(str, args)], stdin=subprocess.DEVNULL, capture_output=True, text=True,
                          errors="surrogateescape", timeout=60, check=False)


def read_result(path):
    """A Run with nothing but the result in it; checked against the schema."""
    try:
        with open(path, encoding="utf-8") as f:
            text = f.read()
    except OSError:
        text = ""
    result = json.loads(text) if text else None
    if result is not None:
        check_schema(result)
        grave_events.extend(e for e in result["events"] if e["severity"] >= "S3")
    return Run((), None, b"", b"", result, 0)


validator = None


def check_schema(result):
    global validator
    if validator is None:
        import jsonschema
        with open(os.path.join(TOP, "docs/result.schema.json"), encoding="utf-8") as f:
            schema = json.load(f)
        kind = jsonschema.validators.validator_for(schema)
        kind.check_schema(schema)
        validator = kind(schema)
    wrong = [f"{'/'.join(map(str, e.absolute_path))}: {e.message}" for e in validator.iter_errors(result)]
    assert not wrong, f"the result is not what docs/result.schema.json says: {wrong[:5]}"


def dolania(*args, stdin=b"", timeout=60, env=None, cwd=None, result_file=None, before=(), pass_fds=()):
    """Calls the command with exactly these arguments; `before`: through this command."""
    global last_run
    started = time.monotonic()
    timed_out = None
    with subprocess.Popen([*before, DOLANIA, *map(str, args)], pass_fds=pass_fds, stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, env={**os.environ, **(env or {})}, cwd=cwd) as p:
        try:
            out, err = p.communicate(stdin, timeout=timeout * SLOWNESS)
        except subprocess.TimeoutExpired as e:
            p.kill()
            out, err = p.communicate()
            timed_out = e
    took_s = time.monotonic() - started
    result = None
    last_run = Run(args, p.returncode, out, err, result, took_s)
    if result_file:
        result = read_result(result_file).result
    last_run = Run(args, p.returncode, out, err, result, took_s)
    if timed_out:
        raise AssertionError(f"dolania did not end within {timeout * SLOWNESS} s")
    return last_run


def run(*args, directory=None, **kwargs):
    """dolania run --result TEMPORARY args...; `directory`: where another user may write."""
    with tempfile.TemporaryDirectory(dir=directory) as d:
        if directory:
            os.chmod(d, 0o777)
        path = os.path.join(d, "result.json")
        return dolania("run", "--result", path, *args, result_file=path, **kwargs)


@contextlib.contextmanager
def scratch():
    """A directory for one test."""
    with tempfile.TemporaryDirectory(prefix="dolania-test-") as d:
        yield d


def write_file(directory, name, content, mode=0o644):
    path = os.path.join(directory, name)
    with open(path, "wb") as f:
        f.write(content if isinstance(content, bytes) else content.encode())
    os.chmod(path, mode)
    return path


def each(check, cases, jobs=2):
    """check(case) for every case, two at a time; the first failure counts."""
    with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
        list(pool.map(check, cases))


def late_s(r):
    """How long after its wall limit the last guest instruction may have run, as the host saw it."""
    late = r.result["host"]["late_ns"]
    assert late is not None, r
    return late / 1e9


def in_time(start):
    """start() runs into a wall limit and returns its Run; no guest instruction may be later than LATE_S.

    An emulated host is itself a process that others keep from running, guest and VMM alike, and its
    clock goes on meanwhile; so there the best of three counts.
    """
    for left in range(2 if EMULATED else 0, -1, -1):
        r = start()
        if late_s(r) <= LATE_S:
            return r
    raise AssertionError(f"{late_s(r)} s after the limit: {r}")


boot_s = None


def wall_s():
    """A wall limit, in seconds, that a script's first output is well within on this machine as it is now."""
    global boot_s
    if boot_s is None:
        boot_s = max(run("-c", "true").took_s for _ in range(2))
    return int(max(3, 1 + 3 * boot_s))


def digest_of(r):
    """Of the packed inputs."""
    return next(m["sha256"] for m in r.result["measured"] if m["role"] == "input")


def stream_bytes(r, stream):
    """How many bytes the guest sent there, as the host counted them."""
    return r.result["host"]["streams"][stream]["bytes"]


def guest_with(kernel=None, init=None):
    """Options for a run with a guest of tests/e2e/guests in place of ours."""
    options = []
    if kernel:
        options += ["--kernel", built(kernel, f"{kernel}.S", lambda source, out: [
            ["gcc", "-nostdlib", "-static", "-no-pie", "-Wl,-Ttext=0x1000000", "-Wl,--build-id=none",
             "-Wl,-z,noseparate-code", "-Wl,-n", "-o", out, source]])]
    if init in ("panics", "knocks", "scribbles", "knocks-collecting"):
        ours, wrapped = init_objects(), "collect_disk" if init == "knocks-collecting" else "collect_exit"
        options += ["--initrd", built(f"{init}.cpio", f"{init}.c", lambda source, out: [
            [*compiler(), "-static", "-no-pie", "-s", f"-Wl,--wrap={wrapped}", "-o", f"{out}.init", source, ours],
            pack(out)])]
    elif init:
        options += ["--initrd", built(f"{init}.cpio", f"{init}.c", lambda source, out: [
            ["musl-gcc", "-static", "-Os", "-s", "-o", f"{out}.init", source], pack(out)])]
    return options


def compiler():
    multiarch = subprocess.run(["gcc", "-print-multiarch"], capture_output=True, text=True, check=True).stdout.strip()
    return ["musl-gcc", "-std=c11", "-Os", "-idirafter", "/usr/include", "-idirafter", f"/usr/include/{multiarch}"]


def init_objects():
    """Our own init, compiled once for all that link a piece of their own into it: half a minute in an emulated host."""
    return made(os.path.join(TOP, "build/tests/guests/init.a"), glob.glob(os.path.join(TOP, "guest/*")), lambda out: [
        ["sh", "-c", 'cd "$1" && shift && "$@" && ar rcs init.a *.o', "sh", os.path.dirname(out), *compiler(), "-c",
         *sorted(glob.glob(os.path.join(TOP, "guest/*.c")))]])


def pack(out):
    return [os.path.join(TOP, "guest/build.sh"), "--init", f"{out}.init", out]


def built(name, source, commands):
    """build/tests/guests/NAME, made anew when its source or our init's is newer."""
    source = os.path.join(TOP, "tests/e2e/guests", source)
    return made(os.path.join(TOP, "build/tests/guests", name), [source, *glob.glob(os.path.join(TOP, "guest/*"))],
                lambda out: commands(source, out))


def made(out, inputs, commands):
    """The file `out`, made by commands(file) if one of the inputs is newer.  Several hosts may do so at once."""
    if not os.path.exists(out) or os.path.getmtime(out) < max(map(os.path.getmtime, inputs)):
        os.makedirs(os.path.dirname(out), exist_ok=True)
        with tempfile.TemporaryDirectory(dir=os.path.dirname(out)) as d:
            new = os.path.join(d, os.path.basename(out))
            for command in commands(new):
                subprocess.run(command, check=True)
            os.replace(new, out)
    return out


@contextlib.contextmanager
def site(text, mode=0o644, directory_mode=0o755, policies=None):
    """What runs dolania where /etc/dolania/site.ini says this: in a mount namespace of its own, so that the machine's
    /etc stays as it is."""
    with scratch() as d:
        os.makedirs(f"{d}/dolania/policies")
        for name, content in {"site.ini": text, **{f"policies/{n}": t for n, t in (policies or {}).items()}}.items():
            write_file(d, f"dolania/{name}", content)
        script = (f"set -e; mkdir -p {d}/etc; mount -t tmpfs -o mode=755 none {d}/etc; cp /etc/passwd /etc/group {d}/etc; "
                  f"cp -r {d}/dolania {d}/etc/; chmod {mode:o} {d}/etc/dolania/site.ini; "
                  f"chmod {directory_mode:o} {d}/etc/dolania; mount --bind {d}/etc /etc; exec \"$@\"")
        yield ("unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c", script, "sh")


def private_dev(directory, kvm):
    """A command that runs its arguments with a /dev of its own.

    kvm: None: there is no /dev/kvm; a mode: there is one with that mode (only as
    root); a path: /dev/kvm is that device.
    """
    dev = os.path.join(directory, "dev")
    if isinstance(kvm, int):
        make = f"mknod -m {kvm:o} {dev}/kvm c 10 232"
    else:
        make = f"touch {dev}/kvm; mount --bind {kvm} {dev}/kvm" if kvm else ":"
    script = (f"set -e; mkdir {dev}; mount -t tmpfs -o mode=755 none {dev}; "
              f"for n in null zero full random urandom tty; do touch {dev}/$n; mount --bind /dev/$n {dev}/$n; done; "
              f"mkdir {dev}/shm; ln -s /proc/self/fd {dev}/fd; {make}; mount --rbind {dev} /dev; exec \"$@\"")
    return ("unshare", "-m" if os.geteuid() == 0 else "-rm", "sh", "-c", script, "sh")


def slow(test):
    """Only with --full."""
    test.slow = True
    return test


def long(test):
    """It takes minutes, and not only with --full."""
    test.long = True
    return test


def hostile(test):
    """Its guest attacks, or its VMM dies: events S3 and S4 are expected. In all other tests they are false alarms."""
    test.hostile = True
    return test


def native_only(test):
    """Not under emulation: it measures time, or needs what TCG lacks."""
    test.native_only = True
    return test


def needs(path):
    """Only if this part of the checkout is there (build/share/dolania/python.erofs)."""
    def mark(test):
        test.needs = getattr(test, "needs", []) + [path]
        return test
    return mark


def why_skipped(test, full):
    if getattr(test, "slow", False) and not full:
        return "slow (tests/run --full)"
    if getattr(test, "native_only", False) and EMULATED:
        return "not under emulation"
    for path in getattr(test, "needs", []):
        if not os.path.exists(os.path.join(TOP, path)):
            return f"{path} is not there"
    return None


class TestTimeout(Exception):
    pass


def on_alarm(*_):
    raise TestTimeout(f"the test took longer than {TEST_LIMIT_S} s")


def run_one(tally, name, test, full, rerun):
    """Runs one test for the driver."""
    global last_run
    why = why_skipped(test, full)
    if why:
        tally.skip(name, why)
        return
    last_run = None
    started = time.monotonic()
    signal.signal(signal.SIGALRM, on_alarm)
    limit_s = TEST_LIMIT_S * (10 if getattr(test, "slow", False) or getattr(test, "long", False) else 1)
    tally.begin(name, limit_s)
    signal.alarm(limit_s)
    try:
        grave_events.clear()
        test()
        assert getattr(test, "hostile", False) or not grave_events, f"a benign run raised {grave_events}"
        tally.ok(name, time.monotonic() - started)
    except Skip as e:
        tally.skip(name, str(e))
    except Exception:
        detail = traceback.format_exc() + (f"{last_run}\n" if last_run else "")
        tally.fail(name, time.monotonic() - started, detail,
                   rerun + (" --full" if getattr(test, "slow", False) else ""))
    finally:
        signal.alarm(0)

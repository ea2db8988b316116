"""Each limit has a script that goes for it, and is seen to hold: reason, line, and what host and guest counted.

docs/limits.md says what to expect; the times (--wall, --cpu-time) are in 40-ends.py.
"""

from lib import needs, run, scratch, stream_bytes, write_file

PYTHON = "build/share/dolania/images/python.erofs"
MIB = 1 << 20


def said(r, *words):
    """dolania's lines, with all of the words in one of them."""
    lines = [x for x in r.errtext.splitlines() if x.startswith("dolania:")]
    assert any(all(w in line for w in words) for line in lines), (words, lines)
    return lines


def used(r, key):
    return r.result["used"][key]


def oom(r, memory):
    assert (r.code, r.reason, r.result["end"]["by"]) == (137, "guest_oom", "guest"), r
    assert len(said(r, "--memory", memory)) == 1, r
    assert r.result["guest"]["oom_kills"] > 0
    assert used(r, "memory_bytes")["guest"] <= used(r, "memory_bytes")["allowed"]


# --- processes, threads

def test_fork_bomb_is_refused_and_counted():
    r = run("--pids", "10", "-c", "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 30 & done; echo not reached")
    assert r.reason == "exited" and r.code != 0, r
    said(r, "note: guest refused", "new process", "--pids 10", "peak 10", "raise it with --pids")
    assert used(r, "pids") == {"allowed": 10, "host": None, "guest": 10}
    assert used(r, "pids_refused")["guest"] > 0


@needs(PYTHON)
def test_thread_bomb():
    """Threads count as processes do."""
    r = run("--runtime", "python", "--pids", "10", "-c",
            "import threading, time\n"
            "n = 0\n"
            "try:\n"
            "    while True:\n"
            "        threading.Thread(target=time.sleep, args=(60,), daemon=True).start()\n"
            "        n += 1\n"
            "except RuntimeError as e:\n"
            "    print(n, flush=True)\n"
            "    raise SystemExit(3)\n")
    assert (r.code, r.reason, r.out) == (3, "exited", b"9\n"), r
    said(r, "note: guest refused 1 new process (", "--pids 10")
    assert used(r, "pids")["guest"] == 10


# --- descriptors

@needs(PYTHON)
def test_descriptor_hoarder():
    r = run("--runtime", "python", "--open-files", "100", "-c",
            "import errno, os\n"
            "last = 0\n"
            "try:\n"
            "    while True: last = os.open('/dev/null', os.O_RDONLY)\n"
            "except OSError as e:\n"
            "    print(last, errno.errorcode[e.errno])\n")
    assert (r.code, r.out) == (0, b"99 EMFILE\n"), r
    assert used(r, "open_files") == {"allowed": 100, "host": None, "guest": None}


# --- memory

@needs(PYTHON)
def test_memory_by_malloc():
    r = run("--runtime", "python", "--memory", "64M", "-c",
            "import time\nb = []\nprint('up', flush=True)\nwhile True: b.append(bytearray(1 << 20))")
    oom(r, "64M")
    assert r.out == b"up\n"


@needs(PYTHON)
def test_memory_by_kernel_objects():
    """Pipes, mappings, sockets and shared memory are the script's memory too: it dies, the guest's kernel does not."""
    for code in ("import os\n"
                 "for i in range(4):\n"
                 "    if os.fork() == 0: break\n"
                 "held = []\n"
                 "while len(held) < 480:\n"
                 "    r, w = os.pipe(); os.set_blocking(w, False); held.append((r, w)); os.write(w, bytes(65536))\n"
                 "import time; time.sleep(60)\n",
                 "import mmap\n"
                 "m = mmap.mmap(-1, 1 << 40, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | 0x4000, mmap.PROT_READ)\n"
                 "for at in range(0, 1 << 40, 1 << 21): m[at]\n",
                 "import os, socket\n"
                 "for i in range(4):\n"
                 "    if os.fork() == 0: break\n"
                 "held = []\n"
                 "while len(held) < 400:\n"
                 "    a, b = socket.socketpair(); a.setblocking(False); held.append((a, b))\n"
                 "    try:\n"
                 "        while True: a.send(bytes(60000))\n"
                 "    except BlockingIOError: pass\n"
                 "import time; time.sleep(60)\n",
                 "import os\n"
                 "while True:\n"
                 "    f = os.memfd_create('x'); os.posix_fallocate(f, 0, 1 << 20)\n"):
        oom(run("--runtime", "python", "--memory", "48M", "-c", code), "48M")


def test_page_cache_is_no_reason_to_die():
    """Reading files, all of the image and more than --memory, costs nothing but time."""
    r = run("--memory", "16M", "-c", "for i in 1 2 3; do find /bin /usr /lib /sbin -xdev -type f -exec cat {} + "
                                     ">/dev/null 2>&1; done; dd if=/dev/zero of=/tmp/x bs=1M count=20; "
                                     "for i in 1 2 3; do cat /tmp/x >/dev/null || exit 9; done; echo alive")
    assert (r.code, r.out, r.reason) == (0, b"alive\n", "exited"), r
    assert r.result["guest"]["oom_kills"] == 0


# --- files

def test_files_do_not_count_as_memory():
    """A large --tmp under a small --memory is filled with ENOSPC, never with a kill."""
    r = run("--memory", "16M", "--tmp", "100M", "-c",
            "dd if=/dev/zero of=/tmp/x bs=1M count=200 || echo full; stat -c %s /tmp/x; exit 4")
    assert (r.code, r.reason) == (4, "exited"), r
    first, size = r.text.splitlines()
    assert first == "full" and 99 * MIB < int(size) <= 100 * MIB, r
    assert "No space left" in r.errtext
    said(r, "note: /tmp is full", "--tmp 100M")
    assert used(r, "tmp_bytes")["guest"] > 99 * MIB
    assert used(r, "memory_bytes")["guest"] <= 16 * MIB


def test_every_writable_place_is_in_tmp():
    """/tmp, /work, /dev/shm and the others are one budget; an unlinked file counts as long as it is open."""
    r = run("--tmp", "8M", "-c", "exec 9>/tmp/gone; rm /tmp/gone; dd if=/dev/zero bs=1M count=6 >&9 2>/dev/null; "
                                 "for d in /work /dev/shm /run /var/tmp; do dd if=/dev/zero of=$d/x bs=1M count=4 2>/dev/null || "
                                 "echo $d; done; rm -f /work/x; exit 5")
    assert (r.code, r.out) == (5, b"/work\n/dev/shm\n/run\n/var/tmp\n"), r


@needs(PYTHON)
def test_a_million_small_files():
    r = run("--runtime", "python", "--memory", "32M", "--tmp", "64M", "-c",
            "import os, errno\n"
            "n = 0\n"
            "try:\n"
            "    while n < 1000000:\n"
            "        os.close(os.open(f'/tmp/{n}', os.O_CREAT | os.O_WRONLY)); n += 1\n"
            "except OSError as e:\n"
            "    print(n, errno.errorcode[e.errno])\n")
    assert (r.code, r.reason) == (0, "exited"), r
    n, why = r.text.split()
    allowed = used(r, "tmp_files")["allowed"]
    assert why == "ENOSPC" and allowed - 20 < int(n) < allowed, r
    said(r, "note: /tmp is full", f"{allowed} files")


@needs(PYTHON)
def test_deep_directories():
    r = run("--runtime", "python", "--memory", "32M", "--tmp", "16M", "-c",
            "import os, errno\n"
            "n = 0\n"
            "os.chdir('/tmp')\n"
            "try:\n"
            "    while n < 1000000: os.mkdir('d'); os.chdir('d'); n += 1\n"
            "except OSError as e:\n"
            "    print(n > 1000, errno.errorcode[e.errno])\n")
    assert (r.code, r.out, r.reason) == (0, b"True ENOSPC\n", "exited"), r


def test_sparse_file():
    """It takes no room, and reading it takes none either."""
    r = run("--memory", "16M", "--tmp", "1M", "-c", "truncate -s 1099511627776 /tmp/s && stat -c %s /tmp/s && "
                                                     "dd if=/tmp/s bs=1M count=64 | wc -c")
    assert (r.code, r.out) == (0, b"1099511627776\n67108864\n"), r


def test_fsize():
    r = run("--fsize", "1M", "-c", "exec dd if=/dev/zero of=/tmp/x bs=64k count=32")
    assert (r.code, r.reason, r.result["end"]["code"]) == (153, "signaled", 25), r
    assert len(said(r, "SIGXFSZ", "--fsize 1M")) == 1
    r = run("--fsize", "1M", "-c", "trap '' XFSZ; dd if=/dev/zero of=/tmp/x bs=64k count=32; stat -c %s /tmp/x")
    assert r.out == b"1048576\n" and r.errlines == 0, r
    # a program of the script's: only its status tells
    r = run("--fsize", "1M", "-c", "dd if=/dev/zero of=/tmp/x bs=64k count=32; exit $?")
    assert (r.code, r.reason) == (153, "exited"), r
    said(r, "note: status 153", "SIGXFSZ", "--fsize 1M", "raise it with --fsize")
    r = run("-c", "exit 153")
    assert (r.code, r.err) == (153, b""), r


# --- output

def flood(stream, *options):
    return run("--output", "256K", *options, "-c", f"exec 3>&{stream} 2>/dev/null; exec dd if=/dev/zero bs=100000 count=30 >&3")


def test_output_flood_is_an_exact_prefix():
    for stream, name in ((1, "stdout"), (2, "stderr")):
        r = flood(stream)
        s = r.result["host"]["streams"][name]
        assert (r.code, r.reason) == (0, "exited"), r
        got = r.out if stream == 1 else r.err[:256 << 10]
        assert got == bytes(256 << 10)
        assert (s["truncated"], s["bytes"], s["delivered_bytes"]) == (True, 3000000, 256 << 10), s
        assert s["tail"]["data"], s
        assert used(r, f"{name}_bytes") == {"allowed": 256 << 10, "host": 3000000, "guest": None}
        said(r, f"note: {name} was cut", "--output")


def test_output_limit_kills_where_the_policy_says_so():
    with scratch() as d:
        policy = write_file(d, "kills.ini", "[policy]\nlike = standard\n[kill]\noutput = yes\n")
        for stream, name in ((1, "stdout"), (2, "stderr")):
            r = run("--policy", policy, "--output", "64K", "--wall", "100s", "-c", f"echo first; exec yes >&{stream}")
            assert (r.code, r.reason, r.result["end"]["by"]) == (123, "output_limit", "host"), r
            assert len(said(r, name, "64K", "--output")) == 1, r
            assert r.out.startswith(b"first\n") and len(r.out) <= 65536
            assert stream_bytes(r, name) > 65536
            assert r.result["policy"]["kill_output"] is True
        # also where the script was faster than the kill
        r = run("--policy", policy, "--output", "1K", "-c", "head -c 1025 /dev/zero")
        assert (r.code, r.reason) == (123, "output_limit"), r
        r = run("--policy", policy, "--output", "1K", "-c", "head -c 1024 /dev/zero")
        assert (r.code, r.reason) == (0, "exited"), r


# --- what to do about it

def test_what_the_policy_refuses_is_not_advised():
    """The line names who allows no more; a limit that was set lower by an option can be raised by it."""
    with scratch() as d:
        policy = write_file(d, "my.ini", "[policy]\nlike = standard\n[limits]\nwall = 30s\npids = 4\noutput = 1K\ntmp = 1M\n"
                                         "[allow]\nraise = tmp\n")
        code = ("dd if=/dev/zero of=/tmp/x bs=64k 2>/dev/null; head -c 2000 /dev/zero; "
                "(for i in 1 2 3 4 5; do sleep 300 & done); exec sleep 300")
        r = run("--policy", policy, "-c", code)
        assert r.reason == "wall_limit" and r.result["end"]["message"] == \
            f"wall limit of 30s reached; the policy '{policy}' allows no more", r
        said(r, "note: stdout was cut after 1K", f"the policy '{policy}' allows no more")
        r = run("--policy", policy, "--output", "10", "-c", code.replace("exec sleep 300", "exit 3"))
        assert r.code == 3, r
        said(r, "note: guest refused", "--pids 4", f"the policy '{policy}' allows no more")
        said(r, "note: /tmp is full", "raise it with --tmp")
        said(r, "note: stdout was cut after 10 ", "raise it with --output")


# --- all of them at once

@needs(PYTHON)
def test_limits_hold_together():
    """Files at their limit, then processes, then memory: each by itself, and the guest's kernel lives."""
    with scratch() as d:
        job = write_file(d, "job.py", """
import os, sys, time
try:
    with open('/tmp/fill', 'wb') as f:
        while True: f.write(bytes(1 << 20))
except OSError as e:
    print('files', e.strerror, flush=True)
try:
    while True:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
except OSError as e:
    print('processes', e.strerror, flush=True)
os.write(1, bytes(200000))
held = []
while True: held.append(bytearray(1 << 20))
""")
        r = run("--memory", "64M", "--tmp", "64M", "--pids", "12", "--output", "100K", job)
    oom_reason = (r.code, r.reason)
    assert oom_reason == (137, "guest_oom"), r
    assert r.out.startswith(b"files No space left on device\nprocesses Resource temporarily unavailable\n"), r
    assert len(r.out) == 100 << 10
    lines = said(r, "ran out of memory", "--memory")
    assert len(lines) == 4, lines
    said(r, "note: /tmp is full", "--tmp 64M")
    said(r, "note: guest refused 1 new process", "--pids 12")
    said(r, "note: stdout was cut", "--output")


def test_a_limit_on_output_is_in_time():
    """The kill is as prompt as that of a clock: the script does not get far beyond."""
    with scratch() as d:
        policy = write_file(d, "kills.ini", "[policy]\nlike = standard\n[kill]\noutput = yes\n")
        r = run("--policy", policy, "--output", "1K", "--wall", "60s", "-c", "head -c 2000 /dev/zero; sleep 50; echo late")
        assert r.reason == "output_limit", r
        assert b"late" not in r.out
        assert used(r, "wall_ns")["host"] < 50 * 10**9


def test_as_many_processes_as_pids_allows_have_a_number():
    """Found in review: the guest's kernel had 4096, and a fork beyond failed without being counted."""
    for pids, there_are in ((4000, 4096), (4001, 32768), (32768, 32768)):
        r = run("--pids", str(pids), "-c", "cat /proc/sys/kernel/pid_max")
        assert r.text == f"{there_are}\n", (pids, r)

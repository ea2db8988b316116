"""The guest's memory: all of it can be used, is told of from the start, and keeps what is written.

The guest's kernel sets up most of its memory only when it is needed; a page given out twice,
or never, would be seen here.
"""
from lib import needs, run, slow

PYTHON = "build/share/dolania/images/python.erofs"

# Writes its number into each page, then reads all of them again, between forks, which
# take and give back kernel memory.
FILL = """
import array, mmap, os, sys
pages = int(sys.argv[1]) << 8
first = memoryview(mmap.mmap(-1, pages << 12)).cast("Q")[::512]
for at in range(0, pages, 4096):
    first[at:at + 4096] = memoryview(array.array("Q", range(at + 1, min(at + 4096, pages) + 1)))
for _ in range(20):
    if os.fork() == 0:
        os._exit(0)
    os.wait()
for at in range(0, pages, 4096):
    assert first[at:at + 4096].tolist() == list(range(at + 1, min(at + 4096, pages) + 1)), at
print("kept", pages)
"""


def fill(memory, mib):
    r = run("--memory", memory, "--wall", "300s", "--runtime", "python", "--exec", "--",
            "/usr/bin/python3", "-c", FILL, str(mib), timeout=330)
    assert (r.code, r.text) == (0, f"kept {mib << 8}\n"), r


@needs(PYTHON)
def test_nearly_all_of_64m():
    fill("64M", 48)


@needs(PYTHON)
def test_nearly_all_of_512m():
    fill("512M", 480)


@slow
@needs(PYTHON)
def test_nearly_all_of_2g():
    fill("2G", 1950)


@needs(PYTHON)
def test_a_request_for_more_than_there_is_is_told_to_who_fails_of_it():
    """The kernel grants no piece larger than the machine; the script is told by its runtime, and its user by a note."""
    r = run("--runtime", "python", "-c", "bytearray(2 << 30)")
    assert (r.code, r.errlines) == (1, 1) and "\nMemoryError\n" in r.errtext, r
    assert r.result["end"]["notes"] == [
        "guest refused a request for more memory than it has (--memory 512M); raise it with --memory"], r
    r = run("--runtime", "python", "-c", "try: bytearray(2 << 30)\nexcept MemoryError: print('so less')")
    assert (r.code, r.text, r.err) == (0, "so less\n", b""), r


# Holds all it may in /tmp and in memory, and reads the whole image, twice, through that little that is left.
FULL = """
import mmap, os
with open('/tmp/x', 'wb', buffering=0) as f:
    try:
        while True: f.write(bytes(1 << 20))
    except OSError as e: print(e.strerror)
held = mmap.mmap(-1, int(os.environ['HELD']) << 20)
for at in range(0, len(held), 4096): held[at] = 1
for _ in range(2):
    total = 0
    for top, _, names in os.walk('/usr'):
        for name in names:
            path = os.path.join(top, name)
            if not os.path.islink(path):
                with open(path, 'rb') as f:
                    while data := f.read(1 << 17): total += len(data)
print(total >> 20 > 16, sum(held[at] for at in range(0, len(held), 4096)) == len(held) >> 12)
"""


@needs(PYTHON)
def test_what_is_read_is_not_the_scripts_memory():
    """The cache of the image is dropped where it is in the way: it counts as nobody's, and finds room beside all limits."""
    r = run("--runtime", "python", "--memory", "64M", "--tmp", "32M", "--env", "HELD=44", "-c", FULL)
    assert (r.code, r.text, r.err) == (0, "No space left on device\nTrue True\n",
                                       b"dolania: note: /tmp is full (--tmp 32M, together with /work); raise it with --tmp\n"), r
    peak = r.result["used"]["memory_bytes"]["guest"]
    assert 44 << 20 < peak < 58 << 20, peak


def meminfo(memory):
    r = run("--memory", memory, "-c", "while read -r key value _; do echo $key $value; done </proc/meminfo")
    assert r.code == 0, r
    return {line.split()[0].rstrip(":"): int(line.split()[1]) << 10 for line in r.text.splitlines()}


def test_what_the_guest_is_told():
    """Total, free and available are those of the whole memory, also of what is not set up yet."""
    for memory, size in (("64M", 64 << 20), ("512M", 512 << 20), ("2G", 2 << 30)):
        told = meminfo(memory)
        assert told["MemTotal"] > size, (memory, told)
        assert size < told["MemAvailable"] <= told["MemTotal"], (memory, told)
        assert size < told["MemFree"] <= told["MemTotal"], (memory, told)


def test_a_guest_that_waits_does_nothing():
    """No thread of its kernel looks at the memory now and then: ten seconds more cost few switches more."""
    r = run("-c", "switches() { while read -r key n; do [ $key != ctxt ] || echo $n; done < /proc/stat; }; "
                  "sleep 2; switches; sleep 1; switches; sleep 11; switches")
    first, second, third = map(int, r.text.split())
    assert (third - second) - (second - first) < 40, r

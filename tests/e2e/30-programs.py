"""Real programs that nobody here wrote: CPython's regression tests, and the shell's tools."""
import os
import shutil
import subprocess

from lib import EMULATED, TOP, needs, run, scratch, slow

PYTHON_TEST = "build/share/dolania/images/python-test.erofs"

# Modules that make sense without a network, with one processor, and as an
# ordinary user.  Left out with reason: test_signal opens an AF_INET socket, which
# our kernel does not have; test_pickle writes next to the standard library, which
# is read-only.
CPYTHON_FEW = ["test_bisect", "test_textwrap", "test_operator", "test_bool"]
CPYTHON = CPYTHON_FEW + """
    test_shlex test_struct test_heapq test_string test_int test_float test_complex test_bytes
    test_list test_dict test_tuple test_slice test_range test_unpack test_generators test_json
    test_math test_cmath test_random test_fractions test_datetime test_re test_csv test_configparser
    test_base64 test_binascii test_zlib test_gzip test_bz2 test_hashlib test_hmac test_pathlib
    test_tempfile test_glob test_fnmatch test_io test_pipes test_pty test_select test_posix
    test_mmap test_threading test_thread test_queue test_subprocess
    test_collections test_itertools test_functools test_contextlib test_copy
    test_difflib test_string_literals test_grammar test_exceptions test_with
""".split()
# Single tests that give two new interpreters ten seconds of the clock on the wall.
HURRIED = ["test_pipe_cloexec_real_tools"] if EMULATED else []


def cpython(modules, limit_s):
    """One VM for all of them; a module that fails is named by regrtest's own last lines."""
    r = run("--runtime", "python-test", "--wall", f"{limit_s}s", "--output", "100M", "--exec", "--",
            "python3", "-m", "test", "-u", "none", "--timeout", "900", *(word for name in HURRIED for word in ("-i", name)),
            *modules, timeout=limit_s)
    assert r.code == 0, (r.text[-3000:], r.errtext[-1000:])
    assert "Tests result: SUCCESS" in r.text
    assert f"All {len(modules)} tests OK." in r.text


@needs(PYTHON_TEST)
def test_cpython_regression_few():
    cpython(CPYTHON_FEW, 200)


def part(n, of):
    assert len(CPYTHON) >= 25
    cpython(CPYTHON[n::of], 2000)


@slow
@needs(PYTHON_TEST)
def test_cpython_regression_first_third():
    part(0, 3)


@slow
@needs(PYTHON_TEST)
def test_cpython_regression_second_third():
    part(1, 3)


@slow
@needs(PYTHON_TEST)
def test_cpython_regression_last_third():
    part(2, 3)


# What a build or a report does with a tree of sources.  Written for any POSIX
# userland, so that the host's tools and the image's must agree on every byte.
WORKLOAD = r"""
export LC_ALL=C
cd "$1" || exit 9
echo "== files"
find . -type f | sort | sed 's|^\./||'
echo "== lines"
find . -type f | sort | while IFS= read -r f; do awk 'END { print NR }' "$f"; done | awk '{ n += $1 } END { print n }'
echo "== suffixes"
find . -type f | sed 's|.*/||' | awk -F. 'NF > 1 { n[$NF]++ } END { for (x in n) print n[x], x }' | sort -k1,1nr -k2
echo "== words"
find . -name '*.[ch]' | sort | xargs cat | tr -cs 'A-Za-z_' '\n' | sort | uniq -c | sort -k1,1nr -k2 | head -n 50 |
	awk '{ print $2, $1 }'
echo "== includes"
find . -name '*.[ch]' | sort | xargs sed -n 's/^#include [<"]\(.*\)[>"].*/\1/p' | sort -u
echo "== functions"
find . -name '*.c' | sort | xargs grep -h '^[a-z].*(.*)$' | cut -c1-60 | sort | head -n 100
echo "== changed"
find . -name '*.h' | sort | xargs cat | sed -e 's/[0-9][0-9]*/N/g' -e '/^$/d' -e 's/^[ 	]*//' | sha256sum | cut -d' ' -f1
echo "== sums"
find . -type f | sort | xargs sha256sum
echo "== archive"
tmp=${TMPDIR:-/tmp}/workload.$$
mkdir "$tmp" && tar -cf "$tmp/a.tar" . && mkdir "$tmp/x" && tar -xf "$tmp/a.tar" -C "$tmp/x"
tar -tf "$tmp/a.tar" | sort | sha256sum | cut -d' ' -f1
(cd "$tmp/x" && find . -type f | sort | xargs cat | sha256sum | cut -d' ' -f1)
gzip -c "$tmp/a.tar" | gzip -dc | cmp - "$tmp/a.tar" && echo same
rm -rf "$tmp"
"""


def compare_with_host(tree):
    with scratch() as d:
        script = os.path.join(d, "workload.sh")
        with open(script, "w", encoding="utf-8") as f:
            f.write(WORKLOAD)
        host = subprocess.run(["sh", script, tree], capture_output=True, check=False, stdin=subprocess.DEVNULL,
                              env={"PATH": os.environ["PATH"], "TMPDIR": d})
        assert host.returncode == 0, host.stderr
        r = run("--in", tree, "--wall", "600s", script, "/in", timeout=150)
        assert r.code == 0, r
        assert r.err == host.stderr
        for ours, theirs in zip(r.out.splitlines(), host.stdout.splitlines()):
            assert ours == theirs, (ours, theirs)
        assert r.out == host.stdout


def test_shell_workload_over_a_source_tree():
    """This project's own sources."""
    with scratch() as d:
        tree = os.path.join(d, "tree")
        os.mkdir(tree)
        for part in ("guest", "vmm", "kernel-config", "docs"):
            shutil.copytree(os.path.join(TOP, part), os.path.join(tree, part), symlinks=True)
        compare_with_host(tree)


@slow
def test_shell_workload_over_the_system_headers():
    with scratch() as d:
        tree = os.path.join(d, "tree")
        shutil.copytree("/usr/include/linux", tree, symlinks=True)
        compare_with_host(tree)

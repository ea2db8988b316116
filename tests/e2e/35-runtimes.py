"""The runtimes that are built on demand, each running what people use it for."""
import contextlib
import hashlib
import os
import re
import shutil

import lib
from lib import SHARE, TOP, needs, run, scratch, slow, write_file

NODE = "build/share/dolania/images/node.erofs"
PYTHON = "build/share/dolania/images/python.erofs"
PYTHON_DATA = "build/share/dolania/images/python-data.erofs"
TOOLCHAIN = "build/share/dolania/images/toolchain.erofs"

# Four jobs of libuv's pool at once, a worker, an ES module that imports one of its own and a CommonJS
# one, dynamic import, top-level await.
NODE_MAIN = """
import crypto from 'node:crypto';
import { readFile } from 'node:fs/promises';
import { promisify } from 'node:util';
import { Worker } from 'node:worker_threads';
import zlib from 'node:zlib';
import { twice } from './util.mjs';
import { three } from './common.cjs';

const jobs = [1, 2, 3, 4].map((n) => promisify(crypto.pbkdf2)('secret', `salt${n}`, 2000, 32, 'sha256'));
const packed = promisify(zlib.gzip)(Buffer.alloc(1 << 20, 'x'));
const keys = await Promise.all(jobs);
console.log('keys', keys.map((k) => k.toString('hex').slice(0, 8)).join(' '));
console.log('gzip', (await promisify(zlib.gunzip)(await packed)).length);
console.log('threads', /Threads:\\s+(\\d+)/.exec(await readFile('/proc/self/status', 'utf8'))[1]);
const answer = await new Promise((resolve, reject) => {
	const worker = new Worker(`require('worker_threads').parentPort.postMessage(6 * 7)`, { eval: true });
	worker.on('message', resolve).on('error', reject);
});
console.log('worker', answer, 'modules', twice(three), (await import('./util.mjs')).twice('ab'));
console.log('intl', new Intl.NumberFormat('de-DE').format(1234.5));
"""


@contextlib.contextmanager
def without_runtimes():
    """The command, installed where there is no image but base."""
    with scratch() as d:
        for part in ("bin", "share/dolania/images"):
            os.makedirs(os.path.join(d, part))
        shutil.copy(lib.DOLANIA, os.path.join(d, "bin/dolania"))
        os.symlink(os.path.join(TOP, "build/libexec"), os.path.join(d, "libexec"))
        for name in set(os.listdir(SHARE)) - {"images", "vmlinux-loopback"}:
            os.symlink(os.path.join(SHARE, name), os.path.join(d, "share/dolania", name))
        os.symlink(os.path.join(SHARE, "images/base.erofs"), os.path.join(d, "share/dolania/images/base.erofs"))
        before = lib.DOLANIA
        lib.DOLANIA = os.path.join(d, "bin/dolania")
        try:
            yield
        finally:
            lib.DOLANIA = before


def test_a_runtime_that_is_not_built_yet_says_how_to_build_it():
    with without_runtimes(), scratch() as d:
        for name in ("node", "python-data", "toolchain"):
            r = run("--runtime", name, "-c", "true")
            assert (r.code, r.reason, r.errlines, r.out) == (125, "usage", 1, b""), r
            assert f"'make image NAME={name}'" in r.errtext
        # the script's own wish is the script's failure
        for name, text in (("m.js", "1"), ("m", "#!/usr/bin/env node\n1")):
            r = run(write_file(d, name, text))
            assert (r.code, r.reason, r.result["end"]["by"], r.errlines) == (127, "not_found", "guest", 1), r
            assert name in r.errtext and "'make image NAME=node'" in r.errtext
            assert run("--exit-code", "isolate", os.path.join(d, name)).code == 1


@needs(PYTHON)
def test_a_program_that_is_missing_is_hinted_at_where_it_is():
    for runtime, program, hint in (("base", "python", "python"), ("base", "/usr/bin/python3", "python"), ("python", "node", "node"),
                                   ("base", "git", "toolchain"), ("base", "nonesuch", None), ("python", "python2", None),
                                   ("python", "/opt/bin/python", None), ("python", "/usr/local/bin/python3", None)):
        r = run("--runtime", runtime, "--exec", "--", program, "-c", "1")
        end = f"; it is with --runtime {hint}" if hint else ""
        assert (r.code, r.reason) == (127, "not_found"), r
        assert r.errtext == f"dolania: {program}: not in the image '{runtime}'{end}\n", r


@needs(NODE)
def test_node_thread_pool_and_es_modules():
    with scratch() as d:
        write_file(d, "main.mjs", NODE_MAIN)
        write_file(d, "util.mjs", "export const twice = (x) => x + x;\n")
        write_file(d, "common.cjs", "exports.three = 3;\n")
        r = run("--runtime", "node", "--in", d, "--wall", "200s", "--exec", "--", "node", "/in/main.mjs",
                timeout=200)
        assert (r.code, r.err) == (0, b""), r
        said = dict(line.split(" ", 1) for line in r.text.splitlines())
        # the host's own libcrypto as the reference
        assert said["keys"] == " ".join(hashlib.pbkdf2_hmac("sha256", b"secret", b"salt%d" % n, 2000, 32).hex()[:8]
                                        for n in (1, 2, 3, 4)), said
        assert said["gzip"] == str(1 << 20)
        assert int(said["threads"]) >= 8, said      # node's own, and libuv's four
        assert said["worker"] == "42 modules 6 abab"
        assert said["intl"] == "1.234,5"


@needs(NODE)
def test_node_is_chosen_by_the_suffix_and_by_the_first_line():
    with scratch() as d:
        r = run(write_file(d, "m.js", "console.log(process.argv[2], process.versions.node.split('.')[0])"), "arg",
                "--wall", "200s", timeout=200)
        assert (r.code, r.result["runtime"]) == (0, "node"), r
        assert re.fullmatch(r"arg \d+\n", r.text)
        r = run(write_file(d, "m", "#!/usr/bin/env node\nprocess.exitCode = 7; process.stdout.write('x')"),
                timeout=200)
        assert (r.code, r.text) == (7, "x"), r


def npm_package(directory):
    """tests/e2e/npm-package with its dependencies, real packages, in node_modules: those that Debian's npm has itself."""
    shutil.copytree(os.path.join(TOP, "tests/e2e/npm-package"), directory, dirs_exist_ok=True)
    modules = os.path.join(directory, "node_modules")
    os.mkdir(modules)
    r = run("--runtime", "node", "--out", modules, "--exec", "--", "sh", "-c",
            "cd /usr/share/nodejs && cp -rL balanced-match brace-expansion lru-cache semver /out")
    assert r.code == 0 and r.errlines == 0, r


# What its developer does, and then a test that fails is written beside the others.
NPM = """
npm test && npm ls || exit
echo "require('../lib').releases(1)" > test/fails.js
npm test; echo "then $?"
"""


@slow
@needs(NODE)
def test_npm_test_of_a_package_with_dependencies():
    with scratch() as d:
        npm_package(d)
        r = run("--runtime", "node", "--work", d, "--wall", "1000s", "--exec", "--", "sh", "-c", NPM, timeout=1000)
        assert r.code == 0 and r.errlines == 0, r
        first, npm_ls, second = re.split(r"^(release-notes@1.2.0 /work\n(?:.*\n)*?)\n", r.text, flags=re.M)
        assert "release-notes 1.2.0" in first                       # pretest
        assert "# pass 4\n" in first and "# fail 0\n" in first, r
        assert all(f" {p}@" in npm_ls for p in ("brace-expansion", "lru-cache", "semver")), r
        assert "extraneous" not in npm_ls and "missing" not in npm_ls, r
        assert "# pass 4\n" in second and "# fail 1\n" in second and second.endswith("\nthen 1\n"), r
        assert not os.path.exists(os.path.join(d, "test/fails.js"))


# OpenBLAS makes a thread for each processor, and the machine has one: so that its threads are had too it is told
# to make four, by the call that is there for that.
DATA = """
import ctypes, io, threading
import numpy, pandas, scipy.optimize
def threads():
    with open('/proc/self/status') as f:
        return next(line.split()[1] for line in f if line.startswith('Threads:'))
blas = ctypes.CDLL('libopenblas.so.0')
a = numpy.random.default_rng(7).random((300, 300))
alone = a @ a
print('alone', threads(), blas.openblas_get_num_threads())
blas.openblas_set_num_threads(4)
print('equal', bool(numpy.allclose(a @ a, alone)))
inverse = numpy.linalg.inv(a)
print('inverse', bool(numpy.allclose(a @ inverse, numpy.eye(300))))
print('blas', threads(), blas.openblas_get_num_threads())
blas.openblas_set_num_threads(1)
parts = [None] * 4
together = threading.Barrier(4)
def work(n):
    together.wait()
    parts[n] = a[n::4] @ a
    if together.wait() == 0:
        print('own', threads())
    together.wait()
pool = [threading.Thread(target=work, args=(n,)) for n in range(4)]
[t.start() for t in pool]; [t.join() for t in pool]
print('parts', all(numpy.allclose(parts[n], alone[n::4]) for n in range(4)))
frame = pandas.read_csv(io.StringIO('kind,n\\na,1\\nb,2\\na,3\\n'))
print('pandas', frame.groupby('kind').n.sum().to_dict())
print('scipy', round(float(scipy.optimize.brentq(lambda x: x * x - 2, 0, 2)), 6))
"""


@slow
@needs(PYTHON_DATA)
def test_numpy_with_threads_pandas_scipy():
    r = run("--runtime", "python-data", "--wall", "1000s", "-c", DATA, timeout=1000)
    assert (r.code, r.err) == (0, b""), r
    said = dict(line.split(" ", 1) for line in r.text.splitlines())
    assert said["equal"] == said["inverse"] == said["parts"] == "True", said
    assert (said["alone"], said["blas"], said["own"]) == ("1 1", "4 4", "8"), said
    assert said["pandas"] == "{'a': 4, 'b': 2}" and said["scipy"] == "1.414214"


@slow
@needs(PYTHON_DATA)
def test_matplotlib_draws():
    r = run("--runtime", "python-data", "--wall", "500s", "-c",
            "import sys, matplotlib.pyplot as p; p.plot([1, 4, 9]); p.title('$x^2$'); p.savefig(sys.stdout.buffer)",
            timeout=500)
    assert r.code == 0 and r.out.startswith(b"\x89PNG\r\n\x1a\n") and len(r.out) > 5000, r


@needs(TOOLCHAIN)
def test_compile_and_run_a_c_program():
    source = r"""
#include <math.h>
#include <pthread.h>
#include <stdio.h>
static void *add(void *n) { *(double *)n = sqrt(*(double *)n); return NULL; }
int main(void)
{
	double n[2] = { 2, 9 };
	pthread_t t[2];
	for (int i = 0; i < 2; i++)
		pthread_create(&t[i], NULL, add, &n[i]);
	for (int i = 0; i < 2; i++)
		pthread_join(t[i], NULL);
	return printf("%.3f %.3f\n", n[0], n[1]) == 12 ? 0 : 1;
}
"""
    with scratch() as d:
        write_file(d, "main.c", source)
        write_file(d, "Makefile", "prog: main.o\n\t$(CC) -o $@ $< -lm\nmain.o: main.c\n\t$(CC) -O2 -Wall -Werror -c -o $@ $<\n")
        r = run("--runtime", "toolchain", "--in", d, "--wall", "200s", "-c",
                "cp /in/* . && make -s && ./prog && git init -q . && git add main.c && "
                "git -c user.name=n -c user.email=e commit -qm first && git log --format=%s && git grep -c sqrt",
                timeout=200)
        assert (r.code, r.err) == (0, b""), r
        assert r.text == "1.414 3.000\nfirst\nmain.c:1\n", r


@needs(PYTHON)
def test_python_venv():
    r = run("--runtime", "python", "--wall", "200s", "--exec", "--", "sh", "-c",
            "python3 -m venv --without-pip v && echo 'answer = 42' > v/lib/python3.11/site-packages/mine.py && "
            "v/bin/python -c 'import mine, sys; print(mine.answer, sys.prefix, sys.prefix != sys.base_prefix)'",
            timeout=200)
    assert (r.code, r.text, r.err) == (0, "42 /work/v True\n", b""), r


# Windows' and macOS's.
ELSEWHERE = {"_msi", "_overlapped", "_scproxy", "_winapi", "msilib", "msvcrt", "nt", "winreg", "winsound"}

EVERY_MODULE = """
import importlib, sys
missing = []
for name in sorted(sys.stdlib_module_names - {'antigravity', 'this'}):
    try:
        importlib.import_module(name)
    except ImportError:
        missing.append(name)
print(*missing)
"""


@needs(PYTHON)
def test_the_standard_library_is_what_the_readme_says():
    with open(os.path.join(TOP, "rootfs/README.md"), encoding="utf-8") as f:
        said = re.search(r"whole but for what needs a screen: ([^.]*)\.", f.read())[1]
    r = run("--runtime", "python", "--wall", "200s", "-c", EVERY_MODULE, timeout=200)
    assert r.code == 0 and set(r.text.split()) - ELSEWHERE == set(re.findall(r"`(\w+)`", said)), r


@slow
@needs(PYTHON)
def test_python_venv_with_pip():
    """pip installs a package of a directory's; there is no index to ask."""
    with scratch() as d:
        write_file(d, "setup.py", "from setuptools import setup\nsetup(name='mine', version='3.1', py_modules=['mine'])\n")
        write_file(d, "mine.py", "answer = 42\n")
        r = run("--runtime", "python", "--in", d, "--wall", "1000s", "--exec", "--", "sh", "-c",
                "python3 -m venv v && cp -r /in src && v/bin/pip -q install --no-index --no-build-isolation ./src && "
                "v/bin/python -c 'import mine; print(mine.answer)' && v/bin/pip list --format=freeze", timeout=1000)
        assert r.code == 0 and r.text.startswith("42\n") and "mine==3.1\n" in r.text, r


@slow
@needs(NODE)
def test_node_tells_which_limit_it_met():
    """The limits of the policy that a program of node's runs into are told with the option that raises them."""
    r = run("--runtime", "node", "--wall", "1000s", "--pids", "6", "-c", "console.log(1)", timeout=300)
    assert (r.code, r.out) == (0, b"1\n"), r       # with a thread less in V8's pool
    assert "pthread_create: Resource temporarily unavailable" in r.errtext, r
    assert r.result["end"]["notes"] == ["guest refused 1 new process (--pids 6, peak 6); raise it with --pids"], r
    r = run("--runtime", "node", "--wall", "1000s", "--memory", "128M", "-c",
            "const all = []; for (;;) all.push(Buffer.alloc(1 << 22, 'x'))", timeout=300)
    assert (r.code, r.reason, r.out) == (137, "guest_oom", b""), r
    assert r.err == b"dolania: the script ran out of memory (limit 128M); raise it with --memory\n", r


@slow
@needs(PYTHON_DATA)
def test_numpy_tells_which_limit_it_met():
    """An array that fits nowhere: numpy says how large it would be, and the note what to raise."""
    r = run("--runtime", "python-data", "--wall", "1000s", "-c", "import numpy; numpy.ones(10**8)", timeout=300)
    assert r.code == 1 and "Unable to allocate 763. MiB" in r.errtext, r
    assert r.err.endswith(b"\ndolania: note: guest refused a request for more memory than it has (--memory 512M); "
                          b"raise it with --memory\n"), r

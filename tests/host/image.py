"""tools/image: what comes of its sources.  No VM."""
import contextlib
import gzip
import os
import pty
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import time

from layouts import (IMAGE, LOWER, UPPER, Layout, config_of, docker_save, entry, folder, image, layer, link, oci_of_base,
                     tree, tree_of)
from layouts import build_image as made
from lib import TOP, Skip, needs, scratch, slow, write_file

NOBODY = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")


def same(path, other):
    with open(path, "rb") as a, open(other, "rb") as b:
        return a.read() == b.read()


def make_directory(d):
    os.makedirs(os.path.join(d, "usr/bin"))
    os.makedirs(os.path.join(d, "proc/1"))
    os.makedirs(os.path.join(d, "private"), mode=0o700)
    for name, mode in (("usr/bin/tool", 0o4750), ("odd \n \udcff name", 0o600), ("n" * 254, 0o644), ("empty", 0o444),
                       ("proc/1/mem", 0o644), ("private/key", 0o600)):
        write_file(d, name, "" if name == "empty" else "text", mode)
    os.link(os.path.join(d, "private/key"), os.path.join(d, "second"))
    os.symlink("/etc/passwd", os.path.join(d, "outside"))
    os.symlink("usr/bin", os.path.join(d, "bin"))
    os.mkfifo(os.path.join(d, "pipe"))
    return d


def test_a_directory_with_all_that_it_may_hold():
    with scratch() as d:
        source = make_directory(os.path.join(d, "source"))
        found = tree(d, source)
        assert found["usr/bin/tool"] == "755 text"          # no set-id; what the owner may, the script may
        assert found["odd \n \udcff name"] == "644 text" and found["n" * 254] == "644 text" and found["empty"] == "444 "
        assert found["private"] == "755/" and found["private/key"] == found["second"] == "644 text"
        assert found["outside"] == "-> /etc/passwd" and found["bin"] == "-> usr/bin"
        assert "pipe" not in found and "proc/1" not in found
        _, said = made(d, source)
        assert "left out are 1 devices, pipes and sockets: pipe" in said, said
        assert "no /bin/sh" in said, said


def test_a_directory_that_its_owner_exchanges_for_a_link():
    """While it is listed, and while its files are read: nothing outside is."""
    sys.path.insert(0, os.path.join(TOP, "tools/image.d"))
    from blobs import Bounds
    from directory import read
    from report import Report, Wrong
    from tree import Tree, Writer

    for when in ("listed", "read", "a pipe"):
        with scratch() as here:
            def swap(path, fifo=False):
                os.rename(f"{here}/top/{path}", f"{here}/was")
                os.mkfifo(f"{here}/top/{path}") if fifo else os.symlink(f"{here}/outside", f"{here}/top/{path}")

            class Swapping(Report):
                def progress(self, text):
                    if when == "listed" and not os.path.exists(f"{here}/was"):
                        swap("d")
            os.makedirs(f"{here}/top/d")
            os.mkdir(f"{here}/outside")
            write_file(here, "outside/file", "secret")
            write_file(here, "top/d/file", "theirs")
            report = Swapping(quiet=True)
            bounds = Bounds(1 << 30, 1000, report, here)
            tree, said = Tree(bounds), []
            try:
                read(f"{here}/top", tree, bounds)
                assert when != "listed", list(tree.files())
                swap("d/file" if when == "a pipe" else "d", when == "a pipe")
            except Wrong as e:
                said.append(str(e))
            for _, node in tree.files():
                os.mkdir(f"{here}/out")
                for look in (lambda: node.read(0, 6), lambda: Writer(f"{here}/out", report).write(tree)):
                    try:
                        look()
                    except (Wrong, OSError) as e:
                        said.append(str(e))
                        continue
                    raise AssertionError("it was read")
            assert len(said) == (1 if when == "listed" else 2) and ("Not a directory" in said[0] or "is none now" in said[0]), said


def test_the_same_directory_gives_the_same_bytes():
    with scratch() as d:
        one, _ = made(d, make_directory(os.path.join(d, "a")), name="1")
        time.sleep(0.02)
        other = os.path.join(d, "b")    # other times, inodes and order
        os.mkdir(other)
        subprocess.run(f"ls -Ur '{d}/a' >/dev/null; cd '{d}/a' && tar -c . | tar -x --touch -C '{other}'", shell=True, check=True)
        assert same(one, made(d, other, name="2")[0])
        assert same(one, made(d, other, name="2")[0])       # over what was there


def test_directories_that_init_needs_and_the_account_of_the_script():
    with scratch() as d:
        source = os.path.join(d, "s")
        os.makedirs(os.path.join(source, "etc"))
        os.makedirs(os.path.join(source, "var"))
        os.symlink("var", os.path.join(source, "tmp"))
        write_file(source, "etc/passwd", "root:x:0:0::/:/bin/sh\napp:x:33:33::/:/bin/sh")
        write_file(source, "etc/group", "users:x:1000:\n")
        out, said = made(d, source)
        assert "replaced by a directory, which init needs: /tmp" in said, said
        top = tree_of(out, os.path.join(d, "tree"))
        assert os.stat(f"{top}/tmp").st_mode & 0o7777 == 0o1777 and not os.path.islink(f"{top}/tmp")
        with open(f"{top}/etc/passwd", encoding="utf-8") as f:
            assert f.read().endswith("app:x:33:33::/:/bin/sh\nscript:x:1000:1000:script:/tmp/home:/bin/sh\n")
        with open(f"{top}/etc/group", encoding="utf-8") as f:
            assert f.read() == "users:x:1000:\n"
        # each place that init mounts something on is in the list
        with open(os.path.join(TOP, "guest/mount.c"), encoding="utf-8") as f:
            wanted = set(re.findall(r'ROOT "(/(?!dev/)[a-z/]+)"', f.read()))
        assert {"/proc", "/tmp", "/work", "/out"} <= wanted
        for place in wanted:
            assert os.path.isdir(top + place) and not os.path.islink(top + place), place


TREE = {"a": "755/", "a/two": "644 2", "a/again": "644 1", "a/three": "755 3", "b": "755/", "b/new": "644 new",
        "c": "755/", "c/in": "644 in", "c/hard": "644 lib", "usr/lib/l": "644 lib", "usr/lib/m": "644 m",
        "lib": "-> usr/lib", "d": "644 now a file"}


def is_tree(found):
    for path, what in TREE.items():
        assert found.get(path) == what, (path, found.get(path))
    gone = {"a/one", "b/old", "b/deep", "b/deep/x", "d/f", "never"}
    assert not gone & set(found) and not [p for p in found if ".wh." in p], found


def test_layers_whiteouts_and_opaque_directories():
    for packer in ("", "+gzip", "+zstd"):
        with scratch() as d:
            is_tree(tree(d, Layout(LOWER, UPPER, packer=packer).write(os.path.join(d, "l"))))
    with scratch() as d:
        is_tree(tree(d, Layout(LOWER, UPPER).tar(os.path.join(d, "l.tar"))))
        is_tree(tree(d, docker_save(os.path.join(d, "s.tar"), LOWER, UPPER, UPPER)))
        with open(os.path.join(d, "s.tar"), "rb") as f:
            write_file(d, "s.tgz", gzip.compress(f.read()))
        is_tree(tree(d, os.path.join(d, "s.tgz")))


def test_the_same_archive_gives_the_same_bytes_in_whatever_form():
    with scratch() as d:
        images = [made(d, Layout(LOWER, UPPER, packer=p).write(os.path.join(d, f"l{n}")), name=str(n))[0]
                  for n, p in enumerate(("", "+gzip", "+gzip", "+zstd"))]
        images += [made(d, docker_save(os.path.join(d, "s.tar"), LOWER, UPPER), name=n)[0] for n in ("8", "9")]
        assert all(same(images[0], i) for i in images[1:])


def test_long_names_and_a_stream_of_two_gzip_members():
    with scratch() as d:
        name = "long/" * 30 + "n" * 200
        for form in (tarfile.PAX_FORMAT, tarfile.GNU_FORMAT):
            data = layer(entry(name, b"far"), link("to", "t" * 300), form=form)
            layout = Layout(data, packer="")
            packed = gzip.compress(data[:700]) + gzip.compress(data[700:])
            layout.packed[0] = layout.add(packed, "application/vnd.oci.image.layer.v1.tar+gzip")
            layout.manifests = []
            layout.add_manifest("x")
            found = tree(d, layout.write(os.path.join(d, form == 1 and "a" or "b")))
            assert found[name] == "644 far" and found["to"] == "-> " + "t" * 300


def test_one_of_several_images_by_its_name():
    with scratch() as d:
        layout = Layout(LOWER, tag="one:1")
        other = layer(entry("a/three", b"3"))
        layout.packed = [layout.add(other, "application/vnd.oci.image.layer.v1.tar")]
        layout.config = layout.add_json(config_of([other]), "application/vnd.oci.image.config.v1+json")
        layout.add_manifest("registry.example/two:2")
        other = dict(layout.manifests[0], platform={"os": "linux", "architecture": "s390x"})
        layout.manifests.append(other)
        layout.write_index()
        source = layout.write(os.path.join(d, "l"))
        r = image("-o", f"{d}/i", source)
        assert r.returncode == 1 and "2 images; choose one with --tag: one:1, registry.example/two:2" in r.stderr, r
        assert "a/three" in tree(d, source, "--tag", "two:2") and "a/one" in tree(d, source, "--tag", "one:1")
        r = image("-o", f"{d}/i", "--tag", "three", source)
        assert r.returncode == 1 and "no image 'three' in it; there are: one:1" in r.stderr, r
        r = image("--list", source)
        assert (r.returncode, r.stdout.splitlines()[0]) == (0, "one:1  linux/amd64  1 layers"), r


def test_what_is_not_used_of_the_settings_is_told():
    with scratch() as d:
        config = config_of([LOWER], Entrypoint=["python3", "-m", "app it"], Cmd=["--x\x1b[2J"], User="app",
                           Env=["PATH=/opt/bin:/usr/bin", "A=b c"], WorkingDir="/srv")
        _, said = made(d, Layout(LOWER, config=config).write(os.path.join(d, "l")))
        assert "--env PATH=/opt/bin:/usr/bin --env 'A=b c' --chdir /srv --exec -- python3 -m 'app it'" in said, said
        assert "not as app" in said and "\x1b" not in said, said
        long = config_of([LOWER], Cmd=["x" * 5000] * 500, Env=[f"A{n}=\n" for n in range(5000)])
        _, said = made(d, Layout(LOWER, config=long).write(os.path.join(d, "n")))
        assert len(said) < 20000 and len(said.splitlines()) < 6, len(said)
        config = config_of([LOWER], Env=["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"])
        assert "note: its environment" not in made(d, Layout(LOWER, config=config).write(os.path.join(d, "m")))[1]


def test_a_missing_library_and_interpreter_are_told():
    with scratch() as d:
        base = tree_of(os.path.join(TOP, "build/share/dolania/images/base.erofs"), os.path.join(d, "base"))
        assert "lack" not in made(d, base)[1]
        os.unlink(os.path.join(base, "usr/lib/x86_64-linux-gnu/libtinfo.so.6"))
        assert "/usr/bin/bash (libtinfo.so.6)" in made(d, base)[1]
        check = [os.path.join(TOP, "tools/image.d/libraries.py"), base]     # as rootfs/build.sh asks
        r = subprocess.run(check, stdout=subprocess.PIPE, text=True, check=False)
        assert r.returncode == 1 and "/usr/bin/bash libtinfo.so.6\n" in r.stdout, r
        os.unlink(os.path.join(base, "lib64/ld-linux-x86-64.so.2"))
        assert "ld-linux-x86-64.so.2" in made(d, base)[1]


def test_usage_errors_are_one_line():
    with scratch() as d:
        os.mkdir(f"{d}/empty")
        cut = bytearray(layer(entry("f", b"x")))
        cut[0:3] = b"???"
        for name, content in (("text", "print(1)\n"), ("long", "print(1)\n" * 1000), ("packed", gzip.compress(b"text" * 1000)),
                              ("nothing", ""), ("cut", bytes(cut))):
            write_file(d, name, content)
        for args, word in ((("-o", "x"), "nothing to make an image of"), ((d,), "-o FILE or --name NAME"),
                           (("-o", f"{d}/x", f"{d}/none"), "no such file"), (("--nme", "x"), "--help"),
                           (("-o", f"{d}/x", "--max-size", "many", d), "a size is a number"),
                           (("-o", f"{d}/x", d, d), "one source at a time"), (("-o", d, f"{d}/empty"), "is a directory"),
                           (("--name", "base", d), "a runtime of ours"), (("--name", "a/b", d), "for a path there is -o"),
                           (("-o", f"{d}/x", "--packages", "Bash;rm"), "not the name of a Debian package"),
                           (("-o", f"{d}/x", "--packages-from", f"{d}/none"), "no such file"),
                           (("-o", f"{d}/x", "--tag", "t", "--as-directory", d), "has no names"),
                           (("-o", f"{d}/none/x", d), "none/x: the directory that it is to be made in is not there"),
                           (("-o", f"{d}/none/x", "--packages", "bash"), "made in is not there"),
                           (("-o", f"{d}/text/x", d), "text: Not a directory"),
                           (("-o", f"{d}/x", f"{d}/text"), "text: neither a tar archive (plain,"),
                           (("-o", f"{d}/x", f"{d}/long"), "long: neither a tar archive"),
                           (("-o", f"{d}/x", f"{d}/packed"), "packed: neither a tar archive"),
                           (("-o", f"{d}/x", f"{d}/nothing"), "nothing: neither a tar archive"),
                           (("-o", f"{d}/x", f"{d}/cut"), "a header at byte 0 is damaged"),
                           (("-o", f"{d}/x", "/dev/null"), "must be a directory or a regular file"),
                           (("-o", f"{d}/x", f"{d}/empty"), "there is no file in it")):
            r = image(*args)
            assert r.returncode == 1 and word in r.stderr and len(r.stderr.splitlines()) == 1, (args, r)
            assert not os.path.exists(f"{d}/none"), args
        assert image("--help").returncode == 0


def test_the_image_of_the_end_to_end_tests_is_built():
    """Here, where it is quick."""
    assert os.path.isfile(oci_of_base())


def test_an_image_beside_the_runtimes():
    name = f"test-{os.getpid()}"
    path = os.path.join(TOP, f"build/share/dolania/images/{name}.erofs")
    with scratch() as d:
        try:
            r = image("--name", name, Layout(LOWER).write(f"{d}/l"))
            assert r.returncode == 0 and f"--runtime {name}" in r.stderr, r
            assert os.path.isfile(path) and f"\n{name} " in "\n" + image("--list").stdout
        finally:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(path)


def test_progress_is_for_terminals_and_leaves_no_line():
    with scratch() as d:
        source = Layout(layer(*[entry(f"d{n}/f", b"x") for n in range(4000)], entry("big", os.urandom(20 << 20)))).write(f"{d}/l")
        seen = {}
        for option in ("--max-size=1G", "--quiet"):
            master, slave = pty.openpty()
            with subprocess.Popen([IMAGE, option, "-o", f"{d}/i", source], stderr=slave, stdin=subprocess.DEVNULL) as p:
                os.close(slave)
                seen[option] = b""
                with contextlib.suppress(OSError):      # EIO is its end
                    while data := os.read(master, 65536):
                        seen[option] += data
                assert p.wait() == 0, seen
            os.close(master)
        told = seen["--max-size=1G"]
        assert b"image: unpacking" in told or b"image: writing" in told, told
        # each is erased by the next, and the last before what stays
        left = [line.rsplit(b"\r\x1b[K")[-1] for line in told.split(b"\r\n")]
        assert left[-1] == b"" and all(line.startswith(b"image: ") for line in left[:-1]), told
        assert not any(b"unpacking" in line or b"writing" in line for line in left), left
        assert seen["--quiet"] == b"", seen


def test_cancelled_it_leaves_nothing():
    with scratch() as d:
        source = Layout(layer(entry("f", os.urandom(40 << 20)))).write(f"{d}/l")
        for delay in (0.1, 0.3, 0.5):
            with subprocess.Popen([IMAGE, "-o", f"{d}/i", source], stderr=subprocess.PIPE, text=True) as p:
                time.sleep(delay)
                p.send_signal(signal.SIGTERM)
                said = p.communicate()[1]
            assert sorted(os.listdir(d)) in (["l"], ["i", "l"]), os.listdir(d)
            if p.returncode != 0:
                assert "Traceback" not in said, said
                assert "i" not in os.listdir(d)


def test_an_ordinary_user_can_do_it():
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    with scratch() as d:
        os.chmod(d, 0o777)
        source = Layout(LOWER, layer(entry("closed", b"x", mode=0), folder("shut", 0), entry("shut/f", b"y"))).write(f"{d}/l")
        r = image("-o", f"{d}/theirs", source, before=NOBODY)
        if r.returncode == 126 or "Permission denied" in r.stderr and TOP in r.stderr:
            raise Skip("the checkout is not readable for another user")
        assert r.returncode == 0, r
        assert same(f"{d}/theirs", made(d, source)[0])
        found = tree(d, source)
        assert found["closed"] == "444 x" and found["shut/f"] == "644 y"


LIST = "dash\nlibc6\nlibc-bin\nlibgcc-s1\n"


@slow
@needs("build/rootfs/debs")
def test_packages_of_a_list():
    """What the archive has is fetched already: these are the base image's."""
    with scratch() as d:
        recipe = write_file(d, "list", LIST)
        images = []
        for n in "12":
            r = image("-o", f"{d}/{n}", "--packages-from", recipe)
            assert r.returncode == 0 and len(r.stderr.splitlines()) == 1 and ".image-" not in r.stderr, r
            assert f"image: {d}/{n}: " in r.stderr and "no /bin/sh" not in r.stderr, r
            images.append(f"{d}/{n}")
        assert same(*images)
        top = tree_of(images[0], f"{d}/tree")
        assert os.readlink(f"{top}/usr/bin/sh") == "dash" and os.path.isdir(f"{top}/out")
        r = image("-o", f"{d}/3", "--packages-from", write_file(d, "list", "libc6\nlibgcc-s1\n"))
        told = r.stderr.splitlines()
        assert r.returncode == 0 and len(told) == 2 and f"image {d}/3: note: it has no /bin/sh, so only --exec" in told[0], r
        r = image("-q", "-o", f"{d}/3", "--packages-from", f"{d}/list")
        assert (r.returncode, r.stderr) == (0, ""), r
        os.unlink(f"{d}/3")
        r = image("-o", f"{d}/3", "--packages-from", write_file(d, "list", "dash\n"))
        assert r.returncode == 1 and "libraries missing" in r.stderr and "libc.so.6" in r.stderr, r
        r = image("-o", f"{d}/3", "--packages", "no-such-package-at-all")
        assert r.returncode == 1 and "no-such-package-at-all" in r.stderr, r


@slow
@needs("build/rootfs/debs")
def test_packages_by_name_as_an_ordinary_user():
    """With what they depend on; in a copy of the recipes, which the user may write beside."""
    if os.geteuid() != 0:
        raise Skip("only root can become another user")
    with scratch() as d:
        for part in ("rootfs", "tools/image.d"):
            shutil.copytree(os.path.join(TOP, part), f"{d}/{part}")
        shutil.copy(IMAGE, f"{d}/tools/image")
        shutil.copytree(os.path.join(TOP, "build/rootfs/debs"), f"{d}/build/rootfs/debs",
                        ignore=lambda _, names: [n for n in names if not n.startswith(("dash", "lib", "gcc-12-base", "debi"))])
        subprocess.run(["chown", "-R", "65534:65534", d], check=True)
        r = subprocess.run([*NOBODY, f"{d}/tools/image", "-o", f"{d}/i", "--packages", "dash"], capture_output=True,
                           text=True, stdin=subprocess.DEVNULL, check=False)
        assert r.returncode == 0, r
        assert os.path.exists(tree_of(f"{d}/i", f"{d}/tree") + "/usr/bin/dash")


@slow
@needs("build/rootfs/debs")
def test_two_builds_of_base_give_the_same_bytes():
    with scratch() as d:
        for n in "12":
            subprocess.run([os.path.join(TOP, "rootfs/build.sh"), "--list", os.path.join(TOP, "rootfs/base.pkgs"), f"{d}/{n}"],
                           stdin=subprocess.DEVNULL, check=True)
        assert same(f"{d}/1", f"{d}/2")
        assert same(f"{d}/1", os.path.join(TOP, "build/share/dolania/images/base.erofs"))


def test_its_own_files_are_in_order():
    """No file is longer than ours may be, and Python's compiler has nothing to say."""
    for name in [IMAGE] + [os.path.join(TOP, "tools/image.d", f) for f in os.listdir(os.path.join(TOP, "tools/image.d"))
                           if f.endswith(".py")]:
        with open(name, encoding="utf-8") as f:
            text = f.read()
        compile(text, name, "exec")
        assert text.count("\n") <= 400, name

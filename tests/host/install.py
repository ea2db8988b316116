"""make install and make uninstall: what they put where, and what they leave alone.  No VM."""
import contextlib
import os
import re
import shutil
import subprocess

from lib import TOP, scratch, write_file

DOLANIA = os.path.join(TOP, "build/bin/dolania")


def make(d, *words):
    return subprocess.run(["make", "-s", "-C", TOP, f"DESTDIR={d}", "PREFIX=/usr", *words], capture_output=True, text=True,
                          stdin=subprocess.DEVNULL, check=False)


@contextlib.contextmanager
def installed(*words):
    with scratch() as d:
        r = make(d, "install", *(words or ("IMAGES=base",)))
        assert r.returncode == 0 and r.stderr == "", r
        yield d, f"{d}/usr"


def files(d):
    return {os.path.relpath(os.path.join(p, f), d) for p, _, fs in os.walk(d) for f in fs}


def test_uninstall_removes_what_install_put_there_and_keeps_and_names_the_rest():
    with installed() as (d, to):
        own = {"usr/share/dolania/images/mine.erofs", "usr/share/dolania/policies/mine.ini", "usr/bin/other"}
        for path in own:
            write_file(d, path, "mine")
        r = make(d, "uninstall")
        assert r.returncode == 0 and files(d) == own, (r, files(d))
        for path in own - {"usr/bin/other"}:
            assert f"{d}/{path}\n" in r.stdout, r
        assert "usr/bin/other" not in r.stdout, r
        assert not os.path.exists(f"{to}/libexec/dolania") and not os.path.exists(f"{to}/share/doc/dolania")
        r = make(d, "uninstall")
        assert r.returncode == 0 and "no dolania is installed there" in r.stdout, r


def test_an_install_over_another_forgets_nothing_of_it():
    with installed() as (d, to):
        os.makedirs(f"{to}/share/doc/dolania", exist_ok=True)
        write_file(to, "share/doc/dolania/of-before.md", "")
        with open(f"{to}/share/dolania/installed", "a", encoding="utf-8") as f:
            f.write("share/doc/dolania/of-before.md\n")
        assert make(d, "install", "IMAGES=base").returncode == 0
        r = make(d, "uninstall")
        assert (r.returncode, r.stdout, files(d)) == (0, "", set()), (r, files(d))


def test_uninstall_goes_by_no_list_that_leads_elsewhere():
    for name in ("../outside", "/outside", "share/../../outside", ".."):
        with installed() as (d, to):
            write_file(d, "outside", "mine")
            with open(f"{to}/share/dolania/installed", "a", encoding="utf-8") as f:
                f.write(f"{name}\n")
            r = make(d, "uninstall")
            assert r.returncode != 0 and "is no name that an install wrote" in r.stderr, r
            assert os.path.exists(f"{d}/outside") and os.path.exists(f"{to}/bin/dolania")
    with installed() as (d, to):        # of a version that kept no list
        os.unlink(f"{to}/share/dolania/installed")
        r = make(d, "uninstall")
        assert r.returncode != 0 and "'make install' once more" in r.stderr and os.path.exists(f"{to}/bin/dolania"), r


def test_the_images_that_are_installed():
    with installed() as (_, to):
        assert os.listdir(f"{to}/share/dolania/images") == ["base.erofs"]
    with scratch() as d:
        r = make(d, "install", "IMAGES=base nosuch")
        assert r.returncode != 0 and "nosuch is not built" in r.stderr and not files(d), r
    # Of all that are built, CPython's tests stay here; in a copy, where images are small.
    with scratch() as d:
        for part in ("tools", "rootfs", "docs", "kernel-config", "README.md", "LICENSE"):
            copy = shutil.copy if os.path.isfile(os.path.join(TOP, part)) else shutil.copytree
            copy(os.path.join(TOP, part), f"{d}/{part}")
        for part in ("build/bin", "build/libexec", "build/share/dolania/policies"):
            shutil.copytree(os.path.join(TOP, part), f"{d}/{part}")
        os.makedirs(f"{d}/build/share/dolania/images")
        for f in ("vmlinux", "init.cpio", "images/base.erofs", "images/python-test.erofs", "images/mine.erofs"):
            write_file(d, f"build/share/dolania/{f}", "")
        subprocess.run([f"{d}/tools/make/install", "/usr", f"{d}/to"], check=True, stdout=subprocess.DEVNULL)
        assert sorted(os.listdir(f"{d}/to/usr/share/dolania/images")) == ["base.erofs", "mine.erofs"]


def test_links_of_the_installed_pages_lead_somewhere():
    with installed() as (_, to):
        where, seen = f"{to}/share/doc/dolania", 0
        for page in sorted(f for f in os.listdir(where) if f.endswith(".md")):
            with open(f"{where}/{page}", encoding="utf-8") as f:
                text = f.read()
            for target in re.findall(r"\]\(([^)#]+)[^)]*\)", text):
                if not target.startswith(("http:", "https:")):
                    seen += 1
                    assert os.path.isfile(os.path.join(where, target)), (page, target)
            for name in re.findall(r"`docs/([\w.-]+)`", text):
                raise AssertionError(f"{page} speaks of docs/{name}, which is {name} there")
        assert seen > 30, seen
        with open(f"{to}/share/man/man1/dolania.1", encoding="utf-8") as f:
            named = re.findall(r"/usr/share/doc/dolania/[a-z-]+\.md", f.read())
        assert named and all(os.path.isfile(f"{to}{n[4:]}") for n in named), named


def test_what_is_installed_works():
    with installed() as (_, to):
        for shell, path in (("bash", "bash-completion/completions/dolania"), ("zsh", "zsh/site-functions/_dolania"),
                            ("fish", "fish/vendor_completions.d/dolania.fish")):
            with open(f"{to}/share/{path}", encoding="utf-8") as f:
                assert f.read() == subprocess.run([DOLANIA, "completion", shell], capture_output=True, text=True,
                                                  check=True).stdout
        r = subprocess.run([f"{to}/bin/dolania-image", "--list"], capture_output=True, text=True, check=False)
        assert r.returncode == 0 and r.stdout.startswith("base "), r
        r = subprocess.run([f"{to}/bin/dolania", "policy", "list"], capture_output=True, text=True, check=False)
        assert r.returncode == 0 and "provisional" in r.stdout, r
        with open(f"{to}/share/dolania/apparmor/dolania", encoding="utf-8") as f:
            text = f.read()
        assert "@PREFIX@" not in text and "/usr/" in text
        for path in files(to):
            mode = os.stat(f"{to}/{path}").st_mode & 0o777
            assert mode == 0o755 if path.startswith("bin/") else mode in (0o644, 0o755), (path, oct(mode))


def test_the_umask_closes_nothing():
    with scratch() as d:
        r = subprocess.run(["sh", "-c", f"umask 077; make -s -C '{TOP}' DESTDIR='{d}' PREFIX=/opt/x IMAGES=base install"],
                           capture_output=True, text=True, check=False)
        assert r.returncode == 0, r
        for p, ds, fs in os.walk(f"{d}/opt"):
            for n in ds + fs:
                assert os.stat(os.path.join(p, n)).st_mode & 0o044 == 0o044, os.path.join(p, n)


def test_make_asks_no_compiler_before_it_is_installed():
    """The first make of a bare machine has to get that far without noise."""
    with scratch() as d:
        for program in ("sh", "sed", "nproc"):
            os.symlink(shutil.which(program), f"{d}/{program}")
        r = subprocess.run([shutil.which("make"), "-C", TOP, "help"], env={"PATH": d}, capture_output=True, text=True, check=False)
        assert r.returncode == 0 and "make setup" in r.stdout and r.stderr == "", r

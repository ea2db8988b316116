"""The patches of the guest's kernel: small, explained, and they fit Debian's source, also its other releases."""
import glob
import os
import re
import subprocess
import tempfile

from lib import TOP, slow

PACKAGE = "linux-source-6.12"
TARBALL = f"/usr/src/{PACKAGE}.tar.xz"
CHANGED_MAX = 60
CHANGED_MAX_ALL = 300
PATCHES = sorted(glob.glob(os.path.join(TOP, "kernel-config/patches/*.patch")))


def changed(patch):
    """Its lines that add or take away."""
    with open(patch, encoding="utf-8") as f:
        return sum(bool(re.match(r"\+(?!\+\+ )|-(?!-- )", line)) for line in f)


def touched():
    names = set()
    for patch in PATCHES:
        with open(patch, encoding="utf-8") as f:
            names.update(re.findall(r"^--- a/(\S+)", f.read(), re.M))
    return sorted(names)


def apply_all(tarball, folder):
    """No fuzz: each hunk finds its whole context."""
    subprocess.run(["tar", "-xJf", tarball, "-C", folder, *(f"{PACKAGE}/{name}" for name in touched())], check=True)
    for patch in PATCHES:
        done = subprocess.run(["patch", "--fuzz=0", "--batch", "-p1", "-d", f"{folder}/{PACKAGE}", "-i", patch],
                              capture_output=True, text=True)
        assert done.returncode == 0, f"{os.path.basename(patch)}: {done.stdout}{done.stderr}"
        assert "Reversed" not in done.stdout and "fuzz" not in done.stdout, done.stdout


def test_patches_are_small_and_explained():
    assert PATCHES
    sizes = {os.path.basename(p): changed(p) for p in PATCHES}
    assert all(0 < n < CHANGED_MAX for n in sizes.values()), sizes
    assert sum(sizes.values()) < CHANGED_MAX_ALL, sizes
    for patch in PATCHES:
        with open(patch, encoding="utf-8") as f:
            head, _, body = f.read().partition("\n\n")
        reason = body.partition("--- a/")[0]
        assert head and "\n" not in head and len(reason.split()) > 20, f"{patch} does not say why"


def test_patches_fit_the_source():
    with tempfile.TemporaryDirectory() as folder:
        apply_all(TARBALL, folder)


@slow
def test_patches_fit_all_releases_that_debian_offers():
    offered = subprocess.run(["apt-cache", "madison", PACKAGE], capture_output=True, text=True, check=True).stdout
    versions = [line.split("|")[1].strip() for line in offered.splitlines()]
    assert versions
    for version in versions:
        with tempfile.TemporaryDirectory() as folder:
            os.chmod(folder, 0o755)
            subprocess.run(["apt-get", "-q", "download", f"{PACKAGE}={version}"], cwd=folder, check=True,
                           stdout=subprocess.DEVNULL)
            deb, = glob.glob(f"{folder}/*.deb")
            subprocess.run(["dpkg-deb", "-x", deb, f"{folder}/deb"], check=True)
            os.unlink(deb)
            apply_all(f"{folder}/deb{TARBALL}", folder)
            print(f"{PACKAGE} {version}: the patches fit")

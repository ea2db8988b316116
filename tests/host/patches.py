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


def lines_of(name):
    with open(os.path.join(TOP, "kernel-config", name), encoding="utf-8") as f:
        return f.read().splitlines()


def checked(folder, lines):
    config = os.path.join(folder, "config")
    with open(config, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    done = subprocess.run([os.path.join(TOP, "kernel-config/build.sh"), "--check", config], capture_output=True, text=True)
    return done.returncode, done.stderr


def test_a_configuration_that_a_patch_does_not_stand_is_refused():
    """Each line of assumed.config, turned round, and each for a patch that exists."""
    assumed = [line for line in lines_of("assumed.config") if re.match(r"CONFIG_|# CONFIG_", line)]
    asked = {re.sub(r"^# | is not set$|=.*", "", line) for line in assumed}
    assert {"CONFIG_NUMA", "CONFIG_MEMORY_HOTPLUG", "CONFIG_SMP", "CONFIG_SWAP"} <= asked and len(asked) == len(assumed)
    with tempfile.TemporaryDirectory() as folder:
        assert checked(folder, assumed) == (0, "")
        for i, line in enumerate(assumed):
            option = re.sub(r"^# | is not set$|=.*", "", line)
            other = f"# {option} is not set" if line.endswith("=y") else f"{option}=y"
            rc, said = checked(folder, assumed[:i] + [other] + assumed[i + 1:])
            assert rc == 1 and f"{option}: wanted" in said, (option, rc, said)


def test_an_assumption_names_its_patch():
    there = {os.path.basename(p)[:4] for p in PATCHES}
    for line in lines_of("assumed.config"):
        reason = re.match(r"# (all|[0-9, ]+): ", line)
        if reason and reason[1] != "all":
            assert set(reason[1].split(", ")) <= there, line


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

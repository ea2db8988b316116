"""disks: what a machine without 9p is made of: the host's programs and the checkout, each an EROFS image.

Both are kept in build/kvm-host/ as long as what they are made from stays the same.
"""
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import tempfile

from qemu import BUILD, TOP, HostFailed

CYLINDER = 16 * 63 * 512
# With all that they depend on.  What COMMAND may use, and no more: each MiB is written anew when one changes.
PACKAGES = ("base-files", "bash", "binutils", "bsdutils", "busybox-static", "coreutils", "dash", "diffutils", "e2fsprogs", "erofs-utils",
            "findutils", "gawk", "grep", "gzip", "hostname", "libc-bin", "mawk", "mount", "ncurses-base", "passwd",
            "procps", "python3", "python3-jsonschema", "sed", "strace", "tar", "util-linux", "xz-utils", "zstd")
ETC = ("alternatives", "debian_version", "group", "ld.so.cache", "ld.so.conf", "ld.so.conf.d", "localtime",
       "nsswitch.conf", "passwd", "python3", "python3.11", "terminfo")
LEAVE_OUT = re.compile("/usr/share/(doc|man|locale|info|lintian|bash-completion|bug)/")
# What of build/ goes in; the larger images stay outside.
BUILT = ("bin", "libexec", "setup/kvm-probe", "share", "tests/guests", "tests/hostile", "tests/intel")
NOT_BUILT = re.compile(r"share/dolania/images/(?!base\.|python\.)|tests/hostile/controls/|tests/hostile/lock$|\.debug$")


def text(*command):
    return subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, check=True).stdout.decode()


def closure():
    """The packages that are installed of PACKAGES and of all that they need."""
    needs, wanted, found = {}, list(PACKAGES), {}
    for line in text("dpkg-query", "-W", "-f", r"${Package}\t${Version}\t${Pre-Depends}, ${Depends}\t${Provides}\n").splitlines():
        name, version, depends, provides = line.split("\t")
        words = [re.match(r"[^\s(:]*", x.strip())[0] for x in re.split("[,|]", depends)]
        needs[name] = (version, words)
        for other in provides.split(","):
            needs.setdefault(re.match(r"[^\s(:]*", other.strip())[0], (version, [name]))
    while wanted:
        name = wanted.pop()
        if name in needs and name not in found:
            found[name] = needs[name][0]
            wanted += needs[name][1]
    return found


def system_files(packages):
    """Paths without a symbolic link before the last part: /bin/x is /usr/bin/x."""
    found = {"/" + d for d in ("dev", "proc", "sys", "run", "tmp", "var/tmp", "root", "home", "mnt")}
    found |= {p for p in ("/bin", "/sbin", "/lib", "/lib64", "/lib32", "/libx32") if os.path.lexists(p)}
    for name in packages:
        for path in (f"/var/lib/dpkg/info/{name}.list", f"/var/lib/dpkg/info/{name}:amd64.list"):
            if os.path.exists(path):
                with open(path, encoding="utf-8") as f:
                    for line in f.read().splitlines():
                        where, base = os.path.split(line)
                        path = os.path.join(os.path.realpath(where), base)
                        if not LEAVE_OUT.match(path) and os.path.lexists(path):
                            found.add(path)
    # What update-alternatives made, and /bin/sh.
    for name in os.listdir("/usr/bin"):
        path = f"/usr/bin/{name}"
        if os.path.islink(path) and (name == "sh" or os.readlink(path).startswith("/etc/alternatives/")):
            found.add(path)
    for name in ETC:
        path = f"/etc/{name}"
        if os.path.isdir(path):
            found |= {os.path.join(d, x) for d, _, names in os.walk(path) for x in names}
        elif os.path.lexists(path):
            found.add(path)
    return sorted(p for p in found if p != "/." and not p.startswith("/etc/shadow"))


def checkout_files():
    """What git has or would take, and what was built."""
    names = text("git", "-C", TOP, "ls-files", "-z", "--cached", "--others", "--exclude-standard").split("\0")
    for part in BUILT:
        top = os.path.join(TOP, "build", part)
        names += [os.path.relpath(os.path.join(d, x), TOP) for d, _, files in os.walk(top) for x in files]
        names += [f"build/{part}"] if os.path.isfile(top) else []
    return sorted({os.path.join(TOP, x) for x in names
                   if x and not NOT_BUILT.search(x) and os.path.lexists(os.path.join(TOP, x))})


def state(paths):
    h = hashlib.sha256()
    for path in paths:
        s = os.lstat(path)
        h.update(f"{path}\0{s.st_mode}\0{s.st_size}\0{s.st_mtime_ns}\0{s.st_ino}\n".encode(errors="surrogateescape"))
    return h.hexdigest()


def image(name, paths, key):
    """build/kvm-host/NAME.erofs, made of these files unless it is already; a directory without its files."""
    out = os.path.join(BUILD, f"{name}.erofs")
    try:
        with open(f"{out}.key", encoding="ascii") as f:
            if f.read() == key and os.path.exists(out):
                return out
    except OSError:
        pass
    with tempfile.TemporaryDirectory(dir=BUILD, prefix=f"{name}.") as d:
        tree = os.path.join(d, "tree")
        os.mkdir(tree)
        with subprocess.Popen(["tar", "-c", "-C", "/", "--no-recursion", "--null", "-T", "-"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE) as pack:
            unpack = subprocess.Popen(["tar", "-x", "-C", tree], stdin=pack.stdout)
            pack.stdout.close()
            pack.stdin.write(b"".join(os.fsencode(p.lstrip("/")) + b"\0" for p in paths))
            pack.stdin.close()
            if unpack.wait() or pack.wait():
                raise HostFailed(f"the files of {name} could not be gathered")
        subprocess.run(["mkfs.erofs", "--all-root", "--quiet", f"{d}/image", tree], stdin=subprocess.DEVNULL, stdout=2, check=True)
        size = os.path.getsize(f"{d}/image")
        os.truncate(f"{d}/image", -(-size // CYLINDER) * CYLINDER)
        os.rename(f"{d}/image", out)
        with open(f"{out}.key", "w", encoding="ascii") as f:
            f.write(key)
    return out


def prepare():
    """The files of a machine, by the names that its configuration has for them."""
    for tool in ("bochs", "mkfs.erofs", "dpkg-query", "git"):
        if not shutil.which(tool):
            raise HostFailed(f"--vendor intel needs '{tool}'; run tools/setup/packages.sh intel")
    with open(os.path.join(BUILD, "disks.lock"), "w", encoding="ascii") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        packages = closure()
        with open(__file__, "rb") as f:
            salt = hashlib.sha256(f.read() + repr(sorted(packages.items())).encode()).hexdigest()
        with open("/etc/passwd", "rb") as f:
            salt += hashlib.sha256(f.read()).hexdigest()
        system = image("system", system_files(packages), salt)
        files = checkout_files()
        checkout = image("checkout", files, salt + state(files))
    return {"iso": os.path.join(BUILD, "intel.iso"), "system": system, "checkout": checkout}

"""An image's tree, in memory: what lies where, and in which file its bytes are.

Sources of all kinds end here, layers of untrusted archives too. Nothing of them is
ever extracted into the host's file system by its name in the archive: a link is text, and a
path is walked in this tree alone, whose '..' ends at its own root.
"""
import contextlib
import os
import stat

from report import Wrong, safe

NAME_MAX = 254          # of a component: mkfs.erofs of Debian 12 fails at 255
PATH_MAX = 4096
DEPTH_MAX = 200
LINKS_MAX = 40          # followed for one path, as in Linux
STEPS_MAX = 1000        # taken for one path: links may lead to and fro between two directories


class Dir:
    __slots__ = ("mode", "children")

    def __init__(self, mode=0o755):
        self.mode, self.children = mode, {}


def open_beneath(top, parts, flags):
    """Opens what `parts` lead to from the directory `top`; no component may be a link, now."""
    at = top
    try:
        for n, part in enumerate(parts or (b".",), 1):
            kind = flags if n >= len(parts) else os.O_PATH | os.O_DIRECTORY
            below = os.open(part, kind | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, dir_fd=at)
            if at != top:
                os.close(at)
            at = below
    except OSError:
        if at != top:
            os.close(at)
        raise
    return at


class File:
    """Regular; its bytes are `data`, or those at `offset` in the file `fd`, or those of the host's file `parts` below `fd`."""
    __slots__ = ("mode", "size", "fd", "offset", "parts", "data")

    def __init__(self, mode, size, fd=None, offset=0, parts=None, data=None):
        self.mode, self.size = mode, size
        self.fd, self.offset, self.parts, self.data = fd, offset, parts, data

    @contextlib.contextmanager
    def opened(self):
        if self.parts is None:
            yield self.fd
            return
        fd = open_beneath(self.fd, self.parts, os.O_RDONLY)
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise Wrong(f"{safe(b'/'.join(self.parts))}: it was a file, and is none now")
            yield fd
        finally:
            os.close(fd)

    def read(self, at, n):
        """Some of its bytes, for a look at them."""
        if self.data is not None:
            return self.data[at:at + n]
        n = max(0, min(n, self.size - at))
        with self.opened() as fd:
            return os.pread(fd, n, self.offset + at)


class Link:
    __slots__ = ("target",)

    def __init__(self, target):
        self.target = target


def plain_mode(mode, directory):
    """The mode in the image, where all belongs to root and the script is the only user.

    What its owner may read or execute, the script may. No set-id bit stays, nor a file's sticky bit.
    """
    mode |= 0o500 if directory else 0o400
    readable = mode & 0o500
    return mode & (0o1777 if directory else 0o777) | readable >> 3 | readable >> 6


def components(path, where):
    """Those of a name in an archive, which tarball.py has bounded; none for the root itself."""
    parts = [p for p in path.split(b"/") if p not in (b"", b".")]
    if b".." in parts:
        raise Wrong(f"{where}: {safe(path)}: the name has '..' in it; such an image is not what a builder makes")
    if len(parts) > DEPTH_MAX:
        raise Wrong(f"{where}: {safe(path)}: deeper than {DEPTH_MAX} directories")
    for part in parts:
        if len(part) > NAME_MAX:
            raise Wrong(f"{where}: {safe(part[:40])}...: a name of {len(part)} bytes; {NAME_MAX} are the limit")
    return parts


class Tree:
    """What there is to count of it is counted in its bounds; directories that names lead through, here."""

    def __init__(self, bounds):
        self.root, self.bounds = Dir(), bounds
        self.steps = 0          # that follow() took: short paths may have long ways

    def walk(self, parts, where, make=False):
        """The directory at `parts`, links followed inside the tree; None if there is none and `make` is false."""
        at, above, todo, links, steps = self.root, [], list(reversed(parts)), 0, 0
        while todo:
            part = todo.pop()
            steps += 1
            if part in (b"", b"."):
                continue
            if part == b"..":
                at = above.pop() if above else self.root
                continue
            child = at.children.get(part)
            if isinstance(child, Link):
                links += 1
                todo.extend(reversed(child.target.split(b"/")))
                if links > LINKS_MAX or steps + len(todo) > STEPS_MAX:
                    raise Wrong(f"{where}: {safe(b'/'.join(parts))}: too many links lead there")
                if child.target.startswith(b"/"):
                    at, above = self.root, []
                continue
            if child is None and make:
                self.bounds.entry(where)
                child = at.children[part] = Dir()
            if not isinstance(child, Dir):
                if make:
                    raise Wrong(f"{where}: {safe(b'/'.join(parts))}: {safe(part)} is no directory")
                return None
            if len(above) >= DEPTH_MAX:
                raise Wrong(f"{where}: {safe(b'/'.join(parts))}: deeper than {DEPTH_MAX} directories")
            above.append(at)
            at = child
        return at

    def parent(self, parts, where):
        return self.walk(parts[:-1], where, make=True).children

    def get(self, path):
        """What is at a path, the last component not followed; None if there is nothing."""
        parts = [p for p in path.split(b"/") if p]
        directory = self.walk(parts[:-1], "lookup")
        return self.root if not parts else directory.children.get(parts[-1]) if directory else None

    def follow(self, path):
        """The path that `path` leads to, in which no component is a link; None if it leads nowhere."""
        done, todo, links = [], [p for p in reversed(path.split(b"/")) if p], 0
        while todo:
            part = todo.pop()
            self.steps += 1 + len(done)
            if part in (b".", b""):
                continue
            if part == b"..":
                done = done[:-1]
                continue
            node = self.get(b"/".join([*done, part]))
            if node is None:
                return None
            if isinstance(node, Link):
                links += 1
                if links > LINKS_MAX or len(todo) > PATH_MAX:
                    return None
                if node.target.startswith(b"/"):
                    done = []
                todo.extend(reversed(node.target.split(b"/")))
                continue
            done.append(part)
        return b"/".join(done)

    def put(self, parts, node, where):
        """Puts it there; a directory joins one that is there, all else takes its place."""
        if not parts:
            if not isinstance(node, Dir):
                raise Wrong(f"{where}: its root is no directory")
            self.root.mode = node.mode
            return
        siblings = self.parent(parts, where)
        before = siblings.get(parts[-1])
        if isinstance(node, Dir) and isinstance(before, Dir):
            before.mode = node.mode
        else:
            siblings[parts[-1]] = node

    def files(self):
        """(path, node) of all but directories, in order."""
        todo = [(b"", self.root)]
        while todo:
            path, node = todo.pop()
            if isinstance(node, Dir):
                todo.extend((path + b"/" + name if path else name, node.children[name])
                            for name in sorted(node.children, reverse=True))
            else:
                yield path, node


def load_places(path):
    """rootfs/places: (path, mode, hidden) of each."""
    with open(path, encoding="utf-8") as f:
        for line in f:
            words = line.split()
            if words and words[0] != "#":
                yield words[0].encode(), int(words[1], 8), words[2:] == ["h"]


def add_places(tree, places):
    """The directories that the guest's init needs. Returns what was in the way of them."""
    replaced = []
    for path, mode, hidden in places:
        at, parts = tree.root, path.split(b"/")
        for i, part in enumerate(parts):
            child = at.children.get(part)
            if not isinstance(child, Dir):
                if child is not None:
                    replaced.append(b"/".join(parts[:i + 1]))
                child = at.children[part] = Dir()
            at = child
        at.mode = mode
        if hidden:
            at.children.clear()
    return replaced


def line_of(text, field, value):
    return any(line.split(b":")[field:field + 1] == [value] for line in text.split(b"\n"))


def add_accounts(tree, files):
    """/etc/passwd and /etc/group that know the script's user; the rest of rootfs/files where the image has none."""
    etc = tree.root.children[b"etc"].children
    for name in sorted(os.listdir(os.path.join(files, "etc"))):
        with open(os.path.join(files, "etc", name), "rb") as f:
            ours = f.read()
        key = name.encode()
        there = etc.get(key)
        if there is None and name != "os-release":
            etc[key] = File(0o644, len(ours), data=ours)
        elif name in ("passwd", "group") and isinstance(there, File) and there.size < 1 << 20:
            text = there.read(0, there.size)
            script = [line for line in ours.split(b"\n") if line.startswith(b"script:")]
            if not line_of(text, 2, b"1000"):
                shell = b"/bin/bash" if tree.follow(b"bin/bash") is not None else b"/bin/sh"
                text += (b"" if text.endswith(b"\n") or not text else b"\n") + script[0].replace(b"/bin/bash", shell) + b"\n"
                etc[key] = File(0o644, len(text), data=text)


def copy_bytes(node, to, where):
    """Its bytes, into the open file `to`; by the kernel where that can."""
    if node.data is not None:
        os.write(to, node.data)
        return
    with node.opened() as fd:
        at, left, by_kernel = node.offset, node.size, True
        while left > 0:
            n = 0
            if by_kernel:
                try:
                    n = os.copy_file_range(fd, to, left, offset_src=at)
                except OSError:
                    by_kernel = False
                    continue
                if n == 0:
                    by_kernel = False
                    continue
            else:
                n = os.write(to, os.pread(fd, min(left, 1 << 20), at))
            if n == 0:
                raise Wrong(f"{where}: it became shorter while it was read")
            at += n
            left -= n


class Writer:
    """Writes a tree below a new, private directory, for mkfs.erofs to read.

    Each directory is made here before anything is put into it, so no path leads through a
    link or out of it, whatever the names and links are.
    """

    def __init__(self, top, report):
        self.top, self.report = os.fsencode(top), report
        self.made = {}          # hard links: id of a File -> where it was written first
        self.count = 0

    def write(self, tree):
        todo = [(self.top, tree.root)]
        while todo:
            path, node = todo.pop()
            self.count += 1
            self.report.progress(f"writing: {self.count} files")
            try:
                self.write_one(path, node)
            except OSError as e:
                raise Wrong(f"{safe(path[len(self.top):])}: {e.strerror}") from e
            if isinstance(node, Dir):
                todo.extend((path + b"/" + name, node.children[name]) for name in sorted(node.children, reverse=True))

    def write_one(self, path, node):
        if isinstance(node, Dir):
            if path != self.top:
                os.mkdir(path, 0o700)
            os.chmod(path, plain_mode(node.mode, True) | 0o700)
        elif isinstance(node, Link):
            os.symlink(node.target, path)
        elif id(node) in self.made:
            os.link(self.made[id(node)], path)
        else:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            try:
                copy_bytes(node, fd, safe(path[len(self.top) + 1:]))
                os.fchmod(fd, plain_mode(node.mode, False))
            finally:
                os.close(fd)
            self.made[id(node)] = path

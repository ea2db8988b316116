"""A directory of the host as an image's tree. No link of it is followed.

Whoever owns the directory may change it meanwhile, and put a link where a directory was. So
all is opened from the top's descriptor on, one component after the other (tree.py).
"""
import os
import stat

from report import Wrong, safe
from tree import NAME_MAX, DEPTH_MAX, Dir, File, Link, open_beneath


class Reader:
    def __init__(self, top, bounds, hidden=()):
        self.top, self.bounds, self.hidden = os.fsencode(top), bounds, set(hidden)
        self.fd = os.open(self.top, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)    # stays open: files are read later
        self.links = {}             # (device, inode) -> File, of files with several names
        self.left_out, self.left_out_count = [], 0

    def read(self, tree):
        todo = [((), tree.root)]
        while todo:
            parts, node = todo.pop()
            path = b"/".join(parts)
            if len(parts) > DEPTH_MAX:
                raise Wrong(f"{safe(os.path.join(self.top, path))}: deeper than {DEPTH_MAX} directories")
            try:
                fd = open_beneath(self.fd, parts, os.O_RDONLY | os.O_DIRECTORY)
                try:
                    node.mode = os.fstat(fd).st_mode & 0o7777
                    if path not in self.hidden:
                        self.children(fd, parts, node)
                finally:
                    os.close(fd)
            except OSError as e:
                raise Wrong(f"{safe(os.path.join(self.top, path))}: {e.strerror}") from e
            todo.extend(((*parts, name), child) for name, child in node.children.items() if isinstance(child, Dir))

    def children(self, fd, parts, node):
        with os.scandir(fd) as entries:
            for e in entries:
                name = os.fsencode(e.name)
                child = self.entry(fd, (*parts, name), e.stat(follow_symlinks=False))
                if child is not None:
                    node.children[name] = child

    def entry(self, fd, parts, st):
        """What the last of `parts` is, in the directory `fd`."""
        name = parts[-1]
        self.bounds.entry(safe(self.top))
        self.bounds.report.progress(f"reading: {self.bounds.counted} files")
        if len(name) > NAME_MAX:
            path = os.path.join(self.top, *parts)
            raise Wrong(f"{safe(path[:200])}...: a name of {len(name)} bytes; {NAME_MAX} are the limit")
        if stat.S_ISDIR(st.st_mode):
            return Dir(st.st_mode & 0o7777)
        if stat.S_ISLNK(st.st_mode):
            return Link(os.readlink(name, dir_fd=fd))
        if not stat.S_ISREG(st.st_mode):
            self.left_out_count += 1
            if len(self.left_out) < 3:
                self.left_out.append(b"/".join(parts))
            return None
        key = (st.st_dev, st.st_ino)
        if key not in self.links:
            self.bounds.take(st.st_size, safe(self.top))
            file = File(st.st_mode & 0o7777, st.st_size, fd=self.fd, parts=parts)
            if st.st_nlink == 1:
                return file
            self.links[key] = file
        return self.links[key]


def read(top, tree, bounds, hidden=()):
    """Fills the tree; returns the Reader, which knows what was left out."""
    try:
        reader = Reader(top, bounds, hidden)
    except OSError as e:
        raise Wrong(f"{safe(top)}: {e.strerror}") from e
    reader.read(tree)
    return reader

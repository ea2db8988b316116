"""A directory of the host as an image's tree. No link of it is followed."""
import os
import stat

from report import Wrong, safe
from tree import NAME_MAX, DEPTH_MAX, Dir, File, Link


class Reader:
    def __init__(self, top, bounds, hidden=()):
        self.top, self.bounds = os.fsencode(top), bounds
        self.hidden = {os.path.join(self.top, path) for path in hidden}
        self.links = {}             # (device, inode) -> File, of files with several names
        self.left_out, self.left_out_count = [], 0

    def read(self, tree):
        todo = [(self.top, tree.root, 0)]
        while todo:
            path, node, depth = todo.pop()
            node.mode = os.stat(path, follow_symlinks=depth == 0).st_mode & 0o7777
            if depth > DEPTH_MAX:
                raise Wrong(f"{safe(path)}: deeper than {DEPTH_MAX} directories")
            if path in self.hidden:
                continue
            with os.scandir(path) as entries:
                for e in entries:
                    child = self.entry(e)
                    if child is not None:
                        node.children[e.name] = child
                    if isinstance(child, Dir):
                        todo.append((e.path, child, depth + 1))

    def entry(self, e):
        st = e.stat(follow_symlinks=False)
        self.bounds.entry(safe(self.top))
        self.bounds.report.progress(f"reading: {self.bounds.counted} files")
        if len(e.name) > NAME_MAX:
            raise Wrong(f"{safe(e.path[:200])}...: a name of {len(e.name)} bytes; {NAME_MAX} are the limit")
        if stat.S_ISDIR(st.st_mode):
            return Dir(st.st_mode & 0o7777)
        if stat.S_ISLNK(st.st_mode):
            return Link(os.readlink(e.path))
        if not stat.S_ISREG(st.st_mode):
            self.left_out_count += 1
            if len(self.left_out) < 3:
                self.left_out.append(e.path[len(self.top) + 1:])
            return None
        key = (st.st_dev, st.st_ino)
        if key not in self.links:
            self.bounds.take(st.st_size, safe(self.top))
            file = File(st.st_mode & 0o7777, st.st_size, path=e.path)
            if st.st_nlink == 1:
                return file
            self.links[key] = file
        return self.links[key]


def read(top, tree, bounds, hidden=()):
    """Fills the tree; returns the Reader, which knows what was left out."""
    reader = Reader(top, bounds, hidden)
    try:
        reader.read(tree)
    except OSError as e:
        raise Wrong(f"{safe(os.fsencode(e.filename or top))}: {e.strerror}") from e
    return reader

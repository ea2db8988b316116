#!/usr/bin/python3
"""Whether the programs of an image find their interpreter and their libraries.

usage: libraries.py ROOT        status 1, and one line for each that misses something

Nothing of the image is run: its ELF headers are read here, and the places looked at are
those of the dynamic linkers of glibc and musl. What the image controls: every header; all
offsets are checked by reading no more than there is.
"""
import fnmatch
import os
import struct
import sys

PT_LOAD, PT_DYNAMIC, PT_INTERP = 1, 2, 3
DT_NEEDED, DT_STRTAB, DT_RPATH, DT_RUNPATH = 1, 5, 15, 29
HEADERS_MAX, DYNAMIC_MAX, STRING_MAX = 128, 1 << 16, 4096
PATH_MAX = 4096
# In bytes, about: of headers and settings that are read, of paths that are looked for. All of Debian's /usr with
# 150000 files takes a fortieth of it.
WORK_MAX = 1 << 26
MULTIARCH = {62: b"x86_64-linux-gnu", 183: b"aarch64-linux-gnu", 3: b"i386-linux-gnu"}


class Elf:
    """What a program or library asks of the dynamic linker; `wants` is None if it is neither."""

    def __init__(self, node):
        self.interp, self.wants, self.paths, self.machine, self.bytes = None, None, [], 0, 0
        head = node.read(0, 64)
        if len(head) < 64 or head[:4] != b"\x7fELF" or head[4] not in (1, 2) or head[5] != 1:
            return
        self.wide = head[4] == 2
        kind, self.machine = struct.unpack_from("<HH", head, 16)
        if kind not in (2, 3):      # a program or a shared object
            return
        where, size, count = (*struct.unpack_from("<Q", head, 32), *struct.unpack_from("<HH", head, 54)) if self.wide \
            else (*struct.unpack_from("<I", head, 28), *struct.unpack_from("<HH", head, 42))
        if size != (56 if self.wide else 32) or count > HEADERS_MAX:
            return
        table = node.read(where, size * count)
        self.loads, interp, dynamic = [], None, None
        for at in range(0, len(table) - size + 1, size):
            kind, offset, vaddr, filesz = self.program_header(table, at)
            if kind == PT_LOAD:
                self.loads.append((vaddr, offset, filesz))
            elif kind == PT_INTERP:
                interp = offset, min(filesz, STRING_MAX)
            elif kind == PT_DYNAMIC:
                dynamic = offset, min(filesz, DYNAMIC_MAX)
        if interp is not None:
            self.interp = node.read(*interp).split(b"\0", 1)[0]
        if dynamic is not None:
            self.read_dynamic(node, node.read(*dynamic))

    def program_header(self, table, at):
        if self.wide:
            kind, _, offset, vaddr, _, filesz = struct.unpack_from("<IIQQQQ", table, at)
        else:
            kind, offset, vaddr, _, filesz = struct.unpack_from("<IIIII", table, at)
        return kind, offset, vaddr, filesz

    def read_dynamic(self, node, dynamic):
        self.bytes = len(dynamic)
        form = "<QQ" if self.wide else "<II"
        step, tags = struct.calcsize(form), []
        for at in range(0, len(dynamic) - step + 1, step):
            tag, value = struct.unpack_from(form, dynamic, at)
            if tag == 0:
                break
            tags.append((tag, value))
        strings = next((v for t, v in tags if t == DT_STRTAB), None)
        strings = next((o + strings - v for v, o, n in self.loads if strings is not None and v <= strings < v + n), None)
        self.wants = []
        if strings is None:
            return
        for tag, value in tags:
            if tag in (DT_NEEDED, DT_RPATH, DT_RUNPATH):
                text = node.read(strings + value, STRING_MAX).split(b"\0", 1)[0]
                if tag == DT_NEEDED:
                    self.wants.append(text)
                else:
                    self.paths = [p for p in text.split(b":") if p]


class Finder:
    """Where the image's dynamic linkers look."""

    def __init__(self, tree):
        self.tree, self.left = tree, WORK_MAX
        self.found = {}
        self.configured = self.read_config(b"etc/ld.so.conf", 0)
        for path, node in self.small_files(b"etc", b"ld-musl-*.path"):
            words = node.read(0, 1 << 16).replace(b":", b"\n").split()
            self.spend(64 * len(words))
            self.configured += words

    def spend(self, n):
        """The image has the say over how much there is to do: over all of it, not more than WORK_MAX."""
        from report import Wrong
        self.left -= n
        if self.left < 0:
            raise Wrong("its programs, or its /etc/ld.so.conf, name more libraries and places for them than are looked for; "
                        "such an image is not what a builder makes")

    def follow(self, path):
        before = self.tree.steps
        there = self.tree.follow(path)
        self.spend(16 * (self.tree.steps - before))
        return there

    def small_files(self, directory, pattern):
        from tree import Dir, File
        there = self.follow(directory)
        node = self.tree.get(there) if there is not None else None
        if not isinstance(node, Dir):
            return
        self.spend(16 * len(node.children))
        for name in sorted(n for n in node.children if fnmatch.fnmatchcase(n, pattern)):
            self.spend(256)
            path = self.follow(directory + b"/" + name)
            child = self.tree.get(path) if path is not None else None
            if isinstance(child, File):
                yield path, child

    def read_config(self, path, depth):
        self.spend(4096)
        directory, _, name = path.rpartition(b"/")
        found = []
        for _, node in self.small_files(directory, name) if depth < 4 else ():
            for line in node.read(0, 1 << 16).splitlines():
                words = line.split(b"#", 1)[0].split()
                self.spend(64 + 64 * len(words) + len(line))
                if words[:1] == [b"include"] and len(words) > 1:
                    below = words[1] if words[1].startswith(b"/") else directory + b"/" + words[1]
                    found += self.read_config(below.strip(b"/"), depth + 1)
                else:
                    found += words
        return found

    def places(self, elf, path):
        origin = b"/" + path.rpartition(b"/")[0]
        for p in elf.paths:
            yield p.replace(b"${ORIGIN}", b"$ORIGIN").replace(b"$ORIGIN", origin)
        yield from self.configured
        multi = MULTIARCH.get(elf.machine, b"none")
        yield from (b"/lib/" + multi, b"/usr/lib/" + multi, b"/lib64", b"/usr/lib64", b"/lib", b"/usr/lib",
                    b"/usr/local/lib")

    def has(self, path):
        self.spend(16)
        if len(path) > PATH_MAX or path not in self.found:
            self.spend(128 + len(path))
            if len(path) > PATH_MAX:
                return False
            self.found[path] = self.follow(path) is not None
        return self.found[path]

    def missing(self, path, elf):
        """The interpreter and the libraries that `elf`, at `path`, does not find."""
        self.spend(elf.bytes)
        lacks = [elf.interp] if elf.interp is not None and not self.has(elf.interp) else []
        for want in elf.wants or []:
            if b"/" in want:
                there = self.has(want)
            else:
                there = any(self.has(p + b"/" + want) for p in self.places(elf, path))
            if not there:
                lacks.append(want)
        return lacks


def missing(tree):
    """(path, [what it lacks]) of each program and library that lacks something."""
    from tree import File
    finder = Finder(tree)
    for path, node in tree.files():
        if isinstance(node, File) and (node.mode & 0o111 or b".so" in path.rpartition(b"/")[2]):
            lacks = finder.missing(path, Elf(node))
            if lacks:
                yield path, lacks


def main(argv):
    import blobs
    import directory
    from report import Report, Wrong, safe
    from tree import Tree
    if len(argv) != 1:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    bounds = blobs.Bounds(1 << 62, 1 << 31, Report(quiet=True), os.curdir)
    tree, status = Tree(bounds), 0
    try:
        directory.read(argv[0], tree, bounds)
        for path, lacks in missing(tree):
            print(f"/{safe(path)} " + " ".join(map(safe, lacks)))
            status = 1
    except Wrong as e:
        print(e, file=sys.stderr)
        return 2
    return status


if __name__ == "__main__":
    sys.dont_write_bytecode = True
    sys.exit(main(sys.argv[1:]))

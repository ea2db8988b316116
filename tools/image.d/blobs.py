"""Where the parts of an image on disk are, and the proof that they are those its manifest names.

What the archive controls here: all names, sizes and bytes. A part is counted and hashed
while it is read, unpacked into a file without a name, and never beyond a limit.
"""
import contextlib
import hashlib
import os
import posixpath
import re
import shutil
import stat
import subprocess
import tempfile
import threading
import zlib

import tarball
from report import Wrong, safe, size_text

CHUNK = 1 << 20
PIECE = 1 << 14         # for zlib, which copies what is left of one at the end of each member
JSON_MAX = 8 << 20
DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")


def check_digest(text):
    if not isinstance(text, str) or not DIGEST.match(text):
        raise Wrong(f"{safe(str(text))[:100]}: not a sha256 digest; others are not supported")
    return text


class Part:
    """A file of the input: `bytes` at `offset` of an open file. Closed with its store."""

    def __init__(self, fd, offset, bytes_, name):
        self.fd, self.offset, self.bytes, self.name = fd, offset, bytes_, name

    def chunks(self):
        at, left = self.offset, self.bytes
        while left > 0:
            data = os.pread(self.fd, min(CHUNK, left), at)
            if not data:
                raise Wrong(f"{self.name}: it became shorter while it was read")
            yield data
            at += len(data)
            left -= len(data)

    def json_bytes(self):
        if self.bytes > JSON_MAX:
            raise Wrong(f"{self.name}: {size_text(self.bytes)} are too much for a description; {size_text(JSON_MAX)} are the limit")
        return b"".join(self.chunks())


class Directory:
    """An OCI image layout as it lies on disk."""

    def __init__(self, path):
        self.path, self.open_fds, self.unpacked = path, [], []

    def find(self, name):
        """The part of that name, or None. Names are ours or made of a checked digest."""
        try:
            fd = os.open(os.path.join(self.path, name), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as e:
            raise Wrong(f"{os.path.join(self.path, name)}: {e.strerror}") from e
        self.open_fds.append(fd)
        st = os.fstat(fd)
        if not stat.S_ISREG(st.st_mode):
            raise Wrong(f"{os.path.join(self.path, name)}: must be a regular file")
        return Part(fd, 0, st.st_size, os.path.join(self.path, name))

    def close(self):
        for fd in self.open_fds + self.unpacked:
            os.close(fd)


class Archive:
    """A tar file of a layout or of 'docker save', perhaps compressed. Indexed, never extracted."""

    def __init__(self, path, bounds):
        self.path, self.fd = path, os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        whole = Part(self.fd, 0, os.fstat(self.fd).st_size, path)
        if kind_of(whole) != "tar":
            packed = self.fd
            self.fd, bytes_, _ = unpack(whole, bounds)
            os.close(packed)
            whole = Part(self.fd, 0, bytes_, path)
        # A damaged tar is told as one; this is for what was never meant to be one.
        if not tarball.looks_like_one(os.pread(self.fd, tarball.BLOCK, 0)):
            raise Wrong(f"{safe(path)}: neither a tar archive (plain, or packed with gzip or zstd) nor a directory")
        self.index, self.unpacked = {}, []
        for m in tarball.members(self.fd, whole.bytes, path, bounds.entries):
            self.index[posixpath.normpath(os.fsdecode(m.name).lstrip("/"))] = m

    def find(self, name):
        """The same for a name that the archive itself told; it is looked up in the archive alone."""
        name = posixpath.normpath(name)
        for _ in range(10):
            m = self.index.get(name)
            if m is None:
                return None
            if m.kind == tarball.FILE:
                return Part(self.fd, m.offset, m.size, f"{self.path}: {safe(name)}")
            if m.kind == tarball.SYMLINK:     # old versions of docker save so share a layer
                name = posixpath.normpath(posixpath.join(posixpath.dirname(name), os.fsdecode(m.target)))
            elif m.kind == tarball.LINK:
                name = posixpath.normpath(os.fsdecode(m.target).lstrip("/"))
            else:
                break
        raise Wrong(f"{self.path}: {safe(name)}: must be a regular file")

    def close(self):
        for fd in [self.fd, *self.unpacked]:
            os.close(fd)


class Bounds:
    """What an image may come to at most."""

    def __init__(self, bytes_, entries, report, directory):
        self.bytes, self.entries, self.report, self.directory = bytes_, entries, report, directory
        self.used = self.counted = 0

    def entry(self, where, name_bytes=0):
        """One more file or directory; a name that is long counts for more."""
        self.counted += 1 + name_bytes // 512
        if self.counted > self.entries:
            raise Wrong(f"{where}: more than {self.entries} entries; --max-entries allows more")

    def take(self, n, name):
        self.used += n
        if self.used > self.bytes:
            raise Wrong(f"{name}: unpacked, the image has more than {size_text(self.bytes)}; --max-size allows more")


def kind_of(part):
    head = os.pread(part.fd, 4, part.offset)
    if head[:2] == b"\x1f\x8b":
        return "gzip"
    if head == b"\x28\xb5\x2f\xfd":
        return "zstd"
    return "tar"


def plain(part):
    yield from part.chunks()


def pieces(part):
    for data in part.chunks():
        for at in range(0, len(data), PIECE):
            yield data[at:at + PIECE]


def gunzip(part):
    """All members of it, one after the other; never more than a chunk at a time."""
    unpacker, fresh = zlib.decompressobj(31), True
    try:
        for data in pieces(part):
            while data:
                if unpacker.eof:
                    if not data.strip(b"\0"):
                        break
                    unpacker = zlib.decompressobj(31)
                out = unpacker.decompress(data, CHUNK)
                fresh = False
                if out:
                    yield out
                data = unpacker.unused_data if unpacker.eof else unpacker.unconsumed_tail
        while not fresh and not unpacker.eof:
            out = unpacker.decompress(b"", CHUNK)
            if not out:
                raise Wrong(f"{part.name}: the gzip stream was cut off")
            yield out
    except zlib.error as e:
        raise Wrong(f"{part.name}: the gzip stream is damaged") from e


def unzstd(part):
    if shutil.which("zstd") is None:
        raise Wrong(f"{part.name}: compressed with zstd, which is not here: apt-get install zstd")

    failed = []

    def feed(to):
        try:
            with contextlib.suppress(BrokenPipeError):      # it ended early: its status tells why
                for data in part.chunks():
                    to.write(data)
        except (Wrong, OSError) as e:
            failed.append(e)
        finally:                # else it would wait for more, and we for it
            with contextlib.suppress(OSError):
                to.close()

    with subprocess.Popen(["zstd", "-dcq"], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL) as p:
        feeder = threading.Thread(target=feed, args=(p.stdin,))
        feeder.start()
        try:
            while data := p.stdout.read1(CHUNK):
                yield data
        finally:
            p.stdout.close()        # ends it, if there is more than was wanted
            feeder.join()
            status = p.wait()
        if failed:
            raise failed[0]
        if status != 0:
            raise Wrong(f"{part.name}: the zstd stream is damaged or cut off")


def unpack(part, bounds):
    """A file without a name with what the part holds unpacked, its length and its sha256."""
    reader = {"gzip": gunzip, "zstd": unzstd, "tar": plain}[kind_of(part)]
    digest, total = hashlib.sha256(), 0
    with tempfile.TemporaryFile(dir=bounds.directory) as f:
        fd = os.dup(f.fileno())
    try:
        for data in reader(part):
            bounds.take(len(data), part.name)
            digest.update(data)
            total += len(data)
            while data:
                data = data[os.write(fd, data):]
            bounds.report.progress(f"unpacking {part.name}: {size_text(total)}")
    except BaseException:
        os.close(fd)
        raise
    return fd, total, f"sha256:{digest.hexdigest()}"


def verify(part, digest, bytes_, report):
    """That the part has this length, if one is told, and this digest."""
    if bytes_ is not None and part.bytes != bytes_:
        raise Wrong(f"{part.name}: {part.bytes} bytes, but {bytes_} are declared; it was truncated or changed")
    got = hashlib.sha256()
    for data in part.chunks():
        got.update(data)
        report.progress(f"checking {part.name}")
    if f"sha256:{got.hexdigest()}" != digest:
        raise Wrong(f"{part.name}: its digest is sha256:{got.hexdigest()}, but {digest} is declared; it was changed")

"""Reading tar archives that anybody may have written.

What the archive controls here: every byte of the file. A header is read once, as 512
bytes, and checked; extended headers are bounded; nothing is extracted. A member is
told with the place of its bytes in the file, which whoever wants them reads later.

Understood: ustar, pax (path, linkpath, size) and GNU's long names and base-256 numbers.
Sparse members are refused: no image builder writes them.
"""
import os

from report import Wrong, safe
from tree import PATH_MAX

BLOCK = 512
EXTENDED_MAX = 1 << 20      # bytes of one extended header
FILE, LINK, SYMLINK, CHAR, BLOCKDEV, DIR, FIFO = b"0", b"1", b"2", b"3", b"4", b"5", b"6"


class Member:
    __slots__ = ("name", "kind", "mode", "target", "offset", "size")

    def __init__(self, name, kind, mode, target, offset, size):
        self.name, self.kind, self.mode, self.target = name, kind, mode, target
        self.offset, self.size = offset, size


def number(field, what, where):
    if field[0] & 0x80:
        value = int.from_bytes(bytes([field[0] & 0x7f]) + field[1:], "big")
        if field[0] & 0x40 or value >= 1 << 62:
            raise Wrong(f"{where}: a header's {what} is no size")
        return value
    text = field.split(b"\0", 1)[0].strip(b" ")
    if text and not all(0x30 <= c <= 0x37 for c in text):
        raise Wrong(f"{where}: a header's {what} is no number")
    return int(text, 8) if text else 0


def cut(field):
    return field.split(b"\0", 1)[0]


def checksum_fits(header):
    told = cut(header[148:156]).strip(b" ")
    if not told or not all(0x30 <= c <= 0x37 for c in told):
        return False
    return int(told, 8) == sum(header) - sum(header[148:156]) + 8 * 0x20


def looks_like_one(block):
    """Is the first block of a file that of a tar archive, be it damaged or empty?"""
    return len(block) == BLOCK and (checksum_fits(block) or block[257:262] == b"ustar" or block == bytes(BLOCK))


def pax_records(data, where):
    """The keys and values of a pax header."""
    found, at = {}, 0
    while at < len(data):
        if data[at] == 0 and not data[at:].strip(b"\0"):
            break
        space = data.find(b" ", at, at + 20)
        length = data[at:space] if space > at else b""
        if not length.isdigit() or int(length) <= space - at + 1 or at + int(length) > len(data):
            raise Wrong(f"{where}: a pax header is malformed")
        end = at + int(length)
        key, equals, value = data[space + 1:end].partition(b"=")
        if not equals or not value.endswith(b"\n"):
            raise Wrong(f"{where}: a pax header is malformed")
        found[key] = value[:-1]
        at = end
    return found


def pax_size(value, where):
    if not value.isdigit() or len(value) > 18:
        raise Wrong(f"{where}: a pax header's size is no number")
    return int(value)


class Extended:
    """What extended headers said about the member that follows them."""

    def __init__(self):
        self.name = self.target = self.size = None

    def take(self, kind, data, where):
        if kind == b"L":
            self.name = cut(data)
        elif kind == b"K":
            self.target = cut(data)
        elif kind == b"x":
            records = pax_records(data, where)
            if any(key.startswith(b"GNU.sparse") for key in records):
                raise Wrong(f"{where}: it has a sparse file, which is not supported; write it without --sparse")
            self.name = records.get(b"path", self.name)
            self.target = records.get(b"linkpath", self.target)
            if b"size" in records:
                self.size = pax_size(records[b"size"], where)


def plain_name(header):
    name, prefix = cut(header[0:100]), cut(header[345:500])
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def members(fd, bytes_, where, limit):
    """The members of the tar file that is `bytes_` long at `fd`; at most `limit` headers, a long one for several.

    So what is kept of the names is bounded with their number, as no name is longer than PATH_MAX.
    """
    at, headers, extended = 0, 0, Extended()
    while at + BLOCK <= bytes_:
        header = os.pread(fd, BLOCK, at)
        if len(header) < BLOCK:
            break
        at += BLOCK
        if header == bytes(BLOCK):      # two of them are the end; what follows is nobody's
            return
        headers += 1
        if headers > limit:
            raise Wrong(f"{where}: more than {limit} entries; --max-entries allows more")
        if not checksum_fits(header):
            raise Wrong(f"{where}: a header at byte {at - BLOCK} is damaged (its checksum differs)")
        kind = header[156:157]
        size = number(header[124:136], "size", where)
        if kind in (b"L", b"K", b"x", b"g"):
            if size > EXTENDED_MAX:
                raise Wrong(f"{where}: an extended header of {size} bytes; {EXTENDED_MAX} are the limit")
            data = os.pread(fd, size, at)
            if len(data) < size or at + size > bytes_:
                raise Wrong(f"{where}: it ends in the middle of an extended header; it was truncated")
            extended.take(kind, data, where)
            at += -(-size // BLOCK) * BLOCK
            headers += size // BLOCK
            continue
        name = plain_name(header) if extended.name is None else extended.name
        target = cut(header[157:257]) if extended.target is None else extended.target
        if extended.size is not None:
            size = extended.size
        if kind in (b"\0", b"7"):
            kind = FILE
        if kind == FILE and name.endswith(b"/"):
            kind = DIR                  # as tars from before ustar have it
        if kind == b"S":
            raise Wrong(f"{where}: {safe(name)} is sparse, which is not supported; write it without --sparse")
        if kind not in (FILE, LINK, SYMLINK, CHAR, BLOCKDEV, DIR, FIFO):
            raise Wrong(f"{where}: {safe(name)}: an entry of an unknown type ({kind!r})")
        if b"\0" in name or b"\0" in target:
            raise Wrong(f"{where}: a name has a zero byte in it")
        for path in (name, target):
            if len(path) > PATH_MAX:
                raise Wrong(f"{where}: a path of {len(path)} bytes; {PATH_MAX} are the limit")
        stored = size if kind == FILE else 0
        if at + stored > bytes_:
            raise Wrong(f"{where}: it ends in the middle of {safe(name)}; it was truncated")
        yield Member(name, kind, number(header[100:108], "mode", where), target, at, stored)
        at += -(-stored // BLOCK) * BLOCK
        extended = Extended()
    if bytes_ % BLOCK and at < bytes_:
        raise Wrong(f"{where}: it ends in the middle of a header; it was truncated")

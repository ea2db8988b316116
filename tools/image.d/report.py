"""What the builder says: errors, notes and progress, on stderr and safe for a terminal."""
import sys
import time


class Wrong(Exception):
    """The input cannot be made an image of; the text says why and what to do."""


def safe(text):
    """Names from an archive are anybody's: nothing of them may steer a terminal or end the line."""
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    text = "".join(c if c.isprintable() else c.encode("unicode_escape", "replace").decode()
                   if not 0xdc80 <= ord(c) <= 0xdcff else f"\\x{ord(c) & 0xff:02x}" for c in text)
    return text if len(text) <= 300 else text[:297] + "..."


def size_text(n):
    for unit in ("", "K", "M", "G"):
        if n < 1024 or unit == "G":
            return f"{n:.1f}{unit}" if unit and n < 100 else f"{n:.0f}{unit}"
        n /= 1024
    return str(n)


def size_parse(text):
    units = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}
    number, unit = (text[:-1], units[text[-1].upper()]) if text[-1:].upper() in units else (text, 1)
    if not number.isdecimal() or int(number) == 0:
        raise Wrong(f"{safe(text)}: a size is a number, with K, M or G behind it: 500M")
    return int(number) * unit


class Report:
    """One line that is drawn anew while work goes on, only on a terminal; lines that stay."""

    def __init__(self, quiet=False):
        self.quiet = quiet
        self.live = sys.stderr.isatty() and not quiet
        self.drawn, self.next = False, 0.0

    def progress(self, text):
        now = time.monotonic()
        if self.live and now >= self.next:
            self.next = now + 0.25
            sys.stderr.write(f"\r\033[Kimage: {text[:100]}")
            sys.stderr.flush()
            self.drawn = True

    def clear(self):
        if self.drawn:
            sys.stderr.write("\r\033[K")
            sys.stderr.flush()
            self.drawn = False

    def error(self, text):
        self.clear()
        print(f"image: {text}", file=sys.stderr)

    def say(self, text):
        if not self.quiet:
            self.error(text)

"""An eye for the host's kernel log: what is written there while a guest runs.

Open to root alone (dmesg_restrict); the emulated host's tests are root.
"""
import errno
import os

WORDS = ("kvm", "vcpu", "dolania", "apic")
# Once in the life of a host (pr_info_once, pr_warn_once of KVM), so whichever case comes first.
ONCE = ("emulating exchange as write", "lapic timer period limited")


class Watch:
    """`with Watch() as w`: then w.lines has what the kernel logged meanwhile about VMs; None: not to be seen."""

    def __enter__(self):
        self.lines = None
        try:
            self.fd = os.open("/dev/kmsg", os.O_RDONLY | os.O_NONBLOCK)
        except PermissionError:
            self.fd = -1
            return self
        os.lseek(self.fd, 0, os.SEEK_END)
        return self

    def _read(self):
        while True:
            try:
                yield os.read(self.fd, 8192).decode(errors="replace")
            except BlockingIOError:
                return
            except OSError as e:
                if e.errno != errno.EPIPE:      # overwritten before it was read: the next one is there
                    raise

    def __exit__(self, *_):
        if self.fd < 0:
            return
        text = [record.split(";", 1)[-1].split("\n")[0] for record in self._read()]
        self.lines = [x for x in text if any(w in x.lower() for w in WORDS)]
        os.close(self.fd)


def once_text():
    return " and ".join(f'"{x}"' for x in ONCE)


def wrong(watch, must):
    """What is in it and may not be, or is not and must, as a text; or None."""
    if watch.lines is None:
        return None
    strange = [x for x in watch.lines if not any(known in x for known in (*must, *ONCE))]
    if strange:
        return f"the host's kernel logged: {strange[:5]}"
    missing = [m for m in must if not any(m in x for x in watch.lines)]
    return f"the host's kernel did not log: {missing}" if missing else None

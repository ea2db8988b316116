"""What a case is, the ends it can meet, and the evidence of them."""

VSOCK, DISK, SCRATCH = 0, 1, 2
RX, TX = 0, 1
# Registers of virtio-mmio, as evidence has them.
FEATURES, NUM, READY, NOTIFY, STATUS, DESC_LOW, USED_HIGH = 0x20, 0x38, 0x44, 0x50, 0x70, 0x80, 0xa4
MOST = (1 << 63) - 1        # of an integer in the result


class End:
    """`details`: fields of "end" and "violation"; `event`: (kind, first value or None)."""

    def __init__(self, text, reason, event=None, **details):
        self.text, self.reason, self.event = text, reason, event
        self.details = {k.replace("__", "."): v for k, v in details.items()}


class Storm(End):
    """
    A rate decides: `kind` ends the run, or the wall limit does on a machine too
    slow for `most` exits a second (which must then be true).
    """

    def __init__(self, kind, first, most):
        super().__init__(f"`protocol_violation`, event `{kind}`; `wall_limit` on a machine too slow for {most} exits "
                         "a second", "protocol_violation", event=(kind, first))
        self.most = most

    def too_slow(self, result):
        host = result["host"]
        ns = host["phases_ns"]["ended"] - host["phases_ns"]["ready"]
        return result["end"]["reason"] == "wall_limit" and host["exits"]["total"] * 10**9 <= self.most * ns


class Case:
    """
    `host`: bounds of its own on what the host's kernel may hold for it (hostmem.MOST).
    `log`: what KVM may write to the host's log for it, and must (klog.py).
    """

    def __init__(self, name, about, end, wall="long", disk="small", scratch=None, host=None, slow=False, log=(),
                 dead=False, **reached):
        self.name, self.about, self.end, self.wall, self.disk = name, about, end, wall, disk
        self.options = ["--scratch", scratch] if scratch else []
        self.area = name.split("_")[0]
        self.host = host or {}
        self.log = log
        self.dead = dead        # KVM gave the machine up, so its registers cannot be overwritten, and the result says so
        self.slow = slow        # it takes minutes: the time that a guest has to boot
        self.reached = {}
        for key, want in reached.items():
            if key in ("image", "vsock", "second"):
                for part, n in zip(("accesses", "kicks", "chains"), want):
                    if n is not None:
                        self.reached[f"{key}.{part}"] = n
            else:
                self.reached[key.replace("__", ".")] = want


class Place:
    """An address that depends on the guest's program or on the size of RAM."""

    def __init__(self, symbol, offset=0):
        self.symbol, self.offset = symbol, offset

    def __str__(self):
        sign = "-" if self.offset < 0 else "+"
        return self.symbol + (f" {sign} {abs(self.offset):#x}" if self.offset else "")


class AtLeast:
    """A counter that depends on how fast the machine is."""

    def __init__(self, least):
        self.least, self.text = least, f"at least {least}"

    def __call__(self, got):
        return got >= self.least


class Either(End):
    """The first, or the second where this processor or KVM does that."""

    def __init__(self, first, second):
        super().__init__(f"{first.text}, or {second.text}", first.reason, first.event)
        self.details, self.second = first.details, second


class AtMost:
    def __init__(self, most):
        self.most, self.text = most, f"at most {most}"

    def __call__(self, got):
        return 0 < got <= self.most


def violation(rule, slot, queue, index, value):
    """The VMM ends the run, with this evidence."""
    if isinstance(value, int):
        value = min(value, MOST)
    return End(f"`protocol_violation`: {rule}", "protocol_violation", violation__name=rule, violation__slot=slot,
               violation__queue=queue, violation__index=index, violation__value=value)


def disk(rule, index, value, queue=0):
    return violation(rule, DISK, queue, index, value)


def second(rule, index, value):
    """Of the disk of --scratch."""
    return violation(rule, SCRATCH, 0, index, value)


def hostile(kind, first=None):
    """The VMM (or the supervisor) ends the run for something that is no rule of virtio."""
    return End(f"`protocol_violation`, event `{kind}`", "protocol_violation", event=(kind, first))


def exited(code=0):
    """All that was tried was answered as it should be, says the guest: it checks each answer."""
    return End(f"`exited` {code}", "exited", code=code)


def panic(detail="done\n"):
    return End("`guest_panic`", "guest_panic", detail=detail)


WALL = End("`wall_limit`, in time", "wall_limit")
SHORT = {"wall": "short"}

"""The cases: what each does, the end it must meet, and the counters that show it was there.

`image` and `vsock` are (register accesses, kicks, chains taken) of the disk and
of the vsock device, as the VMM counted them; other counters are given by name.
A case whose counters differ never made its attack, whatever its end.
The code of a case is CASE(name) in tests/hostile/cases/.
"""

VSOCK, DISK = 0, 1
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
    def __init__(self, name, about, end, wall="long", disk="small", **reached):
        self.name, self.about, self.end, self.wall, self.disk = name, about, end, wall, disk
        self.area = name.split("_")[0]
        self.reached = {}
        for key, want in reached.items():
            if key in ("image", "vsock"):
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


def violation(rule, slot, queue, index, value):
    """The VMM ends the run, with this evidence."""
    if isinstance(value, int):
        value = min(value, MOST)
    return End(f"`protocol_violation`: {rule}", "protocol_violation", violation__name=rule, violation__slot=slot,
               violation__queue=queue, violation__index=index, violation__value=value)


def disk(rule, index, value, queue=0):
    return violation(rule, DISK, queue, index, value)


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

CASES = [
    # ---- the register windows ----
    Case("mmio_driver_ok_first", "DRIVER_OK without FEATURES_OK", disk("status", STATUS, 7), image=(4, 0, 0)),
    Case("mmio_status_unknown", "every bit of Status, also those that are none", disk("status", STATUS, 0xffffffff),
         image=(4, 0, 0)),
    Case("mmio_status_backwards", "DRIVER_OK taken back without a reset", disk("status", STATUS, 11),
         image=(24, 0, 0)),
    Case("mmio_features_all", "all 64 features accepted; then on, though FEATURES_OK stays clear",
         disk("queue_locked", NUM, 64), image=(11, 0, 0)),
    Case("mmio_features_late", "features changed after FEATURES_OK", disk("features", FEATURES, 0xffffffff),
         image=(21, 0, 0)),
    Case("mmio_features_select", "feature words that do not exist, read and written",
         disk("features", FEATURES, 1), image=(15, 0, 0)),
    Case("mmio_queue_select", "queue index out of bounds: every register read, then an address written",
         disk("queue_select", DESC_LOW, 0xffffffff, queue=0xffffffff), image=(44, 0, 0)),
    Case("mmio_queue_select_ready", "QueueReady for a queue that does not exist",
         disk("queue_select", READY, 0x80000001, queue=0x80000001), image=(21, 0, 0)),
    Case("mmio_notify_index", "a kick whose value is far outside of the table of queues",
         disk("notify", NOTIFY, 0x100000), image=(24, 1, 0)),
    Case("mmio_resize_live_queue", "QueueNum changed while the queue is live (CVE-2026-5747)",
         disk("queue_locked", NUM, 0x8000), image=(26, 1, 1)),
    Case("mmio_move_live_queue", "the used ring moved while the queue is live",
         disk("queue_locked", USED_HIGH, 0xffffffff), image=(25, 0, 0)),
    Case("mmio_queue_ready_two", "QueueReady = 2", disk("queue_ready", READY, 2), image=(20, 0, 0)),
    Case("mmio_queue_ready_twice", "QueueReady set twice", disk("queue_locked", READY, 1), image=(23, 0, 0)),
    Case("mmio_queue_too_early", "QueueReady before FEATURES_OK", disk("queue_locked", READY, 1), image=(5, 0, 0)),
    Case("mmio_widths", "each offset in every wrong width and alignment, read and written", exited(),
         image=(1945, 1, 1)),
    Case("mmio_config_write", "all of the configuration space overwritten, in every width", exited(),
         image=(535, 1, 1)),
    Case("mmio_straddle", "accesses over the border of two windows, and of the last one (CVE-2026-31588)", exited(),
         vsock=(64, 4, 4), image=(57, 0, 0), exits__mmio_unmapped=17),
    Case("mmio_reset_storm", "61 resets: before, between and after requests, with kicks of dead queues", exited(),
         image=(1664, 81, 21)),
    Case("mmio_reset_vsock", "the vsock device reset under open connections, five times", panic(),
         vsock=(277, 13, 11), stdout=b"before"),
    Case("mmio_failed_device", "kicks of a device that its driver has FAILED", exited(), image=(50, 2, 1)),
    Case("mmio_string_instructions", "REP and LOCK instructions on registers, window to window", exited(),
         vsock=(64, 4, 4), image=(2026, 1, 1)),

    # ---- rings: where they lie ----
    Case("ring_size_0", "a queue of size 0 (% 0)", disk("queue_size", 0, 0), image=(21, 0, 0)),
    Case("ring_size_3", "a queue of size 3", disk("queue_size", 0, 3), image=(21, 0, 0)),
    Case("ring_size_128", "a queue twice as large as offered", disk("queue_size", 0, 128), image=(21, 0, 0)),
    Case("ring_size_65535", "a queue of size 65535", disk("queue_size", 0, 65535), image=(21, 0, 0)),
    Case("ring_size_4g", "a queue of size 2^31", disk("queue_size", 0, 1 << 31), image=(21, 0, 0)),
    Case("ring_desc_misaligned", "a descriptor table at 8 modulo 16", disk("queue_align", 0, 0x2000008),
         image=(22, 0, 0)),
    Case("ring_avail_misaligned", "an avail ring at an odd address", disk("queue_align", 1, 0x2000001),
         image=(22, 0, 0)),
    Case("ring_used_misaligned", "a used ring at 2 modulo 4", disk("queue_align", 2, 0x2000002), image=(22, 0, 0)),
    Case("ring_over_ram_end", "a descriptor table whose last entry is beyond RAM",
         disk("queue_range", 0, Place("ram_end", -63 * 16)), image=(22, 0, 0)),
    Case("ring_at_ram_end", "an avail ring at the first address beyond RAM", disk("queue_range", 1, Place("ram_end")),
         image=(22, 0, 0)),
    Case("ring_used_one_word_over", "a used ring that ends two bytes too far",
         disk("queue_range", 2, Place("ram_end", -516)), image=(22, 0, 0)),
    Case("ring_in_registers", "a used ring in the device's own window", disk("queue_range", 2, 0xd0001000),
         image=(22, 0, 0)),
    Case("ring_address_wraps", "a descriptor table whose end wraps to 0", disk("queue_range", 0, (1 << 64) - 16),
         image=(22, 0, 0)),
    Case("ring_high_garbage", "an address with its top bit set", disk("queue_range", 1, (1 << 63) + 0x1000),
         image=(22, 0, 0)),
    Case("ring_used_over_desc", "the used ring over the descriptors", disk("queue_overlap", 0, Place("disk_memory")),
         image=(22, 0, 0)),
    Case("ring_avail_over_used", "the avail ring over the used ring",
         disk("queue_overlap", 1, Place("disk_memory", 2048 - 4)), image=(22, 0, 0)),
    Case("ring_up_to_ram_end", "a ring up to the last byte of RAM: right, and it works", exited(),
         image=(96, 65, 65)),

    # ---- rings: what is in them ----
    Case("ring_index_ahead", "avail.idx one more than the queue holds", disk("avail_index", 0, 65),
         image=(24, 1, 0)),
    Case("ring_index_backwards", "avail.idx goes back", disk("avail_index", 1, 0), image=(25, 2, 1)),
    Case("ring_head_64", "a head just outside of the table", disk("desc_index", 0, 64), image=(24, 1, 0)),
    Case("ring_head_65535", "a head far outside of the table", disk("desc_index", 0, 65535), image=(24, 1, 0)),
    Case("ring_same_head", "one head 64 times in one kick", exited(), image=(24, 1, 64)),
    Case("ring_next_outside", "a next just outside of the table", disk("desc_index", 2, 64), image=(24, 1, 0)),
    Case("ring_next_65535", "a next far outside of the table", disk("desc_index", 2, 65535), image=(24, 1, 0)),
    Case("ring_loop_of_one", "a descriptor that follows itself", disk("desc_loop", 1, 0), image=(24, 1, 0)),
    Case("ring_loop_of_two", "two descriptors that follow each other", disk("desc_loop", 0, 0), image=(24, 1, 0)),
    Case("ring_indirect", "an indirect descriptor, which was not offered", disk("desc_flags", 1, 4),
         image=(24, 1, 0)),
    Case("ring_flags_unknown", "descriptor flags there are not", disk("desc_flags", 1, 0xfffa), image=(24, 1, 0)),
    Case("ring_empty_desc", "a buffer of no bytes", disk("desc_empty", 1, Place("disk_data")), image=(24, 1, 0)),
    Case("ring_len_4g", "a buffer of 2^32 - 1 bytes", disk("desc_range", 1, Place("disk_data")), image=(24, 1, 0)),
    Case("ring_buffer_wraps", "a buffer whose end wraps past 2^64", disk("desc_range", 1, (1 << 64) - 512),
         image=(24, 1, 0)),
    Case("ring_buffer_over_ram_end", "a buffer whose last byte is beyond RAM (CVE-2019-18960)",
         disk("desc_range", 1, Place("ram_end", -511)), image=(24, 1, 0)),
    Case("ring_buffer_at_ram_end", "a buffer just beyond RAM", disk("desc_range", 1, Place("ram_end")), image=(24, 1, 0)),
    Case("ring_buffer_in_the_hole", "a buffer in the LAPIC's page", disk("desc_range", 1, 0xfee00000),
         image=(24, 1, 0)),
    Case("ring_buffer_in_registers", "a buffer in the device's own registers (CVE-2024-3446)",
         disk("desc_range", 1, 0xd0001000), image=(24, 1, 0)),
    Case("ring_buffer_above_4g", "a buffer at 4 GiB, where this guest has no RAM",
         disk("desc_range", 1, 1 << 32), image=(24, 1, 0)),
    Case("ring_readable_after_writable", "a readable buffer after a writable one",
         disk("desc_order", 2, Place("disk_data")), image=(24, 1, 0)),
    Case("ring_total_4g", "63 buffers that are 4 GiB together", disk("desc_total", 62, Place("ram_end", -0x100000)),
         image=(24, 1, 0)),
    Case("ring_longest_chain", "a request in 64 pieces, most of one byte", exited(), image=(24, 1, 1)),
    Case("ring_read_over_descriptors", "a read into the descriptor table that names it, then its head again",
         disk("desc_flags", 0, 0x4141), image=(25, 2, 1)),
    Case("ring_read_over_avail", "a read into the avail ring it came from", disk("avail_index", 1, 0x4141),
         image=(24, 1, 1)),
    Case("ring_read_over_used", "eight reads into the used ring that reports them", exited(), image=(24, 1, 8)),
    Case("ring_status_is_next_head", "a status byte that becomes the next head", disk("desc_index", 0, 0x200),
         image=(24, 1, 1)),
    Case("ring_two_queues_one_memory", "the queues of two devices in the same memory", disk("short", 0, 0),
         image=(32, 1, 1), vsock=(44, 0, 0)),
    Case("ring_idle_kicks", "300 kicks with nothing new, interrupts never acknowledged", exited(),
         image=(326, 302, 2)),

    # ---- the disk ----
    Case("blk_write", "writes to the read-only disk, in it and beyond it", exited(), image=(31, 6, 6),
         disk__write_bytes=0, disk__read_bytes=512),
    Case("blk_sector_overflow", "sectors whose byte offset overflows 64 bits", exited(), image=(39, 16, 16),
         disk__read_bytes=0, disk__write_bytes=0),
    Case("blk_end_of_disk", "requests over the disk's end, in one buffer and in several", exited(),
         image=(29, 4, 4), disk__read_bytes=512),
    Case("blk_types", "every request type that is none", exited(), image=(55, 32, 32), disk__read_bytes=0),
    Case("blk_lengths", "no data, half sectors, 4 MiB and more", exited(), image=(31, 8, 8), disk__read_bytes=512),
    Case("blk_get_id", "GET_ID into buffers too small and too large", exited(), image=(28, 5, 5)),
    Case("blk_status_not_writable", "a request with nowhere to write its status", disk("short", 0, 0),
         image=(24, 1, 1)),
    Case("blk_header_short", "a header of 15 bytes", disk("short", 0, 15), image=(24, 1, 1)),
    Case("blk_no_header", "a request without a readable byte", disk("short", 0, 0), image=(24, 1, 1)),
    Case("blk_buffers_overlap", "header, data and status in the same bytes", exited(), image=(24, 1, 1),
         disk__read_bytes=512),
    Case("blk_read_over_low_memory", "reads over boot parameters, page tables and the kernel log", panic(None),
         image=(26, 3, 3), disk__read_bytes=96 * 512),

    Case("blk_long_kicks", "256 MiB to read in every kick", WALL, **SHORT, disk="large",
         image=(AtLeast(24), AtLeast(2), AtLeast(64)), disk__read_bytes=AtLeast(64 << 22)),

    # ---- vsock ----
    Case("vsock_cid_spoof", "a connection in another guest's name", violation("vsock_cid", VSOCK, TX, 2, 4),
         vsock=(48, 4, 4)),
    Case("vsock_cid_host", "data in the host's name", violation("vsock_cid", VSOCK, TX, 2, 1 << 63 | 2),
         vsock=(48, 4, 4)),
    Case("vsock_len_beyond_buffer", "a length of 4096 and 3 bytes", violation("vsock_length", VSOCK, TX, 3, 4096),
         vsock=(49, 5, 6)),
    Case("vsock_len_below_buffer", "a length of 1 and 3 bytes", violation("vsock_length", VSOCK, TX, 3, 1),
         vsock=(49, 5, 6)),
    Case("vsock_len_4g", "a length of 2^32 - 1", violation("vsock_length", VSOCK, TX, 3, 0xffffffff),
         vsock=(49, 5, 6)),
    Case("vsock_len_wraps_header", "a length that is 0 with the header added",
         violation("vsock_length", VSOCK, TX, 3, (1 << 32) - 44), vsock=(49, 5, 6)),
    Case("vsock_len_too_large", "one byte more than a packet may have",
         violation("vsock_length", VSOCK, TX, 3, 65537), vsock=(49, 5, 6)),
    Case("vsock_len_on_shutdown", "data in a packet that has none", violation("vsock_length", VSOCK, TX, 3, 4),
         vsock=(49, 5, 6)),
    Case("vsock_header_short", "a packet of 43 bytes", violation("short", VSOCK, TX, 9, 43), vsock=(48, 4, 4)),
    Case("vsock_tx_writable", "a transmitted packet with a writable buffer", violation("direction", VSOCK, TX, 9, 1),
         vsock=(48, 4, 4)),
    Case("vsock_op_0", "operation 0", violation("vsock_op", VSOCK, TX, 2, 0), vsock=(48, 4, 4)),
    Case("vsock_op_response", "a RESPONSE: the host never asks", violation("vsock_op", VSOCK, TX, 2, 2),
         vsock=(48, 4, 4)),
    Case("vsock_op_unknown", "the first operation there is not", violation("vsock_op", VSOCK, TX, 2, 8),
         vsock=(48, 4, 4)),
    Case("vsock_op_65535", "the last operation there is not", violation("vsock_op", VSOCK, TX, 2, 65535),
         vsock=(48, 4, 4)),
    Case("vsock_types", "socket types there are not, in requests and on an open connection", exited(),
         vsock=(58, 14, 23), stdout=b"ok", events__vsock_refused=4),
    Case("vsock_destination_cids", "connections to eight wrong CIDs", exited(), vsock=(56, 12, 20),
         events__vsock_refused=8),
    Case("vsock_every_port", "connections to 4096 host ports", exited(), vsock=(304, 260, 8196),
         events__vsock_refused=4093),
    Case("vsock_source_ports", "connections from 4096 source ports", exited(), vsock=(306, 262, 8200),
         events__vsock_refused=4096),
    Case("vsock_refusals_without_buffers", "80 refusals that nobody takes, 200 kicks, then buffers", exited(),
         vsock=(353, 309, 164), events__vsock_refused=80),
    Case("vsock_stray_flood", "2048 packets for connections that are not there", exited(),
         vsock=(176, 132, 3588)),
    Case("vsock_data_before_connect", "data before a connection", exited(), vsock=(51, 7, 9), stdout=b"in time",
         port__stdout=7),
    Case("vsock_shutdown_flags", "SHUTDOWN with no flag, unknown flags, all flags, twice; data and REQUEST after it",
         exited(), vsock=(56, 12, 15), stdout=b"good", port__stdout=4),
    Case("vsock_data_after_shutdown", "data after its own end", exited(), vsock=(52, 8, 10), stdout=b"good",
         port__stdout=4),
    Case("vsock_write_to_stdin", "data to the port that only gives", exited(), vsock=(50, 6, 8), port__stdin=0),
    Case("vsock_more_than_credit", "one byte more than was granted",
         violation("vsock_credit", VSOCK, TX, 4, 1), vsock=(50, 6, 7), port__stdout=65536, stdout=bytes(65536)),
    Case("vsock_more_frames_than_credit", "33 control frames where 32 were granted",
         violation("vsock_credit", VSOCK, TX, 33, 128), vsock=(79, 35, 35), port__control=4096),
    Case("vsock_credit_lies", "buf_alloc shrunk, fwd_cnt ahead, behind and wrapped", exited(), vsock=(57, 13, 16),
         job__control=AtLeast(152)),
    Case("vsock_credit_requests", "1024 credit requests", exited(), vsock=(80, 36, 1060)),
    Case("vsock_output_flood", "2 MiB of output as fast as its credit lets it", exited(), port__stdout=2 << 20,
         stdout=b"x" * (2 << 20)),
    Case("vsock_rx_readable", "a receive buffer that is readable", violation("direction", VSOCK, RX, 5, 1),
         vsock=(48, 4, 5)),
    Case("vsock_rx_short", "a receive buffer of a header and nothing", violation("short", VSOCK, RX, 5, 44),
         vsock=(48, 4, 5)),
    Case("vsock_rx_outside", "a receive buffer that ends beyond RAM",
         violation("desc_range", VSOCK, RX, 5, Place("ram_end", -43)), vsock=(48, 4, 4)),
    Case("vsock_rx_over_tx_ring", "a receive buffer over the transmit ring",
         violation("avail_index", VSOCK, TX, 3, 0), vsock=(49, 5, 5)),
    Case("vsock_rx_in_pieces", "a receive buffer in sixteen pieces", exited(), vsock=(49, 5, 6)),
    Case("vsock_reset_while_stalled", "a reset while transmit waits for receive buffers", panic(),
         vsock=(173, 85, 21), events__vsock_refused=17),
    Case("vsock_event_queue", "100 kicks of an event queue full of garbage", exited(), vsock=(148, 104, 4)),

    # ---- the control connection ----
    Case("control_bad_magic", "a frame with another magic number", hostile("vsock_protocol", 0x21445542),
         vsock=(48, 4, 4), port__control=256),
    Case("control_shifted", "half a frame, then a whole one", hostile("vsock_protocol", 0), vsock=(49, 5, 5),
         port__control=320),
    Case("control_byte_by_byte", "a frame in 128 packets", exited(42), vsock=(175, 131, 131), port__control=256),
    Case("control_two_ends", "two ends in one packet: the first counts", exited(7), vsock=(48, 4, 4),
         port__control=384),
    Case("control_types", "256 frames of types there are and are not", exited(), vsock=(304, 260, 276),
         port__control=258 * 128),
    Case("control_exit_kind_unknown", "an end of an unknown kind", hostile("vsock_protocol", 99), vsock=(48, 4, 4)),
    Case("control_exit_kind_0", "an end of kind 0", hostile("vsock_protocol", 0), vsock=(48, 4, 4)),
    Case("control_exit_code_256", "exit status 256", hostile("vsock_protocol", 1), vsock=(48, 4, 4)),
    Case("control_exit_code_4g", "exit status 2^32, which is 0 in 32 bits", hostile("vsock_protocol", 1),
         vsock=(48, 4, 4)),
    Case("control_signal_0", "killed by signal 0", hostile("vsock_protocol", 2), vsock=(48, 4, 4)),
    Case("control_signal_65", "killed by signal 65", hostile("vsock_protocol", 2), vsock=(48, 4, 4)),
    Case("control_exit_unready", "an end before init was ready: the guest's word, as any end", exited(3),
         vsock=(47, 3, 3), port__control=128),
    Case("control_init_failed_late", "init blames the host after the script has started",
         hostile("vsock_protocol", 6), vsock=(49, 5, 5)),
    Case("control_numbers", "an end whose every number is 2^64 - 1",
         End("`not_found`, code 0", "not_found", code=0), vsock=(48, 4, 4)),
    Case("control_second_connection", "a second control connection, and a false end on it", exited(5),
         vsock=(54, 10, 16), events__vsock_refused=3, port__control=256),
    Case("control_frame_on_stdout", "the end of a run, printed", exited(6), vsock=(50, 6, 7), port__stdout=128),
    Case("control_closed", "the control connection closed, then an end, then a new connection", panic(),
         vsock=(50, 6, 7), events__vsock_refused=1, port__control=128),

    # ---- the kernel log ----
    Case("log_size_wild", "a log of 2^32 - 1 bytes", panic(None), vsock=(47, 3, 3), exits__other=1),
    Case("log_size_over", "a log one byte larger than its place", panic(None), vsock=(47, 3, 3), exits__other=1),
    Case("log_start_wild", "a log that goes on 2 GiB behind its place", panic(None), vsock=(47, 3, 3),
         exits__other=1),
    Case("log_over_seam", "a log over the seam of its circle", panic("aaaabbbb"), vsock=(47, 3, 3), exits__other=1),
    Case("log_full", "a full log: its last 4096 bytes", panic("x" * 4095 + "z"), vsock=(47, 3, 3), exits__other=1),
    Case("log_escapes", "terminal sequences and bytes that are no text, as last words",
         End("`guest_panic`, escaped", "guest_panic", message="the guest's kernel panicked: Kernel panic - "
             "\\x1b]0;owned\\x07\\x1b[2J\\x0d\\x08\\x9b\\xff\\xc0\\x80\"\\{"), vsock=(47, 3, 3), exits__other=1),

    # ---- the processor ----
    Case("cpu_msr_sweep", "2480 MSRs read and written before ready: #GP but for the offered ones", exited(),
         exits__msr=4960),
    Case("cpu_msr_sweep_late", "64 MSRs it does not have, after ready", hostile("msr_sweep", 0x23f), exits__msr=64),
    Case("cpu_msr_values", "SVME in EFER, reserved bits, wrong types: #GP", exited(), exits__msr=7),
    Case("cpu_cpuid", "no VMX, SVM, PMU, mitigations, nothing of KVM's but its clock; other leaves empty", exited(),
         vsock=(48, 4, 4)),
    Case("cpu_virtualization_instructions", "VMRUN, VMXON, SKINIT, RSM, RDPMC and twelve more: #UD or #GP", exited(),
         vsock=(48, 4, 4)),
    Case("cpu_hypercalls", "69 hypercalls, by VMMCALL and VMCALL: none is answered", exited(), vsock=(48, 4, 4)),
    Case("cpu_control_registers", "VMXE, SMXE and impossible modes: #GP", exited(), vsock=(48, 4, 4)),
    Case("cpu_ports", "501 ports in every width; the old ways to reset a PC", exited(), exits__io_unmapped=3009),
    Case("cpu_port_strings", "string I/O over pages, to RAM's end and beyond, into and out of registers", exited(),
         image=(96, 1, 1), exits__io_unmapped=AtLeast(64)),
    Case("cpu_emulation_failure", "an instruction on registers that KVM cannot emulate", hostile("stuck"),
         vsock=(47, 3, 3), exits__other=1),
    Case("cpu_emulation_failure_early", "the same before ready, when the host may be to blame",
         End("`host_unsupported`", "host_unsupported"), image=(1, 0, 0), exits__other=1),
    Case("cpu_run_registers", "code in device registers", hostile("stuck"), vsock=(47, 3, 3), exits__other=1),
    Case("cpu_page_tables_in_registers", "page tables in device registers: KVM goes round for ever", WALL, **SHORT,
         vsock=(47, 3, 3)),
    Case("cpu_triple_fault", "a triple fault", panic(None), vsock=(47, 3, 3), exits__other=1),
    Case("cpu_halt", "halted with interrupts off", WALL, **SHORT, vsock=(47, 3, 3)),
    Case("cpu_spin", "one jump, interrupts off", WALL, **SHORT, vsock=(47, 3, 3)),
    Case("cpu_spin_in_user_mode", "the same at CPL 3", WALL, **SHORT, vsock=(47, 3, 3)),
    Case("cpu_timer_storm", "the fastest timer there is, and interrupts on", WALL, **SHORT, vsock=(47, 3, 3)),
    Case("cpu_exit_storm", "exits as fast as they come, for nothing", Storm("exit_storm", 0x80, 8192), wall="middle",
         exits__io_unmapped=AtLeast(8192)),
    Case("cpu_endless_string", "one REP instruction of 2^60 rounds, out of RAM into nothing",
         hostile("unmapped_sweep"), image=(1, 0, 0), exits__mmio_unmapped=1024, exits__io_unmapped=AtLeast(5)),
    Case("cpu_never_ready", "disk requests for ever, and never a word", WALL, **SHORT,
         image=(AtLeast(500), AtLeast(500), AtLeast(500)), vsock=(0, 0, 0)),

    # ---- memory ----
    Case("mem_unmapped", "15 places where nothing is, in every width", exited(), exits__mmio_unmapped=135),
    Case("mem_over_ram_end", "accesses over the end of RAM, 4 GiB and a window's start", exited(),
         vsock=(50, 4, 4), exits__mmio_unmapped=11),
    Case("mem_copy_over_ram_end", "a copy through the end of RAM", exited(), exits__mmio_unmapped=257),
    Case("mem_sparse_reads", "a read in every 2 MiB of nothing: page tables in the host's kernel, without a limit",
         hostile("unmapped_sweep", (4 << 30) + 1023 * (2 << 20)), exits__mmio_unmapped=1024),
    Case("mem_touch_all", "all RAM touched: no more than was given, and overwritten", exited(), vsock=(48, 4, 4)),
    Case("mem_kvmclock", "kvmclock's page where there is no memory: KVM writes it itself", exited(),
         image=(1, 0, 0), vsock=(48, 4, 4)),

    # ---- interrupt controllers ----
    Case("irq_redirection", "every delivery mode and low vectors in the IOAPIC: only fixed ones arrive", exited(),
         image=(119, 32, 32), exits__mmio_ioapic=128),
    Case("irq_ioapic_registers", "every index and width of the IOAPIC with wild values", exited(),
         exits__mmio_ioapic=373, exits__mmio_unmapped=112),
    Case("irq_storm", "200 requests with an interrupt each, half of them not acknowledged", exited(),
         image=(323, 200, 200)),
    Case("irq_init_at_the_end", "an INIT for itself that pends when the run ends", hostile("unmapped_sweep"),
         exits__mmio_unmapped=1024),
    Case("irq_lapic_registers", "every LAPIC register with wild values and widths", exited(), vsock=(48, 4, 4)),
    Case("irq_x2apic_registers", "the 256 MSRs that no filter covers, with wild values", exited(),
         exits__msr=AtLeast(1000)),
    Case("irq_self_ipi", "interrupt messages of every kind to itself", exited(), vsock=(48, 4, 4)),
    Case("irq_smi", "SMI to itself: there is no memory in SMM", hostile("stuck"), vsock=(47, 3, 3)),
    Case("irq_init", "INIT to itself: there is no firmware", hostile("stuck"), vsock=(47, 3, 3), exits__other=1),
    Case("irq_lapic_moved", "the LAPIC moved over RAM and devices, and back", exited(), image=(1, 0, 0),
         vsock=(48, 4, 4)),
]

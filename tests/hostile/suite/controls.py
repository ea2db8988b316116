"""Positive controls: one-line weakenings of our own code, each of which a case must catch.

`old` stands exactly once in `file`, and `new` differs from it in one line; the
weakened copy is compiled into a VMM of its own (build.py), and the case is run
on that.  `caught` is which of the suite's eyes sees it (harness.Wrong.kind):
another outcome or count, a report of a sanitizer, a VMM that dies by a signal, one that
its supervisor has to kill or to clean up after, one that grows.
"""
import difflib


class Control:
    def __init__(self, name, about, file, old, new, case, caught, build="release"):
        self.name, self.about, self.file, self.old, self.new = name, about, file, old, new
        self.case, self.caught, self.build = case, caught, build

    def apply(self, text):
        if text.count(self.old) != 1:
            raise ValueError(f"control {self.name}: {self.old!r} is not at one place in {self.file}; bring it up to date")
        weak = text.replace(self.old, self.new)
        changed = [x[0] for x in difflib.unified_diff(text.splitlines(), weak.splitlines(), n=0, lineterm="")
                   if x[0] in "+-" and x[:3] not in ("+++", "---")]
        if changed.count("+") != 1 or changed.count("-") > 1:
            raise ValueError(f"control {self.name} is not one line")
        return weak


SIGNAL, SANITIZER, OUTCOME, COUNTER = "signal", "sanitizer", "outcome", "counter"
LIMIT, DISCARD, MEMORY, HOST, LOG = "limit", "discard", "memory", "host", "log"
LOCK = "(q->ready || !(d->status & STATUS_FEATURES_OK) || (d->status & STATUS_DRIVER_OK))"
REFUSED = "\tif (v->stats.refused++ == 0)\n"
HOARD = "\t{ static volatile uint8_t hoard[64 << 20]; hoard[4096u * (v->stats.refused % 16384)] = 1; }\n"

CONTROLS = [
    # ---- memory ----
    Control("gmem_end_unchecked", "the end of a range is not checked: the guard page behind RAM takes the blow",
            "vmm/mem/gmem.c", "if (chk_range(a.raw, len, low)) {", "if (chk_range(a.raw, 0, low)) {",
            "vsock_rx_outside", SIGNAL),
    Control("gmem_end_wraps", "the end of a range is added up, and wraps",
            "vmm/mem/gmem.c", "if (chk_range(a.raw, len, low)) {", "if (a.raw + len <= low) {",
            "ring_address_wraps", OUTCOME),
    Control("wipe_skipped", "guest memory is said to be overwritten, and is not",
            "vmm/mem/wipe.c", "memset(at, 0, bytes);", "memset(at, 0, 0);", "mem_touch_all", DISCARD),

    # ---- rings ----
    Control("head_unchecked", "a head is not compared with the queue's size",
            "vmm/virtio/queue.c", "if (index >= q->size)", "if (index >= 65536u)", "ring_head_64", OUTCOME),
    Control("chain_unbounded", "a chain may be longer than the array that holds it",
            "vmm/virtio/queue.c", "for (uint32_t n = 0; n < q->size; n++) {",
            "for (uint32_t n = 0; n < 4096; n++) {", "ring_loop_of_one", SANITIZER, "sanitizer"),
    Control("chain_unbounded_release", "the same in the release build: over the stack's canary",
            "vmm/virtio/queue.c", "for (uint32_t n = 0; n < q->size; n++) {",
            "for (uint32_t n = 0; n < 4096; n++) {", "ring_loop_of_one", SIGNAL),
    Control("index_unchecked", "avail.idx may run ahead by any number",
            "vmm/virtio/queue.c", "if ((uint16_t)(g_idx - q->avail_next) > q->size)",
            "if ((uint16_t)(g_idx - q->avail_next) > 65535u)", "ring_index_ahead", OUTCOME),
    Control("used_index_from_guest", "the used index is loaded from guest memory",
            "vmm/virtio/queue.c", "	struct used_elem u = { le32(head), le32(written) };\n",
            "	struct used_elem u = { le32(head), le32(written) };\n"
            "	if (gmem_load_acquire_u16(q->mem, at(q->used, RING_IDX), &q->used_next) != OK) return ERR_GUEST;\n",
            "ring_read_over_used", OUTCOME),
    Control("queue_size_unchecked", "a queue may have any size but 0",
            "vmm/virtio/queue.c", "if (n == 0 || n > q->size_max || (n & (n - 1)) != 0)", "if (n == 0)",
            "ring_size_128", OUTCOME),

    # ---- registers ----
    Control("notify_unchecked", "the value of a kick is an index, unchecked",
            "vmm/virtio/mmio.c", "if (g_queue >= d->queues)", "if (g_queue > 0x7fffffff)",
            "mmio_notify_index", SANITIZER, "sanitizer"),
    Control("notify_unchecked_release", "the same in the release build",
            "vmm/virtio/mmio.c", "if (g_queue >= d->queues)", "if (g_queue > 0x7fffffff)",
            "mmio_notify_index", SIGNAL),
    Control("queue_unlocked", "QueueNum and addresses may change while the queue is live",
            "vmm/virtio/mmio.c", f"	if {LOCK}\n		return violate(d, reg,",
            "	if (!(d->status & STATUS_FEATURES_OK))\n		return violate(d, reg,",
            "mmio_resize_live_queue", OUTCOME),

    # ---- the disk ----
    Control("sector_overflow", "sector * 512 in 64 bits, unchecked",
            "vmm/virtio/blk.c", "if (!chk_mul_u64(g_sector, BLK_SECTOR_BYTES, &off) || ",
            "if (off = g_sector * BLK_SECTOR_BYTES, ", "blk_sector_overflow", OUTCOME),
    Control("disk_end_unchecked", "only the first byte of a request must lie on the disk",
            "vmm/virtio/blk.c", "!chk_range(off, len, b->bytes))", "!chk_range(off, 1, b->bytes))",
            "blk_end_of_disk", OUTCOME),
    Control("read_only_ignored", "a read-only disk is written to; its descriptor refuses",
            "vmm/virtio/blk.c", "if (write && !b->writable)", "if (write && b->writable)", "blk_write", OUTCOME),
    Control("discard_is_a_write", "DISCARD, which was not offered, is taken for a write",
            "vmm/virtio/blk.c", "	case BLK_T_OUT:\n", "	case BLK_T_OUT: case 11:\n", "scratch_commands", OUTCOME),
    Control("forbidden_call", "a system call that is not in the table, in every request",
            "vmm/virtio/blk.c", "	b->requests++;\n", "	b->requests++;\n	fsync(b->fd);\n",
            "blk_types", SIGNAL),

    # ---- vsock ----
    Control("cid_unchecked", "the source CID is not compared with the guest's",
            "vmm/virtio/vsock_tx.c", "if (le64_get(h.src_cid) != WIRE_GUEST_CID)", "if (le64_get(h.src_cid) == 0)",
            "vsock_cid_spoof", OUTCOME),
    Control("refusals_unbounded", "refusals are kept without a limit",
            "vmm/virtio/vsock_tx.c", "if (v->refusals == VSOCK_REFUSALS_MAX) {", "if (v->refusals == 1u << 20) {",
            "vsock_refusals_without_buffers", SANITIZER, "sanitizer"),
    Control("state_for_each_port", "a page of memory for each refused source port",
            "vmm/virtio/vsock_tx.c", REFUSED, HOARD + REFUSED, "vsock_source_ports", MEMORY),
    Control("credit_unchecked", "data is taken beyond the credit",
            "vmm/virtio/conn.c", "return len <= c->buf_alloc - outstanding;", "return outstanding <= c->buf_alloc;",
            "vsock_more_than_credit", OUTCOME),
    Control("source_port_unchecked", "any source port may connect",
            "vmm/virtio/vsock_tx.c", "g_src <= WIRE_PRIVILEGED_PORT_MAX && g_dst < WIRE_PORTS &&",
            "g_dst < WIRE_PORTS &&", "vsock_source_ports", OUTCOME),
    Control("frame_magic_unchecked", "whatever comes on the control port is a frame",
            "vmm/loop.c", "if (frame->magic != WIRE_FRAME_MAGIC) {", "if (frame->magic == 1) {",
            "control_bad_magic", OUTCOME),

    # ---- processor, interrupts, limits ----
    Control("msr_allowed", "one MSR more passes the filter: MTRRdefType",
            "vmm/kvm/msr.c", "{ 0x00000277, READ | WRITE },", "{ 0x00000277, READ | WRITE }, { 0x2ff, READ | WRITE },", "cpu_msr_sweep", OUTCOME),
    Control("hwcr_writable", "the guest may write HWCR, whose values KVM logs",
            "vmm/kvm/msr.c", "{ 0xc0010015, READ },", "{ 0xc0010015, READ | WRITE },", "cpu_msr_canaries", LOG),
    Control("quirks_kept", "KVM makes up for guests that break rules",
            "vmm/kvm/vm.c", "{ KVM_CAP_DISABLE_QUIRKS2, QUIRKS, 0,", "{ KVM_CAP_DISABLE_QUIRKS2, 1 << 30, 0,",
            "cpu_hypercalls", OUTCOME),
    Control("lowest_priority_kept", "the IOAPIC hands on the wish for the lowest priority",
            "vmm/irq/ioapic.c", "(uint32_t)(entry & 0xff));", "(uint32_t)(entry & 0xff) | delivery << 8);",
            "irq_lowest_of_all", LOG),
    Control("sweep_unseen", "nobody counts the MSRs that were denied",
            "vmm/loop.c", "&& r->denied_msrs == SWEEP_MSRS)", "&& r->denied_msrs == ~0u)", "cpu_msr_sweep_late",
            OUTCOME),
    Control("unmapped_unseen", "nobody counts the accesses to nothing",
            "vmm/loop.c", "[REPORT_EXIT_MMIO_UNMAPPED] == SWEEP_UNMAPPED", "[REPORT_EXIT_MMIO_UNMAPPED] == ~0ull",
            "cpu_endless_string", OUTCOME),
    Control("tables_unseen", "nobody counts the tables that KVM makes for addresses without memory",
            "vmm/loop.c", "if (n >= SWEEP_TABLES)", "if (n == ~0ull)", "mem_walk_directory", HOST),
    Control("large_pages_without_end", "the guest may ask for large pages as often as it likes",
            "vmm/loop.c", "*ram_exits < r->mem.bytes / GMEM_LARGE_PAGE", "*ram_exits < ~0ull", "cpu_ram_port", COUNTER),
    Control("paravirtual_offered", "CPUID offers all of KVM's paravirtual features",
            "vmm/kvm/cpuid.c", "{ KVM_CPUID_FEATURES, ANY, BIT(KVM_FEATURE_CLOCKSOURCE2) | "
            "BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT), 0, 0, 0 },", "{ KVM_CPUID_FEATURES, ANY, ALL, 0, 0, 0 },",
            "cpu_cpuid", OUTCOME),
    Control("nmi_by_ioapic", "the IOAPIC delivers whatever a redirection entry asks for",
            "vmm/irq/ioapic.c", "if (delivery != DELIVERY_FIXED && delivery != DELIVERY_LOWEST)",
            "if (delivery == 2 || delivery == 5)", "irq_redirection", OUTCOME),
    Control("end_is_not_the_end", "what a guest sends behind its end is looked at",
            "vmm/virtio/vsock_tx.c", "if (v->ended)", "if (false)", "control_end_then_output", COUNTER),
    Control("apic_base_writable", "the guest may move its LAPIC",
            "vmm/kvm/msr.c", "{ 0x0000001b, READ }", "{ 0x0000001b, READ | WRITE }", "irq_lapic_moved", OUTCOME),
    Control("wall_limit_ignored", "the VMM does not end at its wall limit: the supervisor's clock does",
            "vmm/loop.c", "if (sig == SIGALRM)", "if (sig == SIGUSR1)", "cpu_spin", LIMIT),
]

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bugs that others had in exactly this code, by name: one test each, so
 * that none comes back.  Crashes that our fuzzer finds are added at the end.
 */
#include "tests/unit/driver.h"
#include "tests/unit/tap.h"

static struct machine *live(void)
{
	struct machine *m = machine_new();

	for (unsigned slot = 0; slot < 3; slot++)
		probe(m, slot);
	rx_fill(m, 16);
	return m;
}

/* base in one region, base+len in another (CVE-2019-18960). */
static void range_ends_in_another_region(void)
{
	struct machine *m = live();
	const struct gmem split = { m->mem.base, GMEM_HOLE_START + 4096 };

	CHECK_EQ(gmem_check(&split, gpa(GMEM_HOLE_START - 4), 8), ERR_GUEST);
	CHECK_EQ(gmem_check(&split, gpa(GMEM_HOLE_START - 4), GMEM_HOLE_END - GMEM_HOLE_START + 8),
		 ERR_GUEST);
	CHECK_EQ(gmem_check(&split, gpa(GMEM_HOLE_END - 4), 8), ERR_GUEST);
	machine_free(m);
}

/* Queue size writable after activation (CVE-2026-5747). */
static void queue_size_after_activation(void)
{
	struct machine *m = live();

	CHECK_EQ(reg_write(m, 1, QUEUE_SEL, 0), OK);
	CHECK_EQ(reg_write(m, 1, QUEUE_NUM, 0x8000), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_QUEUE_LOCKED);
	CHECK_EQ(m->bus.dev[1].queue[0].size, 64);
	machine_free(m);
}

/* A raw disk taken for qcow2 because the guest wrote a header (CVE-2026-27211). */
static void raw_stays_raw(void)
{
	struct machine *m = live();
	uint8_t got[512];

	memset(m->mem.base + BLK_DATA, 0, 512);
	memcpy(m->mem.base + BLK_DATA, "QFI\xfb\0\0\0\3/etc/passwd", 19);
	CHECK_EQ(blk_do(m, 2, 1, 0, 512, false), OK);
	CHECK_EQ(reg_write(m, 2, STATUS, 0), OK);
	probe(m, 2);
	CHECK_EQ(blk_do(m, 2, 0, 0, 512, true), OK);
	memcpy(got, m->mem.base + BLK_DATA, 512);
	CHECK(memcmp(got, "QFI\xfb\0\0\0\3/etc/passwd", 19) == 0);
	CHECK_EQ(reg_read(m, 2, CONFIG), DISK_BYTES / 512);
	machine_free(m);
}

/* Completion after the queue is gone (CVE-2026-45782): there is nothing asynchronous. */
static void no_completion_after_reset(void)
{
	struct machine *m = live();
	uint8_t before[4096];

	CHECK_EQ(blk_do(m, 1, 0, 0, 512, true), OK);
	CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
	CHECK_EQ(reg_write(m, 0, STATUS, 0), OK);
	CHECK_EQ(reg_write(m, 1, STATUS, 0), OK);
	memcpy(before, m->mem.base + RX_BUF, sizeof before);
	CHECK_EQ(write(m->stdin_w, "late", 4), -1);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(memcmp(before, m->mem.base + RX_BUF, sizeof before) == 0);
	machine_free(m);
}

/* sector * 512 overflows (Cloud Hypervisor). */
static void sector_multiplication(void)
{
	static const uint64_t sector[] = { 1ull << 55, (1ull << 55) + 1, UINT64_MAX, UINT64_MAX / 512,
					   UINT64_MAX / 512 + 1, 1ull << 54 };
	struct machine *m = live();

	for (unsigned i = 0; i < sizeof sector / sizeof sector[0]; i++) {
		CHECK_EQ(blk_do(m, 2, 0, sector[i], 512, true), OK);
		CHECK_EQ(blk_status(m), 1);
		CHECK_EQ(blk_do(m, 2, 1, sector[i], 512, false), OK);
		CHECK_EQ(blk_status(m), 1);
	}
	CHECK(m->bus.blk[1].read_bytes == 0 && m->bus.blk[1].write_bytes == 0);
	machine_free(m);
}

/* Each descriptor inside the disk, their sum outside (Cloud Hypervisor). */
static void bounds_are_cumulative(void)
{
	struct machine *m = live();
	struct ring *r = &m->ring[2][0];

	blk_header_put(m, 0, 62);
	chain_put(m, r, (struct buf[]){ { BLK_HEADER, 16, false }, { BLK_DATA, 1024, true },
			{ BLK_DATA + 1024, 512, true }, { BLK_STATUS, 1, true } }, 4);
	CHECK_EQ(kick(m, r), OK);
	CHECK_EQ(blk_status(m), 1);
	machine_free(m);
}

/* The packet's own length believed (Cloud Hypervisor). */
static void header_length_is_checked(void)
{
	struct machine *m = live();
	struct packet p = packet(RW, WIRE_STDOUT);

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	p.len = 4096;
	packet_queue(m, &p, "abc", 3);
	CHECK_EQ(kick(m, &m->ring[0][TX]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_VSOCK_LENGTH);
	CHECK_EQ(m->out_head, 0);
	machine_free(m);
}

/* A bad head parsed again for ever (OpenVMM): it ends the run, once. */
static void bad_head_ends_the_run(void)
{
	struct machine *m = live();

	avail_put(m, &m->ring[1][0], 64);
	CHECK_EQ(kick(m, &m->ring[1][0]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_DESC_INDEX);
	CHECK_EQ(m->bus.violation.value, 64);
	machine_free(m);
}

/* A descriptor that points at a device's registers (CVE-2024-3446). */
static void no_dma_into_devices(void)
{
	struct machine *m = live();

	chain_put(m, &m->ring[1][0], (struct buf[]){ { BLK_HEADER, 16, false },
			{ BUS_BASE + 0x1050, 512, true }, { BLK_STATUS, 1, true } }, 3);
	CHECK_EQ(kick(m, &m->ring[1][0]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_DESC_RANGE);
	machine_free(m);
}

/* An element used after it was given back (CVE-2021-3748): the same head twice. */
static void the_same_head_twice(void)
{
	struct machine *m = live();
	struct ring *r = &m->ring[1][0];
	uint32_t id, len;

	blk_header_put(m, 0, 1);
	chain_put(m, r, (struct buf[]){ { BLK_HEADER, 16, false }, { BLK_DATA, 512, true },
			{ BLK_STATUS, 1, true } }, 3);
	avail_put(m, r, 0);
	CHECK_EQ(kick(m, r), OK);
	CHECK(used_get(m, r, &id, &len) && id == 0);
	CHECK(used_get(m, r, &id, &len) && id == 0);
	CHECK(!used_get(m, r, &id, &len));
	machine_free(m);
}

/* The descriptor is rewritten by the device's own write: the copy counts. */
static void a_read_that_overwrites_its_own_ring(void)
{
	struct machine *m = live();
	struct ring *r = &m->ring[1][0];

	blk_header_put(m, 0, 0);
	chain_put(m, r, (struct buf[]){ { BLK_HEADER, 16, false }, { r->desc, 512, true },
			{ BLK_STATUS, 1, true } }, 3);
	CHECK_EQ(kick(m, r), OK);	/* its descriptors are 'A's now */
	CHECK_EQ(blk_status(m), 0);
	CHECK_EQ(m->mem.base[r->desc], 'A');
	CHECK_EQ(rule(m), VIOLATION_NONE);
	machine_free(m);
}

/* Out of bounds by notify or select index (kvmtool, CVE-2021-45464). */
static void notify_and_select_indices(void)
{
	static const uint32_t bad[] = { 1, 3, 64, 0x7fffffff, 0x80000000, UINT32_MAX };

	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct machine *m = live();

		CHECK_EQ(reg_write(m, 1, QUEUE_SEL, bad[i]), OK);
		CHECK_EQ(reg_read(m, 1, QUEUE_NUM_MAX), 0);
		CHECK_EQ(reg_read(m, 1, QUEUE_READY), 0);
		CHECK_EQ(reg_write(m, 1, QUEUE_READY, 0), OK);
		CHECK_EQ(reg_write(m, 1, QUEUE_READY, 1), ERR_GUEST);
		CHECK_EQ(rule(m), VIOLATION_QUEUE_SELECT);
		machine_free(m);
		m = live();
		CHECK_EQ(reg_write(m, 1, QUEUE_NOTIFY, bad[i]), ERR_GUEST);
		CHECK_EQ(rule(m), VIOLATION_NOTIFY);
		machine_free(m);
	}
}

/* addr + len wraps, in memory and in registers (kvmtool). */
static void address_plus_length_wraps(void)
{
	struct machine *m = live();
	uint8_t data[8] = { 0 };
	bool claimed;

	chain_put(m, &m->ring[1][0], (struct buf[]){ { BLK_HEADER, 16, false },
			{ UINT64_MAX - 511, 1024, true }, { BLK_STATUS, 1, true } }, 3);
	CHECK_EQ(kick(m, &m->ring[1][0]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_DESC_RANGE);
	CHECK_EQ(bus_mmio(&m->bus, UINT64_MAX - 3, data, 8, true, &claimed), OK);
	CHECK(!claimed);
	machine_free(m);
}

/* The head used as an index without a mask or a check (vmd). */
static void head_is_checked_before_use(void)
{
	struct machine *m = live();

	avail_put(m, &m->ring[0][TX], 0xffff);
	CHECK_EQ(kick(m, &m->ring[0][TX]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_DESC_INDEX);
	machine_free(m);
}

/* An access that runs over the end of a window (the device side of CVE-2026-31588). */
static void access_over_two_windows(void)
{
	struct machine *m = live();
	uint8_t data[8] = { 0 };
	bool claimed;

	for (uint64_t off = 0xff9; off < 0x1000; off++) {
		CHECK_EQ(bus_mmio(&m->bus, BUS_BASE + BUS_STRIDE + off, data, 8, true, &claimed), OK);
		CHECK(claimed);
	}
	CHECK_EQ(m->bus.unmapped, 7);
	CHECK_EQ(reg_read(m, 2, STATUS), 15);
	machine_free(m);
}

/* % 0 on the queue size (mvm). */
static void queue_size_zero(void)
{
	struct machine *m = machine_new();
	struct ring *r;

	probe_to_features(m, 1);
	r = ring_place(m, 1, 0, 64);
	ring_tell(m, r);
	CHECK_EQ(reg_write(m, 1, QUEUE_NUM, 0), OK);
	CHECK_EQ(reg_write(m, 1, QUEUE_READY, 1), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_QUEUE_SIZE);
	machine_free(m);
}

/* State for each source port (mvm): see vsock.c, no_state_per_source_port. */
/* Descriptor loops (mvm): see queue.c, loops. */

/* An end-of-run marker printed by the script (zeroboot): only the control port makes frames. */
static void frames_only_on_the_control_port(void)
{
	struct machine *m = live();
	struct wire_frame f = { WIRE_FRAME_MAGIC, WIRE_EXIT, { WIRE_KIND_EXITED, 0 } };
	struct packet p = packet(REQUEST, WIRE_CONTROL), r;

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), &f, sizeof f), OK);
	p.src_port = 40000;	/* what an unprivileged program can bind */
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RST, &r, NULL));
	p.op = RW;
	CHECK_EQ(packet_send(m, p, &f, sizeof f), OK);
	CHECK_EQ(m->frames, 0);
	machine_free(m);
}

/* Chains taken and given back: what the guest adds meanwhile is no more than a ring full from there (our fuzzer). */
static void index_moves_while_chains_are_out(void)
{
	struct machine *m = live();
	struct ring *r = &m->ring[1][0];
	struct queue *q = &m->bus.dev[1].queue[0];
	struct chain c;
	bool got;

	desc_put(m, r, 0, 0x100, 1, 0, 0);
	for (unsigned i = 0; i <= q->size; i++) {
		put16(m, r->avail + 2, i < q->size ? q->size : (uint16_t)(2 * q->size));
		CHECK_EQ(queue_pop(q, &c, &got), OK);
		CHECK(got);
	}
	for (unsigned i = 0; i <= q->size; i++)
		queue_unpop(q);
	CHECK((uint16_t)(q->avail_seen - q->avail_next) <= q->size);
	CHECK_EQ(queue_pop(q, &c, &got), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_AVAIL_INDEX);
	machine_free(m);
}

int main(void)
{
	RUN(range_ends_in_another_region);
	RUN(queue_size_after_activation);
	RUN(raw_stays_raw);
	RUN(no_completion_after_reset);
	RUN(sector_multiplication);
	RUN(bounds_are_cumulative);
	RUN(header_length_is_checked);
	RUN(bad_head_ends_the_run);
	RUN(no_dma_into_devices);
	RUN(the_same_head_twice);
	RUN(a_read_that_overwrites_its_own_ring);
	RUN(notify_and_select_indices);
	RUN(address_plus_length_wraps);
	RUN(head_is_checked_before_use);
	RUN(access_over_two_windows);
	RUN(queue_size_zero);
	RUN(frames_only_on_the_control_port);
	RUN(index_moves_while_chains_are_out);
	return tap_end();
}

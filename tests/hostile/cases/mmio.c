/* SPDX-License-Identifier: Apache-2.0 */
/* mmio.c - the register windows: states, selectors, widths, edges. */
#include "tests/hostile/guest/vsock.h"

#define ONES32 0xffffffffu
#define ONES64 0xffffffffffffffffull

CASE(mmio_driver_ok_first)
{
	ready();
	dev_begin(DISK);
	reg_write(DISK, STATUS, ACKNOWLEDGE | DRIVER | DRIVER_OK);
	SURVIVED();
}

CASE(mmio_status_unknown)
{
	ready();
	dev_begin(DISK);
	reg_write(DISK, STATUS, ONES32);
	SURVIVED();
}

CASE(mmio_status_backwards)
{
	ready();
	disk_up();
	reg_write(DISK, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);	/* takes DRIVER_OK back */
	SURVIVED();
}

/* Every feature there could be: refused by FEATURES_OK, and there is no way on. */
CASE(mmio_features_all)
{
	ready();
	dev_begin(DISK);
	CHECK(!dev_features(DISK, ONES64));
	reg_write(DISK, QUEUE_SEL, 0);
	reg_write(DISK, QUEUE_NUM, RING_MAX);
	SURVIVED();
}

CASE(mmio_features_late)
{
	ready();
	disk_probe();
	reg_write(DISK, DRIVER_FEATURES_SEL, 0);
	reg_write(DISK, DRIVER_FEATURES, ONES32);
	SURVIVED();
}

CASE(mmio_features_select)
{
	static const uint32_t wild[] = { 2, 31, 32, 0x80000000, ONES32 };

	ready();
	dev_begin(DISK);
	for (unsigned i = 0; i < SIZE(wild); i++) {
		reg_write(DISK, DEVICE_FEATURES_SEL, wild[i]);
		CHECK_EQ(reg_read(DISK, DEVICE_FEATURES), 0);
	}
	reg_write(DISK, DRIVER_FEATURES_SEL, 0x80000000);
	reg_write(DISK, DRIVER_FEATURES, 1);
	SURVIVED();
}

/* The index of a queue that is not there: read everywhere, then written. */
CASE(mmio_queue_select)
{
	static const uint32_t wild[] = { 1, 3, 64, 0x7fffffff, 0x80000000, ONES32 };

	ready();
	disk_probe();
	for (unsigned i = 0; i < SIZE(wild); i++) {
		reg_write(DISK, QUEUE_SEL, wild[i]);
		CHECK_EQ(reg_read(DISK, QUEUE_NUM_MAX), 0);
		CHECK_EQ(reg_read(DISK, QUEUE_READY), 0);
		reg_write(DISK, QUEUE_READY, 0);
	}
	reg_write(DISK, QUEUE_DESC, 0x1000);
	SURVIVED();
}

CASE(mmio_queue_select_ready)
{
	ready();
	disk_probe();
	reg_write(DISK, QUEUE_SEL, 0x80000001);
	reg_write(DISK, QUEUE_READY, 1);
	SURVIVED();
}

/* kvmtool, CVE-2021-45464: the kick's value is an index. */
CASE(mmio_notify_index)
{
	ready();
	disk_up();
	reg_write(DISK, QUEUE_NOTIFY, 0x00100000);
	SURVIVED();
}

/* CVE-2026-5747: the size changes under a device that uses it. */
CASE(mmio_resize_live_queue)
{
	ready();
	disk_up();
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	reg_write(DISK, QUEUE_SEL, 0);
	reg_write(DISK, QUEUE_NUM, 0x8000);
	SURVIVED();
}

CASE(mmio_move_live_queue)
{
	ready();
	disk_up();
	reg_write(DISK, QUEUE_SEL, 0);
	reg_write(DISK, QUEUE_USED + 4, ONES32);
	SURVIVED();
}

CASE(mmio_queue_ready_two)
{
	ready();
	disk_probe();
	reg_write(DISK, QUEUE_READY, 2);
	SURVIVED();
}

CASE(mmio_queue_ready_twice)
{
	ready();
	disk_probe();
	vq_ready(&disk);
	reg_write(DISK, QUEUE_READY, 1);
	SURVIVED();
}

/* Before FEATURES_OK nothing of a queue can be set. */
CASE(mmio_queue_too_early)
{
	ready();
	dev_begin(DISK);
	reg_write(DISK, QUEUE_SEL, 0);
	reg_write(DISK, QUEUE_READY, 1);
	SURVIVED();
}

/*
 * Every width but four bytes, and four bytes where no register begins, at each
 * offset: reads are ones, writes change nothing.
 */
CASE(mmio_widths)
{
	ready();
	disk_up();
	for (uint32_t off = 0; off < CONFIG; off++) {
		volatile uint8_t *p = reg(DISK, off);

		CHECK_EQ(mmio_read8(p), 0xff);
		CHECK_EQ(mmio_read16(p), 0xffff);
		CHECK_EQ(mmio_read64(p), ONES64);
		mmio_write8(p, 0);
		mmio_write16(p, 0);
		mmio_write64(p, 0);
		if (off % 4 != 0) {
			CHECK_EQ(mmio_read32(p), ONES32);
			mmio_write32(p, 0);
		}
	}
	CHECK_EQ(reg_read(DISK, STATUS), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

/* Configuration space: all of it written in every width; the disk stays as large as it is. */
CASE(mmio_config_write)
{
	uint64_t sectors;

	ready();
	disk_up();
	sectors = disk_sectors();
	for (uint32_t off = CONFIG; off < WINDOW_BYTES; off += off < CONFIG + 64 ? 1 : 61) {
		mmio_write8(reg(DISK, off), 0xff);
		if (off + 2 <= WINDOW_BYTES)
			mmio_write16(reg(DISK, off), 0xffff);
		if (off + 4 <= WINDOW_BYTES)
			mmio_write32(reg(DISK, off), ONES32);
		if (off + 8 <= WINDOW_BYTES)
			mmio_write64(reg(DISK, off), ONES64);
	}
	CHECK_EQ(disk_sectors(), sectors);
	CHECK_EQ(mmio_read64(reg(DISK, CONFIG)), sectors);
	CHECK_EQ(mmio_read64(reg(DISK, CONFIG + 16)), ONES64);	/* behind its end */
	CHECK_EQ(mmio_read32(reg(DISK, CONFIG + 14)), ONES32);	/* over its end */
	CHECK_EQ(blk_do(BLK_IN, sectors, (uint64_t)disk_data, SECTOR), BLK_IOERR);
	done();
}

/* Accesses over the border of two windows, and of the last window and nothing (CVE-2026-31588). */
CASE(mmio_straddle)
{
	ready();
	disk_up();
	for (unsigned slot = VSOCK; slot < SLOTS; slot++) {
		for (uint32_t off = WINDOW_BYTES - 7; off < WINDOW_BYTES; off++) {
			CHECK_EQ(mmio_read64(reg(slot, off)) & 0xff, 0xff);
			mmio_write64(reg(slot, off), 0);
		}
		__asm__ volatile("lock; orq %1, %0" : "+m"(*(volatile uint64_t *)reg(slot, WINDOW_BYTES - 4))
				 : "r"(0ull) : "memory");
	}
	CHECK_EQ(reg_read(DISK, MAGIC), 0x74726976);
	CHECK_EQ(reg_read(DISK, STATUS), ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
	CHECK_EQ(reg_read(DISK + 1, MAGIC), ONES32);	/* there is no such slot */
	done();
}

/* Reset, whatever state a device is in, again and again; it works after it. */
CASE(mmio_reset_storm)
{
	ready();
	for (unsigned i = 0; i < 60; i++) {
		disk_up();
		if (i % 3 == 0)
			vq_offer(&disk, 0);		/* left behind, never kicked */
		if (i % 3 == 1)
			CHECK_EQ(blk_do(BLK_IN, i, (uint64_t)disk_data, SECTOR), BLK_OK);
		reg_write(DISK, STATUS, 0);
		CHECK_EQ(reg_read(DISK, STATUS), 0);
		CHECK_EQ(reg_read(DISK, QUEUE_READY), 0);
		reg_write(DISK, QUEUE_NOTIFY, 0);	/* a kick of a dead queue */
	}
	disk_up();
	CHECK_EQ(blk_do(BLK_IN, 1, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

/* Reset the vsock device under its open connections; they are closed for good. */
CASE(mmio_reset_vsock)
{
	struct packet p;

	ready();
	connect_to(WIRE_STDOUT);
	send_to(WIRE_STDOUT, "before", 6);
	for (unsigned i = 0; i < 5; i++)
		vsock_up();
	p = packet(OP_REQUEST, WIRE_STDOUT);
	packet_send(&p, NULL, 0);
	expect(OP_RST, WIRE_STDOUT);
	p = packet(OP_REQUEST, WIRE_CONTROL);
	packet_send(&p, NULL, 0);
	expect(OP_RST, WIRE_CONTROL);
	send_to(WIRE_STDOUT, "after", 5);
	done_by_panic();
}

/* FAILED, then kicks: a device its driver gave up does nothing. */
CASE(mmio_failed_device)
{
	uint32_t id, len;

	ready();
	disk_up();
	reg_write(DISK, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK | FAILED);
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_NOTHING);
	CHECK(!vq_take(&disk, &id, &len));
	reg_write(DISK, STATUS, 0);
	disk_up();
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

/* REP and read-modify-write instructions on registers: KVM emulates, the device sees plain accesses. */
CASE(mmio_string_instructions)
{
	static uint32_t copy[1024];
	uint64_t n = WINDOW_BYTES / 4;
	void *to = copy;
	volatile void *from = reg(DISK, 0);

	ready();
	disk_up();
	__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	CHECK_EQ(copy[0], 0x74726976);
	CHECK_EQ(copy[DEVICE_ID / 4], 2);
	/* Ones into all of the configuration space; from one window into the other's. */
	n = (WINDOW_BYTES - CONFIG) / 4;
	from = reg(DISK, CONFIG);
	__asm__ volatile("rep stosl" : "+D"(from), "+c"(n) : "a"(ONES32) : "memory");
	n = 16;
	from = reg(DISK, CONFIG);
	to = (void *)reg(VSOCK, CONFIG);
	__asm__ volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	__asm__ volatile("lock; xaddl %0, %1" : "+r"(copy[0]), "+m"(*(volatile uint32_t *)reg(DISK, CONFIG)) : : "memory");
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

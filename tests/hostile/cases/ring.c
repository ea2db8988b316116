/* SPDX-License-Identifier: Apache-2.0 */
/* ring.c - virtqueues: where they lie, what is in them, what changes under the device. */
#include "tests/hostile/guest/vsock.h"

/* ---- geometry: the device looks once, when QueueReady is set ---- */

static void ready_with_size(uint32_t size)
{
	ready();
	disk_probe();
	reg_write(DISK, QUEUE_NUM, size);
	reg_write(DISK, QUEUE_READY, 1);
	SURVIVED();
}

CASE(ring_size_0) { ready_with_size(0); }		/* mvm: % 0 */
CASE(ring_size_3) { ready_with_size(3); }
CASE(ring_size_128) { ready_with_size(128); }		/* twice the maximum */
CASE(ring_size_65535) { ready_with_size(65535); }
CASE(ring_size_4g) { ready_with_size(0x80000000); }

static void ready_with_part(uint32_t low, uint64_t address)
{
	ready();
	disk_probe();
	reg_write(DISK, low, (uint32_t)address);
	reg_write(DISK, low + 4, (uint32_t)(address >> 32));
	reg_write(DISK, QUEUE_READY, 1);
	SURVIVED();
}

CASE(ring_desc_misaligned) { ready_with_part(QUEUE_DESC, 0x2000008); }
CASE(ring_avail_misaligned) { ready_with_part(QUEUE_AVAIL, 0x2000001); }
CASE(ring_used_misaligned) { ready_with_part(QUEUE_USED, 0x2000002); }
/* Its last descriptor is beyond the end of RAM. */
CASE(ring_over_ram_end) { ready_with_part(QUEUE_DESC, ram_end - 63 * 16); }
CASE(ring_at_ram_end) { ready_with_part(QUEUE_AVAIL, ram_end); }
/* Begins in RAM, ends a word too far: only the used ring's last field. */
CASE(ring_used_one_word_over) { ready_with_part(QUEUE_USED, ram_end - (6 + 8 * 64) + 2); }
CASE(ring_in_registers) { ready_with_part(QUEUE_USED, WINDOWS_AT + WINDOW_BYTES); }
CASE(ring_address_wraps) { ready_with_part(QUEUE_DESC, -16ull); }
CASE(ring_high_garbage) { ready_with_part(QUEUE_AVAIL, 0x8000000000001000); }
CASE(ring_used_over_desc) { ready_with_part(QUEUE_USED, (uint64_t)disk_memory.desc + 16); }
CASE(ring_avail_over_used) { ready_with_part(QUEUE_AVAIL, (uint64_t)disk_memory.used - 4); }

/* Up to the very last byte of RAM is right, and works. */
CASE(ring_up_to_ram_end)
{
	ready();
	disk_probe();
	disk.avail = (volatile uint16_t *)(ram_end - (6 + 2 * 64));
	memset((void *)disk.avail, 0, 6 + 2 * 64);
	vq_tell(&disk);
	vq_ready(&disk);
	dev_go(DISK);
	for (unsigned i = 0; i < 65; i++)	/* the last entry, too, and around */
		CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

/* ---- the avail ring ---- */

CASE(ring_index_ahead)
{
	ready();
	disk_up();
	disk.avail[1] = 65;
	vq_kick(&disk);
	SURVIVED();
}

CASE(ring_index_backwards)
{
	ready();
	disk_up();
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	disk.avail[1] = 0;
	vq_kick(&disk);
	SURVIVED();
}

static void offer_head(uint16_t head)
{
	ready();
	disk_up();
	vq_offer(&disk, head);
	vq_kick(&disk);
	SURVIVED();
}

CASE(ring_head_64) { offer_head(64); }
CASE(ring_head_65535) { offer_head(65535); }

/* 64 times the same head in one kick: 64 requests, and then it is the guest's turn again. */
CASE(ring_same_head)
{
	uint32_t id, len;
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { (uint64_t)disk_data, SECTOR, WRITE },
				 { (uint64_t)&blk_status, 1, WRITE } };

	ready();
	disk_up();
	blk_header = (struct blk_header){ BLK_IN, 0, 1 };
	vq_chain(&disk, 0, b, 3);
	for (unsigned i = 1; i < 64; i++)
		vq_offer(&disk, 0);
	vq_kick(&disk);
	for (unsigned i = 0; i < 64; i++) {
		CHECK(vq_take(&disk, &id, &len));
		CHECK_EQ(id, 0);
		CHECK_EQ(len, SECTOR + 1);
	}
	CHECK(!vq_take(&disk, &id, &len));
	done();
}

/* ---- descriptors ---- */

static void offer_desc(uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	ready();
	disk_up();
	blk_header = (struct blk_header){ BLK_IN, 0, 0 };
	vq_desc(&disk, 0, (uint64_t)&blk_header, 16, NEXT, 1);
	vq_desc(&disk, 1, addr, len, flags, next);
	vq_desc(&disk, 2, (uint64_t)&blk_status, 1, WRITE, 0);
	vq_offer(&disk, 0);
	vq_kick(&disk);
	SURVIVED();
}

CASE(ring_next_outside) { offer_desc((uint64_t)disk_data, 512, NEXT | WRITE, 64); }
CASE(ring_next_65535) { offer_desc((uint64_t)disk_data, 512, NEXT | WRITE, 65535); }
CASE(ring_loop_of_one) { offer_desc((uint64_t)disk_data, 512, NEXT | WRITE, 1); }
CASE(ring_loop_of_two) { offer_desc((uint64_t)disk_data, 512, NEXT, 0); }
CASE(ring_indirect) { offer_desc((uint64_t)disk_data, 16, INDIRECT, 0); }
CASE(ring_flags_unknown) { offer_desc((uint64_t)disk_data, 512, 0xfff8 | WRITE, 0); }
CASE(ring_empty_desc) { offer_desc((uint64_t)disk_data, 0, NEXT | WRITE, 2); }
CASE(ring_len_4g) { offer_desc((uint64_t)disk_data, 0xffffffff, NEXT | WRITE, 2); }
CASE(ring_buffer_wraps) { offer_desc(-512ull, 1024, NEXT | WRITE, 2); }
/* CVE-2019-18960: it begins in RAM and ends beyond. */
CASE(ring_buffer_over_ram_end) { offer_desc(ram_end - 511, 512, NEXT | WRITE, 2); }
CASE(ring_buffer_at_ram_end) { offer_desc(ram_end, 512, NEXT | WRITE, 2); }
CASE(ring_buffer_in_the_hole) { offer_desc(0xfee00000, 512, NEXT | WRITE, 2); }
/* CVE-2024-3446: the device would write to its own registers. */
CASE(ring_buffer_in_registers) { offer_desc(WINDOWS_AT + WINDOW_BYTES, 512, NEXT | WRITE, 2); }
CASE(ring_buffer_above_4g) { offer_desc(0x100000000, 512, NEXT | WRITE, 2); }

CASE(ring_readable_after_writable)
{
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { (uint64_t)disk_data, SECTOR, WRITE },
				 { (uint64_t)disk_data, SECTOR, 0 } };

	ready();
	disk_up();
	vq_chain(&disk, 0, b, 3);
	vq_kick(&disk);
	SURVIVED();
}

/* Each buffer is in RAM; together they are 4 GiB. */
CASE(ring_total_4g)
{
	struct buf b[64] = { { (uint64_t)&blk_header, 16, 0 } };

	ready();
	disk_up();
	for (unsigned i = 1; i < 64; i++)
		b[i] = (struct buf){ 0x100000, (uint32_t)(ram_end - 0x100000), WRITE };
	vq_chain(&disk, 0, b, 64);
	vq_kick(&disk);
	SURVIVED();
}

/* All 64 descriptors in one chain, each a byte or more: the longest there is. */
CASE(ring_longest_chain)
{
	struct buf b[64];
	const uint8_t *header = (const uint8_t *)&blk_header;

	ready();
	disk_up();
	blk_header = (struct blk_header){ BLK_IN, 0, 2 };
	for (unsigned i = 0; i < 16; i++)
		b[i] = (struct buf){ (uint64_t)(header + i), 1, 0 };
	for (unsigned i = 16; i < 63; i++)
		b[i] = (struct buf){ (uint64_t)disk_data + i, i == 62 ? SECTOR - 46 : 1, WRITE };
	b[63] = (struct buf){ (uint64_t)&blk_status, 1, WRITE };
	blk_status = BLK_NOTHING;
	vq_chain(&disk, 0, b, 64);
	vq_kick(&disk);
	CHECK_EQ(blk_status, BLK_OK);
	done();
}

/* ---- what the device writes is what it reads next ---- */

/*
 * A read whose target is the descriptor table that names it: the copy counts.
 * The sector holds 'A's, so the table is garbage when the next head is taken.
 */
CASE(ring_read_over_descriptors)
{
	uint32_t id, len;
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { (uint64_t)disk_memory.desc, SECTOR, WRITE },
				 { (uint64_t)&blk_status, 1, WRITE } };

	ready();
	disk_up();
	blk_header = (struct blk_header){ BLK_IN, 0, 4 };
	vq_chain(&disk, 0, b, 3);
	vq_kick(&disk);
	CHECK(vq_take(&disk, &id, &len));
	CHECK_EQ(len, SECTOR + 1);
	CHECK_EQ(blk_status, BLK_OK);
	CHECK_EQ(disk_memory.desc[0].len, 0x41414141);
	vq_offer(&disk, 0);
	vq_kick(&disk);
	SURVIVED();
}

/*
 * A read over the avail ring: whether there is a second request is decided by
 * what the disk holds.  A sector of 'A's makes avail.idx 0x4141.
 */
CASE(ring_read_over_avail)
{
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { (uint64_t)disk_memory.avail, SECTOR, WRITE },
				 { (uint64_t)&blk_status, 1, WRITE } };

	ready();
	disk_up();
	blk_header = (struct blk_header){ BLK_IN, 0, 4 };
	vq_chain(&disk, 0, b, 3);
	vq_kick(&disk);
	SURVIVED();
}

/* ... and over the used ring: the device never reads it, and its own index goes on. */
CASE(ring_read_over_used)
{
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { (uint64_t)disk_memory.used, SECTOR, WRITE },
				 { (uint64_t)&blk_status, 1, WRITE } };

	ready();
	disk_up();
	blk_header = (struct blk_header){ BLK_IN, 0, 4 };
	for (unsigned i = 0; i < 8; i++)
		vq_chain(&disk, 0, b, 3);
	vq_kick(&disk);
	CHECK_EQ(disk_memory.used[0] >> 16, 8);		/* published after the last read */
	CHECK_EQ(disk_memory.used[1 + 2 * 7], 0);	/* filled after it */
	CHECK_EQ(disk_memory.used[1], 0x41414141);
	done();
}

/* The status byte of each request is the next head in the avail ring. */
CASE(ring_status_is_next_head)
{
	struct buf b[3] = { { (uint64_t)&blk_header, 16, 0 }, { (uint64_t)disk_data, SECTOR, WRITE } };

	ready();
	disk_up();
	blk_header = (struct blk_header){ 99, 0, 0 };	/* answered UNSUPP: 2 */
	b[2] = (struct buf){ (uint64_t)&disk_memory.avail[3] + 1, 1, WRITE };	/* high byte of head 1 */
	vq_chain(&disk, 0, b, 3);
	vq_offer(&disk, 0);		/* becomes 0x200 */
	vq_kick(&disk);
	SURVIVED();
}

/* One queue laid over another's parts: each device minds its own. */
CASE(ring_two_queues_one_memory)
{
	vsock_up_dry();			/* no connection: tx is only scenery */
	disk_probe();
	disk.desc = tx.desc;
	disk.avail = tx.avail;
	disk.used = tx.used;
	vq_tell(&disk);
	vq_ready(&disk);
	dev_go(DISK);
	vq_desc(&tx, 0, (uint64_t)disk_data, 44, 0, 0);
	vq_offer(&tx, 0);
	vq_kick(&disk);			/* to the disk a request without status */
	SURVIVED();
}

/* A kick with nothing new, hundreds of times; interrupts never acknowledged. */
CASE(ring_idle_kicks)
{
	ready();
	disk_up();
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	for (unsigned i = 0; i < 300; i++)
		vq_kick(&disk);
	CHECK_EQ(reg_read(DISK, INTERRUPT_STATUS), 1);
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

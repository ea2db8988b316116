/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scratch.c - a disk that may be written to: its end, its requests, its buffers.
 *
 * Refused requests must leave every byte of it as it was, so each case fills
 * sectors before and reads them back after.
 */
#include "tests/hostile/guest/vsock.h"

#define DATA ((uint64_t)disk_data)
enum { MIB = 1 << 20, DISCARD = 11, WRITE_ZEROES = 13 };

/* `n` sectors of `byte`, from `sector` on. */
static void fill(uint64_t sector, int byte, unsigned n)
{
	memset(disk_data, byte, n * SECTOR);
	CHECK_EQ(blk_do(BLK_OUT, sector, DATA, n * SECTOR), BLK_OK);
}

/* The sector holds this byte in all places. */
static void holds(uint64_t sector, uint8_t byte)
{
	memset(disk_data, ~byte, SECTOR);
	CHECK_EQ(blk_do(BLK_IN, sector, DATA, SECTOR), BLK_OK);
	for (unsigned i = 0; i < SECTOR; i++)
		CHECK_EQ(disk_data[i], byte);
}

/* Any chain. */
static uint8_t ask(uint32_t type, uint64_t sector, const struct buf *b, unsigned n)
{
	uint32_t id;

	blk_header = (struct blk_header){ type, 0, sector };
	blk_status = BLK_NOTHING;
	vq_chain(&disk, 0, b, n);
	vq_kick(&disk);
	CHECK(vq_take(&disk, &id, &blk_done));
	return blk_status;
}

/* Beyond the end, over it, and where sector * 512 is small again in 64 bits. */
CASE(scratch_end_of_disk)
{
	static const uint64_t wild[] = { 1ull << 55, (1ull << 55) + 1, 1ull << 54, 1ull << 63, -1ull, -1ull / 512 + 1 };
	uint64_t n;

	ready();
	scratch_up();
	n = disk_sectors();
	CHECK(n > 2048);
	fill(0, 0x11, 4);
	fill(n - 1, 0x22, 1);
	memset(disk_data, 0x77, 2 * SECTOR);
	CHECK_EQ(blk_do(BLK_OUT, n, DATA, SECTOR), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_OUT, n - 1, DATA, 2 * SECTOR), BLK_IOERR);
	for (unsigned i = 0; i < SIZE(wild); i++)
		CHECK_EQ(blk_do(BLK_OUT, wild[i], DATA, 2 * SECTOR), BLK_IOERR);
	CHECK_EQ(disk_sectors(), n);
	holds(n - 1, 0x22);		/* not even the sector that is there */
	holds(0, 0x11);
	holds(1, 0x11);
	done();
}

/* Lengths that are no number of sectors, none at all, or more than a request may have. */
CASE(scratch_lengths)
{
	static const uint32_t wrong[] = { 0, 1, SECTOR - 1, SECTOR + 1, 4 * MIB + SECTOR };

	ready();
	scratch_up();
	fill(8, 0x33, 4);
	memset(disk_data, 0x77, sizeof(disk_data));
	for (unsigned i = 0; i < SIZE(wrong); i++)
		CHECK_EQ(blk_do(BLK_OUT, 8, wrong[i] > sizeof(disk_data) ? 4 * MIB : DATA, wrong[i]), BLK_IOERR);
	for (unsigned i = 0; i < 4; i++)
		holds(8 + i, 0x33);
	done();
}

/* Data that the device may not read, or not write; and both kinds in one request. */
CASE(scratch_directions)
{
	const struct buf header = { (uint64_t)&blk_header, 16, 0 }, status = { (uint64_t)&blk_status, 1, WRITE },
			 in = { DATA, SECTOR, 0 }, out = { DATA + SECTOR, SECTOR, WRITE };
	const struct buf no_data[] = { header, out, status }, no_room[] = { header, in, status },
			 both[] = { header, in, out, status };

	ready();
	scratch_up();
	fill(8, 0x33, 1);
	memset(disk_data, 0x44, SECTOR);
	memset(disk_data + SECTOR, 0x55, SECTOR);
	CHECK_EQ(ask(BLK_OUT, 8, no_data, 3), BLK_IOERR);
	CHECK_EQ(ask(BLK_IN, 8, no_room, 3), BLK_IOERR);
	CHECK_EQ(disk_data[0], 0x44);
	CHECK_EQ(disk_data[SECTOR], 0x55);
	CHECK_EQ(ask(BLK_OUT, 9, both, 4), BLK_OK);	/* takes the one, leaves the other alone */
	CHECK_EQ(blk_done, 1);
	for (unsigned i = SECTOR; i < 2 * SECTOR; i++)
		CHECK_EQ(disk_data[i], 0x55);
	CHECK_EQ(ask(BLK_IN, 8, both, 4), BLK_OK);
	CHECK_EQ(blk_done, SECTOR + 1);
	CHECK_EQ(disk_data[0], 0x44);
	CHECK_EQ(disk_data[SECTOR], 0x33);
	holds(8, 0x33);
	holds(9, 0x44);
	done();
}

/* Commands that were not offered: to forget sectors, to zero them, and all that are none. */
CASE(scratch_commands)
{
	static struct {
		uint64_t sector;
		uint32_t sectors, flags;
	} range = { 8, 4, 0 };
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { (uint64_t)&range, sizeof(range), 0 },
				 { (uint64_t)&blk_status, 1, WRITE } };
	const struct buf data[] = { b[0], { DATA, SECTOR, 0 }, b[2] };

	ready();
	scratch_up();
	fill(8, 0x33, 4);
	CHECK_EQ(ask(DISCARD, 0, b, 3), BLK_UNSUPP);
	CHECK_EQ(ask(WRITE_ZEROES, 0, b, 3), BLK_UNSUPP);
	memset(disk_data, 0x77, SECTOR);
	for (uint32_t type = 2; type < 32; type++)
		if (type != BLK_FLUSH && type != BLK_GET_ID)
			CHECK_EQ(ask(type, 8, data, 3), BLK_UNSUPP);
	CHECK_EQ(ask(0x80000001, 8, data, 3), BLK_UNSUPP);
	CHECK_EQ(ask(BLK_FLUSH, 8, data, 3), BLK_OK);	/* nothing is held back, nothing to do */
	for (unsigned i = 0; i < 4; i++)
		holds(8 + i, 0x33);
	done();
}

/* Beside it the image is as read-only as ever; another's queue does not make it writable. */
CASE(scratch_beside_the_image)
{
	ready();
	scratch_up();
	fill(4, 0x33, 1);
	disk_up();
	memset(disk_data, 0x77, SECTOR);
	CHECK_EQ(blk_do(BLK_OUT, 4, DATA, SECTOR), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, 4, DATA, SECTOR), BLK_OK);
	CHECK_EQ(disk_data[0], 'A');
	scratch_up();
	holds(4, 0x33);
	done();
}

/* Data, header and status are the same bytes; the header was copied before, the status comes after. */
CASE(scratch_buffers_overlap)
{
	static uint8_t all[SECTOR] __attribute__((aligned(512)));
	const struct buf b[] = { { (uint64_t)all, 16, 0 }, { (uint64_t)all, SECTOR, 0 }, { (uint64_t)all + 20, 1, WRITE } };

	ready();
	scratch_up();
	memset(all, 0x33, sizeof(all));
	*(struct blk_header *)all = (struct blk_header){ BLK_OUT, 0, 8 };
	vq_chain(&disk, 0, b, 3);
	vq_kick(&disk);
	CHECK_EQ(all[20], BLK_OK);
	CHECK(vq_take(&disk, &blk_done, &blk_done));
	CHECK_EQ(blk_do(BLK_IN, 8, DATA, SECTOR), BLK_OK);
	CHECK_EQ(disk_data[0], BLK_OUT);
	CHECK_EQ(disk_data[8], 8);
	CHECK_EQ(disk_data[20], 0x33);
	done();
}

/* What is to be written begins in RAM and ends beyond: nothing of it arrives, and nothing of the host's. */
CASE(scratch_data_over_ram_end)
{
	ready();
	scratch_up();
	blk_do(BLK_OUT, 8, ram_end - SECTOR, 2 * SECTOR);
	SURVIVED();
}

/* As much writing as one exit can be. */
CASE(scratch_long_kicks)
{
	ready();
	started();
	scratch_up();
	blk_flood(BLK_OUT);
}

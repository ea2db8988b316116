/* SPDX-License-Identifier: Apache-2.0 */
/* blk.c - requests to the disk: its end, its type, its buffers. */
#include "tests/hostile/guest/vsock.h"

#define DATA ((uint64_t)disk_data)

/* The read-only disk: every write is refused, none reaches the host's file. */
CASE(blk_write)
{
	uint64_t last;

	ready();
	disk_up();
	last = disk_sectors() - 1;
	memset(disk_data, 0x66, sizeof(disk_data));
	CHECK_EQ(blk_do(BLK_OUT, 0, DATA, SECTOR), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_OUT, last, DATA, SECTOR), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_OUT, last + 1, DATA, SECTOR), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_OUT, 2, DATA, sizeof(disk_data)), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_FLUSH, 0, 0, 0), BLK_OK);
	CHECK_EQ(blk_do(BLK_IN, 4, DATA, SECTOR), BLK_OK);
	CHECK_EQ(disk_data[0], 'A');
	done();
}

/* sector * 512 is small again, or negative, in 64 bits (Cloud Hypervisor). */
CASE(blk_sector_overflow)
{
	static const uint64_t wild[] = { 1ull << 55, (1ull << 55) + 1, 1ull << 54, 1ull << 63, -1ull, -1ull / 512,
					 -1ull / 512 + 1, (1ull << 55) - 1 };

	ready();
	disk_up();
	for (unsigned i = 0; i < SIZE(wild); i++) {
		CHECK_EQ(blk_do(BLK_IN, wild[i], DATA, SECTOR), BLK_IOERR);
		CHECK_EQ(blk_do(BLK_OUT, wild[i], DATA, SECTOR), BLK_IOERR);
	}
	done();
}

/* Around the end of the disk, in one buffer and in several (Cloud Hypervisor: each was checked, not the sum). */
CASE(blk_end_of_disk)
{
	uint64_t n;
	struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { DATA, SECTOR, WRITE }, { DATA + SECTOR, SECTOR, WRITE },
			   { (uint64_t)&blk_status, 1, WRITE } };

	ready();
	disk_up();
	n = disk_sectors();
	CHECK_EQ(blk_do(BLK_IN, n - 1, DATA, SECTOR), BLK_OK);
	CHECK_EQ(blk_do(BLK_IN, n, DATA, SECTOR), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, n - 1, DATA, 2 * SECTOR), BLK_IOERR);
	memset(disk_data, 0x77, 2 * SECTOR);
	blk_header = (struct blk_header){ BLK_IN, 0, n - 1 };
	blk_status = BLK_NOTHING;
	vq_chain(&disk, 0, b, 4);
	vq_kick(&disk);
	CHECK_EQ(blk_status, BLK_IOERR);
	CHECK_EQ(disk_data[0], 0x77);		/* not even the sector that is there */
	done();
}

/* Every request type there is and is not. */
CASE(blk_types)
{
	static const uint32_t wild[] = { 0x100, 0x80000000, 0x7fffffff, 0xffffffff };
	uint32_t t;

	ready();
	disk_up();
	for (t = 2; t < 32; t++)
		if (t != BLK_FLUSH && t != BLK_GET_ID)
			CHECK_EQ(blk_do(t, 0, DATA, SECTOR), BLK_UNSUPP);
	for (unsigned i = 0; i < SIZE(wild); i++)
		CHECK_EQ(blk_do(wild[i], 0, DATA, SECTOR), BLK_UNSUPP);
	done();
}

/* Lengths that are no number of sectors, none at all, or more than a request may have. */
CASE(blk_lengths)
{
	ready();
	disk_up();
	CHECK_EQ(blk_do(BLK_IN, 0, 0, 0), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_OUT, 0, 0, 0), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, 0, DATA, 1), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, 0, DATA, SECTOR - 1), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, 0, DATA, SECTOR + 1), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, 0, 0x2000000, (4 << 20) + SECTOR), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, 0, 0x2000000, 32 << 20), BLK_IOERR);
	CHECK_EQ(blk_do(BLK_IN, 0, DATA, SECTOR), BLK_OK);
	done();
}

/* The device's name into a buffer of another size: refused, nothing written around it. */
CASE(blk_get_id)
{
	static const uint32_t wrong[] = { 1, 19, 21, SECTOR };

	ready();
	disk_up();
	for (unsigned i = 0; i < SIZE(wrong); i++) {
		memset(disk_data, 0x55, 1024);
		CHECK_EQ(blk_do(BLK_GET_ID, 0, DATA, wrong[i]), BLK_IOERR);
		for (unsigned k = 0; k < 1024; k++)
			CHECK_EQ(disk_data[k], 0x55);
	}
	CHECK_EQ(blk_do(BLK_GET_ID, 0, DATA, 20), BLK_OK);
	CHECK_EQ(disk_data[0], 'd');
	CHECK_EQ(disk_data[20], 0x55);
	done();
}

static void offer(const struct buf *b, unsigned n)
{
	ready();
	disk_up();
	blk_header = (struct blk_header){ BLK_IN, 0, 0 };
	vq_chain(&disk, 0, b, n);
	vq_kick(&disk);
	SURVIVED();
}

/* Nowhere to write the status. */
CASE(blk_status_not_writable)
{
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { DATA, SECTOR, 0 },
				 { (uint64_t)&blk_status, 1, 0 } };

	offer(b, 3);
}

CASE(blk_header_short)
{
	const struct buf b[] = { { (uint64_t)&blk_header, 15, 0 }, { DATA, SECTOR, WRITE },
				 { (uint64_t)&blk_status, 1, WRITE } };

	offer(b, 3);
}

CASE(blk_no_header)
{
	const struct buf b[] = { { (uint64_t)&blk_header, 16, WRITE }, { (uint64_t)&blk_status, 1, WRITE } };

	offer(b, 2);
}

/* Data, header and status are the same bytes; the header was copied before. */
CASE(blk_buffers_overlap)
{
	static uint8_t all[2 * SECTOR] __attribute__((aligned(512)));
	struct blk_header *h = (struct blk_header *)all;
	const struct buf b[] = { { (uint64_t)all, 16, 0 }, { (uint64_t)all, SECTOR, WRITE },
				 { (uint64_t)all + 4, 1, WRITE } };

	ready();
	disk_up();
	*h = (struct blk_header){ BLK_IN, 0, 4 };
	vq_chain(&disk, 0, b, 3);
	vq_kick(&disk);
	CHECK_EQ(all[0], 'A');
	CHECK_EQ(all[4], BLK_OK);
	CHECK_EQ(all[SECTOR], 0);
	done();
}

/* The host's boot parameters, page tables and log of the guest are guest memory; reads over them harm nobody else. */
CASE(blk_read_over_low_memory)
{
	ready();
	disk_up();
	CHECK_EQ(blk_do(BLK_IN, 4, 0x80000, 64 * SECTOR), BLK_OK);	/* the log, garbage from here on */
	CHECK_EQ(blk_do(BLK_IN, 4, 0x7000, 8 * SECTOR), BLK_OK);	/* boot_params */
	CHECK_EQ(blk_do(BLK_IN, 4, 0x9000, 24 * SECTOR), BLK_OK);	/* page tables the VMM made */
	CHECK_EQ(*at(0x80000), 'A');
	triple_fault();
}

/* As much reading as one exit can be. */
CASE(blk_long_kicks)
{
	ready();
	started();
	disk_up();
	blk_flood(BLK_IN);
}

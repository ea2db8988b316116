/* SPDX-License-Identifier: Apache-2.0 */
/* Block requests: what is served, what is refused, what ends the run. */
#include "tests/unit/driver.h"
#include "tests/unit/tap.h"

enum { T_IN = 0, T_OUT = 1, T_FLUSH = 4, T_GET_ID = 8, T_DISCARD = 11 };
enum { S_OK = 0, S_IOERR = 1, S_UNSUPP = 2 };
enum { RO = 1, RW_DISK = 2 };

static struct machine *disks(void)
{
	struct machine *m = machine_new();

	probe(m, RO);
	probe(m, RW_DISK);
	return m;
}

static void used_is(struct machine *m, unsigned slot, uint32_t want)
{
	uint32_t id, len = 0;

	CHECK(used_get(m, &m->ring[slot][0], &id, &len));
	CHECK_EQ(len, want);
}

static void reads(void)
{
	struct machine *m = disks();

	CHECK_EQ(blk_do(m, RO, T_IN, 2, 1024, true), OK);
	CHECK_EQ(blk_status(m), S_OK);
	used_is(m, RO, 1025);
	CHECK(m->mem.base[BLK_DATA] == 'C' && m->mem.base[BLK_DATA + 512] == 'D');
	CHECK_EQ(m->bus.blk[0].read_bytes, 1024);
	CHECK_EQ(m->bus.blk[0].requests, 1);
	/* The last sector, and beyond. */
	CHECK_EQ(blk_do(m, RO, T_IN, 63, 512, true), OK);
	CHECK_EQ(blk_status(m), S_OK);
	used_is(m, RO, 513);
	CHECK_EQ(blk_do(m, RO, T_IN, 64, 512, true), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	used_is(m, RO, 1);
	CHECK_EQ(blk_do(m, RO, T_IN, 63, 1024, true), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	CHECK_EQ(m->bus.blk[0].read_bytes, 1536);
	CHECK_EQ(rule(m), VIOLATION_NONE);
	machine_free(m);
}

static void writes(void)
{
	struct machine *m = disks();
	uint8_t got[512];

	memset(m->mem.base + BLK_DATA, 'w', 512);
	CHECK_EQ(blk_do(m, RW_DISK, T_OUT, 5, 512, false), OK);
	CHECK_EQ(blk_status(m), S_OK);
	used_is(m, RW_DISK, 1);
	CHECK_EQ(pread(m->disk_fd[1], got, 512, 5 * 512), 512);
	CHECK(got[0] == 'w' && got[511] == 'w');
	CHECK_EQ(m->bus.blk[1].write_bytes, 512);
	CHECK_EQ(blk_do(m, RW_DISK, T_OUT, 64, 512, false), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	/* A read-only disk stays as it is. */
	CHECK_EQ(blk_do(m, RO, T_OUT, 5, 512, false), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	CHECK_EQ(pread(m->disk_fd[0], got, 512, 5 * 512), 512);
	CHECK_EQ(got[0], 'F');
	CHECK_EQ(m->bus.blk[0].write_bytes, 0);
	machine_free(m);
}

static void sizes_that_are_not_sectors(void)
{
	static const uint32_t bad[] = { 1, 511, 513, 1000 };
	struct machine *m = disks();

	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		CHECK_EQ(blk_do(m, RW_DISK, T_IN, 0, bad[i], true), OK);
		CHECK_EQ(blk_status(m), S_IOERR);
		CHECK_EQ(blk_do(m, RW_DISK, T_OUT, 0, bad[i], false), OK);
		CHECK_EQ(blk_status(m), S_IOERR);
	}
	CHECK_EQ(blk_do(m, RW_DISK, T_IN, 0, 0, true), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	CHECK_EQ(blk_do(m, RW_DISK, T_OUT, 0, 0, false), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	machine_free(m);
}

static void other_requests(void)
{
	struct machine *m = disks();

	CHECK_EQ(blk_do(m, RW_DISK, T_FLUSH, 0, 0, false), OK);
	CHECK_EQ(blk_status(m), S_OK);
	CHECK_EQ(blk_do(m, RW_DISK, T_DISCARD, 0, 16, false), OK);
	CHECK_EQ(blk_status(m), S_UNSUPP);
	CHECK_EQ(blk_do(m, RW_DISK, 0xffffffff, 0, 0, false), OK);
	CHECK_EQ(blk_status(m), S_UNSUPP);
	CHECK_EQ(blk_do(m, RO, T_GET_ID, 0, 20, true), OK);
	CHECK_EQ(blk_status(m), S_OK);
	used_is(m, RO, 21);
	CHECK(memcmp(m->mem.base + BLK_DATA, "dolania\0\0\0\0\0\0\0\0\0\0\0\0", 20) == 0);
	CHECK_EQ(blk_do(m, RO, T_GET_ID, 0, 19, true), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	CHECK_EQ(blk_do(m, RO, T_GET_ID, 0, 21, true), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	machine_free(m);
}

/* Header and data may be cut anywhere (virtio 1.2 §2.7.4.3). */
static void any_framing(void)
{
	struct machine *m = disks();
	struct ring *r = &m->ring[RW_DISK][0];
	uint8_t got[512];

	blk_header_put(m, T_OUT, 3);
	memcpy(m->mem.base + BLK_HEADER + 0x200, m->mem.base + BLK_HEADER + 10, 6);
	memset(m->mem.base + BLK_HEADER + 0x206, 'q', 512);
	chain_put(m, r, (struct buf[]){ { BLK_HEADER, 10, false }, { BLK_HEADER + 0x200, 18, false },
					{ BLK_HEADER + 0x212, 500, false },
					{ BLK_STATUS, 1, true } }, 4);
	CHECK_EQ(kick(m, r), OK);
	CHECK_EQ(blk_status(m), S_OK);
	CHECK_EQ(pread(m->disk_fd[1], got, 512, 3 * 512), 512);
	CHECK(got[0] == 'q' && got[511] == 'q');

	blk_header_put(m, T_IN, 3);	/* data and status in one buffer */
	chain_put(m, r, (struct buf[]){ { BLK_HEADER, 16, false }, { BLK_DATA, 100, true },
					{ BLK_DATA + 0x800, 413, true } }, 3);
	m->mem.base[BLK_DATA + 0x800 + 412] = 0xee;
	CHECK_EQ(kick(m, r), OK);
	CHECK_EQ(m->mem.base[BLK_DATA + 0x800 + 412], S_OK);
	CHECK_EQ(m->mem.base[BLK_DATA + 0x800 + 411], 'q');
	machine_free(m);
}

static void chains_that_are_no_request(void)
{
	static const struct { struct buf b[2]; unsigned n; } bad[] = {
		{ { { BLK_HEADER, 15, false }, { BLK_STATUS, 1, true } }, 2 },	/* half a header */
		{ { { BLK_HEADER, 16, false } }, 1 },				/* no status */
		{ { { BLK_DATA, 512, true } }, 1 },				/* no header */
	};

	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct machine *m = disks();

		blk_header_put(m, T_IN, 0);
		chain_put(m, &m->ring[RO][0], bad[i].b, bad[i].n);
		CHECK_EQ(kick(m, &m->ring[RO][0]), ERR_GUEST);
		CHECK_EQ(rule(m), VIOLATION_SHORT);
		CHECK_EQ(m->bus.violation.slot, RO);
		machine_free(m);
	}
}

static void more_than_one_request_a_kick(void)
{
	struct machine *m = disks();
	struct ring *r = &m->ring[RO][0];
	uint32_t id, len;
	int n = 0;

	blk_header_put(m, T_IN, 0);
	for (int i = 0; i < 21; i++)
		chain_put(m, r, (struct buf[]){ { BLK_HEADER, 16, false },
			{ BLK_DATA, 512, true }, { BLK_STATUS, 1, true } }, 3);
	CHECK_EQ(kick(m, r), OK);
	while (used_get(m, r, &id, &len))
		n++;
	CHECK_EQ(n, 21);
	CHECK_EQ(m->raised[RO], 1);
	CHECK_EQ(kick(m, r), OK);	/* nothing new: no interrupt */
	CHECK_EQ(m->raised[RO], 1);
	machine_free(m);
}

static void a_huge_request_is_refused(void)
{
	struct machine *m = disks();
	struct ring *r = &m->ring[RO][0];
	struct buf b[10] = { { BLK_HEADER, 16, false } };

	blk_header_put(m, T_IN, 0);
	for (unsigned i = 1; i < 9; i++)
		b[i] = (struct buf){ 0, RAM_BYTES / 2 + 512, true };
	b[9] = (struct buf){ BLK_STATUS, 1, true };
	chain_put(m, r, b, 10);
	CHECK_EQ(kick(m, r), OK);
	CHECK_EQ(blk_status(m), S_IOERR);
	machine_free(m);
}

static void the_host_file_fails(void)
{
	struct machine *m = disks();
	int fd;

	MUST(ftruncate(m->disk_fd[0], 1024) == 0);	/* shorter than it was */
	CHECK_EQ(blk_do(m, RO, T_IN, 0, 1024, true), OK);
	CHECK_EQ(blk_do(m, RO, T_IN, 1, 1024, true), ERR_HOST);
	CHECK_EQ(m->bus.host_errno, EIO);
	machine_free(m);

	m = disks();
	fd = m->bus.blk[0].fd;
	m->bus.blk[0].fd = -1;
	CHECK_EQ(blk_do(m, RO, T_IN, 0, 512, true), ERR_HOST);
	CHECK_EQ(m->bus.host_errno, EBADF);
	m->bus.blk[0].fd = fd;
	machine_free(m);

	m = disks();
	MUST(fcntl(m->disk_fd[1], F_ADD_SEALS, F_SEAL_WRITE) == 0);
	CHECK_EQ(blk_do(m, RW_DISK, T_OUT, 0, 512, false), ERR_HOST);
	CHECK_EQ(m->bus.host_errno, EPERM);
	machine_free(m);
}

int main(void)
{
	RUN(reads);
	RUN(writes);
	RUN(sizes_that_are_not_sectors);
	RUN(other_requests);
	RUN(any_framing);
	RUN(chains_that_are_no_request);
	RUN(more_than_one_request_a_kick);
	RUN(a_huge_request_is_refused);
	RUN(the_host_file_fails);
	return tap_end();
}

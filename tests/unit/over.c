/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A run that is over in the middle of a kick: the disk stops at the next
 * request, so that one kick of 64 large ones cannot hold up a limit.
 */
#include "tests/unit/driver.h"
#include "tests/unit/tap.h"

static unsigned left;

static bool over(void *ctx)
{
	(void)ctx;
	return left-- == 0;
}

static unsigned done_of_64(bool (*asked)(void *ctx), unsigned after)
{
	struct machine *m = machine_new();
	struct ring *r = &m->ring[1][0];
	unsigned done = 0;
	uint32_t id, len;

	probe(m, 1);
	m->bus.blk[0].over = asked;
	left = after;
	blk_header_put(m, 0, 1);
	chain_put(m, r, (struct buf[]){ { BLK_HEADER, 16, false }, { BLK_DATA, 512, true },
			{ BLK_STATUS, 1, true } }, 3);
	for (unsigned i = 1; i < 64; i++)
		avail_put(m, r, 0);
	CHECK_EQ(kick(m, r), OK);
	while (used_get(m, r, &id, &len))
		done++;
	machine_free(m);
	return done;
}

static void never(void)
{
	CHECK_EQ(done_of_64(NULL, 0), 64);
	CHECK_EQ(done_of_64(over, 1000), 64);
}

static void in_the_middle(void)
{
	CHECK_EQ(done_of_64(over, 9), 10);
	CHECK_EQ(left, UINT32_MAX);	/* and nobody asks again */
}

/* A request that was begun is ended; one is always done. */
static void from_the_beginning(void)
{
	CHECK_EQ(done_of_64(over, 0), 1);
}

int main(void)
{
	RUN(never);
	RUN(in_the_middle);
	RUN(from_the_beginning);
	return tap_end();
}

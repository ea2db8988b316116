/* SPDX-License-Identifier: Apache-2.0 */
/* The split virtqueue: geometry, chains, the used ring, and each way to break them. */
#include "tests/unit/driver.h"
#include "tests/unit/tap.h"

/* A queue on its own, not behind registers. */
struct bench {
	struct machine *m;
	struct violation violation;
	struct queue q;
	struct ring *r;
};

static void bench_open(struct bench *b, uint16_t size)
{
	b->m = machine_new();
	b->violation = (struct violation){ 0 };
	queue_init(&b->q, &b->m->mem, &b->violation, 5, 2, 64);
	b->r = ring_place(b->m, 1, 0, size);
	b->q.g_size = size;
	b->q.g_desc = b->r->desc;
	b->q.g_avail = b->r->avail;
	b->q.g_used = b->r->used;
}

static void bench_ready(struct bench *b, uint16_t size)
{
	bench_open(b, size);
	MUST(queue_activate(&b->q) == OK);
}

static enum err pop(struct bench *b, struct chain *c, bool *got)
{
	return queue_pop(&b->q, c, got);
}

static void pop_breaks(struct bench *b, unsigned want)
{
	struct chain c;
	bool got = true;

	CHECK_EQ(pop(b, &c, &got), ERR_GUEST);
	CHECK(!got);
	CHECK_EQ(b->violation.rule, want);
	CHECK_EQ(b->violation.slot, 5);
	CHECK_EQ(b->violation.queue, 2);
	machine_free(b->m);
}

static void activate_is(uint32_t size, uint64_t desc, uint64_t avail, uint64_t used, unsigned want)
{
	struct bench b;

	bench_open(&b, 16);
	b.q.g_size = size;
	b.q.g_desc = desc;
	b.q.g_avail = avail;
	b.q.g_used = used;
	CHECK_EQ(queue_activate(&b.q), want ? ERR_GUEST : OK);
	CHECK_EQ(b.violation.rule, want);
	CHECK_EQ(b.q.ready, want == 0);
	machine_free(b.m);
}

static void geometry(void)
{
	const uint64_t d = 0x1000, a = 0x2000, u = 0x3000;

	activate_is(16, d, a, u, 0);
	activate_is(1, d, a, u, 0);
	activate_is(64, d, a, u, 0);
	activate_is(0, d, a, u, VIOLATION_QUEUE_SIZE);
	activate_is(3, d, a, u, VIOLATION_QUEUE_SIZE);
	activate_is(128, d, a, u, VIOLATION_QUEUE_SIZE);
	activate_is(0x80000000u, d, a, u, VIOLATION_QUEUE_SIZE);
	activate_is(0x10010, d, a, u, VIOLATION_QUEUE_SIZE);	/* 16 when cut to 16 bits */
	activate_is(16, d + 8, a, u, VIOLATION_QUEUE_ALIGN);
	activate_is(16, d, a + 1, u, VIOLATION_QUEUE_ALIGN);
	activate_is(16, d, a, u + 2, VIOLATION_QUEUE_ALIGN);
	activate_is(16, RAM_BYTES - 256, a, u, 0);
	activate_is(16, RAM_BYTES - 240, a, u, VIOLATION_QUEUE_RANGE);
	activate_is(16, d, RAM_BYTES - 38, u, 0);
	activate_is(16, d, RAM_BYTES - 36, u, VIOLATION_QUEUE_RANGE);
	activate_is(16, d, a, RAM_BYTES - 132, VIOLATION_QUEUE_RANGE);
	activate_is(16, d, a, RAM_BYTES - 136, 0);
	activate_is(16, UINT64_MAX - 15, a, u, VIOLATION_QUEUE_RANGE);
	activate_is(16, d, UINT64_MAX - 1, u, VIOLATION_QUEUE_RANGE);
	activate_is(16, d, a, BUS_BASE, VIOLATION_QUEUE_RANGE);
	activate_is(16, d, d, u, VIOLATION_QUEUE_OVERLAP);
	activate_is(16, d, d + 254, u, VIOLATION_QUEUE_OVERLAP);
	activate_is(16, d, d + 256, u, 0);
	activate_is(16, d, a, d + 252, VIOLATION_QUEUE_OVERLAP);
	activate_is(16, d, a, a + 36, VIOLATION_QUEUE_OVERLAP);
	activate_is(16, d, a, a + 40, 0);
	activate_is(16, d, u + 132, u, VIOLATION_QUEUE_OVERLAP);
}

static void chains_are_copied_whole(void)
{
	struct bench b;
	struct chain c;
	uint8_t text[16] = { 0 };
	struct iovec iov[QUEUE_SIZE_MAX];
	bool got;
	int n;

	bench_ready(&b, 8);
	CHECK_EQ(pop(&b, &c, &got), OK);
	CHECK(!got);
	chain_put(b.m, b.r, (struct buf[]){ { 0x100, 4, false }, { 0x200, 6, false },
					    { 0x300, 3, true }, { 0x400, 5, true } }, 4);
	CHECK_EQ(pop(&b, &c, &got), OK);
	CHECK(got);
	CHECK_EQ(c.head, 0);
	CHECK(c.readable == 2 && c.writable == 2);
	CHECK(c.readable_bytes == 10 && c.writable_bytes == 8);

	memcpy(b.m->mem.base + 0x100, "abcd", 4);
	memcpy(b.m->mem.base + 0x200, "efghij", 6);
	CHECK_EQ(chain_read(&b.q, &c, 0, text, 10), OK);
	CHECK(memcmp(text, "abcdefghij", 10) == 0);
	CHECK_EQ(chain_read(&b.q, &c, 3, text, 3), OK);
	CHECK(memcmp(text, "def", 3) == 0);
	CHECK_EQ(chain_read(&b.q, &c, 10, text, 0), OK);
	CHECK_EQ(chain_read(&b.q, &c, 4, text, 7), ERR_GUEST);
	CHECK_EQ(chain_read(&b.q, &c, 11, text, 1), ERR_GUEST);
	CHECK_EQ(chain_read(&b.q, &c, UINT32_MAX, text, 2), ERR_GUEST);

	CHECK_EQ(chain_write(&b.q, &c, 1, "123456", 6), OK);
	CHECK(memcmp(b.m->mem.base + 0x301, "12", 2) == 0);
	CHECK(memcmp(b.m->mem.base + 0x400, "3456", 4) == 0);
	CHECK_EQ(chain_write(&b.q, &c, 1, "12345678", 8), ERR_GUEST);
	CHECK_EQ(chain_iov(&b.q, &c, true, 2, 4, iov, &n), OK);
	CHECK(n == 2 && iov[0].iov_len == 1 && iov[1].iov_len == 3);
	CHECK_EQ(chain_iov(&b.q, &c, true, 3, 5, iov, &n), OK);
	CHECK(n == 1 && iov[0].iov_base == b.m->mem.base + 0x400);

	/* Given back unused, it comes again; then no more. */
	queue_unpop(&b.q);
	CHECK_EQ(pop(&b, &c, &got), OK);
	CHECK(got && c.head == 0);
	CHECK_EQ(pop(&b, &c, &got), OK);
	CHECK(!got);
	machine_free(b.m);
}

static void a_queue_not_ready_gives_nothing(void)
{
	struct bench b;
	struct chain c;
	bool got = true;

	bench_open(&b, 8);
	avail_put(b.m, b.r, 0);
	CHECK_EQ(pop(&b, &c, &got), OK);
	CHECK(!got);
	CHECK_EQ(queue_publish(&b.q, &got), OK);
	CHECK(!got);
	CHECK_EQ(queue_want_kicks(&b.q, false), OK);
	CHECK_EQ(get16(b.m, b.r->used), 0);
	machine_free(b.m);
}

static void used_in_two_steps(void)
{
	struct bench b;
	bool interrupt;
	uint32_t id, len;

	bench_ready(&b, 4);
	CHECK_EQ(queue_fill(&b.q, 3, 77), OK);
	CHECK(!used_get(b.m, b.r, &id, &len));		/* filled, not visible */
	CHECK_EQ(queue_publish(&b.q, &interrupt), OK);
	CHECK(interrupt);
	CHECK(used_get(b.m, b.r, &id, &len) && id == 3 && len == 77);
	CHECK_EQ(queue_publish(&b.q, &interrupt), OK);
	CHECK(!interrupt);				/* nothing new */
	put16(b.m, b.r->avail, 1);			/* NO_INTERRUPT */
	CHECK_EQ(queue_fill(&b.q, 1, 0), OK);
	CHECK_EQ(queue_publish(&b.q, &interrupt), OK);
	CHECK(!interrupt);
	CHECK(used_get(b.m, b.r, &id, &len) && id == 1);
	/* The guest's own writes to used.idx do not lead us. */
	put16(b.m, b.r->used + 2, 0x7777);
	CHECK_EQ(queue_fill(&b.q, 2, 0), OK);
	CHECK_EQ(queue_publish(&b.q, &interrupt), OK);
	CHECK_EQ(get16(b.m, b.r->used + 2), 3);
	CHECK_EQ(queue_want_kicks(&b.q, false), OK);
	CHECK_EQ(get16(b.m, b.r->used), 1);
	CHECK_EQ(queue_want_kicks(&b.q, true), OK);
	CHECK_EQ(get16(b.m, b.r->used), 0);
	machine_free(b.m);
}

static void indices_wrap(void)
{
	struct bench b;
	struct chain c;
	uint32_t id, len;
	bool got, interrupt;

	bench_ready(&b, 4);
	for (unsigned i = 0; i < 70000; i++) {
		uint16_t head = chain_put(b.m, b.r, &(struct buf){ 0x100, 1 + i % 9, true }, 1);

		if (pop(&b, &c, &got) != OK || !got || c.head != head ||
		    c.writable_bytes != 1 + i % 9 || queue_fill(&b.q, c.head, i % 9) != OK ||
		    queue_publish(&b.q, &interrupt) != OK ||
		    !used_get(b.m, b.r, &id, &len) || id != head || len != i % 9) {
			CHECK_EQ(i, -1);
			break;
		}
	}
	CHECK_EQ(b.q.used_next, 70000 & 0xffff);
	machine_free(b.m);
}

static void avail_index_too_far(void)
{
	struct bench b;

	bench_ready(&b, 4);
	put16(b.m, b.r->avail + 2, 5);
	pop_breaks(&b, VIOLATION_AVAIL_INDEX);
	bench_ready(&b, 4);
	put16(b.m, b.r->avail + 2, 0xffff);	/* going backwards is the same */
	pop_breaks(&b, VIOLATION_AVAIL_INDEX);
}

static void a_full_ring_is_fine(void)
{
	struct bench b;
	struct chain c;
	bool got;

	bench_ready(&b, 4);
	for (int i = 0; i < 4; i++)
		chain_put(b.m, b.r, &(struct buf){ 0x100, 1, false }, 1);
	for (int i = 0; i < 4; i++) {
		CHECK_EQ(pop(&b, &c, &got), OK);
		CHECK(got);
	}
	CHECK_EQ(pop(&b, &c, &got), OK);
	CHECK(!got);
	machine_free(b.m);
}

static void head_beyond_the_queue(void)
{
	struct bench b;

	bench_ready(&b, 4);
	avail_put(b.m, b.r, 4);
	pop_breaks(&b, VIOLATION_DESC_INDEX);
	bench_ready(&b, 4);
	avail_put(b.m, b.r, 0xffff);
	pop_breaks(&b, VIOLATION_DESC_INDEX);
}

static void next_beyond_the_queue(void)
{
	struct bench b;

	bench_ready(&b, 4);
	desc_put(b.m, b.r, 0, 0x100, 1, F_NEXT, 4);
	avail_put(b.m, b.r, 0);
	pop_breaks(&b, VIOLATION_DESC_INDEX);
}

static void loops(void)
{
	struct bench b;

	bench_ready(&b, 4);
	desc_put(b.m, b.r, 2, 0x100, 1, F_NEXT, 2);	/* to itself */
	avail_put(b.m, b.r, 2);
	pop_breaks(&b, VIOLATION_DESC_LOOP);
	bench_ready(&b, 4);
	for (uint16_t i = 0; i < 4; i++)		/* round and round */
		desc_put(b.m, b.r, i, 0x100, 1, F_NEXT, (uint16_t)((i + 1) % 4));
	avail_put(b.m, b.r, 0);
	pop_breaks(&b, VIOLATION_DESC_LOOP);
}

static void the_longest_chain_is_fine(void)
{
	struct bench b;
	struct chain c;
	bool got;

	bench_ready(&b, 64);
	for (uint16_t i = 0; i < 64; i++)
		desc_put(b.m, b.r, i, 0x100, 1, i < 63 ? F_NEXT : 0, (uint16_t)(i + 1));
	avail_put(b.m, b.r, 0);
	CHECK_EQ(pop(&b, &c, &got), OK);
	CHECK(got && c.readable == 64);
	machine_free(b.m);
}

static void broken_descriptor(uint64_t addr, uint32_t len, uint16_t flags, unsigned want)
{
	struct bench b;

	bench_ready(&b, 4);
	desc_put(b.m, b.r, 0, addr, len, flags, 0);
	avail_put(b.m, b.r, 0);
	pop_breaks(&b, want);
}

static void broken_descriptors(void)
{
	broken_descriptor(0x100, 16, F_INDIRECT, VIOLATION_DESC_FLAGS);
	broken_descriptor(0x100, 16, F_INDIRECT | F_WRITE, VIOLATION_DESC_FLAGS);
	broken_descriptor(0x100, 16, 8, VIOLATION_DESC_FLAGS);
	broken_descriptor(0x100, 16, 0x8000, VIOLATION_DESC_FLAGS);
	broken_descriptor(0x100, 0, 0, VIOLATION_DESC_EMPTY);
	broken_descriptor(RAM_BYTES - 1, 2, 0, VIOLATION_DESC_RANGE);
	broken_descriptor(RAM_BYTES, 1, F_WRITE, VIOLATION_DESC_RANGE);
	broken_descriptor(UINT64_MAX, 2, 0, VIOLATION_DESC_RANGE);	/* wraps to 1 */
	broken_descriptor(UINT64_MAX - 3, 16, F_WRITE, VIOLATION_DESC_RANGE);
	broken_descriptor(BUS_BASE, 4, F_WRITE, VIOLATION_DESC_RANGE);	/* a device's window */
	broken_descriptor(0, UINT32_MAX, 0, VIOLATION_DESC_RANGE);
}

static void readable_after_writable(void)
{
	struct bench b;

	bench_ready(&b, 4);
	chain_put(b.m, b.r, (struct buf[]){ { 0x100, 1, true }, { 0x200, 1, false } }, 2);
	pop_breaks(&b, VIOLATION_DESC_ORDER);
}

/* Many descriptors over the same memory: the sum is what is bounded. */
static void total_is_bounded(void)
{
	const uint64_t bytes = 1ull << 31;
	struct violation violation = { 0 };
	struct machine *m = machine_new();
	struct gmem big;
	struct queue q;
	struct chain c;
	struct ring *r = ring_place(m, 1, 0, 4);
	int fd = memfd("big", bytes);
	bool got;

	if (gmem_map(&big, fd, bytes) == OK) {
		queue_init(&q, &big, &violation, 0, 0, 4);
		q.g_size = 4;
		q.g_desc = r->desc;
		q.g_avail = r->avail;
		q.g_used = r->used;
		CHECK_EQ(queue_activate(&q), OK);
		desc_put(m, r, 0, 0, 1u << 31, F_NEXT, 1);
		desc_put(m, r, 1, 0, (1u << 31) - 1, F_NEXT, 2);
		desc_put(m, r, 2, 0, 1, F_WRITE, 0);
		avail_put(m, r, 0);
		memcpy(big.base + RINGS, m->mem.base + RINGS, 0x10000);
		CHECK_EQ(queue_pop(&q, &c, &got), ERR_GUEST);
		CHECK_EQ(violation.rule, VIOLATION_DESC_TOTAL);
		munmap(big.base, bytes);
	}
	close(fd);
	machine_free(m);
}

static void the_first_evidence_stays(void)
{
	struct bench b;

	bench_ready(&b, 4);
	CHECK_EQ(queue_violate(&b.q, 1, VIOLATION_SHORT, 2), ERR_GUEST);
	CHECK_EQ(queue_violate(&b.q, 3, VIOLATION_NOTIFY, 4), ERR_GUEST);
	CHECK_EQ(b.violation.rule, VIOLATION_SHORT);
	CHECK(b.violation.index == 1 && b.violation.value == 2);
	machine_free(b.m);
}

int main(void)
{
	RUN(geometry);
	RUN(chains_are_copied_whole);
	RUN(a_queue_not_ready_gives_nothing);
	RUN(used_in_two_steps);
	RUN(indices_wrap);
	RUN(avail_index_too_far);
	RUN(a_full_ring_is_fine);
	RUN(head_beyond_the_queue);
	RUN(next_beyond_the_queue);
	RUN(loops);
	RUN(the_longest_chain_is_fine);
	RUN(broken_descriptors);
	RUN(readable_after_writable);
	RUN(total_is_bounded);
	RUN(the_first_evidence_stays);
	return tap_end();
}

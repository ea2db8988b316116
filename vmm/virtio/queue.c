/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.c - the split virtqueue.
 *
 * What the guest controls here: the three ring addresses and the size (until
 * QueueReady), then every byte of the descriptor table and the avail ring, at
 * any moment.  Each descriptor, each head and avail.idx is therefore copied
 * once and only the copy is judged and used.  The used index is ours alone:
 * it is stored to guest memory, never loaded from it.
 */
#include "vmm/virtio/queue.h"

#include "vmm/base/chk.h"
#include "vmm/base/le.h"

enum {
	DESC_F_NEXT = 1,
	DESC_F_WRITE = 2,
	AVAIL_F_NO_INTERRUPT = 1,
	USED_F_NO_NOTIFY = 1,
	RING_FLAGS = 0,		/* offsets in the avail and used rings */
	RING_IDX = 2,
	RING_ENTRIES = 4,
};

struct desc {
	le64_t addr;
	le32_t len;
	le16_t flags;
	le16_t next;
};
_Static_assert(sizeof(struct desc) == 16, "virtio 1.2 §2.7.5");

struct used_elem {
	le32_t id;
	le32_t len;
};
_Static_assert(sizeof(struct used_elem) == 8, "virtio 1.2 §2.7.8");

const char *violation_name(enum violation_rule rule)
{
	static const char *const name[VIOLATION_RULES] = {
		[VIOLATION_NONE] = "none",
		[VIOLATION_STATUS] = "status",
		[VIOLATION_FEATURES] = "features",
		[VIOLATION_QUEUE_SELECT] = "queue_select",
		[VIOLATION_QUEUE_LOCKED] = "queue_locked",
		[VIOLATION_QUEUE_READY] = "queue_ready",
		[VIOLATION_QUEUE_SIZE] = "queue_size",
		[VIOLATION_QUEUE_ALIGN] = "queue_align",
		[VIOLATION_QUEUE_RANGE] = "queue_range",
		[VIOLATION_QUEUE_OVERLAP] = "queue_overlap",
		[VIOLATION_NOTIFY] = "notify",
		[VIOLATION_AVAIL_INDEX] = "avail_index",
		[VIOLATION_DESC_INDEX] = "desc_index",
		[VIOLATION_DESC_LOOP] = "desc_loop",
		[VIOLATION_DESC_FLAGS] = "desc_flags",
		[VIOLATION_DESC_ORDER] = "desc_order",
		[VIOLATION_DESC_EMPTY] = "desc_empty",
		[VIOLATION_DESC_TOTAL] = "desc_total",
		[VIOLATION_DESC_RANGE] = "desc_range",
		[VIOLATION_DIRECTION] = "direction",
		[VIOLATION_SHORT] = "short",
		[VIOLATION_VSOCK_CID] = "vsock_cid",
		[VIOLATION_VSOCK_LENGTH] = "vsock_length",
		[VIOLATION_VSOCK_OP] = "vsock_op",
		[VIOLATION_VSOCK_CREDIT] = "vsock_credit",
	};

	return (unsigned)rule < VIOLATION_RULES ? name[rule] : "unknown";
}

void queue_init(struct queue *q, const struct gmem *mem, struct violation *violation,
		uint32_t slot, uint32_t number, uint16_t size_max)
{
	*q = (struct queue){
		.mem = mem, .violation = violation,
		.slot = slot, .number = number, .size_max = size_max,
	};
}

void queue_reset(struct queue *q)
{
	const uint64_t chains = q->chains;

	queue_init(q, q->mem, q->violation, q->slot, q->number, q->size_max);
	q->chains = chains;
}

enum err queue_violate(struct queue *q, uint32_t index, enum violation_rule rule, uint64_t value)
{
	if (q->violation->rule == VIOLATION_NONE)
		*q->violation = (struct violation){ q->slot, q->number, index, rule, value };
	return ERR_GUEST;
}

/* ---- activation ---- */

struct part { uint64_t addr, bytes, align; };

static bool overlap(const struct part *a, const struct part *b)
{
	return a->addr < b->addr + b->bytes && b->addr < a->addr + a->bytes;
}

enum err queue_activate(struct queue *q)
{
	uint32_t n = q->g_size;
	const struct part part[3] = {	/* virtio 1.2 §2.7: sizes and alignments */
		{ q->g_desc, 16ull * n, 16 },
		{ q->g_avail, 6 + 2ull * n, 2 },
		{ q->g_used, 6 + 8ull * n, 4 },
	};

	if (n == 0 || n > q->size_max || (n & (n - 1)) != 0)
		return queue_violate(q, 0, VIOLATION_QUEUE_SIZE, n);
	for (uint32_t i = 0; i < 3; i++) {
		if (part[i].addr % part[i].align != 0)
			return queue_violate(q, i, VIOLATION_QUEUE_ALIGN, part[i].addr);
		if (gmem_check(q->mem, gpa(part[i].addr), part[i].bytes) != OK)
			return queue_violate(q, i, VIOLATION_QUEUE_RANGE, part[i].addr);
	}
	/* All are in RAM now, so no end wraps. */
	if (overlap(&part[0], &part[1]) || overlap(&part[0], &part[2]))
		return queue_violate(q, 0, VIOLATION_QUEUE_OVERLAP, part[0].addr);
	if (overlap(&part[1], &part[2]))
		return queue_violate(q, 1, VIOLATION_QUEUE_OVERLAP, part[1].addr);

	q->size = (uint16_t)n;
	q->desc = gpa(part[0].addr);
	q->avail = gpa(part[1].addr);
	q->used = gpa(part[2].addr);
	q->avail_next = q->avail_seen = 0;
	q->used_next = q->used_published = 0;
	q->ready = true;
	return OK;
}

/* `off` is at most the size of a ring part, which queue_activate placed in RAM. */
static gpa_t at(gpa_t part, uint32_t off)
{
	return gpa(part.raw + off);
}

/* ---- taking chains ---- */

/* Judge one copied descriptor and add it to the chain. */
static enum err chain_add(struct queue *q, struct chain *c, uint32_t index, const struct desc *d)
{
	uint16_t g_flags = le16_get(d->flags);
	uint32_t g_len = le32_get(d->len);
	uint64_t g_addr = le64_get(d->addr);
	uint32_t *total = &c->readable_bytes;
	unsigned count = (unsigned)c->readable + c->writable;

	if (g_flags & ~(DESC_F_NEXT | DESC_F_WRITE))
		return queue_violate(q, index, VIOLATION_DESC_FLAGS, g_flags);
	if (g_len == 0)
		return queue_violate(q, index, VIOLATION_DESC_EMPTY, g_addr);
	if (gmem_check(q->mem, gpa(g_addr), g_len) != OK)
		return queue_violate(q, index, VIOLATION_DESC_RANGE, g_addr);
	if ((uint64_t)c->readable_bytes + c->writable_bytes + g_len > UINT32_MAX)
		return queue_violate(q, index, VIOLATION_DESC_TOTAL, g_len);
	if (g_flags & DESC_F_WRITE) {
		c->writable++;
		total = &c->writable_bytes;
	} else if (c->writable) {
		return queue_violate(q, index, VIOLATION_DESC_ORDER, g_addr);
	} else {
		c->readable++;
	}
	*total += g_len;
	c->seg[count] = (struct segment){ gpa(g_addr), g_len };
	return OK;
}

static enum err chain_walk(struct queue *q, struct chain *c)
{
	uint32_t index = c->head;

	c->readable = c->writable = 0;
	c->readable_bytes = c->writable_bytes = 0;
	for (uint32_t n = 0; n < q->size; n++) {
		struct desc d;
		enum err e;

		if (index >= q->size)
			return queue_violate(q, n, VIOLATION_DESC_INDEX, index);
		e = gmem_read(q->mem, at(q->desc, index * 16), &d, sizeof d);
		if (e == OK)
			e = chain_add(q, c, index, &d);
		if (e != OK)
			return e;
		if (!(le16_get(d.flags) & DESC_F_NEXT))
			return OK;
		index = le16_get(d.next);
	}
	return queue_violate(q, index, VIOLATION_DESC_LOOP, c->head);
}

enum err queue_pop(struct queue *q, struct chain *c, bool *got)
{
	le16_t g_head;
	enum err e;

	*got = false;
	if (!q->ready)
		return OK;
	if (q->avail_next == q->avail_seen) {
		uint16_t g_idx;

		e = gmem_load_acquire_u16(q->mem, at(q->avail, RING_IDX), &g_idx);
		if (e != OK)
			return e;
		if ((uint16_t)(g_idx - q->avail_next) > q->size)
			return queue_violate(q, q->avail_next, VIOLATION_AVAIL_INDEX, g_idx);
		q->avail_seen = g_idx;
		if (q->avail_next == q->avail_seen)
			return OK;
	}
	e = gmem_read(q->mem, at(q->avail, RING_ENTRIES + 2u * (q->avail_next & (q->size - 1u))),
		      &g_head, sizeof g_head);
	if (e != OK)
		return e;
	c->head = le16_get(g_head);
	e = chain_walk(q, c);
	if (e != OK)
		return e;
	q->avail_next++;
	q->chains++;
	*got = true;
	return OK;
}

void queue_unpop(struct queue *q)
{
	q->avail_next--;
	q->avail_seen = q->avail_next;	/* what was seen since may be more than a ring full from here */
	q->chains--;
}

/* ---- giving back ---- */

enum err queue_fill(struct queue *q, uint16_t head, uint32_t written)
{
	struct used_elem u = { le32(head), le32(written) };
	enum err e;

	e = gmem_write(q->mem, at(q->used, RING_ENTRIES + 8u * (q->used_next & (q->size - 1u))),
		       &u, sizeof u);
	if (e == OK)
		q->used_next++;
	return e;
}

enum err queue_publish(struct queue *q, bool *interrupt)
{
	uint16_t g_flags;
	enum err e;

	*interrupt = false;
	if (!q->ready || q->used_next == q->used_published)
		return OK;
	e = gmem_store_release_u16(q->mem, at(q->used, RING_IDX), q->used_next);
	if (e != OK)
		return e;
	q->used_published = q->used_next;
	/* The index must be visible before the flag is read (§2.7.8.2). */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	e = gmem_load_acquire_u16(q->mem, at(q->avail, RING_FLAGS), &g_flags);
	if (e == OK)
		*interrupt = !(g_flags & AVAIL_F_NO_INTERRUPT);
	return e;
}

enum err queue_want_kicks(struct queue *q, bool want)
{
	enum err e;

	if (!q->ready)
		return OK;
	e = gmem_store_release_u16(q->mem, at(q->used, RING_FLAGS), want ? 0 : USED_F_NO_NOTIFY);
	/* A caller that looks at the ring next must see what came before. */
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return e;
}

/* ---- using chains ---- */

enum err chain_iov(const struct queue *q, const struct chain *c, bool writable,
		   uint32_t off, uint32_t len, struct iovec *iov, int *n)
{
	unsigned first = writable ? c->readable : 0;
	unsigned last = writable ? (unsigned)c->readable + c->writable : c->readable;
	int count = 0;

	for (unsigned i = first; i < last && len > 0; i++) {
		const struct segment *s = &c->seg[i];
		uint32_t part;
		gpa_t a;

		if (off >= s->len) {
			off -= s->len;
			continue;
		}
		part = s->len - off < len ? s->len - off : len;
		if (gpa_add(s->addr, off, &a) != OK || gmem_iov(q->mem, a, part, &iov[count]) != OK)
			return ERR_GUEST;
		count++;
		off = 0;
		len -= part;
	}
	if (len > 0)
		return ERR_GUEST;
	*n = count;
	return OK;
}

static enum err chain_copy(const struct queue *q, const struct chain *c, bool writable,
			   uint32_t off, void *host, uint32_t len)
{
	struct iovec iov[QUEUE_SIZE_MAX];
	uint8_t *p = host;
	enum err e;
	int n;

	e = chain_iov(q, c, writable, off, len, iov, &n);
	if (e != OK)
		return e;
	for (int i = 0; i < n; i++) {
		if (writable)
			__builtin_memcpy(iov[i].iov_base, p, iov[i].iov_len);
		else
			__builtin_memcpy(p, iov[i].iov_base, iov[i].iov_len);
		p += iov[i].iov_len;
	}
	return OK;
}

enum err chain_read(const struct queue *q, const struct chain *c, uint32_t off,
		    void *dst, uint32_t len)
{
	return chain_copy(q, c, false, off, dst, len);
}

enum err chain_write(const struct queue *q, const struct chain *c, uint32_t off,
		     const void *src, uint32_t len)
{
	return chain_copy(q, c, true, off, (void *)(uintptr_t)src, len);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * queue.h - a split virtqueue (virtio 1.2 §2.7), as the device sees it.
 *
 *   desc[size]   { addr, len, flags, next }         written by the driver
 *   avail        { flags, idx, ring[size], - }      written by the driver
 *   used         { flags, idx, ring[size]{id,len} } written by us
 *
 * Geometry is checked whole when the driver sets QueueReady, and cannot change
 * until it is taken down.  queue_pop copies one descriptor chain into host
 * memory, each descriptor once, and checks the copy; what it returns is safe
 * to use without another look at the ring.  No indirect descriptors, no event
 * index.  A broken rule is never repaired: ERR_GUEST, with evidence.
 */
#ifndef DOLANIA_VIRTIO_QUEUE_H
#define DOLANIA_VIRTIO_QUEUE_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"

enum { QUEUE_SIZE_MAX = 64 };

/* The rules a stock driver never breaks.  Numbers are in results: append only. */
enum violation_rule {
	VIOLATION_NONE,
	VIOLATION_STATUS,	/* device status out of order */
	VIOLATION_FEATURES,	/* feature bits written out of order or out of range */
	VIOLATION_QUEUE_SELECT,	/* queue registers written for a queue that is not there */
	VIOLATION_QUEUE_LOCKED,	/* queue registers written while the queue is in use */
	VIOLATION_QUEUE_READY,	/* QueueReady written with neither 0 nor 1 */
	VIOLATION_QUEUE_SIZE,	/* not a power of two, or above the maximum */
	VIOLATION_QUEUE_ALIGN,	/* a ring part is not aligned */
	VIOLATION_QUEUE_RANGE,	/* a ring part is not in RAM */
	VIOLATION_QUEUE_OVERLAP,	/* two ring parts share memory */
	VIOLATION_NOTIFY,	/* a kick for a queue that is not there */
	VIOLATION_AVAIL_INDEX,	/* avail.idx runs ahead by more than the queue's size */
	VIOLATION_DESC_INDEX,	/* head or next not below the queue's size */
	VIOLATION_DESC_LOOP,	/* chain longer than the queue */
	VIOLATION_DESC_FLAGS,	/* indirect, or an unknown flag */
	VIOLATION_DESC_ORDER,	/* readable after writable */
	VIOLATION_DESC_EMPTY,	/* zero length */
	VIOLATION_DESC_TOTAL,	/* chain adds up to 4 GiB or more */
	VIOLATION_DESC_RANGE,	/* buffer not in RAM */
	VIOLATION_DIRECTION,	/* readable buffer where only writable belong, or the reverse */
	VIOLATION_SHORT,	/* buffer too small for the device's header or status */
	VIOLATION_VSOCK_CID,	/* source CID is not the guest's */
	VIOLATION_VSOCK_LENGTH,	/* header's length is not the buffer's */
	VIOLATION_VSOCK_OP,	/* operation a guest-initiated stream never has */
	VIOLATION_VSOCK_CREDIT,	/* more data than was granted */
	VIOLATION_RULES,
};

/* A short constant name, for logs and results; "unknown" for no rule. */
const char *violation_name(enum violation_rule rule);

struct violation {	/* the evidence */
	uint32_t slot;		/* of the device on the bus */
	uint32_t queue;
	uint32_t index;		/* ring index, descriptor index or register offset */
	uint32_t rule;		/* enum violation_rule */
	uint64_t value;		/* the offending value */
};

struct queue {
	const struct gmem *mem;
	struct violation *violation;	/* where evidence goes; the bus owns it */
	uint32_t slot, number;
	uint16_t size_max;	/* power of two, at most QUEUE_SIZE_MAX */
	uint64_t chains;	/* taken by queue_pop since queue_init, also before resets */

	/* Written by the driver while not ready, checked by queue_activate. */
	uint32_t g_size;
	uint64_t g_desc, g_avail, g_used;

	/* Valid while ready. */
	bool ready;
	uint16_t size;
	gpa_t desc, avail, used;
	uint16_t avail_next;	/* next avail entry to take */
	uint16_t avail_seen;	/* avail.idx as last loaded */
	uint16_t used_next;	/* next used entry to fill */
	uint16_t used_published;	/* used.idx as the driver sees it */
};

/* One chain, copied and checked: readable segments first, then writable. */
struct chain {
	uint16_t head;
	uint16_t readable, writable;	/* segments of each kind */
	uint32_t readable_bytes, writable_bytes;
	struct segment { gpa_t addr; uint32_t len; } seg[QUEUE_SIZE_MAX];
};

void queue_init(struct queue *q, const struct gmem *mem, struct violation *violation,
		uint32_t slot, uint32_t number, uint16_t size_max);

/* Back to the state after queue_init, but for the count of chains. */
void queue_reset(struct queue *q);

/* Check g_* and go live.  ERR_GUEST. */
MUST_USE enum err queue_activate(struct queue *q);

/* Record evidence (the first stays) and return ERR_GUEST. */
MUST_USE enum err queue_violate(struct queue *q, uint32_t index, enum violation_rule rule,
				uint64_t value);

/* Take the next chain; *got is false when there is none.  ERR_GUEST. */
MUST_USE enum err queue_pop(struct queue *q, struct chain *c, bool *got);

/* Give back the chain just popped, unused: the next queue_pop reads it anew. */
void queue_unpop(struct queue *q);

/* Step one of two: put `head` in the used ring, `written` bytes; not visible yet. */
MUST_USE enum err queue_fill(struct queue *q, uint16_t head, uint32_t written);

/* Step two: make filled entries visible.  *interrupt: something new, and the driver wants to know. */
MUST_USE enum err queue_publish(struct queue *q, bool *interrupt);

/* Ask the driver (not) to kick (VIRTQ_USED_F_NO_NOTIFY, §2.7.10). */
MUST_USE enum err queue_want_kicks(struct queue *q, bool want);

/* Copy from the readable or to the writable part, `off` bytes in.  ERR_GUEST when outside. */
MUST_USE enum err chain_read(const struct queue *q, const struct chain *c, uint32_t off,
			     void *dst, uint32_t len);
MUST_USE enum err chain_write(const struct queue *q, const struct chain *c, uint32_t off,
			      const void *src, uint32_t len);

/*
 * iovecs for [off, off+len) of the writable (else readable) part.  `iov` has
 * a place for each segment of that part; *n are filled.  ERR_GUEST when outside.
 */
MUST_USE enum err chain_iov(const struct queue *q, const struct chain *c, bool writable,
			    uint32_t off, uint32_t len, struct iovec *iov, int *n);

#endif

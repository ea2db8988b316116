/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.c - the virtio block device.
 *
 * What the guest controls here: type and sector of each request, and how many
 * bytes the chain offers.  The 16-byte header is copied once.  Offset and
 * length are checked together, for the whole request, against the size of the
 * disk that the host gave; the data itself is never looked at.
 */
#include "vmm/virtio/blk.h"

#include <errno.h>
#include <string.h>
#include <sys/types.h>

#include "vmm/base/chk.h"
#include "vmm/base/le.h"

enum {	/* virtio 1.2 §5.2.6 */
	BLK_T_IN = 0,
	BLK_T_OUT = 1,
	BLK_T_FLUSH = 4,
	BLK_T_GET_ID = 8,
	BLK_S_OK = 0,
	BLK_S_IOERR = 1,
	BLK_S_UNSUPP = 2,
	BLK_ID_BYTES = 20,
	BLK_DEVICE_ID = 2,
};

#define BLK_F_SEG_MAX (1ull << 2)
#define BLK_F_RO (1ull << 5)

struct blk_header {
	le32_t type;
	le32_t reserved;
	le64_t sector;
};
_Static_assert(sizeof(struct blk_header) == 16, "virtio 1.2 §5.2.6");

/* The next stretch of an iovec array after `done` bytes. */
static void iov_advance(struct iovec **iov, int *n, size_t done)
{
	while (*n > 0 && done >= (*iov)->iov_len) {
		done -= (*iov)->iov_len;
		++*iov;
		--*n;
	}
	if (*n > 0) {
		(*iov)->iov_base = (uint8_t *)(*iov)->iov_base + done;
		(*iov)->iov_len -= done;
	}
}

/* Move exactly `len` bytes; the host may take several calls for it. */
static enum err transfer(struct blk *b, bool write, struct iovec *iov, int n,
			 uint64_t off, uint32_t len)
{
	while (len > 0) {
		ssize_t r = write ? pwritev(b->fd, iov, n, (off_t)off)
				  : preadv(b->fd, iov, n, (off_t)off);

		if (r < 0 && errno == EINTR)
			continue;
		if (r <= 0) {	/* 0: the host file is shorter than it was */
			*b->host_errno = r < 0 ? errno : EIO;
			return ERR_HOST;
		}
		off += (uint64_t)r;
		len -= (uint32_t)r;
		iov_advance(&iov, &n, (size_t)r);
	}
	return OK;
}

/* Read or write; *written is what reached the writable part, beside the status. */
static enum err move(struct blk *b, const struct chain *c, bool write, uint64_t g_sector,
		     uint8_t *status, uint32_t *written)
{
	const struct queue *q = &b->dev->queue[0];
	uint32_t skip = write ? (uint32_t)sizeof(struct blk_header) : 0;
	uint32_t len = write ? c->readable_bytes - skip : c->writable_bytes - 1;
	struct iovec iov[QUEUE_SIZE_MAX];
	uint64_t off;
	enum err e;
	int n;

	*status = BLK_S_IOERR;
	if (write && !b->writable)
		return OK;
	if (len == 0 || len % BLK_SECTOR_BYTES != 0 || len > BLK_REQUEST_MAX_BYTES)
		return OK;
	if (!chk_mul_u64(g_sector, BLK_SECTOR_BYTES, &off) || !chk_range(off, len, b->bytes))
		return OK;
	e = chain_iov(q, c, !write, skip, len, iov, &n);
	if (e == OK)
		e = transfer(b, write, iov, n, off, len);
	if (e != OK)
		return e;
	*status = BLK_S_OK;
	if (write) {
		b->write_bytes += len;
	} else {
		b->read_bytes += len;
		*written = len;
	}
	return OK;
}

static enum err get_id(struct blk *b, const struct chain *c, uint8_t *status, uint32_t *written)
{
	static const char id[BLK_ID_BYTES] = "dolania";
	enum err e;

	if (c->writable_bytes - 1 != BLK_ID_BYTES) {
		*status = BLK_S_IOERR;
		return OK;
	}
	e = chain_write(&b->dev->queue[0], c, 0, id, BLK_ID_BYTES);
	if (e == OK) {
		*status = BLK_S_OK;
		*written = BLK_ID_BYTES;
	}
	return e;
}

static enum err request(struct blk *b, const struct chain *c)
{
	struct queue *q = &b->dev->queue[0];
	uint8_t status = BLK_S_OK;
	uint32_t written = 0;
	struct blk_header h;
	enum err e;

	if (c->readable_bytes < sizeof h)
		return queue_violate(q, c->head, VIOLATION_SHORT, c->readable_bytes);
	if (c->writable_bytes < 1)
		return queue_violate(q, c->head, VIOLATION_SHORT, c->writable_bytes);
	e = chain_read(q, c, 0, &h, sizeof h);
	if (e != OK)
		return e;
	b->requests++;

	switch (le32_get(h.type)) {
	case BLK_T_IN:
		e = move(b, c, false, le64_get(h.sector), &status, &written);
		break;
	case BLK_T_OUT:
		e = move(b, c, true, le64_get(h.sector), &status, &written);
		break;
	case BLK_T_FLUSH:
		break;	/* nothing is held back */
	case BLK_T_GET_ID:
		e = get_id(b, c, &status, &written);
		break;
	default:
		status = BLK_S_UNSUPP;
		break;
	}
	if (e == OK)
		e = chain_write(q, c, c->writable_bytes - 1, &status, 1);
	if (e != OK)
		return e;
	return queue_fill(q, c->head, written + 1);
}

static enum err blk_notify(void *self, unsigned queue)
{
	struct blk *b = self;
	struct queue *q = &b->dev->queue[queue];
	bool interrupt;
	enum err e;

	/* No more than a ring full for each kick, whatever avail.idx does meanwhile. */
	for (unsigned i = 0; i < q->size; i++) {
		struct chain c;
		bool got;

		/* A ring full can take a second; a limit of the run must not wait for it. */
		if (i > 0 && b->over && b->over(b->over_ctx))
			break;
		e = queue_pop(q, &c, &got);
		if (e == OK && !got)
			break;
		if (e == OK)
			e = request(b, &c);
		if (e != OK)
			return e;
	}
	e = queue_publish(q, &interrupt);
	if (e == OK && interrupt)
		mmio_interrupt(b->dev);
	return e;
}

enum err blk_init(struct blk *b, const struct blk_config *c, struct mmio_dev *dev,
		  struct mmio_config *mc, struct blk_space *space, int *host_errno)
{
	static const struct mmio_ops ops = { .notify = blk_notify };

	if (c->bytes == 0 || c->bytes % BLK_SECTOR_BYTES != 0 || c->bytes > INT64_MAX)
		return ERR_USAGE;
	*b = (struct blk){
		.dev = dev, .fd = c->fd, .writable = c->writable,
		.bytes = c->bytes, .host_errno = host_errno,
	};
	*space = (struct blk_space){
		.capacity_sectors = c->bytes / BLK_SECTOR_BYTES,
		.seg_max = BLK_SEGMENTS_MAX,
	};
	mc->ops = &ops;
	mc->self = b;
	mc->device_id = BLK_DEVICE_ID;
	mc->features = BLK_F_SEG_MAX | (c->writable ? 0 : BLK_F_RO);
	mc->queues = 1;
	mc->queue_size_max[0] = BLK_QUEUE_SIZE;
	mc->config = space;
	mc->config_bytes = sizeof *space;
	return OK;
}

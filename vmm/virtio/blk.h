/* SPDX-License-Identifier: Apache-2.0 */
/*
 * blk.h - a virtio block device (virtio 1.2 §5.2) on one host fd.
 *
 * Raw only: the bytes of the fd are the bytes of the disk.  Requests are done
 * inside the kick, before the guest runs again, straight between the fd and
 * guest memory.  No write cache is offered: what is written is in the host
 * file, which is thrown away with the run.
 *
 * What is wrong with a request but possible to say so is answered IOERR or
 * UNSUPP; a chain that is no request at all is ERR_GUEST.  A host file that
 * fails or has become shorter is ERR_HOST, `*host_errno` says why.
 *
 * System calls: preadv, pwritev.
 */
#ifndef DOLANIA_VIRTIO_BLK_H
#define DOLANIA_VIRTIO_BLK_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"
#include "vmm/virtio/mmio.h"

enum {
	BLK_SECTOR_BYTES = 512,
	BLK_QUEUE_SIZE = 64,
	BLK_SEGMENTS_MAX = BLK_QUEUE_SIZE - 2,	/* header and status take one each */
	BLK_REQUEST_MAX_BYTES = 4 << 20,	/* a bigger one is answered IOERR */
};

struct blk_config {
	int fd;			/* the caller's; never closed here */
	uint64_t bytes;		/* multiple of 512 */
	bool writable;
};

struct blk {
	struct mmio_dev *dev;
	int fd;
	bool writable;
	uint64_t bytes;
	/*
	 * May be NULL; set by the bus.  Asked between two requests of one kick: is
	 * the run over?  Then the rest stays in the ring, as the guest runs no more.
	 */
	bool (*over)(void *ctx);
	void *over_ctx;
	int *host_errno;
	uint64_t read_bytes, write_bytes;	/* moved so far */
	uint64_t requests;
};

struct blk_space {	/* configuration space (§5.2.4), up to seg_max */
	uint64_t capacity_sectors;
	uint32_t size_max;	/* not offered */
	uint32_t seg_max;
};
_Static_assert(sizeof(struct blk_space) == 16, "virtio 1.2 §5.2.4");

/*
 * Fill `b` and the device-specific part of `mc` (ops, self, id, features,
 * queues, configuration) for mmio_init of `dev`.  `host_errno` outlives `b`.
 * ERR_USAGE: size not a multiple of 512, or zero.
 */
MUST_USE enum err blk_init(struct blk *b, const struct blk_config *c, struct mmio_dev *dev,
			   struct mmio_config *mc, struct blk_space *space, int *host_errno);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * packet.h - the virtio-vsock packet header, and the two halves of the device.
 *
 * Private to vsock.c, vsock_rx.c and vsock_tx.c.
 */
#ifndef DOLANIA_VIRTIO_PACKET_H
#define DOLANIA_VIRTIO_PACKET_H

#include "vmm/base/le.h"
#include "vmm/virtio/vsock.h"

enum {	/* virtio 1.2 §5.10.6 */
	OP_INVALID, OP_REQUEST, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW,
	OP_CREDIT_UPDATE, OP_CREDIT_REQUEST, OP_COUNT,
	TYPE_STREAM = 1,
};

struct vsock_header {
	le64_t src_cid;
	le64_t dst_cid;
	le32_t src_port;
	le32_t dst_port;
	le32_t len;
	le16_t type;
	le16_t op;
	le32_t flags;
	le32_t buf_alloc;
	le32_t fwd_cnt;
} __attribute__((packed));
_Static_assert(sizeof(struct vsock_header) == 44, "virtio 1.2 §5.10.6");

enum { VSOCK_HEADER_BYTES = sizeof(struct vsock_header) };

static inline struct queue *vsock_queue(struct vsock *v, unsigned n)
{
	return &v->dev->queue[n];
}

/*
 * Host to guest: send what one port has that is due, each port in turn.  *sent is
 * false when none is due or no receive buffer is there; in the second case the
 * guest was asked to kick.  Not published yet.  ERR_GUEST, ERR_HOST.
 */
MUST_USE enum err vsock_send(struct vsock *v, bool *sent);

/*
 * Guest to host: take the packets that were transmitted, at most a ring full,
 * or until the list of refusals is full (v->tx_stalled).  Not published yet.
 */
MUST_USE enum err vsock_take(struct vsock *v);

#endif

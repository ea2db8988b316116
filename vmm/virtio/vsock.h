/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.h - a virtio socket device (virtio 1.2 §5.10) with a fixed table of ports.
 *
 * Streams only, opened by the guest only, to host ports 1..WIRE_PORTS-1 of CID
 * 2, from privileged source ports, once a port and boot.  Anything else is
 * answered RST and counted.  What a stock driver cannot send (a foreign source
 * CID, a length that is not the buffer's, an operation that makes no sense,
 * data beyond the credit) is ERR_GUEST.
 *
 * Kicks, interrupts and exits are saved where virtio allows it:
 *  - receive buffers are looked at when there is something to send, so the
 *    guest is asked to kick for them only while we wait for one;
 *  - transmitted buffers are given back in batches (VSOCK_HOLD_*), because each
 *    return is an interrupt, and an interrupt is two more exits.
 */
#ifndef DOLANIA_VIRTIO_VSOCK_H
#define DOLANIA_VIRTIO_VSOCK_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/wire.h"
#include "vmm/base/err.h"
#include "vmm/virtio/conn.h"
#include "vmm/virtio/mmio.h"

enum {
	VSOCK_RX, VSOCK_TX, VSOCK_EVENT, VSOCK_QUEUES,
	VSOCK_RX_SIZE = 16,	/* each entry costs the guest a page at boot */
	VSOCK_TX_SIZE = 64,
	VSOCK_EVENT_SIZE = 8,
	/*
	 * A packet of Linux takes at most 18 descriptors; with fewer than half
	 * of 64 held back there is always room for one.
	 */
	VSOCK_HOLD_DESCRIPTORS = VSOCK_TX_SIZE / 2,
	VSOCK_HOLD_BYTES = 64 * 1024,
	VSOCK_REFUSALS_MAX = 16,
	VSOCK_PACKET_MAX_BYTES = 64 * 1024,
};

struct vsock_config {
	struct vsock_port port[WIRE_PORTS];	/* [0] is not used */
};

struct vsock_stats {
	uint64_t refused;	/* connections */
	uint32_t refused_port;	/* destination of the first */
	uint64_t strays;	/* packets that belong to no connection */
};

struct vsock_refusal {	/* an RST that waits for a receive buffer */
	uint64_t g_dst_cid;	/* echoed, as the guest's socket expects it */
	uint32_t g_src_port, g_dst_port;
};

struct vsock {
	struct mmio_dev *dev;
	bool ended;		/* by its owner, in on_frame: nothing behind that frame is looked at */
	int *host_errno;
	struct conn conn[WIRE_PORTS];
	bool enabled[WIRE_PORTS];
	unsigned turn;			/* port whose turn it is to send */
	bool rx_kicks;			/* the guest was asked to kick for receive buffers */
	bool tx_stalled;		/* refusals are full: transmit queue waits */
	uint32_t held_descriptors, held_bytes;	/* transmitted, not given back yet */
	struct vsock_refusal refusal[VSOCK_REFUSALS_MAX];
	uint32_t refusals;
	struct vsock_stats stats;
};

/*
 * Fill `v` and the device-specific part of `mc`.  `space` (8 bytes), the
 * `host_errno` and what `c` points to outlive `v`.  ERR_USAGE.
 */
MUST_USE enum err vsock_init(struct vsock *v, const struct vsock_config *c,
			     void (*on_frame)(void *ctx, const struct wire_frame *frame),
			     void *ctx, struct mmio_dev *dev, struct mmio_config *mc,
			     uint64_t *space, int *host_errno);

/* Host fds may be ready: move what can be moved.  ERR_GUEST, ERR_HOST. */
MUST_USE enum err vsock_pump(struct vsock *v);

#endif

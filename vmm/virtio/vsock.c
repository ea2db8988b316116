/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.c - the virtio socket device: set-up, and who moves when.
 *
 * What the guest controls here: when it kicks and when it resets the device.
 * Packets are judged in vsock_tx.c, receive buffers in vsock_rx.c.
 */
#include "vmm/virtio/vsock.h"

#include "vmm/virtio/packet.h"

enum { VSOCK_DEVICE_ID = 19 };

static enum err publish(struct vsock *v)
{
	struct queue *tx = vsock_queue(v, VSOCK_TX), *rx = vsock_queue(v, VSOCK_RX);
	bool rx_interrupt, tx_interrupt = false;
	enum err e = OK;

	/* Linux wakes a writer for our credit only if its packets are not held here: so before what the guest is given. */
	if (rx->used_next != rx->used_published ||
	    tx->size < VSOCK_TX_SIZE ||		/* a driver short of memory */
	    v->held_descriptors >= VSOCK_HOLD_DESCRIPTORS || v->held_bytes >= VSOCK_HOLD_BYTES) {
		e = queue_publish(tx, &tx_interrupt);
		v->held_descriptors = v->held_bytes = 0;
	}
	if (e == OK)
		e = queue_publish(rx, &rx_interrupt);
	if (e == OK && (rx_interrupt || tx_interrupt))
		mmio_interrupt(v->dev);
	return e;
}

static enum err flush(struct vsock *v)
{
	enum err e = OK;

	for (unsigned i = 1; i < WIRE_PORTS && e == OK; i++)
		e = conn_flush(&v->conn[i], v->host_errno);
	return e;
}

/* Move everything that can move; `take`: the transmit queue was kicked. */
static enum err move(struct vsock *v, bool take)
{
	enum err e = OK;

	if (!mmio_live(v->dev))
		return flush(v);	/* what a gone guest left behind */
	/*
	 * Each round but the last takes a packet or more from the transmit
	 * queue or fills a receive buffer; one ring full of each is the limit.
	 */
	for (unsigned i = 0; i < VSOCK_RX_SIZE + VSOCK_TX_SIZE; i++) {
		bool sent = true;

		if (take || v->tx_stalled)
			e = vsock_take(v);
		take = false;
		if (v->ended)
			return e;
		if (e == OK)
			e = flush(v);
		/* A ring full, and once for each port that comes to its end. */
		for (unsigned j = 0; j <= VSOCK_RX_SIZE + WIRE_PORTS && e == OK && sent; j++)
			e = vsock_send(v, &sent);
		if (e != OK)
			return e;
		if (!v->tx_stalled || v->refusals == VSOCK_REFUSALS_MAX)
			break;
	}
	return publish(v);
}

static enum err vsock_ready(void *self)
{
	struct vsock *v = self;
	enum err e = queue_want_kicks(vsock_queue(v, VSOCK_RX), false);

	return e == OK ? queue_want_kicks(vsock_queue(v, VSOCK_EVENT), false) : e;
}

static enum err vsock_notify(void *self, unsigned q)
{
	return q == VSOCK_EVENT ? OK : move(self, q == VSOCK_TX);
}

static void vsock_reset(void *self)
{
	struct vsock *v = self;

	for (unsigned i = 1; i < WIRE_PORTS; i++)
		if (v->conn[i].state == CONN_OPEN)
			conn_close(&v->conn[i], false);
		else
			v->conn[i].pending = 0;
	v->refusals = 0;
	v->rx_kicks = v->tx_stalled = false;
	v->held_descriptors = v->held_bytes = 0;
}

enum err vsock_init(struct vsock *v, const struct vsock_config *c,
		    void (*on_frame)(void *ctx, const struct wire_frame *frame),
		    void *ctx, struct mmio_dev *dev, struct mmio_config *mc,
		    uint64_t *space, int *host_errno)
{
	static const struct vsock_port none = { .in_fd = -1, .out_fd = -1 };
	static const struct mmio_ops ops = {
		.ready = vsock_ready, .notify = vsock_notify, .reset = vsock_reset,
	};

	*v = (struct vsock){ .dev = dev, .host_errno = host_errno };
	for (unsigned i = 0; i < WIRE_PORTS; i++) {
		bool on = i > 0 && c->port[i].enabled;
		enum err e = conn_init(&v->conn[i], on ? &c->port[i] : &none, on_frame, ctx);

		if (e != OK)
			return e;
		v->enabled[i] = on;
	}
	*space = WIRE_GUEST_CID;
	mc->ops = &ops;
	mc->self = v;
	mc->device_id = VSOCK_DEVICE_ID;
	mc->features = 0;
	mc->queues = VSOCK_QUEUES;
	mc->queue_size_max[VSOCK_RX] = VSOCK_RX_SIZE;
	mc->queue_size_max[VSOCK_TX] = VSOCK_TX_SIZE;
	mc->queue_size_max[VSOCK_EVENT] = VSOCK_EVENT_SIZE;
	mc->config = space;
	mc->config_bytes = sizeof *space;
	return OK;
}

enum err vsock_pump(struct vsock *v)
{
	for (unsigned i = 1; i < WIRE_PORTS; i++)
		conn_wake(&v->conn[i]);
	return move(v, false);
}

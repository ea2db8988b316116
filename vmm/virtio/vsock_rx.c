/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_rx.c - the virtio socket device, host to guest.
 *
 * What the guest controls here: where its receive buffers lie, how large they
 * are and how many there are; the credit it grants.  What is written there is
 * ours; what does not fit waits in struct conn and in the host's pipes.
 */
#include "vmm/virtio/packet.h"

/*
 * A receive buffer.  When there is none the guest is asked to kick, and the
 * ring is looked at once more: it may have been filled in between.
 */
static enum err rx_get(struct vsock *v, struct chain *c, bool *got)
{
	struct queue *q = vsock_queue(v, VSOCK_RX);
	enum err e = queue_pop(q, c, got);

	if (e == OK && *got == v->rx_kicks) {
		v->rx_kicks = !*got;
		e = queue_want_kicks(q, v->rx_kicks);
		if (e == OK && !*got)
			e = queue_pop(q, c, got);
	}
	if (e != OK || !*got)
		return e;
	if (c->readable > 0)
		return queue_violate(q, c->head, VIOLATION_DIRECTION, c->readable);
	if (c->writable_bytes <= VSOCK_HEADER_BYTES)
		return queue_violate(q, c->head, VIOLATION_SHORT, c->writable_bytes);
	return OK;
}

static enum err rx_put(struct vsock *v, const struct chain *c, const struct vsock_header *h)
{
	struct queue *q = vsock_queue(v, VSOCK_RX);
	enum err e = chain_write(q, c, 0, h, sizeof *h);

	return e == OK ? queue_fill(q, c->head, VSOCK_HEADER_BYTES + le32_get(h->len)) : e;
}

/* A header from `port`; it carries our credit, so the guest is up to date after it. */
static struct vsock_header header(struct vsock *v, unsigned port, uint16_t op)
{
	struct conn *n = &v->conn[port];

	n->fwd_told = n->fwd_cnt;
	n->pending &= ~(uint32_t)CONN_SEND_CREDIT;
	return (struct vsock_header){
		.src_cid = le64(WIRE_HOST_CID), .dst_cid = le64(WIRE_GUEST_CID),
		.src_port = le32(port), .dst_port = le32(n->guest_port),
		.type = le16(TYPE_STREAM), .op = le16(op),
		.buf_alloc = le32(n->buf_alloc), .fwd_cnt = le32(n->fwd_cnt),
	};
}

static enum err send_refusal(struct vsock *v, bool *sent)
{
	struct vsock_refusal r = v->refusal[0];
	struct chain c;
	enum err e = rx_get(v, &c, sent);

	if (e != OK || !*sent)
		return e;
	for (uint32_t i = 1; i < v->refusals; i++)
		v->refusal[i - 1] = v->refusal[i];
	v->refusals--;
	return rx_put(v, &c, &(struct vsock_header){
		.src_cid = le64(r.g_dst_cid), .dst_cid = le64(WIRE_GUEST_CID),
		.src_port = le32(r.g_dst_port), .dst_port = le32(r.g_src_port),
		.type = le16(TYPE_STREAM), .op = le16(OP_RST),
	});
}

/* The most urgent packet without payload that `port` owes. */
static enum err send_control(struct vsock *v, unsigned port, bool *sent)
{
	static const struct { uint32_t pending; uint16_t op; uint32_t flags; } order[] = {
		{ CONN_SEND_RST, OP_RST, 0 },
		{ CONN_SEND_RESPONSE, OP_RESPONSE, 0 },
		{ CONN_SEND_SHUTDOWN, OP_SHUTDOWN, CONN_SHUTDOWN_SEND },
		{ CONN_SEND_CREDIT, OP_CREDIT_UPDATE, 0 },
	};
	struct conn *n = &v->conn[port];
	struct chain c;
	enum err e = rx_get(v, &c, sent);

	if (e != OK || !*sent)
		return e;
	for (unsigned i = 0; i < sizeof order / sizeof order[0]; i++) {
		struct vsock_header h;

		if (!(n->pending & order[i].pending))
			continue;
		n->pending &= ~order[i].pending;
		h = header(v, port, order[i].op);
		h.flags = le32(order[i].flags);
		return rx_put(v, &c, &h);
	}
	return ERR_BUG;
}

/* Receive buffers to be filled by one system call: one of Linux holds less than a page. */
enum { BATCH_MAX = 16 };
struct batch {
	int buffers, count;
	uint32_t bytes;
	struct iovec iov[QUEUE_SIZE_MAX];	/* before what is seldom needed: fewer pages touched */
	struct { struct chain chain; uint32_t len; } rx[BATCH_MAX];
};

/* As many buffers as `max` bytes need and there are, at most `most`. */
static enum err rx_gather(struct vsock *v, uint32_t max, int most, struct batch *b)
{
	struct queue *q = vsock_queue(v, VSOCK_RX);
	enum err e = OK;
	int more = 0;

	b->buffers = b->count = 0;
	b->bytes = 0;
	for (bool got; e == OK && b->bytes < max && b->buffers < most; b->count += more) {
		struct chain *c = &b->rx[b->buffers].chain;
		uint32_t len;

		e = rx_get(v, c, &got);
		if (e != OK || !got)
			break;
		if (b->count + c->writable > QUEUE_SIZE_MAX) {
			queue_unpop(q);
			break;
		}
		len = c->writable_bytes - VSOCK_HEADER_BYTES;
		len = len < max - b->bytes ? len : max - b->bytes;
		len = len < VSOCK_PACKET_MAX_BYTES ? len : VSOCK_PACKET_MAX_BYTES;
		e = chain_iov(q, c, true, VSOCK_HEADER_BYTES, len, b->iov + b->count, &more);
		b->rx[b->buffers++].len = len;
		b->bytes += len;
	}
	return e;
}

static enum err send_data(struct vsock *v, unsigned port, uint32_t max, bool *sent)
{
	struct conn *n = &v->conn[port];
	struct batch b;
	uint32_t left = 0;
	int used = 0;
	enum err e = rx_gather(v, max, n->in_plenty ? BATCH_MAX : 1, &b);

	if (e == OK && b.buffers > 0)
		e = conn_read(n, b.iov, b.count, &left, v->host_errno);
	n->in_plenty = left == b.bytes;
	for (; e == OK && left > 0; used++) {
		struct vsock_header h = header(v, port, OP_RW);
		uint32_t len = left < b.rx[used].len ? left : b.rx[used].len;

		h.len = le32(len);
		left -= len;
		e = rx_put(v, &b.rx[used].chain, &h);
	}
	for (int i = used; i < b.buffers; i++)
		queue_unpop(vsock_queue(v, VSOCK_RX));
	/* Without a byte: nothing there now, or the end; then SHUTDOWN is pending. */
	*sent = used > 0 || (b.buffers > 0 && n->pending != 0);
	return e;
}

/* The packets of one port, each port in turn; *sent is false when there is none to send. */
enum err vsock_send(struct vsock *v, bool *sent)
{
	*sent = false;
	if (v->refusals > 0)
		return send_refusal(v, sent);
	for (unsigned i = 0; i < WIRE_PORTS && !*sent; i++) {
		unsigned port = v->turn;
		uint32_t max = conn_readable(&v->conn[port]);
		enum err e = OK;

		v->turn = (port + 1) % WIRE_PORTS;
		if (v->conn[port].pending)
			e = send_control(v, port, sent);
		else if (max > 0)
			e = send_data(v, port, max, sent);
		if (e != OK)
			return e;
	}
	return OK;
}

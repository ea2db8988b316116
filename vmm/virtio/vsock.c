/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.c - the virtio socket device.
 *
 * What the guest controls here: every packet it transmits, header and payload,
 * and where its receive buffers lie and how large they are.  A header is copied
 * once and judged whole; payload goes from guest memory to a ring, never to a
 * place that a packet names.  State is one struct conn a port and a fixed list
 * of refusals; when that list is full, transmit waits until the guest takes
 * them: no number of source ports makes us remember more.
 */
#include "vmm/virtio/vsock.h"

#include "vmm/base/le.h"

enum {	/* virtio 1.2 §5.10.6 */
	OP_INVALID, OP_REQUEST, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW,
	OP_CREDIT_UPDATE, OP_CREDIT_REQUEST, OP_COUNT,
	TYPE_STREAM = 1,
	VSOCK_DEVICE_ID = 19,
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

enum { HEADER = sizeof(struct vsock_header) };

static struct queue *queue(struct vsock *v, unsigned n)
{
	return &v->dev->queue[n];
}

/* ---- host to guest ---- */

/*
 * A receive buffer.  When there is none the guest is asked to kick, and the
 * ring is looked at once more: it may have been filled in between.
 */
static enum err rx_get(struct vsock *v, struct chain *c, bool *got)
{
	struct queue *q = queue(v, VSOCK_RX);
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
	if (c->writable_bytes <= HEADER)
		return queue_violate(q, c->head, VIOLATION_SHORT, c->writable_bytes);
	return OK;
}

static enum err rx_put(struct vsock *v, const struct chain *c, const struct vsock_header *h)
{
	struct queue *q = queue(v, VSOCK_RX);
	enum err e = chain_write(q, c, 0, h, sizeof *h);

	return e == OK ? queue_fill(q, c->head, HEADER + le32_get(h->len)) : e;
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

static enum err send_data(struct vsock *v, unsigned port, uint32_t max, bool *sent)
{
	struct queue *q = queue(v, VSOCK_RX);
	struct conn *n = &v->conn[port];
	struct iovec iov[QUEUE_SIZE_MAX];
	struct vsock_header h;
	struct chain c;
	uint32_t len;
	enum err e;
	int count;

	e = rx_get(v, &c, sent);
	if (e != OK || !*sent)
		return e;
	len = c.writable_bytes - HEADER;
	if (len > max)
		len = max;
	if (len > VSOCK_PACKET_MAX_BYTES)
		len = VSOCK_PACKET_MAX_BYTES;
	e = chain_iov(q, &c, true, HEADER, len, iov, &count);
	if (e == OK)
		e = conn_read(n, iov, count, &len, v->host_errno);
	if (e != OK)
		return e;
	if (len == 0) {		/* nothing there now, or the end: then SHUTDOWN is pending */
		queue_unpop(q);
		*sent = n->pending != 0;
		return OK;
	}
	h = header(v, port, OP_RW);
	h.len = le32(len);
	return rx_put(v, &c, &h);
}

/* One packet of one port, each port in turn; *sent is false when there is none to send. */
static enum err send_one(struct vsock *v, bool *sent)
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

/* ---- guest to host ---- */

static void refuse(struct vsock *v, const struct vsock_header *h)
{
	v->refusal[v->refusals++] = (struct vsock_refusal){
		.g_dst_cid = le64_get(h->dst_cid),
		.g_src_port = le32_get(h->src_port),
		.g_dst_port = le32_get(h->dst_port),
	};
}

static void request(struct vsock *v, const struct vsock_header *h)
{
	uint32_t g_src = le32_get(h->src_port), g_dst = le32_get(h->dst_port);

	if (le64_get(h->dst_cid) == WIRE_HOST_CID && le16_get(h->type) == TYPE_STREAM &&
	    g_src <= WIRE_PRIVILEGED_PORT_MAX && g_dst < WIRE_PORTS &&
	    v->enabled[g_dst] && v->conn[g_dst].state == CONN_UNUSED) {
		conn_open(&v->conn[g_dst], g_src);
		conn_peer_credit(&v->conn[g_dst], le32_get(h->buf_alloc), le32_get(h->fwd_cnt));
		return;
	}
	if (v->stats.refused++ == 0)
		v->stats.refused_port = g_dst;
	refuse(v, h);
}

/* The connection a packet belongs to, open or closed; NULL for none. */
static struct conn *find(struct vsock *v, const struct vsock_header *h)
{
	uint32_t g_dst = le32_get(h->dst_port);
	struct conn *n;

	if (le64_get(h->dst_cid) != WIRE_HOST_CID || le16_get(h->type) != TYPE_STREAM ||
	    g_dst >= WIRE_PORTS)
		return NULL;
	n = &v->conn[g_dst];
	return n->state != CONN_UNUSED && n->guest_port == le32_get(h->src_port) ? n : NULL;
}

static enum err receive_data(struct vsock *v, struct conn *n, const struct chain *c, uint32_t len)
{
	struct queue *q = queue(v, VSOCK_TX);
	uint32_t off = HEADER;

	if (n->guest_done) {		/* after its own SHUTDOWN */
		conn_close(n, true);
		return OK;
	}
	if (!conn_grants(n, len))
		return queue_violate(q, c->head, VIOLATION_VSOCK_CREDIT, len);
	while (len > 0) {
		uint8_t *place;
		uint32_t part = conn_place(n, len, &place);
		enum err e;

		if (part == 0)
			return ERR_BUG;
		e = chain_read(q, c, off, place, part);
		if (e != OK)
			return e;
		conn_placed(n, part);
		off += part;
		len -= part;
	}
	return OK;
}

static enum err packet(struct vsock *v, const struct chain *c)
{
	struct queue *q = queue(v, VSOCK_TX);
	struct vsock_header h;
	struct conn *n;
	uint32_t len;
	uint16_t op;
	enum err e;

	if (c->writable > 0)
		return queue_violate(q, c->head, VIOLATION_DIRECTION, c->writable);
	if (c->readable_bytes < HEADER)
		return queue_violate(q, c->head, VIOLATION_SHORT, c->readable_bytes);
	e = chain_read(q, c, 0, &h, sizeof h);
	if (e != OK)
		return e;
	len = le32_get(h.len);
	op = le16_get(h.op);
	if (le64_get(h.src_cid) != WIRE_GUEST_CID)
		return queue_violate(q, c->head, VIOLATION_VSOCK_CID, le64_get(h.src_cid));
	if (len != c->readable_bytes - HEADER || len > VSOCK_PACKET_MAX_BYTES ||
	    (len > 0 && op != OP_RW))
		return queue_violate(q, c->head, VIOLATION_VSOCK_LENGTH, len);
	if (op == OP_INVALID || op == OP_RESPONSE || op >= OP_COUNT)
		return queue_violate(q, c->head, VIOLATION_VSOCK_OP, op);

	if (op == OP_REQUEST) {
		request(v, &h);
		return OK;
	}
	n = find(v, &h);
	if (!n) {
		if (op != OP_RST) {
			v->stats.strays++;
			refuse(v, &h);
		}
		return OK;
	}
	if (n->state == CONN_CLOSED)
		return OK;	/* sent before the guest saw our RST */
	conn_peer_credit(n, le32_get(h.buf_alloc), le32_get(h.fwd_cnt));
	switch (op) {
	case OP_RST:
		conn_close(n, false);
		return OK;
	case OP_SHUTDOWN:
		conn_guest_shutdown(n, le32_get(h.flags));
		return OK;
	case OP_CREDIT_REQUEST:
		n->pending |= CONN_SEND_CREDIT;
		return OK;
	case OP_RW:
		return receive_data(v, n, c, len);
	default:
		return OK;	/* CREDIT_UPDATE is in the header already */
	}
}

static enum err tx_take(struct vsock *v)
{
	struct queue *q = queue(v, VSOCK_TX);

	v->tx_stalled = false;
	for (unsigned i = 0; i < q->size; i++) {
		struct chain c;
		bool got;
		enum err e;

		if (v->refusals == VSOCK_REFUSALS_MAX) {
			v->tx_stalled = true;
			break;
		}
		e = queue_pop(q, &c, &got);
		if (e == OK && !got)
			break;
		if (e == OK)
			e = packet(v, &c);
		if (e == OK)
			e = queue_fill(q, c.head, 0);
		if (e != OK)
			return e;
		v->held_descriptors += c.readable;
		v->held_bytes = v->held_bytes > VSOCK_HOLD_BYTES ? v->held_bytes
				: v->held_bytes + c.readable_bytes;
	}
	return OK;
}

/* ---- both ---- */

static enum err publish(struct vsock *v)
{
	struct queue *tx = queue(v, VSOCK_TX);
	bool rx_interrupt, tx_interrupt = false;
	enum err e = queue_publish(queue(v, VSOCK_RX), &rx_interrupt);

	if (e == OK && (tx->size < VSOCK_TX_SIZE ||	/* a driver short of memory */
			v->held_descriptors >= VSOCK_HOLD_DESCRIPTORS ||
			v->held_bytes >= VSOCK_HOLD_BYTES)) {
		e = queue_publish(tx, &tx_interrupt);
		v->held_descriptors = v->held_bytes = 0;
	}
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
			e = tx_take(v);
		take = false;
		if (e == OK)
			e = flush(v);
		for (unsigned j = 0; j < VSOCK_RX_SIZE && e == OK && sent; j++)
			e = send_one(v, &sent);
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
	enum err e = queue_want_kicks(queue(v, VSOCK_RX), false);

	return e == OK ? queue_want_kicks(queue(v, VSOCK_EVENT), false) : e;
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

void vsock_stats(const struct vsock *v, struct vsock_stats *s)
{
	*s = v->stats;
	for (unsigned i = 0; i < WIRE_PORTS; i++) {
		s->bytes_in[i] = v->conn[i].bytes_in;
		s->bytes_out[i] = v->conn[i].bytes_out;
	}
}

bool vsock_drained(const struct vsock *v)
{
	for (unsigned i = 1; i < WIRE_PORTS; i++)
		if (v->conn[i].head != v->conn[i].tail)
			return false;
	return true;
}

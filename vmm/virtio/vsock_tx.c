/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock_tx.c - the virtio socket device, guest to host.
 *
 * What the guest controls here: every packet it transmits, header and payload.
 * A header is copied once and judged whole; payload goes from guest memory to a
 * ring, never to a place that a packet names.  State is one struct conn a port
 * and a fixed list of refusals; when that is full, transmit waits until the
 * guest takes them: no number of source ports makes us remember more.
 */
#include "vmm/virtio/packet.h"

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
	struct queue *q = vsock_queue(v, VSOCK_TX);
	uint32_t off = VSOCK_HEADER_BYTES;

	if (!conn_grants(n, len))
		return queue_violate(q, c->head, VIOLATION_VSOCK_CREDIT, len);
	if (len > 0 && !conn_takes(n)) {	/* after its own SHUTDOWN, or to stdin */
		conn_close(n, true);
		return OK;
	}
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
	struct queue *q = vsock_queue(v, VSOCK_TX);
	struct vsock_header h;
	struct conn *n;
	uint32_t len;
	uint16_t op;
	enum err e;

	if (c->writable > 0)
		return queue_violate(q, c->head, VIOLATION_DIRECTION, c->writable);
	if (c->readable_bytes < VSOCK_HEADER_BYTES)
		return queue_violate(q, c->head, VIOLATION_SHORT, c->readable_bytes);
	e = chain_read(q, c, 0, &h, sizeof h);
	if (e != OK)
		return e;
	len = le32_get(h.len);
	op = le16_get(h.op);
	if (le64_get(h.src_cid) != WIRE_GUEST_CID)
		return queue_violate(q, c->head, VIOLATION_VSOCK_CID, le64_get(h.src_cid));
	if (len != c->readable_bytes - VSOCK_HEADER_BYTES || len > VSOCK_PACKET_MAX_BYTES ||
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

enum err vsock_take(struct vsock *v)
{
	struct queue *q = vsock_queue(v, VSOCK_TX);

	v->tx_stalled = false;
	for (unsigned i = 0; i < q->size; i++) {
		struct chain c;
		bool got;
		enum err e;

		if (v->ended)
			break;
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

/* SPDX-License-Identifier: Apache-2.0 */
/* driver.h - what a driver does with the rings of a machine (machine.h): chains, disk requests, vsock packets. */
#ifndef DOLANIA_TESTS_DRIVER_H
#define DOLANIA_TESTS_DRIVER_H

#include "tests/unit/machine.h"

/* ---- rings ---- */

static inline void mem_put(struct machine *m, uint64_t at, const void *p, size_t n)
{
	memcpy(m->mem.base + at, p, n);
}

static inline void put16(struct machine *m, uint64_t at, uint16_t v)
{
	mem_put(m, at, &v, 2);
}

static inline uint16_t get16(struct machine *m, uint64_t at)
{
	uint16_t v;

	memcpy(&v, m->mem.base + at, 2);
	return v;
}

static inline uint32_t get32(struct machine *m, uint64_t at)
{
	uint32_t v;

	memcpy(&v, m->mem.base + at, 4);
	return v;
}

static inline void desc_put(struct machine *m, const struct ring *r, unsigned i, uint64_t addr,
			    uint32_t len, uint16_t flags, uint16_t next)
{
	uint64_t at = r->desc + 16 * i;

	mem_put(m, at, &addr, 8);
	mem_put(m, at + 8, &len, 4);
	put16(m, at + 12, flags);
	put16(m, at + 14, next);
}

static inline void avail_put(struct machine *m, struct ring *r, uint16_t head)
{
	put16(m, r->avail + 4 + 2u * (r->avail_idx % r->size), head);
	r->avail_idx++;
	put16(m, r->avail + 2, r->avail_idx);
}

struct buf { uint64_t addr; uint32_t len; bool write; };

/* Chain `n` buffers, taking descriptors in a circle; returns the head. */
static inline uint16_t chain_put(struct machine *m, struct ring *r, const struct buf *b, unsigned n)
{
	uint16_t head = r->next_desc;

	for (unsigned i = 0; i < n; i++) {
		uint16_t next = (uint16_t)((r->next_desc + 1) % r->size);

		desc_put(m, r, r->next_desc, b[i].addr, b[i].len,
			 (uint16_t)((b[i].write ? F_WRITE : 0) | (i + 1 < n ? F_NEXT : 0)),
			 i + 1 < n ? next : 0);
		r->next_desc = next;
	}
	avail_put(m, r, head);
	return head;
}

static inline enum err kick(struct machine *m, const struct ring *r)
{
	return reg_write(m, r->slot, QUEUE_NOTIFY, r->number);
}

/* The next used element, if any. */
static inline bool used_get(struct machine *m, struct ring *r, uint32_t *id, uint32_t *len)
{
	uint64_t at = r->used + 4 + 8u * (r->used_seen % r->size);

	if (get16(m, r->used + 2) == r->used_seen)
		return false;
	*id = get32(m, at);
	*len = get32(m, at + 4);
	r->used_seen++;
	return true;
}

static inline unsigned rule(const struct machine *m)
{
	return m->bus.violation.rule;
}

/* ---- block requests ---- */

enum { BLK_HEADER = BUFFERS, BLK_DATA = BUFFERS + 0x1000, BLK_STATUS = BUFFERS + 0x80 };

static inline void blk_header_put(struct machine *m, uint32_t type, uint64_t sector)
{
	uint32_t zero = 0;

	mem_put(m, BLK_HEADER, &type, 4);
	mem_put(m, BLK_HEADER + 4, &zero, 4);
	mem_put(m, BLK_HEADER + 8, &sector, 8);
	m->mem.base[BLK_STATUS] = 0xee;
}

/* One request with one data buffer; returns what the kick returned. */
static inline enum err blk_do(struct machine *m, unsigned slot, uint32_t type, uint64_t sector,
			      uint32_t len, bool in)
{
	struct buf b[3] = {
		{ BLK_HEADER, 16, false }, { BLK_DATA, len, in }, { BLK_STATUS, 1, true },
	};

	blk_header_put(m, type, sector);
	if (len == 0)
		b[1] = b[2];
	chain_put(m, &m->ring[slot][0], b, len ? 3 : 2);
	return kick(m, &m->ring[slot][0]);
}

static inline unsigned blk_status(const struct machine *m)
{
	return m->mem.base[BLK_STATUS];
}

/* ---- vsock packets ---- */

enum { RX, TX, EVENT };
enum { INVALID, REQUEST, RESPONSE, RST, SHUTDOWN, RW, CREDIT_UPDATE, CREDIT_REQUEST };
enum { TX_BUF = 0x80000, RX_BUF = 0x60000, RX_BUF_BYTES = 4096, SRC_PORT = 1000 };

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

static inline struct packet packet(uint16_t op, uint32_t port)
{
	return (struct packet){ .src_cid = 3, .dst_cid = 2, .src_port = SRC_PORT + port,
				.dst_port = port, .type = 1, .op = op, .buf_alloc = 65536 };
}

/* Put a packet in the transmit queue, payload after the header; no kick. */
static inline void packet_queue(struct machine *m, const struct packet *p, const void *data,
				uint32_t bytes)
{
	struct ring *r = &m->ring[0][TX];
	uint64_t at = TX_BUF + r->next_desc * 0x800ull;
	struct buf b[2] = { { at, 44, false }, { at + 44, bytes, false } };

	mem_put(m, at, p, 44);
	if (bytes)
		mem_put(m, at + 44, data, bytes);
	chain_put(m, r, b, bytes ? 2 : 1);
}

static inline enum err packet_send(struct machine *m, struct packet p, const void *data, uint32_t bytes)
{
	p.len = bytes;
	packet_queue(m, &p, data, bytes);
	return kick(m, &m->ring[0][TX]);
}

/* Give the device receive buffers, up to `n`. */
static inline void rx_fill(struct machine *m, unsigned n)
{
	struct ring *r = &m->ring[0][RX];

	for (unsigned i = 0; i < n; i++) {
		struct buf b = { RX_BUF + r->next_desc * (uint64_t)RX_BUF_BYTES, RX_BUF_BYTES, true };

		chain_put(m, r, &b, 1);
	}
}

/* The next packet from the host; payload pointer into guest memory. */
static inline bool packet_get(struct machine *m, struct packet *p, const uint8_t **data)
{
	struct ring *r = &m->ring[0][RX];
	uint32_t id, len;

	if (!used_get(m, r, &id, &len))
		return false;
	memcpy(p, m->mem.base + RX_BUF + id * RX_BUF_BYTES, 44);
	MUST(len == 44 + p->len);
	if (data)
		*data = m->mem.base + RX_BUF + id * RX_BUF_BYTES + 44;
	return true;
}

/* Expect a packet with this op; returns 1 when it came. */
static inline int packet_is(struct machine *m, uint16_t op, struct packet *p, const uint8_t **data)
{
	return packet_get(m, p, data) && p->op == op;
}

/* Connect to `port`: REQUEST, RESPONSE. */
static inline int connect_port(struct machine *m, uint32_t port)
{
	struct packet p;

	return packet_send(m, packet(REQUEST, port), NULL, 0) == OK && packet_is(m, RESPONSE, &p, NULL);
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* flow.c - vsock: credit both ways, and where received packets are put. */
#include "tests/hostile/guest/vsock.h"

/* ---- credit ---- */

/* 256 KiB were granted; with no receive buffer no more can be. */
CASE(vsock_more_than_credit)
{
	static uint8_t data[PAYLOAD_MAX];

	ready_with(2);
	connect_to(WIRE_STDOUT);
	for (unsigned i = 0; i < 4; i++)
		send_to(WIRE_STDOUT, data, PAYLOAD_MAX);
	send_to(WIRE_STDOUT, "x", 1);
	SURVIVED();
}

/* 32 frames fit the control port's credit. */
CASE(vsock_more_frames_than_credit)
{
	ready_with(1);			/* that was the first */
	for (unsigned i = 0; i < 32; i++)
		control_send(WIRE_NOTE, i, 0);
	SURVIVED();
}

static void credit(uint32_t buf_alloc, uint32_t fwd_cnt)
{
	struct packet p = packet(OP_CREDIT_UPDATE, WIRE_CONTROL);

	p.buf_alloc = buf_alloc;
	p.fwd_cnt = fwd_cnt;
	packet_send(&p, NULL, 0);
}

/* What we say about our own buffers, as false as can be: the job comes only within what was granted. */
CASE(vsock_credit_lies)
{
	static const struct { uint32_t buf_alloc, fwd_cnt; } lies[] = {
		{ 10, 0 },		/* shrunk below what is on its way */
		{ 100, 0xffffffff },	/* before the beginning */
		{ 100, 200 },		/* ahead of what was sent */
		{ 0, 100 }, { 0xffffffff, 101 }, { 0x80000000, 0x80000000 },
	};
	struct packet p;
	uint32_t magic;

	ready();
	credit(100, 0);
	p = expect(OP_RW, WIRE_CONTROL);
	CHECK_EQ(p.len, 100);
	memcpy(&magic, payload, 4);
	CHECK_EQ(magic, WIRE_JOB_MAGIC);
	for (unsigned i = 0; i < SIZE(lies); i++) {
		credit(lies[i].buf_alloc, lies[i].fwd_cnt);
		expect_nothing();
	}
	credit(101, 0);
	p = expect(OP_RW, WIRE_CONTROL);
	CHECK_EQ(p.len, 1);
	credit(0xffffffff, 101);
	p = expect(OP_RW, WIRE_CONTROL);
	CHECK(p.len >= sizeof(struct wire_job) - 101);
	done();
}

/* CREDIT_REQUEST again and again: answered as long as there are buffers, never kept. */
CASE(vsock_credit_requests)
{
	struct packet p = packet(OP_CREDIT_REQUEST, WIRE_CONTROL);
	unsigned answers = 0;

	ready();
	for (unsigned i = 0; i < 1024; i += 32) {
		for (unsigned k = 0; k < 32; k++)
			packet_put(&p, NULL, 0);
		vq_kick(&tx);
		while (packet_get(&p))
			answers += p.op == OP_CREDIT_UPDATE;
		p = packet(OP_CREDIT_REQUEST, WIRE_CONTROL);
	}
	CHECK_EQ(answers, 1024 / 32);
	done();
}

/* ---- receive buffers ---- */

static void receive_into(uint64_t addr, uint32_t len, uint16_t flags)
{
	struct packet p = packet(OP_REQUEST, WIRE_STDOUT);

	ready_with(1);
	vq_desc(&rx, 5, addr, len, flags, 0);
	vq_offer(&rx, 5);
	packet_send(&p, NULL, 0);
	SURVIVED();
}

CASE(vsock_rx_readable) { receive_into((uint64_t)disk_data, 4096, 0); }
CASE(vsock_rx_short) { receive_into((uint64_t)disk_data, 44, WRITE); }
CASE(vsock_rx_outside) { receive_into(ram_end - 43, RX_BYTES, WRITE); }	/* a header is 44 bytes */

/* The answer is written over the transmit ring, which says what comes next: avail.idx becomes 0. */
CASE(vsock_rx_over_tx_ring)
{
	struct packet p = packet(OP_REQUEST, WIRE_STDOUT);

	ready_with(1);
	vq_desc(&rx, 5, (uint64_t)tx_memory.avail, 64, WRITE, 0);
	vq_offer(&rx, 5);
	packet_send(&p, NULL, 0);
	CHECK_EQ(tx_memory.avail[1], 0);
	vq_kick(&tx);
	SURVIVED();
}

/* A receive buffer in sixteen pieces, the header in most of them. */
CASE(vsock_rx_in_pieces)
{
	struct packet p = packet(OP_REQUEST, WIRE_STDOUT);

	ready_with(1);
	for (uint16_t i = 0; i < RX_SIZE; i++)
		vq_desc(&rx, i, (uint64_t)disk_data + 5 * i, 3, (uint16_t)(WRITE | (i < RX_SIZE - 1 ? NEXT : 0)),
			(uint16_t)(i + 1));
	vq_offer(&rx, 0);
	packet_send(&p, NULL, 0);
	CHECK_EQ(disk_data[0], WIRE_HOST_CID);
	CHECK_EQ(disk_data[3], 0);		/* between the pieces */
	CHECK_EQ(disk_data[5 * 10] | disk_data[5 * 10 + 1] << 8, OP_RESPONSE);
	done();
}

/* Two megabytes to stdout, as fast as the credit lets it: counted, and not one byte more. */
CASE(vsock_output_flood)
{
	enum { CHUNK = 32 * 1024, CHUNKS = 64 };
	static uint8_t data[CHUNK];
	uint32_t sent = 0, free = 256 * 1024, told = 0;
	struct packet p;

	memset(data, 'x', sizeof(data));
	ready();
	connect_to(WIRE_STDOUT);
	for (unsigned i = 0; i < CHUNKS; i++) {
		while (sent - told > free - CHUNK) {
			for (unsigned wait = 0; wait < 100000; wait++)	/* the host must write it out */
				__asm__ volatile("");
			vq_kick(&rx);
			while (packet_get(&p))
				told = p.src_port == WIRE_STDOUT ? p.fwd_cnt : told;
		}
		send_to(WIRE_STDOUT, data, CHUNK);
		sent += CHUNK;
	}
	done();
}

/* Reset while transmit waits for receive buffers: what waited is forgotten. */
CASE(vsock_reset_while_stalled)
{
	struct packet p = packet(OP_REQUEST, 99);

	ready_with(1);
	for (unsigned i = 0; i < 16 + TX_SIZE; i++)
		packet_send(&p, NULL, 0);
	vsock_up();
	expect_nothing();
	packet_send(&p, NULL, 0);
	expect(OP_RST, 99);
	expect_nothing();
	done_by_panic();
}

/* The event queue is never looked at, whatever lies in it. */
CASE(vsock_event_queue)
{
	ready();
	memset(&event_memory, 0xff, sizeof(event_memory));
	for (unsigned i = 0; i < 100; i++)
		vq_kick(&event);
	done();
}

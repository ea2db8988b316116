/* SPDX-License-Identifier: Apache-2.0 */
/* vsock.c - packets that no stock driver sends, and more of them than anybody needs. */
#include "tests/hostile/guest/vsock.h"

static void send(const struct packet *p, const void *data, uint32_t n)
{
	packet_send(p, data, n);
	SURVIVED();
}

CASE(vsock_cid_spoof)
{
	struct packet p = packet(OP_REQUEST, WIRE_STDOUT);

	ready();
	p.src_cid = 4;		/* somebody else's guest */
	send(&p, NULL, 0);
}

CASE(vsock_cid_host)
{
	struct packet p = packet(OP_RW, WIRE_STDOUT);

	ready();
	p.src_cid = WIRE_HOST_CID | 1ull << 63;
	send(&p, NULL, 0);
}

/* ---- lengths: what the header says, what the buffer holds ---- */

static void send_length(uint16_t op, uint32_t says, uint32_t has)
{
	struct packet p = packet(op, WIRE_STDOUT);

	ready();
	connect_to(WIRE_STDOUT);
	p.len = says;
	send(&p, disk_data, has);
}

CASE(vsock_len_beyond_buffer) { send_length(OP_RW, 4096, 3); }
CASE(vsock_len_below_buffer) { send_length(OP_RW, 1, 3); }
CASE(vsock_len_4g) { send_length(OP_RW, 0xffffffff, 64); }
CASE(vsock_len_wraps_header) { send_length(OP_RW, 0u - 44, 0); }
CASE(vsock_len_too_large) { send_length(OP_RW, PAYLOAD_MAX + 1, PAYLOAD_MAX + 1); }
CASE(vsock_len_on_shutdown) { send_length(OP_SHUTDOWN, 4, 4); }

CASE(vsock_header_short)
{
	struct packet p = packet(OP_RW, WIRE_STDOUT);

	ready();
	vq_desc(&tx, 9, (uint64_t)&p, 43, 0, 0);
	vq_offer(&tx, 9);
	vq_kick(&tx);
	SURVIVED();
}

CASE(vsock_tx_writable)
{
	struct packet p = packet(OP_RW, WIRE_STDOUT);

	ready();
	vq_desc(&tx, 9, (uint64_t)&p, 44, NEXT, 10);
	vq_desc(&tx, 10, (uint64_t)disk_data, 4096, WRITE, 0);
	vq_offer(&tx, 9);
	vq_kick(&tx);
	SURVIVED();
}

/* ---- operations and types ---- */

static void send_op(uint16_t op)
{
	struct packet p = packet(op, WIRE_CONTROL);

	ready();
	send(&p, NULL, 0);
}

CASE(vsock_op_0) { send_op(OP_INVALID); }
CASE(vsock_op_response) { send_op(OP_RESPONSE); }
CASE(vsock_op_unknown) { send_op(OP_UNKNOWN); }
CASE(vsock_op_65535) { send_op(0xffff); }

/* Types there are not, for a new connection and for an open one. */
CASE(vsock_types)
{
	static const uint16_t wrong[] = { 0, SEQPACKET, 3, 0xffff };

	ready();
	connect_to(WIRE_STDOUT);
	for (unsigned i = 0; i < SIZE(wrong); i++) {
		struct packet p = packet(OP_REQUEST, WIRE_STDERR);

		p.type = wrong[i];
		packet_send(&p, NULL, 0);
		expect(OP_RST, WIRE_STDERR);
		p = packet(OP_RW, WIRE_STDOUT);
		p.type = wrong[i];
		p.len = 1;
		packet_send(&p, "x", 1);
		expect(OP_RST, WIRE_STDOUT);	/* for a connection that does not exist */
	}
	send_to(WIRE_STDOUT, "ok", 2);
	expect_nothing();
	done();
}

/* ---- connections ---- */

CASE(vsock_destination_cids)
{
	static const uint64_t cid[] = { 0, 1, 3, 4, 0xffffffff, 1ull << 32 | 2, 1ull << 63 | 2, -1ull };

	ready();
	for (unsigned i = 0; i < SIZE(cid); i++) {
		struct packet p = packet(OP_REQUEST, WIRE_STDOUT);

		p.dst_cid = cid[i];
		packet_send(&p, NULL, 0);
		p = expect(OP_RST, WIRE_STDOUT);
		CHECK_EQ(p.src_cid, cid[i]);
	}
	done();
}

/* Every host port there could be, a few thousand of them, and the largest numbers. */
CASE(vsock_every_port)
{
	unsigned accepted = 0, refused = 0;
	struct packet p;

	ready();
	for (uint32_t i = 0; i < 4096; i += 16) {
		for (uint32_t k = 0; k < 16; k++) {
			uint32_t port = i < 4080 ? i + k : 0xfffffff0 + k;

			p = packet(OP_REQUEST, port);
			p.src_port = 900;
			packet_put(&p, NULL, 0);
		}
		vq_kick(&tx);
		for (unsigned k = 0; k < 16; k++) {
			CHECK(packet_get(&p));
			accepted += p.op == OP_RESPONSE;
			refused += p.op == OP_RST;
		}
	}
	CHECK_EQ(accepted, 3);		/* stdin, stdout, stderr; control is taken */
	CHECK_EQ(refused, 4093);
	done();
}

/* One port from thousands of source ports: no state is kept for any of them. */
CASE(vsock_source_ports)
{
	unsigned refused = 0;
	struct packet p;

	ready();
	connect_to(WIRE_STDOUT);
	for (uint32_t i = 0; i < 4096; i += 16) {
		for (uint32_t k = 0; k < 16; k++) {
			p = packet(OP_REQUEST, k % 2 ? WIRE_STDOUT : WIRE_STDERR);
			p.src_port = 1024 + i + k;
			packet_put(&p, NULL, 0);
		}
		vq_kick(&tx);
		while (packet_get(&p))
			refused += p.op == OP_RST;
	}
	CHECK_EQ(refused, 4096);
	connect_to(WIRE_STDERR);	/* nobody took it */
	done();
}

/*
 * Nobody takes the refusals: 16 are kept, then transmit waits, whatever is
 * kicked.  Once there are receive buffers each packet gets its answer.
 */
CASE(vsock_refusals_without_buffers)
{
	struct packet p = packet(OP_REQUEST, 99);
	unsigned answers = 0;

	ready_with(1);
	for (unsigned i = 0; i < 16 + TX_SIZE; i++)
		packet_send(&p, NULL, 0);
	for (unsigned i = 0; i < 200; i++)
		vq_kick(i % 2 ? &tx : &rx);
	rx_recycle = true;
	rx_give(RX_SIZE);
	for (unsigned idle = 0; idle < 20; idle++) {
		while (packet_get(&p)) {
			CHECK_EQ(p.op, OP_RST);
			answers++;
			idle = 0;
		}
		vq_kick(&rx);
	}
	CHECK_EQ(answers, 16 + TX_SIZE);
	done();
}

/* RST and data for connections that are not there. */
CASE(vsock_stray_flood)
{
	unsigned answers = 0;
	struct packet p;

	ready();
	for (uint32_t i = 0; i < 2048; i += 16) {
		for (uint32_t k = 0; k < 16; k++) {
			static const uint16_t op[] = { OP_RST, OP_RW, OP_SHUTDOWN, OP_CREDIT_REQUEST };

			p = packet(op[k % 4], i + k);
			p.src_port = 0xffffffff - i - k;
			packet_put(&p, NULL, 0);
		}
		vq_kick(&tx);
		while (packet_get(&p))
			answers += p.op == OP_RST;
	}
	CHECK_EQ(answers, 2048 / 4 * 3);	/* RST is not answered */
	done();
}

CASE(vsock_data_before_connect)
{
	ready();
	send_to(WIRE_STDOUT, "early", 5);
	expect(OP_RST, WIRE_STDOUT);
	connect_to(WIRE_STDOUT);
	send_to(WIRE_STDOUT, "in time", 7);
	done();
}

/* All flags of SHUTDOWN, twice; then data, which nobody takes; then a second connection, refused. */
CASE(vsock_shutdown_flags)
{
	struct packet p = packet(OP_SHUTDOWN, WIRE_STDOUT);

	ready();
	connect_to(WIRE_STDOUT);
	packet_send(&p, NULL, 0);		/* no flag: nothing happens */
	p.flags = 0xfffffffc;			/* none that means something */
	packet_send(&p, NULL, 0);
	expect_nothing();
	send_to(WIRE_STDOUT, "good", 4);
	p.flags = 0xffffffff;
	packet_send(&p, NULL, 0);
	expect(OP_RST, WIRE_STDOUT);
	packet_send(&p, NULL, 0);
	send_to(WIRE_STDOUT, "bad", 3);
	expect_nothing();
	p = packet(OP_REQUEST, WIRE_STDOUT);
	packet_send(&p, NULL, 0);
	expect(OP_RST, WIRE_STDOUT);
	done();
}

/* Half closed by us, and then written to. */
CASE(vsock_data_after_shutdown)
{
	struct packet p = packet(OP_SHUTDOWN, WIRE_STDOUT);

	ready();
	connect_to(WIRE_STDOUT);
	send_to(WIRE_STDOUT, "good", 4);
	p.flags = 2;
	packet_send(&p, NULL, 0);
	send_to(WIRE_STDOUT, "bad", 3);
	expect(OP_RST, WIRE_STDOUT);
	done();
}

/* stdin only gives. */
CASE(vsock_write_to_stdin)
{
	ready();
	connect_to(WIRE_STDIN);
	send_to(WIRE_STDIN, "x", 1);
	expect(OP_RST, WIRE_STDIN);
	done();
}

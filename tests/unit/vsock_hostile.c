/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: what is refused, and what ends the run. */
#include "tests/unit/stream.h"

static void refused_is(struct packet p, uint64_t refused, uint64_t strays)
{
	struct machine *m = live(16);
	struct packet r;

	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RST, &r, NULL));
	CHECK(r.src_cid == p.dst_cid && r.dst_cid == 3);
	CHECK(r.src_port == p.dst_port && r.dst_port == p.src_port);
	CHECK_EQ(m->bus.vsock.stats.refused, refused);
	CHECK_EQ(m->bus.vsock.stats.strays, strays);
	if (refused)
		CHECK_EQ(m->bus.vsock.stats.refused_port, p.dst_port);
	CHECK_EQ(rule(m), VIOLATION_NONE);
	machine_free(m);
}

static void refused(void)
{
	struct packet p = packet(REQUEST, WIRE_STDOUT);

	p.src_port = WIRE_PRIVILEGED_PORT_MAX + 1;
	refused_is(p, 1, 0);
	p.src_port = UINT32_MAX;
	refused_is(p, 1, 0);
	refused_is(packet(REQUEST, 0), 1, 0);
	refused_is(packet(REQUEST, WIRE_OUT), 1, 0);	/* not enabled here */
	p = packet(REQUEST, WIRE_STDOUT);
	p.dst_port = WIRE_PORTS;
	refused_is(p, 1, 0);
	p.dst_port = UINT32_MAX;
	refused_is(p, 1, 0);
	p = packet(REQUEST, WIRE_STDOUT);
	p.dst_cid = 4;
	refused_is(p, 1, 0);
	p.dst_cid = 1ull << 32 | 2;
	refused_is(p, 1, 0);
	p = packet(REQUEST, WIRE_STDOUT);
	p.type = 2;				/* SEQPACKET */
	refused_is(p, 1, 0);
	/* Packets of no connection. */
	refused_is(packet(RW, WIRE_STDOUT), 0, 1);
	refused_is(packet(SHUTDOWN, WIRE_STDOUT), 0, 1);
	refused_is(packet(CREDIT_UPDATE, WIRE_STDOUT), 0, 1);
	refused_is(packet(CREDIT_REQUEST, WIRE_PORTS + 5), 0, 1);
	p = packet(RW, WIRE_STDOUT);
	p.type = 9;
	refused_is(p, 0, 1);
	p = packet(RW, WIRE_STDOUT);
	p.dst_cid = 0;
	refused_is(p, 0, 1);
}

static void one_connection_a_port_and_boot(void)
{
	struct machine *m = live(16);
	struct packet p = packet(REQUEST, WIRE_CONTROL), r;

	CHECK_EQ(connect_port(m, WIRE_CONTROL), 1);
	p.src_port = 77;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RST, &r, NULL));
	CHECK_EQ(r.dst_port, 77);
	/* Another source port does not reach the first one's connection. */
	p = packet(RW, WIRE_CONTROL);
	p.src_port = 77;
	CHECK_EQ(packet_send(m, p, "junk", 4), OK);
	CHECK(packet_is(m, RST, &r, NULL));
	CHECK_EQ(m->bus.vsock.conn[WIRE_CONTROL].frame_bytes, 0);
	CHECK_EQ(packet_send(m, packet(RST, WIRE_CONTROL), NULL, 0), OK);
	CHECK_EQ(packet_send(m, packet(REQUEST, WIRE_CONTROL), NULL, 0), OK);
	CHECK(packet_is(m, RST, &r, NULL));		/* not even after it is closed */
	CHECK_EQ(m->bus.vsock.stats.refused, 2);
	/* An RST of no connection is not answered. */
	CHECK_EQ(packet_send(m, packet(RST, WIRE_OUT), NULL, 0), OK);
	CHECK(!packet_get(m, &r, NULL));
	machine_free(m);
}

static void no_state_per_source_port(void)
{
	struct machine *m = live(0);
	struct packet p = packet(REQUEST, WIRE_STDOUT), r;
	unsigned answered = 0;

	for (uint32_t i = 0; i < 40; i++) {
		p.src_port = 5000 + i;
		p.len = 0;
		packet_queue(m, &p, NULL, 0);
	}
	CHECK_EQ(kick(m, &m->ring[0][TX]), OK);
	CHECK_EQ(m->bus.vsock.refusals, VSOCK_REFUSALS_MAX);
	CHECK(m->bus.vsock.tx_stalled);
	CHECK_EQ(kick(m, &m->ring[0][TX]), OK);		/* still full: nothing is taken */
	CHECK_EQ(m->bus.vsock.stats.refused, VSOCK_REFUSALS_MAX);
	for (int round = 0; round < 3; round++) {
		rx_fill(m, 16);
		CHECK_EQ(kick(m, &m->ring[0][RX]), OK);
		while (packet_get(m, &r, NULL))
			CHECK(r.op == RST && r.dst_port == 5000 + answered++);
	}
	CHECK_EQ(answered, 40);
	CHECK(!m->bus.vsock.tx_stalled);
	CHECK_EQ(m->bus.vsock.refusals, 0);
	machine_free(m);
}

/* ---- what a stock driver cannot send ---- */

static void broken_is(struct packet p, uint32_t len, uint32_t bytes, unsigned want)
{
	struct machine *m = live(16);
	static const uint8_t data[0x700];

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	p.len = len;
	packet_queue(m, &p, data, bytes);
	CHECK_EQ(kick(m, &m->ring[0][TX]), ERR_GUEST);
	CHECK_EQ(rule(m), want);
	CHECK(m->bus.violation.slot == 0 && m->bus.violation.queue == TX);
	machine_free(m);
}

static void broken_packets(void)
{
	struct packet p = packet(RW, WIRE_STDOUT);

	broken_is(p, 11, 10, VIOLATION_VSOCK_LENGTH);
	broken_is(p, 9, 10, VIOLATION_VSOCK_LENGTH);
	broken_is(p, 0, 10, VIOLATION_VSOCK_LENGTH);
	broken_is(p, UINT32_MAX, 10, VIOLATION_VSOCK_LENGTH);
	broken_is(p, UINT32_MAX - 43, 0, VIOLATION_VSOCK_LENGTH);
	broken_is(packet(REQUEST, WIRE_STDERR), 4, 4, VIOLATION_VSOCK_LENGTH);
	broken_is(packet(CREDIT_UPDATE, WIRE_STDOUT), 4, 4, VIOLATION_VSOCK_LENGTH);
	p.src_cid = 2;
	broken_is(p, 4, 4, VIOLATION_VSOCK_CID);
	p.src_cid = 1ull << 32 | 3;
	broken_is(p, 4, 4, VIOLATION_VSOCK_CID);
	broken_is(packet(INVALID, WIRE_STDOUT), 0, 0, VIOLATION_VSOCK_OP);
	broken_is(packet(RESPONSE, WIRE_STDOUT), 0, 0, VIOLATION_VSOCK_OP);
	broken_is(packet(8, WIRE_STDOUT), 0, 0, VIOLATION_VSOCK_OP);
	broken_is(packet(0xffff, WIRE_STDOUT), 0, 0, VIOLATION_VSOCK_OP);
}

static void broken_buffers(void)
{
	struct machine *m = live(16);

	chain_put(m, &m->ring[0][TX], &(struct buf){ TX_BUF, 43, false }, 1);
	CHECK_EQ(kick(m, &m->ring[0][TX]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_SHORT);
	machine_free(m);
	m = live(16);
	chain_put(m, &m->ring[0][TX], (struct buf[]){ { TX_BUF, 44, false }, { TX_BUF, 9, true } }, 2);
	CHECK_EQ(kick(m, &m->ring[0][TX]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_DIRECTION);
	machine_free(m);
	/* A packet larger than any Linux sends. */
	m = live(16);
	chain_put(m, &m->ring[0][TX], (struct buf[]){ { TX_BUF, 44, false }, { 0, 65537, false } }, 2);
	{
		struct packet p = packet(RW, WIRE_STDOUT);

		p.len = 65537;
		mem_put(m, TX_BUF, &p, 44);
	}
	CHECK_EQ(kick(m, &m->ring[0][TX]), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_VSOCK_LENGTH);
	machine_free(m);
}

static void more_than_the_credit(void)
{
	struct machine *m = live(16);
	uint8_t block[1024] = { 0 };

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	fill_pipe(m->config.vsock.port[WIRE_STDOUT].out_fd);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), block, 1024), OK);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), block, 1), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_VSOCK_CREDIT);
	CHECK_EQ(m->bus.violation.value, 1);
	machine_free(m);

	m = live(16);
	CHECK_EQ(connect_port(m, WIRE_CONTROL), 1);
	m->bus.vsock.conn[WIRE_CONTROL].rx_cnt = CONN_PLAIN_BUF_BYTES;
	CHECK_EQ(packet_send(m, packet(RW, WIRE_CONTROL), "x", 1), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_VSOCK_CREDIT);
	machine_free(m);
}

/* stdin grants some credit, or Linux would not call it connected, but takes no bytes. */
static void bytes_into_stdin(void)
{
	struct machine *m = live(16);
	struct packet r;

	CHECK_EQ(packet_send(m, packet(REQUEST, WIRE_STDIN), NULL, 0), OK);
	CHECK(packet_is(m, RESPONSE, &r, NULL));
	CHECK(r.buf_alloc > 0);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDIN), "", 0), OK);
	CHECK(!packet_get(m, &r, NULL));
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDIN), "x", 1), OK);
	CHECK(packet_is(m, RST, &r, NULL));
	CHECK_EQ(rule(m), VIOLATION_NONE);
	machine_free(m);
}

/* The shared copies of head and tail are written, never read. */
static void shared_counters_are_not_trusted(void)
{
	struct machine *m = live(16);
	char text[8];

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	m->out_head = UINT64_MAX;
	m->out_tail = 1ull << 40;
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "abc", 3), OK);
	CHECK_EQ(take(m->stdout_r, text, sizeof text), 3);
	CHECK(m->out_head == 3 && m->out_tail == 3);
	machine_free(m);
}

static void a_ring_without_a_pipe_keeps_bytes(void)
{
	struct machine *m = malloc(sizeof *m);

	MUST(m != NULL);
	machine_config(m);
	close(m->config.vsock.port[WIRE_STDOUT].out_fd);
	m->config.vsock.port[WIRE_STDOUT].out_fd = -1;
	m->config.vsock.port[WIRE_STDOUT].ring.head = NULL;
	m->config.vsock.port[WIRE_STDOUT].ring.tail = NULL;
	m->config.frame = NULL;
	MUST(bus_init(&m->bus, &m->config) == OK);
	probe(m, 0);
	rx_fill(m, 16);
	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "kept", 4), OK);
	CHECK(memcmp(m->out_ring, "kept", 4) == 0);
	CHECK_EQ(m->bus.vsock.conn[WIRE_STDOUT].head, 4);
	CHECK_EQ(m->bus.vsock.conn[WIRE_STDOUT].tail, 0);
	CHECK_EQ(connect_port(m, WIRE_CONTROL), 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_CONTROL), m->out_ring, 256), OK);
	CHECK_EQ(m->frames, 0);
	machine_free(m);
}

int main(void)
{
	RUN(refused);
	RUN(one_connection_a_port_and_boot);
	RUN(no_state_per_source_port);
	RUN(broken_packets);
	RUN(broken_buffers);
	RUN(more_than_the_credit);
	RUN(bytes_into_stdin);
	RUN(shared_counters_are_not_trusted);
	RUN(a_ring_without_a_pipe_keeps_bytes);
	return tap_end();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: credit both ways, receive buffers, what waits and what comes back. */
#include "tests/unit/stream.h"

static void a_full_pipe_holds_the_guest_back(void)
{
	struct machine *m = live(16);
	int out = m->config.vsock.port[WIRE_STDOUT].out_fd;
	uint8_t block[1024], got[4096];
	struct packet p;

	memset(block, 'b', sizeof block);
	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	fill_pipe(out);
	for (int i = 0; i < 4; i++)
		CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), block, 1024), OK);
	CHECK(!packet_get(m, &p, NULL));	/* no new credit */
	CHECK(m->out_head == 4096 && m->out_tail == 0);
	CHECK_EQ(packet_send(m, packet(CREDIT_REQUEST, WIRE_STDOUT), NULL, 0), OK);
	CHECK(packet_is(m, CREDIT_UPDATE, &p, NULL));
	CHECK_EQ(p.fwd_cnt, 0);
	drain_pipe(m->stdout_r);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(packet_is(m, CREDIT_UPDATE, &p, NULL));
	CHECK_EQ(p.fwd_cnt, 4096);
	CHECK_EQ(read(m->stdout_r, got, sizeof got), 4096);
	CHECK(got[0] == 'b' && got[4095] == 'b');
	CHECK(m->out_head == 4096 && m->out_tail == 4096);
	/* Around the ring's seam: 1000 in, then 4000 over the end. */
	for (int i = 0; i < 40; i++) {
		uint8_t odd[777];

		memset(odd, i, sizeof odd);
		CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), odd, sizeof odd), OK);
		CHECK_EQ(read(m->stdout_r, got, sizeof got), 777);
		CHECK(got[0] == i && got[776] == i);
		while (packet_get(m, &p, NULL))
			rx_fill(m, 1);
	}
	machine_free(m);
}

static void what_is_left_is_flushed_after_the_guest_is_gone(void)
{
	struct machine *m = live(16);
	char text[64];

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	fill_pipe(m->config.vsock.port[WIRE_STDOUT].out_fd);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "last words", 10), OK);
	CHECK_EQ(reg_write(m, 0, STATUS, 0), OK);	/* reset */
	CHECK_EQ(m->bus.vsock.conn[WIRE_STDOUT].state, CONN_CLOSED);
	CHECK_EQ(m->out_head - m->out_tail, 10);
	drain_pipe(m->stdout_r);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK_EQ(take(m->stdout_r, text, sizeof text), 10);
	CHECK(strcmp(text, "last words") == 0);
	CHECK_EQ(take(m->stdout_r, text, sizeof text), 0);
	/* A second driver finds the ports used up. */
	probe(m, 0);
	rx_fill(m, 16);
	CHECK_EQ(packet_send(m, packet(REQUEST, WIRE_STDOUT), NULL, 0), OK);
	CHECK_EQ(m->bus.vsock.stats.refused, 1);
	CHECK_EQ(connect_port(m, WIRE_STDERR), 0);	/* RST for the first comes first */
	machine_free(m);
}

static void the_guests_credit_is_obeyed(void)
{
	struct machine *m = live(16);
	struct packet p = packet(REQUEST, WIRE_STDIN), r;

	MUST(write(m->stdin_w, "0123456789", 10) == 10);
	p.buf_alloc = 4;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RESPONSE, &r, NULL));
	CHECK(packet_is(m, RW, &r, NULL));
	CHECK_EQ(r.len, 4);
	CHECK(!packet_get(m, &r, NULL));
	p = packet(CREDIT_UPDATE, WIRE_STDIN);
	p.buf_alloc = 4;
	p.fwd_cnt = 3;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RW, &r, NULL));
	CHECK_EQ(r.len, 3);
	/* More taken than was sent; a buffer that shrinks: nothing comes, nothing breaks. */
	p.fwd_cnt = 1000;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(!packet_get(m, &r, NULL));
	p.fwd_cnt = 0;
	p.buf_alloc = 0;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(!packet_get(m, &r, NULL));
	p.fwd_cnt = 7;
	p.buf_alloc = UINT32_MAX;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RW, &r, NULL));
	CHECK_EQ(r.len, 3);
	machine_free(m);
}

static void counts_wrap_at_32_bits(void)
{
	struct machine *m = live(16);
	struct conn *n = &m->bus.vsock.conn[WIRE_STDIN];
	struct packet p = packet(CREDIT_UPDATE, WIRE_STDIN), r;

	CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
	n->tx_cnt = UINT32_MAX - 1;
	p.fwd_cnt = UINT32_MAX - 1;
	p.buf_alloc = 100;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	MUST(write(m->stdin_w, "0123456789", 10) == 10);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(packet_is(m, RW, &r, NULL));
	CHECK_EQ(r.len, 10);
	CHECK_EQ(n->tx_cnt, 8);
	conn_wake(n);
	CHECK_EQ(conn_readable(n), 90);

	n = &m->bus.vsock.conn[WIRE_STDOUT];
	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	n->rx_cnt = n->fwd_cnt = n->fwd_told = UINT32_MAX - 1;
	CHECK(conn_grants(n, 4096));
	CHECK(!conn_grants(n, 4097));
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "0123456789", 10), OK);
	CHECK_EQ(n->fwd_cnt, 8);
	CHECK(!conn_grants(n, 4087));
	CHECK(conn_grants(n, 4086));
	machine_free(m);
}

/* ---- receive buffers ---- */

static void without_buffers_everything_waits(void)
{
	struct machine *m = live(0);
	const uint8_t *data;
	struct packet r;

	CHECK_EQ(packet_send(m, packet(REQUEST, WIRE_STDIN), NULL, 0), OK);
	CHECK(!packet_get(m, &r, NULL));
	CHECK_EQ(get16(m, m->ring[0][RX].used), 0);	/* asks for a kick now */
	MUST(write(m->stdin_w, "data", 4) == 4);
	CHECK_EQ(bus_pump(&m->bus), OK);
	rx_fill(m, 1);
	CHECK_EQ(kick(m, &m->ring[0][RX]), OK);
	CHECK(packet_is(m, RESPONSE, &r, NULL));
	CHECK(!packet_get(m, &r, NULL));
	CHECK_EQ(get16(m, m->ring[0][RX].used), 0);
	rx_fill(m, 4);
	CHECK_EQ(kick(m, &m->ring[0][RX]), OK);
	CHECK(packet_is(m, RW, &r, &data));
	CHECK(r.len == 4 && memcmp(data, "data", 4) == 0);
	CHECK_EQ(get16(m, m->ring[0][RX].used), 1);	/* and no more */
	machine_free(m);
}

/* A ring full of data and the end of the stream: the end is not forgotten. */
static void the_end_comes_after_a_ring_full(void)
{
	for (unsigned extra = 0; extra < 3; extra++) {
		struct machine *m = live(1);
		struct packet r;
		unsigned data = 0;
		uint8_t block[4052];

		CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
		memset(block, 'x', sizeof block);
		for (unsigned i = 0; i < 14 + extra; i++)
			MUST(write(m->stdin_w, block, sizeof block) == sizeof block);
		close(m->stdin_w);
		m->stdin_w = -1;
		rx_fill(m, 16);
		CHECK_EQ(bus_pump(&m->bus), OK);
		while (packet_get(m, &r, NULL) && r.op == RW)
			data += r.len;
		if (extra == 2) {
			rx_fill(m, 1);
			CHECK_EQ(kick(m, &m->ring[0][RX]), OK);
			CHECK(packet_get(m, &r, NULL));
		}
		CHECK_EQ(data, (14 + extra) * sizeof block);
		CHECK_EQ(r.op, SHUTDOWN);
		machine_free(m);
	}
}

static void receive_buffer_is(struct buf a, struct buf b, unsigned n, unsigned want)
{
	struct machine *m = live(0);

	chain_put(m, &m->ring[0][RX], (struct buf[]){ a, b }, n);
	CHECK_EQ(packet_send(m, packet(REQUEST, WIRE_STDOUT), NULL, 0), want ? ERR_GUEST : OK);
	CHECK_EQ(rule(m), want);
	machine_free(m);
}

static void receive_buffers(void)
{
	const struct buf none = { 0 };

	receive_buffer_is((struct buf){ RX_BUF, 45, true }, none, 1, 0);
	receive_buffer_is((struct buf){ RX_BUF, 44, true }, none, 1, VIOLATION_SHORT);
	receive_buffer_is((struct buf){ RX_BUF, 1, true }, none, 1, VIOLATION_SHORT);
	receive_buffer_is((struct buf){ RX_BUF, 4096, false }, none, 1, VIOLATION_DIRECTION);
	receive_buffer_is((struct buf){ RX_BUF, 40, true }, (struct buf){ RX_BUF + 40, 5, true }, 2, 0);
	receive_buffer_is((struct buf){ RX_BUF, 8, false }, (struct buf){ RX_BUF, 99, true }, 2,
			  VIOLATION_DIRECTION);
}

static void payload_over_several_buffers(void)
{
	struct machine *m = live(1);
	uint32_t id, len;

	CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
	chain_put(m, &m->ring[0][RX], (struct buf[]){ { RX_BUF, 30, true },
			{ RX_BUF + 0x100, 20, true }, { RX_BUF + 0x200, 8, true } }, 3);
	MUST(write(m->stdin_w, "0123456789abcdefgh", 18) == 18);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(used_get(m, &m->ring[0][RX], &id, &len) && len == 58);
	CHECK(memcmp(m->mem.base + RX_BUF + 0x100 + 14, "012345", 6) == 0);
	CHECK(memcmp(m->mem.base + RX_BUF + 0x200, "6789abcd", 8) == 0);
	machine_free(m);
}

static void transmitted_buffers_come_back_in_batches(void)
{
	struct machine *m = live(1);
	uint32_t id, len;
	unsigned n = 0;

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	CHECK(used_get(m, &m->ring[0][TX], &id, &len));	/* with its answer */
	acknowledge(m);
	for (int i = 0; i < 15; i++)	/* 15 * 2 descriptors */
		CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "x", 1), OK);
	CHECK(!used_get(m, &m->ring[0][TX], &id, &len));
	CHECK_EQ(m->raised[0], 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "x", 1), OK);
	while (used_get(m, &m->ring[0][TX], &id, &len))
		n += len == 0;
	CHECK_EQ(n, 16);
	CHECK_EQ(m->raised[0], 2);
	machine_free(m);

	/* A smaller ring than ours: at once. */
	m = machine_new();
	probe_to_features(m, 0);
	for (unsigned i = 0; i < 3; i++) {
		ring_tell(m, ring_place(m, 0, i, 8));
		CHECK_EQ(reg_write(m, 0, QUEUE_READY, 1), OK);
	}
	CHECK_EQ(status_add(m, 0, DRIVER_OK), OK);
	rx_fill(m, 8);
	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	CHECK(used_get(m, &m->ring[0][TX], &id, &len));
	machine_free(m);
}

/* Linux does not wake a writer for credit while much of what it sent is not given back: it would sleep for ever. */
static void transmitted_buffers_come_back_with_credit(void)
{
	struct machine *m = live(4);
	struct packet p;
	uint32_t id, len;

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	CHECK(used_get(m, &m->ring[0][TX], &id, &len));
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "x", 1), OK);
	CHECK(!used_get(m, &m->ring[0][TX], &id, &len));
	CHECK_EQ(packet_send(m, packet(CREDIT_REQUEST, WIRE_STDOUT), NULL, 0), OK);
	CHECK(packet_is(m, CREDIT_UPDATE, &p, NULL));
	CHECK(used_get(m, &m->ring[0][TX], &id, &len));
	CHECK(used_get(m, &m->ring[0][TX], &id, &len));
	machine_free(m);
}

int main(void)
{
	RUN(a_full_pipe_holds_the_guest_back);
	RUN(what_is_left_is_flushed_after_the_guest_is_gone);
	RUN(the_guests_credit_is_obeyed);
	RUN(counts_wrap_at_32_bits);
	RUN(without_buffers_everything_waits);
	RUN(the_end_comes_after_a_ring_full);
	RUN(receive_buffers);
	RUN(payload_over_several_buffers);
	RUN(transmitted_buffers_come_back_in_batches);
	RUN(transmitted_buffers_come_back_with_credit);
	return tap_end();
}

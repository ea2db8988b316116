/* SPDX-License-Identifier: Apache-2.0 */
/* Streams: the life of a connection, as a stock driver leads it. */
#include "tests/unit/stream.h"

static void connecting(void)
{
	struct machine *m = live(16);
	struct packet p;

	CHECK_EQ(packet_send(m, packet(REQUEST, WIRE_STDOUT), NULL, 0), OK);
	CHECK(packet_is(m, RESPONSE, &p, NULL));
	CHECK(p.src_cid == 2 && p.dst_cid == 3 && p.type == 1 && p.len == 0);
	CHECK(p.src_port == WIRE_STDOUT && p.dst_port == SRC_PORT + WIRE_STDOUT);
	CHECK(p.buf_alloc == 4096 && p.fwd_cnt == 0);
	CHECK_EQ(m->raised[0], 1);
	/* Neither rx nor event kicks are wanted; transmit kicks are. */
	CHECK_EQ(get16(m, m->ring[0][RX].used), 1);
	CHECK_EQ(get16(m, m->ring[0][TX].used), 0);
	CHECK_EQ(get16(m, m->ring[0][EVENT].used), 1);
	CHECK_EQ(connect_port(m, WIRE_STDERR), 1);
	CHECK_EQ(connect_port(m, WIRE_CONTROL), 1);
	CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
	CHECK_EQ(kick(m, &m->ring[0][EVENT]), OK);
	CHECK_EQ(rule(m), VIOLATION_NONE);
	machine_free(m);
}

static void output_reaches_the_pipe(void)
{
	struct machine *m = live(16);
	const struct conn *c = &m->bus.vsock.conn[WIRE_STDOUT];
	char text[64];

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "hello", 5), OK);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), " world", 6), OK);
	CHECK_EQ(take(m->stdout_r, text, sizeof text), 11);
	CHECK(strcmp(text, "hello world") == 0);
	CHECK(m->out_head == 11 && m->out_tail == 11);
	CHECK(c->head == c->tail && c->bytes_out == 11 && c->bytes_in == 0);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "", 0), OK);	/* empty: fine */
	machine_free(m);
}

static void input_reaches_the_guest(void)
{
	struct machine *m = live(16);
	const uint8_t *data;
	struct packet p;

	MUST(write(m->stdin_w, "early", 5) == 5);
	CHECK_EQ(bus_pump(&m->bus), OK);		/* no connection yet */
	CHECK(!packet_get(m, &p, NULL));
	CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
	CHECK(packet_is(m, RW, &p, &data));
	CHECK(p.len == 5 && memcmp(data, "early", 5) == 0);
	acknowledge(m);
	MUST(write(m->stdin_w, "late", 4) == 4);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(packet_is(m, RW, &p, &data));
	CHECK(p.len == 4 && memcmp(data, "late", 4) == 0);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(!packet_get(m, &p, NULL));
	close(m->stdin_w);
	m->stdin_w = -1;
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(packet_is(m, SHUTDOWN, &p, NULL));
	CHECK_EQ(p.flags, CONN_SHUTDOWN_SEND);
	CHECK_EQ(m->bus.vsock.conn[WIRE_STDIN].bytes_in, 9);
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(!packet_get(m, &p, NULL));		/* said once */
	machine_free(m);
}

static void the_job_needs_no_end_marker(void)
{
	struct machine *m = live(16);
	const uint8_t *data;
	struct packet p;
	uint8_t job[9000];

	memset(job, 'j', sizeof job);
	MUST(pwrite(m->config.vsock.port[WIRE_CONTROL].in_fd, job, sizeof job, 0) == sizeof job);
	CHECK_EQ(connect_port(m, WIRE_CONTROL), 1);
	for (unsigned left = sizeof job; left > 0; left -= p.len) {
		CHECK(packet_is(m, RW, &p, &data));
		if (p.op != RW)
			break;
		CHECK(p.len <= left && data[p.len - 1] == 'j');
	}
	CHECK(!packet_get(m, &p, NULL));
	CHECK_EQ(m->bus.vsock.conn[WIRE_CONTROL].in_fd, -1);
	machine_free(m);
}

static void frames_are_put_together(void)
{
	struct machine *m = live(16);
	struct wire_frame f[2] = { { WIRE_FRAME_MAGIC, WIRE_READY, { 7 } },
				   { WIRE_FRAME_MAGIC, WIRE_EXIT, { 9 } } };

	CHECK_EQ(connect_port(m, WIRE_CONTROL), 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_CONTROL), f, 100), OK);
	CHECK_EQ(m->frames, 0);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_CONTROL), (char *)f + 100, sizeof f - 100), OK);
	CHECK_EQ(m->frames, 2);
	CHECK(memcmp(m->frame, f, sizeof f) == 0);
	machine_free(m);
}

static void frames_renew_their_credit(void)
{
	struct machine *m = live(16);
	uint8_t junk[1024] = { 0 };
	struct packet p;

	CHECK_EQ(connect_port(m, WIRE_CONTROL), 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_CONTROL), junk, 1024), OK);
	CHECK(!packet_get(m, &p, NULL));
	CHECK_EQ(packet_send(m, packet(RW, WIRE_CONTROL), junk, 1024), OK);
	CHECK(packet_is(m, CREDIT_UPDATE, &p, NULL));
	CHECK(p.fwd_cnt == 2048 && p.buf_alloc == CONN_PLAIN_BUF_BYTES);
	CHECK_EQ(m->frames, 16);
	machine_free(m);
}

static void closing_from_the_guest(void)
{
	struct machine *m = live(16);
	struct packet p = packet(SHUTDOWN, WIRE_STDOUT), r;
	char text[8];

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "bye", 3), OK);
	p.flags = 0;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);	/* says nothing */
	CHECK_EQ(m->bus.vsock.conn[WIRE_STDOUT].state, CONN_OPEN);
	p.flags = 3;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RST, &r, NULL));		/* else Linux waits 8 s */
	CHECK(r.src_port == WIRE_STDOUT && r.dst_port == p.src_port);
	CHECK_EQ(take(m->stdout_r, text, sizeof text), 3);
	CHECK_EQ(take(m->stdout_r, text, sizeof text), 0);	/* end of file */
	/* Late packets of the old connection are silently dropped. */
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "late", 4), OK);
	CHECK_EQ(packet_send(m, packet(RST, WIRE_STDOUT), NULL, 0), OK);
	CHECK(!packet_get(m, &r, NULL));
	CHECK_EQ(rule(m), VIOLATION_NONE);
	machine_free(m);
}

static void closing_one_direction(void)
{
	struct machine *m = live(16);
	struct packet p = packet(SHUTDOWN, WIRE_STDOUT), r;
	char text[8];

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	p.flags = CONN_SHUTDOWN_SEND;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(!packet_get(m, &r, NULL));
	CHECK_EQ(take(m->stdout_r, text, sizeof text), 0);
	/* Data after one's own SHUTDOWN: reset. */
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "x", 1), OK);
	CHECK(packet_is(m, RST, &r, NULL));

	CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
	p = packet(SHUTDOWN, WIRE_STDIN);
	p.flags = CONN_SHUTDOWN_RECEIVE;
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK_EQ(write(m->stdin_w, "x", 1), -1);	/* the writer learns it */
	CHECK_EQ(errno, EPIPE);
	p.flags = CONN_SHUTDOWN_SEND;			/* the other half: closed */
	CHECK_EQ(packet_send(m, p, NULL, 0), OK);
	CHECK(packet_is(m, RST, &r, NULL));
	machine_free(m);
}

static void reset_by_the_guest(void)
{
	struct machine *m = live(16);
	struct packet r;

	CHECK_EQ(connect_port(m, WIRE_STDIN), 1);
	CHECK_EQ(packet_send(m, packet(RST, WIRE_STDIN), NULL, 0), OK);
	CHECK(!packet_get(m, &r, NULL));		/* an RST is not answered */
	CHECK_EQ(write(m->stdin_w, "x", 1), -1);
	CHECK_EQ(errno, EPIPE);
	machine_free(m);
}

static void the_reader_goes_away(void)
{
	struct machine *m = live(16);
	struct packet r;

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	close(m->stdout_r);
	m->stdout_r = -1;
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "lost", 4), OK);
	CHECK(packet_is(m, RST, &r, NULL));
	CHECK(m->bus.vsock.conn[WIRE_STDOUT].state == CONN_CLOSED && m->bus.vsock.conn[WIRE_STDOUT].out_fd < 0);
	CHECK_EQ(m->out_head - m->out_tail, 0);
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "more", 4), OK);	/* in flight: dropped */
	CHECK(!packet_get(m, &r, NULL));
	/* The same after the guest has closed. */
	CHECK_EQ(connect_port(m, WIRE_STDERR), 1);
	m->bus.vsock.conn[WIRE_STDERR].out_ready = false;
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDERR), "lost", 4), OK);
	CHECK_EQ(packet_send(m, packet(RST, WIRE_STDERR), NULL, 0), OK);
	close(m->stderr_r);
	m->stderr_r = -1;
	CHECK_EQ(bus_pump(&m->bus), OK);
	CHECK(!packet_get(m, &r, NULL));
	CHECK(m->bus.vsock.conn[WIRE_STDERR].head == m->bus.vsock.conn[WIRE_STDERR].tail);
	machine_free(m);
}

static void host_files_fail(void)
{
	struct machine *m = live(16);

	CHECK_EQ(connect_port(m, WIRE_STDOUT), 1);
	close(m->bus.vsock.conn[WIRE_STDOUT].out_fd);
	m->bus.vsock.conn[WIRE_STDOUT].out_fd = 1000;
	CHECK_EQ(packet_send(m, packet(RW, WIRE_STDOUT), "x", 1), ERR_HOST);
	CHECK_EQ(m->bus.host_errno, EBADF);
	m->bus.vsock.conn[WIRE_STDOUT].out_fd = -1;
	machine_free(m);
	m = live(16);
	close(m->bus.vsock.conn[WIRE_STDIN].in_fd);
	m->bus.vsock.conn[WIRE_STDIN].in_fd = 1000;
	CHECK_EQ(packet_send(m, packet(REQUEST, WIRE_STDIN), NULL, 0), ERR_HOST);
	CHECK_EQ(m->bus.host_errno, EBADF);
	m->bus.vsock.conn[WIRE_STDIN].in_fd = -1;
	machine_free(m);
}

int main(void)
{
	RUN(connecting);
	RUN(output_reaches_the_pipe);
	RUN(input_reaches_the_guest);
	RUN(the_job_needs_no_end_marker);
	RUN(frames_are_put_together);
	RUN(frames_renew_their_credit);
	RUN(closing_from_the_guest);
	RUN(closing_one_direction);
	RUN(reset_by_the_guest);
	RUN(the_reader_goes_away);
	RUN(host_files_fail);
	return tap_end();
}

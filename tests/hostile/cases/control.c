/* SPDX-License-Identifier: Apache-2.0 */
/* control.c - the control connection: what init would say, said by somebody else. */
#include "tests/hostile/guest/vsock.h"

static struct wire_frame frame(uint32_t type, uint64_t v0, uint64_t v1)
{
	return (struct wire_frame){ .magic = WIRE_FRAME_MAGIC, .type = type, .v = { v0, v1 } };
}

CASE(control_bad_magic)
{
	struct wire_frame f = frame(WIRE_EXIT, WIRE_KIND_EXITED, 0);

	f.magic = 0x21445542;
	ready();
	send_to(WIRE_CONTROL, &f, sizeof(f));
	SURVIVED();
}

/* The second half of a frame, then a whole one: what begins in the middle is no frame. */
CASE(control_shifted)
{
	struct wire_frame f = frame(WIRE_EXIT, WIRE_KIND_EXITED, 0);

	ready();
	send_to(WIRE_CONTROL, (const uint8_t *)&f + 64, 64);
	send_to(WIRE_CONTROL, &f, sizeof(f));
	SURVIVED();
}

/* A frame in 128 packets of one byte is a frame. */
CASE(control_byte_by_byte)
{
	struct wire_frame f = frame(WIRE_EXIT, WIRE_KIND_EXITED, 42);
	const uint8_t *byte = (const uint8_t *)&f;

	ready();
	for (unsigned i = 0; i < sizeof(f); i++)
		send_to(WIRE_CONTROL, byte + i, 1);
	SURVIVED();
}

/* Two ends in one packet: the first counts. */
CASE(control_two_ends)
{
	struct wire_frame f[2] = { frame(WIRE_EXIT, WIRE_KIND_EXITED, 7), frame(WIRE_EXIT, WIRE_KIND_EXITED, 0) };

	ready();
	send_to(WIRE_CONTROL, f, sizeof(f));
	SURVIVED();
}

static void put_end(void)
{
	struct wire_frame end = frame(WIRE_EXIT, WIRE_KIND_EXITED, 9);
	struct packet p = packet(OP_RW, WIRE_CONTROL);

	p.len = sizeof(end);
	packet_put(&p, &end, sizeof(end));
}

/* An end, and then what would be a violation: one verdict, and no event after it. */
CASE(control_end_then_violation)
{
	struct packet p = packet(OP_RW, WIRE_CONTROL);

	ready();
	put_end();
	p.src_cid = 77;
	packet_put(&p, NULL, 0);
	vq_kick(&tx);
	SURVIVED();
}

CASE(control_end_then_output)
{
	struct packet p = packet(OP_RW, WIRE_STDOUT);

	ready();
	connect_to(WIRE_STDOUT);
	send_to(WIRE_STDOUT, "early", 5);
	put_end();
	p.len = 4;
	packet_put(&p, "late", 4);
	vq_kick(&tx);
	SURVIVED();
}

CASE(control_end_then_bad_frame)
{
	struct wire_frame f[2] = { frame(WIRE_EXIT, WIRE_KIND_EXITED, 9), frame(WIRE_EXIT, WIRE_KIND_EXITED, 0) };

	f[1].magic = 1;
	ready();
	send_to(WIRE_CONTROL, f, sizeof(f));
	SURVIVED();
}

/* Types there are not, and those there are, in any order, many times. */
CASE(control_types)
{
	static const uint32_t type[] = { 0, WIRE_NOTE, 5, 77, 0x80000000, 0xffffffff, WIRE_STARTED, WIRE_READY };

	ready();
	for (unsigned i = 0; i < 256; i++) {
		struct packet p;

		control_send(type[i % SIZE(type)], -1ull, -1ull);
		while (packet_get(&p))
			CHECK_EQ(p.op, OP_CREDIT_UPDATE);
	}
	done();
}

static void end_with(uint64_t kind, uint64_t code)
{
	ready();
	control_send(WIRE_EXIT, kind, code);
	SURVIVED();
}

CASE(control_exit_kind_unknown) { end_with(99, 0); }
CASE(control_exit_kind_0) { end_with(0, 0); }
CASE(control_exit_code_256) { end_with(WIRE_KIND_EXITED, 256); }
CASE(control_exit_code_4g) { end_with(WIRE_KIND_EXITED, 1ull << 32); }
CASE(control_signal_0) { end_with(WIRE_KIND_SIGNALED, 0); }
CASE(control_signal_65) { end_with(WIRE_KIND_SIGNALED, 65); }

/* An end before init was ready. */
CASE(control_exit_unready)
{
	vsock_up();
	connect_to(WIRE_CONTROL);
	exit_with(3);
}

/* The same before that: it is told as the guest's word. */
CASE(control_init_failed_early)
{
	ready();
	control_send(WIRE_EXIT, WIRE_KIND_INIT_FAILED, 5);
	SURVIVED();
}

/* A guest that blames the host for its own end, after the script had started. */
CASE(control_init_failed_late)
{
	ready();
	control_send(WIRE_STARTED, 0, 0);
	control_send(WIRE_EXIT, WIRE_KIND_INIT_FAILED, 5);
	SURVIVED();
}

/* An errno, a step, a count: as large as they can be. */
CASE(control_numbers)
{
	struct wire_frame f = frame(WIRE_EXIT, WIRE_KIND_NOT_FOUND, -1ull);

	for (unsigned i = 2; i < WIRE_FRAME_VALUES; i++)
		f.v[i] = -1ull;
	ready();
	send_to(WIRE_CONTROL, &f, sizeof(f));
	SURVIVED();
}

/* A number between those of Linux's that is none of them. */
CASE(control_errno_without_name) { end_with(WIRE_KIND_NOT_EXECUTABLE, 41); }

/* What a script could do that got a socket: the port takes one connection, from a privileged port. */
CASE(control_second_connection)
{
	struct packet p = packet(OP_REQUEST, WIRE_CONTROL);
	struct wire_frame f = frame(WIRE_EXIT, WIRE_KIND_EXITED, 0);

	ready();
	for (unsigned i = 0; i < 3; i++) {
		static const uint32_t from[] = { 999, 1024, 0xffffffff };

		p.src_port = from[i];
		p.op = OP_REQUEST;
		p.len = 0;
		packet_send(&p, NULL, 0);
		expect(OP_RST, WIRE_CONTROL);
		p.op = OP_RW;
		p.len = sizeof(f);
		packet_send(&p, &f, sizeof(f));	/* a false end, on a connection that was refused */
		expect(OP_RST, WIRE_CONTROL);
	}
	exit_with(5);
}

/* An end-of-run frame in the output is output. */
CASE(control_frame_on_stdout)
{
	struct wire_frame f = frame(WIRE_EXIT, WIRE_KIND_EXITED, 0);

	ready();
	connect_to(WIRE_STDOUT);
	send_to(WIRE_STDOUT, &f, sizeof(f));
	exit_with(6);
}

/* The control connection is closed: there is no second one, the run ends by itself. */
CASE(control_closed)
{
	struct packet p = packet(OP_RST, WIRE_CONTROL);

	ready();
	packet_send(&p, NULL, 0);
	control_send(WIRE_EXIT, WIRE_KIND_EXITED, 0);
	p.op = OP_REQUEST;
	packet_send(&p, NULL, 0);
	expect(OP_RST, WIRE_CONTROL);
	done_by_panic();
}

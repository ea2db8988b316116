/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vsock.h - virtio-vsock packets by hand, and the control connection.
 *
 * ready() is what makes a case a case: it shows that guest and devices work,
 * and from then on the host judges as it does once a stock init is up.
 */
#ifndef HOSTILE_VSOCK_H
#define HOSTILE_VSOCK_H

#include "guest/wire.h"
#include "tests/hostile/guest/virtio.h"

enum { RX = 0, TX = 1, EVENT = 2 };		/* queues */
enum { RX_SIZE = 16, TX_SIZE = 64, EVENT_SIZE = 8, RX_BYTES = 4096 };
enum {
	OP_INVALID, OP_REQUEST, OP_RESPONSE, OP_RST, OP_SHUTDOWN, OP_RW, OP_CREDIT_UPDATE, OP_CREDIT_REQUEST,
	OP_UNKNOWN,
};
enum { STREAM = 1, SEQPACKET = 2 };
enum { SOURCE = 1000 };				/* + host port: the source port connect_to() uses */
enum { PAYLOAD_MAX = 64 * 1024 };

struct packet {
	uint64_t src_cid, dst_cid;
	uint32_t src_port, dst_port, len;
	uint16_t type, op;
	uint32_t flags, buf_alloc, fwd_cnt;
} __attribute__((packed));

extern struct vq rx, tx, event;
extern struct ring_memory rx_memory, tx_memory, event_memory;
extern uint8_t payload[PAYLOAD_MAX + 4096];	/* of the last packet received */

/* False: packet_get does not give buffers back. */
extern bool rx_recycle;

/* The device without receive buffers; with all RX_SIZE of them. */
void vsock_up_dry(void);
void vsock_up(void);
void rx_give(unsigned n);		/* the first n buffers, and a kick */

/* A packet of ours to `port`; change it, then send it. */
struct packet packet(uint16_t op, uint32_t port);
/* In one buffer: header with len as it stands in `p`, `n` bytes of `data`. */
void packet_put(const struct packet *p, const void *data, uint32_t n);
void packet_send(const struct packet *p, const void *data, uint32_t n);	/* and a kick */
/* The next packet from the host; its buffer goes back.  False: none is there. */
bool packet_get(struct packet *p);
/* It must be there, from `port`, and be `op`. */
struct packet expect(uint16_t op, uint32_t port);
void expect_nothing(void);

void connect_to(uint32_t port);		/* REQUEST, RESPONSE */
void send_to(uint32_t port, const void *data, uint32_t n);	/* RW, len filled in */
void control_send(uint32_t type, uint64_t v0, uint64_t v1);
/* vsock up, control connected, WIRE_READY. */
void ready(void);
void ready_with(unsigned buffers);	/* the same with so few receive buffers, never given back */
void started(void);			/* WIRE_STARTED: the wall limit counts from here */
_Noreturn void exit_with(uint64_t code);	/* WIRE_EXIT, exited */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/hostile/guest/vsock.h"

struct vq rx, tx, event;
struct ring_memory rx_memory, tx_memory, event_memory;
uint8_t payload[PAYLOAD_MAX + 4096];
bool rx_recycle = true;

static uint8_t rx_buffer[RX_SIZE][RX_BYTES] __attribute__((aligned(4096)));
static uint8_t tx_buffer[sizeof(struct packet) + PAYLOAD_MAX + 4096] __attribute__((aligned(4096)));
static uint16_t tx_slot;

void vsock_up_dry(void)
{
	CHECK_EQ(reg_read(VSOCK, DEVICE_ID), 19);
	dev_probe(VSOCK);
	vq_init(&rx, VSOCK, RX, RX_SIZE, &rx_memory);
	vq_init(&tx, VSOCK, TX, TX_SIZE, &tx_memory);
	vq_init(&event, VSOCK, EVENT, EVENT_SIZE, &event_memory);
	for (unsigned i = 0; i < 3; i++) {
		const struct vq *q = i == RX ? &rx : i == TX ? &tx : &event;

		vq_tell(q);
		vq_ready(q);
	}
	tx_slot = 0;
	dev_go(VSOCK);
}

void rx_give(unsigned n)
{
	for (unsigned i = 0; i < n; i++) {
		vq_desc(&rx, i, (uint64_t)rx_buffer[i], RX_BYTES, WRITE, 0);
		vq_offer(&rx, (uint16_t)i);
	}
	vq_kick(&rx);
}

void vsock_up(void)
{
	vsock_up_dry();
	rx_give(RX_SIZE);
}

struct packet packet(uint16_t op, uint32_t port)
{
	return (struct packet){
		.src_cid = WIRE_GUEST_CID, .dst_cid = WIRE_HOST_CID, .src_port = SOURCE + port, .dst_port = port,
		.type = STREAM, .op = op,
	};
}

void packet_put(const struct packet *p, const void *data, uint32_t n)
{
	uint8_t *to = tx_buffer;
	uint16_t slot = tx_slot++ % TX_SIZE;

	/* The device copies while it is kicked: short packets of one kick get places of their own. */
	if (n <= sizeof(tx_buffer) / TX_SIZE - sizeof(*p))
		to += slot * (sizeof(tx_buffer) / TX_SIZE);
	memcpy(to, p, sizeof(*p));
	memcpy(to + sizeof(*p), data, n);
	vq_desc(&tx, slot, (uint64_t)to, (uint32_t)sizeof(*p) + n, 0, 0);
	vq_offer(&tx, slot);
}

void packet_send(const struct packet *p, const void *data, uint32_t n)
{
	packet_put(p, data, n);
	vq_kick(&tx);
}

bool packet_get(struct packet *p)
{
	uint32_t id, len;

	if (!vq_take(&rx, &id, &len))
		return false;
	CHECK(id < RX_SIZE && len >= sizeof(*p) && len <= RX_BYTES);
	memcpy(p, rx_buffer[id], sizeof(*p));
	CHECK_EQ(p->len, len - sizeof(*p));
	memcpy(payload, rx_buffer[id] + sizeof(*p), p->len);
	if (rx_recycle)
		vq_offer(&rx, (uint16_t)id);
	return true;
}

struct packet expect(uint16_t op, uint32_t port)
{
	struct packet p = { 0 };

	CHECK(packet_get(&p));
	CHECK_EQ(p.op, op);
	CHECK_EQ(p.src_port, port);
	CHECK_EQ(p.dst_cid, WIRE_GUEST_CID);
	return p;
}

void expect_nothing(void)
{
	struct packet p;

	CHECK(!packet_get(&p));
}

void connect_to(uint32_t port)
{
	struct packet p = packet(OP_REQUEST, port);

	packet_send(&p, NULL, 0);
	p = expect(OP_RESPONSE, port);
	CHECK_EQ(p.src_cid, WIRE_HOST_CID);
	CHECK_EQ(p.dst_port, SOURCE + port);
}

void send_to(uint32_t port, const void *data, uint32_t n)
{
	struct packet p = packet(OP_RW, port);

	p.len = n;
	packet_send(&p, data, n);
}

void control_send(uint32_t type, uint64_t v0, uint64_t v1)
{
	struct wire_frame f = { .magic = WIRE_FRAME_MAGIC, .type = type, .v = { v0, v1 } };

	send_to(WIRE_CONTROL, &f, sizeof(f));
}

void ready_with(unsigned buffers)
{
	rx_recycle = buffers == RX_SIZE;
	vsock_up_dry();
	rx_give(buffers);
	connect_to(WIRE_CONTROL);
	control_send(WIRE_READY, 0, 0);
}

void ready(void)
{
	ready_with(RX_SIZE);
}

void started(void)
{
	control_send(WIRE_STARTED, 0, 0);
}

_Noreturn void exit_with(uint64_t code)
{
	control_send(WIRE_EXIT, WIRE_KIND_EXITED, code);
	fail(WHERE, "the run went on after WIRE_EXIT", 0, 0);
}

_Noreturn void done(void)
{
	exit_with(0);
}

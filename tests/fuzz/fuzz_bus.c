/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_bus.c - everything a guest can do to the devices, as a byte string.
 *
 * The input is a little program: register accesses, writes to guest memory,
 * well- and ill-formed requests and packets, and what the host's ends of the
 * streams do meanwhile.  Any of it may end in ERR_GUEST, with evidence.  A
 * crash, ERR_BUG, ERR_HOST (no host file fails here), evidence missing, or an
 * invariant broken is a finding.
 *
 * Guest memory lies between two unmapped pages, so that one byte too far traps.
 *
 * With libFuzzer: tests/fuzz/run SECONDS.  With -DFUZZ_STANDALONE it has a
 * main() that runs the files it is given.
 */
#include "tests/unit/driver.h"

struct input { const uint8_t *p; size_t n; };

static uint64_t in_u(struct input *in, unsigned bytes)
{
	uint64_t v = 0;

	for (unsigned i = 0; i < bytes && in->n > 0; i++, in->p++, in->n--)
		v |= (uint64_t)*in->p << (8 * i);
	return v;
}

static void insist(bool good, const char *what)
{
	if (!good) {
		fprintf(stderr, "fuzz_bus: %s\n", what);
		abort();
	}
}

/* An address: mostly near the rings and buffers, sometimes anything. */
static uint64_t in_addr(struct input *in)
{
	switch (in_u(in, 1) % 6) {
	case 0:
		return RINGS + in_u(in, 2) % 0xd000;
	case 1:
		return BUFFERS + in_u(in, 2);
	case 2:
		return RAM_BYTES - in_u(in, 1);
	case 3:
		return UINT64_MAX - in_u(in, 1);
	case 4:
		return in_u(in, 8);
	default:
		return in_u(in, 3) % RAM_BYTES;
	}
}

static uint32_t in_len(struct input *in)
{
	switch (in_u(in, 1) % 4) {
	case 0:
		return (uint32_t)in_u(in, 1);
	case 1:
		return 512 * (uint32_t)in_u(in, 1);
	case 2:
		return (uint32_t)in_u(in, 2);
	default:
		return (uint32_t)in_u(in, 4);
	}
}

static enum err op_register(struct machine *m, struct input *in)
{
	static const uint16_t reg[] = {
		DEVICE_FEATURES_SEL, DRIVER_FEATURES, DRIVER_FEATURES_SEL, QUEUE_SEL, QUEUE_NUM,
		QUEUE_READY, QUEUE_NOTIFY, INTERRUPT_ACK, STATUS, DESC_LOW, DESC_HIGH,
		AVAIL_LOW, AVAIL_HIGH, USED_LOW, USED_HIGH, SHM_SEL,
	};
	unsigned slot = in_u(in, 1) % 3;
	uint32_t r = reg[in_u(in, 1) % (sizeof reg / sizeof reg[0])];

	return reg_write(m, slot, r, in_len(in));
}

static enum err op_raw_mmio(struct machine *m, struct input *in)
{
	static const uint64_t base[] = { BUS_BASE, BUS_BASE + BUS_STRIDE, BUS_BASE + 0x2ff8, 0 };
	uint64_t addr = base[in_u(in, 1) % 4] + in_u(in, 2) % 0x1010;
	uint8_t data[16], *p = data + 8 - in_u(in, 1) % 8;	/* ends where ASan looks */
	uint64_t v = in_u(in, 8);
	bool claimed, w = in_u(in, 1) & 1;
	uint32_t len = (uint32_t)(1 + in_u(in, 1) % 8);

	memcpy(p, &v, 8);
	return bus_mmio(&m->bus, addr, p, len, w, &claimed);
}

static void op_memory(struct machine *m, struct input *in)
{
	uint64_t at = in_addr(in) % RAM_BYTES;
	size_t n = in_u(in, 1) % 65;

	if (n > in->n)
		n = in->n;
	if (n > RAM_BYTES - at)
		n = RAM_BYTES - at;
	memcpy(m->mem.base + at, in->p, n);
	in->p += n;
	in->n -= n;
}

/* A stock probe, with a queue size of the input's choice. */
static enum err op_probe(struct machine *m, struct input *in)
{
	unsigned slot = in_u(in, 1) % 3;
	unsigned shift = in_u(in, 1) % 8;
	enum err e = reg_write(m, slot, STATUS, 0);
	const uint32_t before[][2] = {
		{ STATUS, 1 }, { STATUS, 3 }, { DRIVER_FEATURES_SEL, 1 }, { DRIVER_FEATURES, 1 },
		{ STATUS, 11 },
	};

	for (unsigned i = 0; i < 5 && e == OK; i++)
		e = reg_write(m, slot, before[i][0], before[i][1]);
	for (unsigned q = 0; q < (slot ? 1 : 3) && e == OK; q++) {
		struct ring *r = ring_place(m, slot, q, 64);
		uint32_t max;

		if ((e = reg_write(m, slot, QUEUE_SEL, q)) != OK)
			break;
		max = reg_read(m, slot, QUEUE_NUM_MAX) >> (shift < 6 ? 0 : shift - 5);
		r->size = (uint16_t)(max ? max : 1);
		const uint32_t set[][2] = {
			{ QUEUE_NUM, r->size }, { DESC_LOW, (uint32_t)r->desc },
			{ AVAIL_LOW, (uint32_t)r->avail }, { USED_LOW, (uint32_t)r->used },
			{ QUEUE_READY, 1 },
		};
		for (unsigned i = 0; i < 5 && e == OK; i++)
			e = reg_write(m, slot, set[i][0], set[i][1]);
	}
	return e == OK ? reg_write(m, slot, STATUS, 15) : e;
}

static struct ring *in_ring(struct machine *m, struct input *in)
{
	unsigned n = in_u(in, 1) % 5;
	struct ring *r = n < 3 ? &m->ring[0][n] : &m->ring[n - 2][0];

	return r->size ? r : NULL;
}

static void op_descriptor(struct machine *m, struct input *in)
{
	struct ring *r = in_ring(m, in);
	unsigned i = in_u(in, 1) % 64;
	uint64_t addr = in_addr(in);
	uint32_t len = in_len(in);
	uint16_t flags = (uint16_t)in_u(in, 1), next = (uint16_t)in_u(in, 1);

	if (r)
		desc_put(m, r, i, addr, len, flags & 0x80 ? flags : flags & 3, next);
}

static enum err op_offer(struct machine *m, struct input *in)
{
	struct ring *r = in_ring(m, in);
	uint16_t head = (uint16_t)in_u(in, 1);

	if (!r)
		return OK;
	avail_put(m, r, head == 0xff ? 0xffff : head % (r->size + 1u) == r->size ?
		  head : head % r->size);
	return head & 1 ? kick(m, r) : OK;
}

/* The next buffers of a ring, as a driver would place them. */
static enum err op_packet(struct machine *m, struct input *in)
{
	static const uint8_t data[4096];
	struct packet p = packet((uint16_t)(in_u(in, 1) % 9), (uint32_t)in_u(in, 1) % 7);
	uint32_t odd = (uint32_t)in_u(in, 1), n = (uint32_t)in_u(in, 2) % 1500;

	if (!m->ring[0][TX].size)
		return OK;
	if (p.op != RW)
		n = 0;
	p.flags = odd & 3;
	if (odd & 4)
		p.buf_alloc = (uint32_t)in_u(in, 4);
	if (odd & 8)
		p.fwd_cnt = (uint32_t)in_u(in, 4);
	if ((odd & 0x30) == 0x30)
		p.src_port = (uint32_t)in_u(in, 2);
	if (odd == 0xff)
		p.src_cid = in_u(in, 8);
	if (odd == 0xfe)
		p.dst_cid = in_u(in, 8);
	if (odd == 0xfd)
		p.type = (uint16_t)in_u(in, 2);
	p.len = odd == 0xfc ? in_len(in) : n;
	packet_queue(m, &p, data, n);
	return odd & 0x40 ? OK : kick(m, &m->ring[0][TX]);
}

static enum err op_block(struct machine *m, struct input *in)
{
	unsigned slot = 1 + in_u(in, 1) % 2;
	uint32_t type = (uint32_t)in_u(in, 1) % 12;
	uint64_t sector = in_u(in, 1) < 0xf0 ? in_u(in, 1) % 80 : in_u(in, 8);
	uint32_t len = in_len(in);

	if (!m->ring[slot][0].size)
		return OK;
	return blk_do(m, slot, type, sector, len, type != 1);
}

static enum err op_receive(struct machine *m, struct input *in)
{
	unsigned n = in_u(in, 1) % 17;

	if (!m->ring[0][RX].size)
		return OK;
	rx_fill(m, n);
	return n & 1 ? kick(m, &m->ring[0][RX]) : OK;
}

static void shut(int *fd)
{
	close_fd(*fd);
	*fd = -1;
}

static char junk[65536];	/* what passes the pipes; each input begins with none */

static void op_host(struct machine *m, struct input *in)
{
	unsigned what = in_u(in, 1) % 8;
	size_t n = in_u(in, 2);
	ssize_t r = 0;

	switch (what) {
	case 0: case 1: case 2:
		r = write(m->stdin_w, junk, n);
		break;
	case 3: case 4:
		r = read(m->stdout_r, junk, n);
		break;
	case 5:
		r = read(m->stderr_r, junk, n);
		break;
	case 6:
		shut(n & 1 ? &m->stdin_w : &m->stdout_r);
		break;
	default:
		/* Fill stdout's pipe through the device's own end, as a slow reader would leave it. */
		if (m->bus.vsock.conn[WIRE_STDOUT].out_fd >= 0)
			r = write(m->bus.vsock.conn[WIRE_STDOUT].out_fd, junk, sizeof junk);
		break;
	}
	(void)r;
}

static void invariants(const struct machine *m, enum err e)
{
	const struct vsock *v = &m->bus.vsock;

	insist(e == OK || e == ERR_GUEST, "neither OK nor ERR_GUEST");
	insist((e == ERR_GUEST) == (m->bus.violation.rule != 0), "evidence and verdict differ");
	insist(m->bus.violation.rule < VIOLATION_RULES, "no such rule");
	insist(v->refusals <= VSOCK_REFUSALS_MAX, "refusals");
	insist(m->out_head - m->out_tail <= sizeof m->out_ring, "ring");
	for (unsigned i = 1; i < WIRE_PORTS; i++) {
		const struct conn *c = &v->conn[i];

		insist(c->head - c->tail <= c->ring.bytes, "ring counts");
		insist(c->rx_cnt - c->fwd_told <= c->buf_alloc, "credit");
		insist(c->fwd_cnt - c->fwd_told <= c->rx_cnt - c->fwd_told, "forwarded more than received");
		insist(c->frame_bytes < sizeof c->frame, "frame");
		insist(v->enabled[i] || c->state == CONN_UNUSED, "connected to a port not offered");
		insist(c->state == CONN_UNUSED || c->guest_port <= WIRE_PRIVILEGED_PORT_MAX, "source port");
	}
	for (unsigned s = 0; s < 3; s++)
		for (unsigned q = 0; q < m->bus.dev[s].queues; q++) {
			const struct queue *k = &m->bus.dev[s].queue[q];

			insist((uint16_t)(k->avail_seen - k->avail_next) <= k->size, "avail");
			insist((uint16_t)(k->used_next - k->used_published) <= QUEUE_SIZE_MAX, "used");
		}
}

static enum err step(struct machine *m, struct input *in)
{
	switch (in_u(in, 1) % 12) {
	case 0:
		return op_register(m, in);
	case 1:
		return op_raw_mmio(m, in);
	case 2:
		op_memory(m, in);
		return OK;
	case 3:
		return op_probe(m, in);
	case 4:
		op_descriptor(m, in);
		return OK;
	case 5:
		return op_offer(m, in);
	case 6: case 7:
		return op_packet(m, in);
	case 8:
		return op_block(m, in);
	case 9:
		return op_receive(m, in);
	case 10:
		op_host(m, in);
		return OK;
	default:
		return bus_pump(&m->bus);
	}
}

/* RAM between two pages that trap; the same mapping for every input, zeroed. */
static uint8_t *guarded_ram(void)
{
	static uint8_t *ram;

	if (!ram) {
		uint8_t *p = mmap(NULL, RAM_BYTES + 8192, PROT_NONE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

		MUST(p != MAP_FAILED);
		ram = p + 4096;
		MUST(mprotect(ram, RAM_BYTES, PROT_READ | PROT_WRITE) == 0);
	}
	MUST(madvise(ram, RAM_BYTES, MADV_DONTNEED) == 0);
	return ram;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct machine *m = malloc(sizeof *m);
	struct input in = { data, size };
	enum err e = OK;

	MUST(m != NULL);
	memset(junk, 0, sizeof junk);
	machine_config(m);
	munmap(m->mem.base, RAM_BYTES);
	m->mem.base = guarded_ram();
	MUST(bus_init(&m->bus, &m->config) == OK);
	for (unsigned i = 0; i < 500 && in.n > 0 && e == OK; i++) {
		e = step(m, &in);
		invariants(m, e);
	}
	if (e == OK)
		invariants(m, bus_pump(&m->bus));
	m->mem.base = mmap(NULL, RAM_BYTES, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	machine_free(m);
	return 0;
}

#ifdef FUZZ_STANDALONE
int main(int argc, char **argv)
{
	static uint8_t buf[1 << 16];

	for (int i = 1; i < argc; i++) {
		int fd = open(argv[i], O_RDONLY | O_CLOEXEC);
		ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof buf);

		must(n >= 0, argv[i]);
		close(fd);
		LLVMFuzzerTestOneInput(buf, (size_t)n);
	}
	printf("%d inputs passed\n", argc - 1);
	return 0;
}
#endif

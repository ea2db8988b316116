/* SPDX-License-Identifier: Apache-2.0 */
/*
 * driver.h - a guest driver for tests: rings in a small memfd, registers
 * through bus_mmio, as Linux 6.12 would write them, and every way to break them.
 */
#ifndef DOLANIA_TESTS_DRIVER_H
#define DOLANIA_TESTS_DRIVER_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* memfd_create, pipe2, seals */
#endif
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/virtio/bus.h"

enum {
	MAGIC = 0x000, VERSION = 0x004, DEVICE_ID = 0x008, VENDOR_ID = 0x00c,
	DEVICE_FEATURES = 0x010, DEVICE_FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020, DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030, QUEUE_NUM_MAX = 0x034, QUEUE_NUM = 0x038, QUEUE_READY = 0x044,
	QUEUE_NOTIFY = 0x050, INTERRUPT_STATUS = 0x060, INTERRUPT_ACK = 0x064, STATUS = 0x070,
	DESC_LOW = 0x080, DESC_HIGH = 0x084, AVAIL_LOW = 0x090, AVAIL_HIGH = 0x094,
	USED_LOW = 0x0a0, USED_HIGH = 0x0a4,
	SHM_SEL = 0x0ac, SHM_LEN_LOW = 0x0b0, CONFIG_GENERATION = 0x0fc, CONFIG = 0x100,
};
enum { F_NEXT = 1, F_WRITE = 2, F_INDIRECT = 4 };
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, FAILED = 128 };

enum {
	RAM_BYTES = 1 << 20,
	RINGS = 0x10000,	/* each queue has 4 KiB from here */
	BUFFERS = 0x40000,
	DISK_BYTES = 64 * 512,
	MACHINE_FRAMES = 64,
};

struct ring {		/* the driver's view of one queue */
	unsigned slot, number;
	uint16_t size;
	uint64_t desc, avail, used;
	uint16_t avail_idx, used_seen, next_desc;
};

struct machine {
	int ram_fd, disk_fd[BUS_DISKS_MAX];
	struct gmem mem;
	struct bus_config config;
	struct bus bus;
	unsigned raised[BUS_SLOTS_MAX];
	struct wire_frame frame[MACHINE_FRAMES];
	unsigned frames;
	/* our ends of the streams' pipes, and the rings */
	int stdin_w, stdout_r, stderr_r;
	uint8_t out_ring[4096], err_ring[4096];
	uint64_t out_head, out_tail, err_head, err_tail;
	struct ring ring[BUS_SLOTS_MAX][MMIO_QUEUES_MAX];
};

static inline void must(int good, const char *what)
{
	if (!good) {
		perror(what);
		abort();
	}
}
#define MUST(x) must(x, #x)

static inline void machine_raise(void *ctx, unsigned pin)
{
	((struct machine *)ctx)->raised[pin]++;
}

static inline void machine_frame(void *ctx, const struct wire_frame *f)
{
	struct machine *m = ctx;

	if (m->frames < MACHINE_FRAMES)
		m->frame[m->frames] = *f;
	m->frames++;
}

static inline void pipe_nonblock(int *r, int *w)
{
	int fd[2];

	MUST(pipe2(fd, O_NONBLOCK | O_CLOEXEC) == 0);
	*r = fd[0];
	*w = fd[1];
}

static inline int memfd(const char *name, uint64_t bytes)
{
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	MUST(fd >= 0 && ftruncate(fd, (off_t)bytes) == 0);
	return fd;
}

/* The configuration: disk 0 read-only, disk 1 writable; control, stdin, stdout, stderr. */
static inline void machine_config(struct machine *m)
{
	struct vsock_port *p = m->config.vsock.port;
	uint8_t sector[512];

	memset(m, 0, sizeof *m);
	signal(SIGPIPE, SIG_IGN);
	m->ram_fd = memfd("ram", RAM_BYTES);
	MUST(gmem_map(&m->mem, m->ram_fd, RAM_BYTES) == OK);
	m->config.mem = &m->mem;
	m->config.disks = 2;
	for (int i = 0; i < 2; i++) {
		m->disk_fd[i] = memfd("disk", DISK_BYTES);
		for (int s = 0; s < DISK_BYTES / 512; s++) {
			memset(sector, 'A' + s % 26, sizeof sector);
			MUST(pwrite(m->disk_fd[i], sector, 512, s * 512) == 512);
		}
		m->config.disk[i] = (struct blk_config){ m->disk_fd[i], DISK_BYTES, i == 1 };
	}
	m->config.raise = machine_raise;
	m->config.frame = machine_frame;
	m->config.ctx = m;
	for (int i = 0; i < WIRE_PORTS; i++)
		p[i] = (struct vsock_port){ .in_fd = -1, .out_fd = -1 };
	p[WIRE_CONTROL].enabled = p[WIRE_CONTROL].frames = true;
	p[WIRE_CONTROL].in_fd = memfd("job", 0);
	p[WIRE_STDIN].enabled = true;
	pipe_nonblock(&p[WIRE_STDIN].in_fd, &m->stdin_w);
	p[WIRE_STDOUT].enabled = true;
	pipe_nonblock(&m->stdout_r, &p[WIRE_STDOUT].out_fd);
	p[WIRE_STDOUT].ring = (struct vsock_ring){ m->out_ring, sizeof m->out_ring,
						   &m->out_head, &m->out_tail };
	p[WIRE_STDERR].enabled = true;
	pipe_nonblock(&m->stderr_r, &p[WIRE_STDERR].out_fd);
	p[WIRE_STDERR].ring = (struct vsock_ring){ m->err_ring, sizeof m->err_ring,
						   &m->err_head, &m->err_tail };
}

static inline struct machine *machine_new(void)
{
	struct machine *m = malloc(sizeof *m);

	MUST(m != NULL);
	machine_config(m);
	MUST(bus_init(&m->bus, &m->config) == OK);
	return m;
}

static inline void close_fd(int fd)
{
	if (fd >= 0)
		close(fd);
}

static inline void machine_free(struct machine *m)
{
	for (int i = 0; i < WIRE_PORTS; i++) {
		close_fd(m->bus.vsock.conn[i].in_fd);
		close_fd(m->bus.vsock.conn[i].out_fd);
	}
	for (int i = 0; i < 2; i++)
		close_fd(m->disk_fd[i]);
	close_fd(m->stdin_w);
	close_fd(m->stdout_r);
	close_fd(m->stderr_r);
	close_fd(m->ram_fd);
	munmap(m->mem.base, RAM_BYTES);
	free(m);
}

/* ---- registers ---- */

static inline enum err reg_write(struct machine *m, unsigned slot, uint32_t reg, uint32_t v)
{
	uint8_t data[8] = { 0 };
	bool claimed;

	memcpy(data, &v, 4);
	return bus_mmio(&m->bus, BUS_BASE + slot * BUS_STRIDE + reg, data, 4, true, &claimed);
}

static inline uint32_t reg_read(struct machine *m, unsigned slot, uint32_t reg)
{
	uint8_t data[8] = { 0 };
	bool claimed = false;
	uint32_t v;

	MUST(bus_mmio(&m->bus, BUS_BASE + slot * BUS_STRIDE + reg, data, 4, false, &claimed) == OK);
	MUST(claimed);
	memcpy(&v, data, 4);
	return v;
}

static inline enum err status_add(struct machine *m, unsigned slot, uint32_t bit)
{
	return reg_write(m, slot, STATUS, reg_read(m, slot, STATUS) | bit);
}

/* ---- probing, in the order of drivers/virtio/virtio_mmio.c ---- */

static inline uint64_t features_read(struct machine *m, unsigned slot)
{
	uint64_t f;

	MUST(reg_write(m, slot, DEVICE_FEATURES_SEL, 1) == OK);
	f = (uint64_t)reg_read(m, slot, DEVICE_FEATURES) << 32;
	MUST(reg_write(m, slot, DEVICE_FEATURES_SEL, 0) == OK);
	return f | reg_read(m, slot, DEVICE_FEATURES);
}

static inline void features_write(struct machine *m, unsigned slot, uint64_t f)
{
	MUST(reg_write(m, slot, DRIVER_FEATURES_SEL, 1) == OK);
	MUST(reg_write(m, slot, DRIVER_FEATURES, (uint32_t)(f >> 32)) == OK);
	MUST(reg_write(m, slot, DRIVER_FEATURES_SEL, 0) == OK);
	MUST(reg_write(m, slot, DRIVER_FEATURES, (uint32_t)f) == OK);
}

static inline void probe_to_features(struct machine *m, unsigned slot)
{
	MUST(reg_read(m, slot, MAGIC) == 0x74726976);
	MUST(reg_read(m, slot, VERSION) == 2);
	MUST(reg_read(m, slot, DEVICE_ID) != 0);
	reg_read(m, slot, VENDOR_ID);
	MUST(reg_write(m, slot, STATUS, 0) == OK);
	MUST(status_add(m, slot, ACKNOWLEDGE) == OK);
	MUST(status_add(m, slot, DRIVER) == OK);
	features_write(m, slot, features_read(m, slot));
	MUST(status_add(m, slot, FEATURES_OK) == OK);
	MUST(reg_read(m, slot, STATUS) & FEATURES_OK);
}

/* A ring's place in memory; nothing is told to the device yet. */
static inline struct ring *ring_place(struct machine *m, unsigned slot, unsigned number, uint16_t size)
{
	struct ring *r = &m->ring[slot][number];
	uint64_t base = RINGS + (slot * 4 + number) * 0x1000;

	*r = (struct ring){ .slot = slot, .number = number, .size = size,
			    .desc = base, .avail = base + 0x400, .used = base + 0x800 };
	memset(m->mem.base + base, 0, 0x1000);
	return r;
}

static inline void ring_tell(struct machine *m, const struct ring *r)
{
	MUST(reg_write(m, r->slot, QUEUE_SEL, r->number) == OK);
	MUST(reg_read(m, r->slot, QUEUE_READY) == 0);
	MUST(reg_read(m, r->slot, QUEUE_NUM_MAX) >= r->size);
	MUST(reg_write(m, r->slot, QUEUE_NUM, r->size) == OK);
	MUST(reg_write(m, r->slot, DESC_LOW, (uint32_t)r->desc) == OK);
	MUST(reg_write(m, r->slot, DESC_HIGH, (uint32_t)(r->desc >> 32)) == OK);
	MUST(reg_write(m, r->slot, AVAIL_LOW, (uint32_t)r->avail) == OK);
	MUST(reg_write(m, r->slot, AVAIL_HIGH, (uint32_t)(r->avail >> 32)) == OK);
	MUST(reg_write(m, r->slot, USED_LOW, (uint32_t)r->used) == OK);
	MUST(reg_write(m, r->slot, USED_HIGH, (uint32_t)(r->used >> 32)) == OK);
}

static inline void probe(struct machine *m, unsigned slot)
{
	unsigned queues = slot == 0 ? 3 : 1;

	probe_to_features(m, slot);
	for (unsigned i = 0; i < queues; i++) {
		MUST(reg_write(m, slot, QUEUE_SEL, i) == OK);
		ring_tell(m, ring_place(m, slot, i, (uint16_t)reg_read(m, slot, QUEUE_NUM_MAX)));
		MUST(reg_write(m, slot, QUEUE_READY, 1) == OK);
	}
	MUST(status_add(m, slot, DRIVER_OK) == OK);
}

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

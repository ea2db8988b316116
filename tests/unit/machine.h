/* SPDX-License-Identifier: Apache-2.0 */
/*
 * machine.h - a machine for tests: devices over a small memfd, registers written
 * through bus_mmio as Linux 6.12 would write them, and rings placed in memory.
 */
#ifndef DOLANIA_TESTS_MACHINE_H
#define DOLANIA_TESTS_MACHINE_H

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

#endif

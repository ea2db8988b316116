/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.h - the guest's devices as the run loop sees them.
 *
 * A fixed table of virtio-mmio (virtio 1.2 §4.2, version 2) windows: slot i is
 * at BUS_BASE + i * BUS_STRIDE and raises IOAPIC pin i.  Slot 0 is the vsock
 * device, slots 1.. are the disks in order.  Everything is inside one struct
 * that the caller provides: no allocation here, ever.  The struct points into
 * itself: it must stay where bus_init found it.
 *
 * Errors: ERR_GUEST means the guest broke a rule of virtio that a stock driver
 * never breaks; `bus->violation` then holds the evidence and the run must end
 * (protocol_violation).  ERR_HOST means a host file failed; `bus->host_errno`.
 *
 * System calls in the run: preadv, pwritev (disks), readv, write, close
 * (streams).  SIGPIPE must be ignored or blocked by the process.
 *
 * Thread: the VMM's only thread.  No KVM in here.
 */
#ifndef DOLANIA_VIRTIO_BUS_H
#define DOLANIA_VIRTIO_BUS_H

#include <stdbool.h>
#include <stdint.h>

#include "guest/wire.h"
#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"
#include "vmm/virtio/blk.h"
#include "vmm/virtio/mmio.h"
#include "vmm/virtio/queue.h"
#include "vmm/virtio/vsock.h"

#define BUS_BASE 0xd0000000ull
#define BUS_STRIDE 0x1000ull
enum { BUS_DISKS_MAX = 4, BUS_SLOTS_MAX = 1 + BUS_DISKS_MAX };

/* What to build; filled by the caller, read once by bus_init. */
struct bus_config {
	const struct gmem *mem;
	unsigned disks;
	struct blk_config disk[BUS_DISKS_MAX];
	struct vsock_config vsock;
	/* Raise an edge on IOAPIC pin `pin`. */
	void (*raise)(void *ctx, unsigned pin);
	/* A whole control frame from the guest (already copied, still hostile). */
	void (*frame)(void *ctx, const struct wire_frame *frame);
	/* A limit of the run has passed: long work may stop.  May be NULL. */
	bool (*over)(void *ctx);
	void *ctx;
};

struct bus {
	struct mmio_dev dev[BUS_SLOTS_MAX];
	unsigned slots;
	struct vsock vsock;
	struct blk blk[BUS_DISKS_MAX];
	struct violation violation;	/* evidence, with ERR_GUEST */
	int host_errno;			/* with ERR_HOST */
	uint64_t unmapped;		/* accesses in a window that hit no register */
};

MUST_USE enum err bus_init(struct bus *b, const struct bus_config *c);

/*
 * One MMIO access by the guest at `addr`, `len` 1..8 bytes.  *claimed is false
 * when no window holds the address (the caller then reads as ones).  Kicks are
 * handled inside, before return.
 */
MUST_USE enum err bus_mmio(struct bus *b, uint64_t addr, uint8_t *data, uint32_t len,
			   bool is_write, bool *claimed);

/* Descriptor chains taken by all devices since the start: the guest's I/O made progress. */
uint64_t bus_chains(const struct bus *b);

/* Host fds may have become readable or writable: move what can be moved. */
MUST_USE enum err bus_pump(struct bus *b);

#endif

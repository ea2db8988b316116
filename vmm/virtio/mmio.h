/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio.h - the register window of one device (virtio 1.2 §4.2.2, version 2).
 *
 * Holds the device status machine (§3.1), feature negotiation and the queues'
 * set-up.  Registers are 4 bytes wide and aligned; any other access, and any
 * offset that is no register, reads as ones, writes nothing and is counted.
 * Configuration space (0x100..) is read-only and takes any width.
 *
 * A write of 0 to Status is a reset, allowed at any time.  What a stock driver
 * never does is ERR_GUEST with evidence; features we do not offer are refused
 * the way the specification says, by leaving FEATURES_OK clear.
 */
#ifndef DOLANIA_VIRTIO_MMIO_H
#define DOLANIA_VIRTIO_MMIO_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"
#include "vmm/virtio/queue.h"

enum { MMIO_QUEUES_MAX = 3, MMIO_CONFIG_MAX_BYTES = 24 };

#define VIRTIO_F_VERSION_1 (1ull << 32)

/* What a device adds; `self` is its own struct. */
struct mmio_ops {
	/* DRIVER_OK was set.  May be NULL. */
	enum err (*ready)(void *self);
	/* The driver kicked `queue`, which is ready; the device is live. */
	enum err (*notify)(void *self, unsigned queue);
	/* The driver reset the device; its queues are down already.  May be NULL. */
	void (*reset)(void *self);
};

struct mmio_config {
	const struct gmem *mem;
	const struct mmio_ops *ops;
	void *self;
	uint32_t slot, device_id;
	uint64_t features;
	unsigned queues;
	uint16_t queue_size_max[MMIO_QUEUES_MAX];	/* powers of two */
	const void *config;
	uint32_t config_bytes;
	struct violation *violation;	/* of the bus */
	uint64_t *unmapped;		/* of the bus */
	void (*raise)(void *ctx, unsigned pin);
	void *raise_ctx;
};

struct mmio_dev {
	const struct mmio_ops *ops;
	void *self;
	uint32_t slot, device_id;
	uint64_t features;		/* offered */
	uint64_t g_features;		/* asked for; checked at FEATURES_OK */
	uint32_t g_features_sel, g_driver_features_sel, g_queue_sel;
	uint32_t status;
	uint32_t interrupt;		/* InterruptStatus */
	unsigned queues;
	struct queue queue[MMIO_QUEUES_MAX];
	uint8_t config[MMIO_CONFIG_MAX_BYTES];
	uint32_t config_bytes;
	struct violation *violation;
	uint64_t *unmapped;
	uint64_t accesses, kicks;	/* counted, whatever came of them */
	void (*raise)(void *ctx, unsigned pin);
	void *raise_ctx;
};

/* ERR_BUG when `c` asks for more than a device can have. */
MUST_USE enum err mmio_init(struct mmio_dev *d, const struct mmio_config *c);

/* One access at `off` in the window, `len` 1..8 bytes.  ERR_GUEST, or what notify returns. */
MUST_USE enum err mmio_access(struct mmio_dev *d, uint32_t off, uint8_t *data, uint32_t len,
			      bool is_write);

/* DRIVER_OK is set and FAILED is not. */
bool mmio_live(const struct mmio_dev *d);

/* Descriptor chains taken from all its queues since the start. */
uint64_t mmio_chains(const struct mmio_dev *d);

/* Used buffers were published: raise the pin, unless the driver has yet to acknowledge the last. */
void mmio_interrupt(struct mmio_dev *d);

#endif

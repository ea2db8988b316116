/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bus.c - from a guest-physical address to a device.
 *
 * What the guest controls here: the address, the width and the data of each
 * access.  A window is found by division, checked against the number of slots;
 * an access that runs over the end of its window hits no register.
 */
#include "vmm/virtio/bus.h"

#include <string.h>

enum err bus_init(struct bus *b, const struct bus_config *c)
{
	struct mmio_config mc = {
		.mem = c->mem, .violation = &b->violation, .unmapped = &b->unmapped,
		.raise = c->raise, .raise_ctx = c->ctx,
	};
	uint64_t vsock_space;
	enum err e;

	if (c->disks > BUS_DISKS_MAX)
		return ERR_USAGE;
	memset(b, 0, sizeof *b);
	b->slots = 1 + c->disks;
	e = vsock_init(&b->vsock, &c->vsock, c->frame, c->ctx, &b->dev[0], &mc,
		       &vsock_space, &b->host_errno);
	if (e == OK)
		e = mmio_init(&b->dev[0], &mc);
	for (unsigned i = 0; i < c->disks && e == OK; i++) {
		struct blk_space space;

		mc.slot = i + 1;
		e = blk_init(&b->blk[i], &c->disk[i], &b->dev[i + 1], &mc, &space,
			     &b->host_errno);
		b->blk[i].over = c->over;
		b->blk[i].over_ctx = c->ctx;
		if (e == OK)
			e = mmio_init(&b->dev[i + 1], &mc);
	}
	return e;
}

enum err bus_mmio(struct bus *b, uint64_t addr, uint8_t *data, uint32_t len,
		  bool is_write, bool *claimed)
{
	uint64_t off = addr - BUS_BASE;

	*claimed = addr >= BUS_BASE && off / BUS_STRIDE < b->slots;
	if (!*claimed)
		return OK;
	if (len == 0 || len > 8)
		return ERR_BUG;
	if (off % BUS_STRIDE + len > BUS_STRIDE) {
		b->unmapped++;
		if (!is_write)
			memset(data, 0xff, len);
		return OK;
	}
	return mmio_access(&b->dev[off / BUS_STRIDE], (uint32_t)(off % BUS_STRIDE), data, len,
			   is_write);
}

uint64_t bus_chains(const struct bus *b)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < b->slots; i++)
		sum += mmio_chains(&b->dev[i]);
	return sum;
}

enum err bus_pump(struct bus *b)
{
	return vsock_pump(&b->vsock);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mmio.c - virtio-mmio registers and the device status machine.
 *
 * What the guest controls here: offset, width and value of every access, in
 * any order, for ever.  Register values are kept as they came (g_*) and mean
 * nothing until FEATURES_OK or QueueReady has checked them.  Selectors are
 * compared with the number of queues before each use as an index.
 */
#include "vmm/virtio/mmio.h"

#include <string.h>

#include "vmm/base/chk.h"

enum {	/* virtio 1.2 §4.2.2 */
	REG_MAGIC = 0x000,
	REG_VERSION = 0x004,
	REG_DEVICE_ID = 0x008,
	REG_VENDOR_ID = 0x00c,
	REG_DEVICE_FEATURES = 0x010,
	REG_DEVICE_FEATURES_SEL = 0x014,
	REG_DRIVER_FEATURES = 0x020,
	REG_DRIVER_FEATURES_SEL = 0x024,
	REG_QUEUE_SEL = 0x030,
	REG_QUEUE_NUM_MAX = 0x034,
	REG_QUEUE_NUM = 0x038,
	REG_QUEUE_READY = 0x044,
	REG_QUEUE_NOTIFY = 0x050,
	REG_INTERRUPT_STATUS = 0x060,
	REG_INTERRUPT_ACK = 0x064,
	REG_STATUS = 0x070,
	REG_QUEUE_DESC_LOW = 0x080,
	REG_QUEUE_DESC_HIGH = 0x084,
	REG_QUEUE_AVAIL_LOW = 0x090,
	REG_QUEUE_AVAIL_HIGH = 0x094,
	REG_QUEUE_USED_LOW = 0x0a0,
	REG_QUEUE_USED_HIGH = 0x0a4,
	REG_SHM_SEL = 0x0ac,
	REG_SHM_BASE_HIGH = 0x0bc,
	REG_CONFIG_GENERATION = 0x0fc,
	REG_CONFIG = 0x100,
};

enum {	/* virtio 1.2 §2.1 */
	STATUS_ACKNOWLEDGE = 1,
	STATUS_DRIVER = 2,
	STATUS_DRIVER_OK = 4,
	STATUS_FEATURES_OK = 8,
	STATUS_FAILED = 128,
	STATUS_KNOWN = 1 | 2 | 4 | 8 | 128,
};

enum { INTERRUPT_USED = 1 };

#define MAGIC 0x74726976u	/* "virt" */
#define VENDOR 0x414c4f44u	/* "DOLA" */

enum err mmio_init(struct mmio_dev *d, const struct mmio_config *c)
{
	if (c->queues > MMIO_QUEUES_MAX || c->config_bytes > MMIO_CONFIG_MAX_BYTES)
		return ERR_BUG;
	*d = (struct mmio_dev){
		.ops = c->ops, .self = c->self,
		.slot = c->slot, .device_id = c->device_id,
		.features = c->features | VIRTIO_F_VERSION_1,
		.queues = c->queues, .config_bytes = c->config_bytes,
		.violation = c->violation, .unmapped = c->unmapped,
		.raise = c->raise, .raise_ctx = c->raise_ctx,
	};
	memcpy(d->config, c->config, c->config_bytes);
	for (uint32_t i = 0; i < c->queues; i++) {
		uint16_t n = c->queue_size_max[i];

		if (n == 0 || n > QUEUE_SIZE_MAX || (n & (n - 1)) != 0)
			return ERR_BUG;
		queue_init(&d->queue[i], c->mem, c->violation, c->slot, i, n);
	}
	return OK;
}

bool mmio_live(const struct mmio_dev *d)
{
	return (d->status & (STATUS_DRIVER_OK | STATUS_FAILED)) == STATUS_DRIVER_OK;
}

uint64_t mmio_chains(const struct mmio_dev *d)
{
	uint64_t sum = 0;

	for (unsigned i = 0; i < d->queues; i++)
		sum += d->queue[i].chains;
	return sum;
}

void mmio_interrupt(struct mmio_dev *d)
{
	/*
	 * The driver acknowledges first and looks at the rings after, so an
	 * interrupt that it has not acknowledged covers this one too.
	 */
	if (d->interrupt & INTERRUPT_USED)
		return;
	d->interrupt |= INTERRUPT_USED;
	d->raise(d->raise_ctx, d->slot);
}

static enum err violate(struct mmio_dev *d, uint32_t reg, enum violation_rule rule, uint32_t value)
{
	if (d->violation->rule == VIOLATION_NONE)
		*d->violation = (struct violation){ d->slot, d->g_queue_sel, reg, rule, value };
	return ERR_GUEST;
}

static void reset(struct mmio_dev *d)
{
	for (unsigned i = 0; i < d->queues; i++)
		queue_reset(&d->queue[i]);
	d->g_features = 0;
	d->g_features_sel = d->g_driver_features_sel = d->g_queue_sel = 0;
	d->status = 0;
	d->interrupt = 0;
	if (d->ops->reset)
		d->ops->reset(d->self);
}

/* virtio 1.2 §3.1.1: the order in which a driver may set bits. */
static enum err write_status(struct mmio_dev *d, uint32_t g_status)
{
	uint32_t added = g_status & ~d->status;

	if (g_status == 0) {
		reset(d);
		return OK;
	}
	if ((g_status & ~(uint32_t)STATUS_KNOWN) || (d->status & ~g_status) ||
	    ((added & STATUS_DRIVER) && !(g_status & STATUS_ACKNOWLEDGE)) ||
	    ((added & STATUS_FEATURES_OK) && !(g_status & STATUS_DRIVER)) ||
	    ((added & STATUS_DRIVER_OK) && !(d->status & STATUS_FEATURES_OK)))
		return violate(d, REG_STATUS, VIOLATION_STATUS, g_status);
	if ((added & STATUS_FEATURES_OK) &&
	    ((d->g_features & ~d->features) || !(d->g_features & VIRTIO_F_VERSION_1)))
		g_status &= ~(uint32_t)STATUS_FEATURES_OK;	/* the driver reads it back */
	d->status = g_status;
	if ((added & STATUS_DRIVER_OK) && d->ops->ready)
		return d->ops->ready(d->self);
	return OK;
}

static void set_half(uint64_t *v, bool high, uint32_t half)
{
	*v = high ? (*v & 0xffffffffull) | (uint64_t)half << 32
		  : (*v & ~0xffffffffull) | half;
}

static enum err write_features(struct mmio_dev *d, uint32_t g_value)
{
	uint32_t sel = d->g_driver_features_sel;

	if ((d->status & (STATUS_DRIVER | STATUS_FEATURES_OK)) != STATUS_DRIVER || sel > 1)
		return violate(d, REG_DRIVER_FEATURES, VIOLATION_FEATURES, g_value);
	set_half(&d->g_features, sel == 1, g_value);
	return OK;
}

static enum err write_queue_ready(struct mmio_dev *d, uint32_t g_value)
{
	struct queue *q;

	if (g_value > 1)
		return violate(d, REG_QUEUE_READY, VIOLATION_QUEUE_READY, g_value);
	if (g_value == 0) {
		/* Linux takes queues down one by one, also ones that are not there. */
		if (d->g_queue_sel < d->queues)
			queue_reset(&d->queue[d->g_queue_sel]);
		return OK;
	}
	if (d->g_queue_sel >= d->queues)
		return violate(d, REG_QUEUE_READY, VIOLATION_QUEUE_SELECT, d->g_queue_sel);
	q = &d->queue[d->g_queue_sel];
	if (q->ready || !(d->status & STATUS_FEATURES_OK) || (d->status & STATUS_DRIVER_OK))
		return violate(d, REG_QUEUE_READY, VIOLATION_QUEUE_LOCKED, g_value);
	return queue_activate(q);
}

/* Size and addresses of the selected queue: only before it is ready. */
static enum err write_queue(struct mmio_dev *d, uint32_t reg, uint32_t g_value)
{
	struct queue *q;

	if (d->g_queue_sel >= d->queues)
		return violate(d, reg, VIOLATION_QUEUE_SELECT, d->g_queue_sel);
	q = &d->queue[d->g_queue_sel];
	if (q->ready || !(d->status & STATUS_FEATURES_OK) || (d->status & STATUS_DRIVER_OK))
		return violate(d, reg, VIOLATION_QUEUE_LOCKED, g_value);
	switch (reg) {
	case REG_QUEUE_NUM:
		q->g_size = g_value;
		break;
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
		set_half(&q->g_desc, reg == REG_QUEUE_DESC_HIGH, g_value);
		break;
	case REG_QUEUE_AVAIL_LOW:
	case REG_QUEUE_AVAIL_HIGH:
		set_half(&q->g_avail, reg == REG_QUEUE_AVAIL_HIGH, g_value);
		break;
	default:
		set_half(&q->g_used, reg == REG_QUEUE_USED_HIGH, g_value);
		break;
	}
	return OK;
}

static enum err write_notify(struct mmio_dev *d, uint32_t g_queue)
{
	d->kicks++;
	if (g_queue >= d->queues)
		return violate(d, REG_QUEUE_NOTIFY, VIOLATION_NOTIFY, g_queue);
	if (!mmio_live(d) || !d->queue[g_queue].ready)
		return OK;	/* a late kick during tear-down: nothing to look at */
	return d->ops->notify(d->self, g_queue);
}

static enum err write_register(struct mmio_dev *d, uint32_t reg, uint32_t g_value)
{
	switch (reg) {
	case REG_DEVICE_FEATURES_SEL:
		d->g_features_sel = g_value;
		return OK;
	case REG_DRIVER_FEATURES:
		return write_features(d, g_value);
	case REG_DRIVER_FEATURES_SEL:
		d->g_driver_features_sel = g_value;
		return OK;
	case REG_QUEUE_SEL:
		d->g_queue_sel = g_value;
		return OK;
	case REG_QUEUE_READY:
		return write_queue_ready(d, g_value);
	case REG_QUEUE_NOTIFY:
		return write_notify(d, g_value);
	case REG_INTERRUPT_ACK:
		d->interrupt &= ~g_value;
		return OK;
	case REG_STATUS:
		return write_status(d, g_value);
	case REG_QUEUE_NUM:
	case REG_QUEUE_DESC_LOW:
	case REG_QUEUE_DESC_HIGH:
	case REG_QUEUE_AVAIL_LOW:
	case REG_QUEUE_AVAIL_HIGH:
	case REG_QUEUE_USED_LOW:
	case REG_QUEUE_USED_HIGH:
		return write_queue(d, reg, g_value);
	case REG_SHM_SEL:
		return OK;	/* no shared memory regions: their registers read as ones */
	default:
		++*d->unmapped;
		return OK;
	}
}

static uint32_t read_register(struct mmio_dev *d, uint32_t reg)
{
	const struct queue *q = d->g_queue_sel < d->queues ? &d->queue[d->g_queue_sel] : NULL;

	switch (reg) {
	case REG_MAGIC:
		return MAGIC;
	case REG_VERSION:
		return 2;
	case REG_DEVICE_ID:
		return d->device_id;
	case REG_VENDOR_ID:
		return VENDOR;
	case REG_DEVICE_FEATURES:
		return d->g_features_sel > 1 ? 0 :
			(uint32_t)(d->features >> (32 * d->g_features_sel));
	case REG_QUEUE_NUM_MAX:
		return q ? q->size_max : 0;
	case REG_QUEUE_READY:
		return q ? q->ready : 0;
	case REG_INTERRUPT_STATUS:
		return d->interrupt;
	case REG_STATUS:
		return d->status;
	case REG_CONFIG_GENERATION:
		return 0;	/* configuration never changes */
	default:
		if (reg <= REG_SHM_SEL || reg > REG_SHM_BASE_HIGH)
			++*d->unmapped;
		return UINT32_MAX;
	}
}

enum err mmio_access(struct mmio_dev *d, uint32_t off, uint8_t *data, uint32_t len, bool is_write)
{
	uint32_t v;

	d->accesses++;
	if (off >= REG_CONFIG) {
		if (is_write)
			return OK;	/* nothing in there is writable */
		if (chk_range(off - REG_CONFIG, len, d->config_bytes)) {
			memcpy(data, d->config + (off - REG_CONFIG), len);
			return OK;
		}
	} else if (len == 4 && off % 4 == 0) {
		if (is_write) {
			memcpy(&v, data, 4);
			return write_register(d, off, v);
		}
		v = read_register(d, off);
		memcpy(data, &v, 4);
		return OK;
	}
	++*d->unmapped;
	if (!is_write)
		memset(data, 0xff, len);
	return OK;
}

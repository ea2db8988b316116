/* SPDX-License-Identifier: Apache-2.0 */
/*
 * virtio.h - a virtio-mmio driver by hand: every step is a call of its own, so
 * that a case can leave it out, repeat it or do it wrong.
 */
#ifndef HOSTILE_VIRTIO_H
#define HOSTILE_VIRTIO_H

#include "tests/hostile/guest/guest.h"

enum { VSOCK = 0, DISK = 1, SLOTS = 2 };	/* what a run has: slots on the bus */
enum { SCRATCH = SLOTS };			/* one more with --scratch */
#define WINDOWS_AT 0xd0000000ull
#define WINDOW_BYTES 0x1000ull

enum {	/* registers, virtio 1.2 §4.2.2 */
	MAGIC = 0x000, VERSION = 0x004, DEVICE_ID = 0x008, VENDOR_ID = 0x00c,
	DEVICE_FEATURES = 0x010, DEVICE_FEATURES_SEL = 0x014,
	DRIVER_FEATURES = 0x020, DRIVER_FEATURES_SEL = 0x024,
	QUEUE_SEL = 0x030, QUEUE_NUM_MAX = 0x034, QUEUE_NUM = 0x038, QUEUE_READY = 0x044, QUEUE_NOTIFY = 0x050,
	INTERRUPT_STATUS = 0x060, INTERRUPT_ACK = 0x064, STATUS = 0x070,
	QUEUE_DESC = 0x080, QUEUE_AVAIL = 0x090, QUEUE_USED = 0x0a0,	/* low; high is at +4 */
	SHM_SEL = 0x0ac, CONFIG_GENERATION = 0x0fc, CONFIG = 0x100,
};
enum { ACKNOWLEDGE = 1, DRIVER = 2, DRIVER_OK = 4, FEATURES_OK = 8, FAILED = 128 };
enum { NEXT = 1, WRITE = 2, INDIRECT = 4 };	/* descriptor flags */

struct desc {
	uint64_t addr;
	uint32_t len;
	uint16_t flags, next;
};

enum { RING_MAX = 64 };
struct ring_memory {	/* one queue, its parts apart */
	struct desc desc[RING_MAX] __attribute__((aligned(4096)));
	uint16_t avail[3 + RING_MAX] __attribute__((aligned(256)));
	uint32_t used[2 + 2 * RING_MAX] __attribute__((aligned(1024)));
};

struct vq {
	unsigned slot, number, size;
	volatile struct desc *desc;
	volatile uint16_t *avail;	/* flags, idx, ring[] */
	volatile uint32_t *used;	/* flags and idx, then id and len of each */
	uint16_t put, seen;		/* our copies of avail.idx, and used.idx as far as taken */
};

struct buf {
	uint64_t addr;
	uint32_t len;
	uint16_t flags;			/* 0 or WRITE */
};

static inline volatile uint8_t *reg(unsigned slot, uint32_t offset)
{
	return at(WINDOWS_AT + slot * WINDOW_BYTES + offset);
}

static inline uint32_t reg_read(unsigned slot, uint32_t offset)
{
	return mmio_read32(reg(slot, offset));
}

static inline void reg_write(unsigned slot, uint32_t offset, uint32_t value)
{
	mmio_write32(reg(slot, offset), value);
}

/* Reset, ACKNOWLEDGE, DRIVER. */
void dev_begin(unsigned slot);
/* Accept `features`, FEATURES_OK; returns whether the device left it set. */
bool dev_features(unsigned slot, uint64_t features);
/* dev_begin and FEATURES_OK with what is offered: queues can be told. */
void dev_probe(unsigned slot);
void dev_go(unsigned slot);		/* DRIVER_OK */

/* Forget what was there; nothing is told to the device. */
void vq_init(struct vq *q, unsigned slot, unsigned number, unsigned size, struct ring_memory *m);
/* QueueSel, QueueNum and the three addresses; not QueueReady. */
void vq_tell(const struct vq *q);
void vq_ready(const struct vq *q);

void vq_desc(struct vq *q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next);
void vq_offer(struct vq *q, uint16_t head);	/* in the avail ring; no kick */
void vq_chain(struct vq *q, unsigned first, const struct buf *b, unsigned n);	/* descriptors first..; offered */
void vq_kick(const struct vq *q);
/* The next entry of the used ring. */
bool vq_take(struct vq *q, uint32_t *id, uint32_t *len);

/* ---- the disk ---- */

enum { BLK_IN = 0, BLK_OUT = 1, BLK_FLUSH = 4, BLK_GET_ID = 8 };
enum { BLK_OK = 0, BLK_IOERR = 1, BLK_UNSUPP = 2, BLK_NOTHING = 0xee };
enum { SECTOR = 512 };

struct blk_header {
	uint32_t type, reserved;
	uint64_t sector;
};

extern struct vq disk;
extern struct ring_memory disk_memory;
extern struct blk_header blk_header;
extern volatile uint8_t blk_status;
extern uint8_t disk_data[64 * 1024];

void disk_probe(void);			/* up to where QueueReady would come */
void disk_up(void);
void scratch_up(void);			/* the same for the disk that may be written to; `disk` is that one then */
uint64_t disk_sectors(void);
/*
 * One request with header, `len` bytes of data (none: 0) and status; answers
 * BLK_*, or BLK_NOTHING if it was not given back.  blk_done: of the last one,
 * bytes written as the used ring says.
 */
uint8_t blk_do(uint32_t type, uint64_t sector, uint64_t addr, uint32_t len);
extern uint32_t blk_done;
/* 64 requests of 4 MiB in every kick, each with the same memory, for ever. */
__attribute__((noreturn)) void blk_flood(uint32_t type);

#endif

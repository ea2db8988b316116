/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/hostile/guest/virtio.h"

#define VERSION_1 (1ull << 32)

void dev_begin(unsigned slot)
{
	reg_write(slot, STATUS, 0);
	reg_write(slot, STATUS, ACKNOWLEDGE);
	reg_write(slot, STATUS, ACKNOWLEDGE | DRIVER);
}

bool dev_features(unsigned slot, uint64_t features)
{
	reg_write(slot, DRIVER_FEATURES_SEL, 0);
	reg_write(slot, DRIVER_FEATURES, (uint32_t)features);
	reg_write(slot, DRIVER_FEATURES_SEL, 1);
	reg_write(slot, DRIVER_FEATURES, (uint32_t)(features >> 32));
	reg_write(slot, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK);
	return reg_read(slot, STATUS) & FEATURES_OK;
}

void dev_probe(unsigned slot)
{
	dev_begin(slot);
	CHECK(dev_features(slot, VERSION_1));
}

void dev_go(unsigned slot)
{
	reg_write(slot, STATUS, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);
}

void vq_init(struct vq *q, unsigned slot, unsigned number, unsigned size, struct ring_memory *m)
{
	memset(m, 0, sizeof(*m));
	*q = (struct vq){ .slot = slot, .number = number, .size = size,
			  .desc = m->desc, .avail = m->avail, .used = m->used };
}

static void tell_address(unsigned slot, uint32_t low, volatile void *p)
{
	reg_write(slot, low, (uint32_t)(uint64_t)p);
	reg_write(slot, low + 4, (uint32_t)((uint64_t)p >> 32));
}

void vq_tell(const struct vq *q)
{
	reg_write(q->slot, QUEUE_SEL, q->number);
	reg_write(q->slot, QUEUE_NUM, q->size);
	tell_address(q->slot, QUEUE_DESC, q->desc);
	tell_address(q->slot, QUEUE_AVAIL, q->avail);
	tell_address(q->slot, QUEUE_USED, q->used);
}

void vq_ready(const struct vq *q)
{
	reg_write(q->slot, QUEUE_SEL, q->number);
	reg_write(q->slot, QUEUE_READY, 1);
	CHECK_EQ(reg_read(q->slot, QUEUE_READY), 1);
}

void vq_desc(struct vq *q, unsigned i, uint64_t addr, uint32_t len, uint16_t flags, uint16_t next)
{
	q->desc[i].addr = addr;
	q->desc[i].len = len;
	q->desc[i].flags = flags;
	q->desc[i].next = next;
}

void vq_offer(struct vq *q, uint16_t head)
{
	q->avail[2 + (q->put & (q->size - 1))] = head;
	q->avail[1] = ++q->put;
}

void vq_chain(struct vq *q, unsigned first, const struct buf *b, unsigned n)
{
	for (unsigned i = 0; i < n; i++)
		vq_desc(q, first + i, b[i].addr, b[i].len, (uint16_t)(b[i].flags | (i + 1 < n ? NEXT : 0)),
			(uint16_t)(first + i + 1));
	vq_offer(q, (uint16_t)first);
}

void vq_kick(const struct vq *q)
{
	reg_write(q->slot, QUEUE_NOTIFY, q->number);
}

bool vq_take(struct vq *q, uint32_t *id, uint32_t *len)
{
	unsigned i = q->seen & (q->size - 1);

	if (q->seen == (uint16_t)(q->used[0] >> 16))
		return false;
	*id = q->used[1 + 2 * i];
	*len = q->used[2 + 2 * i];
	q->seen++;
	return true;
}

/* ---- the disk ---- */

struct vq disk;
struct ring_memory disk_memory;
struct blk_header blk_header;
volatile uint8_t blk_status;
uint8_t disk_data[64 * 1024] __attribute__((aligned(4096)));
uint32_t blk_done;

static void probe(unsigned slot)
{
	CHECK_EQ(reg_read(slot, MAGIC), 0x74726976);
	CHECK_EQ(reg_read(slot, DEVICE_ID), 2);
	dev_probe(slot);
	vq_init(&disk, slot, 0, RING_MAX, &disk_memory);
	vq_tell(&disk);
}

void disk_probe(void)
{
	probe(DISK);
}

void disk_up(void)
{
	disk_probe();
	vq_ready(&disk);
	dev_go(DISK);
}

void scratch_up(void)
{
	probe(SCRATCH);
	vq_ready(&disk);
	dev_go(SCRATCH);
}

uint64_t disk_sectors(void)
{
	return reg_read(disk.slot, CONFIG) | (uint64_t)reg_read(disk.slot, CONFIG + 4) << 32;
}

uint8_t blk_do(uint32_t type, uint64_t sector, uint64_t addr, uint32_t len)
{
	struct buf b[3] = { { (uint64_t)&blk_header, sizeof(blk_header), 0 } };
	unsigned n = 1;
	uint32_t id;

	blk_header = (struct blk_header){ type, 0, sector };
	blk_status = BLK_NOTHING;
	if (len > 0)
		b[n++] = (struct buf){ addr, len, type == BLK_OUT ? 0 : WRITE };
	b[n++] = (struct buf){ (uint64_t)&blk_status, 1, WRITE };
	vq_chain(&disk, 0, b, n);
	vq_kick(&disk);
	if (!vq_take(&disk, &id, &blk_done))
		return BLK_NOTHING;
	CHECK_EQ(id, 0);
	return blk_status;
}

void blk_flood(uint32_t type)
{
	const struct buf b[] = { { (uint64_t)&blk_header, 16, 0 }, { 0x2000000, 4 << 20, type == BLK_OUT ? 0 : WRITE },
				 { (uint64_t)&blk_status, 1, WRITE } };

	blk_header = (struct blk_header){ type, 0, 0 };
	for (;;) {
		blk_status = BLK_NOTHING;
		for (unsigned i = 0; i < 64; i++)
			vq_chain(&disk, 0, b, 3);
		vq_kick(&disk);
		CHECK_EQ(blk_status, BLK_OK);
	}
}

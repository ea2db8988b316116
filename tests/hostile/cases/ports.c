/* SPDX-License-Identifier: Apache-2.0 */
/* ports.c - I/O ports: one that means something, 65535 that do not, and strings of them. */
#include "tests/hostile/guest/vsock.h"

CASE(cpu_ports)
{
	for (uint32_t port = 0; port < 65536; port += 131) {
		uint16_t p = (uint16_t)port;

		CHECK_EQ(in8(p), 0xff);
		CHECK_EQ(in16(p), 0xffff);
		CHECK_EQ(in32(p), 0xffffffff);
		out8(p, 0xfe);
		out16(p, 0xcf9);
		out32(p, 0x80000000);
	}
	out8(0x64, 0xfe);	/* keyboard controller, PCI reset, fast A20: the old ways to reset */
	out8(0xcf9, 0x06);
	out8(0x92, 0x01);
	ready();
	done();
}

/* The port that asks for large pages: wild numbers, memory in use, widths that are not its own, and without end. */
CASE(cpu_ram_port)
{
	enum { PORT = 0x600 };
	static const uint32_t wild[] = { 0xffffffff, 0x80000000, 0x7ff, 0x600, 1u << 20 };
	volatile uint64_t *word = (volatile uint64_t *)(ram_end - (2 << 20));

	ready();
	disk_up();
	*word = ram_end;
	for (size_t i = 0; i < SIZE(wild); i++)
		out32(PORT, wild[i]);
	for (int round = 0; round < 2; round++)
		for (uint32_t n = 0; n <= ram_end >> 21; n++)
			out32(PORT, n);
	CHECK_EQ(*word, ram_end);
	CHECK_EQ(in32(PORT), 0xffffffff);
	out8(PORT, 0);
	out16(PORT, 0);
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

static void ins(void *to, uint64_t n, int width)
{
	if (width == 1)
		__asm__ volatile("rep insb" : "+D"(to), "+c"(n) : "d"(0x510) : "memory");
	else if (width == 2)
		__asm__ volatile("rep insw" : "+D"(to), "+c"(n) : "d"(0x511) : "memory");
	else
		__asm__ volatile("rep insl" : "+D"(to), "+c"(n) : "d"(0x512) : "memory");
}

static void outs(const void *from, uint64_t n)
{
	__asm__ volatile("rep outsl" : "+S"(from), "+c"(n) : "d"(0x513) : "memory");
}

/* String instructions: over pages, up to the end of RAM, into and out of device registers. */
CASE(cpu_port_strings)
{
	uint8_t *end = (uint8_t *)ram_end;

	ready();
	disk_up();
	memset(disk_data, 0, sizeof(disk_data));
	ins(disk_data + 1, 5000, 1);
	ins(disk_data + 8191, 1500, 2);
	ins(disk_data + 16384 + 3, 1025, 4);
	CHECK_EQ(disk_data[0], 0);
	CHECK_EQ(disk_data[1], 0xff);
	CHECK_EQ(disk_data[5000], 0xff);
	CHECK_EQ(disk_data[5001], 0);
	CHECK_EQ(disk_data[8191 + 3000], 0);
	CHECK_EQ(disk_data[16384 + 3 + 4 * 1025], 0);
	outs(disk_data, 3000);
	ins(disk_data, 0, 4);
	memset(end - 16, 0, 16);
	ins(end - 8, 8, 1);			/* the last bytes */
	CHECK_EQ(end[-9], 0);
	CHECK_EQ(end[-1], 0xff);
	ins(end - 8, 4, 4);			/* half of it beyond */
	ins((void *)reg(DISK, CONFIG), 16, 4);	/* port to register */
	outs((const void *)reg(DISK, 0), 64);	/* register to port */
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	done();
}

/* One instruction that never ends. */
CASE(cpu_endless_string)
{
	CHECK_EQ(reg_read(DISK, MAGIC), 0x74726976);
	ins((void *)(ram_end - 4096), 1ull << 60, 1);
	SURVIVED();
}

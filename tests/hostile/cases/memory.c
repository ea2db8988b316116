/* SPDX-License-Identifier: Apache-2.0 */
/* memory.c - addresses where there is nothing, and where something ends. */
#include "tests/hostile/guest/vsock.h"

#define ONES32 0xffffffffu
#define ONES64 0xffffffffffffffffull

static void nothing_at(volatile uint8_t *p)
{
	CHECK_EQ(mmio_read8(p), 0xff);
	CHECK_EQ(mmio_read16(p), 0xffff);
	CHECK_EQ(mmio_read32(p), ONES32);
	CHECK_EQ(mmio_read64(p), ONES64);
	mmio_write8(p, 0);
	mmio_write16(p, 0);
	mmio_write32(p, 0);
	mmio_write64(p, 0);
	CHECK_EQ(mmio_read32(p), ONES32);
}

/* Physical addresses in the hole, between the windows, behind RAM and far above. */
CASE(mem_unmapped)
{
	static const uint64_t place[] = {
		0xc0000000, 0xcffffff8, 0xd0000000 + SLOTS * WINDOW_BYTES, 0xd0100000, 0xfebffff8, 0xfec01000,
		0xfedffff8, 0xfee01000, 0xfffffff0, 0x100000000, 0x140000000, 1ull << 36, (1ull << 38) - 16,
	};

	ready();
	for (unsigned i = 0; i < SIZE(place); i++)
		nothing_at(map_window(place[i]));
	nothing_at(map_window(ram_end));
	nothing_at(map_window(ram_end + 0x12345678));
	done();
}

/* The last byte of RAM and the first of nothing in one access; the same at 4 GiB and at a window. */
CASE(mem_over_ram_end)
{
	volatile uint8_t *p = map_window(ram_end - 4);

	ready();
	mmio_write32(p, 0x12345678);
	CHECK_EQ(mmio_read64(p), 0xffffffff12345678);
	mmio_write64(p, 0x1122334455667788);
	CHECK_EQ(mmio_read32(p), 0x55667788);
	__asm__ volatile("lock; addq %1, %0" : "+m"(*(volatile uint64_t *)p) : "r"(1ull) : "memory");
	CHECK_EQ(mmio_read32(p), 0x55667789);
	CHECK_EQ(mmio_read16(map_window(ram_end - 1)) >> 8, 0xff);
	CHECK_EQ(mmio_read64(map_window(0xfffffffc)), ONES64);
	mmio_write64(map_window(0xfffffffc), 0);
	CHECK_EQ(mmio_read64(map_window(WINDOWS_AT - 4)) & ONES32, ONES32);
	mmio_write64(map_window(WINDOWS_AT - 4), 0);
	done();
}

/* A copy through the end of RAM: every byte behind it is an exit of its own. */
CASE(mem_copy_over_ram_end)
{
	volatile uint8_t *to = map_window(ram_end - 256);
	const uint8_t *from = disk_data;
	uint64_t n = 512;

	ready();
	memset(disk_data, 0x5a, 512);
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n) : : "memory");
	CHECK_EQ(mmio_read8(map_window(ram_end - 1)), 0x5a);
	CHECK_EQ(mmio_read8(map_window(ram_end)), 0xff);
	done();
}

/*
 * One read in every 2 MiB of nothing: for each KVM keeps a page table of its own,
 * or three, in the host's memory until the VM is gone.
 */
CASE(mem_sparse_reads)
{
	for (uint64_t i = 0; i < 4096; i++)
		mmio_read8(map_window((4ull << 30) + (i << 21)));
	SURVIVED();
}

/*
 * KVM's clock page turned on as the last thing: KVM writes into it at each later entry.  The pause is
 * for the test that stops the supervisor meanwhile, and looks at all memory when the VMM is gone.
 */
CASE(mem_kvmclock_at_the_end)
{
	enum { SYSTEM_TIME = 0x4b564d01, ENABLE = 1 };
	uint32_t low, high;
	uint64_t start = 0, now = 0;

	ready();
	while (now - start < 3000000000ull) {
		__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
		now = (uint64_t)high << 32 | low;
		start = start == 0 ? now : start;
	}
	try_wrmsr(SYSTEM_TIME, 0x2000000 | ENABLE);
	CHECK_EQ(last_fault, NO_FAULT);
	done();
}

/* All RAM from 32 MiB on: touched, and overwritten at the end. */
CASE(mem_touch_all)
{
	ready();
	for (uint64_t a = 32 << 20; a < ram_end; a += 64)
		*(volatile uint64_t *)a = 0x5ec2e75ec2e75ec2;
	done();
}

/* kvmclock's page where there is no memory, over its end, and nowhere at all: KVM writes there itself. */
CASE(mem_kvmclock)
{
	enum { SYSTEM_TIME = 0x4b564d01, WALL_CLOCK = 0x4b564d00, ENABLE = 1 };
	const uint64_t place[] = {
		WINDOWS_AT + WINDOW_BYTES, ram_end, ram_end - 16, ram_end - 4, 0xfee00000, 0xfffffffc,
		1ull << 40, (1ull << 52) - 4, 0x2000ffc,
	};
	volatile uint32_t *head = (volatile uint32_t *)0x2000000;

	for (unsigned i = 0; i < SIZE(place); i++) {
		try_wrmsr(SYSTEM_TIME, place[i] | ENABLE);
		try_wrmsr(WALL_CLOCK, place[i]);
	}
	try_wrmsr(SYSTEM_TIME, (uint64_t)head | ENABLE);
	CHECK_EQ(last_fault, NO_FAULT);
	try_wrmsr(SYSTEM_TIME, 0);
	CHECK_EQ(reg_read(DISK, MAGIC), 0x74726976);
	ready();
	done();
}

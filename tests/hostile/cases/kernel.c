/* SPDX-License-Identifier: Apache-2.0 */
/* kernel.c - what makes the host's kernel allocate, move or emulate, over and over, with no exit to the VMM. */
#include "tests/hostile/guest/vsock.h"
#include "vmm/boot/layout.h"

enum { APIC_BASE = 0x1b, X2APIC = 1 << 10, X2APIC_MSRS = 0x800, SVR = 0xf0, LDR = 0xd0, DFR = 0xe0, ICR = 0x300 };
enum { ROUNDS = 20000, SELF_FIXED = 0x40000 | 0x31 };
#define NOWHERE (8ull << 30)

/* A register of the LAPIC, in the mode that it is in. */
static void lapic_write(uint32_t reg, uint32_t value)
{
	if (try_rdmsr(APIC_BASE) & X2APIC)
		try_wrmsr(X2APIC_MSRS + reg / 16, value);
	else
		mmio_write32(at(LAYOUT_LAPIC + reg), value);
}

/* KVM makes its map of all LAPICs anew when one is switched, or gets another logical place. */
CASE(irq_map_storm)
{
	ready();
	for (uint32_t i = 0; i < ROUNDS / 4; i++) {
		lapic_write(SVR, i & 1 ? 0x1ff : 0xff);
		lapic_write(LDR, i << 24);
		lapic_write(DFR, i & 1 ? 0xffffffff : 0x0fffffff);
	}
	done();
}

/* The LAPIC over one place after another where nothing is, and a read of it there. */
CASE(irq_lapic_sweep)
{
	const uint64_t was = try_rdmsr(APIC_BASE);

	ready();
	for (uint64_t i = 0; i < 4096; i++) {
		try_wrmsr(APIC_BASE, (NOWHERE + (i << 21)) | 0x900);
		if (last_fault != NO_FAULT || (try_rdmsr(APIC_BASE) >> 12) == was >> 12)
			done();		/* the LAPIC stays where it is */
		mmio_read32(map_window(NOWHERE + (i << 21) + 0x30));
	}
	SURVIVED();
}

/* Interrupts for itself that nobody takes. */
CASE(irq_ipi_storm)
{
	ready();
	lapic_write(SVR, 0x1ff);
	for (uint32_t i = 0; i < ROUNDS; i++)
		lapic_write(ICR, SELF_FIXED + (i & 0x7f));
	done();
}

/* kvmclock's page moved all over RAM and beyond: KVM maps each. */
CASE(mem_kvmclock_storm)
{
	enum { SYSTEM_TIME = 0x4b564d01, WALL_CLOCK = 0x4b564d00, ENABLE = 1 };

	ready();
	for (uint64_t i = 0; i < ROUNDS; i++) {
		uint64_t place = i & 1 ? (32 << 20) + (i << 12) % (ram_end - (33 << 20)) : NOWHERE + (i << 21);

		try_wrmsr(SYSTEM_TIME, place | ENABLE);
		if (i % 16 == 0)
			try_wrmsr(WALL_CLOCK, place);
	}
	try_wrmsr(SYSTEM_TIME, 0);
	done();
}

/* State of 512 bytes to and from where nothing is. */
CASE(mem_fxsave_nowhere)
{
	ready();
	for (uint64_t i = 0; i < 4096; i++) {
		volatile uint8_t *p = map_window(NOWHERE + (i << 21));

		TRY("fxsave (%0)", : : "r"(p) : "memory");
		TRY("fxrstor (%0)", : : "r"(p) : "memory");
	}
	done();
}

/* Descriptor tables where nothing is, and what needs them. */
CASE(mem_descriptors_nowhere)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) table = { 0xfff, 0 };

	ready();
	started();
	table.base = (uint64_t)map_window(NOWHERE) + 0x40;
	__asm__ volatile("lgdt %0" : : "m"(table));
	TRY("mov %0, %%fs", : : "r"(0x20) : "memory");
	SURVIVED();
}

CASE(mem_idt_nowhere)
{
	struct { uint16_t limit; uint64_t base; } __attribute__((packed)) table = { 0xfff, 0 };

	ready();
	table.base = (uint64_t)map_window(NOWHERE);
	__asm__ volatile("lidt %0; int3" : : "m"(table));
	SURVIVED();
}

/* Code where nothing is. */
CASE(mem_code_nowhere)
{
	ready();
	((void (*)(void))(uint64_t)map_window(NOWHERE))();
	SURVIVED();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* irq.c - interrupt controllers: the LAPIC is KVM's, the IOAPIC the VMM's. */
#include "tests/hostile/guest/vsock.h"

#define LAPIC 0xfee00000ull
#define IOAPIC 0xfec00000ull
enum { SVR = 0xf0, ICR = 0x300, ICR_HIGH = 0x310, LVT_TIMER = 0x320, APIC_BASE = 0x1b, X2APIC = 1 << 10 };
enum { DELIVER_FIXED, DELIVER_LOWEST, DELIVER_SMI, DELIVER_3, DELIVER_NMI, DELIVER_INIT, DELIVER_SIPI, DELIVER_EXT };
enum { MASKED = 1 << 16, SELF = 1 << 18 };

static void lapic_write(uint32_t reg_, uint32_t v)
{
	mmio_write32(at(LAPIC + reg_), v);
}

static void ioapic_write(uint32_t index, uint32_t v)
{
	mmio_write32(at(IOAPIC), index);
	mmio_write32(at(IOAPIC + 0x10), v);
}

static uint32_t ioapic_read(uint32_t index)
{
	mmio_write32(at(IOAPIC), index);
	return mmio_read32(at(IOAPIC + 0x10));
}

static void let_interrupts_in(void)
{
	for (unsigned i = 0; i < 50; i++)
		__asm__ volatile("sti; nop; nop; cli");
}

/* Edges of the disk's pin, delivered by whatever its redirection entry says. */
static void redirect(uint32_t low)
{
	ioapic_write(0x10 + 2 * DISK + 1, 0);
	ioapic_write(0x10 + 2 * DISK, low);
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	reg_write(DISK, INTERRUPT_ACK, reg_read(DISK, INTERRUPT_STATUS));
	let_interrupts_in();
}

/* Every delivery mode; only a fixed vector comes, never an SMI, NMI or INIT. */
CASE(irq_redirection)
{
	ready();
	disk_up();
	lapic_write(SVR, 0x1ff);
	redirect(0x41);
	CHECK_EQ(taken[0x41], 1);
	for (uint32_t mode = DELIVER_SMI; mode <= DELIVER_EXT; mode++) {
		redirect(0x42 | mode << 8);
		redirect(0x42 | mode << 8 | 1 << 15);	/* level */
	}
	CHECK_EQ(taken[2], 0);
	CHECK_EQ(taken[0x42], 0);
	for (uint32_t vector = 0; vector < 16; vector++)	/* vectors that are not allowed */
		redirect(vector);
	redirect(0x43 | 0x800);			/* logical, to nobody */
	redirect(0xffffffff);
	redirect(0x44 | DELIVER_LOWEST << 8);
	CHECK_EQ(taken[0x44], 1);
	done();
}

/* Every index of the IOAPIC with every kind of value, in every width. */
CASE(irq_ioapic_registers)
{
	static const uint32_t value[] = { 0, 0xffffffff, 0x5555aaaa, MASKED };

	ready();
	for (uint32_t i = 0; i < 256; i += i < 32 ? 1 : 17)
		for (unsigned k = 0; k < SIZE(value); k++)
			ioapic_write(i, value[k]);
	mmio_write32(at(IOAPIC), 0xffffff10);	/* more than an index */
	for (uint32_t off = 0; off < 64; off += 3) {
		CHECK_EQ(mmio_read8(at(IOAPIC + off)), 0xff);
		CHECK_EQ(mmio_read16(at(IOAPIC + off)), 0xffff);
		CHECK_EQ(mmio_read64(at(IOAPIC + off)), 0xffffffffffffffffull);
		mmio_write8(at(IOAPIC + off), 0);
		mmio_write64(at(IOAPIC + off), 0);
	}
	CHECK_EQ(mmio_read64(at(IOAPIC + 0xffc)), 0xffffffffffffffffull);
	CHECK_EQ(ioapic_read(1) >> 16, SLOTS - 1);	/* as many pins as there are devices */
	CHECK_EQ(ioapic_read(0x10 + 2 * SLOTS), 0xffffffff);
	done();
}

/* An interrupt for every request, taken and not taken. */
CASE(irq_storm)
{
	ready();
	disk_up();
	lapic_write(SVR, 0x1ff);
	ioapic_write(0x10 + 2 * DISK + 1, 0);
	ioapic_write(0x10 + 2 * DISK, 0x50);
	for (unsigned i = 0; i < 200; i++) {
		CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
		if (i % 2 != 0)
			continue;
		reg_write(DISK, INTERRUPT_ACK, 1);
		let_interrupts_in();
	}
	CHECK_EQ(taken[0x50], 100);
	done();
}

/*
 * A string instruction's first round sends an INIT to the processor it runs on,
 * its second one reads nothing for the 1024th time, which ends the run: the INIT
 * pends when the VMM enters the vCPU a last time to clear it.
 */
CASE(irq_init_at_the_end)
{
	uint64_t from = IOAPIC + 0x10, to = LAPIC + ICR, rounds = 2;

	ready();
	lapic_write(SVR, 0x1ff);
	ioapic_write(0x10, DELIVER_INIT << 8 | SELF);
	for (unsigned i = 1; i < 1024; i++)
		mmio_read32(at(0xd0800000));
	__asm__ volatile("cld; rep movsl" : "+D"(to), "+S"(from), "+c"(rounds) : : "memory");
	SURVIVED();
}

/* Every register of the LAPIC with wild values; the timer and IPIs apart. */
CASE(irq_lapic_registers)
{
	static const uint32_t value[] = { 0xffffffff, 0, 0xa5a5a5a5, 0x00010000 };

	ready();
	for (unsigned k = 0; k < SIZE(value); k++) {
		for (uint32_t off = 0; off < 0x400; off += 0x10) {
			if (off != ICR && off != ICR_HIGH)
				lapic_write(off, value[k]);
			mmio_read32(at(LAPIC + off));
		}
	}
	for (uint32_t off = 0; off < 0x400; off += 7) {	/* no register, or not its width */
		mmio_read8(at(LAPIC + off));
		mmio_write16(at(LAPIC + off), 0);
		mmio_read64(at(LAPIC + off));
	}
	lapic_write(SVR, 0x1ff);
	done();
}

/* The same as MSRs: KVM's own, which no filter covers. */
CASE(irq_x2apic_registers)
{
	static const uint64_t value[] = { 0, 0xffffffff, -1ull, 0x00010000 };
	uint64_t base = try_rdmsr(APIC_BASE);

	try_wrmsr(APIC_BASE, base | X2APIC);
	CHECK_EQ(last_fault, NO_FAULT);
	for (uint32_t msr = 0x800; msr <= 0x8ff; msr++) {
		try_rdmsr(msr);
		for (unsigned k = 0; k < SIZE(value); k++)
			if (msr != 0x830 && msr != 0x83f)
				try_wrmsr(msr, value[k]);
	}
	try_wrmsr(0x80f, 0x1ff);
	CHECK_EQ(last_fault, NO_FAULT);
	ready();
	done();
}

static void ipi(uint32_t low)
{
	lapic_write(ICR_HIGH, 0);
	lapic_write(ICR, low);
	let_interrupts_in();
}

/* Messages of every kind to itself but INIT and SMI; NMI comes, the rest does no harm. */
CASE(irq_self_ipi)
{
	ready();
	lapic_write(SVR, 0x1ff);
	ipi(SELF | 0x60);
	CHECK_EQ(taken[0x60], 1);
	ipi(DELIVER_NMI << 8);
	CHECK_EQ(taken[2], 1);
	for (uint32_t shorthand = 0; shorthand < 4; shorthand++) {
		ipi(shorthand << 18 | DELIVER_3 << 8 | 0x61);
		ipi(shorthand << 18 | DELIVER_SIPI << 8 | 0x61);
		ipi(shorthand << 18 | DELIVER_EXT << 8 | 0x61);
		ipi(shorthand << 18 | DELIVER_LOWEST << 8 | 0x62);
		ipi(shorthand << 18 | 0xf);		/* a vector that is not allowed */
	}
	CHECK_EQ(taken[0x61], 0);
	done();
}

/* System management mode: KVM gives it an address space of its own, and there is nothing in ours. */
CASE(irq_smi)
{
	ready();
	*at(0x38000) = 0x0f;	/* RSM, if it ever gets there */
	*at(0x38001) = 0xaa;
	lapic_write(SVR, 0x1ff);
	ipi(DELIVER_SMI << 8);
	SURVIVED();
}

/* INIT: the CPU begins again where a PC has its firmware, and there is none. */
CASE(irq_init)
{
	ready();
	lapic_write(SVR, 0x1ff);
	ipi(DELIVER_INIT << 8 | 1 << 14);
	SURVIVED();
}

/* The LAPIC moved over RAM and over the device windows, and back. */
CASE(irq_lapic_moved)
{
	const uint64_t place[] = { WINDOWS_AT, 0x2000000, ram_end, IOAPIC };
	uint64_t base = try_rdmsr(APIC_BASE);

	ready();
	for (unsigned i = 0; i < SIZE(place); i++) {
		try_wrmsr(APIC_BASE, (base & 0xfff) | place[i]);
		for (uint32_t off = 0; off < 0x400; off += 0x10)
			mmio_read32(at(place[i] + off));
		try_wrmsr(APIC_BASE, base & ~0x800ull);		/* off */
		mmio_read32(at(LAPIC + 0x20));
		try_wrmsr(APIC_BASE, base);
		CHECK_EQ(last_fault, NO_FAULT);
	}
	CHECK_EQ(reg_read(DISK, MAGIC), 0x74726976);
	done();
}

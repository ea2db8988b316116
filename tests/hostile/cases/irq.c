/* SPDX-License-Identifier: Apache-2.0 */
/* irq.c - interrupt controllers: the LAPIC is KVM's, the IOAPIC the VMM's. */
#include "tests/hostile/guest/vsock.h"

#define LAPIC 0xfee00000ull
#define IOAPIC 0xfec00000ull
enum { SVR = 0xf0, ICR = 0x300, LVT_TIMER = 0x320, APIC_BASE = 0x1b, X2APIC = 1 << 10 };
enum { DELIVER_FIXED, DELIVER_LOWEST, DELIVER_SMI, DELIVER_3, DELIVER_NMI, DELIVER_INIT, DELIVER_SIPI, DELIVER_EXT };
enum { MASKED = 1 << 16, SELF = 1 << 18, ICR_ALL = 2 << 18 };

/* The LAPIC is in x2APIC mode from the start: its registers are MSRs. */
static void lapic_write(uint32_t reg_, uint32_t v)
{
	try_wrmsr(0x800 + (reg_ >> 4), v);
	CHECK_EQ(last_fault, NO_FAULT);
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
static void redirect_to(uint32_t destination, uint32_t low)
{
	ioapic_write(0x10 + 2 * DISK + 1, destination << 24);
	ioapic_write(0x10 + 2 * DISK, low);
	CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
	reg_write(DISK, INTERRUPT_ACK, reg_read(DISK, INTERRUPT_STATUS));
	let_interrupts_in();
}

static void redirect(uint32_t low)
{
	redirect_to(0, low);
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

/* Where a LAPIC in the other mode has its registers there is nothing. */
CASE(irq_lapic_registers)
{
	ready();
	for (uint32_t off = 0; off < 0x400; off += 0x10) {
		CHECK_EQ(mmio_read32(at(LAPIC + off)), 0xffffffff);
		mmio_write32(at(LAPIC + off), 0xffffffff);
	}
	done();
}

/* Every register of the LAPIC with wild values; the timer and IPIs apart.  No filter covers these MSRs. */
CASE(irq_x2apic_registers)
{
	static const uint64_t value[] = { 0, 0xffffffff, -1ull, 0x00010000 };

	CHECK(try_rdmsr(APIC_BASE) & X2APIC);
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
	try_wrmsr(0x800 + (ICR >> 4), low);	/* a message that is not allowed faults */
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

/*
 * The LAPIC moved over RAM, devices and nothing, or turned off: each place where it was read would
 * cost the host page tables, so its base is not the guest's to write.
 */
CASE(irq_lapic_moved)
{
	const uint64_t place[] = { WINDOWS_AT, 0x2000000, ram_end, IOAPIC, 8ull << 30, LAPIC };
	uint64_t base = try_rdmsr(APIC_BASE);

	ready();
	for (unsigned i = 0; i < SIZE(place); i++) {
		try_wrmsr(APIC_BASE, (base & 0xfff) | place[i]);
		CHECK_EQ(last_fault, FAULT_GP);
		try_wrmsr(APIC_BASE, place[i] | 0x900);
		CHECK_EQ(last_fault, FAULT_GP);
	}
	try_wrmsr(APIC_BASE, base & ~0x800ull);		/* off */
	CHECK_EQ(last_fault, FAULT_GP);
	CHECK_EQ(try_rdmsr(APIC_BASE), base);
	CHECK_EQ(reg_read(DISK, MAGIC), 0x74726976);
	done();
}

/*
 * A device's interrupt "by lowest priority" for everybody: KVM logs a line for each such message and knows
 * no limit for it, so the IOAPIC makes none.  There is one vCPU; its priority is the lowest.
 */
CASE(irq_lowest_of_all)
{
	enum { REQUESTS = 50 };

	ready();
	lapic_write(SVR, 0x1ff);
	disk_up();
	for (unsigned i = 0; i < REQUESTS; i++)
		redirect_to(0xff, 0x43 | DELIVER_LOWEST << 8);
	CHECK_EQ(taken[0x43], REQUESTS);
	done();
}

/* The same as messages of its own, which go from the guest to KVM and pass nobody: discard.md says so. */
CASE(irq_lowest_by_itself)
{
	ready();
	lapic_write(SVR, 0x1ff);
	for (unsigned i = 0; i < 50; i++)
		try_wrmsr(0x800 + (ICR >> 4), 0xffull << 32 | ICR_ALL | DELIVER_LOWEST << 8 | 0x44);
	CHECK_EQ(last_fault, NO_FAULT);
	done();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* cpu.c - what the processor offers, and what it must not. */
#include "tests/hostile/guest/vsock.h"

/* ---- MSRs ---- */

/* What vmm/kvm/msr.c lets through, written down here once more. */
static const uint32_t offered[] = {
	0x10, 0x1b, 0x3b, 0x8b, 0x174, 0x175, 0x176, 0x1a0, 0x277, 0x6e0, 0x4b564d00, 0x4b564d01,
	0xc0000080, 0xc0000081, 0xc0000082, 0xc0000083, 0xc0000084, 0xc0000100, 0xc0000101, 0xc0000102,
	0xc0000103, 0xc0010015,
};

static bool is_offered(uint32_t msr)
{
	for (unsigned i = 0; i < SIZE(offered); i++)
		if (offered[i] == msr)
			return true;
	return msr >= 0x800 && msr <= 0x8ff;		/* x2APIC's: KVM answers them itself */
}

static void deny(uint32_t first, uint32_t last, uint32_t step)
{
	for (uint32_t msr = first; msr - first <= last - first; msr += step) {
		if (is_offered(msr))
			continue;
		try_rdmsr(msr);
		if (last_fault != FAULT_GP)
			fail(WHERE, "read an MSR that is not offered", msr, last_fault);
		try_wrmsr(msr, 0);
		if (last_fault != FAULT_GP)
			fail(WHERE, "wrote an MSR that is not offered", msr, last_fault);
	}
}

/* Before it is ready, as a probing kernel may: each is a #GP. */
CASE(cpu_msr_sweep)
{
	deny(0x0, 0x3ff, 1);
	deny(0x400, 0x1fff, 7);
	deny(0x4b564d00, 0x4b564d0f, 1);	/* KVM's own */
	deny(0x40000000, 0x400000ff, 5);	/* Hyper-V's */
	deny(0xc0000000, 0xc000011f, 1);
	deny(0xc0010000, 0xc001011f, 3);	/* with SVM's: VM_CR, VM_HSAVE_PA */
	deny(0xc0010114, 0xc0010117, 1);
	deny(0x7ffffff0, 0x80000010, 1);
	ready();
	done();
}

/* Once it is ready nothing of ours asks for an MSR it does not have. */
CASE(cpu_msr_sweep_late)
{
	ready();
	for (uint32_t msr = 0x200; msr < 0x240; msr++)
		try_rdmsr(msr);
	SURVIVED();
}

/* One and the same, as fast as it goes. */
CASE(cpu_msr_storm)
{
	ready();
	started();
	for (;;)
		try_rdmsr(0x1d9);
}

/* Values that the offered ones must not take. */
CASE(cpu_msr_values)
{
	enum { EFER = 0xc0000080, SVME = 1 << 12, APIC_BASE = 0x1b, PAT = 0x277 };
	static const struct { uint32_t msr; uint64_t value; } wrong[] = {
		{ EFER, -1ull }, { EFER, 0xd00 | 1ull << 63 }, { APIC_BASE, -1ull }, { APIC_BASE, 1ull << 52 },
		{ PAT, 0x0202020202020202 }, { 0xc0010015, -1ull },
	};
	uint64_t efer = try_rdmsr(EFER);

	CHECK_EQ(efer & SVME, 0);
	try_wrmsr(EFER, efer | SVME);
	CHECK_EQ(last_fault, FAULT_GP);
	for (unsigned i = 0; i < SIZE(wrong); i++) {
		try_wrmsr(wrong[i].msr, wrong[i].value);
		if (last_fault != FAULT_GP)
			fail(WHERE, "an MSR took", wrong[i].msr, wrong[i].value);
	}
	CHECK_EQ(try_rdmsr(EFER), efer);
	ready();
	done();
}

/*
 * Values of its own into each offered register, whatever its direction, and into each of x2APIC's: none of
 * it may come to the host's log.  irq.c has what is apart: INIT, SMI, a periodic timer, lowest priority.
 */
CASE(cpu_msr_canaries)
{
	enum { ICR = 0x830, FIRST = 0x800, LAST = 0x8ff };
	static const uint64_t canary[] = { 0x7e57c0de7e57c0de, 0x00005eed7e57c0d8, 0xffff7e5750c0a5c0, 0x7e57a5 };

	for (unsigned i = 0; i < SIZE(canary); i++) {
		for (unsigned k = 0; k < SIZE(offered); k++)
			try_wrmsr(offered[k], canary[i]);
		for (uint32_t msr = FIRST; msr <= LAST; msr++)
			try_wrmsr(msr, msr == ICR ? canary[i] << 32 | 0xd8 : canary[i]);
	}
	ready();
	done();
}

/* ---- CPUID ---- */

CASE(cpu_cpuid)
{
	enum { VMX = 1 << 5, SVM = 1 << 2, MONITOR = 1 << 3, PCID = 1 << 17, HYPERVISOR = 1u << 31, PERF = 15 };
	static const uint32_t empty[] = {
		0x2, 0x3, 0x5, 0x8, 0x9, 0xa, 0xc, 0xe, 0xf, 0x10, 0x12, 0x14, 0x17, 0x18, 0x1d, 0x1f, 0x24,
		0x40000002, 0x40000003, 0x40000004, 0x40000005, 0x40000006, 0x40000080, 0x40000100,
		0x80000009, 0x8000000a, 0x8000001a, 0x8000001b, 0x8000001c, 0x8000001e, 0x8000001f, 0x80000020,
		0x80000021, 0x80000022, 0x8ffffffe, 0xc0000000, 0xc0000001, 0xffffffff,
	};
	struct cpuid c = cpuid(0x1, 0);

	CHECK_EQ(c.ecx & (VMX | MONITOR | PCID), 0);
	CHECK(c.ecx & HYPERVISOR);
	CHECK_EQ(c.ebx >> 24, 0);
	CHECK_EQ(c.ebx >> 16 & 0xff, 1);
	c = cpuid(0x80000001, 0);
	CHECK_EQ(c.ecx & SVM, 0);
	c = cpuid(0x7, 0);
	CHECK_EQ(c.edx & ~(1u << 4), 0);		/* FSRM; no mitigations, no AMX */
	CHECK_EQ(c.eax, 0);				/* no further subleaf */
	c = cpuid(0x40000001, 0);
	CHECK_EQ(c.eax & ~(1u << 3 | 1u << 24), 0);	/* kvmclock */
	CHECK_EQ(c.edx, 0);				/* no hints */
	c = cpuid(0xd, 0);
	CHECK_EQ(c.eax & ~7u, 0);
	c = cpuid(0x80000008, 0);
	CHECK_EQ(c.ebx & ~5u, 0);			/* no IBPB, STIBP, SSBD */
	for (unsigned i = 0; i < SIZE(empty); i++) {
		/* Beyond the last leaf Intel's way answers with the last basic one: empty or that. */
		struct cpuid basic = cpuid(cpuid(0, 0).eax, 0);

		c = cpuid(empty[i], 0);
		if ((c.eax | c.ebx | c.ecx | c.edx) != 0 &&
		    (c.eax != basic.eax || c.ebx != basic.ebx || c.ecx != basic.ecx || c.edx != basic.edx))
			fail(WHERE, "a CPUID leaf that should be empty", empty[i], c.eax);
	}
	ready();
	done();
}

/* ---- virtualization inside, and calls out of the guest ---- */

#define MUST_FAULT(insn)								\
	do {										\
		TRY(insn, : "+a"(a) : "c"(0), "d"(0) : "memory", "cc");		\
		if (last_fault != FAULT_UD && last_fault != FAULT_GP)			\
			fail(WHERE, insn, last_fault, 0);				\
	} while (0)

CASE(cpu_virtualization_instructions)
{
	static uint64_t area[512] __attribute__((aligned(4096)));
	uint64_t a = (uint64_t)area;

	ready();
	MUST_FAULT("vmrun");
	MUST_FAULT("vmload");
	MUST_FAULT("vmsave");
	MUST_FAULT("stgi");
	MUST_FAULT("clgi");
	MUST_FAULT("skinit");
	MUST_FAULT("invlpga");
	MUST_FAULT("vmxon (%%rax)");
	MUST_FAULT("vmptrld (%%rax)");
	MUST_FAULT("vmlaunch");
	MUST_FAULT("vmresume");
	MUST_FAULT("vmxoff");
	MUST_FAULT("vmread %%rax, %%rcx");
	MUST_FAULT("encls");
	MUST_FAULT("getsec");
	MUST_FAULT("rsm");
	MUST_FAULT("rdpmc");
	MUST_FAULT("monitor");
	MUST_FAULT("mwait");
	done();
}

/*
 * Every hypercall, of AMD's and Intel's kind; that of the other vendor is #UD, and not patched into ours.
 * KVM answers two, and nothing can forbid it: one does nothing, the other tells the host's wall clock, which
 * the guest is given anyway.
 */
CASE(cpu_hypercalls)
{
	enum { POLL_IRQ = 1, CLOCK_PAIRING = 9, CALLS = 64 };
	static uint64_t pairing[8];
	static const uint64_t wild[] = { 0x40000000, 0x4b564d00, 0xffffffff, -1ull, 1ull << 63 };

	ready();
	for (unsigned i = 0; i < CALLS + SIZE(wild); i++) {
		uint64_t call = i < CALLS ? i : wild[i - CALLS];
		int64_t r[2] = { (int64_t)call, (int64_t)call };
		uint32_t fault[2];

		TRY("vmmcall", : "+a"(r[0]) : "b"(ram_end), "c"(-1ull), "d"(-1ull), "S"(-1ull) : "memory");
		fault[0] = last_fault;
		TRY("vmcall", : "+a"(r[1]) : "b"(ram_end), "c"(-1ull), "d"(-1ull), "S"(-1ull) : "memory");
		fault[1] = last_fault;
		CHECK((fault[0] == FAULT_UD) != (fault[1] == FAULT_UD));
		if (call == POLL_IRQ)
			continue;
		for (unsigned k = 0; k < 2; k++)
			if (fault[k] == NO_FAULT && r[k] == 0)
				fail(WHERE, "a hypercall was answered", call, k);
	}
	for (uint64_t type = 0; type < 16; type++) {
		int64_t r = CLOCK_PAIRING;

		memset(pairing, 0xff, sizeof(pairing));
		TRY("vmmcall", : "+a"(r) : "b"(pairing), "c"(type), "d"(0), "S"(0) : "memory");
		if (type != 0 && r == 0)
			fail(WHERE, "a clock of that type was told", type, 0);
		if (type == 0 && r == 0)	/* seconds and nanoseconds, TSC, flags: nothing more */
			CHECK(pairing[0] < 1ull << 40 && pairing[1] < 1000000000 && pairing[3] >> 32 == 0);
	}
	done();
}

/* Control registers that may not be so, as far as KVM and not the CPU refuses them. */
CASE(cpu_control_registers)
{
	enum { VMXE = 1 << 13, SMXE = 1 << 14 };
	uint64_t cr0, cr4, a;

	ready();
	__asm__ volatile("mov %%cr0, %0; mov %%cr4, %1" : "=r"(cr0), "=r"(cr4));
#define REFUSED(reg, value)								\
	do {										\
		a = (value);								\
		TRY("mov %0, %%" reg, : : "r"(a) : "memory");				\
		if (last_fault != FAULT_GP)						\
			fail(WHERE, reg, a, last_fault);				\
	} while (0)
	REFUSED("cr4", cr4 | VMXE);
	REFUSED("cr4", cr4 | SMXE);
	REFUSED("cr4", -1ull);
	REFUSED("cr4", cr4 & ~(1ull << 5));		/* no PAE in long mode */
	REFUSED("cr0", cr0 & ~1ull);			/* paging without protection */
	done();
}

/* ---- instructions that KVM must emulate and cannot ---- */

CASE(cpu_emulation_failure)
{
	uint32_t sum = 0;

	ready();
	__asm__ volatile("crc32l %1, %0" : "+r"(sum) : "m"(*(volatile uint32_t *)reg(DISK, MAGIC)));
	SURVIVED();
}

CASE(cpu_emulation_failure_early)
{
	uint32_t sum = 0;

	CHECK_EQ(reg_read(DISK, MAGIC), 0x74726976);
	__asm__ volatile("crc32l %1, %0" : "+r"(sum) : "m"(*(volatile uint32_t *)reg(DISK, MAGIC)));
	SURVIVED();
}

/* Code in device registers. */
CASE(cpu_run_registers)
{
	ready();
	__asm__ volatile("jmp *%0" : : "r"(reg(DISK, 0)));
	SURVIVED();
}

/* Page tables in device registers. */
CASE(cpu_page_tables_in_registers)
{
	ready();
	started();
	__asm__ volatile("mov %0, %%cr3" : : "r"(reg(DISK, 0)) : "memory");
	SURVIVED();
}

/* ---- ends without an end ---- */

CASE(cpu_triple_fault)
{
	ready();
	triple_fault();
}

CASE(cpu_halt)
{
	ready();
	started();
	for (;;)
		__asm__ volatile("cli; hlt");
}

CASE(cpu_spin)
{
	ready();
	started();
	for (;;)
		__asm__ volatile("");
}

static void spin(void)
{
	for (;;)
		__asm__ volatile("");
}

CASE(cpu_spin_in_user_mode)
{
	ready();
	started();
	user_enter(spin);
}

/* A timer as fast as it goes, and interrupts on: an interrupt for each instruction. */
CASE(cpu_timer_storm)
{
	enum { SVR = 0x80f, LVT_TIMER = 0x832, INITIAL = 0x838, DIVIDE = 0x83e, PERIODIC = 1 << 17 };

	ready();
	started();
	try_wrmsr(SVR, 0x1ff);
	try_wrmsr(DIVIDE, 0xb);
	try_wrmsr(LVT_TIMER, PERIODIC | 0x40);
	try_wrmsr(INITIAL, 1);
	for (;;)
		__asm__ volatile("sti; nop; cli");
}

/* Exits to the VMM as fast as they come, for nothing. */
CASE(cpu_exit_storm)
{
	ready();
	for (;;)
		out8(0x80, 0);
}

/* No packet, no frame: init never comes. */
CASE(cpu_never_ready)
{
	disk_up();
	for (;;)
		CHECK_EQ(blk_do(BLK_IN, 0, (uint64_t)disk_data, SECTOR), BLK_OK);
}

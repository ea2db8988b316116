/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The guest's CPUID: an allow-list.  A leaf or a bit not named here is zero,
 * whatever the CPU and KVM could do.  Never VMX, SVM, PMU, or a mitigation bit
 * that a kernel built without mitigations would not use.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <string.h>

#include "vmm/kvm/ioctl.h"
#include "vmm/kvm/vm.h"

#define BIT(n) (1u << (n))
#define ALL 0xffffffffu
enum { ENTRIES_MAX = 256, OUT_MAX = 48, ANY = -1 };

struct allow {
	uint32_t leaf;
	int64_t sub;			/* subleaf, or ANY */
	uint32_t eax, ebx, ecx, edx;	/* bits that may pass */
};

/* FPU DE PSE TSC MSR PAE CX8 APIC SEP PGE CMOV PAT PSE36 CLFSH MMX FXSR SSE SSE2 */
#define LEAF_1_EDX \
	(BIT(0) | BIT(2) | BIT(3) | BIT(4) | BIT(5) | BIT(6) | BIT(8) | BIT(9) | BIT(11) | BIT(13) | \
	 BIT(15) | BIT(16) | BIT(17) | BIT(19) | BIT(23) | BIT(24) | BIT(25) | BIT(26))

static const struct allow allow[] = {
	/* vendor and highest leaf */
	{ 0x0, ANY, ALL, ALL, ALL, ALL },
	/* family, model, stepping; CLFLUSH size; features, see below */
	{ 0x1, ANY, ALL, 0x0000ff00,
	  /* SSE3 PCLMUL SSSE3 FMA CX16 SSE4.1 SSE4.2 x2APIC MOVBE POPCNT AES XSAVE OSXSAVE AVX F16C RDRAND */
	  BIT(0) | BIT(1) | BIT(9) | BIT(12) | BIT(13) | BIT(19) | BIT(20) | BIT(21) | BIT(22) |
	  BIT(23) | BIT(25) | BIT(26) | BIT(27) | BIT(28) | BIT(29) | BIT(30),
	  LEAF_1_EDX },
	/* cache sizes (C libraries tune memcpy by them) */
	{ 0x4, ANY, 0x00003fff, ALL, ALL, 0x7 },
	/* FSGSBASE BMI1 AVX2 SMEP BMI2 ERMS INVPCID RDSEED ADX SMAP CLFLUSHOPT CLWB SHA;
	   UMIP GFNI VAES VPCLMULQDQ RDPID; FSRM */
	{ 0x7, 0, 0, BIT(0) | BIT(3) | BIT(5) | BIT(7) | BIT(8) | BIT(9) | BIT(10) | BIT(18) | BIT(19) |
	  BIT(20) | BIT(23) | BIT(24) | BIT(29), BIT(2) | BIT(8) | BIT(9) | BIT(10) | BIT(22), BIT(4) },
	/* XSAVE: x87, SSE, AVX; sizes recomputed below; XSAVEOPT XSAVEC XGETBV1 */
	{ 0xd, 0, 0x7, 0, 0, 0 },
	{ 0xd, 1, BIT(0) | BIT(1) | BIT(2), 0, 0, 0 },
	{ 0xd, 2, ALL, ALL, ALL, ALL },
	{ KVM_CPUID_SIGNATURE, ANY, 0, ALL, ALL, ALL },
	/* kvmclock is all that is used of KVM's own interface */
	{ KVM_CPUID_FEATURES, ANY, BIT(KVM_FEATURE_CLOCKSOURCE2) | BIT(KVM_FEATURE_CLOCKSOURCE_STABLE_BIT), 0, 0, 0 },
	{ 0x80000000, ANY, ALL, ALL, ALL, ALL },
	/* LAHF LZCNT 3DNOWPREFETCH; SYSCALL NX PDPE1GB RDTSCP LM and AMD's copies of leaf 1 */
	{ 0x80000001, ANY, ALL, 0, BIT(0) | BIT(5) | BIT(8),
	  (LEAF_1_EDX & 0x0183f3ffu) | BIT(11) | BIT(20) | BIT(26) | BIT(27) | BIT(29) },
	{ 0x80000005, ANY, ALL, ALL, ALL, ALL },
	{ 0x80000006, ANY, ALL, ALL, ALL, ALL },
	/* invariant TSC (set below) */
	{ 0x80000007, ANY, 0, 0, 0, BIT(8) },
	/* address sizes; CLZERO XSAVEERPTR */
	{ 0x80000008, ANY, 0xffff, BIT(0) | BIT(2), 0, 0 },
	{ 0x8000001d, ANY, 0x00003fff, ALL, ALL, 0x3 },
};

struct table {
	struct kvm_cpuid2 head;
	struct kvm_cpuid_entry2 entry[ENTRIES_MAX];
};

static const struct allow *find(uint32_t leaf, uint32_t sub)
{
	for (size_t i = 0; i < sizeof(allow) / sizeof(allow[0]); i++)
		if (allow[i].leaf == leaf && (allow[i].sub == ANY || allow[i].sub == (int64_t)sub))
			return &allow[i];
	return NULL;
}

static void adjust(struct kvm_cpuid_entry2 *e)
{
	enum { X87_SSE_BYTES = 576, AVX_BYTES = 256 };

	switch (e->function) {
	case 0x0:
		if (e->eax > 0xd)
			e->eax = 0xd;
		break;
	case 0x1:
		e->ebx |= 1u << 16;			/* one logical CPU, APIC id 0 */
		e->ecx |= BIT(24) | BIT(31);		/* TSC deadline, hypervisor present */
		break;
	case 0xd:
		if (e->index == 0) {
			e->ebx = e->ecx = X87_SSE_BYTES + (e->eax & BIT(2) ? AVX_BYTES : 0);
		} else if (e->index == 1 && e->eax & BIT(1)) {
			e->ebx = X87_SSE_BYTES + AVX_BYTES;
		}
		break;
	case KVM_CPUID_SIGNATURE:
		e->eax = KVM_CPUID_FEATURES;
		break;
	case 0x80000000:
		if (e->eax > 0x8000001d)
			e->eax = 0x8000001d;
		break;
	case 0x80000007:
		e->edx |= BIT(8);			/* KVM leaves it to us; one host, no migration */
		break;
	}
}

static void add(struct table *t, struct kvm_cpuid_entry2 e)
{
	if (t->head.nent < OUT_MAX)
		t->entry[t->head.nent++] = e;
}

/* Constant leaves: power (ARAT: the LAPIC timer never stops), topology, brand. */
static void add_constant(struct table *t)
{
	static const char brand[48] = "dolania virtual CPU";

	add(t, (struct kvm_cpuid_entry2){ .function = 0x6, .eax = BIT(2) });
	add(t, (struct kvm_cpuid_entry2){ .function = 0xb, .index = 0, .ebx = 1, .ecx = 0x100,
					  .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX });
	add(t, (struct kvm_cpuid_entry2){ .function = 0xb, .index = 1, .ebx = 1, .ecx = 0x201,
					  .flags = KVM_CPUID_FLAG_SIGNIFCANT_INDEX });
	for (uint32_t i = 0; i < 3; i++) {
		struct kvm_cpuid_entry2 e = { .function = 0x80000002 + i };

		memcpy(&e.eax, brand + 16 * i, 4);
		memcpy(&e.ebx, brand + 16 * i + 4, 4);
		memcpy(&e.ecx, brand + 16 * i + 8, 4);
		memcpy(&e.edx, brand + 16 * i + 12, 4);
		add(t, e);
	}
}

/*
 * Start with every offered state component enabled in XCR0.  Linux sets it so
 * at once anyway; but QEMU's emulated SVM lets a guest's XSETBV pass unseen by
 * KVM, which would put the reset value back at the next entry and make the
 * guest's XSAVE skip its SSE registers.
 */
static enum err enable_xstate(struct vm *vm, const char **why)
{
	struct kvm_xcrs x = { .nr_xcrs = 1, .xcrs = { { .value = vm->xcr0 } } };

	*why = "KVM_SET_XCRS failed";
	return vm->xcr0 != 0 && kvm_ioctl(vm->vcpu_fd, KVM_SET_XCRS, &x) < 0 ? ERR_HOST : OK;
}

static enum err enforce_paravirtual(struct vm *vm, const char **why)
{
	struct kvm_enable_cap c = { .cap = KVM_CAP_ENFORCE_PV_FEATURE_CPUID, .args = { 1 } };

	*why = "KVM_CAP_ENFORCE_PV_FEATURE_CPUID was refused";
	return kvm_ioctl(vm->vcpu_fd, KVM_ENABLE_CAP, &c) < 0 ? ERR_HOST : OK;
}

enum err cpuid_setup(struct vm *vm, int kvm_fd, const char **why)
{
	struct table host = { .head = { .nent = ENTRIES_MAX } }, guest = { .head = { .nent = 0 } };

	*why = "KVM_GET_SUPPORTED_CPUID failed";
	if (kvm_ioctl(kvm_fd, KVM_GET_SUPPORTED_CPUID, &host.head) < 0 || host.head.nent > ENTRIES_MAX)
		return ERR_HOST;
	for (uint32_t i = 0; i < host.head.nent; i++) {
		struct kvm_cpuid_entry2 e = host.entry[i];
		const struct allow *a = find(e.function, e.index);

		if (a == NULL)
			continue;
		e.eax &= a->eax;
		e.ebx &= a->ebx;
		e.ecx &= a->ecx;
		e.edx &= a->edx;
		adjust(&e);
		if (e.function == 0xd && e.index == 0)
			vm->xcr0 = e.eax;
		add(&guest, e);
	}
	add_constant(&guest);
	*why = "KVM_SET_CPUID2 failed";
	if (kvm_ioctl(vm->vcpu_fd, KVM_SET_CPUID2, &guest.head) < 0 || enable_xstate(vm, why) != OK)
		return ERR_HOST;
	return enforce_paravirtual(vm, why);
}

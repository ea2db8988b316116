/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The MSRs the guest may touch: an allow-list, everything else exits to us and
 * becomes #GP in the guest (KVM_X86_SET_MSR_FILTER, default deny).
 *
 * KVM cannot filter x2APIC's range (0x800-0x8ff): that is the in-kernel LAPIC.
 */
#include <errno.h>
#include <linux/kvm.h>
#include <linux/kvm_para.h>
#include <string.h>

#include "vmm/kvm/ioctl.h"
#include "vmm/kvm/vm.h"

enum { READ = KVM_MSR_FILTER_READ, WRITE = KVM_MSR_FILTER_WRITE };

static const struct {
	uint32_t msr;
	uint32_t may;
} allowed[] = {
	{ 0x00000010, READ },		/* TSC */
	{ 0x0000001b, READ },		/* APIC_BASE: x2APIC is on, and the LAPIC cannot be moved */
	{ 0x0000003b, READ },		/* TSC_ADJUST */
	{ 0x0000008b, READ },		/* microcode revision */
	{ 0x00000174, READ | WRITE },	/* SYSENTER_CS, ESP, EIP: written at CPU set-up */
	{ 0x00000175, READ | WRITE },
	{ 0x00000176, READ | WRITE },
	{ 0x000001a0, READ },		/* MISC_ENABLE (Intel) */
	{ 0x00000277, READ | WRITE },	/* PAT */
	{ 0x000006e0, READ | WRITE },	/* TSC_DEADLINE: the only timer */
	{ 0xc0000080, READ | WRITE },	/* EFER */
	{ 0xc0000081, READ | WRITE },	/* STAR, LSTAR, CSTAR, SYSCALL_MASK: system call entry */
	{ 0xc0000082, READ | WRITE },
	{ 0xc0000083, READ | WRITE },
	{ 0xc0000084, READ | WRITE },
	{ 0xc0000100, READ | WRITE },	/* FS base, GS base, kernel GS base, TSC_AUX */
	{ 0xc0000101, READ | WRITE },
	{ 0xc0000102, READ | WRITE },
	{ 0xc0000103, READ | WRITE },
	{ 0xc0010015, READ },		/* HWCR (AMD): KVM logs what is written there */
	{ MSR_KVM_WALL_CLOCK_NEW, READ | WRITE },
	{ MSR_KVM_SYSTEM_TIME_NEW, READ | WRITE },
};

/* The windows that hold them; a bitmap each for a direction, a set bit lets the access pass. */
enum { WINDOWS = 5, WINDOW_MSRS = 1024, DIRECTIONS = 2 };
static const uint32_t window_base[WINDOWS] = { 0x0, 0x400, MSR_KVM_WALL_CLOCK_NEW, 0xc0000000, 0xc0010000 };
static const uint32_t direction[DIRECTIONS] = { READ, WRITE };

static void fill(uint8_t *bitmap, uint32_t base, uint32_t may)
{
	for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
		uint32_t bit = allowed[i].msr - base;

		if (allowed[i].msr >= base && bit < WINDOW_MSRS && (allowed[i].may & may) != 0)
			bitmap[bit / 8] |= (uint8_t)(1u << (bit % 8));
	}
}

enum err msr_setup(struct vm *vm, const char **why)
{
	static const uint32_t reasons =
		KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL;
	struct kvm_enable_cap to_user = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { reasons } };
	uint8_t bitmap[WINDOWS * DIRECTIONS][WINDOW_MSRS / 8];
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };

	memset(bitmap, 0, sizeof(bitmap));
	for (unsigned i = 0; i < WINDOWS * DIRECTIONS; i++) {
		fill(bitmap[i], window_base[i / DIRECTIONS], direction[i % DIRECTIONS]);
		filter.ranges[i] = (struct kvm_msr_filter_range){
			.flags = direction[i % DIRECTIONS],
			.base = window_base[i / DIRECTIONS],
			.nmsrs = WINDOW_MSRS,
			.bitmap = bitmap[i],
		};
	}
	*why = "KVM_CAP_X86_USER_SPACE_MSR was refused (Linux 5.10 or later has it)";
	if (kvm_ioctl(vm->vm_fd, KVM_ENABLE_CAP, &to_user) < 0)
		return ERR_HOST;
	*why = "KVM_X86_SET_MSR_FILTER was refused (Linux 5.10 or later has it)";
	return kvm_ioctl(vm->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0 ? ERR_HOST : OK;
}

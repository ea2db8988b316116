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

static const uint32_t allowed[] = {
	0x00000010,	/* TSC */
	0x0000001b,	/* APIC_BASE: Linux reads it and turns x2APIC on */
	0x0000003b,	/* TSC_ADJUST */
	0x0000008b,	/* microcode revision, read once */
	0x00000174,	/* SYSENTER_CS, ESP, EIP: written at CPU set-up */
	0x00000175,
	0x00000176,
	0x000001a0,	/* MISC_ENABLE (Intel), read at CPU set-up */
	0x00000277,	/* PAT */
	0x000006e0,	/* TSC_DEADLINE: the only timer */
	0xc0000080,	/* EFER */
	0xc0000081,	/* STAR, LSTAR, CSTAR, SYSCALL_MASK: system call entry */
	0xc0000082,
	0xc0000083,
	0xc0000084,
	0xc0000100,	/* FS base, GS base, kernel GS base, TSC_AUX */
	0xc0000101,
	0xc0000102,
	0xc0000103,
	0xc0010015,	/* HWCR (AMD), read at CPU set-up */
	MSR_KVM_WALL_CLOCK_NEW,
	MSR_KVM_SYSTEM_TIME_NEW,
};

/* The windows that hold them; one bitmap each, a set bit lets the access pass. */
enum { WINDOWS = 5, WINDOW_MSRS = 1024 };
static const uint32_t window_base[WINDOWS] = { 0x0, 0x400, MSR_KVM_WALL_CLOCK_NEW, 0xc0000000, 0xc0010000 };

enum err msr_setup(struct vm *vm, const char **why)
{
	static const uint32_t reasons =
		KVM_MSR_EXIT_REASON_FILTER | KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_INVAL;
	struct kvm_enable_cap to_user = { .cap = KVM_CAP_X86_USER_SPACE_MSR, .args = { reasons } };
	uint8_t bitmap[WINDOWS][WINDOW_MSRS / 8];
	struct kvm_msr_filter filter = { .flags = KVM_MSR_FILTER_DEFAULT_DENY };

	memset(bitmap, 0, sizeof(bitmap));
	for (unsigned w = 0; w < WINDOWS; w++) {
		for (size_t i = 0; i < sizeof(allowed) / sizeof(allowed[0]); i++) {
			uint32_t bit = allowed[i] - window_base[w];

			if (allowed[i] >= window_base[w] && bit < WINDOW_MSRS)
				bitmap[w][bit / 8] |= (uint8_t)(1u << (bit % 8));
		}
		filter.ranges[w] = (struct kvm_msr_filter_range){
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.base = window_base[w],
			.nmsrs = WINDOW_MSRS,
			.bitmap = bitmap[w],
		};
	}
	*why = "KVM_CAP_X86_USER_SPACE_MSR was refused (Linux 5.10 or later has it)";
	if (kvm_ioctl(vm->vm_fd, KVM_ENABLE_CAP, &to_user) < 0)
		return ERR_HOST;
	*why = "KVM_X86_SET_MSR_FILTER was refused (Linux 5.10 or later has it)";
	return kvm_ioctl(vm->vm_fd, KVM_X86_SET_MSR_FILTER, &filter) < 0 ? ERR_HOST : OK;
}

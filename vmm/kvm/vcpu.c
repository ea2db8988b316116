/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <time.h>

#include "vmm/kvm/ioctl.h"
#include "vmm/kvm/vm.h"

enum {
	CR0_PE = 1, CR0_ET = 1 << 4, CR0_NE = 1 << 5, CR0_WP = 1 << 16,
	CR4_PAE = 1 << 5,
	EFER_LME = 1 << 8, EFER_LMA = 1 << 10,
	SELECTOR_CODE = 0x10, SELECTOR_DATA = 0x18,
	GDT_BYTES = 32,
	RFLAGS_RESERVED = 2,
};
#define CR0_PG (1ull << 31)
#define APIC_BASE_BSP (1ull << 8)
#define APIC_BASE_X2APIC (1ull << 10)
#define APIC_BASE_ENABLE (1ull << 11)

/* Linux's 64-bit boot protocol: flat segments, paging on, interrupts off. */
static void long_mode(struct kvm_sregs *s, const struct vcpu_start *start)
{
	struct kvm_segment seg = { .limit = 0xffffffff, .present = 1, .s = 1, .g = 1 };

	seg.selector = SELECTOR_CODE;
	seg.type = 11;			/* execute, read, accessed */
	seg.l = 1;
	s->cs = seg;
	seg.selector = SELECTOR_DATA;
	seg.type = 3;			/* read, write, accessed */
	seg.l = 0;
	seg.db = 1;
	s->ds = s->es = s->fs = s->gs = s->ss = seg;
	s->gdt.base = start->gdt;
	s->gdt.limit = GDT_BYTES - 1;
	s->idt.base = 0;
	s->idt.limit = 0;
	s->cr0 = CR0_PG | CR0_WP | CR0_NE | CR0_ET | CR0_PE;
	s->cr3 = start->page_tables;
	s->cr4 = CR4_PAE;
	s->efer = EFER_LME | EFER_LMA;
}

enum err vcpu_setup(struct vm *vm, int kvm_fd, const struct vcpu_start *start, const char **why)
{
	struct kvm_regs regs = {
		.rip = start->entry,
		.rsi = start->boot_params,
		.rflags = RFLAGS_RESERVED,
	};
	struct kvm_sregs sregs;
	enum err err = cpuid_setup(vm, kvm_fd, why);

	if (err != OK)
		return err;
	*why = "setting the vCPU's registers failed";
	if (kvm_ioctl(vm->vcpu_fd, KVM_GET_SREGS, &sregs) < 0)
		return ERR_HOST;
	long_mode(&sregs, start);
	/* On from the start, so that the guest has no reason to write APIC_BASE, and may not (msr.c). */
	sregs.apic_base |= APIC_BASE_X2APIC;
	if (kvm_ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
	    kvm_ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) < 0)
		return ERR_HOST;
	return OK;
}

enum err vcpu_signals(struct vm *vm, const sigset_t *wanted, const char **why)
{
	enum { KERNEL_SIGSET_BYTES = 8 };
	struct {
		struct kvm_signal_mask head;
		uint8_t set[KERNEL_SIGSET_BYTES];
	} __attribute__((packed)) mask;
	uint64_t blocked;

	memcpy(&blocked, wanted, sizeof(blocked));
	blocked = ~blocked;
	mask.head.len = KERNEL_SIGSET_BYTES;
	memcpy(mask.set, &blocked, sizeof(blocked));
	*why = "KVM_SET_SIGNAL_MASK failed";
	return kvm_ioctl(vm->vcpu_fd, KVM_SET_SIGNAL_MASK, &mask) < 0 ? ERR_HOST : OK;
}

int vcpu_run(struct vm *vm)
{
	return kvm_ioctl_value(vm->vcpu_fd, KVM_RUN, 0) < 0 ? errno : 0;
}

/*
 * KVM frees guest FPU state uncleared: replace it, and the registers, by
 * zeroes.  Failure leaves register-sized remnants in a process that exits.
 */
bool vcpu_clear(struct vm *vm)
{
	struct kvm_regs regs = { .rflags = RFLAGS_RESERVED };
	const uint32_t mxcsr = 0x1f80;
	struct kvm_xsave xsave;
	bool cleared;

	/* Only components named in the header (XSTATE_BV, byte 512) are copied. */
	memset(&xsave, 0, sizeof(xsave));
	memcpy((uint8_t *)xsave.region + 24, &mxcsr, sizeof(mxcsr));
	memcpy((uint8_t *)xsave.region + 512, &vm->xcr0, sizeof(vm->xcr0));
	cleared = kvm_ioctl(vm->vcpu_fd, KVM_SET_REGS, &regs) == 0 &&
		  kvm_ioctl(vm->vcpu_fd, KVM_SET_XSAVE, &xsave) == 0;
	/* The exit page holds the last MMIO or port data. */
	memset((uint8_t *)vm->run, 0, (size_t)vm->run_bytes);
	return cleared;
}

/*
 * RAX, RSP and RIP, as the last exit left them, are also in the CPU's control
 * block (VMCB, VMCS), which KVM writes at an entry only and frees uncleared.  So
 * the vCPU is entered once more, its registers zero and nothing mapped: it dies of
 * a triple fault before its first instruction.  No event is left that could make it
 * run one: an SMI, an NMI or an INIT that the guest sent itself is taken away.
 *
 * It stays the boot processor: any other would take a pending INIT as the order
 * to wait for a SIPI, and KVM_RUN would never return.  Its LAPIC stays on: KVM has a
 * static key for VMs whose LAPIC is off, and changing a key patches the host's kernel,
 * which interrupts all its processors.
 */
bool vcpu_flush(struct vm *vm, const sigset_t *signals)
{
	enum { TRIES = 16 };
	static const struct timespec now = { 0, 0 };
	static const struct kvm_vcpu_events nothing_pends = {
		.flags = KVM_VCPUEVENT_VALID_NMI_PENDING | KVM_VCPUEVENT_VALID_SHADOW | KVM_VCPUEVENT_VALID_SMM,
	};
	const struct vcpu_start nowhere = { .page_tables = 0 };
	struct kvm_mp_state not_halted = { .mp_state = KVM_MP_STATE_RUNNABLE };
	struct kvm_sregs sregs;

	memset(&sregs, 0, sizeof(sregs));
	long_mode(&sregs, &nowhere);
	sregs.gdt.limit = 0;
	sregs.tr = (struct kvm_segment){ .type = 11, .present = 1 };	/* VMX refuses an entry without one */
	sregs.apic_base = APIC_BASE_BSP | APIC_BASE_ENABLE | APIC_BASE_X2APIC;
	for (int i = 0; i < TRIES; i++) {
		int e;

		if (kvm_ioctl(vm->vcpu_fd, KVM_SET_SREGS, &sregs) < 0 ||
		    kvm_ioctl(vm->vcpu_fd, KVM_SET_MP_STATE, &not_halted) < 0)
			return false;
		vm->run->kvm_dirty_regs = KVM_SYNC_X86_EVENTS;
		vm->run->s.regs.events = nothing_pends;
		e = vcpu_run(vm);
		if (e == 0 && vm->run->exit_reason == KVM_EXIT_SHUTDOWN)
			return true;
		if (e == EINTR)		/* a signal that waits makes it return before the entry */
			(void)sigtimedwait(signals, NULL, &now);
		else if (e != 0 || !vcpu_clear(vm))
			return false;	/* else it finished the last access first: once more */
	}
	return false;
}

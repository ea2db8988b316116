/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vm.h - one virtual machine with one vCPU, made from /dev/kvm by raw ioctls.
 *
 * KVM API: Documentation/virt/kvm/api.rst of Linux.  The in-kernel part is the
 * LAPIC alone (split irqchip); no ioeventfd, irqfd, PIT or PIC.
 *
 * Errors: ERR_HOST with *why, a constant text that names what KVM refused, and
 * errno.  Thread: all calls from the thread that made the VM.
 */
#ifndef DOLANIA_KVM_VM_H
#define DOLANIA_KVM_VM_H

#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"

struct kvm_run;

struct vm {
	int vm_fd, vcpu_fd;
	struct kvm_run *run;		/* the vCPU's page of exits */
	long run_bytes;
	uint64_t xcr0;			/* state components the guest has; 0 = no XSAVE */
	int stats_fd;			/* what KVM counts of the vCPU */
	off_t tables_at;		/* where in it stats_tables() is */
};

/* Where the vCPU starts (boot/layout.h and the kernel's header say). */
struct vcpu_start {
	uint64_t entry, boot_params, page_tables, gdt;
};

/*
 * Make VM and vCPU over `mem`; `pins` is the userspace IOAPIC's size.  `kvm_fd`
 * is not closed.
 */
MUST_USE enum err vm_create(struct vm *vm, int kvm_fd, const struct gmem *mem, unsigned pins,
			    const char **why);

/* CPUID as in cpuid.c's allow-list, registers for 64-bit entry. */
MUST_USE enum err vcpu_setup(struct vm *vm, int kvm_fd, const struct vcpu_start *start,
			     const char **why);

/* The signals that may interrupt KVM_RUN; all others stay blocked in it. */
MUST_USE enum err vcpu_signals(struct vm *vm, const sigset_t *wanted, const char **why);

/* Enter the guest until the next exit.  0, or an errno (EINTR: a signal came). */
int vcpu_run(struct vm *vm);

/* stats.c: open KVM's counters of the vCPU. */
MUST_USE enum err stats_open(struct vm *vm, const char **why);

/*
 * Places without memory that KVM has made page tables for, up to four pages of the host's each.
 * It needs no exit: the CPU's walk through the guest's own page tables is enough.
 */
uint64_t stats_tables(const struct vm *vm);

/* Deliver an MSI; errors cannot be answered to a guest and are ignored. */
void vm_msi(struct vm *vm, uint64_t address, uint32_t data);

/* Overwrite registers and XSAVE state (after the last run).  False: KVM would not. */
bool vcpu_clear(struct vm *vm);

/*
 * After vcpu_clear(): one entry that runs no instruction, to overwrite what of the
 * registers is in the CPU's control block.  Guest page 0 must be zero: it is the
 * page tables.  KVM may write to guest memory in it (kvmclock), so the wipe comes
 * after.  `signals`: those of vcpu_signals(); pending ones are taken.
 * False: KVM would not, and register-sized remnants stay.
 */
bool vcpu_flush(struct vm *vm, const sigset_t *signals);

/* cpuid.c: set the guest's CPUID. */
MUST_USE enum err cpuid_setup(struct vm *vm, int kvm_fd, const char **why);

/* msr.c: deny every MSR that is not on the allow-list. */
MUST_USE enum err msr_setup(struct vm *vm, const char **why);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/kvm/vm.h"

#include <errno.h>
#include <linux/kvm.h>
#include <sys/mman.h>

#include "vmm/kvm/ioctl.h"

/* What a run cannot do without, and what to call it when it is missing. */
static const struct {
	int cap;
	const char *missing;
} required[] = {
	{ KVM_CAP_USER_MEMORY, "this KVM lacks KVM_CAP_USER_MEMORY" },
	{ KVM_CAP_SPLIT_IRQCHIP, "this KVM lacks KVM_CAP_SPLIT_IRQCHIP (in-kernel LAPIC without PIC)" },
	{ KVM_CAP_SIGNAL_MSI, "this KVM lacks KVM_CAP_SIGNAL_MSI" },
	{ KVM_CAP_TSC_DEADLINE_TIMER, "this KVM lacks KVM_CAP_TSC_DEADLINE_TIMER" },
	{ KVM_CAP_SYNC_REGS, "this KVM lacks KVM_CAP_SYNC_REGS (Linux 4.17)" },
	{ KVM_CAP_ENABLE_CAP_VM, "this KVM lacks KVM_CAP_ENABLE_CAP_VM" },
};

static enum err check_kvm(int kvm_fd, const char **why)
{
	if (kvm_ioctl_value(kvm_fd, KVM_GET_API_VERSION, 0) != KVM_API_VERSION) {
		*why = "/dev/kvm does not speak KVM API version 12";
		return ERR_HOST;
	}
	for (size_t i = 0; i < sizeof(required) / sizeof(required[0]); i++) {
		if (kvm_ioctl_value(kvm_fd, KVM_CHECK_EXTENSION, (unsigned long)required[i].cap) <= 0) {
			*why = required[i].missing;
			return ERR_HOST;
		}
	}
	return OK;
}

static int enable(int vm_fd, uint32_t cap, uint64_t arg)
{
	struct kvm_enable_cap c = { .cap = cap, .args = { arg } };

	return kvm_ioctl(vm_fd, KVM_ENABLE_CAP, &c);
}

/* What KVM makes up for a guest that breaks rules; ours breaks none.  To clear CR0.CD stays: it protects the host. */
enum {
	QUIRKS = KVM_X86_QUIRK_LAPIC_MMIO_HOLE |	/* the LAPIC's page answers though nothing is there */
		 KVM_X86_QUIRK_OUT_7E_INC_RIP |
		 KVM_X86_QUIRK_FIX_HYPERCALL_INSN |	/* the other vendor's hypercall is patched in guest memory */
		 KVM_X86_QUIRK_MWAIT_NEVER_UD_FAULTS,	/* MONITOR and MWAIT do nothing, and KVM logs it */
};

/* Exits by which the guest's oddities are seen, and less of what KVM does by itself, where this KVM has them. */
static enum err exits_setup(int vm_fd, int kvm_fd, const char **why)
{
	const struct {
		uint32_t cap;
		int bits;		/* of what KVM_CHECK_EXTENSION says: those that it has are enabled; 0: `arg` is */
		uint64_t arg;
		const char *refused;
	} exits[] = {
		/* An instruction KVM cannot emulate ends the run instead of a fault in the guest. */
		{ KVM_CAP_EXIT_ON_EMULATION_FAILURE, 0, 1, "KVM_CAP_EXIT_ON_EMULATION_FAILURE was refused" },
		/* VMX only: an atomic access over two cache lines, which slows every CPU of the host. */
		{ KVM_CAP_X86_BUS_LOCK_EXIT, KVM_BUS_LOCK_DETECTION_EXIT, 0,
		  "KVM_CAP_X86_BUS_LOCK_EXIT was refused" },
		/* VMX only: a guest that lets no event through; window 0 is the CPU's own least one. */
		{ KVM_CAP_X86_NOTIFY_VMEXIT, 0,
		  KVM_X86_NOTIFY_VMEXIT_ENABLED | KVM_X86_NOTIFY_VMEXIT_USER,
		  "KVM_CAP_X86_NOTIFY_VMEXIT was refused" },
		{ KVM_CAP_DISABLE_QUIRKS2, QUIRKS, 0, "KVM_CAP_DISABLE_QUIRKS2 was refused" },
		/* No counters of events, and RDPMC is a #GP. */
		{ KVM_CAP_PMU_CAPABILITY, KVM_PMU_CAP_DISABLE, 0, "KVM_CAP_PMU_CAPABILITY was refused" },
	};

	for (size_t i = 0; i < sizeof(exits) / sizeof(exits[0]); i++) {
		int has = kvm_ioctl_value(kvm_fd, KVM_CHECK_EXTENSION, exits[i].cap);

		if (exits[i].bits != 0)
			has &= exits[i].bits;
		if (has <= 0)
			continue;
		if (enable(vm_fd, exits[i].cap, exits[i].bits != 0 ? (uint64_t)has : exits[i].arg) < 0) {
			*why = exits[i].refused;
			return ERR_HOST;
		}
	}
	return OK;
}

static int add_slot(int vm_fd, uint32_t slot, uint64_t guest_at, uint64_t bytes, const uint8_t *host)
{
	struct kvm_userspace_memory_region region = {
		.slot = slot,
		.guest_phys_addr = guest_at,
		.memory_size = bytes,
		.userspace_addr = (uintptr_t)host,
	};

	return bytes == 0 ? 0 : kvm_ioctl(vm_fd, KVM_SET_USER_MEMORY_REGION, &region);
}

static enum err add_memory(int vm_fd, const struct gmem *mem)
{
	uint64_t low = mem->bytes < GMEM_HOLE_START ? mem->bytes : GMEM_HOLE_START;

	if (add_slot(vm_fd, 0, 0, low, mem->base) < 0 ||
	    add_slot(vm_fd, 1, GMEM_HOLE_END, mem->bytes - low, mem->base + low) < 0)
		return ERR_HOST;
	return OK;
}

enum err vm_create(struct vm *vm, int kvm_fd, const struct gmem *mem, unsigned pins, const char **why)
{
	enum err err = check_kvm(kvm_fd, why);

	if (err != OK)
		return err;
	*why = "KVM_CREATE_VM failed";
	vm->vm_fd = kvm_ioctl_value(kvm_fd, KVM_CREATE_VM, 0);
	if (vm->vm_fd < 0)
		return ERR_HOST;
	/* Only VMX without unrestricted guest uses these pages; elsewhere a no-op. */
	*why = "KVM_SET_TSS_ADDR failed";
	if (kvm_ioctl_value(vm->vm_fd, KVM_SET_TSS_ADDR, 0xfffbd000ul) < 0)
		return ERR_HOST;
	*why = "KVM_CAP_SPLIT_IRQCHIP was refused";
	if (enable(vm->vm_fd, KVM_CAP_SPLIT_IRQCHIP, pins) < 0)
		return ERR_HOST;
	if (exits_setup(vm->vm_fd, kvm_fd, why) != OK || msr_setup(vm, why) != OK)
		return ERR_HOST;
	*why = "KVM_SET_USER_MEMORY_REGION failed";
	if (add_memory(vm->vm_fd, mem) != OK)
		return ERR_HOST;
	*why = "KVM_CREATE_VCPU failed";
	vm->vcpu_fd = kvm_ioctl_value(vm->vm_fd, KVM_CREATE_VCPU, 0);
	if (vm->vcpu_fd < 0)
		return ERR_HOST;
	if (stats_open(vm, why) != OK)
		return ERR_HOST;
	*why = "mapping the vCPU's run page failed";
	vm->run_bytes = kvm_ioctl_value(kvm_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
	if (vm->run_bytes < (long)sizeof(struct kvm_run))
		return ERR_HOST;
	vm->run = mmap(NULL, (size_t)vm->run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, vm->vcpu_fd, 0);
	return vm->run == MAP_FAILED ? ERR_HOST : OK;
}

void vm_msi(struct vm *vm, uint64_t address, uint32_t data)
{
	struct kvm_msi msi = { .address_lo = (uint32_t)address, .data = data };

	/* 0: the guest blocked it (LAPIC off); its own affair. */
	(void)kvm_ioctl(vm->vm_fd, KVM_SIGNAL_MSI, &msi);
}

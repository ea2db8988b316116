/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What KVM counts of our vCPU, as a file: a header, descriptors, then one number each
 * (Documentation/virt/kvm/api.rst, KVM_GET_STATS_FD).
 */
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>
#include <sys/uio.h>

#include "vmm/kvm/ioctl.h"
#include "vmm/kvm/vm.h"

enum err stats_open(struct vm *vm, const char **why)
{
	static const char name[] = "pf_mmio_spte_created";
	uint8_t file[8192];		/* Linux 6.12: 6 KiB */
	struct kvm_stats_header h;
	struct kvm_stats_desc d;
	struct iovec v = { file, sizeof(file) };
	ssize_t n;

	*why = "this KVM does not count the page tables that it makes for a guest: KVM_GET_STATS_FD has no "
	       "pf_mmio_spte_created (Linux 5.19 or later has it)";
	vm->stats_fd = kvm_ioctl_value(vm->vcpu_fd, KVM_GET_STATS_FD, 0);
	if (vm->stats_fd < 0)
		return ERR_HOST;
	errno = 0;
	n = preadv(vm->stats_fd, &v, 1, 0);
	if (n < (ssize_t)sizeof(h))
		return ERR_HOST;
	memcpy(&h, file, sizeof(h));
	for (uint64_t i = 0, at = h.desc_offset; i < h.num_desc; i++, at += sizeof(d) + h.name_size) {
		if (h.name_size < sizeof(name) || at + sizeof(d) + h.name_size > (uint64_t)n)
			return ERR_HOST;
		memcpy(&d, file + at, sizeof(d));
		if (memcmp(file + at + sizeof(d), name, sizeof(name)) == 0) {
			vm->tables_at = (off_t)(h.data_offset + d.offset);
			return OK;
		}
	}
	return ERR_HOST;
}

uint64_t stats_tables(const struct vm *vm)
{
	uint64_t n;
	const struct iovec v = { &n, sizeof(n) };

	return preadv(vm->stats_fd, &v, 1, vm->tables_at) == sizeof(n) ? n : UINT64_MAX;
}

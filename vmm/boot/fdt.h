/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fdt.h - the one description of the machine: a flattened device tree.
 *
 * Linux on x86 takes from it the CPU, LAPIC, IOAPIC, the virtio-mmio windows
 * and the kernel-log region; memory, command line, initrd and seed go through
 * boot_params (params.h), because x86 does not read them from the tree.
 */
#ifndef DOLANIA_BOOT_FDT_H
#define DOLANIA_BOOT_FDT_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"

struct fdt_machine {
	unsigned slots;			/* virtio-mmio windows; slot i has interrupt pin i */
	uint64_t window_base, window_stride;
	uint64_t ioapic_base, lapic_base;
	uint64_t log_base, log_bytes;	/* ramoops region */
};

/* Build into buf (`bytes` long); *used is the tree's size.  ERR_BUG: buf too small. */
MUST_USE enum err fdt_build(const struct fdt_machine *mach, void *buf, size_t bytes, size_t *used);

#endif

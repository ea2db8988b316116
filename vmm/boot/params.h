/* SPDX-License-Identifier: Apache-2.0 */
/*
 * params.h - what Linux x86 expects at its 64-bit entry (boot protocol 2.12,
 * "64-bit boot protocol"): boot_params, e820 map, command line, setup_data
 * (device tree, RNG seed), GDT and identity page tables for the first 1 GiB.
 */
#ifndef DOLANIA_BOOT_PARAMS_H
#define DOLANIA_BOOT_PARAMS_H

#include <stddef.h>
#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"

struct params {
	const char *cmdline;		/* NUL-terminated */
	uint64_t initrd_at, initrd_bytes;	/* 0, 0 = none */
	const void *dtb;
	size_t dtb_bytes;
	uint8_t seed[32];		/* for the kernel's RNG */
};

/* ERR_USAGE: command line too long.  ERR_BUG: our layout does not fit. */
MUST_USE enum err params_write(const struct gmem *m, const struct params *p);

#endif

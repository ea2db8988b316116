/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.h - put a kernel (ELF64, x86-64 or arm64) and an initrd into guest memory.
 *
 * Files are read by pread from fds handed in; every offset, size and address
 * of the ELF header is checked against the file and against RAM.
 * On error *why is a constant text for the user.  ERR_USAGE: the file is no
 * kernel; ERR_HOST: reading failed (errno); ERR_LIMIT: it does not fit in RAM.
 */
#ifndef DOLANIA_BOOT_IMAGE_H
#define DOLANIA_BOOT_IMAGE_H

#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"

struct image {
	uint64_t entry;		/* guest address of the first instruction */
	uint64_t end;		/* first byte after the kernel, bss included */
};

MUST_USE enum err image_load_kernel(const struct gmem *m, int fd, struct image *out, const char **why);

/* Load the whole of `fd` page-aligned at or above `from`.  *at, *bytes are outputs. */
MUST_USE enum err image_load_initrd(const struct gmem *m, int fd, uint64_t from,
				    uint64_t *at, uint64_t *bytes, const char **why);

#endif

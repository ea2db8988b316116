/* SPDX-License-Identifier: Apache-2.0 */
/*
 * wipe.h - overwrite what a guest touched, before the host gets it back.
 *
 * Guest RAM is a memfd: the pages it holds are exactly those that anybody ever
 * touched, and lseek(SEEK_DATA/SEEK_HOLE) names them, so the cost is that of
 * the touched memory, not of the RAM.
 */
#ifndef DOLANIA_MEM_WIPE_H
#define DOLANIA_MEM_WIPE_H

#include <stdint.h>

#include "vmm/base/err.h"
#include "vmm/mem/gmem.h"

/*
 * Overwrite with zeroes all of `m` that holds pages; `fd` is its memfd.  *held
 * is the number of bytes that held pages, *wiped how many were overwritten
 * (equal unless ERR_HOST).
 */
MUST_USE enum err wipe_ram(const struct gmem *m, int fd, uint64_t *held, uint64_t *wiped);

/* Overwrite all that a memfd holds which is not mapped here: a disk.  Nobody is left to be told of a failure. */
void wipe_file(int fd);

#endif

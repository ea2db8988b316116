/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem.h - guest memory: the only place where a guest address becomes a pointer.
 *
 * Guest RAM is one memfd, mapped once.  Below GMEM_HOLE_START guest address ==
 * offset in the memfd; RAM beyond that continues at GMEM_HOLE_END (4 GiB), so
 * the hole holds LAPIC, IOAPIC and the virtio-mmio windows.
 *
 * A range that touches anything but RAM, or that crosses the hole, is refused
 * with ERR_GUEST.  A guest address is a struct, so arithmetic on it does not
 * compile; gpa_add() is the one way, and it is checked.
 *
 * Thread: the VMM's only thread.  The guest writes the same memory while the
 * VMM reads it only in the sense that it wrote it before the exit (one vCPU,
 * one thread): still, values are copied once and the copy is used.
 */
#ifndef DOLANIA_MEM_GMEM_H
#define DOLANIA_MEM_GMEM_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/uio.h>

#include "vmm/base/err.h"

typedef struct { uint64_t raw; } gpa_t;

#define GMEM_HOLE_START 0xc0000000ull
#define GMEM_HOLE_END 0x100000000ull
#define GMEM_LARGE_PAGE 0x200000ull

struct gmem {
	uint8_t *base;		/* the mapping of the whole memfd */
	uint64_t bytes;		/* RAM, a multiple of 4096 */
};

static inline gpa_t gpa(uint64_t raw) { return (gpa_t){ raw }; }

/* *sum = a + off.  ERR_GUEST on wrap. */
MUST_USE enum err gpa_add(gpa_t a, uint64_t off, gpa_t *sum);

/* Map `bytes` of `fd` (a memfd of at least that size).  ERR_HOST, ERR_USAGE. */
MUST_USE enum err gmem_map(struct gmem *m, int fd, uint64_t bytes);

/*
 * Keep every page of a mapping from being swapped once it is there.  False where the host
 * does not let us (RLIMIT_MEMLOCK).
 */
bool gmem_lock(const void *at, uint64_t bytes);

/*
 * Populate [a, a+len) with large pages, if it is RAM and the host has them to
 * give: a hint for RAM that is about to be used.  Each page of 4 KiB would cost
 * a fault in the host of its own.  `a` and `len` are multiples of
 * GMEM_LARGE_PAGE.  What the memory holds stays; failure costs only speed.
 */
void gmem_use_large_pages(const struct gmem *m, gpa_t a, uint64_t len);

/* Check that [a, a+len) is RAM.  ERR_GUEST. */
MUST_USE enum err gmem_check(const struct gmem *m, gpa_t a, uint64_t len);

/* Copy out of or into guest memory.  ERR_GUEST; nothing is copied then. */
MUST_USE enum err gmem_read(const struct gmem *m, gpa_t a, void *dst, size_t len);
MUST_USE enum err gmem_write(const struct gmem *m, gpa_t a, const void *src, size_t len);

/*
 * An iovec for [a, a+len), to hand to preadv/writev/memcpy at once.  The
 * pointer must not be read for control decisions.  ERR_GUEST.
 */
MUST_USE enum err gmem_iov(const struct gmem *m, gpa_t a, uint64_t len, struct iovec *iov);

/*
 * The two accesses that must be single and ordered (virtio 1.2 §2.7.13): the
 * ring indices.  `a` must be 2-byte aligned.  ERR_GUEST.
 */
MUST_USE enum err gmem_load_acquire_u16(const struct gmem *m, gpa_t a, uint16_t *v);
MUST_USE enum err gmem_store_release_u16(const struct gmem *m, gpa_t a, uint16_t v);

#endif

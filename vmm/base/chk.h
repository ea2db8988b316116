/* SPDX-License-Identifier: Apache-2.0 */
/*
 * chk.h - checked arithmetic for untrusted (offset, length) pairs.
 *
 * Each returns true when the result is right, and only then writes it.
 */
#ifndef DOLANIA_BASE_CHK_H
#define DOLANIA_BASE_CHK_H

#include <stdbool.h>
#include <stdint.h>

static inline bool chk_add_u64(uint64_t a, uint64_t b, uint64_t *sum)
{
	uint64_t r;

	if (__builtin_add_overflow(a, b, &r))
		return false;
	*sum = r;
	return true;
}

static inline bool chk_mul_u64(uint64_t a, uint64_t b, uint64_t *product)
{
	uint64_t r;

	if (__builtin_mul_overflow(a, b, &r))
		return false;
	*product = r;
	return true;
}

/* true when [off, off+len) lies inside [0, size), without overflow. */
static inline bool chk_range(uint64_t off, uint64_t len, uint64_t size)
{
	return off <= size && len <= size - off;
}

#endif

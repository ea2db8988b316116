/* SPDX-License-Identifier: Apache-2.0 */
/*
 * le.h - little-endian values as they lie in guest memory.
 *
 * A struct, so that a guest's value cannot be used before it is converted.
 */
#ifndef DOLANIA_BASE_LE_H
#define DOLANIA_BASE_LE_H

#include <stdint.h>

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "only little-endian hosts are supported");

typedef struct { uint16_t raw; } le16_t;
typedef struct { uint32_t raw; } le32_t;
typedef struct { uint64_t raw; } le64_t;

static inline uint16_t le16_get(le16_t v) { return v.raw; }
static inline uint32_t le32_get(le32_t v) { return v.raw; }
static inline uint64_t le64_get(le64_t v) { return v.raw; }
static inline le16_t le16(uint16_t v) { return (le16_t){ v }; }
static inline le32_t le32(uint32_t v) { return (le32_t){ v }; }
static inline le64_t le64(uint64_t v) { return (le64_t){ v }; }

#endif

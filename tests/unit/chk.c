/* SPDX-License-Identifier: Apache-2.0 */
/* Checked arithmetic: right or refused, and nothing written when refused. */
#include "tests/unit/tap.h"
#include "vmm/base/chk.h"
#include "vmm/base/le.h"

static void add(void)
{
	uint64_t r = 42;

	CHECK(chk_add_u64(1, 2, &r) && r == 3);
	CHECK(chk_add_u64(UINT64_MAX, 0, &r) && r == UINT64_MAX);
	r = 42;
	CHECK(!chk_add_u64(UINT64_MAX, 1, &r) && r == 42);
}

static void mul(void)
{
	uint64_t r = 42;

	CHECK(chk_mul_u64(3, 4, &r) && r == 12);
	CHECK(chk_mul_u64(0, UINT64_MAX, &r) && r == 0);
	r = 42;
	CHECK(!chk_mul_u64(1ull << 55, 512, &r) && r == 42);
	CHECK(!chk_mul_u64(UINT64_MAX, 2, &r) && r == 42);
}

static void range(void)
{
	CHECK(chk_range(0, 0, 0));
	CHECK(chk_range(0, 10, 10));
	CHECK(chk_range(10, 0, 10));
	CHECK(!chk_range(11, 0, 10));
	CHECK(!chk_range(1, 10, 10));
	CHECK(!chk_range(1, UINT64_MAX, 10));
	CHECK(!chk_range(UINT64_MAX, 1, UINT64_MAX));
	CHECK(chk_range(UINT64_MAX, 0, UINT64_MAX));
}

static void little_endian(void)
{
	le16_t a = le16(0x1234);
	le32_t b = le32(0x12345678);
	le64_t c = le64(0x123456789abcdef0ull);

	CHECK_EQ(*(unsigned char *)&a, 0x34);
	CHECK_EQ(*(unsigned char *)&b, 0x78);
	CHECK_EQ(*(unsigned char *)&c, 0xf0);
	CHECK(le16_get(a) == 0x1234 && le32_get(b) == 0x12345678 &&
	      le64_get(c) == 0x123456789abcdef0ull);
}

int main(void)
{
	RUN(add);
	RUN(mul);
	RUN(range);
	RUN(little_endian);
	return tap_end();
}

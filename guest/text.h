/* SPDX-License-Identifier: Apache-2.0 */
/* text.h - bounded text for mount options, cgroup files and the kernel log. */
#ifndef DOLANIA_GUEST_TEXT_H
#define DOLANIA_GUEST_TEXT_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

struct text {
	char at[256];
	size_t bytes;		/* without the NUL, which is always there */
};

/* Appends; what does not fit is cut. */
static inline void text_add(struct text *t, const char *s)
{
	size_t n = strlen(s);

	if (n > sizeof t->at - 1 - t->bytes)
		n = sizeof t->at - 1 - t->bytes;
	memcpy(t->at + t->bytes, s, n);
	t->bytes += n;
	t->at[t->bytes] = '\0';
}

static inline void text_add_u64(struct text *t, uint64_t v)
{
	char digits[21], *p = digits + sizeof digits - 1;

	*p = '\0';
	do
		*--p = (char)('0' + v % 10);
	while ((v /= 10) != 0);
	text_add(t, p);
}

/* The number at *s, which is moved past it. */
static inline uint64_t text_u64(const char **s)
{
	uint64_t v = 0;

	for (; **s >= '0' && **s <= '9'; ++*s)
		v = v * 10 + (uint64_t)(**s - '0');
	return v;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * terminal.c - guest output on its way to a terminal.
 *
 * What the guest controls here: every byte.  Escape sequences can retitle,
 * repaint, paste or answer into the user's shell, so nothing that begins one
 * passes: C0 controls but newline, tab and carriage return become ^X, C1
 * controls and bytes that are no UTF-8 become \xNN.
 */
#include <string.h>

#include "tools/libdolania/internal.h"

static size_t put_hex(unsigned char *to, unsigned char byte)
{
	static const char digits[] = "0123456789abcdef";

	to[0] = '\\';
	to[1] = 'x';
	to[2] = (unsigned char)digits[byte >> 4];
	to[3] = (unsigned char)digits[byte & 15];
	return 4;
}

/* What was begun and is no character after all. */
size_t terminal_flush(struct stream *t, unsigned char *to)
{
	size_t used = 0;

	for (unsigned i = 0; i < t->utf8_have; i++)
		used += put_hex(to + used, t->utf8[i]);
	t->utf8_have = 0;
	return used;
}

static size_t put_ascii(unsigned char *to, unsigned char byte)
{
	if (byte >= 0x20 || byte == '\n' || byte == '\t' || byte == '\r') {
		if (byte == 0x7f) {
			to[0] = '^';
			to[1] = '?';
			return 2;
		}
		to[0] = byte;
		return 1;
	}
	to[0] = '^';
	to[1] = (unsigned char)(byte + 0x40);
	return 2;
}

/* A whole character is in t->utf8. */
static size_t put_character(struct stream *t, unsigned char *to)
{
	const unsigned char *c = t->utf8;
	size_t n = t->utf8_have;
	bool overlong = (c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xf0 && c[1] < 0x90);
	bool outside = (c[0] == 0xed && c[1] > 0x9f) || (c[0] == 0xf4 && c[1] > 0x8f);
	bool c1 = c[0] == 0xc2 && c[1] < 0xa0;

	if (overlong || outside || c1)
		return terminal_flush(t, to);
	memcpy(to, c, n);
	t->utf8_have = 0;
	return n;
}

size_t terminal_clean(struct stream *t, unsigned char *to, const unsigned char *from, size_t n)
{
	size_t used = 0;

	for (size_t i = 0; i < n; i++) {
		unsigned char byte = from[i];

		if (t->utf8_have > 0 && (byte & 0xc0) == 0x80) {
			t->utf8[t->utf8_have++] = byte;
			if (t->utf8_have == t->utf8_want)
				used += put_character(t, to + used);
			continue;
		}
		used += terminal_flush(t, to + used);
		if (byte < 0x80) {
			used += put_ascii(to + used, byte);
		} else if (byte >= 0xc2 && byte <= 0xf4) {
			t->utf8[0] = byte;
			t->utf8_have = 1;
			t->utf8_want = byte < 0xe0 ? 2 : byte < 0xf0 ? 3 : 4;
		} else {
			used += put_hex(to + used, byte);
		}
	}
	return used;
}

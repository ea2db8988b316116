/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest_log.c - what only the guest's kernel can have written into its log.
 *
 * What the guest controls here: all of the log, if it has taken over its kernel.  A
 * script that has not can put words into records: the name of its process (15 bytes,
 * also as the first words of a record) and names of files, with newlines.  Our kernel
 * begins a record, and no other line, with "[seconds.microseconds] " (kernel-config,
 * patch 0017).  So words are the kernel's own where they follow that, and are longer
 * than a process's name.  The first line may be cut off in the middle of a record.
 */
#include <ctype.h>
#include <string.h>

#include "tools/libdolania/internal.h"

enum { COMM_BYTES = 16 };

/* Bytes of the record's "[    0.123456] ", or 0. */
static size_t stamp(const char *line, size_t bytes)
{
	size_t i = 0, digits = 0;

	if (bytes == 0 || line[i++] != '[')
		return 0;
	while (i < bytes && line[i] == ' ')
		i++;
	while (i < bytes && isdigit((unsigned char)line[i]))
		i++;
	if (i == bytes || line[i++] != '.')
		return 0;
	for (; i < bytes && isdigit((unsigned char)line[i]); i++)
		digits++;
	return digits == 6 && bytes - i >= 2 && line[i] == ']' && line[i + 1] == ' ' ? i + 2 : 0;
}

unsigned guest_log_says(const struct report *p, const char *words, struct guest_words *last)
{
	const char *end = p->log + p->log_bytes, *at = memchr(p->log, '\n', p->log_bytes), *stop;
	size_t n = strlen(words), skip;
	unsigned found = 0;

	if (n < COMM_BYTES)
		return 0;
	for (; at != NULL; at = stop) {
		at++;
		stop = memchr(at, '\n', (size_t)(end - at));
		skip = stamp(at, (size_t)((stop != NULL ? stop : end) - at));
		at += skip;
		if (skip == 0 || (size_t)(end - at) < n || memcmp(at, words, n) != 0)
			continue;
		found++;
		if (last != NULL)
			*last = (struct guest_words){ at, (size_t)((stop != NULL ? stop : end) - at) };
	}
	return found;
}

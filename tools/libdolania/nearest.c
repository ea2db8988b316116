/* SPDX-License-Identifier: Apache-2.0 */
/* nearest.c - "did you mean": edit distance over short words. */
#include <string.h>

#include "tools/libdolania/policy.h"

enum { LONGEST = 32 };

static unsigned least(unsigned a, unsigned b, unsigned c)
{
	unsigned m = a < b ? a : b;

	return m < c ? m : c;
}

/* Insertions, deletions and replacements from a to b; both at most LONGEST. */
static unsigned distance(const char *a, const char *b)
{
	unsigned row[LONGEST + 1];
	size_t n = strlen(b);

	for (size_t j = 0; j <= n; j++)
		row[j] = (unsigned)j;
	for (size_t i = 1; a[i - 1] != '\0'; i++) {
		unsigned diagonal = row[0];

		row[0] = (unsigned)i;
		for (size_t j = 1; j <= n; j++) {
			unsigned above = row[j];

			row[j] = least(above + 1, row[j - 1] + 1, diagonal + (a[i - 1] != b[j - 1]));
			diagonal = above;
		}
	}
	return row[n];
}

const char *nearest(const char *word, const char *const *words)
{
	const char *best = NULL;
	unsigned best_distance = strlen(word) < 5 ? 2 : 3;	/* farther is no likeness */

	if (strlen(word) > LONGEST)
		return NULL;
	for (; *words != NULL; words++) {
		unsigned d;

		if (strlen(*words) < 3 || strlen(*words) > LONGEST)
			continue;
		d = distance(word, *words);
		if (d < best_distance) {
			best = *words;
			best_distance = d;
		}
	}
	return best;
}

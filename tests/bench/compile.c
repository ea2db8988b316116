/* SPDX-License-Identifier: Apache-2.0 */
/* compile.c - what the bench compiles inside a VM: reads words, prints the most frequent ones. */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 1 << 14, WORD_MAX = 64, SHOWN = 10 };

struct word { char text[WORD_MAX]; unsigned long count; };
static struct word table[SLOTS];

static unsigned hash(const char *s)
{
	unsigned h = 2166136261u;

	while (*s)
		h = (h ^ (unsigned char)*s++) * 16777619u;
	return h;
}

static int add(const char *text)
{
	for (unsigned i = 0, at = hash(text); i < SLOTS; i++, at++) {
		struct word *w = &table[at % SLOTS];

		if (w->count == 0)
			strcpy(w->text, text);
		if (strcmp(w->text, text) == 0) {
			w->count++;
			return 0;
		}
	}
	return -1;
}

static int by_count(const void *a, const void *b)
{
	const struct word *x = a, *y = b;

	return x->count == y->count ? strcmp(x->text, y->text) : x->count < y->count ? 1 : -1;
}

int main(void)
{
	char text[WORD_MAX];
	size_t n = 0;
	int c;

	do {
		c = getchar();
		if (c != EOF && isalnum(c) && n < sizeof text - 1) {
			text[n++] = (char)tolower(c);
		} else if (n > 0) {
			text[n] = '\0';
			n = 0;
			if (add(text)) {
				fputs("too many words\n", stderr);
				return EXIT_FAILURE;
			}
		}
	} while (c != EOF);
	qsort(table, SLOTS, sizeof table[0], by_count);
	for (size_t i = 0; i < SHOWN && table[i].count > 0; i++)
		printf("%8lu %s\n", table[i].count, table[i].text);
	return EXIT_SUCCESS;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * search.c - looks for every word of every canary at every byte of a memory dump.
 *
 * usage: search DUMP <CANARIES
 *
 * CANARIES: a line for each place, its name and its words in hexadecimal.
 * Output, for each place that was found:
 *
 *	place NAME WORDS HITS WHOLE	distinct words of it, hits, whole canaries
 *	page NUMBER NAME HITS		the first pages with hits, in order
 *
 * A hit is one 8-byte word of a canary, at any offset.  Random bytes look like
 * one of 10,000 words once in 2 million dumps of 1 GiB.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { PLACES_MAX = 256, WORDS_MAX = 64, SLOTS = 1 << 16, FILTER_BITS = 20, PAGE = 4096, PAGES_TOLD = 4096 };

struct place {
	char name[32];
	unsigned words;
	uint64_t word[WORDS_MAX];
	bool seen[WORDS_MAX];
	uint64_t hits, whole, page, page_hits;
};

struct search {
	struct place place[PLACES_MAX];
	unsigned places, told;
	uint32_t slot[SLOTS];		/* 1 + place * WORDS_MAX + word; 0: none */
	uint8_t filter[1 << (FILTER_BITS - 3)];
	const uint8_t *dump;
	uint64_t bytes;
};

static uint32_t hash(uint64_t w, unsigned bits)
{
	return (uint32_t)(w * 0x9e6b1f4d83c5a7e1u >> (64 - bits));
}

static void die(const char *why)
{
	fprintf(stderr, "search: %s\n", why);
	exit(2);
}

static void add(struct search *s, unsigned place, unsigned i, uint64_t w)
{
	uint32_t at = hash(w, 16), bit = hash(w, FILTER_BITS);

	while (s->slot[at] != 0)
		at = (at + 1) % SLOTS;
	s->slot[at] = 1 + place * WORDS_MAX + i;
	s->filter[bit / 8] |= (uint8_t)(1u << bit % 8);
	s->place[place].word[i] = w;
}

static void read_canaries(struct search *s)
{
	char *line = NULL, *rest, *text;
	size_t room = 0;

	while (getline(&line, &room, stdin) > 0) {
		struct place *p = &s->place[s->places];

		text = strtok_r(line, " \n", &rest);
		if (text == NULL || s->places == PLACES_MAX)
			die("too many places, or an empty line");
		snprintf(p->name, sizeof(p->name), "%s", text);
		while ((text = strtok_r(NULL, " \n", &rest)) != NULL && p->words < WORDS_MAX)
			add(s, s->places, p->words++, strtoull(text, NULL, 16));
		s->places++;
	}
	free(line);
}

static void end_page(struct search *s, struct place *p)
{
	if (p->page_hits > 0 && s->told++ < PAGES_TOLD)
		printf("page %" PRIu64 " %s %" PRIu64 "\n", p->page, p->name, p->page_hits);
	p->page_hits = 0;
}

static void hit(struct search *s, uint64_t at, unsigned which)
{
	struct place *p = &s->place[which / WORDS_MAX];
	unsigned i = which % WORDS_MAX;

	if (p->page != at / PAGE)
		end_page(s, p);
	p->page = at / PAGE;
	p->page_hits++;
	p->hits++;
	p->seen[i] = true;
	if (i == 0 && at + p->words * 8 <= s->bytes && memcmp(s->dump + at, p->word, p->words * 8) == 0)
		p->whole++;
}

static void look_closer(struct search *s, uint64_t at, uint64_t w)
{
	for (uint32_t i = hash(w, 16); s->slot[i] != 0; i = (i + 1) % SLOTS) {
		unsigned which = s->slot[i] - 1;

		if (s->place[which / WORDS_MAX].word[which % WORDS_MAX] == w) {
			hit(s, at, which);
			return;
		}
	}
}

/* Words may begin in [from, to) and reach beyond it. */
static void scan(struct search *s, uint64_t from, uint64_t to)
{
	if (to + 8 > s->bytes)
		to = s->bytes - 7;
	for (uint64_t at = from; at < to; at++) {
		uint64_t w;
		uint32_t bit;

		memcpy(&w, s->dump + at, 8);
		bit = hash(w, FILTER_BITS);
		if (s->filter[bit / 8] & 1u << bit % 8)
			look_closer(s, at, w);
	}
}

static bool is_empty(const uint8_t *page)
{
	return page[0] == 0 && memcmp(page, page + 1, PAGE - 1) == 0;
}

/* Empty pages are passed over, but for the end that a word may begin in. */
static void scan_all(struct search *s, int fd)
{
	for (uint64_t at = 0; at < s->bytes;) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA), hole;

		if (data < 0)
			return;
		hole = lseek(fd, data, SEEK_HOLE);
		for (at = (uint64_t)data & ~(uint64_t)(PAGE - 1); at < (uint64_t)hole; at += PAGE) {
			bool empty = is_empty(s->dump + at);

			scan(s, empty ? at + PAGE - 7 : at, at + PAGE);
		}
	}
}

int main(int argc, char **argv)
{
	static struct search s;
	struct stat st;
	int fd = argc == 2 ? open(argv[1], O_RDONLY | O_CLOEXEC) : -1;

	if (fd < 0 || fstat(fd, &st) < 0 || st.st_size < PAGE || st.st_size % PAGE != 0)
		die("usage: search DUMP <CANARIES; DUMP is whole pages");
	s.bytes = (uint64_t)st.st_size;
	s.dump = mmap(NULL, s.bytes, PROT_READ, MAP_PRIVATE, fd, 0);
	if (s.dump == MAP_FAILED)
		die("the dump cannot be mapped");
	read_canaries(&s);
	scan_all(&s, fd);
	for (unsigned i = 0; i < s.places; i++) {
		struct place *p = &s.place[i];
		unsigned words = 0;

		end_page(&s, p);
		for (unsigned j = 0; j < p->words; j++)
			words += p->seen[j];
		if (p->hits > 0)
			printf("place %s %u %" PRIu64 " %" PRIu64 "\n", p->name, words, p->hits, p->whole);
	}
	return 0;
}

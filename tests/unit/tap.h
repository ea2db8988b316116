/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tap.h - the smallest test harness: checks that count, and go on.
 *
 *   static void some_behaviour(void) { CHECK(...); CHECK_EQ(got, want); }
 *   int main(void) { RUN(some_behaviour); return tap_end(); }
 */
#ifndef DOLANIA_TESTS_TAP_H
#define DOLANIA_TESTS_TAP_H

#include <stdio.h>

static int tap_passed, tap_failed;
static const char *tap_name = "";

static inline void tap_check(int good, const char *file, int line, const char *text,
			     long long got, long long want, int show)
{
	if (good) {
		tap_passed++;
		return;
	}
	tap_failed++;
	fprintf(stderr, "%s:%d: %s: %s", file, line, tap_name, text);
	if (show)
		fprintf(stderr, ": got %lld (0x%llx), want %lld (0x%llx)", got, got, want, want);
	fputc('\n', stderr);
}

#define CHECK(cond) tap_check(!!(cond), __FILE__, __LINE__, #cond, 0, 0, 0)
#define CHECK_EQ(got, want) do { \
	long long tap_g = (long long)(got), tap_w = (long long)(want); \
	tap_check(tap_g == tap_w, __FILE__, __LINE__, #got, tap_g, tap_w, 1); \
} while (0)
#define RUN(test) do { tap_name = #test; test(); } while (0)

static inline int tap_end(void)
{
	printf("%d passed, %d failed\n", tap_passed, tap_failed);
	return tap_failed ? 1 : 0;
}

#endif

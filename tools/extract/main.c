/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dolania-extract: what a script left in /out, from an archive on stdin into a directory.
 *
 *	dolania-extract DIR-FD REPORT-FD MAX-BYTES MAX-ENTRIES
 *
 * Called by libdolania in namespaces and an empty root of its own.  It locks
 * itself in (jail.c), says so with one byte on stdout, and only then reads.
 * What it did is in the report (report.h); stdin is read to its end whatever is
 * wrong with it, so that the sender never waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "tools/extract/jail.h"
#include "tools/extract/place.h"
#include "vmm/base/relro.h"

/* Large, and zeroed at the start: not for a stack. */
static struct {
	struct tar tar;
	struct place place;
	uint8_t buffer[64 * 1024];
} g;

static int no_jail(const char *why)
{
	fprintf(stderr, "%s: %s\n", why, strerror(errno));
	return EXTRACT_STATUS_NO_JAIL;
}

static bool number(const char *text, uint64_t max, uint64_t *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text >= '0' && *text <= '9' && *end == '\0' && errno == 0 && *value <= max;
}

static void read_archive(void)
{
	const struct tar_sink sink = place_sink(&g.place);
	ssize_t n;

	tar_init(&g.tar, &sink);
	while ((n = read(STDIN_FILENO, g.buffer, sizeof g.buffer)) != 0) {
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			break;
		if (!g.place.crowded && !g.place.host_failed)
			(void)tar_feed(&g.tar, g.buffer, (size_t)n);
	}
	place_finish(&g.place);
}

static enum extract_end how_it_ended(void)
{
	if (g.place.host_failed)
		return EXTRACT_HOST;
	if (g.place.crowded)
		return EXTRACT_CROWDED;
	if (g.tar.state == TAR_BROKEN)
		return EXTRACT_BROKEN;
	return g.tar.state == TAR_DONE ? EXTRACT_WHOLE : EXTRACT_CUT;
}

int main(int argc, char **argv)
{
	const char *why = "called without its arguments; use dolania";
	uint64_t dir, report, max_bytes, max_entries;
	struct extract_report *r;

	if (relro_seal() < 0)
		return no_jail("its tables could not be made read-only");
	errno = EINVAL;
	if (argc != 5 || !number(argv[1], INT32_MAX, &dir) || !number(argv[2], INT32_MAX, &report) ||
	    !number(argv[3], INT64_MAX, &max_bytes) || !number(argv[4], INT64_MAX, &max_entries))
		return no_jail(why);
	r = mmap(NULL, EXTRACT_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, (int)report, 0);
	if (r == MAP_FAILED)
		return no_jail("its report cannot be mapped");
	place_init(&g.place, (int)dir, r);
	g.place.max_bytes = max_bytes;
	g.place.max_entries = max_entries;
	g.place.now = time(NULL);
	if (jail_enter((int)dir, max_bytes, &why) < 0)
		return no_jail(why);
	if (write(STDOUT_FILENO, "j", 1) != 1)
		_exit(EXTRACT_STATUS_NO_JAIL);
	close(STDOUT_FILENO);
	read_archive();
	r->broken = g.tar.broken;
	r->end = how_it_ended();
	_exit(EXTRACT_STATUS_OK);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* place.h - entries into a directory, and nowhere else. */
#ifndef DOLANIA_EXTRACT_PLACE_H
#define DOLANIA_EXTRACT_PLACE_H

#include <stdbool.h>
#include <stdint.h>

#include "tools/extract/tar.h"

struct place {
	int dir;		/* the directory; O_PATH will do */
	uint64_t max_bytes, max_entries;
	struct extract_report *report;
	int64_t now;		/* seconds: a time after it is taken for it */
	uint64_t entries;
	bool crowded;		/* more entries than max_entries */
	bool host_failed;	/* report->error says why: nothing further is tried */
	int file, parent;	/* being written, and where it is; -1 */
	uint64_t written;
	int64_t mtime;
	const char *name;	/* of it, in `path` */
	char path[TAR_PATH_MAX + 1];
};

void place_init(struct place *p, int dir, struct extract_report *report);
struct tar_sink place_sink(struct place *p);
/* The stream ended: a file that is not whole is taken away, and listed. */
void place_finish(struct place *p);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar.h - a parser for the archives that guest/archive.c writes, and no others.
 *
 * ustar with pax headers for what does not fit into it.  Bytes are pushed in,
 * in pieces of any size; entries come out through a sink.  No memory is taken,
 * no byte is looked at twice, and what is ambiguous is refused rather than
 * guessed: there is one meaning of each archive, or none.
 */
#ifndef DOLANIA_EXTRACT_TAR_H
#define DOLANIA_EXTRACT_TAR_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/extract/report.h"

enum {
	TAR_BLOCK = 512,
	TAR_PATH_MAX = 4095,
	TAR_PART_MAX = 255,
	TAR_PAX_MAX = 3 * 4096,	/* of one extended header */
};

struct tar_entry {
	const char *path;	/* NUL-terminated, checked: no "..", not absolute; may hold any other byte */
	size_t path_bytes;
	bool is_directory;
	bool executable;
	uint64_t bytes;		/* of data that will follow */
	int64_t mtime;		/* seconds */
};

struct tar_sink {
	void *ctx;
	/* False: its data is skipped, and end() is not called. */
	bool (*begin)(void *ctx, const struct tar_entry *e);
	bool (*data)(void *ctx, const uint8_t *bytes, size_t n);	/* false: skip the rest, no end() */
	void (*end)(void *ctx);
	/* `name` is as the archive has it. */
	void (*refuse)(void *ctx, const char *name, size_t n, enum extract_why why);
};

struct tar {
	const struct tar_sink *sink;
	enum { TAR_HEADER, TAR_DATA, TAR_SKIP, TAR_PAX, TAR_END_MARK, TAR_DONE, TAR_BROKEN } state;
	enum extract_broken broken;
	uint64_t left;		/* of data, then */
	uint32_t padding;	/* up to the next block */
	uint32_t have;		/* of `block` or `pax` */
	bool open;		/* begin() said yes, end() is due */
	bool has_pax;		/* an extended header waits for its entry */
	bool pax_path, pax_size, pax_mtime, pax_strange;
	enum extract_why pax_left_out;
	uint64_t size;
	int64_t mtime;
	size_t path_bytes;
	uint8_t block[TAR_BLOCK];
	uint8_t pax[TAR_PAX_MAX];
	char path[TAR_PATH_MAX + 2];
};

void tar_init(struct tar *t, const struct tar_sink *sink);
/* False when nothing further is wanted: t->state is TAR_BROKEN. */
bool tar_feed(struct tar *t, const uint8_t *bytes, size_t n);

/* WHY_NONE, or why no such path is extracted.  A directory's last '/' is not part of `path`. */
enum extract_why tar_path_check(const char *path, size_t n);

#endif

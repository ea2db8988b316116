/* SPDX-License-Identifier: Apache-2.0 */
/*
 * report.h - what dolania-extract tells its caller: numbers, and names as bytes.
 *
 * The page is a memfd of EXTRACT_REPORT_BYTES that both map, so it outlives an
 * extractor that was killed.  The reader treats every value as hostile: a
 * guest's archive was parsed by who wrote it.
 */
#ifndef DOLANIA_EXTRACT_REPORT_H
#define DOLANIA_EXTRACT_REPORT_H

#include <stdint.h>

/* How far it came.  What was extracted until then stays. */
enum extract_end {
	EXTRACT_RUNNING = 0,	/* it was killed, or crashed */
	EXTRACT_WHOLE,		/* up to the archive's own end mark */
	EXTRACT_CUT,		/* the stream ended before that */
	EXTRACT_BROKEN,		/* no archive as our guest writes it: `broken` says why */
	EXTRACT_CROWDED,	/* more entries than are accepted */
	EXTRACT_HOST,		/* a write failed: `error` */
	EXTRACT_ENDS,
};

enum extract_broken {
	BROKEN_NOTHING = 0,
	BROKEN_HEADER,		/* no ustar header, or its checksum is wrong */
	BROKEN_NUMBER,		/* a number that is not plain octal */
	BROKEN_SIZE,		/* data where there can be none, or more than a file can have */
	BROKEN_PAX,		/* an extended header that is malformed, too long, or alone */
	BROKEN_GLOBAL,		/* a global header, which would change all that follows */
	BROKEN_TRAILER,		/* bytes after the end mark */
	BROKEN_KINDS,
};

/* Why an entry is not in the directory. */
enum extract_why {
	WHY_NONE = 0,
	WHY_SYMLINK,
	WHY_HARDLINK,
	WHY_DEVICE,
	WHY_FIFO,
	WHY_KIND,		/* another kind, known or not */
	WHY_SETID,		/* set-user-ID or set-group-ID */
	WHY_SPARSE,		/* a sparse map, or a header keyword that our guest does not write */
	WHY_ABSOLUTE,
	WHY_DOTDOT,
	WHY_NAME,		/* empty, with an empty part, a "." or a NUL, a file ending in '/' */
	WHY_LONG,		/* a name or path longer than Linux has */
	WHY_EXISTS,
	WHY_PARENT,		/* its directory is not there, is a link, or is on another file system */
	WHY_TOO_LARGE,		/* than what is left of the limit */
	WHY_CUT,		/* the stream ended in it */
	WHY_HOST,		/* `error` */
	/* what the guest's init says it could not send */
	WHY_LEFT_TOO_LARGE,
	WHY_LEFT_UNREADABLE,
	WHY_LEFT_SOCKET,
	WHY_LEFT_DEEP,
	WHY_DAMAGED,		/* it is there, but its end could not be read and is zeroes */
	WHY_COUNT,
};

enum { EXTRACT_LISTED = 64, EXTRACT_NAME_BYTES = 240 };

struct extract_refusal {
	uint32_t why;		/* enum extract_why */
	int32_t error;		/* errno, with WHY_HOST */
	uint32_t name_bytes;	/* of `name` */
	uint32_t cut;		/* the name went on */
	char name[EXTRACT_NAME_BYTES];
};

struct extract_report {
	uint32_t end;		/* enum extract_end */
	uint32_t broken;	/* enum extract_broken */
	int32_t error;		/* errno, with EXTRACT_HOST */
	uint32_t listed;	/* entries of `refused` */
	uint64_t files, dirs, bytes;	/* extracted */
	uint64_t refused_total;
	struct extract_refusal refused[EXTRACT_LISTED];
};
enum { EXTRACT_REPORT_BYTES = 20480 };
_Static_assert(sizeof(struct extract_report) <= EXTRACT_REPORT_BYTES, "the report fits its pages");

/* Exit status: 0 the report tells all; 1 no jail: one line on stderr. */
enum { EXTRACT_STATUS_OK = 0, EXTRACT_STATUS_NO_JAIL = 1 };

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extract.h - the process that puts a guest's archive into a directory.
 *
 *	extractor_start()	it locks itself in, and waits
 *	write to x->archive	until the end, or EPIPE
 *	extractor_finish()	what came of it
 *
 * It has namespaces and an empty root of its own (confine.h), no privilege, no
 * path but the directory (a detached mount, so ".." ends there), and eight
 * system calls (tools/extract/).  Files are
 * the caller's; if that is root, they belong to the directory's owner.
 */
#ifndef DOLANIA_LIBDOLANIA_EXTRACT_H
#define DOLANIA_LIBDOLANIA_EXTRACT_H

#include <sys/types.h>

#include "tools/libdolania/dolania.h"

struct extractor {
	pid_t pid;
	int pidfd;
	int archive;		/* a pipe into it */
	int log;
	struct extract_report *page;
};

/* 0, or -1 with a line in `why`: nothing is running then.  *x needs no preparation. */
int extractor_start(struct extractor *x, const char *program, int dir, uint64_t max_bytes, uint64_t max_entries,
		    char *why, size_t room);

/*
 * Closes the archive and waits; `signal_fd` (or -1) becoming readable ends the wait.
 * Fills out's counts, list and why_not; true when all of the archive was read and nothing of it
 * was lost for the host's fault.  A signal that asks for an end is taken from signal_fd into cancel_signal.
 */
bool extractor_finish(struct extractor *x, int signal_fd, int *cancel_signal, struct dolania_out *out);

#endif

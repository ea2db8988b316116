/* SPDX-License-Identifier: Apache-2.0 */
/* sink.h - the files that a run's result, its meta figures and its events go to. */
#ifndef DOLANIA_SINK_H
#define DOLANIA_SINK_H

#include <stdbool.h>

/* A file that is written whole, once the run is over; opened before, so that a wrong path costs nothing. */
struct sink {
	const char *option, *path;	/* path: NULL for a descriptor of the caller's */
	int given;			/* that descriptor, or -1 */
	int fd;				/* -1: nothing is wanted */
};

/*
 * False, and told, if it is wanted and cannot be had.  What is there already is overwritten only where an earlier
 * run wrote it, and not if it is `other`, another sink's file (or -1).  A signal from `signal_fd` ends the process.
 */
bool sink_open(struct sink *k, int signal_fd, int other);
/* Empties what an earlier run wrote: once nothing can refuse the run any more.  False, and told, if it cannot. */
bool sink_begin(const struct sink *k);
/* Takes `text` and closes the file.  False, and told, if it could not be written. */
bool sink_write(const struct sink *k, const char *what, char *text);
/* A file that lines are added to; -1 and errno. */
int sink_open_stream(const char *path, int signal_fd);
/* Are both open, and the same regular file? */
bool sink_same_file(int a, int b);

#endif

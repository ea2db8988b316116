/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.h - the job: received once, checked whole, then only read.
 *
 * The host is trusted; the checks are here because a half-understood job would
 * run with limits that nobody asked for.
 */
#ifndef DOLANIA_GUEST_JOB_H
#define DOLANIA_GUEST_JOB_H

#include "init.h"

enum {
	JOB_INBOX_BYTES = 64 << 10,	/* one receive takes any common job whole */
	JOB_SMALL_STRINGS = 256,
};

struct job {
	struct wire_job h;
	const char *cwd;
	char **argv;		/* NULL-terminated, as the next two */
	char **envp;
	char **disks;		/* where disk 1.. go */
	char **binds;		/* where the entries of the input disk go */

	/* Script text that came along with the strings; the rest is still on its way. */
	const char *script;
	size_t script_bytes;

	/* private to job.c */
	char *slots[JOB_SMALL_STRINGS];
	char inbox[JOB_INBOX_BYTES];
};

/*
 * Checks a header by itself; 0, or the errno of the fault: EPROTO (not a job,
 * counts that contradict one another), E2BIG (over the wire's limits).
 */
int job_check(const struct wire_job *h) MUST_CHECK;

/*
 * Splits `strings` (h.strings_bytes of them) into job->cwd, argv, envp, disks, binds.
 * `slots` has room for job_slots(&job->h) pointers.  0, or EPROTO.
 */
int job_split(struct job *job, char *strings, char **slots) MUST_CHECK;
size_t job_slots(const struct wire_job *h) MUST_CHECK;

/* Receives header and strings from the control connection `fd`. */
int job_receive(struct job *job, int fd, struct fault *f) MUST_CHECK;

/* Writes the script's text to its path, 0755 and owned by the script. */
int job_write_script(struct job *job, int fd, struct fault *f) MUST_CHECK;

#endif

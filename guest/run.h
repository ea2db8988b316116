/* SPDX-License-Identifier: Apache-2.0 */
/* run.h - the script's first process. */
#ifndef DOLANIA_GUEST_RUN_H
#define DOLANIA_GUEST_RUN_H

#include <sys/types.h>

#include "cgroup.h"
#include "init.h"
#include "job.h"

struct run {
	pid_t pid;
	int in, out, err;	/* init's pipe ends, non-blocking; in is -1 where stdin is /dev/null, err where it is stdout */
	int exec_error;		/* errno of a failed exec; the process has ended then */
	uint64_t started_ns;	/* when exec had succeeded */
};

/*
 * Spawns it and returns when its exec has succeeded or failed.  SIGCHLD must be
 * blocked.  What fails before the exec is a fault of init's.
 */
int run_spawn(struct run *r, const struct job *job, const struct cgroup *g,
	      struct fault *f) MUST_CHECK;

#endif

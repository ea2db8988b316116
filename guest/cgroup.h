/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.h - the script's control group, outside of which init stays. */
#ifndef DOLANIA_GUEST_CGROUP_H
#define DOLANIA_GUEST_CGROUP_H

#include "init.h"
#include "job.h"

struct cgroup {
	int dir;		/* of the script's group; stays valid when the root changes */
	int procs;		/* its cgroup.procs: a child writes "0" to enter */
};

struct cgroup_figures {
	uint64_t memory_peak_bytes, oom_kills, pids_peak, pids_refused;
};

/* Makes the group in the initramfs, empty and without limits. */
int cgroup_make(struct cgroup *g, struct fault *f) MUST_CHECK;

int cgroup_limit(const struct cgroup *g, const struct wire_job *h, struct fault *f) MUST_CHECK;

/* How many processes are in the group. */
uint64_t cgroup_count(const struct cgroup *g);

/* Kills what is in the group, also what is being forked. */
void cgroup_kill(const struct cgroup *g);

/* What cannot be read is 0. */
struct cgroup_figures cgroup_read(const struct cgroup *g);

#endif

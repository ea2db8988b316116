/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cgroup.h - a cgroup of the VMM's own: what the host's kernel spends for a guest has a limit there.
 *
 * KVM's tables, the guest's RAM and the VMM's own memory are charged to the cgroup of the VMM
 * (cgroup v2, Documentation/admin-guide/cgroup-v2.rst).  A run has one where the caller may make
 * one, and says in its result where not: it is a second wall, and no run depends on it.
 *
 * It is made below the caller's own cgroup, or beside it where that has no limit of its own, so the
 * VMM never leaves a limit that somebody set for the caller.  The caller itself is not moved.
 *
 * Not for several threads at once on one struct; different structs are independent.
 */
#ifndef DOLANIA_LIBDOLANIA_CGROUP_H
#define DOLANIA_LIBDOLANIA_CGROUP_H

#include <stdbool.h>
#include <stdint.h>

enum { CGROUP_PIDS = 4, CGROUP_WEIGHT = 50, CGROUP_NAME = 32 };

struct cgroup {
	int dir;			/* of the VMM's own, locked while it is ours; -1: there is none */
	int parent;			/* the cgroup it lies in; -1 */
	char name[CGROUP_NAME];		/* in `parent` */
	uint64_t memory_max_bytes;
	uint64_t memory_peak_bytes;	/* by cgroup_read(); 0: this kernel does not say (before 5.19) */
	uint64_t oom_kills;		/* by cgroup_read() */
	bool callers_limit;		/* there is none, because limits of the caller's cgroup hold */
	const char *why_not;		/* a constant text, without one */
	int error;			/* errno that goes with it, or 0 */
};

#define CGROUP_NONE { .dir = -1, .parent = -1 }

/* Makes one with that limit of memory, CGROUP_PIDS processes and CGROUP_WEIGHT, or sets why_not. */
void cgroup_make(struct cgroup *g, uint64_t memory_max_bytes);

/* What it came to: call it when the VMM has been reaped. */
void cgroup_read(struct cgroup *g);

/* Removes it; one that still has a process stays, and a later run takes it over. */
void cgroup_release(struct cgroup *g);

#endif

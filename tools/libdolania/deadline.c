/* SPDX-License-Identifier: Apache-2.0 */
/*
 * deadline.c - when a run is to end, as the supervisor reckons it.
 *
 * What the guest controls here: through a taken-over VMM the report page, so each moment
 * in it is held against the earliest and the latest that it can be.
 */
#include "tools/libdolania/internal.h"

#define START_NS NS_PER_S		/* from our spawn to the VMM's own clock's start */

/* A moment that the VMM tells, if it can be true: from `from` on, `most` later at most. */
static uint64_t told_at(const uint64_t *field, uint64_t from, uint64_t most)
{
	uint64_t at = __atomic_load_n(field, __ATOMIC_RELAXED);

	return at < from || at > from + most ? from + most : at;
}

/*
 * When the VMM's own clock strikes, by the same rule (vmm/clock.c): the wall limit counts from the
 * script's start, before it the boot has its limits.  0: never.
 */
uint64_t deadline_of(const struct session *s)
{
	const struct report *p = s->page;
	unsigned phase = __atomic_load_n(&p->phase, __ATOMIC_ACQUIRE);
	uint64_t wall = s->o->wall_ns, init = wall > REPORT_INIT_NS ? wall : REPORT_INIT_NS;
	uint64_t boot = told_at(&p->t_start, s->r->started_ns, START_NS), ready;

	if (phase < REPORT_READY || (phase == REPORT_READY && wall == 0))
		return boot + REPORT_BOOT_NS;
	if (wall == 0)
		return 0;
	ready = told_at(&p->t_ready, boot, REPORT_BOOT_NS);
	if (phase == REPORT_READY)
		return ready + init;
	return told_at(&p->t_started, ready, init) + wall;
}

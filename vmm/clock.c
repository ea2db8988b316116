/* SPDX-License-Identifier: Apache-2.0 */
/*
 * When a run ends by real time.
 *
 * What the guest controls here: when init says that it is ready, and that the script starts.  Each
 * is waited for with a limit of its own, so that no word of the guest's makes a run endless.
 */
#include "vmm/state.h"

/* When the run ends if nothing changes; 0: never. */
static uint64_t deadline(const struct run *r)
{
	const struct report *p = r->page;

	if (p->phase >= REPORT_STARTED)
		return r->c->wall_ns > 0 ? p->t_started + r->c->wall_ns : 0;
	if (p->phase == REPORT_READY && r->c->wall_ns > 0)
		return p->t_ready + (r->c->wall_ns > REPORT_INIT_NS ? r->c->wall_ns : REPORT_INIT_NS);
	return p->t_start + REPORT_BOOT_NS;
}

void clock_judge(struct run *r)
{
	uint64_t at = deadline(r);

	if (r->over || at == 0 || report_now_ns() < at)
		return;
	r->page->deadline = at;
	if (r->page->phase >= REPORT_READY && r->c->wall_ns > 0)
		run_end(r, REPORT_END_WALL_LIMIT, 0, "");
	else
		run_end(r, REPORT_END_BOOT_LIMIT, 0, "");
}

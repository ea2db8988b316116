/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/base/storm.h"

static const struct rule {
	uint32_t free;		/* exits in a window */
	uint32_t waits;		/* beyond them, until the run ends */
} rules[STORM_KINDS] = {
	[STORM_PLAIN] = { 8192, 0 },
	[STORM_MSR] = { 8192, 1048576 },
	[STORM_BUS_LOCK] = { 128, 65536 },
	[STORM_NOTIFY] = { 128, 1024 },
};

enum storm_answer storm_judge(struct storm *s, enum storm_kind kind, uint64_t explained, uint64_t (*clock)(void))
{
	const struct rule *rule = &rules[kind];
	struct storm_window *w = &s->of[kind];
	uint64_t now;

	if (++w->exits < rule->free)
		return STORM_GO_ON;
	now = clock();
	if (w->since == 0 || now - w->since >= STORM_WINDOW_NS || explained - w->explained >= rule->free) {
		*w = (struct storm_window){ .since = now, .explained = explained, .waits = w->waits };
		return STORM_GO_ON;
	}
	return w->waits++ < rule->waits ? STORM_WAIT : STORM_END;
}

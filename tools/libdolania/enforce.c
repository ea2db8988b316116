/* SPDX-License-Identifier: Apache-2.0 */
/*
 * enforce.c - what only a policy ends a run for: too much output, and events that
 * the VMM itself goes on after.
 *
 * What the guest controls here: how much it writes, and when; through a
 * taken-over VMM the events, of which each kind is looked up.
 */
#include <inttypes.h>
#include <stdio.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

static bool end_for(struct session *s, enum dolania_reason why)
{
	s->policy_end = why;
	return true;
}

static bool output_ends(struct session *s, const char *name, const struct dolania_stream *t)
{
	const uint64_t most = s->o->output_bytes;
	const char *unit = most == 1 ? " byte" : most == 0 || most % 1024 != 0 ? " bytes" : "";	/* others have a letter */
	char limit[32], advice[POLICY_ADVICE_BYTES];

	if (!t->truncated)
		return false;
	snprintf(s->policy_why, sizeof(s->policy_why), "the script wrote more than %s%s to %s; %s",
		 dolania_format_bytes(most, limit, sizeof(limit)), unit, name,
		 policy_advice(s->o, SETTING_OUTPUT, advice, sizeof(advice)));
	return end_for(s, DOLANIA_OUTPUT_LIMIT);
}

/* S3 and above the VMM ends by itself; and what a stock kernel does at boot is S0. */
static bool event_ends(struct session *s, const struct report_event *e)
{
	if (e->kind == REPORT_EV_NONE || e->kind >= REPORT_EV_KINDS || e->severity < 1 || e->severity > 2)
		return false;
	if (e->severity < s->o->kill_severity && (s->o->kill_kinds & 1u << e->kind) == 0)
		return false;
	snprintf(s->policy_why, sizeof(s->policy_why), "the guest did what the policy '%s' ends a run for: %s (S%" PRIu32
		 "); see events in the result, and [kill] in the policy",
		 s->o->policy != NULL ? s->o->policy->name : "", event_kind_name(e->kind), e->severity);
	return end_for(s, DOLANIA_PROTOCOL_VIOLATION);
}

bool policy_ends(struct session *s, const struct report *page)
{
	if (s->policy_end != DOLANIA_NOT_RUN)
		return true;
	if (s->o->kill_output && (output_ends(s, "stdout", &s->r->out) || output_ends(s, "stderr", &s->r->err)))
		return true;
	if (s->o->kill_severity >= 3 && s->o->kill_kinds == 0)
		return false;
	for (unsigned i = 0; i < REPORT_EVENTS; i++) {
		const struct report_event e = event_copy(page, i);

		if (event_ends(s, &e))
			return true;
	}
	return false;
}

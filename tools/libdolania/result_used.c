/* SPDX-License-Identifier: Apache-2.0 */
/* result_used.c - "policy", "limits" and "used" of the result: what was allowed, and what was made of it. */
#include <jansson.h>
#include <string.h>

#include "tools/libdolania/policy.h"
#include "tools/libdolania/result.h"

json_t *result_limits(const struct dolania_options *opt)
{
	json_t *o = json_object();

	for (unsigned i = 0; i < SETTINGS; i++) {
		const struct setting *t = setting_get((enum setting_id)i);

		json_set_number(o, t->json, setting_value(t, opt));
	}
	json_set_number(o, "tmp_files", tmp_files_max(opt));
	return o;
}

static json_t *result_file(const struct dolania_policy *p)
{
	json_t *o = json_object();

	json_set_text(o, "name", p->name);
	json_set_text(o, "file", p->file);
	json_set_text(o, "sha256", p->sha256);
	return o;
}

json_t *result_policy(const struct dolania_options *opt)
{
	json_t *o, *kinds;
	char severity[] = "S3";

	if (opt->policy == NULL)
		return json_null();
	o = result_file(opt->policy);
	json_put(o, "site", opt->site != NULL ? result_file(opt->site) : json_null());
	json_put(o, "ids_are_mapped", json_boolean(policy_ids_are_mapped()));
	json_set_text(o, "execute", opt->image_only ? "image-only" : "anywhere");
	json_put(o, "kill_output", json_boolean(opt->kill_output));
	severity[1] = (char)('0' + opt->kill_severity);
	json_set_text(o, "kill_severity", severity);
	kinds = json_array();
	for (unsigned k = 1; k < REPORT_EV_KINDS; k++)
		if ((opt->kill_kinds & 1u << k) != 0)
			json_add(kinds, json_string(event_kind_name(k)));
	json_put(o, "kill_kinds", kinds);
	return o;
}

struct use {
	const char *key;
	uint64_t allowed;		/* UINT64_MAX: no limit */
	bool host_knows, guest_says;
	uint64_t host, guest;
};

static void put(json_t *used, const struct use *u)
{
	json_t *o = json_object();

	json_put(o, "allowed", u->allowed != UINT64_MAX ? json_number(u->allowed) : json_null());
	json_put(o, "host", u->host_knows ? json_number(u->host) : json_null());
	json_put(o, "guest", u->guest_says ? json_number(u->guest) : json_null());
	json_put(used, u->key, o);
}

static uint64_t or_none(uint64_t limit)
{
	return limit != 0 ? limit : UINT64_MAX;
}

json_t *result_used(const struct dolania_options *opt, const struct dolania_result *r)
{
	const struct report *p = &r->report;
	const uint64_t *v = p->exit_frame.v;
	bool told = p->end == REPORT_END_GUEST_EXIT && v[WIRE_EXIT_KIND] != WIRE_KIND_INIT_FAILED;
	const struct use table[] = {
		{ "wall_ns", or_none(opt->wall_ns), true, false, r->ended_ns - r->started_ns, 0 },
		{ "cpu_ns", or_none(opt->cpu_ns), true, told, p->vcpu_ns, v[WIRE_EXIT_UTIME_NS] + v[WIRE_EXIT_STIME_NS] },
		{ "memory_bytes", opt->memory_bytes, false, told, 0, v[WIRE_EXIT_MEMORY_PEAK_BYTES] },
		{ "ram_bytes", r->ram_bytes, true, false, r->discard.touched_bytes, 0 },
		{ "tmp_bytes", opt->tmp_bytes, false, told, 0, v[WIRE_EXIT_TMP_BYTES] },
		{ "tmp_files", tmp_files_max(opt), false, told, 0, v[WIRE_EXIT_TMP_FILES] },
		{ "stdout_bytes", opt->output_bytes, true, false, r->out.bytes, 0 },
		{ "stderr_bytes", opt->output_bytes, true, false, r->err.bytes, 0 },
		{ "pids", or_none(opt->pids), false, told, 0, v[WIRE_EXIT_PIDS_PEAK] },
		{ "pids_refused", UINT64_MAX, false, told, 0, v[WIRE_EXIT_PIDS_REFUSED] },
		{ "open_files", or_none(opt->open_files), false, false, 0, 0 },
		{ "fsize_bytes", or_none(opt->fsize_bytes), false, false, 0, 0 },
	};
	json_t *used = json_object();

	for (size_t i = 0; i < sizeof(table) / sizeof(table[0]); i++)
		put(used, &table[i]);
	return used;
}

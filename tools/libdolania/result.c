/* SPDX-License-Identifier: Apache-2.0 */
/*
 * result.c - the result as JSON; every field is described in docs/result.md.
 *
 * What the guest claimed stands under "guest" and nowhere else, save its
 * kernel's last words in end.detail after a panic.
 */
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "tools/libdolania/result.h"

static json_t *result_end(const struct dolania_result *r, int status)
{
	json_t *end = json_object();
	json_t *notes = json_array();

	json_set_text(end, "reason", dolania_reason_name(r->reason));
	/* Another reason may have come before init's word. */
	json_set_text(end, "by", dolania_reason_by_guest(r->reason) || (r->by_init && r->reason == DOLANIA_BOOT_FAILED)
				     ? "guest" : "host");
	switch (r->reason) {
	case DOLANIA_EXITED: case DOLANIA_SIGNALED: case DOLANIA_CANCELLED: case DOLANIA_VMM_FAULT:
	case DOLANIA_NOT_FOUND: case DOLANIA_NOT_EXECUTABLE:
		json_set_number(end, "code", (uint64_t)r->code);
		break;
	default:
		json_put(end, "code", json_null());
	}
	json_set_number(end, "status", (uint64_t)status);
	json_set_text_or_null(end, "message", r->message);
	json_set_text_or_null(end, "detail", r->detail);
	for (unsigned i = 0; i < DOLANIA_NOTES && r->note[i][0] != '\0'; i++)
		json_add(notes, json_string(r->note[i]));
	json_put(end, "notes", notes);
	return end;
}

static json_t *result_guest(const struct dolania_result *r)
{
	static const char *const kinds[] = { "none", "exited", "signaled", "not_executable", "not_found", "oom",
					     "init_failed" };
	const struct { const char *key; enum wire_exit at; } fields[] = {
		{ "user_ns", WIRE_EXIT_UTIME_NS }, { "system_ns", WIRE_EXIT_STIME_NS },
		{ "max_rss_bytes", WIRE_EXIT_MAXRSS_BYTES }, { "minor_faults", WIRE_EXIT_MINFLT },
		{ "major_faults", WIRE_EXIT_MAJFLT }, { "memory_peak_bytes", WIRE_EXIT_MEMORY_PEAK_BYTES },
		{ "oom_kills", WIRE_EXIT_OOM_KILLS }, { "pids_peak", WIRE_EXIT_PIDS_PEAK },
		{ "pids_refused", WIRE_EXIT_PIDS_REFUSED }, { "tmp_bytes", WIRE_EXIT_TMP_BYTES },
		{ "tmp_files", WIRE_EXIT_TMP_FILES },
	};
	const uint64_t *v = r->report.exit_frame.v;
	uint64_t kind = v[WIRE_EXIT_KIND];
	json_t *o;

	if (r->report.end != REPORT_END_GUEST_EXIT)
		return json_null();
	o = json_object();
	json_set_text(o, "kind", kind < sizeof(kinds) / sizeof(kinds[0]) ? kinds[kind] : "unknown");
	json_set_number(o, "code", v[WIRE_EXIT_CODE]);
	for (size_t i = 0; i < sizeof(fields) / sizeof(fields[0]); i++)
		json_set_number(o, fields[i].key, kind == WIRE_KIND_INIT_FAILED ? 0 : v[fields[i].at]);
	json_set_number(o, "killed_processes", kind == WIRE_KIND_INIT_FAILED ? 0 : v[WIRE_EXIT_PLACES] >> WIRE_PLACES_KILLED_SHIFT);
	return o;
}

static json_t *result_events(const struct report *p)
{
	json_t *events = json_array();

	for (unsigned i = 0; i < REPORT_EVENTS; i++) {
		json_t *o = event_json(&p->event[i]);

		if (o != NULL)
			json_add(events, o);
	}
	return events;
}

static json_t *result_violation(const struct dolania_result *r)
{
	const struct report_violation *v = &r->report.violation;
	char name[4 * sizeof(v->name) + 1];
	json_t *o;

	if (!r->ran || v->rule == 0)
		return json_null();
	o = json_object();
	json_set_number(o, "slot", v->slot);
	json_set_number(o, "queue", v->queue);
	json_set_number(o, "index", v->index);
	json_set_number(o, "rule", v->rule);
	text_escape(name, sizeof(name), v->name, strnlen(v->name, sizeof(v->name)), false);
	json_set_text(o, "name", name);
	json_set_number(o, "value", v->value);
	return o;
}

static json_t *result_measured(const struct dolania_result *r)
{
	json_t *list = json_array();

	for (unsigned i = 0; i < r->measures; i++) {
		const struct dolania_measure *m = &r->measured[i];
		json_t *o = json_object();

		json_set_text(o, "role", m->role);
		json_set_text(o, "name", m->name != NULL ? m->name : "");
		json_set_number(o, "bytes", m->bytes);
		json_set_text_or_null(o, "sha256", m->sha256);
		json_put(o, "cached", json_boolean(m->cached));
		json_add(list, o);
	}
	return list;
}

static void set_left_out(json_t *o, const struct dolania_left_out *l)
{
	json_t *list = json_array();

	json_set_number(o, "left_out_total", l->total);
	for (unsigned i = 0; i < l->listed; i++) {
		json_t *entry = json_object();

		json_set_text(entry, "name", l->entry[i].name);
		json_set_text(entry, "why", l->entry[i].why);
		json_add(list, entry);
	}
	json_put(o, "left_out", list);
}

static json_t *result_inputs(const struct dolania_result *r)
{
	json_t *list = json_array();

	for (size_t i = 0; i < r->input_count; i++) {
		const struct dolania_seen *seen = &r->inputs[i];
		json_t *o;

		if (seen->path == NULL || seen->place == NULL)
			continue;
		o = json_object();
		json_set_text(o, "path", seen->path);
		json_set_text(o, "place", seen->place);
		json_set_text(o, "kind", seen->directory ? "directory" : "file");
		json_put(o, "writable", json_boolean(seen->writable));
		json_set_number(o, "files", seen->files);
		json_set_number(o, "bytes", seen->bytes);
		json_put(o, "cached", json_boolean(r->inputs_cached));
		set_left_out(o, &seen->left_out);
		json_add(list, o);
	}
	return list;
}

/* Null without --out. */
static json_t *result_out(const struct dolania_options *opt, const struct dolania_result *r)
{
	const struct dolania_out *out = &r->returned;
	json_t *o, *list;

	if (opt->out == NULL)
		return json_null();
	o = json_object();
	list = json_array();
	json_set_text(o, "to", opt->out);
	json_put(o, "complete", json_boolean(out->complete));
	json_set_text_or_null(o, "why_not", out->why_not);
	json_set_text_or_null(o, "collected_by", out->collected ? "second VM" : "");
	json_set_number(o, "files", out->files);
	json_set_number(o, "dirs", out->dirs);
	json_set_number(o, "bytes", out->bytes);
	json_set_number(o, "archive_bytes", out->archive_bytes);
	json_set_number(o, "refused_total", out->refused_total);
	for (unsigned i = 0; i < out->listed && i < DOLANIA_REFUSED; i++) {
		json_t *entry = json_object();

		json_set_text(entry, "name", out->refused[i].name);
		json_set_text(entry, "why", out->refused[i].why);
		json_add(list, entry);
	}
	json_put(o, "refused", list);
	return o;
}

char *dolania_result_json(const struct dolania_options *o, const struct dolania_result *r, int status)
{
	json_t *top = json_object();
	char *text;

	json_incomplete = false;
	json_set_text(top, "schema", "dolania.result.v1");
	json_set_text(top, "version", DOLANIA_VERSION);
	json_set_text(top, "run_id", r->run_id);
	json_put(top, "end", result_end(r, status));
	json_set_text_or_null(top, "runtime", r->runtime);
	json_put(top, "host", r->ran ? result_host(o, r) : json_null());
	json_put(top, "guest", result_guest(r));
	json_put(top, "out", result_out(o, r));
	json_put(top, "events", result_events(&r->report));
	json_put(top, "violation", result_violation(r));
	json_put(top, "measured", result_measured(r));
	json_put(top, "inputs", result_inputs(r));
	json_put(top, "policy", result_policy(o));
	json_put(top, "limits", result_limits(o));
	json_put(top, "used", r->ran ? result_used(o, r) : json_null());
	text = json_text(top, JSON_INDENT(2));
	json_decref(top);
	return text;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* result_host.c - "host" of the result: what was observed from outside the guest. */
#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tools/libdolania/result.h"

/* As text where it is text, else base64; a cut character at its start is left out. */
static json_t *result_tail(const struct dolania_stream *t)
{
	const uint8_t *at = t->tail;
	size_t n = t->tail_bytes;
	json_t *tail = json_object(), *text;
	char *base64;

	while (n > 0 && t->tail_bytes - n < 3 && (*at & 0xc0) == 0x80) {
		at++;
		n--;
	}
	text = memchr(at, 0, n) == NULL ? json_stringn((const char *)at, n) : NULL;
	json_put(tail, "encoding", json_string(text != NULL ? "utf-8" : "base64"));
	if (text == NULL) {
		size_t room = sodium_base64_encoded_len(t->tail_bytes, sodium_base64_VARIANT_ORIGINAL);

		base64 = malloc(room);
		if (base64 != NULL) {
			sodium_bin2base64(base64, room, t->tail, t->tail_bytes, sodium_base64_VARIANT_ORIGINAL);
			text = json_string(base64);
			free(base64);
		}
	}
	json_put(tail, "data", text);
	return tail;
}

static json_t *result_stream(const struct dolania_stream *t)
{
	json_t *o = json_object();

	json_set_number(o, "bytes", t->bytes);
	json_set_number(o, "delivered_bytes", t->delivered_bytes);
	json_put(o, "truncated", json_boolean(t->truncated));
	json_put(o, "closed", json_boolean(t->closed));
	json_put(o, "tail", t->truncated ? result_tail(t) : json_null());
	return o;
}

static json_t *result_streams(const struct dolania_result *r)
{
	json_t *streams = json_object(), *in = json_object();

	json_set_number(in, "bytes", r->stdin_bytes);
	json_put(streams, "stdin", in);
	json_put(streams, "stdout", result_stream(&r->out));
	json_put(streams, "stderr", result_stream(&r->err));
	json_put(streams, "joined", json_boolean(r->joined));
	return streams;
}

/* Nanoseconds since the VMM was started; null where a phase was not reached. */
static json_t *result_phases(const struct dolania_result *r)
{
	const struct report *p = &r->report;
	const struct { const char *key; uint64_t at; } phases[] = {
		{ "vmm", p->t_start }, { "boot", p->t_boot }, { "ready", p->t_ready },
		{ "started", p->t_started }, { "ended", p->t_ended }, { "discarded", p->t_discarded },
	};
	json_t *o = json_object();

	for (size_t i = 0; i < sizeof(phases) / sizeof(phases[0]); i++)
		json_put(o, phases[i].key, phases[i].at < r->started_ns ? json_null()
								   : json_number(phases[i].at - r->started_ns));
	return o;
}

static json_t *result_exits(const struct report *p)
{
	static const char *const kinds[REPORT_EXITS] = {
		[REPORT_EXIT_MMIO_VSOCK] = "mmio_vsock", [REPORT_EXIT_MMIO_BLK] = "mmio_blk",
		[REPORT_EXIT_MMIO_IOAPIC] = "mmio_ioapic", [REPORT_EXIT_MMIO_UNMAPPED] = "mmio_unmapped",
		[REPORT_EXIT_IO_UNMAPPED] = "io_unmapped", [REPORT_EXIT_IO_RAM] = "io_ram", [REPORT_EXIT_INTR] = "signal",
		[REPORT_EXIT_MSR] = "msr", [REPORT_EXIT_OTHER] = "other",
	};
	json_t *o = json_object();
	uint64_t total = 0;

	for (unsigned i = 0; i < REPORT_EXITS; i++) {
		json_set_number(o, kinds[i], p->exits[i]);
		total += p->exits[i];
	}
	json_set_number(o, "total", total);
	return o;
}

static json_t *result_disks(const struct dolania_options *o, const struct report *p)
{
	const struct fds none = SESSION_NO_FDS;
	struct disk list[DISKS_MAX];
	unsigned n = disk_roles(o, &none, list);
	json_t *disks = json_array();

	for (unsigned i = 0; i < n; i++) {
		json_t *d = json_object();

		json_set_text(d, "role", list[i].role);
		json_set_number(d, "read_bytes", p->disk_read_bytes[i]);
		json_set_number(d, "write_bytes", p->disk_write_bytes[i]);
		json_add(disks, d);
	}
	return disks;
}

static json_t *result_devices(const struct dolania_options *o, const struct report *p)
{
	const struct fds none = SESSION_NO_FDS;
	struct disk list[DISKS_MAX];
	unsigned n = disk_roles(o, &none, list);
	json_t *devices = json_object();

	for (unsigned i = 0; i <= n; i++) {
		json_t *d = json_object();

		json_set_number(d, "accesses", p->device[i].accesses);
		json_set_number(d, "kicks", p->device[i].kicks);
		json_set_number(d, "chains", p->device[i].chains);
		json_put(devices, i == 0 ? "vsock" : list[i - 1].role, d);
	}
	return devices;
}

static json_t *result_vsock(const struct report *p)
{
	static const char *const ports[WIRE_PORTS] = { NULL, "control", "stdin", "stdout", "stderr", "out" };
	json_t *o = json_object();

	for (unsigned i = 1; i < WIRE_PORTS; i++) {
		json_t *port = json_object();

		json_set_number(port, "to_guest_bytes", p->bytes_in[i]);
		json_set_number(port, "from_guest_bytes", p->bytes_out[i]);
		json_put(o, ports[i], port);
	}
	return o;
}

static json_t *result_discard(const struct dolania_result *r)
{
	/* What an overwrite of guest memory does not reach, said plainly. */
	static const char *const excluded[] = {
		"bytes in kernel pipe buffers on their way to the reader",
		"pages the host swapped out or migrated (unless it runs init_on_free=1)",
	};
	const struct dolania_discard *d = &r->discard;
	json_t *o = json_object(), *list = json_array();

	json_set_number(o, "touched_bytes", d->touched_bytes);
	json_set_number(o, "overwritten_bytes", d->vmm_bytes + d->supervisor_bytes);
	json_set_text(o, "by", d->supervisor_bytes > 0 ? "supervisor" : "vmm");
	json_set_number(o, "disk_bytes", d->disk_bytes);
	json_set_number(o, "collector_bytes", d->collector_bytes);
	json_set_number(o, "sampled_pages", d->samples);
	json_set_number(o, "ns", d->ns);
	json_put(o, "complete", json_boolean(d->complete));
	json_put(o, "locked", json_boolean(r->report.locked == 1));
	for (size_t i = 0; i < sizeof(excluded) / sizeof(excluded[0]); i++)
		json_add(list, json_string(excluded[i]));
	if (r->report.vcpu_cleared != 1)
		json_add(list, json_string("the vCPU's registers inside KVM, which were not overwritten"));
	if (r->vmm_left)
		json_add(list, json_string("what the VMM's process holds or writes, which did not disappear"));
	json_put(o, "excluded", list);
	return o;
}

static json_t *result_vmm(const struct dolania_result *r)
{
	int status = r->vmm_wait_status;
	json_t *o = json_object();

	json_put(o, "status", !r->vmm_left && WIFEXITED(status) ? json_number((uint64_t)WEXITSTATUS(status)) : json_null());
	json_put(o, "signal", !r->vmm_left && WIFSIGNALED(status) ? json_number((uint64_t)WTERMSIG(status)) : json_null());
	json_put(o, "killed", json_boolean(r->vmm_killed));
	json_put(o, "left", json_boolean(r->vmm_left));
	json_set_number(o, "user_ns", timeval_ns(r->vmm_usage.ru_utime));
	json_set_number(o, "system_ns", timeval_ns(r->vmm_usage.ru_stime));
	json_set_number(o, "max_rss_bytes", (uint64_t)r->vmm_usage.ru_maxrss * 1024);
	json_set_text_or_null(o, "log", r->vmm_log);
	return o;
}

/* A VMM that was killed is taken to have run its guest until it was reaped. */
static json_t *result_late(const struct dolania_options *opt, const struct dolania_result *r)
{
	uint64_t from = r->report.t_started != 0 ? r->report.t_started : r->started_ns;
	uint64_t deadline = r->report.deadline != 0 ? r->report.deadline : from + opt->wall_ns;
	uint64_t ended = r->report.t_ended != 0 ? r->report.t_ended : r->ended_ns;

	if (r->reason != DOLANIA_WALL_LIMIT)
		return json_null();
	return json_number(ended > deadline ? ended - deadline : 0);
}

static json_t *result_cgroup(const struct dolania_cgroup *g)
{
	json_t *o = json_object();

	json_put(o, "own", json_boolean(g->own));
	json_put(o, "memory_max_bytes", g->own ? json_number(g->memory_max_bytes) : json_null());
	json_put(o, "memory_peak_bytes",
		 g->own && g->memory_peak_bytes > 0 ? json_number(g->memory_peak_bytes) : json_null());
	json_put(o, "pids_max", g->own ? json_number(g->pids_max) : json_null());
	json_set_text_or_null(o, "why_not", g->why_not);
	return o;
}

/*
 * Of the layers within the VMM none is ever missing: one that cannot be set up is an error.  The
 * cgroup is the one that depends on the caller.
 */
static json_t *result_missing(const struct dolania_result *r)
{
	json_t *list = json_array();

	if (!r->cgroup.own && !r->cgroup.callers_limit)
		json_add(list, json_string("cgroup"));
	return list;
}

json_t *result_host(const struct dolania_options *opt, const struct dolania_result *r)
{
	const struct report *p = &r->report;
	json_t *o = json_object();

	json_set_time(o, "started_at", r->started_realtime_ns);
	json_set_number(o, "wall_ns", r->ended_ns - r->started_ns);
	json_set_number(o, "vcpu_ns", p->vcpu_ns);
	json_put(o, "phases_ns", result_phases(r));
	json_put(o, "late_ns", result_late(opt, r));
	json_put(o, "exits", result_exits(p));
	json_put(o, "streams", result_streams(r));
	json_put(o, "vsock", result_vsock(p));
	json_put(o, "devices", result_devices(opt, p));
	json_put(o, "disks", result_disks(opt, p));
	json_set_number(o, "ram_bytes", r->ram_bytes);
	json_set_number(o, "touched_bytes", r->discard.touched_bytes);
	json_put(o, "vmm", result_vmm(r));
	json_put(o, "discard", result_discard(r));
	json_put(o, "cgroup", result_cgroup(&r->cgroup));
	json_put(o, "missing_layers", result_missing(r));
	return o;
}

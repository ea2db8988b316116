/* SPDX-License-Identifier: Apache-2.0 */
/*
 * events.c - the oddities of a run, as they happen and at its end.
 *
 * The VMM counts what its guest does in the report page and sends a notice when
 * something is new.  Each event is one JSON line on the caller's events_fd when
 * it is first seen, and one more at the end if it was seen more than once then.
 * The supervisor adds what only it can know.
 *
 * What the guest controls here: how often; through a taken-over VMM every
 * number, so each kind and severity is looked up, and only so many lines come.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/libdolania/result.h"

static const char *const kinds[REPORT_EV_KINDS] = {
	[REPORT_EV_UNMAPPED_MMIO] = "unmapped_mmio", [REPORT_EV_UNMAPPED_IO] = "unmapped_io",
	[REPORT_EV_MSR] = "msr", [REPORT_EV_RING] = "malformed_ring", [REPORT_EV_VSOCK] = "vsock_protocol",
	[REPORT_EV_VSOCK_REFUSED] = "vsock_refused", [REPORT_EV_SHUTDOWN] = "shutdown",
	[REPORT_EV_MSR_SWEEP] = "msr_sweep", [REPORT_EV_EXIT_STORM] = "exit_storm",
	[REPORT_EV_STUCK] = "stuck", [REPORT_EV_BUS_LOCK] = "bus_lock", [REPORT_EV_NOTIFY] = "notify",
	[REPORT_EV_UNMAPPED_SWEEP] = "unmapped_sweep",
	[REPORT_EV_GUEST_OOM] = "guest_oom", [REPORT_EV_KERNEL_OOPS] = "kernel_oops",
	[REPORT_EV_VMM_FAULT] = "vmm_fault",
};

const char *event_kind_name(unsigned kind)
{
	return kinds[kind];
}

bool event_kind_is_late(unsigned kind)
{
	return kind == REPORT_EV_SHUTDOWN || kind == REPORT_EV_GUEST_OOM || kind == REPORT_EV_KERNEL_OOPS ||
	       kind == REPORT_EV_VMM_FAULT;
}

/* NULL: no event, or none that a VMM of ours wrote. */
json_t *event_json(const struct report_event *e)
{
	char severity[] = "S0";
	json_t *o;

	if (e->kind == REPORT_EV_NONE || e->kind >= REPORT_EV_KINDS || e->severity > 4)
		return NULL;
	severity[1] = (char)('0' + e->severity);
	o = json_object();
	json_set_text(o, "severity", severity);
	json_set_text(o, "kind", kinds[e->kind]);
	json_set_number(o, "count", e->count);
	json_set_number(o, "first_value", e->first_value);
	return o;
}

/* Never waits for the reader: a line that it has no room for is lost, and that is told. */
static void put_line(struct session *s, const char *line, size_t n)
{
	struct pollfd p = { .fd = s->o->events_fd, .events = POLLOUT };

	if (s->events_error != 0)
		return;
	/* A pipe that is writable at all takes PIPE_BUF bytes; our lines are shorter. */
	if (poll(&p, 1, 0) != 1 || (p.revents & POLLOUT) == 0)
		s->events_error = EAGAIN;
	else if (write(s->o->events_fd, line, n) != (ssize_t)n)
		s->events_error = errno != 0 ? errno : ENOSPC;
}

static void tell(struct session *s, const struct report_event *e)
{
	uint64_t now = now_ns();
	json_t *o;
	char *text;

	json_incomplete = false;
	o = event_json(e);
	if (o == NULL)
		return;
	json_set_text(o, "run_id", s->r->run_id);
	json_set_number(o, "ns", now > s->r->started_ns ? now - s->r->started_ns : 0);
	text = json_text(o, JSON_COMPACT);
	json_decref(o);
	if (text == NULL) {
		s->events_error = ENOMEM;
		return;
	}
	errno = 0;
	put_line(s, text, strlen(text));
	free(text);
}

struct report_event event_copy(const struct report *page, unsigned i)
{
	return *(const volatile struct report_event *)&page->event[i];
}

void events_watch(struct session *s, const struct report *page)
{
	if (s->o->events_fd < 0)
		return;
	for (unsigned i = 0; i < REPORT_EVENTS; i++) {
		const struct report_event e = event_copy(page, i);

		if (e.kind == REPORT_EV_NONE)
			return;
		if (s->events_told[i] == 0) {
			s->events_told[i] = e.count > 0 ? e.count : 1;
			tell(s, &e);
		}
	}
}

static void add(struct report *p, unsigned severity, enum report_event_kind kind, uint64_t count, uint64_t value)
{
	unsigned i = 0;

	while (i < REPORT_EVENTS - 1 && p->event[i].kind != REPORT_EV_NONE)
		i++;
	p->event[i] = (struct report_event){ severity, (uint32_t)kind, count, value };
}

static bool has_hostile(const struct report *p)
{
	for (unsigned i = 0; i < REPORT_EVENTS; i++)
		if (p->event[i].kind != REPORT_EV_NONE && p->event[i].severity == 3)
			return true;
	return false;
}

/*
 * Our kernel panics at an oops, "Oops: " and "kernel BUG at " are followed by that; it goes on after
 * the others.  Each is longer than a script can name itself (guest_log.c).
 */
static const char *const oops_words[] = {
	"Kernel panic - not syncing: Fatal exception",
	"BUG: kernel NULL pointer dereference, address: ",
	"BUG: unable to handle page fault for address: ",
	"BUG: Bad page state in process ",
	"BUG: Bad page map in process ",
	"BUG: Bad page cache in process ",
	"BUG: Bad rss-counter state mm:",
	"BUG: non-zero pgtables_bytes on freeing mm: ",
	"BUG: scheduling while atomic: ",
};

static uint64_t oopses_in_log(const struct report *p)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < sizeof(oops_words) / sizeof(oops_words[0]); i++)
		n += guest_log_says(p, oops_words[i], NULL);
	return n;
}

void events_finish(struct session *s)
{
	struct dolania_result *r = s->r;
	struct report *p = &r->report;
	uint64_t oopses = oopses_in_log(p);

	if (oopses > 0)
		add(p, 2, REPORT_EV_KERNEL_OOPS, oopses, 0);
	if (r->reason == DOLANIA_GUEST_OOM)
		add(p, 1, REPORT_EV_GUEST_OOM, 1, 0);
	if (r->reason == DOLANIA_PROTOCOL_VIOLATION && s->policy_end == DOLANIA_NOT_RUN && !has_hostile(p))
		add(p, 3, REPORT_EV_VSOCK, 1, p->exit_frame.v[WIRE_EXIT_KIND]);
	if (r->reason == DOLANIA_VMM_FAULT)
		add(p, 4, REPORT_EV_VMM_FAULT, 1,
		    WIFSIGNALED(r->vmm_wait_status) ? (uint64_t)WTERMSIG(r->vmm_wait_status) : 0);
	if (s->o->events_fd < 0)
		return;
	for (unsigned i = 0; i < REPORT_EVENTS; i++)
		if (p->event[i].kind != REPORT_EV_NONE && p->event[i].count != s->events_told[i])
			tell(s, &p->event[i]);
	if (s->events_error == EAGAIN)
		session_note(s, "the reader of --events did not keep up: lines were lost");
	else if (s->events_error != 0)
		session_note(s, "cannot write --events: %s; lines were lost", strerror(s->events_error));
}

void events_collected(struct session *s, const struct report *second)
{
	for (unsigned i = 0; i < REPORT_EVENTS; i++) {
		const struct report_event *e = &second->event[i];

		if (e->kind == REPORT_EV_NONE || e->kind >= REPORT_EV_KINDS || e->severity < 1)
			continue;
		add(&s->r->report, e->severity, (enum report_event_kind)e->kind, e->count, e->first_value);
		if (s->o->events_fd >= 0)
			tell(s, e);
	}
}

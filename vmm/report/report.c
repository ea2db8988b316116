/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/report/report.h"

#include <errno.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

uint64_t report_now_ns(void)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

void report_start(struct report_writer *w, struct report *page, int notice_fd)
{
	w->page = page;
	w->notice_fd = notice_fd;
	page->magic = REPORT_MAGIC;
	page->phase = REPORT_SETUP;
	page->t_start = report_now_ns();
}

/* A full pipe loses a notice, nothing else. */
static void notice(struct report_writer *w, enum report_phase phase)
{
	const char byte = (char)phase;

	if (w->notice_fd >= 0 && write(w->notice_fd, &byte, 1) < 0 && errno == EPIPE)
		w->alone = true;
}

void report_phase(struct report_writer *w, enum report_phase phase)
{
	uint64_t now = report_now_ns();

	switch (phase) {
	case REPORT_BOOT: w->page->t_boot = now; break;
	case REPORT_READY: w->page->t_ready = now; break;
	case REPORT_STARTED: w->page->t_started = now; break;
	case REPORT_ENDED: w->page->t_ended = now; break;
	case REPORT_DISCARDED: w->page->t_discarded = now; break;
	case REPORT_SETUP: break;
	}
	w->page->phase = phase;
	notice(w, phase);
}

void report_verdict(struct report_writer *w, enum report_end end, int host_errno, const char *detail)
{
	if (w->page->end != REPORT_END_NONE)
		return;
	strncpy(w->page->detail, detail, sizeof(w->page->detail) - 1);
	w->page->host_errno = host_errno;
	w->page->end = end;
}

void report_event(struct report_writer *w, unsigned severity, enum report_event_kind kind, uint64_t value)
{
	for (unsigned i = 0; i < REPORT_EVENTS; i++) {
		struct report_event *e = &w->page->event[i];

		if (e->kind == (uint32_t)kind && e->severity == severity) {
			e->count++;
			return;
		}
		if (e->kind == REPORT_EV_NONE) {
			*e = (struct report_event){ severity, kind, 1, value };
			if (severity > 0)	/* what a stock kernel probes can wait for the next */
				notice(w, (enum report_phase)w->page->phase);
			return;
		}
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * collect.c - what a script left in /out, read by a machine that never ran it.
 *
 * After a limit no instruction of the script's machine may run, and its kernel
 * may be the script's by then; and no host parses a file system that a guest
 * wrote.  So a second VM, as confined and as thrown away as the first, gets
 * the disk read-only and sends an archive of it (guest/archive.c).  It is the
 * same at every end, so one way is tried and tested.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "tools/libdolania/internal.h"

#define RAM_BYTES (96ull << 20)
#define WALL_NS (60 * NS_PER_S)		/* and for each byte of the disk: an emulated host is slow */
#define WALL_NS_PER_BYTE 1000

static void prepare_options(const struct session *s, int fd, struct dolania_options *o)
{
	*o = (struct dolania_options){
		.form = DOLANIA_EXEC, .script = "collect", .stdin_fd = -1, .stdout_fd = fd, .stderr_fd = -1,
		.output_bytes = out_archive_max(s->o), .signal_fd = s->o->signal_fd, .events_fd = -1,
		.wall_ns = WALL_NS + s->o->disk_bytes * WALL_NS_PER_BYTE,
		.kernel = s->o->kernel, .initrd = s->o->initrd, .append = s->o->append,
		.policy = s->o->policy, .kill_severity = s->o->kill_severity, .kill_kinds = s->o->kill_kinds,
	};
}

static void run_it(struct session *s)
{
	s->oom_kills_before = verdict_oom_kills();
	if (locate_image(s, s->collecting->image_path) < 0 || locate_all(s) < 0 || job_build(s) < 0 ||
	    spawn_prepare(s) < 0 || spawn_vmm(s) < 0)
		return;
	supervise(s);
	spawn_ended(s);
	memcpy(&s->r->report, s->page, sizeof(s->r->report));
	discard_verify(s);
	verdict(s);
	events_finish(s);
}

/* Was all of it sent?  If not, why, and whose fault it is. */
static void judge(const struct dolania_result *r, struct collected *c)
{
	bool exited = r->reason == DOLANIA_EXITED;

	c->archive_bytes = r->out.delivered_bytes;
	c->whole = exited && r->code == 0 && !r->out.truncated && !r->out.closed;
	if (c->whole)
		return;
	if (exited && r->code != 0)
		snprintf(c->why, sizeof(c->why), "there is more than --disk lets through");
	else if (r->reason == DOLANIA_WALL_LIMIT)
		snprintf(c->why, sizeof(c->why), "reading its disk took longer than it may");
	else if (r->out.truncated)
		snprintf(c->why, sizeof(c->why), "more came than --disk lets through");
	else if (exited && r->out.error == 0)	/* who reads it left, and tells more */
		snprintf(c->why, sizeof(c->why), "the archive's reader left");
	else
		snprintf(c->why, sizeof(c->why), "the second VM, which reads the disk: %.400s", r->message);
	switch (r->reason) {
	case DOLANIA_HOST_IO: case DOLANIA_HOST_OOM: case DOLANIA_HOST_UNSUPPORTED: case DOLANIA_VMM_FAULT:
	case DOLANIA_USAGE:
		c->host_failed = true;
		break;
	default:
		break;		/* the disk is what the guest made of it, also where reading it has no end */
	}
}

void collect(struct session *s, int fd, struct collected *c)
{
	static struct dolania_result r;		/* one run a time; too large for a stack */
	const char *const argv[] = { "collect", NULL };
	struct dolania_options o;
	struct session second = {
		.o = &o, .r = &r, .pidfd = -1, .paths = s->paths, .collecting = s, .progress = s->progress, .ram_bytes = RAM_BYTES,
		.fd = SESSION_NO_FDS, .cgroup = CGROUP_NONE,
	};

	*c = (struct collected){ .whole = false };
	prepare_options(s, fd, &o);
	dolania_result_init(&r);
	r.ram_bytes = RAM_BYTES;
	second.argv = (const char **)argv;
	second.argc = 1;
	run_it(&second);
	events_collected(s, &r.report);
	judge(&r, c);
	c->cancel_signal = second.cancel_signal;
	s->r->discard.collector_bytes = r.discard.vmm_bytes + r.discard.supervisor_bytes;
	if (r.vmm_left)
		notes_left(s, second.pid);
	if (r.ran && !r.discard.complete)
		s->r->discard.complete = false;
	spawn_release(&second);
	dolania_result_release(&r);
}

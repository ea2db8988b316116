/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init.c - PID 1 of a machine that lives for one script.
 *
 * Theory of operation.  The kernel starts us from the initramfs.  We connect to
 * the host, build the script's tree from the root image, ask for the job, and
 * are from then on only the script's relay: it runs as another user, in its own
 * control group, without a way to open a vsock.  When it has ended we end what
 * it left behind, tell the host, and wait: the host takes the machine away.
 *
 * Nothing here is a boundary against a script that owns the kernel.  That is
 * the machine's wall; init only keeps an honest run honest and its limits kept.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/stat.h>
#include <unistd.h>

#include "archive.h"
#include "cgroup.h"
#include "collect.h"
#include "job.h"
#include "link.h"
#include "loopback.h"
#include "mount.h"
#include "relay.h"
#include "run.h"
#include "seed.h"
#include "text.h"

struct init {
	int log;		/* /dev/kmsg, read from where it was when init began */
	int control;
	struct fault fault;
	struct cgroup group;
	struct run run;
	struct relay relay;
	struct job job;
	int not_all;		/* of a disk that was collected: it did not fit */
};

static void on_child(int signal)
{
	(void)signal;		/* it only has to interrupt ppoll */
}

/* SIGCHLD arrives in the relay's ppoll and nowhere else. */
static void set_up_process(struct init *g)
{
	const struct sigaction action = { .sa_handler = on_child };
	sigset_t blocked;

	/* descriptors 0..2 are the script's; never let one of ours be there */
	do
		g->log = open("/dev/kmsg", O_RDWR | O_NONBLOCK | O_CLOEXEC);
	while (g->log >= 0 && g->log <= 2);
	lseek(g->log, 0, SEEK_END);
	umask(0);
	sigemptyset(&blocked);
	sigaddset(&blocked, SIGCHLD);
	sigprocmask(SIG_BLOCK, &blocked, NULL);
	sigaction(SIGCHLD, &action, NULL);
}

static int ask_for_job(struct init *g)
{
	const struct wire_frame ready = {
		.magic = WIRE_FRAME_MAGIC, .type = WIRE_READY, .v = { now_ns() },
	};

	if (link_wait(g->control) < 0 || link_send(g->control, &ready, sizeof ready) < 0)
		return fault(&g->fault, WIRE_STEP_LINK, errno);
	return job_receive(&g->job, g->control, &g->fault);
}

static int live(struct init *g)
{
	struct fault *f = &g->fault;

	g->control = link_open(WIRE_CONTROL);
	if (g->control < 0)
		return fault(f, WIRE_STEP_LINK, errno);
	if (mount_image(f) < 0 || cgroup_make(&g->group, f) < 0)
		return -1;
	if (ask_for_job(g) < 0)
		return -1;
	if (g->job.h.flags & WIRE_JOB_COLLECT)
		return archive_collect(g->job.h.out_bytes, &g->not_all, f);
	if (cgroup_limit(&g->group, &g->job.h, f) < 0 || mount_job(&g->job, f) < 0 ||
	    mount_switch(f) < 0)
		return -1;
	if (loopback_up(f) < 0)
		return -1;
	if (seed_random(&g->job.h, f) < 0 || seed_clock(&g->job.h, f) < 0 ||
	    job_write_script(&g->job, g->control, f) < 0)
		return -1;
	if (run_spawn(&g->run, &g->job, &g->group, f) < 0)
		return -1;
	g->relay.control = g->control;
	g->relay.run = &g->run;
	g->relay.job = &g->job;
	g->relay.group = &g->group;
	g->relay.log = g->log;
	if (relay_run(&g->relay, f) < 0)
		return -1;
	/* the host takes the machine away at the last frame */
	if (g->job.h.flags & WIRE_JOB_OUT)
		sync();
	return 0;
}

static void log_fault(const struct init *g)
{
	struct text t = { .bytes = 0 };

	text_add(&t, "<3>init: step ");
	text_add_u64(&t, g->fault.step);
	text_add(&t, " failed: errno ");
	text_add_u64(&t, (uint64_t)g->fault.error);
	if (write(g->log, t.at, t.bytes) < 0)
		return;		/* the frame still says it */
}

/* The last frame, with WIRE_STARTED before it where that is still due. */
static int tell_end(const struct init *g)
{
	struct wire_frame frames[2];
	size_t n = 0;

	if (g->fault.step != 0) {
		frames[n++] = collect_fault(&g->fault);
	} else if (g->job.h.flags & WIRE_JOB_COLLECT) {
		frames[n++] = collect_disk(g->not_all);
	} else {
		if (!g->relay.started_sent && g->run.exec_error == 0)
			frames[n++] = relay_started_frame(&g->run);
		frames[n++] = collect_exit(&g->relay);
	}
	return link_send(g->control, frames, n * sizeof frames[0]);
}

int main(void)
{
	static struct init init;	/* bss: only what is used is ever touched */

	init.control = -1;
	set_up_process(&init);
	if (live(&init) < 0) {
		log_fault(&init);
		/* no host to tell: the panic that follows tells it */
		if (init.control < 0 || link_wait(init.control) < 0)
			return 1;
	}
	if (tell_end(&init) < 0)
		return 1;
	for (;;)
		pause();
}

/* SPDX-License-Identifier: Apache-2.0 */
/* relay.h - the script's streams, until the script and all it left have ended. */
#ifndef DOLANIA_GUEST_RELAY_H
#define DOLANIA_GUEST_RELAY_H

#include "cgroup.h"
#include "init.h"
#include "run.h"

enum { RELAY_BUFFER_BYTES = 64 << 10 };

enum stream_state {
	STREAM_IDLE,		/* no byte yet, not connected */
	STREAM_CONNECTING,
	STREAM_OPEN,
	STREAM_CLOSED,		/* nothing will be moved any more */
};

struct stream {
	enum wire_port port;
	enum stream_state state;
	int pipe, sock;
	size_t from, bytes;	/* what of buffer is still to be written */
	char buffer[RELAY_BUFFER_BYTES];
};

struct relay {
	int control;
	const struct run *run;
	const struct job *job;
	const struct cgroup *group;
	int log;		/* the kernel's, from before the script on; or -1 */
	int started_sent;	/* WIRE_STARTED went out */
	int ended;		/* the script's first process was reaped */
	int empty;		/* and so was everything else */
	int status;		/* its wait status */
	uint64_t left;		/* how many processes it left running; they were killed */
	uint64_t ended_ns;
	struct stream in, out, err;
};

/*
 * Returns when no process is left and every byte was queued to the host.
 * control, run, job, group and log are the caller's to fill in.  SIGCHLD must be blocked
 * and have a handler.
 */
int relay_run(struct relay *r, struct fault *f) MUST_CHECK;

/* The frame that relay_run did not send if started_sent is 0. */
struct wire_frame relay_started_frame(const struct run *run);

#endif

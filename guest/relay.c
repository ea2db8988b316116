/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relay.c - the script's streams; see relay.h.
 *
 *   script ==pipe==> out, err ==vsock==> host      connected at the first byte
 *   script <==pipe== in       <==vsock== host      connected at the start
 *
 * One buffer a stream, filled only when it is empty: a stream whose far end is
 * slow stops its near end and nobody else.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "link.h"
#include "relay.h"

/* A shorter run tells its start together with its end: one packet less. */
#define STARTED_LATEST_NS 10000000

static int is_again(ssize_t n)
{
	return n < 0 && (errno == EAGAIN || errno == EINTR);
}

/* Nobody reads there any more: the script gets SIGPIPE, or its input's end. */
static void hang_up(struct stream *s)
{
	if (s->pipe >= 0)
		close(s->pipe);
	if (s->sock >= 0)
		close(s->sock);
	s->pipe = s->sock = -1;
	s->state = STREAM_CLOSED;
}

/* The near end is through.  The socket stays: closing it would be a packet. */
static void finish(struct stream *s)
{
	if (s->pipe >= 0)
		close(s->pipe);
	s->pipe = -1;
	s->state = STREAM_CLOSED;
}

/* What is read from `from` next; 0 at its end, -1 if there is nothing now. */
static ssize_t fill(struct stream *s, int from)
{
	ssize_t n = read(from, s->buffer, sizeof s->buffer);

	if (is_again(n))
		return -1;
	if (n <= 0)
		return 0;
	s->from = 0;
	s->bytes = (size_t)n;
	return n;
}

/* A connection under way is done, and there are bytes from `from` to pass on. */
static int has_bytes(struct stream *s, int from)
{
	if (s->state == STREAM_CONNECTING) {
		if (link_check(s->sock) < 0) {
			hang_up(s);
			return 0;
		}
		s->state = STREAM_OPEN;
	}
	if (s->bytes == 0) {
		ssize_t n = fill(s, from);

		if (n == 0)
			finish(s);
		if (n <= 0)
			return 0;
	}
	return 1;
}

static void pump_out(struct stream *s)
{
	if (!has_bytes(s, s->pipe))
		return;
	if (s->state == STREAM_IDLE) {
		s->sock = link_open(s->port);
		if (s->sock < 0)
			hang_up(s);
		else
			s->state = STREAM_CONNECTING;
		return;
	}

	ssize_t n = send(s->sock, s->buffer + s->from, s->bytes, MSG_NOSIGNAL);

	if (n >= 0) {
		s->from += (size_t)n;
		s->bytes -= (size_t)n;
	} else if (!is_again(n)) {
		hang_up(s);
	}
}

static void pump_in(struct stream *s)
{
	if (!has_bytes(s, s->sock))
		return;

	ssize_t n = write(s->pipe, s->buffer + s->from, s->bytes);

	if (n >= 0) {
		s->from += (size_t)n;
		s->bytes -= (size_t)n;
	} else if (!is_again(n)) {
		hang_up(s);
	}
}

/*
 * Two entries a stream, pipe and socket; an entry that is not used has fd -1.
 * Events of 0 still report a far end that is gone (POLLERR, POLLHUP).
 */
static void watch_out(const struct stream *s, struct pollfd p[2])
{
	p[0] = p[1] = (struct pollfd){ .fd = -1 };
	if (s->state == STREAM_IDLE || (s->state == STREAM_OPEN && s->bytes == 0))
		p[0] = (struct pollfd){ .fd = s->pipe, .events = POLLIN };
	if (s->state == STREAM_CONNECTING)
		p[1] = (struct pollfd){ .fd = s->sock, .events = POLLOUT };
	if (s->state == STREAM_OPEN)
		p[1] = (struct pollfd){ .fd = s->sock, .events = s->bytes == 0 ? POLLRDHUP
								: POLLOUT | POLLRDHUP };
}

static void watch_in(const struct stream *s, struct pollfd p[2])
{
	p[0] = p[1] = (struct pollfd){ .fd = -1 };
	if (s->state == STREAM_CLOSED)
		return;
	p[0] = (struct pollfd){ .fd = s->pipe, .events = s->bytes == 0 ? 0 : POLLOUT };
	if (s->bytes == 0)
		p[1] = (struct pollfd){ .fd = s->sock, .events = s->state == STREAM_OPEN ? POLLIN
								: POLLOUT };
}

static void serve_out(struct stream *s, const struct pollfd p[2])
{
	const short gone = POLLERR | POLLHUP | POLLRDHUP;

	if (s->state == STREAM_OPEN && (p[1].revents & gone))
		hang_up(s);
	else if (p[0].revents != 0 || p[1].revents != 0)
		pump_out(s);
}

static void serve_in(struct stream *s, const struct pollfd p[2])
{
	if (p[0].revents & POLLERR)	/* the script has closed its input */
		hang_up(s);
	else if (p[0].revents != 0 || p[1].revents != 0)
		pump_in(s);
}

/* Collects what has ended; when the script has, ends what it left behind. */
static void reap(struct relay *r)
{
	int status;
	int flags = WNOHANG;

	for (;;) {
		pid_t pid = waitpid(-1, &status, flags);

		if (pid == r->run->pid) {
			r->ended = 1;
			r->status = status;
			r->ended_ns = now_ns();
		} else if (pid == 0 && r->ended) {
			r->left = cgroup_count(r->group);
			cgroup_kill(r->group);
			flags = 0;
		} else if (pid == 0 || (pid < 0 && errno != EINTR)) {
			break;
		}
	}
	r->empty = r->ended;
}

struct wire_frame relay_started_frame(const struct run *run)
{
	return (struct wire_frame){
		.magic = WIRE_FRAME_MAGIC, .type = WIRE_STARTED, .v = { run->started_ns },
	};
}

/* Sends WIRE_STARTED when it is due; else `left` is the time until then. */
static int announce(struct relay *r, struct timespec *left)
{
	uint64_t age_ns = now_ns() - r->run->started_ns;

	if (age_ns < STARTED_LATEST_NS) {
		*left = (struct timespec){ .tv_nsec = (long)(STARTED_LATEST_NS - age_ns) };
		return 0;
	}

	struct wire_frame frame = relay_started_frame(r->run);

	r->started_sent = 1;
	return link_send(r->control, &frame, sizeof frame);
}

static int relay_open(struct relay *r)
{
	r->in.port = WIRE_STDIN;
	r->out.port = WIRE_STDOUT;
	r->err.port = WIRE_STDERR;
	r->in.pipe = r->run->in;
	r->out.pipe = r->run->out;
	r->err.pipe = r->run->err;
	r->in.sock = r->out.sock = r->err.sock = -1;
	r->in.state = STREAM_CLOSED;
	if (r->err.pipe < 0)
		r->err.state = STREAM_CLOSED;
	if (r->in.pipe < 0)
		return 0;
	r->in.sock = link_open(WIRE_STDIN);
	r->in.state = STREAM_CONNECTING;
	return r->in.sock < 0 ? -1 : 0;
}

int relay_run(struct relay *r, struct fault *f)
{
	sigset_t none;

	sigemptyset(&none);
	if (relay_open(r) < 0)
		return fault(f, WIRE_STEP_LINK, errno);
	while (!r->empty || r->out.state != STREAM_CLOSED || r->err.state != STREAM_CLOSED) {
		struct pollfd p[6];
		struct timespec left;
		int timed = !r->started_sent && !r->ended && r->run->exec_error == 0;

		if (timed && announce(r, &left) < 0)
			return fault(f, WIRE_STEP_LINK, errno);
		watch_in(&r->in, p);
		watch_out(&r->out, p + 2);
		watch_out(&r->err, p + 4);

		int n = ppoll(p, 6, timed && !r->started_sent ? &left : NULL, &none);

		if (n < 0 && errno != EINTR)
			return fault(f, WIRE_STEP_RELAY, errno);
		if (n > 0) {
			serve_in(&r->in, p);
			serve_out(&r->out, p + 2);
			serve_out(&r->err, p + 4);
		}
		if (r->empty)
			continue;
		reap(r);
		if (!r->empty)
			continue;
		/* all writers are gone: what the pipes hold is the rest */
		finish(&r->in);
		if (r->out.state == STREAM_IDLE)
			pump_out(&r->out);
		if (r->err.state == STREAM_IDLE)
			pump_out(&r->err);
	}
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise.c - the supervisor's loop, from the VMM's start to its last byte.
 *
 *   caller's stdin ──▶ pipe ──▶ VMM ──▶ pipes ──▶ caller's stdout, stderr
 *   signals ──▶ cancel, stop, go on          clock ──▶ SIGKILL, if the VMM is late
 *
 * The VMM keeps the wall limit itself; this clock is the second line, for a VMM
 * that does not obey.  It kills GRACE after the limit unless the VMM says that
 * no guest instruction runs any more (then it gets time to wipe) or that the
 * guest has not begun.
 *
 * What the guest controls here: stream bytes; and through a taken-over VMM also
 * the report page, which is only believed for WIPE_NS longer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#define GRACE_NS (100 * NS_PER_MS)
#define START_NS NS_PER_S		/* from our spawn to its own clock's start */
#define SETUP_NS (5 * NS_PER_S)
#define WIPE_NS (10 * NS_PER_S)		/* and more for much RAM: an emulated host is slow */
#define WIPE_NS_PER_BYTE 16
#define READER_NS (2 * NS_PER_S)	/* for a reader to take something, after a cancel */
#define DOUBT_NS (2 * NS_PER_S)		/* a guest not up by then makes us ask KVM */

enum slot { SIGNALS, PROCESS, NOTICE, LOG, STDIN_FROM, STDIN_TO, OUT_FROM, OUT_TO, ERR_FROM, ERR_TO, SLOTS };

struct loop {
	struct session *s;
	struct stream out, err;
	enum progress_place out_place, err_place;
	struct pollfd p[SLOTS];
	bool gone;			/* the VMM was reaped */
	bool abandon;			/* cancelled, and output waits for its reader */
	uint64_t cancel_at, resumed_at, ended_at;
	uint64_t taken, taken_at;	/* bytes of output, once it is gone; and when that was last more */
	struct input in;
	char log[1024];
	size_t log_bytes;
};

static unsigned phase(const struct loop *l)
{
	return __atomic_load_n(&l->s->page->phase, __ATOMIC_ACQUIRE);
}

/* A moment that the VMM tells, if it can be true: from `from` on, `most` later at most. */
static uint64_t told_at(const uint64_t *field, uint64_t from, uint64_t most)
{
	uint64_t at = __atomic_load_n(field, __ATOMIC_RELAXED);

	return at < from || at > from + most ? from + most : at;
}

/*
 * When the VMM's own clock strikes, by the same rule (vmm/watch.c): the wall limit counts from the
 * script's start, before it the boot has its limits.  0: never.
 */
static uint64_t wall_at(const struct loop *l)
{
	const struct report *p = l->s->page;
	uint64_t wall = l->s->o->wall_ns, init = wall > REPORT_INIT_NS ? wall : REPORT_INIT_NS;
	uint64_t boot = told_at(&p->t_start, l->s->r->started_ns, START_NS), ready;

	if (phase(l) < REPORT_READY || (phase(l) == REPORT_READY && wall == 0))
		return boot + REPORT_BOOT_NS;
	if (wall == 0)
		return 0;
	ready = told_at(&p->t_ready, boot, REPORT_BOOT_NS);
	if (phase(l) == REPORT_READY)
		return ready + init;
	return told_at(&p->t_started, ready, init) + wall;
}

/* 0: nothing is due; else when to kill, in the VMM's present phase. */
static uint64_t kill_at(const struct loop *l, uint64_t due)
{
	if (due == 0)
		return 0;
	if (due < l->resumed_at)
		due = l->resumed_at;
	return due + (phase(l) == REPORT_SETUP ? SETUP_NS : GRACE_NS);
}

/* What waits for a slow reader is lost, and that is no success. */
static void abandon(struct loop *l)
{
	l->abandon = l->s->abandoned = true;
}

/* Who cancels waits no longer for a reader that takes nothing.  The poll timeout, once the VMM is gone. */
static int mind_the_reader(struct loop *l)
{
	uint64_t taken = l->out.stats->delivered_bytes + l->err.stats->delivered_bytes, now = now_ns();

	if (l->s->cancel_signal == 0 || l->abandon)
		return -1;
	if (taken != l->taken || l->taken_at < l->resumed_at) {
		l->taken = taken;
		l->taken_at = now;
	}
	if (now >= l->taken_at + READER_NS) {
		abandon(l);
		return 0;
	}
	return (int)((l->taken_at + READER_NS - now) / NS_PER_MS) + 1;
}

/* Kills what is late; returns the poll timeout until the next such moment. */
static int mind_the_clock(struct loop *l)
{
	struct session *s = l->s;
	uint64_t wall = kill_at(l, wall_at(l));
	uint64_t cancel = kill_at(l, l->cancel_at);
	uint64_t next = wall == 0 || (cancel != 0 && cancel < wall) ? cancel : wall;
	uint64_t now;

	if (l->gone)
		return mind_the_reader(l);
	/* Once it says that its guest runs no more it gets time to wipe, from then on, whatever the limits. */
	if (l->ended_at == 0 && phase(l) >= REPORT_ENDED)
		l->ended_at = now_ns();
	if (l->ended_at != 0)
		next = (l->ended_at > l->resumed_at ? l->ended_at : l->resumed_at) + WIPE_NS +
		       s->ram_bytes * WIPE_NS_PER_BYTE;
	if (next == 0 || s->r->vmm_killed)
		return -1;
	now = now_ns();
	if (now >= next) {
		s->killed_for = l->ended_at != 0 ? KILL_WIPE : next == cancel ? KILL_CANCEL : KILL_WALL;
		s->r->vmm_killed = true;
		kill(s->pid, SIGKILL);
		return -1;
	}
	return next - now > 3600 * NS_PER_S ? 3600 * 1000 : (int)((next - now) / NS_PER_MS) + 1;
}

/* A guest that takes long to boot may be one that this KVM cannot boot. */
static int doubt_kvm(struct loop *l, int timeout)
{
	struct session *s = l->s;

	if (s->kvm_asked || l->gone || l->cancel_at != 0 || phase(l) > REPORT_BOOT)
		return timeout;
	if (now_ns() < s->r->started_ns + DOUBT_NS)
		return timeout < 0 || timeout > 500 ? 500 : timeout;
	if (!kvm_is_unfit(s))
		return timeout;
	if (phase(l) > REPORT_BOOT) {	/* it was only slow */
		s->kvm_unfit[0] = '\0';
		return timeout;
	}
	l->cancel_at = now_ns();
	kill(s->pid, SIGTERM);
	return 0;
}

/* Ctrl-Z: the VMM first, which waits for SIGCONT or our end; then we ourselves, as the signal would have done. */
static void stop(struct loop *l)
{
	struct sigaction deflt = { .sa_handler = SIG_DFL }, old;
	sigset_t tstp;

	progress_clear(l->s->progress);
	if (!l->gone)
		kill(l->s->pid, SIGTSTP);
	sigemptyset(&tstp);
	sigaddset(&tstp, SIGTSTP);
	sigaction(SIGTSTP, &deflt, &old);
	raise(SIGTSTP);
	sigprocmask(SIG_UNBLOCK, &tstp, NULL);	/* stops here, until SIGCONT */
	sigprocmask(SIG_BLOCK, &tstp, NULL);
	sigaction(SIGTSTP, &old, NULL);
	if (!l->gone)
		kill(l->s->pid, SIGCONT);
	l->resumed_at = now_ns();
}

static void cancel(struct loop *l, int sig)
{
	struct session *s = l->s;

	if (l->gone) {
		abandon(l);
		if (s->cancel_signal == 0)
			s->cancel_signal = sig;
		return;
	}
	if (s->cancel_signal != 0) {	/* asked twice: no more patience */
		s->killed_for = KILL_CANCEL;
		s->r->vmm_killed = true;
		kill(s->pid, SIGKILL);
		return;
	}
	s->cancel_signal = sig;
	l->cancel_at = now_ns();
	kill(s->pid, SIGTERM);
}

static void take_signal(struct loop *l)
{
	struct signalfd_siginfo si;

	if (read(l->s->o->signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
		return;
	if (si.ssi_signo == SIGTSTP)
		stop(l);
	else if (si.ssi_signo == SIGCONT)
		l->resumed_at = now_ns();
	else
		cancel(l, (int)si.ssi_signo);
}

static void read_log(struct loop *l)
{
	const size_t half = sizeof(l->log) / 2;
	ssize_t n;

	/* The last line is wanted, and the VMM must not wait for us: the older half makes room. */
	if (l->log_bytes > half) {
		memmove(l->log, l->log + l->log_bytes - half, half);
		l->log_bytes = half;
	}
	n = read(l->s->fd.log[0], l->log + l->log_bytes, sizeof(l->log) - l->log_bytes);
	if (n > 0)
		l->log_bytes += (size_t)n;
	else if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		fd_close(&l->s->fd.log[0]);
}

static void read_notice(struct loop *l)
{
	char bytes[16];
	ssize_t n = read(l->s->fd.notice[0], bytes, sizeof(bytes));

	if (n > 0)
		events_watch(l->s, l->s->page);
	else if (n == 0 || (errno != EAGAIN && errno != EINTR))
		fd_close(&l->s->fd.notice[0]);
}

/* What the policy ends the run for is ended as a cancel is. */
static void enforce(struct loop *l)
{
	if (l->gone || l->cancel_at != 0 || !policy_ends(l->s, l->s->page))
		return;
	l->cancel_at = now_ns();
	kill(l->s->pid, SIGTERM);
}

static void watch(struct pollfd *p, int fd, short events)
{
	*p = (struct pollfd){ .fd = fd, .events = events };
}

static void watch_stream(struct pollfd p[2], const struct stream *t)
{
	bool full = stream_is_full(t), may_leave = (t->is_pipe || t->is_socket) && !t->drained;

	watch(&p[0], full ? -1 : t->pipe, POLLIN);
	/* With nothing to write an error still tells that the reader left. */
	watch(&p[1], full || may_leave ? t->user : -1, full ? POLLOUT : 0);
}

static void watch_all(struct loop *l)
{
	struct session *s = l->s;

	watch(&l->p[SIGNALS], s->o->signal_fd, POLLIN);
	watch(&l->p[PROCESS], l->gone ? -1 : s->pidfd, POLLIN);
	watch(&l->p[NOTICE], s->fd.notice[0], POLLIN);
	watch(&l->p[LOG], s->fd.log[0], POLLIN);
	watch(&l->p[STDIN_FROM], l->in.open && l->in.bytes == 0 ? l->in.user : -1, POLLIN);
	watch(&l->p[STDIN_TO], l->in.pipe, l->in.bytes > 0 ? POLLOUT : 0);
	watch_stream(&l->p[OUT_FROM], &l->out);
	watch_stream(&l->p[ERR_FROM], &l->err);
}

static bool may_draw(const struct loop *l)
{
	return progress_may_follow(l->out_place, &l->out) && progress_may_follow(l->err_place, &l->err);
}

/* What is being done, for who waits at a terminal. */
static int tell_progress(struct loop *l, int timeout)
{
	return l->gone || !may_draw(l) ? timeout : progress_run(l->s, phase(l), timeout);
}

static void clear_progress(struct loop *l)
{
	bool out = l->gone || l->p[OUT_FROM].revents != 0 || l->p[OUT_TO].revents != 0;
	bool err = l->gone || l->p[ERR_FROM].revents != 0 || l->p[ERR_TO].revents != 0;

	if ((out && l->out_place != PROGRESS_APART) || (err && l->err_place != PROGRESS_APART))
		progress_clear(l->s->progress);
}

static void act_stream(const struct pollfd p[2], struct stream *t)
{
	if ((p[1].revents & POLLOUT) != 0)
		stream_write(t);
	else if ((p[1].revents & (POLLERR | POLLHUP | POLLNVAL)) != 0)
		stream_hang_up(t);
	if (p[0].revents != 0 && t->pipe >= 0 && !stream_is_full(t))
		stream_read(t);
}

static void reap(struct loop *l)
{
	struct session *s = l->s;

	while (wait4(s->pid, &s->r->vmm_wait_status, 0, &s->r->vmm_usage) < 0 && errno == EINTR)
		;
	l->gone = true;
	s->r->ended_ns = l->taken_at = now_ns();
	input_end(&l->in);
}

static void act(struct loop *l)
{
	if (l->p[SIGNALS].revents != 0)
		take_signal(l);
	if (l->p[STDIN_TO].revents != 0) {
		if ((l->p[STDIN_TO].revents & POLLERR) != 0)
			input_end(&l->in);
		else
			input_write(&l->in);
	}
	if (l->p[STDIN_FROM].revents != 0 && l->in.open)
		l->s->r->stdin_bytes += input_read(&l->in);
	clear_progress(l);
	act_stream(&l->p[OUT_FROM], &l->out);
	act_stream(&l->p[ERR_FROM], &l->err);
	if (l->p[LOG].revents != 0)
		read_log(l);
	if (l->p[NOTICE].revents != 0)
		read_notice(l);
	if (l->p[PROCESS].revents != 0) {
		reap(l);
		clear_progress(l);
	}
}

static bool is_over(struct loop *l)
{
	if (!l->gone)
		return false;
	stream_finish(&l->out, l->s->page, l->s->collecting != NULL ? 2 : 0);
	stream_finish(&l->err, l->s->page, 1);
	if (l->abandon) {
		stream_drop(&l->out);
		stream_drop(&l->err);
		return true;
	}
	return l->out.drained && l->err.drained && !stream_is_full(&l->out) && !stream_is_full(&l->err) &&
	       l->s->fd.log[0] < 0;
}

static void keep_log(struct loop *l)
{
	size_t n = l->log_bytes, from;

	while (n > 0 && l->log[n - 1] == '\n')
		n--;
	for (from = n; from > 0 && l->log[from - 1] != '\n'; from--)
		;
	text_escape(l->s->r->vmm_log, sizeof(l->s->r->vmm_log), l->log + from, n - from, false);
}

void supervise(struct session *s)
{
	static struct loop l;		/* one run a time; too large for a stack */
	const struct dolania_options *o = s->o;

	l.s = s;
	l.gone = l.abandon = false;
	l.cancel_at = l.resumed_at = l.ended_at = l.taken = 0;
	l.log_bytes = 0;
	input_init(&l.in, o->stdin_fd, s->fd.in[1]);
	s->fd.in[1] = -1;
	stream_init(&l.out, &s->r->out, s->fd.out[0], o->stdout_fd, o->clean_stdout, o->output_bytes);
	stream_init(&l.err, &s->r->err, s->fd.err[0], o->stderr_fd, o->clean_stderr, o->output_bytes);
	s->fd.out[0] = s->fd.err[0] = -1;	/* the streams own them */
	l.out_place = progress_place_of(s->collecting != NULL ? -1 : o->stdout_fd);
	l.err_place = progress_place_of(o->stderr_fd);
	while (!is_over(&l)) {
		int timeout = tell_progress(&l, doubt_kvm(&l, mind_the_clock(&l)));

		watch_all(&l);
		if (poll(l.p, SLOTS, timeout) > 0)
			act(&l);
		enforce(&l);
	}
	keep_log(&l);
	if (!may_draw(&l))		/* the second VM writes nothing, so a line that is begun stays so */
		progress_end(s->progress);
	stream_release(&l.out);
	stream_release(&l.err);
	input_release(&l.in);
}

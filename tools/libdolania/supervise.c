/* SPDX-License-Identifier: Apache-2.0 */
/*
 * supervise.c - the supervisor's loop, from the VMM's start to its last byte.
 *
 *   caller's stdin ──▶ pipe ──▶ VMM ──▶ pipes ──▶ caller's stdout, stderr
 *   signals ──▶ cancel, stop, go on          clock ──▶ SIGKILL, if the VMM is late
 *
 * The VMM keeps the wall limit itself; this clock is the second line, for a VMM
 * that does not obey.  It kills GRACE after the limit unless the VMM says that
 * no guest instruction runs any more (then it gets time to wipe) or that the guest has not begun.
 * A VMM that was killed and does not disappear has CONFINE_GONE_MS; then the run ends without it, and says so.
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
#include <unistd.h>

#include "tools/libdolania/confine.h"
#include "tools/libdolania/internal.h"

#define GRACE_NS (100 * NS_PER_MS)
#define SETUP_NS (5 * NS_PER_S)
#define WIPE_NS (10 * NS_PER_S)		/* and more for much RAM: an emulated host is slow */
#define WIPE_NS_PER_BYTE 16
#define READER_NS (2 * NS_PER_S)	/* for a reader to take something, after a cancel */
#define EXTRACTOR_NS (60 * NS_PER_S)	/* for ours, which a guest's archive may have taken over */
#define DOUBT_NS (2 * NS_PER_S)		/* a guest not up by then makes us ask KVM */
#define HELD_MS 100			/* from one try to reap to the next */

enum slot { SIGNALS, PROCESS, NOTICE, LOG, STDIN_FROM, STDIN_TO, OUT_FROM, OUT_TO, ERR_FROM, ERR_TO, SLOTS };

struct loop {
	struct session *s;
	struct stream out, err;
	enum progress_place out_place, err_place;
	struct pollfd p[SLOTS];
	bool gone;			/* the VMM was reaped, or is waited for no longer */
	bool held;			/* it is dead, and another process (a debugger) reaps it first */
	bool abandon;			/* output waits for its reader, for too long */
	uint64_t cancel_at, resumed_at, ended_at;
	uint64_t dead_at;		/* when it was killed, or found dead; 0: neither */
	uint64_t taken, taken_at;	/* bytes of output, once it is gone; and when that was last more */
	struct input in;
	struct vmm_log log;
};

static unsigned phase(const struct loop *l)
{
	return __atomic_load_n(&l->s->page->phase, __ATOMIC_ACQUIRE);
}

static void kill_vmm(struct loop *l, enum killed_for why)
{
	struct session *s = l->s;

	s->killed_for = why;
	s->r->vmm_killed = true;
	if (l->dead_at == 0)
		l->dead_at = now_ns();
	kill(s->pid, SIGKILL);
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

/* Gives up a reader that takes nothing: after a cancel, and ours at any time.  The poll timeout, once the VMM is gone. */
static int mind_the_reader(struct loop *l)
{
	uint64_t taken = l->out.stats->delivered_bytes + l->err.stats->delivered_bytes, now = now_ns();
	bool cancelled = l->s->cancel_signal != 0;
	uint64_t patience = cancelled ? READER_NS : EXTRACTOR_NS;

	if ((!cancelled && l->s->collecting == NULL) || l->abandon)
		return -1;
	if (taken != l->taken || l->taken_at < l->resumed_at) {
		l->taken = taken;
		l->taken_at = now;
	}
	if (now >= l->taken_at + patience) {
		if (cancelled)
			abandon(l);
		else
			l->abandon = l->out.stats->closed = true;
		return 0;
	}
	return (int)((l->taken_at + patience - now) / NS_PER_MS) + 1;
}

/* Nothing that comes now is waited for. */
static void end_vmm(struct loop *l)
{
	struct session *s = l->s;

	l->gone = true;
	progress_clear(s->progress);
	s->r->ended_ns = l->taken_at = now_ns();
	input_end(&l->in);
	/* What it wrote is there by now.  Another process may hold these pipes open, or write to them. */
	log_finish(&l->log, &s->fd.log[0]);
	fd_close(&s->fd.notice[0]);
}

static void reap(struct loop *l)
{
	struct session *s = l->s;

	if (confine_try_reap(s->pid, s->pidfd, &s->r->vmm_wait_status, &s->r->vmm_usage, &l->held))
		end_vmm(l);
	else if (l->held && l->dead_at == 0)
		l->dead_at = now_ns();
}

/* It was killed, or is dead and held: it has so much time to disappear.  The poll timeout. */
static int mind_the_dead(struct loop *l)
{
	uint64_t now = now_ns(), from = l->dead_at > l->resumed_at ? l->dead_at : l->resumed_at;
	uint64_t until = from + CONFINE_GONE_MS * NS_PER_MS;

	reap(l);
	if (!l->gone && now >= until) {
		l->s->r->vmm_left = true;
		if (!discard_freeze(l->s)) {	/* a ring that is still written to has no end */
			l->out.drained = l->err.drained = true;
			l->out.stats->error = l->err.stats->error = ENOMEM;
		}
		end_vmm(l);
	}
	return l->gone ? 0 : l->held ? HELD_MS : (int)((until - now) / NS_PER_MS) + 1;
}

/* Kills what is late; returns the poll timeout until the next such moment. */
static int mind_the_clock(struct loop *l)
{
	struct session *s = l->s;
	uint64_t wall = kill_at(l, deadline_of(s));
	uint64_t cancel = kill_at(l, l->cancel_at);
	uint64_t next = wall == 0 || (cancel != 0 && cancel < wall) ? cancel : wall;
	uint64_t now;

	if (l->gone)
		return mind_the_reader(l);
	if (l->dead_at != 0)
		return mind_the_dead(l);
	/* Once it says that its guest runs no more it gets time to wipe, from then on, whatever the limits. */
	if (l->ended_at == 0 && phase(l) >= REPORT_ENDED)
		l->ended_at = now_ns();
	if (l->ended_at != 0)
		next = (l->ended_at > l->resumed_at ? l->ended_at : l->resumed_at) + WIPE_NS +
		       s->ram_bytes * WIPE_NS_PER_BYTE;
	if (next == 0)
		return -1;
	now = now_ns();
	if (now >= next) {
		kill_vmm(l, l->ended_at != 0 ? KILL_WIPE : next == cancel ? KILL_CANCEL : KILL_WALL);
		return 0;
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
		kill_vmm(l, KILL_CANCEL);
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
	watch(&l->p[PROCESS], l->gone || l->held ? -1 : s->pidfd, POLLIN);
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
		log_read(&l->log, &l->s->fd.log[0]);
	if (l->p[NOTICE].revents != 0)
		read_notice(l);
	if (l->p[PROCESS].revents != 0)
		reap(l);
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
	return l->out.drained && l->err.drained && !stream_is_full(&l->out) && !stream_is_full(&l->err);
}

void supervise(struct session *s)
{
	static struct loop l;		/* one run a time; too large for a stack */
	const struct dolania_options *o = s->o;

	l.s = s;
	l.gone = l.held = l.abandon = false;
	l.cancel_at = l.resumed_at = l.ended_at = l.dead_at = l.taken = 0;
	l.log.bytes = 0;
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
	log_keep(&l.log, s->r->vmm_log, sizeof(s->r->vmm_log));
	if (!may_draw(&l))		/* the second VM writes nothing, so a line that is begun stays so */
		progress_end(s->progress);
	stream_release(&l.out);
	stream_release(&l.err);
	input_release(&l.in);
}

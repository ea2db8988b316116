/* Runs COMMAND and relays its three streams and its signals. */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 1 << 16 };

/* One direction of one stream. */
struct flow {
	int from;
	int to;
	size_t have; /* bytes in buf */
	size_t done; /* bytes of them already written */
	uint64_t total;
	char buf[CHUNK];
};

static _Noreturn void child_exec(const struct job *job, int in, int out, int err)
{
	sigset_t none;

	setsid();
	if (dup2(in, 0) < 0 || dup2(out, 1) < 0 || dup2(err, 2) < 0)
		_exit(125);
	syscall(SYS_close_range, 3, ~0U, 0);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	umask(022);
	struct rlimit core = { 0, RLIM_INFINITY };
	setrlimit(RLIMIT_CORE, &core);
	if (setgroups(job->ngroups, job->groups) != 0 ||
	    setresgid(job->gid, job->gid, job->gid) != 0 ||
	    setresuid(job->uid, job->uid, job->uid) != 0 || chdir(job->cwd) != 0) {
		fprintf(stderr, "kvm-host: cannot start in %s: %s\n", job->cwd,
			strerror(errno));
		_exit(125);
	}
	environ = job->env;
	execvp(job->argv[0], job->argv);
	int e = errno;
	fprintf(stderr, "kvm-host: %s: %s\n", job->argv[0], strerror(e));
	_exit(e == ENOENT ? 127 : 126);
}

static void make_pipe(int fds[2])
{
	if (pipe2(fds, O_CLOEXEC) != 0)
		fail("pipe");
	fcntl(fds[0], F_SETPIPE_SZ, 1 << 18);
}

static void set_nonblock(int fd)
{
	fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK);
}

/* Moves what can be moved now.  Returns true as long as the flow is open. */
static int flow_move(struct flow *f)
{
	for (int rounds = 0; f->from >= 0 && rounds < 32; rounds++) {
		if (f->done == f->have) {
			ssize_t r = read(f->from, f->buf, sizeof(f->buf));
			if (r < 0)
				return 1;
			if (r == 0) {
				close(f->from);
				f->from = -1;
				return 0;
			}
			f->have = (size_t)r;
			f->done = 0;
		}
		ssize_t w = write(f->to, f->buf + f->done, f->have - f->done);
		if (w <= 0)
			return 1;
		f->done += (size_t)w;
		f->total += (uint64_t)w;
	}
	return f->from >= 0;
}

/* COMMAND has ended: pass on what lies in the pipe, wait for nobody else. */
static void flow_finish(struct flow *f)
{
	while (f->from >= 0) {
		if (f->done == f->have) {
			int lying = 0;
			ioctl(f->from, FIONREAD, &lying);
			if (lying == 0)
				return;
		}
		flow_move(f);
		if (f->done < f->have) {
			struct pollfd p = { .fd = f->to, .events = POLLOUT };
			poll(&p, 1, 10);
		}
	}
}

/* stdin: frames from the port into the pipe. */
struct input {
	struct flow f;
	uint32_t frame; /* bytes left in the frame */
	uint32_t head_have;
	unsigned char head[4];
};

static void input_close(struct input *in)
{
	if (in->f.to >= 0)
		close(in->f.to);
	in->f.to = -1;
}

/* Returns 1 when it got something, 0 when the port has nothing now. */
static int input_fill(struct input *in)
{
	if (in->frame == 0) {
		ssize_t r = read(in->f.from, in->head + in->head_have, 4 - in->head_have);
		if (r <= 0)
			return 0;
		in->head_have += (uint32_t)r;
		if (in->head_have < 4)
			return 1;
		memcpy(&in->frame, in->head, 4);
		in->head_have = 0;
		if (in->frame == 0)
			input_close(in);
		return 1;
	}
	size_t want = in->frame < CHUNK ? in->frame : CHUNK;
	ssize_t r = read(in->f.from, in->f.buf, want);
	if (r <= 0)
		return 0;
	in->f.have = (size_t)r;
	in->f.done = 0;
	in->frame -= (uint32_t)r;
	return 1;
}

static void input_move(struct input *in)
{
	for (int rounds = 0; in->f.to >= 0 && rounds < 32; rounds++) {
		if (in->f.done == in->f.have) {
			if (!input_fill(in))
				return;
			continue;
		}
		ssize_t w = write(in->f.to, in->f.buf + in->f.done, in->f.have - in->f.done);
		if (w > 0)
			in->f.done += (size_t)w;
		else if (errno == EAGAIN)
			return;
		else
			input_close(in);
	}
}

static void pass_signals(pid_t pid)
{
	unsigned char sig[16];
	ssize_t n = read(ctl_fd, sig, sizeof(sig));

	for (ssize_t i = 0; i < n; i++)
		if (kill(-pid, sig[i]) != 0)
			kill(pid, sig[i]);
}

/* Reaps everything that ended; true when COMMAND is among it. */
static int reap(int sfd, pid_t pid, int *status)
{
	struct signalfd_siginfo si[8];
	int st, found = 0;

	while (read(sfd, si, sizeof(si)) > 0)
		;
	for (pid_t p; (p = waitpid(-1, &st, WNOHANG)) > 0;) {
		if (p == pid) {
			*status = st;
			found = 1;
		}
	}
	return found;
}

static struct flow out, err;
static struct input in;

static int relay(pid_t pid, int sfd)
{
	int status = 0;

	for (;;) {
		int in_full = in.f.done < in.f.have;
		struct pollfd p[] = {
			{ .fd = sfd, .events = POLLIN },
			{ .fd = ctl_fd, .events = POLLIN },
			{ .fd = in.f.to < 0 ? -1 : in_full ? in.f.to : in.f.from,
			  .events = in_full ? POLLOUT : POLLIN },
			{ .fd = out.done < out.have ? out.to : out.from,
			  .events = out.done < out.have ? POLLOUT : POLLIN },
			{ .fd = err.done < err.have ? err.to : err.from,
			  .events = err.done < err.have ? POLLOUT : POLLIN },
		};

		if (out.from < 0 && out.done == out.have)
			p[3].fd = -1;
		if (err.from < 0 && err.done == err.have)
			p[4].fd = -1;
		if (poll(p, 5, -1) < 0 && errno != EINTR)
			fail("poll");
		if ((p[1].revents | p[2].revents) & POLLHUP)
			usleep(1000); /* the other side is not connected (yet) */
		if (p[1].revents & POLLIN)
			pass_signals(pid);
		input_move(&in);
		flow_move(&out);
		flow_move(&err);
		if ((p[0].revents & POLLIN) && reap(sfd, pid, &status))
			return status;
	}
}

void run_command(const struct job *job)
{
	int pin[2], pout[2], perr[2];
	sigset_t chld;

	in.f.from = port_open(PORT_IN, O_RDONLY | O_NONBLOCK);
	out.to = port_open(PORT_OUT, O_WRONLY | O_NONBLOCK);
	err.to = port_open(PORT_ERR, O_WRONLY | O_NONBLOCK);
	make_pipe(pin);
	make_pipe(pout);
	make_pipe(perr);
	sigemptyset(&chld);
	sigaddset(&chld, SIGCHLD);
	sigprocmask(SIG_BLOCK, &chld, NULL);
	int sfd = signalfd(-1, &chld, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sfd < 0)
		fail("signalfd");
	set_nonblock(ctl_fd);
	ctl_say("ready\n");

	pid_t pid = fork();
	if (pid < 0)
		fail("fork");
	if (pid == 0)
		child_exec(job, pin[0], pout[1], perr[1]);
	close(pin[0]);
	close(pout[1]);
	close(perr[1]);
	in.f.to = pin[1];
	out.from = pout[0];
	err.from = perr[0];
	set_nonblock(in.f.to);
	set_nonblock(out.from);
	set_nonblock(err.from);
	signal(SIGPIPE, SIG_IGN);

	int status = relay(pid, sfd);
	flow_finish(&out);
	flow_finish(&err);
	sync();
	ctl_say("exit %d %llu %llu\n", status, (unsigned long long)out.total,
		(unsigned long long)err.total);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - the one place where a VMM process begins.
 *
 * It gets fds by number, an empty environment, a process group of its own (the
 * terminal's signals are ours to act on), and dies with us.  Nothing else of
 * ours reaches it: every other fd is closed by exec.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

enum { ARGS = 24, ARG_BYTES = 48 };

struct start {
	char text[ARGS][ARG_BYTES];
	char *argv[ARGS + 3];
	int keep[ARGS];
	unsigned argc, kept;
};

static int sealed_memfd(const char *name, uint64_t bytes)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;
	int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);

	if (fd < 0)
		return -1;
	if (ftruncate(fd, (off_t)bytes) < 0 || fcntl(fd, F_ADD_SEALS, seals) < 0)
		fd_close(&fd);
	return fd;
}

/* ours / theirs: which end is whose; both ends do not block. */
static int make_pipe(int ends[2])
{
	return pipe2(ends, O_CLOEXEC | O_NONBLOCK);
}

int spawn_prepare(struct session *s)
{
	struct fds *f = &s->fd;
	bool has_stdin = s->o->stdin_fd >= 0 && !s->script_is_stdin;

	f->ram = sealed_memfd("dolania-ram", s->ram_bytes);
	f->shared = sealed_memfd("dolania-shared", REPORT_SHARED_BYTES);
	if (f->ram < 0 || f->shared < 0)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for the guest: %s", strerror(errno));
	if (make_pipe(f->out) < 0 || make_pipe(f->err) < 0 || make_pipe(f->notice) < 0 ||
	    make_pipe(f->log) < 0 || (has_stdin && make_pipe(f->in) < 0))
		return session_fail(s, DOLANIA_HOST_IO, "cannot make a pipe: %s", strerror(errno));
	s->page = mmap(NULL, REPORT_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->shared, 0);
	if (s->page == MAP_FAILED) {
		s->page = NULL;
		return session_fail(s, DOLANIA_HOST_OOM, "cannot map the report page: %s", strerror(errno));
	}
	return 0;
}

static void give_number(struct start *t, const char *key, uint64_t value)
{
	snprintf(t->text[t->argc], ARG_BYTES, "%s=%" PRIu64, key, value);
	t->argv[1 + t->argc] = t->text[t->argc];
	t->argc++;
}

static void give_fd(struct start *t, const char *key, int fd)
{
	if (fd < 0)
		return;
	give_number(t, key, (uint64_t)fd);
	t->keep[t->kept++] = fd;
}

static void build_start(struct session *s, struct start *t, char *cmdline, size_t room)
{
	const struct fds *f = &s->fd;

	t->argc = t->kept = 0;
	t->argv[0] = s->paths.vmm;
	give_fd(t, "kvm", f->kvm);
	give_fd(t, "ram", f->ram);
	give_number(t, "ram_bytes", s->ram_bytes);
	give_fd(t, "shared", f->shared);
	give_fd(t, "kernel", f->kernel);
	give_fd(t, "initrd", f->initrd);
	give_fd(t, "job", f->job);
	give_fd(t, "stdin", f->in[0]);
	give_fd(t, "stdout", f->out[1]);
	give_fd(t, "stderr", f->err[1]);
	give_fd(t, "notice", f->notice[1]);
	give_fd(t, "disk", f->root);
	give_fd(t, "disk", f->input);
	if (s->o->wall_ns > 0)
		give_number(t, "wall_ns", s->o->wall_ns);
	t->argv[1 + t->argc] = NULL;
	if (s->o->append != NULL) {
		snprintf(cmdline, room, "cmdline=%s", s->o->append);
		t->argv[1 + t->argc] = cmdline;
		t->argv[2 + t->argc] = NULL;
	}
}

/* In the child, on the parent's memory (vfork): system calls only. */
static _Noreturn void become_vmm(const struct start *t, int log, int null, pid_t parent, const sigset_t *mask)
{
	static const char sorry[] = "the VMM cannot be executed\n";
	char *envp[] = { NULL };

	/* Blocked signals wait until the VMM asks for them. */
	sigprocmask(SIG_SETMASK, mask, NULL);
	setpgid(0, 0);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0 || getppid() != parent)
		_exit(127);
	if (dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0 ||
	    syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		_exit(127);
	for (unsigned i = 0; i < t->kept; i++)
		if (fcntl(t->keep[i], F_SETFD, 0) < 0)
			_exit(127);
	execve(t->argv[0], t->argv, envp);
	if (write(2, sorry, sizeof(sorry) - 1) < 0)
		_exit(126);
	_exit(127);
}

static void vmm_signals(sigset_t *mask)
{
	static const int blocked[] = { SIGTERM, SIGINT, SIGQUIT, SIGHUP, SIGTSTP, SIGPIPE, SIGALRM, SIGIO };

	sigemptyset(mask);
	for (size_t i = 0; i < sizeof(blocked) / sizeof(blocked[0]); i++)
		sigaddset(mask, blocked[i]);
}

static void close_their_ends(struct fds *f)
{
	fd_close(&f->in[0]);
	fd_close(&f->out[1]);
	fd_close(&f->err[1]);
	fd_close(&f->notice[1]);
	fd_close(&f->log[1]);
	fd_close(&f->kvm);
	fd_close(&f->kernel);
	fd_close(&f->initrd);
	fd_close(&f->root);
	fd_close(&f->input);
	fd_close(&f->job);
}

int spawn_vmm(struct session *s)
{
	char cmdline[4096 + 16];
	struct start t;
	sigset_t mask;
	pid_t self = getpid(), pid;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (null < 0)
		return session_fail(s, DOLANIA_HOST_IO, "/dev/null: %s", strerror(errno));
	build_start(s, &t, cmdline, sizeof(cmdline));
	vmm_signals(&mask);
	s->r->started_ns = now_ns();
	pid = vfork();
	if (pid == 0)
		become_vmm(&t, s->fd.log[1], null, self, &mask);
	close(null);
	if (pid < 0)
		return session_fail(s, DOLANIA_HOST_OOM, "cannot start a process: %s", strerror(errno));
	s->pid = pid;
	s->r->ran = true;
	close_their_ends(&s->fd);
	s->pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	if (s->pidfd < 0) {
		kill(pid, SIGKILL);
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "pidfd_open: %s; Linux 5.10 or newer is needed",
				    strerror(errno));
	}
	return 0;
}

void spawn_release(struct session *s)
{
	struct fds *f = &s->fd;

	close_their_ends(f);
	fd_close(&f->in[1]);
	fd_close(&f->out[0]);
	fd_close(&f->err[0]);
	fd_close(&f->notice[0]);
	fd_close(&f->log[0]);
	fd_close(&f->ram);
	fd_close(&f->shared);
	fd_close(&s->pidfd);
	if (s->page != NULL) {
		/* The rings and the log held guest data. */
		explicit_bzero(s->page, REPORT_SHARED_BYTES);
		munmap(s->page, REPORT_SHARED_BYTES);
		s->page = NULL;
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spawn.c - the one place where a VMM process begins.
 *
 * It gets namespaces and an empty root (confine.h), fds by number, an empty
 * environment, a process group of its own (the terminal's signals are ours to
 * act on), and dies with us.  Nothing else of ours reaches it: every other fd
 * is closed by exec.
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
#include <sys/wait.h>
#include <unistd.h>

#include "tools/libdolania/confine.h"
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
	if ((f->ram < 0 || f->shared < 0) && errno == EFBIG)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for the guest: the limit on file sizes (ulimit -f) "
				    "counts for it; lift it or lower --memory");
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
	/* It holds guest output: not for a core file of ours. */
	(void)madvise(s->page, REPORT_SHARED_BYTES, MADV_DONTDUMP);
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
	struct disk list[DISKS_MAX];
	unsigned disks;

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
	give_fd(t, s->collecting != NULL ? "out" : "stdout", f->out[1]);
	give_fd(t, "stderr", f->err[1]);
	give_fd(t, "notice", f->notice[1]);
	disks = disk_list(s, list);
	for (unsigned i = 0; i < disks; i++)
		give_fd(t, list[i].writable ? "rwdisk" : list[i].used ? "useddisk" : "disk", list[i].fd);
	if (s->o->wall_ns > 0)
		give_number(t, "wall_ns", s->o->wall_ns);
	if (s->o->cpu_ns > 0)
		give_number(t, "cpu_ns", s->o->cpu_ns);
	t->argv[1 + t->argc] = NULL;
	if (s->o->append != NULL) {
		snprintf(cmdline, room, "cmdline=%s", s->o->append);
		t->argv[1 + t->argc] = cmdline;
		t->argv[2 + t->argc] = NULL;
	}
}

static _Noreturn void give_up(const char *why)
{
	char line[DOLANIA_LINE];
	int n = snprintf(line, sizeof(line), "%s: %s\n", why, strerror(errno));

	if (n > 0 && write(2, line, (size_t)n) < 0)
		_exit(126);
	_exit(127);
}

/* In the child.  `program` is the open VMM: the new root has no paths. */
static _Noreturn void become_vmm(struct start *t, int program, const int go[2], int log, int null,
				 const sigset_t *mask)
{
	char *envp[] = { NULL };
	const char *why = "";

	/* Blocked signals wait until the VMM asks for them. */
	sigprocmask(SIG_SETMASK, mask, NULL);
	setpgid(0, 0);
	if (dup2(null, 0) < 0 || dup2(log, 1) < 0 || dup2(log, 2) < 0)
		_exit(127);
	close(go[1]);	/* else our own copy would keep us waiting for a parent that died */
	if (confine_enter(go[0], &why) < 0)
		give_up(why);
	if (prctl(PR_SET_PDEATHSIG, SIGTERM, 0, 0, 0) < 0 ||
	    syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0)
		give_up("the VMM's descriptors cannot be closed");
	for (unsigned i = 0; i < t->kept; i++)
		if (fcntl(t->keep[i], F_SETFD, 0) < 0)
			give_up("the VMM's descriptors cannot be kept");
	syscall(SYS_execveat, program, "", t->argv, envp, AT_EMPTY_PATH);
	give_up("the VMM cannot be executed");
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

/*
 * The kernel takes many milliseconds to end a network namespace, and the end of a VM waits in the
 * same queue (rcu_barrier).  Held here, it ends after the VMM has, and nobody waits for it.
 */
static void keep_network(struct session *s, pid_t pid)
{
	char path[48];

	snprintf(path, sizeof(path), "/proc/%ld/ns/net", (long)pid);
	s->fd.net = open(path, O_RDONLY | O_CLOEXEC);
}

/*
 * All that the host's kernel can charge to a run: guest RAM and disks in memory, the shared page and
 * rings, KVM's and the process's tables for them (8 bytes a page each, and the memory file's own
 * index), tables for places without memory up to the VMM's own bound, and the VMM itself.
 */
static uint64_t memory_max(const struct session *s)
{
	const uint64_t vmm_and_slack = 64ull << 20;
	uint64_t held = s->ram_bytes + s->o->scratch_bytes + (s->o->out != NULL ? 2 * s->o->disk_bytes : 0);

	return held + held / 64 + REPORT_SHARED_BYTES + vmm_and_slack;
}

static pid_t clone_vmm(struct session *s)
{
	pid_t pid;

	cgroup_make(&s->cgroup, memory_max(s));
	pid = confine_clone(&s->pidfd, s->cgroup.dir);
	if (pid >= 0 || s->cgroup.dir < 0)
		return pid;
	s->cgroup.error = errno;
	cgroup_release(&s->cgroup);
	s->cgroup.why_not = "the VMM cannot be started in it";
	return confine_clone(&s->pidfd, -1);
}

void spawn_ended(struct session *s)
{
	struct cgroup *g = &s->cgroup;
	struct dolania_cgroup *to = &s->r->cgroup;

	cgroup_read(g);
	*to = (struct dolania_cgroup){
		.own = g->why_not == NULL, .callers_limit = g->callers_limit,
		.memory_max_bytes = g->memory_max_bytes, .memory_peak_bytes = g->memory_peak_bytes,
		.oom_kills = g->oom_kills, .pids_max = CGROUP_PIDS,
	};
	if (g->why_not != NULL)
		snprintf(to->why_not, sizeof(to->why_not), "%s%s%s", g->why_not, g->error != 0 ? ": " : "",
			 g->error != 0 ? strerror(g->error) : "");
	cgroup_release(g);
}

/* Clone, map, let go.  The child's pid, or -1 with the session failed. */
static pid_t start_confined(struct session *s, struct start *t, int program, int null)
{
	const char *why = "";
	sigset_t mask;
	int go[2];
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		return session_fail(s, DOLANIA_HOST_IO, "cannot make a pipe: %s", strerror(errno));
	vmm_signals(&mask);
	pid = clone_vmm(s);
	if (pid == 0)
		become_vmm(t, program, go, s->fd.log[1], null, &mask);
	close(go[0]);
	if (pid < 0) {
		int e = errno;

		close(go[1]);
		return session_fail(s, e == ENOMEM || e == EAGAIN ? DOLANIA_HOST_OOM : DOLANIA_HOST_UNSUPPORTED,
				    "the VMM's namespaces cannot be made: %s; 'dolania doctor' tells how to allow "
				    "user namespaces", strerror(e));
	}
	keep_network(s, pid);	/* while it waits for us, and is not closed to us yet */
	if (confine_map(pid, go[1], &why) < 0) {
		int e = errno;

		close(go[1]);	/* the child reads the end, and leaves */
		(void)confine_reap(pid, s->pidfd, 0, NULL);
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "the VMM: %s: %s; 'dolania doctor' tells more", why,
				    strerror(e));
	}
	close(go[1]);
	return pid;
}

int spawn_vmm(struct session *s)
{
	char cmdline[4096 + 16];
	struct start t;
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);

	if (s->fd.program < 0)
		s->fd.program = open(s->paths.vmm, O_RDONLY | O_CLOEXEC);
	if (null < 0 || s->fd.program < 0) {
		int e = errno;

		session_fail(s, DOLANIA_HOST_IO, "%s: %s", null < 0 ? "/dev/null" : s->paths.vmm, strerror(e));
	} else {
		build_start(s, &t, cmdline, sizeof(cmdline));
		s->r->started_ns = now_ns();
		s->pid = start_confined(s, &t, s->fd.program, null);
	}
	fd_close(&null);
	fd_close(&s->fd.program);
	if (s->pid <= 0) {
		s->pid = 0;
		return -1;
	}
	s->r->ran = true;
	close_their_ends(&s->fd);
	return 0;
}

void spawn_release(struct session *s)
{
	struct fds *f = &s->fd;

	close_their_ends(f);
	fd_close(&f->program);
	fd_close(&f->in[1]);
	fd_close(&f->out[0]);
	fd_close(&f->err[0]);
	fd_close(&f->notice[0]);
	fd_close(&f->log[0]);
	fd_close(&f->ram);
	discard_page(s);
	fd_close(&f->scratch);
	fd_close(&f->out_disk);
	fd_close(&f->net);
	fd_close(&s->pidfd);
	cgroup_release(&s->cgroup);
}

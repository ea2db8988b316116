/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the script's first process; see run.h.
 *
 * vfork: nothing is copied, and init goes on exactly when the exec is decided.
 * Until then the child runs in init's memory, so it makes plain system calls
 * only (libc's setuid and friends would try to reach "the other threads") and
 * tells its failure by writing it down.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/seccomp.h>

#include "run.h"

#if defined(__x86_64__)
#define AUDIT_ARCH_OURS AUDIT_ARCH_X86_64
#elif defined(__aarch64__)
#define AUDIT_ARCH_OURS AUDIT_ARCH_AARCH64
#else
#error "which AUDIT_ARCH is this?"
#endif

enum { PATH_BYTES = 4096, X32_BIT = 0x40000000, LOCKED_BYTES = 64 << 10 };

/*
 * The script gets no AF_VSOCK: for it the family does not exist.  Nor does vmsplice,
 * by which a pipe holds pages that are charged to nobody.  System calls of another
 * ABI, which this filter cannot read, end the process.
 */
static const struct sock_filter no_vsock[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_OURS, 1, 0),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
#if defined(__x86_64__)
	BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, X32_BIT, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
#endif
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socket, 4, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_socketpair, 3, 0),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_vmsplice, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[0])),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AF_VSOCK, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EAFNOSUPPORT),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

/*
 * Where only the image may be executed: a file in memory lies on no mount that could
 * say so, hence there are none.
 */
static const struct sock_filter no_memfd[] = {
	BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_memfd_create, 0, 1),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | ENOSYS),
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
};

/* What the child leaves behind for init where it did not get to run the script. */
struct last_words {
	int exec_error;
	enum wire_step step;
	int error;
};

static int enter_limits(const struct job *job, const struct cgroup *g)
{
	const struct rlimit no_core = { 0, 0 };
	const struct rlimit files = { job->h.open_files, job->h.open_files };
	const struct rlimit size = { job->h.fsize_bytes, job->h.fsize_bytes };
	/* Locked pages of the image and the inputs can be dropped no more, and are charged to nobody. */
	const struct rlimit locked = { LOCKED_BYTES, LOCKED_BYTES };

	if (write(g->procs, "0", 1) < 0 || setrlimit(RLIMIT_CORE, &no_core) < 0 ||
	    setrlimit(RLIMIT_MEMLOCK, &locked) < 0)
		return -1;
	if (job->h.open_files != 0 && setrlimit(RLIMIT_NOFILE, &files) < 0)
		return -1;
	if (job->h.fsize_bytes != 0 && setrlimit(RLIMIT_FSIZE, &size) < 0)
		return -1;
	return 0;
}

static int drop_identity(const struct job *job)
{
	uid_t u = job->h.uid;
	gid_t g = job->h.gid;

	if (syscall(SYS_setgroups, 0, NULL) < 0 || syscall(SYS_setresgid, g, g, g) < 0 ||
	    syscall(SYS_setresuid, u, u, u) < 0)
		return -1;
	return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
}

static int deny(const struct sock_filter *ops, unsigned short count)
{
	const struct sock_fprog filter = { .len = count, .filter = (struct sock_filter *)ops };

	return (int)syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
}

static int deny_calls(const struct job *job)
{
	if ((job->h.flags & WIRE_JOB_NOEXEC) && deny(no_memfd, sizeof no_memfd / sizeof no_memfd[0]) < 0)
		return -1;
	return deny(no_vsock, sizeof no_vsock / sizeof no_vsock[0]);
}

static const char *search_path(const struct job *job)
{
	for (char **e = job->envp; *e != NULL; e++)
		if (strncmp(*e, "PATH=", 5) == 0)
			return *e + 5;
	return "/usr/local/bin:/usr/bin:/bin";
}

/* As execvpe, with the PATH of the job's environment; returns errno. */
static int exec_program(const struct job *job)
{
	char path[PATH_BYTES];
	const char *name = job->argv[0];
	size_t name_bytes = strlen(name) + 1;
	int error = ENOENT;

	if (strchr(name, '/') != NULL) {
		execve(name, job->argv, job->envp);
		return errno;
	}
	for (const char *dir = search_path(job); ; dir++) {
		size_t n = strcspn(dir, ":");

		if (n > 0 && n + 1 + name_bytes <= sizeof path) {
			memcpy(path, dir, n);
			path[n] = '/';
			memcpy(path + n + 1, name, name_bytes);
			execve(path, job->argv, job->envp);
			if (errno != ENOENT && errno != ENOTDIR && errno != EACCES)
				return errno;
			if (errno == EACCES)
				error = EACCES;
		}
		dir += n;
		if (*dir == '\0')
			return error;
	}
}

static _Noreturn void child(const struct job *job, const struct cgroup *g, const int ends[3],
			    struct last_words *w)
{
	sigset_t none;

	sigemptyset(&none);
	w->step = WIRE_STEP_SPAWN;
	if (setsid() < 0 || dup2(ends[0], 0) < 0 || dup2(ends[1], 1) < 0 || dup2(ends[2], 2) < 0)
		goto fail;
	if (enter_limits(job, g) < 0)
		goto fail;
	umask(022);
	w->step = WIRE_STEP_IDENTITY;
	if (drop_identity(job) < 0)
		goto fail;
	/* with the script's eyes: a directory it cannot enter is no place to start in */
	w->step = WIRE_STEP_CHDIR;
	if (chdir(job->cwd) < 0)
		goto fail;
	w->step = WIRE_STEP_SECCOMP;
	if (deny_calls(job) < 0)
		goto fail;
	sigprocmask(SIG_SETMASK, &none, NULL);
	w->step = 0;
	w->exec_error = exec_program(job);
	_exit(127);
fail:
	w->error = errno;
	_exit(127);
}

/* A pipe that the script may open again as /dev/stdout; `ours` does not block. */
static int make_pipe(const struct job *job, int *reader, int *writer, const int *ours)
{
	int ends[2];

	if (pipe2(ends, O_CLOEXEC) < 0)
		return -1;
	*reader = ends[0];
	*writer = ends[1];
	if (fchown(ends[0], job->h.uid, job->h.gid) < 0)
		return -1;
	return fcntl(*ours, F_SETFL, O_NONBLOCK | (ours == writer ? O_WRONLY : O_RDONLY));
}

int run_spawn(struct run *r, const struct job *job, const struct cgroup *g, struct fault *f)
{
	int ends[3] = { -1, -1, -1 };
	/* volatile, and above the vfork: written by the child, read by us */
	volatile struct last_words words = { 0 };
	int bad;

	r->in = -1;
	r->exec_error = 0;
	if (job->h.flags & WIRE_JOB_STDIN)
		bad = make_pipe(job, &ends[0], &r->in, &r->in);
	else
		bad = ends[0] = open("/dev/null", O_RDONLY | O_CLOEXEC);
	if (bad < 0 || make_pipe(job, &r->out, &ends[1], &r->out) < 0)
		return fault(f, WIRE_STEP_PIPES, errno);
	if (job->h.flags & WIRE_JOB_JOINED) {
		r->err = -1;
		ends[2] = fcntl(ends[1], F_DUPFD_CLOEXEC, 0);
		bad = ends[2];
	} else {
		bad = make_pipe(job, &r->err, &ends[2], &r->err);
	}
	if (bad < 0)
		return fault(f, WIRE_STEP_PIPES, errno);

	r->pid = vfork();
	if (r->pid == 0)
		child(job, g, ends, (struct last_words *)&words);
	if (r->pid < 0)
		return fault(f, WIRE_STEP_SPAWN, errno);
	r->started_ns = now_ns();
	for (int i = 0; i < 3; i++)
		close(ends[i]);
	if (words.step != 0)
		return fault(f, words.step, words.error);
	r->exec_error = words.exec_error;
	return 0;
}

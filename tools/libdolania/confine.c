/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "tools/libdolania/confine.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/sched.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

pid_t confine_clone(int *pidfd, int cgroup)
{
	const uint64_t spaces = CLONE_NEWUSER | CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC |
				     CLONE_NEWUTS | CLONE_NEWCGROUP;
	struct clone_args args = {
		.flags = spaces | CLONE_PIDFD | CLONE_INTO_CGROUP,
		.pidfd = (uint64_t)(uintptr_t)pidfd,
		.exit_signal = SIGCHLD,
		.cgroup = (uint64_t)(unsigned)cgroup,
	};

	if (cgroup >= 0)
		return (pid_t)syscall(SYS_clone3, &args, sizeof(args));
	return (pid_t)syscall(SYS_clone, spaces | CLONE_PIDFD | SIGCHLD, NULL, pidfd, NULL, 0ul);
}

static int put(pid_t pid, const char *file, const char *text)
{
	char path[64];
	ssize_t n;
	int fd;

	snprintf(path, sizeof(path), "/proc/%ld/%s", (long)pid, file);
	fd = open(path, O_WRONLY | O_CLOEXEC);
	if (fd < 0)
		return -1;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -1 : 0;
}

int confine_map_as(pid_t pid, int go_fd, uid_t uid, gid_t gid, const char **why)
{
	const struct rlimit unlimited = { RLIM_INFINITY, RLIM_INFINITY };
	char map[64];

	/* Its memory is not to be swapped; without privilege its own limit has to do. */
	if (geteuid() == 0)
		(void)prlimit(pid, RLIMIT_MEMLOCK, &unlimited, NULL);
	*why = "the id maps of its user namespace cannot be written";
	snprintf(map, sizeof(map), "%d %lu 1", CONFINE_ID, (unsigned long)uid);
	/* Root's child can, and must, drop root's groups; anybody else may not. */
	if (put(pid, "uid_map", map) < 0 || (geteuid() != 0 && put(pid, "setgroups", "deny") < 0))
		return -1;
	snprintf(map, sizeof(map), "%d %lu 1", CONFINE_ID, (unsigned long)gid);
	if (put(pid, "gid_map", map) < 0)
		return -1;
	return write(go_fd, "g", 1) == 1 ? 0 : -1;
}

/* Root becomes nobody; anybody else stays who they are, seen from outside. */
int confine_map(pid_t pid, int go_fd, const char **why)
{
	bool root = geteuid() == 0;

	return confine_map_as(pid, go_fd, root ? CONFINE_ID : geteuid(), root ? CONFINE_ID : getegid(), why);
}

/* Nothing above "/": a read-only tmpfs without an entry, the old root detached. */
static int empty_root(void)
{
	const unsigned long plain = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
	    mount("none", "/tmp", "tmpfs", plain, "size=4k,nr_inodes=2,mode=0555") < 0 ||
	    chdir("/tmp") < 0 || syscall(SYS_pivot_root, ".", ".") < 0 ||
	    umount2(".", MNT_DETACH) < 0 || chdir("/") < 0)
		return -1;
	return mount(NULL, "/", NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | plain, NULL);
}

int confine_enter(int go_fd, const char **why)
{
	struct rlimit lock;
	char go;

	*why = "the supervisor did not map its ids";
	if (read(go_fd, &go, 1) != 1)
		return -1;
	if (getrlimit(RLIMIT_MEMLOCK, &lock) == 0) {
		lock.rlim_cur = lock.rlim_max;
		(void)setrlimit(RLIMIT_MEMLOCK, &lock);
	}
	*why = "it cannot become an unprivileged user";
	if (setgroups(0, NULL) < 0 && errno != EPERM)
		return -1;
	if (setresgid(CONFINE_ID, CONFINE_ID, CONFINE_ID) < 0 ||
	    setresuid(CONFINE_ID, CONFINE_ID, CONFINE_ID) < 0)
		return -1;
	*why = "its empty root cannot be made; where AppArmor keeps user namespaces from programs, install "
	       "the profile share/dolania/apparmor/dolania";
	return empty_root();
}

bool confine_try_reap(pid_t pid, int pidfd, int *status, struct rusage *usage, bool *held)
{
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	pid_t got;

	*held = poll(&p, 1, 0) == 1;
	do
		got = wait4(pid, status, WNOHANG, usage);
	while (got < 0 && errno == EINTR);
	return got != 0;
}

static uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static bool reap_within(pid_t pid, int pidfd, int ms, int *status)
{
	static const struct timespec pause = { 0, 20000000 };
	uint64_t until = now_ms() + (uint64_t)ms, now;
	struct pollfd p = { .fd = pidfd, .events = POLLIN };
	bool held;

	while (!confine_try_reap(pid, pidfd, status, NULL, &held)) {
		now = now_ms();
		if (now >= until)
			return false;
		if (held || pidfd < 0)
			nanosleep(&pause, NULL);
		else
			(void)poll(&p, 1, (int)(until - now));
	}
	return true;
}

enum confine_end confine_reap(pid_t pid, int pidfd, int ms, int *status)
{
	if (reap_within(pid, pidfd, ms, status))
		return CONFINE_ENDED;
	kill(pid, SIGKILL);
	return reap_within(pid, pidfd, CONFINE_GONE_MS, status) ? CONFINE_KILLED : CONFINE_LEFT;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.c - a host directory as a read-only EROFS image, by mkfs.erofs.
 *
 * The image is an O_TMPFILE: it never has a name, so nothing can be left
 * behind.  Owner is the script's uid and times are zero, so the same tree gives
 * the same digest and the script can read what its owner could.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#define MKFS "mkfs.erofs"

/* A file without a name where there is room: $TMPDIR, else /var/tmp, else memory. */
static int open_nameless(void)
{
	const char *const places[] = { secure_getenv("TMPDIR"), "/var/tmp", "/tmp" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int fd = places[i] == NULL ? -1 : open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

		if (fd >= 0)
			return fd;
	}
	return memfd_create("dolania-input", MFD_CLOEXEC);
}

static int start(const char *dir, const char *image, int log, pid_t *pid)
{
	/* posix_spawnp takes char *const, and changes none of them. */
	char *argv[] = {
		(char *)MKFS, (char *)"--quiet", (char *)"-T0", (char *)"--force-uid=1000",
		(char *)"--force-gid=1000", (char *)"-x-1",
		(char *)"-U00000000-0000-0000-0000-000000000000", (char *)image, (char *)dir, NULL,
	};
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char *envp[] = { path, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int e;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, log, 1);
	posix_spawn_file_actions_adddup2(&actions, log, 2);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	e = posix_spawnp(pid, MKFS, &actions, &attr, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return e;
}

/* Until it has ended; a cancel ends it. */
static int wait_for(struct session *s, pid_t pid)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0), status = 0;
	struct pollfd p[2] = { { .fd = pidfd, .events = POLLIN }, { .fd = s->o->signal_fd, .events = POLLIN } };

	while (pidfd >= 0 && (p[0].revents & POLLIN) == 0) {
		if (poll(p, 2, progress_show(s->progress, "packing --in", -1)) < 0 && errno != EINTR)
			break;
		if ((p[1].revents & POLLIN) != 0)
			session_take_signal(s);
		if (s->cancel_signal != 0)
			kill(pid, SIGKILL);
	}
	fd_close(&pidfd);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	return status;
}

static void last_line(int log, char *to, size_t room)
{
	char text[4096];
	ssize_t n = pread(log, text, sizeof(text) - 1, 0);
	char *line;

	text[n > 0 ? n : 0] = '\0';
	for (char *end = text + strlen(text); end > text && end[-1] == '\n'; end--)
		end[-1] = '\0';
	line = strrchr(text, '\n');
	line = line != NULL ? line + 1 : text;
	text_escape(to, room, line, strlen(line), false);
}

/* The VMM gets a description that cannot write. */
static int take_read_only(struct session *s, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	s->fd.input = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd.input < 0)
		return session_fail(s, DOLANIA_HOST_IO, "--in: cannot open the packed image: %s", strerror(errno));
	return 0;
}

/* After a failure: is it that some file cannot be read?  One packing a time in a process. */
static char unreadable[4096];

static int find_unreadable(const char *path, const struct stat *st, int type, struct FTW *where)
{
	(void)where;
	if (type != FTW_DNR && type != FTW_NS && (S_ISLNK(st->st_mode) || access(path, R_OK) == 0))
		return 0;
	snprintf(unreadable, sizeof(unreadable), "%s", path);
	return 1;
}

static int check_directory(struct session *s)
{
	const char *dir = s->o->in_dir;
	struct stat st;

	if (stat(dir, &st) < 0)
		return session_fail(s, DOLANIA_USAGE, "--in %s: %s", dir, strerror(errno));
	if (!S_ISDIR(st.st_mode))
		return session_fail(s, DOLANIA_USAGE, "--in %s: not a directory; give the directory it is in", dir);
	if (access(dir, R_OK | X_OK) < 0)
		return session_fail(s, DOLANIA_USAGE, "--in %s: %s; make it readable", dir, strerror(errno));
	return 0;
}

int pack_input(struct session *s)
{
	char image[64], dir[4096], why[256] = "";
	int fd = -1, log = -1, ret = -1, e, status;
	pid_t pid;

	if (check_directory(s) < 0)
		return -1;
	/* mkfs.erofs would take a leading '-' for an option */
	snprintf(dir, sizeof(dir), "%s%s", s->o->in_dir[0] == '-' ? "./" : "", s->o->in_dir);
	fd = open_nameless();
	log = memfd_create("dolania-log", MFD_CLOEXEC);
	if (fd < 0 || log < 0) {
		session_fail(s, DOLANIA_HOST_IO, "--in: no place for a temporary file: %s", strerror(errno));
		goto out;
	}
	snprintf(image, sizeof(image), "/proc/%ld/fd/%d", (long)getpid(), fd);
	e = start(dir, image, log, &pid);
	if (e != 0) {
		session_fail(s, DOLANIA_HOST_UNSUPPORTED, e == ENOENT ? "--in needs " MKFS ", which is not "
			     "installed (apt install erofs-utils)%s%s" : "--in: cannot start " MKFS "%s%s",
			     e == ENOENT ? "" : ": ", e == ENOENT ? "" : strerror(e));
		goto out;
	}
	status = wait_for(s, pid);
	if (s->cancel_signal != 0)
		goto out;
	if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
		if (nftw(dir, find_unreadable, 16, FTW_PHYS) > 0) {
			session_fail(s, DOLANIA_USAGE, "--in %s: %s: %s", s->o->in_dir, unreadable, strerror(EACCES));
			goto out;
		}
		last_line(log, why, sizeof(why));
		session_fail(s, DOLANIA_HOST_IO, "--in %s: %s failed: %s", s->o->in_dir, MKFS,
			     why[0] != '\0' ? why : "it did not say why");
		goto out;
	}
	ret = take_read_only(s, fd);
out:
	fd_close(&fd);
	fd_close(&log);
	return ret;
}

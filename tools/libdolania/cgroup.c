/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest controls here: nothing.  What other users of the host control: the names in a
 * directory that is delegated to them, which is their own.
 */
#define _GNU_SOURCE
#include "tools/libdolania/cgroup.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <time.h>
#include <unistd.h>

#define MOUNT "/sys/fs/cgroup"

enum { NAMES_MAX = 4096, TEXT = 256, TRIES = 50 };

static const char none_there[] = "this host mounts no cgroup v2 at " MOUNT;

/* A file of a cgroup, without its newline; "" if it is not there. */
static void read_text(int dir, const char *file, char *to, size_t room)
{
	int fd = openat(dir, file, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? 0 : read(fd, to, room - 1);

	to[n > 0 ? n : 0] = '\0';
	to[strcspn(to, "\n")] = '\0';
	if (fd >= 0)
		close(fd);
}

static int write_text(int dir, const char *file, const char *text)
{
	int fd = openat(dir, file, O_WRONLY | O_CLOEXEC), error = errno;
	ssize_t n;

	if (fd < 0) {
		errno = error;
		return -1;
	}
	n = write(fd, text, strlen(text));
	error = errno;
	close(fd);
	errno = error;
	return n < 0 ? -1 : 0;
}

static int write_number(int dir, const char *file, uint64_t n)
{
	char text[24];

	snprintf(text, sizeof(text), "%llu", (unsigned long long)n);
	return write_text(dir, file, text);
}

static bool has_word(const char *words, const char *word)
{
	size_t n = strlen(word);

	for (const char *at = words; (at = strstr(at, word)) != NULL; at += n)
		if ((at == words || at[-1] == ' ') && (at[n] == ' ' || at[n] == '\0'))
			return true;
	return false;
}

/* The caller's own, below MOUNT: "/" or "/a/b".  False: there is no v2, or it lies outside of what we see. */
static bool own_path(char *to, size_t room)
{
	char line[4096 + 64];
	FILE *f = fopen("/proc/self/cgroup", "re");
	bool found = false;

	while (f != NULL && !found && fgets(line, sizeof(line), f) != NULL) {
		if (strncmp(line, "0::/", 4) != 0)
			continue;
		line[strcspn(line, "\n")] = '\0';
		found = strstr(line, "/..") == NULL && strlen(line + 3) < room;
		if (found)
			memcpy(to, line + 3, strlen(line + 3) + 1);
	}
	if (f != NULL)
		fclose(f);
	return found;
}

/* A limit on the caller's own cgroup would not hold for one beside it. */
static bool is_limited(int dir)
{
	static const char *const unlimited[][2] = {
		{ "memory.max", "max" }, { "memory.high", "max" }, { "memory.swap.max", "max" },
		{ "pids.max", "max" }, { "cpuset.cpus", "" }, { "cpuset.mems", "" },
	};
	char text[TEXT];

	for (size_t i = 0; i < sizeof(unlimited) / sizeof(unlimited[0]); i++) {
		read_text(dir, unlimited[i][0], text, sizeof(text));
		if (text[0] != '\0' && strcmp(text, unlimited[i][1]) != 0)
			return true;
	}
	read_text(dir, "cpu.max", text, sizeof(text));
	return text[0] != '\0' && strncmp(text, "max", 3) != 0;
}

static int open_dir(const char *path)
{
	return open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

/* Where ours may lie: below the root cgroup if the caller is in it, else beside the caller's own. */
static int find_parent(struct cgroup *g)
{
	char own[4096], path[sizeof(MOUNT) + sizeof(own)];
	struct statfs fs;
	int dir;

	g->why_not = none_there;
	if (statfs(MOUNT, &fs) < 0 || fs.f_type != CGROUP2_SUPER_MAGIC || !own_path(own, sizeof(own)))
		return -1;
	snprintf(path, sizeof(path), MOUNT "%s", own);
	dir = open_dir(path);
	g->error = errno;
	g->why_not = "the caller's cgroup cannot be opened";
	if (dir < 0 || strcmp(own, "/") == 0)
		return dir;
	g->error = 0;
	g->why_not = "the caller's cgroup has limits of its own, which hold for the VMM as well";
	if (is_limited(dir)) {
		g->callers_limit = true;
		close(dir);
		return -1;
	}
	close(dir);
	*strrchr(path, '/') = '\0';
	dir = open_dir(path);
	g->error = errno;
	g->why_not = "the cgroup above the caller's cannot be opened";
	return dir;
}

/* Its children need the controllers; enabling them is refused where the cgroup has processes. */
static int enable(struct cgroup *g)
{
	char on[TEXT];

	read_text(g->parent, "cgroup.subtree_control", on, sizeof(on));
	if (has_word(on, "memory") && has_word(on, "pids"))
		return 0;
	g->why_not = "the controllers of memory and pids are not enabled for cgroups of the caller's";
	if (write_text(g->parent, "cgroup.subtree_control", "+memory +pids +cpu") == 0 ||
	    write_text(g->parent, "cgroup.subtree_control", "+memory +pids") == 0)
		return 0;
	g->error = errno;
	return -1;
}

/*
 * The first name that is free, or left by a supervisor that was killed.  Who holds a cgroup has it
 * locked; one without a lock is removed, which fails while it has a process.
 */
static int make_dir(struct cgroup *g)
{
	for (unsigned n = 0; n < NAMES_MAX; n++) {
		snprintf(g->name, sizeof(g->name), "dolania.%u", n);
		if (mkdirat(g->parent, g->name, 0755) < 0) {
			if (errno != EEXIST)
				return -1;
			g->dir = openat(g->parent, g->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
			if (g->dir >= 0 && flock(g->dir, LOCK_EX | LOCK_NB) == 0)
				(void)unlinkat(g->parent, g->name, AT_REMOVEDIR);
			if (g->dir >= 0)
				close(g->dir);
			g->dir = -1;
			if (mkdirat(g->parent, g->name, 0755) < 0)
				continue;
		}
		g->dir = openat(g->parent, g->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
		/* Somebody may have found it without a lock, and taken it away. */
		if (g->dir >= 0 && flock(g->dir, LOCK_EX | LOCK_NB) == 0 &&
		    faccessat(g->dir, "cgroup.procs", W_OK, AT_EACCESS) == 0)
			return 0;
		if (g->dir >= 0)
			close(g->dir);
		g->dir = -1;
	}
	errno = EAGAIN;
	return -1;
}

static int set_limits(struct cgroup *g)
{
	if (write_number(g->dir, "memory.max", g->memory_max_bytes) < 0 ||
	    write_number(g->dir, "pids.max", CGROUP_PIDS) < 0)
		return -1;
	(void)write_number(g->dir, "cpu.weight", CGROUP_WEIGHT);	/* where there is that controller */
	return 0;
}

void cgroup_make(struct cgroup *g, uint64_t memory_max_bytes)
{
	*g = (struct cgroup)CGROUP_NONE;
	g->memory_max_bytes = memory_max_bytes;
	g->parent = find_parent(g);
	if (g->parent < 0 || enable(g) < 0)
		goto none;
	g->why_not = "no cgroup can be made there";
	if (make_dir(g) < 0) {
		g->error = errno;
		goto none;
	}
	g->why_not = "its limits cannot be set";
	if (set_limits(g) == 0) {
		g->why_not = NULL;
		g->error = 0;
		return;
	}
	g->error = errno;
none:
	cgroup_release(g);
}

static uint64_t number_in(int dir, const char *file)
{
	char text[TEXT];

	read_text(dir, file, text, sizeof(text));
	return strtoull(text, NULL, 10);
}

void cgroup_read(struct cgroup *g)
{
	char text[TEXT], *at;
	int fd;
	ssize_t n;

	if (g->dir < 0)
		return;
	g->memory_peak_bytes = number_in(g->dir, "memory.peak");
	fd = openat(g->dir, "memory.events.local", O_RDONLY | O_CLOEXEC);
	n = fd < 0 ? 0 : read(fd, text, sizeof(text) - 1);
	text[n > 0 ? n : 0] = '\0';
	if (fd >= 0)
		close(fd);
	at = strstr(text, "oom_kill ");
	g->oom_kills = at != NULL ? strtoull(at + 9, NULL, 10) : 0;
}

void cgroup_release(struct cgroup *g)
{
	static const struct timespec ms = { 0, 1000000 };

	/* A process that was just reaped may count for a moment. */
	for (int i = 0; g->dir >= 0 && i < TRIES; i++) {
		if (unlinkat(g->parent, g->name, AT_REMOVEDIR) == 0 || errno != EBUSY)
			break;
		nanosleep(&ms, NULL);
	}
	if (g->dir >= 0)
		close(g->dir);
	if (g->parent >= 0)
		close(g->parent);
	g->dir = g->parent = -1;
}

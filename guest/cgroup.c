/* SPDX-License-Identifier: Apache-2.0 */
/* cgroup.c - the script's control group; see cgroup.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cgroup.h"
#include "text.h"

#define GROUPS "/cg"		/* in the initramfs: the script never sees it */
enum { KERNEL_THREADS = 96 };	/* and init: at most */

static int write_at(int dir, const char *name, const char *value)
{
	int fd = openat(dir, name, O_WRONLY | O_CLOEXEC);
	int error = fd < 0 || write(fd, value, strlen(value)) < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return error;
}

int cgroup_make(struct cgroup *g, struct fault *f)
{
	int error;

	if (mount("cgroup", GROUPS, "cgroup2", MS_NOSUID | MS_NODEV | MS_NOEXEC, NULL) < 0)
		return fault(f, WIRE_STEP_CGROUP, errno);
	error = write_at(AT_FDCWD, GROUPS "/cgroup.subtree_control", "+memory +pids");
	if (error != 0)
		return fault(f, WIRE_STEP_CGROUP, error);
	if (mkdir(GROUPS "/script", 0755) < 0)
		return fault(f, WIRE_STEP_CGROUP, errno);
	g->dir = open(GROUPS "/script", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (g->dir < 0)
		return fault(f, WIRE_STEP_CGROUP, errno);
	g->procs = openat(g->dir, "cgroup.procs", O_WRONLY | O_CLOEXEC);
	if (g->procs < 0)
		return fault(f, WIRE_STEP_CGROUP, errno);
	return 0;
}

static int limit(const struct cgroup *g, const char *name, uint64_t value)
{
	struct text t = { .bytes = 0 };

	if (value == 0)
		return 0;
	text_add_u64(&t, value);
	return write_at(g->dir, name, t.at);
}

int cgroup_limit(const struct cgroup *g, const struct wire_job *h, struct fault *f)
{
	int error = limit(g, "memory.max", h->memory_bytes);

	if (error == 0)		/* half a script is no use to anyone */
		error = write_at(g->dir, "memory.oom.group", "1");
	if (error == 0)
		error = limit(g, "pids.max", h->pids);
	/* The kernel numbers 4096 processes unless it is told otherwise, its own among them. */
	if (error == 0 && h->pids > 4096 - KERNEL_THREADS)
		error = write_at(AT_FDCWD, "/proc/sys/kernel/pid_max", "32768");
	return error == 0 ? 0 : fault(f, WIRE_STEP_CGROUP, error);
}

uint64_t cgroup_count(const struct cgroup *g)
{
	char text[1024];
	uint64_t lines = 0;
	int fd = openat(g->dir, "cgroup.procs", O_RDONLY | O_CLOEXEC);
	ssize_t n;

	while (fd >= 0 && (n = read(fd, text, sizeof text)) > 0)
		for (ssize_t i = 0; i < n; i++)
			lines += text[i] == '\n';
	if (fd >= 0)
		close(fd);
	return lines;
}

void cgroup_kill(const struct cgroup *g)
{
	int error = write_at(g->dir, "cgroup.kill", "1");

	(void)error;	/* nothing else would help; the host's clock still runs */
}

/* The number after `key` in a file of "key value" lines, or its first number. */
static uint64_t figure(int dir, const char *name, const char *key)
{
	char text[512];
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';

	const char *at = text;
	size_t length = strlen(key);

	while (strncmp(at, key, length) != 0) {
		at = strchr(at, '\n');
		if (at == NULL)
			return 0;
		at++;
	}
	at += length;
	return text_u64(&at);
}

struct cgroup_figures cgroup_read(const struct cgroup *g)
{
	return (struct cgroup_figures){
		.memory_peak_bytes = figure(g->dir, "memory.peak", ""),
		.oom_kills = figure(g->dir, "memory.events", "oom_kill "),
		.pids_peak = figure(g->dir, "pids.peak", ""),
		.pids_refused = figure(g->dir, "pids.events", "max "),
	};
}

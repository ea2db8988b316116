/* SPDX-License-Identifier: Apache-2.0 */
/* collect.c - how the script ended, and what it used; see collect.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/magic.h>

#include "collect.h"
#include "job.h"

static uint64_t time_ns(struct timeval t)
{
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_usec * 1000;
}

static void set_end(uint64_t v[], const struct relay *r, uint64_t oom_kills)
{
	int exec_error = r->run->exec_error;
	int signal = WIFSIGNALED(r->status) ? WTERMSIG(r->status) : 0;

	if (exec_error != 0) {
		v[WIRE_EXIT_KIND] = exec_error == ENOENT ? WIRE_KIND_NOT_FOUND
							 : WIRE_KIND_NOT_EXECUTABLE;
		v[WIRE_EXIT_CODE] = (uint64_t)exec_error;
	} else if (signal != 0) {
		/* an out-of-memory kill takes the whole group, the first process with it */
		v[WIRE_EXIT_KIND] = signal == SIGKILL && oom_kills > 0 ? WIRE_KIND_OOM
								      : WIRE_KIND_SIGNALED;
		v[WIRE_EXIT_CODE] = (uint64_t)signal;
	} else {
		v[WIRE_EXIT_KIND] = WIRE_KIND_EXITED;
		v[WIRE_EXIT_CODE] = (uint64_t)WEXITSTATUS(r->status);
	}
}

/* What the script left in its writable places, which are one file system. */
static void set_tmp(uint64_t v[])
{
	struct statfs fs;

	if (statfs("/tmp", &fs) < 0 || fs.f_bfree > fs.f_blocks || fs.f_ffree > fs.f_files)
		return;
	v[WIRE_EXIT_TMP_BYTES] = (uint64_t)(fs.f_blocks - fs.f_bfree) * (uint64_t)fs.f_bsize;
	v[WIRE_EXIT_TMP_FILES] = fs.f_files - fs.f_ffree;
}

/* A block of data may need as many blocks more that tell where it lies. */
enum { BLOCKS_OF_A_BLOCK = 4 };

static int is_full(const char *place)
{
	struct statfs fs;

	return statfs(place, &fs) == 0 && (fs.f_bavail < BLOCKS_OF_A_BLOCK || fs.f_ffree == 0);
}

/* In memory, where the host does not ask for it. */
static int out_is_left(void)
{
	struct statfs fs;

	return statfs("/out", &fs) == 0 && fs.f_type == TMPFS_MAGIC && fs.f_files - fs.f_ffree > 1;
}

static uint64_t places(const struct job *job)
{
	uint64_t found = 0;

	for (uint32_t i = 0; i < job->h.disks; i++)
		if ((job->h.writable_disks >> i & 1) != 0 && is_full(job->disks[i]))
			found |= 1ull << i;
	if (!(job->h.flags & WIRE_JOB_OUT) && out_is_left())
		found |= WIRE_PLACES_OUT_LEFT;
	return found;
}

/*
 * Did the kernel refuse memory?  It counts what it kills for in the cgroup, but what
 * it does not even promise, as more than there is altogether, it only logs.
 */
static int memory_was_refused(int log)
{
	enum { RECORDS_MAX = 256, RECORD_BYTES = 1024 };
	static const char refused[] = "__vm_enough_memory: pid: ";
	char record[RECORD_BYTES];
	const char *text;

	for (int i = 0; i < RECORDS_MAX; i++) {
		ssize_t n = read(log, record, sizeof record - 1);

		if (n < 0 && (errno == EPIPE || errno == EINVAL))
			continue;		/* lost meanwhile, or too long: the next one */
		if (n <= 0)
			break;
		record[n] = '\0';
		/* "priority,number,time,flags;text": the text begins with no name of the script's */
		text = strchr(record, ';');
		if (text != NULL && strncmp(text + 1, refused, sizeof refused - 1) == 0)
			return 1;
	}
	return 0;
}

struct wire_frame collect_exit(const struct relay *r)
{
	struct wire_frame frame = { .magic = WIRE_FRAME_MAGIC, .type = WIRE_EXIT };
	struct cgroup_figures figures = cgroup_read(r->group);
	struct rusage used = { 0 };
	uint64_t *v = frame.v;

	getrusage(RUSAGE_CHILDREN, &used);
	set_end(v, r, figures.oom_kills);
	v[WIRE_EXIT_UTIME_NS] = time_ns(used.ru_utime);
	v[WIRE_EXIT_STIME_NS] = time_ns(used.ru_stime);
	v[WIRE_EXIT_MAXRSS_BYTES] = (uint64_t)used.ru_maxrss * 1024;
	v[WIRE_EXIT_MINFLT] = (uint64_t)used.ru_minflt;
	v[WIRE_EXIT_MAJFLT] = (uint64_t)used.ru_majflt;
	v[WIRE_EXIT_MEMORY_PEAK_BYTES] = figures.memory_peak_bytes;
	v[WIRE_EXIT_OOM_KILLS] = figures.oom_kills;
	v[WIRE_EXIT_PIDS_PEAK] = figures.pids_peak;
	v[WIRE_EXIT_PIDS_REFUSED] = figures.pids_refused;
	v[WIRE_EXIT_MONOTONIC_NS] = r->ended_ns;
	set_tmp(v);
	v[WIRE_EXIT_PLACES] = places(r->job);
	/* a script that went on without it did not need it */
	if ((v[WIRE_EXIT_KIND] != WIRE_KIND_EXITED || v[WIRE_EXIT_CODE] != 0) && memory_was_refused(r->log))
		v[WIRE_EXIT_PLACES] |= WIRE_PLACES_NO_MEMORY;
	/* for memory the kernel killed them all */
	if (v[WIRE_EXIT_KIND] != WIRE_KIND_OOM)
		v[WIRE_EXIT_PLACES] |= r->left << WIRE_PLACES_KILLED_SHIFT;
	return frame;
}

struct wire_frame collect_disk(int not_all)
{
	struct wire_frame frame = { .magic = WIRE_FRAME_MAGIC, .type = WIRE_EXIT };

	frame.v[WIRE_EXIT_KIND] = WIRE_KIND_EXITED;
	frame.v[WIRE_EXIT_CODE] = not_all ? 1 : 0;
	frame.v[WIRE_EXIT_MONOTONIC_NS] = now_ns();
	return frame;
}

struct wire_frame collect_fault(const struct fault *f)
{
	struct wire_frame frame = { .magic = WIRE_FRAME_MAGIC, .type = WIRE_EXIT };

	frame.v[WIRE_EXIT_KIND] = WIRE_KIND_INIT_FAILED;
	frame.v[WIRE_EXIT_CODE] = (uint64_t)f->error;
	frame.v[WIRE_INIT_STEP] = f->step;
	frame.v[WIRE_INIT_WHICH] = f->which;
	frame.v[WIRE_EXIT_MONOTONIC_NS] = now_ns();
	return frame;
}

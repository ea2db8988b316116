/* SPDX-License-Identifier: Apache-2.0 */
/* job.c - what the guest's init is asked to do, as guest/wire.h has it, in a memfd. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

enum { SCRIPT_UID = 1000, OUT_BYTES = 1 << 20 };

/* The whole environment of the script; --env comes on top. */
static const char *const fixed_env[] = {
	"PATH=/usr/local/bin:/usr/bin:/bin",
	"HOME=/tmp/home",
	"TMPDIR=/tmp",
	"USER=script",
	"LANG=C.UTF-8",
	"TERM=dumb",
};
enum { FIXED = sizeof(fixed_env) / sizeof(fixed_env[0]) };

struct strings {
	char *at;
	size_t used, room;
};

static bool add(struct strings *t, const char *text)
{
	size_t n = strlen(text) + 1;

	if (n > t->room - t->used)
		return false;
	memcpy(t->at + t->used, text, n);
	t->used += n;
	return true;
}

static bool same_key(const char *a, const char *b)
{
	size_t n = strcspn(a, "=");

	return strncmp(a, b, n + 1) == 0;
}

/* False where a later --env sets the same name. */
static bool env_stays(const struct dolania_options *o, const char *entry, size_t from)
{
	for (size_t i = from; i < o->env_count; i++)
		if (same_key(entry, o->env[i]))
			return false;
	return true;
}

const char *job_env(const struct dolania_options *o, const char *name, size_t n)
{
	for (size_t i = o->env_count; i > 0; i--)
		if (strncmp(o->env[i - 1], name, n) == 0 && o->env[i - 1][n] == '=')
			return o->env[i - 1] + n + 1;
	for (size_t i = 0; i < FIXED; i++)
		if (strncmp(fixed_env[i], name, n) == 0 && fixed_env[i][n] == '=')
			return fixed_env[i] + n + 1;
	return NULL;
}

static bool add_env(const struct dolania_options *o, struct strings *t, uint32_t *count)
{
	for (size_t i = 0; i < FIXED; i++)
		if (env_stays(o, fixed_env[i], 0)) {
			if (!add(t, fixed_env[i]))
				return false;
			++*count;
		}
	for (size_t i = 0; i < o->env_count; i++)
		if (env_stays(o, o->env[i], i + 1)) {
			if (!add(t, o->env[i]))
				return false;
			++*count;
		}
	return true;
}

static bool fill(const struct session *s, struct wire_job *job, struct strings *t)
{
	const struct dolania_options *o = s->o;
	struct disk list[DISKS_MAX];
	unsigned n;

	if (!add(t, o->chdir != NULL ? o->chdir : "/work"))
		return false;
	for (size_t i = 0; i < s->argc; i++) {
		if (!add(t, s->argv[i]))
			return false;
		if (s->argv[i] == s->script.place)
			job->script_arg = (uint32_t)i;
	}
	job->argc = (uint32_t)s->argc;
	if (!add_env(o, t, &job->envc))
		return false;
	n = disk_list(s, list);
	for (unsigned i = 1; i < n; i++) {
		if (!add(t, list[i].place))
			return false;
		if (list[i].writable)
			job->writable_disks |= 1ull << (i - 1);
		if (list[i].holds_copy)
			job->copy_disk = i;
	}
	for (size_t i = 0; i < s->inputs.binds; i++)
		if (!add(t, s->inputs.bind[i]))
			return false;
	job->binds = (uint32_t)s->inputs.binds;
	job->disks = n - 1;
	job->strings_bytes = (uint32_t)t->used;
	return true;
}

static int write_memfd(int fd, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		ssize_t w = write(fd, at, n);

		if (w <= 0)
			return -1;
		at += w;
		n -= (size_t)w;
	}
	return 0;
}

static int emit(struct session *s, const struct wire_job *job, const struct strings *t)
{
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL;

	s->fd.job = memfd_create("dolania-job", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (s->fd.job < 0 || write_memfd(s->fd.job, job, sizeof(*job)) < 0 ||
	    write_memfd(s->fd.job, t->at, t->used) < 0 ||
	    write_memfd(s->fd.job, s->script.text, s->script.bytes) < 0 ||
	    lseek(s->fd.job, 0, SEEK_SET) != 0 || fcntl(s->fd.job, F_ADD_SEALS, seals) < 0)
		return session_fail(s, errno == ENOSPC || errno == ENOMEM ? DOLANIA_HOST_OOM : DOLANIA_HOST_IO,
				    "cannot hand over the script: %s", strerror(errno));
	return 0;
}

int job_build(struct session *s)
{
	const struct dolania_options *o = s->o;
	struct wire_job job = {
		.magic = WIRE_JOB_MAGIC, .memory_bytes = o->memory_bytes, .tmp_bytes = o->tmp_bytes,
		.out_bytes = OUT_BYTES, .pids = o->pids, .open_files = o->open_files,
		.fsize_bytes = o->fsize_bytes, .tmp_files = tmp_files_max(o),
		.uid = SCRIPT_UID, .gid = SCRIPT_UID, .script_bytes = (uint32_t)s->script.bytes,
	};
	struct strings t = { malloc(WIRE_STRINGS_MAX_BYTES), 0, WIRE_STRINGS_MAX_BYTES };
	struct timespec now = { 0, 0 };
	int ret;

	if (t.at == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for the arguments");
	clock_gettime(CLOCK_REALTIME, &now);
	job.realtime_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
	if (o->stdin_fd >= 0 && !s->script_is_stdin)
		job.flags |= WIRE_JOB_STDIN;
	if (o->form == DOLANIA_FILE)
		job.flags |= WIRE_JOB_SCRIPT;
	if (o->work_dir != NULL)
		job.flags |= WIRE_JOB_WORK;
	if (s->r->joined)
		job.flags |= WIRE_JOB_JOINED;
	if (o->image_only)
		job.flags |= WIRE_JOB_NOEXEC;
	if (o->out != NULL)
		job.flags |= WIRE_JOB_OUT;
	if (s->collecting != NULL) {
		job.flags = WIRE_JOB_COLLECT;
		job.out_bytes = out_archive_max(s->collecting->o);
	}
	if (getrandom(job.entropy, sizeof(job.entropy), 0) != (ssize_t)sizeof(job.entropy))
		ret = session_fail(s, DOLANIA_HOST_IO, "getrandom: %s", strerror(errno));
	else if (!fill(s, &job, &t))
		ret = session_fail(s, DOLANIA_USAGE, "arguments and environment add up to more than %d KiB; put "
				   "data into a file and give it with --in or stdin", WIRE_STRINGS_MAX_BYTES >> 10);
	else
		ret = emit(s, &job, &t);
	explicit_bzero(&job, sizeof(job));
	free(t.at);
	return ret;
}

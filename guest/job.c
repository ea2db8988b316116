/* SPDX-License-Identifier: Apache-2.0 */
/* job.c - receive, check and unpack the job; see job.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "job.h"
#include "link.h"

enum {
	FLAGS_KNOWN = WIRE_JOB_STDIN | WIRE_JOB_SCRIPT | WIRE_JOB_WORK | WIRE_JOB_OUT |
		      WIRE_JOB_NOEXEC | WIRE_JOB_COLLECT | WIRE_JOB_JOINED,
	PATH_BYTES = 4096,
};

size_t job_slots(const struct wire_job *h)
{
	/* each list ends with NULL; checked counts are below 2^20, so no overflow */
	return (size_t)h->argc + h->envc + h->disks + h->binds + 4;
}

int job_check(const struct wire_job *h)
{
	/* the working directory, and at least a NUL for each other string */
	uint64_t strings = 1 + (uint64_t)h->argc + h->envc + h->disks + h->binds;

	if (h->magic != WIRE_JOB_MAGIC || (h->flags & ~(uint32_t)FLAGS_KNOWN) != 0)
		return EPROTO;
	if (h->strings_bytes > WIRE_STRINGS_MAX_BYTES || h->script_bytes > WIRE_SCRIPT_MAX_BYTES ||
	    h->disks > WIRE_DISKS_MAX || h->binds > WIRE_BINDS_MAX)
		return E2BIG;
	if (h->argc == 0 || strings > h->strings_bytes)
		return EPROTO;
	if ((h->flags & WIRE_JOB_SCRIPT) ? h->script_arg >= h->argc
					 : h->script_bytes != 0 || h->script_arg != 0)
		return EPROTO;
	if (h->binds > 0 ? h->disks == 0 : (h->flags & WIRE_JOB_WORK) != 0)
		return EPROTO;
	if ((h->flags & WIRE_JOB_COLLECT) && (h->disks != 1 || h->writable_disks != 0))
		return EPROTO;
	if (h->writable_disks >> h->disks != 0)		/* disks is at most 15 */
		return EPROTO;
	if (h->uid == 0 || h->gid == 0 || h->uid == UINT32_MAX || h->gid == UINT32_MAX)
		return EPROTO;
	if (h->realtime_ns > INT64_MAX)
		return EPROTO;
	/* shifted by at most 14 */
	if (h->copy_disk != 0 && (!(h->flags & WIRE_JOB_WORK) || h->copy_disk > h->disks ||
				  (h->writable_disks >> (h->copy_disk - 1) & 1) == 0))
		return EPROTO;
	for (size_t i = 0; i < sizeof h->reserved / sizeof h->reserved[0]; i++)
		if (h->reserved[i] != 0)
			return EPROTO;
	return 0;
}

struct strings {
	char *at, *end;
};

/* The next string, or NULL where there is no further NUL. */
static char *next_string(struct strings *s)
{
	char *start = s->at;
	char *nul = start == s->end ? NULL : memchr(start, 0, (size_t)(s->end - start));

	if (nul == NULL)
		return NULL;
	s->at = nul + 1;
	return start;
}

/* Fills `count` slots and a NULL; 0, or -1 where the strings run out. */
static int next_list(struct strings *s, char **slots, uint32_t count)
{
	for (uint32_t i = 0; i < count; i++)
		if ((slots[i] = next_string(s)) == NULL)
			return -1;
	slots[count] = NULL;
	return 0;
}

int job_split(struct job *job, char *strings, char **slots)
{
	const struct wire_job *h = &job->h;
	struct strings s = { strings, strings + h->strings_bytes };

	job->argv = slots;
	job->envp = job->argv + h->argc + 1;
	job->disks = job->envp + h->envc + 1;
	job->binds = job->disks + h->disks + 1;
	job->cwd = next_string(&s);
	if (job->cwd == NULL || job->cwd[0] != '/')
		return EPROTO;
	if (next_list(&s, job->argv, h->argc) < 0 || next_list(&s, job->envp, h->envc) < 0 ||
	    next_list(&s, job->disks, h->disks) < 0 || next_list(&s, job->binds, h->binds) < 0 ||
	    s.at != s.end)
		return EPROTO;
	if (job->argv[0][0] == '\0')
		return EPROTO;
	for (uint32_t i = 0; i < h->envc; i++)
		if (strchr(job->envp[i], '=') == NULL)
			return EPROTO;
	for (uint32_t i = 0; i < h->disks; i++)
		if (job->disks[i][0] != '/')
			return EPROTO;
	for (uint32_t i = 0; i < h->binds; i++)
		if (job->binds[i][0] != '/' || job->binds[i][1] == '\0')
			return EPROTO;
	if ((h->flags & WIRE_JOB_SCRIPT) && job->argv[h->script_arg][0] != '/')
		return EPROTO;
	return 0;
}

/* Receives until `have` of `want` bytes is all of them, taking up to `room`. */
static int receive_until(int fd, char *to, size_t *have, size_t want, size_t room)
{
	while (*have < want) {
		ssize_t n = link_recv(fd, to + *have, room - *have);

		if (n < 0)
			return errno;
		if (n == 0)
			return EPROTO;
		*have += (size_t)n;
	}
	return 0;
}

static void *pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return p == MAP_FAILED ? NULL : p;
}

int job_receive(struct job *job, int fd, struct fault *f)
{
	size_t have = 0;
	int error = receive_until(fd, job->inbox, &have, sizeof job->h, sizeof job->inbox);

	if (error != 0)
		return fault(f, WIRE_STEP_JOB, error);
	memcpy(&job->h, job->inbox, sizeof job->h);
	/* the copy in job->h is wiped by seed_random */
	explicit_bzero(job->inbox + offsetof(struct wire_job, entropy), sizeof job->h.entropy);
	error = job_check(&job->h);
	if (error != 0)
		return fault(f, WIRE_STEP_JOB, error);

	size_t want = sizeof job->h + job->h.strings_bytes;
	char *box = job->inbox;
	size_t room = sizeof job->inbox;

	if (want > room) {
		box = pages(want);
		if (box == NULL)
			return fault(f, WIRE_STEP_JOB, errno);
		memcpy(box, job->inbox, have);
		room = want;
	}
	error = receive_until(fd, box, &have, want, room);
	if (error != 0)
		return fault(f, WIRE_STEP_JOB, error);
	if (have - want > job->h.script_bytes)
		return fault(f, WIRE_STEP_JOB, EPROTO);
	job->script = box + want;
	job->script_bytes = have - want;

	char **slots = job->slots;

	if (job_slots(&job->h) > JOB_SMALL_STRINGS) {
		slots = pages(job_slots(&job->h) * sizeof *slots);
		if (slots == NULL)
			return fault(f, WIRE_STEP_JOB, errno);
	}
	error = job_split(job, box + sizeof job->h, slots);
	return error == 0 ? 0 : fault(f, WIRE_STEP_JOB, error);
}

/* Makes the directories above `path`, which lie in the script's own file systems. */
static void make_parents(const char *path)
{
	char dir[PATH_BYTES];
	size_t length = strlen(path);

	if (length >= sizeof dir)
		return;		/* open will say ENAMETOOLONG */
	memcpy(dir, path, length + 1);
	for (char *slash = strchr(dir + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		mkdir(dir, 0755);	/* where it fails, open fails, and says why */
		*slash = '/';
	}
}

static int write_all(int fd, const char *data, size_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(fd, data, bytes);

		if (n <= 0)
			return n < 0 ? errno : EIO;
		data += n;
		bytes -= (size_t)n;
	}
	return 0;
}

/* What came along, then the rest through a buffer. */
static int copy_script(struct job *job, int from, int to)
{
	size_t left = job->h.script_bytes - job->script_bytes;
	int error = write_all(to, job->script, job->script_bytes);
	char *buffer = left == 0 || error != 0 ? NULL : pages(JOB_INBOX_BYTES);

	if (left == 0 || error != 0)
		return error;
	if (buffer == NULL)
		return errno;
	while (left > 0 && error == 0) {
		ssize_t n = link_recv(from, buffer, left < JOB_INBOX_BYTES ? left : JOB_INBOX_BYTES);

		if (n <= 0) {
			error = n < 0 ? errno : EPROTO;
			break;
		}
		left -= (size_t)n;
		error = write_all(to, buffer, (size_t)n);
	}
	munmap(buffer, JOB_INBOX_BYTES);
	return error;
}

int job_write_script(struct job *job, int fd, struct fault *f)
{
	const int flags = O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC;

	if (!(job->h.flags & WIRE_JOB_SCRIPT))
		return 0;

	const char *path = job->argv[job->h.script_arg];

	/* in a copy of --work its own file may lie there: it keeps its other names and its time */
	struct stat there;
	int is_there = (job->h.flags & WIRE_JOB_WORK) != 0 && lstat(path, &there) == 0 && S_ISREG(there.st_mode);
	int file = open(path, is_there ? O_WRONLY | O_TRUNC | O_NOFOLLOW | O_CLOEXEC : flags, 0755);

	if (file < 0 && errno == ENOENT) {
		make_parents(path);
		file = open(path, flags, 0755);
	}
	if (file < 0)
		return fault(f, WIRE_STEP_SCRIPT, errno);

	int error = copy_script(job, fd, file);

	if (error == 0 && (fchown(file, job->h.uid, job->h.gid) < 0 || fchmod(file, 0755) < 0))
		error = errno;
	if (error == 0 && is_there && futimens(file, (struct timespec[]){ there.st_atim, there.st_mtim }) < 0)
		error = errno;
	close(file);
	return error == 0 ? 0 : fault(f, WIRE_STEP_SCRIPT, error);
}

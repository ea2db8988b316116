/* SPDX-License-Identifier: Apache-2.0 */
/*
 * place.c - entries into a directory; see place.h.
 *
 * What the guest controls here: paths, sizes, times and data.  Every path is
 * resolved beneath `dir`, over no link and no mount point; a file is made anew
 * or not at all (O_EXCL).  Landlock would refuse the rest (jail.c).
 */
#define _GNU_SOURCE
#include "tools/extract/place.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static int open_beneath(int dir, const char *path, uint64_t flags, uint64_t mode)
{
	const struct open_how how = {
		.flags = flags | O_NOFOLLOW | O_CLOEXEC, .mode = mode,
		.resolve = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV,
	};

	return (int)syscall(SYS_openat2, dir, path, &how, sizeof how);
}

void place_init(struct place *p, int dir, struct extract_report *report)
{
	*p = (struct place){ .dir = dir, .report = report, .file = -1, .parent = -1 };
}

static void list(struct place *p, const char *name, size_t n, enum extract_why why, int error)
{
	struct extract_report *r = p->report;
	struct extract_refusal *f = &r->refused[r->listed];

	r->refused_total++;
	if (r->listed == EXTRACT_LISTED)
		return;
	f->cut = n > sizeof f->name;
	f->name_bytes = (uint32_t)(n > sizeof f->name ? sizeof f->name : n);
	memcpy(f->name, name, f->name_bytes);
	f->why = why;
	f->error = error;
	r->listed++;
}

static void refuse(void *ctx, const char *name, size_t n, enum extract_why why)
{
	struct place *p = ctx;

	if (++p->entries > p->max_entries)
		p->crowded = true;
	else
		list(p, name, n, why, 0);
}

/* What errno says about a path that could not be made. */
static enum extract_why why_not(int error)
{
	switch (error) {
	case EEXIST: return WHY_EXISTS;
	case ENOENT: case ENOTDIR: case ELOOP: case EXDEV: return WHY_PARENT;
	case ENAMETOOLONG: return WHY_LONG;
	default: return WHY_HOST;
	}
}

/* Trouble that the next entry would meet too. */
static void host_failed(struct place *p, int error)
{
	if (error == ENOSPC || error == EDQUOT || error == EIO || error == EROFS) {
		p->host_failed = true;
		p->report->error = error;
	}
}

static bool could_not(struct place *p, size_t n, int error)
{
	enum extract_why why = why_not(error);

	list(p, p->path, n, why, why == WHY_HOST ? error : 0);
	if (why == WHY_HOST)
		host_failed(p, error);
	return false;
}

/* The directory that the entry is in, opened; p->name is its last part.  -1 and errno. */
static int open_parent(struct place *p)
{
	char *slash = strrchr(p->path, '/');
	int fd;

	p->name = slash != NULL ? slash + 1 : p->path;
	if (slash == NULL)
		return open_beneath(p->dir, ".", O_PATH | O_DIRECTORY, 0);
	*slash = '\0';
	fd = open_beneath(p->dir, p->path, O_PATH | O_DIRECTORY, 0);
	*slash = '/';
	return fd;
}

/* A directory that is there already does: nothing of it is changed. */
static bool make_directory(struct place *p, size_t n)
{
	int error = mkdirat(p->parent, p->name, 0755) < 0 ? errno : 0, fd;

	if (error == EEXIST) {
		fd = open_beneath(p->parent, p->name, O_PATH | O_DIRECTORY, 0);
		if (fd >= 0) {
			close(fd);
			return true;
		}
	}
	if (error != 0)
		return could_not(p, n, error);
	p->report->dirs++;
	return true;
}

static void let_go(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

static bool begin(void *ctx, const struct tar_entry *e)
{
	struct place *p = ctx;

	if (p->host_failed || p->crowded)
		return false;
	if (++p->entries > p->max_entries) {
		p->crowded = true;
		return false;
	}
	memcpy(p->path, e->path, e->path_bytes + 1);
	if (e->bytes > p->max_bytes - p->report->bytes) {
		list(p, p->path, e->path_bytes, WHY_TOO_LARGE, 0);
		return false;
	}
	p->parent = open_parent(p);
	if (p->parent < 0)
		return could_not(p, e->path_bytes, errno);
	if (e->is_directory) {
		(void)make_directory(p, e->path_bytes);
		let_go(&p->parent);
		return false;	/* it has no data */
	}
	p->file = open_beneath(p->parent, p->name, O_WRONLY | O_CREAT | O_EXCL, e->executable ? 0755 : 0644);
	if (p->file < 0) {
		(void)could_not(p, e->path_bytes, errno);
		let_go(&p->parent);
		return false;
	}
	p->written = 0;
	p->mtime = e->mtime;
	return true;
}

/* Half a file must not look like a whole one. */
static void take_away(struct place *p, enum extract_why why, int error)
{
	let_go(&p->file);
	(void)unlinkat(p->parent, p->name, 0);
	let_go(&p->parent);
	p->report->bytes -= p->written;
	list(p, p->path, strlen(p->path), why, error);
}

static bool data(void *ctx, const uint8_t *bytes, size_t n)
{
	struct place *p = ctx;

	while (n > 0) {
		ssize_t done = write(p->file, bytes, n);

		if (done < 0 && errno == EINTR)
			continue;
		if (done <= 0) {
			int error = done < 0 ? errno : EIO;

			take_away(p, WHY_HOST, error);
			host_failed(p, error);
			return false;
		}
		bytes += done;
		n -= (size_t)done;
		p->written += (uint64_t)done;
		p->report->bytes += (uint64_t)done;
	}
	return true;
}

static void end(void *ctx)
{
	struct place *p = ctx;
	/* the guest's clock is its own affair: a time to come would only confuse */
	const struct timespec times[2] = {
		{ .tv_nsec = UTIME_OMIT },
		{ .tv_sec = p->mtime <= p->now ? p->mtime : p->now },
	};
	int error;

	(void)futimens(p->file, times);
	error = close(p->file) < 0 && errno != EINTR ? errno : 0;	/* some file systems tell only here */
	p->file = -1;
	if (error != 0) {
		take_away(p, WHY_HOST, error);
		host_failed(p, error);
		return;
	}
	let_go(&p->parent);
	p->report->files++;
}

struct tar_sink place_sink(struct place *p)
{
	return (struct tar_sink){ .ctx = p, .begin = begin, .data = data, .end = end, .refuse = refuse };
}

void place_finish(struct place *p)
{
	if (p->file >= 0)
		take_away(p, WHY_CUT, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - a directory and all that is in it, copied; see copy.h.
 *
 * The source is the image that the host packed: files, directories and links,
 * and no deeper than the host lets through.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "copy.h"
#include "dirents.h"

enum {
	DEPTH_MAX = 256,	/* two descriptors each */
	LINK_BYTES = 4096,
	CHUNK_BYTES = 1 << 20,
};

/* One a boot, and too large for the stack. */
static struct copy {
	uid_t uid;
	gid_t gid;
	char link[LINK_BYTES];
	_Alignas(8) char dirents[DIRENT_BYTES];
} the;

static int copy_data(int from, int to, off_t size)
{
	while (size > 0) {
		ssize_t n = sendfile(to, from, NULL, size < CHUNK_BYTES ? (size_t)size : CHUNK_BYTES);

		if (n < 0)
			return errno;
		if (n == 0)
			return EIO;	/* the image is shorter than it says */
		size -= n;
	}
	return 0;
}

/* The mode last: a change of owner takes set-id bits away. */
static int give(const struct copy *c, int fd, const struct stat *st)
{
	if (fchown(fd, c->uid, c->gid) < 0 || fchmod(fd, st->st_mode & 07777) < 0)
		return errno;
	return 0;
}

static int copy_file(const struct copy *c, int from, int to, const char *name, const struct stat *st)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };
	int in = openat(from, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), out = -1, error = 0;

	if (in >= 0)
		out = openat(to, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (out < 0)
		error = errno;
	if (error == 0)
		error = copy_data(in, out, st->st_size);
	if (error == 0)
		error = give(c, out, st);
	if (error == 0 && futimens(out, times) < 0)
		error = errno;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return error;
}

static int copy_link(struct copy *c, int from, int to, const char *name, const struct stat *st)
{
	const struct timespec times[] = { st->st_atim, st->st_mtim };
	ssize_t n = readlinkat(from, name, c->link, sizeof c->link - 1);

	if (n < 0)
		return errno;
	c->link[n] = '\0';
	if (symlinkat(c->link, to, name) < 0 || fchownat(to, name, c->uid, c->gid, AT_SYMLINK_NOFOLLOW) < 0 ||
	    utimensat(to, name, times, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	return 0;
}

struct place {
	int dir;
	const char *name;
};

static int copy_entries(struct copy *c, int from, int to, unsigned int depth);

/* What is in it comes last: the name may lie in the buffer that this uses too. */
static int copy_directory(struct copy *c, const struct place *from, const struct place *to, const struct stat *st,
			  unsigned int depth)
{
	const int flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
	const struct timespec times[] = { st->st_atim, st->st_mtim };
	int in = -1, out = -1, error = 0;

	if (depth > DEPTH_MAX)
		return ELOOP;
	if (mkdirat(to->dir, to->name, 0700) < 0 || (in = openat(from->dir, from->name, flags)) < 0 ||
	    (out = openat(to->dir, to->name, flags)) < 0)
		error = errno;
	if (error == 0)
		error = give(c, out, st);
	if (error == 0)
		error = copy_entries(c, in, out, depth);
	if (error == 0 && futimens(out, times) < 0)	/* its entries gave it others */
		error = errno;
	if (in >= 0)
		close(in);
	if (out >= 0)
		close(out);
	return error;
}

static int copy_entry(struct copy *c, int from, int to, const char *name, unsigned int depth, int *is_directory)
{
	struct stat st;

	if (fstatat(from, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno;
	*is_directory = S_ISDIR(st.st_mode);
	if (S_ISDIR(st.st_mode))
		return copy_directory(c, &(struct place){ from, name }, &(struct place){ to, name }, &st, depth + 1);
	if (S_ISLNK(st.st_mode))
		return copy_link(c, from, to, name, &st);
	return copy_file(c, from, to, name, &st);
}

/* The buffer of entries is shared by all depths: after a directory it is read anew. */
static int copy_entries(struct copy *c, int from, int to, unsigned int depth)
{
	for (;;) {
		long n = syscall(SYS_getdents64, from, c->dirents, sizeof c->dirents);
		int again = 0;

		if (n <= 0)
			return n < 0 ? errno : 0;
		for (long at = 0; at < n && !again;) {
			const struct dirent_64 *d = (const void *)(c->dirents + at);
			int64_t next = d->next;
			int error;

			at += d->bytes;
			if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
				continue;
			error = copy_entry(c, from, to, d->name, depth, &again);
			if (error == 0 && again && lseek(from, next, SEEK_SET) < 0)
				error = errno;
			if (error != 0)
				return error;
		}
	}
}

int copy_tree(const struct job *job, const char *from, const char *to)
{
	struct stat st;

	the.uid = job->h.uid;
	the.gid = job->h.gid;
	if (lstat(from, &st) < 0)
		return errno;
	st.st_mode |= 0700;		/* whatever the directory was: the script can write in its copy */
	return copy_directory(&the, &(struct place){ AT_FDCWD, from }, &(struct place){ AT_FDCWD, to }, &st, 0);
}

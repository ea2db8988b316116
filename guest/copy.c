/* SPDX-License-Identifier: Apache-2.0 */
/*
 * copy.c - a directory and all that is in it, copied; see copy.h.
 *
 * The source is the image that the host packed: files, directories and links,
 * and no deeper than the host lets through.
 *
 * A file that has several names is copied at the first one.  It then has a name
 * in a directory of ours too, its inode number in the source, from which the other
 * names are made.  These are in SHARDS directories, because ext2 searches each from
 * its beginning.  They are removed at the end.
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
#include "text.h"

enum {
	DEPTH_MAX = 256,	/* two descriptors each */
	LINK_BYTES = 4096,
	CHUNK_BYTES = 1 << 20,
	SHARDS = 16,
};

/* One a boot, and too large for the stack. */
static struct copy {
	uid_t uid;
	gid_t gid;
	const char *names;	/* path of the directories of those that may come again, less a number */
	int shard[SHARDS];	/* -1: not there yet */
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

/* The path of a shard: "NAMES0", ... */
static struct text shard(const struct copy *c, unsigned int n)
{
	struct text t = { .bytes = 0 };

	text_add(&t, c->names);
	text_add_u64(&t, n);
	return t;
}

/* Opened when it is needed first: most trees need none, and each takes a block of the disk. */
static int open_shard(struct copy *c, unsigned int n)
{
	struct text path = shard(c, n);

	if (c->shard[n] < 0 && mkdir(path.at, 0700) == 0)
		c->shard[n] = open(path.at, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return c->shard[n];
}

/* As copy_file, for what may have been copied under another name. */
static int copy_named(struct copy *c, int from, int to, const char *name, const struct stat *st)
{
	const int names = open_shard(c, st->st_ino / 2 % SHARDS);	/* EROFS: an inode takes at least 2 numbers */
	struct text id = { .bytes = 0 };
	int error;

	if (names < 0)
		return errno;
	text_add_u64(&id, st->st_ino);
	if (linkat(names, id.at, to, name, 0) == 0)
		return 0;
	if (errno != ENOENT && errno != EMLINK)
		return errno;
	/* EMLINK: the file system lets it have no more, so the rest share another copy */
	error = copy_file(c, from, to, name, st);
	if (error == 0 && ((unlinkat(names, id.at, 0) < 0 && errno != ENOENT) || linkat(to, name, names, id.at, 0) < 0))
		error = errno;
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
	return st.st_nlink > 1 ? copy_named(c, from, to, name, &st) : copy_file(c, from, to, name, &st);
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

/* Empties the directory; 0 or errno. */
static int empty(struct copy *c, int dir)
{
	for (int removed = 1; removed;) {
		long n = lseek(dir, 0, SEEK_SET) < 0 ? -1 : syscall(SYS_getdents64, dir, c->dirents, sizeof c->dirents);

		if (n < 0)
			return errno;
		removed = 0;
		for (long at = 0; at < n;) {
			const struct dirent_64 *d = (const void *)(c->dirents + at);

			at += d->bytes;
			if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
				continue;
			if (unlinkat(dir, d->name, 0) < 0)
				return errno;
			removed = 1;
		}
	}
	return 0;
}

static int remove_shards(struct copy *c)
{
	int error = 0;

	for (unsigned int i = 0; i < SHARDS && error == 0; i++) {
		if (c->shard[i] < 0)
			continue;
		error = empty(c, c->shard[i]);
		close(c->shard[i]);
		if (error == 0 && rmdir(shard(c, i).at) < 0)
			error = errno;
	}
	return error;
}

int copy_tree(const struct job *job, const char *from, const char *to, const char *names)
{
	struct stat st;
	int error;

	the.uid = job->h.uid;
	the.gid = job->h.gid;
	if (lstat(from, &st) < 0)
		return errno;
	st.st_mode |= 0700;		/* whatever the directory was: the script can write in its copy */
	the.names = names;
	for (unsigned int i = 0; i < SHARDS; i++)
		the.shard[i] = -1;
	error = copy_directory(&the, &(struct place){ AT_FDCWD, from }, &(struct place){ AT_FDCWD, to }, &st, 0);
	return error == 0 ? remove_shards(&the) : error;
}

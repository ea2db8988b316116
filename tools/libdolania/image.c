/* SPDX-License-Identifier: Apache-2.0 */
/*
 * image.c - the inputs, streamed into an EROFS image.
 *
 * mkfs.erofs is not used: Debian 12's cuts names of 255 bytes, and packs one
 * directory only.  Contents go through one buffer, holes stay holes.  Owner is
 * the script's uid: nothing shows the host's users, and the script can read what its
 * owner could.  Of the times that of the last change is kept, in nanoseconds.  The
 * same tree with the same times gives the same digest.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/erofs.h"
#include "tools/libdolania/internal.h"

enum { SCRIPT_UID = 1000, CHUNK = 256 * 1024 };

struct build {
	struct session *s;
	const struct source *c;		/* that is packed now */
	struct erofs e;
	uint8_t *buffer;		/* CHUNK */
	char path[PATH_MAX];		/* of the directory on the host, for messages */
};

static int wrong(struct build *b, const char *name, int error)
{
	return session_fail(b->s, reason_of_file(error), "%s %s: %s%s%s: %s", b->c->option,
			    b->c->path, b->path, name[0] != '\0' ? "/" : "", name, strerror(error));
}

/* The image itself cannot be written. */
static int no_image(struct build *b)
{
	if (b->e.error == ENOMEM)
		return session_fail(b->s, DOLANIA_HOST_OOM, "no memory for the names of --in");
	return session_fail(b->s, DOLANIA_HOST_IO, "%s %s: cannot write its image: %s; give it room with TMPDIR",
			    b->c->option, b->c->path, strerror(b->e.error));
}

static int check_cancel(struct build *b)
{
	struct pollfd p = { .fd = b->s->o->signal_fd, .events = POLLIN };

	(void)progress_show(b->s->progress, "packing", 0);
	if (poll(&p, 1, 0) > 0)
		session_take_signal(b->s);
	return b->s->cancel_signal != 0 ? -1 : 0;
}

/* Without a trace in its time of access, where that may be. */
static int open_quietly(int dir, const char *name, int flags)
{
	int fd = openat(dir, name, flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY | O_NOATIME);

	if (fd < 0 && errno == EPERM)
		fd = openat(dir, name, flags | O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	return fd;
}

/* From `at` to `end`; a file that got shorter ends in zeroes. */
static int copy_range(struct build *b, int fd, const char *name, size_t inode, off_t at, off_t end)
{
	while (at < end) {
		size_t want = end - at < CHUNK ? (size_t)(end - at) : CHUNK;
		ssize_t n = pread(fd, b->buffer, want, at);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return wrong(b, name, errno);
		if (n == 0)
			return 0;
		if (!erofs_write(&b->e, inode, (uint64_t)at, b->buffer, (size_t)n))
			return no_image(b);
		at += n;
		if (check_cancel(b) < 0)
			return -1;
	}
	return 0;
}

static int copy_content(struct build *b, int fd, const char *name, size_t inode, off_t size)
{
	off_t at = 0;

	unchanged_write_back(fd);
	while (at < size) {
		off_t data = lseek(fd, at, SEEK_DATA), hole;

		if (data < 0 && errno == ENXIO)
			return 0;	/* a hole to the end */
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole < 0 || hole > size)
			hole = size;
		if (data < 0)
			data = at;	/* a file system that cannot tell */
		if (copy_range(b, fd, name, inode, data, hole) < 0)
			return -1;
		at = hole;
	}
	return 0;
}

/* What the caller named must be there; what lies in it may go. */
static bool may_vanish(struct build *b, int dir, int error)
{
	bool may = dir != AT_FDCWD && inputs_vanished(error);

	b->s->inputs.skipped += may;
	return may;
}

static int add_file(struct build *b, int dir, const char *name, size_t parent, const char *as)
{
	/* what the caller named may be a link; what lies in a directory is what it was when it was looked at */
	int fd = open_quietly(dir, name, dir == AT_FDCWD ? 0 : O_NOFOLLOW), ret = -1;
	struct stat st;
	long i;

	if (fd < 0)
		return may_vanish(b, dir, errno) ? 0 : wrong(b, dir == AT_FDCWD ? "" : name, errno);
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
		ret = may_vanish(b, dir, ENOENT) ? 0 : wrong(b, name, ESTALE);
	else if (erofs_add_name(&b->e, parent, as, &st) >= 0)
		ret = 0;
	else if (b->e.error != 0 || (i = erofs_add_file(&b->e, parent, as, &st)) < 0)
		no_image(b);
	else
		ret = copy_content(b, fd, name, (size_t)i, st.st_size);
	close(fd);
	return ret;
}

static int add_link(struct build *b, int dir, const char *name, size_t parent, struct timespec mtime)
{
	char target[PATH_MAX];
	ssize_t n = readlinkat(dir, name, target, sizeof(target) - 1);

	if (n < 0)
		return may_vanish(b, dir, errno) ? 0 : wrong(b, name, errno);
	target[n] = '\0';
	return erofs_add_link(&b->e, parent, name, target, mtime) < 0 ? no_image(b) : 0;
}

static int by_name(const struct dirent **a, const struct dirent **b)
{
	return strcmp((*a)->d_name, (*b)->d_name);
}

static int add_directory(struct build *b, int dir, const char *name, size_t parent, const char *as);

/* What cannot be given was listed before (tree.c). */
static int add_entry(struct build *b, int dir, const char *name, size_t parent)
{
	struct stat st;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return may_vanish(b, dir, errno) ? 0 : wrong(b, name, errno);
	if (check_cancel(b) < 0)
		return -1;
	if (inputs_why_not(name, st.st_mode) != NULL)
		return 0;
	if (S_ISDIR(st.st_mode))
		return add_directory(b, dir, name, parent, name);
	return S_ISLNK(st.st_mode) ? add_link(b, dir, name, parent, st.st_mtim)
				   : add_file(b, dir, name, parent, name);
}

/* In the order of names: that of readdir(3) would give each host its own image. */
static int add_entries(struct build *b, int fd, size_t inode)
{
	struct dirent **list = NULL;
	int n = scandirat(fd, ".", &list, NULL, by_name), ret = 0;

	if (n < 0)
		return wrong(b, "", errno);
	for (int i = 0; i < n; i++) {
		const char *name = list[i]->d_name;

		if (ret == 0 && strcmp(name, ".") != 0 && strcmp(name, "..") != 0)
			ret = add_entry(b, fd, name, inode);
		free(list[i]);
	}
	free(list);
	return ret;
}

static int add_directory(struct build *b, int dir, const char *name, size_t parent, const char *as)
{
	size_t length = strlen(b->path), left = sizeof(b->path) - length;
	bool top = dir == AT_FDCWD;
	int fd = open_quietly(dir, name, O_DIRECTORY | (top ? 0 : O_NOFOLLOW)), ret;
	struct stat st;
	long i;

	if (fd < 0)
		return may_vanish(b, dir, errno) ? 0 : wrong(b, top ? "" : name, errno);
	if (fstat(fd, &st) < 0 || (!top && (size_t)snprintf(b->path + length, left, "/%s", name) >= left))
		ret = wrong(b, name, ENAMETOOLONG);
	else if ((i = erofs_add_directory(&b->e, parent, as, st.st_mode, st.st_mtim)) < 0)
		ret = no_image(b);
	else
		ret = add_entries(b, fd, (size_t)i);
	b->path[length] = '\0';
	close(fd);
	return ret;
}

/* Where the last component of an image path begins. */
static const char *last_of(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash != NULL ? slash + 1 : path;
}

/* The inode of the directory above node `n`, which was made before: nodes are sorted. */
static size_t parent_of(const struct inputs *in, const size_t *made, size_t n)
{
	const char *path = in->node[n].path;
	size_t length = (size_t)(last_of(path) - path), low = 0, high = n;

	if (length == 0)
		return EROFS_ROOT;
	length--;			/* without the '/' */
	while (low < high) {
		size_t middle = low + (high - low) / 2;
		const char *at = in->node[middle].path;
		int order = strncmp(at, path, length);

		if (order == 0 && at[length] == '\0')
			return made[middle];
		if (order < 0)
			low = middle + 1;
		else
			high = middle;
	}
	return EROFS_ROOT;
}

static int add_node(struct build *b, size_t *made, size_t n)
{
	const struct inputs *in = &b->s->inputs;
	const struct node *x = &in->node[n];
	const char *as = last_of(x->path);
	size_t parent = parent_of(in, made, n);
	int dir = AT_FDCWD, ret;
	long i;

	b->c = &in->source[x->source];
	if (x->kind == NODE_MAKE) {
		i = erofs_add_directory(&b->e, parent, as, 0755, erofs_made);
		made[n] = i < 0 ? 0 : (size_t)i;
		return i < 0 ? no_image(b) : 0;
	}
	if (x->kind == NODE_LINK)
		return erofs_add_link(&b->e, parent, as, x->link, x->mtime) < 0 ? no_image(b) : 0;
	snprintf(b->path, sizeof(b->path), "%s", b->c->path);
	if (x->name != NULL && (dir = open_quietly(AT_FDCWD, b->c->path, O_DIRECTORY)) < 0)
		return wrong(b, "", errno);
	ret = x->directory ? add_directory(b, dir, x->name != NULL ? x->name : b->c->path, parent, as)
			   : add_file(b, dir, x->name != NULL ? x->name : b->c->path, parent, as);
	if (dir != AT_FDCWD)
		close(dir);
	return ret;
}

int image_make(struct session *s, int fd)
{
	struct build *b = calloc(1, sizeof(*b));
	size_t *made = calloc(s->inputs.nodes, sizeof(*made));
	int ret = -1;

	if (b != NULL) {
		b->s = s;
		b->c = s->inputs.source;
		b->buffer = malloc(CHUNK);
	}
	if (b == NULL || made == NULL || b->buffer == NULL || !erofs_begin(&b->e, fd, SCRIPT_UID))
		session_fail(s, DOLANIA_HOST_OOM, "no memory to pack --in");
	else
		ret = 0;
	for (size_t n = 0; ret == 0 && n < s->inputs.nodes; n++)
		ret = add_node(b, made, n);
	if (ret == 0 && !erofs_finish(&b->e))
		ret = no_image(b);
	if (b != NULL) {
		erofs_release(&b->e);
		free(b->buffer);
	}
	free(b);
	free(made);
	return ret;
}

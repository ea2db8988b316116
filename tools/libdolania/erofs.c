/* SPDX-License-Identifier: Apache-2.0 */
/* erofs.c - what goes into an image, in the order it is added; see erofs.h. */
#define _GNU_SOURCE
#include "tools/libdolania/erofs.h"

#include <errno.h>
#include <search.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct linked {
	dev_t dev;
	ino_t ino;
	size_t inode;
};

long erofs_fail(struct erofs *e, int error)
{
	if (e->error == 0)
		e->error = error;
	return -1;
}

bool erofs_write_at(struct erofs *e, uint64_t at, const void *bytes, size_t n)
{
	const uint8_t *from = bytes;

	while (n > 0 && e->error == 0) {
		ssize_t w = pwrite(e->fd, from, n, (off_t)at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return erofs_fail(e, w < 0 ? errno : EIO) == 0;
		from += w;
		at += (uint64_t)w;
		n -= (size_t)w;
	}
	return e->error == 0;
}

static long new_inode(struct erofs *e, mode_t mode, struct timespec mtime)
{
	if (e->inodes == e->room) {
		size_t room = e->room == 0 ? 64 : e->room * 2;
		struct erofs_inode *more = realloc(e->inode, room * sizeof(*more));

		if (more == NULL)
			return erofs_fail(e, ENOMEM);
		e->inode = more;
		e->room = room;
	}
	e->inode[e->inodes] = (struct erofs_inode){
		.mode = (uint16_t)mode, .names = S_ISDIR(mode) ? 2 : 1, .mtime = mtime,
	};
	return (long)e->inodes++;
}

bool erofs_add_entry(struct erofs *e, size_t parent, const char *name, size_t inode)
{
	struct erofs_inode *d = &e->inode[parent];
	char *copy;

	if (d->entries == d->room) {
		size_t room = d->room == 0 ? 8 : d->room * 2;
		struct named *more = realloc(d->entry, room * sizeof(*more));

		if (more == NULL)
			return erofs_fail(e, ENOMEM) == 0;
		d->entry = more;
		d->room = room;
	}
	copy = strdup(name);
	if (copy == NULL)
		return erofs_fail(e, ENOMEM) == 0;
	d->entry[d->entries++] = (struct named){ copy, inode };
	return true;
}

static long add_inode(struct erofs *e, size_t parent, const char *name, mode_t mode, struct timespec mtime)
{
	long i = new_inode(e, mode, mtime);

	return i >= 0 && erofs_add_entry(e, parent, name, (size_t)i) ? i : -1;
}

long erofs_add_directory(struct erofs *e, size_t parent, const char *name, mode_t mode, struct timespec mtime)
{
	long i = add_inode(e, parent, name, S_IFDIR | (mode & 07777), mtime);

	if (i >= 0) {
		e->inode[i].parent = parent;
		e->inode[parent].names++;
	}
	return i;
}

long erofs_add_link(struct erofs *e, size_t parent, const char *name, const char *target, struct timespec mtime)
{
	long i = add_inode(e, parent, name, S_IFLNK | 0777, mtime);

	if (i < 0)
		return -1;
	e->inode[i].size = strlen(target);
	e->inode[i].target = strdup(target);
	if (e->inode[i].target == NULL)
		return erofs_fail(e, ENOMEM);
	if (e->inode[i].size > EROFS_INLINE_MAX) {
		e->inode[i].block = e->blocks;
		e->blocks += erofs_blocks(e->inode[i].size);
		if (!erofs_write_at(e, e->inode[i].block * EROFS_BLOCK, target, e->inode[i].size))
			return -1;
	}
	return i;
}

static int by_file(const void *a, const void *b)
{
	const struct linked *x = a, *y = b;

	if (x->dev != y->dev)
		return x->dev < y->dev ? -1 : 1;
	return x->ino < y->ino ? -1 : x->ino > y->ino;
}

long erofs_add_name(struct erofs *e, size_t parent, const char *name, const struct stat *st)
{
	const struct linked key = { st->st_dev, st->st_ino, 0 };
	struct linked *const *found = st->st_nlink > 1 ? tfind(&key, &e->links, by_file) : NULL;

	if (found == NULL)
		return -1;
	if (!erofs_add_entry(e, parent, name, (*found)->inode))
		return -1;
	e->inode[(*found)->inode].names++;
	return (long)(*found)->inode;
}

static bool remember_name(struct erofs *e, const struct stat *st, size_t inode)
{
	struct linked *l = malloc(sizeof(*l));

	if (l == NULL)
		return erofs_fail(e, ENOMEM) == 0;
	*l = (struct linked){ st->st_dev, st->st_ino, inode };
	if (tsearch(l, &e->links, by_file) == NULL) {
		free(l);
		return erofs_fail(e, ENOMEM) == 0;
	}
	return true;
}

long erofs_add_file(struct erofs *e, size_t parent, const char *name, const struct stat *st)
{
	long i = add_inode(e, parent, name, S_IFREG | (st->st_mode & 07777), st->st_mtim);

	if (i < 0 || (st->st_nlink > 1 && !remember_name(e, st, (size_t)i)))
		return -1;
	e->inode[i].size = (uint64_t)st->st_size;
	e->inode[i].block = e->blocks;
	e->blocks += erofs_blocks((uint64_t)st->st_size);
	return i;
}

bool erofs_write(struct erofs *e, size_t file, uint64_t at, const void *bytes, size_t n)
{
	return erofs_write_at(e, e->inode[file].block * EROFS_BLOCK + at, bytes, n);
}

bool erofs_begin(struct erofs *e, int fd, uint32_t owner)
{
	*e = (struct erofs){ .fd = fd, .owner = owner, .blocks = 1 };
	return new_inode(e, S_IFDIR | 0755, erofs_made) == EROFS_ROOT;
}

void erofs_release(struct erofs *e)
{
	for (size_t i = 0; i < e->inodes; i++) {
		for (size_t k = 0; k < e->inode[i].entries; k++)
			free(e->inode[i].entry[k].name);
		free(e->inode[i].entry);
		free(e->inode[i].target);
	}
	free(e->inode);
	tdestroy(e->links, free);
	*e = (struct erofs){ .fd = -1 };
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * erofs.h - writes an EROFS image: uncompressed, one block size, no attributes.
 *
 * Nothing but names, types, modes, contents, times of the last change and the shape
 * of the tree goes in: the owner is the script, inode numbers are positions in the
 * image.  The same tree gives the same bytes.
 *
 *	block 0		superblock, at byte 1024
 *	block 1 ...	contents of files, as they are added
 *	then		directories, then inodes, when the image is finished
 *
 * Format: linux/fs/erofs/erofs_fs.h, "EROFS" in the kernel's documentation.
 */
#ifndef DOLANIA_EROFS_H
#define DOLANIA_EROFS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

enum { EROFS_BLOCK = 4096, EROFS_ROOT = 0 };

/* The date of what no file of the host stands for, 2000-01-01: archive formats refuse times before 1980. */
static const struct timespec erofs_made = { .tv_sec = 946684800 };

struct named {
	char *name;
	size_t inode;
};

struct erofs_inode {
	uint16_t mode;
	uint32_t names;			/* st_nlink */
	struct timespec mtime;
	uint64_t size;
	uint64_t block;			/* of the content */
	uint64_t nid;
	char *target;			/* of a link */
	struct named *entry;		/* of a directory */
	size_t entries, room;
	size_t parent;			/* of a directory */
};

struct erofs {
	int fd;
	uint32_t owner;			/* uid and gid of all */
	struct erofs_inode *inode;	/* EROFS_ROOT is the root directory */
	size_t inodes, room;
	uint64_t blocks;		/* written so far */
	void *links;			/* a tree of those with several names, for hard links */
	int error;			/* errno of what failed; the rest is refused then */
};

/* Empty but for the root directory.  False: no memory, or `fd` cannot be written. */
bool erofs_begin(struct erofs *e, int fd, uint32_t owner);
void erofs_release(struct erofs *e);

/*
 * Each adds `name` to directory `parent` and returns its inode, or -1 with
 * e->error.  `mode`: the permissions are taken.  Names in one directory differ.
 */
long erofs_add_directory(struct erofs *e, size_t parent, const char *name, mode_t mode, struct timespec mtime);
long erofs_add_link(struct erofs *e, size_t parent, const char *name, const char *target, struct timespec mtime);
/* A file of st->st_size bytes, which erofs_write fills; what is not written is zero. */
long erofs_add_file(struct erofs *e, size_t parent, const char *name, const struct stat *st);
bool erofs_write(struct erofs *e, size_t file, uint64_t at, const void *bytes, size_t n);
/* The inode of a file that was added before under another name, given one more; -1: there is none. */
long erofs_add_name(struct erofs *e, size_t parent, const char *name, const struct stat *st);

/* Directories, inodes, superblock. */
bool erofs_finish(struct erofs *e);

/* For erofs_finish.c alone. */
enum { EROFS_INLINE_MAX = 1024 };	/* bytes of a link's target beside its inode */
long erofs_fail(struct erofs *e, int error);	/* -1; the first error stays */
bool erofs_add_entry(struct erofs *e, size_t parent, const char *name, size_t inode);
bool erofs_write_at(struct erofs *e, uint64_t at, const void *bytes, size_t n);
static inline uint64_t erofs_blocks(uint64_t bytes)
{
	return (bytes + EROFS_BLOCK - 1) / EROFS_BLOCK;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* erofs_finish.c - an image's directories, inodes and superblock; see erofs.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/libdolania/erofs.h"

#define MAGIC 0xE0F5E1E2u

enum {
	SUPER_AT = 1024,
	BLOCK_BITS = 12,
	SLOT = 32,			/* an inode number is a position in slots */
	INODE = 64,			/* bytes of an extended one: a compact one has no time */
	FIRST_SLOT = 1,			/* 0 is no inode number */
	FORMAT_EXTENDED = 1, FORMAT_INLINE = 2 << 1,
	DIRENT = 12,
	TYPE_FILE = 1, TYPE_DIRECTORY = 2, TYPE_LINK = 7,
};

/* Little-endian integers into an image. */
static void put16(uint8_t *to, uint64_t v)
{
	to[0] = (uint8_t)v;
	to[1] = (uint8_t)(v >> 8);
}

static void put32(uint8_t *to, uint64_t v)
{
	put16(to, v);
	put16(to + 2, v >> 16);
}

static void put64(uint8_t *to, uint64_t v)
{
	put32(to, v);
	put32(to + 4, v >> 32);
}

/*
 * A directory is blocks of dirents with their names behind them:
 *
 *	| dirent 0 | dirent 1 | ... | name 0 | name 1 | ... | zeroes |
 *
 * A dirent tells where its name begins; a name ends where the next begins, the
 * last one at the block's or directory's end, or at a zero.  Names are sorted
 * as strcmp does, "." and ".." among them, over all blocks: the kernel searches
 * by halving.
 */
struct block {
	uint8_t bytes[EROFS_BLOCK];
	size_t first, count;		/* entries in it */
	size_t used;			/* bytes they take */
};

static int by_name(const void *a, const void *b)
{
	return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

/* How many entries from `first` on fit into one block, and the bytes they take. */
static void measure_block(const struct erofs_inode *d, struct block *b, size_t first)
{
	b->first = first;
	b->count = b->used = 0;
	for (size_t i = first; i < d->entries; i++) {
		size_t more = DIRENT + strlen(d->entry[i].name);

		if (b->used + more > EROFS_BLOCK)
			return;
		b->used += more;
		b->count++;
	}
}

/* Sorts the directory and says how large it is. */
static bool settle_directory(struct erofs *e, size_t i)
{
	size_t parent = e->inode[i].parent, bytes = 0;
	struct erofs_inode *d = &e->inode[i];
	struct block b;

	if (!erofs_add_entry(e, i, ".", i) || !erofs_add_entry(e, i, "..", parent))
		return false;
	qsort(d->entry, d->entries, sizeof(*d->entry), by_name);
	for (size_t first = 0; first < d->entries; first += b.count) {
		measure_block(d, &b, first);
		bytes = first + b.count < d->entries ? bytes + EROFS_BLOCK : bytes + b.used;
	}
	d->size = bytes;
	d->block = e->blocks;
	e->blocks += erofs_blocks(bytes);
	return true;
}

static uint8_t type_of(const struct erofs_inode *i)
{
	return S_ISDIR(i->mode) ? TYPE_DIRECTORY : S_ISLNK(i->mode) ? TYPE_LINK : TYPE_FILE;
}

static bool write_directory(struct erofs *e, const struct erofs_inode *d)
{
	uint64_t at = d->block * EROFS_BLOCK;
	struct block b;

	for (size_t first = 0; first < d->entries; first += b.count, at += EROFS_BLOCK) {
		size_t name_at;

		measure_block(d, &b, first);
		memset(b.bytes, 0, sizeof(b.bytes));
		name_at = b.count * DIRENT;
		for (size_t i = 0; i < b.count; i++) {
			const struct named *x = &d->entry[first + i];
			uint8_t *dirent = b.bytes + i * DIRENT;
			size_t n = strlen(x->name);

			put64(dirent, e->inode[x->inode].nid);
			put16(dirent + 8, name_at);
			dirent[10] = type_of(&e->inode[x->inode]);
			memcpy(b.bytes + name_at, x->name, n);
			name_at += n;
		}
		if (!erofs_write_at(e, at, b.bytes, b.used))
			return false;
	}
	return true;
}

static bool is_inline(const struct erofs_inode *i)
{
	return S_ISLNK(i->mode) && i->size > 0 && i->size <= EROFS_INLINE_MAX;
}

/* Gives every inode its place; the bytes all of them take. */
static uint64_t place_inodes(struct erofs *e)
{
	uint64_t at = FIRST_SLOT * SLOT;

	for (size_t n = 0; n < e->inodes; n++) {
		struct erofs_inode *i = &e->inode[n];
		uint64_t bytes = INODE + (is_inline(i) ? i->size : 0);

		/* none crosses a block */
		if (at / EROFS_BLOCK != (at + bytes - 1) / EROFS_BLOCK)
			at = erofs_blocks(at) * EROFS_BLOCK;
		i->nid = at / SLOT;
		at += (bytes + SLOT - 1) / SLOT * SLOT;
	}
	return at;
}

static bool write_inode(struct erofs *e, const struct erofs_inode *i, uint64_t table)
{
	uint8_t raw[INODE + EROFS_INLINE_MAX] = { 0 };
	size_t bytes = INODE;

	put16(raw, FORMAT_EXTENDED | (is_inline(i) ? FORMAT_INLINE : 0u));
	put16(raw + 4, i->mode);
	put64(raw + 8, i->size);
	put32(raw + 16, is_inline(i) || i->size == 0 ? 0 : i->block);
	put32(raw + 20, i->nid);
	put32(raw + 24, e->owner);
	put32(raw + 28, e->owner);
	put64(raw + 32, (uint64_t)i->mtime.tv_sec);	/* the kernel reads it as signed: before 1970 is kept too */
	put32(raw + 40, (uint64_t)i->mtime.tv_nsec);
	put32(raw + 44, i->names);
	if (is_inline(i)) {
		memcpy(raw + bytes, i->target, i->size);
		bytes += i->size;
	}
	return erofs_write_at(e, table * EROFS_BLOCK + i->nid * SLOT, raw, bytes);
}

static bool write_super(struct erofs *e, uint64_t table)
{
	uint8_t raw[128] = { 0 };

	put32(raw, MAGIC);
	raw[12] = BLOCK_BITS;
	put16(raw + 14, e->inode[EROFS_ROOT].nid);
	put64(raw + 16, e->inodes);
	put64(raw + 24, (uint64_t)erofs_made.tv_sec);
	put32(raw + 36, e->blocks);
	put32(raw + 40, table);
	return erofs_write_at(e, SUPER_AT, raw, sizeof(raw));
}

bool erofs_finish(struct erofs *e)
{
	uint64_t table;

	for (size_t i = 0; i < e->inodes && e->error == 0; i++)
		if (S_ISDIR(e->inode[i].mode) && !settle_directory(e, i))
			return false;
	table = e->blocks;
	e->blocks += erofs_blocks(place_inodes(e));
	if (e->blocks > UINT32_MAX)
		return erofs_fail(e, EFBIG) == 0;
	for (size_t i = 0; i < e->inodes; i++)
		if ((S_ISDIR(e->inode[i].mode) && !write_directory(e, &e->inode[i])) ||
		    !write_inode(e, &e->inode[i], table))
			return false;
	if (!write_super(e, table))
		return false;
	return ftruncate(e->fd, (off_t)(e->blocks * EROFS_BLOCK)) == 0 || erofs_fail(e, errno) == 0;
}

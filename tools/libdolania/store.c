/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - packed inputs, kept for the next run with the same input.
 *
 * $XDG_CACHE_HOME/dolania/inputs holds images, each named by the key of the tree
 * that it was packed from (tree.c), and beside it its SHA-256, once a result asked
 * for that:
 *
 *	91c8...f0.erofs
 *	91c8...f0.sha256
 *
 * Hashing costs far more than packing, so nothing is hashed to be kept.
 *
 * An image appears whole or not at all: it is written without a name, flushed,
 * and then linked.  So runs at the same time need no lock; an image that another
 * run removes stays readable for those who have it open.  When all of them take
 * more than the cache may, those that were used least lately go.
 *
 * Whoever can write the directory can lie to its owner; it is the owner's alone,
 * and an image that is somebody else's or open to others' writing is not taken.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#define IMAGE ".erofs"
#define DIGEST ".sha256"

enum {
	HEX = 64,
	NAME_BYTES = HEX + sizeof(DIGEST),
	ROOM_LEFT_BYTES = 64 << 20,	/* of the file system, for others */
};

/* Is it a key followed by `suffix`? */
static bool is_kept(const char *name, const char *suffix)
{
	return strspn(name, "0123456789abcdef") == HEX && strcmp(name + HEX, suffix) == 0;
}

int store_open(const struct session *s)
{
	return s->o->cache_bytes == 0 ? -1 : cache_open("inputs");
}

static void name_of(const struct tree *t, const char *suffix, char *name)
{
	sodium_bin2hex(name, HEX + 1, t->key, sizeof(t->key));
	memcpy(name + HEX, suffix, strlen(suffix) + 1);
}

int store_find(struct session *s, int dir, const struct tree *t)
{
	char name[NAME_BYTES];
	struct stat st;
	int fd;

	name_of(t, IMAGE, name);
	fd = dir < 0 ? -1 : openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0222) != 0 ||
	    st.st_size == 0) {
		close(fd);
		return -1;
	}
	(void)futimens(fd, NULL);	/* when it was used last, for store_keep */
	name_of(t, DIGEST, s->inputs.digest_name);
	s->inputs.cached = true;
	return fd;
}

int store_new_file(int dir, uint64_t bytes)
{
	struct statvfs v;

	if (dir < 0 || fstatvfs(dir, &v) < 0 || v.f_bavail * v.f_frsize < bytes + bytes / 16 + ROOM_LEFT_BYTES)
		return -1;
	return openat(dir, ".", O_TMPFILE | O_RDWR | O_CLOEXEC, 0400);
}

struct kept {
	char name[NAME_BYTES];
	struct timespec used;
	uint64_t bytes;
	bool image;
};

static int oldest_first(const void *a, const void *b)
{
	const struct timespec *x = &((const struct kept *)a)->used, *y = &((const struct kept *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

/* What of `name` is ours, a link of an earlier version too; anything else in the directory is left alone. */
static bool take_kept(int dir, const char *name, struct kept *k)
{
	struct stat st;

	k->image = is_kept(name, IMAGE);
	if ((!k->image && !is_kept(name, DIGEST) && !is_kept(name, "")) ||
	    fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	snprintf(k->name, sizeof(k->name), "%.*s", (int)sizeof(k->name) - 1, name);
	k->used = st.st_mtim;
	k->bytes = k->image ? (uint64_t)st.st_size : 0;
	return true;
}

static size_t list_kept(int dir, struct kept **list)
{
	int fd = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	DIR *d = fd < 0 ? NULL : fdopendir(fd);
	size_t count = 0, room = 0;
	struct dirent *e;
	struct kept k;

	*list = NULL;
	while (d != NULL && (e = readdir(d)) != NULL) {
		if (!take_kept(dir, e->d_name, &k))
			continue;
		if (count == room) {
			struct kept *more = realloc(*list, (room = room * 2 + 64) * sizeof(k));

			if (more == NULL)
				break;
			*list = more;
		}
		(*list)[count++] = k;
	}
	if (d != NULL)
		closedir(d);
	else
		fd_close(&fd);
	return count;
}

int dolania_cache(char *path, size_t room, uint64_t *images, uint64_t *bytes)
{
	struct kept *list = NULL;
	int dir = cache_open("inputs");
	char self[32];
	ssize_t n;

	*images = *bytes = 0;
	if (dir < 0)
		return -1;
	snprintf(self, sizeof(self), "/proc/self/fd/%d", dir);
	n = readlink(self, path, room - 1);
	path[n < 0 ? 0 : n] = '\0';
	for (size_t i = list_kept(dir, &list); i-- > 0;) {
		*images += list[i].image;
		*bytes += list[i].bytes;
	}
	free(list);
	n = faccessat(dir, ".", W_OK, AT_EACCESS);
	close(dir);
	return n == 0 ? 0 : -1;
}

/* Removes the longest unused images above `limit` bytes, and what belongs to none that is there. */
static void prune(int dir, uint64_t limit)
{
	struct kept *list;
	uint64_t sum = 0;
	struct stat st;
	size_t count;

	if (flock(dir, LOCK_EX | LOCK_NB) < 0)
		return;			/* another run is at it */
	count = list_kept(dir, &list);
	qsort(list, count, sizeof(*list), oldest_first);
	for (size_t i = 0; i < count; i++)
		sum += list[i].bytes;
	for (size_t i = 0; i < count && sum > limit; i++)
		if (list[i].image && unlinkat(dir, list[i].name, 0) == 0)
			sum -= list[i].bytes;
	for (size_t i = 0; i < count; i++) {
		char image[NAME_BYTES];

		snprintf(image, sizeof(image), "%.*s" IMAGE, HEX, list[i].name);
		if (!list[i].image && (is_kept(list[i].name, "") || fstatat(dir, image, &st, 0) < 0))
			unlinkat(dir, list[i].name, 0);
	}
	free(list);
	flock(dir, LOCK_UN);
}

/* Best effort: what cannot be kept is packed again the next time. */
void store_keep(struct session *s, int dir, int image, const struct tree *t)
{
	char path[32], name[NAME_BYTES];

	if (fdatasync(image) < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	name_of(t, IMAGE, name);
	/* Where another run was first the digest beside its image is not ours to take. */
	if (linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) < 0)
		return;
	name_of(t, DIGEST, s->inputs.digest_name);
	prune(dir, s->o->cache_bytes);
}

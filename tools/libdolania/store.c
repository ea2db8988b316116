/* SPDX-License-Identifier: Apache-2.0 */
/*
 * store.c - packed inputs, kept for the next run with the same input.
 *
 * $XDG_CACHE_HOME/dolania/inputs holds images named by their own SHA-256, and
 * for each tree that was packed a link from its key (tree.h) to its image:
 *
 *	91c8...f0  ->  5d41...92.erofs
 *	5d41...92.erofs
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

#define SUFFIX ".erofs"

enum {
	HEX = 64,
	NAME_BYTES = HEX + sizeof(SUFFIX),
	LINKS_MAX = 4096,
	ROOM_LEFT_BYTES = 64 << 20,	/* of the file system, for others */
};

/* An empty name where `text` is no digest followed by `suffix`. */
static void take_digest(char *to, const char *text, const char *suffix)
{
	to[0] = '\0';
	if (strspn(text, "0123456789abcdef") != HEX || strcmp(text + HEX, suffix) != 0)
		return;
	memcpy(to, text, HEX);
	to[HEX] = '\0';
}

int store_open(const struct session *s)
{
	return s->o->cache_bytes == 0 ? -1 : cache_open("inputs");
}

static void key_text(const struct tree *t, char *key)
{
	sodium_bin2hex(key, 2 * sizeof(t->key) + 1, t->key, sizeof(t->key));
}

int store_find(struct session *s, int dir, const struct tree *t)
{
	char key[HEX + 1], name[NAME_BYTES] = "", digest[HEX + 1];
	struct stat st;
	int fd;

	key_text(t, key);
	if (dir < 0 || readlinkat(dir, key, name, sizeof(name) - 1) < 0)
		return -1;
	take_digest(digest, name, SUFFIX);
	if (digest[0] == '\0')
		return -1;
	fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	if (fd < 0)
		return -1;
	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_uid != geteuid() || (st.st_mode & 0222) != 0 ||
	    st.st_size == 0) {
		close(fd);
		return -1;
	}
	(void)futimens(fd, NULL);	/* when it was used last, for store_keep */
	memcpy(s->inputs.sha256, digest, sizeof(digest));
	s->inputs.image_bytes = (uint64_t)st.st_size;
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
	bool link;
};

static int oldest_first(const void *a, const void *b)
{
	const struct timespec *x = &((const struct kept *)a)->used, *y = &((const struct kept *)b)->used;

	if (x->tv_sec != y->tv_sec)
		return x->tv_sec < y->tv_sec ? -1 : 1;
	return x->tv_nsec < y->tv_nsec ? -1 : x->tv_nsec > y->tv_nsec;
}

/* What of `name` is ours; anything else in the directory is left alone. */
static bool take_kept(int dir, const char *name, struct kept *k)
{
	char digest[HEX + 1];
	struct stat st;

	k->link = strlen(name) == HEX;
	take_digest(digest, name, k->link ? "" : SUFFIX);
	if (digest[0] == '\0' || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return false;
	snprintf(k->name, sizeof(k->name), "%s", name);
	k->used = st.st_mtim;
	k->bytes = k->link ? 0 : (uint64_t)st.st_size;
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
		*images += !list[i].link;
		*bytes += list[i].bytes;
	}
	free(list);
	n = faccessat(dir, ".", W_OK, AT_EACCESS);
	close(dir);
	return n == 0 ? 0 : -1;
}

/* Removes the longest unused images above `limit` bytes, and links to what is not there. */
static void prune(int dir, uint64_t limit)
{
	struct kept *list;
	size_t count, links = 0;
	uint64_t sum = 0;
	struct stat st;

	if (flock(dir, LOCK_EX | LOCK_NB) < 0)
		return;			/* another run is at it */
	count = list_kept(dir, &list);
	qsort(list, count, sizeof(*list), oldest_first);
	for (size_t i = 0; i < count; i++) {
		sum += list[i].bytes;
		links += list[i].link;
	}
	for (size_t i = 0; i < count && sum > limit; i++)
		if (!list[i].link && unlinkat(dir, list[i].name, 0) == 0)
			sum -= list[i].bytes;
	for (size_t i = 0; i < count; i++)
		if (list[i].link && (fstatat(dir, list[i].name, &st, 0) < 0 || links > LINKS_MAX) &&
		    unlinkat(dir, list[i].name, 0) == 0)
			links--;
	free(list);
	flock(dir, LOCK_UN);
}

/* The digest of an image that was just made. */
static bool hash_image(struct session *s, int image)
{
	enum { CHUNK = 256 * 1024 };
	unsigned char digest[crypto_hash_sha256_BYTES], *buffer = malloc(CHUNK);
	crypto_hash_sha256_state h;
	off_t at = 0;
	ssize_t n = -1;

	if (buffer == NULL)
		return false;
	crypto_hash_sha256_init(&h);
	while (s->cancel_signal == 0 && (n = pread(image, buffer, CHUNK, at)) > 0) {
		crypto_hash_sha256_update(&h, buffer, (unsigned long long)n);
		at += n;
	}
	free(buffer);
	if (n != 0)
		return false;
	crypto_hash_sha256_final(&h, digest);
	sodium_bin2hex(s->inputs.sha256, sizeof(s->inputs.sha256), digest, sizeof(digest));
	s->inputs.image_bytes = (uint64_t)at;
	return true;
}

/* Best effort: what cannot be kept is packed again the next time. */
void store_keep(struct session *s, int dir, int image, const struct tree *t)
{
	char path[32], key[HEX + 1], name[NAME_BYTES];
	struct stat st;

	if (!hash_image(s, image) || fstat(image, &st) < 0 || fdatasync(image) < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", image);
	snprintf(name, sizeof(name), "%s" SUFFIX, s->inputs.sha256);
	key_text(t, key);
	if (linkat(AT_FDCWD, path, dir, name, AT_SYMLINK_FOLLOW) < 0 && errno != EEXIST)
		return;
	if (symlinkat(name, dir, key) < 0 && errno == EEXIST) {
		unlinkat(dir, key, 0);	/* to an image that is gone */
		if (symlinkat(name, dir, key) < 0)
			return;
	}
	prune(dir, s->o->cache_bytes);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * measure.c - SHA-256 of what a run is made of.
 *
 * Hashing a large image costs more than a run, so digests of files are kept in
 * $XDG_CACHE_HOME/dolania/digests, a small file each, named by what changes
 * when the file does (unchanged.c).  Whoever can write the cache directory can
 * lie to its owner.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

enum { WORTH_CACHING = 64 * 1024, HEX = 64 };

static struct dolania_measure *new_measure(struct session *s, const char *role, const char *name)
{
	struct dolania_measure *m;

	if (s->r->measures == DOLANIA_MEASURES)
		return NULL;
	m = &s->r->measured[s->r->measures++];
	m->role = role;
	m->name = strdup(name);
	m->bytes = 0;
	m->sha256[0] = '\0';
	m->cached = false;
	return m;
}

static void finish(struct dolania_measure *m, crypto_hash_sha256_state *h)
{
	unsigned char digest[crypto_hash_sha256_BYTES];

	crypto_hash_sha256_final(h, digest);
	sodium_bin2hex(m->sha256, sizeof(m->sha256), digest, sizeof(digest));
}

/* A large file takes seconds. */
static bool is_cancelled(struct session *s)
{
	struct pollfd p = { .fd = s->o->signal_fd, .events = POLLIN };

	if (poll(&p, 1, 0) > 0)
		session_take_signal(s);
	return s->cancel_signal != 0;
}

static bool hash_fd(struct session *s, struct dolania_measure *m, int fd)
{
	enum { CHUNK = 256 * 1024 };
	crypto_hash_sha256_state h;
	unsigned char *buffer = malloc(CHUNK);
	off_t at = 0;
	ssize_t n = -1;

	if (buffer == NULL)
		return false;
	crypto_hash_sha256_init(&h);
	while (!is_cancelled(s) && (n = pread(fd, buffer, CHUNK, at)) > 0) {
		crypto_hash_sha256_update(&h, buffer, (unsigned long long)n);
		at += n;
	}
	free(buffer);
	if (n != 0)
		return false;
	finish(m, &h);
	return true;
}

/* Ours alone: nobody else can put something in that would be believed. */
static bool is_ours(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && st.st_uid == geteuid() && (st.st_mode & 0022) == 0;
}

int cache_open(const char *name)
{
	const char *top = secure_getenv("XDG_CACHE_HOME"), *home = secure_getenv("HOME");
	char path[4096];
	const char *const below[] = { "dolania", name };
	int fd, n;

	if (top != NULL && top[0] == '/')
		n = snprintf(path, sizeof(path), "%s", top);
	else if (home != NULL && home[0] == '/')
		n = snprintf(path, sizeof(path), "%s/.cache", home);
	else
		return -1;
	if (n < 0 || (size_t)n >= sizeof(path))
		return -1;
	mkdir(path, 0700);
	fd = open(path, O_DIRECTORY | O_RDONLY | O_CLOEXEC);
	for (size_t i = 0; fd >= 0 && i < sizeof(below) / sizeof(below[0]); i++) {
		int next;

		mkdirat(fd, below[i], 0700);
		next = openat(fd, below[i], O_DIRECTORY | O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		close(fd);
		fd = next;
		if (fd >= 0 && !is_ours(fd)) {
			close(fd);
			return -1;
		}
	}
	return fd;
}

static void cache_key(const struct stat *st, char *key, size_t room)
{
	snprintf(key, room, "%jx-%jx-%jx-%jx.%lx-%jx.%lx", (uintmax_t)st->st_dev, (uintmax_t)st->st_ino,
		 (uintmax_t)st->st_size, (uintmax_t)st->st_mtim.tv_sec, (unsigned long)st->st_mtim.tv_nsec,
		 (uintmax_t)st->st_ctim.tv_sec, (unsigned long)st->st_ctim.tv_nsec);
}

static bool cache_get(int dir, const char *key, struct dolania_measure *m)
{
	struct stat st;
	char text[HEX];
	int fd = openat(dir, key, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	bool good;

	if (fd < 0)
		return false;
	good = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == geteuid() &&
	       st.st_size == HEX && read(fd, text, sizeof(text)) == HEX;
	close(fd);
	for (size_t i = 0; good && i < HEX; i++)
		good = strchr("0123456789abcdef", text[i]) != NULL && text[i] != '\0';
	if (!good)
		return false;
	memcpy(m->sha256, text, HEX);
	m->sha256[HEX] = '\0';
	m->cached = true;
	return true;
}

/* Best effort: a cache that cannot be written is no error. */
static void cache_put(int dir, const char *key, const struct dolania_measure *m)
{
	char temporary[64];
	int fd;

	snprintf(temporary, sizeof(temporary), ".new-%ld", (long)getpid());
	fd = openat(dir, temporary, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
	if (fd < 0)
		return;
	if (write(fd, m->sha256, HEX) != HEX || renameat(dir, temporary, dir, key) < 0)
		unlinkat(dir, temporary, 0);
	close(fd);
}

void measure_file(struct session *s, const char *role, const char *name, int fd)
{
	struct dolania_measure *m = new_measure(s, role, name);
	struct timespec now = { 0, 0 };
	struct stat before, after;
	char key[128];
	int dir = -1;

	clock_gettime(CLOCK_REALTIME, &now);
	if (m == NULL || fstat(fd, &before) < 0)
		return;
	m->bytes = (uint64_t)before.st_size;
	if (before.st_nlink > 0 && before.st_size >= WORTH_CACHING && unchanged_is_settled(&before.st_ctim, &now) &&
	    unchanged_is_known(fd))
		dir = cache_open("digests");
	if (dir >= 0)
		cache_key(&before, key, sizeof(key));
	if (dir < 0 || !cache_get(dir, key, m)) {
		if (dir >= 0)
			unchanged_write_back(fd);
		if (hash_fd(s, m, fd) && dir >= 0 && fstat(fd, &after) == 0 && after.st_size == before.st_size &&
		    after.st_ctim.tv_sec == before.st_ctim.tv_sec && after.st_ctim.tv_nsec == before.st_ctim.tv_nsec)
			cache_put(dir, key, m);
	}
	if (dir >= 0)
		close(dir);
}

void measure_kept(struct session *s, const char *role, const char *name, int fd, const char *digest_name)
{
	struct dolania_measure *m = new_measure(s, role, name);
	struct stat st;
	int dir;

	if (m == NULL || fstat(fd, &st) < 0)
		return;
	m->bytes = (uint64_t)st.st_size;
	dir = cache_open("inputs");
	if ((dir < 0 || !cache_get(dir, digest_name, m)) && hash_fd(s, m, fd) && dir >= 0)
		cache_put(dir, digest_name, m);
	if (dir >= 0)
		close(dir);
}

void measure_bytes(struct session *s, const char *role, const char *name, const void *bytes, size_t n)
{
	struct dolania_measure *m = new_measure(s, role, name);
	crypto_hash_sha256_state h;

	if (m == NULL)
		return;
	m->bytes = n;
	crypto_hash_sha256_init(&h);
	crypto_hash_sha256_update(&h, bytes, n);
	finish(m, &h);
}

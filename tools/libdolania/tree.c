/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tree.c - walks the inputs: what is in them, and a key that changes with them.
 *
 * The key is a hash over every entry in name order: name, mode, size, device,
 * inode, mtime, ctime in nanoseconds, and where a link points.  A tree with an unchanged key is
 * unchanged by the rule of unchanged.c.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#define VANISHED "was gone when it was read"

enum { DEPTH_MAX = 200, LOOK_FOR_CANCEL = 256 };

struct walk {
	struct session *s;
	struct source *c;		/* that is looked at */
	struct tree *t;
	crypto_generichash_state h;
	bool local;			/* all of it on known file systems */
	dev_t device;			/* that was asked last */
	struct timespec latest;		/* ctime */
	char path[PATH_MAX];		/* of the directory, for messages */
};

static void hash_text(struct walk *w, const char *text)
{
	crypto_generichash_update(&w->h, (const unsigned char *)text, strlen(text) + 1);
}

static void hash_stat(struct walk *w, const struct stat *st)
{
	const uint64_t v[] = {
		st->st_mode, (uint64_t)st->st_size, st->st_dev, st->st_ino, st->st_nlink,
		(uint64_t)st->st_mtim.tv_sec, (uint64_t)st->st_mtim.tv_nsec,
		(uint64_t)st->st_ctim.tv_sec, (uint64_t)st->st_ctim.tv_nsec,
	};

	crypto_generichash_update(&w->h, (const unsigned char *)v, sizeof(v));
	if (st->st_ctim.tv_sec > w->latest.tv_sec)
		w->latest = st->st_ctim;
}

static void look_at_file_system(struct walk *w, int dir, dev_t device)
{
	if (device == w->device)
		return;
	w->device = device;
	w->local = w->local && unchanged_is_known(dir);
}

static int say(struct walk *w, enum dolania_reason reason, const char *name, const char *why)
{
	return session_fail(w->s, reason, "%s %s: %s%s%s: %s", w->c->option, w->c->path, w->path,
			    name[0] != '\0' ? "/" : "", name, why);
}

static int wrong(struct walk *w, const char *name, const char *why)
{
	return say(w, DOLANIA_USAGE, name, why);
}

static int failed(struct walk *w, const char *name, int error)
{
	return say(w, reason_of_file(error), name, strerror(error));
}

/* Names of a directory, sorted. */
struct names {
	char **at;
	size_t count, room;
};

static int by_name(const void *a, const void *b)
{
	return strcmp(*(char *const *)a, *(char *const *)b);
}

static void names_release(struct names *n)
{
	for (size_t i = 0; i < n->count; i++)
		free(n->at[i]);
	free(n->at);
}

static bool names_add(struct names *n, const char *name)
{
	if (n->count == n->room) {
		size_t room = n->room == 0 ? 64 : n->room * 2;
		char **more = realloc(n->at, room * sizeof(*more));

		if (more == NULL)
			return false;
		n->at = more;
		n->room = room;
	}
	n->at[n->count] = strdup(name);
	return n->at[n->count] != NULL && ++n->count > 0;
}

static int names_read(struct walk *w, DIR *dir, struct names *n)
{
	struct dirent *e;

	while (errno = 0, (e = readdir(dir)) != NULL)
		if (strcmp(e->d_name, ".") != 0 && strcmp(e->d_name, "..") != 0 && !names_add(n, e->d_name))
			return session_fail(w->s, DOLANIA_HOST_OOM, "no memory for the names in %s", w->path);
	if (errno != 0)
		return failed(w, "", errno);
	qsort(n->at, n->count, sizeof(*n->at), by_name);
	return 0;
}

/* A long walk can be cancelled. */
static int check_cancel(struct walk *w)
{
	struct pollfd p = { .fd = w->s->o->signal_fd, .events = POLLIN };

	(void)progress_show(w->s->progress, "packing", 0);
	if (++w->t->entries % LOOK_FOR_CANCEL == 0 && poll(&p, 1, 0) > 0)
		session_take_signal(w->s);
	return w->s->cancel_signal != 0 ? -1 : 0;
}

/* It is no part of the key: it is none of the image. */
static int leave_out(struct walk *w, const char *name, const char *why)
{
	struct dolania_left_out *l = &w->c->left_out;
	const char *below = w->path + strlen(w->c->path);
	char *path;

	l->total++;
	if (l->listed == DOLANIA_LEFT_OUT)
		return 0;
	below += strspn(below, "/");
	if (asprintf(&path, "%s%s%s", below, below[0] != '\0' ? "/" : "", name) < 0)
		return session_fail(w->s, DOLANIA_HOST_OOM, "no memory for the names of --in");
	l->entry[l->listed].name = path;
	l->entry[l->listed++].why = why;
	return 0;
}

static int look_at_directory(struct walk *w, int parent, const char *name, unsigned depth);

static int look_at_entry(struct walk *w, int dir, const char *name, unsigned depth)
{
	char target[PATH_MAX];
	const char *why_not;
	struct stat st;
	ssize_t n;

	if (check_cancel(w) < 0)
		return -1;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return inputs_vanished(errno) ? leave_out(w, name, VANISHED) : failed(w, name, errno);
	why_not = inputs_why_not(name, st.st_mode);
	if (why_not != NULL)
		return leave_out(w, name, why_not);
	hash_text(w, name);
	hash_stat(w, &st);
	if (S_ISREG(st.st_mode)) {
		w->c->files++;
		w->c->bytes += (uint64_t)st.st_size;
		w->c->room_bytes += (uint64_t)st.st_size / (st.st_nlink > 0 ? st.st_nlink : 1);
		return 0;
	}
	if (S_ISLNK(st.st_mode)) {
		n = readlinkat(dir, name, target, sizeof(target) - 1);
		target[n < 0 ? 0 : n] = '\0';
		hash_text(w, target);
		return 0;
	}
	return look_at_directory(w, dir, name, depth + 1);
}

/* `name` in `parent`, with w->path grown by it meanwhile. */
static int look_at_directory(struct walk *w, int parent, const char *name, unsigned depth)
{
	size_t length = strlen(w->path), left = sizeof(w->path) - length;
	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | (depth > 0 ? O_NOFOLLOW : 0)), ret = 0;
	DIR *dir = fd < 0 ? NULL : fdopendir(fd);
	struct names names = { NULL, 0, 0 };
	struct stat st;

	if (dir == NULL) {
		int e = errno;

		fd_close(&fd);
		if (depth > 0 && inputs_vanished(e))
			return leave_out(w, name, VANISHED);
		return failed(w, depth > 0 ? name : "", e);
	}
	if (depth > DEPTH_MAX)
		ret = wrong(w, name, "directories are nested too deep");
	else if (depth > 0 && (size_t)snprintf(w->path + length, left, "/%s", name) >= left)
		ret = failed(w, name, ENAMETOOLONG);
	if (ret == 0 && fstat(fd, &st) == 0)
		look_at_file_system(w, fd, st.st_dev);
	if (ret == 0)
		ret = names_read(w, dir, &names);
	for (size_t i = 0; ret == 0 && i < names.count; i++)
		ret = look_at_entry(w, fd, names.at[i], depth);
	hash_text(w, "/");		/* no name: the directory's end */
	names_release(&names);
	closedir(dir);
	w->path[length] = '\0';
	return ret;
}

static int look_at_source(struct walk *w)
{
	struct source *c = w->c;
	struct stat st;
	int fd;

	c->files = c->bytes = c->room_bytes = 0;
	inputs_forget_left_out(&c->left_out);
	hash_text(w, c->place);
	if (stat(c->path, &st) < 0)
		return failed(w, "", errno);
	hash_stat(w, &st);
	snprintf(w->path, sizeof(w->path), "%s", c->path);
	if (c->directory)
		return look_at_directory(w, AT_FDCWD, c->path, 0);
	c->files = 1;
	c->bytes = c->room_bytes = (uint64_t)st.st_size;
	fd = open(c->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
	if (fd < 0)
		return failed(w, "", errno);
	look_at_file_system(w, fd, st.st_dev);
	close(fd);
	return 0;
}

int tree_look(struct session *s, struct tree *t)
{
	struct walk *w = calloc(1, sizeof(*w));
	struct timespec now = { 0, 0 };
	int ret = 0;

	if (w == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for the names of --in");
	*t = (struct tree){ .files = 0 };
	*w = (struct walk){ .s = s, .t = t, .local = true };
	crypto_generichash_init(&w->h, NULL, 0, sizeof(t->key));
	clock_gettime(CLOCK_REALTIME, &now);
	hash_text(w, "dolania input 3");	/* to be changed when the image would be another */
	for (size_t i = 0; i < s->inputs.binds; i++)
		hash_text(w, s->inputs.bind[i]);
	for (size_t i = 0; ret == 0 && i < s->inputs.count; i++) {
		w->c = &s->inputs.source[i];
		ret = look_at_source(w);
		t->files += w->c->files;
		t->bytes += w->c->bytes;
	}
	crypto_generichash_final(&w->h, t->key, sizeof(t->key));
	t->settled = w->local && unchanged_is_settled(&w->latest, &now);
	free(w);
	return ret;
}

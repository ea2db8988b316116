/* SPDX-License-Identifier: Apache-2.0 */
/*
 * pack.c - what --in and --work name, as one read-only disk.
 *
 * The image is an O_TMPFILE: it has no name unless the cache keeps it (store.c),
 * so nothing can be left behind.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

/* A file without a name where there is room: $TMPDIR, else /var/tmp, else memory. */
static int open_nameless(void)
{
	const char *const places[] = { secure_getenv("TMPDIR"), "/var/tmp", "/tmp" };

	for (size_t i = 0; i < sizeof(places) / sizeof(places[0]); i++) {
		int fd = places[i] == NULL ? -1 : open(places[i], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);

		if (fd >= 0)
			return fd;
	}
	return memfd_create("dolania-input", MFD_CLOEXEC);
}

/* The VMM gets a description that cannot write. */
static int take_read_only(struct session *s, int fd)
{
	char path[32];

	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	s->fd.input = open(path, O_RDONLY | O_CLOEXEC);
	if (s->fd.input < 0)
		return session_fail(s, DOLANIA_HOST_IO, "--in: cannot open the packed image: %s", strerror(errno));
	return 0;
}

/* Into `image`; what changed meanwhile is told. */
static int make_image(struct session *s, int image, const struct tree *before, bool *whole)
{
	struct tree after;

	if (image_make(s, image) < 0 || tree_look(s, &after) < 0)
		return -1;
	*whole = s->inputs.skipped == 0 && memcmp(before->key, after.key, sizeof(after.key)) == 0;
	if (!*whole)
		session_note(s, "%s %s: changed while it was packed; the script may see some files as they were, some as "
			     "they are", s->inputs.source[0].option, s->inputs.source[0].path);
	return 0;
}

int pack_inputs(struct session *s)
{
	struct tree t;
	int dir = -1, image = -1, ret = -1;
	bool whole = false, keep;

	/* The layout after the first look: then the second one sees what changed under it. */
	if (tree_look(s, &t) < 0 || layout_make(s) < 0 || inputs_check_room(s) < 0)
		return -1;
	dir = store_open(s);
	s->fd.input = store_find(s, dir, &t);
	if (s->fd.input >= 0) {
		fd_close(&dir);
		inputs_note_left_out(s);
		return 0;
	}
	if (t.settled && t.bytes <= s->o->cache_bytes)
		image = store_new_file(dir, t.bytes);
	keep = image >= 0;
	if (!keep)
		image = open_nameless();
	if (image < 0)
		session_fail(s, DOLANIA_HOST_IO, "--in: no place for a temporary file: %s", strerror(errno));
	else if (make_image(s, image, &t, &whole) == 0) {
		if (keep && whole)
			store_keep(s, dir, image, &t);
		inputs_note_left_out(s);
		ret = take_read_only(s, image);
	}
	fd_close(&image);
	fd_close(&dir);
	return ret;
}

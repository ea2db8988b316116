/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.c - the tree of the input image: what lies where, and no name twice.
 *
 * A source that has its place for itself is one node.  Where others lie at or
 * beneath its place, its entries are placed one by one beside them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

static int no_memory(struct session *s)
{
	return session_fail(s, DOLANIA_HOST_OOM, "no memory for the list of --in");
}

/* Takes path, name and link, also when it fails. */
static int add_node_take(struct session *s, struct node n)
{
	struct inputs *in = &s->inputs;

	if (n.path != NULL && in->nodes == in->room) {
		size_t room = in->room == 0 ? 16 : in->room * 2;
		struct node *more = realloc(in->node, room * sizeof(*more));

		if (more != NULL) {
			in->node = more;
			in->room = room;
		}
	}
	if (n.path == NULL || in->nodes == in->room) {
		free(n.path);
		free(n.name);
		free(n.link);
		return no_memory(s);
	}
	in->node[in->nodes++] = n;
	return 0;
}

/* Where the source's place is in the image: "2/rest". */
static char *path_of(const struct inputs *in, const struct source *c)
{
	char *path;

	if (asprintf(&path, "%zu%s", c->bind, c->place + strlen(in->bind[c->bind])) < 0)
		return NULL;
	return path;
}

/* The directories above `path`. */
static int make_parents(struct session *s, size_t source, const char *path)
{
	for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/'))
		if (add_node_take(s, (struct node){ .kind = NODE_MAKE, .path = strndup(path, (size_t)(slash - path)),
						    .source = source, .directory = true }) < 0)
			return -1;
	return 0;
}

static int add_entry(struct session *s, size_t source, const char *path, int dir, const char *name)
{
	const struct source *c = &s->inputs.source[source];
	struct node n = { .kind = NODE_BIND, .source = source };
	char target[PATH_MAX];
	struct stat st;
	ssize_t bytes;

	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return inputs_vanished(errno) ? 0 : session_fail(s, reason_of_file(errno), "%s %s: %s: %s", c->option,
								 c->path, name, strerror(errno));
	if (inputs_why_not(name, st.st_mode) != NULL)
		return 0;		/* tree_look lists it */
	n.directory = S_ISDIR(st.st_mode);
	if (S_ISLNK(st.st_mode)) {
		n.kind = NODE_LINK;
		n.mtime = st.st_mtim;
		bytes = readlinkat(dir, name, target, sizeof(target) - 1);
		if (bytes < 0)
			return inputs_vanished(errno) ? 0 : session_fail(s, reason_of_file(errno), "%s %s: %s: %s",
									 c->option, c->path, name, strerror(errno));
		target[bytes] = '\0';
		n.link = strdup(target);
		if (n.link == NULL)
			return no_memory(s);
	}
	n.name = strdup(name);
	if (n.name == NULL || asprintf(&n.path, "%s/%s", path, name) < 0)
		n.path = NULL;
	return add_node_take(s, n);
}

/* Each entry of a directory whose place others share. */
static int add_entries(struct session *s, size_t source, const char *path)
{
	const struct source *c = &s->inputs.source[source];
	DIR *dir = opendir(c->path);
	struct dirent *e;
	int ret = 0;

	if (dir == NULL)
		return session_fail(s, reason_of_file(errno), "%s %s: %s", c->option, c->path, strerror(errno));
	while (ret == 0 && (e = readdir(dir)) != NULL) {
		if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0)
			continue;
		ret = add_entry(s, source, path, dirfd(dir), e->d_name);
		if (ret == 0 && s->inputs.nodes > LAYOUT_MAX)
			ret = session_fail(s, DOLANIA_USAGE, "%s %s: has too many entries to be put among others; give "
					   "it a place of its own (%s:/in/NAME)", c->option, c->path, c->path);
	}
	closedir(dir);
	return ret;
}

static int add_source(struct session *s, size_t i)
{
	struct inputs *in = &s->inputs;
	const struct source *c = &in->source[i];
	char *path = path_of(in, c);
	int ret;

	if (path == NULL)
		return no_memory(s);
	ret = make_parents(s, i, path);
	if (ret == 0 && !c->shares)
		return add_node_take(s, (struct node){ .kind = NODE_BIND, .path = path, .source = i,
						      .directory = c->directory });
	if (ret == 0)
		ret = add_entries(s, i, path);
	if (ret == 0)
		return add_node_take(s, (struct node){ .kind = NODE_MAKE, .path = path, .source = i, .directory = true });
	free(path);
	return ret;
}

static int by_path(const void *a, const void *b)
{
	return strcmp(((const struct node *)a)->path, ((const struct node *)b)->path);
}

static int clash(struct session *s, const struct node *a, const struct node *b)
{
	const struct inputs *in = &s->inputs;
	const struct source *x = &in->source[a->source], *y = &in->source[b->source];
	const char *rest = strchr(a->path, '/');

	return session_fail(s, DOLANIA_USAGE, "%s %s and %s %s both have %s%s; give one of them a place of its own "
			    "(%s:/in/NAME)", x->option, x->path, y->option, y->path, in->bind[x->bind],
			    rest != NULL ? rest : "", y->path);
}

int layout_make(struct session *s)
{
	struct inputs *in = &s->inputs;
	size_t kept = 0;

	for (size_t i = 0; i < in->count; i++)
		if (add_source(s, i) < 0)
			return -1;
	qsort(in->node, in->nodes, sizeof(*in->node), by_path);
	for (size_t i = 1; i < in->nodes; i++)
		if (by_path(&in->node[i - 1], &in->node[i]) == 0 &&
		    (in->node[i - 1].kind != NODE_MAKE || in->node[i].kind != NODE_MAKE))
			return clash(s, &in->node[i - 1], &in->node[i]);
	for (size_t i = 0; i < in->nodes; i++) {	/* directories that several asked for */
		if (kept > 0 && by_path(&in->node[kept - 1], &in->node[i]) == 0)
			free(in->node[i].path);
		else
			in->node[kept++] = in->node[i];
	}
	in->nodes = kept;
	return 0;
}

void layout_release(struct inputs *in)
{
	for (size_t i = 0; i < in->nodes; i++) {
		free(in->node[i].path);
		free(in->node[i].name);
		free(in->node[i].link);
	}
	free(in->node);
}

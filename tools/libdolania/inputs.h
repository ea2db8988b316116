/* SPDX-License-Identifier: Apache-2.0 */
/*
 * inputs.h - what --in and --work name, on its way into one read-only disk.
 *
 *	inputs_plan   looks at each, decides where it goes           (inputs.c)
 *	layout_make   the tree the image will have, clashes refused  (layout.c)
 *	tree_look     walks it all: a key that tells a change        (tree.c)
 *	store_*       images of earlier runs, found by that key      (store.c)
 *	image_make    all of it, streamed into an EROFS image        (image.c, erofs.c)
 *	pack_inputs   the story                                      (pack.c)
 *
 * The image's root has a directory (or file) "0", "1", ... for each mount of the
 * guest; guest/wire.h calls them binds.
 */
#ifndef DOLANIA_INPUTS_H
#define DOLANIA_INPUTS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/stat.h>
#include <time.h>

enum { INPUTS_MAX = 64, INPUT_KEY_BYTES = 32, LAYOUT_MAX = 20000 };

struct session;

/* One --in or --work. */
struct source {
	const char *option;		/* "--in" or "--work" */
	const char *path;		/* as given, on the host */
	char *place;			/* in the guest: of the directory, or of the file itself */
	bool directory;
	struct stat st;
	size_t bind;			/* in which mount of the guest */
	bool shares;			/* others lie beneath its place: its entries are placed one by one */
	uint64_t files, bytes;		/* in it: regular files, and what they hold */
	uint64_t room_bytes;		/* the same, where each name of a file has its share */
	struct dolania_left_out left_out;
};

/* A step in putting the tree together.  Sorted by path, parents come first. */
struct node {
	enum { NODE_MAKE, NODE_BIND, NODE_LINK } kind;
	char *path;			/* in the image: "0/name" */
	size_t source;
	char *name;			/* BIND: entry of the source; NULL: the source itself */
	bool directory;			/* BIND */
	char *link;			/* LINK: where it points */
	struct timespec mtime;		/* LINK */
};

struct inputs {
	struct source *source;
	size_t count;
	const char *bind[INPUTS_MAX + 1];	/* places in the guest, owned by the sources or constant */
	size_t binds;
	struct node *node;
	size_t nodes, room;
	char digest_name[80];		/* of the image's SHA-256 in the cache; "": it is not kept */
	bool cached;			/* the image was there already */
	size_t skipped;			/* entries that were gone when they were packed */
};

/* What tree_look found. */
struct tree {
	unsigned char key[INPUT_KEY_BYTES];	/* changes when anything in the inputs does */
	uint64_t files, bytes, entries;
	bool settled;			/* nothing changed so lately that a further change could go unseen */
};

int inputs_plan(struct session *s);
void inputs_release(struct session *s);
/* After the guest could not make or find a place; `g_which`: the bind, from 1; `full`: for want of room. */
void inputs_place_failed(struct session *s, uint64_t g_which, const char *why, bool full);
int inputs_tell(struct session *s);	/* to the result */
void inputs_measure(struct session *s);
/* Where the script file is in the guest if it lies in --work's DIR: false, it does not. */
bool inputs_script_place(const struct session *s, char *to, size_t room);
/* Refuses inputs that the script's place would hide, or that would hide it. */
int inputs_check_script(struct session *s);

/* Refuses a --work that is larger than the disk it is copied to; after tree_look. */
int inputs_check_room(struct session *s);

int layout_make(struct session *s);
void layout_release(struct inputs *in);

/* Fills the sources' figures too. */
int tree_look(struct session *s, struct tree *t);

/* Why an entry of a directory cannot be given to the script; NULL: it can. */
const char *inputs_why_not(const char *name, mode_t mode);
/* It was there, or of another kind, when the directory was read: it is left out. */
bool inputs_vanished(int error);
void inputs_forget_left_out(struct dolania_left_out *l);
void inputs_note_left_out(struct session *s);

/* store.c.  Descriptors are -1 where there is nothing; that is no error. */
int store_open(const struct session *s);
int store_find(struct session *s, int dir, const struct tree *t);
int store_new_file(int dir, uint64_t bytes);
void store_keep(struct session *s, int dir, int image, const struct tree *t);

/* Into `fd`, from its beginning. */
int image_make(struct session *s, int fd);

int pack_inputs(struct session *s);

#endif

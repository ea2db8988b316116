/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.h - what a run may have at most: a named file, and the site's ceiling over it.
 *
 *   policy file    what a run has, and how far options may go     policy_load()
 *   options        tighten it; loosen what it says they may       policy_apply()
 *   site's file    a ceiling over both, root's own                policy_site()
 *
 * dolania-policy(5) tells the form.  Nothing is implied: a policy that leaves a
 * key out, and names no other that it is like, is an error.
 */
#ifndef DOLANIA_POLICY_H
#define DOLANIA_POLICY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/libdolania/settings.h"

#define POLICY_SITE_DIR "/etc/dolania"	/* site.ini, policies/NAME.ini; not the user's to choose */
#define POLICY_SITE POLICY_SITE_DIR "/site.ini"

enum {
	POLICY_WORDS = 32, POLICY_WORD_BYTES = 160,	/* of a list */
	POLICY_FILE_MAX_BYTES = 64 * 1024, POLICY_LINE_MAX_BYTES = 190,
	POLICY_LIKE_MAX = 4,		/* files that are like one another, in a row */
};

/* Each key's place in struct dolania_policy: the limits first, as in settings.h. */
enum policy_key {
	POLICY_LIKE = SETTINGS, POLICY_DEFAULT,
	POLICY_RUNTIMES, POLICY_OPTIONS, POLICY_RAISE, POLICY_EXECUTE,
	POLICY_KILL_OUTPUT, POLICY_KILL_EVENTS,
	POLICY_KEYS,
};

struct policy_list {
	bool any;
	unsigned count;
	char word[POLICY_WORDS][POLICY_WORD_BYTES];
};

struct dolania_policy {
	char name[64];			/* as it was asked for, cut */
	char file[4096];
	char sha256[65];		/* of the file */
	bool host_failed;		/* after an error: the host's trouble (memory, descriptors), not the file's */
	bool is_site;			/* a ceiling: what it leaves out is free */
	unsigned line[POLICY_KEYS];	/* where each stands; 0: nowhere in this file */
	bool declared[POLICY_KEYS];	/* here, or in what it is like */
	uint64_t limit[SETTINGS];
	char like[64];			/* another's name; "" */
	char standard_name[64];		/* site: what a run without --policy gets; "" */
	struct policy_list runtimes, options, raise;
	bool image_only;		/* execute */
	bool kill_output;
	unsigned kill_severity;		/* events of this severity and above end a run: 1 to 3 */
	uint32_t kill_kinds;		/* and these: a bit for each enum report_event_kind */
};

/*
 * Each returns 0, or -1 with one line in error[DOLANIA_LINE].
 * `options`: the names, without "--", that a policy can speak of; ended by NULL.
 */
int policy_parse(struct dolania_policy *p, const char *text, size_t bytes, const char *const *options,
		 char *error);
/* The caller is in a user namespace of its own, where files of "root" may be the caller's: a site's file proves nothing. */
bool policy_ids_are_mapped(void);

/* The site's ceiling.  Without one p->file is "". */
int policy_site(struct dolania_policy *p, const char *const *options, char *error);
/*
 * A name (the site's own first, then the shipped ones) or, with a '/', a file; NULL is
 * what nobody asked for: the site's default, or else standard.
 */
int policy_load(struct dolania_policy *p, const char *name, const struct dolania_policy *site,
		const char *const *options, char *error);
bool policy_is_sites(const char *path);	/* the file that policy_site() reads */

/* What a command line asks for beside the policy. */
struct policy_wish {
	bool given[SETTINGS];		/* the limits that options set, already in the options */
	bool execute_given;		/* and options' image_only */
	const char *const *used;	/* the options that a policy can speak of; ended by NULL */
};
/* Fills in what was not given, refuses what is looser than allowed; `site` may be NULL. */
int policy_apply(const struct dolania_policy *p, const struct dolania_policy *site,
		 const struct policy_wish *wish, struct dolania_options *o, char *error);
/* After it: is what nobody gave (the policy's) more than this host has?  What was given dolania_run() looks at. */
int policy_fits(const struct dolania_policy *p, const struct policy_wish *wish, const struct dolania_options *o,
		char *error);
/* What to do about a limit that was reached: "raise it with --wall", or who allows no more.  `o` may be of no policy. */
enum { POLICY_ADVICE_BYTES = 160 };
const char *policy_advice(const struct dolania_options *o, enum setting_id id, char *to, size_t room);
bool policy_allows(const struct policy_list *list, const char *word);
/* "base, python"; "any"; "none". */
const char *policy_list_text(const struct policy_list *list, char *to, size_t room);
const char *policy_events_text(const struct dolania_policy *p, char *to, size_t room);

/* The names there are, sorted, each once; the caller frees the array, which one free() does. */
char **policy_names(size_t *count);

/* By its place in the file: "wall" under "limits". */
const char *policy_key_name(unsigned key);
const char *policy_key_section(unsigned key);

/* The entry of `words` (ended by NULL) most like `word`, or NULL if none is. */
const char *nearest(const char *word, const char *const *words);

#endif

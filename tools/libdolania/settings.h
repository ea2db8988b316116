/* SPDX-License-Identifier: Apache-2.0 */
/*
 * settings.h - the limits of a run, in one table.
 *
 * Each is an option ("--key"), a line of a policy file ("key = value"), and a
 * field of struct dolania_options.  Smaller is tighter, except that 0 of a
 * setting that can be off means "no limit", which is the loosest of all.
 */
#ifndef DOLANIA_SETTINGS_H
#define DOLANIA_SETTINGS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "tools/libdolania/dolania.h"

enum setting_id {
	SETTING_WALL,
	SETTING_CPU_TIME,
	SETTING_MEMORY,
	SETTING_TMP,
	SETTING_FSIZE,
	SETTING_DISK,
	SETTING_SCRATCH,
	SETTING_OUTPUT,
	SETTING_PIDS,
	SETTING_OPEN_FILES,
	SETTINGS,
};

enum setting_type { SETTING_TIME, SETTING_SIZE, SETTING_COUNT };

struct setting {
	const char *key;
	const char *alias;		/* the option's other name, without "--"; or NULL */
	const char *json;		/* its field in the result's "limits" */
	enum setting_type type;
	bool can_be_off;
	uint64_t standard;		/* dolania_defaults() */
	uint64_t least, most;		/* "off" apart; a host may allow less */
	const char *what;		/* it limits; one line */
	const char *enforced_by, *at_limit;	/* for people: docs/limits.md */
	uint16_t offset, bytes;		/* of its field in struct dolania_options */
};

const struct setting *setting_get(enum setting_id id);
/* By key or alias of `n` bytes; NULL if there is none. */
const struct setting *setting_find(const char *name, size_t n);

uint64_t setting_value(const struct setting *t, const struct dolania_options *o);
void setting_set(const struct setting *t, struct dolania_options *o, uint64_t value);

/* 0, or -1 with what is wrong with `text` in `why`: "not a time; write it as ...". */
int setting_parse(const struct setting *t, const char *text, uint64_t *value, char *why, size_t room);
/* Back to text; "off" where it is. */
const char *setting_format(const struct setting *t, uint64_t value, char *to, size_t room);
/* True if `value` gives a script more than `than` does. */
bool setting_is_looser(const struct setting *t, uint64_t value, uint64_t than);

#endif

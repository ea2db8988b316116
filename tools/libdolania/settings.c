/* SPDX-License-Identifier: Apache-2.0 */
/* settings.c - the table of limits, and what options and policy files do with it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/settings.h"

#define FIELD(name) offsetof(struct dolania_options, name), sizeof(((struct dolania_options *)0)->name)
#define MIB (1ull << 20)
#define ANY INT64_MAX

static const struct setting table[SETTINGS] = {
	[SETTING_WALL] = {
		"wall", "timeout", "wall_ns", SETTING_TIME, true, 60 * NS_PER_S, 1, ANY,
		"real time, from the start of the script", "the host's clock, and a second one in dolania",
		"the run ends: `wall_limit`, status 124", FIELD(wall_ns),
	},
	[SETTING_CPU_TIME] = {
		"cpu-time", NULL, "cpu_ns", SETTING_TIME, true, 0, 1, ANY,
		"CPU time of the machine and its devices", "the host: the vCPU thread's clock",
		"the run ends: `cpu_limit`, status 124", FIELD(cpu_ns),
	},
	[SETTING_MEMORY] = {
		"memory", NULL, "memory_bytes", SETTING_SIZE, false, 512 * MIB, DOLANIA_MEMORY_MIN, ANY,
		"memory of the script, all its processes together", "the guest's cgroup",
		"the script is killed whole: `guest_oom`, status 137; a request for more than there is at all fails (ENOMEM), "
		"and a note where the script fails then", FIELD(memory_bytes),
	},
	[SETTING_TMP] = {
		"tmp", NULL, "tmp_bytes", SETTING_SIZE, false, 64 * MIB, MIB, ANY,
		"files in /tmp, /work and the other writable places", "the guest's tmpfs",
		"ENOSPC in the script, and a note", FIELD(tmp_bytes),
	},
	[SETTING_FSIZE] = {
		"fsize", NULL, "fsize_bytes", SETTING_SIZE, true, 0, 1, ANY,
		"size of one file", "the guest's rlimit",
		"SIGXFSZ in the script, or EFBIG where it ignores that; a note where a shell says so", FIELD(fsize_bytes),
	},
	[SETTING_DISK] = {
		"disk", NULL, "disk_bytes", SETTING_SIZE, false, 100 * MIB, MIB, ANY,
		"files in /out, and what comes back of them, with --out", "the guest's file system, and the host",
		"ENOSPC in the script, and a note; what does not fit through is listed", FIELD(disk_bytes),
	},
	[SETTING_SCRATCH] = {
		"scratch", NULL, "scratch_bytes", SETTING_SIZE, false, 0, 0, ANY,
		"files in /scratch, a disk of the machine's own; 0: there is none", "the guest's file system",
		"ENOSPC in the script, and a note", FIELD(scratch_bytes),
	},
	[SETTING_OUTPUT] = {
		"output", NULL, "output_bytes", SETTING_SIZE, false, 10 * MIB, 0, ANY,
		"bytes of stdout, and of stderr", "the host",
		"the rest is cut off and counted; or `output_limit`, status 123, where the policy kills",
		FIELD(output_bytes),
	},
	[SETTING_PIDS] = {
		"pids", NULL, "pids", SETTING_COUNT, false, 128, 1, 32768,	/* what its kernel's pids.max takes */
		"processes and threads at once", "the guest's cgroup",
		"fork fails in the script (EAGAIN), and a note counts it", FIELD(pids),
	},
	[SETTING_OPEN_FILES] = {
		"open-files", NULL, "open_files", SETTING_COUNT, false, 1024, 16, 1048576,
		"open files of each process", "the guest's rlimit",
		"open fails in the script (EMFILE)", FIELD(open_files),
	},
};

const struct setting *setting_get(enum setting_id id)
{
	return &table[id];
}

static bool is(const char *name, size_t n, const char *word)
{
	return word != NULL && strlen(word) == n && strncmp(name, word, n) == 0;
}

const struct setting *setting_find(const char *name, size_t n)
{
	for (size_t i = 0; i < SETTINGS; i++)
		if (is(name, n, table[i].key) || is(name, n, table[i].alias))
			return &table[i];
	return NULL;
}

uint64_t setting_value(const struct setting *t, const struct dolania_options *o)
{
	const char *at = (const char *)o + t->offset;
	uint64_t wide;
	uint32_t narrow;

	if (t->bytes == sizeof(narrow)) {
		memcpy(&narrow, at, sizeof(narrow));
		return narrow;
	}
	memcpy(&wide, at, sizeof(wide));
	return wide;
}

void setting_set(const struct setting *t, struct dolania_options *o, uint64_t value)
{
	char *at = (char *)o + t->offset;
	uint32_t narrow = (uint32_t)value;	/* a count: `most` fits */

	if (t->bytes == sizeof(narrow))
		memcpy(at, &narrow, sizeof(narrow));
	else
		memcpy(at, &value, sizeof(value));
}

static int parse_count(const char *text, uint64_t *n)
{
	*n = 0;
	if (*text == '\0')
		return -1;
	for (; *text >= '0' && *text <= '9'; text++)
		if (__builtin_mul_overflow(*n, 10, n) || __builtin_add_overflow(*n, (uint64_t)(*text - '0'), n))
			return -1;
	return *text == '\0' ? 0 : -1;
}

static int out_of_bounds(const struct setting *t, char *why, size_t room)
{
	char least[32], most[32];

	if (t->type == SETTING_TIME)
		snprintf(why, room, "no script can run in no time; for no limit write off");
	else if (t->can_be_off)
		snprintf(why, room, "must be at least %s; for no limit write off",
			 setting_format(t, t->least, least, sizeof(least)));
	else if (t->most == ANY)
		snprintf(why, room, "must be at least %s", setting_format(t, t->least, least, sizeof(least)));
	else
		snprintf(why, room, "must be a number from %s to %s", setting_format(t, t->least, least, sizeof(least)),
			 setting_format(t, t->most, most, sizeof(most)));
	return -1;
}

/* `parsed`: what dolania_parse_ns() or dolania_parse_bytes() returned. */
static int not_a_number(const struct setting *t, int parsed, char *why, size_t room)
{
	const bool is_time = t->type == SETTING_TIME;

	if (parsed == -2)
		snprintf(why, room, "too %s; at most %s%s", is_time ? "long" : "large",
			 is_time ? "2562047h" : "8388607T", t->can_be_off ? ", or off" : "");
	else if (is_time)
		snprintf(why, room, "not a time; write it as 500ms, 90s, 5m%s", t->can_be_off ? ", or off" : "");
	else
		snprintf(why, room, "not a size; write it as 64M, 2G%s or a number of bytes",
			 t->can_be_off ? ", or off" : "");
	return -1;
}

int setting_parse(const struct setting *t, const char *text, uint64_t *value, char *why, size_t room)
{
	uint64_t v = 0;
	int parsed = 0;

	if (t->can_be_off && strcmp(text, "off") == 0) {
		*value = 0;
		return 0;
	}
	if (strcmp(text, "off") == 0) {
		/* "off" of what is not there by itself: no such thing, rather than no limit of it */
		snprintf(why, room, "this limit cannot be off%s",
			 t->least == 0 && t->standard == 0 ? "; to have none of it write 0" : "");
		return -1;
	}
	if (t->type == SETTING_TIME)
		parsed = dolania_parse_ns(text, &v);
	else if (t->type == SETTING_SIZE)
		parsed = dolania_parse_bytes(text, &v);
	if (parsed < 0)
		return not_a_number(t, parsed, why, room);
	if (t->type == SETTING_COUNT && parse_count(text, &v) < 0)
		return out_of_bounds(t, why, room);
	if (v < t->least || v > t->most)
		return out_of_bounds(t, why, room);
	*value = v;
	return 0;
}

const char *setting_format(const struct setting *t, uint64_t value, char *to, size_t room)
{
	if (t->can_be_off && value == 0)
		snprintf(to, room, "off");
	else if (t->type == SETTING_TIME)
		dolania_format_ns(value, to, room);
	else if (t->type == SETTING_SIZE)
		dolania_format_bytes(value, to, room);
	else
		snprintf(to, room, "%" PRIu64, value);
	return to;
}

bool setting_is_looser(const struct setting *t, uint64_t value, uint64_t than)
{
	/* 0 of what can be off is no limit at all; one less is then the most there is */
	uint64_t less = t->can_be_off ? 1 : 0;

	return value - less > than - less;
}

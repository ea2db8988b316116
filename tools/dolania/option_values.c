/* SPDX-License-Identifier: Apache-2.0 */
/* option_values.c - what each option of `dolania run` does with its value; see options.h. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/dolania/options.h"

void option_wrong(struct command *c, const char *format, ...)
{
	va_list ap;

	if (c->error[0] != '\0')
		return;
	va_start(ap, format);
	vsnprintf(c->error, sizeof(c->error), format, ap);
	va_end(ap);
}

void option_take_setting(struct command *c, const struct setting *t, const char *name, const char *value)
{
	char why[128];
	uint64_t v;

	if (setting_parse(t, value, &v, why, sizeof(why)) < 0)
		option_wrong(c, "%s %s: %s", name, value, why);
	else
		setting_set(t, &c->run, v);
	c->wish.given[t - setting_get((enum setting_id)0)] = true;
}

static void take_execute(struct command *c, const char *value)
{
	if (strcmp(value, "image-only") != 0 && strcmp(value, "anywhere") != 0)
		option_wrong(c, "--execute %s: must be image-only or anywhere", value);
	c->run.image_only = strcmp(value, "image-only") == 0;
	c->wish.execute_given = true;
}

static void take_fd(struct command *c, const char *value)
{
	char *end;
	unsigned long fd;

	errno = 0;
	fd = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || fd < 1 || fd > 1 << 20)
		option_wrong(c, "--result-fd %s: must be a number from 1 to %d", value, 1 << 20);
	else
		c->result_fd = (int)fd;
}

/* PATH or PATH:/place.  A ':' that no '/' follows belongs to PATH. */
static void take_in(struct command *c, const char *value)
{
	struct dolania_input *in = &c->in[c->run.in_count];
	char *path = strdup(value), *place = path != NULL ? strrchr(path, ':') : NULL;

	if (path == NULL)
		option_wrong(c, "no memory for the options");
	else
		c->run.in_count++;
	in->path = path;
	if (place != NULL && place[1] == '/') {
		*place = '\0';
		in->place = place + 1;
	}
	if (path != NULL && path[0] == '\0')
		option_wrong(c, "--in %s: no file or directory is named", value);
}

static void take_work(struct command *c, const char *value)
{
	if (c->run.work_dir != NULL)
		option_wrong(c, "--work %s: given twice; what is only read can be given with --in", value);
	c->run.work_dir = value;
}

static void take_in_cache(struct command *c, const char *value)
{
	int parsed = 0;

	if (strcmp(value, "off") == 0)
		c->run.cache_bytes = 0;
	else
		parsed = dolania_parse_bytes(value, &c->run.cache_bytes);
	if (parsed < 0)
		option_wrong(c, "--in-cache %s: %s", value,
			     parsed == -2 ? "too large; at most 8388607T" :
			     "not a size; write it as 512M, 2G or off");
}

static void take_exit_code(struct command *c, const char *value)
{
	static const char *const modes[] = { "mirror", "isolate", "zero", NULL };

	for (int i = 0; modes[i] != NULL; i++)
		if (strcmp(value, modes[i]) == 0) {
			c->exit_mode = (enum dolania_exit_mode)i;
			return;
		}
	option_wrong(c, "--exit-code %s: must be mirror, isolate or zero", value);
}

static void take_code(struct command *c, const char *value)
{
	if (c->run.form == DOLANIA_EXEC)
		option_wrong(c, "-c and --exec exclude each other");
	c->run.form = DOLANIA_CODE;
	c->run.script = value;
}

static void take_exec(struct command *c)
{
	if (c->run.form == DOLANIA_CODE)
		option_wrong(c, "-c and --exec exclude each other");
	c->run.form = DOLANIA_EXEC;
}

/*
 * "-" is stdout elsewhere; here it would be a file of that name.  No advice to write
 * /dev/stdout: where that is a file, it is one more offset in it, over the script's output.
 */
static const char *take_file(struct command *c, const char *name, const char *value, const char *instead)
{
	if (strcmp(value, "-") != 0)
		return value;
	option_wrong(c, "%s -: %s, for a file of that name ./-", name, instead);
	return NULL;
}

void option_take(struct command *c, enum option id, const char *name, const char *value)
{
	switch (id) {
	case OPT_RUNTIME: c->run.runtime = value; break;
	case OPT_ENV: c->env[c->run.env_count++] = value; break;
	case OPT_CHDIR: c->run.chdir = value; break;
	case OPT_IN: take_in(c, value); break;
	case OPT_IN_CACHE: take_in_cache(c, value); break;
	case OPT_WORK: take_work(c, value); break;
	case OPT_OUT:
		if (c->run.out != NULL)
			option_wrong(c, "--out %s: only one place can be given", value);
		c->run.out = value;
		break;
	case OPT_RESULT: c->result_file = take_file(c, name, value, "for stdout write --result-fd 1"); break;
	case OPT_RESULT_FD: take_fd(c, value); break;
	case OPT_META: c->meta_file = take_file(c, name, value, "it goes into a file only: write its name"); break;
	case OPT_EVENTS: c->events_file = take_file(c, name, value, "it goes into a file only: write its name"); break;
	case OPT_EXIT_CODE: take_exit_code(c, value); break;
	case OPT_LOOPBACK: c->run.loopback = true; break;
	case OPT_KERNEL: c->run.kernel = value; break;
	case OPT_INITRD: c->run.initrd = value; break;
	case OPT_APPEND: c->run.append = value; break;
	case OPT_POLICY: c->policy_name = value; break;
	case OPT_EXECUTE: take_execute(c, value); break;
	case OPT_CODE: take_code(c, value); break;
	case OPT_EXEC: take_exec(c); break;
	case OPT_QUIET: c->quiet = true; break;
	case OPT_INTERACTIVE: c->interactive = true; break;
	case OPT_HELP: c->help = true; break;
	case OPT_LATER: option_wrong(c, "%s is not there yet: a machine has one processor", name); break;
	}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the command line of `dolania run`. */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/dolania/command.h"

enum option {
	OPT_RUNTIME, OPT_ENV, OPT_CHDIR, OPT_IN, OPT_WALL, OPT_MEMORY, OPT_TMP, OPT_PIDS, OPT_OPEN_FILES,
	OPT_OUTPUT, OPT_RESULT, OPT_RESULT_FD, OPT_EXIT_CODE, OPT_KERNEL, OPT_INITRD, OPT_APPEND, OPT_CODE,
	OPT_EXEC, OPT_QUIET, OPT_INTERACTIVE, OPT_HELP, OPT_EVENTS, OPT_CPU_TIME,
	OPT_LATER,
};

static const struct {
	const char *name;
	enum option id;
	bool takes_value;
} table[] = {
	{ "--runtime", OPT_RUNTIME, true },
	{ "--env", OPT_ENV, true },
	{ "--chdir", OPT_CHDIR, true },
	{ "--in", OPT_IN, true },
	{ "--wall", OPT_WALL, true },
	{ "--timeout", OPT_WALL, true },
	{ "--cpu-time", OPT_CPU_TIME, true },
	{ "--memory", OPT_MEMORY, true },
	{ "--tmp", OPT_TMP, true },
	{ "--pids", OPT_PIDS, true },
	{ "--open-files", OPT_OPEN_FILES, true },
	{ "--output", OPT_OUTPUT, true },
	{ "--result", OPT_RESULT, true },
	{ "--result-fd", OPT_RESULT_FD, true },
	{ "--events", OPT_EVENTS, true },
	{ "--exit-code", OPT_EXIT_CODE, true },
	{ "--kernel", OPT_KERNEL, true },
	{ "--initrd", OPT_INITRD, true },
	{ "--append", OPT_APPEND, true },
	{ "-c", OPT_CODE, true },
	{ "--exec", OPT_EXEC, false },
	{ "--quiet", OPT_QUIET, false },
	{ "-q", OPT_QUIET, false },
	{ "-i", OPT_INTERACTIVE, false },
	{ "--help", OPT_HELP, false },
	{ "-h", OPT_HELP, false },
	/* announced, and not there yet: refused rather than ignored */
	{ "--disk", OPT_LATER, true },
	{ "--policy", OPT_LATER, true },
	{ "--work", OPT_LATER, true },
	{ "--out", OPT_LATER, true },
	{ "--cpus", OPT_LATER, true },
};
enum { OPTIONS = sizeof(table) / sizeof(table[0]) };

static void wrong(struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void wrong(struct command *c, const char *format, ...)
{
	va_list ap;

	if (c->error[0] != '\0')
		return;
	va_start(ap, format);
	vsnprintf(c->error, sizeof(c->error), format, ap);
	va_end(ap);
}

static void take_bytes(struct command *c, const char *name, const char *value, uint64_t *to)
{
	if (dolania_parse_bytes(value, to) < 0)
		wrong(c, "%s %s: not a size; write it as 64M, 2G or a number of bytes", name, value);
}

static void take_time(struct command *c, const char *name, const char *value, uint64_t *to)
{
	if (strcmp(value, "off") == 0)
		*to = 0;
	else if (dolania_parse_ns(value, to) < 0)
		wrong(c, "%s %s: not a time; write it as 500ms, 90s, 5m, or off", name, value);
	else if (*to == 0)
		wrong(c, "%s %s: no script can run in no time; for no limit use '%s off'", name, value, name);
}

static void take_count(struct command *c, const char *name, const char *value, uint32_t least, uint32_t most,
		       uint32_t *to)
{
	char *end;
	unsigned long n;

	errno = 0;
	n = strtoul(value, &end, 10);
	if (*value < '0' || *value > '9' || *end != '\0' || errno != 0 || n < least || n > most)
		wrong(c, "%s %s: must be a number from %u to %u", name, value, least, most);
	else
		*to = (uint32_t)n;
}

static void take_fd(struct command *c, const char *value)
{
	uint32_t fd = 0;

	take_count(c, "--result-fd", value, 1, 1 << 20, &fd);
	c->result_fd = fd == 0 ? -1 : (int)fd;
}

/* DIR or DIR:/place.  A ':' that no '/' follows belongs to DIR. */
static void take_in(struct command *c, const char *value)
{
	char *place;

	if (c->in_dir != NULL) {
		wrong(c, "--in %s: only one directory can be given so far; put them into one", value);
		return;
	}
	c->in_dir = strdup(value);
	if (c->in_dir == NULL)
		return;
	place = strrchr(c->in_dir, ':');
	if (place != NULL && place[1] == '/') {
		*place = '\0';
		c->run.in_path = place + 1;
	}
	c->run.in_dir = c->in_dir;
	if (c->in_dir[0] == '\0')
		wrong(c, "--in %s: no directory is named", value);
}

static void take_exit_code(struct command *c, const char *value)
{
	static const char *const modes[] = { "mirror", "isolate", "zero", NULL };

	for (int i = 0; modes[i] != NULL; i++)
		if (strcmp(value, modes[i]) == 0) {
			c->exit_mode = (enum dolania_exit_mode)i;
			return;
		}
	wrong(c, "--exit-code %s: must be mirror, isolate or zero", value);
}

static void take_code(struct command *c, const char *value)
{
	if (c->run.form == DOLANIA_EXEC)
		wrong(c, "-c and --exec exclude each other");
	c->run.form = DOLANIA_CODE;
	c->run.script = value;
}

static void take_exec(struct command *c)
{
	if (c->run.form == DOLANIA_CODE)
		wrong(c, "-c and --exec exclude each other");
	c->run.form = DOLANIA_EXEC;
}

static void take(struct command *c, enum option id, const char *name, const char *value)
{
	switch (id) {
	case OPT_RUNTIME: c->run.runtime = value; break;
	case OPT_ENV: c->env[c->run.env_count++] = value; break;
	case OPT_CHDIR: c->run.chdir = value; break;
	case OPT_IN: take_in(c, value); break;
	case OPT_WALL: take_time(c, name, value, &c->run.wall_ns); break;
	case OPT_CPU_TIME: take_time(c, name, value, &c->run.cpu_ns); break;
	case OPT_MEMORY: take_bytes(c, name, value, &c->run.memory_bytes); break;
	case OPT_TMP: take_bytes(c, name, value, &c->run.tmp_bytes); break;
	case OPT_PIDS: take_count(c, name, value, 1, 4194304, &c->run.pids); break;
	case OPT_OPEN_FILES: take_count(c, name, value, 16, 1048576, &c->run.open_files); break;
	case OPT_OUTPUT: take_bytes(c, name, value, &c->run.output_bytes); break;
	case OPT_RESULT: c->result_file = value; break;
	case OPT_RESULT_FD: take_fd(c, value); break;
	case OPT_EVENTS: c->events_file = value; break;
	case OPT_EXIT_CODE: take_exit_code(c, value); break;
	case OPT_KERNEL: c->run.kernel = value; break;
	case OPT_INITRD: c->run.initrd = value; break;
	case OPT_APPEND: c->run.append = value; break;
	case OPT_CODE: take_code(c, value); break;
	case OPT_EXEC: take_exec(c); break;
	case OPT_QUIET: c->quiet = true; break;
	case OPT_INTERACTIVE: c->interactive = true; break;
	case OPT_HELP: c->help = true; break;
	case OPT_LATER: wrong(c, "%s is not supported yet", name); break;
	}
}

static void unknown(struct command *c, const char *name)
{
	const char *names[OPTIONS + 1];
	const char *like;

	for (size_t i = 0; i < OPTIONS; i++)
		names[i] = table[i].name;
	names[OPTIONS] = NULL;
	like = nearest(name, names);
	if (like != NULL)
		wrong(c, "unknown option %s; did you mean %s? ('dolania help run' lists them)", name, like);
	else if (c->run.script != NULL)
		wrong(c, "unknown option %s; what the script is to get goes after '--'", name);
	else
		wrong(c, "unknown option %s; 'dolania help run' lists them", name);
}

/* One option at argv[i]; returns how many words it took. */
static int take_word(struct command *c, int argc, char **argv, int i)
{
	const char *word = argv[i], *value = strchr(word, '=');
	size_t n = value != NULL && word[1] == '-' ? (size_t)(value - word) : strlen(word);
	char name[64];

	for (size_t k = 0; k < OPTIONS; k++) {
		if (strlen(table[k].name) != n || strncmp(word, table[k].name, n) != 0)
			continue;
		value = word[n] == '=' ? word + n + 1 : NULL;
		if (!table[k].takes_value) {
			if (value != NULL)
				wrong(c, "%s takes no value", table[k].name);
			take(c, table[k].id, table[k].name, NULL);
			return 1;
		}
		if (value != NULL) {
			take(c, table[k].id, table[k].name, value);
			return 1;
		}
		if (i + 1 == argc) {
			wrong(c, "%s needs a value", table[k].name);
			return 1;
		}
		take(c, table[k].id, table[k].name, argv[i + 1]);
		return 2;
	}
	snprintf(name, sizeof(name), "%.*s", (int)(n < 60 ? n : 60), word);
	unknown(c, name);
	return 1;
}

void options_parse(struct command *c, int argc, char **argv)
{
	int i = 0;

	memset(c, 0, sizeof(*c));
	dolania_defaults(&c->run);
	c->result_fd = -1;
	c->env = calloc((size_t)argc + 1, sizeof(*c->env));
	if (c->env == NULL) {
		wrong(c, "no memory for the options");
		return;
	}
	c->run.env = c->env;
	while (i < argc && argv[i][0] == '-' && argv[i][1] != '\0' && strcmp(argv[i], "--") != 0)
		i += take_word(c, argc, argv, i);
	if (i < argc && strcmp(argv[i], "--") == 0)
		i++;
	if (c->run.form != DOLANIA_CODE && i < argc)
		c->run.script = argv[i++];
	c->run.args = (const char *const *)(argv + i);
	c->run.args_count = (size_t)(argc - i);
	if (c->help)
		return;
	if (c->run.script == NULL)
		wrong(c, c->run.form == DOLANIA_EXEC ? "--exec needs a program: dolania run --exec -- PROG [ARG...]"
						     : "nothing to run: give FILE ('-' is stdin), -c CODE, "
						       "or --exec -- PROG; 'dolania help run' tells more");
	if (c->result_file != NULL && strcmp(c->result_file, "-") == 0) {
		c->result_file = NULL;
		wrong(c, "--result -: for stdout write --result-fd 1, for a file of that name ./-");
	}
	if (c->result_file != NULL && c->result_fd >= 0)
		wrong(c, "--result and --result-fd exclude each other");
}

void options_release(struct command *c)
{
	free(c->env);
	free(c->in_dir);
}

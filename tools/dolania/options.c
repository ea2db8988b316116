/* SPDX-License-Identifier: Apache-2.0 */
/* options.c - the command line of `dolania run`. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/dolania/options.h"

/*
 * The limits are not here: they are the table of settings.c, one option each.
 * OWN is what is the caller's own matter; what is GOVERNED a policy has to allow.
 */
static const struct {
	const char *name;
	enum option id;
	bool takes_value;
	enum { GOVERNED, OWN } whose;
} table[] = {
	{ "--runtime", OPT_RUNTIME, true, GOVERNED },
	{ "--env", OPT_ENV, true, GOVERNED },
	{ "--chdir", OPT_CHDIR, true, GOVERNED },
	{ "--in", OPT_IN, true, GOVERNED },
	{ "--in-cache", OPT_IN_CACHE, true, OWN },
	{ "--work", OPT_WORK, true, GOVERNED },
	{ "--out", OPT_OUT, true, GOVERNED },
	{ "--result", OPT_RESULT, true, OWN },
	{ "--result-fd", OPT_RESULT_FD, true, OWN },
	{ "--events", OPT_EVENTS, true, OWN },
	{ "--meta", OPT_META, true, OWN },
	{ "--exit-code", OPT_EXIT_CODE, true, OWN },
	{ "--policy", OPT_POLICY, true, OWN },
	{ "--execute", OPT_EXECUTE, true, OWN },	/* policy_apply() looks at it itself */
	{ "--loopback", OPT_LOOPBACK, false, GOVERNED },
	{ "--kernel", OPT_KERNEL, true, GOVERNED },
	{ "--initrd", OPT_INITRD, true, GOVERNED },
	{ "--append", OPT_APPEND, true, GOVERNED },
	{ "-c", OPT_CODE, true, OWN },
	{ "--exec", OPT_EXEC, false, OWN },
	{ "--quiet", OPT_QUIET, false, OWN },
	{ "-q", OPT_QUIET, false, OWN },
	{ "-i", OPT_INTERACTIVE, false, OWN },
	{ "--help", OPT_HELP, false, OWN },
	{ "-h", OPT_HELP, false, OWN },
	/* announced, and not there yet: refused rather than ignored */
	{ "--cpus", OPT_LATER, true, GOVERNED },
};
enum { OPTIONS = sizeof(table) / sizeof(table[0]) };

/* What people know from elsewhere, and nothing here is spelled like. */
static const char *known_elsewhere(const char *name)
{
	static const struct {
		const char *name, *here;
	} words[] = {
		{ "--net", "a VM has no network; --loopback gives its programs one among themselves" },
		{ "--network", "a VM has no network; --loopback gives its programs one among themselves" },
		{ "--interactive", "it is -i, which passes on a terminal's input" },
	};

	for (size_t i = 0; i < sizeof(words) / sizeof(words[0]); i++)
		if (strcmp(name, words[i].name) == 0)
			return words[i].here;
	return NULL;
}

static void unknown(struct command *c, const char *name)
{
	const char *names[OPTIONS + SETTINGS + 1];
	char keys[SETTINGS][32];
	const char *like, *here = known_elsewhere(name);

	for (size_t i = 0; i < OPTIONS; i++)
		names[i] = table[i].name;
	for (size_t i = 0; i < SETTINGS; i++) {
		snprintf(keys[i], sizeof(keys[i]), "--%s", setting_get((enum setting_id)i)->key);
		names[OPTIONS + i] = keys[i];
	}
	names[OPTIONS + SETTINGS] = NULL;
	like = nearest(name, names);
	if (here != NULL)
		option_wrong(c, "unknown option %s: %s", name, here);
	else if (like != NULL)
		option_wrong(c, "unknown option %s; did you mean %s? ('dolania help run' lists them)", name, like);
	else if (c->run.script != NULL)
		option_wrong(c, "unknown option %s; what the script is to get goes after '--'", name);
	else
		option_wrong(c, "unknown option %s; 'dolania help run' lists them", name);
}

struct word {
	const char *name;		/* of the option, as it is written in full */
	size_t n;			/* its length in argv */
	const char *value;		/* after '=', or the next word; NULL: there is none */
	int words;			/* that it takes with its value */
};

static bool is_option(const char *word)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (strcmp(table[i].name, word) == 0)
			return true;
	return strncmp(word, "--", 2) == 0 && setting_find(word + 2, strlen(word + 2)) != NULL;
}

/* The value of an option that takes one; false if there is none, or another option stands in its place. */
static bool has_value(struct command *c, const struct word *w)
{
	if (w->value == NULL)
		option_wrong(c, "%.*s needs a value", (int)w->n, w->name);
	else if (w->words == 2 && w->name[1] == '-' && is_option(w->value))
		option_wrong(c, "%.*s needs a value, and %s is an option; where it is the value, write %.*s=%s", (int)w->n, w->name,
		      w->value, (int)w->n, w->name, w->value);
	return w->value != NULL;
}

/*
 * Not ours.  Its value, if the next word is one, must not pass for the script:
 * what follows may be --result, where the mistake is to be told.
 */
static int skip_unknown(struct command *c, const struct word *w, int argc, char **argv, int i)
{
	char name[64];
	bool value_follows = w->words == 2 && i + 2 < argc && argv[i + 1][0] != '-' && argv[i + 2][0] == '-' &&
			     access(argv[i + 1], F_OK) != 0;

	snprintf(name, sizeof(name), "%.*s", (int)(w->n < 60 ? w->n : 60), w->name);
	unknown(c, name);
	return value_follows ? 2 : 1;
}

/* One option at argv[i]; returns how many words it took. */
static int take_word(struct command *c, int argc, char **argv, int i)
{
	const char *word = argv[i], *equals = word[1] == '-' ? strchr(word, '=') : NULL;
	struct word w = { .name = word, .n = equals != NULL ? (size_t)(equals - word) : strlen(word) };
	const struct setting *t;

	w.value = equals != NULL ? equals + 1 : i + 1 < argc ? argv[i + 1] : NULL;
	w.words = equals == NULL && w.value != NULL ? 2 : 1;
	t = w.n > 2 && word[1] == '-' ? setting_find(word + 2, w.n - 2) : NULL;
	if (t != NULL) {
		char name[32];

		snprintf(name, sizeof(name), "%.*s", (int)w.n, word);
		if (has_value(c, &w))
			option_take_setting(c, t, name, w.value);
		return w.words;
	}
	for (size_t k = 0; k < OPTIONS; k++) {
		if (strlen(table[k].name) != w.n || strncmp(word, table[k].name, w.n) != 0)
			continue;
		if (table[k].whose == GOVERNED)
			c->used[c->used_count++] = table[k].name + 2;
		if (!table[k].takes_value) {
			if (equals != NULL)
				option_wrong(c, "%s takes no value", table[k].name);
			option_take(c, table[k].id, table[k].name, NULL);
			return 1;
		}
		if (has_value(c, &w))
			option_take(c, table[k].id, table[k].name, w.value);
		return w.words;
	}
	return skip_unknown(c, &w, argc, argv, i);
}

void options_parse(struct command *c, int argc, char **argv)
{
	int i = 0;

	memset(c, 0, sizeof(*c));
	dolania_defaults(&c->run);
	c->result_fd = -1;
	c->env = calloc((size_t)argc + 1, sizeof(*c->env));
	c->in = calloc((size_t)argc + 1, sizeof(*c->in));
	c->used = calloc((size_t)argc + 1, sizeof(*c->used));
	if (c->env == NULL || c->in == NULL || c->used == NULL) {
		option_wrong(c, "no memory for the options");
		return;
	}
	c->wish.used = c->used;
	c->run.env = c->env;
	c->run.in = c->in;
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
		option_wrong(c, c->run.form == DOLANIA_EXEC ? "--exec needs a program: dolania run --exec -- PROG [ARG...]"
						     : "nothing to run: give FILE ('-' is stdin), -c CODE, "
						       "or --exec -- PROG; 'dolania help run' tells more");
	if (c->wish.given[SETTING_DISK] && c->run.out == NULL)
		option_wrong(c, "--disk is the room in /out, and goes with --out DIR; without it nothing comes back");
	if (c->result_file != NULL && c->result_fd >= 0)
		option_wrong(c, "--result and --result-fd exclude each other");
}

const char *const *options_of_policies(void)
{
	static const char *names[OPTIONS + 1];
	size_t n = 0;

	for (size_t i = 0; i < OPTIONS; i++)
		if (table[i].whose == GOVERNED && table[i].id != OPT_LATER)
			names[n++] = table[i].name + 2;
	return names;
}

bool options_at(size_t n, const char **name, bool *takes_value)
{
	for (size_t i = 0; i < OPTIONS; i++)
		if (table[i].id != OPT_LATER && n-- == 0) {
			*name = table[i].name;
			*takes_value = table[i].takes_value;
			return true;
		}
	return false;
}

/*
 * What the policy says of it: the one that was asked for, else the site's choice,
 * else standard; with the site's ceiling over each.
 */
void options_apply_policy(struct command *c)
{
	const char *const *names = options_of_policies();
	char error[DOLANIA_LINE] = "";

	if (c->error[0] != '\0')
		return;
	c->policy = calloc(2, sizeof(*c->policy));
	if (c->policy == NULL)
		option_wrong(c, "no memory for the policy");
	else if (policy_site(&c->policy[1], names, error) == 0 &&
		 policy_load(&c->policy[0], c->policy_name, &c->policy[1], names, error) == 0 &&
		 policy_apply(&c->policy[0], &c->policy[1], &c->wish, &c->run, error) == 0)
		(void)policy_fits(&c->policy[0], &c->wish, &c->run, error);
	if (error[0] != '\0')
		option_wrong(c, "%s", error);
	c->host_failed = c->policy == NULL || c->policy[0].host_failed || c->policy[1].host_failed;
}

void options_release(struct command *c)
{
	free(c->used);
	free(c->policy);
	free(c->env);
	for (size_t i = 0; i < c->run.in_count; i++)
		free((void *)(uintptr_t)c->in[i].path);
	free(c->in);
}

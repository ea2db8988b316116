/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c - `dolania policy`: what a policy is, on this host, or what is wrong with it.
 *
 *	show [NAME|FILE]   the effective values, as a policy file
 *	check NAME|FILE    silence, or the first error with file and line; a note for a runtime that is not here
 *	list               the names there are
 *	table              all of them side by side, as Markdown
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/dolania/command.h"

struct world {
	struct dolania_policy policy, site;
	struct dolania_options o;
	char error[DOLANIA_LINE];
};

static int complain(const char *error)
{
	fprintf(stderr, "dolania: %s\n", error);
	return STATUS_USAGE;
}

/* The policy with the site's ceiling over it, as a run without options would have it. */
static int load(struct world *w, const char *name)
{
	const struct policy_wish none = { .used = NULL };
	const char *const *options = options_of_policies();

	dolania_defaults(&w->o);
	if (policy_site(&w->site, options, w->error) < 0 ||
	    policy_load(&w->policy, name, &w->site, options, w->error) < 0)
		return -1;
	return policy_apply(&w->policy, &w->site, &none, &w->o, w->error);
}

/* A list, cut to what the site allows of it. */
static const char *list_text(const struct policy_list *list, const struct policy_list *site, bool ceiling, char *to,
			     size_t room)
{
	static struct policy_list both;

	if (!ceiling || site->any)
		return policy_list_text(list, to, room);
	both = *list;
	if (list->any)
		both = *site;
	for (unsigned i = 0; i < both.count; )
		if (policy_allows(site, both.word[i])) {
			i++;
		} else {
			memmove(both.word[i], both.word[i + 1], (both.count - i - 1) * sizeof(both.word[0]));
			both.count--;
		}
	return policy_list_text(&both, to, room);
}

static void show_line(const struct world *w, unsigned key, const char *value)
{
	bool here = w->site.declared[key];

	printf("%s = %s%s\n", policy_key_name(key), value, here ? " ; this site has a ceiling" : "");
}

/*
 * A cpu-time beyond the wall: the policy's, where the site's wall is shorter.  No run
 * reaches it, and no policy file may say so: it is shown as what it comes to.
 */
static bool show_cut_cpu_time(const struct world *w)
{
	const struct setting *cpu = setting_get(SETTING_CPU_TIME);
	char value[64], cut[64];

	if (w->o.cpu_ns == 0 || w->o.wall_ns == 0 || w->o.cpu_ns <= w->o.wall_ns)
		return false;
	printf("%s = %s ; as wall: %s could never be reached\n", cpu->key, setting_format(cpu, w->o.wall_ns, cut, sizeof(cut)),
	       setting_format(cpu, w->o.cpu_ns, value, sizeof(value)));
	return true;
}

static void show_limits(const struct world *w)
{
	char value[64];

	printf("[limits]\n");
	for (unsigned i = 0; i < SETTINGS; i++) {
		const struct setting *t = setting_get((enum setting_id)i);

		if (i != SETTING_CPU_TIME || !show_cut_cpu_time(w))
			show_line(w, i, setting_format(t, setting_value(t, &w->o), value, sizeof(value)));
	}
}

static int show(const char *name)
{
	static struct world w;
	static char text[POLICY_WORDS * (POLICY_WORD_BYTES + 2)];
	struct dolania_policy kills;

	if (load(&w, name) < 0)
		return complain(w.error);
	printf("; %s, from %s\n; sha256 %s\n", w.policy.name, w.policy.file, w.policy.sha256);
	if (w.site.file[0] != '\0')
		printf("; under the ceiling of %s\n", w.site.file);
	printf("\n");
	show_limits(&w);
	printf("\n[allow]\n");
	show_line(&w, POLICY_RUNTIMES, list_text(&w.policy.runtimes, &w.site.runtimes, w.site.declared[POLICY_RUNTIMES],
						 text, sizeof(text)));
	show_line(&w, POLICY_OPTIONS, list_text(&w.policy.options, &w.site.options, w.site.declared[POLICY_OPTIONS],
						text, sizeof(text)));
	show_line(&w, POLICY_RAISE, policy_list_text(&w.policy.raise, text, sizeof(text)));
	show_line(&w, POLICY_EXECUTE, w.o.image_only ? "image-only" : "anywhere");
	kills = w.policy;
	kills.kill_severity = w.o.kill_severity;
	kills.kill_kinds = w.o.kill_kinds;
	printf("\n[kill]\n");
	show_line(&w, POLICY_KILL_OUTPUT, w.o.kill_output ? "yes" : "no");
	show_line(&w, POLICY_KILL_EVENTS, policy_events_text(&kills, text, sizeof(text)));
	return fflush(stdout) == 0 ? 0 : STATUS_USAGE;
}

/* The runtimes that can be meant, ours and the images here; `room` for their text. */
static void known_runtimes(const char *names[], size_t most, char *text, size_t room)
{
	struct dolania_paths paths;
	size_t n = 0;
	char *rest = text;

	snprintf(text, room, "none");
	if (dolania_locate(&paths) == 0)
		dolania_list_runtimes(&paths, text, room);
	names[n++] = "base";
	names[n++] = "python";
	for (size_t i = 0; dolania_on_demand[i] != NULL; i++)
		names[n++] = dolania_on_demand[i];
	for (char *word; n < most && (word = strsep(&rest, ", ")) != NULL; )
		if (word[0] != '\0')
			names[n++] = word;
	names[n] = NULL;
}

/* No error: an image can be made when the policy is there already, and a policy be checked where it is not used. */
static void note_runtimes(const struct dolania_policy *p)
{
	enum { MOST = 256 };
	const char *names[MOST + 1], *like;
	char text[8192], line[DOLANIA_LINE * 2];

	known_runtimes(names, MOST, text, sizeof(text));
	for (unsigned i = 0; p->line[POLICY_RUNTIMES] != 0 && i < p->runtimes.count; i++) {
		const char *word = p->runtimes.word[i];
		size_t k = 0;

		while (names[k] != NULL && strcmp(names[k], word) != 0)
			k++;
		if (names[k] != NULL || strchr(word, '/') != NULL)
			continue;
		like = nearest(word, names);
		snprintf(line, sizeof(line), "note: %.300s:%u: runtimes: there is no image '%s' here%s%s%s", p->file,
			 p->line[POLICY_RUNTIMES], word, like != NULL ? "; did you mean '" : "", like != NULL ? like : "",
			 like != NULL ? "'?" : "");
		for (char *at = line; *at != '\0'; at++)	/* of the file's path */
			if ((unsigned char)*at < 0x20 || *at == 0x7f)
				*at = '?';
		(void)complain(line);
	}
}

/* The site's own file is read for every policy; of itself it is right if what it names by default is, too. */
static int check(const char *name)
{
	static struct world w;
	bool sites = policy_is_sites(name);

	if (load(&w, sites ? NULL : name) < 0)
		return complain(w.error);
	note_runtimes(sites ? &w.site : &w.policy);
	return 0;
}

static int list(void)
{
	size_t count;
	char **names = policy_names(&count);

	for (size_t i = 0; i < count; i++)
		printf("%s\n", names[i]);
	free(names);
	return fflush(stdout) == 0 ? 0 : STATUS_USAGE;
}

static int table(void)
{
	static struct world w[8];
	size_t count, n = 0;
	char **names = policy_names(&count), value[64];

	for (; n < count && n < sizeof(w) / sizeof(w[0]); n++)
		if (load(&w[n], names[n]) < 0) {
			free(names);
			return complain(w[n].error);
		}
	printf("| limit | bounds |");
	for (size_t k = 0; k < n; k++)
		printf(" `%s` |", names[k]);
	printf(" enforced by | at the limit |\n|---|---|");
	for (size_t k = 0; k < n + 2; k++)
		printf("---|");
	printf("\n");
	for (unsigned i = 0; i < SETTINGS; i++) {
		const struct setting *t = setting_get((enum setting_id)i);

		printf("| `--%s` | %s |", t->key, t->what);
		for (size_t k = 0; k < n; k++)
			printf(" %s |", setting_format(t, setting_value(t, &w[k].o), value, sizeof(value)));
		printf(" %s | %s |\n", t->enforced_by, t->at_limit);
	}
	free(names);
	return fflush(stdout) == 0 ? 0 : STATUS_USAGE;
}

int command_policy(int argc, char **argv)
{
	static const char *const verbs[] = { "show", "check", "list", "table", NULL };
	const char *verb = argc > 0 ? argv[0] : "", *like;
	char error[DOLANIA_LINE];

	if (strcmp(verb, "show") == 0 && argc <= 2)
		return show(argc == 2 ? argv[1] : NULL);
	if (strcmp(verb, "check") == 0 && argc == 2)
		return check(argv[1]);
	if (strcmp(verb, "list") == 0 && argc == 1)
		return list();
	if (strcmp(verb, "table") == 0 && argc == 1)
		return table();
	if (strcmp(verb, "--help") == 0 || strcmp(verb, "-h") == 0)
		return help_print("policy");
	like = nearest(verb, verbs);
	for (size_t i = 0; verbs[i] != NULL; i++)
		if (strcmp(verb, verbs[i]) == 0) {
			snprintf(error, sizeof(error), "policy %s: wrong arguments; 'dolania help policy' tells them", verb);
			return complain(error);
		}
	if (verb[0] == '\0')
		return complain("policy: say what of it: dolania policy show|check|list|table");
	snprintf(error, sizeof(error), "policy %.60s: unknown; %s%s%s", verb, like != NULL ? "did you mean 'dolania policy " : "",
		 like != NULL ? like : "there are show, check, list and table", like != NULL ? "'?" : "");
	return complain(error);
}

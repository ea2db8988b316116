/* SPDX-License-Identifier: Apache-2.0 */
/*
 * completion.c - `dolania completion SHELL`: a script that teaches a shell our options.
 *
 * It is made of the tables that the command itself reads, so an option that is added
 * there is completed without a line here; what its value may be is told here.
 * `dolania completion runtimes|policies` prints the names those scripts ask for.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/dolania/command.h"
#include "tools/libdolania/settings.h"

enum kind { ANY_FILE, DIRECTORY, NOTHING, WORDS, RUNTIMES, POLICIES };

static const struct hint {
	const char *option;
	enum kind kind;
	const char *words, *what;
} hints[] = {
	{ "--runtime", RUNTIMES, NULL, "the image: a name or a path" },
	{ "--policy", POLICIES, NULL, "what the run may have: a name or a file" },
	{ "--execute", WORDS, "image-only anywhere", "what may be executed" },
	{ "--exit-code", WORDS, "mirror isolate zero", "what the status tells" },
	{ "--in", ANY_FILE, NULL, "show a copy of it, read-only" },
	{ "--in-cache", WORDS, "off 1G", "what packed inputs of earlier runs may take" },
	{ "--work", DIRECTORY, NULL, "a writable copy of it as the directory to start in" },
	{ "--out", ANY_FILE, NULL, "where /out is returned to: a directory or FILE.tar" },
	{ "--env", NOTHING, NULL, "NAME=VALUE for the environment" },
	{ "--chdir", NOTHING, NULL, "directory of the guest to start in" },
	{ "--kernel", ANY_FILE, NULL, "another guest kernel" },
	{ "--initrd", ANY_FILE, NULL, "another initrd" },
	{ "--append", NOTHING, NULL, "more of the kernel's command line" },
	{ "--result-fd", NOTHING, NULL, "descriptor for the result" },
	{ "-c", NOTHING, NULL, "code instead of a file" },
	{ "--result", ANY_FILE, NULL, "write the result as JSON" },
	{ "--events", ANY_FILE, NULL, "append a line for each oddity" },
	{ "--meta", ANY_FILE, NULL, "write the end as isolate does" },
	{ "--loopback", NOTHING, NULL, "a kernel with 127.0.0.1" },
	{ "--exec", NOTHING, NULL, "a program of the image" },
	{ "--quiet", NOTHING, NULL, "say nothing about the script's end" },
	{ "-q", NOTHING, NULL, "say nothing about the script's end" },
	{ "-i", NOTHING, NULL, "pass a terminal on as stdin" },
	{ "--help", NOTHING, NULL, "list the options" },
	{ "-h", NOTHING, NULL, "list the options" },
};

struct entry {
	char name[40];
	bool takes_value;
	enum kind kind;
	const char *words, *what;
};

/* The n-th option of `dolania run`; false after the last. */
static bool entry_at(size_t n, struct entry *e)
{
	size_t of_table = 0;
	const char *name;

	for (; options_at(of_table, &name, &e->takes_value); of_table++) {
		if (of_table != n)
			continue;
		snprintf(e->name, sizeof(e->name), "%s", name);
		e->kind = ANY_FILE;
		e->words = e->what = "";
		for (size_t i = 0; i < sizeof(hints) / sizeof(hints[0]); i++)
			if (strcmp(hints[i].option, name) == 0) {
				e->kind = hints[i].kind;
				e->words = hints[i].words != NULL ? hints[i].words : "";
				e->what = hints[i].what;
			}
		return true;
	}
	n -= of_table;
	for (size_t i = 0; i < SETTINGS; i++) {
		const struct setting *t = setting_get((enum setting_id)i);

		*e = (struct entry){ .takes_value = true, .kind = t->can_be_off ? WORDS : NOTHING, .words = "off",
				     .what = t->what };
		if (n-- == 0) {
			snprintf(e->name, sizeof(e->name), "--%s", t->key);
			return true;
		}
		if (t->alias != NULL && n-- == 0) {
			snprintf(e->name, sizeof(e->name), "--%s", t->alias);
			return true;
		}
	}
	return false;
}

/* Text of ours in single quotes; what zsh would read in a description is escaped for it. */
static void put_quoted(const char *text, const char *escaped)
{
	putchar('\'');
	for (; *text != '\0'; text++) {
		if (*text == '\'') {
			fputs("'\\''", stdout);
			continue;
		}
		if (strchr(escaped, *text) != NULL)
			putchar('\\');
		putchar(*text);
	}
	putchar('\'');
}

static void put_commands(const char *separator)
{
	for (size_t i = 0; command_names[i] != NULL; i++)
		printf("%s%s", i > 0 ? separator : "", command_names[i]);
}

/* "--a|--b)": the options that take a value of this kind; nothing if there is none. */
static bool bash_case(enum kind kind, const char *words)
{
	struct entry e;
	bool any = false;

	for (size_t i = 0; entry_at(i, &e); i++)
		if (e.takes_value && e.kind == kind && (words == NULL || strcmp(words, e.words) == 0)) {
			printf("%s%s", any ? "|" : "\t", e.name);
			any = true;
		}
	if (any)
		printf(") ");
	return any;
}

static void bash_words(void)
{
	struct entry e, before;

	for (size_t i = 0; entry_at(i, &e); i++) {
		bool seen = e.kind != WORDS || !e.takes_value;

		for (size_t k = 0; k < i && !seen && entry_at(k, &before); k++)
			seen = before.kind == WORDS && strcmp(before.words, e.words) == 0;
		if (!seen && bash_case(WORDS, e.words))
			printf("mapfile -t COMPREPLY < <(compgen -W '%s' -- \"$cur\") ;;\n", e.words);
	}
}

static int bash(void)
{
	struct entry e;

	/* A value with a '/' is a path to the command, all else a name: files only come once it looks like a path. */
	printf("# bash completion for dolania; made by 'dolania completion bash'\n"
	       "_dolania_names() { # runtimes or policies, what is there of the value\n"
	       "\tcase $2 in\n"
	       "\t.*|*/*|'~'*) compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -f -- \"$2\") ;;\n"
	       "\t*) compopt +o default 2>/dev/null\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -W \"$(dolania completion \"$1\" 2>/dev/null)\" -- \"$2\") ;;\n"
	       "\tesac\n}\n\n"
	       "_dolania_value() { # option, what is there of its value\n\tlocal cur=$2\n\tcase $1 in\n");
	if (bash_case(RUNTIMES, NULL))
		printf("_dolania_names runtimes \"$cur\" ;;\n");
	if (bash_case(POLICIES, NULL))
		printf("_dolania_names policies \"$cur\" ;;\n");
	if (bash_case(DIRECTORY, NULL))
		printf("compopt -o filenames 2>/dev/null; mapfile -t COMPREPLY < <(compgen -d -- \"$cur\") ;;\n");
	bash_words();
	if (bash_case(NOTHING, NULL))
		printf("compopt +o default 2>/dev/null ;;\n");
	if (bash_case(ANY_FILE, NULL))
		printf(";;\n");
	printf("\t*) return 1 ;;\n\tesac\n\treturn 0\n}\n\n"
	       "_dolania_takes_value() {\n\tcase $1 in\n\t");
	for (size_t i = 0, n = 0; entry_at(i, &e); i++)
		if (e.takes_value)
			printf("%s%s", n++ > 0 ? "|" : "", e.name);
	printf(") return 0 ;;\n\tesac\n\treturn 1\n}\n\n"
	       "_dolania() {\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} i word\n"
	       "\tCOMPREPLY=()\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then mapfile -t COMPREPLY < <(compgen -W '");
	put_commands(" ");
	printf("' -- \"$cur\"); return; fi\n"
	       "\tcase ${COMP_WORDS[1]} in\n"
	       "\tpolicy) if [ \"$COMP_CWORD\" -eq 2 ]; then mapfile -t COMPREPLY < <(compgen -W 'show check list table' -- \"$cur\")\n"
	       "\t\telse _dolania_names policies \"$cur\"; fi; return ;;\n"
	       "\tcompletion) mapfile -t COMPREPLY < <(compgen -W 'bash zsh fish' -- \"$cur\"); return ;;\n"
	       "\thelp) mapfile -t COMPREPLY < <(compgen -W '");
	put_commands(" ");
	printf("' -- \"$cur\"); return ;;\n\trun) ;;\n\t*) return ;;\n\tesac\n"
	       "\t# after the script all is its own; --option=value is three words to bash\n"
	       "\tfor ((i = 2; i < COMP_CWORD; i++)); do\n"
	       "\t\tword=${COMP_WORDS[i]}\n"
	       "\t\tcase $word in\n\t\t--) return ;;\n"
	       "\t\t-*) if _dolania_takes_value \"$word\"; then\n"
	       "\t\t\t\tif [ \"${COMP_WORDS[i+1]}\" = = ]; then i=$((i + 1)); fi\n"
	       "\t\t\t\ti=$((i + 1))\n\t\t\tfi ;;\n"
	       "\t\t*) return ;;\n\t\tesac\n\tdone\n"
	       "\tif [ \"$cur\" = = ] && _dolania_value \"$prev\" ''; then return; fi\n"
	       "\tif [ \"$prev\" = = ] && _dolania_value \"${COMP_WORDS[COMP_CWORD-2]}\" \"$cur\"; then return; fi\n"
	       "\tif _dolania_takes_value \"$prev\"; then _dolania_value \"$prev\" \"$cur\"; return; fi\n"
	       "\tif [[ $cur == -* ]]; then mapfile -t COMPREPLY < <(compgen -W '");
	for (size_t i = 0; entry_at(i, &e); i++)
		printf("%s%s", i > 0 ? " " : "", e.name);
	printf("' -- \"$cur\"); fi\n}\n"
	       "complete -o default -F _dolania dolania\n");
	return 0;
}

static void zsh_action(const struct entry *e)
{
	switch (e->kind) {
	case ANY_FILE: printf(":file:_files"); break;
	case DIRECTORY: printf(":directory:_files -/"); break;
	case NOTHING: printf(":value:"); break;
	case WORDS: printf(":value:(%s)", e->words); break;
	/* with a blank before it a function gets its own arguments alone */
	case RUNTIMES: printf(":runtime: _dolania_names runtimes"); break;
	case POLICIES: printf(":policy: _dolania_names policies"); break;
	}
}

static int zsh(void)
{
	struct entry e;

	printf("#compdef dolania\n# made by 'dolania completion zsh'\n"
	       "_dolania_names() {\n\tcompadd -- ${(f)\"$(dolania completion $1 2>/dev/null)\"}\n\t_files\n}\n\n"
	       "_dolania() {\n\tlocal context state state_descr line\n\ttypeset -A opt_args\n"
	       "\t_arguments -C '1:command:(");
	put_commands(" ");
	printf(")' '*::argument:->rest'\n"
	       "\tcase $words[1] in\n"
	       "\tpolicy) _arguments '1:what:(show check list table)' '2:policy: _dolania_names policies' ;;\n"
	       "\tcompletion) _arguments '1:shell:(bash zsh fish)' ;;\n"
	       "\thelp) _arguments '1:command:(");
	put_commands(" ");
	printf(")' ;;\n\trun) _arguments -S \\\n");
	for (size_t i = 0; entry_at(i, &e); i++) {
		printf("\t\t%s'", strcmp(e.name, "--env") == 0 || strcmp(e.name, "--in") == 0 ? "'*'" : "");
		printf("%s%s['", e.name, !e.takes_value ? "" : e.name[1] == '-' ? "=" : "");
		put_quoted(e.what, "[]:\\");
		printf("']");
		if (e.takes_value)
			zsh_action(&e);
		printf("' \\\n");
	}
	printf("\t\t'*::script:_files' ;;\n\tesac\n}\n\n"
	       "if [ \"$funcstack[1]\" = _dolania ]; then _dolania \"$@\"; else compdef _dolania dolania; fi\n");
	return 0;
}

static int fish(void)
{
	struct entry e;

	printf("# fish completion for dolania; made by 'dolania completion fish'\n"
	       "complete -c dolania -n __fish_use_subcommand -f -a '");
	put_commands(" ");
	printf("'\ncomplete -c dolania -n '__fish_seen_subcommand_from policy; and not __fish_seen_subcommand_from show check list table' "
	       "-f -a 'show check list table'\n"
	       "complete -c dolania -n '__fish_seen_subcommand_from policy; and __fish_seen_subcommand_from show check' "
	       "-F -a '(dolania completion policies)'\n"
	       "complete -c dolania -n '__fish_seen_subcommand_from completion' -f -a 'bash zsh fish'\n"
	       "complete -c dolania -n '__fish_seen_subcommand_from help' -f -a '");
	put_commands(" ");
	printf("'\n\n# After the script all is its own.\n"
	       "function __dolania_before_script\n"
	       "\tset -l words (commandline -opc)\n"
	       "\tset -l is_value 0\n"
	       "\ttest \"$words[2]\" = run; or return 1\n"
	       "\tfor word in $words[3..-1]\n"
	       "\t\tif test $is_value = 1\n\t\t\tset is_value 0\n\t\t\tcontinue\n\t\tend\n"
	       "\t\tswitch $word\n\t\tcase --\n\t\t\treturn 1\n\t\tcase");
	for (size_t i = 0; entry_at(i, &e); i++)
		if (e.takes_value)
			printf(" %s", e.name);
	printf("\n\t\t\tset is_value 1\n\t\tcase '-*'\n\t\tcase '*'\n\t\t\treturn 1\n\t\tend\n\tend\n\treturn 0\nend\n\n");
	for (size_t i = 0; entry_at(i, &e); i++) {
		printf("complete -c dolania -n __dolania_before_script %s %s", e.name[1] == '-' ? "-l" : "-s",
		       e.name + (e.name[1] == '-' ? 2 : 1));
		if (e.takes_value && e.kind == ANY_FILE)
			printf(" -r -F");
		else if (e.takes_value && e.kind == DIRECTORY)
			printf(" -x -a '(__fish_complete_directories)'");
		else if (e.takes_value && (e.kind == RUNTIMES || e.kind == POLICIES))
			printf(" -r -F -a '(dolania completion %s)'", e.kind == RUNTIMES ? "runtimes" : "policies");
		else if (e.takes_value)
			printf(" -x -a '%s'", e.kind == WORDS ? e.words : "");
		if (e.what[0] != '\0') {
			printf(" -d ");
			put_quoted(e.what, "\\");
		}
		printf("\n");
	}
	return 0;
}

/* A line for each; but no name that a shell would take for more than that, for bash expands the words it is given. */
static void put_name(const char *name)
{
	static const char plain[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._+-";

	if (name[0] != '\0' && name[strspn(name, plain)] == '\0')
		printf("%s\n", name);
}

static int runtimes(void)
{
	struct dolania_paths p;
	char known[4096];

	if (dolania_locate(&p) < 0)
		return STATUS_USAGE;
	dolania_list_runtimes(&p, known, sizeof(known));
	for (char *at = known; at != NULL && strcmp(known, "none") != 0; ) {
		char *next = strstr(at, ", ");

		if (next != NULL)
			*next = '\0';
		if (strcmp(at, "python-test") != 0)	/* for our own tests */
			put_name(at);
		at = next != NULL ? next + 2 : NULL;
	}
	return 0;
}

static int policies(void)
{
	size_t count;
	char **names = policy_names(&count);

	for (size_t i = 0; i < count; i++)
		put_name(names[i]);
	free(names);
	return 0;
}

int command_completion(int argc, char **argv)
{
	static const struct {
		const char *name;
		int (*print)(void);
	} what[] = {
		{ "bash", bash }, { "zsh", zsh }, { "fish", fish }, { "runtimes", runtimes }, { "policies", policies },
	};

	if (argc == 1 && (strcmp(argv[0], "--help") == 0 || strcmp(argv[0], "-h") == 0))
		return help_print("completion");
	for (size_t i = 0; argc == 1 && i < sizeof(what) / sizeof(what[0]); i++)
		if (strcmp(argv[0], what[i].name) == 0 && what[i].print() == 0)
			return fflush(stdout) == 0 ? 0 : STATUS_USAGE;
	fprintf(stderr, "dolania: completion: say for which shell: bash, zsh or fish\n");
	return STATUS_USAGE;
}

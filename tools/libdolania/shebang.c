/* SPDX-License-Identifier: Apache-2.0 */
/*
 * shebang.c - how a script's text begins: '#!', and a byte order mark.
 *
 * '#!' is read as Linux reads it (one optional argument, all the rest of the line), but
 * here and not in the guest's kernel: the interpreter is started with the script as its
 * argument, so a script runs from a noexec mount too.  `env -S` is split here by the rules of
 * GNU coreutils, since the env of an image may not know it.
 */
#include <stdio.h>
#include <string.h>

#include "tools/libdolania/internal.h"

#define BOM "\xef\xbb\xbf"

/* The last path component of `word`. */
static const char *base_name(const char *word)
{
	const char *slash = strrchr(word, '/');

	return slash != NULL ? slash + 1 : word;
}

bool shebang_has_bom(const struct script *c)
{
	return c->bytes >= 3 && memcmp(c->text, BOM, 3) == 0;
}

/* Writes words one after the other to `split_text`. */
struct splitter {
	struct script *c;
	const struct dolania_options *o;
	size_t used;
	bool in_word;
	const char *error;
};

static void put(struct splitter *t, char byte)
{
	struct script *c = t->c;

	if (t->error != NULL)
		return;
	if (!t->in_word && c->words == SCRIPT_WORDS) {
		t->error = "has too many words";
		return;
	}
	if (t->used + 1 >= sizeof(c->split_text)) {
		t->error = "is too long";
		return;
	}
	if (!t->in_word)
		c->word[c->words++] = c->split_text + t->used;
	t->in_word = true;
	c->split_text[t->used++] = byte;
	c->split_text[t->used] = '\0';
}

/* A word begins here even if nothing is put into it: "". */
static void open_word(struct splitter *t)
{
	if (t->in_word)
		return;
	put(t, ' ');
	if (t->error == NULL)
		t->c->split_text[--t->used] = '\0';
}

static void close_word(struct splitter *t)
{
	if (t->in_word)
		t->used++;		/* the NUL */
	t->in_word = false;
}

/* `at` is at a '$'; returns its last byte. */
static const char *expand(struct splitter *t, const char *at)
{
	size_t n = at[1] == '{' ? strspn(at + 2, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_") : 0;
	const char *value;

	if (n == 0 || at[2 + n] != '}') {
		t->error = "has a '$' that is not ${NAME}";
		return at;
	}
	value = job_env(t->o, at + 2, n);
	for (; value != NULL && *value != '\0'; value++)
		put(t, *value);
	return at + 2 + n;
}

/* `at` is at a backslash; returns its last byte, or NULL where the line ends. */
static const char *escape(struct splitter *t, const char *at, char quote)
{
	static const char from[] = "fnrtv", to[] = "\f\n\r\t\v";
	const char *found;

	at++;
	if (quote == '\'') {
		if (*at != '\\' && *at != '\'') {
			put(t, '\\');
			return at - 1;
		}
		put(t, *at);
		return at;
	}
	found = *at != '\0' ? strchr(from, *at) : NULL;
	if (found != NULL)
		put(t, to[found - from]);
	else if (*at != '\0' && strchr("\"'\\#$", *at) != NULL)
		put(t, *at);
	else if (*at == '_' && quote != '\0')
		put(t, ' ');
	else if (*at == '_')
		close_word(t);
	else if (*at == 'c' && quote == '\0')
		return NULL;
	else
		t->error = "has a backslash before what env -S does not know";
	return at;
}

static const char *split_words(struct splitter *t, const char *at)
{
	char quote = '\0';

	for (; at != NULL && *at != '\0' && t->error == NULL; at += at != NULL) {
		if (*at == '\\') {
			at = escape(t, at, quote);
			if (at == NULL)
				break;
		} else if (*at == '$' && quote != '\'') {
			at = expand(t, at);
		} else if (quote != '\0' ? *at == quote : *at == '\'' || *at == '"') {
			quote = quote != '\0' ? '\0' : *at;
			open_word(t);
		} else if (quote == '\0' && strchr(" \t\n\v\f\r", *at) != NULL) {
			close_word(t);
		} else if (quote == '\0' && *at == '#' && !t->in_word) {
			break;
		} else {
			put(t, *at);
		}
	}
	if (t->error == NULL && quote != '\0')
		t->error = "has a quote that is not closed";
	close_word(t);
	return t->error;
}

/* What follows -S in env's argument, with the options that stood before it in `flags`; NULL: there is none. */
static const char *split_option(const char *arg, char flags[8])
{
	static const char name[] = "--split-string";
	size_t n = strspn(arg + (arg[0] == '-'), "iv0");

	flags[0] = '\0';
	if (strncmp(arg, name, sizeof(name) - 1) == 0 && strchr("= \t", arg[sizeof(name) - 1]) != NULL)
		return arg + sizeof(name) - 1 + (arg[sizeof(name) - 1] != '\0');
	if (arg[0] != '-' || arg[1 + n] != 'S' || n > 4)
		return NULL;
	if (n > 0)
		snprintf(flags, 8, "-%.*s", (int)n, arg + 1);
	return arg + 2 + n;
}

/* Fills `word`: what the guest is to start, before the script's own path. */
static int split(struct session *s)
{
	struct script *c = &s->script;
	struct splitter t = { .c = c, .o = s->o };
	const char *rest = NULL;

	c->word[c->words++] = c->interp;
	c->is_env = strcmp(base_name(c->interp), "env") == 0;
	if (c->is_env)
		rest = split_option(c->interp_arg, c->env_flags);
	if (rest == NULL) {
		if (c->interp_arg[0] != '\0')
			c->word[c->words++] = c->interp_arg;
		return 0;
	}
	if (c->env_flags[0] != '\0')
		c->word[c->words++] = c->env_flags;
	if (split_words(&t, rest) != NULL)
		return session_fail(s, DOLANIA_USAGE, "%s: the '#!' line %s", s->o->script, t.error);
	return 0;
}

int shebang_read(struct session *s)
{
	struct script *c = &s->script;
	size_t skip = shebang_has_bom(c) ? 3 : 0;
	size_t n = c->bytes - skip < sizeof(c->interp) - 1 ? c->bytes - skip : sizeof(c->interp) - 1;
	char line[sizeof(c->interp)], *at, *end;

	if (c->bytes >= 2 && (memcmp(c->text, "\xff\xfe", 2) == 0 || memcmp(c->text, "\xfe\xff", 2) == 0))
		return session_fail(s, DOLANIA_USAGE, "%s: the script is UTF-16 text, which no interpreter reads; save it as "
				    "UTF-8", s->script_is_stdin ? "stdin" : s->o->script);
	if (n < 2 || memcmp(c->text + skip, "#!", 2) != 0)
		return 0;
	memcpy(line, c->text + skip, n);
	line[n] = '\0';
	line[strcspn(line, "\n")] = '\0';
	at = line + 2 + strspn(line + 2, " \t");
	for (end = at + strlen(at); end > at && strchr(" \t", end[-1]) != NULL; end--)
		end[-1] = '\0';
	end = at + strcspn(at, " \t");
	snprintf(c->interp, sizeof(c->interp), "%.*s", (int)(end - at), at);
	snprintf(c->interp_arg, sizeof(c->interp_arg), "%s", end + strspn(end, " \t"));
	return c->interp[0] != '\0' ? split(s) : 0;
}

/* An option of env whose argument is the next word: -u NAME, -iu NAME, --chdir DIR. */
static bool takes_a_word(const char *word)
{
	size_t n = strlen(word);

	if (strncmp(word, "--", 2) == 0)
		return strcmp(word, "--unset") == 0 || strcmp(word, "--chdir") == 0 || strcmp(word, "--argv0") == 0;
	return word[0] == '-' && n > 1 && strcspn(word, "uCa") == n - 1;
}

/* The program that env is to start: after its options and settings. */
static const char *behind_env(const struct script *c)
{
	if (c->words == 2 && c->word[1] == c->interp_arg) {	/* which Linux hands over whole, so env refuses more than one word */
		const char *at = c->interp_arg;

		for (; *at == '-' || memchr(at, '=', strcspn(at, " \t")) != NULL; at += strspn(at, " \t"))
			at += strcspn(at, " \t");
		return at;
	}
	for (unsigned i = 1; i < c->words; i++) {
		const char *word = c->word[i];

		if (takes_a_word(word))
			i++;
		else if (word[0] != '-' && memchr(word, '=', strcspn(word, " \t")) == NULL)
			return word;
	}
	return "";
}

const char *shebang_program(const struct script *c)
{
	const char *name = c->words > 0 ? base_name(c->word[0]) : "";

	return c->is_env ? base_name(behind_env(c)) : name;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy_parse.c - the text of a policy file.
 *
 * inih splits lines into keys and values; what they may be is decided here.  It
 * is given the text line by line, so that every error can name its line, and
 * without leading blanks, which it would take for "the last value goes on".
 */
#include <ini.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

static const struct {
	const char *section, *key;
	bool in_policy, in_site;
} keys[POLICY_KEYS - SETTINGS] = {
	[POLICY_LIKE - SETTINGS] = { "policy", "like", true, false },
	[POLICY_DEFAULT - SETTINGS] = { "policy", "default", false, true },
	[POLICY_RUNTIMES - SETTINGS] = { "allow", "runtimes", true, true },
	[POLICY_OPTIONS - SETTINGS] = { "allow", "options", true, true },
	[POLICY_RAISE - SETTINGS] = { "allow", "raise", true, false },
	[POLICY_EXECUTE - SETTINGS] = { "allow", "execute", true, true },
	[POLICY_KILL_OUTPUT - SETTINGS] = { "kill", "output", true, true },
	[POLICY_KILL_EVENTS - SETTINGS] = { "kill", "events", true, true },
};
static const char *const sections[] = { "policy", "limits", "allow", "kill", NULL };

struct parser {
	struct dolania_policy *p;
	const char *const *options;
	const char *at, *end;
	unsigned line;
	char *error;
};

const char *policy_key_name(unsigned key)
{
	return key < SETTINGS ? setting_get((enum setting_id)key)->key : keys[key - SETTINGS].key;
}

const char *policy_key_section(unsigned key)
{
	return key < SETTINGS ? "limits" : keys[key - SETTINGS].section;
}

/* The first thing that is wrong stays.  Returns 0, which is what inih takes for an error. */
static int wrong(struct parser *r, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(struct parser *r, const char *format, ...)
{
	char what[DOLANIA_LINE], line[DOLANIA_LINE * 2];
	va_list ap;

	if (r->error[0] != '\0')
		return 0;
	va_start(ap, format);
	vsnprintf(what, sizeof(what), format, ap);
	va_end(ap);
	snprintf(line, sizeof(line), "%.300s:%u: %s", r->p->file, r->line, what);
	text_escape(r->error, DOLANIA_LINE, line, strlen(line), false);
	return 0;
}

static void check_section(struct parser *r, const char *text)
{
	char name[64];
	size_t n = strcspn(text + 1, "]");
	const char *like;

	snprintf(name, sizeof(name), "%.*s", (int)(n < 63 ? n : 63), text + 1);
	for (size_t i = 0; sections[i] != NULL; i++)
		if (strcmp(name, sections[i]) == 0 && text[1 + n] == ']')
			return;
	like = nearest(name, sections);
	if (text[1 + n] != ']')
		wrong(r, "a section ends with ']'");
	else if (like != NULL)
		wrong(r, "unknown section [%s]; did you mean [%s]?", name, like);
	else
		wrong(r, "unknown section [%s]; there are [policy], [limits], [allow] and [kill]", name);
}

/* As fgets: the next line, for inih. */
static char *next_line(char *to, int room, void *user)
{
	struct parser *r = user;
	const char *nl;
	size_t n;

	if (r->at == r->end || r->error[0] != '\0')
		return NULL;
	r->line++;
	nl = memchr(r->at, '\n', (size_t)(r->end - r->at));
	n = (size_t)((nl != NULL ? nl : r->end) - r->at);
	for (const char *from = r->at; from < r->at + n; from++)
		if (((unsigned char)*from < 0x20 && *from != '\t' && (*from != '\r' || from + 1 != r->at + n)) || *from == 0x7f) {
			wrong(r, "a control character; policy files are plain text");
			return NULL;
		}
	if (n > POLICY_LINE_MAX_BYTES || (int)n + 1 > room) {
		wrong(r, "a line of more than %d bytes", POLICY_LINE_MAX_BYTES);
		return NULL;
	}
	while (n > 0 && (*r->at == ' ' || *r->at == '\t')) {
		r->at++;
		n--;
	}
	memcpy(to, r->at, n);
	to[n] = '\0';
	r->at = nl != NULL ? nl + 1 : r->end;
	if (to[0] == '[')
		check_section(r, to);
	return r->error[0] == '\0' ? to : NULL;
}

/* "a, b": words between commas, no blanks in them; "any" or "none" alone. */
static int take_list(struct parser *r, const char *key, const char *value, struct policy_list *list)
{
	memset(list, 0, sizeof(*list));
	if (strcmp(value, "any") == 0) {
		list->any = true;
		return 1;
	}
	if (strcmp(value, "none") == 0)
		return 1;
	for (const char *at = value; ; at++) {
		size_t n;

		at += strspn(at, " \t");
		n = strcspn(at, ", \t");
		if (n == 0)
			return wrong(r, "%s = %s: words with commas between them, or any, or none", key, value);
		if (list->count == POLICY_WORDS || n >= POLICY_WORD_BYTES)
			return wrong(r, "%s: more than %d words, or one of more than %d bytes", key, POLICY_WORDS,
				     POLICY_WORD_BYTES - 1);
		memcpy(list->word[list->count++], at, n);
		at += n;
		at += strspn(at, " \t");
		if (*at == '\0')
			break;
		if (*at != ',')
			return wrong(r, "%s = %s: words with commas between them, or any, or none", key, value);
	}
	for (unsigned i = 0; i < list->count; i++)
		if (strcmp(list->word[i], "any") == 0 || strcmp(list->word[i], "none") == 0)
			return wrong(r, "%s = %s: '%s' stands alone", key, value, list->word[i]);
	return 1;
}

static bool is_one_of(const char *word, const char *const *known)
{
	while (*known != NULL && strcmp(*known, word) != 0)
		known++;
	return *known != NULL;
}

/* "a, b, c" */
static void join_words(const char *const *known, char *to, size_t room)
{
	size_t used = 0;

	for (to[0] = '\0'; *known != NULL && used < room; known++)
		used += (size_t)snprintf(to + used, room - used, "%s%s", used > 0 ? ", " : "", *known);
}

static int check_words(struct parser *r, const char *key, const struct policy_list *list, const char *const *known,
		       const char *what)
{
	char all[DOLANIA_LINE - 200];

	for (unsigned i = 0; known != NULL && i < list->count; i++) {
		const char *word = list->word[i], *like;

		if (is_one_of(word, known))
			continue;
		if (strncmp(word, "--", 2) == 0 && is_one_of(word + 2, known))
			return wrong(r, "%s: '%s': write it without '--'", key, word);
		like = nearest(word, known);
		if (like != NULL)
			return wrong(r, "%s: unknown %s '%s'; did you mean '%s'?", key, what, word, like);
		join_words(known, all, sizeof(all));
		return wrong(r, "%s: unknown %s '%s'; there are: %s", key, what, word, all);
	}
	return 1;
}

static int take_raise(struct parser *r, const char *value)
{
	const char *known[SETTINGS + 2];

	for (unsigned i = 0; i < SETTINGS; i++)
		known[i] = setting_get((enum setting_id)i)->key;
	known[SETTINGS] = "execute";
	known[SETTINGS + 1] = NULL;
	return take_list(r, "raise", value, &r->p->raise) && check_words(r, "raise", &r->p->raise, known, "limit");
}

static int take_execute(struct parser *r, const char *value)
{
	if (strcmp(value, "image-only") != 0 && strcmp(value, "anywhere") != 0)
		return wrong(r, "execute = %s: must be image-only or anywhere", value);
	r->p->image_only = strcmp(value, "image-only") == 0;
	return 1;
}

static int take_kill_output(struct parser *r, const char *value)
{
	if (strcmp(value, "yes") != 0 && strcmp(value, "no") != 0)
		return wrong(r, "output = %s: under [kill] it is yes or no; the size stands under [limits]", value);
	r->p->kill_output = strcmp(value, "yes") == 0;
	return 1;
}

/* "S2", or "S3, vsock_refused": from a severity on, and kinds.  "any" is S1; "none" there cannot be. */
static int take_kill_events(struct parser *r, const char *value)
{
	struct policy_list list;
	const char *known[REPORT_EV_KINDS];
	unsigned kind, n = 0;

	for (kind = 1; kind < REPORT_EV_KINDS; kind++)
		if (!event_kind_is_late(kind))
			known[n++] = event_kind_name(kind);
	known[n] = NULL;
	if (strcmp(value, "none") == 0)
		return wrong(r, "events = none: S3 and above always end a run; write S3 for no more than these");
	if (!take_list(r, "events", value, &list))
		return 0;
	r->p->kill_severity = 3;
	r->p->kill_kinds = 0;
	for (unsigned i = 0; i < list.count; i++) {
		const char *w = list.word[i];

		if (w[0] == 'S' && w[1] >= '1' && w[1] <= '3' && w[2] == '\0') {
			if ((unsigned)(w[1] - '0') < r->p->kill_severity)
				r->p->kill_severity = (unsigned)(w[1] - '0');
			memmove(&list.word[i], &list.word[i + 1], (list.count - i - 1) * sizeof(list.word[0]));
			list.count--;
			i--;
			continue;
		}
		for (kind = 1; kind < REPORT_EV_KINDS && strcmp(event_kind_name(kind), w) != 0; kind++)
			;
		if (kind < REPORT_EV_KINDS && event_kind_is_late(kind))
			return wrong(r, "events: %s: is seen only when the run is over, so it can end none; leave it out "
				     "(the result and --events tell it)", w);
		if (kind < REPORT_EV_KINDS)
			r->p->kill_kinds |= 1u << kind;
		else if (w[0] == 'S' && strlen(w) == 2)
			return wrong(r, "events: %s: from S1, S2 or S3 on; S3 and above always end a run", w);
		else if (!check_words(r, "events", &list, known, "event"))
			return 0;
	}
	if (list.any)
		r->p->kill_severity = 1;
	return 1;
}

static int take_name(struct parser *r, const char *key, const char *value, char *to, size_t room)
{
	if (value[0] == '\0' || value[0] == '.' || strlen(value) >= room || strpbrk(value, "/ \t,") != NULL)
		return wrong(r, "%s = %s: must be the name of one installed policy", key, value);
	snprintf(to, room, "%s", value);
	return 1;
}

static int take_limit(struct parser *r, const struct setting *t, const char *value, uint64_t *to)
{
	char why[128];

	if (setting_parse(t, value, to, why, sizeof(why)) < 0)
		return wrong(r, "%s = %s: %s", t->key, value, why);
	return 1;
}

static int take(struct parser *r, unsigned key, const char *value)
{
	struct dolania_policy *p = r->p;

	switch (key) {
	case POLICY_LIKE: return take_name(r, "like", value, p->like, sizeof(p->like));
	case POLICY_DEFAULT: return take_name(r, "default", value, p->standard_name, sizeof(p->standard_name));
	case POLICY_RUNTIMES:
		if (!take_list(r, "runtimes", value, &p->runtimes))
			return 0;
		return p->runtimes.any || p->runtimes.count > 0 ? 1 : wrong(r, "runtimes = none: nothing could be run");
	case POLICY_OPTIONS:
		return take_list(r, "options", value, &p->options) &&
		       check_words(r, "options", &p->options, r->options, "option");
	case POLICY_RAISE: return take_raise(r, value);
	case POLICY_EXECUTE: return take_execute(r, value);
	case POLICY_KILL_OUTPUT: return take_kill_output(r, value);
	case POLICY_KILL_EVENTS: return take_kill_events(r, value);
	default: return take_limit(r, setting_get((enum setting_id)key), value, &p->limit[key]);
	}
}

static int unknown_key(struct parser *r, const char *section, const char *name)
{
	const char *names[POLICY_KEYS + 1], *like;
	size_t n = 0;

	for (unsigned k = 0; k < POLICY_KEYS; k++) {
		if (strcmp(policy_key_name(k), name) == 0)
			return wrong(r, "%s belongs under [%s]", name, policy_key_section(k));
		if (strcmp(policy_key_section(k), section) == 0)
			names[n++] = policy_key_name(k);
	}
	names[n] = NULL;
	like = nearest(name, names);
	if (like != NULL)
		return wrong(r, "unknown key '%s' under [%s]; did you mean '%s'?", name, section, like);
	return wrong(r, "unknown key '%s' under [%s]; dolania-policy(5) lists them", name, section);
}

/* inih's handler: one "key = value". */
static int on_key(void *user, const char *section, const char *name, const char *value)
{
	struct parser *r = user;
	unsigned key = 0;

	if (r->error[0] != '\0')
		return 0;
	if (section[0] == '\0')
		return wrong(r, "'%s' stands before the first section; [policy], [limits], [allow] or [kill] begins one",
			     name);
	while (key < POLICY_KEYS && (strcmp(policy_key_name(key), name) != 0 ||
				     strcmp(policy_key_section(key), section) != 0))
		key++;
	if (key == POLICY_KEYS)
		return unknown_key(r, section, name);
	if (r->p->line[key] != 0)
		return wrong(r, "%s is there twice, first in line %u; keep one", name, r->p->line[key]);
	if (key >= SETTINGS && !(r->p->is_site ? keys[key - SETTINGS].in_site : keys[key - SETTINGS].in_policy))
		return wrong(r, r->p->is_site ? "%s has no meaning in a site's file: its limits are the most a run can have"
					      : "%s belongs into the site's file, " POLICY_SITE, name);
	r->p->line[key] = r->line;
	r->p->declared[key] = true;
	return take(r, key, value);
}

int policy_parse(struct dolania_policy *p, const char *text, size_t bytes, const char *const *options, char *error)
{
	struct parser r = { .p = p, .options = options, .at = text, .end = text + bytes, .error = error };
	int line;

	error[0] = '\0';
	p->kill_severity = 3;
	if (bytes >= 3 && memcmp(text, "\xef\xbb\xbf", 3) == 0)
		r.at += 3;
	line = ini_parse_stream(next_line, &r, on_key, &r);
	if (error[0] == '\0' && line != 0) {
		r.line = line > 0 ? (unsigned)line : r.line;
		wrong(&r, "neither '[section]' nor 'key = value'");
	}
	return error[0] == '\0' ? 0 : -1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * policy.c - a policy, the site's ceiling and the wishes of a command line, made one.
 *
 *	not given:            the policy's value, or the site's where that is tighter
 *	given and tighter:    as given
 *	given and looser:     only where the policy says "raise", and never past the site's
 */
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

static int wrong(char *error, const char *format, ...) __attribute__((format(printf, 2, 3)));
static int wrong(char *error, const char *format, ...)
{
	va_list ap;

	va_start(ap, format);
	vsnprintf(error, DOLANIA_LINE, format, ap);
	va_end(ap);
	return -1;
}

bool policy_allows(const struct policy_list *list, const char *word)
{
	if (list->any)
		return true;
	for (unsigned i = 0; i < list->count; i++)
		if (strcmp(list->word[i], word) == 0)
			return true;
	return false;
}

const char *policy_list_text(const struct policy_list *list, char *to, size_t room)
{
	size_t used = 0;

	snprintf(to, room, list->any ? "any" : "none");
	for (unsigned i = 0; !list->any && i < list->count && used < room; i++)
		used += (size_t)snprintf(to + used, room - used, "%s%s", i > 0 ? ", " : "", list->word[i]);
	return to;
}

const char *policy_events_text(const struct dolania_policy *p, char *to, size_t room)
{
	size_t used = (size_t)snprintf(to, room, "S%u", p->kill_severity);

	for (unsigned k = 1; k < REPORT_EV_KINDS && used < room; k++)
		if ((p->kill_kinds & 1u << k) != 0)
			used += (size_t)snprintf(to + used, room - used, ", %s", event_kind_name(k));
	return to;
}

static int apply_limit(const struct dolania_policy *p, const struct dolania_policy *site, unsigned i, bool given,
		       struct dolania_options *o, char *error)
{
	const struct setting *t = setting_get((enum setting_id)i);
	bool ceiling = site != NULL && site->declared[i];
	uint64_t v = given ? setting_value(t, o) : p->limit[i];
	char value[32], most[32];

	if (given && setting_is_looser(t, v, p->limit[i]) && !policy_allows(&p->raise, t->key))
		return wrong(error, "--%s %s: the policy '%s' allows at most %s; another can be chosen with --policy",
			     t->key, setting_format(t, v, value, sizeof(value)), p->name,
			     setting_format(t, p->limit[i], most, sizeof(most)));
	if (ceiling && setting_is_looser(t, v, site->limit[i])) {
		if (given)
			return wrong(error, "--%s %s: this site allows at most %s (%s, line %u)", t->key,
				     setting_format(t, v, value, sizeof(value)),
				     setting_format(t, site->limit[i], most, sizeof(most)), site->file, site->line[i]);
		v = site->limit[i];
	}
	setting_set(t, o, v);
	return 0;
}

static int apply_options(const struct dolania_policy *p, const struct dolania_policy *site,
			 const char *const *used, char *error)
{
	char allowed[256];

	for (; used != NULL && *used != NULL; used++) {
		if (!policy_allows(&p->options, *used))
			return wrong(error, "--%s: the policy '%s' does not allow this option (it allows: %s); another can be "
				     "chosen with --policy", *used, p->name,
				     policy_list_text(&p->options, allowed, sizeof(allowed)));
		if (site != NULL && site->declared[POLICY_OPTIONS] && !policy_allows(&site->options, *used))
			return wrong(error, "--%s: this site does not allow this option (%s, line %u)", *used, site->file,
				     site->line[POLICY_OPTIONS]);
	}
	return 0;
}

static int apply_execute(const struct dolania_policy *p, const struct dolania_policy *site, bool given,
			 struct dolania_options *o, char *error)
{
	bool ceiling = site != NULL && site->declared[POLICY_EXECUTE] && site->image_only;

	if (given && !o->image_only && p->image_only && !policy_allows(&p->raise, "execute"))
		return wrong(error, "--execute anywhere: the policy '%s' allows image-only; another can be chosen with "
			     "--policy", p->name);
	if (given && !o->image_only && ceiling)
		return wrong(error, "--execute anywhere: this site allows image-only (%s, line %u)", site->file,
			     site->line[POLICY_EXECUTE]);
	o->image_only = ceiling || (given ? o->image_only : p->image_only);
	return 0;
}

const char *policy_advice(const struct dolania_options *o, enum setting_id id, char *to, size_t room)
{
	const struct dolania_policy *p = o->policy, *site = o->site;
	const struct setting *t = setting_get(id);
	uint64_t v = setting_value(t, o);

	if (site != NULL && site->declared[id] && !setting_is_looser(t, site->limit[id], v))
		snprintf(to, room, "this site allows no more (%.80s, line %u)", site->file, site->line[id]);
	else if (p != NULL && !setting_is_looser(t, p->limit[id], v) && !policy_allows(&p->raise, t->key))
		snprintf(to, room, "the policy '%s' allows no more", p->name);
	else
		snprintf(to, room, "raise it with --%s", t->key);
	return to;
}

int policy_apply(const struct dolania_policy *p, const struct dolania_policy *site,
		 const struct policy_wish *wish, struct dolania_options *o, char *error)
{
	error[0] = '\0';
	if (site != NULL && site->file[0] == '\0')
		site = NULL;
	for (unsigned i = 0; i < SETTINGS; i++)
		if (apply_limit(p, site, i, wish->given[i], o, error) < 0)
			return -1;
	if (apply_options(p, site, wish->used, error) < 0 ||
	    apply_execute(p, site, wish->execute_given, o, error) < 0)
		return -1;
	o->kill_output = p->kill_output || (site != NULL && site->kill_output);
	o->kill_severity = p->kill_severity;
	o->kill_kinds = p->kill_kinds;
	if (site != NULL) {
		o->kill_kinds |= site->kill_kinds;
		if (site->kill_severity < o->kill_severity)
			o->kill_severity = site->kill_severity;
	}
	o->policy = p;
	o->site = site;
	return 0;
}

int policy_fits(const struct dolania_policy *p, const struct policy_wish *wish, const struct dolania_options *o, char *error)
{
	const bool wanted[SETTINGS] = {
		[SETTING_MEMORY] = true, [SETTING_TMP] = true, [SETTING_DISK] = o->out != NULL, [SETTING_SCRATCH] = true,
	};
	const uint64_t max = dolania_memory_max();
	char value[32], most[32];

	for (unsigned i = 0; i < SETTINGS; i++) {
		const struct setting *t = setting_get((enum setting_id)i);
		const uint64_t v = setting_value(t, o);

		if (wanted[i] && !wish->given[i] && v > max)
			return wrong(error, "the policy '%s' %s %s = %s; on this host it can be at most %s; lower it with --%s",
				     p->name, v == p->limit[i] ? "declares" : "comes, under this site's ceiling, to", t->key,
				     setting_format(t, v, value, sizeof(value)),
				     dolania_format_bytes(max, most, sizeof(most)), t->key);
	}
	return 0;
}

/* Do all ids of `path` stand for themselves?  So they do in the first user namespace. */
static bool is_identity(const char *path)
{
	unsigned long inside, outside, count;
	char text[256], rest;
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

	if (fd >= 0)
		close(fd);
	text[n < 0 ? 0 : n] = '\0';
	return sscanf(text, "%lu %lu %lu %c", &inside, &outside, &count, &rest) == 3 && inside == 0 && outside == 0 &&
	       count == 0xffffffff;
}

bool policy_ids_are_mapped(void)
{
	return !is_identity("/proc/self/uid_map") || !is_identity("/proc/self/gid_map");
}

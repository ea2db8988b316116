/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "tools/dolania/ours.h"

#include <jansson.h>
#include <string.h>

#include "tools/libdolania/dolania.h"

static bool is_one_of(const char *word, size_t n, const char *const *list, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (strlen(list[i]) == n && memcmp(list[i], word, n) == 0)
			return true;
	return false;
}

static bool is_run_id(const char *text)
{
	return text != NULL && strlen(text) == 32 && strspn(text, "0123456789abcdef") == 32;
}

bool ours_result(const char *text, size_t bytes)
{
	static const char *const keys[] = {
		"schema", "version", "run_id", "end", "runtime", "host", "guest", "out", "events", "violation", "measured",
		"inputs", "policy", "limits", "used",
	};
	json_t *top = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, NULL);
	const char *schema = json_string_value(json_object_get(top, "schema")), *key;
	bool fine = schema != NULL && strcmp(schema, "dolania.result.v1") == 0 &&
		    is_run_id(json_string_value(json_object_get(top, "run_id"))) &&
		    json_is_string(json_object_get(json_object_get(top, "end"), "reason"));
	json_t *value;

	json_object_foreach(top, key, value)
		fine = fine && is_one_of(key, strlen(key), keys, sizeof(keys) / sizeof(keys[0]));
	json_decref(top);
	return fine;
}

static bool is_reason(const char *word, size_t n)
{
	for (int i = 0; i < DOLANIA_REASONS; i++) {
		const char *name = dolania_reason_name((enum dolania_reason)i);

		if (is_one_of(word, n, &name, 1))
			return true;
	}
	return false;
}

/* Lines of known keys, each once and without a space; the last one says how a run ended. */
bool ours_meta(const char *text, size_t bytes)
{
	static const char *const keys[] = {
		"time", "time-wall", "max-rss", "cg-mem", "exitcode", "exitsig", "cg-oom-killed", "killed", "status",
		"message", "dolania-reason",
	};
	unsigned seen = 0;
	bool told = false;

	if (strlen(text) != bytes)
		return false;
	for (const char *line = text, *end; *line != '\0'; line = end + 1) {
		const char *colon;
		size_t i = 0, n;

		end = strchr(line, '\n');
		colon = end != NULL ? memchr(line, ':', (size_t)(end - line)) : NULL;
		if (colon == NULL || told || colon[1] == ' ')
			return false;
		n = (size_t)(colon - line);
		while (i < sizeof(keys) / sizeof(keys[0]) && !is_one_of(line, n, &keys[i], 1))
			i++;
		if (i == sizeof(keys) / sizeof(keys[0]) || (seen & 1u << i) != 0)
			return false;
		seen |= 1u << i;
		if (strncmp(line, "dolania-reason:", 15) == 0)
			told = is_reason(colon + 1, (size_t)(end - colon) - 1);
	}
	return told;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* json.c - values as the result has them. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "tools/libdolania/result.h"

bool json_incomplete;

void json_put(json_t *o, const char *key, json_t *value)
{
	if (json_object_set_new(o, key, value) < 0)
		json_incomplete = true;
}

void json_add(json_t *list, json_t *value)
{
	if (json_array_append_new(list, value) < 0)
		json_incomplete = true;
}

/*
 * In two passes, as json_dumps ignores that it had no room for a key (jansson 2.14): then
 * the text would lack it.
 */
char *json_text(const json_t *top, size_t flags)
{
	size_t n = json_incomplete ? 0 : json_dumpb(top, NULL, 0, flags | JSON_PRESERVE_ORDER);
	char *text = n > 0 ? malloc(n + 2) : NULL;

	if (text == NULL || json_dumpb(top, text, n, flags | JSON_PRESERVE_ORDER) != n) {
		free(text);
		return NULL;
	}
	memcpy(text + n, "\n", 2);
	return text;
}

/* Values that JSON's readers cannot hold (2^63 and up) stop at its largest. */
json_t *json_number(uint64_t n)
{
	return json_integer(n > INT64_MAX ? INT64_MAX : (json_int_t)n);
}

void json_set_number(json_t *o, const char *key, uint64_t n)
{
	json_put(o, key, json_number(n));
}

/* Paths and arguments may be no UTF-8: those bytes are shown as \xNN. */
void json_set_text(json_t *o, const char *key, const char *text)
{
	size_t n = strlen(text), room = n * 4 + 8;
	char *clean;
	json_t *whole = json_string(text);

	if (whole != NULL) {
		json_put(o, key, whole);
		return;
	}
	clean = malloc(room);
	if (clean == NULL) {
		json_incomplete = true;
		return;
	}
	text_escape(clean, room, text, n, true);
	json_put(o, key, json_string(clean));
	free(clean);
}

void json_set_text_or_null(json_t *o, const char *key, const char *text)
{
	if (text == NULL || text[0] == '\0')
		json_put(o, key, json_null());
	else
		json_set_text(o, key, text);
}

void json_set_time(json_t *o, const char *key, uint64_t ns)
{
	time_t seconds = (time_t)(ns / NS_PER_S);
	struct tm tm;
	char date[32], text[48];

	if (gmtime_r(&seconds, &tm) == NULL || strftime(date, sizeof(date), "%Y-%m-%dT%H:%M:%S", &tm) == 0)
		return;
	snprintf(text, sizeof(text), "%s.%03uZ", date, (unsigned)(ns % NS_PER_S / NS_PER_MS));
	json_put(o, key, json_string(text));
}

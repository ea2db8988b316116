/* SPDX-License-Identifier: Apache-2.0 */
/* result.h - what the files that write the result share. */
#ifndef DOLANIA_RESULT_H
#define DOLANIA_RESULT_H

#include <jansson.h>

#include "tools/libdolania/internal.h"

/*
 * As json_object_set_new and json_array_append_new; what fails for lack of
 * memory is noted.  Half a result is worse than none.
 */
void json_put(json_t *o, const char *key, json_t *value);
void json_add(json_t *list, json_t *value);
extern bool json_incomplete;
/* The text with a newline at its end, to be freed; NULL: no memory, now or when a value was put. */
char *json_text(const json_t *top, size_t flags);

json_t *json_number(uint64_t n);	/* stops at 2^63 - 1, the most that readers hold */
void json_set_number(json_t *o, const char *key, uint64_t n);
void json_set_text(json_t *o, const char *key, const char *text);	/* any bytes */
void json_set_text_or_null(json_t *o, const char *key, const char *text);
void json_set_time(json_t *o, const char *key, uint64_t ns);	/* realtime, as RFC 3339 */

json_t *event_json(const struct report_event *e);	/* NULL: no event */
json_t *result_policy(const struct dolania_options *opt);
json_t *result_limits(const struct dolania_options *opt);
json_t *result_used(const struct dolania_options *opt, const struct dolania_result *r);
json_t *result_host(const struct dolania_options *opt, const struct dolania_result *r);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* options.h - between options.c, which finds the options in a command line, and option_values.c, which takes each. */
#ifndef DOLANIA_OPTIONS_H
#define DOLANIA_OPTIONS_H

#include "tools/dolania/command.h"
#include "tools/libdolania/settings.h"

enum option {
	OPT_RUNTIME, OPT_ENV, OPT_CHDIR, OPT_IN, OPT_RESULT, OPT_RESULT_FD, OPT_EXIT_CODE, OPT_KERNEL,
	OPT_INITRD, OPT_APPEND, OPT_CODE, OPT_EXEC, OPT_POLICY, OPT_EXECUTE, OPT_META, OPT_QUIET,
	OPT_INTERACTIVE, OPT_HELP, OPT_EVENTS, OPT_LOOPBACK, OPT_WORK,
	OPT_IN_CACHE, OPT_OUT, OPT_LATER,
};

/* The first thing that is wrong stays, in c->error. */
void option_wrong(struct command *c, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* `name` as it was written, for messages; `value` is NULL for an option that takes none. */
void option_take(struct command *c, enum option id, const char *name, const char *value);
void option_take_setting(struct command *c, const struct setting *t, const char *name, const char *value);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - what the files of the command share. */
#ifndef DOLANIA_COMMAND_H
#define DOLANIA_COMMAND_H

#include <stdbool.h>

#include "tools/libdolania/dolania.h"

enum { STATUS_USAGE = 125 };

/* A command line of `dolania run`. */
struct command {
	struct dolania_options run;
	const char **env;		/* run.env, ours to free */
	char *in_dir;			/* run.in_dir, ours to free */
	const char *result_file, *events_file;
	int result_fd;			/* -1: none */
	enum dolania_exit_mode exit_mode;
	bool quiet, interactive, help;
	char error[DOLANIA_LINE];	/* the first thing that is wrong; "" */
};

/* Reads argv after "run".  What is wrong is in c->error; the rest is read all the same. */
void options_parse(struct command *c, int argc, char **argv);
void options_release(struct command *c);

/* The entry of `words` (ended by NULL) most like `word`, or NULL if none is. */
const char *nearest(const char *word, const char *const *words);

int help_print(const char *command);	/* exit status; STATUS_USAGE and nothing printed: no such command */
int doctor(void);			/* exit status */

#endif

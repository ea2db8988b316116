/* SPDX-License-Identifier: Apache-2.0 */
/* command.h - what the files of the command share. */
#ifndef DOLANIA_COMMAND_H
#define DOLANIA_COMMAND_H

#include <stdbool.h>
#include <stddef.h>

#include "tools/libdolania/policy.h"

enum { STATUS_USAGE = 125 };

/* A command line of `dolania run`. */
struct command {
	struct dolania_options run;
	const char **env;		/* run.env, ours to free */
	struct dolania_input *in;	/* run.in, ours to free, with its paths */
	const char **used;		/* wish.used, ours to free */
	size_t used_count;
	struct policy_wish wish;
	const char *policy_name;	/* NULL: none was asked for */
	struct dolania_policy *policy;	/* and the site's behind it, ours to free; NULL before options_apply_policy() */
	const char *result_file, *events_file, *meta_file;
	int result_fd;			/* -1: none */
	enum dolania_exit_mode exit_mode;
	bool quiet, interactive, help;
	char error[DOLANIA_LINE];	/* the first thing that is wrong; "" */
	bool host_failed;		/* the error is the host's trouble, not the caller's */
};

/* Reads argv after "run".  What is wrong is in c->error; the rest is read all the same. */
void options_parse(struct command *c, int argc, char **argv);
/* Reads the policy, and makes c->run what it allows. */
void options_apply_policy(struct command *c);
/* The options that a policy has to allow, without "--"; ended by NULL. */
const char *const *options_of_policies(void);
/* The n-th option but for limits, "--" and all, and whether it takes a value; false after the last. */
bool options_at(size_t n, const char **name, bool *takes_value);
void options_release(struct command *c);

void say(const char *format, ...) __attribute__((format(printf, 1, 2)));	/* one line on stderr */
int die_by(int sig);			/* ends the process as that signal would have; 128 + sig if that fails */
int help_print(const char *command);	/* exit status; STATUS_USAGE and nothing printed: no such command */
int doctor(void);			/* exit status */
extern const char *const command_names[];	/* ended by NULL */
int command_completion(int argc, char **argv);	/* after "completion"; exit status */
int command_policy(int argc, char **argv);	/* after "policy"; exit status */

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * count.c - the instructions one run of a command costs, as a slope.
 *
 * usage: count WARM FEW MANY REPEATS COMMAND [ARG...]
 *
 * Runs COMMAND WARM times, then REPEATS times FEW and MANY times, and prints
 * for each repeat one line: "slope <instructions of one run> <idle ns of one run>",
 * where slope = (cost of MANY runs - cost of FEW runs) / (MANY - FEW).
 *
 * The clock is that of clock.h; what the CPU was idle is taken out.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/bench/clock.h"

extern char **environ;

static void run_once(char **argv, const posix_spawn_file_actions_t *actions)
{
	pid_t pid;
	int status;

	if (posix_spawnp(&pid, argv[0], actions, NULL, argv, environ))
		die(argv[0]);
	if (waitpid(pid, &status, 0) != pid)
		die("waitpid");
	if (status) {
		fprintf(stderr, "count: %s ended with status %#x\n", argv[0], (unsigned)status);
		exit(1);
	}
}

struct cost { uint64_t busy, idle; };

static struct cost run_many(long runs, char **argv, const posix_spawn_file_actions_t *actions)
{
	uint64_t idle = idle_ns(), start = clock_ns();

	for (long i = 0; i < runs; i++)
		run_once(argv, actions);
	uint64_t end = clock_ns();
	struct cost cost = { .idle = idle_ns() - idle };
	cost.busy = end - start - cost.idle;
	return cost;
}

int main(int argc, char **argv)
{
	posix_spawn_file_actions_t actions;

	if (argc < 6) {
		fprintf(stderr, "usage: count WARM FEW MANY REPEATS COMMAND [ARG...]\n");
		return 2;
	}
	long warm = strtol(argv[1], NULL, 10), few = strtol(argv[2], NULL, 10);
	long many = strtol(argv[3], NULL, 10), repeats = strtol(argv[4], NULL, 10);
	if (many <= few) {
		fprintf(stderr, "count: MANY must be more than FEW\n");
		return 2;
	}
	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&actions, 1, "/dev/null", O_WRONLY, 0);
	run_many(warm, argv + 5, &actions);
	for (long i = 0; i < repeats; i++) {
		struct cost a = run_many(few, argv + 5, &actions);
		struct cost b = run_many(many, argv + 5, &actions);
		double runs = (double)(many - few);

		printf("slope %.0f %.0f\n", ((double)b.busy - (double)a.busy) / runs,
		       ((double)b.idle - (double)a.idle) / runs);
		fflush(stdout);
	}
	return 0;
}

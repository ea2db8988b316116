/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mark.c - runs a command between two marks that profile.c knows.
 *
 * usage: mark WARM RUNS COMMAND [ARG...]
 *
 * Runs COMMAND WARM times, then RUNS times between the marks.
 */
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "tests/bench/mark.h"

extern char **environ;

static void run(long n, char **argv)
{
	posix_spawn_file_actions_t null;

	posix_spawn_file_actions_init(&null);
	posix_spawn_file_actions_addopen(&null, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_addopen(&null, 1, "/dev/null", O_WRONLY, 0);
	while (n-- > 0) {
		pid_t pid;
		int status;

		if (posix_spawnp(&pid, argv[0], &null, NULL, argv, environ) || waitpid(pid, &status, 0) != pid || status) {
			fprintf(stderr, "mark: %s failed\n", argv[0]);
			exit(1);
		}
	}
}

int main(int argc, char **argv)
{
	if (argc < 4) {
		fprintf(stderr, "usage: mark WARM RUNS COMMAND [ARG...]\n");
		return 2;
	}
	run(strtol(argv[1], NULL, 10), argv + 3);
	__asm__ volatile(MARK_INSTRUCTION);
	run(strtol(argv[2], NULL, 10), argv + 3);
	__asm__ volatile(MARK_INSTRUCTION);
	return 0;
}

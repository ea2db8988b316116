/* SPDX-License-Identifier: Apache-2.0 */
/*
 * density.c - what VMs that only wait cost the host, beside none, one, ten and more of them.
 *
 * usage: density SECONDS NUMBER... -- COUNT... -- COMMAND [ARG...]
 *	  density -p wait|run SECONDS NUMBER -- COUNT... -- COMMAND [ARG...]
 *
 * COMMAND starts a VM that writes a byte to its stdout when it waits.  So many VMs
 * as NUMBER says, one number after the other and growing, are parked like that, and
 * for each NUMBER lines "N KEY VALUE" are printed:
 *
 *	a line of /proc/meminfo, its unit taken away	as it stands, in KiB
 *	KeptAside	free pages of the CPU's own lists (/proc/zoneinfo), in KiB
 *	park	instructions of starting those that were added, until they wait
 *	wait	instructions that the machine spends in SECONDS in which all wait
 *	exits	exits of all guests in that time
 *	slope	what COUNT (count.c) prints of one more run beside them, two values
 *
 * and at the end, with all of them ended by SIGTERM, "end" for their instructions and
 * the memory once more, with N = "after".  With -p: SECONDS of waiting, or COUNT once,
 * between the marks of profile.c, with NUMBER VMs parked.
 */
#define _GNU_SOURCE
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include "tests/bench/clock.h"
#include "tests/bench/mark.h"

enum { PARKED_MAX = 1000, START_MS = 600000, SETTLE_S = 5 };
#define EXITS "/sys/kernel/tracing/events/kvm/kvm_exit/"

extern char **environ;
static pid_t parked[PARKED_MAX];
static long parked_count;

static uint64_t busy_ns(void)
{
	uint64_t idle = idle_ns();

	return clock_ns() - idle;
}

static pid_t start(char **argv, int out)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	if (out >= 0)
		posix_spawn_file_actions_adddup2(&actions, out, 1);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ))
		die(argv[0]);
	posix_spawn_file_actions_destroy(&actions);
	return pid;
}

/* The read end stays open: a VM whose reader is gone is another matter. */
static void park_one(char **argv)
{
	int out[2];
	char byte;

	if (parked_count == PARKED_MAX || pipe2(out, O_CLOEXEC))
		die("park");
	parked[parked_count++] = start(argv, out[1]);
	close(out[1]);
	if (poll(&(struct pollfd){ .fd = out[0], .events = POLLIN }, 1, START_MS) != 1 || read(out[0], &byte, 1) != 1) {
		fprintf(stderr, "density: VM %ld does not wait\n", parked_count);
		exit(1);
	}
}

static void end_all(void)
{
	int status;

	for (long i = 0; i < parked_count; i++)
		kill(parked[i], SIGTERM);
	for (long i = 0; i < parked_count; i++)
		if (waitpid(parked[i], &status, 0) != parked[i])
			die("waitpid");
	parked_count = 0;
}

static void wait_seconds(long seconds)
{
	struct timespec left = { .tv_sec = seconds };

	while (nanosleep(&left, &left))
		;
}

static void run(char **argv)
{
	int status;
	pid_t pid = start(argv, -1);

	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "density: %s ended with status %#x\n", argv[0], (unsigned)status);
		exit(1);
	}
}

static void write_to(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		die(path);
	close(fd);
}

/* How many exits KVM's trace point has seen since it was armed. */
static unsigned long long exits_seen(void)
{
	unsigned long long sum = 0, hits;
	char line[512];
	FILE *f = fopen(EXITS "hist", "r");

	if (!f)
		die(EXITS "hist");
	while (fgets(line, sizeof line, f)) {
		const char *at = strstr(line, "hitcount:");

		if (line[0] == '{' && at && sscanf(at, "hitcount: %llu", &hits) == 1)
			sum += hits;
	}
	fclose(f);
	return sum;
}

/* Pages that are free, but kept aside for the next who asks: they are not in MemFree. */
static unsigned long long kept_aside_kib(void)
{
	unsigned long long pages, sum = 0;
	char line[256];
	FILE *f = fopen("/proc/zoneinfo", "r");

	if (!f)
		die("/proc/zoneinfo");
	while (fgets(line, sizeof line, f))
		if (sscanf(line, " count: %llu", &pages) == 1)
			sum += pages;
	fclose(f);
	return sum * 4;
}

static void tell_memory(const char *n)
{
	char key[64];
	unsigned long long value;
	FILE *f = fopen("/proc/meminfo", "r");

	if (!f)
		die("/proc/meminfo");
	printf("%s KeptAside %llu\n", n, kept_aside_kib());
	while (fscanf(f, " %63[^:]: %llu%*[^\n]", key, &value) == 2)
		printf("%s %s %llu\n", n, key, value);
	fclose(f);
}

static void tell_waiting(const char *n, long seconds)
{
	uint64_t before = busy_ns();

	wait_seconds(seconds);
	printf("%s wait %llu\n", n, (unsigned long long)(busy_ns() - before));
	/* Once more, as counting exits costs the host instructions of its own. */
	write_to(EXITS "trigger", "hist:keys=exit_reason");
	wait_seconds(seconds);
	printf("%s exits %llu\n", n, exits_seen());
	write_to(EXITS "trigger", "!hist:keys=exit_reason");
}

static void measure(const char *n, long seconds, char **count, char **command)
{
	uint64_t before = busy_ns();

	while (parked_count < strtol(n, NULL, 10))
		park_one(command);
	printf("%s park %llu\n", n, (unsigned long long)(busy_ns() - before));
	wait_seconds(SETTLE_S);
	tell_memory(n);
	tell_waiting(n, seconds);
	printf("%s ", n);
	fflush(stdout);
	run(count);
}

/* argv up to the next "--", which becomes its end; returns what follows. */
static char **part(char **argv)
{
	while (*argv && strcmp(*argv, "--"))
		argv++;
	if (!*argv) {
		fprintf(stderr, "usage: density [-p wait|run] SECONDS NUMBER... -- COUNT... -- COMMAND [ARG...]\n");
		exit(2);
	}
	*argv = NULL;
	return argv + 1;
}

int main(int argc, char **argv)
{
	const char *profile = argc > 3 && !strcmp(argv[1], "-p") ? argv[2] : NULL;
	char **numbers = argv + (profile ? 3 : 1), **count = part(numbers), **command = part(count);

	if (!numbers[0] || !numbers[1] || !count[0] || !command[0])
		part((char *[]){ NULL });
	long seconds = strtol(*numbers++, NULL, 10);
	/* What a first run leaves in the host for good is not the parked VMs' doing. */
	park_one(command);
	if (!profile)
		printf("warm ");
	fflush(stdout);
	run(count);
	end_all();
	wait_seconds(SETTLE_S);
	if (profile) {
		while (parked_count < strtol(*numbers, NULL, 10))
			park_one(command);
		wait_seconds(SETTLE_S);
		__asm__ volatile(MARK_INSTRUCTION);
		if (!strcmp(profile, "run"))
			run(count);
		else
			wait_seconds(seconds);
		__asm__ volatile(MARK_INSTRUCTION);
		end_all();
		return 0;
	}
	for (; *numbers; numbers++)
		measure(*numbers, seconds, count, command);
	uint64_t before = busy_ns();
	end_all();
	printf("after end %llu\n", (unsigned long long)(busy_ns() - before));
	wait_seconds(SETTLE_S);
	tell_memory("after");
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail.c - what each layer of the VMM's jail costs, for tests/bench/jail.
 *
 * Children that do nothing but enter the layers up to one, with the code that
 * the supervisor and the VMM use, and exit.  The cost of a child is a slope, as
 * in count.c: (cost of MANY - cost of FEW) / (MANY - FEW), by the clock of
 * clock.h; idle time is taken out.  After each child we sleep a while, so that
 * what the kernel does later (a network namespace is destroyed by a worker)
 * falls into the same child's cost.
 *
 * Then the price that stays: system calls with and without the filter.
 *
 * usage: jail FEW MANY CALLS
 */
#include "vmm/jail/jail.c"	/* for its layers one by one; NOLINT */

#include <linux/kvm.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "tests/bench/clock.h"
#include "tools/libdolania/confine.h"

enum layer { NOTHING, SPACES, ROOT, LANDLOCK, LIMITS, SECCOMP, LAYERS };

static const struct {
	const char *name;
	unsigned long flag;
} space[] = {
	{ "user", CLONE_NEWUSER }, { "mount", CLONE_NEWNS }, { "pid", CLONE_NEWPID }, { "net", CLONE_NEWNET },
	{ "ipc", CLONE_NEWIPC }, { "uts", CLONE_NEWUTS }, { "cgroup", CLONE_NEWCGROUP },
};
enum { SPACES_N = sizeof(space) / sizeof(space[0]) };

static _Noreturn void child(enum layer upto, int go_fd)
{
	const char *why = "waiting";
	char go;

	if (upto >= ROOT ? confine_enter(go_fd, &why) < 0 : read(go_fd, &go, 1) != 1)
		die(why);
	if (upto >= LANDLOCK && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || no_paths(&why) != OK))
		die(why);
	if (upto >= LIMITS && limits(&why) != OK)
		die(why);
	if (upto >= SECCOMP && jail_seccomp() != OK)
		die("seccomp");
	syscall(SYS_exit_group, 0);
	abort();
}

static void one(enum layer upto, unsigned long flags)
{
	static const struct timespec settle = { 0, 40 * 1000000 };
	const char *why = "";
	int go[2], status;
	pid_t pid;

	if (pipe2(go, O_CLOEXEC) < 0)
		die("pipe");
	pid = (pid_t)syscall(SYS_clone, flags | SIGCHLD, NULL, NULL, NULL, 0ul);
	if (pid < 0)
		die("clone");
	if (pid == 0)
		child(upto, go[0]);
	/* Writes the maps, and the byte that lets the child go. */
	if (flags & CLONE_NEWUSER ? confine_map(pid, go[1], &why) < 0 : write(go[1], "g", 1) != 1)
		die(why);
	if (waitpid(pid, &status, 0) != pid || status != 0) {
		fprintf(stderr, "jail: layer %d: status %#x\n", (int)upto, (unsigned)status);
		exit(2);
	}
	close(go[0]);
	close(go[1]);
	nanosleep(&settle, NULL);
}

static uint64_t many(long runs, enum layer upto, unsigned long flags)
{
	uint64_t idle = idle_ns(), start = clock_ns(), end;

	for (long i = 0; i < runs; i++)
		one(upto, flags);
	end = clock_ns();
	return end - start - (idle_ns() - idle);
}

static void slope(const char *name, long few, long most, enum layer upto, unsigned long flags)
{
	uint64_t a, b;

	many(3, upto, flags);
	a = many(few, upto, flags);
	b = many(most, upto, flags);
	printf("child %s %.0f\n", name, ((double)b - (double)a) / (double)(most - few));
	fflush(stdout);
}

/* Instructions of one call: ioctl first in the filter's order, lseek among the last; both fail at once. */
static void calls(long n, bool filtered)
{
	double *told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid;
	int status;

	if (told == MAP_FAILED || (pid = fork()) < 0)
		die("fork");
	if (pid == 0) {
		uint64_t start;

		if (filtered && (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0 || jail_seccomp() != OK))
			die("seccomp");
		start = clock_ns();
		for (long i = 0; i < n; i++)
			syscall(SYS_ioctl, -1, KVM_RUN, 0);
		told[0] = (double)(clock_ns() - start) / (double)n;
		start = clock_ns();
		for (long i = 0; i < n; i++)
			syscall(SYS_lseek, -1, 0, 0);
		told[1] = (double)(clock_ns() - start) / (double)n;
		syscall(SYS_exit_group, 0);
	}
	if (waitpid(pid, &status, 0) != pid || status != 0)
		die("the calling child");
	printf("call ioctl %s %.1f\ncall lseek %s %.1f\n", filtered ? "filtered" : "free", told[0],
	       filtered ? "filtered" : "free", told[1]);
	munmap(told, 4096);
}

int main(int argc, char **argv)
{
	unsigned long all = 0;
	long few, most;

	if (argc != 4)
		return 2;
	few = strtol(argv[1], NULL, 10);
	most = strtol(argv[2], NULL, 10);
	slope("nothing", few, most, NOTHING, 0);
	for (unsigned i = 0; i < SPACES_N; i++)
		all |= space[i].flag;
	slope("spaces", few, most, SPACES, all);
	slope("root", few, most, ROOT, all);
	slope("landlock", few, most, LANDLOCK, all);
	slope("limits", few, most, LIMITS, all);
	slope("seccomp", few, most, SECCOMP, all);
	/* One more namespace than the user namespace that it needs. */
	for (unsigned i = 0; i < SPACES_N; i++)
		slope(space[i].name, few, most, SPACES, CLONE_NEWUSER | space[i].flag);
	calls(strtol(argv[3], NULL, 10), false);
	calls(strtol(argv[3], NULL, 10), true);
	printf("done\n");
	return 0;
}

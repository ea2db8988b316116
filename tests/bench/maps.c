/* SPDX-License-Identifier: Apache-2.0 */
/*
 * maps.c - the memory map of a VMM at one moment of its life, from outside.
 *
 * usage: maps run|exit|pages PROGRAM-NAME COMMAND [ARG...]
 *
 * Starts COMMAND under ptrace and follows all its children.  Prints the
 * /proc/PID/smaps of the process whose executable is called PROGRAM-NAME
 *	run	as it enters ioctl(KVM_RUN) for the first time
 *	exit	when its first thread exits, its memory still mapped
 * then kills everything and ends.  Nothing of ours is inside that process.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { KVM_RUN_REQUEST = 0xae80, TRAP_SYSCALL = SIGTRAP | 0x80 };

static int is_program(pid_t pid, const char *name)
{
	char path[64], exe[4096];

	snprintf(path, sizeof path, "/proc/%d/exe", (int)pid);
	ssize_t got = readlink(path, exe, sizeof exe - 1);
	if (got <= 0)
		return 0;
	exe[got] = '\0';
	const char *base = strrchr(exe, '/');
	return !strcmp(base ? base + 1 : exe, name);
}

/* One line for each 2 MiB of the guest's RAM that has pages: "ram OFFSET-IN-MIB PAGES". */
static int print_pages(pid_t pid)
{
	char path[64], line[512];
	unsigned long start, end, off;

	snprintf(path, sizeof path, "/proc/%d/maps", (int)pid);
	FILE *maps = fopen(path, "r");
	snprintf(path, sizeof path, "/proc/%d/pagemap", (int)pid);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	if (!maps || fd < 0) {
		perror(path);
		return 1;
	}
	while (fgets(line, sizeof line, maps)) {
		if (!strstr(line, "/memfd:dolania-ram") || sscanf(line, "%lx-%lx %*s %lx", &start, &end, &off) != 3)
			continue;
		for (unsigned long at = start; at < end; at += 2 << 20) {
			uint64_t page[512] = { 0 };
			unsigned present = 0;

			if (pread(fd, page, sizeof page, (off_t)(at / 4096 * 8)) < 0)
				return 1;
			for (unsigned i = 0; i < 512; i++)
				present += (unsigned)(page[i] >> 63);
			if (present)
				printf("ram %lu %u\n", (at - start + off) >> 20, present);
		}
	}
	fclose(maps);
	close(fd);
	return 0;
}

static int print_smaps(pid_t pid)
{
	char path[64], buf[65536];
	ssize_t got;

	snprintf(path, sizeof path, "/proc/%d/smaps", (int)pid);
	int fd = open(path, O_RDONLY);
	if (fd < 0) {
		perror(path);
		return 1;
	}
	while ((got = read(fd, buf, sizeof buf)) > 0)
		if (write(1, buf, (size_t)got) != got)
			return 1;
	close(fd);
	return got < 0;
}

/* The moment "run": stopped at the entry of a system call, and it is KVM_RUN. */
static int enters_kvm_run(pid_t pid)
{
	struct user_regs_struct regs;

	if (ptrace(PTRACE_GETREGS, pid, NULL, &regs))
		return 0;
	/* at the entry of a system call rax holds -ENOSYS */
	return regs.orig_rax == SYS_ioctl && (unsigned)regs.rsi == KVM_RUN_REQUEST &&
	       (long)regs.rax == -38;
}

static void start(char **argv)
{
	ptrace(PTRACE_TRACEME, 0, NULL, NULL);
	raise(SIGSTOP);
	int null = open("/dev/null", O_RDWR);
	dup2(null, 0);
	dup2(null, 1);
	execvp(argv[0], argv);
	perror(argv[0]);
	_exit(127);
}

int main(int argc, char **argv)
{
	int status;

	if (argc < 4 || (strcmp(argv[1], "run") && strcmp(argv[1], "exit") && strcmp(argv[1], "pages"))) {
		fprintf(stderr, "usage: maps run|exit|pages PROGRAM-NAME COMMAND [ARG...]\n");
		return 2;
	}
	int at_run = !strcmp(argv[1], "run");
	pid_t child = fork();
	if (child == 0)
		start(argv + 3);
	waitpid(child, &status, 0);
	ptrace(PTRACE_SETOPTIONS, child, NULL, PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACEFORK |
	       PTRACE_O_TRACEVFORK | PTRACE_O_TRACECLONE | PTRACE_O_TRACEEXEC |
	       PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL);
	ptrace(PTRACE_SYSCALL, child, NULL, NULL);
	for (;;) {
		long deliver = 0;
		pid_t pid = waitpid(-1, &status, __WALL);

		if (pid < 0)
			break;
		if (!WIFSTOPPED(status))
			continue;
		int sig = WSTOPSIG(status), event = status >> 16;
		int there = at_run ? sig == TRAP_SYSCALL && enters_kvm_run(pid)
				   : event == PTRACE_EVENT_EXIT;
		if (there && is_program(pid, argv[2]))
			return strcmp(argv[1], "pages") ? print_smaps(pid) : print_pages(pid);	/* EXITKILL ends the rest */
		if (sig != TRAP_SYSCALL && sig != SIGTRAP && sig != SIGSTOP)
			deliver = sig;
		ptrace(PTRACE_SYSCALL, pid, NULL, deliver);
	}
	fprintf(stderr, "maps: %s never got there\n", argv[2]);
	return 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * failnth - runs a command and makes one system call of its set-up fail.
 *
 *	failnth caller|vmm N ERRNO LOG -- dolania run ...
 *
 * "caller" counts the calls of dolania itself, "vmm" those of the child it
 * clones, each until the VMM first enters its guest (KVM_RUN); those of dolania
 * from its first fcntl on, with which main() begins.  Call N (from 1)
 * does not happen and returns -ERRNO; N of 0 fails none.  close and munmap do
 * happen before they are told to have failed.  LOG gets one line:
 *
 *	calls=N failed=NUMBER resource=N fds=N children=N
 *
 * calls counted, the one that failed (-1 none) and its second argument (prlimit's resource), descriptors that the command
 * still held at its end, and processes that outlived it.  The exit status is
 * the command's, or 128 + signal.
 */
#include <dirent.h>
#include <errno.h>
#include <linux/kvm.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

enum { PROCESSES = 16, OPTIONS = PTRACE_O_TRACESYSGOOD | PTRACE_O_TRACECLONE | PTRACE_O_TRACEFORK |
	PTRACE_O_TRACEVFORK | PTRACE_O_TRACEEXEC | PTRACE_O_TRACEEXIT | PTRACE_O_EXITKILL };

static struct process { pid_t pid; bool inside, fail; } known[PROCESSES];
static pid_t caller;
static bool want_vmm, begun, over;	/* over: the guest runs */
static long wanted, error, calls, failed = -1, resource;
static int fds, living;

static void die(const char *what)
{
	perror(what);
	exit(99);
}

static struct process *find(pid_t pid)
{
	for (int i = 0; i < PROCESSES; i++)
		if (known[i].pid == pid)
			return &known[i];
	for (int i = 0; i < PROCESSES; i++)
		if (known[i].pid == 0) {
			known[i] = (struct process){ .pid = pid };
			living++;
			return &known[i];
		}
	die("too many processes");
	return NULL;
}

static int count_fds(pid_t pid)
{
	char path[64];
	DIR *dir;
	int n = 0;

	snprintf(path, sizeof(path), "/proc/%d/fd", pid);
	dir = opendir(path);
	for (struct dirent *e; dir != NULL && (e = readdir(dir)) != NULL;)
		n += e->d_name[0] != '.';
	if (dir != NULL)
		closedir(dir);
	return n;
}

static bool cannot_fail(unsigned long long nr)
{
	return nr == SYS_exit_group || nr == SYS_exit || nr == SYS_rt_sigreturn;
}

static void on_entry(struct process *p, struct user_regs_struct *r)
{
	p->inside = true;
	if (r->orig_rax == SYS_ioctl && (unsigned)r->rsi == KVM_RUN)
		over = true;
	begun = begun || want_vmm || r->orig_rax == SYS_fcntl;
	if (!begun || over || (p->pid != caller) != want_vmm || cannot_fail(r->orig_rax) || ++calls != wanted)
		return;
	failed = (long)r->orig_rax;
	resource = (long)r->rsi;
	p->fail = true;
	if (r->orig_rax == SYS_close || r->orig_rax == SYS_munmap)
		return;
	r->orig_rax = (unsigned long long)-1;
	if (ptrace(PTRACE_SETREGS, p->pid, NULL, r) < 0)
		die("PTRACE_SETREGS");
}

static void on_syscall(struct process *p)
{
	struct user_regs_struct r;

	if (ptrace(PTRACE_GETREGS, p->pid, NULL, &r) < 0)
		return;			/* killed meanwhile */
	if (!p->inside) {
		on_entry(p, &r);
		return;
	}
	p->inside = false;
	if (p->fail) {
		p->fail = false;
		r.rax = (unsigned long long)-error;
		if (ptrace(PTRACE_SETREGS, p->pid, NULL, &r) < 0)
			die("PTRACE_SETREGS");
	}
}

/* Returns the signal to deliver. */
static int on_stop(struct process *p, int status)
{
	int sig = WSTOPSIG(status);

	if (sig == (SIGTRAP | 0x80)) {
		on_syscall(p);
		return 0;
	}
	if (status >> 16 == PTRACE_EVENT_EXIT && p->pid == caller)
		fds = count_fds(caller);
	if (status >> 16 == PTRACE_EVENT_EXEC)
		p->inside = true;	/* its exit comes next */
	return status >> 16 != 0 || sig == SIGSTOP || sig == SIGTRAP ? 0 : sig;
}

int main(int argc, char **argv)
{
	int status, result = 99;
	pid_t pid;
	FILE *log;

	if (argc < 7)
		return 99;
	want_vmm = strcmp(argv[1], "vmm") == 0;
	wanted = atol(argv[2]);
	error = atol(argv[3]);
	caller = fork();
	if (caller == 0) {
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		raise(SIGSTOP);
		execv(argv[6], argv + 6);
		_exit(98);
	}
	find(caller);
	if (waitpid(caller, &status, __WALL) < 0 || ptrace(PTRACE_SETOPTIONS, caller, NULL, OPTIONS) < 0 ||
	    ptrace(PTRACE_SYSCALL, caller, NULL, NULL) < 0)
		die("ptrace");
	while (living > 0 && (pid = waitpid(-1, &status, __WALL)) > 0) {
		struct process *p = find(pid);

		if (WIFSTOPPED(status) && pid != caller && WSTOPSIG(status) == SIGSEGV) {
			/* The first process of a namespace only dies of it when nobody traces. */
			ptrace(PTRACE_DETACH, pid, NULL, NULL);
			p->pid = 0;
			living--;
			continue;
		}
		if (WIFSTOPPED(status)) {
			int sig = on_stop(p, status);

			ptrace(PTRACE_SYSCALL, pid, NULL, (void *)(long)sig);
			continue;
		}
		p->pid = 0;
		living--;
		if (pid == caller) {
			result = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
			break;
		}
	}
	usleep(living > 0 ? 200000 : 0);	/* one that was killed may still be on its way */
	while (living > 0 && (pid = waitpid(-1, &status, __WALL | WNOHANG)) > 0)
		if (WIFSTOPPED(status))
			ptrace(PTRACE_SYSCALL, pid, NULL, NULL);
		else
			living--;
	log = fopen(argv[4], "w");
	if (log == NULL)
		die(argv[4]);
	fprintf(log, "calls=%ld failed=%ld resource=%ld fds=%d children=%d\n", calls, failed, resource, fds, living);
	return fclose(log) == 0 ? result : 99;
}

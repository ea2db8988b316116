/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extract.c - starts the extractor, and reads what it reports; see extract.h.
 *
 * What the guest controls here: through a taken-over extractor, the report.
 */
#define _GNU_SOURCE
#include "tools/libdolania/extract.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/extract/report.h"
#include "tools/libdolania/confine.h"
#include "tools/libdolania/internal.h"

#ifndef CLOSE_RANGE_CLOEXEC
#define CLOSE_RANGE_CLOEXEC 4u
#endif

#ifndef OPEN_TREE_CLONE
#define OPEN_TREE_CLONE 1u
#endif
#ifndef AT_RECURSIVE
#define AT_RECURSIVE 0x8000u
#endif

enum { START_MS = 30000, END_MS = 60000 };

struct parts {
	int program, report, mount;
	int archive[2], ready[2], go[2];
};

static _Noreturn void give_up(const char *why)
{
	dprintf(2, "the extractor: %s: %s\n", why, strerror(errno));
	_exit(EXTRACT_STATUS_NO_JAIL);
}

/*
 * The directory as a mount of its own that hangs nowhere: ".." ends there. Landlock
 * governs neither the times of a file nor an open for ioctl alone, so no path may lead
 * out. What is mounted beneath comes along: the kernel does not uncover what lies under it.
 */
static int detached(int dir)
{
	return (int)syscall(SYS_open_tree, dir, "", OPEN_TREE_CLONE | O_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE);
}

/* In the child, whose mounts are copies: only the copy of the directory's mount can be cloned. */
static int detached_copy(int dir)
{
	char link[32], path[PATH_MAX];
	struct stat old, new;
	ssize_t n;
	int fd;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", dir);
	n = readlink(link, path, sizeof(path) - 1);
	if (n < 0)
		return -1;
	path[n] = '\0';
	fd = open(path, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || fstat(dir, &old) < 0 || fstat(fd, &new) < 0)
		return -1;
	errno = ESTALE;		/* moved meanwhile */
	return old.st_dev == new.st_dev && old.st_ino == new.st_ino ? detached(fd) : -1;
}

/* In the child. */
static _Noreturn void become_extractor(const struct parts *f, int dir, int log, uint64_t max_bytes, uint64_t max_entries)
{
	char number[4][24], name[] = "dolania-extract";
	char *argv[] = { name, number[0], number[1], number[2], number[3], NULL }, *envp[] = { NULL };
	const char *why = "";
	int report;

	setpgid(0, 0);		/* the terminal's signals are not for it */
	close(f->go[1]);
	if (f->mount < 0)
		dir = detached_copy(dir);
	if (dir < 0)
		give_up("its directory cannot be cut off from what is above");
	/* above 2, where they stay when the streams are put in place */
	dir = fcntl(f->mount < 0 ? dir : f->mount, F_DUPFD, 3);
	report = fcntl(f->report, F_DUPFD, 3);
	if (dir < 0 || report < 0 || dup2(log, 2) < 0 || dup2(f->archive[0], 0) < 0 || dup2(f->ready[1], 1) < 0)
		give_up("its descriptors cannot be made");
	if (confine_enter(f->go[0], &why) < 0)
		give_up(why);
	if (prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0) < 0 || syscall(SYS_close_range, 3u, ~0u, CLOSE_RANGE_CLOEXEC) < 0 ||
	    fcntl(dir, F_SETFD, 0) < 0 || fcntl(report, F_SETFD, 0) < 0)
		give_up("its descriptors cannot be kept");
	snprintf(number[0], sizeof(number[0]), "%d", dir);
	snprintf(number[1], sizeof(number[1]), "%d", report);
	snprintf(number[2], sizeof(number[2]), "%llu", (unsigned long long)max_bytes);
	snprintf(number[3], sizeof(number[3]), "%llu", (unsigned long long)max_entries);
	syscall(SYS_execveat, f->program, "", argv, envp, AT_EMPTY_PATH);
	give_up("it cannot be executed");
}

static void close_pair(int ends[2])
{
	fd_close(&ends[0]);
	fd_close(&ends[1]);
}

static int open_parts(struct parts *f, struct extractor *x, const char *program)
{
	f->program = open(program, O_RDONLY | O_CLOEXEC);
	f->report = memfd_create("dolania-extract", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	x->log = memfd_create("dolania-log", MFD_CLOEXEC);
	if (f->program < 0 || f->report < 0 || x->log < 0 || ftruncate(f->report, EXTRACT_REPORT_BYTES) < 0 ||
	    fcntl(f->report, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL) < 0 ||
	    pipe2(f->archive, O_CLOEXEC) < 0 || pipe2(f->ready, O_CLOEXEC) < 0 || pipe2(f->go, O_CLOEXEC) < 0)
		return -1;
	x->page = mmap(NULL, EXTRACT_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, f->report, 0);
	if (x->page == MAP_FAILED)
		x->page = NULL;
	return x->page != NULL ? 0 : -1;
}

static void last_line(int log, char *to, size_t room)
{
	char text[256];
	ssize_t n = pread(log, text, sizeof(text), 0);
	size_t bytes = n > 0 ? (size_t)n : 0;

	while (bytes > 0 && text[bytes - 1] == '\n')
		bytes--;
	text_escape(to, room, text, bytes, false);
}

static void stop(struct extractor *x)
{
	if (x->pid > 0)
		(void)confine_reap(x->pid, x->pidfd, 0, NULL);
	x->pid = 0;
	fd_close(&x->pidfd);
	fd_close(&x->archive);
	fd_close(&x->log);
	if (x->page != NULL)
		munmap(x->page, EXTRACT_REPORT_BYTES);
	x->page = NULL;
}

/* A byte says that it is locked in; the end of the pipe, that it is not. */
static bool is_ready(int ready)
{
	struct pollfd p = { .fd = ready, .events = POLLIN };
	char byte;
	int n;

	do
		n = poll(&p, 1, START_MS);
	while (n < 0 && errno == EINTR);
	return n > 0 && read(ready, &byte, 1) == 1 && byte == 'j';
}

int extractor_start(struct extractor *x, const char *program, int dir, uint64_t max_bytes, uint64_t max_entries,
		    char *why, size_t room)
{
	struct parts f = { .program = -1, .report = -1, .mount = detached(dir),
			   .archive = { -1, -1 }, .ready = { -1, -1 }, .go = { -1, -1 } };
	const char *what = "";
	struct stat st;
	bool ready = false;

	*x = (struct extractor){ .pidfd = -1, .archive = -1, .log = -1 };
	if (fstat(dir, &st) < 0 || open_parts(&f, x, program) < 0) {
		snprintf(why, room, "%s: %s", program, strerror(errno));
		goto out;
	}
	x->pid = confine_clone(&x->pidfd, -1);
	if (x->pid == 0)
		become_extractor(&f, dir, x->log, max_bytes, max_entries);
	fd_close(&f.ready[1]);
	if (x->pid < 0) {
		snprintf(why, room, "the extractor's namespaces cannot be made: %s", strerror(errno));
	} else if (confine_map_as(x->pid, f.go[1], geteuid() == 0 ? st.st_uid : geteuid(),
				  geteuid() == 0 ? st.st_gid : getegid(), &what) < 0) {
		snprintf(why, room, "the extractor: %s: %s", what, strerror(errno));
	} else if (!is_ready(f.ready[0])) {
		last_line(x->log, why, room);
		if (why[0] == '\0')
			snprintf(why, room, "the extractor did not lock itself in");
	} else {
		ready = true;
		x->archive = f.archive[1];
		f.archive[1] = -1;
	}
out:
	fd_close(&f.program);
	fd_close(&f.report);
	fd_close(&f.mount);
	close_pair(f.archive);
	close_pair(f.ready);
	close_pair(f.go);
	if (!ready)
		stop(x);
	return ready ? 0 : -1;
}

static const char *why_refused(const struct extract_refusal *f)
{
	static const char *const whys[WHY_COUNT] = {
		[WHY_SYMLINK] = "a symbolic link", [WHY_HARDLINK] = "a hard link", [WHY_DEVICE] = "a device",
		[WHY_FIFO] = "a named pipe", [WHY_KIND] = "neither file nor directory",
		[WHY_SETID] = "set-user-ID or set-group-ID",
		[WHY_SPARSE] = "a header keyword that is not known, maybe a sparse map",
		[WHY_ABSOLUTE] = "an absolute name", [WHY_DOTDOT] = "a name with '..'",
		[WHY_NAME] = "a name that names no file", [WHY_LONG] = "a name that is too long",
		[WHY_EXISTS] = "exists already", [WHY_PARENT] = "its directory is not there, or is a link or a mount point",
		[WHY_TOO_LARGE] = "larger than what is left of --disk", [WHY_CUT] = "the archive ended in it",
		[WHY_LEFT_TOO_LARGE] = "larger than what is left of --disk",
		[WHY_LEFT_UNREADABLE] = "could not be read in the guest", [WHY_LEFT_SOCKET] = "a socket",
		[WHY_LEFT_DEEP] = "too many directories deep",
		[WHY_DAMAGED] = "its end could not be read in the guest, and is zeroes",
	};

	if (f->why == WHY_HOST && f->error > 0)
		return error_text((uint64_t)f->error);
	return f->why < WHY_COUNT && whys[f->why] != NULL ? whys[f->why] : "an unknown reason";
}

static void take_list(const struct extract_report *r, struct dolania_out *out)
{
	out->listed = r->listed <= DOLANIA_REFUSED && r->listed <= EXTRACT_LISTED ? r->listed : 0;
	for (unsigned i = 0; i < out->listed; i++) {
		const struct extract_refusal *f = &r->refused[i];
		size_t n = f->name_bytes <= EXTRACT_NAME_BYTES ? f->name_bytes : 0;
		char *to = out->refused[i].name;

		text_escape(to, sizeof(out->refused[i].name), f->name, n, false);
		if (f->cut != 0 && strlen(to) + 4 <= sizeof(out->refused[i].name))
			memcpy(to + strlen(to), "...", 4);
		out->refused[i].why = why_refused(f);
	}
}

/* The report is a copy: what it points to cannot change any more. */
static bool judge(const struct extract_report *r, int status, struct dolania_out *out)
{
	static const char *const broken[BROKEN_KINDS] = {
		[BROKEN_HEADER] = "no ustar header where one must be", [BROKEN_NUMBER] = "a number that is not octal",
		[BROKEN_SIZE] = "a size that cannot be", [BROKEN_PAX] = "a malformed extended header",
		[BROKEN_GLOBAL] = "a global header", [BROKEN_TRAILER] = "bytes after the end",
	};
	char *to = out->why_not;
	size_t room = sizeof(out->why_not);

	switch (WIFEXITED(status) && WEXITSTATUS(status) == EXTRACT_STATUS_OK ? (enum extract_end)r->end
									       : EXTRACT_RUNNING) {
	case EXTRACT_WHOLE:
		out->complete = true;
		return true;
	case EXTRACT_CUT:
		snprintf(to, room, "the archive has no end");
		return true;
	case EXTRACT_BROKEN:
		snprintf(to, room, "the archive is malformed: %s", r->broken < BROKEN_KINDS && broken[r->broken] != NULL
			 ? broken[r->broken] : "unknown");
		return true;
	case EXTRACT_CROWDED:
		snprintf(to, room, "there are more files than --disk allows");
		return true;
	case EXTRACT_HOST:
		snprintf(to, room, "%s", r->error > 0 ? error_text((uint64_t)r->error) : "a write failed");
		return false;
	case EXTRACT_RUNNING:
	case EXTRACT_ENDS:
		break;
	}
	if (WIFSIGNALED(status) && WTERMSIG(status) == SIGSYS)
		snprintf(to, room, "the extractor was stopped at a system call it may not make");
	else if (WIFSIGNALED(status))
		snprintf(to, room, "the extractor was killed (signal %d)", WTERMSIG(status));
	else
		snprintf(to, room, "the extractor did not say how it ended");
	return false;
}

/* True when it is through; false after END_MS, or when a signal asks to end the run.  A stop and its end do not. */
static bool wait_for(const struct extractor *x, int signal_fd, int *cancel_signal)
{
	struct pollfd p[2] = { { .fd = x->pidfd, .events = POLLIN }, { .fd = signal_fd, .events = POLLIN } };
	uint64_t until = now_ns() + END_MS * NS_PER_MS, now;
	struct signalfd_siginfo si;

	while (*cancel_signal == 0 && (now = now_ns()) < until) {
		if (poll(p, 2, (int)((until - now) / NS_PER_MS) + 1) < 0 && errno != EINTR)
			return false;
		if (p[0].revents & POLLIN)
			return true;
		if ((p[1].revents & POLLIN) == 0 || read(signal_fd, &si, sizeof(si)) != (ssize_t)sizeof(si))
			continue;
		if (si.ssi_signo != SIGCONT && si.ssi_signo != SIGTSTP)
			*cancel_signal = (int)si.ssi_signo;
	}
	return false;
}

bool extractor_finish(struct extractor *x, int signal_fd, int *cancel_signal, struct dolania_out *out)
{
	static struct extract_report copy;	/* one run a time; large for a stack */
	int status = SIGKILL;	/* as if it had ended by that, while it has not */
	bool fine, through, left;

	fd_close(&x->archive);
	through = wait_for(x, signal_fd, cancel_signal);
	left = confine_reap(x->pid, x->pidfd, through ? CONFINE_GONE_MS : 0, &status) == CONFINE_LEFT;
	x->pid = 0;
	memcpy(&copy, x->page, sizeof(copy));
	out->files = copy.files;
	out->dirs = copy.dirs;
	out->bytes = copy.bytes;
	out->refused_total = copy.refused_total;
	take_list(&copy, out);
	fine = judge(&copy, status, out);
	if (left)
		snprintf(out->why_not, sizeof(out->why_not), "the extractor was killed, and has not ended");
	stop(x);
	return fine;
}

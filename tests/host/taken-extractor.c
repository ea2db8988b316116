/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The extractor, taken over: in its jail it makes one call (the number on stdin) that is
 * meant to change something outside its directory, and reports errno. For extractor-jail.py.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/openat2.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/extract/jail.h"
#include "tools/extract/report.h"

static const struct timespec times[2] = { { .tv_sec = 1 }, { .tv_sec = 1 } };

static long open_as(int dir, const char *path, uint64_t flags)
{
	const struct open_how how = { .flags = flags, .mode = flags & O_CREAT ? 0644 : 0 };

	return syscall(SYS_openat2, dir, path, &how, sizeof how);
}

static long time_by(long fd)
{
	return fd < 0 ? -1 : syscall(SYS_utimensat, fd, NULL, times, 0);
}

static long times_and_opens(int dir, int which)
{
	switch (which) {
	case 0: return time_by(open_as(dir, "mine", O_WRONLY));		/* its own: allowed */
	case 1: return syscall(SYS_utimensat, dir, "../outside", times, 0);
	case 2: return syscall(SYS_utimensat, dir, "subdir/../../canary/old", times, 0);
	case 3: return time_by(open_as(dir, "../outside", 3));		/* Landlock asks nothing of such an open */
	case 4: return time_by(open_as(dir, "../canary", O_PATH));
	case 5: return time_by(open_as(dir, "../outside", O_RDONLY));
	case 6: return syscall(SYS_utimensat, open_as(dir, "../outside", O_PATH), "", times, AT_EMPTY_PATH);
	case 7: return open_as(dir, "../outside", 3 | O_TRUNC);
	case 8: return open_as(dir, "../outside", O_WRONLY | O_TRUNC);
	case 9: return open_as(dir, "../new", O_WRONLY | O_CREAT);
	case 10: return open_as(dir, "out/new", O_WRONLY | O_CREAT);
	case 11: return time_by(open_as(dir, "out/old", 3));
	case 12: return time_by(open_as(dir, "..", 3 | O_DIRECTORY));
	case 13: return syscall(SYS_utimensat, dir, "", times, AT_EMPTY_PATH);
	case 14: return syscall(SYS_futimesat, dir, "../outside", times);
	case 15: return syscall(SYS_utime, "../outside", NULL);
	default: return -2;
	}
}

static long other_calls(int dir, int which)
{
	switch (which) {
	case 16: return syscall(SYS_fchmodat, dir, "../outside", 0777);
	case 17: return syscall(SYS_fchownat, dir, "../outside", 1, 1, 0);
	case 18: return syscall(SYS_setxattr, "../outside", "user.a", "b", 1, 0);
	case 19: return syscall(SYS_truncate, "../outside", 0);
	case 20: return syscall(SYS_linkat, dir, "../outside", dir, "linked", 0);
	case 21: return syscall(SYS_renameat2, dir, "../outside", dir, "moved", 0);
	case 22: return syscall(SYS_symlinkat, "x", dir, "../new");
	case 23: return syscall(SYS_mknodat, dir, "../new", S_IFIFO | 0644, 0);
	case 24: return syscall(SYS_unlinkat, dir, "../outside", 0);
	case 25: return syscall(SYS_unlinkat, dir, "../canary", AT_REMOVEDIR);
	case 26: return syscall(SYS_mkdirat, dir, "../new", 0755);
	case 27: return syscall(SYS_fchdir, dir);
	case 28: return syscall(SYS_open_tree, dir, "..", 0);
	case 29: return syscall(SYS_fchmod, open_as(dir, "../outside", 3), 0777);
	case 30: return syscall(SYS_openat, dir, "../outside", O_RDONLY);
	default: _exit(2);
	}
}

int main(int argc, char **argv)
{
	const char *why = "";
	struct extract_report *r;
	char text[8] = "";
	long ret;
	int dir;

	if (argc != 5)
		return 2;
	dir = atoi(argv[1]);
	r = mmap(NULL, EXTRACT_REPORT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[2]), 0);
	if (r == MAP_FAILED || jail_enter(dir, 1 << 20, &why) < 0 || write(1, "j", 1) != 1)
		return EXTRACT_STATUS_NO_JAIL;
	if (read(0, text, sizeof(text) - 1) <= 0)
		_exit(2);
	errno = 0;
	ret = times_and_opens(dir, atoi(text));
	if (ret == -2)
		ret = other_calls(dir, atoi(text));
	r->end = ret < 0 ? EXTRACT_HOST : EXTRACT_WHOLE;
	r->error = ret < 0 ? errno : 0;
	_exit(EXTRACT_STATUS_OK);
}

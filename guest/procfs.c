/* SPDX-License-Identifier: Apache-2.0 */
/*
 * procfs.c - /proc as the script gets it; see procfs.h.
 *
 * What is not on the list loses its permissions, which the kernel keeps for as
 * long as it runs.  That costs a tenth of a mount over each, and an entry that
 * another kernel has is closed too.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "dirents.h"
#include "procfs.h"

#define SYSCTL "/proc/sys"

/* docs/threat-model.md has the same list, with the reasons. */
static const char *const open_to_all[] = {
	"cgroups", "cpuinfo", "filesystems", "loadavg", "meminfo", "stat", "sys", "uptime", "version", "vmstat",
};

static int is_open_to_all(const char *name)
{
	for (size_t i = 0; i < sizeof open_to_all / sizeof open_to_all[0]; i++)
		if (strcmp(name, open_to_all[i]) == 0)
			return 1;
	return 0;
}

/* Links lead to a process's own directory, and numbers are processes: hidepid is for these. */
static int close_entry(int dir, const struct dirent_64 *d)
{
	if (d->type == DT_LNK || (d->name[0] >= '0' && d->name[0] <= '9') || d->name[0] == '.' ||
	    is_open_to_all(d->name))
		return 0;
	return (int)syscall(SYS_fchmodat, dir, d->name, 0);
}

static int close_entries(void)
{
	_Alignas(8) char buffer[DIRENT_BYTES];
	int dir = open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC), error = dir < 0 ? errno : 0;
	long n = 0;

	while (error == 0 && (n = syscall(SYS_getdents64, dir, buffer, sizeof buffer)) > 0) {
		const struct dirent_64 *d;

		for (long at = 0; at < n && error == 0; at += d->bytes) {
			d = (const void *)(buffer + at);
			if (close_entry(dir, d) < 0)
				error = errno;
		}
	}
	if (n < 0)
		error = errno;
	if (dir >= 0)
		close(dir);
	return error;
}

/* Addresses of the kernel are nothing for the script, not even hashed ones. */
static int hide_pointers(void)
{
	int fd = open(SYSCTL "/kernel/kptr_restrict", O_WRONLY | O_CLOEXEC);
	int error = fd < 0 || write(fd, "2", 1) != 1 ? errno : 0;

	if (fd >= 0)
		close(fd);
	return error;
}

int procfs_mount(struct fault *f)
{
	int error = 0;

	if (mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, "hidepid=2") < 0)
		return fault(f, WIRE_STEP_PROC, errno);
	error = close_entries();
	if (error == 0)
		error = hide_pointers();
	return error == 0 ? 0 : fault(f, WIRE_STEP_PROC, error);
}

int procfs_close_sysctl(struct fault *f)
{
	const unsigned long flags = MS_NOSUID | MS_NODEV | MS_NOEXEC;

	if (mount(SYSCTL, SYSCTL, NULL, MS_BIND, NULL) < 0 ||
	    mount(NULL, SYSCTL, NULL, MS_REMOUNT | MS_BIND | MS_RDONLY | flags, NULL) < 0)
		return fault(f, WIRE_STEP_PROC, errno);
	return 0;
}

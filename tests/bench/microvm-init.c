/* SPDX-License-Identifier: Apache-2.0 */
/*
 * microvm-init.c - init of the benchmark's peer: in QEMU's microvm, mounts the
 * root image from the first virtio disk, runs "true" by its shell, and ends the
 * machine by a reset.  Does less than dolania's init does: no job, no streams, no
 * limits, no report.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

static void must(int bad)
{
	if (bad)
		abort();	/* init is gone: the kernel panics, the bench sees the wrong marker */
}

/* The number the kernel gave to "virtblk". */
static unsigned disk_major(void)
{
	char buf[4096];
	int fd = open("/proc/devices", O_RDONLY);
	ssize_t got = read(fd, buf, sizeof buf - 1);

	must(fd < 0 || got <= 0);
	close(fd);
	buf[got] = '\0';
	char *at = strstr(buf, " virtblk");
	must(!at);
	while (at > buf && at[-1] != '\n')
		at--;
	return (unsigned)strtoul(at, NULL, 10);
}

int main(void)
{
	int status = -1;

	mkdir("/proc", 0755);
	mkdir("/root", 0755);
	must(mount("proc", "/proc", "proc", 0, NULL));
	must(mknod("/disk", S_IFBLK | 0600, makedev(disk_major(), 0)));
	must(mount("/disk", "/root", "erofs", MS_RDONLY, NULL));
	must(chdir("/root") || chroot("."));
	pid_t pid = fork();
	if (pid == 0) {
		char *argv[] = { "sh", "-c", "true", NULL }, *envp[] = { "PATH=/usr/bin:/bin", NULL };
		execve("/bin/sh", argv, envp);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) != pid || status);
	reboot(RB_AUTOBOOT);
	return 1;
}

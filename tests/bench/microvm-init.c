/* SPDX-License-Identifier: Apache-2.0 */
/*
 * microvm-init.c - init of the benchmark's peer: in QEMU's microvm, mounts the
 * root image from the first virtio disk, runs "true" by its shell, and ends the
 * machine by a reset.  Does less than dolania's init does: no job, no streams, no
 * limits, no report.
 *
 * With job="PROGRAM ARG..." on the kernel's command line it runs that instead, as
 * a job of drive.c: the other disk at /in, a tmpfs at /tmp, and a connection of
 * vsock to the host as stdin and stdout.  (Words after "--" would not reach us
 * alone: QEMU adds its devices to the end of the line.)
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

enum { PORT = 5000, WORDS_MAX = 32, DISK_MINORS = 16 };

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

static void mount_disk(unsigned index, const char *target)
{
	must(mknod("/disk", S_IFBLK | 0600, makedev(disk_major(), index * DISK_MINORS)));
	must(mount("/disk", target, "erofs", MS_RDONLY, NULL));
	must(unlink("/disk"));
}

/* What a job sees of the machine, under /root. */
static void prepare(unsigned input)
{
	static const struct { const char *name; unsigned minor; } device[] = {
		{ "/root/dev/null", 3 }, { "/root/dev/zero", 5 }, { "/root/dev/urandom", 9 },
	};

	mount_disk(input, "/root/in");
	must(mount("proc", "/root/proc", "proc", 0, NULL));
	must(mount("tmp", "/root/tmp", "tmpfs", 0, NULL));
	must(mount("dev", "/root/dev", "tmpfs", 0, NULL));
	for (unsigned i = 0; i < sizeof device / sizeof device[0]; i++) {
		must(mknod(device[i].name, S_IFCHR | 0666, makedev(1, device[i].minor)));
		must(chmod(device[i].name, 0666));
	}
}

static void run_job(char *job)
{
	struct sockaddr_vm at = { .svm_family = AF_VSOCK, .svm_port = PORT, .svm_cid = VMADDR_CID_HOST };
	int s = socket(AF_VSOCK, SOCK_STREAM, 0), n = 0;
	char *argv[WORDS_MAX + 1];

	for (char *word = strtok(job, " "); word && n < WORDS_MAX; word = strtok(NULL, " "))
		argv[n++] = word;
	argv[n] = NULL;
	must(s < 0 || connect(s, (struct sockaddr *)&at, sizeof at));
	must(dup2(s, 0) < 0 || dup2(s, 1) < 0 || chdir("/tmp"));
	setenv("PATH", "/usr/bin:/bin", 1);
	execvp(argv[0], argv);
	_exit(127);
}

int main(void)
{
	char *job = getenv("job");
	int status = -1;

	mkdir("/proc", 0755);
	mkdir("/root", 0755);
	must(mount("proc", "/proc", "proc", 0, NULL));
	mount_disk(0, "/root");
	if (job) {	/* which disk is which is up to QEMU's order of its transports */
		int swapped = access("/root/job", F_OK) == 0;

		if (swapped) {
			must(umount("/root"));
			mount_disk(1, "/root");
		}
		prepare(!swapped);
	}
	must(chdir("/root") || chroot("."));
	pid_t pid = fork();
	if (pid == 0 && job)
		run_job(job);
	if (pid == 0) {
		char *argv[] = { "sh", "-c", "true", NULL }, *envp[] = { "PATH=/usr/bin:/bin", NULL };
		execve("/bin/sh", argv, envp);
		_exit(127);
	}
	must(waitpid(pid, &status, 0) != pid || status);
	reboot(RB_AUTOBOOT);
	return 1;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * disk.c - the writable disks of a run: --scratch, and /out with --out.
 *
 * Each is a sealed memfd with an ext2 on it that mke2fs makes before the run.
 * The host never looks at it again, but to overwrite it: what the guest wrote
 * is read by a guest (collect.c).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tools/libdolania/confine.h"
#include "tools/libdolania/internal.h"

#define MKE2FS "mke2fs"

enum {
	BLOCK = 4096,
	BYTES_PER_INODE = 4096,
	INODE_BYTES = 128,
	GROUP_SHIFT = 27,		/* a block group is 128 MiB */
	GROUP_META = 4 * BLOCK,		/* bitmaps, and sometimes a copy of the super block */
	SLACK = 40 * BLOCK,		/* root, lost+found, rounding */
	SUPER_BLOCK = 1024,		/* its place; little-endian fields at: */
	SUPER_RESERVED = 8, SUPER_FREE = 12, SUPER_MAGIC = 56,
	LOST_FOUND_BLOCKS = 4,		/* init removes it */
	MKE2FS_MS = 60000,
};

static int start(const char *disk, int log, pid_t *pid)
{
	/* posix_spawnp takes char *const, and changes none of them. */
	char *argv[] = {
		(char *)MKE2FS, (char *)"-q", (char *)"-F", (char *)"-t", (char *)"ext2", (char *)"-b", (char *)"4096",
		(char *)"-I", (char *)"128", (char *)"-i", (char *)"4096", (char *)"-m", (char *)"0",
		(char *)"-O", (char *)"none,filetype,sparse_super,large_file,ext_attr",
		(char *)"-E", (char *)"root_owner=1000:1000", (char *)"-U", (char *)"d01a0000-0000-4000-8000-000000000002",
		(char *)disk, NULL,
	};
	char path[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
	char config[] = "MKE2FS_CONFIG=/dev/null";	/* the host's own taste is not asked */
	char *envp[] = { path, config, NULL };
	posix_spawn_file_actions_t actions;
	posix_spawnattr_t attr;
	sigset_t none, all;
	int e;

	sigemptyset(&none);
	sigfillset(&all);
	posix_spawn_file_actions_init(&actions);
	posix_spawnattr_init(&attr);
	posix_spawn_file_actions_addopen(&actions, 0, "/dev/null", O_RDONLY, 0);
	posix_spawn_file_actions_adddup2(&actions, log, 1);
	posix_spawn_file_actions_adddup2(&actions, log, 2);
	posix_spawnattr_setsigmask(&attr, &none);
	posix_spawnattr_setsigdefault(&attr, &all);
	posix_spawnattr_setpgroup(&attr, 0);
	posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF | POSIX_SPAWN_SETPGROUP);
	e = posix_spawnp(pid, MKE2FS, &actions, &attr, argv, envp);
	if (e == ENOENT)	/* an ordinary user's PATH, which is the one that is searched, may lack it */
		e = posix_spawn(pid, "/usr/sbin/" MKE2FS, &actions, &attr, argv, envp);
	if (e == ENOENT)
		e = posix_spawn(pid, "/sbin/" MKE2FS, &actions, &attr, argv, envp);
	posix_spawn_file_actions_destroy(&actions);
	posix_spawnattr_destroy(&attr);
	return e;
}

static enum confine_end await(pid_t pid, int *status)
{
	int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
	enum confine_end end = confine_reap(pid, pidfd, MKE2FS_MS, status);

	fd_close(&pidfd);
	return end;
}

/* It takes milliseconds, so signals wait for it. */
static int make_file_system(struct session *s, const char *option, int fd)
{
	int log = memfd_create("dolania-log", MFD_CLOEXEC), status = 0, e;
	char disk[64], text[200] = "", why[256] = "";
	enum confine_end end = CONFINE_ENDED;
	pid_t pid = 0;
	ssize_t n;

	if (log < 0)
		return session_fail(s, DOLANIA_HOST_OOM, "%s: no memory: %s", option, strerror(errno));
	snprintf(disk, sizeof(disk), "/proc/%ld/fd/%d", (long)getpid(), fd);
	e = start(disk, log, &pid);
	if (e == 0)
		end = await(pid, &status);
	n = pread(log, text, sizeof(text) - 1, 0);
	fd_close(&log);
	if (e == ENOENT)
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "%s needs " MKE2FS ", which is not installed (apt install "
				    "e2fsprogs)", option);
	if (e != 0)
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "%s: cannot start " MKE2FS ": %s", option, strerror(e));
	if (end != CONFINE_ENDED)
		return session_fail(s, DOLANIA_HOST_IO, "%s: " MKE2FS " did not end within %d s", option, MKE2FS_MS / 1000);
	if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
		return 0;
	text_escape(why, sizeof(why), text, n > 0 ? strcspn(text, "\n") : 0, false);
	return session_fail(s, DOLANIA_HOST_IO, "%s: " MKE2FS " failed: %s", option, why[0] != '\0' ? why : "it did not "
			    "say why");
}

/*
 * What is free beyond `bytes` is kept for the guest's root, so that the script
 * gets exactly that.  The file system is still our own here.
 */
static int reserve_the_rest(int fd, uint64_t bytes)
{
	uint32_t free_blocks, reserved = 0;
	uint64_t wanted = bytes / BLOCK;
	uint16_t magic;

	if (pread(fd, &magic, sizeof(magic), SUPER_BLOCK + SUPER_MAGIC) != (ssize_t)sizeof(magic) || magic != 0xef53 ||
	    pread(fd, &free_blocks, sizeof(free_blocks), SUPER_BLOCK + SUPER_FREE) != (ssize_t)sizeof(free_blocks)) {
		errno = EIO;
		return -1;
	}
	if (free_blocks + LOST_FOUND_BLOCKS > wanted)
		reserved = free_blocks + LOST_FOUND_BLOCKS - (uint32_t)wanted;
	return pwrite(fd, &reserved, sizeof(reserved), SUPER_BLOCK + SUPER_RESERVED) == (ssize_t)sizeof(reserved) ? 0 : -1;
}

int disk_make(struct session *s, const char *option, uint64_t bytes, int *fd)
{
	const uint64_t whole = (bytes + bytes / BYTES_PER_INODE * INODE_BYTES + ((bytes >> GROUP_SHIFT) + 1) * GROUP_META +
				SLACK + BLOCK - 1) / BLOCK * BLOCK;
	const int seals = F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL;

	*fd = memfd_create("dolania-disk", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	if (*fd < 0 || ftruncate(*fd, (off_t)whole) < 0)
		return session_fail(s, DOLANIA_HOST_OOM, "%s: no memory for the disk: %s%s", option, strerror(errno),
				    errno == EFBIG ? " (ulimit -f counts for it)" : "");
	if (make_file_system(s, option, *fd) < 0)
		return -1;
	if (reserve_the_rest(*fd, bytes) < 0 || fcntl(*fd, F_ADD_SEALS, seals) < 0)
		return session_fail(s, DOLANIA_HOST_IO, "%s: the disk cannot be made: %s", option, strerror(errno));
	return 0;
}

unsigned disk_roles(const struct dolania_options *o, const struct fds *f, struct disk list[DISKS_MAX])
{
	unsigned n = 0;

	list[n++] = (struct disk){ .role = "image", .fd = f->root };
	if (o->in_count > 0 || o->work_dir != NULL)
		list[n++] = (struct disk){ .role = "input", .fd = f->input, .option = o->in_count > 0 ? "--in" : "--work",
					   .place = WIRE_DISK_UNSEEN };
	if (o->scratch_bytes > 0)
		list[n++] = (struct disk){ .role = "scratch", .fd = f->scratch, .writable = true, .option = "--scratch",
					   .place = "/scratch", .holds_copy = o->work_dir != NULL };
	if (o->out != NULL)
		list[n++] = (struct disk){ .role = "out", .fd = f->out_disk, .writable = true, .option = "--out",
					   .place = "/out" };
	return n;
}

unsigned disk_list(const struct session *s, struct disk list[DISKS_MAX])
{
	unsigned n = disk_roles(s->o, &s->fd, list);

	if (s->collecting != NULL)
		list[n++] = (struct disk){ .role = "out", .place = "/out", .used = true,
					   .fd = s->collecting->fd.out_disk };
	return n;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* input.c - the places of --in and --work; see input.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy.h"
#include "input.h"
#include "mount.h"

enum { PATH_BYTES = 4096 };

/* Where the writable layer of /work lies: an overlay wants both on one file system. */
#define UPPER MOUNT_WRITABLE "/upper"
#define UPPER_WORK MOUNT_WRITABLE "/copy"

/* `top` and `rest` in one; 0 or errno. */
static int join(char *to, const char *top, const char *rest)
{
	size_t n = strlen(top), m = strlen(rest);

	if (n + m >= PATH_BYTES)
		return ENAMETOOLONG;
	memcpy(to, top, n);
	memcpy(to + n, rest, m + 1);
	return 0;
}

/* The directories above `path`, below the root of the image; the script's own where they are new. */
static void make_parents(const struct job *job, char *path)
{
	for (char *slash = strchr(path + sizeof MOUNT_ROOT, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		if (mkdir(path, 0755) == 0)	/* where it fails, what follows does too */
			(void)chown(path, job->h.uid, job->h.gid);
		*slash = '/';
	}
}

/* Something to mount on, a directory or a file as `source` is; 0 or errno. */
static int make_place(const struct job *job, const struct stat *source, char *path)
{
	struct stat st;
	int fd;

	if (lstat(path, &st) == 0) {
		if (S_ISDIR(st.st_mode) == S_ISDIR(source->st_mode) && !S_ISLNK(st.st_mode))
			return 0;
		return S_ISDIR(source->st_mode) ? ENOTDIR : S_ISDIR(st.st_mode) ? EISDIR : ELOOP;
	}
	make_parents(job, path);
	if (S_ISDIR(source->st_mode)) {
		if (mkdir(path, 0755) < 0)
			return errno == EROFS ? ENOENT : errno;
		return chown(path, job->h.uid, job->h.gid) < 0 ? errno : 0;
	}
	fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
	if (fd < 0)
		return errno == EROFS ? ENOENT : errno;
	close(fd);
	return 0;
}

/*
 * The writable copy on the scratch disk: a whole one.  An overlay would need
 * whiteouts there, and ext2 cannot rename with them: mv and rm of what is in the
 * lower layer would fail.
 */
static int make_copy(const struct job *job, const char *target)
{
	int error = copy_tree(job, INPUT_DISK "/0", MOUNT_DISK "/work", MOUNT_DISK "/names");

	if (error != 0)
		return error;
	return mount(MOUNT_DISK "/work", target, NULL, MS_BIND, NULL) < 0 ? errno : 0;
}

/*
 * The writable copy in memory.  redirect_dir lets a directory be renamed, which else
 * fails with EXDEV; index lets a file that is written through one of its names be
 * seen through the others.  Not metacopy: a copy that then fails for want of room would
 * leave its part of the data behind, and /tmp full.
 */
static int mount_copy(const struct job *job, const struct stat *st, const char *target,
		      unsigned long flags)
{
	static const char options[] = "lowerdir=" INPUT_DISK "/0,upperdir=" UPPER ",workdir=" UPPER_WORK
				      ",redirect_dir=on,index=on";

	const struct timespec times[] = { st->st_atim, st->st_mtim };

	/* its root stands for the copy's: the mode and time of DIR, but the script can write in it */
	if (mkdir(UPPER, (st->st_mode & 0777) | 0700) < 0 || mkdir(UPPER_WORK, 0700) < 0 ||
	    chown(UPPER, job->h.uid, job->h.gid) < 0 || utimensat(AT_FDCWD, UPPER, times, 0) < 0)
		return errno;
	return mount("copy", target, "overlay", flags, options) < 0 ? errno : 0;
}

static int bind_entry(const struct job *job, unsigned int index, unsigned long flags)
{
	char source[sizeof INPUT_DISK + 4] = INPUT_DISK "/", target[PATH_BYTES];
	char *digit = source + sizeof INPUT_DISK;
	struct stat st;
	int error = join(target, MOUNT_ROOT, job->binds[index]);

	if (index >= 10)
		*digit++ = (char)('0' + index / 10);
	*digit++ = (char)('0' + index % 10);
	*digit = '\0';
	if (error != 0)
		return error;
	if (lstat(source, &st) < 0)
		return errno;
	error = make_place(job, &st, target);
	if (error != 0)
		return error;
	if (index == 0 && job->h.copy_disk != 0)
		return make_copy(job, target);
	if (index == 0 && (job->h.flags & WIRE_JOB_WORK))
		return mount_copy(job, &st, target, flags);
	return mount(source, target, NULL, MS_BIND, NULL) < 0 ? errno : 0;
}

int input_bind(const struct job *job, unsigned long flags, struct fault *f)
{
	for (unsigned int i = 0; i < job->h.binds; i++) {
		int error = bind_entry(job, i, flags);

		if (error != 0) {
			f->which = i + 1;
			return fault(f, WIRE_STEP_BIND, error);
		}
	}
	return 0;
}

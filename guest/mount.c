/* SPDX-License-Identifier: Apache-2.0 */
/* mount.c - the script's file tree; see mount.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "input.h"
#include "mount.h"
#include "procfs.h"
#include "text.h"

#define ROOT MOUNT_ROOT
#define SCRATCH MOUNT_WRITABLE	/* one tmpfs, one budget; its directories are bound into the image */

enum {
	PLAIN = MS_NOSUID | MS_NODEV,
	DISK_MINORS = 16,	/* of virtio-blk: vda is 0, vdb 16 */
	READ_AHEAD_SECTORS = 1024,
	TMPFS_BYTES_DEFAULT = 1 << 20,	/* size=0 would mean no limit */
	BYTES_PER_FILE = 2048,	/* an inode is the kernel's memory, so there are not more than this */
};

static const struct node {
	const char *path;
	mode_t mode;
	unsigned int major, minor;
} nodes[] = {
	{ ROOT "/dev/null", 0666, 1, 3 },
	{ ROOT "/dev/zero", 0666, 1, 5 },
	{ ROOT "/dev/full", 0666, 1, 7 },
	{ ROOT "/dev/random", 0666, 1, 8 },
	{ ROOT "/dev/urandom", 0666, 1, 9 },
	{ ROOT "/dev/tty", 0666, 5, 0 },	/* for what opens a pty */
};

static const struct {
	const char *to, *path;
} links[] = {
	{ "/proc/self/fd", ROOT "/dev/fd" },
	{ "fd/0", ROOT "/dev/stdin" },
	{ "fd/1", ROOT "/dev/stdout" },
	{ "fd/2", ROOT "/dev/stderr" },
	{ "pts/ptmx", ROOT "/dev/ptmx" },
};

/* Directories of the scratch tmpfs, and where they are bound. */
static const struct place {
	const char *from, *to;
	mode_t mode;
	int own;		/* belongs to the script */
	enum wire_step required;	/* 0: only where the image has the directory */
} places[] = {
	{ SCRATCH "/tmp", ROOT "/tmp", 01777, 0, WIRE_STEP_TMP },
	{ SCRATCH "/tmp/home", NULL, 0700, 1, 0 },	/* HOME */
	{ SCRATCH "/shm", ROOT "/dev/shm", 01777, 0, WIRE_STEP_DEV },
	{ SCRATCH "/work", ROOT "/work", 0755, 1, 0 },
	{ SCRATCH "/run", ROOT "/run", 0755, 1, 0 },
	{ SCRATCH "/vartmp", ROOT "/var/tmp", 01777, 0, 0 },
};

/* 0, or why nothing can be mounted on `path`; a link there is not followed. */
static int not_a_directory(const char *path)
{
	struct stat st;

	if (lstat(path, &st) < 0)
		return errno;
	return S_ISDIR(st.st_mode) ? 0 : ENOTDIR;
}

/* The number virtio-blk got from the kernel; 0 if it has none. */
static unsigned int disk_major(void)
{
	char text[4096];
	int fd = open("/proc/devices", O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return 0;
	text[n] = '\0';

	const char *at = strstr(text, " virtblk\n");

	if (at == NULL)
		return 0;
	while (at > text && at[-1] != '\n')
		at--;
	at += strspn(at, " ");
	return (unsigned int)text_u64(&at);
}

/*
 * Reading ahead more than the kernel's 128 KiB: a request costs three exits
 * (kick, interrupt status, acknowledge) however long it is.  Failure costs
 * only speed.
 */
static void read_ahead(const char *node)
{
	int fd = open(node, O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)ioctl(fd, BLKRASET, (unsigned long)READ_AHEAD_SECTORS);
	close(fd);
}

/* How a file system is mounted. */
struct kind {
	const char *type, *options;
	unsigned long flags;
};

static const struct kind image_kind = { "erofs", NULL, MS_RDONLY | PLAIN };
/* What a guest wrote says itself what happens at an error: never a panic. */
static const struct kind writable_kind = { "ext2", "errors=continue", PLAIN | MS_NOATIME };
static const struct kind foreign_kind = { "ext2", "errors=continue", PLAIN | MS_RDONLY | MS_NOEXEC };

/* Mounts disk `index` on `target`; 0 or errno. */
static int mount_disk(unsigned int index, unsigned int major, const char *target,
		      const struct kind *kind, unsigned long flags)
{
	char node[] = "/vda";

	node[3] = (char)('a' + index);
	if (mknod(node, S_IFBLK | 0400, makedev(major, index * DISK_MINORS)) < 0)
		return errno;
	read_ahead(node);
	if (mount(node, target, kind->type, kind->flags | flags, kind->options) < 0)
		return errno;
	return 0;
}

static int mount_dev(void)
{
	int error = not_a_directory(ROOT "/dev");

	if (error != 0)
		return error;
	if (mount("dev", ROOT "/dev", "tmpfs", MS_NOSUID | MS_NOEXEC, "mode=755,size=64k") < 0)
		return errno;
	for (size_t i = 0; i < sizeof nodes / sizeof nodes[0]; i++)
		if (mknod(nodes[i].path, S_IFCHR | nodes[i].mode,
			  makedev(nodes[i].major, nodes[i].minor)) < 0)
			return errno;
	for (size_t i = 0; i < sizeof links / sizeof links[0]; i++)
		if (symlink(links[i].to, links[i].path) < 0)
			return errno;
	if (mkdir(ROOT "/dev/shm", 0755) < 0 || mkdir(ROOT "/dev/pts", 0755) < 0)
		return errno;
	/*
	 * A kernel without ttys has no devpts, and its scripts no ptys.  What waits in ptys is charged
	 * to the script, but given also beyond its limit: 128 KiB each, so only so many.
	 */
	if (mount("devpts", ROOT "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC,
		  "ptmxmode=0666,mode=620,max=256") < 0 && errno != ENODEV)
		return errno;
	return 0;
}

int mount_image(struct fault *f)
{
	int error;

	if (procfs_mount(f) < 0)
		return -1;

	unsigned int major = disk_major();

	if (major == 0)
		return fault(f, WIRE_STEP_ROOT, ENXIO);
	error = mount_disk(0, major, ROOT, &image_kind, 0);
	if (error != 0)
		return fault(f, WIRE_STEP_ROOT, error);
	error = not_a_directory(ROOT "/proc");
	if (error != 0)
		return fault(f, WIRE_STEP_PROC, error);
	error = mount_dev();
	return error == 0 ? 0 : fault(f, WIRE_STEP_DEV, error);
}

static int mount_tmpfs(const char *target, uint64_t bytes, uint64_t files, const struct job *job,
		       unsigned long flags)
{
	struct text options = { .bytes = 0 };

	if (bytes == 0)
		bytes = TMPFS_BYTES_DEFAULT;
	text_add(&options, "mode=755,size=");
	text_add_u64(&options, bytes);
	text_add(&options, ",nr_inodes=");
	text_add_u64(&options, files != 0 ? files : bytes / BYTES_PER_FILE);
	text_add(&options, ",uid=");
	text_add_u64(&options, job->h.uid);
	text_add(&options, ",gid=");
	text_add_u64(&options, job->h.gid);
	return mount("tmpfs", target, "tmpfs", flags, options.at) < 0 ? errno : 0;
}

static int mount_place(const struct place *p, const struct job *job, struct fault *f)
{
	enum wire_step step = p->required != 0 ? p->required : WIRE_STEP_WORK;

	if (p->to != NULL) {
		int error = not_a_directory(p->to);

		if (error != 0 && p->required == 0)
			return 0;
		if (error != 0)
			return fault(f, step, error);
	}
	if (mkdir(p->from, p->mode) < 0)
		return fault(f, step, errno);
	if (p->own && chown(p->from, job->h.uid, job->h.gid) < 0)
		return fault(f, step, errno);
	if (p->to != NULL && mount(p->from, p->to, NULL, MS_BIND, NULL) < 0)
		return fault(f, step, errno);
	return 0;
}

/* mke2fs makes a directory of its own, which is no use here. */
static int mount_writable(unsigned int index, unsigned int major, const char *target,
			  unsigned long flags)
{
	struct text found = { .bytes = 0 };
	int error = mount_disk(index, major, target, &writable_kind, flags);

	if (error != 0)
		return error;
	text_add(&found, target);
	text_add(&found, "/lost+found");
	(void)rmdir(found.at);
	return 0;
}

/*
 * The disk that the copy of --work lies on.  Script and copy get a directory
 * each, so that neither is seen in the other.
 */
static int mount_shared(const struct job *job, unsigned int index, unsigned int major, const char *target,
			unsigned long flags)
{
	int error = mkdir(MOUNT_DISK, 0755) < 0 ? errno : mount_writable(index, major, MOUNT_DISK, flags);

	if (error != 0)
		return error;
	if (mkdir(MOUNT_DISK "/own", 0755) < 0 || chown(MOUNT_DISK "/own", job->h.uid, job->h.gid) < 0)
		return errno;
	return mount(MOUNT_DISK "/own", target, NULL, MS_BIND, NULL) < 0 ? errno : 0;
}

static int mount_disks(const struct job *job, unsigned long flags, struct fault *f)
{
	unsigned int major = job->h.disks == 0 ? 0 : disk_major();

	for (unsigned int i = 1; i <= job->h.disks; i++) {
		struct text target = { .bytes = 0 };
		int error = ENAMETOOLONG;

		if (i == 1 && job->h.binds > 0) {
			text_add(&target, INPUT_DISK);
			error = mkdir(INPUT_DISK, 0755) < 0 ? errno : 0;
		} else {
			text_add(&target, ROOT);
			text_add(&target, job->disks[i - 1]);
			if (target.bytes < sizeof target.at - 1)
				error = not_a_directory(target.at);
		}
		if (error == 0 && i == job->h.copy_disk)
			error = mount_shared(job, i, major, target.at, flags);
		else if (error == 0 && (job->h.writable_disks >> (i - 1) & 1) != 0)
			error = mount_writable(i, major, target.at, flags);
		else if (error == 0)
			error = mount_disk(i, major, target.at, &image_kind, flags);
		if (error != 0) {
			f->which = i;
			return fault(f, WIRE_STEP_DISK, error);
		}
	}
	return 0;
}

/*
 * A limit of the host's ends the machine between two instructions: what is on
 * the disk by then is what comes back.  So pages are written back when they are
 * half a second old, not half a minute.  Failure costs only that.
 */
static void write_back_soon(void)
{
	static const struct {
		const char *file, *centiseconds;
	} settings[] = {
		{ "/proc/sys/vm/dirty_expire_centisecs", "40" },
		{ "/proc/sys/vm/dirty_writeback_centisecs", "10" },
	};

	for (size_t i = 0; i < sizeof settings / sizeof settings[0]; i++) {
		int fd = open(settings[i].file, O_WRONLY | O_CLOEXEC);

		if (fd < 0)
			continue;
		if (write(fd, settings[i].centiseconds, 2) < 0)
			(void)0;
		close(fd);
	}
}

int mount_foreign(const char *target, struct fault *f)
{
	int error = mkdir(target, 0755) < 0 ? errno : 0;

	if (error == 0)
		error = mount_disk(1, disk_major(), target, &foreign_kind, 0);
	return error == 0 ? 0 : fault(f, WIRE_STEP_COLLECT, error);
}

int mount_job(const struct job *job, struct fault *f)
{
	unsigned long noexec = (job->h.flags & WIRE_JOB_NOEXEC) ? MS_NOEXEC : 0;
	int error = mount_tmpfs(SCRATCH, job->h.tmp_bytes, job->h.tmp_files, job, PLAIN | noexec);

	if (error != 0)
		return fault(f, WIRE_STEP_TMP, error);
	for (size_t i = 0; i < sizeof places / sizeof places[0]; i++)
		if (mount_place(&places[i], job, f) < 0)
			return -1;
	error = not_a_directory(ROOT "/out");
	if (error == 0 && !(job->h.flags & WIRE_JOB_OUT))
		error = mount_tmpfs(ROOT "/out", job->h.out_bytes, 0, job, PLAIN | noexec);
	else if (!(job->h.flags & WIRE_JOB_OUT))
		error = 0;
	if (error != 0)
		return fault(f, WIRE_STEP_OUT, error);
	if (job->h.flags & WIRE_JOB_OUT)
		write_back_soon();
	if (mount_disks(job, noexec, f) < 0)
		return -1;
	return input_bind(job, PLAIN | noexec, f);
}

int mount_switch(struct fault *f)
{
	if (procfs_close_sysctl(f) < 0)
		return -1;
	if (mount("/proc", ROOT "/proc", NULL, MS_MOVE, NULL) < 0)
		return fault(f, WIRE_STEP_PROC, errno);
	if (chdir(ROOT) < 0 || mount(".", "/", NULL, MS_MOVE, NULL) < 0 || chroot(".") < 0)
		return fault(f, WIRE_STEP_SWITCH, errno);
	return 0;
}

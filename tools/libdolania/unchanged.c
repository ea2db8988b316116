/* SPDX-License-Identifier: Apache-2.0 */
/*
 * unchanged.c - when a file counts as unchanged since it was read: the one rule for digests
 * (measure.c) and packed inputs (tree.c).
 *
 * A file is unchanged while device, inode, size, mtime and ctime are, since nobody but root can set a
 * ctime, if three things hold:
 *
 *  - its file system gives each change a ctime of now; those that do are listed here.  What a server
 *    or a process answers (NFS, SMB, FUSE) is not believed;
 *  - its ctime was SETTLED_S old when it was read: two writes within one tick of the clock have
 *    one ctime;
 *  - its dirty pages were written back before it was read: a page that is dirty through a shared mapping
 *    can be written again without a new ctime, a clean one cannot.
 *
 * A tmpfs writes nothing back: there a write through a shared mapping goes unseen.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#define OVERLAYFS 0x794C7630u

enum { SETTLED_S = 2 };

/* Not those whose times come with their content, as erofs and squashfs. */
static const unsigned known_file_systems[] = {
	0xEF53,		/* ext2, ext3, ext4 */
	0x58465342,	/* xfs */
	0x9123683E,	/* btrfs */
	0x01021994,	/* tmpfs */
	OVERLAYFS,
	0xF2F52010,	/* f2fs */
	0x2FC12FC1,	/* zfs */
	0xCA451A4E,	/* bcachefs */
	0x01021997,	/* 9p: this machine is a guest, and who runs the server owns all of it */
};

bool unchanged_is_known(int fd)
{
	struct statfs fs;

	if (fstatfs(fd, &fs) < 0)
		return false;
	for (size_t i = 0; i < sizeof(known_file_systems) / sizeof(known_file_systems[0]); i++)
		if ((unsigned)fs.f_type == known_file_systems[i])
			return true;
	return false;
}

bool unchanged_is_settled(const struct timespec *ctime, const struct timespec *now)
{
	return ctime->tv_sec + SETTLED_S < now->tv_sec;
}

void unchanged_write_back(int fd)
{
	struct statfs fs;

	/* sync_file_range looks at overlayfs's own pages, and it has none: they are the file system's below. */
	if (fstatfs(fd, &fs) == 0 && (unsigned)fs.f_type == OVERLAYFS)
		(void)fdatasync(fd);
	(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WAIT_BEFORE | SYNC_FILE_RANGE_WRITE | SYNC_FILE_RANGE_WAIT_AFTER);
}

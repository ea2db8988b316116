/* SPDX-License-Identifier: Apache-2.0 */
/*
 * mount.h - the script's file tree, built on /root of the initramfs.
 * The image must have the directories /proc, /dev and /tmp; /work, /out, /run
 * and /var/tmp are covered with writable memory where they exist.
 */
#ifndef DOLANIA_GUEST_MOUNT_H
#define DOLANIA_GUEST_MOUNT_H

#include "init.h"
#include "job.h"

#define MOUNT_ROOT "/root"	/* the image */
#define MOUNT_DISK "/disk"	/* the scratch disk, where it holds the copy of --work too */
#define MOUNT_WRITABLE "/t"	/* a tmpfs with --tmp's budget, out of the script's sight */

/* What depends on no job: /proc, the root image, /dev. */
int mount_image(struct fault *f) MUST_CHECK;

/* The writable file systems, and the job's further disks. */
int mount_job(const struct job *job, struct fault *f) MUST_CHECK;

/* Disk 1, an ext2 that another guest wrote, read-only on a new directory `target`. */
int mount_foreign(const char *target, struct fault *f) MUST_CHECK;

/* Makes the tree "/"; the initramfs is out of sight from here on. */
int mount_switch(struct fault *f) MUST_CHECK;

#endif

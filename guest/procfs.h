/* SPDX-License-Identifier: Apache-2.0 */
/* procfs.h - /proc as the script gets it. */
#ifndef DOLANIA_GUEST_PROCFS_H
#define DOLANIA_GUEST_PROCFS_H

#include "init.h"

/*
 * Mounts /proc: other users' processes are not there, and of the rest the script
 * can open what is on the list in procfs.c and nothing else.
 */
int procfs_mount(struct fault *f) MUST_CHECK;

/* Makes /proc/sys read-only, when init has no more to set there. */
int procfs_close_sysctl(struct fault *f) MUST_CHECK;

#endif

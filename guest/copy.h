/* SPDX-License-Identifier: Apache-2.0 */
/* copy.h - a directory and all that is in it, copied to another file system. */
#ifndef DOLANIA_GUEST_COPY_H
#define DOLANIA_GUEST_COPY_H

#include "job.h"

/*
 * Makes the directory `to` a copy of `from`, all of it the script's: names,
 * contents, modes, times, links, and names that are one file.  `names`: the path,
 * less a number, of directories that do not exist, on the file system of `to`; they
 * are there meanwhile, where they are needed.  0 or errno: ENOSPC when it does not
 * fit; what was copied by then stays.
 */
int copy_tree(const struct job *job, const char *from, const char *to, const char *names) MUST_CHECK;

#endif

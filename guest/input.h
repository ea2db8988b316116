/* SPDX-License-Identifier: Apache-2.0 */
/* input.h - what --in and --work gave, from the input disk to its places. */
#ifndef DOLANIA_GUEST_INPUT_H
#define DOLANIA_GUEST_INPUT_H

#include "init.h"
#include "job.h"

#define INPUT_DISK "/input"	/* where the disk is mounted, out of the script's sight */

/*
 * Binds each entry of the disk to its place in the script's tree, with the
 * mount's flags.  A place that is not there is made where the script could write;
 * in the image it must be there.  With WIRE_JOB_WORK bind 0 is a writable copy: an
 * overlay whose writable part counts as --tmp, or with copy_disk a copy on that disk.
 */
int input_bind(const struct job *job, unsigned long flags, struct fault *f) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * archive.h - the job without a script: what another guest left on a disk, as a tar.
 *
 * POSIX ustar, with pax headers where that has no room.  A hard link is sent as
 * a file of its own; links, pipes and devices as what they are (the host does
 * not take them).  What cannot be sent is an empty file behind a pax header
 * "DOLANIA.left-out", whose value says why: too-large, unreadable, socket,
 * too-deep, or damaged (sent already, but its end is zeroes).
 */
#ifndef DOLANIA_GUEST_ARCHIVE_H
#define DOLANIA_GUEST_ARCHIVE_H

#include "init.h"

/* Sends at most `most` bytes; *not_all when that was no room even for saying what is missing. */
int archive_collect(uint64_t most, int *not_all, struct fault *f) MUST_CHECK;

#endif

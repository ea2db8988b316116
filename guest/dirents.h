/* SPDX-License-Identifier: Apache-2.0 */
/* dirents.h - an entry of a directory, as getdents64(2) writes it. */
#ifndef DOLANIA_GUEST_DIRENTS_H
#define DOLANIA_GUEST_DIRENTS_H

#include <stdint.h>

enum { DIRENT_BYTES = 4096 };	/* of a buffer for them */

struct dirent_64 {
	uint64_t ino;
	int64_t next;		/* lseek there to go on after it */
	unsigned short bytes;
	unsigned char type;
	char name[];
};

#endif

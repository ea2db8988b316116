/* SPDX-License-Identifier: Apache-2.0 */
/*
 * init.h - what the files of init share: how a failure travels.
 *
 * Every step returns 0, or -1 after fault() noted what failed.  Only main sends
 * it, and only the first one counts.
 */
#ifndef DOLANIA_GUEST_INIT_H
#define DOLANIA_GUEST_INIT_H

#include <stddef.h>
#include <stdint.h>

#include "wire.h"

#define MUST_CHECK __attribute__((warn_unused_result))

struct fault {
	uint32_t step;		/* enum wire_step; 0: nothing failed */
	uint32_t which;
	int error;		/* errno */
};

/* Notes a failure; returns -1, so that a step can end with it. */
static inline int fault(struct fault *f, enum wire_step step, int error)
{
	if (f->step == 0) {
		f->step = step;
		f->error = error;
	}
	return -1;
}

/* CLOCK_MONOTONIC in ns, by system call: looking the vDSO up costs more. */
uint64_t now_ns(void);

#endif

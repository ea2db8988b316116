/* SPDX-License-Identifier: Apache-2.0 */
/* loopback.h - 127.0.0.1, where the kernel has it. */
#ifndef DOLANIA_GUEST_LOOPBACK_H
#define DOLANIA_GUEST_LOOPBACK_H

#include "init.h"

/* Brings `lo` up; in a kernel without INET there is nothing to do.  Errors: WIRE_STEP_LOOPBACK. */
int loopback_up(struct fault *f);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* collect.h - how the script ended, and what it used. */
#ifndef DOLANIA_GUEST_COLLECT_H
#define DOLANIA_GUEST_COLLECT_H

#include "relay.h"

/* The WIRE_EXIT frame of a run whose relay has returned; the script's tree is still there. */
struct wire_frame collect_exit(const struct relay *r);

/* The WIRE_EXIT frame after another guest's disk was sent. */
struct wire_frame collect_disk(int not_all);

/* The WIRE_EXIT frame of a run that init could not carry out. */
struct wire_frame collect_fault(const struct fault *f);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/* seed.h - what a fresh machine lacks: randomness and the time. */
#ifndef DOLANIA_GUEST_SEED_H
#define DOLANIA_GUEST_SEED_H

#include "init.h"

/* Credits the job's 256 bits, reseeds, and wipes them from `h`. After mount_switch. */
int seed_random(struct wire_job *h, struct fault *f) MUST_CHECK;

int seed_clock(const struct wire_job *h, struct fault *f) MUST_CHECK;

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * storm.h - how often a guest may leave to us, a rule for each kind of exit.  Knows no KVM.
 *
 * So many exits in a second are free.  Beyond them one of these holds: the run ends, or each further
 * exit of that second has to wait and the run ends only after so many waits.
 */
#ifndef DOLANIA_BASE_STORM_H
#define DOLANIA_BASE_STORM_H

#include <stdint.h>

enum storm_kind {
	STORM_PLAIN,		/* MMIO and port accesses, but for those that work of a device explains */
	STORM_MSR,		/* denied MSRs: a debugger's block step asks for one for ever */
	STORM_BUS_LOCK,		/* each one stops every CPU of the host */
	STORM_NOTIFY,		/* the guest let no event through for a while */
	STORM_KINDS,
};
enum storm_answer { STORM_GO_ON, STORM_WAIT, STORM_END };

enum { STORM_WINDOW_NS = 1000000000, STORM_WAIT_NS = 1000000 };

struct storm {
	struct storm_window {
		uint64_t since;		/* ns; 0: no window yet */
		uint64_t explained;	/* at its start */
		uint32_t exits, waits;
	} of[STORM_KINDS];
};

/* `explained`: exits that work explains, a running count.  `clock` (ns) is asked only when a window is full. */
enum storm_answer storm_judge(struct storm *s, enum storm_kind kind, uint64_t explained, uint64_t (*clock)(void));

#endif

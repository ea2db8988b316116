/* SPDX-License-Identifier: Apache-2.0 */
/*
 * err.h - what a fallible function returns.
 *
 * A class, not a number of things that went wrong: the class decides how the
 * run ends.  Details go to the report (report/report.h) where they happen.
 */
#ifndef DOLANIA_BASE_ERR_H
#define DOLANIA_BASE_ERR_H

enum err {
	OK = 0,
	ERR_GUEST,	/* the guest broke a rule: the run ends with protocol_violation */
	ERR_HOST,	/* the host refused something: host_io, host_oom, host_unsupported */
	ERR_LIMIT,	/* a limit of the run was reached */
	ERR_USAGE,	/* the caller of dolania-vmm gave nonsense */
	ERR_BUG,	/* our own invariant does not hold */
};

#define MUST_USE __attribute__((warn_unused_result))

#endif

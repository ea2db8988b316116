/* SPDX-License-Identifier: Apache-2.0 */
/*
 * jail.h - what the VMM gives up before the guest's first instruction.
 *
 * In this order: core dumps and ptrace by the same user, limits on new fds,
 * processes and files, every access to the file system by path (Landlock), new
 * privileges, and all system calls but those of jail/seccomp.c.  Each layer
 * fails closed: an error here ends the run before the guest starts.
 *
 * Namespaces and an empty root are not here: they need the supervisor's clone.
 */
#ifndef DOLANIA_JAIL_JAIL_H
#define DOLANIA_JAIL_JAIL_H

#include "vmm/base/err.h"

/* ERR_HOST with *why and errno.  There is no way back. */
MUST_USE enum err jail_enter(const char **why);

/* seccomp.c: the last layer; needs no_new_privs. */
MUST_USE enum err jail_seccomp(void);

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * confine.h - namespaces and an empty root around the VMM, and around the extractor, without root or a helper.
 *
 * The child is cloned into user, mount, pid, net, ipc, uts and cgroup
 * namespaces of its own.  Inside it is uid and gid CONFINE_ID; outside it is
 * the caller, or CONFINE_ID when the caller is root.  Order:
 *
 *	parent						child
 *	confine_clone() returns its pid			confine_clone() returns 0
 *	confine_map(): id maps, then "go"  --------->	confine_enter(): waits for "go",
 *							becomes CONFINE_ID, empty root
 *							fexecve of the VMM: its capabilities
 *							are gone with the exec
 *
 * Each step fails closed; *why is a constant text, errno says more.
 */
#ifndef DOLANIA_LIBDOLANIA_CONFINE_H
#define DOLANIA_LIBDOLANIA_CONFINE_H

#include <stdbool.h>
#include <sys/resource.h>
#include <sys/types.h>

enum { CONFINE_ID = 65534 };

/* How long a process that was killed may take to disappear: the kernel frees its memory first. */
enum { CONFINE_GONE_MS = 30000 };

/*
 * Fork into new namespaces, and into the cgroup of that descriptor if it is not -1 (clone3(2),
 * CLONE_INTO_CGROUP); *pidfd is the child's, closed on exec.  -1 and errno.
 */
pid_t confine_clone(int *pidfd, int cgroup);

/* Parent: write the maps of `pid` and let it go on, by a byte to `go_fd`.  0, or -1 with *why. */
int confine_map(pid_t pid, int go_fd, const char **why);

/* The same, for a child that is to be `uid` and `gid` outside: the caller's own, or any if the caller is root. */
int confine_map_as(pid_t pid, int go_fd, uid_t uid, gid_t gid, const char **why);

/* Child: 0, or -1 with *why. */
int confine_enter(int go_fd, const char **why);

/*
 * Waits for a child's end, `ms` at most; then kills it, and waits CONFINE_GONE_MS more.  A child may outlive
 * SIGKILL: in a system call that does not end, or held by a debugger.
 */
enum confine_end { CONFINE_ENDED, CONFINE_KILLED, CONFINE_LEFT };
enum confine_end confine_reap(pid_t pid, int pidfd, int ms, int *status);

/* True once it is reaped.  *held: it is dead, and somebody else's to reap first. */
bool confine_try_reap(pid_t pid, int pidfd, int *status, struct rusage *usage, bool *held);

#endif

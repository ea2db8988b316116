/* SPDX-License-Identifier: Apache-2.0 */
#define _GNU_SOURCE
#include "tools/extract/jail.h"

#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <signal.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#ifndef LANDLOCK_ACCESS_FS_TRUNCATE
#define LANDLOCK_ACCESS_FS_TRUNCATE (1ull << 14)	/* ABI 3 */
#endif
#ifndef LANDLOCK_ACCESS_FS_IOCTL_DEV
#define LANDLOCK_ACCESS_FS_IOCTL_DEV (1ull << 15)	/* ABI 5 */
#endif

static const unsigned calls[] = {
	SYS_read,		/* the archive */
	SYS_openat2,		/* directories on the way, new files */
	SYS_mkdirat,
	SYS_write,		/* data */
	SYS_close,
	SYS_unlinkat,		/* a file that did not become whole */
	SYS_exit_group,
};
enum { CALLS = sizeof(calls) / sizeof(calls[0]), FILTER_MAX = 12 + 2 * CALLS };

enum { OPEN_FILES = 32 };

/* Every right that this kernel knows is handled; these are given, beneath `dir`. */
static int only_beneath(int dir, const char **why)
{
	struct landlock_ruleset_attr all = { .handled_access_fs = (LANDLOCK_ACCESS_FS_REFER << 1) - 1 };
	const struct landlock_path_beneath_attr here = {
		.allowed_access = LANDLOCK_ACCESS_FS_MAKE_REG | LANDLOCK_ACCESS_FS_MAKE_DIR |
				  LANDLOCK_ACCESS_FS_WRITE_FILE | LANDLOCK_ACCESS_FS_REMOVE_FILE,
		.parent_fd = dir,
	};
	long abi = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
	int fd, ret;

	*why = "Landlock (ABI 2, Linux 5.19) is not available: enable it with lsm=landlock,... on the host's "
	       "kernel command line";
	if (abi < 2)
		return -1;
	if (abi >= 3)
		all.handled_access_fs |= LANDLOCK_ACCESS_FS_TRUNCATE;
	if (abi >= 5)
		all.handled_access_fs |= LANDLOCK_ACCESS_FS_IOCTL_DEV;
	fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof all, 0);
	if (fd < 0)
		return -1;
	ret = (int)syscall(SYS_landlock_add_rule, fd, LANDLOCK_RULE_PATH_BENEATH, &here, 0);
	if (ret == 0)
		ret = (int)syscall(SYS_landlock_restrict_self, fd, 0);
	close(fd);
	return ret;
}

static int limit(int resource, rlim_t most)
{
	const struct rlimit l = { most, most };

	return setrlimit(resource, &l);
}

static int limits(uint64_t max_file_bytes, const char **why)
{
	*why = "setting its resource limits failed";
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || signal(SIGXFSZ, SIG_IGN) == SIG_ERR)
		return -1;
	return limit(RLIMIT_CORE, 0) < 0 || limit(RLIMIT_NPROC, 0) < 0 || limit(RLIMIT_NOFILE, OPEN_FILES) < 0 ||
	       limit(RLIMIT_MEMLOCK, 0) < 0 || limit(RLIMIT_FSIZE, max_file_bytes) < 0 ? -1 : 0;
}

static int only_these_calls(const char **why)
{
	struct sock_filter op[FILTER_MAX];
	struct sock_fprog program = { .filter = op };
	unsigned short n = 0;

	*why = "seccomp filters are not available: the host's kernel needs CONFIG_SECCOMP_FILTER";
	op[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, arch));
	op[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0);
	op[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	op[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
	for (unsigned i = 0; i < CALLS; i++) {
		op[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, calls[i], 0, 1);
		op[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	}
	/* A file's time, of a file that is open: without a path. Both halves of the pointer are looked at. */
	op[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_utimensat, 0, 5);
	op[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]));
	op[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 3);
	op[n++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, args[1]) + 4);
	op[n++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0, 0, 1);
	op[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
	op[n++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS);
	program.len = n;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0);
}

int jail_enter(int dir, uint64_t max_file_bytes, const char **why)
{
	*why = "PR_SET_NO_NEW_PRIVS was refused";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return -1;
	if (only_beneath(dir, why) < 0 || limits(max_file_bytes, why) < 0)
		return -1;
	return only_these_calls(why);
}

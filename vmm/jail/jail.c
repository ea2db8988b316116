/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/jail/jail.h"

#include <errno.h>
#include <linux/landlock.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

static enum err limit(int resource, rlim_t most)
{
	const struct rlimit l = { most, most };

	return setrlimit(resource, &l) < 0 ? ERR_HOST : OK;
}

static enum err limits(const char **why)
{
	*why = "making the VMM non-dumpable failed";
	if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0)
		return ERR_HOST;
	*why = "setting the VMM's resource limits failed";
	if (limit(RLIMIT_CORE, 0) != OK ||	/* no guest memory in a core file */
	    limit(RLIMIT_NPROC, 2) != OK ||	/* us, and a worker that KVM_RUN itself may start */
	    limit(RLIMIT_NOFILE, 0) != OK ||	/* no new fd; those that are open stay */
	    limit(RLIMIT_MEMLOCK, 0) != OK)
		return ERR_HOST;
	return OK;
}

/* A ruleset that handles every right of ABI 2 and grants none. */
static enum err no_paths(const char **why)
{
	static const struct landlock_ruleset_attr all = {
		.handled_access_fs = (LANDLOCK_ACCESS_FS_REFER << 1) - 1,
	};
	int fd = (int)syscall(SYS_landlock_create_ruleset, &all, sizeof(all), 0);

	*why = "Landlock (ABI 2, Linux 5.19) is not available: enable it with lsm=landlock,... on the host's "
	       "kernel command line";
	if (fd < 0 || syscall(SYS_landlock_restrict_self, fd, 0) < 0)
		return ERR_HOST;
	close(fd);
	return OK;
}

enum err jail_enter(const char **why)
{
	enum err err;

	*why = "PR_SET_NO_NEW_PRIVS was refused";
	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
		return ERR_HOST;
	err = no_paths(why);
	err = err ? err : limits(why);
	if (err != OK)
		return err;
	*why = "seccomp filters are not available: the host's kernel needs CONFIG_SECCOMP_FILTER";
	return jail_seccomp();
}

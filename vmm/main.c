/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dolania-vmm: fds and argv in, exit code out.
 *
 *	dolania-vmm KEY=VALUE...
 *
 * Called by the supervisor (tools/libdolania) with every fd open already; a
 * researcher may call it the same way from a program of his own.  The keys are
 * the table below.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "vmm/base/relro.h"
#include "vmm/report/report.h"
#include "vmm/run.h"

static int complain(const char *what, const char *which)
{
	static const char prefix[] = "dolania-vmm: ";

	/* Nothing can be done about a stderr that is gone. */
	if (write(STDERR_FILENO, prefix, sizeof(prefix) - 1) < 0 ||
	    write(STDERR_FILENO, what, strlen(what)) < 0 ||
	    write(STDERR_FILENO, which, strlen(which)) < 0 ||
	    write(STDERR_FILENO, "\n", 1) < 0)
		return REPORT_STATUS_FAILED;
	return REPORT_STATUS_FAILED;
}

static bool parse_number(const char *text, uint64_t max, uint64_t *out)
{
	char *end;
	unsigned long long n;

	errno = 0;
	n = strtoull(text, &end, 10);
	if (*text < '0' || *text > '9' || *end != '\0' || errno != 0 || n > max)
		return false;
	*out = n;
	return true;
}

/* The value of `arg` when its key is `key`, else NULL. */
static const char *value_of(const char *arg, const char *key)
{
	size_t n = strlen(key);

	return strncmp(arg, key, n) == 0 && arg[n] == '=' ? arg + n + 1 : NULL;
}

static bool take_fd(struct run_config *c, const char *arg, bool *known)
{
	const struct {
		const char *key;
		int *fd;
	} fds[] = {
		{ "kvm", &c->kvm_fd },		{ "ram", &c->ram_fd },
		{ "shared", &c->shared_fd },	{ "kernel", &c->kernel_fd },
		{ "initrd", &c->initrd_fd },	{ "job", &c->job_fd },
		{ "stdin", &c->stdin_fd },	{ "stdout", &c->stdout_fd },
		{ "stderr", &c->stderr_fd },	{ "out", &c->out_fd },
		{ "notice", &c->notice_fd },
	};
	uint64_t n;

	*known = false;
	for (size_t i = 0; i < sizeof(fds) / sizeof(fds[0]); i++) {
		const char *value = value_of(arg, fds[i].key);

		if (value == NULL)
			continue;
		*known = true;
		if (!parse_number(value, INT32_MAX, &n))
			return false;
		*fds[i].fd = (int)n;
	}
	return true;
}

static bool take_disk(struct run_config *c, const char *value, bool writable, bool wipe)
{
	uint64_t n;

	if (c->disks == BUS_DISKS_MAX || !parse_number(value, INT32_MAX, &n))
		return false;
	c->disk_fd[c->disks] = (int)n;
	c->disk_wipe[c->disks] = wipe;
	c->disk_writable[c->disks++] = writable;
	return true;
}

static bool take(struct run_config *c, const char *arg)
{
	const char *value;
	bool known;

	if (!take_fd(c, arg, &known))
		return false;
	if (known)
		return true;
	if ((value = value_of(arg, "disk")) != NULL)
		return take_disk(c, value, false, false);
	if ((value = value_of(arg, "rwdisk")) != NULL)
		return take_disk(c, value, true, true);
	if ((value = value_of(arg, "useddisk")) != NULL)	/* that another guest wrote */
		return take_disk(c, value, false, true);
	if ((value = value_of(arg, "ram_bytes")) != NULL)
		return parse_number(value, UINT64_MAX, &c->ram_bytes);
	if ((value = value_of(arg, "wall_ns")) != NULL)
		return parse_number(value, INT64_MAX, &c->wall_ns);
	if ((value = value_of(arg, "cpu_ns")) != NULL)
		return parse_number(value, INT64_MAX, &c->cpu_ns);
	if ((value = value_of(arg, "cmdline")) != NULL) {
		c->cmdline = value;
		return true;
	}
	return false;
}

int main(int argc, char **argv)
{
	struct run_config c = {
		.kvm_fd = -1, .ram_fd = -1, .shared_fd = -1, .kernel_fd = -1, .initrd_fd = -1,
		.job_fd = -1, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .out_fd = -1,
		.notice_fd = -1, .disk_fd = { -1, -1, -1, -1 },
	};

	if (relro_seal() < 0)
		return complain("its tables could not be made read-only", "");
	for (int i = 1; i < argc; i++)
		if (!take(&c, argv[i]))
			return complain("bad argument: ", argv[i]);
	if (c.kvm_fd < 0 || c.ram_fd < 0 || c.shared_fd < 0 || c.kernel_fd < 0)
		return complain("called without ", "kvm=, ram=, shared= and kernel=; use dolania");
	if (run(&c) != 0)
		return complain("the report page could not be mapped", "");
	return REPORT_STATUS_OK;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.h - the story of one run: set up, (jail,) loop, discard.
 *
 * Everything a run needs is handed in as numbers; nothing is opened here but
 * what KVM makes (VM, vCPU), and nothing at all once the guest runs.
 */
#ifndef DOLANIA_RUN_H
#define DOLANIA_RUN_H

#include <stdbool.h>
#include <stdint.h>

#include "vmm/virtio/bus.h"

/* fds are -1 when absent; all are owned by the run from here on. */
struct run_config {
	int kvm_fd;
	int ram_fd;			/* sealed memfd of ram_bytes */
	int shared_fd;			/* sealed memfd of REPORT_SHARED_BYTES */
	int kernel_fd, initrd_fd;
	int job_fd;			/* memfd: what the guest reads from its control connection */
	int stdin_fd, stdout_fd, stderr_fd, out_fd;	/* pipes made by the supervisor */
	int notice_fd;
	int disk_fd[BUS_DISKS_MAX];
	bool disk_writable[BUS_DISKS_MAX];
	bool disk_wipe[BUS_DISKS_MAX];	/* a memfd that a guest wrote: not to outlive everybody */
	unsigned disks;
	uint64_t ram_bytes;
	uint64_t wall_ns;		/* 0 = no limit */
	uint64_t cpu_ns;		/* of this thread, guest and devices; 0 = no limit */
	const char *cmdline;		/* added to the kernel command line, or NULL */
};

/*
 * Do the run.  0 when the report page holds a verdict (the normal case, also
 * for failures); 1 when not even the report page could be had.
 */
int run(const struct run_config *c);

#endif

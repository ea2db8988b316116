/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system calls of the run loop, one a line; any other kills the process,
 * which the supervisor sees as a breach.  ioctl is allowed by request.
 *
 * The filter is built from the tables at run time: two instructions a call,
 * no library.
 */
#include <errno.h>
#include <linux/audit.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/mman.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

#include "vmm/jail/jail.h"

static const unsigned calls[] = {
	SYS_rt_sigtimedwait,	/* take the blocked signals */
	SYS_readv,		/* host to guest streams, into receive buffers */
	SYS_write,		/* guest to host streams, notices */
	SYS_preadv,		/* disks, and what KVM counts of the vCPU */
	SYS_pwritev,		/* the writable disk */
	SYS_close,		/* a stream that ended */
	SYS_clock_gettime,	/* CPU time in ticks and at the end; the rest is vDSO where there is one */
	SYS_lseek,		/* which guest memory holds pages, for overwriting */
	SYS_exit_group,
#ifdef __SANITIZE_ADDRESS__	/* test builds only: a sanitizer that writes its report */
	SYS_mmap,
	SYS_munmap,
#endif
};

static const unsigned requests[] = {
	(unsigned)KVM_RUN,		/* takes registers, too: kvm_dirty_regs in the vCPU's shared page */
	(unsigned)KVM_SIGNAL_MSI,
	(unsigned)KVM_SET_REGS,		/* overwriting the vCPU */
	(unsigned)KVM_SET_XSAVE,
	(unsigned)KVM_SET_SREGS,	/* an entry that runs nothing: see vcpu_flush() */
	(unsigned)KVM_SET_MP_STATE,
};

enum {
	CALLS = sizeof(calls) / sizeof(calls[0]),
	REQUESTS = sizeof(requests) / sizeof(requests[0]),
	FILTER_MAX = 13 + 2 * (CALLS + REQUESTS),
};

struct program {
	struct sock_filter op[FILTER_MAX];
	unsigned short n;
};

static void emit(struct program *p, struct sock_filter op)
{
	p->op[p->n++] = op;
}

static void load(struct program *p, size_t offset)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, (unsigned)offset));
}

static void verdict(struct program *p, unsigned action)
{
	emit(p, (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, action));
}

/* Return ALLOW when the loaded value is `value`. */
static void allow(struct program *p, unsigned value)
{
	emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, value, 0, 1));
	verdict(p, SECCOMP_RET_ALLOW);
}

static void build(struct program *p)
{
	p->n = 0;
	load(p, offsetof(struct seccomp_data, arch));
	emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, AUDIT_ARCH_X86_64, 1, 0));
	verdict(p, SECCOMP_RET_KILL_PROCESS);
	load(p, offsetof(struct seccomp_data, nr));
	/* ioctl first: it is nearly every call. */
	emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_ioctl, 0, 2 * REQUESTS + 2));
	load(p, offsetof(struct seccomp_data, args[1]));	/* the kernel, too, looks at 32 bits */
	for (unsigned i = 0; i < REQUESTS; i++)
		allow(p, requests[i]);
	verdict(p, SECCOMP_RET_KILL_PROCESS);
	for (unsigned i = 0; i < CALLS; i++)
		allow(p, calls[i]);
	/* Large pages for RAM that the guest begins to use. */
	emit(p, (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_madvise, 0, 3));
	load(p, offsetof(struct seccomp_data, args[2]));
	allow(p, MADV_COLLAPSE);
	verdict(p, SECCOMP_RET_KILL_PROCESS);
}

enum err jail_seccomp(void)
{
	struct program p;
	struct sock_fprog prog = { .filter = p.op };

	build(&p);
	prog.len = p.n;
	return prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog, 0, 0) < 0 ? ERR_HOST : OK;
}

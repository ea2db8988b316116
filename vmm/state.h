/* SPDX-License-Identifier: Apache-2.0 */
/*
 * state.h - all that one run holds; shared by run.c, setup.c, loop.c and clock.c only.
 */
#ifndef DOLANIA_STATE_H
#define DOLANIA_STATE_H

#include <signal.h>
#include <stdbool.h>
#include <time.h>

#include "vmm/base/storm.h"
#include "vmm/boot/image.h"
#include "vmm/irq/ioapic.h"
#include "vmm/kvm/vm.h"
#include "vmm/mem/gmem.h"
#include "vmm/report/report.h"
#include "vmm/run.h"
#include "vmm/virtio/bus.h"

struct run {
	const struct run_config *c;
	struct report *page;		/* start of the shared memfd */
	struct report_writer report;
	struct gmem mem;
	struct vm vm;
	struct ioapic ioapic;
	struct bus bus;
	sigset_t signals;		/* SIGIO, SIGALRM, SIGVTALRM, SIGTERM: blocked but in KVM_RUN */
	timer_t wall, boot, tick;
	uint64_t cpu_start;		/* thread CPU time that the limit and the report count from */
	bool over;			/* the verdict is in the report */
	bool pump_due;			/* a SIGIO was taken where its pipe could not be served */
	struct storm storm;		/* exits that moved nothing */
	uint32_t denied[64];		/* MSRs asked for after init was ready, each once */
	unsigned denied_msrs;
	uint64_t refused;		/* vsock connections that were reported */
};

/* setup.c: build the machine.  On error the verdict is in the report. */
MUST_USE enum err setup_machine(struct run *r);

/* loop.c: run the guest until the verdict is in the report. */
void loop_guest(struct run *r);

/* loop.c: what the devices call; `ctx` is the struct run. */
void loop_raise(void *ctx, unsigned pin);
void loop_frame(void *ctx, const struct wire_frame *frame);
void loop_msi(void *ctx, uint64_t address, uint32_t data);
bool loop_over(void *ctx);	/* a signal ended the run meanwhile: no more work for the guest */

/* clock.c: a timer of real time ticked; is one of its limits over? */
void clock_judge(struct run *r);

static inline uint64_t thread_cpu_ns(void)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

/* End the run with this verdict. */
static inline void run_end(struct run *r, enum report_end end, int host_errno, const char *detail)
{
	report_verdict(&r->report, end, host_errno, detail);
	r->over = true;
}

#endif

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The run loop: enter the guest, answer its exit, until the run is over.
 *
 * One thread, no handler, no race: SIGIO (a pipe became ready), SIGALRM (the
 * limits on time), SIGVTALRM (ticks of CPU time), SIGTERM (cancel, or the supervisor died) and SIGTSTP (wait for
 * SIGCONT) are always blocked, and unblocked by KVM only inside KVM_RUN.  A signal that arrives at any
 * other moment stays pending and makes the next KVM_RUN return at once.
 *
 * What the guest controls here: the exit reason's details (addresses, ports,
 * lengths, data).  An exit whose reason is not in the table ends the run.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <linux/kvm.h>
#include <string.h>

#include "vmm/base/chk.h"
#include "vmm/boot/layout.h"
#include "vmm/state.h"

/* Limits that no stock guest comes near, once its init is ready. */
enum { EXITS_PER_CHAIN = 4, SWEEP_MSRS = 64, SWEEP_UNMAPPED = 1024 };
/* At most 16 KiB of the host's page tables each; looked at in each tick, and in some exits. */
enum { SWEEP_TABLES = 256, UNMAPPED_PER_LOOK = 64 };

static const struct timespec no_time = { 0, 0 };

static unsigned severity(const struct run *r, unsigned after_ready)
{
	/* Before init is ready a stock kernel probes for hardware. */
	return r->page->phase >= REPORT_READY ? after_ready : 0;
}

/* What no stock driver does: the run ends, with the evidence. */
static void end_hostile(struct run *r, enum report_event_kind kind, uint64_t value, const char *why)
{
	if (r->over)		/* one verdict, and no event after it */
		return;
	report_event(&r->report, 3, kind, value);
	run_end(r, REPORT_END_PROTOCOL_VIOLATION, 0, why);
}

/* KVM makes page tables before it decides whether there is an exit, and keeps them. */
static void mind_tables(struct run *r)
{
	uint64_t n = stats_tables(&r->vm);

	if (n >= SWEEP_TABLES)
		end_hostile(r, REPORT_EV_UNMAPPED_SWEEP, n,
			    "the guest swept through addresses without memory: the host keeps page tables for them");
}

/* Not a real stop: in that the supervisor's end, SIGTERM, could not wake us. */
static void wait_for_cont(struct run *r)
{
	sigset_t wake;
	int sig;

	sigemptyset(&wake);
	sigaddset(&wake, SIGCONT);
	sigaddset(&wake, SIGTERM);
	while ((sig = sigwaitinfo(&wake, NULL)) < 0 && errno == EINTR)
		;
	if (sig != SIGCONT)
		run_end(r, REPORT_END_CANCELLED, 0, "");
}

static void on_tick(struct run *r)
{
	if (r->c->cpu_ns > 0 && thread_cpu_ns() - r->cpu_start >= r->c->cpu_ns)
		run_end(r, REPORT_END_CPU_LIMIT, 0, "");
	mind_tables(r);
}

/* Take the signals that are there, or the first that comes in `wait`. */
static void drain_signals(struct run *r, const struct timespec *wait)
{
	int sig;

	for (; (sig = sigtimedwait(&r->signals, NULL, wait)) > 0 || (sig < 0 && errno == EINTR); wait = &no_time) {
		if (sig == SIGALRM)
			clock_judge(r);
		else if (sig == SIGVTALRM)
			on_tick(r);
		else if (sig == SIGTERM)
			run_end(r, REPORT_END_CANCELLED, 0, "");
		else if (sig == SIGTSTP)
			wait_for_cont(r);
		else if (sig == SIGIO)
			r->pump_due = true;
	}
}

/*
 * An exit that may have moved nothing (base/storm.h has the rules).  Each request to a device explains
 * some (kick, interrupt status, acknowledge); a guest that makes thousands of others a second keeps the
 * host busy and does nothing for itself.  `ev`, `value`, `why`: the evidence, if it is too much.
 */
static void mind_storm(struct run *r, enum storm_kind kind, enum report_event_kind ev, uint64_t value, const char *why)
{
	static const struct timespec a_while = { 0, STORM_WAIT_NS };

	/* A stock kernel probes for hardware by plain exits. */
	if (r->over || (kind == STORM_PLAIN && r->page->phase < REPORT_READY))
		return;
	switch (storm_judge(&r->storm, kind, bus_chains(&r->bus) * EXITS_PER_CHAIN, report_now_ns)) {
	case STORM_GO_ON:
		break;
	case STORM_WAIT:
		drain_signals(r, &a_while);
		break;
	case STORM_END:
		end_hostile(r, ev, value, why);
		break;
	}
}

static void mind_plain(struct run *r, uint64_t value)
{
	mind_storm(r, STORM_PLAIN, REPORT_EV_EXIT_STORM, value,
		   "the guest made thousands of exits a second that moved nothing");
}

/* What a device said: go on, or end the run. */
static void settle(struct run *r, enum err err)
{
	const struct violation *v = &r->bus.violation;

	if (err == OK || r->over)	/* what the guest sent behind its end is not judged */
		return;
	if (err == ERR_GUEST) {
		r->page->violation = (struct report_violation){ v->slot, v->queue, v->index, v->rule, v->value, "" };
		strncpy(r->page->violation.name, violation_name((enum violation_rule)v->rule),
			sizeof(r->page->violation.name) - 1);
		end_hostile(r, v->rule >= VIOLATION_VSOCK_CID ? REPORT_EV_VSOCK : REPORT_EV_RING, v->value,
			    "the guest broke a rule of virtio");
		return;
	}
	run_end(r, REPORT_END_HOST_IO, r->bus.host_errno, "reading or writing a host file failed");
}

void loop_raise(void *ctx, unsigned pin)
{
	struct run *r = ctx;

	ioapic_raise(&r->ioapic, pin);
}

void loop_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct run *r = ctx;

	vm_msi(&r->vm, address, data);
}

/* init's word: it starts phases and ends the run, and changes nothing else. */
void loop_frame(void *ctx, const struct wire_frame *frame)
{
	struct run *r = ctx;

	if (r->over)	/* more frames in the kick that ended the run */
		return;
	if (frame->magic != WIRE_FRAME_MAGIC) {
		end_hostile(r, REPORT_EV_VSOCK, frame->magic, "a control frame without its magic number");
		r->bus.vsock.ended = true;
		return;
	}
	switch (frame->type) {
	case WIRE_READY:
		if (r->page->phase < REPORT_READY)
			report_phase(&r->report, REPORT_READY);
		break;
	case WIRE_STARTED:
		if (r->page->phase < REPORT_STARTED)
			report_phase(&r->report, REPORT_STARTED);
		break;
	case WIRE_EXIT:
		r->page->exit_frame = *frame;
		run_end(r, REPORT_END_GUEST_EXIT, 0, "");
		r->bus.vsock.ended = true;
		break;
	default:
		break;		/* a newer init's frame: not ours to judge */
	}
}

static void on_mmio(struct run *r)
{
	struct kvm_run *k = r->vm.run;
	const uint64_t addr = k->mmio.phys_addr;
	const uint32_t len = k->mmio.len;
	const bool is_write = k->mmio.is_write != 0;
	enum report_exit kind = REPORT_EXIT_MMIO_BLK;
	bool claimed = false;

	if (len == 0 || len > sizeof(k->mmio.data)) {
		run_end(r, REPORT_END_HOST_UNSUPPORTED, 0, "KVM reported an MMIO access of impossible length");
		return;
	}
	if (addr >= IOAPIC_BASE && addr < IOAPIC_BASE + IOAPIC_BYTES) {
		kind = REPORT_EXIT_MMIO_IOAPIC;
		claimed = ioapic_mmio(&r->ioapic, addr - IOAPIC_BASE, k->mmio.data, len, is_write);
	} else {
		if (addr >= BUS_BASE && addr < BUS_BASE + BUS_STRIDE)
			kind = REPORT_EXIT_MMIO_VSOCK;
		settle(r, bus_mmio(&r->bus, addr, k->mmio.data, len, is_write, &claimed));
	}
	/* Our init knows its ports, and the script cannot open a vsock. */
	for (; r->refused < r->bus.vsock.stats.refused; r->refused++)
		report_event(&r->report, 2, REPORT_EV_VSOCK_REFUSED, r->bus.vsock.stats.refused_port);
	if (!claimed) {
		kind = REPORT_EXIT_MMIO_UNMAPPED;
		memset(k->mmio.data, 0xff, sizeof(k->mmio.data));
		report_event(&r->report, severity(r, 1), REPORT_EV_UNMAPPED_MMIO, addr);
	}
	r->page->exits[kind]++;
	if (r->page->exits[REPORT_EXIT_MMIO_UNMAPPED] == SWEEP_UNMAPPED && !claimed)
		end_hostile(r, REPORT_EV_UNMAPPED_SWEEP, addr, "the guest swept through addresses without memory");
	else if (r->page->exits[REPORT_EXIT_MMIO_UNMAPPED] % UNMAPPED_PER_LOOK == 0 && !claimed)
		mind_tables(r);
	mind_plain(r, addr);
}

static void on_io(struct run *r)
{
	struct kvm_run *k = r->vm.run;
	const uint64_t bytes = (uint64_t)k->io.size * k->io.count;
	uint64_t *ram_exits = &r->page->exits[REPORT_EXIT_IO_RAM];

	if (!chk_range(k->io.data_offset, bytes, (uint64_t)r->vm.run_bytes)) {
		run_end(r, REPORT_END_HOST_UNSUPPORTED, 0, "KVM reported port data outside its page");
		return;
	}
	/* Our kernel does this once for each large page. */
	if (k->io.port == LAYOUT_RAM_PORT && k->io.direction == KVM_EXIT_IO_OUT && bytes == sizeof(uint32_t) &&
	    *ram_exits < r->mem.bytes / GMEM_LARGE_PAGE) {
		uint32_t n;

		++*ram_exits;
		memcpy(&n, (uint8_t *)k + k->io.data_offset, sizeof(n));
		gmem_use_large_pages(&r->mem, gpa(n * GMEM_LARGE_PAGE), GMEM_LARGE_PAGE);
		return;
	}
	r->page->exits[REPORT_EXIT_IO_UNMAPPED]++;
	report_event(&r->report, severity(r, 1), REPORT_EV_UNMAPPED_IO, k->io.port);
	if (k->io.direction == KVM_EXIT_IO_IN)
		memset((uint8_t *)k + k->io.data_offset, 0xff, bytes);
	mind_plain(r, k->io.port);
}

/* A kernel may ask for the same one for ever: a debugger's block step does. */
static bool new_denied_msr(struct run *r, uint32_t msr)
{
	for (unsigned i = 0; i < r->denied_msrs; i++)
		if (r->denied[i] == msr)
			return false;
	if (r->denied_msrs < SWEEP_MSRS)
		r->denied[r->denied_msrs++] = msr;
	return true;
}

/* An MSR outside the allow-list (kvm/msr.c): #GP, as on a CPU without it. */
static void on_msr(struct run *r)
{
	struct kvm_run *k = r->vm.run;

	r->page->exits[REPORT_EXIT_MSR]++;
	report_event(&r->report, severity(r, 1), REPORT_EV_MSR, k->msr.index);
	k->msr.data = 0;
	k->msr.error = 1;
	if (r->page->phase >= REPORT_READY && new_denied_msr(r, k->msr.index) && r->denied_msrs == SWEEP_MSRS)
		end_hostile(r, REPORT_EV_MSR_SWEEP, k->msr.index, "the guest swept through MSRs it does not have");
	mind_storm(r, STORM_MSR, REPORT_EV_EXIT_STORM, k->msr.index,
		   "the guest asked for MSRs it does not have, thousands of times a second and for long");
}

static void on_shutdown(struct run *r)
{
	r->page->exits[REPORT_EXIT_OTHER]++;
	report_event(&r->report, 1, REPORT_EV_SHUTDOWN, 0);
	run_end(r, REPORT_END_GUEST_PANIC, 0, "the guest's kernel panicked or its CPU triple-faulted");
}

static void on_internal_error(struct run *r)
{
	r->page->exits[REPORT_EXIT_OTHER]++;
	if (r->page->phase >= REPORT_READY) {
		end_hostile(r, REPORT_EV_STUCK, r->vm.run->internal.suberror,
			    "the guest made KVM emulate an instruction that it cannot emulate");
		return;
	}
	run_end(r, REPORT_END_HOST_UNSUPPORTED, 0,
		"this KVM cannot run an ordinary Linux kernel: it must emulate guest instructions "
		"and does not know one that Linux needs");
}

/*
 * What KVM cannot go on from.  Before init is ready it is the host's fault;
 * after it, the host has shown that it can run this guest, and it is the guest's.
 */
static void end_stuck(struct run *r, const char *why)
{
	if (r->page->phase >= REPORT_READY)
		end_hostile(r, REPORT_EV_STUCK, r->vm.run->exit_reason, why);
	else
		run_end(r, REPORT_END_HOST_UNSUPPORTED, 0, why);
}

static void on_fail_entry(struct run *r)
{
	end_stuck(r, "the CPU refused to enter the guest (KVM_EXIT_FAIL_ENTRY)");
}

/* Both only where KVM has VMX; asked for in kvm/vm.c. */
static void on_bus_lock(struct run *r)
{
	r->page->exits[REPORT_EXIT_OTHER]++;
	report_event(&r->report, severity(r, 1), REPORT_EV_BUS_LOCK, 0);
	mind_storm(r, STORM_BUS_LOCK, REPORT_EV_BUS_LOCK, 0, "the guest went on locking the bus");
}

static void on_notify(struct run *r)
{
	r->page->exits[REPORT_EXIT_OTHER]++;
	if (r->vm.run->notify.flags & KVM_NOTIFY_CONTEXT_INVALID) {
		end_stuck(r, "the CPU lost the guest's state (KVM_EXIT_NOTIFY)");
		return;
	}
	report_event(&r->report, severity(r, 2), REPORT_EV_NOTIFY, 0);
	mind_storm(r, STORM_NOTIFY, REPORT_EV_NOTIFY, 0, "the guest went on letting no event through");
}

static void on_intr(struct run *r)
{
	(void)r;	/* the signal itself is taken after EINTR */
}

static const struct {
	uint32_t reason;
	void (*handle)(struct run *r);
} exit_table[] = {
	{ KVM_EXIT_MMIO, on_mmio },
	{ KVM_EXIT_IO, on_io },
	{ KVM_EXIT_X86_RDMSR, on_msr },
	{ KVM_EXIT_X86_WRMSR, on_msr },
	{ KVM_EXIT_INTR, on_intr },
	{ KVM_EXIT_SHUTDOWN, on_shutdown },
	{ KVM_EXIT_INTERNAL_ERROR, on_internal_error },
	{ KVM_EXIT_FAIL_ENTRY, on_fail_entry },
	{ KVM_EXIT_X86_BUS_LOCK, on_bus_lock },
	{ KVM_EXIT_NOTIFY, on_notify },
};

static void handle_exit(struct run *r)
{
	const uint32_t reason = r->vm.run->exit_reason;

	for (size_t i = 0; i < sizeof(exit_table) / sizeof(exit_table[0]); i++) {
		if (exit_table[i].reason == reason) {
			exit_table[i].handle(r);
			return;
		}
	}
	end_stuck(r, "KVM left the guest for a reason outside our table");
}

bool loop_over(void *ctx)
{
	struct run *r = ctx;

	drain_signals(r, &no_time);
	return r->over;
}

void loop_guest(struct run *r)
{
	while (!r->over) {
		int e = vcpu_run(&r->vm);

		if (e == 0) {
			handle_exit(r);
		} else if (e == EINTR) {
			r->page->exits[REPORT_EXIT_INTR]++;
			drain_signals(r, &no_time);
		} else if (e == EIO && r->page->phase >= REPORT_READY) {
			/* KVM gave the machine up for what the guest did: an SMI to itself, for one. */
			end_hostile(r, REPORT_EV_STUCK, (uint64_t)e, "the guest made KVM give up its machine (KVM_RUN: EIO)");
		} else {
			run_end(r, e == ENOMEM ? REPORT_END_HOST_OOM : REPORT_END_HOST_UNSUPPORTED, e,
				"KVM_RUN failed");
		}
		if (!r->over && r->pump_due) {
			r->pump_due = false;
			settle(r, bus_pump(&r->bus));
		}
	}
}

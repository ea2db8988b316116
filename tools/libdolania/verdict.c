/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.c - from the VMM's wait status and report page to one reason and one line.
 *
 * What the guest controls here: its kernel log, and its exit frame (verdict_guest.c);
 * through a taken-over VMM the whole page.  Numbers are bounded, enums checked, text
 * escaped.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

#define NO_LINUX "'dolania doctor' explains, and tells where KVM is emulated"

static void guest_panic(struct session *s)
{
	const struct report *p = &s->r->report;
	struct guest_words words;
	char line[200] = "";

	/* The guest's own words, so escaped, and marked as its words in docs/result.md. */
	text_escape(s->r->detail, sizeof(s->r->detail), p->log, p->log_bytes, true);
	/* The last: the kernel says no more after it. */
	if (guest_log_says(p, "Kernel panic - not syncing: ", &words) > 0)
		text_escape(line, sizeof(line), words.at, words.bytes, false);
	if (line[0] != '\0')
		session_fail(s, DOLANIA_GUEST_PANIC, "the guest's kernel panicked: %s", line);
	else if (p->t_ready == 0)
		session_fail(s, DOLANIA_GUEST_PANIC, "the guest's kernel crashed while it booted, and left no panic "
			     "message (triple fault)");
	else
		session_fail(s, DOLANIA_GUEST_PANIC, "the guest's kernel crashed (triple fault)");
}

static void no_linux(struct session *s)
{
	session_fail(s, DOLANIA_HOST_UNSUPPORTED, "%s; " NO_LINUX, s->kvm_unfit);
}

/*
 * The script did not start in time.  A machine that got little of a processor meanwhile was kept
 * from it by the host's other work.
 */
static void boot_limit(struct session *s)
{
	uint64_t cpu = rusage_ns(&s->r->vmm_usage), took = s->r->ended_ns - s->r->started_ns;
	char limit[32], got[32];

	if (s->r->report.t_boot != 0 && kvm_is_unfit(s)) {
		no_linux(s);
		return;
	}
	dolania_format_ns(REPORT_BOOT_NS, limit, sizeof(limit));
	if (cpu < took / 4 && !s->r->vmm_left)
		session_fail(s, DOLANIA_BOOT_FAILED, "the guest did not boot within %s: the host is overloaded, or the "
			     "guest waited; its machine got %s of CPU time; run fewer at once",
			     limit, dolania_format_ns(cpu / NS_PER_MS * NS_PER_MS, got, sizeof(got)));
	else
		session_fail(s, DOLANIA_BOOT_FAILED, "the guest did not boot within %s", limit);
}

static void wall_limit(struct session *s)
{
	const struct report *p = &s->r->report;
	char limit[32], advice[POLICY_ADVICE_BYTES];
	const char *when = p->t_started != 0 ? "" : " before the script started";

	if (p->t_ready == 0 || s->o->wall_ns == 0) {
		boot_limit(s);
		return;
	}
	session_fail(s, DOLANIA_WALL_LIMIT, "wall limit of %s reached%s; %s",
		     dolania_format_ns(s->o->wall_ns, limit, sizeof(limit)), when,
		     policy_advice(s->o, SETTING_WALL, advice, sizeof(advice)));
}

static void cpu_limit(struct session *s)
{
	char limit[32], advice[POLICY_ADVICE_BYTES];

	session_fail(s, DOLANIA_CPU_LIMIT, "CPU time limit of %s reached; %s",
		     dolania_format_ns(s->o->cpu_ns, limit, sizeof(limit)),
		     policy_advice(s->o, SETTING_CPU_TIME, advice, sizeof(advice)));
}

static void cancelled(struct session *s)
{
	const char *name = sigabbrev_np(s->cancel_signal);

	if (s->policy_end != DOLANIA_NOT_RUN && s->cancel_signal == 0) {
		session_fail(s, s->policy_end, "%s", s->policy_why);
		return;
	}
	if (s->kvm_unfit[0] != '\0' && s->cancel_signal == 0) {	/* we gave up, nobody asked us to */
		no_linux(s);
		return;
	}
	s->r->code = s->cancel_signal != 0 ? s->cancel_signal : SIGTERM;
	session_fail(s, DOLANIA_CANCELLED, "cancelled by SIG%s", name != NULL ? name : "TERM");
}

uint64_t verdict_oom_kills(void)
{
	FILE *f = fopen("/proc/vmstat", "re");
	char line[128];
	uint64_t kills = 0;

	while (f != NULL && fgets(line, sizeof(line), f) != NULL)
		if (strncmp(line, "oom_kill ", 9) == 0)
			kills = strtoull(line + 9, NULL, 10);
	if (f != NULL)
		fclose(f);
	return kills;
}

static void vmm_died(struct session *s)
{
	int status = s->r->vmm_wait_status, sig = WIFSIGNALED(status) ? WTERMSIG(status) : 0;
	const char *name = sig != 0 ? sigabbrev_np(sig) : NULL;
	const char *log = s->r->vmm_log;
	struct rlimit ours;

	s->r->code = sig;
	if (s->r->vmm_left) {
		session_fail(s, DOLANIA_VMM_FAULT, "the VMM did not disappear, and left no verdict that can be true");
		return;
	}
	if ((sig == SIGKILL || sig == SIGXCPU) && getrlimit(RLIMIT_CPU, &ours) == 0 && ours.rlim_cur != RLIM_INFINITY &&
	    rusage_ns(&s->r->vmm_usage) + NS_PER_S >= ours.rlim_cur * NS_PER_S) {
		session_fail(s, DOLANIA_CPU_LIMIT, "the caller's limit of CPU time (ulimit -t %llu) was reached; raise it",
			     (unsigned long long)ours.rlim_cur);
		return;
	}
	if (sig == SIGKILL && s->r->cgroup.oom_kills > 0) {
		char limit[32];

		session_fail(s, DOLANIA_HOST_OOM, "the host's kernel killed the VMM: its cgroup reached its limit of %s, "
			     "which is more than a machine of this size needs",
			     dolania_format_bytes(s->r->cgroup.memory_max_bytes, limit, sizeof(limit)));
		return;
	}
	if (sig == SIGKILL && verdict_oom_kills() > s->oom_kills_before) {
		session_fail(s, DOLANIA_HOST_OOM, "the VMM was killed, and the host's kernel killed processes for "
			     "memory meanwhile; free memory or lower --memory");
		return;
	}
	if (sig == SIGKILL)
		session_fail(s, DOLANIA_VMM_FAULT, "the VMM was killed from outside (SIGKILL)");
	else if (sig != 0)
		session_fail(s, DOLANIA_VMM_FAULT, "the VMM crashed (signal %d, SIG%s); nothing of the run can be "
			     "trusted%s%s", sig, name != NULL ? name : "?", log[0] != '\0' ? ": " : "", log);
	else if (s->r->report.t_start == 0 && WEXITSTATUS(status) == 127)
		session_fail(s, DOLANIA_HOST_UNSUPPORTED, "the VMM could not be confined: %s; 'dolania doctor' tells "
			     "more", log);
	else
		session_fail(s, DOLANIA_VMM_FAULT, "the VMM ended with status %d and no verdict%s%s",
			     WEXITSTATUS(status), log[0] != '\0' ? ": " : "", log);
}

/* Kernel or initrd could not be used: name the file. */
static void boot_failed(struct session *s, const char *detail)
{
	const char *kernel = locate_kernel(s);
	const char *initrd = s->o->initrd != NULL ? s->o->initrd : s->paths.initrd;

	if (strstr(detail, "initrd") != NULL)
		session_fail(s, DOLANIA_BOOT_FAILED, "%s: %s", initrd, detail);
	else if (strstr(detail, "command line") != NULL)
		session_fail(s, DOLANIA_BOOT_FAILED, "--append: %s", detail);
	else
		session_fail(s, DOLANIA_BOOT_FAILED, "%s: %s", kernel, detail);
}

static void by_report(struct session *s)
{
	struct report *p = &s->r->report;
	char detail[REPORT_DETAIL_BYTES * 4 + 1], error[64] = "";

	p->detail[REPORT_DETAIL_BYTES - 1] = '\0';
	text_escape(detail, sizeof(detail), p->detail, strlen(p->detail), false);
	if (p->host_errno > 0)
		snprintf(error, sizeof(error), ": %s", error_text((uint64_t)p->host_errno));
	switch ((enum report_end)p->end) {
	case REPORT_END_GUEST_EXIT:
		if (policy_ends(s, p))
			session_fail(s, s->policy_end, "%s", s->policy_why);
		verdict_guest_exit(s);
		return;
	case REPORT_END_WALL_LIMIT:
		if (s->o->wall_ns == 0 || s->r->ended_ns < s->r->started_ns + s->o->wall_ns)
			break;		/* no such limit, or not yet: not the VMM we started */
		wall_limit(s);
		return;
	case REPORT_END_BOOT_LIMIT:
		if (s->r->ended_ns < s->r->started_ns + REPORT_BOOT_NS)
			break;
		boot_limit(s);
		return;
	case REPORT_END_CPU_LIMIT:
		if (s->o->cpu_ns == 0 || (!s->r->vmm_left && rusage_ns(&s->r->vmm_usage) < s->o->cpu_ns / 2))
			break;		/* the kernel counted otherwise: not the VMM we started */
		cpu_limit(s);
		return;
	case REPORT_END_CANCELLED:
		if (s->cancel_signal == 0 && s->kvm_unfit[0] == '\0' && s->policy_end == DOLANIA_NOT_RUN)
			break;		/* nobody did */
		cancelled(s);
		return;
	case REPORT_END_GUEST_PANIC: guest_panic(s); return;
	case REPORT_END_BOOT_FAILED: boot_failed(s, detail); return;
	case REPORT_END_PROTOCOL_VIOLATION:
		session_fail(s, DOLANIA_PROTOCOL_VIOLATION, "%s; the run was stopped", detail);
		return;
	case REPORT_END_HOST_UNSUPPORTED:
		session_fail(s, DOLANIA_HOST_UNSUPPORTED, "%s%s; " NO_LINUX, detail, error);
		return;
	case REPORT_END_HOST_IO: session_fail(s, DOLANIA_HOST_IO, "%s%s", detail, error); return;
	case REPORT_END_HOST_OOM:
		session_fail(s, DOLANIA_HOST_OOM, "the host has no memory for the run: %s%s; lower --memory",
			     detail, error);
		return;
	case REPORT_END_USAGE:
		session_fail(s, DOLANIA_USAGE, "the VMM refused its arguments: %s", detail);
		return;
	case REPORT_END_NONE:
	case REPORT_END_COUNT:
		break;
	}
	vmm_died(s);
}

static bool ring_is_sane(const struct report_ring *r)
{
	return r->head - r->tail <= REPORT_RING_BYTES;
}

/* Lost output must not look like success, whatever the script did. */
static void lost_output(struct session *s, const char *name, int error)
{
	if (error != 0)
		session_fail(s, DOLANIA_HOST_IO, "cannot write %s: %s; output was lost", name, strerror(error));
}

void verdict(struct session *s)
{
	struct dolania_result *r = s->r;
	bool sane = r->report.magic == REPORT_MAGIC && r->report.end < REPORT_END_COUNT &&
		    r->report.log_bytes <= REPORT_LOG_BYTES;

	if (r->report.log_bytes > REPORT_LOG_BYTES)
		r->report.log_bytes = 0;
	for (unsigned i = 0; i < REPORT_RINGS; i++)
		sane = sane && ring_is_sane(&r->report.ring[i]);
	if (r->vmm_left)
		notes_left(s, s->pid);
	if (s->abandoned) {
		cancelled(s);
		return;
	}
	notes_output(s);
	lost_output(s, "stdout", r->out.error);
	lost_output(s, "stderr", r->err.error);
	if ((r->vmm_killed || r->vmm_left) && sane && r->report.phase >= REPORT_ENDED && r->report.end != REPORT_END_NONE)
		by_report(s);		/* it had its verdict, and was late with the wipe */
	else if (r->vmm_killed && s->killed_for == KILL_WIPE)
		session_fail(s, DOLANIA_VMM_FAULT, "the VMM said that its guest runs no more, not why, and did not end");
	else if (r->vmm_killed && s->killed_for == KILL_WALL)
		wall_limit(s);
	else if (r->vmm_killed)
		cancelled(s);
	else if (r->vmm_left || !WIFEXITED(r->vmm_wait_status) || WEXITSTATUS(r->vmm_wait_status) != 0)
		vmm_died(s);
	else if (!sane)
		session_fail(s, DOLANIA_VMM_FAULT, "the VMM's report makes no sense; nothing of the run can be trusted");
	else
		by_report(s);
}

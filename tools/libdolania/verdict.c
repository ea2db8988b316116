/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict.c - from the VMM's wait status and report page to one reason and one line.
 *
 * What the guest controls here: its exit frame and its kernel log; through a
 * taken-over VMM the whole page.  Numbers are bounded, enums checked, text escaped.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

#define NO_LINUX "'dolania doctor' explains; 'tools/kvm-host -- COMMAND' runs a command where KVM is emulated"

static const char *image_name(const struct session *s)
{
	return s->r->runtime;
}

static void kill_by_signal(struct session *s, uint64_t g_signal)
{
	const char *name = sigabbrev_np((int)g_signal);

	s->r->code = (int)g_signal;
	if (g_signal == SIGPIPE && (s->r->out.closed || s->r->err.closed)) {
		session_fail(s, DOLANIA_SIGNALED, "the script was killed by SIGPIPE: %s was closed by its reader",
			     s->r->out.closed ? "stdout" : "stderr");
		return;
	}
	if (g_signal == SIGXFSZ && s->o->fsize_bytes != 0) {
		char size[32], advice[POLICY_ADVICE_BYTES];

		session_fail(s, DOLANIA_SIGNALED, "the script was killed by SIGXFSZ: a file grew beyond --fsize %s; %s",
			     dolania_format_bytes(s->o->fsize_bytes, size, sizeof(size)),
			     policy_advice(s->o, SETTING_FSIZE, advice, sizeof(advice)));
		return;
	}
	session_fail(s, DOLANIA_SIGNALED, "the script was killed by signal %d (SIG%s)", (int)g_signal,
		     name != NULL ? name : "?");
}

static void exec_failed(struct session *s, const uint64_t *v, bool found)
{
	const char *program = s->argv[0], *of = "", *name = "";
	bool is_interpreter = s->o->form == DOLANIA_FILE && program != s->script.place;

	if (is_interpreter) {
		of = ", the interpreter of ";
		name = s->script_is_stdin ? "the script on stdin" : s->o->script;
	}
	s->r->code = v[WIRE_EXIT_CODE] < 4096 ? (int)v[WIRE_EXIT_CODE] : 0;
	if (!found && is_interpreter && strchr(program, '\r') != NULL)
		session_fail(s, DOLANIA_NOT_FOUND, "%s: the '#!' line ends in a carriage return; save the script "
			     "with Unix line ends", name);
	else if (!found)
		session_fail(s, DOLANIA_NOT_FOUND, "%s%s%s: not in the image '%s'; choose another with --runtime",
			     program, of, name, image_name(s));
	else
		session_fail(s, DOLANIA_NOT_EXECUTABLE, "%s%s%s: cannot be executed in the guest: %s", program, of,
			     name, error_text(v[WIRE_EXIT_CODE]));
}

static void disk_failed(struct session *s, uint64_t g_which, const char *why)
{
	struct disk list[DISKS_MAX];
	unsigned n = disk_list(s, list);

	if (g_which == 0 || g_which >= n || list[g_which].option == NULL)
		session_fail(s, DOLANIA_BOOT_FAILED, "a disk cannot be mounted by the guest: %s", why);
	else
		session_fail(s, DOLANIA_BOOT_FAILED, "%s cannot be mounted on %s: %s; that directory must be in the "
			     "image '%s'", list[g_which].option, list[g_which].place, why, image_name(s));
}

static void init_failed(struct session *s, const uint64_t *v)
{
	static const char *const steps[] = {
		[WIRE_STEP_LINK] = "a connection to the host", [WIRE_STEP_JOB] = "the job",
		[WIRE_STEP_CGROUP] = "the script's cgroup", [WIRE_STEP_SWITCH] = "the change of root",
		[WIRE_STEP_ENTROPY] = "the random number generator", [WIRE_STEP_CLOCK] = "the clock",
		[WIRE_STEP_PIPES] = "the script's pipes", [WIRE_STEP_SPAWN] = "the script's process",
		[WIRE_STEP_IDENTITY] = "dropping privileges", [WIRE_STEP_SECCOMP] = "the system call filter",
		[WIRE_STEP_RELAY] = "the relay of the streams", [WIRE_STEP_LOOPBACK] = "the loopback interface",
		[WIRE_STEP_COLLECT] = "reading the disk of /out",
	};
	static const char *const places[] = {
		[WIRE_STEP_PROC] = "/proc", [WIRE_STEP_DEV] = "/dev", [WIRE_STEP_TMP] = "/tmp",
		[WIRE_STEP_WORK] = "/work", [WIRE_STEP_OUT] = "/out",
	};
	uint64_t step = v[WIRE_INIT_STEP];
	const char *why = error_text(v[WIRE_EXIT_CODE]);
	bool on_disk = s->o->work_dir != NULL && s->o->scratch_bytes > 0;	/* the directory of the script */
	char size[32], advice[POLICY_ADVICE_BYTES];

	if (step == WIRE_STEP_ROOT)
		session_fail(s, DOLANIA_BOOT_FAILED, "the image '%s' cannot be mounted by the guest: %s",
			     image_name(s), why);
	else if (step < sizeof(places) / sizeof(places[0]) && places[step] != NULL)
		session_fail(s, DOLANIA_BOOT_FAILED, "the image '%s' is not fit for a root: %s: %s (it needs the "
			     "directories /proc /dev /tmp /work)", image_name(s), places[step], why);
	else if (step == WIRE_STEP_DISK)
		disk_failed(s, v[WIRE_INIT_WHICH], why);
	else if (step == WIRE_STEP_BIND)
		inputs_place_failed(s, v[WIRE_INIT_WHICH], why, v[WIRE_EXIT_CODE] == ENOSPC);
	else if (step == WIRE_STEP_CHDIR)
		session_fail(s, DOLANIA_BOOT_FAILED, "--chdir %s: %s (in the guest)",
			     s->o->chdir != NULL ? s->o->chdir : "/work", why);
	else if (step == WIRE_STEP_SCRIPT)
		session_fail(s, DOLANIA_BOOT_FAILED, "the script does not fit into the guest's files: %s (%s %s); %s",
			     why, on_disk ? "--scratch" : "--tmp",
			     dolania_format_bytes(on_disk ? s->o->scratch_bytes : s->o->tmp_bytes, size, sizeof(size)),
			     policy_advice(s->o, on_disk ? SETTING_SCRATCH : SETTING_TMP, advice, sizeof(advice)));
	else
		session_fail(s, DOLANIA_BOOT_FAILED, "the guest's init failed at %s: %s",
			     step < sizeof(steps) / sizeof(steps[0]) && steps[step] != NULL ? steps[step]
											    : "an unknown step", why);
}

static void guest_exit(struct session *s)
{
	const struct wire_frame *g_frame = &s->r->report.exit_frame;
	const uint64_t *v = g_frame->v;
	uint64_t code = v[WIRE_EXIT_CODE];
	char size[32], advice[POLICY_ADVICE_BYTES];

	if (v[WIRE_EXIT_KIND] == WIRE_KIND_EXITED && code <= 255) {
		s->r->code = (int)code;
		session_fail(s, DOLANIA_EXITED, "%s", "");
		if (code == 126 || code == 127)
			notes_line_ends(s);
		notes_file_size(s, code);
	} else if (v[WIRE_EXIT_KIND] == WIRE_KIND_SIGNALED && code >= 1 && code <= 64) {
		kill_by_signal(s, code);
	} else if (v[WIRE_EXIT_KIND] == WIRE_KIND_NOT_EXECUTABLE) {
		exec_failed(s, v, true);
	} else if (v[WIRE_EXIT_KIND] == WIRE_KIND_NOT_FOUND) {
		exec_failed(s, v, false);
	} else if (v[WIRE_EXIT_KIND] == WIRE_KIND_OOM) {
		session_fail(s, DOLANIA_GUEST_OOM, "the script ran out of memory (limit %s); %s",
			     dolania_format_bytes(s->o->memory_bytes, size, sizeof(size)),
			     policy_advice(s->o, SETTING_MEMORY, advice, sizeof(advice)));
	} else if (v[WIRE_EXIT_KIND] == WIRE_KIND_INIT_FAILED && s->r->report.t_started != 0) {
		/* Else a guest could put its own end down to the host. */
		session_fail(s, DOLANIA_PROTOCOL_VIOLATION, "init said that it failed, after the script had started");
		return;
	} else if (v[WIRE_EXIT_KIND] == WIRE_KIND_INIT_FAILED) {
		init_failed(s, v);
		return;
	} else {
		session_fail(s, DOLANIA_PROTOCOL_VIOLATION, "the guest's last frame makes no sense (kind %" PRIu64
			     ", code %" PRIu64 ")", v[WIRE_EXIT_KIND], code);
		return;
	}
	notes_guest(s, v);
}

static void guest_panic(struct session *s)
{
	static const char what[] = "Kernel panic - ";
	const struct report *p = &s->r->report;
	const char *at = memmem(p->log, p->log_bytes, what, sizeof(what) - 1), *end;
	char line[200] = "";

	/* The guest's own words, so escaped, and marked as its words in docs/result.md. */
	text_escape(s->r->detail, sizeof(s->r->detail), p->log, p->log_bytes, true);
	if (at != NULL) {
		end = memchr(at, '\n', (size_t)(p->log + p->log_bytes - at));
		text_escape(line, sizeof(line), at, (size_t)((end != NULL ? end : p->log + p->log_bytes) - at),
			    false);
	}
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

static void wall_limit(struct session *s)
{
	const struct report *p = &s->r->report;
	char limit[32], advice[POLICY_ADVICE_BYTES];
	const char *when = p->t_started != 0 ? "" : p->t_ready != 0 ? " before the script started"
								    : " while the guest was still booting";

	if (p->t_ready == 0 && p->t_boot != 0 && kvm_is_unfit(s)) {
		no_linux(s);
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
	if ((sig == SIGKILL || sig == SIGXCPU) && getrlimit(RLIMIT_CPU, &ours) == 0 && ours.rlim_cur != RLIM_INFINITY &&
	    rusage_ns(&s->r->vmm_usage) + NS_PER_S >= ours.rlim_cur * NS_PER_S) {
		session_fail(s, DOLANIA_CPU_LIMIT, "the caller's limit of CPU time (ulimit -t %llu) was reached; raise it",
			     (unsigned long long)ours.rlim_cur);
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
		guest_exit(s);
		return;
	case REPORT_END_WALL_LIMIT:
		if (s->o->wall_ns == 0 || s->r->ended_ns < s->r->started_ns + s->o->wall_ns)
			break;		/* no such limit, or not yet: not the VMM we started */
		wall_limit(s);
		return;
	case REPORT_END_CPU_LIMIT:
		if (s->o->cpu_ns == 0 || rusage_ns(&s->r->vmm_usage) < s->o->cpu_ns / 2)
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
	if (s->abandoned) {
		cancelled(s);
		return;
	}
	notes_output(s);
	lost_output(s, "stdout", r->out.error);
	lost_output(s, "stderr", r->err.error);
	if (r->vmm_killed && sane && r->report.phase >= REPORT_ENDED && r->report.end != REPORT_END_NONE)
		by_report(s);		/* it had its verdict, and was late with the wipe */
	else if (r->vmm_killed && s->killed_for == KILL_WALL)
		wall_limit(s);
	else if (r->vmm_killed)
		cancelled(s);
	else if (!WIFEXITED(r->vmm_wait_status) || WEXITSTATUS(r->vmm_wait_status) != 0)
		vmm_died(s);
	else if (!sane)
		session_fail(s, DOLANIA_VMM_FAULT, "the VMM's report makes no sense; nothing of the run can be trusted");
	else
		by_report(s);
}

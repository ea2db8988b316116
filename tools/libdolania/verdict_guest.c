/* SPDX-License-Identifier: Apache-2.0 */
/*
 * verdict_guest.c - the part of the verdict that init tells: how the script ended, or why it never began.
 *
 * What the guest controls here: every number of its last frame.  Kinds and steps
 * are looked up, the rest is bounded.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

static const char *image_name(const struct session *s)
{
	return s->r->runtime;
}

/* "SIGKILL", "SIGRTMIN+3": as `kill -l` of a guest's shell has it; the C library keeps two for itself. */
static void signal_name(int sig, char *to, size_t room)
{
	enum { RT_FIRST = 34, RT_LAST = 64 };
	const char *name = sigabbrev_np(sig);

	if (name != NULL)
		snprintf(to, room, "SIG%s", name);
	else if (sig == RT_FIRST || sig == RT_LAST)
		snprintf(to, room, sig == RT_FIRST ? "SIGRTMIN" : "SIGRTMAX");
	else if (sig > RT_FIRST)
		snprintf(to, room, "SIGRTMIN+%d", sig - RT_FIRST);
	else
		snprintf(to, room, "of the C library");
}

static void kill_by_signal(struct session *s, uint64_t g_signal)
{
	char name[24];

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
	signal_name((int)g_signal, name, sizeof(name));
	session_fail(s, DOLANIA_SIGNALED, "the script was killed by signal %d (%s)", (int)g_signal, name);
}

/* The runtime that has the program, by the name it is known by; "" where none does, or where it is this one. */
static const char *runtime_with(const struct session *s, const char *program)
{
	static const char *const known[][2] = {
		{ "python", "python" }, { "python3", "python" }, { "python3.11", "python" }, { "node", "node" },
		{ "nodejs", "node" }, { "npm", "node" }, { "npx", "node" }, { "cc", "toolchain" }, { "gcc", "toolchain" },
		{ "make", "toolchain" }, { "git", "toolchain" },
	};
	const char *slash = strrchr(program, '/');
	const char *name = slash == NULL ? program : slash + 1;

	if (slash != NULL && strncmp(program, "/bin/", 5) != 0 && strncmp(program, "/usr/bin/", 9) != 0)
		return "";
	for (size_t i = 0; i < sizeof(known) / sizeof(known[0]); i++)
		if (strcmp(name, known[i][0]) == 0 &&
		    (strncmp(image_name(s), known[i][1], strlen(known[i][1])) != 0))
			return known[i][1];
	return "";
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
		session_fail(s, DOLANIA_NOT_FOUND, "%s%s%s: not in the image '%s'%s%s", program, of, name, image_name(s),
			     runtime_with(s, program)[0] == '\0' ? "" : "; it is with --runtime ", runtime_with(s, program));
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

void verdict_guest_exit(struct session *s)
{
	const struct wire_frame *g_frame = &s->r->report.exit_frame;
	const uint64_t *v = g_frame->v;
	uint64_t code = v[WIRE_EXIT_CODE];
	char size[32], advice[POLICY_ADVICE_BYTES];

	if (v[WIRE_EXIT_KIND] == WIRE_KIND_EXITED && code <= 255) {
		s->r->code = (int)code;
		session_fail(s, DOLANIA_EXITED, "%s", "");
		notes_script(s, code);
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
		s->r->by_init = true;	/* nobody else can tell that no script ran */
		init_failed(s, v);
		return;
	} else {
		session_fail(s, DOLANIA_PROTOCOL_VIOLATION, "the guest's last frame makes no sense (kind %" PRIu64
			     ", code %" PRIu64 ")", v[WIRE_EXIT_KIND], code);
		return;
	}
	notes_guest(s, v);
}

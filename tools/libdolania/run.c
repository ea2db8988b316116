/* SPDX-License-Identifier: Apache-2.0 */
/*
 * run.c - the story of a run, from outside.
 *
 *	look at everything that can be wrong, while nothing has begun
 *	make memfds and pipes, start the VMM, relay, wait          (supervise.c)
 *	look whether guest memory is overwritten; else do it       (discard.c)
 *	say why it ended                                           (verdict.c)
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/settings.h"

void dolania_defaults(struct dolania_options *o)
{
	*o = (struct dolania_options){
		.form = DOLANIA_FILE, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .signal_fd = -1,
		.events_fd = -1, .progress_fd = -1, .kill_severity = 3,
	};
	for (unsigned i = 0; i < SETTINGS; i++) {
		const struct setting *t = setting_get((enum setting_id)i);

		setting_set(t, o, t->standard);
	}
}

void dolania_result_init(struct dolania_result *r)
{
	unsigned char id[16];
	struct timespec now = { 0, 0 };

	memset(r, 0, sizeof(*r));
	if (getrandom(id, sizeof(id), 0) != (ssize_t)sizeof(id))
		memset(id, 0, sizeof(id));
	for (size_t i = 0; i < sizeof(id); i++)
		snprintf(r->run_id + 2 * i, 3, "%02x", id[i]);
	clock_gettime(CLOCK_REALTIME, &now);
	r->started_realtime_ns = (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

void dolania_result_release(struct dolania_result *r)
{
	for (unsigned i = 0; i < r->measures; i++)
		free(r->measured[i].name);
	r->measures = 0;
}

static int check_numbers(struct session *s)
{
	const struct dolania_options *o = s->o;
	uint64_t max = dolania_memory_max();
	char given[32], limit[32];

	if (o->memory_bytes < DOLANIA_MEMORY_MIN || o->memory_bytes > max)
		return session_fail(s, DOLANIA_USAGE, "--memory %s: must be from 16M to %s (what this host has, at "
				    "most 64G)", dolania_format_bytes(o->memory_bytes, given, sizeof(given)),
				    dolania_format_bytes(max, limit, sizeof(limit)));
	if (o->tmp_bytes < 1 << 20 || o->tmp_bytes > max)
		return session_fail(s, DOLANIA_USAGE, "--tmp %s: must be from 1M to %s",
				    dolania_format_bytes(o->tmp_bytes, given, sizeof(given)),
				    dolania_format_bytes(max, limit, sizeof(limit)));
	if (o->chdir != NULL && o->chdir[0] != '/')
		return session_fail(s, DOLANIA_USAGE, "--chdir %s: must be an absolute path in the guest", o->chdir);
	if (o->in_path != NULL && (o->in_path[0] != '/' || o->in_path[1] == '\0'))
		return session_fail(s, DOLANIA_USAGE, "--in DIR:%s: the place must be an absolute path in the guest, "
				    "and a directory of the image", o->in_path);
	for (size_t i = 0; i < o->env_count; i++)
		if (strchr(o->env[i], '=') == NULL || o->env[i][0] == '=')
			return session_fail(s, DOLANIA_USAGE, "--env %s: must be NAME=VALUE", o->env[i]);
	if (o->append != NULL && strlen(o->append) >= 4096)
		return session_fail(s, DOLANIA_USAGE, "--append: longer than 4095 bytes");
	return 0;
}

static void measure_all(struct session *s)
{
	const struct dolania_options *o = s->o;
	int vmm;

	if (!o->measure)
		return;
	vmm = open(s->paths.vmm, O_RDONLY | O_CLOEXEC);
	if (vmm >= 0) {
		measure_file(s, "vmm", s->paths.vmm, vmm);
		close(vmm);
	}
	measure_file(s, "kernel", locate_kernel(s), s->fd.kernel);
	measure_file(s, "initrd", o->initrd != NULL ? o->initrd : s->paths.initrd, s->fd.initrd);
	measure_file(s, "image", s->image_path, s->fd.root);
	if (o->append != NULL)
		measure_bytes(s, "cmdline", o->append, o->append, strlen(o->append));
	if (o->form == DOLANIA_FILE)
		measure_bytes(s, "script", o->script, s->script.text, s->script.bytes);
	else if (o->form == DOLANIA_CODE)
		measure_bytes(s, "script", "-c", o->script, strlen(o->script));
	if (o->in_dir != NULL)
		measure_file(s, "input", o->in_dir, s->fd.input);
}

/* Everything that can be wrong before there is a VM. */
static int prepare(struct session *s)
{
	if (check_numbers(s) < 0)
		return -1;
	if (dolania_locate(&s->paths) < 0)
		return session_fail(s, DOLANIA_HOST_IO, "cannot find out where dolania is installed "
				    "(/proc/self/exe); mount /proc");
	if (script_prepare(s) < 0 || locate_all(s) < 0)
		return -1;
	if (s->o->in_dir != NULL && pack_input(s) < 0)
		return -1;
	measure_all(s);
	s->ram_bytes = s->r->ram_bytes = ram_for(s->o);
	return job_build(s) < 0 ? -1 : spawn_prepare(s);
}

void dolania_run(const struct dolania_options *o, struct dolania_result *r)
{
	struct progress progress;
	struct session s = {
		.progress = &progress, .o = o, .r = r, .pidfd = -1,
		.fd = {
			.kvm = -1, .ram = -1, .shared = -1, .kernel = -1, .initrd = -1, .job = -1,
			.root = -1, .input = -1, .in = { -1, -1 }, .out = { -1, -1 }, .err = { -1, -1 },
			.notice = { -1, -1 }, .log = { -1, -1 },
		},
	};

	progress_begin(&progress, o->progress_fd);
	if (prepare(&s) == 0) {
		s.oom_kills_before = verdict_oom_kills();
		if (spawn_vmm(&s) == 0) {
			supervise(&s);
			memcpy(&r->report, s.page, sizeof(r->report));
			discard_verify(&s);
			verdict(&s);
			events_finish(&s);
		}
	} else if (s.cancel_signal != 0) {	/* while something was read or packed */
		const char *name = sigabbrev_np(s.cancel_signal);

		r->code = s.cancel_signal;
		session_fail(&s, DOLANIA_CANCELLED, "cancelled by SIG%s before the run began",
			     name != NULL ? name : "?");
	}
	progress_end(&progress);
	spawn_release(&s);
	script_release(&s);
}

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
#include "tools/libdolania/policy.h"
#include "tools/libdolania/settings.h"

void dolania_defaults(struct dolania_options *o)
{
	*o = (struct dolania_options){
		.form = DOLANIA_FILE, .stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .signal_fd = -1,
		.events_fd = -1, .progress_fd = -1, .kill_severity = 3, .cache_bytes = 1ull << 30,
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
	for (size_t i = 0; i < r->input_count; i++) {
		free(r->inputs[i].path);
		free(r->inputs[i].place);
		inputs_forget_left_out(&r->inputs[i].left_out);
	}
	free(r->inputs);
	r->inputs = NULL;
	r->input_count = 0;
}

/* What is memory of the host's: from `least` to what there is. */
static int check_size(struct session *s, const char *option, uint64_t bytes, uint64_t least, const char *why)
{
	uint64_t max = dolania_memory_max();
	char given[32], from[32], to[32];

	if (bytes >= least && bytes <= max)
		return 0;
	return session_fail(s, DOLANIA_USAGE, "%s %s: must be from %s to %s%s", option,
			    dolania_format_bytes(bytes, given, sizeof(given)), dolania_format_bytes(least, from, sizeof(from)),
			    dolania_format_bytes(max, to, sizeof(to)), why);
}

static int check_options(struct session *s)
{
	static const char host[] = " (it is memory of the host's)";
	const struct dolania_options *o = s->o;
	const uint64_t least = 1 << 20;

	if (check_size(s, "--memory", o->memory_bytes, DOLANIA_MEMORY_MIN, " (what this host has, at most 64G)") < 0 ||
	    check_size(s, "--tmp", o->tmp_bytes, least, "") < 0 ||
	    (o->out != NULL && check_size(s, "--disk", o->disk_bytes, least, host) < 0) ||
	    (o->scratch_bytes > 0 && check_size(s, "--scratch", o->scratch_bytes, least, host) < 0))
		return -1;
	if (o->chdir != NULL && o->chdir[0] != '/')
		return session_fail(s, DOLANIA_USAGE, "--chdir %s: must be an absolute path in the guest", o->chdir);
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

	if (!o->measure)
		return;
	if (s->fd.program >= 0)
		measure_file(s, "vmm", s->paths.vmm, s->fd.program);
	measure_file(s, "kernel", locate_kernel(s), s->fd.kernel);
	measure_file(s, "initrd", o->initrd != NULL ? o->initrd : s->paths.initrd, s->fd.initrd);
	measure_file(s, "image", s->image_path, s->fd.root);
	if (o->append != NULL)
		measure_bytes(s, "cmdline", o->append, o->append, strlen(o->append));
	if (o->form == DOLANIA_FILE)
		measure_bytes(s, "script", o->script, s->script.text, s->script.bytes);
	else if (o->form == DOLANIA_CODE)
		measure_bytes(s, "script", "-c", o->script, strlen(o->script));
	if (s->inputs.count > 0)
		inputs_measure(s);
}

/* Everything that can be wrong before there is a VM. */
static int prepare(struct session *s)
{
	if (check_options(s) < 0)
		return -1;
	if (dolania_locate(&s->paths) < 0)
		return session_fail(s, DOLANIA_HOST_IO, "cannot find out where dolania is installed "
				    "(/proc/self/exe); mount /proc");
	if (inputs_plan(s) < 0 || script_prepare(s) < 0 || locate_all(s) < 0)
		return -1;
	if (s->inputs.count > 0 && (pack_inputs(s) < 0 || inputs_tell(s) < 0))
		return -1;
	if (s->o->scratch_bytes > 0 && disk_make(s, "--scratch", s->o->scratch_bytes, &s->fd.scratch) < 0)
		return -1;
	if (out_prepare(s) < 0)
		return -1;
	s->r->joined = stream_same(s->o->stdout_fd, s->o->stderr_fd);
	if (s->o->policy != NULL && (s->o->site != NULL || strcmp(s->o->policy->name, "standard") != 0) && policy_ids_are_mapped())
		session_note(s, "the caller is in a user namespace of its own: what a site's policy says may be the caller's word%s",
			     s->o->site == NULL ? "" : ", " POLICY_SITE " too");
	s->fd.program = open(s->paths.vmm, O_RDONLY | O_CLOEXEC);	/* what is hashed is what is executed */
	measure_all(s);
	if (s->cancel_signal != 0)
		return -1;
	s->ram_bytes = s->r->ram_bytes = ram_for(s->o);
	return job_build(s) < 0 ? -1 : spawn_prepare(s);
}

void dolania_run(const struct dolania_options *o, struct dolania_result *r)
{
	struct progress progress;
	struct session s = {
		.progress = &progress, .o = o, .r = r, .pidfd = -1,
		.fd = SESSION_NO_FDS, .cgroup = CGROUP_NONE,
	};

	progress_begin(&progress, o->progress_fd);
	if (prepare(&s) == 0) {
		s.oom_kills_before = verdict_oom_kills();
		if (spawn_vmm(&s) == 0) {
			supervise(&s);
			spawn_ended(&s);
			memcpy(&r->report, s.page, sizeof(r->report));
			discard_verify(&s);
			verdict(&s);
			events_finish(&s);
			discard_disk(&s, &s.fd.scratch);
			out_return(&s);
			discard_disk(&s, &s.fd.out_disk);
		}
	} else if (s.cancel_signal != 0) {	/* while something was read or packed */
		const char *name = sigabbrev_np(s.cancel_signal);

		r->code = s.cancel_signal;
		session_fail(&s, DOLANIA_CANCELLED, "cancelled by SIG%s before the run began",
			     name != NULL ? name : "?");
	}
	progress_end(&progress);
	out_release(&s);
	spawn_release(&s);
	script_release(&s);
	inputs_release(&s);
}

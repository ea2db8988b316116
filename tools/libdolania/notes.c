/* SPDX-License-Identifier: Apache-2.0 */
/*
 * notes.c - what limits did though the run went on: told whatever its end.
 *
 * What the guest controls here: the numbers of its last frame, which are shown and
 * compared, nothing more.
 */
#include <inttypes.h>
#include <signal.h>
#include <string.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

static void tell_tmp(struct session *s, const uint64_t *v)
{
	const uint64_t page = 4096, files = tmp_files_max(s->o);
	char size[32], advice[POLICY_ADVICE_BYTES];
	const char *also;

	dolania_format_bytes(s->o->tmp_bytes, size, sizeof(size));
	policy_advice(s->o, SETTING_TMP, advice, sizeof(advice));
	also = strncmp(advice, "raise", 5) == 0 ? " and --memory" : "";
	if (v[WIRE_EXIT_TMP_BYTES] > s->o->tmp_bytes - page)
		session_note(s, "/tmp is full (--tmp %s, together with /work); %s", size, advice);
	else if (v[WIRE_EXIT_TMP_FILES] >= files)
		session_note(s, "/tmp is full: it holds %" PRIu64 " files (--tmp %s, a file for each 2 KiB); %s%s", files,
			     size, advice, also);
}

static void tell_disks(struct session *s, uint64_t g_places)
{
	struct disk list[DISKS_MAX];
	unsigned n = disk_list(s, list);

	for (unsigned i = 1; i < n; i++) {
		bool out = strcmp(list[i].role, "out") == 0;
		char size[32], advice[POLICY_ADVICE_BYTES];

		if (!list[i].writable || (g_places >> (i - 1) & 1) == 0)
			continue;
		session_note(s, "%s is full (%s %s%s); %s", list[i].place, out ? "--disk" : "--scratch",
			     dolania_format_bytes(out ? s->o->disk_bytes : s->o->scratch_bytes, size, sizeof(size)),
			     list[i].holds_copy ? ", together with /work" : "",
			     policy_advice(s->o, out ? SETTING_DISK : SETTING_SCRATCH, advice, sizeof(advice)));
	}
	if ((g_places & WIRE_PLACES_OUT_LEFT) != 0 && s->o->out == NULL)
		session_note(s, "what is in /out is gone with the machine; --out DIR returns it");
}

void notes_guest(struct session *s, const uint64_t *v)
{
	char size[32], advice[POLICY_ADVICE_BYTES];
	uint64_t killed = v[WIRE_EXIT_PLACES] >> WIRE_PLACES_KILLED_SHIFT;

	tell_tmp(s, v);
	tell_disks(s, v[WIRE_EXIT_PLACES]);
	if (v[WIRE_EXIT_PIDS_REFUSED] > 0)
		session_note(s, "guest refused %" PRIu64 " new process%s (--pids %" PRIu32 ", peak %" PRIu64 "); %s",
			     v[WIRE_EXIT_PIDS_REFUSED], v[WIRE_EXIT_PIDS_REFUSED] == 1 ? "" : "es", s->o->pids,
			     v[WIRE_EXIT_PIDS_PEAK], policy_advice(s->o, SETTING_PIDS, advice, sizeof(advice)));
	if (v[WIRE_EXIT_OOM_KILLS] > 0 && s->r->reason != DOLANIA_GUEST_OOM)
		session_note(s, "guest killed %" PRIu64 " processes for memory (--memory %s); %s", v[WIRE_EXIT_OOM_KILLS],
			     dolania_format_bytes(s->o->memory_bytes, size, sizeof(size)),
			     policy_advice(s->o, SETTING_MEMORY, advice, sizeof(advice)));
	if ((v[WIRE_EXIT_PLACES] & WIRE_PLACES_NO_MEMORY) != 0 && s->r->reason != DOLANIA_GUEST_OOM)
		session_note(s, "guest refused a request for more memory than it has (--memory %s); %s",
			     dolania_format_bytes(s->o->memory_bytes, size, sizeof(size)),
			     policy_advice(s->o, SETTING_MEMORY, advice, sizeof(advice)));
	if (killed > 0)
		session_note(s, "guest killed %" PRIu64 " process%s that the script left running; 'wait' in the script lets "
			     "them finish", killed, killed == 1 ? "" : "es");
}

/*
 * A shell tells its own end by what ended the program that it ran: 128 and the
 * signal.  A script may exit with that by itself, hence "may".
 */
void notes_file_size(struct session *s, uint64_t g_status)
{
	char size[32], advice[POLICY_ADVICE_BYTES];

	if (g_status == 128 + SIGXFSZ && s->o->fsize_bytes != 0)
		session_note(s, "status %d is what a shell makes of SIGXFSZ: a file may have grown beyond --fsize %s; %s",
			     128 + SIGXFSZ, dolania_format_bytes(s->o->fsize_bytes, size, sizeof(size)),
			     policy_advice(s->o, SETTING_FSIZE, advice, sizeof(advice)));
}

static bool reads_marks(const char *program)
{
	return strncmp(program, "python", 6) == 0 || strncmp(program, "node", 4) == 0;
}

/* What an editor does not show, and what a '#!' line means on every Linux. */
void notes_script(struct session *s, uint64_t g_status)
{
	const struct script *c = &s->script;
	const char *program = c->words > 0 ? shebang_program(c) : s->argv[0];
	const uint8_t *end = c->bytes > 0 ? memchr(c->text, '\n', c->bytes) : NULL;

	if (s->o->form != DOLANIA_FILE)
		return;
	if (program[0] == '\0')
		program = "the interpreter";
	if (shebang_has_bom(c) && !reads_marks(program))
		session_note(s, "the script begins with a byte order mark, which %s takes for a part of its first line; save it "
			     "without (as \"UTF-8\", not \"UTF-8 with BOM\")", program);
	if (g_status == 0)
		return;
	if (strchr(c->interp, '\r') != NULL || strchr(c->interp_arg, '\r') != NULL)
		session_note(s, "the '#!' line of the script ends in a carriage return; save it with Unix line ends");
	else if (end != NULL && end > c->text && end[-1] == '\r' && !reads_marks(program))
		session_note(s, "the lines of the script end in carriage returns, which %s takes for a part of them; save it with "
			     "Unix line ends", program);
	if (c->is_env && c->words == 2 && c->word[1] == c->interp_arg &&
	    strpbrk(c->interp_arg, " \t") != NULL)
		session_note(s, "Linux hands over all that follows %s in a '#!' line as one argument; write '#!%s -S %s'",
			     c->interp, c->interp, c->interp_arg);
}

static void tell_truncated(struct session *s, const char *name, const struct dolania_stream *t)
{
	char limit[32], advice[POLICY_ADVICE_BYTES];

	if (t->truncated)
		session_note(s, "%s was cut after %s of %llu bytes; %s", name,
			     dolania_format_bytes(s->o->output_bytes, limit, sizeof(limit)), (unsigned long long)t->bytes,
			     policy_advice(s->o, SETTING_OUTPUT, advice, sizeof(advice)));
}

void notes_left(struct session *s, pid_t vmm)
{
	session_note(s, "the VMM (process %ld) did not disappear: it is held by another process, or by the host's kernel; "
		     "it may still have memory of the run", (long)vmm);
}

void notes_output(struct session *s)
{
	if (s->o->kill_output)
		return;			/* the end itself tells it */
	tell_truncated(s, "stdout", &s->r->out);
	tell_truncated(s, "stderr", &s->r->err);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* inputs.c - what --in and --work name on the host, and where the script sees it. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

#define IN "/in"
#define WORK "/work"

/* True for `path` and everything beneath it. */
static bool is_beneath(const char *path, const char *top)
{
	size_t n = strlen(top);

	return strncmp(path, top, n) == 0 && (path[n] == '\0' || path[n] == '/');
}

static const char *kind_of(mode_t mode)
{
	return S_ISFIFO(mode) ? "a FIFO" : S_ISSOCK(mode) ? "a socket" : "a device";
}

const char *inputs_why_not(const char *name, mode_t mode)
{
	if (strlen(name) > NAME_MAX)
		return "a name of more than 255 bytes";
	return S_ISREG(mode) || S_ISDIR(mode) || S_ISLNK(mode) ? NULL : kind_of(mode);
}

bool inputs_vanished(int error)
{
	return error == ENOENT || error == ENOTDIR || error == ELOOP || error == ENXIO;
}

void inputs_forget_left_out(struct dolania_left_out *l)
{
	for (unsigned i = 0; i < l->listed; i++)
		free(l->entry[i].name);
	*l = (struct dolania_left_out){ 0 };
}

/* One note for all: there is room for a few only. */
void inputs_note_left_out(struct session *s)
{
	const struct inputs *in = &s->inputs;
	const struct source *first = NULL;
	uint64_t total = 0;

	for (size_t i = 0; i < in->count; i++) {
		total += in->source[i].left_out.total;
		if (first == NULL && in->source[i].left_out.listed > 0)
			first = &in->source[i];
	}
	if (first != NULL)
		session_note(s, "%llu entr%s of the inputs %s left out, first \"%.200s\" of %s %.100s: %s; --result lists them",
			     (unsigned long long)total, total == 1 ? "y" : "ies", total == 1 ? "was" : "were",
			     first->left_out.entry[0].name, first->option, first->path, first->left_out.entry[0].why);
}

/* "DIR:ro" and "DIR:in" are habits from elsewhere: say what is meant here. */
static int no_such_source(struct session *s, const struct source *c, int error)
{
	const char *colon = strcmp(c->option, "--in") == 0 ? strrchr(c->path, ':') : NULL;

	if (error == ENOENT && colon != NULL && strcmp(colon, ":ro") == 0)
		return session_fail(s, DOLANIA_USAGE, "%s %s: no such file; what --in shows is always read-only, leave "
				    "':ro' out", c->option, c->path);
	if (error == ENOENT && colon != NULL && strcmp(colon, ":rw") == 0)
		return session_fail(s, DOLANIA_USAGE, "%s %s: no such file; nothing of the host can be written; for a "
				    "writable copy use --work DIR", c->option, c->path);
	if (error == ENOENT && colon != NULL && colon > c->path) {
		char *name = strndup(c->path, (size_t)(colon - c->path));
		bool there = name != NULL && access(name, F_OK) == 0;

		free(name);
		if (there)
			return session_fail(s, DOLANIA_USAGE, "%s %s: the place in the guest must be an absolute path: "
					    "%.*s:" IN "/%s", c->option, c->path, (int)(colon - c->path), c->path,
					    colon + 1);
	}
	return session_fail(s, reason_of_file(error), "%s %s: %s", c->option, c->path, strerror(error));
}

static int look_at(struct session *s, struct source *c)
{
	if (c->path[0] == '\0')
		return session_fail(s, DOLANIA_USAGE, "%s '': no file or directory is named", c->option);
	if (stat(c->path, &c->st) < 0)
		return no_such_source(s, c, errno);
	c->directory = S_ISDIR(c->st.st_mode);
	if (!c->directory && !S_ISREG(c->st.st_mode))
		return session_fail(s, DOLANIA_USAGE, "%s %s: is %s; only files and directories can be given (put what "
				    "comes from it into a file)", c->option, c->path, kind_of(c->st.st_mode));
	if (!c->directory && strcmp(c->option, "--work") == 0)
		return session_fail(s, DOLANIA_USAGE, "--work %s: not a directory; a file is given with --in",
				    c->path);
	if (access(c->path, c->directory ? R_OK | X_OK : R_OK) < 0)
		return session_fail(s, DOLANIA_USAGE, "%s %s: %s; make it readable", c->option, c->path,
				    strerror(errno));
	return 0;
}

/* Without "//" and a '/' at the end; false where "." or ".." is in it. */
static bool normalize(char *place)
{
	char *to = place;

	for (const char *from = place; *from != '\0';) {
		size_t n = strcspn(from, "/");

		if ((n == 1 && from[0] == '.') || (n == 2 && from[0] == '.' && from[1] == '.') || n > NAME_MAX)
			return false;
		if (n > 0) {
			*to++ = '/';
			memmove(to, from, n);
			to += n;
		}
		from += n;
		from += strspn(from, "/");
	}
	*to = '\0';
	return true;
}

/* The default: a directory is /in, a file /in/NAME. */
static char *default_place(const struct source *c)
{
	const char *slash = strrchr(c->path, '/');
	char *place;

	if (c->directory)
		return strdup(IN);
	return asprintf(&place, IN "/%s", slash != NULL ? slash + 1 : c->path) < 0 ? NULL : place;
}

static int choose_place(struct session *s, struct source *c, const char *given)
{
	static const char *const whole[] = { "/proc", "/dev", "/sys" };
	static const char *const itself[] = { "", "/tmp", "/out", "/run", "/scratch", "/tmp/home" };
	size_t n = given != NULL ? strlen(given) : 0;

	if (given != NULL && given[0] != '/')
		return session_fail(s, DOLANIA_USAGE, "%s %s:%s: the place in the guest must be an absolute path",
				    c->option, c->path, given);
	if (given == NULL)
		c->place = default_place(c);
	else if (!c->directory && given[n - 1] == '/')	/* into that directory, by its own name */
		c->place = asprintf(&c->place, "%s%s", given, strrchr(c->path, '/') != NULL ? strrchr(c->path, '/') + 1
											   : c->path) < 0 ? NULL : c->place;
	else
		c->place = strdup(given);
	if (c->place == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for %s", c->option);
	if (!normalize(c->place) || strlen(c->place) >= PATH_MAX / 2)
		return session_fail(s, DOLANIA_USAGE, "%s %s:%s: '.', '..' and names of more than 255 bytes cannot be "
				    "in the place", c->option, c->path, given);
	for (size_t i = 0; i < sizeof(whole) / sizeof(whole[0]); i++)
		if (is_beneath(c->place, whole[i]))
			return session_fail(s, DOLANIA_USAGE, "%s %s:%s: %s is the guest's own; choose a place beneath "
					    IN, c->option, c->path, given, whole[i]);
	for (size_t i = 0; i < sizeof(itself) / sizeof(itself[0]); i++)
		if (strcmp(c->place, itself[i]) == 0)
			return session_fail(s, DOLANIA_USAGE, "%s %s:%s: would hide what the script needs there; choose "
					    "a place beneath " IN, c->option, c->path, given);
	return 0;
}

/*
 * All beneath /in is one mount of the guest, because /in is there and can be
 * filled at will.  Anywhere else a source is a mount of its own, unless it lies
 * beneath the place of another.  --work is a mount of its own, the first.
 */
static void choose_binds(struct inputs *in)
{
	for (size_t i = 0; i < in->count; i++) {
		struct source *c = &in->source[i];
		const char *top = c->place;

		if (strcmp(c->option, "--work") != 0) {
			for (size_t k = 0; k < in->count; k++)
				if (strcmp(in->source[k].option, "--work") != 0 && in->source[k].directory &&
				    is_beneath(top, in->source[k].place))
					top = in->source[k].place;
			if (is_beneath(top, IN))
				top = IN;
		}
		for (c->bind = 0; c->bind < in->binds; c->bind++)
			if (strcmp(in->bind[c->bind], top) == 0)
				break;
		if (c->bind == in->binds)
			in->bind[in->binds++] = top;
	}
	for (size_t i = 0; i < in->count; i++)
		for (size_t k = 0; k < in->count; k++)
			if (i != k && in->source[i].bind == in->source[k].bind &&
			    is_beneath(in->source[k].place, in->source[i].place))
				in->source[i].shares = in->source[i].directory;
}

/* The copy would be covered by it. */
static int check_covered(struct session *s)
{
	const struct inputs *in = &s->inputs;

	for (size_t i = 1; s->o->work_dir != NULL && i < in->count; i++)
		if (strcmp(in->source[i].place, WORK) == 0)
			return session_fail(s, DOLANIA_USAGE, "--in %s:" WORK " and --work %s: " WORK " is the copy; choose "
					    "another place for --in", in->source[i].path, s->o->work_dir);
	return 0;
}

int inputs_plan(struct session *s)
{
	const struct dolania_options *o = s->o;
	struct inputs *in = &s->inputs;
	size_t count = o->in_count + (o->work_dir != NULL);

	if (count == 0)
		return 0;
	if (count > INPUTS_MAX)
		return session_fail(s, DOLANIA_USAGE, "--in: given more than %d times; put files into a directory",
				    INPUTS_MAX - 1);
	in->source = calloc(count, sizeof(*in->source));
	if (in->source == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for --in");
	for (size_t i = 0; i < count; i++) {
		size_t k = i - (o->work_dir != NULL);
		bool work = o->work_dir != NULL && i == 0;
		struct source *c = &in->source[in->count++];

		c->option = work ? "--work" : "--in";
		c->path = work ? o->work_dir : o->in[k].path;
		if (look_at(s, c) < 0 || choose_place(s, c, work ? WORK : o->in[k].place) < 0)
			return -1;
	}
	if (check_covered(s) < 0)
		return -1;
	choose_binds(in);
	return 0;
}

/* `script` below `top`, both resolved; NULL: it is not. */
static const char *path_below(const char *script, const char *top)
{
	size_t n = strcmp(top, "/") == 0 ? 0 : strlen(top);

	return strncmp(script, top, n) == 0 && script[n] == '/' ? script + n : NULL;
}

bool inputs_script_place(const struct session *s, char *to, size_t room)
{
	char *top = s->o->work_dir != NULL ? realpath(s->o->work_dir, NULL) : NULL;
	char *script = top != NULL ? realpath(s->o->script, NULL) : NULL;
	const char *below = script != NULL ? path_below(script, top) : NULL;
	int n = below != NULL ? snprintf(to, room, WORK "%s", below) : -1;

	free(top);
	free(script);
	return n > 0 && (size_t)n < room;
}

int inputs_check_script(struct session *s)
{
	const struct inputs *in = &s->inputs;
	const char *place = s->script.place;
	char inside[PATH_MAX], *path;
	struct stat st;
	int there;

	for (size_t i = 0; i < in->count; i++)
		if (strcmp(in->source[i].option, "--in") == 0 && is_beneath(place, in->source[i].place))
			return session_fail(s, DOLANIA_USAGE, "--in %s:%s hides the place of the script (%s), which is "
					    "read-only then; choose another, or run a script of it: --exec -- "
					    "INTERPRETER %s/SCRIPT", in->source[i].path, in->source[i].place, place,
					    in->source[i].place);
	if (s->o->work_dir == NULL || (!s->script_is_stdin && inputs_script_place(s, inside, sizeof(inside))))
		return 0;
	if (asprintf(&path, "%s%s", s->o->work_dir, place + sizeof(WORK) - 1) < 0)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for --work");
	there = lstat(path, &st);
	if (there == 0)
		session_fail(s, DOLANIA_USAGE, "the script would take the place of %s in the copy; rename one, or run "
			     "what is in DIR", path);
	free(path);
	return there == 0 ? -1 : 0;
}

static int copy_too_large(struct session *s, enum dolania_reason why)
{
	char size[32], advice[POLICY_ADVICE_BYTES];

	return session_fail(s, why, "--work %s: the copy does not fit into --scratch (now %s), where all of it is kept; %s",
			    s->o->work_dir, dolania_format_bytes(s->o->scratch_bytes, size, sizeof(size)),
			    policy_advice(s->o, SETTING_SCRATCH, advice, sizeof(advice)));
}

int inputs_check_room(struct session *s)
{
	if (s->o->work_dir == NULL || s->o->scratch_bytes == 0 || s->inputs.source[0].room_bytes <= s->o->scratch_bytes)
		return 0;
	return copy_too_large(s, DOLANIA_USAGE);
}

void inputs_place_failed(struct session *s, uint64_t g_which, const char *why, bool full)
{
	const struct inputs *in = &s->inputs;

	if (full && g_which == 1 && s->o->work_dir != NULL && s->o->scratch_bytes > 0) {
		copy_too_large(s, DOLANIA_BOOT_FAILED);
		return;
	}
	for (size_t i = 0; i < in->count; i++)
		if (in->source[i].bind + 1 == g_which) {
			session_fail(s, DOLANIA_BOOT_FAILED, "%s %s cannot be mounted on %s: %s; in the image '%s' it "
				     "must be a %s (places beneath /in, /work and /tmp are made)",
				     in->source[i].option, in->source[i].path, in->bind[in->source[i].bind], why, s->r->runtime,
				     in->source[i].directory ? "directory" : "file");
			return;
		}
	session_fail(s, DOLANIA_BOOT_FAILED, "--in cannot be mounted: %s", why);
}

int inputs_tell(struct session *s)
{
	const struct inputs *in = &s->inputs;
	struct dolania_result *r = s->r;

	r->inputs = calloc(in->count, sizeof(*r->inputs));
	if (r->inputs == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for the list of --in");
	r->inputs_cached = in->cached;
	for (size_t i = 0; i < in->count; i++) {
		struct source *c = &in->source[i];
		struct dolania_seen *seen = &r->inputs[r->input_count++];

		*seen = (struct dolania_seen){
			.path = strdup(c->path), .place = strdup(c->place), .directory = c->directory,
			.writable = strcmp(c->option, "--work") == 0, .files = c->files, .bytes = c->bytes,
			.left_out = c->left_out,
		};
		c->left_out = (struct dolania_left_out){ 0 };	/* the result's from here on */
		if (seen->path == NULL || seen->place == NULL)
			return session_fail(s, DOLANIA_HOST_OOM, "no memory for the list of --in");
	}
	return 0;
}

/* Under the first one's name; the list of inputs has them all. */
void inputs_measure(struct session *s)
{
	const struct inputs *in = &s->inputs;

	if (in->digest_name[0] != '\0')
		measure_kept(s, "input", in->source[0].path, s->fd.input, in->digest_name);
	else
		measure_file(s, "input", in->source[0].path, s->fd.input);
}

void inputs_release(struct session *s)
{
	struct inputs *in = &s->inputs;

	layout_release(in);
	for (size_t i = 0; i < in->count; i++) {
		inputs_forget_left_out(&in->source[i].left_out);
		free(in->source[i].place);
	}
	free(in->source);
	*in = (struct inputs){ 0 };
}

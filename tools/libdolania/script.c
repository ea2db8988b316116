/* SPDX-License-Identifier: Apache-2.0 */
/* script.c - the script's text, its name in the guest, its runtime, its argv. */
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#define PLACE "/work/"

/* False when the run was cancelled meanwhile: a pipe may be silent for ever. */
static bool wait_readable(struct session *s, int fd)
{
	struct pollfd p[2] = { { .fd = fd, .events = POLLIN }, { .fd = s->o->signal_fd, .events = POLLIN } };

	while (p[0].revents == 0 && s->cancel_signal == 0) {
		if (poll(p, 2, -1) < 0 && errno != EINTR)
			break;
		if (p[1].revents != 0)
			session_take_signal(s);
	}
	return s->cancel_signal == 0;
}

static int read_all(struct session *s, int fd, const char *name)
{
	size_t room = 64 * 1024, have = 0;
	uint8_t *text = malloc(room);

	while (text != NULL) {
		ssize_t n = wait_readable(s, fd) ? read(fd, text + have, room - have) : 0;
		uint8_t *more;

		if (s->cancel_signal != 0) {
			free(text);
			return -1;
		}
		if (n < 0 && (errno == EINTR || errno == EAGAIN))
			continue;
		if (n < 0) {
			int e = errno;

			free(text);
			return session_fail(s, DOLANIA_USAGE, "%s: cannot read the script: %s", name, strerror(e));
		}
		if (n == 0)
			break;
		have += (size_t)n;
		if (have > WIRE_SCRIPT_MAX_BYTES) {
			free(text);
			return session_fail(s, DOLANIA_USAGE, "%s: the script is larger than %d MiB; put data "
					    "into a directory and give it with --in", name,
					    WIRE_SCRIPT_MAX_BYTES >> 20);
		}
		if (have < room)
			continue;
		room = room * 4 < WIRE_SCRIPT_MAX_BYTES ? room * 4 : WIRE_SCRIPT_MAX_BYTES + 1;
		more = realloc(text, room);
		if (more == NULL)
			free(text);
		text = more;
	}
	if (text == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for the script");
	s->script.text = text;
	s->script.bytes = have;
	return 0;
}

/* "run --work proj main.py": a script of the directory is named as the host has it. */
static int no_such_script(struct session *s, const char *path)
{
	const char *dir = s->o->work_dir;
	char there[4096];
	int n = dir != NULL && path[0] != '/' ? snprintf(there, sizeof(there), "%s%s%s", dir,
							 dir[0] != '\0' && dir[strlen(dir) - 1] == '/' ? "" : "/", path) : -1;

	if (n > 0 && (size_t)n < sizeof(there) && access(there, F_OK) == 0)
		return session_fail(s, DOLANIA_USAGE, "%s: no such script; did you mean %s?", path, there);
	return session_fail(s, DOLANIA_USAGE, "%s: no such script; for code on the command line use -c, "
			    "for a program in the image --exec", path);
}

static int open_script(struct session *s)
{
	const char *path = s->o->script;
	struct stat st;
	int fd, ret;

	s->script_is_stdin = strcmp(path, "-") == 0;
	if (s->script_is_stdin) {
		if (s->o->stdin_fd < 0)
			return session_fail(s, DOLANIA_USAGE, "'-' reads the script from stdin, but stdin is "
					    "closed or a terminal; pipe the script in or add -i");
		return read_all(s, s->o->stdin_fd, "stdin");
	}
	/* not blocking: a FIFO is waited for in wait_readable, where a signal ends it */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (fd < 0 && errno == ENOENT)
		return no_such_script(s, path);
	if (fd < 0)
		return session_fail(s, DOLANIA_USAGE, "%s: cannot open the script: %s%s", path, strerror(errno),
				    errno == EACCES ? "; make it readable (chmod u+r)" : "");
	if (fstat(fd, &st) < 0)
		ret = session_fail(s, DOLANIA_USAGE, "%s: %s", path, strerror(errno));
	else if (S_ISDIR(st.st_mode))
		ret = session_fail(s, DOLANIA_USAGE, "%s: is a directory; name the script in it, or give the "
				   "directory with --in", path);
	else if (S_ISCHR(st.st_mode) || S_ISBLK(st.st_mode))
		ret = session_fail(s, DOLANIA_USAGE, "%s: is a device, not a script; '-' reads a script from stdin",
				   path);
	else
		ret = read_all(s, fd, path);
	close(fd);
	return ret;
}

/* /work/NAME, with the name that it has on the host. */
static void choose_place(struct session *s)
{
	const char *slash = strrchr(s->o->script, '/');
	const char *name = slash != NULL ? slash + 1 : s->o->script;

	if (s->script_is_stdin)
		name = "script";
	else if (inputs_script_place(s, s->script.place, sizeof(s->script.place)))
		return;			/* where it is in the copy */
	snprintf(s->script.place, sizeof(s->script.place), PLACE "%s", name);
}

static bool has_suffix(const char *name, const char *suffix)
{
	size_t n = strlen(name), m = strlen(suffix);

	return n > m && strcmp(name + n - m, suffix) == 0;
}

static bool starts_with(const char *name, const char *start)
{
	return strncmp(name, start, strlen(start)) == 0;
}

static const char *runtime_of_interpreter(const struct script *c)
{
	const char *program = shebang_program(c);

	if (starts_with(program, "python"))
		return "python";
	return starts_with(program, "node") ? "node" : "base";
}

static const char *choose_runtime(const struct session *s)
{
	if (s->o->runtime != NULL)
		return s->o->runtime;
	if (s->o->form != DOLANIA_FILE)
		return "base";
	if (s->script.interp[0] != '\0')
		return runtime_of_interpreter(&s->script);
	return has_suffix(s->o->script, ".py") ? "python" : has_suffix(s->o->script, ".js") ? "node" : "base";
}

static void push(struct session *s, const char *arg)
{
	s->argv[s->argc++] = arg;
}

/* By name: python, python-data.  What an image named by its path holds nobody knows. */
static bool is_python(const char *runtime)
{
	return strncmp(runtime, "python", 6) == 0 && strchr(runtime, '/') == NULL;
}

/* Argv before the caller's arguments. */
static void push_file(struct session *s, const char *runtime)
{
	const struct script *c = &s->script;
	const char *name = s->o->script;

	if (c->words > 0) {
		for (unsigned i = 0; i < c->words; i++)
			push(s, c->word[i]);
	} else if (c->bytes >= 4 && memcmp(c->text, "\x7f" "ELF", 4) == 0) {
		;			/* a program: the guest's kernel knows what to do */
	} else if (has_suffix(name, ".py")) {
		push(s, "python3");
	} else if (has_suffix(name, ".js")) {
		push(s, "node");
	} else if (has_suffix(name, ".bash")) {
		push(s, "/bin/bash");
	} else if (has_suffix(name, ".sh")) {
		push(s, "/bin/sh");
	} else {
		push(s, is_python(runtime) ? "python3" : strcmp(runtime, "node") == 0 ? "node" : "/bin/sh");
	}
	push(s, c->place);
}

static void push_code(struct session *s, const char *runtime)
{
	if (is_python(runtime)) {
		push(s, "python3");
		push(s, "-c");
		push(s, s->o->script);
	} else if (strcmp(runtime, "node") == 0) {
		push(s, "node");
		push(s, "-e");
		push(s, s->o->script);
	} else {
		push(s, "/bin/sh");
		push(s, "-c");
		push(s, s->o->script);
		push(s, "sh");		/* $0; then $1 is the first argument */
	}
}

int script_prepare(struct session *s)
{
	const char *runtime;

	if (s->o->script == NULL || (s->o->form == DOLANIA_EXEC && s->o->script[0] == '\0'))
		return session_fail(s, DOLANIA_USAGE, "nothing to run: give a script, -c CODE, or --exec -- PROG");
	if (s->o->form == DOLANIA_FILE) {
		if (open_script(s) < 0)
			return -1;
		choose_place(s);
		if (inputs_check_script(s) < 0)
			return -1;
		if (shebang_read(s) < 0)
			return -1;
	}
	s->argv = calloc(s->o->args_count + SCRIPT_WORDS + 5, sizeof(*s->argv));
	if (s->argv == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for the arguments");
	runtime = choose_runtime(s);
	switch (s->o->form) {
	case DOLANIA_FILE: push_file(s, runtime); break;
	case DOLANIA_CODE: push_code(s, runtime); break;
	case DOLANIA_EXEC: push(s, s->o->script); break;
	}
	for (size_t i = 0; i < s->o->args_count; i++)
		push(s, s->o->args[i]);
	return locate_image(s, runtime);
}

void script_release(struct session *s)
{
	free(s->script.text);
	free(s->argv);
	s->script.text = NULL;
	s->argv = NULL;
}

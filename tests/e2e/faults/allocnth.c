/* SPDX-License-Identifier: Apache-2.0 */
/*
 * allocnth - one run through libdolania in which one allocation fails.
 *
 *	allocnth N		N from 1; 0 fails none
 *
 * Linked with --wrap=malloc and its kin, so that also the libraries' allocations
 * count.  The result goes to stdout; the last line of stderr is
 *
 *	allocs=N fds=BEFORE,AFTER children=N reason=NAME
 */
#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "tools/libdolania/dolania.h"

static long count, wanted;
static bool counting;

static bool fails(void)
{
	if (counting && ++count == wanted) {
		errno = ENOMEM;
		return true;
	}
	return false;
}

void *__real_malloc(size_t n);
void *__real_calloc(size_t n, size_t m);
void *__real_realloc(void *p, size_t n);
char *__real_strdup(const char *s);
void *__wrap_malloc(size_t n);
void *__wrap_calloc(size_t n, size_t m);
void *__wrap_realloc(void *p, size_t n);
char *__wrap_strdup(const char *s);

void *__wrap_malloc(size_t n)
{
	return fails() ? NULL : __real_malloc(n);
}

void *__wrap_calloc(size_t n, size_t m)
{
	return fails() ? NULL : __real_calloc(n, m);
}

void *__wrap_realloc(void *p, size_t n)
{
	return fails() ? NULL : __real_realloc(p, n);
}

char *__wrap_strdup(const char *s)
{
	return fails() ? NULL : __real_strdup(s);
}

static int count_fds(void)
{
	DIR *dir = opendir("/proc/self/fd");
	int n = 0;

	while (dir != NULL && readdir(dir) != NULL)
		n++;
	closedir(dir);
	return n;
}

int main(int argc, char **argv)
{
	static struct dolania_result r;
	struct dolania_options o;
	struct dolania_input in = { NULL, NULL };
	int before = count_fds(), after;
	char *text;

	wanted = argc > 1 ? atol(argv[1]) : 0;
	signal(SIGPIPE, SIG_IGN);
	dolania_defaults(&o);
	o.form = DOLANIA_FILE;
	o.script = argc > 2 ? argv[2] : "-";
	if (argc > 3) {
		in.path = argv[3];
		o.in = &in;
		o.in_count = 1;
	}
	o.stdout_fd = o.stderr_fd = 2;
	o.measure = true;
	dolania_result_init(&r);
	counting = true;
	dolania_run(&o, &r);
	text = dolania_result_json(&o, &r, dolania_exit_status(&r, DOLANIA_MIRROR));
	counting = false;
	after = count_fds();
	if (text != NULL)
		fputs(text, stdout);
	free(text);
	dolania_result_release(&r);
	fprintf(stderr, "\nallocs=%ld fds=%d,%d children=%d reason=%s\n", count, before, after,
		waitpid(-1, NULL, WNOHANG) == -1 && errno == ECHILD ? 0 : 1, dolania_reason_name(r.reason));
	return fflush(stdout) == 0 ? 0 : 1;
}

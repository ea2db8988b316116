/* SPDX-License-Identifier: Apache-2.0 */
/*
 * progress.c - one line on the caller's terminal while a run takes long.
 *
 *	dolania: running 12s/60s
 *
 * It is drawn only where the cursor is at the beginning of a line, and erased before
 * anything else goes there, so the streams are on the terminal what they would be
 * without it. Nothing of it is the guest's: phases and times only.
 *
 * A terminal that takes nothing (Ctrl-S) must not hold up the supervisor, so all
 * is written without waiting; what cannot be erased then stays.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

#define QUIET_NS (500 * NS_PER_MS)	/* a short run shows nothing */
#define STEP_NS (250 * NS_PER_MS)

void progress_begin(struct progress *p, int terminal)
{
	char path[32];

	*p = (struct progress){ .fd = -1, .from_ns = now_ns() + QUIET_NS };
	if (terminal < 0)
		return;
	snprintf(path, sizeof(path), "/proc/self/fd/%d", terminal);
	p->fd = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

void progress_end(struct progress *p)
{
	progress_clear(p);
	fd_close(&p->fd);
}

void progress_clear(struct progress *p)
{
	static const char erase[] = "\r\033[K";

	if (!p->drawn)
		return;
	p->drawn = false;
	p->text[0] = '\0';
	if (write(p->fd, erase, sizeof(erase) - 1) < 0 && errno != EAGAIN)
		fd_close(&p->fd);	/* nobody is there any more */
}

/* Not from the background, and not where the line would be longer than the terminal is wide. */
static bool fits(const struct progress *p, size_t columns)
{
	struct winsize size;
	pid_t front = tcgetpgrp(p->fd);

	if (front >= 0 && front != getpgrp())
		return false;
	return ioctl(p->fd, TIOCGWINSZ, &size) < 0 || size.ws_col == 0 || size.ws_col > columns;
}

static void draw(struct progress *p, const char *what)
{
	char line[sizeof(p->text) + 32];
	int n = snprintf(line, sizeof(line), "\rdolania: %s\033[K", what);

	if (strcmp(what, p->text) == 0 || !fits(p, strlen(what) + sizeof("dolania: ")))
		return;
	if (write(p->fd, line, (size_t)n) != n)
		return;
	p->drawn = true;
	snprintf(p->text, sizeof(p->text), "%s", what);
}

int progress_show(struct progress *p, const char *what, int timeout)
{
	const int step = (int)(STEP_NS / NS_PER_MS);
	uint64_t now;

	if (p->fd < 0)
		return timeout;
	now = now_ns();
	if (now >= p->from_ns) {
		p->from_ns = now + STEP_NS;
		draw(p, what);
	}
	return timeout < 0 || timeout > step ? step : timeout;
}

/* As the wall limit counts: from the script's start, which the VMM tells. */
static uint64_t progress_from(const struct session *s)
{
	uint64_t at = __atomic_load_n(&s->page->t_started, __ATOMIC_RELAXED);

	return at < s->r->started_ns || at > now_ns() ? s->r->started_ns : at;
}

int progress_run(const struct session *s, unsigned phase, int timeout)
{
	char limit[32] = "", what[sizeof(s->progress->text)];
	uint64_t seconds;

	if (s->progress->fd < 0)
		return timeout;
	if (s->collecting != NULL)
		return progress_show(s->progress, "collecting", timeout);
	if (phase >= REPORT_ENDED)
		return progress_show(s->progress, "overwriting", timeout);
	if (phase < REPORT_STARTED)
		return progress_show(s->progress, "booting", timeout);
	seconds = (now_ns() - progress_from(s)) / NS_PER_S;
	if (s->o->wall_ns > 0)
		dolania_format_ns(s->o->wall_ns, limit, sizeof(limit));
	snprintf(what, sizeof(what), "running %llus%s%s", (unsigned long long)seconds, limit[0] != '\0' ? "/" : "", limit);
	return progress_show(s->progress, what, timeout);
}

enum progress_place progress_place_of(int fd)
{
	struct stat st;

	if (fd < 0 || fstat(fd, &st) < 0)
		return PROGRESS_APART;
	if (S_ISCHR(st.st_mode) && isatty(fd))
		return PROGRESS_TERMINAL;
	return S_ISFIFO(st.st_mode) || S_ISSOCK(st.st_mode) ? PROGRESS_PIPE : PROGRESS_APART;
}

bool progress_may_follow(enum progress_place place, const struct stream *t)
{
	if (place == PROGRESS_TERMINAL)
		return t->bytes == 0 && t->stats->last_byte == '\n';
	return place == PROGRESS_APART || t->stats->delivered_bytes == 0;
}

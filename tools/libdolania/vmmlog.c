/* SPDX-License-Identifier: Apache-2.0 */
/*
 * vmmlog.c - the end of what a VMM writes to its log, which is a pipe to us.
 *
 * What the guest controls here: through a taken-over VMM, the bytes.
 */
#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

enum { READS = 2048 };		/* of half the buffer at least: as much as a pipe can be made to hold */

static ssize_t read_some(struct vmm_log *g, int fd)
{
	const size_t half = sizeof(g->text) / 2;
	ssize_t n;

	/* The last line is wanted, and the VMM must not wait for us: the older half makes room. */
	if (g->bytes > half) {
		memmove(g->text, g->text + g->bytes - half, half);
		g->bytes = half;
	}
	n = read(fd, g->text + g->bytes, sizeof(g->text) - g->bytes);
	if (n > 0)
		g->bytes += (size_t)n;
	return n;
}

void log_read(struct vmm_log *g, int *fd)
{
	ssize_t n = read_some(g, *fd);

	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		fd_close(fd);
}

void log_finish(struct vmm_log *g, int *fd)
{
	for (unsigned i = 0; *fd >= 0 && i < READS; i++) {
		ssize_t n = read_some(g, *fd);

		if (n == 0 || (n < 0 && errno != EINTR))
			break;
	}
	fd_close(fd);
}

void log_keep(const struct vmm_log *g, char *to, size_t room)
{
	size_t n = g->bytes, from;

	while (n > 0 && g->text[n - 1] == '\n')
		n--;
	for (from = n; from > 0 && g->text[from - 1] != '\n'; from--)
		;
	text_escape(to, room, g->text + from, n - from, false);
}

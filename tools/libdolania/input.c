/* SPDX-License-Identifier: Apache-2.0 */
/*
 * input.c - from the caller's stdin to the VMM's pipe.
 *
 * A pipe's pages are moved (splice); what cannot be moved now, or at all, goes through one buffer.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

static bool is_fifo(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISFIFO(st.st_mode);
}

void input_init(struct input *in, int user, int pipe)
{
	in->user = user;
	in->pipe = pipe;
	in->open = pipe >= 0;
	in->is_pipe = is_fifo(user);
	in->from = in->bytes = in->most = 0;
}

void input_end(struct input *in)
{
	in->open = false;
	in->bytes = 0;
	fd_close(&in->pipe);
}

void input_write(struct input *in)
{
	while (in->bytes > 0) {
		ssize_t n = write(in->pipe, in->raw + in->from, in->bytes);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {		/* the script reads no more */
			input_end(in);
			return;
		}
		in->from += (size_t)n;
		in->bytes -= (size_t)n;
	}
}

/* Somebody else may have taken what poll saw in a pipe: then this must not wait. */
static ssize_t read_now(struct input *in)
{
	struct iovec iov = { in->raw, sizeof(in->raw) };
	ssize_t got;

	if (in->is_pipe) {
		got = preadv2(in->user, &iov, 1, -1, RWF_NOWAIT);
		if (got >= 0 || errno != EOPNOTSUPP)
			return got;
	}
	return read(in->user, in->raw, sizeof(in->raw));
}

size_t input_read(struct input *in)
{
	ssize_t n = in->is_pipe ? splice(in->user, NULL, in->pipe, NULL, sizeof(in->raw), SPLICE_F_NONBLOCK) : -1;

	if (n > 0)
		return (size_t)n;
	/* Nothing moved, for whatever reason: reading and writing tell which. */
	n = read_now(in);
	if (n < 0 && (errno == EINTR || errno == EAGAIN))
		return 0;
	if (n <= 0) {
		input_end(in);
		return 0;
	}
	in->from = 0;
	in->bytes = (size_t)n;
	in->most = in->most > in->bytes ? in->most : in->bytes;
	input_write(in);
	return (size_t)n;
}

void input_release(struct input *in)
{
	fd_close(&in->pipe);
	explicit_bzero(in->raw, in->most);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * streams.c - one output stream, from the VMM's pipe to the caller's fd.
 *
 * What the guest controls here: the bytes and their number.
 *
 *   pipe ──read──▶ count, cut at the limit, keep the tail ──▶ pending ──write──▶ user
 *        ──splice──▶ count ──▶ user      much of it at once, far from the limit, to a pipe
 *
 * The pipe is read only when nothing is pending, so a slow reader slows the
 * script and nobody else.  Once the VMM is gone, what it left there is all: no end of
 * file is waited for, since another process may hold a copy of the VMM's end.  The caller's fd must not become non-blocking (that
 * would change it for everyone who shares it), so a pipe or terminal is opened
 * a second time; where that is refused, small writes after POLLOUT do not block.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <linux/kcmp.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

enum {
	CHUNK = STREAM_CHUNK_BYTES,
	MOVED_MIN = 8192,	/* less is as cheap to copy */
	LEFT = 64,		/* not moved but read: the last byte is looked at */
};

void stream_init(struct stream *t, struct dolania_stream *stats, int pipe, int user, bool clean,
		 uint64_t limit)
{
	struct stat st;

	t->stats = stats;
	stats->last_byte = '\n';
	t->pipe = pipe;
	t->user = user;
	t->own = -1;
	t->clean = clean;
	t->limit = limit;
	t->is_pipe = t->is_socket = t->tried_own = t->is_fifo = t->last = t->drained = false;
	t->from = t->bytes = t->most = t->rest = 0;
	t->utf8_have = t->utf8_want = 0;
	if (user >= 0 && fstat(user, &st) == 0) {
		t->is_fifo = S_ISFIFO(st.st_mode);
		t->is_pipe = t->is_fifo || S_ISCHR(st.st_mode);
		t->is_socket = S_ISSOCK(st.st_mode);
	}
}

bool stream_is_full(const struct stream *t)
{
	return t->bytes > 0;
}

void stream_drop(struct stream *t)
{
	uint64_t lost = t->clean ? 0 : t->bytes;	/* cleaned bytes cannot be counted back */

	t->stats->delivered_bytes -= lost;
	t->bytes = 0;
	t->user = -1;
}

void stream_hang_up(struct stream *t)
{
	t->stats->closed = true;
	stream_drop(t);
	/* The VMM sees EPIPE, tells the guest, and the script gets SIGPIPE. */
	fd_close(&t->pipe);
}

static ssize_t write_some(struct stream *t)
{
	const unsigned char *at = t->pending + t->from;

	if (t->is_socket)
		return send(t->user, at, t->bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (t->is_pipe && !t->tried_own) {
		char path[32];

		t->tried_own = true;
		snprintf(path, sizeof(path), "/proc/self/fd/%d", t->user);
		t->own = open(path, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
	}
	if (t->own >= 0)
		return write(t->own, at, t->bytes);
	/* It could not be opened anew, so a write may block: only when poll says now. */
	if (t->is_pipe) {
		struct pollfd now = { .fd = t->user, .events = POLLOUT };

		if (poll(&now, 1, 0) <= 0) {
			errno = EAGAIN;
			return -1;
		}
	}
	return write(t->user, at, t->is_pipe && t->bytes > PIPE_BUF ? PIPE_BUF : t->bytes);
}

void stream_write(struct stream *t)
{
	while (t->bytes > 0) {
		ssize_t n = write_some(t);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0 && errno == EAGAIN)
			return;
		if (n < 0) {
			t->stats->error = errno == EPIPE ? 0 : errno;
			stream_hang_up(t);
			return;
		}
		t->from += (size_t)n;
		t->bytes -= (size_t)n;
		if (t->own < 0 && (t->is_pipe || t->is_socket))
			return;		/* ask poll again first */
	}
}

static void keep_tail(struct dolania_stream *stats, const unsigned char *bytes, size_t n)
{
	const size_t room = sizeof(stats->tail);
	size_t keep;

	if (n > room) {
		bytes += n - room;
		n = room;
	}
	keep = stats->tail_bytes < room - n ? stats->tail_bytes : room - n;
	memmove(stats->tail, stats->tail + stats->tail_bytes - keep, keep);
	memcpy(stats->tail + keep, bytes, n);
	stats->tail_bytes = (uint32_t)(keep + n);
}

void stream_take(struct stream *t, const void *bytes, size_t n)
{
	uint64_t left = t->limit - t->stats->delivered_bytes;
	size_t pass = n < left ? n : (size_t)left;

	t->stats->bytes += n;
	/* The tail matters only near and past the limit; do not copy all the rest. */
	if (t->stats->bytes + sizeof(t->stats->tail) + CHUNK > t->limit)
		keep_tail(t->stats, bytes, n);
	if (pass < n)
		t->stats->truncated = true;
	t->stats->delivered_bytes += pass;
	if (t->user < 0 || pass == 0)
		return;
	t->stats->last_byte = ((const uint8_t *)bytes)[pass - 1];
	t->from = 0;
	if (t->clean) {
		t->bytes = terminal_clean(t, t->pending, bytes, pass);
	} else {
		memmove(t->pending, bytes, pass);
		t->bytes = pass;
	}
	t->most = t->most > t->bytes ? t->most : t->bytes;
	stream_write(t);
}

/* How much of the VMM's is in the pipe. */
static int left_there(const struct stream *t, int *there)
{
	if (ioctl(t->pipe, FIONREAD, there) < 0)
		return -1;
	if (t->last && (size_t)*there > t->rest)
		*there = (int)t->rest;
	return 0;
}

/*
 * Moves pages from pipe to pipe, uncopied; what it leaves there is read as ever.  Never so
 * much that what the tail may have to hold would be gone.
 */
static void move(struct stream *t)
{
	uint64_t seen = t->stats->bytes + sizeof(t->stats->tail);
	uint64_t room = t->limit > seen ? t->limit - seen : 0;
	int there;
	ssize_t n;

	if (t->user < 0 || t->own < 0 || !t->is_fifo || t->clean || left_there(t, &there) < 0 || there < MOVED_MIN)
		return;
	if (room > (uint64_t)there - LEFT)
		room = (uint64_t)there - LEFT;
	n = room == 0 ? 0 : splice(t->pipe, NULL, t->own, NULL, (size_t)room, SPLICE_F_NONBLOCK);
	if (n > 0) {
		t->stats->bytes += (uint64_t)n;
		t->stats->delivered_bytes += (uint64_t)n;
		t->rest -= t->last ? (size_t)n : 0;
	}
}

void stream_read(struct stream *t)
{
	/* Unchanged bytes are read to where they are written from. */
	unsigned char *to = t->clean ? t->raw : t->pending;
	ssize_t n;

	move(t);
	n = read(t->pipe, to, t->last && t->rest < CHUNK ? t->rest : CHUNK);
	if (n > 0) {
		t->rest -= t->last ? (size_t)n : 0;
		stream_take(t, to, (size_t)n);
	} else if (n == 0 || (errno != EINTR && (errno != EAGAIN || t->last))) {
		fd_close(&t->pipe);
	}
}

void stream_end(struct stream *t)
{
	fd_close(&t->pipe);
	if (t->clean && t->bytes == 0 && t->utf8_have > 0) {
		t->from = 0;
		t->bytes = terminal_flush(t, t->pending);
		if (t->user < 0)
			t->bytes = 0;
		stream_write(t);
	}
	t->drained = true;
}

void stream_release(struct stream *t)
{
	fd_close(&t->pipe);
	fd_close(&t->own);
	/* It held guest data. */
	explicit_bzero(t->raw, t->clean ? sizeof(t->raw) : 0);
	explicit_bzero(t->pending, t->most);
}

/* What the pipe had no room for lies in the ring.  True when all was taken. */
static bool take_ring(struct stream *t, struct report *page, unsigned ring)
{
	const unsigned char *data = (unsigned char *)page + REPORT_RING_OFF + ring * REPORT_RING_BYTES;
	struct report_ring *r = &page->ring[ring];
	uint64_t left = r->head - r->tail;
	size_t at = (size_t)(r->tail % REPORT_RING_BYTES), n;

	if (left == 0 || left > REPORT_RING_BYTES || t->stats->closed)
		return true;		/* more than fits is no count: verdict.c says so */
	n = left < STREAM_CHUNK_BYTES ? (size_t)left : STREAM_CHUNK_BYTES;
	if (n > REPORT_RING_BYTES - at)
		n = REPORT_RING_BYTES - at;
	r->tail += n;
	stream_take(t, data + at, n);
	return left == n;
}

/* What is in the pipe now is the VMM's last; what comes later is not the VMM's. */
static void take_pipe(struct stream *t)
{
	int there = 0;

	if (t->pipe >= 0 && !t->last) {
		t->rest = ioctl(t->pipe, FIONREAD, &there) < 0 || there < 0 ? 0 : (size_t)there;
		t->last = true;
	}
	while (t->pipe >= 0 && t->rest > 0 && !stream_is_full(t))
		stream_read(t);
	if (t->rest == 0)
		fd_close(&t->pipe);
}

void stream_finish(struct stream *t, struct report *page, unsigned ring)
{
	take_pipe(t);
	while (t->pipe < 0 && !t->drained && !stream_is_full(t))
		if (take_ring(t, page, ring))
			stream_end(t);
}

bool stream_same(int a, int b)
{
	struct stat x, y;

	if (a < 0 || b < 0 || fstat(a, &x) < 0 || fstat(b, &y) < 0 || x.st_dev != y.st_dev || x.st_ino != y.st_ino)
		return false;
	/* These have one order however often they were opened; a file has a place of each opening's. */
	if (S_ISFIFO(x.st_mode) || S_ISSOCK(x.st_mode) || S_ISCHR(x.st_mode))
		return true;
	if (a == b)
		return true;
	switch (syscall(SYS_kcmp, getpid(), getpid(), KCMP_FILE, (unsigned long)a, (unsigned long)b)) {
	case 0: return true;
	case -1: break;			/* forbidden, as in some containers, or not in this kernel */
	default: return false;
	}
	return lseek(a, 0, SEEK_CUR) == lseek(b, 0, SEEK_CUR) && fcntl(a, F_GETFL) == fcntl(b, F_GETFL);
}

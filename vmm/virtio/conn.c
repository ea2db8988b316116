/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.c - one virtio-vsock stream.
 *
 * What the guest controls here: how much it sends and when, its port number,
 * its buf_alloc and fwd_cnt (any u32 at any time), the SHUTDOWN flags and the
 * bytes themselves.  Data is accepted only within what we granted, counted by
 * us; the guest's own counts can only make it receive less.
 */
#include "vmm/virtio/conn.h"

#include <errno.h>
#include <unistd.h>

enum err conn_init(struct conn *c, const struct vsock_port *p,
		   void (*on_frame)(void *, const struct wire_frame *), void *ctx)
{
	if (p->ring.bytes & (p->ring.bytes - 1))
		return ERR_USAGE;
	*c = (struct conn){
		.state = CONN_UNUSED, .frames = p->frames,
		.in_fd = p->in_fd, .out_fd = p->out_fd, .ring = p->ring,
		.buf_alloc = p->ring.bytes && !p->frames ? p->ring.bytes : CONN_PLAIN_BUF_BYTES,
		.on_frame = on_frame, .ctx = ctx,
	};
	return OK;
}

static void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

void conn_open(struct conn *c, uint32_t guest_port)
{
	c->state = CONN_OPEN;
	c->guest_port = guest_port;
	c->pending = CONN_SEND_RESPONSE;
	c->in_ready = c->out_ready = true;
}

void conn_wake(struct conn *c)
{
	c->in_ready = c->out_ready = true;
}

void conn_close(struct conn *c, bool tell)
{
	c->state = CONN_CLOSED;
	c->pending = tell ? CONN_SEND_RST : 0;
	c->guest_done = true;
	fd_close(&c->in_fd);
}

void conn_guest_shutdown(struct conn *c, uint32_t g_flags)
{
	c->guest_shutdown |= g_flags & (CONN_SHUTDOWN_RECEIVE | CONN_SHUTDOWN_SEND);
	if (c->guest_shutdown == (CONN_SHUTDOWN_RECEIVE | CONN_SHUTDOWN_SEND)) {
		conn_close(c, true);	/* Linux waits for this RST (up to 8 s) */
		return;
	}
	if (c->guest_shutdown & CONN_SHUTDOWN_SEND)
		c->guest_done = true;
	if (c->guest_shutdown & CONN_SHUTDOWN_RECEIVE)
		fd_close(&c->in_fd);	/* whoever writes there learns it by EPIPE */
}

/* ---- guest to host ---- */

bool conn_takes(const struct conn *c)
{
	return !c->guest_done && (c->frames || c->ring.bytes > 0);
}

bool conn_grants(const struct conn *c, uint32_t len)
{
	uint32_t outstanding = c->rx_cnt - c->fwd_told;	/* never above buf_alloc */

	return len <= c->buf_alloc - outstanding;
}

/* Passed on: tell the guest once half of its credit can be renewed. */
static void forwarded(struct conn *c, uint32_t len)
{
	c->fwd_cnt += len;
	if (c->state == CONN_OPEN && !c->guest_done &&
	    c->fwd_cnt - c->fwd_told >= c->buf_alloc / 2)
		c->pending |= CONN_SEND_CREDIT;
}

uint32_t conn_place(struct conn *c, uint32_t len, uint8_t **place)
{
	uint32_t at, room;

	if (c->frames) {
		room = (uint32_t)sizeof c->frame - c->frame_bytes;
		*place = (uint8_t *)&c->frame + c->frame_bytes;
	} else {
		at = (uint32_t)c->head & (c->ring.bytes - 1);
		room = c->ring.bytes - (uint32_t)(c->head - c->tail);
		if (room > c->ring.bytes - at)
			room = c->ring.bytes - at;
		*place = c->ring.data + at;
	}
	return room < len ? room : len;
}

static void ring_show(const struct conn *c)
{
	if (c->ring.head)
		__atomic_store_n(c->ring.head, c->head, __ATOMIC_RELEASE);
	if (c->ring.tail)
		__atomic_store_n(c->ring.tail, c->tail, __ATOMIC_RELEASE);
}

void conn_placed(struct conn *c, uint32_t len)
{
	c->rx_cnt += len;
	c->bytes_out += len;
	if (!c->frames) {
		c->head += len;
		ring_show(c);
		return;
	}
	c->frame_bytes += len;
	if (c->frame_bytes == sizeof c->frame) {
		c->frame_bytes = 0;
		if (c->on_frame)
			c->on_frame(c->ctx, &c->frame);
	}
	forwarded(c, len);
}

/* Nobody reads any more: what is left has no use, and the guest shall know. */
static void sink_lost(struct conn *c)
{
	fd_close(&c->out_fd);
	c->tail = c->head;
	ring_show(c);
	if (c->state == CONN_OPEN)
		conn_close(c, true);
}

enum err conn_flush(struct conn *c, int *host_errno)
{
	while (c->out_fd >= 0 && c->out_ready && c->head != c->tail) {
		uint32_t at = (uint32_t)c->tail & (c->ring.bytes - 1);
		uint32_t n = (uint32_t)(c->head - c->tail);
		ssize_t r;

		if (n > c->ring.bytes - at)
			n = c->ring.bytes - at;
		r = write(c->out_fd, c->ring.data + at, n);
		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0 && errno == EPIPE) {
			sink_lost(c);
			break;
		}
		if (r < 0 && errno != EAGAIN) {
			*host_errno = errno;
			return ERR_HOST;
		}
		if (r <= 0) {
			c->out_ready = false;
			break;
		}
		c->tail += (uint64_t)r;
		ring_show(c);
		forwarded(c, (uint32_t)r);
	}
	if (c->guest_done && c->head == c->tail)
		fd_close(&c->out_fd);	/* the reader sees the end of the stream */
	return OK;
}

/* ---- host to guest ---- */

void conn_peer_credit(struct conn *c, uint32_t g_buf_alloc, uint32_t g_fwd_cnt)
{
	c->g_buf_alloc = g_buf_alloc;
	c->g_fwd_cnt = g_fwd_cnt;
}

uint32_t conn_readable(const struct conn *c)
{
	/* A lying fwd_cnt makes this large, and the guest gets nothing. */
	uint32_t in_flight = c->tx_cnt - c->g_fwd_cnt;

	if (c->state != CONN_OPEN || c->in_fd < 0 || !c->in_ready)
		return 0;
	return in_flight < c->g_buf_alloc ? c->g_buf_alloc - in_flight : 0;
}

enum err conn_read(struct conn *c, const struct iovec *iov, int n, uint32_t *got, int *host_errno)
{
	ssize_t r;

	*got = 0;
	do {
		r = readv(c->in_fd, iov, n);
	} while (r < 0 && errno == EINTR);
	if (r < 0 && errno == EAGAIN) {
		c->in_ready = false;
		return OK;
	}
	if (r < 0) {
		*host_errno = errno;
		return ERR_HOST;
	}
	if (r == 0) {
		fd_close(&c->in_fd);
		if (!c->frames)		/* the control port has its end in its header */
			c->pending |= CONN_SEND_SHUTDOWN;
		return OK;
	}
	*got = (uint32_t)r;
	c->tx_cnt += (uint32_t)r;
	c->bytes_in += (uint64_t)r;
	return OK;
}

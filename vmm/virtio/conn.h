/* SPDX-License-Identifier: Apache-2.0 */
/*
 * conn.h - one virtio-vsock stream (virtio 1.2 §5.10.6), without its packets.
 *
 *   CONN_UNUSED --REQUEST--> CONN_OPEN --both shut, RST, sink gone, reset--> CONN_CLOSED
 *
 * A port has one connection a boot, so CLOSED is for ever.  Bytes from the
 * guest go to a ring and from there to `out_fd`, as it takes them; they are
 * flushed also after the guest is gone, then `out_fd` is closed.  Bytes for the
 * guest are read from `in_fd` straight into guest memory, by the caller's iovec.
 * A port with `frames` has no ring: its bytes make struct wire_frame.
 *
 * Owns both fds.  System calls: write, readv, close.  SIGPIPE must be ignored
 * or blocked by the process.
 */
#ifndef DOLANIA_VIRTIO_CONN_H
#define DOLANIA_VIRTIO_CONN_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>

#include "guest/wire.h"
#include "vmm/base/err.h"

/*
 * Where guest-to-host bytes wait.  In memory shared with the supervisor:
 * head and tail are stored there for it, never loaded.
 */
struct vsock_ring {
	uint8_t *data;
	uint32_t bytes;		/* power of two; 0 = no ring */
	uint64_t *head, *tail;	/* free-running byte counts; may be NULL */
};

struct vsock_port {
	bool enabled;
	bool frames;		/* guest-to-host bytes are control frames */
	int in_fd;		/* host to guest: O_NONBLOCK pipe or regular file; -1 none; taken over */
	int out_fd;		/* guest to host: O_NONBLOCK pipe; -1 none; taken over */
	struct vsock_ring ring;
};

enum conn_state { CONN_UNUSED, CONN_OPEN, CONN_CLOSED };

enum conn_pending {	/* packets that wait for a receive buffer */
	CONN_SEND_RESPONSE = 1,
	CONN_SEND_CREDIT = 2,
	CONN_SEND_SHUTDOWN = 4,
	CONN_SEND_RST = 8,
};

/*
 * Credit of a port without a ring.  One that takes no bytes at all grants it
 * too: Linux reports a connection as made (POLLOUT) only when there is some.
 */
enum { CONN_PLAIN_BUF_BYTES = 4096 };

enum conn_shutdown {	/* flags of SHUTDOWN (virtio 1.2 §5.10.6.5) */
	CONN_SHUTDOWN_RECEIVE = 1,
	CONN_SHUTDOWN_SEND = 2,
};

struct conn {
	enum conn_state state;
	bool frames;
	bool in_ready, out_ready;	/* false after EAGAIN, until the next conn_wake */
	bool in_plenty;			/* the last read was given all it had room for */
	bool guest_done;		/* the guest sends no more */
	uint32_t pending;		/* enum conn_pending bits */
	uint32_t guest_port;
	uint32_t guest_shutdown;	/* flags the guest has sent so far */
	int in_fd, out_fd;
	/* guest to host: all u32 counts wrap, as on the wire */
	uint32_t buf_alloc;		/* what we grant */
	uint32_t rx_cnt;		/* bytes received */
	uint32_t fwd_cnt;		/* bytes passed on */
	uint32_t fwd_told;		/* fwd_cnt in the last packet we sent */
	struct vsock_ring ring;
	uint64_t head, tail;		/* of the ring; ours, not the shared copies */
	struct wire_frame frame;	/* being assembled */
	uint32_t frame_bytes;
	void (*on_frame)(void *ctx, const struct wire_frame *frame);
	void *ctx;
	/* host to guest */
	uint32_t g_buf_alloc, g_fwd_cnt;	/* as the guest last said */
	uint32_t tx_cnt;			/* bytes sent */
	uint64_t bytes_in, bytes_out;	/* host to guest, guest to host */
};

/* ERR_USAGE: ring size is not a power of two. */
MUST_USE enum err conn_init(struct conn *c, const struct vsock_port *p,
			    void (*on_frame)(void *, const struct wire_frame *), void *ctx);

/* The guest's REQUEST was accepted: open, RESPONSE pending. */
void conn_open(struct conn *c, uint32_t guest_port);

/* The guest's side of flow control, in each of its packets. */
void conn_peer_credit(struct conn *c, uint32_t g_buf_alloc, uint32_t g_fwd_cnt);

/* Is there a place for the guest's bytes: a ring, or frames to make, and an open stream? */
bool conn_takes(const struct conn *c);

/* May the guest send `len` more bytes, by what it was told? */
bool conn_grants(const struct conn *c, uint32_t len);

/*
 * Where the next bytes from the guest go: *place has room for the returned
 * count, 1..len.  Copy them, then conn_placed.  Only within what conn_grants
 * allowed; 0 if there is no room after all (our bug).
 */
uint32_t conn_place(struct conn *c, uint32_t len, uint8_t **place);
void conn_placed(struct conn *c, uint32_t len);

/* Write the ring out, as far as it goes.  ERR_HOST, *host_errno. */
MUST_USE enum err conn_flush(struct conn *c, int *host_errno);

/* fds may have become ready again. */
void conn_wake(struct conn *c);

/* The guest sent SHUTDOWN. */
void conn_guest_shutdown(struct conn *c, uint32_t g_flags);

/* The stream ends at once; `tell`: with an RST to the guest.  The ring is still flushed. */
void conn_close(struct conn *c, bool tell);

/* Bytes the guest has room for and `in_fd` may have: 0 when there is no need to ask. */
uint32_t conn_readable(const struct conn *c);

/* Read from `in_fd`.  *got may be 0: nothing now, or the end.  ERR_HOST, *host_errno. */
MUST_USE enum err conn_read(struct conn *c, const struct iovec *iov, int n, uint32_t *got,
			    int *host_errno);

#endif

/*
 * wire: the agent's ports where there is no virtio, which is in Bochs.
 *
 * Theory of operation.  One thread stands between three socket pairs and the
 * machine's outside.  What goes out is framed and written to I/O port 0xe9,
 * which Bochs passes on to its stdout.  Bochs's debugger writes there, too, even
 * within a frame: a guest's triple fault stops it for a line.  Three bytes begin
 * all that it says, and they are escaped in what is ours.  What comes in lies on a disk that only
 * grows: sector 0 holds, for each channel, how many bytes there are by now, and
 * each channel has its own region (bochs.py has the same numbers).
 */
#define _GNU_SOURCE
#include "agent.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/socket.h>
#include <unistd.h>

enum {
	E9 = 0xe9,
	ESCAPE = 0x1b,
	SECTOR = 512,
	POLL_MS = 40,
	CHUNK = 1 << 16,
	CTL_AT = 1 << 20, /* where the region of a channel begins */
	IN_AT = 16 << 20,
};

/* What comes in: how much of the region has been passed on. */
struct inward {
	int port;
	uint64_t at;
	uint64_t passed;
};

static int ends[PORT_ERR + 1][2];
static int disk = -1;
static struct inward inwards[] = { { PORT_CTL, CTL_AT, 0 }, { PORT_IN, IN_AT, 0 } };

static void put(const void *bytes, size_t n)
{
	static unsigned char coded[2 * CHUNK];
	const unsigned char *plain = bytes;
	size_t k = 0;

	for (size_t i = 0; i < n; i++) {
		int special = plain[i] == '(' || plain[i] == 'N' || plain[i] == '<' || plain[i] == ESCAPE;

		if (special)
			coded[k++] = ESCAPE;
		coded[k++] = special ? plain[i] ^ 0x40 : plain[i];
	}
	bytes = coded;
	n = k;
	__asm__ volatile("rep outsb" : "+S"(bytes), "+c"(n) : "d"(E9) : "memory");
}

static void frame(int port, const void *bytes, size_t n)
{
	uint32_t head[2] = { 0xd01a0000u | (uint32_t)port, (uint32_t)n };

	put(head, sizeof(head));
	put(bytes, n);
}

/* Passes on what the disk has more of, as far as the socket takes it. */
static void move_in(struct inward *in, uint64_t there, char *buf)
{
	while (in->passed < there) {
		uint64_t from = in->at + in->passed;
		uint64_t skip = from % SECTOR;
		size_t n = there - in->passed < CHUNK - SECTOR ? there - in->passed : CHUNK - SECTOR;
		size_t whole = (skip + n + SECTOR - 1) / SECTOR * SECTOR;

		if (pread(disk, buf, whole, (off_t)(from - skip)) != (ssize_t)whole)
			fail("the wire's disk");
		ssize_t w = send(ends[in->port][1], buf + skip, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (w < 0 && errno != EAGAIN)
			in->passed = there; /* nobody reads any more */
		if (w <= 0)
			return;
		in->passed += (uint64_t)w;
	}
}

static void *relay(void *buf)
{
	static const int outward[] = { PORT_CTL, PORT_OUT, PORT_ERR };
	uint64_t *head = (uint64_t *)buf;

	if (ioperm(E9, 1, 1) != 0)
		fail("port 0xe9");
	put("\0wire\n", 6);
	for (;;) {
		struct pollfd p[3];

		for (int i = 0; i < 3; i++)
			p[i] = (struct pollfd){ .fd = ends[outward[i]][1], .events = POLLIN };
		poll(p, 3, POLL_MS);
		for (int i = 0; i < 3; i++) {
			ssize_t n = p[i].revents ? recv(p[i].fd, buf, CHUNK, MSG_DONTWAIT) : 0;
			if (n > 0)
				frame(outward[i], buf, (size_t)n);
		}
		if (pread(disk, buf, SECTOR, 0) != SECTOR)
			fail("the wire's disk");
		uint64_t there[] = { head[0], head[1] };
		for (int i = 0; i < 2; i++)
			move_in(&inwards[i], there[i], buf);
	}
	return NULL;
}

int wire_port(int nr)
{
	return dup(ends[nr][0]);
}

void wire_start(const char *path)
{
	pthread_t thread;
	void *buf = NULL;
	sigset_t all, before;

	for (int i = 0; i < 1000 && (disk = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC)) < 0; i++)
		usleep(10000);
	if (disk < 0)
		fail(path);
	for (int nr = PORT_CTL; nr <= PORT_ERR; nr++)
		if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends[nr]) != 0)
			fail("the wire's sockets");
	if (posix_memalign(&buf, 4096, CHUNK) != 0)
		fail("the wire's memory");
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	if (pthread_create(&thread, NULL, relay, buf) != 0)
		fail("the wire's thread");
	pthread_sigmask(SIG_SETMASK, &before, NULL);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * takes-memory.c - takes what the kernel holds for a script, of one kind, until it is refused.
 *
 *   takes-memory KIND      prints "least N" whenever less memory (KiB) is available than before,
 *                          and "refused" when each of its processes was
 */
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/msg.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <termios.h>
#include <unistd.h>

enum { PROCESSES = 40, STEP_KIB = 2048, WAIT_MS = 100 };

static char some[1 << 16];

static int open_pty(int *slave)
{
	int master = open("/dev/ptmx", O_RDWR | O_NOCTTY | O_NONBLOCK), unlock = 0, n;
	struct termios t;
	char name[32];

	if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0 || ioctl(master, TIOCGPTN, &n) < 0)
		return -1;
	snprintf(name, sizeof name, "/dev/pts/%d", n);
	*slave = open(name, O_RDWR | O_NOCTTY | O_NONBLOCK);
	if (*slave < 0 || tcgetattr(*slave, &t) < 0)
		return -1;
	t.c_lflag = 0;
	t.c_oflag = 0;
	return tcsetattr(*slave, TCSANOW, &t) < 0 ? -1 : master;
}

static void ptys(void)
{
	int slave;

	while (open_pty(&slave) >= 0)
		;
}

static void pty_bytes(void)
{
	int master, slave;

	while ((master = open_pty(&slave)) >= 0)
		while (write(master, some, 4096) > 0 || write(slave, some, 4096) > 0)
			;
}

/* Written to ptys of before: no more is opened, only buffers are taken. */
static void pty_bytes_late(void)
{
	int master[300], slave[300], n = 0;

	while (n < 300 && (master[n] = open_pty(&slave[n])) >= 0)
		n++;
	sleep(2);
	for (int i = 0; i < n; i++)
		while (write(master[i], some, 4096) > 0 || write(slave[i], some, 4096) > 0)
			;
}

static int netlink(int protocol, unsigned groups, struct sockaddr_nl *own)
{
	socklen_t n = sizeof *own;
	int s = socket(AF_NETLINK, SOCK_RAW | SOCK_NONBLOCK, protocol);

	*own = (struct sockaddr_nl){ .nl_family = AF_NETLINK, .nl_groups = groups };
	if (s < 0 || bind(s, (struct sockaddr *)own, sizeof *own) < 0)
		return -1;
	return getsockname(s, (struct sockaddr *)own, &n) < 0 ? -1 : s;
}

static void netlink_to_self(void)
{
	struct sockaddr_nl own;
	int s;

	while ((s = netlink(NETLINK_USERSOCK, 0, &own)) >= 0)
		while (sendto(s, some, 32768, MSG_DONTWAIT, (struct sockaddr *)&own, sizeof own) > 0)
			;
}

static void netlink_small(void)
{
	struct sockaddr_nl own;
	int s;

	while ((s = netlink(NETLINK_USERSOCK, 0, &own)) >= 0)
		while (sendto(s, some, 1, MSG_DONTWAIT, (struct sockaddr *)&own, sizeof own) > 0)
			;
}

static void netlink_to_all(void)
{
	struct sockaddr_nl own, all = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int s = -1, one;

	while ((one = netlink(NETLINK_USERSOCK, 1, &own)) >= 0)
		s = one;
	for (int i = 0; i < 1000; i++)
		sendto(s, some, 1, MSG_DONTWAIT, (struct sockaddr *)&all, sizeof all);
}

/* Requests whose answers nobody reads. */
static void netlink_request(int type, int flags)
{
	struct { struct nlmsghdr h; unsigned char body[16]; } r = { { sizeof r, (unsigned short)type, (unsigned short)flags, 1, 0 }, { 0 } };
	struct sockaddr_nl own;
	int s;

	while ((s = netlink(NETLINK_ROUTE, 0, &own)) >= 0)
		for (int i = 0; i < 2000 && send(s, &r, sizeof r, MSG_DONTWAIT) > 0; i++)
			;
}

static void netlink_acks(void) { netlink_request(18, NLM_F_REQUEST | NLM_F_ACK); }
static void netlink_dumps(void) { netlink_request(18, NLM_F_REQUEST | NLM_F_DUMP); }

static void pipes(void)
{
	int p[2];

	while (pipe2(p, O_NONBLOCK) == 0)
		while (write(p[1], some, sizeof some) > 0)
			;
}

static void unix_bytes(void)
{
	int p[2];

	while (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p) == 0)
		while (write(p[1], some, sizeof some) > 0)
			;
}

static void filters(void)
{
	static struct sock_filter f[4000];
	struct sock_fprog program = { 4000, f };
	int p[2];

	for (int i = 0; i < 4000; i++)
		f[i] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, 1);
	while (socketpair(AF_UNIX, SOCK_DGRAM, 0, p) == 0)
		for (int i = 0; i < 2; i++)
			if (setsockopt(p[i], SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof program) < 0)
				return;
}

static void messages(void)
{
	struct { long type; char text[8000]; } m = { .type = 1 };
	int q;

	while ((q = msgget(IPC_PRIVATE, 0600)) >= 0)
		while (msgsnd(q, &m, sizeof m.text, IPC_NOWAIT) == 0)
			;
}

/* Pages of the image and the inputs are charged to nobody while they can be dropped.  These could not be. */
static off_t my_part(int *file, off_t *from)
{
	off_t size;

	*file = open("/in/large", O_RDONLY);
	size = lseek(*file, 0, SEEK_END) / PROCESSES & -4096;
	*from = getpid() % PROCESSES * size;
	return size;
}

static void locked_files(void)
{
	int f;
	off_t from, part = my_part(&f, &from);
	char *at = mmap(NULL, (size_t)part, PROT_READ, MAP_SHARED, f, from);

	for (off_t i = 0; at != MAP_FAILED && i + 4096 <= part; i += 4096)
		if (mlock(at + i, 4096) < 0)
			return;
}

/* A byte of each large page, into as many pipes as there may be. */
static void spliced_files(void)
{
	int f, p[2];
	off_t from, part = my_part(&f, &from), end = from + part;

	while (pipe2(p, O_NONBLOCK) == 0)
		for (ssize_t n = 1; n > 0 && from < end; from += 1 << 15) {
			loff_t at = from;

			n = splice(f, &at, p[1], NULL, 1, SPLICE_F_NONBLOCK);
		}
}

static void sent_files(void)
{
	int f, p[2];
	off_t from, end = my_part(&f, &from);

	end += from;
	while (from < end && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p) == 0)
		while (from < end && sendfile(p[1], f, &from, 1 << 16) > 0)
			;
}

/* What is in /tmp no more, and in a pipe or a socket still. */
static void sent_tmp(void)
{
	int f = open("/tmp", O_TMPFILE | O_RDWR, 0600), p[2];

	while (f >= 0 && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p) == 0)
		for (ssize_t n = 1; n > 0;) {
			off_t at = 0;

			if (ftruncate(f, 0) < 0 || pwrite(f, some, sizeof some, 0) < 0)
				return;
			n = sendfile(p[1], f, &at, sizeof some);
		}
}

/* Mapped pages of a file, by a pipe into sockets. */
static void gifts(void)
{
	int f, s[2], p[2];
	off_t from, part = my_part(&f, &from), i = 0;
	char *at = mmap(NULL, (size_t)part, PROT_READ, MAP_SHARED, f, from);

	if (pipe2(p, O_NONBLOCK) < 0)
		return;
	while (at != MAP_FAILED && i + 4096 <= part && socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s) == 0)
		for (ssize_t n = 1; n > 0 && i + 4096 <= part; i += 4096) {
			struct iovec v = { at + i, 4096 };

			if (vmsplice(p[1], &v, 1, SPLICE_F_NONBLOCK) < 0)
				return;
			n = splice(p[0], NULL, s[1], NULL, 4096, SPLICE_F_NONBLOCK);
			if (n < 0 && read(p[0], some, 4096) < 0)
				return;
		}
}

static const struct { const char *name; void (*take)(void); } kinds[] = {
	{ "ptys", ptys }, { "pty_bytes", pty_bytes }, { "pty_bytes_late", pty_bytes_late },
	{ "netlink_to_self", netlink_to_self }, { "netlink_small", netlink_small }, { "netlink_to_all", netlink_to_all },
	{ "netlink_acks", netlink_acks }, { "netlink_dumps", netlink_dumps }, { "pipes", pipes },
	{ "unix_bytes", unix_bytes }, { "filters", filters }, { "messages", messages },
	{ "locked_files", locked_files }, { "spliced_files", spliced_files }, { "sent_files", sent_files },
	{ "sent_tmp", sent_tmp }, { "gifts", gifts },
};

static long available_kib(void)
{
	char text[1024] = "", *at;
	int f = open("/proc/meminfo", O_RDONLY);

	if (f < 0 || read(f, text, sizeof text - 1) < 0)
		return -1;
	close(f);
	at = strstr(text, "MemAvailable:");
	return at == NULL ? -1 : atol(at + 13);
}

static int watch(int done)
{
	long least = available_kib(), now;
	struct pollfd p = { done, POLLIN, 0 };
	char byte;

	for (int left = PROCESSES; left > 0;) {
		if (poll(&p, 1, WAIT_MS) == 1 && read(done, &byte, 1) == 1)
			left--;
		now = available_kib();
		if (now >= 0 && now < least - STEP_KIB) {
			least = now;
			dprintf(1, "least %ld\n", least);
		}
	}
	dprintf(1, "refused\n");
	return 0;
}

int main(int argc, char **argv)
{
	int done[2], hold[2];

	signal(SIGPIPE, SIG_IGN);
	if (argc != 2 || pipe(done) < 0 || pipe(hold) < 0)
		return 2;
	dprintf(1, "least %ld\n", available_kib());
	for (unsigned i = 0; i < sizeof kinds / sizeof kinds[0]; i++)
		for (int n = 0; strcmp(kinds[i].name, argv[1]) == 0 && n < PROCESSES; n++)
			if (fork() == 0) {
				close(hold[1]);
				kinds[i].take();
				if (write(done[1], "", 1) != 1 || read(hold[0], some, 1) != 0)
					_exit(1);
				_exit(0);
			}
	return watch(done[0]);
}

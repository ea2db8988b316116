/* SPDX-License-Identifier: Apache-2.0 */
/* link.c - vsock connections to the host; see link.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <linux/vm_sockets.h>

#include "link.h"

/* Source ports 1001..1005: below 1024 takes CAP_NET_BIND_SERVICE. */
enum { SOURCE_PORT_BASE = 1000 };
_Static_assert(SOURCE_PORT_BASE + WIRE_PORTS - 1 <= WIRE_PRIVILEGED_PORT_MAX, "privileged ports");

#ifndef LINK_HOST_CID	/* tests talk to a host in the same kernel */
#define LINK_HOST_CID WIRE_HOST_CID
#endif

int link_open(enum wire_port port)
{
	struct sockaddr_vm from = {
		.svm_family = AF_VSOCK,
		.svm_cid = VMADDR_CID_ANY,
		.svm_port = SOURCE_PORT_BASE + (unsigned int)port,
	};
	struct sockaddr_vm to = {
		.svm_family = AF_VSOCK,
		.svm_cid = LINK_HOST_CID,
		.svm_port = port,
	};
	int fd = socket(AF_VSOCK, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

	if (fd < 0)
		return -1;
	if (bind(fd, (const struct sockaddr *)&from, sizeof from) < 0)
		goto fail;
	if (connect(fd, (const struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS)
		goto fail;
	return fd;
fail:;
	int error = errno;

	close(fd);
	errno = error;
	return -1;
}

static int wait_for(int fd, short events)
{
	struct pollfd p = { .fd = fd, .events = events };
	int n;

	do
		n = poll(&p, 1, -1);
	while (n < 0 && errno == EINTR);
	return n < 0 ? -1 : 0;
}

int link_check(int fd)
{
	int error = 0;
	socklen_t size = sizeof error;

	if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
		return -1;
	errno = error;
	return error == 0 ? 0 : -1;
}

int link_wait(int fd)
{
	if (wait_for(fd, POLLOUT) < 0)
		return -1;
	return link_check(fd);
}

int link_send(int fd, const void *data, size_t bytes)
{
	const char *at = data;

	while (bytes > 0) {
		ssize_t n = send(fd, at, bytes, MSG_NOSIGNAL);

		if (n > 0) {
			at += n;
			bytes -= (size_t)n;
		} else if (n < 0 && errno == EAGAIN) {
			if (wait_for(fd, POLLOUT) < 0)
				return -1;
		} else if (n == 0 || errno != EINTR) {
			return -1;
		}
	}
	return 0;
}

ssize_t link_recv(int fd, void *data, size_t bytes)
{
	for (;;) {
		ssize_t n = recv(fd, data, bytes, 0);

		if (n >= 0 || (errno != EAGAIN && errno != EINTR))
			return n;
		if (wait_for(fd, POLLIN) < 0)
			return -1;
	}
}

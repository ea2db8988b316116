/* SPDX-License-Identifier: Apache-2.0 */
/* loopback.c - see loopback.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <net/if.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "loopback.h"

int loopback_up(struct fault *f)
{
	struct ifreq lo = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
	int error = 0;

	if (fd < 0)
		return errno == EAFNOSUPPORT ? 0 : fault(f, WIRE_STEP_LOOPBACK, errno);
	/* the kernel gives it 127.0.0.1/8 when it comes up */
	if (ioctl(fd, SIOCSIFFLAGS, &lo) < 0)
		error = errno;
	close(fd);
	return error == 0 ? 0 : fault(f, WIRE_STEP_LOOPBACK, error);
}

/* SPDX-License-Identifier: Apache-2.0 */
/* seed.c - randomness and the time; see seed.h. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/random.h>

#include "seed.h"

int seed_random(struct wire_job *h, struct fault *f)
{
	struct {
		int bits, bytes;	/* struct rand_pool_info, with its array in place */
		uint8_t data[sizeof h->entropy];
	} pool = { .bits = 8 * sizeof h->entropy, .bytes = sizeof h->entropy };
	int error = 0;
	int fd = open("/dev/urandom", O_RDONLY | O_CLOEXEC);

	memcpy(pool.data, h->entropy, sizeof pool.data);
	explicit_bzero(h->entropy, sizeof h->entropy);
	if (fd < 0 || ioctl(fd, RNDADDENTROPY, &pool) < 0)
		error = errno;
	/* a generator that was ready before would take them in later only */
	else if (ioctl(fd, RNDRESEEDCRNG) < 0 && errno != ENODATA)
		error = errno;
	explicit_bzero(&pool, sizeof pool);
	if (fd >= 0)
		close(fd);
	return error == 0 ? 0 : fault(f, WIRE_STEP_ENTROPY, error);
}

int seed_clock(const struct wire_job *h, struct fault *f)
{
	const struct timespec t = {
		.tv_sec = (time_t)(h->realtime_ns / 1000000000),
		.tv_nsec = (long)(h->realtime_ns % 1000000000),
	};

	return clock_settime(CLOCK_REALTIME, &t) < 0 ? fault(f, WIRE_STEP_CLOCK, errno) : 0;
}

uint64_t now_ns(void)
{
	struct timespec t = { 0 };

	syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000 + (uint64_t)t.tv_nsec;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * clock.h - instructions and idle time, as an emulated host with one CPU under
 * QEMU's -icount shift=0 tells them.
 *
 * An instruction is 1 ns of CLOCK_MONOTONIC, whoever executes it (a program, the
 * kernel, a guest).  The clock jumps when the CPU is idle; the kernel knows those
 * times to the nanosecond (idle_sleeptime).
 */
#ifndef DOLANIA_BENCH_CLOCK_H
#define DOLANIA_BENCH_CLOCK_H

#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

static inline void die(const char *what)
{
	perror(what);
	exit(2);
}

static inline uint64_t idle_ns(void)
{
	static char buf[65536];
	static const char key[] = ".idle_sleeptime";
	size_t have = 0;
	ssize_t got;
	int fd = open("/proc/timer_list", O_RDONLY | O_CLOEXEC);

	if (fd < 0)
		die("/proc/timer_list");
	while (have < sizeof buf - 1 && (got = read(fd, buf + have, sizeof buf - 1 - have)) > 0)
		have += (size_t)got;
	close(fd);
	buf[have] = '\0';
	const char *at = strstr(buf, key);
	if (!at || !(at = strchr(at, ':'))) {
		fprintf(stderr, "bench: no idle_sleeptime in /proc/timer_list\n");
		exit(2);
	}
	return strtoull(at + 1, NULL, 10);
}

static inline uint64_t clock_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

#endif

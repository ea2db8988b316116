/* SPDX-License-Identifier: Apache-2.0 */
/* stream.h - what the vsock tests share, on top of driver.h. */
#ifndef DOLANIA_TESTS_STREAM_H
#define DOLANIA_TESTS_STREAM_H

#include "tests/unit/driver.h"
#include "tests/unit/tap.h"

static inline struct machine *live(unsigned rx_buffers)
{
	struct machine *m = machine_new();

	probe(m, 0);
	rx_fill(m, rx_buffers);
	return m;
}

static inline void acknowledge(struct machine *m)
{
	CHECK_EQ(reg_write(m, 0, INTERRUPT_ACK, reg_read(m, 0, INTERRUPT_STATUS)), OK);
}

static inline ssize_t take(int fd, char *text, size_t n)
{
	memset(text, 0, n);
	return read(fd, text, n);
}

static inline void fill_pipe(int fd)
{
	static const char block[4096];
	char byte = 0;

	while (write(fd, block, sizeof block) > 0)
		;
	while (write(fd, &byte, 1) > 0)
		;
}

static inline void drain_pipe(int fd)
{
	char block[4096];

	while (read(fd, block, sizeof block) > 0)
		;
}

#endif

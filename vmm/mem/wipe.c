/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/mem/wipe.h"

#include <errno.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

#include "vmm/base/chk.h"

/* The compiler must not find that nobody reads this memory again. */
static void overwrite(uint8_t *at, uint64_t bytes)
{
	memset(at, 0, bytes);
	__asm__ volatile("" : : "r"(at) : "memory");
}

enum err wipe_ram(const struct gmem *m, int fd, uint64_t *held, uint64_t *wiped)
{
	uint64_t at = 0, sum = 0;

	*held = *wiped = 0;
	while (at < m->bytes) {
		off_t data = lseek(fd, (off_t)at, SEEK_DATA);
		off_t hole;

		if (data < 0 && errno == ENXIO)
			break;		/* nothing but hole from here on */
		hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
		if (hole <= data || !chk_range((uint64_t)data, (uint64_t)(hole - data), m->bytes))
			return ERR_HOST;
		overwrite(m->base + data, (uint64_t)(hole - data));
		sum += (uint64_t)(hole - data);
		at = (uint64_t)hole;
	}
	*held = *wiped = sum;
	return OK;
}

void wipe_file(int fd)
{
	static uint8_t zeroes[64 << 10];	/* not const: .bss takes no room in the program */
	off_t at = 0, hole;

	while ((at = lseek(fd, at, SEEK_DATA)) >= 0 && (hole = lseek(fd, at, SEEK_HOLE)) > at)
		while (at < hole) {
			size_t most = hole - at < (off_t)sizeof(zeroes) ? (size_t)(hole - at) : sizeof(zeroes);
			ssize_t n = pwritev(fd, &(struct iovec){ zeroes, most }, 1, at);

			if (n <= 0)
				return;
			at += n;
		}
}

/* SPDX-License-Identifier: Apache-2.0 */
/* In the place of the VMM: one that was taken over says that its guest runs no more, not why, and does not end. */
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "vmm/report/report.h"

int main(int argc, char **argv)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	for (int i = 1; i < argc; i++) {
		struct report *p;

		if (strncmp(argv[i], "shared=", 7) != 0)
			continue;
		p = mmap(NULL, REPORT_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, atoi(argv[i] + 7), 0);
		if (p == MAP_FAILED)
			return 1;
		p->magic = REPORT_MAGIC;
		p->t_start = p->t_boot = p->t_ready = p->t_started = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
		p->phase = REPORT_ENDED;
	}
	for (;;)
		sleep(60);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * extract EXTRACTOR DIR MAX-BYTES MAX-ENTRIES <ARCHIVE: the extractor as a run starts it, its
 * report as lines on stdout; for archives.py.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "tools/libdolania/extract.h"

int main(int argc, char **argv)
{
	static struct dolania_out out;
	static char buffer[1 << 16];
	struct extractor x;
	char why[DOLANIA_LINE] = "";
	ssize_t n;
	int dir, cancelled = 0;
	bool fine;

	if (argc != 5)
		return 2;
	signal(SIGPIPE, SIG_IGN);
	dir = open(argv[2], O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (dir < 0)
		return 2;
	if (extractor_start(&x, argv[1], dir, strtoull(argv[3], NULL, 10), strtoull(argv[4], NULL, 10), why,
			    sizeof(why)) < 0) {
		printf("not started: %s\n", why);
		return 1;
	}
	while ((n = read(0, buffer, sizeof(buffer))) > 0)
		for (ssize_t done = 0, w; done < n; done += w) {
			w = write(x.archive, buffer + done, (size_t)(n - done));
			if (w < 0)
				goto over;
		}
over:
	fine = extractor_finish(&x, -1, &cancelled, &out);
	printf("%d %d %llu %llu %llu %llu %s\n", fine, out.complete, (unsigned long long)out.files,
	       (unsigned long long)out.dirs, (unsigned long long)out.bytes, (unsigned long long)out.refused_total,
	       out.why_not);
	for (unsigned i = 0; i < out.listed; i++)
		printf("%s\t%s\n", out.refused[i].name, out.refused[i].why);
	return 0;
}

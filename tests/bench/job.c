/* SPDX-License-Identifier: Apache-2.0 */
/*
 * job.c - work inside a VM (or on the host) whose steps drive.c orders and counts.
 *
 * usage: job in BYTES                read BYTES from stdin
 *        job out BYTES               write BYTES to stdout
 *        job seq FILE BYTES          read the next BYTES of FILE; from the start again at its end
 *        job random FILE READS       read READS single pages of FILE, no page twice
 *        job exec PROGRAM [ARG...]   run PROGRAM to its end
 *
 * It says with a byte on stdout that it is there.  A step begins with a byte on
 * stdin (with `in` the first of BYTES) and ends with a byte on stdout (with `out`
 * the last of BYTES).  The end of stdin ends the job.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

enum { CHUNK = 128 << 10, PAGE = 4096 };

extern char **environ;
static char buf[CHUNK];

static void die(const char *what)
{
	perror(what);
	exit(1);
}

static size_t part(uint64_t left)
{
	return left < CHUNK ? (size_t)left : CHUNK;
}

/* False at the end of stdin, which may only be before the first byte. */
static int take(uint64_t bytes)
{
	for (uint64_t left = bytes; left > 0;) {
		ssize_t n = read(0, buf, part(left));

		if (n == 0 && left == bytes)
			return 0;
		if (n <= 0)
			die("job: stdin");
		left -= (uint64_t)n;
	}
	return 1;
}

static void give(uint64_t bytes)
{
	while (bytes > 0) {
		ssize_t n = write(1, buf, part(bytes));

		if (n <= 0)
			die("job: stdout");
		bytes -= (uint64_t)n;
	}
}

/* Its pages leave the cache at the end: the next round is read anew, into memory in use before. */
static void read_on(int fd, uint64_t bytes)
{
	while (bytes > 0) {
		ssize_t n = read(fd, buf, part(bytes));

		if (n < 0)
			die("job: read");
		if (n == 0 && (posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED) || lseek(fd, 0, SEEK_SET)))
			die("job: again");
		bytes -= (uint64_t)n;
	}
}

/* A generator whose period is the number of pages, a power of two. */
static void read_pages(int fd, uint64_t reads)
{
	static uint64_t at, done, pages;
	struct stat st;

	if (pages == 0 && fstat(fd, &st) == 0)
		for (pages = 1; pages * 2 * PAGE <= (uint64_t)st.st_size;)
			pages *= 2;
	while (reads-- > 0) {
		if (++done > pages) {
			fprintf(stderr, "job: the file has no more pages\n");
			exit(1);
		}
		at = (at * 1664525u + 1013904223u) % pages;
		if (pread(fd, buf, PAGE, (off_t)(at * PAGE)) != PAGE)
			die("job: pread");
	}
}

static void run(char **argv)
{
	static posix_spawn_file_actions_t null;
	static int ready;
	pid_t pid;
	int status;

	if (!ready++) {
		posix_spawn_file_actions_init(&null);
		posix_spawn_file_actions_addopen(&null, 0, "/dev/null", O_RDONLY, 0);
		posix_spawn_file_actions_addopen(&null, 1, "/dev/null", O_WRONLY, 0);
	}
	if (posix_spawnp(&pid, argv[0], &null, NULL, argv, environ))
		die(argv[0]);
	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "job: %s failed\n", argv[0]);
		exit(1);
	}
}

int main(int argc, char **argv)
{
	const char *what = argc > 2 ? argv[1] : "";
	int is_read = !strcmp(what, "seq"), is_random = !strcmp(what, "random");
	int fd = -1;

	give(argc > 2);
	if (!strcmp(what, "in")) {
		while (take(strtoull(argv[2], NULL, 10)))
			give(1);
		return 0;
	}
	if (!strcmp(what, "out")) {
		while (take(1))
			give(strtoull(argv[2], NULL, 10));
		return 0;
	}
	if (!strcmp(what, "exec")) {
		for (; take(1); give(1))
			run(argv + 2);
		return 0;
	}
	if ((!is_read && !is_random) || argc != 4) {
		fprintf(stderr, "usage: job in|out BYTES, job seq FILE BYTES, job random FILE READS, job exec PROGRAM...\n");
		return 2;
	}
	fd = open(argv[2], O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		die(argv[2]);
	for (; take(1); give(1)) {
		if (is_read)
			read_on(fd, strtoull(argv[3], NULL, 10));
		else
			read_pages(fd, strtoull(argv[3], NULL, 10));
	}
	return 0;
}

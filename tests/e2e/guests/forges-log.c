/* SPDX-License-Identifier: Apache-2.0 */
/*
 * forges-log.c - puts words of a script's choice into the kernel's log.
 *
 *   forges-log NAME FILE   its process is NAME and is refused memory; FILE is a copy of it, of any
 *                          name, that it starts without arguments.  Prints how many it had a try at.
 *                          A NAME of "-": it asks for no memory.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>
#include <sys/wait.h>
#include <unistd.h>

static void copy_to(const char *name)
{
	int from = open("/proc/self/exe", O_RDONLY), to = open(name, O_WRONLY | O_CREAT | O_CLOEXEC, 0700);

	while (sendfile(to, from, NULL, 1 << 20) > 0)
		;
	close(to);
}

int main(int argc, char **argv)
{
	int tries = 0, status = 0;

	if (argc != 3)
		return 2;
	copy_to(argv[2]);
	prctl(PR_SET_NAME, argv[1]);
	if (strcmp(argv[1], "-") != 0)
		tries += mmap(NULL, 1ul << 44, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			      -1, 0) == MAP_FAILED;
	if (fork() == 0) {
		execve(argv[2], NULL, NULL);
		_exit(1);
	}
	tries += wait(&status) > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 2;
	printf("%d\n", tries);
	return 7;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drive.c - counts the steps of a job (job.c) that a command runs in its VM.
 *
 * usage: drive [-v] IN OUT ROUNDS STEPS COMMAND [ARG...]
 *
 * Starts COMMAND, waits for a byte of it, then STEPS times lets ROUNDS times pass: send it IN bytes, wait
 * for OUT bytes.  Prints for each step one line: "step <instructions> <idle ns>"
 * (clock.h), of one round.  What boots before the first step and ends after the
 * last is not in them.  The marks for profile.c are before the second step and
 * behind the last.  The channel is COMMAND's stdin and stdout; with -v the
 * first connection to our port of vsock (PORT), as QEMU's guest makes it.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <poll.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <linux/vm_sockets.h>

#include "tests/bench/clock.h"
#include "tests/bench/mark.h"

enum { PORT = 5000, CHUNK = 128 << 10 };

extern char **environ;
static char buf[CHUNK];

struct channel { int in, out; };	/* write to in, read from out */

static pid_t start(char **argv, int in, int out)
{
	posix_spawn_file_actions_t actions;
	pid_t pid;

	posix_spawn_file_actions_init(&actions);
	posix_spawn_file_actions_adddup2(&actions, in, 0);
	posix_spawn_file_actions_adddup2(&actions, out, 1);
	if (posix_spawnp(&pid, argv[0], &actions, NULL, argv, environ))
		die(argv[0]);
	return pid;
}

static pid_t start_on_pipes(char **argv, struct channel *c)
{
	int in[2], out[2];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		die("pipe2");
	pid_t pid = start(argv, in[0], out[1]);
	close(in[0]);
	close(out[1]);
	*c = (struct channel){ in[1], out[0] };
	return pid;
}

static pid_t start_on_vsock(char **argv, struct channel *c)
{
	struct sockaddr_vm at = { .svm_family = AF_VSOCK, .svm_port = PORT, .svm_cid = VMADDR_CID_ANY };
	int null = open("/dev/null", O_RDWR | O_CLOEXEC);
	int s = socket(AF_VSOCK, SOCK_STREAM | SOCK_CLOEXEC, 0);

	if (s < 0 || bind(s, (struct sockaddr *)&at, sizeof at) || listen(s, 1))
		die("vsock");
	pid_t pid = start(argv, null, null);
	struct pollfd p = { .fd = s, .events = POLLIN };
	while (poll(&p, 1, 100) == 0)
		if (waitpid(pid, NULL, WNOHANG)) {
			fprintf(stderr, "drive: %s ended without a connection\n", argv[0]);
			exit(1);
		}
	c->in = c->out = accept4(s, NULL, NULL, SOCK_CLOEXEC);
	if (c->in < 0)
		die("accept");
	return pid;
}

/* One round; false when the other end is gone. */
static int go(const struct channel *c, uint64_t in, uint64_t out)
{
	while (in > 0) {
		ssize_t n = write(c->in, buf, in < CHUNK ? (size_t)in : CHUNK);

		if (n <= 0)
			return 0;
		in -= (uint64_t)n;
	}
	while (out > 0) {
		ssize_t n = read(c->out, buf, out < CHUNK ? (size_t)out : CHUNK);

		if (n <= 0)
			return 0;
		out -= (uint64_t)n;
	}
	return 1;
}

int main(int argc, char **argv)
{
	int vsock = argc > 1 && !strcmp(argv[1], "-v");
	struct channel c;
	int status;

	argc -= vsock;
	argv += vsock;
	if (argc < 6) {
		fprintf(stderr, "usage: drive [-v] IN OUT ROUNDS STEPS COMMAND [ARG...]\n");
		return 2;
	}
	uint64_t in = strtoull(argv[1], NULL, 10), out = strtoull(argv[2], NULL, 10);
	long rounds = strtol(argv[3], NULL, 10);
	pid_t pid = (vsock ? start_on_vsock : start_on_pipes)(argv + 5, &c);
	go(&c, 0, 1);	/* booted; the job is there */
	for (long steps = strtol(argv[4], NULL, 10), step = 0; step < steps; step++) {
		if (step == 1)
			__asm__ volatile(MARK_INSTRUCTION);
		uint64_t idle = idle_ns(), begin = clock_ns();

		for (long i = 0; i < rounds; i++)
			if (!go(&c, in, out)) {
				fprintf(stderr, "drive: the job is gone\n");
				return 1;
			}
		uint64_t end = clock_ns();
		idle = idle_ns() - idle;
		printf("step %lld %lld\n", (long long)(end - begin - idle) / rounds, (long long)idle / rounds);
	}
	__asm__ volatile(MARK_INSTRUCTION);
	if (vsock)
		shutdown(c.in, SHUT_WR);
	else
		close(c.in);
	if (waitpid(pid, &status, 0) != pid || status) {
		fprintf(stderr, "drive: %s ended with status %#x\n", argv[5], (unsigned)status);
		return 1;
	}
	return 0;
}

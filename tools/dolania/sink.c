/* SPDX-License-Identifier: Apache-2.0 */
/* sink.c - the files that a run's result, its meta figures and its events go to. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/dolania/command.h"
#include "tools/dolania/ours.h"
#include "tools/dolania/sink.h"

enum { PIPE_WAIT_MS = 50, RESULT_MAX = 64 << 20 };

/*
 * A pipe without a reader is waited for, but not by open(2): a signal must end
 * the wait.  The flag is set on a description of our own.
 */
static int open_output(const char *path, int flags, int signal_fd)
{
	for (;;) {
		int fd = open(path, flags | O_WRONLY | O_CREAT | O_CLOEXEC | O_NOCTTY | O_NONBLOCK, 0666);
		struct pollfd signals = { .fd = signal_fd, .events = POLLIN };
		struct signalfd_siginfo si;
		struct stat st;

		if (fd >= 0 || errno != ENXIO)
			return fd;
		if (stat(path, &st) < 0 || !S_ISFIFO(st.st_mode)) {
			errno = ENXIO;
			return -1;
		}
		if (poll(&signals, 1, PIPE_WAIT_MS) > 0 && read(signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si) &&
		    si.ssi_signo != SIGTSTP && si.ssi_signo != SIGCONT)
			exit(die_by((int)si.ssi_signo));
	}
}

int sink_open_stream(const char *path, int signal_fd)
{
	return open_output(path, O_APPEND, signal_fd);
}

bool sink_same_file(int a, int b)
{
	struct stat one, two;

	return a >= 0 && b >= 0 && fstat(a, &one) == 0 && fstat(b, &two) == 0 && S_ISREG(one.st_mode) &&
	       one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* The whole file as a string of *bytes bytes, or NULL. */
static char *read_whole(int fd, size_t size, size_t *bytes)
{
	char *text = malloc(size + 1);
	ssize_t n = 1;

	*bytes = 0;
	while (text != NULL && *bytes < size && (n > 0 || errno == EINTR)) {
		n = read(fd, text + *bytes, size - *bytes);
		if (n == 0)
			break;
		*bytes += n > 0 ? (size_t)n : 0;
	}
	if (n < 0) {
		free(text);
		return NULL;
	}
	if (text != NULL)
		text[*bytes] = '\0';
	return text;
}

/* Nobody's file is lost by a slip of the pen: what it holds must be what a run writes there, or nothing. */
static bool may_overwrite(int fd, const char *path)
{
	char *text = NULL;
	bool ours = false;
	struct stat st;
	size_t bytes;
	int again;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size == 0)
		return true;
	again = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
	if (again < 0)
		return false;
	if (st.st_size <= RESULT_MAX && sink_same_file(fd, again))
		text = read_whole(again, (size_t)st.st_size, &bytes);
	close(again);
	if (text != NULL)
		ours = ours_result(text, bytes) || ours_meta(text, bytes);
	free(text);
	return ours;
}

/* Only a file has an end that can be cut. */
static int empty(int fd)
{
	struct stat st;

	return fstat(fd, &st) < 0 ? -1 : S_ISREG(st.st_mode) ? ftruncate(fd, 0) : 0;
}

bool sink_open(struct sink *k, int signal_fd, int other)
{
	const char *why;

	k->fd = -1;
	if (k->given >= 0) {
		k->fd = fcntl(k->given, F_DUPFD_CLOEXEC, 3);
		if (k->fd < 0)
			say("%s %d: %s", k->option, k->given, strerror(errno));
		return k->fd >= 0;
	}
	if (k->path == NULL)
		return true;
	k->fd = open_output(k->path, 0, signal_fd);
	if (sink_same_file(k->fd, other))
		why = "is the file of --result";
	else if (k->fd >= 0 && !may_overwrite(k->fd, k->path))
		why = "is there already, and no earlier run wrote it; remove it or name another";
	else if (k->fd >= 0 && fcntl(k->fd, F_SETFL, 0) == 0)
		return true;
	else
		why = strerror(errno);
	say("%s %s: %s", k->option, k->path, why);
	if (k->fd >= 0)
		close(k->fd);
	k->fd = -1;
	return false;
}

bool sink_begin(const struct sink *k)
{
	if (k->fd < 0 || k->path == NULL || empty(k->fd) == 0)
		return true;
	say("%s %s: %s", k->option, k->path, strerror(errno));
	return false;
}

bool sink_write(const struct sink *k, const char *what, char *text)
{
	size_t left = text != NULL ? strlen(text) : 0;
	const char *at = text;
	int error = text != NULL ? 0 : ENOMEM;

	while (left > 0 && error == 0) {
		ssize_t n = write(k->fd, at, left);

		if (n < 0 && errno != EINTR)
			error = errno;
		if (n > 0) {
			at += n;
			left -= (size_t)n;
		}
	}
	/* Half of it is worse than none. */
	if (error != 0 && k->path != NULL && ftruncate(k->fd, 0) < 0)
		errno = error;
	if (close(k->fd) < 0 && error == 0 && errno != EINTR)
		error = errno;
	free(text);
	if (error == 0)
		return true;
	if (k->path != NULL)
		say("%s cannot be written to %s: %s", what, k->path, strerror(error));
	else
		say("%s cannot be written to fd %d: %s", what, k->given, strerror(error));
	return false;
}

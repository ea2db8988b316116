/* SPDX-License-Identifier: Apache-2.0 */
/* reason.c - the reasons a run can end for, and their exit statuses. */
#define _GNU_SOURCE
#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <time.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

enum { FROM_CODE = -1, FROM_CODE_PLUS_128 = -2 };

static const struct {
	const char *name;
	bool guest;
	int status;
} reasons[DOLANIA_REASONS] = {
	[DOLANIA_NOT_RUN] = { "not_run", false, 125 },
	[DOLANIA_EXITED] = { "exited", true, FROM_CODE },
	[DOLANIA_SIGNALED] = { "signaled", true, FROM_CODE_PLUS_128 },
	[DOLANIA_NOT_EXECUTABLE] = { "not_executable", true, 126 },
	[DOLANIA_NOT_FOUND] = { "not_found", true, 127 },
	[DOLANIA_GUEST_OOM] = { "guest_oom", true, 137 },
	[DOLANIA_WALL_LIMIT] = { "wall_limit", false, 124 },
	[DOLANIA_CPU_LIMIT] = { "cpu_limit", false, 124 },
	[DOLANIA_OUTPUT_LIMIT] = { "output_limit", false, 123 },
	[DOLANIA_GUEST_PANIC] = { "guest_panic", false, 122 },
	[DOLANIA_PROTOCOL_VIOLATION] = { "protocol_violation", false, 122 },
	[DOLANIA_VMM_FAULT] = { "vmm_fault", false, 121 },
	[DOLANIA_CANCELLED] = { "cancelled", false, FROM_CODE_PLUS_128 },
	[DOLANIA_HOST_UNSUPPORTED] = { "host_unsupported", false, 125 },
	[DOLANIA_HOST_IO] = { "host_io", false, 125 },
	[DOLANIA_HOST_OOM] = { "host_oom", false, 125 },
	[DOLANIA_BOOT_FAILED] = { "boot_failed", false, 125 },
	[DOLANIA_USAGE] = { "usage", false, 125 },
};

enum dolania_reason reason_of_file(int error)
{
	if (error == ENOMEM)
		return DOLANIA_HOST_OOM;
	return error == EIO || error == EINTR || error == EMFILE || error == ENFILE ? DOLANIA_HOST_IO : DOLANIA_USAGE;
}

const char *dolania_reason_name(enum dolania_reason reason)
{
	return reasons[reason].name;
}

bool dolania_reason_by_guest(enum dolania_reason reason)
{
	return reasons[reason].guest;
}

int dolania_exit_status(const struct dolania_result *r, enum dolania_exit_mode mode)
{
	int status = reasons[r->reason].status;

	if (status == FROM_CODE)
		status = r->code;
	else if (status == FROM_CODE_PLUS_128)
		status = 128 + r->code;
	if (mode == DOLANIA_MIRROR || r->reason == DOLANIA_CANCELLED)
		return status;
	/* Trouble of the host's stays trouble whatever was asked for. */
	if (status == 125 && !reasons[r->reason].guest)
		return mode == DOLANIA_ISOLATE ? 2 : 125;
	if (r->reason == DOLANIA_VMM_FAULT)
		return mode == DOLANIA_ISOLATE ? 2 : 121;
	if (mode == DOLANIA_ZERO)
		return 0;
	return r->reason == DOLANIA_EXITED && r->code == 0 ? 0 : 1;
}

uint64_t now_ns(void)
{
	struct timespec ts = { 0, 0 };

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * NS_PER_S + (uint64_t)ts.tv_nsec;
}

/* Paths may hold anything; what is told is one line. */
static void one_line(char to[DOLANIA_LINE], const char *format, va_list ap) __attribute__((format(printf, 2, 0)));
static void one_line(char to[DOLANIA_LINE], const char *format, va_list ap)
{
	char line[DOLANIA_LINE];

	vsnprintf(line, sizeof(line), format, ap);
	text_escape(to, DOLANIA_LINE, line, strlen(line), false);
}

int session_fail(struct session *s, enum dolania_reason why, const char *format, ...)
{
	va_list ap;

	if (s->r->reason != DOLANIA_NOT_RUN)
		return -1;
	s->r->reason = why;
	va_start(ap, format);
	one_line(s->r->message, format, ap);
	va_end(ap);
	return -1;
}

void session_note(struct session *s, const char *format, ...)
{
	va_list ap;

	for (unsigned i = 0; i < DOLANIA_NOTES; i++) {
		if (s->r->note[i][0] != '\0')
			continue;
		va_start(ap, format);
		one_line(s->r->note[i], format, ap);
		va_end(ap);
		return;
	}
}

void session_take_signal(struct session *s)
{
	struct signalfd_siginfo si;

	if (read(s->o->signal_fd, &si, sizeof(si)) == (ssize_t)sizeof(si) && si.ssi_signo != SIGTSTP &&
	    si.ssi_signo != SIGCONT)
		s->cancel_signal = (int)si.ssi_signo;
}

const char *error_text(uint64_t error)
{
	const char *text = error <= INT_MAX ? strerrordesc_np((int)error) : NULL;	/* not every number has one */

	return error != 0 && text != NULL ? text : "unknown error";
}

void fd_close(int *fd)
{
	if (*fd >= 0)
		close(*fd);
	*fd = -1;
}

/* Length of the UTF-8 character at `p`, or 0 if there is none. */
static size_t utf8_length(const unsigned char *p, size_t left)
{
	static const unsigned char least[5] = { 0, 0, 0xc2, 0xe0, 0xf0 };
	size_t n = p[0] < 0x80 ? 1 : p[0] < 0xc2 ? 0 : p[0] < 0xe0 ? 2 : p[0] < 0xf0 ? 3 : p[0] < 0xf5 ? 4 : 0;

	if (n == 0 || n > left || (n > 1 && p[0] < least[n]))
		return 0;
	for (size_t i = 1; i < n; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
	    (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
		return 0;
	return n;
}

void text_escape(char *to, size_t room, const void *from, size_t bytes, bool keep_newlines)
{
	const unsigned char *p = from;
	size_t used = 0;

	while (bytes > 0 && used + 5 <= room) {
		size_t n = utf8_length(p, bytes);
		bool control = n == 0 || (n == 1 && (p[0] < 0x20 || p[0] == 0x7f)) ||
			       (n == 2 && p[0] == 0xc2 && p[1] < 0xa0);

		if (keep_newlines && (p[0] == '\n' || p[0] == '\t'))
			control = false;
		if (control) {
			n = n == 0 ? 1 : n;
			/* of a two-byte control character the second byte tells */
			used += (size_t)snprintf(to + used, room - used, "\\x%02x", p[n - 1]);
		} else {
			memcpy(to + used, p, n);
			used += n;
		}
		p += n;
		bytes -= n;
	}
	to[used] = '\0';
}

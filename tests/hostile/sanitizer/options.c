/* SPDX-License-Identifier: Apache-2.0 */
/*
 * options.c - how a VMM with sanitizers tells what it found.
 *
 * Test only: linked into build/san/libexec/dolania/dolania-vmm.  That process
 * has no environment, no file system and no new descriptors when it finds
 * something: one line on stderr, which the supervisor keeps, and an exit
 * status of its own are all it needs.  UBSan's own line is one already.
 */
#include <inttypes.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <sanitizer/asan_interface.h>

/* tests/hostile/harness.py looks for it. */
#define STATUS "99"
enum { STATUS_FOUND = 99 };

extern const char __executable_start[];

const char *__asan_default_options(void);
const char *__ubsan_default_options(void);

/*
 * Each for a system call less: detect_leaks (ptrace; the VMM allocates
 * nothing), symbolize (a program of its own), color (ioctl), use_sigaltstack.
 * A crash is a finding, too.
 */
#define COMMON "exitcode=" STATUS ":symbolize=0:color=never:use_sigaltstack=0"

const char *__asan_default_options(void)
{
	return COMMON ":detect_leaks=0:handle_abort=1:handle_sigill=1:detect_stack_use_after_return=1";
}

const char *__ubsan_default_options(void)
{
	return COMMON;
}

/* Called before ASan's long report, of which the supervisor would keep a piece. */
void __asan_on_error(void)
{
	uintptr_t pc = (uintptr_t)__asan_get_report_pc();	/* 0 after a crash */
	char line[256];
	int n = snprintf(line, sizeof(line), "sanitizer: %s, %s of %zu bytes at dolania-vmm+0x%" PRIxPTR "\n",
			 __asan_get_report_description(), __asan_get_report_access_type() ? "write" : "read",
			 __asan_get_report_access_size(), pc != 0 ? pc - (uintptr_t)__executable_start : 0);

	/* A stderr that is gone changes nothing: the status tells. */
	if (n > 0 && write(STDERR_FILENO, line, (size_t)n) < 0)
		_exit(STATUS_FOUND);
	_exit(STATUS_FOUND);
}

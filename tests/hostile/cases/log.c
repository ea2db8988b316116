/* SPDX-License-Identifier: Apache-2.0 */
/*
 * log.c - the kernel log, which the VMM copies after a panic and the command shows.
 *
 * The region is { u32 signature, u32 start, u32 size, data[] }, a circle; all of
 * it is the guest's.
 */
#include "tests/hostile/guest/vsock.h"
#include "vmm/boot/layout.h"

enum { HEAD = 12, CAPACITY = LAYOUT_LOG_BYTES - HEAD };

static _Noreturn void panic_with(uint32_t start, uint32_t size)
{
	volatile uint32_t *head = (volatile uint32_t *)LAYOUT_LOG;

	ready();
	head[1] = start;
	head[2] = size;
	triple_fault();
}

static void fill(uint8_t byte)
{
	memset((void *)(LAYOUT_LOG + HEAD), byte, CAPACITY);
}

CASE(log_size_wild) { fill('x'); panic_with(0, 0xffffffff); }
CASE(log_size_over) { fill('x'); panic_with(0, CAPACITY + 1); }
CASE(log_start_wild) { fill('x'); panic_with(0x80000000, 16); }

/* The last bytes before the circle's seam and the first behind it. */
CASE(log_over_seam)
{
	fill('x');
	memset((void *)(LAYOUT_LOG + HEAD + CAPACITY - 4), 'a', 4);
	memset((void *)(LAYOUT_LOG + HEAD), 'b', 4);
	panic_with(4, 8);
}

/* All of it, and the place of the next byte is behind the last one. */
CASE(log_full)
{
	fill('x');
	*at(LAYOUT_LOG + HEAD + CAPACITY - 1) = 'z';
	panic_with(CAPACITY, CAPACITY);
}

static _Noreturn void panic_after(const char *text, uint32_t bytes)
{
	memcpy((void *)(LAYOUT_LOG + HEAD), text, bytes);
	panic_with(bytes, bytes);
}

#define STAMP "[    0.100000] "
#define PANIC "Kernel panic - not syncing: "

/* Terminal sequences, bytes that are no text, a quote for the result's JSON. */
CASE(log_escapes)
{
	static const char text[] = "\n" STAMP PANIC "\033]0;owned\007\033[2J\r\b\x9b\xff\xc0\x80\"\\{\n\033[0m";

	panic_after(text, sizeof(text) - 1);
}

/* As a kernel writes it that goes wrong twice: the last panic is the one. */
CASE(log_oops)
{
	static const char text[] = "cut off\n"
		STAMP "BUG: Bad page map in process a  pte:00000000 pmd:00000000\n"
		STAMP PANIC "of before\n"
		STAMP "Oops: general protection fault: 0000 [#1] PTI\n"
		STAMP PANIC "Fatal exception\n"
		STAMP "Kernel Offset: disabled\n";

	panic_after(text, sizeof(text) - 1);
}

/* The words of a panic and of oopses wherever a script can have them: nowhere at the start of a record. */
CASE(log_forged)
{
	static const char text[] = STAMP PANIC "the first line may be cut\n"
		STAMP "x " STAMP PANIC "within\n"
		PANIC "no stamp\n"
		"               " PANIC "a name's second line\n"
		STAMP "               " PANIC "two\n"
		"[    0.1] " PANIC "a short stamp\n"
		"[0.100000]" PANIC "no space\n"
		"[    0.100000 " PANIC "no bracket\n"
		"[]  " PANIC "empty\n"
		STAMP "Kernel panic - [7]: segfault at 0\n"
		STAMP "kernel BUG at [7]: segfault at 0\n"
		STAMP "BUG: [7]: segfault at 0\n"
		STAMP "Oops: : 0000 [[7]: segfault at 0\n"
		STAMP "BUG: Bad page s[7]: segfault at 0\n"
		"[    0.100000] Kernel panic - not syncing:";

	panic_after(text, sizeof(text) - 1);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fill.c - the program in the guest: computes a canary and puts it everywhere.
 *
 * usage: fill SEED HOLD
 *
 *   SEED   32 hex digits; the only thing the host is told
 *   HOLD   what it does when everything is full and "filled" is written:
 *          exit    waits for a byte on stdin, then ends with status 0
 *          spin    runs for ever
 *          oom     waits for a byte on stdin, then takes memory without end
 *          output  writes its canary to stdout and stderr for ever
 *
 * Each place has a canary of its own, 64 words of 8 bytes, made of the seed by
 * word() below.  tests/residue/parts/canary.py computes the same words, outside
 * of the emulated host.  In `exit`, `spin` and `oom` no word of it is ever sent.
 *
 * As process 1 (the control with another VMM) the seed comes from the
 * environment, that is from the kernel's command line, and HOLD is spin.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

enum { WORDS = 64, CANARY_BYTES = WORDS * 8, PIPES = 8, MIB = 1 << 20 };
enum place { HEAP, STACK, FILES, SHARED, PIPE, SOCKET, SCRATCH, OUTDISK, GPR, YMM, OUT, ERR, PLACES };

static uint64_t seed[2];
static uint64_t canary[PLACES][WORDS] __attribute__((aligned(64)));

static uint64_t mix(uint64_t x)
{
	x ^= x >> 31;
	x *= 0x9f8d6c3b5a4e1d27u;
	x ^= x >> 29;
	x *= 0xd52ca97183b60f4du;
	return x ^ x >> 32;
}

static uint64_t word(unsigned place, unsigned i)
{
	return mix(mix(mix(seed[0] + place) ^ seed[1]) + i);
}

static void must(int good)
{
	if (!good)
		abort();
}

static void say(const char *text)
{
	must(write(1, text, strlen(text)) == (ssize_t)strlen(text));
}

static void fill(uint8_t *at, size_t bytes, enum place place)
{
	for (size_t i = 0; i + CANARY_BYTES <= bytes; i += CANARY_BYTES)
		memcpy(at + i, canary[place], CANARY_BYTES);
	__asm__ volatile("" : : "r"(at) : "memory");
}

static void fill_stack(void)
{
	uint8_t deep[256 * 1024];

	fill(deep, sizeof(deep), STACK);
}

/* On a tmpfs it is guest page cache; on a disk it is that and, after the fsync, the disk. */
static void fill_file(const char *path, int bytes, enum place place)
{
	int fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0600);

	must(fd >= 0);
	for (int i = 0; i < bytes / CANARY_BYTES; i++)
		must(write(fd, canary[place], CANARY_BYTES) == CANARY_BYTES);
	must(fsync(fd) == 0);
}

static void fill_shared(void)
{
	uint8_t *p = mmap(NULL, 4 * MIB, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);

	must(p != MAP_FAILED);
	fill(p, 4 * MIB, SHARED);
}

/* As much as goes in; both ends stay open. */
static void stuff(int fd, enum place place)
{
	while (write(fd, canary[place], CANARY_BYTES) > 0)
		;
}

static void fill_kernel(void)
{
	int ends[2];

	for (int i = 0; i < PIPES; i++) {
		must(pipe2(ends, O_NONBLOCK) == 0);
		stuff(ends[1], PIPE);
	}
	/* A program that is process 1 may run in a kernel without sockets of this kind. */
	if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, ends) == 0)
		stuff(ends[1], SOCKET);
}

static int has_avx(void)
{
	uint32_t a = 1, b, c = 0, d;

	__asm__("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
	return (c & 1u << 27) != 0 && (c & 1u << 28) != 0;	/* OSXSAVE, AVX */
}

static void load_vectors(void)
{
#define YMM_OF(n) "vmovdqa " #n "*32(%0), %%ymm" #n "\n"
#define XMM_OF(n) "movdqa " #n "*32(%0), %%xmm" #n "\n"
#define ALL(x) x(0) x(1) x(2) x(3) x(4) x(5) x(6) x(7) x(8) x(9) x(10) x(11) x(12) x(13) x(14) x(15)
	if (has_avx())
		__asm__ volatile(ALL(YMM_OF) : : "r"(canary[YMM]) : "memory");
	else
		__asm__ volatile(ALL(XMM_OF) : : "r"(canary[YMM]) : "memory");
}

/* Registers that a system call leaves alone. */
#define KEPT \
	"mov 0x08(%%rax), %%rbx\n mov 0x28(%%rax), %%rbp\n mov 0x38(%%rax), %%rsp\n" \
	"mov 0x40(%%rax), %%r8\n  mov 0x48(%%rax), %%r9\n  mov 0x50(%%rax), %%r10\n" \
	"mov 0x60(%%rax), %%r12\n mov 0x68(%%rax), %%r13\n mov 0x70(%%rax), %%r14\n" \
	"mov 0x78(%%rax), %%r15\n"

static _Noreturn void hold_spinning(void)
{
	load_vectors();
	__asm__ volatile(KEPT
		"mov 0x10(%%rax), %%rcx\n mov 0x18(%%rax), %%rdx\n mov 0x20(%%rax), %%rsi\n"
		"mov 0x30(%%rax), %%rdi\n mov 0x58(%%rax), %%r11\n mov (%%rax), %%rax\n"
		"1: jmp 1b" : : "a"(canary[GPR]) : "memory");
	__builtin_unreachable();
}

/* read(0, stack, 1), exit_group(0), with the registers full meanwhile. */
static _Noreturn void hold_until_told(void)
{
	static char byte;

	load_vectors();
	__asm__ volatile(KEPT
		"xor %%eax, %%eax\n xor %%edi, %%edi\n mov $1, %%edx\n syscall\n"
		"mov $231, %%eax\n xor %%edi, %%edi\n syscall"
		: : "a"(canary[GPR]), "S"(&byte) : "memory");
	__builtin_unreachable();
}

/* Told to, touches page after page until the kernel has none. */
static _Noreturn void hold_until_out_of_memory(void)
{
	char byte;
	uint8_t *p = mmap(NULL, 1ull << 36, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	must(p != MAP_FAILED && read(0, &byte, 1) == 1);
	load_vectors();
	__asm__ volatile(KEPT
		"1: mov %%rsp, (%%rdi)\n add $4096, %%rdi\n jmp 1b"
		: : "a"(canary[GPR]), "D"(p) : "memory");
	__builtin_unreachable();
}

/* Both streams at once: each may have a reader that takes nothing. */
static _Noreturn void hold_writing(void)
{
	int fd = fork() == 0 ? 2 : 1;
	enum place place = fd == 1 ? OUT : ERR;

	for (;;)
		must(write(fd, canary[place], CANARY_BYTES) == CANARY_BYTES);
}

static void be_init(void)
{
	mkdir("/tmp", 0777);
	must(mount("tmpfs", "/tmp", "tmpfs", 0, NULL) == 0);
	must(mknod("/tmp/ttyS0", S_IFCHR | 0600, makedev(4, 64)) == 0);
	int fd = open("/tmp/ttyS0", O_RDWR);

	for (int i = 0; i < 3; i++)
		must(dup2(fd, i) == i);
}

static uint64_t from_hex(const char *digits)
{
	char text[17] = "";

	memcpy(text, digits, 16);
	return strtoull(text, NULL, 16);
}

int main(int argc, char **argv)
{
	const int is_init = getpid() == 1;
	const char *hex = is_init ? getenv("SEED") : argc == 3 ? argv[1] : NULL;
	const char *hold = is_init ? "spin" : argc == 3 ? argv[2] : "";
	uint8_t *heap;

	if (is_init)
		be_init();
	must(hex != NULL && strlen(hex) == 32);
	seed[0] = from_hex(hex);
	seed[1] = from_hex(hex + 16);
	for (unsigned place = 0; place < PLACES; place++)
		for (unsigned i = 0; i < WORDS; i++)
			canary[place][i] = word(place, i);
	heap = malloc(16 * MIB);
	must(heap != NULL);
	fill(heap, 16 * MIB, HEAP);
	fill_stack();
	fill_file("/tmp/filled", 8 * MIB, FILES);
	if (!is_init) {		/* which has no such disks */
		fill_file("/scratch/filled", 4 * MIB, SCRATCH);
		fill_file("/out/filled", MIB / 2, OUTDISK);
	}
	fill_shared();
	fill_kernel();
	say("filled\n");
	if (strcmp(hold, "exit") == 0)
		hold_until_told();
	if (strcmp(hold, "oom") == 0)
		hold_until_out_of_memory();
	if (strcmp(hold, "output") == 0)
		hold_writing();
	hold_spinning();
}

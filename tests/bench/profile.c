/* SPDX-License-Identifier: Apache-2.0 */
/*
 * profile.c - counts the instructions of each function, as a plugin of the QEMU that is
 * the emulated KVM host; for profile.
 *
 * arguments: out=FILE, entry=HEX and init=HEX (addresses in the guest's kernel: where it begins,
 * and where it starts init)
 *
 * Both kernels, the emulated host's and the guest's, are linked at the same addresses.
 * They are told apart by where their code lies in the machine's RAM: the host's kernel
 * boots first, and its text is mapped linearly, so anything else at those addresses is
 * the guest's.
 *
 * A stack of calls is kept for each kernel (a call pushes the address behind it, a block
 * that begins at such an address pops), so the costs of a function hold those of what it
 * calls.  It heals itself after a switch of tasks.
 *
 * Counting starts and ends at the instruction of mark.c.  The API is QEMU 7.2's, version
 * 1; Debian has no header of it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/bench/mark.h"

struct qemu_plugin_tb;
struct qemu_plugin_insn;
enum { NO_REGS };
void qemu_plugin_register_vcpu_tb_trans_cb(uint64_t id, void (*cb)(uint64_t, struct qemu_plugin_tb *));
void qemu_plugin_register_vcpu_tb_exec_cb(struct qemu_plugin_tb *, void (*cb)(unsigned, void *), int flags, void *);
void qemu_plugin_register_vcpu_insn_exec_cb(struct qemu_plugin_insn *, void (*cb)(unsigned, void *), int flags, void *);
size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
uint64_t qemu_plugin_tb_vaddr(const struct qemu_plugin_tb *);
struct qemu_plugin_insn *qemu_plugin_tb_get_insn(const struct qemu_plugin_tb *, size_t);
const void *qemu_plugin_insn_data(const struct qemu_plugin_insn *);
size_t qemu_plugin_insn_size(const struct qemu_plugin_insn *);
void *qemu_plugin_insn_haddr(const struct qemu_plugin_insn *);

__attribute__((visibility("default"))) int qemu_plugin_version = 1;

enum space { HOST, GUEST, USER, SPACES };
static const char *const space_name[SPACES] = { "host", "guest", "user" };
#define KERNEL_START 0xffffffff80000000ull
#define MODULES_START 0xffffffffc0000000ull

enum { BLOCK_BITS = 22, BLOCKS = 1 << BLOCK_BITS, DEPTH = 96 };

struct block {
	uint64_t at, after_call;	/* after_call: 0, or the address behind the call it ends with */
	uintptr_t haddr;		/* of a program's code: where it lies; of a kernel's: its space */
	uint32_t insns;
	uint8_t space;
	uint64_t self, inclusive, calls, charged;
};

struct frame { uint64_t back; struct block *entry; };
struct stack { struct frame frame[DEPTH]; unsigned depth; bool called; uint64_t back; };

static struct block *blocks[BLOCKS];
static size_t block_count;
static struct stack stacks[SPACES];
static uint64_t sequence;
static intptr_t host_offset;
static bool active;
static const char *out_path;
static uint64_t entry_at, init_at, guest_now, to_init;	/* to_init: from entry to init, all runs */

static enum space space_of(uint64_t at, uintptr_t haddr)
{
	if (at < 1ull << 63)
		return USER;
	if (at < KERNEL_START)
		return HOST;	/* the host's vmalloc area (BPF and the like) */
	if (at >= MODULES_START)
		return HOST;
	if (host_offset == 0)
		host_offset = (intptr_t)(haddr - at);
	return (intptr_t)(haddr - at) == host_offset ? HOST : GUEST;
}

/*
 * One record for a block, however often it is translated.  A kernel's code is at one address once, in however
 * many guests that all have the same; two programs may have theirs at the same address.
 */
static struct block *block_of(uint64_t at, uintptr_t haddr, uint32_t insns)
{
	enum space space = space_of(at, haddr);

	haddr = space == USER ? haddr : (uintptr_t)space;
	uint64_t h = (at ^ haddr * 31 ^ insns) * 0x9e3779b97f4a7c15ull >> (64 - BLOCK_BITS);

	for (; blocks[h % BLOCKS]; h++) {
		struct block *b = blocks[h % BLOCKS];

		if (b->at == at && b->haddr == haddr && b->insns == insns)
			return b;
	}
	struct block *b = calloc(1, sizeof *b);
	if (!b || ++block_count == BLOCKS)
		abort();
	*b = (struct block){ .at = at, .haddr = haddr, .insns = insns, .space = (uint8_t)space };
	return blocks[h % BLOCKS] = b;
}

static void write_out(void)
{
	FILE *f = fopen(out_path, "w");

	if (!f)
		abort();
	fprintf(f, "init %llu\n", (unsigned long long)to_init);
	for (size_t i = 0; i < BLOCKS; i++)
		if (blocks[i] && (blocks[i]->self || blocks[i]->inclusive))
			fprintf(f, "%s %llx %llu %llu %llu\n", space_name[blocks[i]->space],
				(unsigned long long)blocks[i]->at, (unsigned long long)blocks[i]->self,
				(unsigned long long)blocks[i]->inclusive, (unsigned long long)blocks[i]->calls);
	fclose(f);
}

static void marked(unsigned cpu, void *unused)
{
	(void)cpu;
	(void)unused;
	if (active)
		write_out();
	active = !active;
}

static void pop(struct stack *s, uint64_t at)
{
	for (unsigned i = s->depth; i > 0; i--)
		if (s->frame[i - 1].back == at) {
			s->depth = i - 1;
			return;
		}
}

static void executed(unsigned cpu, void *data)
{
	struct block *b = data;
	struct stack *s = &stacks[b->space];

	(void)cpu;
	if (!active)
		return;
	if (s->called) {
		s->called = false;
		if (s->depth == DEPTH) {
			memmove(s->frame, s->frame + 1, sizeof s->frame - sizeof s->frame[0]);
			s->depth--;
		}
		s->frame[s->depth++] = (struct frame){ s->back, b };
		b->calls++;
	} else {
		pop(s, b->at);
	}
	b->self += b->insns;
	if (b->space == GUEST) {
		guest_now = b->at == entry_at ? b->insns : guest_now + b->insns;
		if (b->at == init_at)
			to_init += guest_now;
	}
	sequence++;
	for (unsigned i = 0; i < s->depth; i++) {
		struct block *entry = s->frame[i].entry;

		if (entry->charged != sequence) {
			entry->charged = sequence;
			entry->inclusive += b->insns;
		}
	}
	if (b->after_call) {
		s->called = true;
		s->back = b->after_call;
	}
}

static bool is_call(const uint8_t *insn, size_t size)
{
	while (size > 1 && (*insn == 0x2e || *insn == 0x3e || (*insn & 0xf0) == 0x40)) {
		insn++;
		size--;
	}
	return *insn == 0xe8 || (*insn == 0xff && size > 1 && (insn[1] >> 3 & 7) == 2);
}

static void translated(uint64_t id, struct qemu_plugin_tb *tb)
{
	size_t n = qemu_plugin_tb_n_insns(tb), bytes = 0;
	uintptr_t haddr = (uintptr_t)qemu_plugin_insn_haddr(qemu_plugin_tb_get_insn(tb, 0));
	struct block *b = block_of(qemu_plugin_tb_vaddr(tb), haddr, (uint32_t)n);

	(void)id;
	for (size_t i = 0; i < n; i++) {
		struct qemu_plugin_insn *insn = qemu_plugin_tb_get_insn(tb, i);
		const uint8_t *data = qemu_plugin_insn_data(insn);
		size_t size = qemu_plugin_insn_size(insn);
		static const uint8_t mark[] = { MARK_BYTES };

		bytes += size;
		if (size == sizeof mark && !memcmp(data, mark, size))
			qemu_plugin_register_vcpu_insn_exec_cb(insn, marked, NO_REGS, NULL);
		if (i == n - 1)
			b->after_call = is_call(data, size) ? b->at + bytes : 0;
	}
	qemu_plugin_register_vcpu_tb_exec_cb(tb, executed, NO_REGS, b);
}

__attribute__((visibility("default")))
int qemu_plugin_install(uint64_t id, const void *info, int argc, char **argv)
{
	(void)info;
	for (int i = 0; i < argc; i++) {
		if (!strncmp(argv[i], "out=", 4))
			out_path = argv[i] + 4;
		else if (!strncmp(argv[i], "entry=", 6))
			entry_at = strtoull(argv[i] + 6, NULL, 16);
		else if (!strncmp(argv[i], "init=", 5))
			init_at = strtoull(argv[i] + 5, NULL, 16);
	}
	if (!out_path)
		return -1;
	qemu_plugin_register_vcpu_tb_trans_cb(id, translated);
	return 0;
}

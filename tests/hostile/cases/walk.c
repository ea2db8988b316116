/* SPDX-License-Identifier: Apache-2.0 */
/*
 * walk.c - page tables that lead into nothing.  The CPU walks them, KVM makes tables of its own
 * for the place, and then the guest has its #PF: no exit, but memory of the host's.
 */
#include "tests/hostile/guest/vsock.h"

enum { ENTRIES = 512, FLAGS = 7, LARGE_FLAGS = 0x87, PLACES = 4096 };
#define MIB2 (2ull << 20)
#define GIB (1ull << 30)
#define VA (1ull << 40)			/* entry 2 of the top table: ours */

static uint64_t root[ENTRIES] __attribute__((aligned(4096)));
static uint64_t upper[ENTRIES] __attribute__((aligned(4096)));
static uint64_t middle[ENTRIES] __attribute__((aligned(4096)));
static uint64_t lower[ENTRIES] __attribute__((aligned(4096)));

static void load_root(uint64_t at)
{
	__asm__ volatile("mov %0, %%cr3" : : "r"(at) : "memory");
}

static void tables_up(void)
{
	uint64_t was;

	__asm__ volatile("mov %%cr3, %0" : "=r"(was));
	memcpy(root, (const void *)(was & ~0xfffull), sizeof(root));
	root[VA >> 39] = (uint64_t)upper | FLAGS;
	upper[0] = (uint64_t)middle | FLAGS;
	middle[0] = (uint64_t)lower | FLAGS;
	load_root((uint64_t)root);
}

/* The i-th place: as far apart as the address space lets it, from 8 GiB on. */
static uint64_t place(uint64_t i, uint64_t stride)
{
	const uint64_t first = 8ull << 30, bits = cpuid(0x80000008, 0).eax & 0xff;
	const uint64_t span = (1ull << bits) - first, far = i * stride;

	return first + far % (span - MIB2) / 4096 * 4096 + far / (span - MIB2) * MIB2 % GIB;
}

/* Each entry in turn leads to places; what is touched lies at `offset` of them. */
static void sweep(uint64_t *entry, uint64_t stride, uint64_t offset, bool write)
{
	volatile uint8_t *p = (volatile uint8_t *)(VA + offset);

	tables_up();
	for (uint64_t i = 0; i < PLACES; i++) {
		*entry = place(i, stride) | FLAGS;
		load_root((uint64_t)root);
		if (write)
			TRY("movb $1, (%0)", : : "r"(p) : "memory");
		else
			TRY("movb (%0), %%al", : : "r"(p) : "memory", "rax");
	}
	SURVIVED();
}

CASE(mem_walk_directory)
{
	sweep(&middle[0], MIB2, 0x5008, false);
}

CASE(mem_walk_directory_write)
{
	sweep(&middle[0], MIB2, 0x5008, true);
}

CASE(mem_walk_pointer)
{
	sweep(&upper[0], MIB2, 5 * MIB2 + 8, false);
}

CASE(mem_walk_top)
{
	sweep(&root[VA >> 39], MIB2, 5 * GIB + 8, false);
}

CASE(mem_walk_far)
{
	sweep(&middle[0], GIB + MIB2, 0x5008, false);
}

CASE(mem_walk_farthest)
{
	sweep(&root[VA >> 39], (512ull << 30) + GIB + MIB2, 8, true);
}

CASE(mem_walk_near)
{
	sweep(&middle[0], 4096, 0x5008, false);
}

/* As init is ready, and from user mode. */
static void walk_as_user(void)
{
	for (uint64_t i = 0; i < PLACES; i++) {
		upper[i / ENTRIES + 1] = (uint64_t)middle | FLAGS;
		middle[i % ENTRIES] = place(i, MIB2) | FLAGS;
		__asm__ volatile("" : : : "memory");
		/* Each address once: nothing is to be flushed. */
		TRY("movb (%0), %%al", : : "r"(VA + (i / ENTRIES + 1) * GIB + i % ENTRIES * MIB2) : "memory", "rax");
	}
	SURVIVED();
}

CASE(mem_walk_user)
{
	ready();
	tables_up();
	user_enter(walk_as_user);
}

/* The top table itself: once, as nothing of the guest is left then. */
CASE(mem_walk_root)
{
	ready();
	started();
	load_root(place(0, 0));
	SURVIVED();
}

/* Leaves: instructions that touch memory and say nothing of it. */
#define LEAF_SWEEP(insn)								\
	do {										\
		tables_up();								\
		for (uint64_t i = 0; i < PLACES; i++) {				\
			middle[0] = (place(i, MIB2) & ~(MIB2 - 1)) | LARGE_FLAGS;	\
			load_root((uint64_t)root);					\
			TRY(insn, : : "r"(VA + 0x5008) : "memory");			\
		}									\
	} while (0)

CASE(mem_walk_clflush)
{
	ready();
	LEAF_SWEEP("clflush (%0)");
	done();
}

CASE(mem_walk_prefetch)
{
	ready();
	LEAF_SWEEP("prefetcht0 (%0); prefetchw (%0)");
	done();
}

CASE(mem_walk_invlpg)
{
	ready();
	LEAF_SWEEP("invlpg (%0)");
	done();
}

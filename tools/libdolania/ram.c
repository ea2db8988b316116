/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ram.c - the machine's RAM, from what the script may use.
 *
 * The script's memory is bounded by its control group, its files by the size of
 * their tmpfs, and neither counts as the other.  So the machine has room for both
 * at their fullest, and the guest's kernel is never the one that runs out.
 */
#include "tools/libdolania/internal.h"

/*
 * Guest RAM beyond what the script may use: the guest's kernel and its caches,
 * and its page array (64 bytes for each 4 KiB, so 1/64, rounded up to 2 %).
 */
#define RESERVE_BYTES (96ull << 20)
#define OUT_BYTES (1ull << 20)
#define ROUND_BYTES (2ull << 20)

uint64_t ram_for(const struct dolania_options *o)
{
	uint64_t bytes = o->memory_bytes + o->tmp_bytes + OUT_BYTES + RESERVE_BYTES;

	bytes += bytes / 50;
	return (bytes + ROUND_BYTES - 1) / ROUND_BYTES * ROUND_BYTES;
}

/*
 * An inode, its name and its place in a directory are about 1 KiB of kernel
 * memory, which is the script's: a quarter of that at most, or a script with many
 * small files would be killed where it has to see ENOSPC.
 */
uint64_t tmp_files_max(const struct dolania_options *o)
{
	const uint64_t by_size = o->tmp_bytes / 2048, by_memory = o->memory_bytes / 4096;

	return by_size < by_memory ? by_size : by_memory;
}

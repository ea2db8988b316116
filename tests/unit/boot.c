/* SPDX-License-Identifier: Apache-2.0 */
/* What the kernel is told: device tree, boot_params, memory map. */
#define _GNU_SOURCE
#include "tests/unit/tap.h"

#include <asm/bootparam.h>
#include <libfdt.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/boot/fdt.h"
#include "vmm/boot/layout.h"
#include "vmm/boot/params.h"

static const struct fdt_machine machine = {
	.slots = 3, .window_base = 0xd0000000, .window_stride = 0x1000,
	.ioapic_base = 0xfec00000, .lapic_base = 0xfee00000,
	.log_base = LAYOUT_LOG, .log_bytes = LAYOUT_LOG_BYTES,
};

static void the_tree_names_every_device(void)
{
	static uint8_t tree[LAYOUT_DTB_BYTES];
	size_t used = 0;
	int at = -1, windows = 0;

	CHECK_EQ(fdt_build(&machine, tree, sizeof(tree), &used), OK);
	CHECK_EQ(fdt_check_full(tree, used), 0);
	while ((at = fdt_node_offset_by_compatible(tree, at, "virtio,mmio")) >= 0) {
		int len = 0;
		const fdt32_t *pin = fdt_getprop(tree, at, "interrupts", &len);
		const fdt64_t *reg = fdt_getprop(tree, at, "reg", NULL);

		CHECK_EQ(len, 8);
		CHECK_EQ(fdt32_to_cpu(pin[0]), windows);
		CHECK_EQ(fdt64_ld(reg), 0xd0000000 + (uint64_t)windows * 0x1000);
		windows++;
	}
	CHECK_EQ(windows, 3);
	CHECK(fdt_path_offset(tree, "/soc/virtio_mmio@d0002000") >= 0);
	CHECK(fdt_path_offset(tree, "/cpus/cpu@0") >= 0);
	CHECK(fdt_path_offset(tree, "/reserved-memory/ramoops@80000") >= 0);
}

static void a_buffer_too_small_is_an_error_at_any_size(void)
{
	static uint8_t tree[LAYOUT_DTB_BYTES];
	size_t used = 0, need;

	CHECK_EQ(fdt_build(&machine, tree, sizeof(tree), &need), OK);
	for (size_t n = 0; n < need; n += 7)
		CHECK_EQ(fdt_build(&machine, tree, n, &used), ERR_BUG);
	CHECK_EQ(used, 0);
}

static void check_map(uint64_t ram, unsigned entries, uint64_t usable)
{
	static const uint8_t dtb[64] = { 1 };
	struct params p = { .cmdline = "x", .dtb = dtb, .dtb_bytes = sizeof(dtb) };
	struct gmem mem;
	struct boot_params bp;
	uint64_t sum = 0, last = 0;
	int fd = memfd_create("ram", 0);

	CHECK(fd >= 0 && ftruncate(fd, (off_t)ram) == 0);
	CHECK_EQ(gmem_map(&mem, fd, ram), OK);
	CHECK_EQ(params_write(&mem, &p), OK);
	CHECK_EQ(gmem_read(&mem, gpa(LAYOUT_ZERO_PAGE), &bp, sizeof(bp)), OK);
	CHECK_EQ(bp.e820_entries, entries);
	for (unsigned i = 0; i < bp.e820_entries; i++) {
		CHECK(bp.e820_table[i].addr >= last);	/* in order, no overlap */
		last = bp.e820_table[i].addr + bp.e820_table[i].size;
		if (bp.e820_table[i].type == 1) {
			CHECK_EQ(gmem_check(&mem, gpa(bp.e820_table[i].addr), bp.e820_table[i].size), OK);
			sum += bp.e820_table[i].size;
		}
	}
	CHECK_EQ(sum, usable);
	munmap(mem.base, mem.bytes);
	close(fd);
}

static void the_memory_map_covers_ram_and_only_ram(void)
{
	const uint64_t lost = LAYOUT_HIGH_START - LAYOUT_LOG;	/* log, and the legacy hole */

	check_map(64ull << 20, 3, (64ull << 20) - lost);
	check_map(3ull << 30, 3, (3ull << 30) - lost);
	check_map(5ull << 30, 4, (5ull << 30) - lost);
}

static void too_long_is_refused(void)
{
	static char cmdline[4096];
	static uint8_t dtb[LAYOUT_DTB_BYTES];
	struct params p = { .cmdline = cmdline, .dtb = dtb, .dtb_bytes = 64 };
	struct gmem mem;
	int fd = memfd_create("ram", 0);

	CHECK(fd >= 0 && ftruncate(fd, 16 << 20) == 0);
	CHECK_EQ(gmem_map(&mem, fd, 16 << 20), OK);
	memset(cmdline, 'a', 2047);
	CHECK_EQ(params_write(&mem, &p), OK);
	cmdline[2047] = 'a';
	CHECK_EQ(params_write(&mem, &p), ERR_USAGE);
	cmdline[0] = '\0';
	p.dtb_bytes = sizeof(dtb);
	CHECK_EQ(params_write(&mem, &p), ERR_BUG);
	close(fd);
}

int main(void)
{
	RUN(the_tree_names_every_device);
	RUN(a_buffer_too_small_is_an_error_at_any_size);
	RUN(the_memory_map_covers_ram_and_only_ram);
	RUN(too_long_is_refused);
	return tap_end();
}

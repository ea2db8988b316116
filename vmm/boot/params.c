/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot/params.h"

#include <asm/bootparam.h>
#include <string.h>

#include "vmm/boot/layout.h"

enum { E820_RAM = 1, E820_RESERVED = 2, LOADER_UNDEFINED = 0xff, PAGE = 4096 };
#define PTE_PRESENT_WRITABLE 3ull
#define PDE_LARGE (1ull << 7)

struct setup_head {	/* struct setup_data without its flexible tail */
	uint64_t next;
	uint32_t type;
	uint32_t len;
};

static void add_range(struct boot_params *bp, uint64_t start, uint64_t end, uint32_t type)
{
	struct boot_e820_entry *e = &bp->e820_table[bp->e820_entries];

	if (end <= start)
		return;
	e->addr = start;
	e->size = end - start;
	e->type = type;
	bp->e820_entries++;
}

static void memory_map(struct boot_params *bp, uint64_t ram)
{
	uint64_t low = ram < GMEM_HOLE_START ? ram : GMEM_HOLE_START;

	add_range(bp, 0, LAYOUT_LOG, E820_RAM);
	add_range(bp, LAYOUT_LOG, LAYOUT_LOG + LAYOUT_LOG_BYTES, E820_RESERVED);
	add_range(bp, LAYOUT_HIGH_START, low, E820_RAM);
	add_range(bp, GMEM_HOLE_END, GMEM_HOLE_END + (ram - low), E820_RAM);
}

static enum err page_tables(const struct gmem *m)
{
	uint64_t pd[512], top;
	enum err err;

	/* PML4[0] -> PDPT[0] -> PD: 512 pages of 2 MiB, address == address. */
	for (uint64_t i = 0; i < 512; i++)
		pd[i] = i << 21 | PDE_LARGE | PTE_PRESENT_WRITABLE;
	err = gmem_write(m, gpa(LAYOUT_PAGE_TABLES + 2 * PAGE), pd, sizeof(pd));
	top = (LAYOUT_PAGE_TABLES + 2 * PAGE) | PTE_PRESENT_WRITABLE;
	err = err ? err : gmem_write(m, gpa(LAYOUT_PAGE_TABLES + PAGE), &top, sizeof(top));
	top = (LAYOUT_PAGE_TABLES + PAGE) | PTE_PRESENT_WRITABLE;
	return err ? err : gmem_write(m, gpa(LAYOUT_PAGE_TABLES), &top, sizeof(top));
}

static enum err setup_data(const struct gmem *m, const struct params *p)
{
	const struct setup_head dtb = { LAYOUT_SEED, SETUP_DTB, (uint32_t)p->dtb_bytes };
	const struct setup_head seed = { 0, SETUP_RNG_SEED, sizeof(p->seed) };
	enum err err;

	if (p->dtb_bytes > LAYOUT_DTB_BYTES - sizeof(dtb))
		return ERR_BUG;
	err = gmem_write(m, gpa(LAYOUT_DTB), &dtb, sizeof(dtb));
	err = err ? err : gmem_write(m, gpa(LAYOUT_DTB + sizeof(dtb)), p->dtb, p->dtb_bytes);
	err = err ? err : gmem_write(m, gpa(LAYOUT_SEED), &seed, sizeof(seed));
	return err ? err : gmem_write(m, gpa(LAYOUT_SEED + sizeof(seed)), p->seed, sizeof(p->seed));
}

enum err params_write(const struct gmem *m, const struct params *p)
{
	/* Null, unused, 64-bit code (selector 0x10), data (0x18): as Linux has them. */
	static const uint64_t gdt[4] = { 0, 0, 0x00af9b000000ffffull, 0x00cf93000000ffffull };
	size_t cmdline_bytes = strlen(p->cmdline) + 1;
	struct boot_params bp;
	enum err err;

	if (cmdline_bytes > 2048)	/* COMMAND_LINE_SIZE of x86 */
		return ERR_USAGE;
	memset(&bp, 0, sizeof(bp));
	bp.hdr.boot_flag = 0xaa55;
	bp.hdr.header = 0x53726448;	/* "HdrS" */
	bp.hdr.version = 0x020f;
	bp.hdr.type_of_loader = LOADER_UNDEFINED;
	bp.hdr.loadflags = LOADED_HIGH;
	bp.hdr.cmd_line_ptr = (uint32_t)LAYOUT_CMDLINE;
	bp.hdr.cmdline_size = (uint32_t)cmdline_bytes;
	bp.hdr.ramdisk_image = (uint32_t)p->initrd_at;
	bp.hdr.ramdisk_size = (uint32_t)p->initrd_bytes;
	bp.hdr.setup_data = LAYOUT_DTB;
	memory_map(&bp, m->bytes);

	err = gmem_write(m, gpa(LAYOUT_ZERO_PAGE), &bp, sizeof(bp));
	err = err ? err : gmem_write(m, gpa(LAYOUT_CMDLINE), p->cmdline, cmdline_bytes);
	err = err ? err : gmem_write(m, gpa(LAYOUT_GDT), gdt, sizeof(gdt));
	err = err ? err : page_tables(m);
	return err ? err : setup_data(m, p);
}

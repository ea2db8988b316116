/* SPDX-License-Identifier: Apache-2.0 */
/*
 * layout.h - what lies where in the guest's first megabyte, and the windows above.
 *
 *   0x01000  GDT                      0x0c000  setup_data: device tree (16 KiB)
 *   0x07000  boot_params (zero page)  0x10000  setup_data: RNG seed
 *   0x08000  kernel command line      0x80000  kernel log (ramoops, reserved)
 *   0x09000  boot page tables (3)     0xa0000  end of low RAM
 *   above 2 MiB: the kernel, where its ELF header wants it; then the initrd
 */
#ifndef DOLANIA_BOOT_LAYOUT_H
#define DOLANIA_BOOT_LAYOUT_H

#define LAYOUT_GDT 0x1000ull
#define LAYOUT_ZERO_PAGE 0x7000ull
#define LAYOUT_CMDLINE 0x8000ull
#define LAYOUT_CMDLINE_BYTES 0x1000ull
#define LAYOUT_PAGE_TABLES 0x9000ull
#define LAYOUT_DTB 0xc000ull
#define LAYOUT_DTB_BYTES 0x4000ull
#define LAYOUT_SEED 0x10000ull
#define LAYOUT_LOG 0x80000ull
#define LAYOUT_LOG_BYTES 0x20000ull
#define LAYOUT_LOW_END 0xa0000ull
#define LAYOUT_HIGH_START 0x100000ull
/* What every run of our kernel fills: itself and its early memory; then 2 MiB where its allocator begins. */
#define LAYOUT_DENSE_END 0x800000ull
#define LAYOUT_HEAP 0x1000000ull
/* I/O port: the kernel writes (4 bytes) the number of the 2 MiB of RAM that it begins to use. */
#define LAYOUT_RAM_PORT 0x600
#define LAYOUT_LAPIC 0xfee00000ull

#endif

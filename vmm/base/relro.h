/* SPDX-License-Identifier: Apache-2.0 */
/*
 * relro.h - tables of pointers become read-only once they are relocated.
 *
 * A dynamic linker does this for its programs. musl's start of a static PIE
 * relocates, and leaves this last step to the program.
 */
#ifndef VMM_BASE_RELRO_H
#define VMM_BASE_RELRO_H

#include <link.h>
#include <stdint.h>
#include <sys/mman.h>

extern const ElfW(Ehdr) __ehdr_start __attribute__((visibility("hidden")));	/* the linker's; at address 0 of the file */

/* 0, or -1 and errno. */
static inline int relro_seal(void)
{
	const uintptr_t base = (uintptr_t)&__ehdr_start, page = 4096;
	const ElfW(Phdr) *p = (const ElfW(Phdr) *)(base + __ehdr_start.e_phoff);

	for (unsigned i = 0; i < __ehdr_start.e_phnum; i++) {
		uintptr_t from = (base + p[i].p_vaddr) & -page, to = (base + p[i].p_vaddr + p[i].p_memsz) & -page;

		if (p[i].p_type == PT_GNU_RELRO && mprotect((void *)from, to - from, PROT_READ) < 0)
			return -1;
	}
	return 0;
}

#endif

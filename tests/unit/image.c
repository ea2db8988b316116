/* SPDX-License-Identifier: Apache-2.0 */
/* Loading a kernel: every number of a hand-broken ELF file is checked. */
#define _GNU_SOURCE
#include "tests/unit/tap.h"

#include <elf.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "vmm/boot/image.h"

enum { RAM = 32 << 20, FILE_BYTES = 8192, AT = 16 << 20 };

struct kernel {
	Elf64_Ehdr h;
	Elf64_Phdr p[2];
	uint8_t rest[FILE_BYTES - sizeof(Elf64_Ehdr) - 2 * sizeof(Elf64_Phdr)];
};

static struct gmem mem;

static struct kernel good(void)
{
	struct kernel k;

	memset(&k, 0, sizeof(k));
	memcpy(k.h.e_ident, ELFMAG, SELFMAG);
	k.h.e_ident[EI_CLASS] = ELFCLASS64;
	k.h.e_ident[EI_DATA] = ELFDATA2LSB;
	k.h.e_type = ET_EXEC;
	k.h.e_machine = EM_X86_64;
	k.h.e_phoff = sizeof(k.h);
	k.h.e_phentsize = sizeof(Elf64_Phdr);
	k.h.e_phnum = 2;
	k.h.e_entry = AT;
	k.p[0] = (Elf64_Phdr){ .p_type = PT_LOAD, .p_offset = 4096, .p_paddr = AT, .p_filesz = 4096,
			       .p_memsz = 8192 };
	k.p[1] = (Elf64_Phdr){ .p_type = PT_NOTE, .p_offset = UINT64_MAX };
	memset((uint8_t *)&k + 4096, 0x90, 4096);
	return k;
}

static enum err load(const struct kernel *k, size_t bytes, struct image *image)
{
	int fd = memfd_create("kernel", 0);
	const char *why = NULL;
	enum err err;

	CHECK(fd >= 0 && write(fd, k, bytes) == (ssize_t)bytes);
	err = image_load_kernel(&mem, fd, image, &why);
	CHECK(err == OK || why != NULL);
	close(fd);
	return err;
}

static void a_good_kernel_is_loaded(void)
{
	struct kernel k = good();
	struct image image = { 0, 0 };
	uint8_t first = 0;

	CHECK_EQ(load(&k, sizeof(k), &image), OK);
	CHECK_EQ(image.entry, AT);
	CHECK_EQ(image.end, AT + 8192);
	CHECK_EQ(gmem_read(&mem, gpa(AT + 4095), &first, 1), OK);
	CHECK_EQ(first, 0x90);
}

static void truncated_at_any_length(void)
{
	struct kernel k = good();
	struct image image = { 1, 2 };

	for (size_t n = 0; n < sizeof(k); n += n < 256 ? 1 : 511)
		CHECK_EQ(load(&k, n, &image), ERR_USAGE);
	CHECK_EQ(image.entry, 1);	/* written only on success */
}

#define BROKEN(change, want) do { \
	struct kernel k = good(); \
	struct image image; \
	change; \
	CHECK_EQ(load(&k, sizeof(k), &image), want); \
} while (0)

static void broken_headers(void)
{
	BROKEN(k.h.e_ident[0] = 0, ERR_USAGE);
	BROKEN(k.h.e_ident[EI_CLASS] = ELFCLASS32, ERR_USAGE);
	BROKEN(k.h.e_machine = EM_AARCH64, ERR_USAGE);
	BROKEN(k.h.e_type = ET_REL, ERR_USAGE);
	BROKEN(k.h.e_phnum = 0, ERR_USAGE);
	BROKEN(k.h.e_phnum = 17, ERR_USAGE);
	BROKEN(k.h.e_phentsize = 32, ERR_USAGE);
	BROKEN(k.h.e_phoff = UINT64_MAX - 8, ERR_USAGE);
	BROKEN(k.h.e_phoff = FILE_BYTES - 8, ERR_USAGE);
	BROKEN(k.h.e_entry = AT + 8192, ERR_USAGE);
	BROKEN(k.h.e_entry = UINT64_MAX, ERR_USAGE);
}

static void broken_segments(void)
{
	BROKEN(k.p[0].p_offset = UINT64_MAX - 100, ERR_USAGE);
	BROKEN(k.p[0].p_offset = 4097, ERR_USAGE);
	BROKEN(k.p[0].p_filesz = UINT64_MAX, ERR_USAGE);
	BROKEN(k.p[0].p_memsz = 4095, ERR_USAGE);
	BROKEN(k.p[0].p_memsz = UINT64_MAX, ERR_LIMIT);
	BROKEN(k.p[0].p_memsz = RAM, ERR_LIMIT);
	BROKEN(k.p[0].p_paddr = 0, ERR_LIMIT);		/* would lie over the boot parameters */
	BROKEN(k.p[0].p_paddr = RAM - 4096, ERR_LIMIT);
	BROKEN(k.p[0].p_paddr = GMEM_HOLE_START, ERR_LIMIT);
	BROKEN(k.p[0].p_paddr = UINT64_MAX - 4095, ERR_LIMIT);
}

static void an_initrd_must_fit(void)
{
	int fd = memfd_create("initrd", 0);
	uint64_t at = 0, bytes = 0;
	const char *why;

	CHECK(fd >= 0 && ftruncate(fd, 1 << 20) == 0);
	CHECK_EQ(image_load_initrd(&mem, fd, AT + 1, &at, &bytes, &why), OK);
	CHECK_EQ(at, AT + 4096);
	CHECK_EQ(bytes, 1 << 20);
	CHECK_EQ(image_load_initrd(&mem, fd, RAM - 4096, &at, &bytes, &why), ERR_LIMIT);
	CHECK_EQ(image_load_initrd(&mem, fd, UINT64_MAX, &at, &bytes, &why), ERR_LIMIT);
	close(fd);
}

int main(void)
{
	int fd = memfd_create("ram", 0);

	CHECK(fd >= 0 && ftruncate(fd, RAM) == 0);
	CHECK_EQ(gmem_map(&mem, fd, RAM), OK);
	RUN(a_good_kernel_is_loaded);
	RUN(truncated_at_any_length);
	RUN(broken_headers);
	RUN(broken_segments);
	RUN(an_initrd_must_fit);
	return tap_end();
}

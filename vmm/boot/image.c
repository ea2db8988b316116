/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is untrusted here: the kernel file.  It is the user's, or a
 * researcher's hostile one; every number in it is checked before use.
 */
#include "vmm/boot/image.h"

#include <elf.h>
#include <errno.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "vmm/base/chk.h"
#include "vmm/boot/layout.h"

enum { SEGMENTS_MAX = 16 };

static enum err file_bytes(int fd, uint64_t *bytes)
{
	struct stat st;

	if (fstat(fd, &st) < 0)
		return ERR_HOST;
	*bytes = st.st_size < 0 ? 0 : (uint64_t)st.st_size;
	return OK;
}

static enum err read_all(int fd, void *dst, size_t len, uint64_t off)
{
	uint8_t *p = dst;

	while (len > 0) {
		ssize_t n = pread(fd, p, len, (off_t)off);

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return ERR_HOST;
		if (n == 0) {
			errno = EIO;	/* the file shrank under us */
			return ERR_HOST;
		}
		p += n;
		len -= (size_t)n;
		off += (uint64_t)n;
	}
	return OK;
}

static enum err read_into_guest(const struct gmem *m, int fd, uint64_t at, uint64_t len, uint64_t off)
{
	struct iovec iov;

	if (gmem_iov(m, gpa(at), len, &iov) != OK)
		return ERR_LIMIT;
	return read_all(fd, iov.iov_base, iov.iov_len, off);
}

static enum err check_header(const Elf64_Ehdr *h, uint64_t file, const char **why)
{
	static const uint8_t ident[6] = { 0x7f, 'E', 'L', 'F', ELFCLASS64, ELFDATA2LSB };

	if (memcmp(h->e_ident, ident, sizeof(ident)) != 0) {
		*why = "the kernel is not a 64-bit little-endian ELF file (vmlinux, not bzImage)";
		return ERR_USAGE;
	}
	if (h->e_machine != EM_X86_64 || (h->e_type != ET_EXEC && h->e_type != ET_DYN)) {
		*why = "the kernel is an ELF file, but no x86-64 executable";
		return ERR_USAGE;
	}
	if (h->e_phentsize != sizeof(Elf64_Phdr) || h->e_phnum == 0 || h->e_phnum > SEGMENTS_MAX ||
	    !chk_range(h->e_phoff, (uint64_t)h->e_phnum * sizeof(Elf64_Phdr), file)) {
		*why = "the kernel's ELF program headers are damaged or the file is truncated";
		return ERR_USAGE;
	}
	return OK;
}

static enum err load_segment(const struct gmem *m, int fd, uint64_t file, const Elf64_Phdr *p,
			     uint64_t *end, const char **why)
{
	uint64_t last;

	if (p->p_filesz > p->p_memsz || !chk_range(p->p_offset, p->p_filesz, file)) {
		*why = "the kernel is truncated: a segment lies outside the file";
		return ERR_USAGE;
	}
	if (p->p_paddr < LAYOUT_HIGH_START || !chk_add_u64(p->p_paddr, p->p_memsz, &last) ||
	    last > GMEM_HOLE_START || gmem_check(m, gpa(p->p_paddr), p->p_memsz) != OK) {
		*why = "a kernel segment does not fit in the guest's memory; raise --memory";
		return ERR_LIMIT;
	}
	if (last > *end)
		*end = last;
	return read_into_guest(m, fd, p->p_paddr, p->p_filesz, p->p_offset);
}

enum err image_load_kernel(const struct gmem *m, int fd, struct image *out, const char **why)
{
	Elf64_Ehdr h;
	Elf64_Phdr p[SEGMENTS_MAX];
	struct image image = { 0, 0 };
	uint64_t file;
	enum err err;

	*why = "reading the kernel failed";
	err = file_bytes(fd, &file);
	if (err == OK && file < sizeof(h)) {
		*why = "the kernel is not an ELF file: it is shorter than an ELF header";
		return ERR_USAGE;
	}
	err = err ? err : read_all(fd, &h, sizeof(h), 0);
	err = err ? err : check_header(&h, file, why);
	err = err ? err : read_all(fd, p, h.e_phnum * sizeof(p[0]), h.e_phoff);
	for (unsigned i = 0; err == OK && i < h.e_phnum; i++)
		if (p[i].p_type == PT_LOAD && p[i].p_memsz > 0)
			err = load_segment(m, fd, file, &p[i], &image.end, why);
	if (err != OK)
		return err;
	if (gmem_check(m, gpa(h.e_entry), 1) != OK || h.e_entry >= image.end) {
		*why = "the kernel's entry point is not inside its segments";
		return ERR_USAGE;
	}
	image.entry = h.e_entry;
	*out = image;
	return OK;
}

enum err image_load_initrd(const struct gmem *m, int fd, uint64_t from,
			   uint64_t *at, uint64_t *bytes, const char **why)
{
	uint64_t size, start;
	enum err err;

	*why = "reading the initrd failed";
	err = file_bytes(fd, &size);
	if (err != OK)
		return err;
	if (!chk_add_u64(from, 0xfff, &start) || !chk_range(start, size, GMEM_HOLE_START) ||
	    gmem_check(m, gpa(start & ~0xfffull), size) != OK) {
		*why = "the initrd does not fit in the guest's memory; raise --memory";
		return ERR_LIMIT;
	}
	start &= ~0xfffull;
	err = read_into_guest(m, fd, start, size, 0);
	if (err == OK) {
		*at = start;
		*bytes = size;
	}
	return err;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * gmem.c - guest memory: the only place where a guest address becomes a pointer.
 *
 * What the guest controls here: every address and every length, and the bytes
 * behind them.  Nothing is dereferenced before `locate` has placed the whole
 * range in one piece of RAM.
 */
#define _GNU_SOURCE
#include "vmm/mem/gmem.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "vmm/base/chk.h"

#ifndef MADV_COLLAPSE
#define MADV_COLLAPSE 25	/* Linux 6.1; older kernels answer EINVAL */
#endif

enum err gpa_add(gpa_t a, uint64_t off, gpa_t *sum)
{
	uint64_t r;

	if (!chk_add_u64(a.raw, off, &r))
		return ERR_GUEST;
	*sum = gpa(r);
	return OK;
}

enum err gmem_map(struct gmem *m, int fd, uint64_t bytes)
{
	struct stat st;
	void *p;

	if (bytes == 0 || bytes % 4096 != 0 || bytes > SIZE_MAX / 2)
		return ERR_USAGE;
	if (fstat(fd, &st) != 0)
		return ERR_HOST;
	if (st.st_size < 0 || (uint64_t)st.st_size < bytes)
		return ERR_USAGE;	/* a shorter file would be SIGBUS later */
	/* At a multiple of 2 MiB, so that large pages of the file can be mapped as such. */
	p = mmap(NULL, (size_t)bytes + GMEM_LARGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return ERR_HOST;
	p = (uint8_t *)p + (-(uintptr_t)p & (GMEM_LARGE_PAGE - 1));
	p = mmap(p, (size_t)bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
	if (p == MAP_FAILED)
		return ERR_HOST;
	m->base = p;
	m->bytes = bytes;
	return OK;
}

bool gmem_lock(const void *at, uint64_t bytes)
{
	return syscall(SYS_mlock2, at, (size_t)bytes, MLOCK_ONFAULT) == 0;
}

/* The offset in the mapping of [a, a+len), which must lie in one piece of RAM. */
static enum err locate(const struct gmem *m, gpa_t a, uint64_t len, uint64_t *off)
{
	uint64_t low = m->bytes < GMEM_HOLE_START ? m->bytes : GMEM_HOLE_START;

	if (chk_range(a.raw, len, low)) {
		*off = a.raw;
		return OK;
	}
	if (a.raw < GMEM_HOLE_END || !chk_range(a.raw - GMEM_HOLE_END, len, m->bytes - low))
		return ERR_GUEST;
	*off = low + (a.raw - GMEM_HOLE_END);
	return OK;
}

void gmem_use_large_pages(const struct gmem *m, gpa_t a, uint64_t len)
{
	uint64_t off;

	if (locate(m, a, len, &off) != OK)
		return;
	/* An extent without a single page is not collapsed. */
	for (uint64_t at = off; at < off + len; at += GMEM_LARGE_PAGE)
		(void)*(volatile uint8_t *)(m->base + at);
	(void)madvise(m->base + off, (size_t)len, MADV_COLLAPSE);
}

enum err gmem_check(const struct gmem *m, gpa_t a, uint64_t len)
{
	uint64_t off;

	return locate(m, a, len, &off);
}

enum err gmem_read(const struct gmem *m, gpa_t a, void *dst, size_t len)
{
	uint64_t off;

	if (locate(m, a, len, &off) != OK)
		return ERR_GUEST;
	memcpy(dst, m->base + off, len);
	return OK;
}

enum err gmem_write(const struct gmem *m, gpa_t a, const void *src, size_t len)
{
	uint64_t off;

	if (locate(m, a, len, &off) != OK)
		return ERR_GUEST;
	memcpy(m->base + off, src, len);
	return OK;
}

enum err gmem_iov(const struct gmem *m, gpa_t a, uint64_t len, struct iovec *iov)
{
	uint64_t off;

	if (locate(m, a, len, &off) != OK)
		return ERR_GUEST;
	iov->iov_base = m->base + off;
	iov->iov_len = (size_t)len;
	return OK;
}

enum err gmem_load_acquire_u16(const struct gmem *m, gpa_t a, uint16_t *v)
{
	uint64_t off;

	if (a.raw % 2 != 0 || locate(m, a, 2, &off) != OK)
		return ERR_GUEST;
	*v = __atomic_load_n((uint16_t *)(void *)(m->base + off), __ATOMIC_ACQUIRE);
	return OK;
}

enum err gmem_store_release_u16(const struct gmem *m, gpa_t a, uint16_t v)
{
	uint64_t off;

	if (a.raw % 2 != 0 || locate(m, a, 2, &off) != OK)
		return ERR_GUEST;
	__atomic_store_n((uint16_t *)(void *)(m->base + off), v, __ATOMIC_RELEASE);
	return OK;
}

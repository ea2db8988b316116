/* SPDX-License-Identifier: Apache-2.0 */
/*
 * discard.c - after the VMM is gone: is guest memory overwritten?  If not, do it.
 *
 * The VMM overwrites what was touched and says how much.  Here the memfd itself
 * is asked what it holds, and in every page of it 64 bytes are looked at, at an
 * offset the VMM could not know.  Where anything is missing (the VMM crashed,
 * was killed, or lied) all of it is overwritten from here.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"

enum { PAGE = 4096, SAMPLE = 64, LARGE_PAGE = 2 << 20 };

/* The next piece that holds pages, from *at on; false at the end. */
static bool next_piece(int fd, uint64_t total, uint64_t *at, uint64_t *bytes)
{
	off_t data = lseek(fd, (off_t)*at, SEEK_DATA), hole;

	if (data < 0 || (uint64_t)data >= total)
		return false;
	hole = lseek(fd, data, SEEK_HOLE);
	if (hole <= data)
		return false;
	*at = (uint64_t)data;
	*bytes = (uint64_t)(hole - data);
	return true;
}

static bool is_zero(const unsigned char *at, size_t n)
{
	unsigned char sum = 0;

	for (size_t i = 0; i < n; i++)
		sum |= at[i];
	return sum == 0;
}

/* A different place in each page, that the VMM could not know. */
static bool looks_clean(struct session *s, const unsigned char *base, uint64_t at, uint64_t bytes, uint64_t *seed)
{
	for (uint64_t page = at; page < at + bytes; page += PAGE) {
		size_t offset;

		*seed = *seed * 6364136223846793005u + 1442695040888963407u;
		offset = (size_t)(*seed >> 32) % (PAGE / SAMPLE) * SAMPLE;
		s->r->discard.samples++;
		if (!is_zero(base + page + offset, SAMPLE))
			return false;
	}
	return true;
}

/* Without a mapping, for lack of address space.  The bytes that were written. */
static uint64_t overwrite_by_calls(int fd, uint64_t at, uint64_t bytes)
{
	static const unsigned char zeroes[64 * 1024];
	uint64_t done = 0;

	while (done < bytes) {
		size_t most = bytes - done < sizeof(zeroes) ? (size_t)(bytes - done) : sizeof(zeroes);
		ssize_t n = pwrite(fd, zeroes, most, (off_t)(at + done));

		if (n <= 0 && errno != EINTR)
			break;
		done += n > 0 ? (uint64_t)n : 0;
	}
	return done;
}

static uint64_t overwrite(int fd, unsigned char *base, uint64_t total)
{
	uint64_t at = 0, bytes = 0, sum = 0;

	for (; next_piece(fd, total, &at, &bytes); at += bytes) {
		if (base == MAP_FAILED) {
			sum += overwrite_by_calls(fd, at, bytes);
			continue;
		}
		explicit_bzero(base + at, bytes);
		sum += bytes;
	}
	return sum;
}

void discard_disk(struct session *s, int *fd)
{
	struct dolania_discard *d = &s->r->discard;
	struct stat st;
	unsigned char *base;
	uint64_t at = 0, bytes = 0, held = 0, done;

	if (*fd < 0 || fstat(*fd, &st) < 0)
		return;
	while (next_piece(*fd, (uint64_t)st.st_size, &at, &bytes)) {
		held += bytes;
		at += bytes;
	}
	base = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, *fd, 0);
	done = overwrite(*fd, base, (uint64_t)st.st_size);
	d->disk_bytes += done;
	d->complete = d->complete && done >= held;
	if (base != MAP_FAILED)
		munmap(base, (size_t)st.st_size);
	fd_close(fd);
}

void discard_page(struct session *s)
{
	if (s->page != NULL) {
		/* The rings and the log held guest data. */
		overwrite(s->fd.shared, (unsigned char *)s->page, REPORT_SHARED_BYTES);
		munmap(s->page, REPORT_SHARED_BYTES);
		s->page = NULL;
	}
	fd_close(&s->fd.shared);
}

bool discard_freeze(struct session *s)
{
	void *copy = mmap(NULL, REPORT_SHARED_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (copy == MAP_FAILED)
		return false;
	(void)madvise(copy, REPORT_SHARED_BYTES, MADV_DONTDUMP);
	memcpy(copy, s->page, REPORT_SHARED_BYTES);
	overwrite(s->fd.shared, (unsigned char *)s->page, REPORT_SHARED_BYTES);
	munmap(s->page, REPORT_SHARED_BYTES);
	s->page = copy;
	return true;
}

/*
 * At a multiple of a large page where there is room: then the kernel maps large pages
 * whole, and looking at each small one of them costs no page fault.
 */
static unsigned char *map_ram(int fd, uint64_t bytes)
{
	unsigned char *p = mmap(NULL, bytes + LARGE_PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	uint64_t before;

	if (p == MAP_FAILED)
		return mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	before = -(uintptr_t)p % LARGE_PAGE;
	if (before != 0)
		munmap(p, before);
	munmap(p + before + bytes, LARGE_PAGE - before);
	return mmap(p + before, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, fd, 0);
}

void discard_verify(struct session *s)
{
	struct dolania_discard *d = &s->r->discard;
	const struct report *p = &s->r->report;
	uint64_t started = now_ns(), at = 0, bytes = 0, held = 0;
	bool clean = p->phase == REPORT_DISCARDED && !s->r->vmm_left;
	uint64_t seed = 0;
	unsigned char *base = map_ram(s->fd.ram, s->ram_bytes);

	clean = clean && base != MAP_FAILED;	/* what cannot be looked at is overwritten */
	if (base != MAP_FAILED)		/* not for a core file of ours, if we crash now */
		(void)madvise(base, s->ram_bytes, MADV_DONTDUMP);
	if (getrandom(&seed, sizeof(seed), 0) != (ssize_t)sizeof(seed))
		seed = started;
	for (; next_piece(s->fd.ram, s->ram_bytes, &at, &bytes); at += bytes) {
		held += bytes;
		clean = clean && looks_clean(s, base, at, bytes, &seed);
	}
	d->touched_bytes = held;
	d->vmm_bytes = clean ? held : 0;
	d->ns = p->wipe_ns;
	if (!clean) {
		d->supervisor_bytes = overwrite(s->fd.ram, base, s->ram_bytes);
		d->ns = now_ns() - started;
	}
	if (base != MAP_FAILED)
		munmap(base, s->ram_bytes);
	d->complete = d->vmm_bytes + d->supervisor_bytes >= held && !s->r->vmm_left;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* Guest addresses become pointers only inside RAM. */
#include <sys/stat.h>

#include "tests/unit/driver.h"
#include "tests/unit/tap.h"

static void map_refuses_nonsense(void)
{
	struct gmem m;
	int fd = memfd("ram", 8192);

	CHECK_EQ(gmem_map(&m, fd, 0), ERR_USAGE);
	CHECK_EQ(gmem_map(&m, fd, 4097), ERR_USAGE);
	CHECK_EQ(gmem_map(&m, fd, UINT64_MAX - 4095), ERR_USAGE);
	CHECK_EQ(gmem_map(&m, fd, 12288), ERR_USAGE);	/* the file is shorter: SIGBUS later */
	CHECK_EQ(gmem_map(&m, -1, 4096), ERR_HOST);
	close(fd);
	fd = open("/dev/null", O_RDONLY);
	CHECK_EQ(gmem_map(&m, fd, 4096), ERR_USAGE);
	close(fd);
	fd = memfd("ram", 8192);
	MUST(fcntl(fd, F_ADD_SEALS, F_SEAL_WRITE) == 0);
	CHECK_EQ(gmem_map(&m, fd, 8192), ERR_HOST);
	close(fd);
}

static void bounds(const struct gmem *m, uint64_t start, uint64_t end)
{
	uint8_t b[16];
	struct iovec iov;
	uint16_t v = 0;

	CHECK_EQ(gmem_check(m, gpa(start), end - start), OK);
	CHECK_EQ(gmem_check(m, gpa(start), end - start + 1), ERR_GUEST);
	CHECK_EQ(gmem_check(m, gpa(end), 0), OK);
	CHECK_EQ(gmem_check(m, gpa(end), 1), ERR_GUEST);
	CHECK_EQ(gmem_check(m, gpa(end - 8), 9), ERR_GUEST);
	CHECK_EQ(gmem_check(m, gpa(end - 8), UINT64_MAX), ERR_GUEST);
	CHECK_EQ(gmem_check(m, gpa(end - 8), UINT64_MAX - end + 9), ERR_GUEST);	/* wraps to 1 */

	CHECK_EQ(gmem_write(m, gpa(end - 8), "01234567", 8), OK);
	CHECK_EQ(gmem_write(m, gpa(end - 8), "012345678", 9), ERR_GUEST);
	memset(b, 0, sizeof b);
	CHECK_EQ(gmem_read(m, gpa(end - 8), b, 8), OK);
	CHECK(memcmp(b, "01234567", 8) == 0);
	CHECK_EQ(gmem_read(m, gpa(end - 7), b, 8), ERR_GUEST);
	CHECK_EQ(gmem_iov(m, gpa(end - 8), 8, &iov), OK);
	CHECK(iov.iov_len == 8 && memcmp(iov.iov_base, "01234567", 8) == 0);
	CHECK_EQ(gmem_iov(m, gpa(end - 8), 9, &iov), ERR_GUEST);

	CHECK_EQ(gmem_store_release_u16(m, gpa(end - 2), 0xbeef), OK);
	CHECK_EQ(gmem_load_acquire_u16(m, gpa(end - 2), &v), OK);
	CHECK_EQ(v, 0xbeef);
	CHECK_EQ(gmem_store_release_u16(m, gpa(end - 3), 1), ERR_GUEST);	/* odd */
	CHECK_EQ(gmem_load_acquire_u16(m, gpa(end - 3), &v), ERR_GUEST);
	CHECK_EQ(gmem_store_release_u16(m, gpa(end), 1), ERR_GUEST);
	CHECK_EQ(gmem_load_acquire_u16(m, gpa(end), &v), ERR_GUEST);
}

static void small_ram(void)
{
	int fd = memfd("ram", 65536);
	struct gmem m;

	CHECK_EQ(gmem_map(&m, fd, 65536), OK);
	bounds(&m, 0, 65536);
	CHECK_EQ(gmem_check(&m, gpa(GMEM_HOLE_START), 1), ERR_GUEST);
	CHECK_EQ(gmem_check(&m, gpa(GMEM_HOLE_END), 1), ERR_GUEST);
	CHECK_EQ(gmem_check(&m, gpa(UINT64_MAX), 1), ERR_GUEST);
	CHECK_EQ(gmem_check(&m, gpa(UINT64_MAX), 2), ERR_GUEST);
	munmap(m.base, 65536);
	close(fd);
}

static void ram_around_the_hole(void)
{
	const uint64_t bytes = GMEM_HOLE_START + 65536;
	int fd = memfd("ram", bytes);
	struct gmem m;
	uint8_t b;

	if (gmem_map(&m, fd, bytes) != OK) {
		fprintf(stderr, "skip ram_around_the_hole: no address space\n");
		close(fd);
		return;
	}
	bounds(&m, 0, GMEM_HOLE_START);
	bounds(&m, GMEM_HOLE_END, GMEM_HOLE_END + 65536);
	/* Nothing in the hole, nothing across it. */
	CHECK_EQ(gmem_check(&m, gpa(GMEM_HOLE_START), 1), ERR_GUEST);
	CHECK_EQ(gmem_check(&m, gpa(GMEM_HOLE_END - 1), 1), ERR_GUEST);
	CHECK_EQ(gmem_check(&m, gpa(GMEM_HOLE_END - 1), 2), ERR_GUEST);
	CHECK_EQ(gmem_check(&m, gpa(0xd0000000), 4), ERR_GUEST);
	CHECK_EQ(gmem_check(&m, gpa(GMEM_HOLE_START - 1), 2), ERR_GUEST);
	/* The guest's 4 GiB is the file's 3 GiB. */
	CHECK_EQ(gmem_write(&m, gpa(GMEM_HOLE_END), "Z", 1), OK);
	CHECK_EQ(pread(fd, &b, 1, (off_t)GMEM_HOLE_START), 1);
	CHECK_EQ(b, 'Z');
	munmap(m.base, bytes);
	close(fd);
}

static blkcnt_t blocks(int fd)
{
	struct stat st;

	MUST(fstat(fd, &st) == 0);
	return st.st_blocks;
}

/* RAM of two large pages and a half. */
static void large_pages_only_where_there_is_ram(void)
{
	const uint64_t bytes = 2 * GMEM_LARGE_PAGE + GMEM_LARGE_PAGE / 2;
	const uint64_t beyond[] = { 2, 3, GMEM_HOLE_START / GMEM_LARGE_PAGE, GMEM_HOLE_END / GMEM_LARGE_PAGE,
				    0x7fffffff, 0xffffffff };
	int fd = memfd("ram", bytes);
	struct gmem m;
	char b[4];

	CHECK_EQ(gmem_map(&m, fd, bytes), OK);
	for (size_t i = 0; i < sizeof beyond / sizeof beyond[0]; i++)
		gmem_use_large_pages(&m, gpa(beyond[i] * GMEM_LARGE_PAGE), GMEM_LARGE_PAGE);
	CHECK_EQ(blocks(fd), 0);
	CHECK_EQ(gmem_write(&m, gpa(2 * GMEM_LARGE_PAGE - 2), "AB", 2), OK);
	CHECK_EQ(gmem_write(&m, gpa(GMEM_LARGE_PAGE), "CD", 2), OK);
	gmem_use_large_pages(&m, gpa(GMEM_LARGE_PAGE), GMEM_LARGE_PAGE);
	gmem_use_large_pages(&m, gpa(GMEM_LARGE_PAGE), GMEM_LARGE_PAGE);
	CHECK(blocks(fd) > 0 && (uint64_t)blocks(fd) * 512 <= GMEM_LARGE_PAGE);
	CHECK_EQ(gmem_read(&m, gpa(2 * GMEM_LARGE_PAGE - 2), b, 2), OK);
	CHECK_EQ(gmem_read(&m, gpa(GMEM_LARGE_PAGE), b + 2, 2), OK);
	CHECK(memcmp(b, "ABCD", 4) == 0);
	munmap(m.base, bytes);
	close(fd);
}

static void addresses_add_checked(void)
{
	gpa_t a = gpa(7);

	CHECK_EQ(gpa_add(gpa(1), 2, &a), OK);
	CHECK_EQ(a.raw, 3);
	CHECK_EQ(gpa_add(gpa(UINT64_MAX), 1, &a), ERR_GUEST);
	CHECK_EQ(a.raw, 3);
}

int main(void)
{
	RUN(map_refuses_nonsense);
	RUN(small_ram);
	RUN(ram_around_the_hole);
	RUN(large_pages_only_where_there_is_ram);
	RUN(addresses_add_checked);
	return tap_end();
}

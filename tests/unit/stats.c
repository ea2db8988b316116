/* SPDX-License-Identifier: Apache-2.0 */
/* KVM's file of statistics: found wherever it stands in it, and never missed in silence where it is not there. */
#include "tests/unit/tap.h"

#ifndef _GNU_SOURCE
#define _GNU_SOURCE	/* memfd_create */
#endif
#include <errno.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

static int fake_ioctl(int fd, unsigned long request, ...);
#define ioctl fake_ioctl
#include "vmm/kvm/stats.c"
#undef ioctl

enum { NAME_BYTES = 48, STATS = 40, VALUE = 1234 };

static struct {
	struct kvm_stats_header head;
	struct {
		struct kvm_stats_desc d;
		char name[NAME_BYTES];
	} desc[STATS];
	uint64_t data[STATS];
} file;
static size_t file_bytes;
static bool refused;

static int fake_ioctl(int fd, unsigned long request, ...)
{
	int made;

	(void)fd;
	(void)request;
	if (refused) {
		errno = EINVAL;
		return -1;
	}
	made = memfd_create("statistics", 0);
	return made < 0 || pwrite(made, &file, file_bytes, 0) != (ssize_t)file_bytes ? -1 : made;
}

/* As Linux makes it, with the wanted one at `at`; STATS: nowhere. */
static void make_file(unsigned at)
{
	memset(&file, 0, sizeof(file));
	file.head = (struct kvm_stats_header){
		.name_size = NAME_BYTES, .num_desc = STATS, .desc_offset = offsetof(__typeof__(file), desc),
		.data_offset = offsetof(__typeof__(file), data),
	};
	for (unsigned i = 0; i < STATS; i++) {
		file.desc[i].d.offset = i * 8;
		memcpy(file.desc[i].name, i == at ? "pf_mmio_spte_created" : "pf_mmio_spte_CREATED", 21);
		file.data[i] = i == at ? VALUE : i;
	}
	file_bytes = sizeof(file);
	refused = false;
}

static enum err open_it(struct vm *vm)
{
	const char *why = "";
	enum err err;

	*vm = (struct vm){ .vcpu_fd = -1, .stats_fd = -1 };
	err = stats_open(vm, &why);
	CHECK(err == OK || strstr(why, "5.19") != NULL);
	return err;
}

static void it_is_found_wherever_it_is(void)
{
	struct vm vm;

	for (unsigned at = 0; at < STATS; at++) {
		make_file(at);
		CHECK_EQ(open_it(&vm), OK);
		CHECK_EQ(stats_tables(&vm), VALUE);
		close(vm.stats_fd);
	}
}

static void a_kvm_without_it_is_refused(void)
{
	struct vm vm;

	make_file(STATS);
	CHECK_EQ(open_it(&vm), ERR_HOST);
	make_file(0);
	refused = true;
	CHECK_EQ(open_it(&vm), ERR_HOST);
}

static void a_file_of_another_shape_is_refused(void)
{
	struct vm vm;

	make_file(STATS - 1);
	for (file_bytes = 0; file_bytes < offsetof(__typeof__(file), data); file_bytes += 8)
		CHECK_EQ(open_it(&vm), ERR_HOST);
	make_file(STATS);
	file.head.num_desc = ~0u;
	CHECK_EQ(open_it(&vm), ERR_HOST);
	make_file(0);
	file.head.desc_offset = ~0u;
	CHECK_EQ(open_it(&vm), ERR_HOST);
	make_file(0);
	file.head.name_size = 4;
	CHECK_EQ(open_it(&vm), ERR_HOST);
	make_file(0);
	file.head.name_size = ~0u;
	CHECK_EQ(open_it(&vm), ERR_HOST);
}

/* What cannot be read counts as too much: the run ends. */
static void a_number_that_is_not_there_is_too_large(void)
{
	struct vm vm;

	make_file(0);
	file.head.data_offset = sizeof(file);
	CHECK_EQ(open_it(&vm), OK);
	CHECK_EQ(stats_tables(&vm), UINT64_MAX);
}

int main(void)
{
	RUN(it_is_found_wherever_it_is);
	RUN(a_kvm_without_it_is_refused);
	RUN(a_file_of_another_shape_is_refused);
	RUN(a_number_that_is_not_there_is_too_large);
	return tap_end();
}

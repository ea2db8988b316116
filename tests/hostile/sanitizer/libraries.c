/* SPDX-License-Identifier: Apache-2.0 */
/*
 * libraries.c - lets a VMM with sanitizers start in its empty root.
 *
 * Test only: linked into build/san/bin/dolania with --wrap=mount, never into
 * the command that is installed.  A program with AddressSanitizer cannot be
 * static, so its root cannot be quite empty: the tmpfs that confine.c makes
 * gets three files, bound from the host: the dynamic linker, libc and libm.
 * All else of confine.c runs as it is, and Landlock in the VMM closes these
 * paths like any other before the guest's first instruction.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

int __real_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);
int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data);

static const char *const files[] = {
	"/lib64/ld-linux-x86-64.so.2",
	"/lib/x86_64-linux-gnu/libc.so.6",
	"/lib/x86_64-linux-gnu/libm.so.6",
};

/* An empty file at `path` and the directories above it, as far as they lack. */
static int make_place(char *path)
{
	int fd;

	for (char *slash = strchr(path + 1, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
		*slash = '\0';
		(void)mkdir(path, 0755);	/* open tells */
		*slash = '/';
	}
	fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
	return fd < 0 ? -1 : close(fd);
}

int __wrap_mount(const char *source, const char *target, const char *type, unsigned long flags, const void *data)
{
	char place[128];

	if (type == NULL || strcmp(type, "tmpfs") != 0)
		return __real_mount(source, target, type, flags, data);
	if (__real_mount(source, target, type, flags, "size=64k,nr_inodes=16,mode=0555") < 0)
		return -1;
	for (size_t i = 0; i < sizeof(files) / sizeof(files[0]); i++) {
		snprintf(place, sizeof(place), "%s%s", target, files[i]);
		if (make_place(place) < 0 || __real_mount(files[i], place, NULL, MS_BIND, NULL) < 0)
			return -1;
	}
	return 0;
}

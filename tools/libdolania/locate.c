/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locate.c - the files a run needs: found next to the executable, opened,
 * looked at before a VM is made of them.
 *
 *	bin/dolania  libexec/dolania/dolania-vmm
 *	share/dolania/vmlinux  share/dolania/vmlinux-loopback  share/dolania/init.cpio  share/dolania/images/NAME.erofs
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/internal.h"
#include "tools/libdolania/policy.h"

#define SUFFIX ".erofs"

static int join(char *to, size_t room, const char *top, const char *rest)
{
	int n = snprintf(to, room, "%s/%s", top, rest);

	return n > 0 && (size_t)n < room ? 0 : -1;
}

int dolania_locate(struct dolania_paths *p)
{
	char top[4096];
	ssize_t n = readlink("/proc/self/exe", top, sizeof(top) - 1);

	if (n <= 0)
		return -1;
	top[n] = '\0';
	for (int up = 0; up < 2; up++) {
		char *slash = strrchr(top, '/');

		if (slash == NULL)
			return -1;
		*slash = '\0';
	}
	return join(p->vmm, sizeof(p->vmm), top, "libexec/dolania/dolania-vmm") ||
	       join(p->kernel, sizeof(p->kernel), top, "share/dolania/vmlinux") ||
	       join(p->loopback, sizeof(p->loopback), top, "share/dolania/vmlinux-loopback") ||
	       join(p->initrd, sizeof(p->initrd), top, "share/dolania/init.cpio") ||
	       join(p->images, sizeof(p->images), top, "share/dolania/images") ? -1 : 0;
}

static int is_image(const struct dirent *d)
{
	size_t n = strlen(d->d_name);

	return d->d_name[0] != '.' && n > sizeof(SUFFIX) - 1 &&
	       strcmp(d->d_name + n - (sizeof(SUFFIX) - 1), SUFFIX) == 0;
}

void dolania_list_runtimes(const struct dolania_paths *p, char *to, size_t room)
{
	struct dirent **found;
	int count = scandir(p->images, &found, is_image, alphasort);
	size_t used = 0;

	snprintf(to, room, "none");
	for (int i = 0; i < count; i++) {
		int n = snprintf(to + used, room - used, "%s%.*s", used > 0 ? ", " : "",
				 (int)(strlen(found[i]->d_name) - (sizeof(SUFFIX) - 1)), found[i]->d_name);

		if (n > 0 && (size_t)n < room - used)
			used += (size_t)n;
		free(found[i]);
	}
	if (count >= 0)
		free(found);
}

/* For certain: a host without memory says nothing of it, and opening the file then tells why. */
static bool is_missing(const char *path)
{
	return access(path, F_OK) != 0 && (errno == ENOENT || errno == ENOTDIR || errno == ENAMETOOLONG);
}

int locate_open(struct session *s, const char *path, const char *what, enum dolania_reason why, int *fd)
{
	struct stat st;

	*fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);	/* a pipe must not make us wait */
	if (*fd < 0 && reason_of_file(errno) != DOLANIA_USAGE)
		why = reason_of_file(errno);
	if (*fd < 0)
		return session_fail(s, why, "%s: cannot open %s: %s", path, what, strerror(errno));
	if (fstat(*fd, &st) < 0)
		return session_fail(s, DOLANIA_HOST_IO, "%s: %s", path, strerror(errno));
	if (!S_ISREG(st.st_mode))
		return session_fail(s, why, "%s: %s must be a regular file", path, what);
	if (st.st_size == 0)
		return session_fail(s, DOLANIA_BOOT_FAILED, "%s: %s is empty; build or copy it again", path, what);
	return 0;
}

/* Ours, when no other was given: a missing one means an unfinished set-up. */
static int open_part(struct session *s, const char *given, const char *ours, const char *what, int *fd)
{
	if (given != NULL)
		return locate_open(s, given, what, DOLANIA_USAGE, fd);
	if (is_missing(ours))
		return session_fail(s, DOLANIA_HOST_IO, "%s: %s is missing; 'make setup' builds it", ours, what);
	return locate_open(s, ours, what, DOLANIA_HOST_IO, fd);
}

/* An EROFS super block lies at byte 1024; see Linux's fs/erofs/erofs_fs.h. */
static int check_image(struct session *s, int fd)
{
	enum { AT = 1024, BYTES = 128, SHIFT = 12, BLOCKS = 36 };
	const uint32_t magic = 0xe0f5e1e2u;
	unsigned char sb[BYTES];
	uint32_t found = 0, blocks = 0;
	struct stat st;
	ssize_t n = pread(fd, sb, sizeof(sb), AT);

	if (n < 0)
		return session_fail(s, DOLANIA_HOST_IO, "%s: %s", s->image_path, strerror(errno));
	if (n == sizeof(sb)) {
		memcpy(&found, sb, sizeof(found));
		memcpy(&blocks, sb + BLOCKS, sizeof(blocks));
	}
	if (found != magic || sb[SHIFT] < 9 || sb[SHIFT] > 16)
		return session_fail(s, DOLANIA_USAGE, "%s: not an EROFS image; tools/image (installed: dolania-image) "
				    "makes one; or copy it again", s->image_path);
	if (fstat(fd, &st) < 0)
		return session_fail(s, DOLANIA_HOST_IO, "%s: %s", s->image_path, strerror(errno));
	if ((uint64_t)st.st_size < (uint64_t)blocks << sb[SHIFT])
		return session_fail(s, DOLANIA_USAGE, "%s: the image is truncated: %lld of %llu bytes; copy it again",
				    s->image_path, (long long)st.st_size,
				    (unsigned long long)blocks << sb[SHIFT]);
	return 0;
}

/* The policy's word on it, and the site's. */
static int check_runtime(struct session *s, const char *runtime)
{
	const struct dolania_policy *p = s->o->policy, *site = s->o->site;
	char allowed[256];

	if (s->collecting != NULL)	/* it was judged for the script, by its name */
		return 0;
	if (p != NULL && !policy_allows(&p->runtimes, runtime))
		return session_fail(s, DOLANIA_USAGE, "the policy '%s' does not allow the runtime '%s' (it allows: %s); choose "
				    "one with --runtime, or another policy with --policy", p->name, runtime,
				    policy_list_text(&p->runtimes, allowed, sizeof(allowed)));
	if (site != NULL && site->declared[POLICY_RUNTIMES] && !policy_allows(&site->runtimes, runtime))
		return session_fail(s, DOLANIA_USAGE, "this site does not allow the runtime '%s' (%s, line %u: %s); choose one "
				    "with --runtime", runtime, site->file, site->line[POLICY_RUNTIMES],
				    policy_list_text(&site->runtimes, allowed, sizeof(allowed)));
	return 0;
}

const char *const dolania_on_demand[] = { "node", "python-data", "toolchain", NULL };

static bool is_on_demand(const char *runtime)
{
	for (size_t i = 0; dolania_on_demand[i] != NULL; i++)
		if (strcmp(runtime, dolania_on_demand[i]) == 0)
			return true;
	return false;
}

static int no_such_runtime(struct session *s, const char *runtime)
{
	bool script_wish = s->o->runtime == NULL && strcmp(runtime, "base") != 0;
	enum dolania_reason why = script_wish ? DOLANIA_NOT_FOUND : DOLANIA_USAGE;	/* whose wish, and whose failure */
	char known[256];

	dolania_list_runtimes(&s->paths, known, sizeof(known));
	s->r->code = ENOENT;
	if (is_on_demand(runtime))
		return session_fail(s, why, "%s%sthe runtime '%s' is not built yet: 'make image NAME=%s' builds it; "
				    "there are: %s", script_wish ? s->o->script : "", script_wish ? ": " : "", runtime,
				    runtime, known);
	if (script_wish)
		return session_fail(s, why, "%s: needs the runtime '%s', which is not there; there are: %s; --runtime "
				    "names another or the path of an image", s->o->script, runtime, known);
	return session_fail(s, why, "unknown runtime '%s'; --runtime takes one of: %s; or the path of an image (with a "
			    "'/' in it)", runtime, known);
}

int locate_image(struct session *s, const char *runtime)
{
	bool is_path = strchr(runtime, '/') != NULL;
	int n;

	if (check_runtime(s, runtime) < 0)
		return -1;
	if (is_path)
		n = snprintf(s->image_path, sizeof(s->image_path), "%s", runtime);
	else
		n = snprintf(s->image_path, sizeof(s->image_path), "%s/%s" SUFFIX, s->paths.images, runtime);
	if (n < 0 || (size_t)n >= sizeof(s->image_path))
		return session_fail(s, DOLANIA_USAGE, "--runtime: the path is too long");
	if (!is_path && (runtime[0] == '\0' || is_missing(s->image_path)))
		return no_such_runtime(s, runtime);
	snprintf(s->r->runtime, sizeof(s->r->runtime), "%s", runtime);
	if (locate_open(s, s->image_path, "the image", DOLANIA_USAGE, &s->fd.root) < 0)
		return -1;
	return check_image(s, s->fd.root);
}

const char *locate_kernel(const struct session *s)
{
	if (s->o->kernel != NULL)
		return s->o->kernel;
	return s->o->loopback ? s->paths.loopback : s->paths.kernel;
}

static int open_kvm(struct session *s)
{
	s->fd.kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
	if (s->fd.kvm >= 0)
		return 0;
	if (errno == EACCES || errno == EPERM)
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "no permission on /dev/kvm; join its group "
				    "(sudo usermod -aG kvm \"$USER\") and log in again");
	if (errno == ENOENT || errno == ENODEV || errno == ENXIO)
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "no KVM on this host (/dev/kvm: %s); enable "
				    "virtualization in the firmware and load kvm_intel or kvm_amd; "
				    "'dolania doctor' tells more", strerror(errno));
	return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "/dev/kvm: %s; 'dolania doctor' tells more",
			    strerror(errno));
}

/* What our kernel would panic of; another kernel's is its own matter.  One that cannot be read is told later, and better. */
static int check_initrd(struct session *s)
{
	static const char newc[] = "070701";
	char begins[sizeof(newc) - 1] = { 0 };

	if (s->o->initrd == NULL || s->o->kernel != NULL || pread(s->fd.initrd, begins, sizeof(begins), 0) < 0 ||
	    memcmp(begins, newc, sizeof(begins)) == 0)
		return 0;
	return session_fail(s, DOLANIA_BOOT_FAILED, "%s: no initial file system (a cpio archive, newc, not compressed)",
			    s->o->initrd);
}

int locate_all(struct session *s)
{
	const struct dolania_options *o = s->o;

	if (access(s->paths.vmm, X_OK) != 0)
		return session_fail(s, DOLANIA_HOST_IO, "%s: the VMM is missing or not executable; 'make build' "
				    "builds it", s->paths.vmm);
	if (o->loopback && o->kernel != NULL)
		return session_fail(s, DOLANIA_USAGE, "--loopback and --kernel exclude each other: each names a kernel");
	if (o->loopback && is_missing(s->paths.loopback))
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "--loopback: %s is not there; 'make loopback' builds it",
				    s->paths.loopback);
	if (open_part(s, o->kernel, locate_kernel(s), "the guest kernel", &s->fd.kernel) < 0 ||
	    open_part(s, o->initrd, s->paths.initrd, "init", &s->fd.initrd) < 0 || check_initrd(s) < 0)
		return -1;
	return open_kvm(s);
}

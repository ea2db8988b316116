/* SPDX-License-Identifier: Apache-2.0 */
/*
 * out.c - --out: where the files go that a script leaves in /out.
 *
 *	before the run	the directory is there, and the extractor waits in its jail;
 *			or FILE.tar is made, which must not be there yet
 *	after it	a second VM reads the disk (collect.c) and its archive goes to
 *			the extractor, or into the file
 *
 * After a cancel nothing is collected: who cancels wants us gone.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tools/libdolania/extract.h"
#include "tools/libdolania/internal.h"

#define ENTRIES_MAX 1000000u
enum { BYTES_PER_ENTRY = 512 };		/* a header is the least that an entry takes */

struct out_target {
	bool is_file;			/* FILE.tar */
	int file;
	struct extractor extractor;	/* running, where it is a directory */
};

static bool names_a_file(const char *path)
{
	size_t n = strlen(path);
	struct stat st;

	return n > 4 && strcmp(path + n - 4, ".tar") == 0 && (stat(path, &st) < 0 || !S_ISDIR(st.st_mode));
}

/* What other tools would write an archive to; a directory of such a name has to be there already. */
static bool names_another_archive(const char *path)
{
	static const char *const suffixes[] = { ".tgz", ".tar.gz", ".txz", ".tar.xz", ".tzst", ".tar.zst", ".tar.bz2", ".zip" };
	size_t n = strlen(path);

	for (size_t i = 0; i < sizeof(suffixes) / sizeof(suffixes[0]); i++) {
		size_t m = strlen(suffixes[i]);

		if (n > m && strcmp(path + n - m, suffixes[i]) == 0)
			return access(path, F_OK) != 0;
	}
	return false;
}

static int prepare_file(struct session *s)
{
	const char *path = s->o->out;

	s->out->is_file = true;
	s->out->file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOCTTY, 0666);
	if (s->out->file >= 0)
		return 0;
	if (errno == EEXIST)
		return session_fail(s, DOLANIA_USAGE, "--out %s: is there already, and nothing is overwritten; remove it "
				    "or name another", path);
	return session_fail(s, DOLANIA_USAGE, "--out %s: %s", path, strerror(errno));
}

static int prepare_directory(struct session *s)
{
	const char *path = s->o->out;
	uint64_t entries = s->o->disk_bytes / BYTES_PER_ENTRY;
	char program[sizeof(s->paths.vmm) + 8], why[DOLANIA_LINE - 64] = "", *slash;
	struct stat st;
	int dir, ret;

	if (mkdir(path, 0777) < 0 && errno != EEXIST)
		return session_fail(s, DOLANIA_USAGE, "--out %s: %s", path, errno == ENOENT ? "the directory that it is to be "
				    "made in is not there" : strerror(errno));
	/* Who owns the parent could have put a link there; with a '/' behind it, it is meant. */
	dir = open(path, O_PATH | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
	if (dir < 0 && errno == ENOTDIR && lstat(path, &st) == 0 && S_ISLNK(st.st_mode))
		return session_fail(s, DOLANIA_USAGE, "--out %s: is a symbolic link; name the directory that it leads to, "
				    "or end it with '/'", path);
	if (dir < 0)
		return session_fail(s, DOLANIA_USAGE, "--out %s: %s", path, errno == ENOTDIR ? "is no directory; an archive is "
				    "named FILE.tar" : strerror(errno));
	if (access(path, W_OK | X_OK) < 0) {
		session_fail(s, DOLANIA_USAGE, "--out %s: %s", path, strerror(errno));
		close(dir);
		return -1;
	}
	snprintf(program, sizeof(program), "%s", s->paths.vmm);
	slash = strrchr(program, '/');
	snprintf(slash + 1, sizeof(program) - (size_t)(slash + 1 - program), "dolania-extract");
	ret = extractor_start(&s->out->extractor, program, dir, s->o->disk_bytes,
			      entries < ENTRIES_MAX ? entries : ENTRIES_MAX, why, sizeof(why));
	close(dir);
	if (ret < 0)
		return session_fail(s, DOLANIA_HOST_UNSUPPORTED, "--out: %s; 'dolania doctor' tells more", why);
	return 0;
}

int out_prepare(struct session *s)
{
	if (s->o->out == NULL)
		return 0;
	if (s->o->out[0] == '\0')
		return session_fail(s, DOLANIA_USAGE, "--out: no directory is named");
	if (names_another_archive(s->o->out))
		return session_fail(s, DOLANIA_USAGE, "--out %s: an archive is named FILE.tar; for a directory of that name, "
				    "make it first", s->o->out);
	s->out = calloc(1, sizeof(*s->out));
	if (s->out == NULL)
		return session_fail(s, DOLANIA_HOST_OOM, "no memory for --out");
	s->out->file = -1;
	s->out->extractor = (struct extractor){ .pidfd = -1, .archive = -1, .log = -1 };
	if (disk_make(s, "--disk", s->o->disk_bytes, &s->fd.out_disk) < 0)
		return -1;
	return names_a_file(s->o->out) ? prepare_file(s) : prepare_directory(s);
}

/* True when all came back, or what is missing is the guest's doing. */
static bool to_file(struct session *s, struct dolania_out *r)
{
	struct collected c;

	collect(s, s->out->file, &c);
	r->archive_bytes = c.archive_bytes;
	r->complete = c.whole;
	snprintf(r->why_not, sizeof(r->why_not), "%s", c.why);
	if (close(s->out->file) < 0 && r->complete) {
		snprintf(r->why_not, sizeof(r->why_not), "%s", strerror(errno));
		r->complete = false;
		c.host_failed = true;
	}
	s->out->file = -1;
	if (s->cancel_signal == 0)
		s->cancel_signal = c.cancel_signal;
	return !c.host_failed;
}

static bool to_directory(struct session *s, struct dolania_out *r)
{
	struct collected c;
	bool fine;

	collect(s, s->out->extractor.archive, &c);
	if (s->cancel_signal == 0)
		s->cancel_signal = c.cancel_signal;
	fine = extractor_finish(&s->out->extractor, s->o->signal_fd, &s->cancel_signal, r);
	r->archive_bytes = c.archive_bytes;
	/* The extractor's own trouble explains that of the sender; else the sender's is the cause. */
	if (fine && !c.whole && c.why[0] != '\0') {
		snprintf(r->why_not, sizeof(r->why_not), "%s", c.why);
		r->complete = false;
	}
	return fine && !c.host_failed;
}

/* Files that are missing must not look like success, whatever the script did. */
static void tell(struct session *s, bool host_is_fine)
{
	struct dolania_out *r = &s->r->returned;

	if (r->refused_total > 0 && host_is_fine)
		session_note(s, "%llu of what was in /out %s refused, first \"%.200s\": %s; --result lists them",
			     (unsigned long long)r->refused_total, r->refused_total == 1 ? "was" : "were",
			     r->refused[0].name, r->refused[0].why != NULL ? r->refused[0].why : "?");
	if (r->complete)
		return;
	if (!host_is_fine && dolania_reason_by_guest(s->r->reason)) {
		s->r->reason = DOLANIA_NOT_RUN;
		s->r->code = 0;
		session_fail(s, DOLANIA_HOST_IO, "--out %s: not all of /out came back: %.300s", s->o->out, r->why_not);
	} else {
		session_note(s, "%s of /out came back: %.400s", r->collected ? "not all" : "nothing", r->why_not);
	}
}

void out_return(struct session *s)
{
	struct dolania_out *r = &s->r->returned;
	bool host_is_fine = true;

	if (s->out == NULL)
		return;
	/* Also a cancel that came when the script had ended, and its machine was being overwritten. */
	if (s->r->reason == DOLANIA_CANCELLED || s->cancel_signal != 0) {
		snprintf(r->why_not, sizeof(r->why_not), "the run was cancelled");
	} else if (s->r->vmm_left) {	/* it may still write to the disk */
		snprintf(r->why_not, sizeof(r->why_not), "the VMM did not disappear");
		host_is_fine = false;
	} else if (s->r->report.t_ready == 0) {
		snprintf(r->why_not, sizeof(r->why_not), "the script did not start");
	} else {
		r->collected = true;
		host_is_fine = s->out->is_file ? to_file(s, r) : to_directory(s, r);
	}
	if (s->cancel_signal != 0 && (r->collected || dolania_reason_by_guest(s->r->reason))) {
		s->r->reason = DOLANIA_NOT_RUN;
		s->r->code = s->cancel_signal;
		session_fail(s, DOLANIA_CANCELLED, "cancelled %s /out was collected", r->collected ? "while" : "before");
		snprintf(r->why_not, sizeof(r->why_not), "the run was cancelled");
		r->complete = false;
	}
	tell(s, host_is_fine);
}

/* Made by us, and nothing was written to it; what somebody put in its place meanwhile stays. */
static void remove_own(const char *path, int file)
{
	struct stat own, there;

	if (fstat(file, &own) == 0 && lstat(path, &there) == 0 && own.st_dev == there.st_dev && own.st_ino == there.st_ino)
		(void)unlink(path);
}

void out_release(struct session *s)
{
	if (s->out == NULL)
		return;
	if (s->out->extractor.pid > 0)
		(void)extractor_finish(&s->out->extractor, s->o->signal_fd, &s->cancel_signal,
				       &(struct dolania_out){ .listed = 0 });
	if (s->out->file >= 0)
		remove_own(s->o->out, s->out->file);
	fd_close(&s->out->file);
	free(s->out);
	s->out = NULL;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * archive.c - a directory tree to the host, as a tar; see archive.h.
 *
 * The file system was written by a guest that may have owned its kernel, so
 * anything may be on it: directories that contain themselves, sizes without
 * data, names of any bytes.  Depth, path and the number of bytes are bounded,
 * each file is opened once and asked what it is, and no link is followed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "archive.h"
#include "dirents.h"
#include "link.h"
#include "mount.h"
#include "text.h"

#define PLACE "/collect"

enum {
	BLOCK = 512,
	END_BYTES = 2 * BLOCK,
	DEPTH_MAX = 512,		/* a descriptor each */
	PATH_BYTES = 4096,
	PAX_BYTES = 3 * PATH_BYTES - BLOCK,
	OUT_BYTES = 64 << 10,
	NAME_FIELD = 100,
};
#define OCTAL_MAX_11 (1ull << 33)	/* eleven octal digits */

struct header {
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
	char type, link[100], magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a ustar header is a block");

/* One a boot, and too large for the stack. */
static struct archive {
	int sock;
	int failed;		/* errno of the connection */
	int not_all;
	uint64_t left;		/* of what may be sent */
	size_t have;		/* of out */
	size_t path_bytes;	/* of path, which is NUL-terminated */
	size_t pax_bytes;
	char path[PATH_BYTES];
	char link[PATH_BYTES];
	char pax[PAX_BYTES];
	char out[OUT_BYTES];
	_Alignas(8) char dirents[DIRENT_BYTES];
} the;

static void flush(struct archive *a)
{
	if (a->failed == 0 && link_send(a->sock, a->out, a->have) < 0)
		a->failed = errno != 0 ? errno : EIO;
	a->have = 0;
}

static void emit(struct archive *a, const void *bytes, size_t n)
{
	const char *at = bytes;

	while (n > 0) {
		size_t some = n < OUT_BYTES - a->have ? n : OUT_BYTES - a->have;

		memcpy(a->out + a->have, at, some);
		a->have += some;
		at += some;
		n -= some;
		if (a->have == OUT_BYTES)
			flush(a);
	}
}

static void emit_zeroes(struct archive *a, uint64_t n)
{
	static const char zeroes[BLOCK];

	for (; n > 0; n -= n < BLOCK ? n : BLOCK)
		emit(a, zeroes, n < BLOCK ? (size_t)n : BLOCK);
}

static uint64_t round_up(uint64_t bytes)
{
	return (bytes + BLOCK - 1) / BLOCK * BLOCK;
}

/* Fills the field but for its last byte. */
static void put_octal(char *field, size_t room, uint64_t value)
{
	for (size_t i = room - 1; i > 0; i--, value >>= 3)
		field[i - 1] = (char)('0' + (value & 7));
	field[room - 1] = '\0';
}

/* "LENGTH KEY=VALUE\n", where LENGTH counts itself. */
static void add_record(struct archive *a, const char *key, const char *value, size_t n)
{
	struct text length = { .bytes = 0 };
	size_t rest = 1 + strlen(key) + 1 + n + 1, total = rest + 1;

	for (;; total++) {
		length.bytes = 0;
		text_add_u64(&length, total);
		if (length.bytes + rest == total)
			break;
	}
	if (total > PAX_BYTES - a->pax_bytes)
		return;			/* three records of a path's length fit, so not reached */

	char *to = a->pax + a->pax_bytes;

	memcpy(to, length.at, length.bytes);
	to += length.bytes;
	*to++ = ' ';
	memcpy(to, key, strlen(key));
	to += strlen(key);
	*to++ = '=';
	memcpy(to, value, n);
	to[n] = '\n';
	a->pax_bytes += total;
}

static void emit_header(struct archive *a, const char *name, size_t name_bytes, char type, const struct stat *st,
			uint64_t size, const char *link)
{
	struct header h = { .type = type, .magic = "ustar", .version = { '0', '0' } };
	unsigned int sum = 0;

	memcpy(h.name, name, name_bytes < sizeof h.name ? name_bytes : sizeof h.name);
	put_octal(h.mode, sizeof h.mode, st->st_mode & 07777);
	put_octal(h.uid, sizeof h.uid, st->st_uid);
	put_octal(h.gid, sizeof h.gid, st->st_gid);
	put_octal(h.size, sizeof h.size, size < OCTAL_MAX_11 ? size : 0);
	put_octal(h.mtime, sizeof h.mtime, st->st_mtime > 0 ? (uint64_t)st->st_mtime : 0);
	put_octal(h.major, sizeof h.major, major(st->st_rdev));
	put_octal(h.minor, sizeof h.minor, minor(st->st_rdev));
	if (link != NULL)
		memcpy(h.link, link, strlen(link) < sizeof h.link ? strlen(link) : sizeof h.link);
	memset(h.checksum, ' ', sizeof h.checksum);
	for (size_t i = 0; i < sizeof h; i++)
		sum += ((const unsigned char *)&h)[i];
	put_octal(h.checksum, sizeof h.checksum - 1, sum);
	emit(a, &h, sizeof h);
}

/*
 * The headers of an entry at a->path.  0 when it, its data and the end mark do
 * not fit any more: then nothing was sent.
 */
static int begin(struct archive *a, char type, const struct stat *st, uint64_t size, const char *link,
		 const char *left_out)
{
	static const struct stat plain = { .st_mode = 0644 };
	uint64_t cost = BLOCK + round_up(size);

	a->pax_bytes = 0;
	if (left_out != NULL)
		add_record(a, "DOLANIA.left-out", left_out, strlen(left_out));
	if (a->path_bytes > NAME_FIELD)
		add_record(a, "path", a->path, a->path_bytes);
	if (link != NULL && strlen(link) > NAME_FIELD)
		add_record(a, "linkpath", link, strlen(link));
	if (size >= OCTAL_MAX_11) {
		struct text digits = { .bytes = 0 };

		text_add_u64(&digits, size);
		add_record(a, "size", digits.at, digits.bytes);
	}
	if (a->pax_bytes > 0)
		cost += BLOCK + round_up(a->pax_bytes);
	if (size > a->left || cost > a->left)
		return 0;
	a->left -= cost;
	if (a->pax_bytes > 0) {
		emit_header(a, "pax", 3, 'x', &plain, a->pax_bytes, NULL);
		emit(a, a->pax, a->pax_bytes);
		emit_zeroes(a, round_up(a->pax_bytes) - a->pax_bytes);
	}
	emit_header(a, a->path, a->path_bytes, type, st, size, link);
	return 1;
}

static void leave_out(struct archive *a, const char *why)
{
	static const struct stat plain = { .st_mode = 0644 };
	int is_top = a->path_bytes == 0;	/* which has no name, and must not be told as "" */

	if (is_top)
		memcpy(a->path, ".", a->path_bytes = 1);
	if (!begin(a, '0', &plain, 0, NULL, why))
		a->not_all = 1;
	if (is_top)
		a->path_bytes = 0;
}

/* Exactly `size` bytes, whatever the disk gives. */
static void send_data(struct archive *a, int fd, uint64_t size)
{
	uint64_t left = size;

	while (left > 0 && a->failed == 0) {
		size_t room = OUT_BYTES - a->have;
		ssize_t n = read(fd, a->out + a->have, left < room ? (size_t)left : room);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			break;
		a->have += (size_t)n;
		left -= (uint64_t)n;
		if (a->have == OUT_BYTES)
			flush(a);
	}
	emit_zeroes(a, left + round_up(size) - size);
	if (left > 0 && a->failed == 0)
		leave_out(a, "damaged");
}

static void send_file(struct archive *a, int dir, const char *name)
{
	struct stat st;
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);

	if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size < 0)
		leave_out(a, "unreadable");
	else if (!begin(a, '0', &st, (uint64_t)st.st_size, NULL, NULL))
		leave_out(a, "too-large");
	else
		send_data(a, fd, (uint64_t)st.st_size);
	if (fd >= 0)
		close(fd);
}

static void send_link(struct archive *a, int dir, const char *name, const struct stat *st)
{
	ssize_t n = readlinkat(dir, name, a->link, sizeof a->link - 1);

	if (n < 0) {
		leave_out(a, "unreadable");
		return;
	}
	a->link[n] = '\0';
	if (!begin(a, '2', st, 0, a->link, NULL))
		a->not_all = 1;
}

static void send_tree(struct archive *a, int dir, unsigned int depth);

static void send_directory(struct archive *a, int dir, const char *name, const struct stat *st, unsigned int depth)
{
	int fd = -1, sent;

	a->path[a->path_bytes++] = '/';		/* there is room: see send_entry */
	a->path[a->path_bytes] = '\0';
	sent = begin(a, '5', st, 0, NULL, NULL);
	if (!sent)
		a->not_all = 1;
	else if (depth == DEPTH_MAX)
		leave_out(a, "too-deep");
	else if ((fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC)) < 0)
		leave_out(a, "unreadable");
	else
		send_tree(a, fd, depth + 1);
	if (fd >= 0)
		close(fd);
}

/* `name` is in a->dirents, and gone after this where it was a directory. */
static int send_entry(struct archive *a, int dir, const char *name, unsigned int depth)
{
	size_t before = a->path_bytes, n = strlen(name);
	int is_directory = 0;
	struct stat st;

	if (n >= sizeof a->path - 1 - before) {		/* and a '/' */
		leave_out(a, "too-deep");		/* under its directory's name */
		return 0;
	}
	memcpy(a->path + before, name, n + 1);
	a->path_bytes = before + n;
	if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0) {
		leave_out(a, "unreadable");
	} else if (S_ISDIR(st.st_mode)) {
		is_directory = 1;
		send_directory(a, dir, name, &st, depth);
	} else if (S_ISREG(st.st_mode)) {
		send_file(a, dir, name);
	} else if (S_ISLNK(st.st_mode)) {
		send_link(a, dir, name, &st);
	} else if (S_ISSOCK(st.st_mode)) {
		leave_out(a, "socket");
	} else {
		char type = S_ISFIFO(st.st_mode) ? '6' : S_ISBLK(st.st_mode) ? '4' : '3';

		if (!begin(a, type, &st, 0, NULL, NULL))
			a->not_all = 1;
	}
	a->path_bytes = before;
	a->path[before] = '\0';
	return is_directory;
}

/*
 * All entries of `dir`, a->path being its own path with a '/' (or empty).  The
 * buffer of entries is shared by all depths: after a directory it is read anew.
 */
static void send_tree(struct archive *a, int dir, unsigned int depth)
{
	for (;;) {
		long n = syscall(SYS_getdents64, dir, a->dirents, sizeof a->dirents);
		int again = 0;

		if (n < 0)
			leave_out(a, "unreadable");
		if (n <= 0)
			return;
		for (long at = 0; at < n && !again;) {
			const struct dirent_64 *d = (const void *)(a->dirents + at);
			int64_t next = d->next;		/* where the kernel goes on after it */

			at += d->bytes;
			if (strcmp(d->name, ".") == 0 || strcmp(d->name, "..") == 0)
				continue;
			if (a->failed != 0 || a->not_all)
				return;
			again = send_entry(a, dir, d->name, depth);
			if (again && lseek(dir, next, SEEK_SET) < 0)
				leave_out(a, "unreadable");
		}
	}
}

int archive_collect(uint64_t most, int *not_all, struct fault *f)
{
	struct archive *a = &the;
	int dir;

	if (most < END_BYTES)
		return fault(f, WIRE_STEP_COLLECT, EINVAL);
	a->left = most - END_BYTES;
	a->sock = link_open(WIRE_OUT);
	if (a->sock < 0 || link_wait(a->sock) < 0)
		return fault(f, WIRE_STEP_LINK, errno);
	if (mount_foreign(PLACE, f) < 0)
		return -1;
	dir = open(PLACE, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (dir < 0)
		return fault(f, WIRE_STEP_COLLECT, errno);
	send_tree(a, dir, 1);
	emit_zeroes(a, END_BYTES);
	flush(a);
	*not_all = a->not_all;
	return a->failed == 0 ? 0 : fault(f, WIRE_STEP_COLLECT, a->failed);
}

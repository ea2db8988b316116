/* SPDX-License-Identifier: Apache-2.0 */
/*
 * tar.c - the archive parser; see tar.h.
 *
 * What the guest controls here: every byte.  A header is looked at when all of
 * its block is there, an extended header when all of it is; both have a fixed
 * place in struct tar.  The only length that is believed is that of an entry's
 * data, and it only counts down.
 */
#include "tools/extract/tar.h"

#include <string.h>

struct header {		/* POSIX.1-1988 ustar */
	char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8];
	char type, link[100], magic[6], version[2], user[32], group[32], major[8], minor[8], prefix[155], pad[12];
};
_Static_assert(sizeof(struct header) == TAR_BLOCK, "a ustar header is a block");

enum { MODE_SETID = 06000, MODE_EXECUTE = 0100 };

void tar_init(struct tar *t, const struct tar_sink *sink)
{
	memset(t, 0, sizeof *t);
	t->sink = sink;
}

static bool broken(struct tar *t, enum extract_broken why)
{
	t->state = TAR_BROKEN;
	t->broken = why;
	return false;
}

/* Octal digits, then NUL or space to the end; no sign, no blanks before, no base-256. */
static bool octal(const char *field, size_t n, uint64_t *value)
{
	size_t i = 0;

	*value = 0;
	for (; i < n && field[i] >= '0' && field[i] <= '7'; i++)
		*value = *value * 8 + (uint64_t)(field[i] - '0');	/* at most 12 digits */
	if (i == 0)
		return false;
	for (; i < n; i++)
		if (field[i] != '\0' && field[i] != ' ')
			return false;
	return true;
}

static bool decimal(const uint8_t *text, size_t n, uint64_t *value)
{
	*value = 0;
	if (n == 0 || n > 18)
		return false;
	for (size_t i = 0; i < n; i++) {
		if (text[i] < '0' || text[i] > '9')
			return false;
		*value = *value * 10 + (uint64_t)(text[i] - '0');
	}
	return true;
}

static bool checksum_is_right(const uint8_t *block)
{
	const struct header *h = (const struct header *)block;
	const size_t at = offsetof(struct header, checksum);
	uint64_t said, sum = 0;

	if (!octal(h->checksum, sizeof h->checksum, &said))
		return false;
	for (size_t i = 0; i < TAR_BLOCK; i++)
		sum += i >= at && i < at + sizeof h->checksum ? ' ' : block[i];
	return sum == said;
}

enum extract_why tar_path_check(const char *path, size_t n)
{
	size_t start = 0;

	if (n == 0)
		return WHY_NAME;
	if (n > TAR_PATH_MAX)
		return WHY_LONG;
	if (memchr(path, 0, n) != NULL)
		return WHY_NAME;
	if (path[0] == '/')
		return WHY_ABSOLUTE;
	while (start <= n) {
		const char *slash = memchr(path + start, '/', n - start);
		size_t part = slash != NULL ? (size_t)(slash - path) - start : n - start;

		if (part == 2 && path[start] == '.' && path[start + 1] == '.')
			return WHY_DOTDOT;
		if (part == 0 || (part == 1 && path[start] == '.'))
			return WHY_NAME;
		if (part > TAR_PART_MAX)
			return WHY_LONG;
		start += part + 1;
	}
	return WHY_NONE;
}

/* ---- extended headers: "LENGTH KEY=VALUE\n", LENGTH counting all of it ---- */

static enum extract_why left_out(const uint8_t *value, size_t n)
{
	static const struct { const char *word; enum extract_why why; } words[] = {
		{ "too-large", WHY_LEFT_TOO_LARGE }, { "unreadable", WHY_LEFT_UNREADABLE },
		{ "socket", WHY_LEFT_SOCKET }, { "too-deep", WHY_LEFT_DEEP }, { "damaged", WHY_DAMAGED },
	};

	for (size_t i = 0; i < sizeof words / sizeof words[0]; i++)
		if (strlen(words[i].word) == n && memcmp(words[i].word, value, n) == 0)
			return words[i].why;
	return WHY_NONE;
}

static bool key_is(const uint8_t *key, size_t n, const char *name)
{
	return strlen(name) == n && memcmp(key, name, n) == 0;
}

/* Each keyword once: two of one kind would have two meanings. */
static bool take_record(struct tar *t, const uint8_t *key, size_t key_n, const uint8_t *value, size_t n)
{
	uint64_t number;

	if (key_is(key, key_n, "path")) {
		if (t->pax_path || n > TAR_PATH_MAX + 1)
			return false;
		memcpy(t->path, value, n);
		t->path_bytes = n;
		t->pax_path = true;
	} else if (key_is(key, key_n, "size")) {
		if (t->pax_size || !decimal(value, n, &t->size))
			return false;
		t->pax_size = true;
	} else if (key_is(key, key_n, "mtime")) {
		const uint8_t *dot = memchr(value, '.', n);

		if (t->pax_mtime || !decimal(value, dot != NULL ? (size_t)(dot - value) : n, &number))
			return false;
		t->mtime = (int64_t)number;
		t->pax_mtime = true;
	} else if (key_is(key, key_n, "DOLANIA.left-out")) {
		if (t->pax_left_out != WHY_NONE)
			return false;
		t->pax_left_out = left_out(value, n);
		return t->pax_left_out != WHY_NONE;
	} else {
		t->pax_strange = true;
	}
	return true;
}

static bool take_pax(struct tar *t)
{
	const uint8_t *at = t->pax, *end = t->pax + t->have;

	while (at < end) {
		const uint8_t *space = memchr(at, ' ', (size_t)(end - at)), *equals;
		uint64_t length;

		if (space == NULL || !decimal(at, (size_t)(space - at), &length) || at[0] == '0' ||
		    length > (uint64_t)(end - at) || length < (uint64_t)(space - at) + 4 || at[length - 1] != '\n')
			return false;
		equals = memchr(space + 1, '=', (size_t)(at + length - 1 - (space + 1)));
		if (equals == NULL || equals == space + 1)
			return false;
		if (!take_record(t, space + 1, (size_t)(equals - (space + 1)), equals + 1,
				 (size_t)(at + length - 1 - (equals + 1))))
			return false;
		at += length;
	}
	return true;
}

static void forget_pax(struct tar *t)
{
	t->has_pax = t->pax_path = t->pax_size = t->pax_mtime = t->pax_strange = false;
	t->pax_left_out = WHY_NONE;
}

/* ---- entries ---- */

static void take_header_path(struct tar *t, const struct header *h)
{
	size_t n = strnlen(h->prefix, sizeof h->prefix), m = strnlen(h->name, sizeof h->name);

	memcpy(t->path, h->prefix, n);
	if (n > 0)
		t->path[n++] = '/';
	memcpy(t->path + n, h->name, m);
	t->path_bytes = n + m;
}

static enum extract_why kind_is_refused(char type)
{
	switch (type) {
	case '0': case '\0': case '5': return WHY_NONE;
	case '1': return WHY_HARDLINK;
	case '2': return WHY_SYMLINK;
	case '3': case '4': return WHY_DEVICE;
	case '6': return WHY_FIFO;
	case 'S': return WHY_SPARSE;
	default: return WHY_KIND;
	}
}

/* WHY_NONE with *e filled, or why not. */
static enum extract_why judge(struct tar *t, char type, uint64_t mode, struct tar_entry *e)
{
	enum extract_why why;

	e->is_directory = type == '5';
	if (e->is_directory && t->path_bytes > 0 && t->path[t->path_bytes - 1] == '/')
		t->path_bytes--;
	why = tar_path_check(t->path, t->path_bytes);
	if (t->pax_left_out != WHY_NONE)
		return t->pax_left_out;
	if (why == WHY_NONE)
		why = kind_is_refused(type);
	if (why == WHY_NONE && t->pax_strange)
		why = WHY_SPARSE;
	if (why == WHY_NONE && !e->is_directory && (mode & MODE_SETID) != 0)
		why = WHY_SETID;
	if (why != WHY_NONE)
		return why;
	t->path[t->path_bytes] = '\0';
	e->path = t->path;
	e->path_bytes = t->path_bytes;
	e->executable = (mode & MODE_EXECUTE) != 0;
	e->bytes = t->size;
	e->mtime = t->mtime;
	return WHY_NONE;
}

static bool take_entry(struct tar *t, const struct header *h, uint64_t size, uint64_t mode, uint64_t mtime)
{
	struct tar_entry e;
	enum extract_why why;

	if (!t->pax_path)
		take_header_path(t, h);
	if (!t->pax_size)
		t->size = size;
	if (!t->pax_mtime)
		t->mtime = (int64_t)mtime;
	/* Readers differ on whether a link has data: nothing may hide there. */
	if (t->size != 0 && strchr("123456", h->type) != NULL && h->type != '\0')
		return broken(t, BROKEN_SIZE);
	if (t->size > INT64_MAX / 2 || (t->pax_left_out != WHY_NONE && t->size != 0))
		return broken(t, BROKEN_SIZE);
	why = judge(t, h->type, mode, &e);
	t->open = false;
	if (why != WHY_NONE)
		t->sink->refuse(t->sink->ctx, t->path, t->path_bytes, why);
	else
		t->open = t->sink->begin(t->sink->ctx, &e);
	forget_pax(t);
	t->left = t->size;
	t->padding = (uint32_t)(-t->size % TAR_BLOCK);
	if (t->open && t->left == 0) {
		t->sink->end(t->sink->ctx);
		t->open = false;
	}
	t->state = t->left == 0 ? TAR_HEADER : t->open ? TAR_DATA : TAR_SKIP;
	return true;
}

static bool is_zero(const uint8_t *block)
{
	for (size_t i = 0; i < TAR_BLOCK; i++)
		if (block[i] != 0)
			return false;
	return true;
}

/* A whole block that is a header, or half of the end mark. */
static bool take_block(struct tar *t)
{
	const struct header *h = (const struct header *)t->block;
	uint64_t size, mode, mtime;

	t->have = 0;
	if (is_zero(t->block)) {
		if (t->has_pax)
			return broken(t, BROKEN_PAX);
		t->state = t->state == TAR_END_MARK ? TAR_DONE : TAR_END_MARK;
		return true;
	}
	if (t->state == TAR_END_MARK)
		return broken(t, BROKEN_TRAILER);
	if (memcmp(h->magic, "ustar", 6) != 0 || memcmp(h->version, "00", 2) != 0 || !checksum_is_right(t->block))
		return broken(t, BROKEN_HEADER);
	if (!octal(h->size, sizeof h->size, &size) || !octal(h->mode, sizeof h->mode, &mode) ||
	    !octal(h->mtime, sizeof h->mtime, &mtime))
		return broken(t, BROKEN_NUMBER);
	if (h->type == 'g')
		return broken(t, BROKEN_GLOBAL);
	if (h->type != 'x')
		return take_entry(t, h, size, mode, mtime);
	if (t->has_pax || size == 0 || size > TAR_PAX_MAX)
		return broken(t, BROKEN_PAX);
	t->has_pax = true;
	t->left = size;
	t->padding = (uint32_t)(-size % TAR_BLOCK);
	t->state = TAR_PAX;
	return true;
}

/* Up to `n` bytes of what the state is about; how many were taken. */
static size_t take_some(struct tar *t, const uint8_t *bytes, size_t n)
{
	size_t some = n < t->left ? n : (size_t)t->left;

	if (t->state == TAR_HEADER || t->state == TAR_END_MARK) {
		some = n < TAR_BLOCK - t->have ? n : TAR_BLOCK - t->have;
		memcpy(t->block + t->have, bytes, some);
		t->have += (uint32_t)some;
		if (t->have == TAR_BLOCK)
			take_block(t);
		return some;
	}
	if (t->left == 0) {		/* padding */
		some = n < t->padding ? n : t->padding;
		t->padding -= (uint32_t)some;
		if (t->padding == 0)
			t->state = TAR_HEADER;
		return some;
	}
	if (t->state == TAR_PAX) {
		memcpy(t->pax + t->have, bytes, some);
		t->have += (uint32_t)some;
	} else if (t->state == TAR_DATA && !t->sink->data(t->sink->ctx, bytes, some)) {
		t->open = false;
		t->state = TAR_SKIP;
	}
	t->left -= some;
	if (t->left > 0)
		return some;
	if (t->state == TAR_PAX) {
		if (!take_pax(t)) {
			broken(t, BROKEN_PAX);
			return some;
		}
		t->have = 0;
	} else if (t->open) {
		t->sink->end(t->sink->ctx);
		t->open = false;
	}
	if (t->padding == 0)
		t->state = TAR_HEADER;
	return some;
}

bool tar_feed(struct tar *t, const uint8_t *bytes, size_t n)
{
	while (n > 0) {
		size_t some;

		if (t->state == TAR_BROKEN)
			return false;
		if (t->state == TAR_DONE) {	/* zeroes may follow, and nothing that another reader would read */
			if (*bytes != 0)
				return broken(t, BROKEN_TRAILER);
			bytes++;
			n--;
			continue;
		}
		some = take_some(t, bytes, n);
		bytes += some;
		n -= some;
	}
	return t->state != TAR_BROKEN;
}

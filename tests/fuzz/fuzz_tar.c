/* SPDX-License-Identifier: Apache-2.0 */
/*
 * fuzz_tar.c - any bytes as an archive, into the extractor's parser (tools/extract/tar.c).
 *
 * The first byte chooses in what pieces the rest is pushed.  It is parsed twice, whole and in
 * pieces: what comes out must be the same, and nothing may come out that breaks the sink's
 * contract.  Checksums are put right first, so that the fuzzer gets past them.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tools/extract/tar.h"

#define MUST(cond) do { if (!(cond)) { fprintf(stderr, "%s:%d: %s\n", __FILE__, __LINE__, #cond); abort(); } } while (0)

enum { INPUT_MAX = 1 << 16 };

struct seen {
	uint64_t digest;	/* of all that came out, in its order */
	uint64_t left;		/* of the open entry */
	bool open;
};

static void mix(struct seen *s, const void *bytes, size_t n)
{
	for (size_t i = 0; i < n; i++)
		s->digest = (s->digest ^ ((const uint8_t *)bytes)[i]) * 1099511628211u;
}

static bool begin(void *ctx, const struct tar_entry *e)
{
	struct seen *s = ctx;

	MUST(!s->open);
	MUST(e->path_bytes > 0 && e->path_bytes <= TAR_PATH_MAX && strlen(e->path) == e->path_bytes);
	MUST(e->path[0] != '/' && e->path[e->path_bytes - 1] != '/');
	MUST(tar_path_check(e->path, e->path_bytes) == WHY_NONE);
	MUST(strstr(e->path, "/../") == NULL && strncmp(e->path, "../", 3) != 0 && strcmp(e->path, "..") != 0);
	MUST(!e->is_directory || e->bytes == 0);
	mix(s, e->path, e->path_bytes);
	mix(s, &e->bytes, sizeof e->bytes);
	mix(s, &e->mtime, sizeof e->mtime);
	s->open = e->path[0] != 's';	/* some are skipped */
	s->left = e->bytes;
	return s->open;
}

static bool data(void *ctx, const uint8_t *bytes, size_t n)
{
	struct seen *s = ctx;

	MUST(s->open && n > 0 && n <= s->left);
	mix(s, bytes, n);
	s->left -= n;
	return true;
}

static void end(void *ctx)
{
	struct seen *s = ctx;

	MUST(s->open && s->left == 0);
	s->open = false;
}

static void refuse(void *ctx, const char *name, size_t n, enum extract_why why)
{
	struct seen *s = ctx;

	MUST(!s->open && why > WHY_NONE && why < WHY_COUNT && n <= TAR_PATH_MAX + 1);
	mix(s, name, n);
	mix(s, &why, sizeof why);
}

static uint64_t parse(const uint8_t *bytes, size_t n, size_t piece)
{
	static struct tar t;
	struct seen s = { .digest = 14695981039346656037u };
	const struct tar_sink sink = { .ctx = &s, .begin = begin, .data = data, .end = end, .refuse = refuse };
	bool more = true;

	tar_init(&t, &sink);
	for (size_t at = 0; at < n && more; at += piece)
		more = tar_feed(&t, bytes + at, n - at < piece ? n - at : piece);
	MUST(more == (t.state != TAR_BROKEN));
	MUST((t.state == TAR_BROKEN) == (t.broken != BROKEN_NOTHING) && t.broken < BROKEN_KINDS);
	MUST(t.open == s.open);
	mix(&s, &t.state, sizeof t.state);
	return s.digest;
}

static void put_checksums_right(uint8_t *bytes, size_t n)
{
	for (size_t at = 0; at + TAR_BLOCK <= n; at += TAR_BLOCK) {
		uint8_t *h = bytes + at;
		unsigned sum = 0;

		if (memcmp(h + 257, "ustar", 6) != 0)
			continue;
		memset(h + 148, ' ', 8);
		for (int i = 0; i < TAR_BLOCK; i++)
			sum += h[i];
		snprintf((char *)h + 148, 8, "%06o", sum);
	}
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *input, size_t n)
{
	static uint8_t bytes[INPUT_MAX];

	if (n < 1 || n - 1 > sizeof bytes)
		return 0;
	memcpy(bytes, input + 1, n - 1);
	put_checksums_right(bytes, n - 1);
	MUST(parse(bytes, n - 1, INPUT_MAX) == parse(bytes, n - 1, 1 + (size_t)input[0] * 3));
	return 0;
}

#ifdef FUZZ_STANDALONE
int main(int argc, char **argv)
{
	static uint8_t input[INPUT_MAX + 1];

	for (int i = 1; i < argc; i++) {
		FILE *f = fopen(argv[i], "rb");

		MUST(f != NULL);
		LLVMFuzzerTestOneInput(input, fread(input, 1, sizeof input, f));
		fclose(f);
	}
	return 0;
}
#endif

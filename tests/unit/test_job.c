/* SPDX-License-Identifier: Apache-2.0 */
/*
 * test_job.c - the guest's job parser: jobs in any number of pieces, each count
 * and string wrong in turn, and ten thousand with a byte changed.
 *
 * The parser is included, not linked: it belongs to the guest, and the library
 * of the other tests is the VMM.  The connection is a buffer that is handed out `piece` bytes at a time.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "../../guest/job.c"

static struct {
	const char *bytes;
	size_t left, piece;
} wire;

ssize_t link_recv(int fd, void *data, size_t bytes)
{
	(void)fd;
	size_t n = bytes < wire.left ? bytes : wire.left;

	if (n > wire.piece)
		n = wire.piece;
	memcpy(data, wire.bytes, n);
	wire.bytes += n;
	wire.left -= n;
	return (ssize_t)n;
}

static int passed, failed;

#define CHECK(what) check((what) != 0, #what, __LINE__)

static void check(int ok, const char *what, int line)
{
	if (ok)
		passed++;
	else {
		failed++;
		fprintf(stderr, "tests/unit/test_job.c:%d: failed: %s\n", line, what);
	}
}

enum { ROOM = 3 << 20 };

struct packet {
	size_t bytes;
	char at[ROOM];
};

static void add(struct packet *p, const char *s)
{
	size_t n = strlen(s) + 1;

	if (p->bytes + n > ROOM)
		abort();
	memcpy(p->at + p->bytes, s, n);
	p->bytes += n;
}

static struct wire_job plain_header(void)
{
	return (struct wire_job){
		.magic = WIRE_JOB_MAGIC, .flags = WIRE_JOB_SCRIPT, .uid = 1000, .gid = 1000,
		.argc = 3, .envc = 2, .disks = 1, .binds = 2, .script_arg = 1, .realtime_ns = 1,
	};
}

/* A good job with `script_bytes` of text. */
static void plain(struct packet *p, uint32_t script_bytes)
{
	struct wire_job h = plain_header();

	p->bytes = sizeof h;
	add(p, "/work");
	add(p, "/bin/sh");
	add(p, "/work/script.sh");
	add(p, "");
	add(p, "PATH=/bin");
	add(p, "E=");
	add(p, WIRE_DISK_UNSEEN);
	add(p, "/in");
	add(p, "/etc/x");
	h.strings_bytes = (uint32_t)(p->bytes - sizeof h);
	h.script_bytes = script_bytes;
	for (uint32_t i = 0; i < script_bytes; i++)
		p->at[p->bytes++] = (char)('a' + i % 26);
	memcpy(p->at, &h, sizeof h);
}

static struct wire_job *header(struct packet *p)
{
	return (struct wire_job *)(void *)p->at;
}

/* Receives `p`; 0 or the errno init would tell. */
static int receive(struct job *job, const struct packet *p, size_t piece)
{
	struct fault f = { 0 };

	memset(job, 0, sizeof *job);
	/* an exact copy, so that a read past its end is seen */
	char *copy = malloc(p->bytes + 1);

	memcpy(copy, p->at, p->bytes);
	wire.bytes = copy;
	wire.left = p->bytes;
	wire.piece = piece;
	int r = job_receive(job, 3, &f);

	free(copy);
	CHECK((r == 0) == (f.step == 0));
	return r == 0 ? 0 : f.error;
}

static struct packet packet;
static struct job job;

static void test_pieces(void)
{
	plain(&packet, 100);
	for (size_t piece = 1; piece <= packet.bytes; piece++) {
		CHECK(receive(&job, &packet, piece) == 0);
		CHECK(strcmp(job.cwd, "/work") == 0 && strcmp(job.argv[0], "/bin/sh") == 0);
		CHECK(strcmp(job.argv[2], "") == 0 && job.argv[3] == NULL);
		CHECK(strcmp(job.envp[1], "E=") == 0 && job.envp[2] == NULL);
		CHECK(strcmp(job.disks[0], "/") == 0 && job.disks[1] == NULL);
		CHECK(strcmp(job.binds[1], "/etc/x") == 0 && job.binds[2] == NULL);
	}
	for (size_t cut = 0; cut < packet.bytes - 100; cut++) {
		size_t whole = packet.bytes;

		packet.bytes = cut;
		CHECK(receive(&job, &packet, SIZE_MAX) == EPROTO);
		packet.bytes = whole;
	}
}

static void test_header(void)
{
	struct wire_job h;

#define WRONG(change, error) \
	do { \
		plain(&packet, 10); \
		h = *header(&packet); \
		change; \
		*header(&packet) = h; \
		CHECK(receive(&job, &packet, SIZE_MAX) == (error)); \
	} while (0)
	WRONG((void)0, 0);
	WRONG(h.magic++, EPROTO);
	WRONG(h.flags |= 1u << 20, EPROTO);
	WRONG(h.argc = 0, EPROTO);
	WRONG(h.argc = 4, EPROTO);
	WRONG(h.argc = UINT32_MAX, EPROTO);
	WRONG(h.envc = UINT32_MAX, EPROTO);
	WRONG(h.argc = h.envc = UINT32_MAX, EPROTO);
	WRONG(h.disks = WIRE_DISKS_MAX + 1, E2BIG);
	WRONG(h.disks = 0, EPROTO);
	WRONG(h.envc = 1, EPROTO);
	WRONG(h.script_arg = 3, EPROTO);
	WRONG(h.script_arg = 2, EPROTO);	/* "" is not a path */
	WRONG(h.strings_bytes--, EPROTO);
	WRONG(h.strings_bytes++, EPROTO);
	WRONG(h.strings_bytes = 0, EPROTO);
	WRONG(h.strings_bytes = WIRE_STRINGS_MAX_BYTES + 1, E2BIG);
	WRONG(h.script_bytes = WIRE_SCRIPT_MAX_BYTES + 1, E2BIG);
	WRONG(h.script_bytes = 9, EPROTO);	/* more came than was told */
	WRONG(h.flags = 0, EPROTO);		/* text, but no script */
	WRONG(h.binds = WIRE_BINDS_MAX + 1, E2BIG);
	WRONG(h.binds = 1, EPROTO);
	WRONG((h.binds = 0, h.flags |= WIRE_JOB_WORK), EPROTO);
	WRONG(h.copy_disk = 1, EPROTO);
	WRONG((h.flags |= WIRE_JOB_WORK, h.copy_disk = 1), EPROTO);
	WRONG((h.flags |= WIRE_JOB_WORK, h.writable_disks = 1, h.copy_disk = 2), EPROTO);
	WRONG((h.writable_disks = 1, h.copy_disk = 1), EPROTO);
	WRONG((h.flags |= WIRE_JOB_WORK, h.writable_disks = 1, h.copy_disk = UINT32_MAX), EPROTO);
	WRONG(h.uid = 0, EPROTO);
	WRONG(h.gid = 0, EPROTO);
	WRONG(h.gid = UINT32_MAX, EPROTO);
	WRONG(h.realtime_ns = UINT64_MAX, EPROTO);
	WRONG(h.reserved[0] = 1, EPROTO);
	WRONG(h.writable_disks = 1ull << h.disks, EPROTO);
	WRONG(h.writable_disks = 1ull << 63, EPROTO);
	WRONG((h.flags |= WIRE_JOB_COLLECT, h.disks = 0), EPROTO);
	WRONG((h.flags |= WIRE_JOB_COLLECT, h.disks = 1, h.writable_disks = 1), EPROTO);
#undef WRONG
}

static void test_strings(void)
{
	static const char *const wrong[][9] = {
		{ "work", "sh", "/s", "", "A=", "B=", "/", "/in", "/a" },	/* cwd not absolute */
		{ "/work", "", "/s", "", "A=", "B=", "/", "/in", "/a" },	/* no program */
		{ "/work", "sh", "s", "", "A=", "B=", "/", "/in", "/a" },	/* script not absolute */
		{ "/work", "sh", "/s", "", "A", "B=", "/", "/in", "/a" },	/* no '=' */
		{ "/work", "sh", "/s", "", "A=", "B=", "in", "/in", "/a" },	/* disk not absolute */
		{ "/work", "sh", "/s", "", "A=", "B=", "/", "/in", "a" },	/* place not absolute */
		{ "/work", "sh", "/s", "", "A=", "B=", "/", "/", "/a" },	/* place is the root */
	};

	for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
		struct wire_job h = plain_header();

		packet.bytes = sizeof h;
		for (size_t j = 0; j < 9; j++)
			add(&packet, wrong[i][j]);
		h.strings_bytes = (uint32_t)(packet.bytes - sizeof h);
		memcpy(packet.at, &h, sizeof h);
		CHECK(receive(&job, &packet, SIZE_MAX) == EPROTO);
	}
}

/* More strings than the inbox and its slots hold. */
static void test_many(void)
{
	struct wire_job h = plain_header();

	packet.bytes = sizeof h;
	h.argc = 40000;
	h.envc = h.disks = h.binds = 0;
	h.script_arg = 0;
	h.flags = 0;
	add(&packet, "/work");
	for (uint32_t i = 0; i < h.argc; i++)
		add(&packet, "argument");
	h.strings_bytes = (uint32_t)(packet.bytes - sizeof h);
	memcpy(packet.at, &h, sizeof h);
	CHECK(receive(&job, &packet, 4000) == 0);
	CHECK(strcmp(job.argv[39999], "argument") == 0 && job.argv[40000] == NULL);
}

static void test_script_file(void)
{
	char dir[] = "/tmp/test_job.XXXXXX";
	char path[64], parent[64], *text;
	struct fault f = { 0 };

	if (mkdtemp(dir) == NULL)
		abort();
	snprintf(parent, sizeof parent, "%s/a", dir);
	snprintf(path, sizeof path, "%s/a/s", dir);
	for (uint32_t bytes = 0; bytes < 300000; bytes = bytes * 3 + 1) {
		plain(&packet, bytes);
		CHECK(receive(&job, &packet, 70000) == 0);
		job.argv[1] = path;
		job.h.uid = getuid();
		job.h.gid = getgid();
		wire.bytes = packet.at + packet.bytes - wire.left;
		CHECK(job_write_script(&job, 3, &f) == 0);
		struct stat st;
		CHECK(stat(path, &st) == 0 && st.st_size == (off_t)bytes);
		text = calloc(1, bytes + 1);
		int fd = open(path, O_RDONLY);
		CHECK(read(fd, text, bytes) == (ssize_t)bytes);
		CHECK(memcmp(text, packet.at + packet.bytes - bytes, bytes) == 0);
		close(fd);
		free(text);
		unlink(path);
	}
	rmdir(parent);
	rmdir(dir);
}

static void test_changed_bytes(void)
{
	unsigned int seed = 1;
	int accepted = 0;

	for (int i = 0; i < 10000; i++) {
		plain(&packet, 20);
		seed = seed * 1103515245 + 12345;
		packet.at[(seed >> 8) % packet.bytes] = (char)(seed >> 24);
		seed = seed * 1103515245 + 12345;
		accepted += receive(&job, &packet, 1 + (seed >> 8) % 300) == 0;
	}
	CHECK(accepted > 0 && accepted < 10000);
}

int main(void)
{
	test_pieces();
	test_header();
	test_strings();
	test_many();
	test_script_file();
	test_changed_bytes();
	printf("%d passed, %d failed\n", passed, failed);
	return failed != 0;
}

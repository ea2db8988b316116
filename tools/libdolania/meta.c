/* SPDX-License-Identifier: Apache-2.0 */
/*
 * meta.c - the result in the form that the judge sandbox `isolate` writes, for
 * programs that read that: a line "key:value" for each thing known.
 *
 * time and time-wall are the host's; max-rss and cg-mem can only be the guest's word.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/libdolania/internal.h"

/* "TO", "SG", "RE", "XX", or NULL where the script succeeded. */
static const char *status_of(const struct dolania_result *r)
{
	switch (r->reason) {
	case DOLANIA_EXITED:
		return r->code == 0 ? NULL : "RE";
	case DOLANIA_SIGNALED: case DOLANIA_GUEST_OOM:
		return "SG";
	case DOLANIA_WALL_LIMIT: case DOLANIA_CPU_LIMIT:
		return "TO";
	case DOLANIA_NOT_EXECUTABLE: case DOLANIA_NOT_FOUND: case DOLANIA_OUTPUT_LIMIT:
	case DOLANIA_GUEST_PANIC: case DOLANIA_PROTOCOL_VIOLATION:
		return "RE";		/* the script's doing, so never the sandbox's fault */
	default:
		return "XX";
	}
}

static void put_seconds(FILE *f, const char *key, uint64_t ns)
{
	fprintf(f, "%s:%llu.%03llu\n", key, ns / NS_PER_S, ns % NS_PER_S / NS_PER_MS);
}

/* The VMM's own count; where it did not live to tell it, the kernel's for its process, which is a little more. */
static uint64_t cpu_ns(const struct dolania_result *r)
{
	return r->report.end != REPORT_END_NONE ? r->report.vcpu_ns : rusage_ns(&r->vmm_usage);
}

static void put_guest(FILE *f, const struct dolania_result *r)
{
	const uint64_t *v = r->report.exit_frame.v;

	if (r->report.end != REPORT_END_GUEST_EXIT || v[WIRE_EXIT_KIND] == WIRE_KIND_INIT_FAILED)
		return;
	fprintf(f, "max-rss:%" PRIu64 "\n", v[WIRE_EXIT_MAXRSS_BYTES] / 1024);
	fprintf(f, "cg-mem:%" PRIu64 "\n", v[WIRE_EXIT_MEMORY_PEAK_BYTES] / 1024);
}

char *dolania_result_meta(const struct dolania_result *r)
{
	const char *status = status_of(r);
	char *text = NULL;
	size_t bytes;
	FILE *f = open_memstream(&text, &bytes);
	bool failed;

	if (f == NULL)
		return NULL;
	if (r->ran) {
		put_seconds(f, "time", cpu_ns(r));
		put_seconds(f, "time-wall", r->ended_ns > r->started_ns ? r->ended_ns - r->started_ns : 0);
		put_guest(f, r);
	}
	if (r->reason == DOLANIA_EXITED)
		fprintf(f, "exitcode:%d\n", r->code);
	if (r->reason == DOLANIA_SIGNALED)
		fprintf(f, "exitsig:%d\n", r->code);
	if (r->reason == DOLANIA_GUEST_OOM)
		fprintf(f, "exitsig:9\ncg-oom-killed:1\n");
	if (r->ran && (!dolania_reason_by_guest(r->reason) || r->reason == DOLANIA_GUEST_OOM))
		fprintf(f, "killed:1\n");
	if (status != NULL)
		fprintf(f, "status:%s\n", status);
	if (r->message[0] != '\0')
		fprintf(f, "message:%s\n", r->message);
	fprintf(f, "dolania-reason:%s\n", dolania_reason_name(r->reason));
	failed = ferror(f) != 0;
	if (fclose(f) != 0 || failed) {
		free(text);
		return NULL;
	}
	return text;
}

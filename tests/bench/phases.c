/* SPDX-License-Identifier: Apache-2.0 */
/*
 * phases.c - where the time of a run goes, and what it counts, from the VMM's report.
 *
 * usage: phases RUNS [MEMORY]
 *
 * Runs "true" RUNS times as `dolania run -c true` does and prints "NAME VALUE"
 * lines, each the mean over the runs.  Under -icount a nanosecond is an
 * instruction.  Lies beside the command, so that it finds the same files.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "tools/libdolania/dolania.h"

static const char *const exit_names[REPORT_EXITS] = {
	[REPORT_EXIT_MMIO_VSOCK] = "exits_mmio_vsock",
	[REPORT_EXIT_MMIO_BLK] = "exits_mmio_blk",
	[REPORT_EXIT_MMIO_IOAPIC] = "exits_mmio_ioapic",
	[REPORT_EXIT_MMIO_UNMAPPED] = "exits_mmio_unmapped",
	[REPORT_EXIT_IO_UNMAPPED] = "exits_io_unmapped",
	[REPORT_EXIT_IO_RAM] = "exits_io_ram",
	[REPORT_EXIT_INTR] = "exits_intr",
	[REPORT_EXIT_MSR] = "exits_msr",
	[REPORT_EXIT_OTHER] = "exits_other",
};
enum { STEPS = 8 };
static const char *const step_names[STEPS] = {
	"setup", "boot", "start", "script", "discard", "touched_bytes", "wiped_bytes", "ram_bytes",
};
struct sums { uint64_t step[STEPS], exits[REPORT_EXITS]; };

static int add(struct sums *s, const struct dolania_result *r)
{
	const struct report *p = &r->report;
	const uint64_t at[] = { p->t_start, p->t_boot, p->t_ready, p->t_started, p->t_ended, p->t_discarded };

	if (r->reason != DOLANIA_EXITED || r->code != 0 || !r->ran) {
		fprintf(stderr, "phases: the run ended with %s: %s\n", dolania_reason_name(r->reason), r->message);
		return -1;
	}
	for (unsigned i = 0; i < 5; i++)
		s->step[i] += at[i] != 0 && at[i + 1] >= at[i] ? at[i + 1] - at[i] : 0;
	s->step[5] += p->touched_bytes;
	s->step[6] += p->wiped_bytes;
	s->step[7] += p->ram_bytes;
	for (unsigned i = 0; i < REPORT_EXITS; i++)
		s->exits[i] += p->exits[i];
	return 0;
}

int main(int argc, char **argv)
{
	static struct dolania_result r;
	struct sums sums = { .step = { 0 } };
	unsigned long runs = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;

	if (runs == 0) {
		fprintf(stderr, "usage: phases RUNS [MEMORY]\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	for (unsigned long i = 0; i < runs; i++) {
		struct dolania_options o;

		dolania_defaults(&o);
		o.form = DOLANIA_CODE;
		o.script = "true";
		o.stdin_fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
		o.stdout_fd = o.stderr_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
		if (argc > 2 && dolania_parse_bytes(argv[2], &o.memory_bytes))
			return 2;
		dolania_result_init(&r);
		dolania_run(&o, &r);
		int bad = add(&sums, &r);
		dolania_result_release(&r);
		if (bad)
			return 1;
	}
	for (unsigned i = 0; i < STEPS; i++)
		printf("%s %llu\n", step_names[i], (unsigned long long)(sums.step[i] / runs));
	for (unsigned i = 0; i < REPORT_EXITS; i++)
		printf("%s %llu\n", exit_names[i], (unsigned long long)(sums.exits[i] / runs));
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* The rules of exit storms: what is free, what has to wait, what ends; bus locks and notify exits exist on VMX only. */
#include "tests/unit/tap.h"

#include <string.h>

#include "vmm/base/storm.h"

static uint64_t time_ns;
static unsigned looks;

static uint64_t clock_ns(void)
{
	looks++;
	return time_ns;
}

struct told { unsigned go_on, wait, end; };

/* `n` exits, one every `every_ns`; a wait takes its time. */
static struct told make_exits(struct storm *s, enum storm_kind kind, unsigned n, uint64_t every_ns)
{
	struct told t = { 0, 0, 0 };

	for (unsigned i = 0; i < n && t.end == 0; i++) {
		time_ns += every_ns;
		switch (storm_judge(s, kind, 0, clock_ns)) {
		case STORM_GO_ON: t.go_on++; break;
		case STORM_WAIT: t.wait++; time_ns += STORM_WAIT_NS; break;
		case STORM_END: t.end++; break;
		}
	}
	return t;
}

static struct storm *fresh(void)
{
	static struct storm s;

	memset(&s, 0, sizeof(s));
	time_ns = 1;
	looks = 0;
	return &s;
}

static void plain_exits_end_at_once(void)
{
	struct told t = make_exits(fresh(), STORM_PLAIN, 1000000, 1000);

	CHECK(t.end == 1 && t.wait == 0 && t.go_on == 2 * 8192 - 1);
	CHECK(looks == 2);	/* the clock costs */
}

static void slow_exits_are_free_for_ever(void)
{
	static const unsigned free[STORM_KINDS] = { 8192, 8192, 128, 128 };

	for (unsigned kind = 0; kind < STORM_KINDS; kind++) {
		struct told t = make_exits(fresh(), (enum storm_kind)kind, 3000000, STORM_WINDOW_NS / free[kind] + 200);

		CHECK(t.end == 0 && t.wait == 0);
	}
}

static void work_explains_plain_exits(void)
{
	struct storm *s = fresh();
	unsigned ends = 0;

	for (uint64_t i = 0; i < 1000000; i++, time_ns += 1000)
		ends += storm_judge(s, STORM_PLAIN, i, clock_ns) != STORM_GO_ON;
	CHECK(ends == 0);
}

/* What has to wait makes few exits a second, and ends after its bound. */
static void fast_exits_wait_and_then_end(void)
{
	static const struct { enum storm_kind kind; unsigned free, waits; } rule[] = {
		{ STORM_MSR, 8192, 1048576 }, { STORM_BUS_LOCK, 128, 65536 }, { STORM_NOTIFY, 128, 1024 },
	};

	for (unsigned i = 0; i < 3; i++) {
		struct storm *s = fresh();
		struct told t = make_exits(s, rule[i].kind, 100000000, 1000);
		uint64_t seconds = time_ns / STORM_WINDOW_NS + 1;

		CHECK(t.end == 1 && t.wait == rule[i].waits);
		CHECK(t.go_on + t.wait <= seconds * (2 * rule[i].free + 1000) + 2 * rule[i].free);
	}
}

/* A minute of a debugger that block-steps as fast as it can: slowed down, and not ended. */
static void a_debugger_is_not_ended(void)
{
	struct storm *s = fresh();
	struct told t = { 0, 0, 0 };

	while (time_ns < 60ull * STORM_WINDOW_NS && t.end == 0) {
		struct told more = make_exits(s, STORM_MSR, 1000, 2000);

		t.end += more.end;
		t.wait += more.wait;
	}
	CHECK(t.end == 0 && t.wait > 0);
}

static void kinds_do_not_share_windows(void)
{
	struct storm *s = fresh();

	make_exits(s, STORM_BUS_LOCK, 1000, 1000);
	CHECK(storm_judge(s, STORM_NOTIFY, 0, clock_ns) == STORM_GO_ON);
	CHECK(storm_judge(s, STORM_PLAIN, 0, clock_ns) == STORM_GO_ON);
}

int main(void)
{
	RUN(plain_exits_end_at_once);
	RUN(slow_exits_are_free_for_ever);
	RUN(work_explains_plain_exits);
	RUN(fast_exits_wait_and_then_end);
	RUN(a_debugger_is_not_ended);
	RUN(kinds_do_not_share_windows);
	return tap_end();
}

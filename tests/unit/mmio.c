/* SPDX-License-Identifier: Apache-2.0 */
/* Registers and the device status machine, as a stock driver and as a hostile one. */
#include "tests/unit/driver.h"
#include "tests/unit/tap.h"

static enum err touch(struct machine *m, uint64_t addr, uint32_t len, bool w, uint64_t *v, bool *claimed)
{
	uint8_t data[8];
	enum err e;

	memcpy(data, v, 8);
	e = bus_mmio(&m->bus, addr, data, len, w, claimed);
	memcpy(v, data, 8);
	return e;
}

static void stock_probe_breaks_no_rule(void)
{
	struct machine *m = machine_new();

	CHECK_EQ(reg_read(m, 0, DEVICE_ID), 19);
	CHECK_EQ(reg_read(m, 1, DEVICE_ID), 2);
	for (unsigned slot = 0; slot < 3; slot++) {
		probe(m, slot);
		CHECK_EQ(reg_read(m, slot, STATUS), 15);
		CHECK(mmio_live(&m->bus.dev[slot]));
	}
	CHECK_EQ(reg_read(m, 0, CONFIG), 3);		/* guest CID */
	CHECK_EQ(reg_read(m, 0, CONFIG + 4), 0);
	CHECK_EQ(reg_read(m, 1, CONFIG), DISK_BYTES / 512);
	CHECK_EQ(reg_read(m, 1, CONFIG + 12), 62);	/* seg_max */
	CHECK_EQ(reg_read(m, 1, CONFIG_GENERATION), 0);
	CHECK_EQ(features_read(m, 0), VIRTIO_F_VERSION_1);
	CHECK_EQ(features_read(m, 1), VIRTIO_F_VERSION_1 | 1 << 2 | 1 << 5);
	CHECK_EQ(features_read(m, 2), VIRTIO_F_VERSION_1 | 1 << 2);
	CHECK_EQ(rule(m), VIOLATION_NONE);
	CHECK_EQ(m->bus.unmapped, 0);
	/* Shutdown: reset, and a second probe. */
	CHECK_EQ(reg_write(m, 1, STATUS, 0), OK);
	CHECK_EQ(reg_read(m, 1, STATUS), 0);
	probe(m, 1);
	/* A probe that fails half-way takes its queues down one by one. */
	CHECK_EQ(reg_write(m, 1, QUEUE_SEL, 0), OK);
	CHECK_EQ(reg_write(m, 1, QUEUE_READY, 0), OK);
	CHECK_EQ(reg_read(m, 1, QUEUE_READY), 0);
	CHECK_EQ(status_add(m, 1, FAILED), OK);
	CHECK(!mmio_live(&m->bus.dev[1]));
	CHECK_EQ(kick(m, &m->ring[1][0]), OK);		/* late kick: ignored */
	/* A queue that is not there, as vm_setup_vq meets it. */
	CHECK_EQ(reg_write(m, 1, QUEUE_SEL, 7), OK);
	CHECK_EQ(reg_read(m, 1, QUEUE_READY), 0);
	CHECK_EQ(reg_read(m, 1, QUEUE_NUM_MAX), 0);
	CHECK_EQ(reg_write(m, 1, QUEUE_READY, 0), OK);
	/* Shared memory: none. */
	CHECK_EQ(reg_write(m, 1, SHM_SEL, 0), OK);
	CHECK_EQ(reg_read(m, 1, SHM_LEN_LOW), UINT32_MAX);
	CHECK_EQ(m->bus.unmapped, 0);
	CHECK_EQ(rule(m), VIOLATION_NONE);
	machine_free(m);
}

static void odd_accesses_read_ones(void)
{
	static const struct { uint64_t off; uint32_t len; } odd[] = {
		{ MAGIC, 1 }, { MAGIC, 2 }, { MAGIC, 8 }, { MAGIC + 2, 4 }, { MAGIC + 1, 4 },
		{ 0x018, 4 }, { 0x0fc - 4, 4 + 4 }, { CONFIG + 8, 4 }, { CONFIG + 5, 4 },
		{ 0xffc, 4 }, { 0xffe, 4 }, { 0xfff, 8 },
	};
	struct machine *m = machine_new();
	uint64_t v, before;
	bool claimed;

	for (unsigned i = 0; i < sizeof odd / sizeof odd[0]; i++) {
		v = 0;
		before = m->bus.unmapped;
		CHECK_EQ(touch(m, BUS_BASE + odd[i].off, odd[i].len, false, &v, &claimed), OK);
		CHECK(claimed);
		CHECK_EQ(v, odd[i].len == 8 ? UINT64_MAX : (1ull << 8 * odd[i].len) - 1);
		CHECK_EQ(m->bus.unmapped, before + 1);
	}
	/* Writes go nowhere. */
	v = 1;
	before = m->bus.unmapped;
	CHECK_EQ(touch(m, BUS_BASE + STATUS, 1, true, &v, &claimed), OK);
	CHECK_EQ(touch(m, BUS_BASE + STATUS + 2, 4, true, &v, &claimed), OK);
	CHECK_EQ(touch(m, BUS_BASE + MAGIC, 4, true, &v, &claimed), OK);
	CHECK_EQ(touch(m, BUS_BASE + 0xffe, 4, true, &v, &claimed), OK);
	CHECK_EQ(m->bus.unmapped, before + 4);
	CHECK_EQ(reg_read(m, 0, STATUS), 0);
	CHECK_EQ(reg_read(m, 0, MAGIC), 0x74726976);
	/* Configuration: any width inside, read-only. */
	v = 0;
	CHECK_EQ(touch(m, BUS_BASE + CONFIG, 8, false, &v, &claimed), OK);
	CHECK_EQ(v, 3);
	v = 9;
	CHECK_EQ(touch(m, BUS_BASE + CONFIG, 1, true, &v, &claimed), OK);
	v = 0;
	CHECK_EQ(touch(m, BUS_BASE + CONFIG, 1, false, &v, &claimed), OK);
	CHECK_EQ(v, 3);
	machine_free(m);
}

static void windows_end_where_slots_end(void)
{
	struct machine *m = machine_new();
	uint64_t v = 0;
	bool claimed = true;

	CHECK_EQ(touch(m, BUS_BASE - 1, 4, false, &v, &claimed), OK);
	CHECK(!claimed);
	CHECK_EQ(touch(m, BUS_BASE + 3 * BUS_STRIDE, 4, false, &v, &claimed), OK);
	CHECK(!claimed);	/* one vsock, two disks */
	CHECK_EQ(touch(m, 0, 4, false, &v, &claimed), OK);
	CHECK(!claimed);
	CHECK_EQ(touch(m, UINT64_MAX, 4, false, &v, &claimed), OK);
	CHECK(!claimed);
	CHECK_EQ(touch(m, BUS_BASE, 0, false, &v, &claimed), ERR_BUG);
	CHECK_EQ(touch(m, BUS_BASE, 9, false, &v, &claimed), ERR_BUG);
	CHECK_EQ(touch(m, BUS_BASE + 2 * BUS_STRIDE, 4, false, &v, &claimed), OK);
	CHECK(claimed);
	machine_free(m);
}

static void status_wrong(uint32_t first, uint32_t then)
{
	struct machine *m = machine_new();

	if (first & FEATURES_OK)
		probe_to_features(m, 1);
	else
		CHECK_EQ(reg_write(m, 1, STATUS, first), OK);
	CHECK_EQ(reg_write(m, 1, STATUS, then), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_STATUS);
	CHECK_EQ(m->bus.violation.slot, 1);
	CHECK_EQ(m->bus.violation.value, then);
	machine_free(m);
}

static void status_out_of_order(void)
{
	status_wrong(0, DRIVER);			/* before ACKNOWLEDGE */
	status_wrong(0, ACKNOWLEDGE | FEATURES_OK);	/* before DRIVER */
	status_wrong(3, ACKNOWLEDGE | DRIVER | DRIVER_OK);	/* before FEATURES_OK */
	status_wrong(3, ACKNOWLEDGE | DRIVER | FEATURES_OK | DRIVER_OK);	/* both at once */
	status_wrong(3, ACKNOWLEDGE);			/* a bit taken back */
	status_wrong(3, ACKNOWLEDGE | DRIVER | 16);	/* no such bit */
	status_wrong(3, ACKNOWLEDGE | DRIVER | 64);	/* NEEDS_RESET is ours */
	status_wrong(11, ACKNOWLEDGE | DRIVER);
	status_wrong(0, 0x100);
}

static void features_not_offered_are_refused(void)
{
	static const uint64_t bad[] = {
		VIRTIO_F_VERSION_1 | 1, VIRTIO_F_VERSION_1 | 1ull << 28, VIRTIO_F_VERSION_1 | 1ull << 29,
		VIRTIO_F_VERSION_1 | 1ull << 34, 0, 1ull << 5, VIRTIO_F_VERSION_1 | 1ull << 9,
	};

	for (unsigned i = 0; i < sizeof bad / sizeof bad[0]; i++) {
		struct machine *m = machine_new();

		CHECK_EQ(reg_write(m, 1, STATUS, 3), OK);
		features_write(m, 1, bad[i]);
		CHECK_EQ(reg_write(m, 1, STATUS, 11), OK);
		CHECK_EQ(reg_read(m, 1, STATUS), 3);
		/* Another try, with features that are offered. */
		features_write(m, 1, VIRTIO_F_VERSION_1);
		CHECK_EQ(reg_write(m, 1, STATUS, 11), OK);
		CHECK_EQ(reg_read(m, 1, STATUS), 11);
		machine_free(m);
	}
}

static void features_out_of_order(void)
{
	struct machine *m = machine_new();

	CHECK_EQ(reg_write(m, 1, DEVICE_FEATURES_SEL, 2), OK);
	CHECK_EQ(reg_read(m, 1, DEVICE_FEATURES), 0);
	CHECK_EQ(reg_write(m, 1, DEVICE_FEATURES_SEL, UINT32_MAX), OK);
	CHECK_EQ(reg_read(m, 1, DEVICE_FEATURES), 0);
	CHECK_EQ(reg_write(m, 1, DRIVER_FEATURES, 0), ERR_GUEST);	/* before DRIVER */
	CHECK_EQ(rule(m), VIOLATION_FEATURES);
	machine_free(m);

	m = machine_new();
	probe_to_features(m, 1);
	CHECK_EQ(reg_write(m, 1, DRIVER_FEATURES, 0), ERR_GUEST);	/* after FEATURES_OK */
	CHECK_EQ(rule(m), VIOLATION_FEATURES);
	machine_free(m);

	m = machine_new();
	CHECK_EQ(reg_write(m, 1, STATUS, 3), OK);
	CHECK_EQ(reg_write(m, 1, DRIVER_FEATURES_SEL, 2), OK);
	CHECK_EQ(reg_write(m, 1, DRIVER_FEATURES, 1), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_FEATURES);
	machine_free(m);
}

/* Each register of a queue, written in a state where it is locked. */
static void queue_registers_locked(void)
{
	static const uint32_t reg[] = { QUEUE_NUM, DESC_LOW, DESC_HIGH, AVAIL_LOW, AVAIL_HIGH,
					USED_LOW, USED_HIGH, QUEUE_READY };

	for (unsigned i = 0; i < sizeof reg / sizeof reg[0]; i++) {
		for (unsigned state = 0; state < 4; state++) {
			struct machine *m = machine_new();
			unsigned want = VIOLATION_QUEUE_LOCKED;

			if (state == 0) {	/* before FEATURES_OK */
				CHECK_EQ(reg_write(m, 1, STATUS, 3), OK);
			} else if (state == 1) {	/* ready and live */
				probe(m, 1);
			} else if (state == 2) {	/* taken down, but DRIVER_OK */
				probe(m, 1);
				CHECK_EQ(reg_write(m, 1, QUEUE_READY, 0), OK);
			} else {		/* no such queue */
				probe_to_features(m, 1);
				CHECK_EQ(reg_write(m, 1, QUEUE_SEL, 1), OK);
				want = VIOLATION_QUEUE_SELECT;
			}
			CHECK_EQ(reg_write(m, 1, reg[i], 1), ERR_GUEST);
			CHECK_EQ(rule(m), want);
			machine_free(m);
		}
	}
}

static void queue_ready_values(void)
{
	struct machine *m = machine_new();

	probe_to_features(m, 1);
	ring_tell(m, ring_place(m, 1, 0, 64));
	CHECK_EQ(reg_write(m, 1, QUEUE_READY, 1), OK);
	CHECK_EQ(reg_read(m, 1, QUEUE_READY), 1);
	CHECK_EQ(reg_write(m, 1, QUEUE_NUM, 32), ERR_GUEST);	/* ready, before DRIVER_OK */
	CHECK_EQ(rule(m), VIOLATION_QUEUE_LOCKED);
	machine_free(m);

	m = machine_new();
	probe_to_features(m, 1);
	CHECK_EQ(reg_write(m, 1, QUEUE_READY, 2), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_QUEUE_READY);
	machine_free(m);
}

static void kicks(void)
{
	struct machine *m = machine_new();

	CHECK_EQ(reg_write(m, 1, QUEUE_NOTIFY, 0), OK);	/* not live: nothing to look at */
	probe_to_features(m, 1);
	CHECK_EQ(reg_write(m, 1, QUEUE_NOTIFY, 0), OK);
	CHECK_EQ(status_add(m, 1, DRIVER_OK), OK);
	CHECK_EQ(reg_write(m, 1, QUEUE_NOTIFY, 0), OK);	/* live, but the queue is not ready */
	CHECK_EQ(reg_write(m, 1, QUEUE_NOTIFY, 1), ERR_GUEST);
	CHECK_EQ(rule(m), VIOLATION_NOTIFY);
	CHECK_EQ(reg_write(m, 0, QUEUE_NOTIFY, 0x10000), ERR_GUEST);
	CHECK_EQ(m->bus.violation.value, 1);		/* the first evidence stays */
	machine_free(m);
}

static void interrupts(void)
{
	struct machine *m = machine_new();

	probe(m, 1);
	CHECK_EQ(blk_do(m, 1, 0, 0, 512, true), OK);
	CHECK_EQ(m->raised[1], 1);
	CHECK_EQ(reg_read(m, 1, INTERRUPT_STATUS), 1);
	CHECK_EQ(blk_do(m, 1, 0, 0, 512, true), OK);
	CHECK_EQ(m->raised[1], 1);		/* not acknowledged yet: one edge is enough */
	CHECK_EQ(reg_write(m, 1, INTERRUPT_ACK, 1), OK);
	CHECK_EQ(reg_read(m, 1, INTERRUPT_STATUS), 0);
	CHECK_EQ(blk_do(m, 1, 0, 0, 512, true), OK);
	CHECK_EQ(m->raised[1], 2);
	CHECK_EQ(reg_write(m, 1, INTERRUPT_ACK, 1), OK);
	put16(m, m->ring[1][0].avail, 1);	/* VIRTQ_AVAIL_F_NO_INTERRUPT */
	CHECK_EQ(blk_do(m, 1, 0, 0, 512, true), OK);
	CHECK_EQ(m->raised[1], 2);
	CHECK_EQ(reg_read(m, 1, INTERRUPT_STATUS), 0);
	machine_free(m);
}

static void nonsense_from_the_caller(void)
{
	struct machine *m = malloc(sizeof *m);
	struct mmio_dev d;
	struct mmio_config c = { .queues = MMIO_QUEUES_MAX + 1 };

	MUST(m != NULL);
	CHECK_EQ(mmio_init(&d, &c), ERR_BUG);
	c = (struct mmio_config){ .queues = 1, .config_bytes = MMIO_CONFIG_MAX_BYTES + 1 };
	CHECK_EQ(mmio_init(&d, &c), ERR_BUG);
	for (uint16_t n = 0; n < 4; n++) {
		static const uint16_t bad[] = { 0, 3, 65, 128 };

		c = (struct mmio_config){ .queues = 1, .config = "", .queue_size_max = { bad[n] } };
		CHECK_EQ(mmio_init(&d, &c), ERR_BUG);
	}
	machine_config(m);
	m->config.disks = BUS_DISKS_MAX + 1;
	CHECK_EQ(bus_init(&m->bus, &m->config), ERR_USAGE);
	m->config.disks = 2;
	m->config.disk[1].bytes = 513;
	CHECK_EQ(bus_init(&m->bus, &m->config), ERR_USAGE);
	m->config.disk[1].bytes = 0;
	CHECK_EQ(bus_init(&m->bus, &m->config), ERR_USAGE);
	m->config.disk[1].bytes = 1ull << 63;
	CHECK_EQ(bus_init(&m->bus, &m->config), ERR_USAGE);
	m->config.disk[1].bytes = 512;
	m->config.vsock.port[WIRE_STDOUT].ring.bytes = 1000;
	CHECK_EQ(bus_init(&m->bus, &m->config), ERR_USAGE);
	m->config.vsock.port[WIRE_STDOUT].ring.bytes = 4096;
	CHECK_EQ(bus_init(&m->bus, &m->config), OK);
	machine_free(m);
}

static void rules_have_names(void)
{
	/* The report page has room for 15 characters. */
	for (unsigned i = 0; i < VIOLATION_RULES; i++)
		CHECK(violation_name(i) != NULL && violation_name(i)[0] != '\0' && strlen(violation_name(i)) < 16);
	CHECK(strcmp(violation_name(VIOLATION_DESC_LOOP), "desc_loop") == 0);
	CHECK(strcmp(violation_name(VIOLATION_RULES), "unknown") == 0);
	CHECK(strcmp(violation_name((enum violation_rule)-1), "unknown") == 0);
}

int main(void)
{
	RUN(rules_have_names);
	RUN(stock_probe_breaks_no_rule);
	RUN(odd_accesses_read_ones);
	RUN(windows_end_where_slots_end);
	RUN(status_out_of_order);
	RUN(features_not_offered_are_refused);
	RUN(features_out_of_order);
	RUN(queue_registers_locked);
	RUN(queue_ready_values);
	RUN(kicks);
	RUN(interrupts);
	RUN(nonsense_from_the_caller);
	return tap_end();
}

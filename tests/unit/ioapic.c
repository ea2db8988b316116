/* SPDX-License-Identifier: Apache-2.0 */
/* The IOAPIC: which edges become which MSIs, and what a hostile guest's writes cannot do. */
#include "tests/unit/tap.h"

#include <string.h>

#include "vmm/irq/ioapic.h"

struct seen {
	unsigned count;
	uint64_t address;
	uint32_t data;
};

static void on_msi(void *ctx, uint64_t address, uint32_t data)
{
	struct seen *s = ctx;

	s->count++;
	s->address = address;
	s->data = data;
}

static void put(struct ioapic *a, uint32_t index, uint32_t value)
{
	CHECK(ioapic_mmio(a, 0x00, (uint8_t *)&index, 4, true));
	CHECK(ioapic_mmio(a, 0x10, (uint8_t *)&value, 4, true));
}

static uint32_t get(struct ioapic *a, uint32_t index)
{
	uint32_t value = 0;

	CHECK(ioapic_mmio(a, 0x00, (uint8_t *)&index, 4, true));
	CHECK(ioapic_mmio(a, 0x10, (uint8_t *)&value, 4, false));
	return value;
}

static void a_programmed_pin_sends_its_msi(void)
{
	struct seen s = { 0 };
	struct ioapic a;

	ioapic_init(&a, 2, on_msi, &s);
	put(&a, 0x13, 0x05000000);	/* pin 1: destination 5 */
	put(&a, 0x12, 0x31);		/* vector 0x31, fixed, edge, unmasked */
	ioapic_raise(&a, 1);
	CHECK_EQ(s.count, 1);
	CHECK_EQ(s.address, 0xfee05000);
	CHECK_EQ(s.data, 0x31);
}

static void an_edge_on_a_masked_pin_is_kept(void)
{
	struct seen s = { 0 };
	struct ioapic a;

	ioapic_init(&a, 2, on_msi, &s);
	ioapic_raise(&a, 0);
	ioapic_raise(&a, 0);
	CHECK_EQ(s.count, 0);
	put(&a, 0x10, 0x40);		/* unmask */
	CHECK_EQ(s.count, 1);		/* two edges are one interrupt */
	put(&a, 0x10, 0x40);
	CHECK_EQ(s.count, 1);
}

static void only_fixed_and_lowest_are_delivered(void)
{
	for (uint32_t mode = 0; mode < 8; mode++) {
		struct seen s = { 0 };
		struct ioapic a;

		ioapic_init(&a, 1, on_msi, &s);
		put(&a, 0x10, 0x20 | mode << 8);
		ioapic_raise(&a, 0);
		CHECK_EQ(s.count, mode <= 1);	/* never SMI, NMI, INIT, ExtINT */
		CHECK_EQ(s.data, mode <= 1 ? 0x20 : 0);		/* lowest priority: nobody else is there */
	}
}

static void pins_and_registers_that_do_not_exist(void)
{
	struct seen s = { 0 };
	struct ioapic a;
	uint8_t byte = 0;

	ioapic_init(&a, 100, on_msi, &s);
	CHECK_EQ(a.pins, IOAPIC_PINS_MAX);
	ioapic_init(&a, 2, on_msi, &s);
	CHECK_EQ(get(&a, 1) >> 16, 1);		/* highest pin */
	for (uint32_t index = 0x14; index < 0x100; index++) {
		put(&a, index, 0x20);
		CHECK_EQ(get(&a, index), UINT32_MAX);
	}
	for (unsigned pin = 0; pin < 300; pin++)
		ioapic_raise(&a, pin);
	CHECK_EQ(s.count, 0);
	CHECK(!ioapic_mmio(&a, 0x20, &byte, 1, false));
	CHECK(!ioapic_mmio(&a, 0x10, &byte, 1, true));
}

static void read_only_bits_stay(void)
{
	struct seen s = { 0 };
	struct ioapic a;

	ioapic_init(&a, 1, on_msi, &s);
	put(&a, 0x10, 0xffffffff);
	CHECK_EQ(get(&a, 0x10) & 0x5000, 0);
}

int main(void)
{
	RUN(a_programmed_pin_sends_its_msi);
	RUN(an_edge_on_a_masked_pin_is_kept);
	RUN(only_fixed_and_lowest_are_delivered);
	RUN(pins_and_registers_that_do_not_exist);
	RUN(read_only_bits_stay);
	return tap_end();
}

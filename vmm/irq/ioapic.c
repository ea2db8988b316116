/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the guest controls here: the register index and every value written.
 * The index selects by comparison only; a redirection entry can do no more
 * than name a vector of this guest's own, single vCPU.
 */
#include "vmm/irq/ioapic.h"

#include <string.h>

enum {
	REG_SELECT = 0x00,
	REG_WINDOW = 0x10,
	INDEX_ID = 0,
	INDEX_VERSION = 1,
	INDEX_ARBITRATION = 2,
	INDEX_REDIRECTION = 0x10,
	VERSION = 0x11,			/* 82093AA: no EOI register */
	DELIVERY_FIXED = 0,
	DELIVERY_LOWEST = 1,
};
#define REDIR_MASKED (1ull << 16)
#define REDIR_READ_ONLY ((1ull << 12) | (1ull << 14))	/* delivery status, remote IRR */
#define MSI_ADDRESS 0xfee00000ull

void ioapic_init(struct ioapic *a, unsigned pins, void (*msi)(void *ctx, uint64_t address, uint32_t data),
		 void *ctx)
{
	memset(a, 0, sizeof(*a));
	a->pins = pins < IOAPIC_PINS_MAX ? pins : IOAPIC_PINS_MAX;
	for (unsigned i = 0; i < IOAPIC_PINS_MAX; i++)
		a->redirection[i] = REDIR_MASKED;
	a->msi = msi;
	a->ctx = ctx;
}

static void deliver(struct ioapic *a, unsigned pin)
{
	uint64_t entry = a->redirection[pin];
	uint32_t delivery = (uint32_t)(entry >> 8) & 7;

	if (entry & REDIR_MASKED) {
		a->pending[pin] = true;
		return;
	}
	a->pending[pin] = false;
	/* SMI, NMI, INIT and ExtINT are nothing a device of ours sends. */
	if (delivery != DELIVERY_FIXED && delivery != DELIVERY_LOWEST)
		return;
	/* Always as a fixed one: the only vCPU has the lowest priority, and KVM logs such a wish for everybody. */
	a->msi(a->ctx, MSI_ADDRESS | ((entry >> 56) & 0xff) << 12 | ((entry >> 11) & 1) << 2,
	       (uint32_t)(entry & 0xff));
}

void ioapic_raise(struct ioapic *a, unsigned pin)
{
	if (pin < a->pins)
		deliver(a, pin);
}

static uint32_t register_read(const struct ioapic *a)
{
	uint32_t i = a->select - INDEX_REDIRECTION;

	if (a->select == INDEX_ID || a->select == INDEX_ARBITRATION)
		return 0;
	if (a->select == INDEX_VERSION)
		return VERSION | (a->pins - 1) << 16;
	if (a->select < INDEX_REDIRECTION || i >= 2 * a->pins)
		return UINT32_MAX;
	return (uint32_t)(a->redirection[i / 2] >> (i % 2 * 32));
}

static void register_write(struct ioapic *a, uint32_t value)
{
	uint32_t i = a->select - INDEX_REDIRECTION;
	uint64_t *entry;

	if (a->select < INDEX_REDIRECTION || i >= 2 * a->pins)
		return;
	entry = &a->redirection[i / 2];
	if (i % 2)
		*entry = (*entry & 0xffffffffull) | (uint64_t)value << 32;
	else
		*entry = (*entry & ~0xffffffffull) | (value & ~REDIR_READ_ONLY);
	if (a->pending[i / 2])
		deliver(a, i / 2);
}

bool ioapic_mmio(struct ioapic *a, uint64_t offset, uint8_t *data, uint32_t len, bool is_write)
{
	uint32_t value = 0;

	if (len != sizeof(value) || (offset != REG_SELECT && offset != REG_WINDOW))
		return false;
	if (is_write) {
		memcpy(&value, data, sizeof(value));
		if (offset == REG_SELECT)
			a->select = value & 0xff;
		else
			register_write(a, value);
		return true;
	}
	value = offset == REG_SELECT ? a->select : register_read(a);
	memcpy(data, &value, sizeof(value));
	return true;
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ioapic.h - the interrupt controller of the devices: an 82093AA with as many
 * edge-triggered pins as there are device slots.
 *
 * It turns an edge into the MSI that its redirection entry describes; who
 * delivers the MSI is the caller's affair (KVM_SIGNAL_MSI), so no KVM in here.
 * An edge on a masked pin is kept and delivered when the pin is unmasked: a
 * virtio interrupt must not be lost.
 *
 * Thread: the VMM's only thread.
 */
#ifndef DOLANIA_IRQ_IOAPIC_H
#define DOLANIA_IRQ_IOAPIC_H

#include <stdbool.h>
#include <stdint.h>

#define IOAPIC_BASE 0xfec00000ull
#define IOAPIC_BYTES 0x1000ull
enum { IOAPIC_PINS_MAX = 5 };

struct ioapic {
	uint32_t select;		/* IOREGSEL */
	unsigned pins;			/* Linux reads and clears each at boot: as few as devices */
	uint64_t redirection[IOAPIC_PINS_MAX];
	bool pending[IOAPIC_PINS_MAX];	/* edge seen while masked */
	void (*msi)(void *ctx, uint64_t address, uint32_t data);
	void *ctx;
};

/* `pins` is cut to IOAPIC_PINS_MAX. */
void ioapic_init(struct ioapic *a, unsigned pins, void (*msi)(void *ctx, uint64_t address, uint32_t data),
		 void *ctx);

/* One access at `offset` (< IOAPIC_BYTES) of the window.  False: no register there. */
bool ioapic_mmio(struct ioapic *a, uint64_t offset, uint8_t *data, uint32_t len, bool is_write);

/* A rising edge on `pin`; pins that do not exist are ignored. */
void ioapic_raise(struct ioapic *a, unsigned pin);

#endif

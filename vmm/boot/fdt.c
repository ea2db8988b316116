/* SPDX-License-Identifier: Apache-2.0 */
#include "vmm/boot/fdt.h"

#include <libfdt.h>
#include <string.h>

enum { PHANDLE_IOAPIC = 1, EDGE_RISING = 3 /* index in of_ioapic_type[], not IRQ_TYPE_* */ };

/* "name@hex", for the few names we have. */
static void unit_name(char *out, const char *name, uint64_t at)
{
	static const char digit[] = "0123456789abcdef";
	unsigned shift = 60;

	while (*name)
		*out++ = *name++;
	*out++ = '@';
	while (shift > 0 && (at >> shift) == 0)
		shift -= 4;
	for (;; shift -= 4) {
		*out++ = digit[(at >> shift) & 15];
		if (shift == 0)
			break;
	}
	*out = '\0';
}

/* Begins a node that is something at an address. */
static int begin_unit(void *f, const char *name, uint64_t at, uint64_t bytes, const char *compatible)
{
	const fdt64_t reg[2] = { cpu_to_fdt64(at), cpu_to_fdt64(bytes) };
	char unit[48];
	int e;

	unit_name(unit, name, at);
	e = fdt_begin_node(f, unit);
	e = e ? e : fdt_property(f, "compatible", compatible, (int)strlen(compatible) + 1);
	return e ? e : fdt_property(f, "reg", reg, sizeof(reg));
}

static int cpus(void *f)
{
	int e = fdt_begin_node(f, "cpus");

	e = e ? e : fdt_property_u32(f, "#address-cells", 1);
	e = e ? e : fdt_property_u32(f, "#size-cells", 0);
	e = e ? e : fdt_begin_node(f, "cpu@0");
	e = e ? e : fdt_property_string(f, "device_type", "cpu");
	e = e ? e : fdt_property_u32(f, "reg", 0);
	e = e ? e : fdt_end_node(f);
	return e ? e : fdt_end_node(f);
}

static int interrupt_controllers(void *f, const struct fdt_machine *mach)
{
	int e = begin_unit(f, "lapic", mach->lapic_base, 0x1000, "intel,ce4100-lapic");

	e = e ? e : fdt_property(f, "intel,virtual-wire-mode", NULL, 0);
	e = e ? e : fdt_end_node(f);

	e = e ? e : begin_unit(f, "ioapic", mach->ioapic_base, 0x1000, "intel,ce4100-ioapic");
	e = e ? e : fdt_property(f, "interrupt-controller", NULL, 0);
	e = e ? e : fdt_property_u32(f, "#interrupt-cells", 2);
	e = e ? e : fdt_property_u32(f, "phandle", PHANDLE_IOAPIC);
	return e ? e : fdt_end_node(f);
}

static int device(void *f, const struct fdt_machine *mach, unsigned slot)
{
	const fdt32_t interrupt[2] = { cpu_to_fdt32(slot), cpu_to_fdt32(EDGE_RISING) };
	uint64_t at = mach->window_base + slot * mach->window_stride;
	int e = begin_unit(f, "virtio_mmio", at, mach->window_stride, "virtio,mmio");

	e = e ? e : fdt_property(f, "interrupts", interrupt, sizeof(interrupt));
	return e ? e : fdt_end_node(f);
}

static int kernel_log(void *f, const struct fdt_machine *mach)
{
	enum { MEM_TYPE_NORMAL = 2 };
	int e = fdt_begin_node(f, "reserved-memory");

	e = e ? e : fdt_property_u32(f, "#address-cells", 2);
	e = e ? e : fdt_property_u32(f, "#size-cells", 2);
	e = e ? e : fdt_property(f, "ranges", NULL, 0);
	e = e ? e : begin_unit(f, "ramoops", mach->log_base, mach->log_bytes, "ramoops");
	e = e ? e : fdt_property_u32(f, "console-size", (uint32_t)mach->log_bytes);
	e = e ? e : fdt_property_u32(f, "mem-type", MEM_TYPE_NORMAL);
	e = e ? e : fdt_end_node(f);
	return e ? e : fdt_end_node(f);
}

enum err fdt_build(const struct fdt_machine *mach, void *buf, size_t bytes, size_t *used)
{
	int e = fdt_create(buf, (int)bytes);

	e = e ? e : fdt_finish_reservemap(buf);
	e = e ? e : fdt_begin_node(buf, "");
	e = e ? e : fdt_property_string(buf, "compatible", "dolania,machine");
	e = e ? e : fdt_property_u32(buf, "#address-cells", 2);
	e = e ? e : fdt_property_u32(buf, "#size-cells", 2);
	e = e ? e : fdt_property_u32(buf, "interrupt-parent", PHANDLE_IOAPIC);
	e = e ? e : cpus(buf);
	e = e ? e : kernel_log(buf, mach);
	e = e ? e : fdt_begin_node(buf, "soc");
	e = e ? e : fdt_property_string(buf, "compatible", "simple-bus");
	e = e ? e : fdt_property_u32(buf, "#address-cells", 2);
	e = e ? e : fdt_property_u32(buf, "#size-cells", 2);
	e = e ? e : fdt_property(buf, "ranges", NULL, 0);
	e = e ? e : interrupt_controllers(buf, mach);
	for (unsigned slot = 0; slot < mach->slots; slot++)
		e = e ? e : device(buf, mach, slot);
	e = e ? e : fdt_end_node(buf);
	e = e ? e : fdt_end_node(buf);
	e = e ? e : fdt_finish(buf);
	if (e)
		return ERR_BUG;
	*used = fdt_totalsize(buf);
	return OK;
}

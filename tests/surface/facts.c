/* SPDX-License-Identifier: Apache-2.0 */
/*
 * facts.c - what the VMM's own code says its surface is, one fact a line.
 *
 * Linked with the VMM's objects.  Nothing is read from the source text: the
 * set-up functions are called, and what they would hand to the kernel is taken
 * from them on the way (ld --wrap); the devices are asked register by register.
 * ledger.py turns the lines into docs/surface.md.
 */
#include <errno.h>
#include <linux/filter.h>
#include <linux/kvm.h>
#include <linux/seccomp.h>
#include <stdarg.h>
#include <sys/prctl.h>

#include "tests/unit/machine.h"
#include "vmm/boot/layout.h"
#include "vmm/irq/ioapic.h"
#include "vmm/jail/jail.h"
#include "vmm/kvm/vm.h"

int __wrap_ioctl(int fd, int request, ...);
int __wrap_prctl(int option, ...);
void facts_exits(void);		/* exits.c */

enum { KVM_FD = 1000, VM_FD, VCPU_FD, BATCH = 16, RUN_BYTES = 3 * 4096 };
static bool quiet_ioctls;

/* The host's CPUID: a batch of leaves, every bit set. */
static struct kvm_cpuid_entry2 offered[BATCH];
static unsigned offered_count;

static void offer(struct kvm_cpuid2 *to)
{
	memcpy(to->entries, offered, offered_count * sizeof(offered[0]));
	to->nent = offered_count;
}

static void show_cpuid(const struct kvm_cpuid2 *c)
{
	for (unsigned i = 0; i < c->nent; i++) {
		const struct kvm_cpuid_entry2 *e = &c->entries[i];

		printf("cpuid %#x %u %#x %#x %#x %#x\n", e->function, e->index, e->eax, e->ebx, e->ecx, e->edx);
	}
}

static void show_msrs(const struct kvm_msr_filter *f)
{
	printf("msr_default %s\n", f->flags & KVM_MSR_FILTER_DEFAULT_DENY ? "deny" : "allow");
	for (unsigned r = 0; r < KVM_MSR_FILTER_MAX_RANGES; r++) {
		const struct kvm_msr_filter_range *range = &f->ranges[r];

		for (uint32_t i = 0; i < range->nmsrs; i++)
			if (range->bitmap[i / 8] >> (i % 8) & 1)
				printf("msr %#x %s%s\n", range->base + i,
				       range->flags & KVM_MSR_FILTER_READ ? "r" : "",
				       range->flags & KVM_MSR_FILTER_WRITE ? "w" : "");
	}
}

/* KVM's file of statistics, with the one that the VMM looks for. */
static int statistics(void)
{
	static const struct {
		struct kvm_stats_header head;
		struct kvm_stats_desc desc;
		char name[48];
		uint64_t data;
	} file = {
		{ .name_size = sizeof(file.name), .num_desc = 1, .desc_offset = offsetof(__typeof__(file), desc),
		  .data_offset = offsetof(__typeof__(file), data) },
		{ .size = 1 }, "pf_mmio_spte_created", 0,
	};
	int fd = memfd("statistics", sizeof(file));

	MUST(pwrite(fd, &file, sizeof(file), 0) == (ssize_t)sizeof(file));
	return fd;
}

/* A KVM that has everything.  The result of each request, or -1 when the caller's default does. */
static int answer(unsigned request, void *arg)
{
	switch (request) {
	case (unsigned)KVM_GET_API_VERSION:
		return KVM_API_VERSION;
	case (unsigned)KVM_CHECK_EXTENSION:
		printf("check_cap %lu\n", (unsigned long)arg);
		return 0xff;
	case (unsigned)KVM_ENABLE_CAP:
		printf("enable_cap %u\n", ((const struct kvm_enable_cap *)arg)->cap);
		return 0;
	case (unsigned)KVM_GET_VCPU_MMAP_SIZE:
		return RUN_BYTES;
	case (unsigned)KVM_CREATE_VM:
	case (unsigned)KVM_CREATE_VCPU:
		return memfd("kvm", RUN_BYTES);
	case (unsigned)KVM_GET_STATS_FD:
		return statistics();
	case (unsigned)KVM_GET_SUPPORTED_CPUID:
		offer(arg);
		return 0;
	case (unsigned)KVM_SET_CPUID2:
		show_cpuid(arg);
		return 0;
	case (unsigned)KVM_X86_SET_MSR_FILTER:
		show_msrs(arg);
		return 0;
	}
	return 0;
}

/* In place of the kernel's.  The request is an int, as in musl. */
int __wrap_ioctl(int fd, int request, ...)
{
	va_list args;
	void *arg;

	(void)fd;
	va_start(args, request);
	arg = va_arg(args, void *);
	va_end(args);
	if (!quiet_ioctls)
		printf("setup_ioctl %#x\n", (unsigned)request);
	return answer((unsigned)request, arg);
}

int __wrap_prctl(int option, ...)
{
	va_list args;
	const struct sock_fprog *p;

	va_start(args, option);
	MUST(va_arg(args, int) == SECCOMP_MODE_FILTER && option == PR_SET_SECCOMP);
	p = va_arg(args, const struct sock_fprog *);
	va_end(args);
	printf("filter ");
	for (unsigned i = 0; i < p->len; i++)
		printf("%04x%02x%02x%08x", p->filter[i].code, p->filter[i].jt, p->filter[i].jf, p->filter[i].k);
	printf("\n");
	return 0;
}

/* Make a VM and a vCPU with the VMM's own functions. */
static void kvm_facts(void)
{
	struct machine *m = machine_new();
	const struct vcpu_start start = { .entry = 0 };
	struct vm vm = { .vm_fd = -1, .vcpu_fd = -1 };
	const char *why = "";
	sigset_t signals;

	/* With XSAVE, so that all of the set-up is done. */
	offered[offered_count++] = (struct kvm_cpuid_entry2){ .function = 0xd, .eax = 7 };
	sigemptyset(&signals);
	MUST(vm_create(&vm, KVM_FD, &m->mem, BUS_SLOTS_MAX, &why) == OK);
	MUST(vcpu_setup(&vm, KVM_FD, &start, &why) == OK);
	MUST(vcpu_signals(&vm, &signals, &why) == OK);
	offered_count = 0;
	machine_free(m);
}

/* Offer every leaf of the ranges in use, and far beyond, a few at a time. */
static void cpuid_facts(void)
{
	static const uint32_t base[] = { 0, 0x40000000, 0x80000000, 0xc0000000 };
	enum { LEAVES = 0x100, SUBLEAVES = 64 };
	struct vm vm = { .vm_fd = VM_FD, .vcpu_fd = VCPU_FD };
	const char *why = "";

	quiet_ioctls = true;
	for (size_t b = 0; b < sizeof(base) / sizeof(base[0]); b++) {
		for (uint32_t i = 0; i < LEAVES * SUBLEAVES; i++) {
			offered[offered_count++] = (struct kvm_cpuid_entry2){
				.function = base[b] + i / SUBLEAVES, .index = i % SUBLEAVES,
				.eax = ~0u, .ebx = ~0u, .ecx = ~0u, .edx = ~0u,
			};
			if (offered_count == BATCH) {
				MUST(cpuid_setup(&vm, KVM_FD, &why) == OK);
				offered_count = 0;
			}
		}
	}
}

/* Does an access of `len` bytes at `off` find a register, in a device just made? */
static bool has_register(unsigned slot, uint32_t off, uint32_t len, bool is_write)
{
	struct machine *m = machine_new();
	uint8_t data[8] = { 0 };
	bool claimed = false, found;
	uint64_t before = m->bus.unmapped;

	/* What the write does, and whether the device objects to it now, is not the question. */
	if (bus_mmio(&m->bus, BUS_BASE + slot * BUS_STRIDE + off, data, len, is_write, &claimed) == ERR_BUG)
		abort();
	found = claimed && m->bus.unmapped == before;
	machine_free(m);
	return found;
}

static void device_facts(const char *name, unsigned slot)
{
	enum { CONFIG_AT = 0x100, CONFIG_END = 0x140, QUEUES_LOOKED_AT = 8 };
	struct machine *m = machine_new();
	uint64_t features = 0;
	unsigned config = 0;

	for (uint32_t off = 0; off < CONFIG_AT; off++) {
		bool r = has_register(slot, off, 4, false), w = has_register(slot, off, 4, true);

		if (r || w)
			printf("register %s %#x %s%s\n", name, off, r ? "r" : "", w ? "w" : "");
	}
	for (uint32_t off = CONFIG_AT; off < CONFIG_END; off++)
		config += has_register(slot, off, 1, false);
	for (uint32_t i = 0; i < 2; i++) {
		MUST(reg_write(m, slot, DEVICE_FEATURES_SEL, i) == OK);
		features |= (uint64_t)reg_read(m, slot, DEVICE_FEATURES) << 32 * i;
	}
	printf("device %s id %u config %u features %#llx queues", name, reg_read(m, slot, DEVICE_ID), config,
	       (unsigned long long)features);
	for (uint32_t q = 0; q < QUEUES_LOOKED_AT; q++) {
		MUST(reg_write(m, slot, QUEUE_SEL, q) == OK);
		if (reg_read(m, slot, QUEUE_NUM_MAX) != 0)
			printf(" %u", reg_read(m, slot, QUEUE_NUM_MAX));
	}
	printf("\n");
	machine_free(m);
}

static void no_msi(void *ctx, uint64_t address, uint32_t data)
{
	(void)ctx;
	(void)address;
	(void)data;
}

static void ioapic_facts(void)
{
	struct ioapic a;

	for (uint64_t off = 0; off < IOAPIC_BYTES; off++) {
		uint8_t data[8] = { 0 };

		ioapic_init(&a, BUS_SLOTS_MAX, no_msi, NULL);
		if (ioapic_mmio(&a, off, data, 4, false))
			printf("register ioapic %#llx rw\n", (unsigned long long)off);
	}
	for (uint32_t index = 0; index < 0x100; index++) {
		uint32_t value;
		uint8_t data[8] = { 0 };

		ioapic_init(&a, BUS_SLOTS_MAX, no_msi, NULL);
		memcpy(data, &index, 4);
		MUST(ioapic_mmio(&a, 0x00, data, 4, true));
		MUST(ioapic_mmio(&a, 0x10, data, 4, false));
		memcpy(&value, data, 4);
		if (value != UINT32_MAX)
			printf("index ioapic %#x\n", index);
	}
}

static void layout_facts(void)
{
	printf("window virtio %#llx %#llx\n", BUS_BASE, BUS_STRIDE);
	printf("window ioapic %#llx %#llx\n", IOAPIC_BASE, IOAPIC_BYTES);
	printf("window lapic %#llx %#x\n", LAYOUT_LAPIC, 0x1000);
	printf("slots %u\npins %u\n", BUS_SLOTS_MAX, BUS_SLOTS_MAX);
	for (unsigned port = 1; port < WIRE_PORTS; port++)
		printf("port %u %s\n", port,
		       port == WIRE_CONTROL ? "WIRE_CONTROL" : port == WIRE_STDIN ? "WIRE_STDIN" :
		       port == WIRE_STDOUT ? "WIRE_STDOUT" : port == WIRE_STDERR ? "WIRE_STDERR" :
		       port == WIRE_OUT ? "WIRE_OUT" : "?");
	printf("source_port_max %u\n", WIRE_PRIVILEGED_PORT_MAX);
}

int main(void)
{
	MUST(jail_seccomp() == OK);
	kvm_facts();
	facts_exits();
	device_facts("vsock", 0);
	device_facts("disk", 1);
	device_facts("writable_disk", 2);
	ioapic_facts();
	layout_facts();
	cpuid_facts();
	return 0;
}

/* SPDX-License-Identifier: Apache-2.0 */
/* machine.c - page tables, traps, and the ways a guest ends. */
#include "tests/hostile/guest/guest.h"
#include "vmm/boot/layout.h"

enum { PRESENT = 1, WRITABLE = 2, USER = 4, LARGE = 0x80, ENTRIES = 512, GIB_MAPPED = 4 };
#define LARGE_BYTES (2ull << 20)
#define WINDOW_AT (512ull << 30)	/* second entry of the top table */

struct gate {
	uint16_t low, selector, flags, middle;
	uint32_t high, zero;
};

struct table_register {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

struct fixup {
	uint64_t fault, resume;
};

struct tss {
	uint32_t reserved;
	uint64_t rsp[3];
	uint64_t rest[8];
	uint16_t reserved2, ports_at;
	uint8_t ports[65536 / 8 + 1];
} __attribute__((packed));

extern const uint8_t trap_stubs[256][16];
extern const struct fixup __start_fixups[], __stop_fixups[];
extern const struct hostile_case __start_cases[], __stop_cases[];
extern uint8_t stack_end[];

void trap(struct frame *f);
void guest_main(uint8_t *boot_params);

uint64_t ram_end;
volatile uint32_t taken[256];
volatile uint32_t last_fault;

static uint64_t top[ENTRIES] __attribute__((aligned(4096)));
static uint64_t low[ENTRIES] __attribute__((aligned(4096)));
static uint64_t directory[GIB_MAPPED][ENTRIES] __attribute__((aligned(4096)));
static uint64_t window_top[ENTRIES] __attribute__((aligned(4096)));
static uint64_t window[ENTRIES] __attribute__((aligned(4096)));
static struct gate idt[256];
static struct tss tss;
static uint64_t gdt[8] = {
	[GDT_CODE / 8] = 0x00af9b000000ffff, [GDT_DATA / 8] = 0x00cf93000000ffff,
	[GDT_USER_DATA / 8] = 0x00cff3000000ffff, [GDT_USER_CODE / 8] = 0x00affb000000ffff,
};
static uint8_t trap_stack[16384] __attribute__((aligned(16)));

void *memset(void *to, int byte, size_t n)
{
	void *at_ = to;

	__asm__ volatile("rep stosb" : "+D"(at_), "+c"(n) : "a"(byte) : "memory");
	return to;
}

void *memcpy(void *to, const void *from, size_t n)
{
	void *at_ = to;

	__asm__ volatile("rep movsb" : "+D"(at_), "+S"(from), "+c"(n) : : "memory");
	return to;
}

/* ---- ends ---- */

static char *put_text(char *to, const char *text)
{
	while (*text != '\0')
		*to++ = *text++;
	return to;
}

static char *put_hex(char *to, uint64_t v)
{
	to = put_text(to, " 0x");
	for (int shift = 60; shift >= 0; shift -= 4)
		if (v >> shift != 0 || shift == 0)
			*to++ = "0123456789abcdef"[v >> shift & 15];
	return to;
}

/* The kernel log: { signature, start, size, text[] }, as the VMM reads it (run.c). */
static void say(const char *where, const char *what, uint64_t a, uint64_t b)
{
	volatile uint32_t *head = (volatile uint32_t *)LAYOUT_LOG;
	char *text = (char *)LAYOUT_LOG + 12, *end = put_text(text, where);

	if (*where != '\0')
		end = put_text(end, ": ");
	end = put_text(end, what);
	if (a != 0 || b != 0)
		end = put_hex(put_text(put_hex(end, a), ","), b);
	*end++ = '\n';
	head[1] = head[2] = (uint32_t)(end - text);
}

_Noreturn void triple_fault(void)
{
	static const struct table_register none;

	__asm__ volatile("lidt %0; int3" : : "m"(none));
	__builtin_unreachable();
}

_Noreturn void fail(const char *where, const char *what, uint64_t a, uint64_t b)
{
	say(where, what, a, b);
	triple_fault();
}

_Noreturn void done_by_panic(void)
{
	say("", "done", 0, 0);
	triple_fault();
}

/* ---- traps ---- */

static void end_of_interrupt(void)
{
	enum { APIC_BASE = 0x1b, X2APIC = 0x400, X2APIC_EOI = 0x80b, EOI = 0xb0 };
	uint32_t a, d;

	__asm__ volatile("rdmsr" : "=a"(a), "=d"(d) : "c"(APIC_BASE));
	if (a & X2APIC)
		__asm__ volatile("wrmsr" : : "c"(X2APIC_EOI), "a"(0), "d"(0));
	else
		mmio_write32(at(LAYOUT_LAPIC + EOI), 0);
}

void trap(struct frame *f)
{
	enum { NMI = 2, FIRST_INTERRUPT = 32 };

	if (f->vector == NMI || f->vector >= FIRST_INTERRUPT) {
		taken[f->vector]++;
		if (f->vector >= FIRST_INTERRUPT)
			end_of_interrupt();
		return;
	}
	for (const struct fixup *x = __start_fixups; x < __stop_fixups; x++) {
		if (x->fault == f->rip) {
			last_fault = (uint32_t)f->vector;
			f->rip = x->resume;
			return;
		}
	}
	fail("trap", "vector, rip", f->vector, f->rip);
}

static void traps_up(void)
{
	struct table_register gdt_at = { sizeof(gdt) - 1, (uint64_t)gdt }, idt_at = { sizeof(idt) - 1, (uint64_t)idt };
	uint64_t base = (uint64_t)&tss;

	for (unsigned i = 0; i < 256; i++) {
		uint64_t stub = (uint64_t)trap_stubs[i];

		idt[i] = (struct gate){ (uint16_t)stub, GDT_CODE, 0x8e00, (uint16_t)(stub >> 16),
					(uint32_t)(stub >> 32), 0 };
	}
	tss.rsp[0] = (uint64_t)(trap_stack + sizeof(trap_stack));
	tss.ports_at = sizeof(tss);	/* none, until user_allow_ports */
	tss.ports[65536 / 8] = 0xff;
	gdt[GDT_TSS / 8] = (sizeof(tss) - 1) | (base & 0xffffff) << 16 | 0x89ull << 40 | (base >> 24 & 0xff) << 56;
	gdt[GDT_TSS / 8 + 1] = base >> 32;
	__asm__ volatile("lgdt %0" : : "m"(gdt_at));
	__asm__ volatile("mov %0, %%ds; mov %0, %%es; mov %0, %%ss; mov %1, %%fs; mov %1, %%gs"
			 : : "r"(GDT_DATA), "r"(0));
	__asm__ volatile("ltr %w0; lidt %1" : : "r"(GDT_TSS), "m"(idt_at));
}

void user_allow_ports(void)
{
	tss.ports_at = offsetof(struct tss, ports);
}

/* ---- memory ---- */

static void paging_up(void)
{
	const uint64_t flags = PRESENT | WRITABLE | USER;

	top[0] = (uint64_t)low | flags;
	top[WINDOW_AT >> 39] = (uint64_t)window_top | flags;
	window_top[0] = (uint64_t)window | flags;
	for (uint64_t g = 0; g < GIB_MAPPED; g++) {
		low[g] = (uint64_t)directory[g] | flags;
		for (uint64_t i = 0; i < ENTRIES; i++)
			directory[g][i] = ((g << 30) + i * LARGE_BYTES) | flags | LARGE;
	}
	__asm__ volatile("mov %0, %%cr3" : : "r"(top) : "memory");
}

volatile uint8_t *map_window(uint64_t physical)
{
	volatile uint8_t *page = (volatile uint8_t *)WINDOW_AT;

	/* Two in a row, so that an access may cross their border. */
	window[0] = (physical & ~(LARGE_BYTES - 1)) | PRESENT | WRITABLE | LARGE;
	window[1] = ((physical & ~(LARGE_BYTES - 1)) + LARGE_BYTES) | PRESENT | WRITABLE | LARGE;
	window[1] &= 0x000fffffffffffffull;
	__asm__ volatile("invlpg (%0); invlpg (%1)" : : "r"(page), "r"(page + LARGE_BYTES) : "memory");
	return page + (physical & (LARGE_BYTES - 1));
}

/* The end of the RAM that begins at 1 MiB, from the e820 table of boot_params. */
static uint64_t find_ram_end(const uint8_t *boot_params)
{
	enum { COUNT_AT = 0x1e8, TABLE_AT = 0x2d0, ENTRY_BYTES = 20 };
	uint64_t start, bytes;

	for (unsigned i = 0; i < boot_params[COUNT_AT]; i++) {
		memcpy(&start, boot_params + TABLE_AT + i * ENTRY_BYTES, 8);
		memcpy(&bytes, boot_params + TABLE_AT + i * ENTRY_BYTES + 8, 8);
		if (start == LAYOUT_HIGH_START)
			return start + bytes;
	}
	return fail(WHERE, "no RAM at 1 MiB in the memory map", 0, 0), 0;
}

/* ---- which case ---- */

/* The value of "case=" on the command line is `name`. */
static bool is_chosen(const char *line, const char *name)
{
	static const char key[] = "case=";

	for (; *line != '\0'; line++) {
		const char *a = line, *b = key;

		while (*b != '\0' && *a == *b)
			a++, b++;
		if (*b != '\0')
			continue;
		for (b = name; *b != '\0' && *a == *b; b++)
			a++;
		return *b == '\0' && (*a == '\0' || *a == ' ');
	}
	return false;
}

void guest_main(uint8_t *boot_params)
{
	paging_up();
	traps_up();
	ram_end = find_ram_end(boot_params);
	for (const struct hostile_case *c = __start_cases; c < __stop_cases; c++) {
		if (is_chosen((const char *)LAYOUT_CMDLINE, c->name)) {
			c->run();
			fail(c->name, "the case returned", 0, 0);
		}
	}
	fail("main", "no such case", 0, 0);
}

/* SPDX-License-Identifier: Apache-2.0 */
/*
 * guest.h - what a hostile guest is written with.
 *
 * A case is one function, CASE(name), run alone in a VM of its own; the kernel
 * command line says which.  It must end the run itself: by an attack the VMM
 * ends it for, by done(), or by done_by_panic() where the vsock device cannot
 * be used any more.  Whatever else happens (a CHECK that fails, a trap nobody
 * expected, an attack that was survived) ends by fail(): the text goes to the
 * kernel log, which the host shows as the last words of a panic.
 *
 * One CPU, identity-mapped memory, interrupts off unless a case wants them.
 */
#ifndef HOSTILE_GUEST_H
#define HOSTILE_GUEST_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SIZE(a) (sizeof(a) / sizeof((a)[0]))

/* ---- cases ---- */

struct hostile_case {
	const char *name;
	void (*run)(void);
};
#define CASE(id)								\
	static void id(void);							\
	static const struct hostile_case case_##id				\
		__attribute__((section("cases"), used)) = { #id, id };		\
	static void id(void)

/* ---- ends ---- */

_Noreturn void fail(const char *where, const char *what, uint64_t a, uint64_t b);
_Noreturn void done(void);		/* tells the host "exited 0" */
_Noreturn void done_by_panic(void);	/* kernel log says "done", then a triple fault */
_Noreturn void triple_fault(void);

#define STRING2(x) #x
#define STRING(x) STRING2(x)
#define WHERE __FILE__ ":" STRING(__LINE__)
#define CHECK(cond) ((cond) ? (void)0 : fail(WHERE, #cond, 0, 0))
#define CHECK_EQ(a, b)								\
	do {									\
		uint64_t got_ = (uint64_t)(a), want_ = (uint64_t)(b);		\
		if (got_ != want_)						\
			fail(WHERE, #a " == " #b, got_, want_);			\
	} while (0)
/* The VMM should have ended the run before this. */
#define SURVIVED() fail(WHERE, "the attack was survived", 0, 0)

/* ---- the machine ---- */

struct frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error, rip, cs, rflags, rsp, ss;
};

enum { GDT_CODE = 0x10, GDT_DATA = 0x18, GDT_USER_DATA = 0x20, GDT_USER_CODE = 0x28, GDT_TSS = 0x30 };
enum { NO_FAULT = 0, FAULT_UD = 6, FAULT_GP = 13, FAULT_PF = 14 };

extern uint64_t ram_end;		/* first address beyond low RAM */
extern volatile uint32_t taken[256];	/* traps that interrupted us: interrupts, NMI */
extern volatile uint32_t last_fault;	/* of the last try_*: vector, or NO_FAULT */

/* A window of 2 MiB anywhere in physical memory; the pointer is valid until the next call. */
volatile uint8_t *map_window(uint64_t physical);

_Noreturn void user_enter(void (*code)(void));
void user_allow_ports(void);

static inline volatile uint8_t *at(uint64_t physical)	/* below 4 GiB */
{
	return (volatile uint8_t *)physical;
}

/*
 * try_*: one instruction that may fault.  A fault resumes behind it, with
 * last_fault set; the table "fixups" has the pairs.
 */
#define TRY(insn, ...)								\
	do {									\
		last_fault = NO_FAULT;						\
		__asm__ volatile("1:	" insn "\n2:\n"				\
				 ".pushsection fixups, \"a\"\n"			\
				 ".quad 1b, 2b\n.popsection\n" __VA_ARGS__);	\
	} while (0)

static inline uint64_t try_rdmsr(uint32_t msr)
{
	uint32_t low = 0, high = 0;

	TRY("rdmsr", : "+a"(low), "+d"(high) : "c"(msr) : "memory");
	return (uint64_t)high << 32 | low;
}

static inline void try_wrmsr(uint32_t msr, uint64_t value)
{
	TRY("wrmsr", : : "c"(msr), "a"((uint32_t)value), "d"((uint32_t)(value >> 32)) : "memory");
}

static inline void out8(uint16_t port, uint8_t v)
{
	__asm__ volatile("outb %0, %1" : : "a"(v), "Nd"(port));
}

static inline uint8_t in8(uint16_t port)
{
	uint8_t v;

	__asm__ volatile("inb %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint16_t in16(uint16_t port)
{
	uint16_t v;

	__asm__ volatile("inw %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline uint32_t in32(uint16_t port)
{
	uint32_t v;

	__asm__ volatile("inl %1, %0" : "=a"(v) : "Nd"(port));
	return v;
}

static inline void out16(uint16_t port, uint16_t v)
{
	__asm__ volatile("outw %0, %1" : : "a"(v), "Nd"(port));
}

static inline void out32(uint16_t port, uint32_t v)
{
	__asm__ volatile("outl %0, %1" : : "a"(v), "Nd"(port));
}

struct cpuid {
	uint32_t eax, ebx, ecx, edx;
};

static inline struct cpuid cpuid(uint32_t leaf, uint32_t sub)
{
	struct cpuid c;

	__asm__ volatile("cpuid" : "=a"(c.eax), "=b"(c.ebx), "=c"(c.ecx), "=d"(c.edx) : "a"(leaf), "c"(sub));
	return c;
}

/* Exactly one access of that width, whatever the compiler would like. */
static inline uint8_t mmio_read8(volatile void *p)
{
	uint8_t v;

	__asm__ volatile("movb %1, %0" : "=q"(v) : "m"(*(volatile uint8_t *)p) : "memory");
	return v;
}

static inline uint16_t mmio_read16(volatile void *p)
{
	uint16_t v;

	__asm__ volatile("movw %1, %0" : "=r"(v) : "m"(*(volatile uint16_t *)p) : "memory");
	return v;
}

static inline uint32_t mmio_read32(volatile void *p)
{
	uint32_t v;

	__asm__ volatile("movl %1, %0" : "=r"(v) : "m"(*(volatile uint32_t *)p) : "memory");
	return v;
}

static inline uint64_t mmio_read64(volatile void *p)
{
	uint64_t v;

	__asm__ volatile("movq %1, %0" : "=r"(v) : "m"(*(volatile uint64_t *)p) : "memory");
	return v;
}

static inline void mmio_write8(volatile void *p, uint8_t v)
{
	__asm__ volatile("movb %1, %0" : "=m"(*(volatile uint8_t *)p) : "q"(v) : "memory");
}

static inline void mmio_write16(volatile void *p, uint16_t v)
{
	__asm__ volatile("movw %1, %0" : "=m"(*(volatile uint16_t *)p) : "r"(v) : "memory");
}

static inline void mmio_write32(volatile void *p, uint32_t v)
{
	__asm__ volatile("movl %1, %0" : "=m"(*(volatile uint32_t *)p) : "r"(v) : "memory");
}

static inline void mmio_write64(volatile void *p, uint64_t v)
{
	__asm__ volatile("movq %1, %0" : "=m"(*(volatile uint64_t *)p) : "r"(v) : "memory");
}

void *memset(void *to, int byte, size_t n);
void *memcpy(void *to, const void *from, size_t n);

#endif

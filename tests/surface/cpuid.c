/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cpuid.c - CPUID as a program in the guest sees it: "LEAF SUBLEAF EAX EBX ECX EDX"
 * a line, for every leaf of the ranges in use and some beyond, zeroes left out.
 */
#include <cpuid.h>
#include <stdio.h>

int main(void)
{
	static const unsigned base[] = { 0, 0x40000000, 0x80000000, 0xc0000000 };
	enum { LEAVES = 0x40, SUBLEAVES = 8 };

	for (unsigned b = 0; b < sizeof(base) / sizeof(base[0]); b++) {
		for (unsigned i = 0; i < LEAVES * SUBLEAVES; i++) {
			unsigned leaf = base[b] + i / SUBLEAVES, sub = i % SUBLEAVES, eax, ebx, ecx, edx;

			__cpuid_count(leaf, sub, eax, ebx, ecx, edx);
			if (eax | ebx | ecx | edx)
				printf("%#x %u %#x %#x %#x %#x\n", leaf, sub, eax, ebx, ecx, edx);
		}
	}
	return 0;
}

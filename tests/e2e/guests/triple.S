/* A kernel that triple-faults at once: no interrupt table, then a breakpoint. */
	.globl _start
_start:
	lidt	table(%rip)
	int3
1:	hlt
	jmp	1b
	.balign	8
table:	.fill	10, 1, 0

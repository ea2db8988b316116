/* A kernel that sleeps for ever: interrupts off, halted. */
	.globl _start
_start:
	cli
1:	hlt
	jmp	1b

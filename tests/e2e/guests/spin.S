/* A kernel that never gives way: interrupts off, one jump. */
	.globl _start
_start:
	cli
1:	jmp	1b

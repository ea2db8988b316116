/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where the VMM enters: 64-bit mode, paging on, interrupts off, rsi = boot_params.
 * Then the 256 trap stubs, 16 bytes each; machine.c makes the IDT of them.
 */
	.text
	.globl	_start
_start:
	cld
	lea	stack_end(%rip), %rsp
	mov	%rsi, %rdi
	xor	%ebp, %ebp
	call	guest_main
1:	hlt
	jmp	1b

	.globl	trap_stubs
	.balign	16
trap_stubs:
	.set	vector, 0
	.rept	256
	.balign	16
	/* The CPU pushes an error code for these; for all others we do. */
	.if	!(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17 || vector == 21 || vector == 29 || vector == 30)
	pushq	$0
	.endif
	pushq	$vector
	jmp	trap_common
	.set	vector, vector + 1
	.endr

	/* struct frame of guest.h, from its end to its start */
trap_common:
	push	%rax
	push	%rcx
	push	%rdx
	push	%rbx
	push	%rbp
	push	%rsi
	push	%rdi
	push	%r8
	push	%r9
	push	%r10
	push	%r11
	push	%r12
	push	%r13
	push	%r14
	push	%r15
	cld
	mov	%rsp, %rdi
	/* The frame may lie anywhere; C wants 16 bytes. */
	mov	%rsp, %rbx
	and	$-16, %rsp
	call	trap
	mov	%rbx, %rsp
	pop	%r15
	pop	%r14
	pop	%r13
	pop	%r12
	pop	%r11
	pop	%r10
	pop	%r9
	pop	%r8
	pop	%rdi
	pop	%rsi
	pop	%rbp
	pop	%rbx
	pop	%rdx
	pop	%rcx
	pop	%rax
	add	$16, %rsp
	iretq

	/* user_enter(rip): to CPL 3 with interrupts on; never returns */
	.globl	user_enter
user_enter:
	pushq	$0x23		/* GDT_USER_DATA */
	lea	user_stack_end(%rip), %rax
	pushq	%rax
	pushq	$0x202
	pushq	$0x2b		/* GDT_USER_CODE */
	pushq	%rdi
	iretq

	.bss
	.balign	4096
	.skip	65536
stack_end:
	.skip	4096
user_stack_end:
	.section .note.GNU-stack, "", @progbits

/*
 * stubs.S - the guest's entry points for exceptions and interrupts
 *
 * 256 stubs of 16 bytes, loaded at STUBS_AT. Exceptions (but NMI) are recorded at FAULTS_AT and
 * continue at RECOVER_RIP, or go to PORT_UNEXPECTED when that is 0. Interrupts and NMI are counted
 * and ended as EOI_MODE says.
 */
#include "layout.h"

	.section .rodata
	.code64
	.global payload_stubs, payload_stubs_end
	.balign 16
payload_stubs:
	.set vector, 0
	.rept 256
	.balign 16
	.if vector < 32 && vector != 2
	.if !(vector == 8 || (vector >= 10 && vector <= 14) || vector == 17)
	push $0
	.endif
	push $vector
	jmp exception
	.else
	.byte 0x6a, vector /* push imm8, sign-extended; masked below */
	jmp interrupt
	.endif
	.set vector, vector + 1
	.endr

/* stack: rax rbx | vector, error, rip, cs, rflags, rsp, ss */
exception:
	push %rax
	push %rbx
	mov FAULT_COUNT, %rbx
	incq FAULT_COUNT
	shl $6, %rbx
	add $FAULTS_AT, %rbx
	mov 16(%rsp), %rax
	mov %rax, (%rbx)
	mov 24(%rsp), %rax
	mov %rax, 8(%rbx)
	mov 32(%rsp), %rax
	mov %rax, 16(%rbx)
	mov %cr2, %rax
	mov %rax, 24(%rbx)
	mov 48(%rsp), %rax
	mov %rax, 32(%rbx)
	mov RECOVER_RIP, %rax
	test %rax, %rax
	jz unexpected
	mov %rax, 32(%rsp)
	movq $0, RECOVER_RIP
	pop %rbx
	pop %rax
	add $16, %rsp
	iretq
unexpected:
	mov 16(%rsp), %al
	out %al, $PORT_UNEXPECTED
	hlt
	jmp unexpected

interrupt:
	push %rax
	push %rcx
	push %rdx
	movzbl 24(%rsp), %eax
	lock incl IRQ_COUNTS(,%rax,4)
	cmp $2, %eax
	je 2f
	mov EOI_MODE, %ecx
	cmp $EOI_X2APIC, %ecx
	jne 1f
	xor %eax, %eax
	xor %edx, %edx
	mov $0x80b, %ecx
	wrmsr
	jmp 2f
1:	cmp $EOI_XAPIC, %ecx
	jne 2f
	mov $0xfee000b0, %eax
	movl $0, (%rax)
2:	pop %rdx
	pop %rcx
	pop %rax
	add $8, %rsp
	iretq
payload_stubs_end:

	.section .note.GNU-stack, "", @progbits

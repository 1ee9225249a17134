/* payloads_cpu.S - exceptions, vector state, self-modifying code, atomics, loops to interrupt */
#include "payload.inc"
	.code64

PAYLOAD exceptions
	xor %r15d, %r15d
	xor %edx, %edx
	xor %ecx, %ecx
	FAULTS div %ecx
	FAULTS ud2
	mov $LINEAR_ABSENT + 0x123, %rbx
	FAULTS mov (%rbx), %al
	FAULTS movl $1, (%rbx)
	mov $LINEAR_READ_ONLY + 8, %rbx
	mov (%rbx), %eax
	mov %eax, DATA_AT
	FAULTS incl (%rbx)
	mov $LINEAR_NO_EXECUTE, %rbx
	movb $0xc3, (%rbx)
	lea 1f(%rip), %rax
	mov %rax, RECOVER_RIP
	mov %rbx, EXPECT_RIPS(,%r15,8)
	mov %rsp, %r14
	call *%rbx
1:	inc %r15
	mov %r14, %rsp
	mov $0x800000000000, %rbx
	FAULTS mov (%rbx), %al
	mov $0x1b, %ecx
	mov $0xffff, %edx
	FAULTS wrmsr
	FAULTS int3
	/* last element of a page-crossing store faults: nothing of it may be written */
	mov $LINEAR_NO_EXECUTE + 0xffd, %rbx
	movl $0, -1(%rbx)
	FAULTS movl $-1, (%rbx)
	mov -1(%rbx), %eax
	mov %eax, DATA_AT + 4
	mov $LINEAR_ABSENT - 6, %rdi
	mov $10, %ecx
	FAULTS rep stosb
	mov %ecx, DATA_AT + 8
	DONE
END exceptions

PAYLOAD triple_fault
	push $0
	push $0
	lidt (%rsp)
	ud2
END triple_fault

/* x87 and XMM registers across exits. */
PAYLOAD vectors
	finit
	fldpi
	fld1
	mov $DATA_AT, %ebx
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movdqu \n*16(%rbx), %xmm\n
	.endr
	mov $0x1f00, %eax
	push %rax
	ldmxcsr (%rsp)
	mov $20, %ecx
1:	out %al, $0x80
	in $0x81, %al
	dec %ecx
	jnz 1b
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	movdqu %xmm\n, \n*16+0x400(%rbx)
	.endr
	stmxcsr 0x800(%rbx)
	fstpl 0x808(%rbx)
	fstpl 0x810(%rbx)
	DONE
END vectors

PAYLOAD xsetbv
	xor %r15d, %r15d
	mov %cr4, %rax
	or $0x40000, %rax
	mov %rax, %cr4
	xor %ecx, %ecx
	xgetbv
	REPORT
	xor %edx, %edx
	mov $7, %eax
	xsetbv
	REPORT
	xgetbv
	REPORT
	xor %edx, %edx
	mov $6, %eax	/* without x87: impossible */
	FAULTS xsetbv
	DONE
END xsetbv

/* CR4 and XCR0 allow AVX from the start. */
PAYLOAD avx
	mov $DATA_AT, %ebx
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	vmovdqu \n*32(%rbx), %ymm\n
	.endr
	mov $20, %ecx
1:	out %al, $0x80
	in $0x81, %al
	dec %ecx
	jnz 1b
	.irp n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
	vmovdqu %ymm\n, \n*32+0x400(%rbx)
	.endr
	DONE
END avx

PAYLOAD self_modifying
	mov $1, %ebp
1:	mov %ebp, 3f+1(%rip)	/* the instruction right ahead */
	jmp 2f
2:
3:	mov $0, %eax
	REPORT
	lea 5f(%rip), %rbx
	imul $0x01010101, %ebp, %eax
	mov %eax, 1(%rbx)	/* one that is called */
	call *%rbx
	REPORT
	inc %ebp
	cmp $6, %ebp
	jb 1b
	/* the same bytes replaced by a string instruction: inc eax becomes dec eax */
	mov $10, %eax
	lea 6f(%rip), %rdi
	lea 7f(%rip), %rsi
	call *%rdi
	mov $3, %ecx
	mov %rdi, %rbx
	rep movsb
	call *%rbx
	call *%rbx
	REPORT
	DONE
5:	mov $0, %eax
	ret
6:	inc %eax
	ret
7:	dec %eax
	ret
END self_modifying

PAYLOAD rewritten
1:	mov $1, %eax		/* the host changes the immediate, a byte after the start */
	REPORT
	jmp 1b
END rewritten

/* Reads a page until the value there is 2 */
PAYLOAD watch_page
	mov $LINEAR_SPLIT, %rbx
1:	mov (%rbx), %eax
	mov %eax, DATA_AT
	cmp $2, %eax
	jne 1b
	DONE
END watch_page

PAYLOAD locked
	mov $100000, %ecx
1:	lock incl DATA_AT
	mov $1, %eax
	lock xadd %eax, DATA_AT + 64
	mov DATA_AT + 128, %eax
2:	lea 1(%rax), %edx
	lock cmpxchg %edx, DATA_AT + 128
	jnz 2b
	dec %ecx
	jnz 1b
	DONE
END locked

PAYLOAD spin
1:	incq DATA_AT
	jmp 1b
END spin

PAYLOAD spin_chained
1:	jmp 2f
2:	jmp 1b
END spin_chained

PAYLOAD halt
	X2APIC_ON
1:	sti
	hlt
	jmp 1b
END halt

/* A long computation in general and vector registers, for a save in its middle. */
PAYLOAD compute
	mov $0x9e3779b97f4a7c15, %r8
	mov $1, %eax
	mov $2, %ebx
	mov $3, %edx
	mov $4, %esi
	mov $5, %edi
	mov $6, %ebp
	mov $7, %r9d
	mov $8, %r10d
	mov $9, %r11d
	mov $10, %r12d
	mov $11, %r13d
	mov $12, %r14d
	mov $13, %r15d
	movq %r8, %xmm0
	pshufd $0x1b, %xmm0, %xmm7
	movdqa %xmm7, %xmm15
	WRITE_MSR 0xc0000102, 0x1234, 0x5678 /* KERNEL_GS_BASE */
	WRITE_MSR 0xc0000100, 0x9abc, 0 /* FS base */
	mov $3, %edx
	mov $DATA_AT, %ecx
	movl $0, DATA_AT
1:	incl DATA_AT
	add %r8, %rax
	adc %rax, %rbx
	rol $13, %rbx
	xor %rbx, %rdx
	imul %r8, %rdx
	add %rdx, %rsi
	sbb %rsi, %rdi
	xor %rdi, %rbp
	add %rbp, %r9
	ror $7, %r9
	add %r9, %r10
	adc %r10, %r11
	xor %r11, %r12
	add %r12, %r13
	sub %r13, %r14
	xor %r14, %r15
	paddq %xmm7, %xmm0
	pxor %xmm0, %xmm15
	paddd %xmm15, %xmm7
	mov DATA_AT, %ecx
	cmp DATA_AT + 8, %ecx	/* the host sets the end once it has cancelled a run */
	jne 1b
	add %r15, %rax
	xor %rax, %r9
	xor %r10, %r9
	xor %r13, %r9
	movq %xmm15, %r10
	add %r10, %r9
	pushf
	pop %r10
	and $0x8d5, %r10
	add %r10, %r9
	mov $0xc0000102, %ecx
	rdmsr
	add %rdx, %r9
	rol $5, %r9
	add %rax, %r9
	mov $0xc0000100, %ecx
	rdmsr
	add %rax, %r9
	mov %r9, %rax
	REPORT
	shr $32, %rax
	REPORT
	DONE
END compute

/* Reads one place for ever: counts what it saw, 1 from RAM, 2 from nowhere. */
PAYLOAD watch
	mov $EXTRA_AT, %ebx
1:	mov (%rbx), %eax
	cmp $2, %eax
	ja 2f
	lock incl DATA_AT(,%rax,4)
	cmpl $0, DATA_AT + 0x100
	je 1b
2:	DONE
END watch

	.section .note.GNU-stack, "", @progbits

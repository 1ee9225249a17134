/* payloads_io.S - port I/O, memory-mapped I/O, MSRs, hypercalls, CPUID, doorbells, dirty log */
#include "payload.inc"
	.code64

PAYLOAD pio
	mov $0x11, %al
	out %al, $0x80
	mov $0x2233, %ax
	out %ax, $0x80
	mov $0x44556677, %eax
	out %eax, $0x80
	mov $0x1234, %dx
	mov $0x88, %al
	out %al, %dx
	mov $-1, %rax
	in $0x81, %al
	mov %rax, DATA_AT
	mov $-1, %rax
	in $0x81, %ax
	mov %rax, DATA_AT + 8
	mov $-1, %rax
	in $0x81, %eax
	mov %rax, DATA_AT + 16
	mov $-1, %rax
	mov $0xfffe, %dx
	in %dx, %ax
	mov %rax, DATA_AT + 24
	DONE
END pio

PAYLOAD string_out
	mov $DATA_AT, %esi
	mov $300, %ecx
	mov $0x3f8, %dx
	rep outsb
	mov %ecx, DATA_AT + 0x1000
	sub $DATA_AT, %esi
	mov %esi, DATA_AT + 0x1004
	mov $DATA_AT + 8, %esi
	std
	mov $3, %ecx
	rep outsl
	cld
	sub $DATA_AT, %esi
	mov %esi, DATA_AT + 0x1008
	xor %ecx, %ecx
	rep outsw
	mov $DATA_AT + 2, %esi
	outsw
	DONE
END string_out

PAYLOAD string_in
	mov $DATA_AT + 0xffd, %edi /* crosses a page */
	mov $5, %ecx
	mov $0x3f8, %dx
	rep insw
	mov %ecx, DATA_AT + 0x10
	sub $DATA_AT, %edi
	mov %edi, DATA_AT + 0x14
	mov $DATA_AT, %edi
	insl
	DONE
END string_in

PAYLOAD mmio
	mov $MMIO_AT, %ebx
	mov $0x1122334455667788, %rax
	mov %al, 0x10(%rbx)
	mov %ax, 0x20(%rbx)
	mov %eax, 0x30(%rbx)
	mov %rax, 0x40(%rbx)
	movl $0x5a5a5a5a, 0x50(%rbx)
	mov $-1, %rax
	mov 0x18(%rbx), %al
	mov %rax, DATA_AT
	mov $-1, %rax
	mov 0x28(%rbx), %ax
	mov %rax, DATA_AT + 8
	mov $-1, %rax
	mov 0x38(%rbx), %eax
	mov %rax, DATA_AT + 16
	mov 0x48(%rbx), %rax
	mov %rax, DATA_AT + 24
	movzbl 0x58(%rbx), %eax
	mov %rax, DATA_AT + 32
	movsbq 0x59(%rbx), %rax
	mov %rax, DATA_AT + 40
	DONE
END mmio

PAYLOAD mmio_rmw
	mov $MMIO_AT, %ebx
	addl $5, (%rbx)
	orb $0x80, 4(%rbx)
	mov $0x1234, %eax
	xchg %eax, 8(%rbx)
	mov %eax, DATA_AT
	cmpl $7, 12(%rbx)
	setz DATA_AT + 4
	incw 16(%rbx)
	DONE
END mmio_rmw

PAYLOAD mmio_string
	mov $DATA_AT, %esi
	mov $MMIO_AT, %edi
	mov $3, %ecx
	rep movsl
	mov $MMIO_AT + 0x100, %esi
	mov $DATA_AT + 0x100, %edi
	mov $2, %ecx
	rep movsq
	mov $MMIO_AT + 0x200, %edi
	mov $0x77, %al
	mov $2, %ecx
	rep stosb
	DONE
END mmio_string

PAYLOAD mmio_vector
	mov $MMIO_AT, %ebx
	movdqu DATA_AT, %xmm0
	movdqu %xmm0, (%rbx)
	movdqu 0x20(%rbx), %xmm1
	movdqu %xmm1, DATA_AT + 0x10
	DONE
END mmio_vector

/* An access across two pages that are apart in memory, and across RAM and nothing. */
PAYLOAD split
	mov $LINEAR_SPLIT, %rbx
	mov $0x1122334455667788, %rax
	mov %rax, 0xffd(%rbx)
	mov 0xffd(%rbx), %rcx
	mov %rcx, DATA_AT
	addl $1, 0xffe(%rbx)
	mov 0xffe(%rbx), %ecx
	mov %rcx, DATA_AT + 8
	mov %rax, 0x1ffc(%rbx)
	mov 0x1ffc(%rbx), %rcx
	mov %rcx, DATA_AT + 16
	DONE
END split

PAYLOAD rom
	mov $EXTRA_AT, %ebx
	mov 8(%rbx), %eax
	REPORT
	movl $0x12345678, 8(%rbx)
	mov 8(%rbx), %eax
	REPORT
	DONE
END rom

PAYLOAD msr
	xor %r15d, %r15d
	mov $0x40000020, %ecx
	mov $-1, %rax
	mov $-1, %rdx
	rdmsr
	mov %rax, DATA_AT
	mov %rdx, DATA_AT + 8
	WRITE_MSR 0x40000000, 0x89abcdef, 0x01234567
	mov $0x40000001, %ecx
	FAULTS rdmsr
	mov $0x40000002, %ecx
	xor %edx, %edx
	FAULTS wrmsr
	DONE
END msr

PAYLOAD msr_unknown
	xor %r15d, %r15d
	mov $0x12345678, %ecx
	rdmsr
	REPORT
	WRITE_MSR 0x12345679, 0x11, 0x22
	mov $0x1234567a, %ecx
	FAULTS rdmsr
	DONE
END msr_unknown

PAYLOAD msr_engine
	WRITE_MSR 0xc0000082, 0x55667788, 0xffff8122
	mov $0xc0000082, %ecx
	rdmsr
	REPORT
	mov %edx, %eax
	REPORT
	DONE
END msr_engine

PAYLOAD hypercall
	mov $0x1111111122222222, %rcx
	mov $0x3333333344444444, %rdx
	mov $0x5555555566666666, %r8
	mov $0x7777, %rax
	mov $HYPERCALL_AT, %ebx
	call *%rbx
	mov %rax, DATA_AT
	mov %rcx, DATA_AT + 8
	mov %rdx, DATA_AT + 16
	mov %r8, DATA_AT + 24
	DONE
END hypercall

/* HvCallSignalEvent, fast: connection 7 (bound), 8 (not bound), 7 with a flag number */
PAYLOAD signal_event
	mov $HYPERCALL_AT, %ebx
	mov $0x1005d, %ecx
	mov $7, %edx
	mov $0x7777, %rax
	call *%rbx
	mov %rax, DATA_AT
	mov %rdx, DATA_AT + 8
	mov $8, %edx
	call *%rbx
	mov $0x100000007, %rdx
	call *%rbx
	mov %rcx, DATA_AT + 16
	mov %rsp, DATA_AT + 24
	DONE
END signal_event

PAYLOAD cpuid
	mov $0x40000000, %eax
	xor %ecx, %ecx
	cpuid
	REPORT
	REPORT_VALUE %ebx
	REPORT_VALUE %ecx
	REPORT_VALUE %edx
	mov $1, %eax
	cpuid
	shr $24, %ebx
	REPORT_VALUE %ebx
	shr $27, %ecx
	and $1, %ecx
	REPORT_VALUE %ecx
	mov %cr4, %rax
	or $0x40000, %rax
	mov %rax, %cr4
	mov $1, %eax
	cpuid
	shr $27, %ecx
	and $1, %ecx
	REPORT_VALUE %ecx
	mov $0x40000777, %eax
	cpuid
	or %ebx, %eax
	or %ecx, %eax
	or %edx, %eax
	REPORT
	DONE
END cpuid

PAYLOAD doorbell
	mov $0x700, %dx
	mov $0x1234, %ax
	out %ax, %dx
	mov $0x1235, %ax
	out %ax, %dx
	mov $MMIO_AT, %ebx
	movl $0xcafe, 0x10(%rbx)
	movl $0xcaff, 0x10(%rbx)
	movb $1, 0x20(%rbx)
	movl $2, 0x20(%rbx)
	mov $0x1234, %ax
	mov $0x700, %dx
	out %ax, %dx
	in %dx, %ax
	DONE
END doorbell

PAYLOAD dirty
1:	in $0x81, %al
	test %al, %al
	jz 2f
	mov $EXTRA_AT, %ebx
	movb $1, (%rbx)
	movl $1, 0x5ffe(%rbx) /* pages 5 and 6 */
	movq $1, 0x64000(%rbx)
	mov 0x20000(%rbx), %rax
	jmp 1b
2:	DONE
END dirty

	.section .note.GNU-stack, "", @progbits

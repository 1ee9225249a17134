/* payloads_apic.S - interrupts: local APIC, IPIs, start of a second VP, timer, ExtINT, NMI */
#include "payload.inc"
	.code64

/* Waits for one interrupt with HLT, reports how often each of 0x40..0x43 came. */
	.macro REPORT_COUNTS
	.irp vector, 0x40, 0x41, 0x42, 0x43
	REPORT_VALUE IRQ_COUNTS + 4*\vector
	.endr
	.endm

PAYLOAD halt_once
	X2APIC_ON
	out %al, $0x80
	sti
	hlt
	cli
	REPORT_COUNTS
	DONE
END halt_once

PAYLOAD x2apic_self
	X2APIC_ON
	sti
	WRITE_MSR 0x83f, 0x40	/* self-IPI: pending before the next instruction */
	nop
	WRITE_MSR 0x830, 0x40041	/* ICR, self shorthand */
	nop
	cli
	WRITE_MSR 0x83f, 0x42
	REPORT_VALUE IRQ_COUNTS + 4*0x42
	sti
	nop
	cli
	REPORT_COUNTS
	mov $0x802, %ecx
	rdmsr
	REPORT
	/* TPR holds off 0x43 */
	WRITE_MSR 0x808, 0x40
	sti
	WRITE_MSR 0x83f, 0x43
	nop
	REPORT_VALUE IRQ_COUNTS + 4*0x43
	xor %eax, %eax
	mov %rax, %cr8
	nop
	REPORT_VALUE IRQ_COUNTS + 4*0x43
	DONE
END x2apic_self

PAYLOAD xapic_self
	movl $EOI_XAPIC, EOI_MODE
	mov $0xfee00000, %ebx
	movl $0x1ff, 0xf0(%rbx)
	movl $0, 0x80(%rbx)
	sti
	movl $0x40040, 0x300(%rbx)
1:	cmpl $0, IRQ_COUNTS + 4*0x40
	je 1b
	cli
	REPORT_COUNTS
	mov 0x20(%rbx), %eax
	REPORT
	mov 0x30(%rbx), %eax
	and $0xff, %eax
	REPORT
	DONE
END xapic_self

/* VP 0 of the IPI case: waits until VP 1 is ready, then a fixed and a broadcast IPI. */
PAYLOAD ipi_send
	X2APIC_ON
1:	pause
	cmpl $1, DATA_AT
	jne 1b
	WRITE_MSR 0x830, 0x4040, 1
1:	pause
	cmpl $2, DATA_AT
	jne 1b
	WRITE_MSR 0x830, 0xc4041	/* all but self */
	DONE
END ipi_send

PAYLOAD ipi_receive
	X2APIC_ON
	movl $1, DATA_AT
1:	cli
	cmpl $0, IRQ_COUNTS + 4*0x40
	jne 2f
	sti
	hlt
	jmp 1b
2:	sti
	movl $2, DATA_AT
3:	cmpl $0, IRQ_COUNTS + 4*0x41
	jne 4f
	pause
	jmp 3b
4:	cli
	REPORT_COUNTS
	DONE
END ipi_receive

PAYLOAD init_sipi
	X2APIC_ON
	WRITE_MSR 0x830, 0x4500, 1
	mov $0x4600 + SIPI_VECTOR, %eax
	mov $1, %edx
	wrmsr
	wrmsr
	DONE
END init_sipi

/* RAX: the TSC. */
	.macro READ_TSC
	rdtsc
	shl $32, %rdx
	or %rdx, %rax
	.endm

/* Arms the timer in TSC-deadline mode, so many ticks ahead; R8: the deadline. */
	.macro SET_DEADLINE ticks
	WRITE_MSR 0x832, 0x40040
	READ_TSC
	add $\ticks, %rax
	mov %rax, %r8
	mov %rax, %rdx
	shr $32, %rdx
	mov $0x6e0, %ecx
	wrmsr
	.endm

/* Reports 1 when the deadline has passed, else 0. */
	.macro REPORT_LATE
	READ_TSC
	xor %ebx, %ebx
	cmp %r8, %rax
	setae %bl
	REPORT_VALUE %ebx
	.endm

/* Arms the timer in TSC-deadline mode and waits for it. */
PAYLOAD tsc_deadline
	X2APIC_ON
	SET_DEADLINE 500000000	/* long enough to read it back, mostly */
	rdmsr
	shl $32, %rdx
	or %rdx, %rax
	xor %ebx, %ebx
	cmp %rax, %r8
	sete %bl
	test %rax, %rax
	jnz 1f
	rdtsc			/* 0 is right if it has passed meanwhile */
	shl $32, %rdx
	or %rdx, %rax
	cmp %r8, %rax
	setae %bl
1:	REPORT_VALUE %ebx	/* reads back while armed */
	sti
	hlt
	cli
	REPORT_LATE		/* not early */
	mov $0x6e0, %ecx
	rdmsr
	or %edx, %eax
	REPORT			/* 0: disarmed */
	REPORT_COUNTS
	DONE
END tsc_deadline

PAYLOAD periodic
	X2APIC_ON
	WRITE_MSR 0x83e, 0xb	/* divide by 1 */
	WRITE_MSR 0x832, 0x20040	/* periodic */
	WRITE_MSR 0x838, 1000000
1:	sti
	hlt
	cli
	cmpl $3, IRQ_COUNTS + 4*0x40
	jb 1b
	WRITE_MSR 0x838, 0
	DONE
END periodic

/* Reports the TSC, high half first. */
	.macro REPORT_TSC
	rdtsc
	xchg %eax, %edx
	REPORT
	REPORT_VALUE %edx
	.endm

PAYLOAD report_tsc
1:	REPORT_TSC
	jmp 1b
END report_tsc

/* Arms a TSC deadline, exits, reports the TSC, and waits for the deadline: not early, and once. */
PAYLOAD stopped_deadline
	X2APIC_ON
	SET_DEADLINE STOPPED_DEADLINE_TSC
	out %al, $0x80
	REPORT_TSC
	sti
	hlt
	cli
	REPORT_LATE
	REPORT_COUNTS
	DONE
END stopped_deadline

/* The same with a count: one-shot, divided by 1. */
PAYLOAD stopped_count
	X2APIC_ON
	WRITE_MSR 0x83e, 0xb
	WRITE_MSR 0x832, 0x40
	WRITE_MSR 0x838, STOPPED_COUNT
	out %al, $0x80
	sti
	hlt
	cli
	REPORT_COUNTS
	DONE
END stopped_count

PAYLOAD extint
	X2APIC_ON
	WRITE_MSR 0x835, 0x700
	REPORT_VALUE IRQ_COUNTS + 4*0x40
	mov $1000, %ecx
1:	dec %ecx
	jnz 1b
	REPORT_VALUE IRQ_COUNTS + 4*0x40
	movl $EOI_NONE, EOI_MODE
	sti
	nop
	nop
	cli
	REPORT_VALUE IRQ_COUNTS + 4*0x40
	DONE
END extint

PAYLOAD extint_halted
	X2APIC_ON
	WRITE_MSR 0x835, 0x700
	movl $EOI_NONE, EOI_MODE
	out %al, $0x80
	sti
	hlt
	cli
	REPORT_VALUE IRQ_COUNTS + 4*0x40
	DONE
END extint_halted

PAYLOAD nmi
	out %al, $0x80
	cli
	hlt
	REPORT_VALUE IRQ_COUNTS + 4*2
	DONE
END nmi

PAYLOAD level
	X2APIC_ON
	out %al, $0x80
	sti
	hlt
	cli
	out %al, $0x80
	sti
	hlt
	cli
	REPORT_COUNTS
	DONE
END level

	.section .note.GNU-stack, "", @progbits

/* payloads_real.S - code that a SIPI starts at SIPI_AT, in real mode */
#include "payload.inc"

	.code16
PAYLOAD real
	mov %cs, %ax
	mov %ax, %ds
	movzwl %ax, %eax
	out %eax, $PORT_REPORT
	movl %cs:(1f - payload_real), %eax
	out %eax, $PORT_REPORT
	mov $2, %cx
	xor %ax, %ax
2:	add $0x8001, %ax
	loop 2b
	setc %bl
	movzwl %ax, %eax
	out %eax, $PORT_REPORT
	mov $0, %al
	out %al, $PORT_DONE
	hlt
1:	.long 0x600d600d
END real

/* Real mode, protected mode, long mode, as an operating system starts a processor. */
	.code16
PAYLOAD to_long
	cli
	lgdtl %cs:(to_long_gdtr - payload_to_long)
	mov %cr0, %eax
	or $1, %eax
	mov %eax, %cr0
	ljmpl $SEL_CODE32, $(SIPI_AT + to_long_32 - payload_to_long)
to_long_gdtr:
	.word 0x3f
	.long GDT_AT
	.code32
to_long_32:
	mov $SEL_DATA, %ax
	mov %ax, %ds
	mov %ax, %es
	mov %ax, %ss
	mov $STACK_TOP - STACK_BYTES, %esp
	mov $0x32323232, %eax
	push %eax
	pop %eax
	out %eax, $PORT_REPORT
	mov %cr4, %eax
	or $0x620, %eax
	mov %eax, %cr4
	mov $PML4_AT, %eax
	mov %eax, %cr3
	mov $0xc0000080, %ecx
	rdmsr
	or $0x900, %eax
	wrmsr
	mov %cr0, %eax
	or $0x80000000, %eax
	mov %eax, %cr0
	ljmp $SEL_CODE64, $(SIPI_AT + to_long_64 - payload_to_long)
	.code64
to_long_64:
	mov $0x6464646432323232, %rax
	shr $32, %rax
	REPORT
	mov $0xc0000080, %ecx
	rdmsr
	REPORT
	DONE
END to_long

	.section .note.GNU-stack, "", @progbits

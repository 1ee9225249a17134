# unmapped_stack - pushes where nothing is mapped, with a page-fault handler that needs that stack
	.include "payload.inc"
	.text
main:
	map_low
	movl	$handler, %eax
	movw	%ax, idt + 14 * 8
	shr	$16, %eax
	movw	%ax, idt + 14 * 8 + 6
	mov	%cs, %ax
	movw	%ax, idt + 14 * 8 + 2
	lidt	table
	say	"about to push"
	mov	$0x40000000, %esp
	push	%eax
	finish	1
handler:
	finish	2
	.data
	.align	8
idt:	.skip	14 * 8
	.word	0, 0, 0x8e00, 0
	.skip	17 * 8
table:	.word	32 * 8 - 1
	.long	idt

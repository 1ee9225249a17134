# page_tables - writes over its own page tables, then empties the TLB and goes on
	.include "payload.inc"
	.text
main:
	map_low
	say	"about to overwrite"
	lidt	nothing
	mov	$page_directory, %edi
	mov	$0x5aa55aa4, %eax	# no entry is present any more
	mov	$1024, %ecx
	rep stosl
	mov	%cr3, %eax
	mov	%eax, %cr3
	mov	stack, %eax
	finish	1
	.section .rodata
nothing: .word	0
	.long	0

# jump_unmapped - jumps to an address that its page tables do not map, CR2 = 12345678
	.include "payload.inc"
	.text
main:
	map_low
	say	"about to jump"
	lidt	nothing
	mov	$0x12345678, %eax
	jmp	*%eax
	.section .rodata
nothing: .word	0
	.long	0

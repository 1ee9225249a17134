# jump_nowhere - fetches code from an address where there is no memory
	.include "payload.inc"
	.text
main:
	say	"about to jump"
	lidt	nothing
	mov	$0xd0000000, %eax
	jmp	*%eax
	.section .rodata
nothing: .word	0
	.long	0

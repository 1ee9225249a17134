# triple_fault - an exception with no interrupt table to take it
	.include "payload.inc"
	.text
main:
	say	"about to fault"
	lidt	nothing
	ud2
	.section .rodata
nothing: .word	0
	.long	0

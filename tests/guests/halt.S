# halt - HLT with interrupts off: nothing inside can wake it
	.include "payload.inc"
	.text
main:
	say	"halting"
	cli
1:	hlt
	jmp	1b

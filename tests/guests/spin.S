# spin - a loop with interrupts off: only the host can end it
	.include "payload.inc"
	.text
main:
	say	"spinning"
	cli
	jmp	.

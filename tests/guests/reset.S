# reset - asks for a reset through port CF9
	.include "payload.inc"
	.text
main:
	say	"resetting"
	mov	$0xcf9, %edx
	mov	$6, %al
	out	%al, %dx
	jmp	.

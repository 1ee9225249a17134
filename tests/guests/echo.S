# echo - sends back what the serial port receives, in upper case, until a 'q'
	.include "payload.inc"
	.text
main:
	say	"ready"
1:	mov	$SERIAL + 5, %edx
	in	%dx, %al
	test	$1, %al
	jz	1b
	mov	$SERIAL, %edx
	in	%dx, %al
	cmp	$'q', %al
	je	2f
	cmp	$'a', %al
	jb	3f
	sub	$0x20, %al
3:	call	putc
	jmp	1b
2:	say	""
	finish	3

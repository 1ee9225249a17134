# hello - reports what the loader handed over, then leaves through the debug exit
	.include "payload.inc"
	.text
main:
	mov	%eax, magic
	say	"hello from a multiboot kernel"
	mov	$label_magic, %esi
	mov	magic, %eax
	call	value
	mov	$label_upper, %esi
	mov	8(%ebx), %eax		# mem_upper, KiB above 1 MiB
	call	value
	mov	$label_modules, %esi
	mov	20(%ebx), %eax		# mods_count
	call	value
	mov	$label_command, %esi
	call	puts
	mov	16(%ebx), %esi		# cmdline
	call	puts
	say	""
	cmpl	$0, 20(%ebx)
	je	1f
	mov	24(%ebx), %edi		# mods_addr: start, end, string, 0
	mov	(%edi), %esi
	mov	4(%edi), %ecx
	sub	%esi, %ecx
2:	lodsb
	call	putc
	loop	2b
1:	finish	0x10

# value - the label at ESI, EAX in hexadecimal, a newline
value:
	push	%eax
	call	puts
	pop	%eax
	call	puthex
	say	""
	ret

	.section .rodata
label_magic:	.asciz	"magic="
label_upper:	.asciz	"mem_upper_kib="
label_modules:	.asciz	"modules="
label_command:	.asciz	"command="
	.bss
magic:	.skip	4

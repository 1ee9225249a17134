/*
 * self_modifying_test.c - guest code that writes code: what was written is what runs
 *
 * Each payload runs in 64-bit mode at CPL 0, from GUEST_CODE on, and ends by OUT with its result in
 * EAX. Processors promise that a change is seen after a jump; the engine, as they do in practice,
 * shows it at the next instruction.
 */
#include <pthread.h>
#include <stdarg.h>
#include <stdbool.h>
#include <setjmp.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>
#include <cmocka.h>

#include "guest.h"

#define HANG_SECONDS 120
#define MAX_BLOCKS   10000 /* no row changes code so often; an engine that did it for data would */

#define PAYLOAD(name, text)                                                                        \
	extern const uint8_t name##_start[], name##_end[];                                         \
	__asm__(".pushsection .rodata\n.balign 4096\n.global " #name "_start, " #name              \
		"_end\n" #name "_start:\n" text "\n\tout %eax, $0x80\n\thlt\n" #name               \
		"_end:\n.popsection\n")

/* The immediate of the very next instruction. */
PAYLOAD(next_instruction, "	movb $7, 1f+1(%rip)\n"
			  "1:	movl $1, %eax\n");

/* The same by a store that crosses pages: opcode and immediate are on different pages. */
PAYLOAD(crossing_store, "	movl $0, %ecx\n"
			"	jmp 1f\n"
			"	.org crossing_store_start + 4096 - 2\n"
			"1:	movl $1, %eax\n" /* b8 01 | 00 00 00 */
			"	testl %ecx, %ecx\n"
			"	jnz 2f\n"
			"	incl %ecx\n"
			"	movl $0x040302, 1b+1(%rip)\n"
			"	jmp 1b\n"
			"2:\n");

/* A function of this page, run before and after the change. */
PAYLOAD(same_page, "	call 1f\n"
		   "	movl %eax, %ebx\n"
		   "	movb $2, 1f+1(%rip)\n"
		   "	call 1f\n"
		   "	shll $8, %ebx\n"
		   "	orl %ebx, %eax\n"
		   "	jmp 2f\n"
		   "1:	movl $1, %eax\n"
		   "	ret\n"
		   "2:\n");

/* A function of another page. */
PAYLOAD(other_page, "	call 1f\n"
		    "	movl %eax, %ebx\n"
		    "	movb $2, 1f+1(%rip)\n"
		    "	call 1f\n"
		    "	shll $8, %ebx\n"
		    "	orl %ebx, %eax\n"
		    "	jmp 2f\n"
		    "	.org other_page_start + 8192 + 100\n"
		    "1:	movl $1, %eax\n"
		    "	ret\n"
		    "	.org other_page_start + 12288\n"
		    "2:\n");

/* A new immediate in each of 2000 rounds; the sum of 1..2000. */
PAYLOAD(every_round, "	movl $2000, %ecx\n"
		     "	xorl %edx, %edx\n"
		     "0:	movl %ecx, 1f+1(%rip)\n"
		     "1:	movl $0, %eax\n"
		     "	addl %eax, %edx\n"
		     "	decl %ecx\n"
		     "	jnz 0b\n"
		     "	movl %edx, %eax\n");

/* A new operation in each round: INC and DEC in turn, 1001 rounds. */
PAYLOAD(other_opcode, "	movl $1001, %ecx\n"
		      "	xorl %eax, %eax\n"
		      "0:	incl %eax\n" /* ff c0, ff c8 */
		      "	xorb $8, 0b+1(%rip)\n"
		      "	decl %ecx\n"
		      "	jnz 0b\n");

/* An instruction that doubles its own immediate: 1, 2, 4, 8, 16. */
PAYLOAD(own_bytes, "	movl $4, %ecx\n"
		   "0:	addb $1, 1f-1(%rip)\n" /* the immediate is the last byte */
		   "1:	loop 0b\n"
		   "	movzbl 1b-1(%rip), %eax\n");

/* Counters in the page of the loop, even between its instructions. */
PAYLOAD(counters_beside, "	movl $200000, %ecx\n"
			 "0:	incl 2f(%rip)\n"
			 "	decl %ecx\n"
			 "	jnz 0b\n"
			 "	movl 2f(%rip), %eax\n"
			 "	jmp 3f\n"
			 "	.balign 64\n"
			 "2:	.long 0\n"
			 "3:\n");
PAYLOAD(counters_between, "	movl $20000, %ecx\n"
			  "0:	jmp 1f\n"
			  "2:	.long 0\n"
			  "1:	incl 2b(%rip)\n"
			  "	decl %ecx\n"
			  "	jnz 0b\n"
			  "	movl 2b(%rip), %eax\n");

/* An instruction across two pages, changed in the second one. */
PAYLOAD(crossing_instruction, "	movl $500, %ecx\n"
			      "	xorl %edx, %edx\n"
			      "	jmp 1f\n"
			      "	.org crossing_instruction_start + 4096 - 2\n"
			      "1:	movl $0, %eax\n"
			      "	addl %eax, %edx\n"
			      "	movb %cl, 1b+3(%rip)\n"
			      "	decl %ecx\n"
			      "	jnz 1b\n"
			      "	movl %edx, %eax\n");

/* String instructions over code that has run, and over what follows them in their own block. */
PAYLOAD(string_over_code, "	call 1f\n"
			  "	leaq 2f(%rip), %rsi\n"
			  "	leaq 1f(%rip), %rdi\n"
			  "	movl $6, %ecx\n"
			  "	rep movsb\n"
			  "	call 1f\n"
			  "	jmp 3f\n"
			  "1:	movl $1, %eax\n"
			  "	ret\n"
			  "2:	movl $9, %eax\n"
			  "	ret\n"
			  "3:\n");
PAYLOAD(string_ahead, "	movb $0x90, %al\n"
		      "	leaq 1f(%rip), %rdi\n"
		      "	movl $4, %ecx\n"
		      "	rep stosb\n"
		      "1:	ud2\n"
		      "	ud2\n"
		      "	movl $5, %eax\n");

/* The stack in the page of the code: pushes, calls. */
PAYLOAD(stack_beside, "	leaq 2f(%rip), %rsp\n"
		      "	movl $1000, %ecx\n"
		      "	xorl %eax, %eax\n"
		      "0:	pushq %rcx\n"
		      "	call 1f\n"
		      "	popq %rdx\n"
		      "	loop 0b\n"
		      "	jmp 3f\n"
		      "1:	incl %eax\n"
		      "	ret\n"
		      "	.balign 8\n"
		      "	.skip 64\n"
		      "2:	.quad 0\n"
		      "3:\n");
/* PUSH writes the immediate of the next instruction. */
PAYLOAD(push_ahead, "	leaq 1f+9(%rip), %rsp\n"
		    "	movq 1f+1(%rip), %rbx\n"
		    "	movb $0x44, %bl\n"
		    "	pushq %rbx\n"
		    "1:	movl $1, %eax\n"
		    "	nopl 0(%rax)\n");

/* Wide and locked stores. */
PAYLOAD(vector_store, "	movups 2f(%rip), %xmm0\n"
		      "	movups %xmm0, 1f(%rip)\n"
		      "1:	.fill 8, 2, 0x0b0f\n" /* ud2 */
		      "	jmp 3f\n"
		      "2:	movl $0x33, %eax\n"
		      "	.fill 11, 1, 0x90\n"
		      "3:\n");
PAYLOAD(locked_store, "	lock incb 1f+1(%rip)\n"
		      "1:	movl $1, %eax\n"
		      "	movl $5, %ebx\n"
		      "	lock xaddb %bl, 2f+1(%rip)\n"
		      "2:	movl $1, %ecx\n"
		      "	shll $8, %ecx\n"
		      "	orl %ecx, %eax\n");
PAYLOAD(exchange, "	movb $0x55, %bl\n"
		  "	xchgb %bl, 1f+1(%rip)\n"
		  "1:	movl $1, %eax\n"
		  "	call 2f\n"
		  "	movb %al, %cl\n"
		  "	movb $1, %al\n"
		  "	movb $0x66, %bl\n"
		  "	lock cmpxchgb %bl, 2f+1(%rip)\n"
		  "	call 2f\n"
		  "	jmp 3f\n"
		  "2:	movl $1, %eax\n"
		  "	ret\n"
		  "3:\n");

/* Through another address of the same memory: 1 GiB further up. */
PAYLOAD(alias, "	call 1f\n"
	       "	leaq 1f+1(%rip), %rbx\n"
	       "	movb $3, 0x40000000(%rbx)\n"
	       "	call 1f\n"
	       "	jmp 2f\n"
	       "1:	movl $1, %eax\n"
	       "	ret\n"
	       "2:\n");

/* A jump's displacement: chained blocks must come apart. */
PAYLOAD(jump_target, "	movl $300, %ecx\n"
		     "	xorl %eax, %eax\n"
		     "0:	jmp 1f\n"
		     "1:	addl $1, %eax\n"
		     "	jmp 3f\n"
		     "2:	addl $0x100, %eax\n"
		     "3:	xorb $5, 0b+1(%rip)\n" /* 0 <-> 5: the length of ADD and JMP */
		     "	decl %ecx\n"
		     "	jnz 0b\n");

static const struct row {
	const char *name;
	const uint8_t *start, *end;
	uint32_t result;
} rows[] = {
#define ROW(name, result)                                                                          \
	{                                                                                          \
#name, name##_start, name##_end, result                                            \
	}
	ROW(next_instruction, 7),
	ROW(crossing_store, 0x040302),
	ROW(same_page, 0x102),
	ROW(other_page, 0x102),
	ROW(every_round, 2000 * 2001 / 2),
	ROW(other_opcode, 1),
	ROW(own_bytes, 16),
	ROW(counters_beside, 200000),
	ROW(counters_between, 20000),
	ROW(crossing_instruction, 0xf4410000),
	ROW(string_over_code, 9),
	ROW(string_ahead, 5),
	ROW(stack_beside, 1000),
	ROW(push_ahead, 0x44),
	ROW(vector_store, 0x33),
	ROW(locked_store, 0x602),
	ROW(exchange, 0x66),
	ROW(alias, 3),
	ROW(jump_target, 150 * 0x101),
};

static double now(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec + t.tv_nsec * 1e-9;
}

static void load(struct guest *guest, const struct row *row)
{
	memcpy(guest->ram + GUEST_CODE, row->start, row->end - row->start);
	partition_memory_written(guest->part, GUEST_CODE, row->end - row->start);
}

static void start(struct guest *guest, unsigned int vp, uint64_t rip)
{
	static struct vp_state state;

	guest_state(guest, GUEST_LONG, 0, rip, &state);
	assert_int_equal(vp_set_state(guest->vp[vp], &state), 0);
}

/* Runs to the OUT at the end; returns what it wrote. */
static uint32_t result_of(struct guest *guest, unsigned int vp)
{
	struct vp_exit *exit = &guest->exit[vp];

	assert_int_equal(vp_run(guest->vp[vp], exit), 0);
	if (exit->reason == VP_EXIT_SHUTDOWN)
		print_error("exception %u at %#llx\n", exit->shutdown.vector,
			    (unsigned long long)exit->shutdown.rip);
	assert_int_equal(exit->reason, VP_EXIT_PIO);
	assert_int_equal(exit->pio.port, 0x80);
	return exit->pio.data;
}

static uint64_t blocks_translated(struct guest *guest)
{
	struct partition_stat stats[32];
	size_t count = partition_get_stats(guest->part, stats, ARRAY_SIZE(stats));

	for (size_t i = 0; i < count; i++)
		if (!strcmp(stats[i].name, "blocks translated"))
			return stats[i].value;
	fail_msg("the engine does not count what it translates");
	return 0;
}

static void what_was_written_is_what_runs(void **state)
{
	struct guest guest;

	assert_int_equal(guest_new(1, &guest), 0);
	for (unsigned int i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t before = blocks_translated(&guest), blocks;
		uint32_t result;

		load(&guest, &rows[i]);
		start(&guest, 0, GUEST_CODE);
		result = result_of(&guest, 0);
		blocks = blocks_translated(&guest) - before;
		if (result != rows[i].result || blocks > MAX_BLOCKS)
			fail_msg("%s: %#x instead of %#x after %llu blocks", rows[i].name, result,
				 rows[i].result, (unsigned long long)blocks);
	}
	guest_free(&guest);
}

/* The same once more in one go: nothing of the last payload is left in the way. */
static void code_written_by_the_host_replaces_the_old(void **state)
{
	static const uint8_t code[] = {0xb8, 0,	   0,	0,
				       0,    0xe7, 0x80}; /* mov eax, n; out 0x80, eax */
	struct guest guest;

	assert_int_equal(guest_new(1, &guest), 0);
	memcpy(guest.ram + GUEST_CODE, code, sizeof(code));
	for (uint32_t n = 1; n < 200; n++) {
		memcpy(guest.ram + GUEST_CODE + 1, &n, 4);
		partition_memory_written(guest.part, GUEST_CODE + 1, 4);
		start(&guest, 0, GUEST_CODE);
		assert_int_equal(result_of(&guest, 0), n);
	}
	guest_free(&guest);
}

/* VP 1 calls a function until it returns 2; VP 0 changes it when VP 1 has called it. */
PAYLOAD(waiting, "0:	call 1f\n"
		 "	movl $1, 0x1a0000\n"
		 "	cmpl $2, %eax\n"
		 "	jne 0b\n"
		 "	jmp 2f\n"
		 "	.org waiting_start + 4096\n"
		 "1:	movl $1, %eax\n"
		 "	ret\n"
		 "2:\n");
PAYLOAD(changing, "0:	pause\n"
		  "	cmpl $1, 0x1a0000\n"
		  "	jne 0b\n"
		  "	movl $2000000, %ecx\n"
		  "0:	pause\n"
		  "	loop 0b\n"
		  "	movb $2, 0x101001\n"
		  "	movl $1, %eax\n");

static void *run_vp1(void *argument)
{
	struct guest *guest = argument;

	vp_run(guest->vp[1], &guest->exit[1]);
	return NULL;
}

static void another_vp_sees_the_change(void **state)
{
	static const struct row waiting = {"waiting", waiting_start, waiting_end, 2};
	double began = now();
	struct guest guest;
	pthread_t thread;

	assert_int_equal(guest_new(2, &guest), 0);
	load(&guest, &waiting);
	memcpy(guest.ram + 0x180000, changing_start, changing_end - changing_start);
	start(&guest, 0, 0x180000);
	start(&guest, 1, GUEST_CODE);
	assert_int_equal(pthread_create(&thread, NULL, run_vp1, &guest), 0);
	assert_int_equal(result_of(&guest, 0), 1);
	while (pthread_tryjoin_np(thread, NULL) != 0) {
		nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
		if (now() - began > HANG_SECONDS)
			vp_cancel(guest.vp[1]);
	}
	assert_int_equal(guest.exit[1].reason, VP_EXIT_PIO);
	assert_int_equal(guest.exit[1].pio.data, 2);
	guest_free(&guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_was_written_is_what_runs),
		cmocka_unit_test(code_written_by_the_host_replaces_the_old),
		cmocka_unit_test(another_vp_sees_the_change),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

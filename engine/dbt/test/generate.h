/*
 * generate.h - random machine code for differential tests, from the decoder's own tables
 *
 * Each leaf row of the opcode maps becomes one or more templates: a form of the instruction (legacy
 * or VEX, memory or register operand, with LOCK). A case is a few instructions made from templates,
 * with branches, loops, calls and string instructions round them, and the state to start from. All
 * of it ends, by INT3 or by a fault: loops are counted in a register that their body leaves alone.
 */
#ifndef DBT_TEST_GENERATE_H
#define DBT_TEST_GENERATE_H

#include "differential.h"

#define CASE_MAX_BYTES 512
#define CASE_MAX_INSNS 24

struct template;
struct generator;

struct test_case {
	uint8_t code[CASE_MAX_BYTES];
	unsigned int bytes;
	uint64_t va;
	struct template
		*used[CASE_MAX_INSNS]; /* those that surely ran if the case ran to its end */
	unsigned int used_count;
	char names[160]; /* of the instructions, for reports */
	struct machine_state start;
};

/* @seed: any number; the same seed gives the same cases. @code32: for compatibility mode. */
struct generator *generator_new(uint64_t seed, bool code32);
void generator_free(struct generator *generator);

/* What the next case asks for: see differential_next(). */
unsigned int generator_before_page_end(struct generator *generator);
/* Makes a case that will be placed at @va. */
void generate_case(struct generator *generator, uint64_t va, struct test_case *ret_case);

/* The arithmetic flags that @rip's instruction or one after it may still use, if @rip faults. */
uint64_t generate_live_flags(const struct generator *generator, const struct test_case *c,
			     uint64_t rip);

/* Notes that @c ran to its end. */
void generator_note_end(struct generator *generator, const struct test_case *c);
/* Prints which templates never ran to the end; returns how many. */
unsigned int generator_report(const struct generator *generator);

#endif

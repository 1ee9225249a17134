/*
 * differential_test.c - random instructions, natively and in the engine: the same result?
 *
 * usage: differential_test [cases [seed]]
 *
 * A case is one to four instructions made field by field from random opcodes, with memory operands
 * that lie in the data area (or just outside it), from random registers. What the decoder calls
 * OP_COPY, and those specials that stay in the block, are run; the rest has tests of its own.
 * Flags are compared when the run reached its end: a fault in between may see dead flags.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "decode.h"
#include "differential.h"

static uint64_t random_state;

static uint64_t random64(void)
{
	random_state ^= random_state << 13;
	random_state ^= random_state >> 7;
	random_state ^= random_state << 17;
	return random_state * 0x2545f4914f6cdd1dull;
}

static uint32_t below(uint32_t bound)
{
	return (random64() >> 32) % bound;
}

/* Registers that point into the data area when a case starts; R9 is a small index. */
static const uint8_t pointers[] = {VP_RBX, VP_RBP, VP_RSP, VP_RSI, VP_RDI, VP_R8, VP_R12, VP_R13, VP_R14, VP_R15};
#define INDEX VP_R9

struct bytes {
	uint8_t at[64];
	unsigned int count;
};

static void put(struct bytes *b, uint8_t byte)
{
	b->at[b->count++] = byte;
}

static void put_legacy_prefixes(struct bytes *b, uint8_t rex)
{
	static const uint8_t prefixes[] = {0x66, 0xf2, 0xf3};

	if (below(16) == 0)
		put(b, 0xf0);
	if (below(3) == 0)
		put(b, prefixes[below(3)]);
	if (rex & 0x0f || below(3) == 0)
		put(b, 0x40 | rex);
}

/* Returns the opcode's map. */
static unsigned int put_opcode(struct bytes *b, bool vex, uint8_t rex)
{
	static const uint8_t escapes[] = {0, 0, 0x38, 0x3a};
	unsigned int map = vex ? 1 + below(3) : below(4);

	if (vex) {
		put(b, 0xc4);
		put(b, ((rex & 4) ? 0 : 0x80) | ((rex & 2) ? 0 : 0x40) | ((rex & 1) ? 0 : 0x20) | map);
		put(b, (rex & 8) << 4 | (below(2) ? 0x78 : below(16) << 3) | below(2) << 2 | below(4));
	} else if (map >= 1) {
		put(b, 0x0f);
		if (map >= 2)
			put(b, escapes[map]);
	}
	put(b, random64() >> 40);
	return map;
}

/* One random instruction; not necessarily a valid one. */
static void put_random_insn(struct bytes *b)
{
	bool vex = below(4) == 0, memory = below(2), sib = below(3) == 0;
	uint8_t base = pointers[below(ARRAY_SIZE(pointers))], reg = below(16);
	uint8_t rex = (below(2) << 3) | (reg >= 8) << 2;

	if (memory)
		rex |= (sib ? (INDEX >= 8) << 1 : 0) | base >> 3;
	else
		rex |= base >> 3;
	if (!vex)
		put_legacy_prefixes(b, rex);
	put_opcode(b, vex, rex);
	if (!memory) {
		put(b, 0xc0 | (reg & 7) << 3 | (base & 7));
	} else if (sib || (base & 7) == 4) {
		put(b, 0x44 | (reg & 7) << 3);
		put(b, below(4) << 6 | ((sib ? INDEX & 7 : 4) << 3) | (base & 7));
		put(b, random64() >> 50);
	} else {
		put(b, 0x40 | (reg & 7) << 3 | (base & 7));
		put(b, random64() >> 50);
	}
	for (unsigned int i = 0; i < 8; i++)
		put(b, random64() >> 30);
}

static bool is_excluded(const struct insn *insn)
{
	unsigned int group = insn->reg & 7;

	if (insn->mem && (insn->seg == VP_FS || insn->seg == VP_GS || insn->rip_relative))
		return true;
	if (insn->map == 0 && insn->mem && ((insn->opcode == 0xd9 && group == 6) || (insn->opcode == 0xdd && group == 6)))
		return true; /* FNSTENV, FNSAVE: instruction pointers */
	if (insn->map == 1 && insn->opcode == 0xae && insn->mem && group < 2)
		return true; /* FXSAVE, FXRSTOR: likewise */
	return insn->map == 1 && insn->opcode == 0xc7 && !insn->mem; /* RDRAND, RDSEED, RDPID */
}

static bool is_testable(const struct insn *insn)
{
	if (is_excluded(insn))
		return false;
	if (insn->kind == OP_COPY)
		return true;
	if (insn->kind != OP_SPECIAL)
		return false;
	return insn->id == SPECIAL_NOP || insn->id == SPECIAL_PUSH || insn->id == SPECIAL_POP || insn->id == SPECIAL_LEA ||
	       insn->id == SPECIAL_LEAVE || insn->id == SPECIAL_XCHG || insn->id == SPECIAL_BT_MEM;
}

/* Appends one testable instruction; its length is exact. */
static void append_insn(struct bytes *code, const char **ret_name)
{
	for (;;) {
		struct bytes b = {.count = 0};
		struct insn insn;

		put_random_insn(&b);
		if (decode(b.at, MIN(b.count, 15u), DECODE_64, &insn) != DECODE_OK || !is_testable(&insn))
			continue;
		memcpy(code->at + code->count, b.at, insn.length);
		code->count += insn.length;
		*ret_name = insn.name;
		return;
	}
}

static uint64_t interesting(void)
{
	static const uint64_t values[] = {0, 1, -1ull, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0x7fffffff, 0x80000000,
					  0x7fffffffffffffff, 0x8000000000000000};

	return below(3) ? random64() : values[below(ARRAY_SIZE(values))];
}

static void random_machine(struct machine_state *state)
{
	memset(state, 0, sizeof(*state));
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		state->gpr[i] = interesting();
	for (unsigned int i = 0; i < ARRAY_SIZE(pointers); i++)
		state->gpr[pointers[i]] = DATA_VA + PAGE_BYTES + (below(4) ? below(128) * 32 : below(4096));
	state->gpr[INDEX] = (int64_t)below(64) - 32;
	state->rflags = 0x202 | (random64() & 0x8d5);
	for (unsigned int i = 0; i < DATA_BYTES; i += 8) {
		uint64_t value = interesting();

		memcpy(state->data + i, &value, 8);
	}
	for (unsigned int i = 32; i < 464; i += 8) {
		uint64_t value = interesting();

		memcpy(state->xsave + i, &value, 8);
	}
	for (unsigned int i = 576; i < 832; i += 8) {
		uint64_t value = interesting();

		memcpy(state->xsave + i, &value, 8);
	}
	for (unsigned int i = 0; i < 8; i++) /* 80-bit registers: the rest of each 16 bytes is reserved */
		memset(state->xsave + 32 + i * 16 + 10, 0, 6);
	memcpy(state->xsave, &(uint16_t){0x37f}, 2);
	state->xsave[4] = 0xff;
	memcpy(state->xsave + 24, &(uint32_t){0x1f80}, 4);
	memcpy(state->xsave + 512, &(uint64_t){7}, 8);
}

static void report(const struct bytes *code, const char *const *names, unsigned int insns, const char *difference)
{
	printf("differs:");
	for (unsigned int i = 0; i < insns; i++)
		printf(" %s", names[i]);
	printf(" [");
	for (unsigned int i = 0; i < code->count; i++)
		printf("%02x", code->at[i]);
	printf("]: %s\n", difference);
}

static bool run_case(struct differential *d)
{
	static struct machine_state native, engine;
	struct bytes code = {.count = 0};
	const char *names[4], *difference;
	unsigned int insns = 1 + below(3);

	for (unsigned int i = 0; i < insns; i++)
		append_insn(&code, &names[i]);
	put(&code, 0xcc);
	random_machine(&native);
	native.rip = differential_place(d, code.at, code.count);
	engine = native;
	if (differential_native(d, &native) < 0 || differential_engine(d, &engine) < 0) {
		report(&code, names, insns, "could not be run");
		return false;
	}
	difference = differential_compare(&native, &engine, native.vector == 3 ? 0x8d5 : 0);
	if (difference)
		report(&code, names, insns, difference);
	return !difference;
}

int main(int argc, char **argv)
{
	unsigned long cases = argc > 1 ? strtoul(argv[1], NULL, 0) : 20000, failed = 0;
	struct differential *d;

	random_state = argc > 2 ? strtoull(argv[2], NULL, 0) : 0x6d756c6c696f6eull;
	if (differential_new(&d) < 0) {
		fprintf(stderr, "differential_test: cannot create a partition on the dbt engine\n");
		return 1;
	}
	for (unsigned long i = 0; i < cases && failed < 60; i++)
		failed += !run_case(d);
	differential_free(d);
	printf("%lu cases, %lu differ\n", cases, failed);
	return failed != 0;
}

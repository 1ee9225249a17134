/*
 * templates.c - from the decoder's tables to templates
 *
 * A leaf row is reached through splits, each of which fixes a field. The forms of a row: legacy or
 * VEX, memory or register operand, with LOCK.
 */
#include "templates.h"

#include <cpuid.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"

/* --- which rows --- */

static bool special_is_tested(unsigned int id)
{
	static const uint8_t tested[] = {
		SPECIAL_NOP,	   SPECIAL_PAUSE,  SPECIAL_PUSH,   SPECIAL_POP, SPECIAL_PUSHF,
		SPECIAL_LEA,	   SPECIAL_LEAVE,  SPECIAL_XCHG,   SPECIAL_CLD, SPECIAL_STD,
		SPECIAL_MOV_MOFFS, SPECIAL_BT_MEM, SPECIAL_INC_DEC};

	return memchr(tested, id, sizeof(tested)) != NULL;
}

static bool helper_is_tested(unsigned int id)
{
	static const uint8_t tested[] = {HELPER_movs, HELPER_cmps,     HELPER_stos,  HELPER_lods,
					 HELPER_scas, HELPER_xlat,     HELPER_pushf, HELPER_enter,
					 HELPER_salc, HELPER_vmaskmov, HELPER_ud};

	return memchr(tested, id, sizeof(tested)) != NULL;
}

static bool same_place(const struct template *t, unsigned int map, unsigned int opcode)
{
	return t->map == map && t->opcode == opcode;
}

/* What depends on more than the state under test. */
static bool is_excluded(const struct template *t)
{
	if (same_place(t, 1, 0x0d) && t->mod == 1)
		return true; /* PREFETCHW of a register: #UD or NOP, as the processor likes */
	if (same_place(t, 1, 0xc7) && t->mod == 1)
		return true; /* RDRAND, RDSEED, RDPID */
	if (t->mod == 0 &&
	    ((same_place(t, 0, 0xd9) && t->reg == 6) || (same_place(t, 0, 0xdd) && t->reg == 6)))
		return true; /* FNSTENV, FNSAVE: instruction pointers */
	if (t->mod == 0 && t->reg == 4 && (same_place(t, 0, 0xdd) || same_place(t, 0, 0xd9)))
		return true; /* FRSTOR, FLDENV: where in the page they fault; the generator has them
				elsewhere */
	return same_place(t, 1, 0xae) && t->mod == 0 && t->prefix == 0 &&
	       t->reg < 2; /* FXSAVE, FXRSTOR */
}

static bool row_is_tested(const struct opcode_row *row)
{
	switch (row->kind) {
	case OP_COPY: return true;
	case OP_SPECIAL: return special_is_tested(row->id);
	default: return helper_is_tested(row->id);
	}
}

/* --- forms of a row --- */

/* Without the extension the encoding is #UD. */
static bool host_lacks(const struct generator *g, const struct template *t)
{
	if (strstr(t->name, "gf2p8"))
		return !g->host.gfni;
	if (strncmp(t->name, "sha", 3) == 0 && t->map >= 2 && !t->vex)
		return !g->host.sha && !strstr(t->name, "shl") && !strstr(t->name, "shr");
	return false;
}

static void add(struct generator *g, const struct template *t)
{
	if (is_excluded(t))
		return;
	if (g->template_count < g->template_max)
		g->templates[g->template_count] = *t;
	g->template_count++;
}

static void add_forms_by_operand(struct generator *g, const struct opcode_row *row,
				 struct template t)
{
	bool memory = false, reg = false;

	for (unsigned int i = 0; i < 4; i++) {
		unsigned int field = OPERAND_FIELD(row->operands[i]);

		t.modrm |= (1u << field & FIELDS_WITH_MODRM) != 0;
		t.by_opcode |= field == FIELD_OPCODE;
		t.vvvv |= field == FIELD_VVVV;
		memory |= field == FIELD_RM && row->operands[i] & MEM;
		reg |= field == FIELD_RM && row->operands[i] & REG;
	}
	t.modrm |= t.reg >= 0 || t.rm >= 0 || t.mod >= 0;
	if (row->rules & VSIB)
		memory = false; /* needs an address of its own kind */
	if (t.mod < 0 && memory && reg) {
		t.mod = 1;
		add(g, &t);
		t.mod = 0;
	} else if (t.mod < 0 && memory) {
		t.mod = 0;
	} else if (t.mod < 0 && t.modrm) {
		t.mod = 1;
	}
	if (row->rules & VSIB)
		return;
	add(g, &t);
	t.lock = true;
	if (row->rules & LOCKABLE && t.mod == 0)
		add(g, &t);
}

static bool is_chained(const struct opcode_row *row)
{
	return row->kind != OP_HELPER && (row->flags_read || row->flags_written);
}

static bool has_gpr_of_size_y(const struct opcode_row *row)
{
	for (unsigned int i = 0; i < 4; i++)
		if (OPERAND_SIZE(row->operands[i]) == SIZE_Y)
			return true;
	return false;
}

static void add_row(struct generator *g, const struct opcode_row *row, struct template t)
{
	if (!row->name || !row_is_tested(row) || row->rules & (g->code32 ? O64 : I64))
		return;
	t.name = row->name;
	t.chained = is_chained(row);
	t.both = row->rules & VEX_TOO;
	t.repeats = row->kind == OP_HELPER && (row->id >= HELPER_movs && row->id <= HELPER_scas);
	t.rare = (row->kind == OP_HELPER && row->id == HELPER_ud) || host_lacks(g, &t);
	if (row->rules & (VEX_ONLY | VEX_TOO) && t.vex) {
		if (row->rules & (L0 | L1))
			t.l = row->rules & L1 ? 1 : 0;
		if (row->rules & (W0 | W1))
			t.w = row->rules & W1 ? 1 : 0;
		if (g->code32 && has_gpr_of_size_y(row))
			t.w = 0; /* VPEXTRQ and VPINSRQ are #UD there on AMD, VPEXTRD and VPINSRD on
				    Intel */
		add_forms_by_operand(g, row, t);
	} else if (!t.vex && !(row->rules & VEX_ONLY)) {
		if (g->code32)
			t.w = 0;
		add_forms_by_operand(g, row, t);
	}
}

/* Fixes in @t what choosing row @choice of @select means; false: never chosen here. */
static bool choose(const struct generator *g, struct template *t, unsigned int select, int choice)
{
	switch (select) {
	case BY_PREFIX_: t->prefix = choice; return true;
	case BY_REG_: t->reg = choice; return true;
	case BY_MOD_: t->mod = choice; return true;
	case BY_RM_:
		t->rm = choice;
		t->mod = 1;
		return true;
	case BY_MODE_: return choice == !g->code32;
	case BY_W_: t->w = choice; return t->vex || !g->code32 || !choice;
	case BY_L_: t->l = choice; return true;
	case BY_VEX_: return choice == t->vex;
	default: t->rex_b = choice; return !g->code32 || !choice;
	}
}

static void walk(struct generator *g, const struct opcode_row *row, struct template t)
{
	static const uint8_t choices[] = {
		[BY_PREFIX_] = 4, [BY_REG_] = 8, [BY_MOD_] = 2, [BY_RM_] = 8,	[BY_MODE_] = 2,
		[BY_W_] = 2,	  [BY_L_] = 2,	 [BY_VEX_] = 2, [BY_REX_B_] = 2};

	if (row->select == ROW_LEAF) {
		add_row(g, row, t);
		return;
	}
	for (int i = 0; i < choices[row->select]; i++) {
		struct template chosen = t;

		if (choose(g, &chosen, row->select, i))
			walk(g, &row->rows[i], chosen);
	}
}

static void walk_maps(struct generator *g)
{
	g->template_count = 0;
	for (unsigned int vex = 0; vex < 2; vex++)
		for (unsigned int map = vex; map < 4; map++)
			for (unsigned int opcode = 0; opcode < 256; opcode++)
				walk(g, &opcode_maps[map][opcode],
				     (struct template){.map = map,
						       .opcode = opcode,
						       .vex = vex,
						       .prefix = -1,
						       .reg = -1,
						       .rm = -1,
						       .mod = -1,
						       .w = -1,
						       .l = -1,
						       .rex_b = -1});
}

static void find_host_features(struct generator *g)
{
	unsigned int eax, ebx = 0, ecx = 0, edx, low = 0, high = 0;

	__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx);
	g->host.adx = ebx & bit_ADX;
	g->host.sha = ebx & bit_SHA;
	g->host.gfni = ecx & bit_GFNI;
	g->host.vaes = ecx & bit_VAES;
	g->host.vpclmul = ecx & bit_VPCLMULQDQ;
	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
	g->host.xsave_as_guest = low == 7 && high == 0;
}

int templates_build(struct generator *g)
{
	find_host_features(g);
	walk_maps(g);
	g->template_max = g->template_count;
	g->templates = calloc(g->template_max, sizeof(*g->templates));
	g->chain = calloc(g->template_max, sizeof(*g->chain));
	if (!g->templates || !g->chain)
		return -ENOMEM;
	walk_maps(g);
	for (unsigned int i = 0; i < g->template_count; i++)
		if (g->templates[i].chained)
			g->chain[g->chain_count++] = &g->templates[i];
	return 0;
}

struct generator *generator_new(uint64_t seed, bool code32)
{
	struct generator *g = calloc(1, sizeof(*g));

	if (!g)
		return NULL;
	g->random = seed * 0x9e3779b97f4a7c15ull + 1;
	g->code32 = code32;
	if (templates_build(g) < 0) {
		generator_free(g);
		return NULL;
	}
	return g;
}

void generator_free(struct generator *g)
{
	free(g->templates);
	free(g->chain);
	free(g);
}

void generator_note_end(struct generator *g, const struct test_case *c)
{
	for (unsigned int i = 0; i < c->used_count; i++)
		c->used[i]->ends++;
}

unsigned int generator_report(const struct generator *g)
{
	unsigned int missing = 0;

	for (unsigned int i = 0; i < g->template_count; i++) {
		const struct template *t = &g->templates[i];

		if (t->ends || t->rare)
			continue;
		missing++;
		printf("never ran to the end: %s (%smap %u, opcode %02x, prefix %d, reg %d, rm %d, "
		       "%s%s)\n",
		       t->name, t->vex ? "VEX " : "", t->map, t->opcode, t->prefix, t->reg, t->rm,
		       t->mod == 0 ? "memory" : "register", t->lock ? ", LOCK" : "");
	}
	return missing;
}

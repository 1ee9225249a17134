/*
 * generate.c - cases: instructions from templates, branches round them, a state to start from
 *
 * Registers have roles, drawn anew for each case: a pointer into the data pages, a small index, or
 * any value. Memory operands are made from pointers and indexes, so most of them hit the data
 * pages; instructions that change these registers make the others.
 *
 * Excluded are instructions whose result depends on more than this state (time, random numbers,
 * descriptor tables, the x87's instruction pointer) and what enters the host's kernel.
 */
#include "generate.h"

#include <cpuid.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rows.h"
#include "templates.h"

/* --- randomness --- */

static uint64_t random64(struct generator *g)
{
	g->random ^= g->random << 13;
	g->random ^= g->random >> 7;
	g->random ^= g->random << 17;
	return g->random * 0x2545f4914f6cdd1dull;
}

static uint32_t below(struct generator *g, uint32_t bound)
{
	return (random64(g) >> 32) % bound;
}

static bool one_in(struct generator *g, uint32_t n)
{
	return below(g, n) == 0;
}

static uint64_t interesting(struct generator *g)
{
	static const uint64_t values[] = {0,
					  1,
					  -1ull,
					  0x7f,
					  0x80,
					  0xff,
					  0x7fff,
					  0x8000,
					  0x7fffffff,
					  0x80000000,
					  0x7fffffffffffffff,
					  0x8000000000000000,
					  31,
					  32,
					  63,
					  64};

	return below(g, 3) ? random64(g) : values[below(g, ARRAY_SIZE(values))];
}

/* --- operands --- */

struct operand {
	uint8_t bytes[6]; /* ModRM with reg 0, SIB, displacement */
	unsigned int count;
	uint8_t rex; /* X and B */
	bool rip_relative;
};

static unsigned int register_count(const struct generator *g)
{
	return g->code32 ? 8 : 16;
}

/* A register of @role, or NO_REG. */
static unsigned int pick(struct generator *g, enum role role)
{
	unsigned int first = below(g, register_count(g));

	for (unsigned int i = 0; i < register_count(g); i++) {
		unsigned int reg = (first + i) % register_count(g);

		if (g->roles[reg] == role)
			return reg;
	}
	return NO_REG;
}

static uint64_t data_address(struct generator *g)
{
	uint64_t page = DATA_VA + below(g, DATA_PAGES) * PAGE_BYTES;

	switch (below(g, 8)) {
	case 0: return page + below(g, PAGE_BYTES);
	case 1: return page + PAGE_BYTES - 1 - below(g, 80);
	case 2: return page + below(g, 80);
	case 3: return page + PAGE_BYTES - 16 * below(g, 6);
	default: return page + below(g, PAGE_BYTES / 32) * 32;
	}
}

static void put_displacement(struct generator *g, struct operand *o, unsigned int bytes,
			     uint32_t value)
{
	memcpy(o->bytes + o->count, &value, bytes);
	o->count += bytes;
}

static void absolute_operand(struct generator *g, struct operand *o, unsigned int index)
{
	uint64_t address = data_address(g);

	if (!g->code32 && one_in(g, 2)) { /* the displacement follows when the length is known */
		*o = (struct operand){.bytes = {0x05}, .count = 1, .rip_relative = true};
		put_displacement(g, o, 4, address);
		return;
	}
	*o = (struct operand){.bytes = {0x04, 0x25}, .count = 2};
	if (index != NO_REG) {
		o->bytes[1] = below(g, 4) << 6 | (index & 7) << 3 | 5;
		o->rex = index >= 8 ? 2 : 0;
	}
	put_displacement(g, o, 4, address);
}

static void memory_operand(struct generator *g, struct operand *o)
{
	unsigned int base = pick(g, POINTER), index = one_in(g, 3) ? pick(g, INDEX) : NO_REG;
	unsigned int mod = below(g, 3);
	bool sib;

	if (index == VP_RSP)
		index = NO_REG;
	if (base == NO_REG || one_in(g, 10)) {
		absolute_operand(g, o, index);
		return;
	}
	sib = index != NO_REG || (base & 7) == 4 || one_in(g, 16);
	if (mod == 0 && (base & 7) == 5)
		mod = 1;
	*o = (struct operand){
		.bytes = {mod << 6 | (sib ? 4 : base & 7)}, .count = 1, .rex = base >= 8};
	if (sib) {
		o->bytes[o->count++] =
			below(g, 4) << 6 | (index == NO_REG ? 4 : index & 7) << 3 | (base & 7);
		o->rex |= index != NO_REG && index >= 8 ? 2 : 0;
	}
	if (mod)
		put_displacement(g, o, mod == 1 ? 1 : 4,
				 (int)below(g, 128) - (one_in(g, 4) ? 64 : 0));
}

/* --- instructions --- */

static void put(struct test_case *c, uint8_t byte)
{
	if (c->bytes < CASE_MAX_BYTES)
		c->code[c->bytes++] = byte;
}

static void put_bytes(struct test_case *c, uint64_t value, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		put(c, value >> 8 * i);
}

static void put_all(struct test_case *c, const char *bytes, unsigned int count)
{
	for (unsigned int i = 0; i < count; i++)
		put(c, bytes[i]);
}
#define PUT(c, string) put_all(c, string, sizeof(string) - 1)

static void put_segment_prefix(struct generator *g, struct test_case *c)
{
	static const uint8_t ignored[] = {0x26, 0x2e, 0x36, 0x3e};

	if (one_in(g, 16))
		put(c, 0x65); /* GS */
	else if (one_in(g, 24))
		put(c, g->code32 ? 0x36 : ignored[below(g, 4)]);
}

static void put_prefixes(struct generator *g, struct test_case *c, const struct template *t)
{
	static const uint8_t mandatory[] = {[1] = 0x66, [2] = 0xf3, [3] = 0xf2};

	put_segment_prefix(g, c);
	if (!g->code32 && one_in(g, 16))
		put(c, 0x67);
	if (t->lock)
		put(c, 0xf0);
	if (t->vex)
		return;
	if (t->prefix < 0 && one_in(g, 4))
		put(c, 0x66);
	if (t->prefix < 0 && (t->repeats ? one_in(g, 2) : one_in(g, 16)))
		put(c, mandatory[2 + below(g, 2)]);
	if (t->prefix > 1 && one_in(g, 8))
		put(c, 0x66);
	if (t->prefix > 0)
		put(c, mandatory[t->prefix]);
}

static void put_vex(struct generator *g, struct test_case *c, const struct template *t, uint8_t rex)
{
	uint8_t vvvv = t->vvvv ? below(g, register_count(g)) : 0;
	uint8_t l = t->l >= 0 ? t->l : below(g, 2), w = rex & 8;
	uint8_t last = (~vvvv & 15) << 3 | l << 2 | (t->prefix > 0 ? t->prefix : 0);

	if (t->map == 1 && !(rex & 11) && one_in(g, 2)) {
		put(c, 0xc5);
		put(c, (rex & 4 ? 0 : 0x80) | last);
		return;
	}
	put(c, 0xc4);
	put(c, (~rex & 7) << 5 | t->map);
	put(c, (w ? 0x80 : 0) | last);
}

static void put_escape(struct test_case *c, unsigned int map)
{
	if (map >= 1)
		put(c, 0x0f);
	if (map >= 2)
		put(c, map == 2 ? 0x38 : 0x3a);
}

/* ModRM.reg (bit 3 to REX.R), or for 50+r the register in the opcode (to REX.B). */
static uint8_t template_rex(struct generator *g, const struct template *t, unsigned int reg,
			    unsigned int rm, const struct operand *o)
{
	uint8_t rex = (t->w >= 0 ? t->w : below(g, 2)) << 3;

	if (t->modrm && t->reg < 0)
		rex |= reg & 8 ? 4 : 0;
	if (o)
		return rex | o->rex;
	if (t->rex_b >= 0)
		return rex | t->rex_b;
	return rex | (rm & 8 ? 1 : 0);
}

static void fix_rip_relative(struct test_case *c, unsigned int start, unsigned int field,
			     unsigned int length)
{
	uint32_t target;

	memcpy(&target, c->code + field, 4);
	target -= c->va + start + length;
	memcpy(c->code + field, &target, 4);
}

/* Instructions of this host only: without it they raise #UD, before any other fault. */
static bool host_has(const struct generator *g, const struct insn *insn)
{
	bool wide = insn->vex && insn->vex_l;

	if (strstr(insn->name, "gf2p8"))
		return g->host.gfni;
	if (strncmp(insn->name, "sha1", 4) == 0 || strncmp(insn->name, "sha256", 6) == 0)
		return g->host.sha;
	if (strstr(insn->name, "pclmul"))
		return wide ? g->host.vpclmul : true;
	if (strncmp(insn->name, "vaes", 4) == 0)
		return wide ? g->host.vaes : true;
	if (strcmp(insn->name, "adcx") == 0 || strcmp(insn->name, "adox") == 0)
		return g->host.adx;
	return true;
}

static bool is_excluded(const struct insn *insn)
{
	if (insn->mem && insn->seg == VP_FS)
		return true;
	/* A mask of zeros may hide any fault. */
	return insn->kind == OP_HELPER && insn->id == HELPER_vmaskmov && insn->seg == VP_GS;
}

/* Makes one instruction of @t at the end of @c; false when it came out as something else. */
static bool try_template(struct generator *g, struct test_case *c, const struct template *t,
			 struct insn *ret_insn)
{
	unsigned int start = c->bytes, field = 0, reg = below(g, register_count(g)),
		     rm = below(g, register_count(g));
	struct operand operand, *o = NULL;
	uint8_t rex;

	if (t->mod == 0 || (t->mod < 0 && t->modrm && one_in(g, 2))) {
		memory_operand(g, &operand);
		o = &operand;
	}
	if (t->reg >= 0)
		reg = t->reg;
	if (t->rm >= 0)
		rm = t->rm;
	rex = template_rex(g, t, reg, rm, o);
	put_prefixes(g, c, t);
	if (t->vex)
		put_vex(g, c, t, rex);
	else if (!g->code32 && (rex || one_in(g, 3)))
		put(c, 0x40 | rex);
	if (!t->vex)
		put_escape(c, t->map);
	put(c, t->modrm ? t->opcode : t->opcode | (t->by_opcode ? rm & 7 : 0));
	if (o) {
		o->bytes[0] |= (reg & 7) << 3;
		field = c->bytes + 1;
		put_all(c, (const char *)o->bytes, o->count);
	} else if (t->modrm) {
		put(c, 0xc0 | (reg & 7) << 3 | (rm & 7));
	}
	put_bytes(c, interesting(g), 8);
	if (c->bytes >= CASE_MAX_BYTES - 16 ||
	    decode(c->code + start, MIN(c->bytes - start, 15u), g->code32 ? DECODE_32 : DECODE_64,
		   ret_insn) != DECODE_OK ||
	    ret_insn->name != (t->vex || !t->both ? t->name : t->name + 1) ||
	    is_excluded(ret_insn) || !host_has(g, ret_insn)) {
		c->bytes = start;
		return false;
	}
	c->bytes = start + ret_insn->length;
	if (o && o->rip_relative)
		fix_rip_relative(c, start, field, ret_insn->length);
	return true;
}

/* MOFFS: the absolute address in the instruction should be a good one. */
static void fix_moffs(struct generator *g, struct test_case *c, const struct insn *insn)
{
	uint64_t address = data_address(g);

	memcpy(c->code + c->bytes - insn->address_bytes, &address, insn->address_bytes);
}

/* May an instruction change @reg, or what the stack holds if that is RSP? Rather yes. */
static bool may_write(const struct insn *insn, unsigned int reg)
{
	const struct {
		uint8_t number, use;
		bool is_byte;
	} fields[] = {{insn->reg, insn->reg_use, insn->reg_is_byte},
		      {insn->rm, insn->rm_use, insn->rm_is_byte},
		      {insn->vvvv, insn->vvvv_use, false}};

	if (reg == NO_REG)
		return false;
	for (unsigned int i = 0; i < ARRAY_SIZE(fields); i++) {
		bool high = fields[i].is_byte && !insn->rex && (fields[i].number & 4);

		if (fields[i].use & USE_WRITE &&
		    (fields[i].number == reg || (high && fields[i].number - 4u == reg)))
			return true;
	}
	if (reg == VP_RCX)
		return insn->kind == OP_HELPER || strstr(insn->name, "stri");
	if (reg != VP_RSP)
		return false;
	if (insn->mem && insn->mem_use & USE_WRITE)
		return true; /* the return address: the case might never end */
	return insn->kind == OP_HELPER || insn->id == SPECIAL_PUSH || insn->id == SPECIAL_POP ||
	       insn->id == SPECIAL_LEAVE || insn->id == SPECIAL_PUSHF;
}

static void add_name(struct test_case *c, const char *name)
{
	size_t used = strlen(c->names);

	snprintf(c->names + used, sizeof(c->names) - used, " %s", name);
}

/* One instruction from @t, or when that has no use here, nothing. @kept: register to leave alone.
 */
static void put_template(struct generator *g, struct test_case *c, struct template *t,
			 unsigned int kept, bool certain)
{
	struct insn insn;
	unsigned int start = c->bytes;

	for (unsigned int i = 0; i < 20; i++) {
		if (!try_template(g, c, t, &insn))
			continue;
		if (may_write(&insn, kept) || (kept != NO_REG && insn.kind == OP_HELPER)) {
			c->bytes = start;
			continue;
		}
		if (insn.kind == OP_SPECIAL && insn.id == SPECIAL_MOV_MOFFS)
			fix_moffs(g, c, &insn);
		add_name(c, insn.name);
		if (certain && c->used_count < CASE_MAX_INSNS)
			c->used[c->used_count++] = t;
		return;
	}
}

/* Some template; now and then one that has never run to the end. */
static struct template *any_template(struct generator *g)
{
	unsigned int first = below(g, g->template_count);

	if (!one_in(g, 8))
		return &g->templates[first];
	for (unsigned int i = 0; i < g->template_count; i++) {
		struct template *t = &g->templates[(first + i) % g->template_count];

		if (!t->ends && !t->rare)
			return t;
	}
	return &g->templates[first];
}

static void put_any(struct generator *g, struct test_case *c, unsigned int kept, bool certain)
{
	put_template(g, c, any_template(g), kept, certain);
}

/* --- branches --- */

#define SHORT 0
#define NEAR  1

/* A jump with a displacement to be filled in by land(); @opcode: 0xeb, 0xe8, 0x70.. or 0xe0.. */
static unsigned int put_jump(struct test_case *c, uint8_t opcode, int form)
{
	if (form == SHORT) {
		put(c, opcode);
		put(c, 0);
		return c->bytes - 1;
	}
	if (opcode >= 0x70 && opcode < 0x80) {
		put(c, 0x0f);
		put(c, opcode + 0x10);
	} else {
		put(c, opcode == 0xeb ? 0xe9 : opcode);
	}
	put_bytes(c, 0, 4);
	return c->bytes - 4;
}

static void land(struct test_case *c, unsigned int field, int form, unsigned int at)
{
	int32_t distance = (int)at - (int)(field + (form == SHORT ? 1 : 4));

	memcpy(c->code + field, &distance, form == SHORT ? 1 : 4);
}

static int any_form(struct generator *g)
{
	return below(g, 2);
}

static uint8_t any_condition(struct generator *g)
{
	return 0x70 | below(g, 16);
}

/* jcc over an instruction */
static void put_forward(struct generator *g, struct test_case *c)
{
	int form = any_form(g);
	unsigned int field = put_jump(c, any_condition(g), form);

	add_name(c, "jcc(");
	put_any(g, c, NO_REG, false);
	add_name(c, ")");
	land(c, field, form, c->bytes);
}

/* j(e)cxz over an instruction */
static void put_jcxz(struct generator *g, struct test_case *c)
{
	unsigned int field;

	if (one_in(g, 2))
		PUT(c, "\x31\xc9"); /* xor ecx, ecx */
	if (one_in(g, 3))
		put(c, 0x67);
	field = put_jump(c, 0xe3, SHORT);
	add_name(c, "jcxz(");
	put_any(g, c, NO_REG, false);
	add_name(c, ")");
	land(c, field, SHORT, c->bytes);
}

/* A loop counted down in R10 (EDI in 32-bit code) by DEC and JNZ, or JCC that leaves early. */
static void put_counted(struct generator *g, struct test_case *c)
{
	unsigned int kept = g->code32 ? VP_RDI : VP_R10, start, early;
	int form = NEAR;

	put_all(c, g->code32 ? "\xbf" : "\x41\xba", g->code32 ? 1 : 2); /* mov r10d, n */
	put_bytes(c, 1 + below(g, 6), 4);
	start = c->bytes;
	add_name(c, "{");
	put_any(g, c, kept, true);
	early = one_in(g, 3) ? put_jump(c, any_condition(g), NEAR) : 0;
	if (early || one_in(g, 2))
		put_any(g, c, kept, !early);
	put_all(c, g->code32 ? "\xff\xcf" : "\x49\xff\xca", g->code32 ? 2 : 3); /* dec */
	if (c->bytes - start < 100)
		form = any_form(g);
	land(c, put_jump(c, 0x75, form), form, start);
	if (early)
		land(c, early, NEAR, c->bytes);
	add_name(c, "}");
}

/* LOOP, LOOPE, LOOPNE */
static void put_loop(struct generator *g, struct test_case *c)
{
	unsigned int start;

	put(c, 0xb9); /* mov ecx, n */
	put_bytes(c, 1 + below(g, 6), 4);
	start = c->bytes;
	add_name(c, "loop{");
	put_any(g, c, VP_RCX, true);
	put_any(g, c, VP_RCX, true);
	if (one_in(g, 3))
		put(c, 0x67);
	land(c, put_jump(c, 0xe0 + below(g, 3), SHORT), SHORT, start);
	add_name(c, "}");
}

/* jmp a; b: ...; jmp end; a: ...; jmp b; end: */
static void put_back_and_forth(struct generator *g, struct test_case *c)
{
	int form = any_form(g);
	unsigned int to_a = put_jump(c, 0xeb, form), to_end, b = c->bytes;

	add_name(c, "jmp<");
	put_any(g, c, NO_REG, true);
	to_end = put_jump(c, 0xeb, NEAR);
	land(c, to_a, form, c->bytes);
	put_any(g, c, NO_REG, true);
	land(c, put_jump(c, 0xeb, NEAR), NEAR, b);
	land(c, to_end, NEAR, c->bytes);
	add_name(c, ">");
}

/* reg = address of what land() is told; returns the field */
static unsigned int put_code_address(struct generator *g, struct test_case *c, unsigned int reg)
{
	if (g->code32) {
		put(c, 0xb8 | reg);
	} else { /* lea reg, [rip + field] */
		put(c, 0x48 | (reg >> 3) << 2);
		put(c, 0x8d);
		put(c, (reg & 7) << 3 | 5);
	}
	put_bytes(c, 0, 4);
	return c->bytes - 4;
}

static void land_address(struct generator *g, struct test_case *c, unsigned int field,
			 unsigned int at)
{
	uint32_t address = c->va + at;

	if (g->code32)
		memcpy(c->code + field, &address, 4);
	else
		land(c, field, NEAR, at);
}

/* FF /n by register, or by way of memory below the stack */
static void put_indirect(struct generator *g, struct test_case *c, unsigned int reg,
			 unsigned int operation)
{
	bool by_memory = one_in(g, 2);

	if (by_memory) { /* mov [rsp - 64], reg */
		if (!g->code32)
			put(c, 0x48 | (reg >> 3) << 2);
		put(c, 0x89);
		put(c, 0x44 | (reg & 7) << 3);
		PUT(c, "\x24\xc0\xff"); /* ... and the opcode of FF /n [rsp - 64] */
		put(c, 0x44 | operation << 3);
		PUT(c, "\x24\xc0");
		return;
	}
	if (reg >= 8)
		put(c, 0x41);
	put(c, 0xff);
	put(c, 0xc0 | operation << 3 | (reg & 7));
}

static unsigned int branch_register(struct generator *g)
{
	unsigned int reg = below(g, register_count(g));

	return reg == VP_RSP ? VP_RAX : reg;
}

/* jmp reg or jmp [mem] over bytes that are no instruction of the case */
static void put_jump_indirect(struct generator *g, struct test_case *c)
{
	unsigned int reg = branch_register(g), field = put_code_address(g, c, reg);

	add_name(c, "jmp*");
	put_indirect(g, c, reg, 4);
	PUT(c, "\x0f\x0b");
	land_address(g, c, field, c->bytes);
}

static void put_return(struct generator *g, struct test_case *c)
{
	if (one_in(g, 2)) {
		put(c, 0xc3);
		return;
	}
	put(c, 0xc2);
	put_bytes(c, below(g, 4) * 8, 2);
}

/* call f; jmp end; f: ...; ret; end: */
static void put_call(struct generator *g, struct test_case *c)
{
	bool indirect = one_in(g, 2);
	unsigned int reg = branch_register(g), field, to_end;

	field = indirect ? put_code_address(g, c, reg) : put_jump(c, 0xe8, NEAR);
	if (indirect)
		put_indirect(g, c, reg, 2);
	to_end = put_jump(c, 0xeb, NEAR);
	if (indirect)
		land_address(g, c, field, c->bytes);
	else
		land(c, field, NEAR, c->bytes);
	add_name(c, "call(");
	put_any(g, c, VP_RSP, false);
	put_return(g, c);
	add_name(c, ")");
	land(c, to_end, NEAR, c->bytes);
}

/* --- strings, flags, saved states --- */

static void put_mov_imm(struct test_case *c, unsigned int reg, uint32_t value)
{
	put(c, 0xb8 | reg);
	put_bytes(c, value, 4);
}

/* A string instruction with operands that make sense; a large count ends in a fault. */
static void put_string(struct generator *g, struct test_case *c)
{
	static const uint8_t opcodes[] = {0xa4, 0xa6, 0xaa, 0xac, 0xae};
	static const uint8_t repeats[] = {0, 0xf2, 0xf3, 0xf3};
	uint8_t repeat = repeats[below(g, ARRAY_SIZE(repeats))];

	if (one_in(g, 4))
		put(c, 0xfc | below(g, 2)); /* cld, std */
	put_mov_imm(c, VP_RSI, data_address(g));
	put_mov_imm(c, VP_RDI, one_in(g, 3) ? data_address(g) : DATA_VA + below(g, DATA_BYTES));
	put_mov_imm(c, VP_RCX, one_in(g, 8) ? below(g, 5000) : below(g, 40));
	if (one_in(g, 8))
		PUT(c, "\x31\xc0"); /* xor eax, eax: for a longer SCAS */
	if (!g->code32 && one_in(g, 8))
		put(c, 0x67);
	if (one_in(g, 4))
		put(c, 0x66);
	if (one_in(g, 16))
		put(c, 0x65);
	if (repeat)
		put(c, repeat);
	if (!g->code32 && one_in(g, 3))
		put(c, 0x48);
	put(c, opcodes[below(g, ARRAY_SIZE(opcodes))] + below(g, 2));
	add_name(c, repeat ? "rep-string" : "string");
}

/* push imm; popf */
static void put_popf(struct generator *g, struct test_case *c)
{
	put(c, 0x68);
	put_bytes(c, (random64(g) & 0xcd5) | 0x202, 4);
	put(c, 0x9d);
	add_name(c, "popf");
}

static void put_move_of_flags(struct generator *g, struct test_case *c)
{
	if (one_in(g, 2))
		put_popf(g, c);
	put(c, 0x9c); /* pushf; pop reg */
	put(c, 0x58 | (branch_register(g) & 7));
	add_name(c, "pushf");
}

/* MASKMOVQ, MASKMOVDQU: for bytes whose mask is 0 processors may or may not fault, so none do here.
 */
static void put_masked_move(struct generator *g, struct test_case *c)
{
	put_mov_imm(c, VP_RDI, DATA_VA + below(g, READ_ONLY_PAGE * PAGE_BYTES - 16));
	if (one_in(g, 2))
		put(c, 0x66);
	PUT(c, "\x0f\xf7");
	put(c, 0xc0 | below(g, 64));
	add_name(c, "maskmov");
}

/* Decimal adjustments, of which some flags are undefined: the others go to AH. */
static void put_decimal(struct generator *g, struct test_case *c)
{
	static const struct {
		uint8_t opcode, flags;
		bool has_imm;
	} rows[] = {{0x27, FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF, false},
		    {0x2f, FLAG_SF | FLAG_ZF | FLAG_AF | FLAG_PF | FLAG_CF, false},
		    {0x37, FLAG_AF | FLAG_CF, false},
		    {0x3f, FLAG_AF | FLAG_CF, false},
		    {0xd4, FLAG_SF | FLAG_ZF | FLAG_PF, true},
		    {0xd5, FLAG_SF | FLAG_ZF | FLAG_PF, true}};
	unsigned int row = below(g, ARRAY_SIZE(rows));

	if (one_in(g, 4)) { /* PUSHA, POPA: where in the page they fault is nobody's business */
		put_mov_imm(c, VP_RSP, DATA_VA + 64 + below(g, READ_ONLY_PAGE * PAGE_BYTES - 128));
		if (one_in(g, 4))
			put(c, 0x66);
		put(c, 0x60 + below(g, 2));
		add_name(c, "pusha");
		return;
	}
	put(c, rows[row].opcode);
	if (rows[row].has_imm)
		put(c, one_in(g, 2) ? 10 : below(g, 256));
	PUT(c, "\x89\xc3\x9f\x80\xe4"); /* mov ebx, eax; lahf; and ah, flags */
	put(c, rows[row].flags);
	PUT(c, "\x39\xe4"); /* cmp esp, esp */
	add_name(c, "decimal");
}

/*
 * A gather: its indexes are shifted down to something small. A fault in the middle is not like any
 * other (elements before it are done), so there is none.
 */
static void put_gather(struct generator *g, struct test_case *c)
{
	unsigned int destination = below(g, 8), index = (destination + 1 + below(g, 3)) & 7;
	unsigned int mask = (destination + 5 + below(g, 3)) & 7, opcode = 0x90 + below(g, 4);
	uint8_t w = below(g, 2) << 7, l = below(g, 2) << 2;

	if (index == mask)
		return;
	put_mov_imm(c, VP_RBX, DATA_VA + PAGE_BYTES + below(g, 2 * PAGE_BYTES));
	put(c, 0xc4); /* vpsrld or vpsrlq index, index, count */
	put(c, 0xe1);
	put(c, (~index & 15) << 3 | 4 | 1);
	put(c, opcode & 1 ? 0x73 : 0x72);
	put(c, 0xd0 | index);
	put(c, opcode & 1 ? 56 : 24);
	put(c, 0xc4);
	put(c, 0xe2);
	put(c, w | (~mask & 15) << 3 | l | 1);
	put(c, opcode);
	put(c, 4 | destination << 3);
	put(c, below(g, 4) << 6 | index << 3 | 3);
	add_name(c, "gather");
}

/* Instructions that use or change flags, with memory accesses between them. */
static void put_chain(struct generator *g, struct test_case *c)
{
	unsigned int count = 2 + below(g, 4);

	for (unsigned int i = 0; i < count; i++)
		put_template(g, c, g->chain[below(g, g->chain_count)], NO_REG, true);
}

/* What of a saved x87 state depends on where the code ran: its instruction and data pointers. */
struct save {
	const char *name, *store, *load; /* with [rbx] as the operand */
	uint8_t store_bytes, load_bytes;
	uint8_t first, last; /* bytes to clear in between */
};
static const struct save saves[] = {
	{"fnstenv", "\xd9\x33", "\xd9\x23", 2, 2, 12, 28},
	{"fnsave", "\xdd\x33", "\xdd\x23", 2, 2, 12, 28},
	{"fxsave", "\x0f\xae\x03", "\x0f\xae\x0b", 3, 3, 8, 24},
	/* The rest in 64-bit code only: elsewhere the engine saves XMM8 to XMM15, too. */
	{"xsave", "\x0f\xae\x23", "\x0f\xae\x2b", 3, 3, 8, 24},
	{"xsavec", "\x0f\xc7\x23", "\x0f\xae\x2b", 3, 3, 8, 24},
};

static void put_save(struct generator *g, struct test_case *c)
{
	const struct save *save = &saves[below(g, g->code32		   ? 3
						  : g->host.xsave_as_guest ? ARRAY_SIZE(saves)
									   : 3)];
	/* Where a fault at a page crossing is reported differs between processors: none here. */
	uint64_t area = DATA_VA + 64 * below(g, READ_ONLY_PAGE * 64 - 16);

	put_mov_imm(c, VP_RBX, area + (one_in(g, 8) ? below(g, 64) : 0));
	put_mov_imm(c, VP_RAX, below(g, 2) ? 7 : below(g, 8));
	PUT(c, "\x31\xd2"); /* xor edx, edx */
	/* What is in its initial state, and so not in XSTATE_BV, a processor may see or miss. */
	if (save->name[0] == 'x')
		PUT(c, "\xc5\xfd\x76\xc0\xd9\xe8"); /* vpcmpeqd ymm0, ymm0, ymm0; fld1 */
	for (unsigned int i = 0; i < 64 && save->name[0] == 'x'; i += 4) {
		PUT(c, "\xc7\x83"); /* mov dword [rbx + 512 + i], 0 */
		put_bytes(c, 512 + i, 4);
		put_bytes(c, 0, 4);
	}
	put_all(c, save->store, save->store_bytes);
	for (unsigned int i = save->first; i < save->last; i += 4) {
		PUT(c, "\xc7\x43"); /* mov dword [rbx + i], 0 */
		put(c, i);
		put_bytes(c, 0, 4);
	}
	if (save->first == 8)
		PUT(c, "\x66\xc7\x43\x06\x00\x00"); /* mov word [rbx + 6], 0: the opcode */
	add_name(c, save->name);
	if (one_in(g, 2))
		return;
	put_any(g, c, VP_RBX, true);
	put_mov_imm(c, VP_RAX, below(g, 2) ? 7 : below(g, 8));
	PUT(c, "\x31\xd2");
	put_all(c, save->load, save->load_bytes);
	add_name(c, "restore");
}

/* --- cases --- */

static void put_item(struct generator *g, struct test_case *c)
{
	static void (*const branches[])(struct generator * g, struct test_case * c) = {
		put_forward, put_forward,	 put_jcxz,	    put_counted,
		put_loop,    put_back_and_forth, put_jump_indirect, put_call,
	};

	static void (*const others[])(struct generator * g, struct test_case * c) = {
		put_move_of_flags, put_save, put_masked_move, put_gather, put_decimal,
	};

	switch (below(g, 20)) {
	case 0 ... 2: branches[below(g, ARRAY_SIZE(branches))](g, c); break;
	case 3: put_string(g, c); break;
	case 4 ... 5: put_chain(g, c); break;
	case 6: others[below(g, ARRAY_SIZE(others) - !g->code32)](g, c); break;
	default: put_any(g, c, NO_REG, true);
	}
}

static void choose_roles(struct generator *g)
{
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++) {
		unsigned int draw = below(g, 20);

		g->roles[i] = draw < 9 ? POINTER : draw < 12 ? INDEX : VALUE;
	}
	g->roles[VP_RSP] = POINTER;
}

static uint64_t role_value(struct generator *g, enum role role)
{
	switch (role) {
	case POINTER: return data_address(g);
	case INDEX: return (int64_t)below(g, 64) - 32;
	default: return interesting(g);
	}
}

static void random_words(struct generator *g, uint8_t *bytes, unsigned int count)
{
	for (unsigned int i = 0; i < count; i += 8) {
		uint64_t value = interesting(g);

		memcpy(bytes + i, &value, 8);
	}
}

/* Control words: mostly all exceptions masked, any rounding. */
static void random_vector_state(struct generator *g, uint8_t *xsave)
{
	static const uint16_t precision[] = {0, 0x200, 0x300, 0x300};
	uint16_t control = precision[below(g, 4)] | (one_in(g, 4) ? below(g, 4) << 10 : 0) | 0x7f;
	uint16_t status = (random64(g) & 0x4700) | (one_in(g, 2) ? below(g, 8) << 11 : 0);
	uint32_t mxcsr = 0x1f80 | (one_in(g, 4) ? random64(g) & 0xe07f : 0);

	random_words(g, xsave + 32, 464 - 32);
	random_words(g, xsave + 576, 256);
	for (unsigned int i = 0; i < 8;
	     i++) /* 80-bit registers: the rest of each 16 bytes is reserved */
		memset(xsave + 32 + i * 16 + 10, 0, 6);
	if (one_in(g, 16))
		mxcsr &= ~(random64(g) & 0x1f80) & ~0x3fu;
	if (one_in(g, 16))
		control &= ~(random64(g) & 0x3f);
	memcpy(xsave, &control, 2);
	memcpy(xsave + 2, &status, 2);
	xsave[4] = one_in(g, 2) ? 0xff : random64(g);
	memcpy(xsave + 24, &mxcsr, 4);
	memcpy(xsave + 512, &(uint64_t){7}, 8);
}

static void random_machine(struct generator *g, struct machine_state *state)
{
	memset(state, 0, offsetof(struct machine_state, data));
	state->code32 = g->code32;
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++) {
		state->gpr[i] = role_value(g, g->roles[i]);
		if (g->code32)
			state->gpr[i] = (uint32_t)state->gpr[i];
	}
	if (below(g, 4))
		state->gpr[VP_RSP] &= ~7ull;
	state->gs_base = below(g, 64);
	state->rflags = 0x202 | (random64(g) & 0x8d5) | (one_in(g, 16) ? FLAG_DF : 0);
	random_words(g, state->data, DATA_BYTES);
	random_vector_state(g, state->xsave);
}

unsigned int generator_before_page_end(struct generator *g)
{
	return one_in(g, 64) ? 1 + below(g, 60) : 0;
}

void generate_case(struct generator *g, uint64_t va, struct test_case *c)
{
	unsigned int items = 1 + below(g, one_in(g, 8) ? 10 : 3);

	c->bytes = c->used_count = 0;
	c->names[0] = '\0';
	c->va = va;
	choose_roles(g);
	for (unsigned int i = 0; i < items && c->bytes < CASE_MAX_BYTES - 250; i++)
		put_item(g, c);
	put(c, 0xcc);
	random_machine(g, &c->start);
	c->start.rip = va;
}

/* --- afterwards --- */

static bool is_branch(const struct insn *insn)
{
	return insn->kind == OP_SPECIAL && insn->id >= SPECIAL_CALL_REL && insn->id <= SPECIAL_LOOP;
}

uint64_t generate_live_flags(const struct generator *g, const struct test_case *c, uint64_t rip)
{
	struct insn insns[CASE_MAX_BYTES];
	unsigned int count = 0;
	uint64_t live = FLAGS_ARITH;

	if (rip - c->va >= c->bytes)
		return 0; /* a return address was damaged: code of another case ran */
	for (uint64_t at = rip - c->va; at < c->bytes; at += insns[count++].length) {
		if (decode(c->code + at, MIN(c->bytes - at, 15ul),
			   g->code32 ? DECODE_32 : DECODE_64, &insns[count]) != DECODE_OK)
			break;
		if (insns[count].kind == OP_HELPER ||
		    is_branch(&insns[count])) /* all flags matter there */
			break;
	}
	while (count-- > 0)
		live = (live & ~insns[count].flags_written) | insns[count].flags_read;
	return live;
}

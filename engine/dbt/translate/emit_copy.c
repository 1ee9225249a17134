/*
 * emit_copy.c - identity translation: the same instruction with its operands put in place
 *
 * A memory operand becomes [S1], the host address. A guest R14 or R15 named by a register field
 * is loaded into the host register of the same number when there is no memory operand, so the
 * encoding stays as it is; beside a memory operand it goes to S2.
 */
#include "translate_internal.h"

static void encode_rex(struct emit *e, const struct insn *insn, unsigned int reg, unsigned int rm)
{
	uint8_t rex = insn->w << 3 | (reg >> 3) << 2 | rm >> 3;

	if (rex || insn->rex)
		emit8(e, 0x40 | rex);
}

static void encode_vex(struct emit *e, const struct insn *insn, unsigned int reg, unsigned int rm,
		       unsigned int vvvv)
{
	emit8(e, 0xc4);
	emit8(e, (reg < 8) << 7 | 1 << 6 | (rm < 8) << 5 | insn->map);
	emit8(e, insn->w << 7 | (~vvvv & 15) << 3 | insn->vex_l << 2 | insn->vex_pp);
}

static void encode_opcode(struct emit *e, const struct insn *insn, unsigned int rm)
{
	static const uint8_t second[] = {[2] = 0x38, [3] = 0x3a};

	if (!insn->vex && insn->map >= 1)
		emit8(e, 0x0f);
	if (!insn->vex && insn->map >= 2)
		emit8(e, second[insn->map]);
	if (!insn->has_modrm && insn->rm_use)
		emit8(e, (insn->opcode & ~7) | (rm & 7));
	else
		emit8(e, insn->opcode);
}

/* @memory: @rm is the base register of the operand */
static void encode(struct translation *t, const struct insn *insn, unsigned int reg, unsigned int rm,
		   unsigned int vvvv, bool memory)
{
	struct emit *e = &t->e;

	if (insn->lock)
		emit8(e, 0xf0);
	if (insn->emit_66 && !insn->vex)
		emit8(e, 0x66);
	if (insn->emit_rep && !insn->vex)
		emit8(e, insn->emit_rep);
	if (insn->vex)
		encode_vex(e, insn, reg, rm, vvvv);
	else
		encode_rex(e, insn, insn->has_modrm ? reg : 0, insn->has_modrm || insn->rm_use ? rm : 0);
	encode_opcode(e, insn, rm);
	if (insn->has_modrm && memory)
		emit_address(e, reg, rm, 0);
	else if (insn->has_modrm)
		emit_modrm(e, 3, reg, rm);
	emit_bytes(e, insn->imm, insn->imm_bytes);
}

struct field {
	uint8_t guest, use;
};

/* The register fields of @insn that name displaced general registers. */
static unsigned int displaced_fields(const struct insn *insn, struct field fields[3])
{
	const struct field all[] = {
		{insn->reg, insn->reg_use},
		{insn->rm, insn->mem ? 0 : insn->rm_use},
		{insn->vvvv, insn->vvvv_use},
	};
	unsigned int count = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(all); i++)
		if (all[i].use && is_displaced(all[i].guest))
			fields[count++] = all[i];
	return count;
}

static void copy_registers(struct translation *t, const struct insn *insn)
{
	struct field fields[3];
	unsigned int count = displaced_fields(insn, fields);

	flags_for_operation(t, insn, S1);
	add_point(t, t->offsets[t->current]);
	for (unsigned int i = 0; i < count; i++)
		if (fields[i].use & USE_READ)
			emit_load_gs(&t->e, fields[i].guest, GPR(fields[i].guest));
	encode(t, insn, insn->reg, insn->rm, insn->vvvv, false);
	for (unsigned int i = 0; i < count; i++)
		if (fields[i].use & USE_WRITE)
			emit_store_gs(&t->e, fields[i].guest, GPR(fields[i].guest));
}

/*
 * AH, CH, DH and BH cannot be encoded together with a REX prefix, which [S1] needs: the address
 * goes through RDI instead.
 */
static void copy_high_byte(struct translation *t, const struct insn *insn)
{
	emit_mov(&t->e, S2, RDI, 8);
	emit_mov(&t->e, RDI, S1, 8);
	add_point(t, t->offsets[t->current]);
	encode(t, insn, insn->reg, RDI, insn->vvvv, true);
	emit_mov(&t->e, RDI, S2, 8);
}

static void copy_memory(struct translation *t, const struct insn *insn)
{
	unsigned int access = (insn->mem_use & USE_READ ? ACCESS_READ : 0) |
			      (insn->mem_use & USE_WRITE ? ACCESS_WRITE : 0);
	bool reg = insn->reg_use && is_displaced(insn->reg);
	bool vvvv = insn->vvvv_use && is_displaced(insn->vvvv);
	/* MULX writes two registers: the second one may take the place of the address. */
	unsigned int vvvv_host = insn->vvvv_use == USE_WRITE && reg ? S1 : S2;

	linear_address(t, insn, insn->mem_bytes, access);
	host_address(t, insn->mem_bytes, access | (insn->mem_aligned ? ACCESS_ALIGNED : 0) | (insn->seg == VP_SS ? ACCESS_STACK : 0));
	flags_for_operation(t, insn, S2);
	if (insn->reg_use && insn->reg_is_byte && !insn->rex && insn->reg >= 4 && insn->reg < 8) {
		copy_high_byte(t, insn);
		return;
	}
	if (reg && (insn->reg_use & USE_READ))
		emit_load_gs(&t->e, S2, GPR(insn->reg));
	if (vvvv && (insn->vvvv_use & USE_READ))
		emit_load_gs(&t->e, S2, GPR(insn->vvvv));
	add_point(t, t->offsets[t->current]);
	encode(t, insn, reg ? S2 : insn->reg, S1, vvvv ? vvvv_host : insn->vvvv, true);
	/* If MULX names one register twice, the high half, which goes to reg, is what remains. */
	if (vvvv && (insn->vvvv_use & USE_WRITE))
		emit_store_gs(&t->e, vvvv_host, GPR(insn->vvvv));
	if (reg && (insn->reg_use & USE_WRITE))
		emit_store_gs(&t->e, S2, GPR(insn->reg));
}

/* VZEROUPPER and VZEROALL outside 64-bit mode, where YMM8 to YMM15 do not exist: one by one. */
static void clear_eight_vectors(struct translation *t, const struct insn *insn)
{
	for (unsigned int i = 0; i < 8; i++) {
		emit8(&t->e, 0xc5);
		if (insn->vex_l) { /* vpxor i, i, i */
			emit8(&t->e, 0x80 | (~i & 15) << 3 | 1);
			emit8(&t->e, 0xef);
		} else { /* vmovaps i, i */
			emit8(&t->e, 0xf8);
			emit8(&t->e, 0x28);
		}
		emit_modrm(&t->e, 3, i, i);
	}
}

static bool is_vzero(const struct insn *insn)
{
	return insn->vex && insn->map == 1 && insn->opcode == 0x77;
}

void emit_copy(struct translation *t, const struct insn *insn)
{
	if (unlikely(is_vzero(insn) && !(t->mode & MODE_CODE64))) {
		add_point(t, t->offsets[t->current]);
		clear_eight_vectors(t, insn);
		return;
	}
	if (insn->mem)
		copy_memory(t, insn);
	else
		copy_registers(t, insn);
}

/*
 * decode.c - from bytes to struct insn
 *
 * An instruction is taken apart in the order of its bytes: prefixes (legacy, REX, VEX), opcode,
 * ModRM, SIB, displacement, immediates. The row of tables.c says what the bytes after the opcode
 * are; the code here knows fields and sizes, never single instructions.
 *
 * Invariants:
 *  1. No byte at or past d->limit is read: everything goes through take(), which fails there, and
 *     failure is "truncated" or, when the limit is the architecture's 15 bytes, "too long".
 *  2. A row is used only after every split (BY_...) on the way to it was decided by bytes seen.
 *  3. What is left in struct insn re-encodes as 64-bit code, whatever the mode was: REX.W or VEX.W
 *     is set only where it counts, register numbers are below 8 outside 64-bit mode.
 */
#include <string.h>

#include "rows.h"

#define MAX_INSN_BYTES 15

enum prefix_column { COLUMN_NONE, COLUMN_66, COLUMN_F3, COLUMN_F2 };

struct decoding {
	const uint8_t *bytes;
	unsigned int pos, limit;
	int mode;
	uint8_t rex; /* the prefix, or its bits gathered from VEX; 0: none */
	bool size_override, address_override;
	uint8_t modrm;
	uint8_t column;	 /* enum prefix_column that was used to choose the row */
	uint8_t segment; /* override or NO_REG */
	uint8_t osz;	 /* effective operand size */
	bool by_osz;	 /* an operand's size follows it */
	struct insn *insn;
};

#define REX_W 8u
#define REX_R 4u
#define REX_X 2u
#define REX_B 1u

/* --- bytes --- */

static enum decode_status out_of_bytes(const struct decoding *d)
{
	return d->limit == MAX_INSN_BYTES ? DECODE_TOO_LONG : DECODE_TRUNCATED;
}

static bool take(struct decoding *d, uint8_t *ret_byte)
{
	if (unlikely(d->pos >= d->limit))
		return false;
	*ret_byte = d->bytes[d->pos++];
	return true;
}

/* A little-endian number of @count bytes, sign-extended. */
static bool take_signed(struct decoding *d, unsigned int count, int64_t *ret_value)
{
	uint64_t value = 0;
	unsigned int unused_bits = 64 - 8 * count;

	if (unlikely(d->limit - d->pos < count))
		return false;
	for (unsigned int i = 0; i < count; i++)
		value |= (uint64_t)d->bytes[d->pos + i] << 8 * i;
	d->pos += count;
	*ret_value = (int64_t)(value << unused_bits) >> unused_bits;
	return true;
}

static uint64_t zero_extend(int64_t value, unsigned int bytes)
{
	return bytes == 8 ? (uint64_t)value : (uint64_t)value & (BIT(8 * bytes) - 1);
}

/* --- prefixes --- */

enum prefix_class {
	NOT_A_PREFIX,
	PREFIX_ES, /* in the order of enum vp_segment_index */
	PREFIX_CS,
	PREFIX_SS,
	PREFIX_DS,
	PREFIX_FS,
	PREFIX_GS,
	PREFIX_SIZE,
	PREFIX_ADDRESS,
	PREFIX_LOCK,
	PREFIX_REPNE,
	PREFIX_REP,
	PREFIX_REX
};

static const uint8_t prefix_classes[256] = {
	[0x26] = PREFIX_ES,    [0x2e] = PREFIX_CS,	[0x36] = PREFIX_SS,
	[0x3e] = PREFIX_DS,    [0x64] = PREFIX_FS,	[0x65] = PREFIX_GS,
	[0x66] = PREFIX_SIZE,  [0x67] = PREFIX_ADDRESS, [0xf0] = PREFIX_LOCK,
	[0xf2] = PREFIX_REPNE, [0xf3] = PREFIX_REP,	[0x40 ... 0x4f] = PREFIX_REX};

static void note_segment(struct decoding *d, uint8_t segment)
{
	if (d->mode != DECODE_64 || segment >= VP_FS)
		d->segment = segment;
}

static void note_prefix(struct decoding *d, uint8_t class)
{
	struct insn *insn = d->insn;

	switch (class) {
	case PREFIX_SIZE: d->size_override = true; break;
	case PREFIX_ADDRESS: d->address_override = true; break;
	case PREFIX_LOCK: insn->lock = true; break;
	case PREFIX_REPNE: /* the last of F2 and F3 counts */
	case PREFIX_REP:
		insn->rep = class == PREFIX_REP;
		insn->repne = class == PREFIX_REPNE;
		break;
	default: note_segment(d, class - PREFIX_ES + VP_ES); break;
	}
}

/* Take prefixes and the first byte after them. A REX counts only right before the opcode. */
static bool take_prefixes(struct decoding *d, uint8_t *ret_opcode)
{
	uint8_t byte, class;

	for (;;) {
		if (!take(d, &byte))
			return false;
		class = prefix_classes[byte];
		if (class == NOT_A_PREFIX || (class == PREFIX_REX && d->mode != DECODE_64))
			break;
		d->rex = class == PREFIX_REX ? byte : 0;
		if (class != PREFIX_REX)
			note_prefix(d, class);
	}
	*ret_opcode = byte;
	return true;
}

/* C4 and C5 are LES and LDS where the byte after them is a memory form of ModRM. */
static bool starts_vex(const struct decoding *d, uint8_t opcode)
{
	if ((opcode & 0xfe) != 0xc4 || d->mode == DECODE_16)
		return false;
	return d->mode == DECODE_64 || (d->pos < d->limit && d->bytes[d->pos] >= 0xc0);
}

static enum decode_status take_vex(struct decoding *d, uint8_t *opcode)
{
	struct insn *insn = d->insn;
	bool refused = d->size_override || insn->rep || insn->repne || insn->lock || d->rex;
	uint8_t first, last, map = 1;

	if (!take(d, &first))
		return out_of_bytes(d);
	last = first;
	d->rex = first & 0x80 ? 0 : REX_R;
	if (*opcode == 0xc4) {
		if (!take(d, &last))
			return out_of_bytes(d);
		map = first & 31;
		d->rex = (~first >> 5 & 7) | (last >> 4 & REX_W);
	}
	if (refused || map < 1 || map > 3)
		return DECODE_INVALID;
	if (!take(d, opcode))
		return out_of_bytes(d);
	if (d->mode != DECODE_64)
		d->rex &= REX_W;
	insn->vex = true;
	insn->map = map;
	insn->vex_l = last >> 2 & 1;
	insn->vex_pp = last & 3;
	insn->vvvv = ~last >> 3 & 15;
	return DECODE_OK;
}

static enum decode_status take_escapes(struct decoding *d, uint8_t *opcode)
{
	struct insn *insn = d->insn;

	if (*opcode != 0x0f)
		return DECODE_OK;
	if (!take(d, opcode))
		return out_of_bytes(d);
	insn->map = 1;
	if (*opcode != 0x38 && *opcode != 0x3a)
		return DECODE_OK;
	insn->map = *opcode == 0x38 ? 2 : 3;
	return take(d, opcode) ? DECODE_OK : out_of_bytes(d);
}

/* --- the row --- */

static bool take_modrm(struct decoding *d)
{
	struct insn *insn = d->insn;

	if (insn->has_modrm)
		return true;
	if (!take(d, &d->modrm))
		return false;
	insn->has_modrm = true;
	insn->mod = d->modrm >> 6;
	insn->reg = (d->modrm >> 3 & 7) | (d->rex & REX_R ? 8 : 0);
	insn->rm = (d->modrm & 7) | (d->rex & REX_B ? 8 : 0);
	return true;
}

static unsigned int prefix_column(struct decoding *d)
{
	const struct insn *insn = d->insn;

	if (insn->vex)
		d->column = insn->vex_pp;
	else if (insn->rep)
		d->column = COLUMN_F3;
	else if (insn->repne)
		d->column = COLUMN_F2;
	else
		d->column = d->size_override ? COLUMN_66 : COLUMN_NONE;
	return d->column;
}

static unsigned int selected(struct decoding *d, uint8_t select)
{
	switch (select) {
	case BY_PREFIX_: return prefix_column(d);
	case BY_REG_: return d->modrm >> 3 & 7;
	case BY_MOD_: return d->modrm >= 0xc0;
	case BY_RM_: return d->modrm & 7;
	case BY_MODE_: return d->mode == DECODE_64;
	case BY_W_: return (d->rex & REX_W) != 0;
	case BY_L_: return d->insn->vex_l;
	case BY_VEX_: return d->insn->vex;
	default: return (d->rex & REX_B) != 0;
	}
}

static enum decode_status find_row(struct decoding *d, const struct opcode_row **ret_row)
{
	const struct opcode_row *row = &opcode_maps[d->insn->map][d->insn->opcode];

	while (row->select != ROW_LEAF) {
		bool by_modrm = row->select >= BY_REG_ && row->select <= BY_RM_;

		if (by_modrm && !take_modrm(d))
			return out_of_bytes(d);
		row = &row->rows[selected(d, row->select)];
	}
	*ret_row = row;
	return row->name ? DECODE_OK : DECODE_INVALID;
}

static bool names_vvvv(const struct opcode_row *row)
{
	for (unsigned int i = 0; i < 4; i++)
		if (OPERAND_FIELD(row->operands[i]) == FIELD_VVVV)
			return true;
	return false;
}

static bool vex_allowed(const struct decoding *d, const struct opcode_row *row)
{
	const struct insn *insn = d->insn;
	uint32_t refused = (insn->vex_l ? L0 : L1) | (d->rex & REX_W ? W0 : W1);

	if (!insn->vex)
		return !(row->rules & VEX_ONLY);
	return (row->rules & (VEX_ONLY | VEX_TOO)) && !(row->rules & refused) &&
	       (insn->vvvv == 0 || names_vvvv(row));
}

static bool row_allowed(const struct decoding *d, const struct opcode_row *row)
{
	if (row->rules & (d->mode == DECODE_64 ? I64 : O64))
		return false;
	return vex_allowed(d, row);
}

/* --- sizes --- */

static unsigned int operand_size(const struct decoding *d, const struct opcode_row *row)
{
	bool word = d->size_override != (d->mode == DECODE_16);

	if (d->mode != DECODE_64)
		return word ? 2 : 4;
	if (row->rules & F64 || d->rex & REX_W)
		return 8;
	if (word)
		return 2;
	return row->rules & D64 ? 8 : 4;
}

static unsigned int address_size(const struct decoding *d)
{
	static const uint8_t sizes[3][2] = {{2, 4}, {4, 2}, {8, 4}};

	return sizes[d->mode][d->address_override];
}

static unsigned int vector_bytes(const struct decoding *d)
{
	return d->insn->vex_l ? 32 : 16;
}

static unsigned int mode_bytes(const struct decoding *d)
{
	return d->mode == DECODE_64 ? 8 : 4;
}

static unsigned int y_bytes(const struct decoding *d)
{
	return d->mode == DECODE_64 && d->rex & REX_W ? 8 : 4;
}

static unsigned int bytes_by_osz(const struct decoding *d, unsigned int size, bool memory)
{
	switch (size) {
	case SIZE_Z: return MIN(d->osz, 4);
	case SIZE_VW: return memory ? 2 : d->osz;
	case SIZE_P: return d->osz + 2;
	case SIZE_A: return 2 * d->osz;
	case SIZE_ENV: return d->osz == 2 ? 14 : 28;
	case SIZE_SAVE: return d->osz == 2 ? 94 : 108;
	default: return d->osz;
	}
}

static unsigned int operand_bytes(struct decoding *d, unsigned int size, bool memory)
{
	static const uint8_t fixed[] = {[SIZE_B] = 1, [SIZE_W] = 2,   [SIZE_D] = 4,
					[SIZE_Q] = 8, [SIZE_DQ] = 16, [SIZE_T] = 10};

	switch (size) {
	case SIZE_NONE ... SIZE_T: return fixed[size];
	case SIZE_FX: return 512;
	case SIZE_DW: return memory ? 2 : 4;
	case SIZE_DB: return memory ? 1 : 4;
	case SIZE_Y: return y_bytes(d);
	case SIZE_YY: return 2 * y_bytes(d);
	case SIZE_M: return mode_bytes(d);
	case SIZE_S: return mode_bytes(d) == 8 ? 10 : 6;
	case SIZE_X: return vector_bytes(d);
	case SIZE_XH: return vector_bytes(d) / 2;
	case SIZE_XQ: return vector_bytes(d) / 4;
	case SIZE_XO: return vector_bytes(d) / 8;
	case SIZE_DUP: return d->insn->vex_l ? 32 : 8;
	default: d->by_osz = true; return bytes_by_osz(d, size, memory);
	}
}

/* --- memory operands --- */

static bool take_displacement(struct decoding *d, unsigned int bytes)
{
	return bytes == 0 || take_signed(d, bytes, &d->insn->disp);
}

static bool take_address_16(struct decoding *d)
{
	enum { BX = 3, SP = 4, BP = 5, SI = 6, DI = 7 };
	static const uint8_t bases[8] = {BX, BX, BP, BP, SI, DI, BP, BX};
	static const uint8_t indexes[8] = {SI, DI, SI, DI, NO_REG, NO_REG, NO_REG, NO_REG};
	struct insn *insn = d->insn;
	unsigned int rm = d->modrm & 7;

	insn->base = insn->mod == 0 && rm == 6 ? NO_REG : bases[rm];
	insn->index = indexes[rm];
	insn->seg = insn->base == BP ? VP_SS : VP_DS;
	return take_displacement(d, insn->base == NO_REG ? 2 : insn->mod);
}

static bool take_sib(struct decoding *d, bool vsib)
{
	struct insn *insn = d->insn;
	uint8_t sib;

	if (!take(d, &sib))
		return false;
	insn->scale = 1 << (sib >> 6);
	insn->index = (sib >> 3 & 7) | (d->rex & REX_X ? 8 : 0);
	if (insn->index == 4 && !vsib) {
		insn->index = NO_REG;
		insn->scale = 1;
	}
	insn->base = (sib & 7) | (d->rex & REX_B ? 8 : 0);
	if ((sib & 7) == 5 && insn->mod == 0)
		insn->base = NO_REG;
	return true;
}

static bool take_address_32(struct decoding *d, bool vsib)
{
	struct insn *insn = d->insn;
	static const uint8_t displacements[3] = {0, 1, 4};
	unsigned int bytes = displacements[insn->mod];

	if ((d->modrm & 7) == 4) {
		if (!take_sib(d, vsib))
			return false;
		if (insn->base == NO_REG)
			bytes = 4;
	} else if (insn->mod == 0 && (d->modrm & 7) == 5) {
		insn->rip_relative = d->mode == DECODE_64;
		bytes = 4;
	} else {
		insn->base = insn->rm;
	}
	insn->seg = insn->base == 4 || insn->base == 5 ? VP_SS : VP_DS;
	return take_displacement(d, bytes);
}

static enum decode_status take_memory(struct decoding *d, const struct opcode_row *row)
{
	struct insn *insn = d->insn;
	bool taken;

	insn->mem = true;
	if (row->rules & VSIB && (insn->address_bytes == 2 || (d->modrm & 7) != 4))
		return DECODE_INVALID;
	if (insn->address_bytes == 2)
		taken = take_address_16(d);
	else
		taken = take_address_32(d, row->rules & VSIB);
	return taken ? DECODE_OK : out_of_bytes(d);
}

/* ModRM, if the row has one, and what it brings. */
static enum decode_status take_address(struct decoding *d, const struct opcode_row *row)
{
	struct insn *insn = d->insn;
	unsigned int fields = 0;

	for (unsigned int i = 0; i < 4; i++)
		fields |= 1u << OPERAND_FIELD(row->operands[i]);
	if (fields & FIELDS_WITH_MODRM && !take_modrm(d))
		return out_of_bytes(d);
	if (row->rules & MOD_IGNORED)
		insn->mod = 3;
	if (!insn->has_modrm || insn->mod == 3)
		return DECODE_OK;
	return take_memory(d, row);
}

/* --- operands --- */

/* A write of 8 or 16 bits keeps the rest of the register. */
static uint8_t register_use(uint8_t use, unsigned int bytes)
{
	return use & USE_WRITE && bytes < 4 ? USE_READ | USE_WRITE : use;
}

static bool operand_rm(struct decoding *d, uint16_t operand, uint8_t use, unsigned int bytes)
{
	struct insn *insn = d->insn;

	if (insn->mem) {
		insn->mem_use = use;
		insn->mem_bytes = bytes;
		return operand & MEM;
	}
	if (operand & GPR) {
		insn->rm_use = use ? register_use(use, bytes) : 0;
		insn->rm_is_byte = bytes == 1;
	}
	return operand & REG;
}

static bool operand_opcode(struct decoding *d, uint8_t use, unsigned int bytes)
{
	struct insn *insn = d->insn;

	insn->mod = 3;
	insn->rm = (insn->opcode & 7) | (d->rex & REX_B ? 8 : 0);
	insn->rm_use = register_use(use, bytes);
	insn->rm_is_byte = bytes == 1;
	return true;
}

static bool operand_reg(struct decoding *d, uint16_t operand, uint8_t use, unsigned int bytes)
{
	struct insn *insn = d->insn;

	if (operand & GPR) {
		insn->reg_use = use ? register_use(use, bytes) : 0;
		insn->reg_is_byte = bytes == 1;
	}
	return true;
}

static bool operand_vvvv(struct decoding *d, uint16_t operand, uint8_t use)
{
	struct insn *insn = d->insn;

	if (d->mode != DECODE_64)
		insn->vvvv &= 7;
	if (operand & GPR)
		insn->vvvv_use = use;
	return true;
}

/* The first immediate is imm, a second one (ENTER) imm2. */
static enum decode_status operand_imm(struct decoding *d, uint16_t operand, unsigned int bytes)
{
	struct insn *insn = d->insn;
	int64_t value;

	if (!take_signed(d, bytes, &value))
		return out_of_bytes(d);
	if (!(operand & SIGNED))
		value = zero_extend(value, bytes);
	if (insn->imm_bytes)
		insn->imm2 = value;
	else
		insn->imm = value;
	insn->imm_bytes += bytes;
	return DECODE_OK;
}

static enum decode_status operand_is4(struct decoding *d)
{
	uint8_t byte;

	if (!take(d, &byte))
		return out_of_bytes(d);
	/* Bit 7 is ignored outside 64-bit mode, but would count in the copy. */
	d->insn->imm = d->mode == DECODE_64 ? byte : byte & 0x7f;
	d->insn->imm_bytes = 1;
	return DECODE_OK;
}

static enum decode_status operand_far(struct decoding *d, unsigned int bytes)
{
	struct insn *insn = d->insn;
	int64_t offset, selector;

	if (!take_signed(d, bytes, &offset) || !take_signed(d, 2, &selector))
		return out_of_bytes(d);
	insn->imm = zero_extend(offset, bytes);
	insn->imm2 = selector;
	insn->imm_bytes = bytes + 2;
	return DECODE_OK;
}

static enum decode_status operand_moffs(struct decoding *d, uint8_t use, unsigned int bytes)
{
	struct insn *insn = d->insn;

	if (!take_signed(d, insn->address_bytes, &insn->disp))
		return out_of_bytes(d);
	insn->disp = zero_extend(insn->disp, insn->address_bytes);
	insn->mem = true;
	insn->mem_use = use;
	insn->mem_bytes = bytes;
	return DECODE_OK;
}

static bool operand_segment(struct decoding *d, uint8_t segment)
{
	struct insn *insn = d->insn;

	if (insn->has_modrm)
		insn->imm2 = segment;
	else
		insn->reg = segment;
	return true;
}

static bool operand_sreg(struct decoding *d, const struct opcode_row *row)
{
	struct insn *insn = d->insn;

	insn->reg &= 7;
	return insn->reg <= VP_GS && !(row->rules & NO_CS && insn->reg == VP_CS);
}

static bool is_control_register(uint8_t number)
{
	return number == 0 || (number >= 2 && number <= 4) || number == 8;
}

static enum decode_status valid_if(bool valid)
{
	return valid ? DECODE_OK : DECODE_INVALID;
}

static enum decode_status take_operand(struct decoding *d, const struct opcode_row *row,
				       unsigned int i)
{
	struct insn *insn = d->insn;
	uint16_t operand = row->operands[i];
	unsigned int field = OPERAND_FIELD(operand), size = OPERAND_SIZE(operand);
	unsigned int bytes = operand_bytes(d, size, insn->mem);
	uint8_t use = row->uses >> 2 * i & 3;

	if (operand & (GPR | ACC) && insn->op_bytes == 0)
		insn->op_bytes = bytes;
	switch (field) {
	case FIELD_REG: return valid_if(operand_reg(d, operand, use, bytes));
	case FIELD_RM: return valid_if(operand_rm(d, operand, use, bytes));
	case FIELD_VVVV: return valid_if(!insn->vex || operand_vvvv(d, operand, use));
	case FIELD_OPCODE: return valid_if(operand_opcode(d, use, bytes));
	case FIELD_IMM: return operand_imm(d, operand, bytes);
	case FIELD_REL: return operand_imm(d, SIGNED, bytes);
	case FIELD_FAR: return operand_far(d, bytes);
	case FIELD_MOFFS: return operand_moffs(d, use, bytes);
	case FIELD_IS4: return operand_is4(d);
	case FIELD_SEGMENT: return valid_if(operand_segment(d, size));
	case FIELD_SREG: return valid_if(operand_sreg(d, row));
	case FIELD_CREG: return valid_if(is_control_register(insn->reg));
	case FIELD_DREG: return valid_if(insn->reg < 8);
	default: return DECODE_OK;
	}
}

static enum decode_status take_operands(struct decoding *d, const struct opcode_row *row)
{
	enum decode_status status;

	for (unsigned int i = 0; i < 4 && row->operands[i]; i++) {
		status = take_operand(d, row, i);
		if (unlikely(status != DECODE_OK))
			return status;
	}
	return DECODE_OK;
}

/* --- the rest --- */

static uint8_t unit_of(const struct insn *insn, const struct opcode_row *row)
{
	uint16_t classes = row->operands[0] | row->operands[1] | row->operands[2];

	if (row->rules & AS_X87)
		return UNIT_X87;
	if (classes & VEC || row->rules & AS_SSE)
		return insn->vex ? UNIT_AVX : UNIT_SSE;
	return classes & MMX || row->rules & AS_MMX ? UNIT_MMX : UNIT_INTEGER;
}

static bool is_aligned(const struct insn *insn, const struct opcode_row *row)
{
	if (!insn->mem || insn->mem_bytes < 16 || row->rules & UNALIGNED)
		return false;
	return row->rules & ALIGNED || insn->unit == UNIT_SSE;
}

static bool names_y(const struct opcode_row *row)
{
	for (unsigned int i = 0; i < 4; i++)
		if (OPERAND_SIZE(row->operands[i]) == SIZE_Y)
			return true;
	return false;
}

static void set_prefixes(const struct decoding *d, const struct opcode_row *row)
{
	static const uint8_t rep[4] = {[COLUMN_F3] = 0xf3, [COLUMN_F2] = 0xf2};
	struct insn *insn = d->insn;

	insn->w = d->rex & REX_W;
	if (insn->vex) {
		/* Ignored outside 64-bit mode; in the copy it would count. */
		if (insn->w && d->mode != DECODE_64 && names_y(row))
			insn->w = false;
		return;
	}
	insn->rex = d->rex != 0;
	insn->emit_66 = d->by_osz ? d->osz == 2 : d->column == COLUMN_66;
	insn->emit_rep = rep[d->column];
}

static void set_flags(struct insn *insn, const struct opcode_row *row)
{
	unsigned int count_mask = insn->op_bytes == 8 ? 63 : 31;

	insn->flags_read = row->flags_read;
	insn->flags_written = row->flags_written;
	if ((row->rules & COUNT_IMM && !(insn->imm & count_mask)) ||
	    (row->rules & REP_FLAGS && (insn->rep || insn->repne)))
		insn->flags_read |= insn->flags_written;
}

/* Gathers want three different registers. */
static bool vsib_allowed(const struct insn *insn)
{
	return insn->reg != insn->index && insn->reg != insn->vvvv && insn->index != insn->vvvv;
}

static enum decode_status finish(const struct decoding *d, const struct opcode_row *row)
{
	struct insn *insn = d->insn;

	if (insn->lock && !(insn->mem && row->rules & LOCKABLE))
		return DECODE_INVALID;
	if (row->rules & VSIB && !vsib_allowed(insn))
		return DECODE_INVALID;
	insn->length = d->pos;
	if (row->rules & ALIAS_OF_80)
		insn->opcode = 0x80;
	insn->kind = row->kind;
	insn->id = row->id;
	insn->name = row->rules & VEX_TOO && !insn->vex ? row->name + 1 : row->name;
	insn->unit = unit_of(insn, row);
	insn->mem_aligned = is_aligned(insn, row);
	if (!insn->op_bytes)
		insn->op_bytes = d->osz;
	if (d->segment != NO_REG)
		insn->seg = d->segment;
	set_prefixes(d, row);
	set_flags(insn, row);
	return DECODE_OK;
}

static enum decode_status take_opcode(struct decoding *d)
{
	uint8_t opcode = 0;
	enum decode_status status;

	if (!take_prefixes(d, &opcode))
		return out_of_bytes(d);
	status = starts_vex(d, opcode) ? take_vex(d, &opcode) : take_escapes(d, &opcode);
	d->insn->opcode = opcode;
	return status;
}

enum decode_status decode(const uint8_t *bytes, size_t available, int mode, struct insn *ret_insn)
{
	struct decoding d = {.bytes = bytes,
			     .limit = MIN(available, MAX_INSN_BYTES),
			     .mode = mode,
			     .segment = NO_REG,
			     .insn = ret_insn};
	const struct opcode_row *row;
	enum decode_status status;

	memset(ret_insn, 0, sizeof(*ret_insn));
	ret_insn->base = ret_insn->index = NO_REG;
	ret_insn->scale = 1;
	ret_insn->seg = VP_DS;
	status = take_opcode(&d);
	if (status == DECODE_OK)
		status = find_row(&d, &row);
	if (status != DECODE_OK)
		return status;
	if (!row_allowed(&d, row))
		return DECODE_INVALID;
	d.osz = operand_size(&d, row);
	ret_insn->address_bytes = address_size(&d);
	status = take_address(&d, row);
	if (status == DECODE_OK)
		status = take_operands(&d, row);
	return status == DECODE_OK ? finish(&d, row) : status;
}

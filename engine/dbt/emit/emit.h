/*
 * emit.h - writes x86-64 machine code
 *
 * An emitter writes through the writable mapping of the code cache; `run` is where the same byte
 * will be executed. It never writes past `limit`: then `full` is set and the rest is dropped, and
 * whoever drives it starts over with more room. Operand order is Intel's: destination first.
 */
#ifndef DBT_EMIT_H
#define DBT_EMIT_H

#include <string.h>

#include "base.h"

/* Host registers by number; the scratch registers have names of their own. */
enum { RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13, R14, R15 };
#define S1 R14
#define S2 R15

enum { CC_O, CC_NO, CC_B, CC_AE, CC_E, CC_NE, CC_BE, CC_A, CC_S, CC_NS, CC_P, CC_NP, CC_L, CC_GE, CC_LE, CC_G };

struct emit {
	uint8_t *at;         /* next byte, writable mapping */
	uint8_t *limit;
	ptrdiff_t run_delta; /* executable address = at + run_delta */
	bool full;
};

static inline void emit8(struct emit *e, uint8_t byte)
{
	if (unlikely(e->at >= e->limit)) {
		e->full = true;
		return;
	}
	*e->at++ = byte;
}
static inline void emit_bytes(struct emit *e, uint64_t value, unsigned int count)
{
	if (unlikely(e->limit - e->at < (ptrdiff_t)count)) {
		e->full = true;
		return;
	}
	for (unsigned int i = 0; i < count; i++)
		*e->at++ = value >> (8 * i);
}
static inline void emit32(struct emit *e, uint32_t value)
{
	emit_bytes(e, value, 4);
}
static inline uint8_t *emit_run_address(const struct emit *e)
{
	return e->at + e->run_delta;
}

/* REX prefix for operand width @bytes; dropped when it would be 0x40. */
static inline void emit_rex(struct emit *e, unsigned int bytes, unsigned int reg, unsigned int index,
			    unsigned int base)
{
	uint8_t rex = (bytes == 8) << 3 | (reg >> 3) << 2 | (index >> 3) << 1 | base >> 3;

	if (rex || (bytes == 1 && (reg >= 4 || base >= 4)))
		emit8(e, 0x40 | rex);
}
static inline void emit_modrm(struct emit *e, unsigned int mod, unsigned int reg, unsigned int rm)
{
	emit8(e, mod << 6 | (reg & 7) << 3 | (rm & 7));
}

/* Address [base + disp], with the forms that RSP/R12 and RBP/R13 need. */
static inline void emit_address(struct emit *e, unsigned int reg, unsigned int base, int32_t disp)
{
	unsigned int mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;

	emit_modrm(e, mod, reg, base);
	if ((base & 7) == 4)
		emit8(e, 0x24);
	if (mod)
		emit_bytes(e, (uint32_t)disp, mod == 1 ? 1 : 4);
}

/* op reg, gs:[offset]; @opcode may be two bytes (0x0fb6). */
static inline void emit_gs(struct emit *e, unsigned int opcode, unsigned int reg, uint32_t offset,
			   unsigned int bytes)
{
	emit8(e, 0x65);
	if (bytes == 2)
		emit8(e, 0x66);
	emit_rex(e, bytes, reg, 0, 0);
	if (opcode > 0xff)
		emit8(e, opcode >> 8);
	emit8(e, opcode);
	emit_modrm(e, 0, reg, 4);
	emit8(e, 0x25);
	emit32(e, offset);
}
static inline void emit_load_gs(struct emit *e, unsigned int reg, uint32_t offset)
{
	emit_gs(e, 0x8b, reg, offset, 8);
}
static inline void emit_store_gs(struct emit *e, unsigned int reg, uint32_t offset)
{
	emit_gs(e, 0x89, reg, offset, 8);
}
static inline void emit_store_gs_imm8(struct emit *e, uint32_t offset, uint8_t value)
{
	emit_gs(e, 0xc6, 0, offset, 1);
	emit8(e, value);
}
static inline void emit_store_gs_imm32(struct emit *e, uint32_t offset, uint32_t value, unsigned int bytes)
{
	emit_gs(e, 0xc7, 0, offset, bytes);
	emit32(e, value);
}
/* cmp dword gs:[offset], 0 */
static inline void emit_test_gs(struct emit *e, uint32_t offset)
{
	emit_gs(e, 0x83, 7, offset, 4);
	emit8(e, 0);
}
/* op reg, gs:[index + offset] */
static inline void emit_gs_indexed(struct emit *e, unsigned int opcode, unsigned int reg,
				   unsigned int index, uint32_t offset, unsigned int bytes)
{
	emit8(e, 0x65);
	emit_rex(e, bytes, reg, index, 0);
	emit8(e, opcode);
	emit_modrm(e, 0, reg, 4);
	emit8(e, (index & 7) << 3 | 5);
	emit32(e, offset);
}

static inline void emit_reg_reg(struct emit *e, unsigned int opcode, unsigned int reg, unsigned int rm,
				unsigned int bytes)
{
	if (bytes == 2)
		emit8(e, 0x66);
	emit_rex(e, bytes, reg, 0, rm);
	if (opcode > 0xff)
		emit8(e, opcode >> 8);
	emit8(e, opcode);
	emit_modrm(e, 3, reg, rm);
}
static inline void emit_mov(struct emit *e, unsigned int to, unsigned int from, unsigned int bytes)
{
	emit_reg_reg(e, bytes == 1 ? 0x8a : 0x8b, to, from, bytes);
}
/* Group 1 (add or adc sbb and sub xor cmp) with a 32-bit immediate. */
static inline void emit_group1(struct emit *e, unsigned int op, unsigned int reg, int32_t imm, unsigned int bytes)
{
	bool small = imm == (int8_t)imm;

	emit_rex(e, bytes, 0, 0, reg);
	emit8(e, small ? 0x83 : 0x81);
	emit_modrm(e, 3, op, reg);
	emit_bytes(e, (uint32_t)imm, small ? 1 : 4);
}
static inline void emit_mov_imm(struct emit *e, unsigned int reg, uint64_t value)
{
	if (value == (uint32_t)value) {
		emit_rex(e, 4, 0, 0, reg);
		emit8(e, 0xb8 | (reg & 7));
		emit32(e, value);
	} else if ((int64_t)value == (int32_t)value) {
		emit_rex(e, 8, 0, 0, reg);
		emit8(e, 0xc7);
		emit_modrm(e, 3, 0, reg);
		emit32(e, value);
	} else {
		emit_rex(e, 8, 0, 0, reg);
		emit8(e, 0xb8 | (reg & 7));
		emit_bytes(e, value, 8);
	}
}
/* op reg, [base + disp] (loads, stores, lea: by opcode) */
static inline void emit_reg_mem(struct emit *e, unsigned int opcode, unsigned int reg, unsigned int base,
				int32_t disp, unsigned int bytes)
{
	if (bytes == 2)
		emit8(e, 0x66);
	emit_rex(e, bytes, reg, 0, base);
	if (opcode > 0xff)
		emit8(e, opcode >> 8);
	emit8(e, opcode);
	emit_address(e, reg, base, disp);
}
static inline void emit_load(struct emit *e, unsigned int reg, unsigned int base, unsigned int bytes)
{
	if (bytes == 1)
		emit_reg_mem(e, 0x0fb6, reg, base, 0, 4);
	else if (bytes == 2)
		emit_reg_mem(e, 0x0fb7, reg, base, 0, 4);
	else
		emit_reg_mem(e, 0x8b, reg, base, 0, bytes);
}
static inline void emit_store(struct emit *e, unsigned int base, unsigned int reg, unsigned int bytes)
{
	emit_reg_mem(e, bytes == 1 ? 0x88 : 0x89, reg, base, 0, bytes);
}
static inline void emit_lea(struct emit *e, unsigned int reg, unsigned int base, int32_t disp, unsigned int bytes)
{
	emit_reg_mem(e, 0x8d, reg, base, disp, bytes);
}
/* lea reg, [base + index * scale + disp] */
static inline void emit_lea_indexed(struct emit *e, unsigned int reg, unsigned int base, unsigned int index,
				    unsigned int scale, int32_t disp, unsigned int bytes)
{
	unsigned int mod = disp == 0 && (base & 7) != 5 ? 0 : disp == (int8_t)disp ? 1 : 2;
	unsigned int log2 = scale == 8 ? 3 : scale >> 1;

	emit_rex(e, bytes, reg, index, base);
	emit8(e, 0x8d);
	emit_modrm(e, mod, reg, 4);
	emit8(e, log2 << 6 | (index & 7) << 3 | (base & 7));
	if (mod)
		emit_bytes(e, (uint32_t)disp, mod == 1 ? 1 : 4);
}
/* lea reg, [index * scale + disp] */
static inline void emit_lea_scaled(struct emit *e, unsigned int reg, unsigned int index, unsigned int scale,
				   int32_t disp, unsigned int bytes)
{
	unsigned int log2 = scale == 8 ? 3 : scale >> 1;

	emit_rex(e, bytes, reg, index, 0);
	emit8(e, 0x8d);
	emit_modrm(e, 0, reg, 4);
	emit8(e, log2 << 6 | (index & 7) << 3 | 5);
	emit32(e, disp);
}

/* Jumps. The forward forms return where the displacement stands, for emit_land(). */
static inline void emit_patch32(uint8_t *field, const uint8_t *from_end, const uint8_t *to)
{
	int32_t rel = to - from_end;

	memcpy(field, &rel, 4);
}
static inline uint8_t *emit_jcc(struct emit *e, unsigned int condition)
{
	emit8(e, 0x0f);
	emit8(e, 0x80 | condition);
	emit32(e, 0);
	return e->at - 4;
}
static inline uint8_t *emit_jmp(struct emit *e)
{
	emit8(e, 0xe9);
	emit32(e, 0);
	return e->at - 4;
}
static inline void emit_land(struct emit *e, uint8_t *field)
{
	if (!e->full)
		emit_patch32(field, field + 4, e->at);
}
/* jmp/call/jcc to a fixed executable address within 2 GiB */
static inline void emit_rel32_to(struct emit *e, const uint8_t *run_target)
{
	emit32(e, run_target - (emit_run_address(e) + 4));
}
static inline void emit_jmp_to(struct emit *e, const uint8_t *run_target)
{
	emit8(e, 0xe9);
	emit_rel32_to(e, run_target);
}
static inline void emit_jcc_to(struct emit *e, unsigned int condition, const uint8_t *run_target)
{
	emit8(e, 0x0f);
	emit8(e, 0x80 | condition);
	emit_rel32_to(e, run_target);
}
static inline void emit_call_to(struct emit *e, const uint8_t *run_target)
{
	emit8(e, 0xe8);
	emit_rel32_to(e, run_target);
}
/* crc32 s2, s1 */
static inline void emit_crc32(struct emit *e)
{
	emit8(e, 0xf2);
	emit_rex(e, 8, S2, 0, S1);
	emit_bytes(e, 0xf1380f, 3);
	emit_modrm(e, 3, S2, S1);
}
static inline void emit_jmp_reg(struct emit *e, unsigned int reg)
{
	emit_rex(e, 4, 0, 0, reg);
	emit8(e, 0xff);
	emit_modrm(e, 3, 4, reg);
}

#endif

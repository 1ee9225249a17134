/*
 * decode.h - x86 instructions of every mode, decoded by tables
 *
 * One row per opcode in the notation of the manuals' opcode maps (tables.c). The decoder knows
 * lengths, operands, which registers and flags are read and written, and what the translator is to
 * do with the instruction; it knows nothing of VPs. Pure functions, any thread, no allocation.
 */
#ifndef DBT_DECODE_H
#define DBT_DECODE_H

#include "base.h"

enum op_kind {
	OP_COPY,    /* re-encode: same opcode, operands put in place */
	OP_SPECIAL, /* the translator has a function: enum op_special */
	OP_HELPER   /* call cpu_helpers[op->id] */
};

enum op_special {
	SPECIAL_NOP,      /* NOP, 0F 1F, ENDBR, prefetches, CLDEMOTE: no effect, memory not touched */
	SPECIAL_PAUSE,
	SPECIAL_PUSH,     /* register (50+r), Ev (FF /6) or immediate (68, 6A) */
	SPECIAL_POP,      /* register (58+r) or Ev (8F /0) */
	SPECIAL_PUSHF,
	SPECIAL_CALL_REL, SPECIAL_CALL_IND, SPECIAL_RET, /* RET: imm = bytes to drop */
	SPECIAL_JMP_REL, SPECIAL_JMP_IND, SPECIAL_JCC,   /* JCC: condition = opcode & 15 */
	SPECIAL_LOOP,     /* E0..E3: LOOPNE, LOOPE, LOOP, JCXZ: opcode & 3 */
	SPECIAL_LEA, SPECIAL_LEAVE,
	SPECIAL_XCHG,     /* 86, 87 and 91..97 */
	SPECIAL_MOV_MOFFS, /* A0..A3: memory operand has neither base nor index, disp is 64-bit */
	SPECIAL_BT_MEM,   /* BT/BTS/BTR/BTC Ev,Gv with memory operand: the bit offset moves the address */
	SPECIAL_CLI, SPECIAL_STI, SPECIAL_CLD, SPECIAL_STD, SPECIAL_CLAC, SPECIAL_STAC,
	SPECIAL_INC_DEC   /* 40..4F outside 64-bit mode: INC/DEC of register rm */
};

enum op_unit { UNIT_INTEGER, UNIT_X87, UNIT_MMX, UNIT_SSE, UNIT_AVX };

enum decode_status {
	DECODE_OK,
	DECODE_TRUNCATED, /* more bytes are needed than were given */
	DECODE_INVALID,   /* #UD; insn->length is not meaningful */
	DECODE_TOO_LONG   /* over 15 bytes: #GP */
};

#define USE_READ  1u
#define USE_WRITE 2u /* all 64 bits are defined by the write (32- and 64-bit operands) */
/* 8- and 16-bit destinations keep the rest of the register: USE_READ | USE_WRITE. So do CMOVcc. */

#define NO_REG 0xff

struct insn {
	uint8_t length;
	uint8_t kind;    /* enum op_kind */
	uint8_t id;      /* enum op_special or enum cpu_helper_id */
	uint8_t unit;    /* enum op_unit */
	const char *name;

	/* encoding, as OP_COPY writes it again */
	uint8_t map;     /* 0: one-byte opcodes, 1: 0F, 2: 0F 38, 3: 0F 3A */
	uint8_t opcode;
	bool vex;
	uint8_t vex_l, vex_pp, vvvv; /* vvvv: register number, not inverted */
	bool w;          /* REX.W or VEX.W */
	bool emit_66;    /* to be written with 66 (16-bit operand, or mandatory prefix) */
	uint8_t emit_rep; /* 0, 0xF2 or 0xF3: mandatory prefix, or one that the operation keeps */
	bool lock;
	bool rep, repne; /* prefixes present */
	bool has_modrm;
	uint8_t mod, reg, rm; /* reg and rm with REX/VEX extension; 50+r style: rm = register, mod = 3 */
	bool rex;        /* any REX prefix was present: 8-bit registers 4..7 are SPL..DIL */
	uint8_t imm_bytes;
	int64_t imm;     /* sign-extended as the operation uses it; branches: the displacement */
	/* Far pointer's selector; ENTER's level (imm: its size); LES, LSS ...: segment register loaded.
	 * PUSH and POP of a segment register have its number in reg. */
	uint16_t imm2;

	/* sizes */
	/* 1, 2, 4, 8: the first general operand's (AL: 1; MOVZX: the destination's), else the effective */
	uint8_t op_bytes;
	uint8_t address_bytes; /* 2, 4, 8 */

	/* memory operand */
	bool mem;         /* there is one (LEA too) */
	uint8_t mem_use;  /* USE_*; 0: address only (LEA, NOP, INVLPG) */
	uint16_t mem_bytes; /* 1..512; 0 when a helper decides */
	uint8_t seg;      /* enum vp_segment_index, override applied; in 64-bit mode only FS/GS matter */
	uint8_t base, index; /* register numbers or NO_REG */
	uint8_t scale;    /* 1, 2, 4, 8 */
	bool rip_relative; /* disp counts from the next instruction */
	int64_t disp;
	/* Faults (#GP) when not aligned to mem_bytes (FXSAVE, FXRSTOR: to 16): MOVAPS and the like. */
	bool mem_aligned;

	/* general registers named by fields: USE_* or 0 when the field names none */
	uint8_t reg_use, rm_use, vvvv_use;
	bool reg_is_byte, rm_is_byte; /* 8-bit: without rex numbers 4..7 mean AH, CH, DH, BH */

	/* arithmetic flags, EFLAGS bits. A shift by CL may leave them alone, so it reads them too. */
	uint16_t flags_read, flags_written;
};

enum { DECODE_16, DECODE_32, DECODE_64 };

/*
 * decode() - decode the instruction at @bytes
 * @mode:      DECODE_16, _32, _64: the code segment's size
 * @available: how many bytes may be read, at most 15 are looked at
 */
enum decode_status decode(const uint8_t *bytes, size_t available, int mode, struct insn *ret_insn);

#endif

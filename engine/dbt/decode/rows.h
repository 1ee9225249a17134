/*
 * rows.h - the form of an opcode row, shared by tables.c and decode.c
 *
 * Operand codes are those of the manuals' opcode maps (SDM vol. 2, appendix A.2): a letter for the
 * field that names the operand and the letters of its size, so a row reads as the map's cell does.
 * A code packs size, field and class into 16 bits: decoding an operand is one switch.
 */
#ifndef DBT_DECODE_ROWS_H
#define DBT_DECODE_ROWS_H

#include "decode.h"
#include "cpu.h"

/* Operand sizes. "by osz": follows the effective operand size, so 66 is part of the encoding. */
enum operand_size {
	SIZE_NONE, /* address only, or a helper decides */
	SIZE_B, SIZE_W, SIZE_D, SIZE_Q, SIZE_DQ, /* 1, 2, 4, 8, 16 */
	SIZE_T,    /* 10 */
	SIZE_FX,   /* 512 */
	SIZE_DW,   /* register: 4; memory: 2 */
	SIZE_DB,   /* register: 4; memory: 1 */
	SIZE_Y,    /* 8 with W in 64-bit mode, else 4 */
	SIZE_YY,   /* two of them */
	SIZE_M,    /* 8 in 64-bit mode, else 4 */
	SIZE_S,    /* descriptor table register: 10 in 64-bit mode, else 6 */
	SIZE_X,    /* vector: 16, with VEX.L 32 */
	SIZE_XH, SIZE_XQ, SIZE_XO, /* half, a quarter, an eighth of it */
	SIZE_DUP,  /* MOVDDUP: 8, with VEX.L 32 */
	SIZE_BY_OSZ, /* from here on by osz */
	SIZE_V = SIZE_BY_OSZ, /* 2, 4, 8 */
	SIZE_Z,    /* 2, 4, 4 */
	SIZE_VW,   /* register: v; memory: 2 */
	SIZE_P,    /* far pointer: v + 2 */
	SIZE_A,    /* BOUND: two v */
	SIZE_ENV,  /* x87 environment: 14 or 28 */
	SIZE_SAVE  /* x87 state: 94 or 108 */
};
#define OPERAND_SIZE(operand) ((operand) & 31u)

/* Where the operand comes from. */
enum operand_field {
	FIELD_IMPLIED, FIELD_REG, FIELD_RM, FIELD_VVVV, FIELD_OPCODE,
	FIELD_IMM, FIELD_REL, FIELD_FAR, FIELD_MOFFS, FIELD_IS4,
	FIELD_SEGMENT, /* the opcode names a segment register: its number is in the size bits */
	FIELD_SREG, FIELD_CREG, FIELD_DREG
};
#define OPERAND_FIELD(operand) ((operand) >> 5 & 15u)
#define FIELDS_WITH_MODRM                                                                          \
	(1u << FIELD_REG | 1u << FIELD_RM | 1u << FIELD_SREG | 1u << FIELD_CREG | 1u << FIELD_DREG)

#define GPR    0x0200u /* a general register */
#define MEM    0x0400u /* ModRM.rm: memory is allowed */
#define REG    0x0800u /* ModRM.rm: a register is allowed */
#define VEC    0x1000u
#define MMX    0x2000u
#define ACC    0x4000u /* implied general operand: says what size the operation has */
#define SIGNED 0x8000u

#define OPERAND(field, size, class) (FIELD_##field << 5 | SIZE_##size | (class))
#define G_(size) OPERAND(REG, size, GPR)
#define E_(size) OPERAND(RM, size, GPR | MEM | REG)
#define R_(size) OPERAND(RM, size, GPR | REG)
#define M_(size) OPERAND(RM, size, MEM)
#define W_(size) OPERAND(RM, size, VEC | MEM | REG)

enum operand_code {
	Gb = G_(B), Gw = G_(W), Gd = G_(D), Gv = G_(V), Gy = G_(Y), Gm = G_(M),
	Eb = E_(B), Ew = E_(W), Ed = E_(D), Ev = E_(V), Ey = E_(Y), Ez = E_(Z),
	RvMw = E_(VW), RdMw = E_(DW), RdMb = E_(DB),
	Rv = R_(V), Ry = R_(Y), Rm = R_(M),
	M = M_(NONE), Mb = M_(B), Mw = M_(W), Md = M_(D), Mq = M_(Q), Mdq = M_(DQ), Mt = M_(T),
	Mv = M_(V), My = M_(Y), Myy = M_(YY), Ms = M_(S), Mp = M_(P), Ma = M_(A), Mx = M_(X),
	Menv = M_(ENV), Msave = M_(SAVE), Mfx = M_(FX),
	By = OPERAND(VVVV, Y, GPR), Hx = OPERAND(VVVV, X, VEC),
	Vx = OPERAND(REG, X, VEC), Ux = OPERAND(RM, X, VEC | REG),
	Wx = W_(X), Ww = W_(W), Wb = W_(B), Wd = W_(D), Wq = W_(Q), Wdq = W_(DQ),
	Wxh = W_(XH), Wxq = W_(XQ), Wxo = W_(XO), Wdup = W_(DUP),
	Pq = OPERAND(REG, Q, MMX), Nq = OPERAND(RM, Q, MMX | REG),
	Qq = OPERAND(RM, Q, MMX | MEM | REG), Qd = OPERAND(RM, D, MMX | MEM | REG),
	Zb = OPERAND(OPCODE, B, GPR), Zv = OPERAND(OPCODE, V, GPR),
	Sw = OPERAND(SREG, W, 0), Cm = OPERAND(CREG, M, 0), Dm = OPERAND(DREG, M, 0),
	Ib = OPERAND(IMM, B, 0), sIb = OPERAND(IMM, B, SIGNED), Iw = OPERAND(IMM, W, 0),
	Iz = OPERAND(IMM, Z, SIGNED), Iv = OPERAND(IMM, V, SIGNED), Lx = OPERAND(IS4, B, 0),
	Jb = OPERAND(REL, B, 0), Jz = OPERAND(REL, Z, 0), Ap = OPERAND(FAR, Z, 0),
	Ob = OPERAND(MOFFS, B, ACC), Ov = OPERAND(MOFFS, V, ACC),
	AL = OPERAND(IMPLIED, B, ACC), rAX = OPERAND(IMPLIED, V, ACC),
	eAX = OPERAND(IMPLIED, Z, ACC), rAXy = OPERAND(IMPLIED, Y, ACC),
	Xb = AL, Xv = rAX, Xz = eAX, Yb = AL, Yv = rAX, Yz = eAX, /* strings */
	rES = FIELD_SEGMENT << 5 | VP_ES, rCS = FIELD_SEGMENT << 5 | VP_CS,
	rSS = FIELD_SEGMENT << 5 | VP_SS, rDS = FIELD_SEGMENT << 5 | VP_DS,
	rFS = FIELD_SEGMENT << 5 | VP_FS, rGS = FIELD_SEGMENT << 5 | VP_GS
};

/* What happens to each operand, two bits each: the first two, the rest is read. */
enum operand_uses {
	NO_USE = 0, /* operands are named, but not touched */
	W_NONE = USE_WRITE, /* LEA: only the address of the second is used */
	R = 0x55,
	W = 0x54 | USE_WRITE,
	RW = 0x55 | USE_WRITE,
	W_W = 0x50 | USE_WRITE | USE_WRITE << 2,
	RW_RW = 0x55 | USE_WRITE | USE_WRITE << 2
};

enum row_rule {
	LOCKABLE = 1 << 0,  /* LOCK is allowed when the destination is memory */
	I64 = 1 << 1,       /* the manual's superscripts: invalid in 64-bit mode, */
	O64 = 1 << 2,       /* only there, */
	D64 = 1 << 3,       /* operand size 64 by default there, */
	F64 = 1 << 4,       /* ... always */
	VEX_TOO = 1 << 5,   /* the row has both encodings; its name is that of the VEX form */
	VEX_ONLY = 1 << 6,
	L0 = 1 << 7, L1 = 1 << 8, W0 = 1 << 9, W1 = 1 << 10, /* VEX.L, VEX.W must be so */
	ALIGNED = 1 << 11,   /* memory must be aligned in either encoding */
	UNALIGNED = 1 << 12, /* ... in neither, though a legacy vector operand */
	COUNT_IMM = 1 << 13, /* shifts: an immediate count of 0 changes no flags */
	REP_FLAGS = 1 << 14, /* strings: a repeat count of 0 changes no flags */
	VSIB = 1 << 15,
	MOD_IGNORED = 1 << 16, /* ModRM.mod is taken as 3 */
	AS_X87 = 1 << 17, AS_MMX = 1 << 18, AS_SSE = 1 << 19, /* unit, where no operand shows it */
	NO_CS = 1 << 20,       /* MOV to CS does not exist */
	ALIAS_OF_80 = 1 << 21  /* to be copied as that: 64-bit code lacks the alias */
};

enum row_select {
	ROW_LEAF,
	BY_PREFIX_, /* none, 66, F3, F2: the mandatory-prefix columns (VEX.pp has the same order) */
	BY_REG_,    /* groups: ModRM.reg */
	BY_MOD_,    /* memory, register */
	BY_RM_,
	BY_MODE_,   /* legacy and compatibility, 64-bit */
	BY_W_, BY_L_,
	BY_VEX_,    /* legacy encoding, VEX */
	BY_REX_B_
};

struct opcode_row {
	const char *name; /* NULL: no such instruction */
	union {
		uint16_t operands[4];
		const struct opcode_row *rows; /* select != ROW_LEAF */
	};
	uint32_t rules;  /* enum row_rule */
	uint8_t select;  /* enum row_select */
	uint8_t kind, id; /* as in struct insn */
	uint8_t uses;    /* enum operand_uses */
	uint16_t flags_read, flags_written;
};

extern const struct opcode_row opcode_maps[4][256]; /* one-byte, 0F, 0F 38, 0F 3A */

#endif

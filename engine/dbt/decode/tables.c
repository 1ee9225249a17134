/*
 * tables.c - the opcode maps, one row per opcode
 *
 * To be read beside SDM vol. 2, appendix A. OP() is a row of the legacy encoding, V() one that has
 * a VEX form of the same name with "v" in front (the map's superscript v; the H operand exists in
 * the VEX form only), VX() one that has the VEX form only, S() a vector row without VEX form.
 * BY_...() is a cell that splits. An empty cell is an invalid opcode. Prefix bytes, 0F, REX and the
 * VEX escapes have no rows: decode.c takes them off first.
 *
 * Flags that the manuals leave undefined count as written where every known processor gives them
 * some value: after logical operations, shifts and rotates. Elsewhere (multiply, divide, bit scans
 * and tests, BMI) some processors leave them alone, so they must arrive there: not written; after a
 * division some write them, some do not: read and written. Flags of helpers matter only where the helper reads or writes them as its purpose (PUSHF, DAA, SCAS).
 */
#include "rows.h"

#define CF FLAG_CF
#define PF FLAG_PF
#define AF FLAG_AF
#define ZF FLAG_ZF
#define SF FLAG_SF
#define OF FLAG_OF
#define ALL FLAGS_ARITH

#define UNWRAP(...) __VA_ARGS__
#define OP(name_, uses_, operands_, ...)                                                           \
	{ .name = #name_, .uses = uses_, .operands = { UNWRAP operands_ }, __VA_ARGS__ }
#define S(name_, uses_, operands_, rules_, ...)                                                    \
	OP(name_, uses_, operands_, .rules = rules_, __VA_ARGS__)
#define V(name_, uses_, operands_, rules_, ...)                                                    \
	OP(v##name_, uses_, operands_, .rules = VEX_TOO | (rules_), __VA_ARGS__)
#define VX(name_, uses_, operands_, rules_, ...)                                                   \
	OP(v##name_, uses_, operands_, .rules = VEX_ONLY | (rules_), __VA_ARGS__)
/* VEX-encoded instructions on general registers. */
#define BMI(name_, uses_, operands_, ...)                                                          \
	OP(name_, uses_, operands_, .rules = VEX_ONLY | L0, __VA_ARGS__)

#define RULES(rules_) .rules = (rules_)
#define READS(flags_) .flags_read = (flags_)
#define WRITES(flags_) .flags_written = (flags_)
#define HELPER(id_) .kind = OP_HELPER, .id = HELPER_##id_
#define SPECIAL(id_) .kind = OP_SPECIAL, .id = SPECIAL_##id_
#define NOP_(name_, ...) OP(name_, NO_USE, (__VA_ARGS__), SPECIAL(NOP))

#define SPLIT(select_, count_, ...)                                                                \
	{ .select = select_, .rows = (const struct opcode_row[count_]){ __VA_ARGS__ } }
#define BY_PREFIX(...) SPLIT(BY_PREFIX_, 4, __VA_ARGS__)
#define BY_REG(...) SPLIT(BY_REG_, 8, __VA_ARGS__)
#define BY_MOD(...) SPLIT(BY_MOD_, 2, __VA_ARGS__)
#define BY_RM(...) SPLIT(BY_RM_, 8, __VA_ARGS__)
#define BY_MODE(...) SPLIT(BY_MODE_, 2, __VA_ARGS__)
#define BY_W(...) SPLIT(BY_W_, 2, __VA_ARGS__)
#define BY_L(...) SPLIT(BY_L_, 2, __VA_ARGS__)
#define BY_VEX(...) SPLIT(BY_VEX_, 2, __VA_ARGS__)
#define BY_REX_B(...) SPLIT(BY_REX_B_, 2, __VA_ARGS__)
#define NONE {}

/* Columns of which only one is filled. */
#define ONLY_NP(...) BY_PREFIX(__VA_ARGS__, NONE, NONE, NONE)
#define ONLY_66(...) BY_PREFIX(NONE, __VA_ARGS__, NONE, NONE)
#define ONLY_F3(...) BY_PREFIX(NONE, NONE, __VA_ARGS__, NONE)
#define ONLY_F2(...) BY_PREFIX(NONE, NONE, NONE, __VA_ARGS__)

/* --- families of rows --- */

/* 00..3F: six encodings of an arithmetic operation */
#define ARITHMETIC(base, name, uses, rules, reads)                                                 \
	[base + 0] = OP(name, uses, (Eb, Gb), RULES(rules), READS(reads), WRITES(ALL)),            \
	[base + 1] = OP(name, uses, (Ev, Gv), RULES(rules), READS(reads), WRITES(ALL)),            \
	[base + 2] = OP(name, uses, (Gb, Eb), READS(reads), WRITES(ALL)),                          \
	[base + 3] = OP(name, uses, (Gv, Ev), READS(reads), WRITES(ALL)),                          \
	[base + 4] = OP(name, uses, (AL, sIb), READS(reads), WRITES(ALL)),                         \
	[base + 5] = OP(name, uses, (rAX, Iz), READS(reads), WRITES(ALL))

#define GROUP1(E, I, rules)                                                                        \
	BY_REG(OP(add, RW, (E, I), RULES(LOCKABLE | rules), WRITES(ALL)),                          \
	       OP(or, RW, (E, I), RULES(LOCKABLE | rules), WRITES(ALL)),                           \
	       OP(adc, RW, (E, I), RULES(LOCKABLE | rules), READS(CF), WRITES(ALL)),               \
	       OP(sbb, RW, (E, I), RULES(LOCKABLE | rules), READS(CF), WRITES(ALL)),               \
	       OP(and, RW, (E, I), RULES(LOCKABLE | rules), WRITES(ALL)),                          \
	       OP(sub, RW, (E, I), RULES(LOCKABLE | rules), WRITES(ALL)),                          \
	       OP(xor, RW, (E, I), RULES(LOCKABLE | rules), WRITES(ALL)),                          \
	       OP(cmp, R, (E, I), RULES(rules), WRITES(ALL)))

/* Shifts, rotates. A count of 0 leaves the flags; for RCL and RCR so may one beyond their width. */
#define GROUP2(operands, rules, rotate_reads, carry_reads, shift_reads)                            \
	BY_REG(OP(rol, RW, operands, RULES(rules), READS(rotate_reads), WRITES(CF | OF)),          \
	       OP(ror, RW, operands, RULES(rules), READS(rotate_reads), WRITES(CF | OF)),          \
	       OP(rcl, RW, operands, RULES(rules), READS(carry_reads), WRITES(CF | OF)),           \
	       OP(rcr, RW, operands, RULES(rules), READS(carry_reads), WRITES(CF | OF)),           \
	       OP(shl, RW, operands, RULES(rules), READS(shift_reads), WRITES(ALL)),               \
	       OP(shr, RW, operands, RULES(rules), READS(shift_reads), WRITES(ALL)),               \
	       OP(shl, RW, operands, RULES(rules), READS(shift_reads), WRITES(ALL)),               \
	       OP(sar, RW, operands, RULES(rules), READS(shift_reads), WRITES(ALL)))
#define GROUP2_IMM(E) GROUP2((E, Ib), COUNT_IMM, 0, CF | OF, 0)
#define GROUP2_ONE(E) GROUP2((E), 0, 0, CF, 0)
#define GROUP2_CL(E) GROUP2((E), 0, CF | OF, CF | OF, ALL)

#define GROUP3(E, I)                                                                               \
	BY_REG(OP(test, R, (E, I), WRITES(ALL)), OP(test, R, (E, I), WRITES(ALL)),                 \
	       OP(not, RW, (E), RULES(LOCKABLE)), OP(neg, RW, (E), RULES(LOCKABLE), WRITES(ALL)),  \
	       OP(mul, R, (E), WRITES(CF | OF)), OP(imul, R, (E), WRITES(CF | OF)),                \
	       OP(div, R, (E), READS(ALL), WRITES(ALL)),                                           \
	       OP(idiv, R, (E), READS(ALL), WRITES(ALL)))

#define INC(E) OP(inc, RW, (E), RULES(LOCKABLE), WRITES(ALL & ~CF))
#define DEC(E) OP(dec, RW, (E), RULES(LOCKABLE), WRITES(ALL & ~CF))

/* The sixteen conditions, each with the flags it reads. */
#define CONDITIONS(ROW, base)                                                                      \
	ROW(base + 0, o, OF), ROW(base + 1, no, OF), ROW(base + 2, b, CF), ROW(base + 3, nb, CF),  \
	ROW(base + 4, z, ZF), ROW(base + 5, nz, ZF),                                               \
	ROW(base + 6, be, CF | ZF), ROW(base + 7, nbe, CF | ZF),                                   \
	ROW(base + 8, s, SF), ROW(base + 9, ns, SF),                                               \
	ROW(base + 10, p, PF), ROW(base + 11, np, PF),                                             \
	ROW(base + 12, l, SF | OF), ROW(base + 13, nl, SF | OF),                                   \
	ROW(base + 14, le, ZF | SF | OF), ROW(base + 15, nle, ZF | SF | OF)
#define JCC_SHORT(opcode, cc, flags)                                                               \
	[opcode] = OP(j##cc, R, (Jb), RULES(F64), SPECIAL(JCC), READS(flags))
#define JCC_NEAR(opcode, cc, flags)                                                                \
	[opcode] = OP(j##cc, R, (Jz), RULES(F64), SPECIAL(JCC), READS(flags))
#define SETCC(opcode, cc, flags) [opcode] = OP(set##cc, W, (Eb), READS(flags))
#define CMOVCC(opcode, cc, flags) [opcode] = OP(cmov##cc, RW, (Gv, Ev), READS(flags))

#define BIT_TEST(name, uses, rules)                                                                \
	BY_MOD(OP(name, uses, (Ev, Gv), RULES(rules), SPECIAL(BT_MEM), WRITES(CF)),                \
	       OP(name, uses, (Ev, Gv), WRITES(CF)))
#define BIT_TEST_IMM(name, uses, rules)                                                            \
	OP(name, uses, (Ev, Ib), RULES(rules), WRITES(CF))

/* x87 */
#define F(name_, uses_, operand_, ...)                                                             \
	OP(name_, uses_, (operand_), .rules = AS_X87, __VA_ARGS__)
#define F_MEM8(prefix, M_)                                                                         \
	BY_REG(F(prefix##add, R, M_), F(prefix##mul, R, M_), F(prefix##com, R, M_),                \
	       F(prefix##comp, R, M_), F(prefix##sub, R, M_), F(prefix##subr, R, M_),              \
	       F(prefix##div, R, M_), F(prefix##divr, R, M_))
#define F_REG(name_, ...) OP(name_, R, (), .rules = AS_X87, __VA_ARGS__)

/* MMX and SSE integer operations of one name: P,Q and V,H,W */
#define PAIR(name) BY_PREFIX(S(name, W, (Pq, Qq), 0), V(name, W, (Vx, Hx, Wx), 0), NONE, NONE)
#define PAIR_LOW(name) BY_PREFIX(S(name, W, (Pq, Qd), 0), V(name, W, (Vx, Hx, Wx), 0), NONE, NONE)
#define PAIR_UNARY(name) BY_PREFIX(S(name, W, (Pq, Qq), 0), V(name, W, (Vx, Wx), 0), NONE, NONE)
#define PAIR_SHIFT(name)                                                                           \
	BY_PREFIX(S(name, W, (Pq, Qq), 0), V(name, W, (Vx, Hx, Wdq), 0), NONE, NONE)
#define VEC_66(name) ONLY_66(V(name, W, (Vx, Hx, Wx), 0))
#define VEC_66_IMM(name) ONLY_66(V(name, W, (Vx, Hx, Wx, Ib), 0))
#define VEC_66_UNARY(name, operand) ONLY_66(V(name, W, (Vx, operand), 0))
/* Floating point: packed and scalar, single and double */
#define FLOAT4(name)                                                                               \
	BY_PREFIX(V(name##ps, W, (Vx, Hx, Wx), 0), V(name##pd, W, (Vx, Hx, Wx), 0),                \
		  V(name##ss, W, (Vx, Hx, Wd), 0), V(name##sd, W, (Vx, Hx, Wq), 0))
#define FLOAT2(name)                                                                               \
	BY_PREFIX(V(name##ps, W, (Vx, Hx, Wx), 0), V(name##pd, W, (Vx, Hx, Wx), 0), NONE, NONE)
#define FLOAT_COMPARE(name)                                                                        \
	BY_PREFIX(V(name##ss, R, (Vx, Wd), 0, WRITES(ALL)),                                        \
		  V(name##sd, R, (Vx, Wq), 0, WRITES(ALL)), NONE, NONE)

#define FMA_PACKED(name)                                                                           \
	ONLY_66(BY_W(VX(name##ps, W, (Vx, Hx, Wx), 0), VX(name##pd, W, (Vx, Hx, Wx), 0)))
#define FMA_SCALAR(name)                                                                           \
	ONLY_66(BY_W(VX(name##ss, W, (Vx, Hx, Wd), 0), VX(name##sd, W, (Vx, Hx, Wq), 0)))
#define FMA(base, order)                                                                           \
	[base + 0] = FMA_PACKED(fmaddsub##order), [base + 1] = FMA_PACKED(fmsubadd##order),        \
	[base + 2] = FMA_PACKED(fmadd##order), [base + 3] = FMA_SCALAR(fmadd##order),              \
	[base + 4] = FMA_PACKED(fmsub##order), [base + 5] = FMA_SCALAR(fmsub##order),              \
	[base + 6] = FMA_PACKED(fnmadd##order), [base + 7] = FMA_SCALAR(fnmadd##order),            \
	[base + 8] = FMA_PACKED(fnmsub##order), [base + 9] = FMA_SCALAR(fnmsub##order)

#define VARIABLE_SHIFT(name)                                                                       \
	ONLY_66(BY_W(VX(name##d, W, (Vx, Hx, Wx), 0), VX(name##q, W, (Vx, Hx, Wx), 0)))
#define GATHER(name)                                                                               \
	ONLY_66(BY_W(VX(name##d, W, (Vx, M, Hx), VSIB, HELPER(gather)),                            \
		     VX(name##q, W, (Vx, M, Hx), VSIB, HELPER(gather))))
#define MASK_LOAD(name, w) VX(name, W, (Vx, Hx, M), w, HELPER(vmaskmov))
#define MASK_STORE(name, w) VX(name, W, (M, Hx, Vx), w, HELPER(vmaskmov))

/* --- x87 escapes: memory forms, register forms (with the aliases that all processors have) --- */

#define ESCAPE_D8                                                                                  \
	BY_MOD(F_MEM8(f, Md),                                                                      \
	       BY_REG(F_REG(fadd), F_REG(fmul), F_REG(fcom), F_REG(fcomp), F_REG(fsub),            \
		      F_REG(fsubr), F_REG(fdiv), F_REG(fdivr)))
#define ESCAPE_D9                                                                                  \
	BY_MOD(BY_REG(F(fld, R, Md), NONE, F(fst, W, Md), F(fstp, W, Md),                          \
		      F(fldenv, R, Menv, HELPER(fldenv)), F(fldcw, R, Mw),                         \
		      F(fnstenv, W, Menv, HELPER(fnstenv)), F(fnstcw, W, Mw)),                     \
	       BY_REG(F_REG(fld), F_REG(fxch), BY_RM(F_REG(fnop)), F_REG(fstpnce),                 \
		      BY_RM(F_REG(fchs), F_REG(fabs), NONE, NONE, F_REG(ftst), F_REG(fxam)),       \
		      BY_RM(F_REG(fld1), F_REG(fldl2t), F_REG(fldl2e), F_REG(fldpi),               \
			    F_REG(fldlg2), F_REG(fldln2), F_REG(fldz)),                            \
		      BY_RM(F_REG(f2xm1), F_REG(fyl2x), F_REG(fptan), F_REG(fpatan),               \
			    F_REG(fxtract), F_REG(fprem1), F_REG(fdecstp), F_REG(fincstp)),        \
		      BY_RM(F_REG(fprem), F_REG(fyl2xp1), F_REG(fsqrt), F_REG(fsincos),            \
			    F_REG(frndint), F_REG(fscale), F_REG(fsin), F_REG(fcos))))
#define ESCAPE_DA                                                                                  \
	BY_MOD(F_MEM8(fi, Md),                                                                     \
	       BY_REG(F_REG(fcmovb, READS(CF)), F_REG(fcmove, READS(ZF)),                          \
		      F_REG(fcmovbe, READS(CF | ZF)), F_REG(fcmovu, READS(PF)), NONE,              \
		      BY_RM(NONE, F_REG(fucompp)), NONE, NONE))
#define ESCAPE_DB                                                                                  \
	BY_MOD(BY_REG(F(fild, R, Md), F(fisttp, W, Md), F(fist, W, Md), F(fistp, W, Md), NONE,     \
		      F(fld, R, Mt), NONE, F(fstp, W, Mt)),                                        \
	       BY_REG(F_REG(fcmovnb, READS(CF)), F_REG(fcmovne, READS(ZF)),                        \
		      F_REG(fcmovnbe, READS(CF | ZF)), F_REG(fcmovnu, READS(PF)),                  \
		      BY_RM(F_REG(feni8087_nop), F_REG(fdisi8087_nop), F_REG(fnclex),              \
			    F_REG(fninit), F_REG(fsetpm287_nop)),                                  \
		      F_REG(fucomi, WRITES(ALL)), F_REG(fcomi, WRITES(ALL)), NONE))
#define ESCAPE_DC                                                                                  \
	BY_MOD(F_MEM8(f, Mq),                                                                      \
	       BY_REG(F_REG(fadd), F_REG(fmul), F_REG(fcom), F_REG(fcomp), F_REG(fsubr),           \
		      F_REG(fsub), F_REG(fdivr), F_REG(fdiv)))
#define ESCAPE_DD                                                                                  \
	BY_MOD(BY_REG(F(fld, R, Mq), F(fisttp, W, Mq), F(fst, W, Mq), F(fstp, W, Mq),              \
		      F(frstor, R, Msave, HELPER(frstor)), NONE,                                   \
		      F(fnsave, W, Msave, HELPER(fnsave)), F(fnstsw, W, Mw)),                      \
	       BY_REG(F_REG(ffree), F_REG(fxch), F_REG(fst), F_REG(fstp), F_REG(fucom),            \
		      F_REG(fucomp), NONE, NONE))
#define ESCAPE_DE                                                                                  \
	BY_MOD(F_MEM8(fi, Mw),                                                                     \
	       BY_REG(F_REG(faddp), F_REG(fmulp), F_REG(fcomp), BY_RM(NONE, F_REG(fcompp)),        \
		      F_REG(fsubrp), F_REG(fsubp), F_REG(fdivrp), F_REG(fdivp)))
#define ESCAPE_DF                                                                                  \
	BY_MOD(BY_REG(F(fild, R, Mw), F(fisttp, W, Mw), F(fist, W, Mw), F(fistp, W, Mw),           \
		      F(fbld, R, Mt), F(fild, R, Mq), F(fbstp, W, Mt), F(fistp, W, Mq)),           \
	       BY_REG(F_REG(ffreep), F_REG(fxch), F_REG(fstp), F_REG(fstp), BY_RM(F_REG(fnstsw)),  \
		      F_REG(fucomip, WRITES(ALL)), F_REG(fcomip, WRITES(ALL)), NONE))

/* --- system groups --- */

#define GROUP6                                                                                     \
	BY_REG(OP(sldt, W, (RvMw), HELPER(sldt)), OP(str, W, (RvMw), HELPER(str)),                 \
	       OP(lldt, R, (Ew), HELPER(lldt)), OP(ltr, R, (Ew), HELPER(ltr)),                     \
	       OP(verr, R, (Ew), HELPER(verr), WRITES(ZF)),                                        \
	       OP(verw, R, (Ew), HELPER(verw), WRITES(ZF)), NONE, NONE)

#define GROUP7_MEM                                                                                 \
	BY_REG(OP(sgdt, W, (Ms), HELPER(sgdt)), OP(sidt, W, (Ms), HELPER(sidt)),                   \
	       OP(lgdt, R, (Ms), HELPER(lgdt)), OP(lidt, R, (Ms), HELPER(lidt)),                   \
	       OP(smsw, W, (RvMw), HELPER(smsw)), NONE, OP(lmsw, R, (Ew), HELPER(lmsw)),           \
	       OP(invlpg, NO_USE, (M), HELPER(invlpg)))
#define GROUP7_REG                                                                                 \
	BY_REG(NONE,                                                                               \
	       ONLY_NP(BY_RM(OP(monitor, R, (), HELPER(monitor)), OP(mwait, R, (), HELPER(mwait)), \
			     OP(clac, R, (), SPECIAL(CLAC)), OP(stac, R, (), SPECIAL(STAC)))),     \
	       ONLY_NP(BY_RM(OP(xgetbv, R, (), HELPER(xgetbv)),                                    \
			     OP(xsetbv, R, (), HELPER(xsetbv)))),                                  \
	       NONE, OP(smsw, W, (RvMw), HELPER(smsw)), NONE, OP(lmsw, R, (Ew), HELPER(lmsw)),     \
	       BY_RM(OP(swapgs, R, (), RULES(O64), HELPER(swapgs)),                                \
		     OP(rdtscp, R, (), HELPER(rdtscp))))

#define GROUP9                                                                                     \
	BY_MOD(BY_REG(NONE,                                                                        \
		      OP(cmpxchg8b, RW, (Myy, rAXy), RULES(LOCKABLE | ALIGNED), WRITES(ZF)),       \
		      NONE, NONE, ONLY_NP(OP(xsavec, W, (M), HELPER(xsavec))), NONE, NONE, NONE),  \
	       BY_REG(NONE, NONE, NONE, NONE, NONE, NONE,                                          \
		      BY_PREFIX(OP(rdrand, W, (Rv), WRITES(ALL)),                                  \
				OP(rdrand, W, (Rv), WRITES(ALL)),                                  \
				NONE, NONE),                                                       \
		      BY_PREFIX(OP(rdseed, W, (Rv), WRITES(ALL)),                                  \
				OP(rdseed, W, (Rv), WRITES(ALL)),                                  \
				OP(rdpid, W, (Rm), HELPER(rdpid)), NONE)))

#define GROUP15_MEM                                                                                \
	BY_PREFIX(BY_REG(OP(fxsave, W, (Mfx, rAXy), RULES(AS_X87 | ALIGNED), HELPER(fxsave)),      \
			 OP(fxrstor, R, (Mfx, rAXy), RULES(AS_X87 | ALIGNED), HELPER(fxrstor)),    \
			 V(ldmxcsr, R, (Md), L0 | AS_SSE), V(stmxcsr, W, (Md), L0 | AS_SSE),       \
			 OP(xsave, RW, (M), HELPER(xsave)), OP(xrstor, R, (M), HELPER(xrstor)),    \
			 OP(xsaveopt, RW, (M), HELPER(xsave)), OP(clflush, R, (Mb))),              \
		  BY_REG(NONE, NONE, NONE, NONE, NONE, NONE, OP(clwb, R, (Mb)),                    \
			 OP(clflushopt, R, (Mb))),                                                 \
		  NONE, NONE)
#define GROUP15_REG                                                                                \
	BY_PREFIX(BY_REG(NONE, NONE, NONE, NONE, NONE, OP(lfence, R, ()), OP(mfence, R, ()),       \
			 OP(sfence, R, ())),                                                       \
		  NONE,                                                                            \
		  BY_REG(OP(rdfsbase, W, (Ry), RULES(O64), HELPER(rdfsbase)),                      \
			 OP(rdgsbase, W, (Ry), RULES(O64), HELPER(rdgsbase)),                      \
			 OP(wrfsbase, R, (Ry), RULES(O64), HELPER(wrfsbase)),                      \
			 OP(wrgsbase, R, (Ry), RULES(O64), HELPER(wrgsbase)), NONE, NONE, NONE,    \
			 NONE),                                                                    \
		  NONE)

#define SHIFT_MMX(name) S(name, W, (Nq, Ib), 0)
#define SHIFT_SSE(name) V(name, W, (Hx, Ux, Ib), 0)

/* --- the maps --- */

const struct opcode_row opcode_maps[4][256] = {
[0] = { /* one-byte opcodes */
	ARITHMETIC(0x00, add, RW, LOCKABLE, 0),
	[0x06] = OP(push, R, (rES), RULES(I64), HELPER(push_seg)),
	[0x07] = OP(pop, R, (rES), RULES(I64), HELPER(pop_seg)),
	ARITHMETIC(0x08, or, RW, LOCKABLE, 0),
	[0x0e] = OP(push, R, (rCS), RULES(I64), HELPER(push_seg)),
	ARITHMETIC(0x10, adc, RW, LOCKABLE, CF),
	[0x16] = OP(push, R, (rSS), RULES(I64), HELPER(push_seg)),
	[0x17] = OP(pop, R, (rSS), RULES(I64), HELPER(pop_seg)),
	ARITHMETIC(0x18, sbb, RW, LOCKABLE, CF),
	[0x1e] = OP(push, R, (rDS), RULES(I64), HELPER(push_seg)),
	[0x1f] = OP(pop, R, (rDS), RULES(I64), HELPER(pop_seg)),
	ARITHMETIC(0x20, and, RW, LOCKABLE, 0),
	[0x27] = OP(daa, R, (), RULES(I64), HELPER(daa), READS(AF | CF), WRITES(ALL)),
	ARITHMETIC(0x28, sub, RW, LOCKABLE, 0),
	[0x2f] = OP(das, R, (), RULES(I64), HELPER(das), READS(AF | CF), WRITES(ALL)),
	ARITHMETIC(0x30, xor, RW, LOCKABLE, 0),
	[0x37] = OP(aaa, R, (), RULES(I64), HELPER(aaa), READS(AF), WRITES(ALL)),
	ARITHMETIC(0x38, cmp, R, 0, 0),
	[0x3f] = OP(aas, R, (), RULES(I64), HELPER(aas), READS(AF), WRITES(ALL)),

	[0x40 ... 0x47] = OP(inc, RW, (Zv), RULES(I64), SPECIAL(INC_DEC), WRITES(ALL & ~CF)),
	[0x48 ... 0x4f] = OP(dec, RW, (Zv), RULES(I64), SPECIAL(INC_DEC), WRITES(ALL & ~CF)),
	[0x50 ... 0x57] = OP(push, R, (Zv), RULES(D64), SPECIAL(PUSH)),
	[0x58 ... 0x5f] = OP(pop, W, (Zv), RULES(D64), SPECIAL(POP)),
	[0x60] = OP(pusha, R, (), RULES(I64), HELPER(pusha)),
	[0x61] = OP(popa, R, (), RULES(I64), HELPER(popa)),
	[0x62] = OP(bound, R, (Gv, Ma), RULES(I64), HELPER(bound)),
	/* With a 16-bit destination some processors still read 32 bits, so that much is checked. */
	[0x63] = BY_MODE(OP(arpl, RW, (Ew, Gw), HELPER(arpl), WRITES(ZF)), OP(movsxd, W, (Gv, Ed))),
	[0x68] = OP(push, R, (Iz), RULES(D64), SPECIAL(PUSH)),
	[0x69] = OP(imul, W, (Gv, Ev, Iz), WRITES(CF | OF)),
	[0x6a] = OP(push, R, (sIb), RULES(D64), SPECIAL(PUSH)),
	[0x6b] = OP(imul, W, (Gv, Ev, sIb), WRITES(CF | OF)),
	[0x6c] = OP(insb, R, (Yb), HELPER(ins)),
	[0x6d] = OP(ins, R, (Yz), HELPER(ins)),
	[0x6e] = OP(outsb, R, (Xb), HELPER(outs)),
	[0x6f] = OP(outs, R, (Xz), HELPER(outs)),
	CONDITIONS(JCC_SHORT, 0x70),

	[0x80] = GROUP1(Eb, sIb, 0),
	[0x81] = GROUP1(Ev, Iz, 0),
	[0x82] = GROUP1(Eb, sIb, I64 | ALIAS_OF_80),
	[0x83] = GROUP1(Ev, sIb, 0),
	[0x84] = OP(test, R, (Eb, Gb), WRITES(ALL)),
	[0x85] = OP(test, R, (Ev, Gv), WRITES(ALL)),
	[0x86] = OP(xchg, RW_RW, (Eb, Gb), RULES(LOCKABLE), SPECIAL(XCHG)),
	[0x87] = OP(xchg, RW_RW, (Ev, Gv), RULES(LOCKABLE), SPECIAL(XCHG)),
	[0x88] = OP(mov, W, (Eb, Gb)),
	[0x89] = OP(mov, W, (Ev, Gv)),
	[0x8a] = OP(mov, W, (Gb, Eb)),
	[0x8b] = OP(mov, W, (Gv, Ev)),
	[0x8c] = OP(mov, W, (RvMw, Sw), HELPER(mov_from_seg)),
	[0x8d] = OP(lea, W_NONE, (Gv, M), SPECIAL(LEA)),
	[0x8e] = OP(mov, R, (Sw, Ew), RULES(NO_CS), HELPER(mov_to_seg)),
	[0x8f] = BY_REG(OP(pop, W, (Ev), RULES(D64), SPECIAL(POP))),
	[0x90] = BY_REX_B(BY_PREFIX(NOP_(nop), NOP_(nop), OP(pause, R, (), SPECIAL(PAUSE)),
				    NOP_(nop)),
			  OP(xchg, RW_RW, (Zv, rAX), SPECIAL(XCHG))),
	[0x91 ... 0x97] = OP(xchg, RW_RW, (Zv, rAX), SPECIAL(XCHG)),
	[0x98] = OP(cbw, RW, (rAX)),
	[0x99] = OP(cwd, RW, (rAX)),
	[0x9a] = OP(call, R, (Ap), RULES(I64), HELPER(call_far)),
	[0x9b] = OP(fwait, R, (), RULES(AS_X87)),
	[0x9c] = OP(pushf, R, (), RULES(D64), HELPER(pushf), READS(ALL)),
	[0x9d] = OP(popf, R, (), RULES(D64), HELPER(popf), WRITES(ALL)),
	[0x9e] = OP(sahf, R, (), WRITES(ALL & ~OF)),
	[0x9f] = OP(lahf, R, (), READS(ALL & ~OF)),

	[0xa0] = OP(mov, W, (AL, Ob), SPECIAL(MOV_MOFFS)),
	[0xa1] = OP(mov, W, (rAX, Ov), SPECIAL(MOV_MOFFS)),
	[0xa2] = OP(mov, W, (Ob, AL), SPECIAL(MOV_MOFFS)),
	[0xa3] = OP(mov, W, (Ov, rAX), SPECIAL(MOV_MOFFS)),
	[0xa4] = OP(movsb, R, (Yb, Xb), HELPER(movs)),
	[0xa5] = OP(movs, R, (Yv, Xv), HELPER(movs)),
	[0xa6] = OP(cmpsb, R, (Xb, Yb), RULES(REP_FLAGS), HELPER(cmps), WRITES(ALL)),
	[0xa7] = OP(cmps, R, (Xv, Yv), RULES(REP_FLAGS), HELPER(cmps), WRITES(ALL)),
	[0xa8] = OP(test, R, (AL, sIb), WRITES(ALL)),
	[0xa9] = OP(test, R, (rAX, Iz), WRITES(ALL)),
	[0xaa] = OP(stosb, R, (Yb), HELPER(stos)),
	[0xab] = OP(stos, R, (Yv), HELPER(stos)),
	[0xac] = OP(lodsb, R, (Xb), HELPER(lods)),
	[0xad] = OP(lods, R, (Xv), HELPER(lods)),
	[0xae] = OP(scasb, R, (Yb), RULES(REP_FLAGS), HELPER(scas), WRITES(ALL)),
	[0xaf] = OP(scas, R, (Yv), RULES(REP_FLAGS), HELPER(scas), WRITES(ALL)),
	[0xb0 ... 0xb7] = OP(mov, W, (Zb, sIb)),
	[0xb8 ... 0xbf] = OP(mov, W, (Zv, Iv)),

	[0xc0] = GROUP2_IMM(Eb),
	[0xc1] = GROUP2_IMM(Ev),
	[0xc2] = OP(ret, R, (Iw), RULES(F64), SPECIAL(RET)),
	[0xc3] = OP(ret, R, (), RULES(F64), SPECIAL(RET)),
	[0xc4] = OP(les, W, (Gv, Mp, rES), RULES(I64), HELPER(load_far_pointer)),
	[0xc5] = OP(lds, W, (Gv, Mp, rDS), RULES(I64), HELPER(load_far_pointer)),
	[0xc6] = BY_REG(OP(mov, W, (Eb, sIb))),
	[0xc7] = BY_REG(OP(mov, W, (Ev, Iz))),
	[0xc8] = OP(enter, R, (Iw, Ib), RULES(D64), HELPER(enter)),
	[0xc9] = OP(leave, R, (), RULES(D64), SPECIAL(LEAVE)),
	[0xca] = OP(ret, R, (Iw), HELPER(ret_far)),
	[0xcb] = OP(ret, R, (), HELPER(ret_far)),
	[0xcc] = OP(int3, R, (), HELPER(int3), READS(ALL)),
	[0xcd] = OP(int, R, (Ib), HELPER(int_n), READS(ALL)),
	[0xce] = OP(into, R, (), RULES(I64), HELPER(into), READS(ALL)),
	[0xcf] = OP(iret, R, (), HELPER(iret), READS(ALL), WRITES(ALL)),

	[0xd0] = GROUP2_ONE(Eb),
	[0xd1] = GROUP2_ONE(Ev),
	[0xd2] = GROUP2_CL(Eb),
	[0xd3] = GROUP2_CL(Ev),
	[0xd4] = OP(aam, R, (Ib), RULES(I64), HELPER(aam), WRITES(ALL)),
	[0xd5] = OP(aad, R, (Ib), RULES(I64), HELPER(aad), WRITES(ALL)),
	[0xd6] = OP(salc, R, (), RULES(I64), HELPER(salc), READS(CF)),
	[0xd7] = OP(xlat, R, (AL), HELPER(xlat)),
	[0xd8] = ESCAPE_D8, [0xd9] = ESCAPE_D9, [0xda] = ESCAPE_DA, [0xdb] = ESCAPE_DB,
	[0xdc] = ESCAPE_DC, [0xdd] = ESCAPE_DD, [0xde] = ESCAPE_DE, [0xdf] = ESCAPE_DF,

	[0xe0] = OP(loopne, R, (Jb), RULES(F64), SPECIAL(LOOP), READS(ZF)),
	[0xe1] = OP(loope, R, (Jb), RULES(F64), SPECIAL(LOOP), READS(ZF)),
	[0xe2] = OP(loop, R, (Jb), RULES(F64), SPECIAL(LOOP)),
	[0xe3] = OP(jcxz, R, (Jb), RULES(F64), SPECIAL(LOOP)),
	[0xe4] = OP(in, R, (AL, Ib), HELPER(in)),
	[0xe5] = OP(in, R, (eAX, Ib), HELPER(in)),
	[0xe6] = OP(out, R, (Ib, AL), HELPER(out)),
	[0xe7] = OP(out, R, (Ib, eAX), HELPER(out)),
	[0xe8] = OP(call, R, (Jz), RULES(F64), SPECIAL(CALL_REL)),
	[0xe9] = OP(jmp, R, (Jz), RULES(F64), SPECIAL(JMP_REL)),
	[0xea] = OP(jmp, R, (Ap), RULES(I64), HELPER(jmp_far)),
	[0xeb] = OP(jmp, R, (Jb), RULES(F64), SPECIAL(JMP_REL)),
	[0xec] = OP(in, R, (AL), HELPER(in)),
	[0xed] = OP(in, R, (eAX), HELPER(in)),
	[0xee] = OP(out, R, (AL), HELPER(out)),
	[0xef] = OP(out, R, (eAX), HELPER(out)),

	[0xf1] = OP(int1, R, (), HELPER(int1), READS(ALL)),
	[0xf4] = OP(hlt, R, (), HELPER(hlt)),
	[0xf5] = OP(cmc, R, (), READS(CF), WRITES(CF)),
	[0xf6] = GROUP3(Eb, sIb),
	[0xf7] = GROUP3(Ev, Iz),
	[0xf8] = OP(clc, R, (), WRITES(CF)),
	[0xf9] = OP(stc, R, (), WRITES(CF)),
	[0xfa] = OP(cli, R, (), SPECIAL(CLI)),
	[0xfb] = OP(sti, R, (), SPECIAL(STI)),
	[0xfc] = OP(cld, R, (), SPECIAL(CLD)),
	[0xfd] = OP(std, R, (), SPECIAL(STD)),
	[0xfe] = BY_REG(INC(Eb), DEC(Eb)),
	[0xff] = BY_REG(INC(Ev), DEC(Ev), OP(call, R, (Ev), RULES(F64), SPECIAL(CALL_IND)),
			OP(call, R, (Mp), HELPER(call_far)),
			OP(jmp, R, (Ev), RULES(F64), SPECIAL(JMP_IND)),
			OP(jmp, R, (Mp), HELPER(jmp_far)),
			OP(push, R, (Ev), RULES(D64), SPECIAL(PUSH)))
},

[1] = { /* 0F */
	[0x00] = GROUP6,
	[0x01] = BY_MOD(GROUP7_MEM, GROUP7_REG),
	[0x02] = OP(lar, RW, (Gv, RvMw), HELPER(lar), WRITES(ZF)),
	[0x03] = OP(lsl, RW, (Gv, RvMw), HELPER(lsl), WRITES(ZF)),
	[0x05] = OP(syscall, R, (), HELPER(syscall), READS(ALL)),
	[0x06] = OP(clts, R, (), HELPER(clts)),
	[0x07] = OP(sysret, R, (), HELPER(sysret), WRITES(ALL)),
	[0x08] = OP(invd, R, (), HELPER(wbinvd)),
	[0x09] = OP(wbinvd, R, (), HELPER(wbinvd)),
	[0x0b] = OP(ud2, R, (), HELPER(ud)),
	[0x0d] = NOP_(prefetchw, Eb),

	[0x10] = BY_PREFIX(V(movups, W, (Vx, Wx), UNALIGNED), V(movupd, W, (Vx, Wx), UNALIGNED),
			   BY_MOD(V(movss, W, (Vx, Md), 0), V(movss, W, (Vx, Hx, Ux), 0)),
			   BY_MOD(V(movsd, W, (Vx, Mq), 0), V(movsd, W, (Vx, Hx, Ux), 0))),
	[0x11] = BY_PREFIX(V(movups, W, (Wx, Vx), UNALIGNED), V(movupd, W, (Wx, Vx), UNALIGNED),
			   BY_MOD(V(movss, W, (Md, Vx), 0), V(movss, W, (Ux, Hx, Vx), 0)),
			   BY_MOD(V(movsd, W, (Mq, Vx), 0), V(movsd, W, (Ux, Hx, Vx), 0))),
	[0x12] = BY_PREFIX(BY_MOD(V(movlps, W, (Vx, Hx, Mq), L0), V(movhlps, W, (Vx, Hx, Ux), L0)),
			   V(movlpd, W, (Vx, Hx, Mq), L0), V(movsldup, W, (Vx, Wx), 0),
			   V(movddup, W, (Vx, Wdup), 0)),
	[0x13] = BY_PREFIX(V(movlps, W, (Mq, Vx), L0), V(movlpd, W, (Mq, Vx), L0), NONE, NONE),
	[0x14] = FLOAT2(unpckl),
	[0x15] = FLOAT2(unpckh),
	[0x16] = BY_PREFIX(BY_MOD(V(movhps, W, (Vx, Hx, Mq), L0), V(movlhps, W, (Vx, Hx, Ux), L0)),
			   V(movhpd, W, (Vx, Hx, Mq), L0), V(movshdup, W, (Vx, Wx), 0), NONE),
	[0x17] = BY_PREFIX(V(movhps, W, (Mq, Vx), L0), V(movhpd, W, (Mq, Vx), L0), NONE, NONE),
	[0x18 ... 0x1f] = NOP_(nop, Ev), /* prefetches, CLDEMOTE, ENDBR, and room for more hints */

	[0x20] = OP(mov, W, (Rm, Cm), RULES(MOD_IGNORED), HELPER(mov_from_cr), WRITES(ALL)),
	[0x21] = OP(mov, W, (Rm, Dm), RULES(MOD_IGNORED), HELPER(mov_from_dr), WRITES(ALL)),
	[0x22] = OP(mov, R, (Cm, Rm), RULES(MOD_IGNORED), HELPER(mov_to_cr), WRITES(ALL)),
	[0x23] = OP(mov, R, (Dm, Rm), RULES(MOD_IGNORED), HELPER(mov_to_dr), WRITES(ALL)),
	[0x28] = BY_PREFIX(V(movaps, W, (Vx, Wx), ALIGNED), V(movapd, W, (Vx, Wx), ALIGNED), NONE,
			   NONE),
	[0x29] = BY_PREFIX(V(movaps, W, (Wx, Vx), ALIGNED), V(movapd, W, (Wx, Vx), ALIGNED), NONE,
			   NONE),
	[0x2a] = BY_PREFIX(S(cvtpi2ps, W, (Vx, Qq), 0), S(cvtpi2pd, W, (Vx, Qq), 0),
			   V(cvtsi2ss, W, (Vx, Hx, Ey), 0), V(cvtsi2sd, W, (Vx, Hx, Ey), 0)),
	[0x2b] = BY_PREFIX(V(movntps, W, (Mx, Vx), ALIGNED), V(movntpd, W, (Mx, Vx), ALIGNED), NONE,
			   NONE),
	[0x2c] = BY_PREFIX(S(cvttps2pi, W, (Pq, Wq), 0), S(cvttpd2pi, W, (Pq, Wdq), 0),
			   V(cvttss2si, W, (Gy, Wd), 0), V(cvttsd2si, W, (Gy, Wq), 0)),
	[0x2d] = BY_PREFIX(S(cvtps2pi, W, (Pq, Wq), 0), S(cvtpd2pi, W, (Pq, Wdq), 0),
			   V(cvtss2si, W, (Gy, Wd), 0), V(cvtsd2si, W, (Gy, Wq), 0)),
	[0x2e] = FLOAT_COMPARE(ucomi),
	[0x2f] = FLOAT_COMPARE(comi),

	[0x30] = OP(wrmsr, R, (), HELPER(wrmsr)),
	[0x31] = OP(rdtsc, R, (), HELPER(rdtsc)),
	[0x32] = OP(rdmsr, R, (), HELPER(rdmsr)),
	[0x33] = OP(rdpmc, R, (), HELPER(rdpmc)),
	[0x34] = OP(sysenter, R, (), HELPER(sysenter)),
	[0x35] = OP(sysexit, R, (), HELPER(sysexit)),

	CONDITIONS(CMOVCC, 0x40),

	[0x50] = BY_PREFIX(V(movmskps, W, (Gd, Ux), 0), V(movmskpd, W, (Gd, Ux), 0), NONE, NONE),
	[0x51] = BY_PREFIX(V(sqrtps, W, (Vx, Wx), 0), V(sqrtpd, W, (Vx, Wx), 0),
			   V(sqrtss, W, (Vx, Hx, Wd), 0), V(sqrtsd, W, (Vx, Hx, Wq), 0)),
	[0x52] = BY_PREFIX(V(rsqrtps, W, (Vx, Wx), 0), NONE, V(rsqrtss, W, (Vx, Hx, Wd), 0), NONE),
	[0x53] = BY_PREFIX(V(rcpps, W, (Vx, Wx), 0), NONE, V(rcpss, W, (Vx, Hx, Wd), 0), NONE),
	[0x54] = FLOAT2(and),
	[0x55] = FLOAT2(andn),
	[0x56] = FLOAT2(or),
	[0x57] = FLOAT2(xor),
	[0x58] = FLOAT4(add),
	[0x59] = FLOAT4(mul),
	[0x5a] = BY_PREFIX(V(cvtps2pd, W, (Vx, Wxh), 0), V(cvtpd2ps, W, (Vx, Wx), 0),
			   V(cvtss2sd, W, (Vx, Hx, Wd), 0), V(cvtsd2ss, W, (Vx, Hx, Wq), 0)),
	[0x5b] = BY_PREFIX(V(cvtdq2ps, W, (Vx, Wx), 0), V(cvtps2dq, W, (Vx, Wx), 0),
			   V(cvttps2dq, W, (Vx, Wx), 0), NONE),
	[0x5c] = FLOAT4(sub),
	[0x5d] = FLOAT4(min),
	[0x5e] = FLOAT4(div),
	[0x5f] = FLOAT4(max),

	[0x60] = PAIR_LOW(punpcklbw),
	[0x61] = PAIR_LOW(punpcklwd),
	[0x62] = PAIR_LOW(punpckldq),
	[0x63] = PAIR(packsswb),
	[0x64] = PAIR(pcmpgtb),
	[0x65] = PAIR(pcmpgtw),
	[0x66] = PAIR(pcmpgtd),
	[0x67] = PAIR(packuswb),
	[0x68] = PAIR(punpckhbw),
	[0x69] = PAIR(punpckhwd),
	[0x6a] = PAIR(punpckhdq),
	[0x6b] = PAIR(packssdw),
	[0x6c] = VEC_66(punpcklqdq),
	[0x6d] = VEC_66(punpckhqdq),
	[0x6e] = BY_PREFIX(S(movd, W, (Pq, Ey), 0), V(movd, W, (Vx, Ey), L0), NONE, NONE),
	[0x6f] = BY_PREFIX(S(movq, W, (Pq, Qq), 0), V(movdqa, W, (Vx, Wx), ALIGNED),
			   V(movdqu, W, (Vx, Wx), UNALIGNED), NONE),
	[0x70] = BY_PREFIX(S(pshufw, W, (Pq, Qq, Ib), 0), V(pshufd, W, (Vx, Wx, Ib), 0),
			   V(pshufhw, W, (Vx, Wx, Ib), 0), V(pshuflw, W, (Vx, Wx, Ib), 0)),
	[0x71] = BY_PREFIX(BY_REG(NONE, NONE, SHIFT_MMX(psrlw), NONE, SHIFT_MMX(psraw), NONE,
				  SHIFT_MMX(psllw), NONE),
			   BY_REG(NONE, NONE, SHIFT_SSE(psrlw), NONE, SHIFT_SSE(psraw), NONE,
				  SHIFT_SSE(psllw), NONE),
			   NONE, NONE),
	[0x72] = BY_PREFIX(BY_REG(NONE, NONE, SHIFT_MMX(psrld), NONE, SHIFT_MMX(psrad), NONE,
				  SHIFT_MMX(pslld), NONE),
			   BY_REG(NONE, NONE, SHIFT_SSE(psrld), NONE, SHIFT_SSE(psrad), NONE,
				  SHIFT_SSE(pslld), NONE),
			   NONE, NONE),
	[0x73] = BY_PREFIX(BY_REG(NONE, NONE, SHIFT_MMX(psrlq), NONE, NONE, NONE, SHIFT_MMX(psllq),
				  NONE),
			   BY_REG(NONE, NONE, SHIFT_SSE(psrlq), SHIFT_SSE(psrldq), NONE, NONE,
				  SHIFT_SSE(psllq), SHIFT_SSE(pslldq)),
			   NONE, NONE),
	[0x74] = PAIR(pcmpeqb),
	[0x75] = PAIR(pcmpeqw),
	[0x76] = PAIR(pcmpeqd),
	[0x77] = ONLY_NP(BY_VEX(OP(emms, R, (), RULES(AS_MMX)),
				BY_L(VX(zeroupper, R, (), AS_SSE), VX(zeroall, R, (), AS_SSE)))),
	[0x7c] = BY_PREFIX(NONE, V(haddpd, W, (Vx, Hx, Wx), 0), NONE,
			   V(haddps, W, (Vx, Hx, Wx), 0)),
	[0x7d] = BY_PREFIX(NONE, V(hsubpd, W, (Vx, Hx, Wx), 0), NONE,
			   V(hsubps, W, (Vx, Hx, Wx), 0)),
	[0x7e] = BY_PREFIX(S(movd, W, (Ey, Pq), 0), V(movd, W, (Ey, Vx), L0),
			   V(movq, W, (Vx, Wq), L0), NONE),
	[0x7f] = BY_PREFIX(S(movq, W, (Qq, Pq), 0), V(movdqa, W, (Wx, Vx), ALIGNED),
			   V(movdqu, W, (Wx, Vx), UNALIGNED), NONE),

	CONDITIONS(JCC_NEAR, 0x80),
	CONDITIONS(SETCC, 0x90),

	[0xa0] = OP(push, R, (rFS), RULES(D64), HELPER(push_seg)),
	[0xa1] = OP(pop, R, (rFS), RULES(D64), HELPER(pop_seg)),
	[0xa2] = OP(cpuid, R, (), HELPER(cpuid)),
	[0xa3] = BIT_TEST(bt, R, 0),
	[0xa4] = OP(shld, RW, (Ev, Gv, Ib), RULES(COUNT_IMM), WRITES(ALL)),
	[0xa5] = OP(shld, RW, (Ev, Gv), READS(ALL), WRITES(ALL)),
	[0xa8] = OP(push, R, (rGS), RULES(D64), HELPER(push_seg)),
	[0xa9] = OP(pop, R, (rGS), RULES(D64), HELPER(pop_seg)),
	[0xab] = BIT_TEST(bts, RW, LOCKABLE),
	[0xac] = OP(shrd, RW, (Ev, Gv, Ib), RULES(COUNT_IMM), WRITES(ALL)),
	[0xad] = OP(shrd, RW, (Ev, Gv), READS(ALL), WRITES(ALL)),
	[0xae] = BY_MOD(GROUP15_MEM, GROUP15_REG),
	[0xaf] = OP(imul, RW, (Gv, Ev), WRITES(CF | OF)),
	[0xb0] = OP(cmpxchg, RW, (Eb, Gb), RULES(LOCKABLE), WRITES(ALL)),
	[0xb1] = OP(cmpxchg, RW, (Ev, Gv), RULES(LOCKABLE), WRITES(ALL)),
	[0xb2] = OP(lss, W, (Gv, Mp, rSS), HELPER(load_far_pointer)),
	[0xb3] = BIT_TEST(btr, RW, LOCKABLE),
	[0xb4] = OP(lfs, W, (Gv, Mp, rFS), HELPER(load_far_pointer)),
	[0xb5] = OP(lgs, W, (Gv, Mp, rGS), HELPER(load_far_pointer)),
	[0xb6] = OP(movzx, W, (Gv, Eb)),
	[0xb7] = OP(movzx, W, (Gv, Ew)),
	[0xb8] = ONLY_F3(OP(popcnt, W, (Gv, Ev), WRITES(ALL))),
	[0xb9] = OP(ud1, NO_USE, (Gv, Ev), HELPER(ud)),
	[0xba] = BY_REG(NONE, NONE, NONE, NONE, BIT_TEST_IMM(bt, R, 0),
			BIT_TEST_IMM(bts, RW, LOCKABLE), BIT_TEST_IMM(btr, RW, LOCKABLE),
			BIT_TEST_IMM(btc, RW, LOCKABLE)),
	[0xbb] = BIT_TEST(btc, RW, LOCKABLE),
	/* BSF, BSR: a source of 0 leaves the destination, on every processor that matters. */
	[0xbc] = BY_PREFIX(OP(bsf, RW, (Gv, Ev), WRITES(ZF)), OP(bsf, RW, (Gv, Ev), WRITES(ZF)),
			   OP(tzcnt, W, (Gv, Ev), WRITES(CF | ZF)), OP(bsf, RW, (Gv, Ev), WRITES(ZF))),
	[0xbd] = BY_PREFIX(OP(bsr, RW, (Gv, Ev), WRITES(ZF)), OP(bsr, RW, (Gv, Ev), WRITES(ZF)),
			   OP(lzcnt, W, (Gv, Ev), WRITES(CF | ZF)), OP(bsr, RW, (Gv, Ev), WRITES(ZF))),
	[0xbe] = OP(movsx, W, (Gv, Eb)),
	[0xbf] = OP(movsx, W, (Gv, Ew)),
	[0xc0] = OP(xadd, RW_RW, (Eb, Gb), RULES(LOCKABLE), WRITES(ALL)),
	[0xc1] = OP(xadd, RW_RW, (Ev, Gv), RULES(LOCKABLE), WRITES(ALL)),
	[0xc2] = BY_PREFIX(V(cmpps, W, (Vx, Hx, Wx, Ib), 0), V(cmppd, W, (Vx, Hx, Wx, Ib), 0),
			   V(cmpss, W, (Vx, Hx, Wd, Ib), 0), V(cmpsd, W, (Vx, Hx, Wq, Ib), 0)),
	[0xc3] = ONLY_NP(OP(movnti, W, (My, Gy))),
	[0xc4] = BY_PREFIX(S(pinsrw, W, (Pq, RdMw, Ib), 0),
			   V(pinsrw, W, (Vx, Hx, RdMw, Ib), L0), NONE, NONE),
	[0xc5] = BY_PREFIX(S(pextrw, W, (Gd, Nq, Ib), 0),
			   V(pextrw, W, (Gd, Ux, Ib), L0), NONE, NONE),
	[0xc6] = BY_PREFIX(V(shufps, W, (Vx, Hx, Wx, Ib), 0),
			   V(shufpd, W, (Vx, Hx, Wx, Ib), 0), NONE, NONE),
	[0xc7] = GROUP9,
	[0xc8 ... 0xcf] = OP(bswap, RW, (Zv)),

	[0xd0] = BY_PREFIX(NONE, V(addsubpd, W, (Vx, Hx, Wx), 0), NONE,
			   V(addsubps, W, (Vx, Hx, Wx), 0)),
	[0xd1] = PAIR_SHIFT(psrlw),
	[0xd2] = PAIR_SHIFT(psrld),
	[0xd3] = PAIR_SHIFT(psrlq),
	[0xd4] = PAIR(paddq),
	[0xd5] = PAIR(pmullw),
	[0xd6] = BY_PREFIX(NONE, V(movq, W, (Wq, Vx), L0), S(movq2dq, W, (Vx, Nq), 0),
			   S(movdq2q, W, (Pq, Ux), 0)),
	[0xd7] = BY_PREFIX(S(pmovmskb, W, (Gd, Nq), 0), V(pmovmskb, W, (Gd, Ux), 0), NONE, NONE),
	[0xd8] = PAIR(psubusb),
	[0xd9] = PAIR(psubusw),
	[0xda] = PAIR(pminub),
	[0xdb] = PAIR(pand),
	[0xdc] = PAIR(paddusb),
	[0xdd] = PAIR(paddusw),
	[0xde] = PAIR(pmaxub),
	[0xdf] = PAIR(pandn),
	[0xe0] = PAIR(pavgb),
	[0xe1] = PAIR_SHIFT(psraw),
	[0xe2] = PAIR_SHIFT(psrad),
	[0xe3] = PAIR(pavgw),
	[0xe4] = PAIR(pmulhuw),
	[0xe5] = PAIR(pmulhw),
	[0xe6] = BY_PREFIX(NONE, V(cvttpd2dq, W, (Vx, Wx), 0), V(cvtdq2pd, W, (Vx, Wxh), 0),
			   V(cvtpd2dq, W, (Vx, Wx), 0)),
	[0xe7] = BY_PREFIX(S(movntq, W, (Mq, Pq), 0), V(movntdq, W, (Mx, Vx), ALIGNED), NONE, NONE),
	[0xe8] = PAIR(psubsb),
	[0xe9] = PAIR(psubsw),
	[0xea] = PAIR(pminsw),
	[0xeb] = PAIR(por),
	[0xec] = PAIR(paddsb),
	[0xed] = PAIR(paddsw),
	[0xee] = PAIR(pmaxsw),
	[0xef] = PAIR(pxor),
	[0xf0] = ONLY_F2(V(lddqu, W, (Vx, Mx), UNALIGNED)),
	[0xf1] = PAIR_SHIFT(psllw),
	[0xf2] = PAIR_SHIFT(pslld),
	[0xf3] = PAIR_SHIFT(psllq),
	[0xf4] = PAIR(pmuludq),
	[0xf5] = PAIR(pmaddwd),
	[0xf6] = PAIR(psadbw),
	[0xf7] = BY_PREFIX(S(maskmovq, R, (Pq, Nq), 0, HELPER(maskmov)),
			   V(maskmovdqu, R, (Vx, Ux), L0, HELPER(maskmov)), NONE, NONE),
	[0xf8] = PAIR(psubb),
	[0xf9] = PAIR(psubw),
	[0xfa] = PAIR(psubd),
	[0xfb] = PAIR(psubq),
	[0xfc] = PAIR(paddb),
	[0xfd] = PAIR(paddw),
	[0xfe] = PAIR(paddd),
	[0xff] = OP(ud0, NO_USE, (Gv, Ev), HELPER(ud))
},

[2] = { /* 0F 38 */
	[0x00] = PAIR(pshufb),
	[0x01] = PAIR(phaddw),
	[0x02] = PAIR(phaddd),
	[0x03] = PAIR(phaddsw),
	[0x04] = PAIR(pmaddubsw),
	[0x05] = PAIR(phsubw),
	[0x06] = PAIR(phsubd),
	[0x07] = PAIR(phsubsw),
	[0x08] = PAIR(psignb),
	[0x09] = PAIR(psignw),
	[0x0a] = PAIR(psignd),
	[0x0b] = PAIR(pmulhrsw),
	[0x0c] = ONLY_66(VX(permilps, W, (Vx, Hx, Wx), W0)),
	[0x0d] = ONLY_66(VX(permilpd, W, (Vx, Hx, Wx), W0)),
	[0x0e] = ONLY_66(VX(testps, R, (Vx, Wx), W0, WRITES(ALL))),
	[0x0f] = ONLY_66(VX(testpd, R, (Vx, Wx), W0, WRITES(ALL))),
	[0x10] = ONLY_66(S(pblendvb, RW, (Vx, Wx), 0)),
	[0x13] = ONLY_66(VX(cvtph2ps, W, (Vx, Wxh), W0)),
	[0x14] = ONLY_66(S(blendvps, RW, (Vx, Wx), 0)),
	[0x15] = ONLY_66(S(blendvpd, RW, (Vx, Wx), 0)),
	[0x16] = ONLY_66(VX(permps, W, (Vx, Hx, Wx), L1 | W0)),
	[0x17] = ONLY_66(V(ptest, R, (Vx, Wx), 0, WRITES(ALL))),
	[0x18] = ONLY_66(VX(broadcastss, W, (Vx, Wd), W0)),
	[0x19] = ONLY_66(VX(broadcastsd, W, (Vx, Wq), L1 | W0)),
	[0x1a] = ONLY_66(VX(broadcastf128, W, (Vx, Mdq), L1 | W0)),
	[0x1c] = PAIR_UNARY(pabsb),
	[0x1d] = PAIR_UNARY(pabsw),
	[0x1e] = PAIR_UNARY(pabsd),
	[0x20] = VEC_66_UNARY(pmovsxbw, Wxh),
	[0x21] = VEC_66_UNARY(pmovsxbd, Wxq),
	[0x22] = VEC_66_UNARY(pmovsxbq, Wxo),
	[0x23] = VEC_66_UNARY(pmovsxwd, Wxh),
	[0x24] = VEC_66_UNARY(pmovsxwq, Wxq),
	[0x25] = VEC_66_UNARY(pmovsxdq, Wxh),
	[0x28] = VEC_66(pmuldq),
	[0x29] = VEC_66(pcmpeqq),
	[0x2a] = ONLY_66(V(movntdqa, W, (Vx, Mx), ALIGNED)),
	[0x2b] = VEC_66(packusdw),
	[0x2c] = ONLY_66(MASK_LOAD(maskmovps, W0)),
	[0x2d] = ONLY_66(MASK_LOAD(maskmovpd, W0)),
	[0x2e] = ONLY_66(MASK_STORE(maskmovps, W0)),
	[0x2f] = ONLY_66(MASK_STORE(maskmovpd, W0)),
	[0x30] = VEC_66_UNARY(pmovzxbw, Wxh),
	[0x31] = VEC_66_UNARY(pmovzxbd, Wxq),
	[0x32] = VEC_66_UNARY(pmovzxbq, Wxo),
	[0x33] = VEC_66_UNARY(pmovzxwd, Wxh),
	[0x34] = VEC_66_UNARY(pmovzxwq, Wxq),
	[0x35] = VEC_66_UNARY(pmovzxdq, Wxh),
	[0x36] = ONLY_66(VX(permd, W, (Vx, Hx, Wx), L1 | W0)),
	[0x37] = VEC_66(pcmpgtq),
	[0x38] = VEC_66(pminsb),
	[0x39] = VEC_66(pminsd),
	[0x3a] = VEC_66(pminuw),
	[0x3b] = VEC_66(pminud),
	[0x3c] = VEC_66(pmaxsb),
	[0x3d] = VEC_66(pmaxsd),
	[0x3e] = VEC_66(pmaxuw),
	[0x3f] = VEC_66(pmaxud),
	[0x40] = VEC_66(pmulld),
	[0x41] = ONLY_66(V(phminposuw, W, (Vx, Wx), L0)),
	[0x45] = VARIABLE_SHIFT(psrlv),
	[0x46] = ONLY_66(VX(psravd, W, (Vx, Hx, Wx), W0)),
	[0x47] = VARIABLE_SHIFT(psllv),
	[0x58] = ONLY_66(VX(pbroadcastd, W, (Vx, Wd), W0)),
	[0x59] = ONLY_66(VX(pbroadcastq, W, (Vx, Wq), W0)),
	[0x5a] = ONLY_66(VX(broadcasti128, W, (Vx, Mdq), L1 | W0)),
	[0x78] = ONLY_66(VX(pbroadcastb, W, (Vx, Wb), W0)),
	[0x79] = ONLY_66(VX(pbroadcastw, W, (Vx, Ww), W0)),
	[0x82] = ONLY_66(OP(invpcid, R, (Gm, Mdq), HELPER(invpcid))),
	[0x8c] = ONLY_66(BY_W(MASK_LOAD(pmaskmovd, 0), MASK_LOAD(pmaskmovq, 0))),
	[0x8e] = ONLY_66(BY_W(MASK_STORE(pmaskmovd, 0), MASK_STORE(pmaskmovq, 0))),
	[0x90] = GATHER(pgatherd),
	[0x91] = GATHER(pgatherq),
	[0x92] = ONLY_66(BY_W(VX(gatherdps, W, (Vx, M, Hx), VSIB, HELPER(gather)),
			      VX(gatherdpd, W, (Vx, M, Hx), VSIB, HELPER(gather)))),
	[0x93] = ONLY_66(BY_W(VX(gatherqps, W, (Vx, M, Hx), VSIB, HELPER(gather)),
			      VX(gatherqpd, W, (Vx, M, Hx), VSIB, HELPER(gather)))),
	FMA(0x96, 132),
	FMA(0xa6, 213),
	FMA(0xb6, 231),
	[0xc8] = ONLY_NP(S(sha1nexte, RW, (Vx, Wx), UNALIGNED)),
	[0xc9] = ONLY_NP(S(sha1msg1, RW, (Vx, Wx), UNALIGNED)),
	[0xca] = ONLY_NP(S(sha1msg2, RW, (Vx, Wx), UNALIGNED)),
	[0xcb] = ONLY_NP(S(sha256rnds2, RW, (Vx, Wx), UNALIGNED)),
	[0xcc] = ONLY_NP(S(sha256msg1, RW, (Vx, Wx), UNALIGNED)),
	[0xcd] = ONLY_NP(S(sha256msg2, RW, (Vx, Wx), UNALIGNED)),
	[0xcf] = ONLY_66(V(gf2p8mulb, W, (Vx, Hx, Wx), W0)),
	[0xdb] = ONLY_66(V(aesimc, W, (Vx, Wx), L0)),
	[0xdc] = VEC_66(aesenc),
	[0xdd] = VEC_66(aesenclast),
	[0xde] = VEC_66(aesdec),
	[0xdf] = VEC_66(aesdeclast),
	[0xf0] = BY_PREFIX(OP(movbe, W, (Gv, Mv)), OP(movbe, W, (Gv, Mv)), NONE,
			   OP(crc32, RW, (Gy, Eb))),
	[0xf1] = BY_PREFIX(OP(movbe, W, (Mv, Gv)), OP(movbe, W, (Mv, Gv)), NONE,
			   OP(crc32, RW, (Gy, Ev))),
	[0xf2] = ONLY_NP(BMI(andn, W, (Gy, By, Ey), WRITES(ALL & ~(AF | PF)))),
	[0xf3] = ONLY_NP(BY_REG(NONE, BMI(blsr, W, (By, Ey), WRITES(ALL & ~(AF | PF))),
				BMI(blsmsk, W, (By, Ey), WRITES(ALL & ~(AF | PF))),
				BMI(blsi, W, (By, Ey), WRITES(ALL & ~(AF | PF))),
				NONE, NONE, NONE, NONE)),
	[0xf5] = BY_PREFIX(BMI(bzhi, W, (Gy, Ey, By), WRITES(ALL & ~(AF | PF))), NONE,
			   BMI(pext, W, (Gy, By, Ey)),
			   BMI(pdep, W, (Gy, By, Ey))),
	[0xf6] = BY_PREFIX(NONE, OP(adcx, RW, (Gy, Ey), READS(CF), WRITES(CF)),
			   OP(adox, RW, (Gy, Ey), READS(OF), WRITES(OF)),
			   BMI(mulx, W_W, (Gy, By, Ey))),
	[0xf7] = BY_PREFIX(BMI(bextr, W, (Gy, Ey, By), WRITES(CF | ZF | OF)), BMI(shlx, W, (Gy, Ey, By)),
			   BMI(sarx, W, (Gy, Ey, By)), BMI(shrx, W, (Gy, Ey, By)))
},

[3] = { /* 0F 3A */
	[0x00] = ONLY_66(VX(permq, W, (Vx, Wx, Ib), L1 | W1)),
	[0x01] = ONLY_66(VX(permpd, W, (Vx, Wx, Ib), L1 | W1)),
	[0x02] = ONLY_66(VX(pblendd, W, (Vx, Hx, Wx, Ib), W0)),
	[0x04] = ONLY_66(VX(permilps, W, (Vx, Wx, Ib), W0)),
	[0x05] = ONLY_66(VX(permilpd, W, (Vx, Wx, Ib), W0)),
	[0x06] = ONLY_66(VX(perm2f128, W, (Vx, Hx, Wx, Ib), L1 | W0)),
	[0x08] = ONLY_66(V(roundps, W, (Vx, Wx, Ib), 0)),
	[0x09] = ONLY_66(V(roundpd, W, (Vx, Wx, Ib), 0)),
	[0x0a] = ONLY_66(V(roundss, W, (Vx, Hx, Wd, Ib), 0)),
	[0x0b] = ONLY_66(V(roundsd, W, (Vx, Hx, Wq, Ib), 0)),
	[0x0c] = VEC_66_IMM(blendps),
	[0x0d] = VEC_66_IMM(blendpd),
	[0x0e] = VEC_66_IMM(pblendw),
	[0x0f] = BY_PREFIX(S(palignr, W, (Pq, Qq, Ib), 0), V(palignr, W, (Vx, Hx, Wx, Ib), 0), NONE,
			   NONE),
	[0x14] = ONLY_66(V(pextrb, W, (RdMb, Vx, Ib), L0)),
	[0x15] = ONLY_66(V(pextrw, W, (RdMw, Vx, Ib), L0)),
	[0x16] = ONLY_66(V(pextrd, W, (Ey, Vx, Ib), L0)),
	[0x17] = ONLY_66(V(extractps, W, (Ed, Vx, Ib), L0)),
	[0x18] = ONLY_66(VX(insertf128, W, (Vx, Hx, Wdq, Ib), L1 | W0)),
	[0x19] = ONLY_66(VX(extractf128, W, (Wdq, Vx, Ib), L1 | W0)),
	[0x1d] = ONLY_66(VX(cvtps2ph, W, (Wxh, Vx, Ib), W0)),
	[0x20] = ONLY_66(V(pinsrb, W, (Vx, Hx, RdMb, Ib), L0)),
	[0x21] = ONLY_66(V(insertps, W, (Vx, Hx, Wd, Ib), L0)),
	[0x22] = ONLY_66(V(pinsrd, W, (Vx, Hx, Ey, Ib), L0)),
	[0x38] = ONLY_66(VX(inserti128, W, (Vx, Hx, Wdq, Ib), L1 | W0)),
	[0x39] = ONLY_66(VX(extracti128, W, (Wdq, Vx, Ib), L1 | W0)),
	[0x40] = VEC_66_IMM(dpps),
	[0x41] = ONLY_66(V(dppd, W, (Vx, Hx, Wx, Ib), L0)),
	[0x42] = VEC_66_IMM(mpsadbw),
	[0x44] = VEC_66_IMM(pclmulqdq),
	[0x46] = ONLY_66(VX(perm2i128, W, (Vx, Hx, Wx, Ib), L1 | W0)),
	[0x4a] = ONLY_66(VX(blendvps, W, (Vx, Hx, Wx, Lx), W0)),
	[0x4b] = ONLY_66(VX(blendvpd, W, (Vx, Hx, Wx, Lx), W0)),
	[0x4c] = ONLY_66(VX(pblendvb, W, (Vx, Hx, Wx, Lx), W0)),
	[0x60] = ONLY_66(V(pcmpestrm, R, (Vx, Wx, Ib, rAXy), L0 | UNALIGNED, WRITES(ALL))),
	[0x61] = ONLY_66(V(pcmpestri, R, (Vx, Wx, Ib, rAXy), L0 | UNALIGNED, WRITES(ALL))),
	[0x62] = ONLY_66(V(pcmpistrm, R, (Vx, Wx, Ib), L0 | UNALIGNED, WRITES(ALL))),
	[0x63] = ONLY_66(V(pcmpistri, R, (Vx, Wx, Ib), L0 | UNALIGNED, WRITES(ALL))),
	[0xcc] = ONLY_NP(S(sha1rnds4, RW, (Vx, Wx, Ib), UNALIGNED)),
	[0xce] = ONLY_66(V(gf2p8affineqb, W, (Vx, Hx, Wx, Ib), W1)),
	[0xcf] = ONLY_66(V(gf2p8affineinvqb, W, (Vx, Hx, Wx, Ib), W1)),
	[0xdf] = ONLY_66(V(aeskeygenassist, W, (Vx, Wx, Ib), L0)),
	[0xf0] = ONLY_F2(BMI(rorx, W, (Gy, Ey, Ib)))
}
};

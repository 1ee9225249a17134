/*
 * decode_test.c - tricky forms, one sentence each
 *
 * decode_oracle_test.c compares every opcode with Zydis; here is what Zydis cannot say (what the
 * translator is to do with an instruction), and forms where a decoder easily goes wrong.
 */
#include <stdarg.h>
#include <setjmp.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "decode.h"
#include "cpu.h"

#define OK DECODE_OK
#define IN_16 DECODE_16
#define IN_32 DECODE_32
#define IN_64 DECODE_64

struct member {
	const char *name;
	size_t offset, bytes;
	uint64_t value;
};
#define HAS(member_, value_)                                                                       \
	{ #member_, offsetof(struct insn, member_), sizeof(((struct insn *)NULL)->member_), value_ }
#define IS_COPY HAS(kind, OP_COPY)
#define IS_SPECIAL(id_) HAS(kind, OP_SPECIAL), HAS(id, SPECIAL_##id_)
#define IS_HELPER(id_) HAS(kind, OP_HELPER), HAS(id, HELPER_##id_)

struct sentence {
	const char *text;
	int mode;
	const char *hex; /* spaces between bytes */
	enum decode_status status;
	struct member members[10];
};

static unsigned int parse_hex(const char *hex, uint8_t bytes[32])
{
	unsigned int count = 0, byte;
	int used;

	while (count < 32 && sscanf(hex, " %2x%n", &byte, &used) == 1) {
		bytes[count++] = byte;
		hex += used;
	}
	return count;
}

static uint64_t member_value(const struct insn *insn, const struct member *member)
{
	uint64_t value = 0;

	memcpy(&value, (const char *)insn + member->offset, member->bytes);
	return value;
}

static uint64_t truncated_to(uint64_t value, size_t bytes)
{
	return bytes == 8 ? value : value & (BIT(8 * bytes) - 1);
}

static unsigned int wrong_members(const struct sentence *sentence, const struct insn *insn)
{
	unsigned int wrong = 0;

	for (const struct member *member = sentence->members; member->name; member++) {
		uint64_t actual = member_value(insn, member);

		if (actual == truncated_to(member->value, member->bytes))
			continue;
		print_error("%s (%s): %s is 0x%" PRIx64 ", not 0x%" PRIx64 "\n", sentence->text,
			    sentence->hex, member->name, actual, member->value);
		wrong++;
	}
	return wrong;
}

static unsigned int check_sentence(const struct sentence *sentence)
{
	uint8_t bytes[32];
	unsigned int count = parse_hex(sentence->hex, bytes);
	struct insn insn;
	enum decode_status status = decode(bytes, count, sentence->mode, &insn);

	if (status != sentence->status) {
		print_error("%s (%s): status %d, not %d\n", sentence->text, sentence->hex, status,
			    sentence->status);
		return 1;
	}
	if (status == DECODE_OK && insn.length != count) {
		print_error("%s (%s): length %d\n", sentence->text, sentence->hex, insn.length);
		return 1;
	}
	return status == DECODE_OK ? wrong_members(sentence, &insn) : 0;
}

#define CHECK_ALL(sentences)                                                                       \
	do {                                                                                       \
		unsigned int wrong_ = 0;                                                           \
		for (unsigned int i_ = 0; i_ < ARRAY_SIZE(sentences); i_++)                        \
			wrong_ += check_sentence(&(sentences)[i_]);                                \
		assert_int_equal(wrong_, 0);                                                       \
	} while (0)

#define RW (USE_READ | USE_WRITE)

static void registers_are_used_as_their_width_says(void **state)
{
	static const struct sentence sentences[] = {
		{ "a 32-bit MOV defines its destination", IN_64, "89 c8", OK,
		  { IS_COPY, HAS(rm, 0), HAS(reg, 1), HAS(rm_use, USE_WRITE),
		    HAS(reg_use, USE_READ) } },
		{ "a 16-bit MOV keeps the rest", IN_64, "66 89 c8", OK,
		  { HAS(rm_use, RW), HAS(emit_66, true), HAS(op_bytes, 2) } },
		{ "an 8-bit MOV keeps the rest", IN_64, "8a cc", OK,
		  { HAS(reg_use, RW), HAS(rm_is_byte, true), HAS(reg_is_byte, true),
		    HAS(rex, false) } },
		{ "MOVZX has a byte source and a whole destination", IN_64, "0f b6 c4", OK,
		  { HAS(reg_use, USE_WRITE), HAS(reg_is_byte, false), HAS(rm_is_byte, true) } },
		{ "CMOVcc may keep its destination", IN_64, "4d 0f 44 fe", OK,
		  { HAS(reg_use, RW), HAS(rm_use, USE_READ), HAS(reg, 15), HAS(rm, 14),
		    HAS(w, true) } },
		{ "XADD writes both", IN_64, "0f c1 d1", OK,
		  { IS_COPY, HAS(reg_use, RW), HAS(rm_use, RW) } },
		{ "CMPXCHG reads reg", IN_64, "f0 48 0f b1 0b", OK,
		  { IS_COPY, HAS(reg_use, USE_READ), HAS(mem_use, RW), HAS(lock, true) } },
		{ "MULX writes two", IN_64, "c4 62 83 f6 f1", OK,
		  { IS_COPY, HAS(reg, 14), HAS(vvvv, 15), HAS(reg_use, USE_WRITE),
		    HAS(vvvv_use, USE_WRITE), HAS(rm_use, USE_READ), HAS(unit, UNIT_INTEGER) } },
		{ "MOVD reads a general register", IN_64, "66 41 0f 6e c6", OK,
		  { HAS(rm, 14), HAS(rm_use, USE_READ), HAS(reg_use, 0), HAS(unit, UNIT_SSE) } },
		{ "PEXTRB zero-extends", IN_64, "66 41 0f 3a 14 c6 03", OK,
		  { HAS(rm_use, USE_WRITE), HAS(rm_is_byte, false), HAS(imm, 3) } },
		{ "PMOVMSKB zero-extends", IN_64, "66 44 0f d7 f1", OK,
		  { HAS(reg, 14), HAS(reg_use, USE_WRITE), HAS(rm_use, 0) } },
		{ "BSF keeps its destination when the source is 0", IN_64, "0f bc c1", OK,
		  { HAS(reg_use, RW) } },
		{ "an opcode extension is no register", IN_64, "4d f7 de", OK,
		  { HAS(reg_use, 0), HAS(rm, 14), HAS(rm_use, RW) } },
	};

	CHECK_ALL(sentences);
}

static void memory_operands_are_exact(void **state)
{
	static const struct sentence sentences[] = {
		{ "RIP-relative", IN_64, "48 8b 05 f0 ff ff ff", OK,
		  { HAS(rip_relative, true), HAS(base, NO_REG), HAS(disp, -16),
		    HAS(mem_bytes, 8) } },
		{ "the same bytes in 32-bit code are absolute", IN_32, "8b 05 f0 ff ff ff", OK,
		  { HAS(rip_relative, false), HAS(base, NO_REG), HAS(address_bytes, 4) } },
		{ "SIB without base and index is absolute", IN_64, "8b 04 25 00 00 00 80", OK,
		  { HAS(rip_relative, false), HAS(base, NO_REG), HAS(index, NO_REG),
		    HAS(disp, -0x80000000ll) } },
		{ "R12 is an index", IN_64, "42 8b 04 e1", OK,
		  { HAS(base, 1), HAS(index, 12), HAS(scale, 8) } },
		{ "R12 as a base has DS", IN_64, "41 8b 04 24", OK,
		  { HAS(base, 12), HAS(index, NO_REG), HAS(seg, VP_DS) } },
		{ "RSP as a base has SS", IN_64, "8b 04 24",
		  OK, { HAS(base, 4), HAS(seg, VP_SS) } },
		{ "R13 needs a displacement", IN_64, "41 8b 45 00", OK,
		  { HAS(base, 13), HAS(seg, VP_DS), HAS(disp, 0) } },
		{ "BP+SI has SS", IN_16, "8b 42 80", OK,
		  { HAS(base, 5), HAS(index, 6), HAS(seg, VP_SS), HAS(disp, -128),
		    HAS(address_bytes, 2) } },
		{ "16-bit rm 6 without mod is disp16 with DS", IN_16, "8b 06 34 12", OK,
		  { HAS(base, NO_REG), HAS(seg, VP_DS), HAS(disp, 0x1234), HAS(emit_66, true) } },
		{ "FS counts in 64-bit mode, and a later DS does not undo it", IN_64, "64 3e 8b 00",
		  OK, { HAS(seg, VP_FS) } },
		{ "ES counts in 32-bit mode", IN_32, "26 8b 00", OK, { HAS(seg, VP_ES) } },
		{ "LEA does not touch memory", IN_64, "48 8d 44 24 08", OK,
		  { IS_SPECIAL(LEA), HAS(mem, true), HAS(mem_use, 0), HAS(reg_use, USE_WRITE) } },
		{ "MOV from a 64-bit absolute address", IN_64, "a1 88 77 66 55 44 33 22 f1", OK,
		  { IS_SPECIAL(MOV_MOFFS), HAS(disp, 0xf122334455667788ull), HAS(mem_bytes, 4),
		    HAS(mem_use, USE_READ), HAS(base, NO_REG), HAS(index, NO_REG) } },
		{ "a 32-bit absolute address is zero-extended", IN_64, "67 a2 00 00 00 80", OK,
		  { HAS(disp, 0x80000000), HAS(mem_bytes, 1), HAS(mem_use, USE_WRITE) } },
		{ "MOVSS reads 4", IN_64, "f3 0f 10 00", OK,
		  { HAS(mem_bytes, 4), HAS(emit_rep, 0xf3), HAS(mem_aligned, false) } },
		{ "F3 is stronger than 66", IN_64, "66 f3 0f 10 00", OK,
		  { HAS(mem_bytes, 4), HAS(emit_66, false) } },
		{ "MOVAPS is aligned", IN_64, "0f 29 00", OK,
		  { HAS(mem_bytes, 16), HAS(mem_aligned, true), HAS(mem_use, USE_WRITE) } },
		{ "MOVUPS is not", IN_64, "0f 10 00", OK, { HAS(mem_aligned, false) } },
		{ "VADDPS is not", IN_64, "c5 fc 58 00", OK,
		  { HAS(mem_bytes, 32), HAS(mem_aligned, false), HAS(unit, UNIT_AVX),
		    HAS(vvvv, 0) } },
		{ "VPMOVZXBW reads half", IN_64, "c4 e2 7d 30 00", OK, { HAS(mem_bytes, 16) } },
		{ "VPSLLW counts by 16 bytes", IN_64, "c5 fd f1 00", OK, { HAS(mem_bytes, 16) } },
		{ "VMOVDDUP reads all of 256 bits", IN_64, "c5 ff 12 00",
		  OK, { HAS(mem_bytes, 32) } },
		{ "MOVDDUP reads 8", IN_64, "f2 0f 12 00", OK, { HAS(mem_bytes, 8) } },
		{ "FNSAVE in 16-bit code", IN_16, "dd 37", OK,
		  { HAS(mem_bytes, 94), HAS(emit_66, true), HAS(unit, UNIT_X87) } },
		{ "FNSAVE in 64-bit code", IN_64, "dd 37", OK,
		  { HAS(mem_bytes, 108), HAS(emit_66, false) } },
		{ "FXSAVE", IN_64, "48 0f ae 00", OK,
		  { IS_HELPER(fxsave), HAS(mem_bytes, 512), HAS(w, true), HAS(mem_use, USE_WRITE) } },
		{ "CMPXCHG16B", IN_64, "f0 48 0f c7 0f", OK,
		  { IS_COPY, HAS(mem_bytes, 16), HAS(mem_use, RW), HAS(mem_aligned, true),
		    HAS(flags_written, FLAG_ZF) } },
		{ "TEST reads", IN_64, "84 0f", OK, { HAS(mem_use, USE_READ), HAS(mem_bytes, 1) } },
		{ "SETcc writes", IN_64, "0f 9f 07", OK,
		  { HAS(mem_use, USE_WRITE), HAS(mem_bytes, 1),
		    HAS(flags_read, FLAG_ZF | FLAG_SF | FLAG_OF) } },
	};

	CHECK_ALL(sentences);
}

static void what_is_copied_is_64_bit_code(void **state)
{
	static const struct sentence sentences[] = {
		{ "16-bit code without prefix", IN_16, "01 d8", OK,
		  { HAS(emit_66, true), HAS(op_bytes, 2) } },
		{ "16-bit code with 66", IN_16, "66 01 d8", OK,
		  { HAS(emit_66, false), HAS(op_bytes, 4), HAS(rm_use, RW) } },
		{ "66 of a vector instruction stays in 16-bit code", IN_16, "66 0f 6f c1", OK,
		  { HAS(emit_66, true) } },
		{ "MOVBE takes 66 as a size", IN_16, "66 0f 38 f0 07", OK,
		  { HAS(emit_66, false), HAS(op_bytes, 4), HAS(mem_bytes, 4) } },
		{ "CRC32 has both prefixes", IN_64, "66 f2 0f 38 f1 c1", OK,
		  { HAS(emit_66, true), HAS(emit_rep, 0xf2) } },
		{ "alias 82 is copied as 80", IN_32, "82 c0 ff", OK,
		  { HAS(opcode, 0x80), HAS(imm, -1), HAS(imm_bytes, 1) } },
		{ "VEX.W of a general register is dropped in 32-bit code", IN_32, "c4 e2 f0 f2 c2",
		  OK, { HAS(w, false), HAS(vvvv, 1), HAS(reg_use, USE_WRITE) } },
		{ "VEX.W of FMA stays", IN_32, "c4 e2 f1 98 00", OK,
		  { HAS(w, true), HAS(mem_bytes, 16) } },
		{ "bit 7 of a register immediate is dropped in 32-bit code", IN_32,
		  "c4 e3 69 4a c1 b0",
		  OK, { HAS(imm, 0x30) } },
		{ "66 with REX.W has no effect", IN_64, "66 48 01 d8", OK,
		  { HAS(emit_66, false), HAS(w, true), HAS(op_bytes, 8) } },
		{ "REX before another prefix is ignored", IN_64, "48 66 01 d8", OK,
		  { HAS(w, false), HAS(rex, false), HAS(emit_66, true) } },
		{ "MOV r64, imm64", IN_64, "49 bf 88 77 66 55 44 33 22 f1", OK,
		  { IS_COPY, HAS(rm, 15), HAS(mod, 3), HAS(imm_bytes, 8),
		    HAS(imm, 0xf122334455667788ull),
		    HAS(rm_use, USE_WRITE), HAS(has_modrm, false) } },
		{ "immediates of 64-bit operations are sign-extended", IN_64,
		  "48 81 c0 00 00 00 80",
		  OK, { HAS(imm, -0x80000000ll), HAS(imm_bytes, 4) } },
	};

	CHECK_ALL(sentences);
}


static void flags_are_exact(void **state)
{
	static const struct sentence sentences[] = {
		{ "INC keeps CF", IN_64, "ff c0", OK,
		  { HAS(flags_written, FLAGS_ARITH & ~FLAG_CF), HAS(flags_read, 0) } },
		{ "ADC reads CF", IN_64, "11 c8", OK, { HAS(flags_read, FLAG_CF) } },
		{ "NOT and MOV touch none", IN_64, "f7 d0", OK,
		  { HAS(flags_read, 0), HAS(flags_written, 0) } },
		{ "a shift by CL may keep them", IN_64, "d3 e0", OK,
		  { HAS(flags_read, FLAGS_ARITH), HAS(flags_written, FLAGS_ARITH) } },
		{ "a shift by 32 keeps them", IN_64, "c1 e0 20",
		  OK, { HAS(flags_read, FLAGS_ARITH) } },
		{ "a 64-bit one does not", IN_64, "48 c1 e0 20", OK, { HAS(flags_read, 0) } },
		{ "ROL writes CF and OF", IN_64, "c1 c0 01", OK,
		  { HAS(flags_read, 0), HAS(flags_written, FLAG_CF | FLAG_OF) } },
		{ "RCL reads CF", IN_64, "d1 d0", OK, { HAS(flags_read, FLAG_CF) } },
		{ "BT may keep all but CF", IN_64, "0f ba e0 01", OK,
		  { IS_COPY, HAS(flags_written, FLAG_CF), HAS(rm_use, USE_READ) } },
		{ "so may IMUL all but CF and OF", IN_64, "0f af c1", OK,
		  { HAS(flags_written, FLAG_CF | FLAG_OF) } },
		{ "DIV may keep all", IN_64, "f7 f1", OK,
		  { HAS(flags_read, FLAGS_ARITH), HAS(flags_written, FLAGS_ARITH) } },
		{ "repeated SCAS may keep them", IN_64, "f2 ae", OK,
		  { IS_HELPER(scas), HAS(repne, true), HAS(flags_read, FLAGS_ARITH) } },
		{ "single SCAS does not", IN_64, "ae", OK, { HAS(flags_read, 0) } },
		{ "FCOMI", IN_64, "db f1", OK, { IS_COPY, HAS(flags_written, FLAGS_ARITH) } },
		{ "FCMOVBE", IN_64, "da d1", OK, { HAS(flags_read, FLAG_CF | FLAG_ZF) } },
		{ "LOOPE reads ZF", IN_64, "e1 fe",
		  OK, { IS_SPECIAL(LOOP), HAS(flags_read, FLAG_ZF) } },
		{ "PTEST writes all", IN_64, "66 0f 38 17 c1",
		  OK, { HAS(flags_written, FLAGS_ARITH) } },
	};

	CHECK_ALL(sentences);
}

static void specials_are_named(void **state)
{
	static const struct sentence sentences[] = {
		{ "NOP", IN_64, "90", OK, { IS_SPECIAL(NOP) } },
		{ "PAUSE", IN_64, "f3 90", OK, { IS_SPECIAL(PAUSE) } },
		{ "NOP with REX.B is XCHG", IN_64, "41 90", OK,
		  { IS_SPECIAL(XCHG), HAS(rm, 8), HAS(rm_use, RW) } },
		{ "so is PAUSE", IN_64, "f3 41 90", OK, { IS_SPECIAL(XCHG) } },
		{ "long NOP", IN_64, "66 2e 0f 1f 84 00 00 00 00 00", OK,
		  { IS_SPECIAL(NOP), HAS(mem_use, 0) } },
		{ "ENDBR64", IN_64, "f3 0f 1e fa", OK, { IS_SPECIAL(NOP) } },
		{ "PREFETCHT0", IN_64, "0f 18 08", OK, { IS_SPECIAL(NOP), HAS(mem_use, 0) } },
		{ "PUSH R15", IN_64, "41 57", OK,
		  { IS_SPECIAL(PUSH), HAS(rm, 15), HAS(rm_use, USE_READ), HAS(op_bytes, 8) } },
		{ "PUSH AX", IN_64, "66 50", OK, { IS_SPECIAL(PUSH), HAS(op_bytes, 2) } },
		{ "PUSH imm8", IN_64, "6a ff", OK,
		  { IS_SPECIAL(PUSH), HAS(imm, -1), HAS(op_bytes, 8), HAS(imm_bytes, 1) } },
		{ "PUSH imm32", IN_64, "68 00 00 00 80", OK,
		  { IS_SPECIAL(PUSH), HAS(imm, -0x80000000ll), HAS(op_bytes, 8) } },
		{ "PUSH m64", IN_64, "ff 30", OK,
		  { IS_SPECIAL(PUSH), HAS(mem_bytes, 8), HAS(mem_use, USE_READ) } },
		{ "POP m64", IN_64, "8f 00", OK,
		  { IS_SPECIAL(POP), HAS(mem_bytes, 8), HAS(mem_use, USE_WRITE) } },
		{ "CALL ignores 66 in 64-bit mode", IN_64, "66 e8 00 00 00 80", OK,
		  { IS_SPECIAL(CALL_REL), HAS(op_bytes, 8), HAS(imm, -0x80000000ll) } },
		{ "CALL in 16-bit code", IN_16, "e8 fe ff", OK,
		  { IS_SPECIAL(CALL_REL), HAS(op_bytes, 2), HAS(imm, -2) } },
		{ "CALL through memory", IN_64, "ff 10", OK,
		  { IS_SPECIAL(CALL_IND), HAS(mem_bytes, 8) } },
		{ "JMP through a register", IN_64, "41 ff e7", OK,
		  { IS_SPECIAL(JMP_IND), HAS(rm, 15), HAS(rm_use, USE_READ) } },
		{ "RET imm16", IN_64, "c2 ff ff", OK,
		  { IS_SPECIAL(RET), HAS(imm, 0xffff), HAS(op_bytes, 8) } },
		{ "Jcc", IN_64, "0f 8f 10 00 00 00", OK,
		  { IS_SPECIAL(JCC), HAS(imm, 16), HAS(opcode, 0x8f) } },
		{ "JCXZ by address size", IN_64, "67 e3 80", OK,
		  { IS_SPECIAL(LOOP), HAS(address_bytes, 4), HAS(imm, -128) } },
		{ "LEAVE", IN_64, "c9", OK, { IS_SPECIAL(LEAVE), HAS(op_bytes, 8) } },
		{ "XCHG with memory", IN_64, "87 07", OK,
		  { IS_SPECIAL(XCHG), HAS(mem_use, RW), HAS(reg_use, RW) } },
		{ "BTS of a register is copied", IN_64, "0f ab c8",
		  OK, { IS_COPY, HAS(rm_use, RW) } },
		{ "BTS of memory is not", IN_64, "f0 0f ab 07", OK,
		  { IS_SPECIAL(BT_MEM), HAS(mem_use, RW), HAS(lock, true), HAS(mem_bytes, 4) } },
		{ "INC of one byte", IN_32, "46", OK,
		  { IS_SPECIAL(INC_DEC), HAS(rm, 6), HAS(opcode, 0x46), HAS(rm_use, RW) } },
		{ "CLI", IN_64, "fa", OK, { IS_SPECIAL(CLI) } },
		{ "STI", IN_64, "fb", OK, { IS_SPECIAL(STI) } },
		{ "STAC", IN_64, "0f 01 cb", OK, { IS_SPECIAL(STAC) } },
		{ "CLAC", IN_64, "0f 01 ca", OK, { IS_SPECIAL(CLAC) } },
	};

	CHECK_ALL(sentences);
}

static void helpers_get_their_operands(void **state)
{
	static const struct sentence sentences[] = {
		{ "PUSH SS", IN_32, "16", OK, { IS_HELPER(push_seg), HAS(reg, VP_SS) } },
		{ "POP GS", IN_64, "0f a9", OK,
		  { IS_HELPER(pop_seg), HAS(reg, VP_GS), HAS(op_bytes, 8) } },
		{ "MOV to SS", IN_64, "8e d0", OK,
		  { IS_HELPER(mov_to_seg), HAS(reg, VP_SS), HAS(rm, 0), HAS(rm_use, USE_READ) } },
		{ "MOV from DS to a register", IN_64, "41 8c df", OK,
		  { IS_HELPER(mov_from_seg), HAS(reg, VP_DS), HAS(rm, 15),
		    HAS(rm_use, USE_WRITE) } },
		{ "MOV from DS to memory", IN_64, "8c 1f", OK, { HAS(mem_bytes, 2) } },
		{ "LSS", IN_64, "48 0f b2 27", OK,
		  { IS_HELPER(load_far_pointer), HAS(reg, 4), HAS(imm2, VP_SS),
		    HAS(mem_bytes, 10) } },
		{ "LES", IN_16, "c4 06 00 01", OK,
		  { IS_HELPER(load_far_pointer), HAS(reg, 0), HAS(imm2, VP_ES),
		    HAS(mem_bytes, 4) } },
		{ "far JMP", IN_32, "ea 78 56 34 f2 10 00", OK,
		  { IS_HELPER(jmp_far), HAS(imm, 0xf2345678), HAS(imm2, 0x10) } },
		{ "far JMP of 16-bit code", IN_16, "ea 00 80 00 f0", OK,
		  { IS_HELPER(jmp_far), HAS(imm, 0x8000), HAS(imm2, 0xf000), HAS(op_bytes, 2) } },
		{ "far CALL through memory", IN_64, "ff 18", OK,
		  { IS_HELPER(call_far), HAS(mem_bytes, 6), HAS(op_bytes, 4) } },
		{ "IRETQ", IN_64, "48 cf", OK, { IS_HELPER(iret), HAS(op_bytes, 8) } },
		{ "INT", IN_64, "cd 80", OK, { IS_HELPER(int_n), HAS(imm, 0x80) } },
		{ "ENTER", IN_64, "c8 00 80 1f", OK,
		  { IS_HELPER(enter), HAS(imm, 0x8000), HAS(imm2, 0x1f), HAS(op_bytes, 8) } },
		{ "LGDT in 64-bit mode", IN_64, "0f 01 10", OK,
		  { IS_HELPER(lgdt), HAS(mem_bytes, 10), HAS(mem_use, USE_READ) } },
		{ "LGDT in 16-bit mode", IN_16, "0f 01 17", OK,
		  { IS_HELPER(lgdt), HAS(mem_bytes, 6), HAS(op_bytes, 2) } },
		{ "INVLPG", IN_64, "0f 01 38", OK, { IS_HELPER(invlpg), HAS(mem_use, 0) } },
		{ "SWAPGS", IN_64, "0f 01 f8", OK, { IS_HELPER(swapgs) } },
		{ "RDTSCP", IN_64, "0f 01 f9", OK, { IS_HELPER(rdtscp) } },
		{ "MOV CR8", IN_64, "44 0f 22 c0", OK,
		  { IS_HELPER(mov_to_cr), HAS(reg, 8), HAS(rm, 0), HAS(op_bytes, 8) } },
		{ "MOV CR ignores mod", IN_64, "0f 20 1f", OK,
		  { IS_HELPER(mov_from_cr), HAS(reg, 3), HAS(rm, 7), HAS(mem, false),
		    HAS(mod, 3) } },
		{ "RDPID", IN_64, "f3 0f c7 f8", OK, { IS_HELPER(rdpid), HAS(rm_use, USE_WRITE) } },
		{ "XSAVEOPT is XSAVE", IN_64, "0f ae 30",
		  OK, { IS_HELPER(xsave), HAS(mem_bytes, 0) } },
		{ "XSAVEC", IN_64, "0f c7 20", OK, { IS_HELPER(xsavec) } },
		{ "REP MOVSQ from FS", IN_64, "f3 64 48 a5", OK,
		  { IS_HELPER(movs), HAS(rep, true), HAS(seg, VP_FS), HAS(op_bytes, 8),
		    HAS(mem, false) } },
		{ "STOSB", IN_64, "aa",
		  OK, { IS_HELPER(stos), HAS(op_bytes, 1), HAS(seg, VP_DS) } },
		{ "INS has at most 32 bits", IN_64, "48 6d",
		  OK, { IS_HELPER(ins), HAS(op_bytes, 4) } },
		{ "OUT DX, AL", IN_64, "ee", OK, { IS_HELPER(out), HAS(op_bytes, 1) } },
		{ "IN AX, imm8", IN_64, "66 e5 ff", OK,
		  { IS_HELPER(in), HAS(op_bytes, 2), HAS(imm, 0xff) } },
		{ "gather", IN_64, "c4 e2 71 90 04 a0", OK,
		  { IS_HELPER(gather), HAS(index, 4), HAS(vvvv, 1), HAS(base, 0) } },
		{ "VPMASKMOVD", IN_64, "c4 e2 71 8c 00",
		  OK, { IS_HELPER(vmaskmov), HAS(vvvv, 1) } },
		{ "MASKMOVDQU", IN_64, "65 66 0f f7 c1",
		  OK, { IS_HELPER(maskmov), HAS(seg, VP_GS) } },
		{ "UD2", IN_64, "0f 0b", OK, { IS_HELPER(ud) } },
		{ "ARPL", IN_32, "63 c8", OK, { IS_HELPER(arpl) } },
		{ "MOVSXD", IN_64, "48 63 c8",
		  OK, { IS_COPY, HAS(w, true), HAS(reg_use, USE_WRITE) } },
	};

	CHECK_ALL(sentences);
}

static void what_processors_refuse_is_refused(void **state)
{
	static const struct sentence sentences[] = {
		{ "LOCK on a register", IN_64, "f0 01 c8", DECODE_INVALID },
		{ "LOCK on a load", IN_64, "f0 03 07", DECODE_INVALID },
		{ "LOCK on CMP", IN_64, "f0 39 07", DECODE_INVALID },
		{ "LOCK on MOV", IN_64, "f0 89 07", DECODE_INVALID },
		{ "LOCK on NOP", IN_64, "f0 90", DECODE_INVALID },
		{ "LOCK on BT", IN_64, "f0 0f a3 07", DECODE_INVALID },
		{ "LEA of a register", IN_64, "8d c0", DECODE_INVALID },
		{ "MOV to CS", IN_64, "8e c8", DECODE_INVALID },
		{ "MOV to segment 6", IN_64, "8e f0", DECODE_INVALID },
		{ "MOV to CR1", IN_64, "0f 22 c8", DECODE_INVALID },
		{ "MOV to DR8", IN_64, "44 0f 23 c0", DECODE_INVALID },
		{ "PUSH ES in 64-bit mode", IN_64, "06", DECODE_INVALID },
		{ "BOUND of a register", IN_32, "62 c0", DECODE_INVALID },
		{ "EVEX", IN_64, "62 f1 7c 48 58 c0", DECODE_INVALID },
		{ "POP with a bad extension (XOP)", IN_64, "8f e9 78 01 c8", DECODE_INVALID },
		{ "VEX after 66", IN_64, "66 c5 f8 58 c0", DECODE_INVALID },
		{ "VEX after REX", IN_64, "40 c5 f8 58 c0", DECODE_INVALID },
		{ "VEX map 0", IN_64, "c4 e0 78 58 c0", DECODE_INVALID },
		{ "VEX with an unused vvvv", IN_64, "c5 f0 28 c0", DECODE_INVALID },
		{ "BMI with L", IN_64, "c4 e2 74 f2 c2", DECODE_INVALID },
		{ "VPERMQ without W", IN_64, "c4 e3 7d 00 c0 00", DECODE_INVALID },
		{ "gather into its own mask", IN_64, "c4 e2 79 90 04 a0", DECODE_INVALID },
		{ "gather without SIB", IN_64, "c4 e2 71 90 00", DECODE_INVALID },
		{ "VMCALL", IN_64, "0f 01 c1", DECODE_INVALID },
		{ "VMRUN", IN_64, "0f 01 d8", DECODE_INVALID },
		{ "XRSTORS", IN_64, "0f c7 18", DECODE_INVALID },
		{ "3DNow", IN_64, "0f 0f c0 b4", DECODE_INVALID },
	};

	CHECK_ALL(sentences);
}

static void bytes_are_never_read_past_the_end(void **state)
{
	static const struct sentence sentences[] = {
		{ "nothing", IN_64, "", DECODE_TRUNCATED },
		{ "a prefix", IN_64, "66", DECODE_TRUNCATED },
		{ "an escape", IN_64, "0f 38", DECODE_TRUNCATED },
		{ "VEX", IN_64, "c4 e2", DECODE_TRUNCATED },
		{ "LES or VEX", IN_32, "c4", DECODE_TRUNCATED },
		{ "ModRM", IN_64, "8b", DECODE_TRUNCATED },
		{ "SIB", IN_64, "8b 04", DECODE_TRUNCATED },
		{ "displacement", IN_64, "8b 05 00 00 00", DECODE_TRUNCATED },
		{ "immediate", IN_64, "48 b8 00 00 00 00 00 00 00", DECODE_TRUNCATED },
		{ "15 bytes are an instruction", IN_64,
		  "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 01 c8",
		  OK, { HAS(length, 15) } },
		{ "16 are not", IN_64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 01 c8",
		  DECODE_TOO_LONG },
		{ "nor are 15 of 16", IN_64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 01",
		  DECODE_TOO_LONG },
		{ "14 prefixes may go on", IN_64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e",
		  DECODE_TRUNCATED },
		{ "15 prefixes may not", IN_64, "2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e 2e",
		  DECODE_TOO_LONG },
	};

	CHECK_ALL(sentences);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(registers_are_used_as_their_width_says),
		cmocka_unit_test(memory_operands_are_exact),
		cmocka_unit_test(what_is_copied_is_64_bit_code),
		cmocka_unit_test(flags_are_exact),
		cmocka_unit_test(specials_are_named),
		cmocka_unit_test(helpers_get_their_operands),
		cmocka_unit_test(what_processors_refuse_is_refused),
		cmocka_unit_test(bytes_are_never_read_past_the_end),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

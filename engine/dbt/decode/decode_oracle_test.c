/*
 * decode_oracle_test.c - every opcode, compared with Zydis
 *
 * For each mode, map (legacy 0..3, VEX 1..3), opcode and ModRM byte an instruction is made with
 * random prefixes and random bytes behind, from a fixed seed. Both decoders take it apart; what
 * they say about it must agree. Then what the translator would emit for an OP_COPY is assembled and
 * must be, in Zydis's eyes, the same operation on the same registers in 64-bit mode.
 *
 * Where the two differ on purpose, a function with a comment says so: unsupported(),
 * refused_on_purpose(), zydis_invents_a_base(), expected_register_use(), is_vector_test(),
 * undefined_flags_are_written(), zydis_forgets_flags(), may_keep_flags(),
 * memory_size_differs_on_purpose(), operand_size_differs_on_purpose().
 */
#include <stdarg.h>
#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>
#include <Zydis/Zydis.h>

#include "decode.h"
#include "cpu.h"

#define INSN_BYTES 15

struct sample {
	int mode;
	uint8_t bytes[INSN_BYTES];
	enum decode_status status;
	struct insn insn;
	bool valid; /* Zydis's view */
	ZyanStatus zydis_status;
	ZydisDecodedInstruction zydis;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
};

struct tally {
	uint64_t random;
	unsigned long samples, valid, failures;
	const char *topics[4096]; /* topic and opcode already reported */
	uint32_t opcodes[4096];
	unsigned int reported;
};

static ZydisDecoder decoders[3];

/* --- samples --- */

static uint32_t next_random(struct tally *tally)
{
	tally->random ^= tally->random << 13;
	tally->random ^= tally->random >> 7;
	tally->random ^= tally->random << 17;
	return tally->random >> 20;
}

static bool chance(struct tally *tally, unsigned int percent)
{
	return next_random(tally) % 100 < percent;
}

static unsigned int add_prefixes(struct tally *tally, uint8_t *bytes, int mode, bool vex)
{
	static const uint8_t prefixes[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x26,
					   0x2e, 0x36, 0x3e, 0x64, 0x65};
	static const uint8_t percent[] = {25, 20, 15, 15, 8, 2, 2, 2, 2, 6, 6};
	unsigned int n = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(prefixes) && n < 4; i++) {
		bool refused_by_vex = prefixes[i] == 0x66 || prefixes[i] >= 0xf0;

		if (chance(tally, vex && refused_by_vex ? 1 : percent[i]))
			bytes[n++] = prefixes[i];
	}
	if (mode == DECODE_64 && chance(tally, vex ? 1 : 50))
		bytes[n++] = 0x40 | next_random(tally) % 16;
	return n;
}

static unsigned int add_vex(struct tally *tally, uint8_t *bytes, int mode, int map)
{
	uint8_t last = next_random(tally);

	if (chance(tally, 50))
		last |= 0x78; /* vvvv unused */
	if (map == 1 && chance(tally, 30)) {
		bytes[0] = 0xc5;
		bytes[1] = mode == DECODE_64 ? last : last | 0xc0;
		return 2;
	}
	bytes[0] = 0xc4;
	bytes[1] = (next_random(tally) & 0xe0) | map | (mode == DECODE_64 ? 0 : 0xc0);
	bytes[2] = last;
	return 3;
}

static unsigned int add_escape(uint8_t *bytes, int map)
{
	static const uint8_t second[] = {0, 0, 0x38, 0x3a};

	if (map == 0)
		return 0;
	bytes[0] = 0x0f;
	bytes[1] = second[map];
	return map == 1 ? 1 : 2;
}

static void make_sample(struct tally *tally, struct sample *sample, bool vex, int map, int opcode,
			int modrm)
{
	uint8_t *bytes = sample->bytes;
	unsigned int n = add_prefixes(tally, bytes, sample->mode, vex);

	if (vex)
		n += add_vex(tally, bytes + n, sample->mode, map);
	else
		n += add_escape(bytes + n, map);
	bytes[n++] = opcode;
	bytes[n++] = modrm;
	while (n < INSN_BYTES)
		bytes[n++] = next_random(tally);
}

static void decode_both(struct sample *sample)
{
	sample->status = decode(sample->bytes, INSN_BYTES, sample->mode, &sample->insn);
	sample->zydis_status = ZydisDecoderDecodeFull(&decoders[sample->mode], sample->bytes,
						      INSN_BYTES, &sample->zydis, sample->operands);
	sample->valid = ZYAN_SUCCESS(sample->zydis_status);
}

/* --- reporting --- */

static void print_sample(const struct sample *sample)
{
	static const char *const modes[] = {"16", "32", "64"};
	char text[96] = "invalid";
	ZydisFormatter formatter;

	ZydisFormatterInit(&formatter, ZYDIS_FORMATTER_STYLE_INTEL);
	if (sample->valid)
		ZydisFormatterFormatInstruction(&formatter, &sample->zydis, sample->operands,
						sample->zydis.operand_count_visible, text,
						sizeof(text), 0, NULL);
	printf("  %s-bit:", modes[sample->mode]);
	for (unsigned int i = 0; i < INSN_BYTES; i++)
		printf(" %02x", sample->bytes[i]);
	printf("  %s (%s)\n", text,
	       sample->valid ? ZydisISASetGetString(sample->zydis.meta.isa_set) : "-");
}

/* Each topic is reported once per opcode, so that one wrong row does not hide the next. */
static void report(struct tally *tally, const struct sample *sample, const char *topic,
		   int64_t ours, int64_t theirs)
{
	uint32_t opcode = sample->insn.vex << 16 | sample->insn.map << 8 | sample->insn.opcode;

	tally->failures++;
	for (unsigned int i = 0; i < tally->reported; i++)
		if (tally->topics[i] == topic && tally->opcodes[i] == opcode)
			return;
	if (tally->reported == ARRAY_SIZE(tally->topics))
		return;
	tally->topics[tally->reported] = topic;
	tally->opcodes[tally->reported++] = opcode;
	printf("%s of %s (map %d, %02x): ours %lld, expected %lld\n", topic,
	       sample->insn.name ? sample->insn.name : "?", sample->insn.map, sample->insn.opcode,
	       (long long)ours, (long long)theirs);
	print_sample(sample);
}

#define COMPARE(topic, ours, theirs)                                                               \
	do {                                                                                       \
		int64_t ours_ = (ours), theirs_ = (theirs);                                        \
		if (ours_ != theirs_)                                                              \
			report(tally, sample, topic, ours_, theirs_);                              \
	} while (0)

/* --- validity --- */

/* Extensions that Zydis knows and the engine does not offer. */
static bool unsupported(const ZydisDecodedInstruction *zydis)
{
	switch (zydis->meta.isa_ext) {
	case ZYDIS_ISA_EXT_AMD3DNOW:
	case ZYDIS_ISA_EXT_AMD_INVLPGB:
	case ZYDIS_ISA_EXT_AMX_BF16 ... ZYDIS_ISA_EXT_AMX_TILE:
	case ZYDIS_ISA_EXT_AVX512EVEX:
	case ZYDIS_ISA_EXT_AVX512VEX:
	case ZYDIS_ISA_EXT_AVX_VNNI:
	case ZYDIS_ISA_EXT_CET:
	case ZYDIS_ISA_EXT_CLZERO:
	case ZYDIS_ISA_EXT_ENQCMD:
	case ZYDIS_ISA_EXT_FMA4:
	case ZYDIS_ISA_EXT_HRESET:
	case ZYDIS_ISA_EXT_KEYLOCKER:
	case ZYDIS_ISA_EXT_KEYLOCKER_WIDE:
	case ZYDIS_ISA_EXT_KNC:
	case ZYDIS_ISA_EXT_KNCE:
	case ZYDIS_ISA_EXT_KNCV:
	case ZYDIS_ISA_EXT_MCOMMIT:
	case ZYDIS_ISA_EXT_MONITORX:
	case ZYDIS_ISA_EXT_MOVDIR:
	case ZYDIS_ISA_EXT_MPX:
	case ZYDIS_ISA_EXT_PADLOCK:
	case ZYDIS_ISA_EXT_PCONFIG:
	case ZYDIS_ISA_EXT_PKU:
	case ZYDIS_ISA_EXT_PT:
	case ZYDIS_ISA_EXT_RDPRU:
	case ZYDIS_ISA_EXT_RTM:
	case ZYDIS_ISA_EXT_SERIALIZE:
	case ZYDIS_ISA_EXT_SGX:
	case ZYDIS_ISA_EXT_SGX_ENCLV:
	case ZYDIS_ISA_EXT_SMX:
	case ZYDIS_ISA_EXT_SNP:
	case ZYDIS_ISA_EXT_SSE4A:
	case ZYDIS_ISA_EXT_SVM:
	case ZYDIS_ISA_EXT_TBM:
	case ZYDIS_ISA_EXT_TDX:
	case ZYDIS_ISA_EXT_TSX_LDTRK:
	case ZYDIS_ISA_EXT_UINTR:
	case ZYDIS_ISA_EXT_VMFUNC:
	case ZYDIS_ISA_EXT_VTX:
	case ZYDIS_ISA_EXT_WAITPKG:
	case ZYDIS_ISA_EXT_XOP:
	case ZYDIS_ISA_EXT_XSAVES: return true;
	default: return zydis->meta.isa_set == ZYDIS_ISA_SET_LWP;
	}
}

/* Valid for Zydis, refused by contract: RSM (there is no SMM); VEX in 16-bit code (LES, LDS). */
static bool refused_on_purpose(const struct sample *sample)
{
	if (sample->zydis.mnemonic == ZYDIS_MNEMONIC_RSM || unsupported(&sample->zydis))
		return true;
	return sample->mode == DECODE_16 &&
	       sample->zydis.encoding == ZYDIS_INSTRUCTION_ENCODING_VEX;
}

static void compare_validity(struct tally *tally, const struct sample *sample)
{
	bool expected = sample->valid && !refused_on_purpose(sample);

	COMPARE("validity", sample->status == DECODE_OK, expected);
}

/* --- operands --- */

static bool is_general(ZydisRegister reg)
{
	ZydisRegisterClass class = ZydisRegisterGetClass(reg);

	return class >= ZYDIS_REGCLASS_GPR8 && class <= ZYDIS_REGCLASS_GPR64;
}

static uint8_t zydis_use(const ZydisDecodedOperand *operand)
{
	uint8_t use = 0;

	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_READ)
		use |= USE_READ;
	if (operand->actions & ZYDIS_OPERAND_ACTION_MASK_WRITE)
		use |= USE_WRITE;
	return use;
}

static uint8_t zydis_register_use(const ZydisDecodedOperand *operand)
{
	uint8_t use = zydis_use(operand);

	if (operand->actions & ZYDIS_OPERAND_ACTION_CONDWRITE)
		use |= USE_READ;
	if (use & USE_WRITE && operand->size < 32)
		use |= USE_READ;
	return use;
}

/* BSF and BSR leave the destination alone when the source is 0; Zydis calls that written. */
static uint8_t expected_register_use(const struct sample *sample,
				     const ZydisDecodedOperand *operand)
{
	bool bit_scan = sample->zydis.mnemonic == ZYDIS_MNEMONIC_BSF ||
			sample->zydis.mnemonic == ZYDIS_MNEMONIC_BSR;

	return zydis_register_use(operand) | (bit_scan ? USE_READ : 0);
}

static const ZydisDecodedOperand *memory_operand(const struct sample *sample)
{
	for (unsigned int i = 0; i < sample->zydis.operand_count; i++)
		if (sample->operands[i].type == ZYDIS_OPERAND_TYPE_MEMORY &&
		    sample->operands[i].visibility == ZYDIS_OPERAND_VISIBILITY_EXPLICIT)
			return &sample->operands[i];
	return NULL;
}

static uint8_t register_number(ZydisRegister reg)
{
	return reg == ZYDIS_REGISTER_NONE || reg == ZYDIS_REGISTER_RIP || reg == ZYDIS_REGISTER_EIP
		       ? NO_REG
		       : (uint8_t)ZydisRegisterGetId(reg);
}

/* Zydis numbers SPL..DIL 8..11 and R8B.. from 12. */
static uint8_t general_number(ZydisRegister reg)
{
	uint8_t id = ZydisRegisterGetId(reg);

	return ZydisRegisterGetClass(reg) == ZYDIS_REGCLASS_GPR8 && id >= 8 ? id - 4 : id;
}

/* Zydis 4.0 shows a base of R13D where SIB has none, if REX.B is set and the address size is 32. */
static bool zydis_invents_a_base(const struct sample *sample)
{
	return sample->mode == DECODE_64 && sample->insn.address_bytes == 4 &&
	       sample->insn.base == NO_REG && sample->zydis.raw.sib.base == 5 &&
	       sample->zydis.raw.modrm.rm == 4 && sample->zydis.raw.modrm.mod == 0;
}

/* CLFLUSH: the engine checks access of one byte, Zydis speaks of the line. */
static bool memory_size_differs_on_purpose(const struct sample *sample)
{
	switch (sample->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_CLFLUSH:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB: return sample->insn.mem_bytes == 1;
	default: return false;
	}
}

static uint64_t address_mask(const struct insn *insn)
{
	return insn->address_bytes == 8 ? ~0ull : (1ull << 8 * insn->address_bytes) - 1;
}

static bool is_special(const struct insn *insn, enum op_special id)
{
	return insn->kind == OP_SPECIAL && insn->id == id;
}

static bool is_address_only(const struct insn *insn)
{
	return is_special(insn, SPECIAL_NOP) || is_special(insn, SPECIAL_LEA) ||
	       (insn->kind == OP_HELPER && (insn->id == HELPER_invlpg || insn->id == HELPER_ud));
}

static void compare_memory(struct tally *tally, const struct sample *sample)
{
	const struct insn *insn = &sample->insn;
	const ZydisDecodedOperand *operand = memory_operand(sample);
	bool rip;

	COMPARE("memory operand", insn->mem, operand != NULL);
	if (!insn->mem || !operand)
		return;
	rip = operand->mem.base == ZYDIS_REGISTER_RIP || operand->mem.base == ZYDIS_REGISTER_EIP;
	if (!zydis_invents_a_base(sample)) {
		COMPARE("base", insn->base, register_number(operand->mem.base));
		COMPARE("disp", insn->disp & address_mask(insn),
			operand->mem.disp.value & address_mask(insn));
	}
	COMPARE("index", insn->index, register_number(operand->mem.index));
	if (insn->index != NO_REG)
		COMPARE("scale", insn->scale, operand->mem.scale);
	COMPARE("rip_relative", insn->rip_relative, rip);
	if (is_address_only(insn)) {
		COMPARE("mem_use", insn->mem_use, 0);
		return;
	}
	COMPARE("seg", insn->seg, ZydisRegisterGetId(operand->mem.segment));
	COMPARE("mem_use", insn->mem_use, zydis_use(operand));
	if (!(insn->kind == OP_HELPER && insn->mem_bytes == 0) &&
	    !memory_size_differs_on_purpose(sample))
		COMPARE("mem_bytes", insn->mem_bytes, operand->size / 8);
}

struct field {
	const char *name;
	uint8_t number, use;
	bool is_byte;
};

static void compare_field(struct tally *tally, const struct sample *sample,
			  const struct field *field, ZydisOperandEncoding encoding)
{
	for (unsigned int i = 0; i < sample->zydis.operand_count; i++) {
		const ZydisDecodedOperand *operand = &sample->operands[i];

		if (operand->encoding != encoding || operand->type != ZYDIS_OPERAND_TYPE_REGISTER)
			continue;
		if (!is_general(operand->reg.value))
			continue;
		COMPARE(field->name, field->number, general_number(operand->reg.value));
		COMPARE("register use", field->use, expected_register_use(sample, operand));
		COMPARE("byte register", field->is_byte, operand->size == 8);
		return;
	}
	COMPARE("register use", field->use, 0);
}

static void compare_registers(struct tally *tally, const struct sample *sample)
{
	const struct insn *insn = &sample->insn;
	bool by_opcode = !insn->has_modrm;
	const struct field reg = {"reg", insn->reg, insn->reg_use, insn->reg_is_byte};
	const struct field rm = {"rm", insn->rm, insn->rm_use, insn->rm_is_byte};
	const struct field vvvv = {"vvvv", insn->vvvv, insn->vvvv_use, false};

	if (is_special(insn, SPECIAL_NOP) || (insn->kind == OP_HELPER && insn->id == HELPER_ud))
		return;
	/* F3 REX.B 90 is PAUSE for Zydis, XCHG for processors. */
	if (insn->map == 0 && insn->opcode == 0x90)
		return;
	compare_field(tally, sample, &reg, ZYDIS_OPERAND_ENCODING_MODRM_REG);
	compare_field(tally, sample, &vvvv, ZYDIS_OPERAND_ENCODING_NDSNDD);
	compare_field(tally, sample, &rm,
		      by_opcode ? ZYDIS_OPERAND_ENCODING_OPCODE : ZYDIS_OPERAND_ENCODING_MODRM_RM);
}

/* --- flags, sizes, names --- */

static bool is_division(const struct insn *insn)
{
	return insn->map == 0 && (insn->opcode | 1) == 0xf7 && (insn->reg & 6) == 6;
}

/*
 * Shifts and rotates that may have a count of 0, and repeated strings, keep the flags then; so may
 * divisions, which leave all of them undefined.
 */
static bool may_keep_flags(const struct insn *insn)
{
	static const uint8_t shifts[2][4] = {{0xc0, 0xc1, 0xd2, 0xd3}, {0xa4, 0xa5, 0xac, 0xad}};

	return is_division(insn) || (insn->map < 2 && memchr(shifts[insn->map], insn->opcode, 4));
}

/* PTEST and VTESTPx also clear OF, AF, PF and SF, which Zydis 4.0 does not know. */
static bool is_vector_test(const struct insn *insn)
{
	return insn->map == 2 &&
	       (insn->opcode == 0x17 || insn->opcode == 0x0e || insn->opcode == 0x0f);
}

/*
 * Undefined flags: all known processors write something after logical operations and shifts; after
 * the rest some leave them alone, so the rows do not call them written.
 */
static bool undefined_flags_are_written(const struct sample *sample)
{
	switch (sample->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_AND:
	case ZYDIS_MNEMONIC_OR:
	case ZYDIS_MNEMONIC_XOR:
	case ZYDIS_MNEMONIC_TEST:
	case ZYDIS_MNEMONIC_ROL:
	case ZYDIS_MNEMONIC_ROR:
	case ZYDIS_MNEMONIC_RCL:
	case ZYDIS_MNEMONIC_RCR:
	case ZYDIS_MNEMONIC_SHL:
	case ZYDIS_MNEMONIC_SHR:
	case ZYDIS_MNEMONIC_SAR:
	case ZYDIS_MNEMONIC_SHLD:
	case ZYDIS_MNEMONIC_SHRD:
	case ZYDIS_MNEMONIC_DIV:
	case ZYDIS_MNEMONIC_IDIV: return true;
	default: return false;
	}
}

/* Zydis 4.0 has AF as undefined after SBB, CF and OF after BEXTR: both manuals define them. */
static uint32_t zydis_forgets_flags(const struct sample *sample)
{
	if (sample->zydis.mnemonic == ZYDIS_MNEMONIC_SBB)
		return FLAG_AF;
	return sample->zydis.mnemonic == ZYDIS_MNEMONIC_BEXTR ? FLAG_CF | FLAG_OF : 0;
}

/* Helpers have the flags in memory: nothing depends on their rows. */
static void compare_flags(struct tally *tally, const struct sample *sample)
{
	const ZydisAccessedFlags *flags = sample->zydis.cpu_flags;
	const struct insn *insn = &sample->insn;
	uint32_t read = 0, written = 0;

	if (insn->kind == OP_HELPER)
		return;
	if (flags) {
		read = flags->tested & FLAGS_ARITH;
		written = (flags->modified | flags->set_0 | flags->set_1) & FLAGS_ARITH;
		if (undefined_flags_are_written(sample))
			written |= flags->undefined & FLAGS_ARITH;
		written |= zydis_forgets_flags(sample);
	}
	if (is_vector_test(insn))
		written = FLAGS_ARITH;
	if (may_keep_flags(insn) && insn->flags_read != read)
		read |= written;
	COMPARE("flags_read", insn->flags_read, read);
	COMPARE("flags_written", insn->flags_written, written);
}

static void compare_immediates(struct tally *tally, const struct sample *sample)
{
	const struct insn *insn = &sample->insn;
	unsigned int first = sample->zydis.raw.imm[0].size, second = sample->zydis.raw.imm[1].size;
	uint64_t mask = first == 64 ? ~0ull : (1ull << first) - 1;

	COMPARE("imm_bytes", insn->imm_bytes, (first + second) / 8);
	if (insn->imm_bytes == 1 && insn->vex && insn->map == 3)
		mask = sample->mode == DECODE_64 ? 0xff : 0x7f;
	COMPARE("imm", insn->imm & mask, sample->zydis.raw.imm[0].value.u & mask);
	if (second)
		COMPARE("imm2", insn->imm2, sample->zydis.raw.imm[1].value.u);
}

/*
 * op_bytes is the size of the first general operand, which here has a size of its own; Zydis has
 * the size that prefixes choose, though nothing depends on it.
 */
static bool operand_size_differs_on_purpose(const struct sample *sample)
{
	switch (sample->zydis.mnemonic) {
	case ZYDIS_MNEMONIC_CRC32:
	case ZYDIS_MNEMONIC_MOVNTI:
	case ZYDIS_MNEMONIC_CLFLUSHOPT:
	case ZYDIS_MNEMONIC_CLWB: return true;
	default: return is_special(&sample->insn, SPECIAL_NOP);
	}
}

static void compare_operand_size(struct tally *tally, const struct sample *sample)
{
	const struct insn *insn = &sample->insn;

	if (insn->unit != UNIT_INTEGER || insn->kind == OP_HELPER)
		return;
	if (operand_size_differs_on_purpose(sample))
		return;
	COMPARE("op_bytes", insn->op_bytes, sample->zydis.operand_width / 8);
}

/* One row stands for all sizes of an operation where the manual has a name for each. */
static bool same_name(const char *ours, const char *theirs)
{
	static const char *const names[][2] = {{"cbw", "cwde"},
					       {"cbw", "cdqe"},
					       {"cwd", "cdq"},
					       {"cwd", "cqo"},
					       {"movd", "movq"},
					       {"vmovd", "vmovq"},
					       {"pinsrd", "pinsrq"},
					       {"vpinsrd", "vpinsrq"},
					       {"pextrd", "pextrq"},
					       {"vpextrd", "vpextrq"},
					       {"cmpxchg8b", "cmpxchg16b"},
					       {"fxsave", "fxsave64"},
					       {"fxrstor", "fxrstor64"}};

	for (unsigned int i = 0; i < ARRAY_SIZE(names); i++)
		if (strcmp(ours, names[i][0]) == 0 && strcmp(theirs, names[i][1]) == 0)
			return true;
	return strcmp(ours, theirs) == 0;
}

static void compare_name(struct tally *tally, const struct sample *sample)
{
	const char *theirs = ZydisMnemonicGetString(sample->zydis.mnemonic);

	if (sample->insn.kind == OP_COPY && !same_name(sample->insn.name, theirs))
		report(tally, sample, theirs, 0, 0);
}

/* --- the copy --- */

static unsigned int assemble_prefix(const struct insn *insn, uint8_t *out)
{
	uint8_t base_extension = !insn->mem && insn->rm >= 8 ? 1 : 0;
	uint8_t extensions = (insn->reg >= 8 ? 4 : 0) | base_extension;
	unsigned int n = 0;

	if (insn->vex) {
		out[n++] = 0xc4;
		out[n++] = ((~extensions & 7) << 5) | insn->map;
		out[n++] = insn->w << 7 | (~insn->vvvv & 15) << 3 | insn->vex_l << 2 | insn->vex_pp;
		return n;
	}
	if (insn->rex || insn->w || extensions)
		out[n++] = 0x40 | insn->w << 3 | extensions;
	return n + add_escape(out + n, insn->map);
}

/* As the translator writes it, with [RBX] as the memory operand. */
static unsigned int assemble_copy(const struct insn *insn, uint8_t *out)
{
	uint8_t opcode = insn->opcode;
	unsigned int n = 0;

	if (insn->emit_66)
		out[n++] = 0x66;
	if (insn->emit_rep)
		out[n++] = insn->emit_rep;
	if (insn->lock)
		out[n++] = 0xf0;
	n += assemble_prefix(insn, out + n);
	out[n++] = !insn->has_modrm && insn->mod == 3 ? (opcode & 0xf8) | (insn->rm & 7) : opcode;
	if (insn->has_modrm)
		out[n++] = insn->mem ? (insn->reg & 7) << 3 | 3
				     : 0xc0 | (insn->reg & 7) << 3 | (insn->rm & 7);
	memcpy(out + n, &insn->imm, insn->imm_bytes);
	return n + insn->imm_bytes;
}

static void compare_copied_operand(struct tally *tally, const struct sample *sample,
				   const ZydisDecodedOperand *was, const ZydisDecodedOperand *is)
{
	COMPARE("copy: operand type", is->type, was->type);
	COMPARE("copy: operand size", is->size, was->size);
	COMPARE("copy: operand use", is->actions, was->actions);
	if (was->type == ZYDIS_OPERAND_TYPE_REGISTER && is->type == was->type)
		COMPARE("copy: register", is->reg.value, was->reg.value);
	if (was->type == ZYDIS_OPERAND_TYPE_IMMEDIATE)
		COMPARE("copy: immediate", is->imm.value.u, was->imm.value.u);
}

static void compare_copy(struct tally *tally, const struct sample *sample)
{
	uint8_t bytes[32];
	ZydisDecodedInstruction copy;
	ZydisDecodedOperand operands[ZYDIS_MAX_OPERAND_COUNT];
	unsigned int length;

	if (sample->insn.kind != OP_COPY)
		return;
	length = assemble_copy(&sample->insn, bytes);
	if (!ZYAN_SUCCESS(
		    ZydisDecoderDecodeFull(&decoders[DECODE_64], bytes, length, &copy, operands))) {
		report(tally, sample, "copy: validity", 0, 1);
		return;
	}
	COMPARE("copy: length", copy.length, length);
	COMPARE("copy: mnemonic", copy.mnemonic, sample->zydis.mnemonic);
	COMPARE("copy: operands", copy.operand_count_visible, sample->zydis.operand_count_visible);
	for (unsigned int i = 0; i < copy.operand_count_visible; i++)
		compare_copied_operand(tally, sample, &sample->operands[i], &operands[i]);
}

static void compare_sample(struct tally *tally, const struct sample *sample)
{
	tally->samples++;
	compare_validity(tally, sample);
	if (sample->status != DECODE_OK || !sample->valid)
		return;
	tally->valid++;
	COMPARE("length", sample->insn.length, sample->zydis.length);
	COMPARE("address_bytes", sample->insn.address_bytes, sample->zydis.address_width / 8);
	compare_memory(tally, sample);
	compare_registers(tally, sample);
	compare_flags(tally, sample);
	compare_immediates(tally, sample);
	compare_operand_size(tally, sample);
	compare_name(tally, sample);
	compare_copy(tally, sample);
}

static void compare_map(struct tally *tally, int mode, bool vex, int map)
{
	struct sample sample = {.mode = mode};

	for (int opcode = 0; opcode < 256; opcode++)
		for (int modrm = 0; modrm < 256; modrm++) {
			make_sample(tally, &sample, vex, map, opcode, modrm);
			decode_both(&sample);
			compare_sample(tally, &sample);
		}
}

static void set_up_decoders(void)
{
	static const ZydisMachineMode machine[] = {ZYDIS_MACHINE_MODE_LEGACY_16,
						   ZYDIS_MACHINE_MODE_LEGACY_32,
						   ZYDIS_MACHINE_MODE_LONG_64};
	static const ZydisStackWidth stack[] = {ZYDIS_STACK_WIDTH_16, ZYDIS_STACK_WIDTH_32,
						ZYDIS_STACK_WIDTH_64};

	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		ZydisDecoderInit(&decoders[mode], machine[mode], stack[mode]);
		ZydisDecoderEnableMode(&decoders[mode], ZYDIS_DECODER_MODE_MPX, false);
		ZydisDecoderEnableMode(&decoders[mode], ZYDIS_DECODER_MODE_CET, false);
		ZydisDecoderEnableMode(&decoders[mode], ZYDIS_DECODER_MODE_CLDEMOTE, false);
	}
}

static void every_opcode_of_every_map_decodes_as_zydis_does(void **state)
{
	struct tally tally = {.random = 0x9e3779b97f4a7c15};

	set_up_decoders();
	for (int mode = DECODE_16; mode <= DECODE_64; mode++) {
		for (int map = 0; map <= 3; map++)
			for (int round = 0; round < 3; round++)
				compare_map(&tally, mode, false, map);
		for (int map = 1; map <= 3; map++)
			for (int round = 0; round < 8; round++)
				compare_map(&tally, mode, true, map);
	}
	printf("%lu samples, %lu of them valid\n", tally.samples, tally.valid);
	assert_true(tally.valid > 500000);
	assert_int_equal(tally.failures, 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_opcode_of_every_map_decodes_as_zydis_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

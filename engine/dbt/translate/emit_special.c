/*
 * emit_special.c - instructions that need their own translation: stack, branches, flags of the vp
 *
 * Each function leaves the guest's registers untouched until its last access succeeded, so that an
 * abandoned instruction has had no effect.
 */
#include "translate_internal.h"

#define R ACCESS_READ
#define W ACCESS_WRITE

static void nothing(struct translation *t, const struct insn *insn)
{
}

static void pause_spin(struct translation *t, const struct insn *insn)
{
	emit8(&t->e, 0xf3);
	emit8(&t->e, 0x90);
}

/* --- stack --- */

/* Store @from (a host register other than S1) or, for NO_REG, an immediate below the stack. */
static void push_value(struct translation *t, unsigned int bytes, unsigned int from, int64_t imm)
{
	stack_address(t, -(int)bytes, bytes, W);
	host_address(t, bytes, W | ACCESS_STACK);
	if (from == NO_REG) {
		emit_mov_imm(&t->e, S2, imm);
		from = S2;
	} else {
		from = guest_register(t, from, S2);
	}
	emit_store(&t->e, S1, from, bytes);
	adjust_stack(t, -(int)bytes);
}

/* Through SS a non-canonical address is #SS. */
static unsigned int operand_access(const struct insn *insn, unsigned int access)
{
	return access | (insn->seg == VP_SS ? ACCESS_STACK : 0);
}

static void load_operand(struct translation *t, const struct insn *insn)
{
	linear_address(t, insn, insn->op_bytes, R);
	host_address(t, insn->op_bytes, operand_access(insn, R));
	emit_load(&t->e, S1, S1, insn->op_bytes);
}

static void push(struct translation *t, const struct insn *insn)
{
	if (insn->mem) {
		load_operand(t, insn);
		emit_store_gs(&t->e, S1, OFF(spill[0]));
		stack_address(t, -(int)insn->op_bytes, insn->op_bytes, W);
		host_address(t, insn->op_bytes, W | ACCESS_STACK);
		emit_load_gs(&t->e, S2, OFF(spill[0]));
		emit_store(&t->e, S1, S2, insn->op_bytes);
		adjust_stack(t, -(int)insn->op_bytes);
	} else if (insn->imm_bytes) {
		push_value(t, insn->op_bytes, NO_REG, insn->imm);
	} else {
		push_value(t, insn->op_bytes, insn->rm, 0);
	}
}

static void pop(struct translation *t, const struct insn *insn)
{
	unsigned int bytes = insn->op_bytes;
	int64_t moved = insn->base == RSP ? bytes : 0;

	stack_address(t, 0, bytes, R);
	host_address(t, bytes, R | ACCESS_STACK);
	emit_load(&t->e, S2, S1, bytes);
	if (!insn->mem) {
		adjust_stack(t, bytes);
		set_guest_register(t, insn->rm, S2, bytes);
		return;
	}
	emit_store_gs(&t->e, S2, OFF(spill[0]));
	effective_address(t, insn, moved);
	add_segment(t, insn->seg, bytes, W);
	host_address(t, bytes, operand_access(insn, W));
	emit_load_gs(&t->e, S2, OFF(spill[0]));
	emit_store(&t->e, S1, S2, bytes);
	adjust_stack(t, bytes);
}

/* S1 = the guest's flags image; clobbers S2. */
static void flags_image(struct translation *t)
{
	static const struct {
		uint32_t offset;
		unsigned int shift;
	} parts[] = {
		{OFF(flags_of), 11}, {OFF(flag_if), 9}, {OFF(flag_df), 10}, {OFF(flag_ac), 18},
	};
	struct emit *e = &t->e;

	flags_put_aside(t, S1);
	emit_gs(e, 0x0fb6, S1, OFF(flags_ah), 4);
	emit_group1(e, 4, S1, FLAGS_ARITH & 0xff, 4);
	for (unsigned int i = 0; i < ARRAY_SIZE(parts); i++) {
		emit_gs(e, 0x0fb6, S2, parts[i].offset, 4);
		emit_rex(e, 4, 0, 0, S2);
		emit8(e, 0xc1); /* shl */
		emit_modrm(e, 3, 4, S2);
		emit8(e, parts[i].shift);
		emit_reg_reg(e, 0x0b, S1, S2, 4);
	}
	emit_gs(e, 0x0b, S1, OFF(eflags_rest), 4);
	emit_group1(e, 4, S1, (int32_t)~(FLAG_RF | FLAG_VM), 4);
}

static void pushf(struct translation *t, const struct insn *insn)
{
	unsigned int bytes = insn->op_bytes;

	if (!(t->mode & MODE_CODE64)) {
		emit_helper_call(t, HELPER_pushf, insn, 0);
		return;
	}
	flags_image(t);
	emit_store_gs(&t->e, S1, OFF(spill[0]));
	stack_address(t, -(int)bytes, bytes, W);
	host_address(t, bytes, W | ACCESS_STACK);
	emit_load_gs(&t->e, S2, OFF(spill[0]));
	emit_store(&t->e, S1, S2, bytes);
	adjust_stack(t, -(int)bytes);
}

static void leave(struct translation *t, const struct insn *insn)
{
	struct emit *e = &t->e;
	unsigned int width = stack_bytes(t);

	if (width == 2)
		emit_reg_reg(e, 0x0fb7, S1, RBP, 4);
	else
		emit_mov(e, S1, RBP, width);
	if (!(t->mode & MODE_CODE64))
		add_segment(t, VP_SS, insn->op_bytes, R);
	host_address(t, insn->op_bytes, R | ACCESS_STACK);
	emit_load(e, S2, S1, insn->op_bytes);
	emit_lea(e, RSP, RBP, insn->op_bytes, width);
	emit_mov(e, RBP, S2, insn->op_bytes);
}

/* --- branches --- */

static uint64_t branch_target(const struct translation *t, const struct insn *insn)
{
	uint64_t target = next_rip(t) + insn->imm;

	if (!(t->mode & MODE_CODE64) && insn->op_bytes == 2)
		return (uint16_t)target;
	return wrap_rip(t, target);
}

static void jmp_rel(struct translation *t, const struct insn *insn)
{
	exit_direct(t, -1, branch_target(t, insn));
}

static void jcc(struct translation *t, const struct insn *insn)
{
	flags_bring_back(t, S1);
	exit_direct(t, insn->opcode & 15, branch_target(t, insn));
	exit_direct(t, -1, next_rip(t));
}

static void call_rel(struct translation *t, const struct insn *insn)
{
	push_value(t, insn->op_bytes, NO_REG, next_rip(t));
	exit_direct(t, -1, branch_target(t, insn));
}

/* S1 = the operand of an indirect branch. */
static void indirect_target(struct translation *t, const struct insn *insn)
{
	if (insn->mem)
		load_operand(t, insn);
	else if (insn->op_bytes == 2)
		emit_reg_reg(&t->e, 0x0fb7, S1, guest_register(t, insn->rm, S1), 4);
	else
		emit_mov(&t->e, S1, guest_register(t, insn->rm, S1), insn->op_bytes);
}

static void jmp_indirect(struct translation *t, const struct insn *insn)
{
	indirect_target(t, insn);
	exit_indirect(t);
}

static void call_indirect(struct translation *t, const struct insn *insn)
{
	indirect_target(t, insn);
	emit_store_gs(&t->e, S1, OFF(spill[0]));
	push_value(t, insn->op_bytes, NO_REG, next_rip(t));
	flags_put_aside(t, S1);
	emit_load_gs(&t->e, S1, OFF(spill[0]));
	exit_indirect(t);
}

static void ret(struct translation *t, const struct insn *insn)
{
	stack_address(t, 0, insn->op_bytes, R);
	host_address(t, insn->op_bytes, R | ACCESS_STACK);
	emit_load(&t->e, S1, S1, insn->op_bytes);
	adjust_stack(t, insn->op_bytes + (uint16_t)insn->imm);
	exit_indirect(t);
}

/* jecxz/jrcxz over a rel32 jump; @zero: the address where to go on when the count is zero */
static uint8_t *jump_if_count(struct translation *t, unsigned int bytes)
{
	struct emit *e = &t->e;

	if (bytes != 8)
		emit8(e, 0x67);
	emit8(e, 0xe3);
	emit8(e, 0);
	return e->at - 1;
}

static void land8(struct emit *e, uint8_t *field)
{
	if (!e->full)
		*field = e->at - (field + 1);
}

/* LOOPNE, LOOPE, LOOP, JCXZ: the counter is tested by JRCXZ, which reads no flags. */
static void loop(struct translation *t, const struct insn *insn)
{
	struct emit *e = &t->e;
	unsigned int which = insn->opcode & 3, bytes = insn->address_bytes;
	uint64_t target = branch_target(t, insn);
	uint8_t *zero;

	if (which < 2)
		flags_bring_back(t, S1);
	if (which != 3)
		emit_lea(e, RCX, RCX, -1, bytes);
	if (bytes == 2) { /* JCXZ needs the upper half out of the way */
		emit_mov(e, S2, RCX, 8);
		emit_reg_reg(e, 0x0fb7, RCX, RCX, 4);
	}
	zero = jump_if_count(t, bytes == 8 ? 8 : 4);
	if (bytes == 2)
		emit_mov(e, RCX, S2, 8);
	if (which == 3) {
		uint8_t *over = emit_jmp(e);

		land8(e, zero);
		if (bytes == 2)
			emit_mov(e, RCX, S2, 8);
		add_stub(t, STUB_CROSS_PAGE, emit_jmp(e))->rip = target;
		emit_land(e, over);
	} else {
		if (which < 2)
			add_stub(t, STUB_CROSS_PAGE, emit_jcc(e, which == 1 ? CC_E : CC_NE))->rip = target;
		else
			add_stub(t, STUB_CROSS_PAGE, emit_jmp(e))->rip = target;
		land8(e, zero);
		if (bytes == 2)
			emit_mov(e, RCX, S2, 8);
	}
	exit_direct(t, -1, next_rip(t));
}

/* --- addresses and moves --- */

static void lea(struct translation *t, const struct insn *insn)
{
	bool plain = insn->base != NO_REG && !is_displaced(insn->base) && insn->address_bytes == 8 &&
		     insn->op_bytes >= 4 && !is_displaced(insn->reg);

	if (plain && insn->index == NO_REG) {
		emit_lea(&t->e, insn->reg, insn->base, insn->disp, insn->op_bytes);
	} else if (plain && !is_displaced(insn->index)) {
		emit_lea_indexed(&t->e, insn->reg, insn->base, insn->index, insn->scale, insn->disp, insn->op_bytes);
	} else {
		effective_address(t, insn, 0);
		if (insn->op_bytes == 4)
			emit_mov(&t->e, S1, S1, 4);
		set_guest_register(t, insn->reg, S1, insn->op_bytes);
	}
}

static void xchg(struct translation *t, const struct insn *insn)
{
	struct insn copy = *insn;

	if (!insn->has_modrm) { /* 91..97: the other one is RAX */
		copy.opcode = 0x87;
		copy.has_modrm = true;
		copy.mod = 3;
		copy.reg = RAX;
		copy.reg_use = USE_READ | USE_WRITE;
		copy.rm_use = USE_READ | USE_WRITE;
	}
	emit_copy(t, &copy);
}

static void inc_dec(struct translation *t, const struct insn *insn)
{
	struct insn copy = *insn;

	copy.reg = insn->opcode >> 3 & 1;
	copy.opcode = 0xff;
	copy.has_modrm = true;
	copy.mod = 3;
	emit_copy(t, &copy);
}

/* A0..A3: accumulator and an absolute address */
static void mov_moffs(struct translation *t, const struct insn *insn)
{
	unsigned int bytes = insn->opcode & 1 ? insn->op_bytes : 1;
	bool store = insn->opcode & 2;

	linear_address(t, insn, bytes, store ? W : R);
	host_address(t, bytes, store ? W : R);
	if (store)
		emit_store(&t->e, S1, RAX, bytes);
	else
		emit_reg_mem(&t->e, bytes == 1 ? 0x8a : 0x8b, RAX, S1, 0, bytes);
}

/* BT and friends on memory: the bit number, signed, also selects the operand-sized word. */
static void bt_memory(struct translation *t, const struct insn *insn)
{
	struct emit *e = &t->e;
	unsigned int bytes = insn->op_bytes, log2 = bytes == 8 ? 3 : bytes == 4 ? 2 : 1;
	unsigned int access = R | (insn->mem_use & USE_WRITE ? W : 0);
	unsigned int bit;

	effective_address(t, insn, 0);
	flags_keep_live(t, S2);
	bit = guest_register(t, insn->reg, S2);
	if (bytes == 2)
		emit_reg_reg(e, 0x0fbf, S2, bit, 8); /* movsx */
	else if (bytes == 4)
		emit_reg_reg(e, 0x63, S2, bit, 8); /* movsxd */
	else
		emit_mov(e, S2, bit, 8);
	emit_rex(e, 8, 0, 0, S2); /* sar s2, log2(bits) */
	emit8(e, 0xc1);
	emit_modrm(e, 3, 7, S2);
	emit8(e, log2 + 3);
	emit_lea_indexed(e, S1, S1, S2, bytes, 0, insn->address_bytes == 8 ? 8 : 4);
	if (insn->address_bytes == 2)
		emit_reg_reg(e, 0x0fb7, S1, S1, 4);
	add_segment(t, insn->seg, bytes, access);
	host_address(t, bytes, operand_access(insn, access));
	bit = guest_register(t, insn->reg, S2);
	if (bit != S2)
		emit_mov(e, S2, bit, 8);
	emit_group1(e, 4, S2, bytes * 8 - 1, 4);
	emit_store_gs(e, S2, OFF(spill[0]));
	flags_for_operation(t, insn, S2);
	emit_load_gs(e, S2, OFF(spill[0]));
	if (insn->lock)
		emit8(e, 0xf0);
	if (bytes == 2)
		emit8(e, 0x66);
	emit_rex(e, bytes, S2, 0, S1);
	emit8(e, 0x0f);
	emit8(e, insn->opcode);
	emit_address(e, S2, S1, 0);
}

/* --- flags outside EFLAGS --- */

static void cli(struct translation *t, const struct insn *insn)
{
	if (!(t->mode & (MODE_USER | MODE_VM86 | MODE_CPL_MASK))) {
		emit_store_gs_imm8(&t->e, OFF(flag_if), 0);
		return;
	}
	emit_helper_call(t, HELPER_COUNT + RUNTIME_CLI_STI, insn, 0);
	t->ended = true;
}

static void sti(struct translation *t, const struct insn *insn)
{
	if (t->step || (t->mode & (MODE_USER | MODE_VM86 | MODE_CPL_MASK))) {
		emit_helper_call(t, HELPER_COUNT + RUNTIME_CLI_STI, insn, 1);
		t->ended = true;
		return;
	}
	flags_put_aside(t, S1);
	emit_store_gs_imm8(&t->e, OFF(flag_if), 1);
	emit_test_gs(&t->e, OFF(irq_pending));
	add_stub(t, STUB_STI, emit_jcc(&t->e, CC_NE))->rip = next_rip(t);
}

static void cld(struct translation *t, const struct insn *insn)
{
	emit_store_gs_imm8(&t->e, OFF(flag_df), 0);
}

static void std(struct translation *t, const struct insn *insn)
{
	emit_store_gs_imm8(&t->e, OFF(flag_df), 1);
}

/* The rest of the block is translated for the mode that AC makes. */
static void set_ac(struct translation *t, const struct insn *insn, bool ac)
{
	if ((t->mode & MODE_CPL_MASK) || !(t->mode & MODE_PROTECTED)) {
		emit_helper_call(t, HELPER_ud, insn, 0);
		t->ended = true;
		return;
	}
	emit_store_gs_imm8(&t->e, OFF(flag_ac), ac);
	t->mode = cpu_mode_with_ac(t->mode, ac);
	t->mode_slot = code_cache_mode_slot(t->vp, t->mode);
	t->tlb_index = cpu_tlb_index(t->mode);
	emit_store_gs_imm32(&t->e, OFF(mode), t->mode, 4);
	emit_store_gs_imm32(&t->e, OFF(mode_slot), t->mode_slot, 4);
	emit_store_gs_imm32(&t->e, OFF(tlb_index), t->tlb_index, 4);
}

static void clac(struct translation *t, const struct insn *insn)
{
	set_ac(t, insn, false);
}

static void stac(struct translation *t, const struct insn *insn)
{
	set_ac(t, insn, true);
}

static void (*const specials[])(struct translation *t, const struct insn *insn) = {
	[SPECIAL_NOP] = nothing,
	[SPECIAL_PAUSE] = pause_spin,
	[SPECIAL_PUSH] = push,
	[SPECIAL_POP] = pop,
	[SPECIAL_PUSHF] = pushf,
	[SPECIAL_CALL_REL] = call_rel,
	[SPECIAL_CALL_IND] = call_indirect,
	[SPECIAL_RET] = ret,
	[SPECIAL_JMP_REL] = jmp_rel,
	[SPECIAL_JMP_IND] = jmp_indirect,
	[SPECIAL_JCC] = jcc,
	[SPECIAL_LOOP] = loop,
	[SPECIAL_LEA] = lea,
	[SPECIAL_LEAVE] = leave,
	[SPECIAL_XCHG] = xchg,
	[SPECIAL_MOV_MOFFS] = mov_moffs,
	[SPECIAL_BT_MEM] = bt_memory,
	[SPECIAL_CLI] = cli,
	[SPECIAL_STI] = sti,
	[SPECIAL_CLD] = cld,
	[SPECIAL_STD] = std,
	[SPECIAL_CLAC] = clac,
	[SPECIAL_STAC] = stac,
	[SPECIAL_INC_DEC] = inc_dec,
};

void emit_special(struct translation *t, const struct insn *insn)
{
	specials[insn->id](t, insn);
}

/*
 * emit_helper.c - calling C from translated code
 */
#include "translate_internal.h"

void emit_thunk_call(struct translation *t, const uint8_t *thunk)
{
	struct emit *e = &t->e;

	emit_store_gs(e, RSP, OFF(guest_sp));
	emit_load_gs(e, RSP, OFF(host_sp));
	emit_call_to(e, thunk);
}

static void store_rips(struct translation *t, const struct insn *insn)
{
	uint64_t rip = insn_rip(t, t->current), next = wrap_rip(t, rip + insn->length);

	if ((int64_t)rip == (int32_t)rip && (int64_t)next == (int32_t)next) {
		emit_store_gs_imm32(&t->e, OFF(rip), rip, 8);
		emit_store_gs_imm32(&t->e, OFF(next_rip), next, 8);
		return;
	}
	emit_mov_imm(&t->e, S1, rip);
	emit_store_gs(&t->e, S1, OFF(rip));
	emit_mov_imm(&t->e, S1, next);
	emit_store_gs(&t->e, S1, OFF(next_rip));
}

static struct cpu_args helper_args(const struct insn *insn, uint16_t imm16)
{
	return (struct cpu_args){
		.op_bytes = insn->op_bytes,
		.address_bytes = insn->address_bytes,
		.reg = insn->reg,
		.rm = insn->rm,
		.flags = (insn->mem ? CPU_ARG_MEM : 0) | (insn->rep ? CPU_ARG_REP : 0) |
			 (insn->repne ? CPU_ARG_REPNE : 0) | (insn->lock ? CPU_ARG_LOCK : 0) |
			 (insn->vex && insn->vex_l ? CPU_ARG_VEX256 : 0) | (insn->vex && insn->w ? CPU_ARG_VEX_W : 0),
		.seg = insn->seg,
		.imm16 = imm16,
	};
}

/* #UD and the like come before whatever is wrong with the operand; gathers have no single one. */
static bool takes_address(unsigned int thunk, const struct insn *insn)
{
	return insn->mem && thunk < HELPER_COUNT && thunk != HELPER_ud && thunk != HELPER_gather;
}

void emit_helper_call(struct translation *t, unsigned int thunk, const struct insn *insn, uint16_t imm16)
{
	struct cpu_args args = helper_args(insn, imm16);
	uint64_t packed;

	static_assert(sizeof(args) == 8, "passed in one register");
	memcpy(&packed, &args, sizeof(packed));
	flags_put_aside(t, S1);
	store_rips(t, insn);
	if (takes_address(thunk, insn))
		linear_address(t, insn, MAX(insn->mem_bytes, 1), ACCESS_READ);
	else
		emit_mov_imm(&t->e, S1, insn->imm);
	emit_mov_imm(&t->e, S2, packed);
	emit_thunk_call(t, t->cache->thunks.helper[thunk]);
}

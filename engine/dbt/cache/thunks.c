/*
 * thunks.c - the pieces of host code between translated blocks and C
 *
 * Emitted once at the start of the code cache, so that blocks reach them with 32-bit
 * displacements. Translated code calls a thunk after
 *	mov gs:[guest_sp], rsp; mov rsp, gs:[host_sp]; call thunk
 * and is continued with guest RSP back in place. In C all guest registers are in vp->gpr.
 */
#include "code_cache.h"
#include "cpu.h"
#include "dispatch.h"
#include "translate.h"

#define OFF(member) offsetof(struct dbt_vp, member)
#define GPR(reg) (OFF(gpr) + 8 * (reg))

/* Guest registers that live in host registers; RSP is handled apart. */
static const uint8_t resident[] = {RAX, RCX, RDX, RBX, RBP, RSI, RDI, R8, R9, R10, R11, R12, R13};
/* Those among them that C functions may change. */
static const uint8_t volatile_registers[] = {RAX, RCX, RDX, RSI, RDI, R8, R9, R10, R11};

static void save_registers(struct emit *e)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(resident); i++)
		emit_store_gs(e, resident[i], GPR(resident[i]));
}

static void load_registers(struct emit *e)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(resident); i++)
		emit_load_gs(e, resident[i], GPR(resident[i]));
	emit_load_gs(e, RSP, GPR(RSP));
}

static void call_c(struct emit *e, const void *function)
{
	emit_mov_imm(e, RAX, (uintptr_t)function);
	emit8(e, 0xff); /* call rax */
	emit8(e, 0xd0);
}

static void push(struct emit *e, unsigned int reg)
{
	emit_rex(e, 4, 0, 0, reg);
	emit8(e, 0x50 | (reg & 7));
}

static void pop(struct emit *e, unsigned int reg)
{
	emit_rex(e, 4, 0, 0, reg);
	emit8(e, 0x58 | (reg & 7));
}

/* [0F AE /n] xsave64, xrstor64 of x87, SSE and AVX state at gs:[xsave]; clobbers RAX, RDX */
static void vector_state(struct emit *e, unsigned int operation)
{
	emit_mov_imm(e, RAX, 7);
	emit_mov_imm(e, RDX, 0);
	emit_gs(e, 0x0fae, operation, OFF(xsave), 8);
}

static const uint8_t callee_saved[] = {RBX, RBP, R12, R13, R14, R15};

/* void enter(struct dbt_vp *vp, const uint8_t *code) */
static void emit_enter(struct emit *e)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(callee_saved); i++)
		push(e, callee_saved[i]);
	emit_lea(e, RSP, RSP, -24, 8); /* [rsp] MXCSR, [rsp+8] x87 control word; aligned by 16 again */
	emit8(e, 0x0f); /* stmxcsr [rsp] */
	emit8(e, 0xae);
	emit_address(e, 3, RSP, 0);
	emit8(e, 0xd9); /* fnstcw [rsp+8] */
	emit_address(e, 7, RSP, 8);
	emit_store_gs(e, RSP, OFF(host_sp));
	emit_mov(e, S1, RSI, 8);
	vector_state(e, 5);
	load_registers(e);
	emit_jmp_reg(e, S1);
}

/* Back to the caller of enter(); RSP = host_sp, everything else already in the vp. */
static void emit_leave(struct emit *e)
{
	vector_state(e, 4);
	emit8(e, 0xdb); /* fninit */
	emit8(e, 0xe3);
	emit8(e, 0xd9); /* fldcw [rsp+8] */
	emit_address(e, 5, RSP, 8);
	emit8(e, 0x0f); /* ldmxcsr [rsp] */
	emit8(e, 0xae);
	emit_address(e, 2, RSP, 0);
	emit8(e, 0xc5); /* vzeroupper */
	emit8(e, 0xf8);
	emit8(e, 0x77);
	emit_lea(e, RSP, RSP, 24, 8);
	for (unsigned int i = ARRAY_SIZE(callee_saved); i-- > 0;)
		pop(e, callee_saved[i]);
	emit8(e, 0xc3);
}

/* On the host stack, everything saved: ask C where to go. */
static uint8_t *emit_dispatch(struct emit *e, const uint8_t *leave)
{
	uint8_t *start = emit_run_address(e), *nothing;

	emit_load_gs(e, RSP, OFF(host_sp));
	emit_load_gs(e, RDI, OFF(self));
	call_c(e, dbt_dispatch);
	emit_reg_reg(e, 0x85, RAX, RAX, 8);
	nothing = emit_jcc(e, CC_E);
	emit_mov(e, S1, RAX, 8);
	load_registers(e);
	emit_jmp_reg(e, S1);
	emit_land(e, nothing);
	emit_jmp_to(e, leave);
	return start;
}

/* From translated code with guest RSP in place: S1 = rip. */
static void emit_miss(struct emit *e, const uint8_t *dispatch)
{
	emit_store_gs(e, S1, OFF(rip));
	save_registers(e);
	emit_store_gs(e, RSP, GPR(RSP));
	emit_jmp_to(e, dispatch);
}

/*
 * S1 = rip, S2 = exit. An exit whose target crosses a page cannot be chained, but a loop may use
 * it: look into the jump cache first.
 */
static void emit_link(struct emit *e)
{
	uint8_t *near, *absent;

	emit_rex(e, 1, 0, 0, S2); /* cmp byte [s2 + far], 0 */
	emit8(e, 0x80);
	emit_address(e, 7, S2, offsetof(struct block_exit, far));
	emit8(e, 0);
	near = emit_jcc(e, CC_E);
	emit_store_gs(e, RAX, OFF(spill[0]));
	emit_gs(e, 0x8b, RAX, OFF(mode_slot), 4);
	emit8(e, 0xc1); /* shl eax, log2 of a table's bytes */
	emit_modrm(e, 3, 4, RAX);
	emit8(e, JUMP_CACHE_BITS + 4);
	emit_mov_imm(e, S2, 0);
	emit_crc32(e);
	emit_gs(e, 0x23, S2, OFF(jump_mask), 4); /* and */
	emit_reg_reg(e, 0x03, S2, RAX, 4); /* add */
	emit_load_gs(e, RAX, OFF(spill[0]));
	emit_gs_indexed(e, 0x3b, S1, S2, OFF(jump_cache) + offsetof(struct jump_cache_entry, va), 8);
	absent = emit_jcc(e, CC_NE);
	emit_gs_indexed(e, 0xff, 4, S2, OFF(jump_cache) + offsetof(struct jump_cache_entry, code), 4);
	emit_land(e, near);
	emit_store_gs(e, S2, OFF(link));
	emit_land(e, absent);
}

/* After an abandoned instruction: RAX = address in the block that tells which. */
static uint8_t *emit_abort(struct emit *e, const uint8_t *dispatch)
{
	uint8_t *start = emit_run_address(e);

	emit_load_gs(e, RDI, OFF(self));
	emit_mov(e, RSI, RAX, 8);
	call_c(e, dbt_abort);
	emit_jmp_to(e, dispatch);
	return start;
}

/* On the host stack, below a return address: @function(vp, first, second), all registers in the vp. */
static void call_with(struct emit *e, const void *function, unsigned int first, unsigned int second)
{
	save_registers(e);
	emit_load_gs(e, RAX, OFF(guest_sp));
	emit_store_gs(e, RAX, GPR(RSP));
	emit_load_gs(e, RDI, OFF(self));
	emit_mov(e, RSI, first, 8);
	emit_mov(e, RDX, second, 8);
	emit_lea(e, RSP, RSP, -8, 8);
	call_c(e, function);
}

/* EAX = what a helper returned. */
static void account_and_dispatch(struct emit *e, const uint8_t *dispatch)
{
	emit_load_gs(e, RDI, OFF(self));
	emit_mov(e, RSI, RAX, 4);
	call_c(e, dbt_after_helper);
	emit_jmp_to(e, dispatch);
}

/*
 * memory and segment: S1 and S2 are arguments, the result comes back in S1; vp->aborted abandons
 * the instruction.
 */
static void emit_slow_path(struct emit *e, const void *function, const uint8_t *abort)
{
	uint8_t *failed;

	call_with(e, function, S1, S2);
	emit_lea(e, RSP, RSP, 8, 8);
	emit_load_gs(e, RDX, OFF(aborted));
	emit_reg_reg(e, 0x84, RDX, RDX, 1);
	failed = emit_jcc(e, CC_NE);
	emit_mov(e, S1, RAX, 8);
	pop(e, S2);
	for (unsigned int i = 0; i < ARRAY_SIZE(volatile_registers); i++)
		emit_load_gs(e, volatile_registers[i], GPR(volatile_registers[i]));
	emit_load_gs(e, RSP, OFF(guest_sp));
	emit_jmp_reg(e, S2);
	emit_land(e, failed);
	pop(e, RAX);
	emit_jmp_to(e, abort);
}

/* S1 = value, S2 = struct cpu_args; vp->rip and next_rip are set. */
static void emit_helper(struct emit *e, const void *function, bool ends_block, const uint8_t *dispatch)
{
	uint8_t *stop, *leave;

	call_with(e, function, S2, S1);
	if (ends_block) {
		account_and_dispatch(e, dispatch);
		return;
	}
	emit_reg_reg(e, 0x85, RAX, RAX, 4);
	stop = emit_jcc(e, CC_NE);
	emit_test_gs(e, OFF(leave));
	leave = emit_jcc(e, CC_NE);
	emit_lea(e, RSP, RSP, 8, 8);
	pop(e, S2);
	load_registers(e);
	emit_jmp_reg(e, S2);
	emit_land(e, stop);
	emit_land(e, leave);
	account_and_dispatch(e, dispatch);
}

void thunks_emit(struct code_cache *cache, struct emit *e)
{
	struct thunks *thunks = &cache->thunks;
	const uint8_t *dispatch, *abort;

	thunks->enter = emit_run_address(e);
	emit_enter(e);
	thunks->leave = emit_run_address(e);
	emit_leave(e);
	dispatch = emit_dispatch(e, thunks->leave);
	thunks->fault = (uint8_t *)dispatch;
	thunks->link = emit_run_address(e);
	emit_link(e);
	thunks->miss = emit_run_address(e);
	emit_miss(e, dispatch);
	abort = emit_abort(e, dispatch);
	thunks->memory = emit_run_address(e);
	emit_slow_path(e, dbt_memory, abort);
	thunks->segment = emit_run_address(e);
	emit_slow_path(e, dbt_segment, abort);
	for (unsigned int i = 0; i < HELPER_COUNT; i++) {
		thunks->helper[i] = emit_run_address(e);
		emit_helper(e, cpu_helpers[i].function, cpu_helpers[i].ends_block, dispatch);
	}
	for (unsigned int i = 0; i < RUNTIME_COUNT; i++) {
		thunks->helper[HELPER_COUNT + i] = emit_run_address(e);
		emit_helper(e, runtime_helpers[i].function, runtime_helpers[i].ends_block, dispatch);
	}
}

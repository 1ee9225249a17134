/*
 * dispatch.c - between two blocks: exceptions, interrupts, requests, the next block
 *
 * Order at an instruction boundary: finish what the last instruction left in the bounce buffer,
 * its exception or trap, requests from other threads, NMI, external interrupt, next block.
 *
 * Single steps. A block with MODE_STEP holds one instruction. It runs when interrupts are held
 * off for one instruction (irq_shadow), when something must follow the instruction (step_once),
 * or when TF is set. An instruction that waits for the answer to its exit is executed again before
 * any interrupt is taken, so that a device is not asked twice. vp->stepping is set from its start until the dispatcher sees the vp again.
 */
#include "dispatch.h"

#include "apic.h"
#include "code_cache.h"
#include "debug.h"
#include "decode.h"
#include "mmu.h"
#include "segment_access.h"
#include "stats.h"
#include "trace.h"

/* Flat segments are not checked inline: what reaches past 4 GiB crosses pages and comes here. */
static bool beyond_flat_limit(const struct dbt_vp *vp, uint64_t va, uint32_t bytes)
{
	return !(vp->mode & MODE_CODE64) && (vp->mode & MODE_FLAT) && (uint32_t)va + (uint64_t)bytes > BIT(32);
}

uint64_t dbt_memory(struct dbt_vp *vp, uint64_t va, uint32_t what)
{
	uint32_t bytes = what & 0xffff;
	uint32_t alignment = bytes > 64 ? 16 : bytes; /* FXSAVE and FXRSTOR: 16 */
	void *host = NULL;

	if (((what & MEMORY_ALIGNED) && (va & (alignment - 1))) || beyond_flat_limit(vp, va, bytes)) {
		vp_raise_error(vp, what & MEMORY_STACK && !(what & MEMORY_ALIGNED) ? VEC_SS : VEC_GP, 0);
		vp->aborted = 1;
		return 0;
	}
	host = mmu_access(vp, va, bytes, what >> 16 & 0xff);
	if (host)
		return (uintptr_t)host;
	if ((what & MEMORY_STACK) && vp->exception.vector == VEC_GP)
		vp->exception.vector = VEC_SS;
	vp->aborted = 1;
	return 0;
}

uint64_t dbt_segment(struct dbt_vp *vp, uint64_t offset, uint32_t what)
{
	uint64_t linear = 0;

	if (segment_linear(vp, what & 0xff, offset, what >> 8 & 0xffff, what >> 24, &linear) != 0)
		vp->aborted = 1;
	return linear;
}

void dbt_abort(struct dbt_vp *vp, const uint8_t *host)
{
	bool flags_in_host;
	/* A return address may be the first byte after the call: look just before it. */
	const struct block *block = code_cache_find_host(vp_partition(vp)->cache, host - 1);

	if (block)
		vp->rip = block_guest_rip(block, host - 1, &flags_in_host);
	vp->aborted = 1;
}

void dbt_after_helper(struct dbt_vp *vp, enum cpu_result result)
{
	if (result == CPU_RESTART)
		vp->aborted = 1;
	else
		vp->rip = vp->next_rip;
}

/* --- helpers of the translator --- */

static enum cpu_result runtime_raise(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	if (args.imm16 == VEC_GP)
		vp_raise_error(vp, VEC_GP, 0);
	else
		vp_raise(vp, args.imm16);
	return CPU_RESTART;
}

static enum cpu_result runtime_no_fpu(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	bool emulated = vp->cr0 & 4; /* EM */
	bool undefined = false;

	if (args.imm16 == UNIT_MMX)
		undefined = emulated;
	else if (args.imm16 == UNIT_SSE)
		undefined = emulated || !(vp->cr4 & BIT(9));
	else if (args.imm16 == UNIT_AVX)
		undefined = !(vp->cr4 & BIT(18)) || (vp->xcr0 & 6) != 6;
	vp_raise(vp, undefined ? VEC_UD : VEC_NM);
	return CPU_RESTART;
}

static enum cpu_result runtime_cli_sti(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	bool vm86_vme = (vp->mode & MODE_VM86) && (vp->cr4 & 1);
	bool pvi = (vp->mode & MODE_PROTECTED) && vp->cpl == 3 && (vp->cr4 & 2);
	unsigned int iopl = (vp->eflags_rest & FLAG_IOPL) >> 12;
	unsigned int cpl = vp->mode & MODE_VM86 ? 3 : vp->mode & MODE_PROTECTED ? vp->cpl : 0;

	if (cpl <= iopl) {
		if (args.imm16 && !vp->flag_if)
			vp->irq_shadow = 1;
		vp->flag_if = args.imm16;
		return CPU_DONE;
	}
	if ((vm86_vme || pvi) && !(args.imm16 && (vp->eflags_rest & FLAG_VIP))) {
		vp->eflags_rest = (vp->eflags_rest & ~FLAG_VIF) | (args.imm16 ? FLAG_VIF : 0);
		return CPU_DONE;
	}
	vp_raise_error(vp, VEC_GP, 0);
	return CPU_RESTART;
}

static enum cpu_result runtime_sti_shadow(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	vp->irq_shadow = 1;
	return CPU_DONE;
}

const struct cpu_helper_row runtime_helpers[RUNTIME_COUNT] = {
	[RUNTIME_RAISE] = {"raise", runtime_raise, true},
	[RUNTIME_NO_FPU] = {"no-fpu", runtime_no_fpu, true},
	[RUNTIME_CLI_STI] = {"cli-sti", runtime_cli_sti, true},
	[RUNTIME_STI_SHADOW] = {"sti-shadow", runtime_sti_shadow, true},
};

/* --- the dispatcher --- */

/* The single-instruction block is over, one way or the other. */
static void end_step(struct dbt_vp *vp)
{
	uint32_t reports = (vp->step_trap ? DR6_BS : 0) | vp->break_hits;

	/* Its exit comes first; the trap when it is through. */
	if (!vp->aborted && vp->leave != LEAVE_NONE && vp->exception.vector == VEC_NONE)
		return;
	vp->stepping = 0;
	vp->step_trap = 0;
	if (vp->aborted) {
		vp->bounce.bytes = 0;
		if (vp->leave == LEAVE_EXIT || vp->leave == LEAVE_HEAVY)
			vp->step_once = 1; /* again, when the answer is there */
		return;
	}
	vp->break_hits = 0;
	if (!vp->rf_loaded)
		vp->eflags_rest &= ~FLAG_RF;
	vp->rf_loaded = 0;
	if (reports && vp->exception.vector == VEC_NONE)
		debug_raise(vp, reports);
}

/* Requests that light code can serve. Returns true when some are left for the run loop. */
static bool serve_requests(struct dbt_vp *vp)
{
	uint32_t requests = atomic_load(&vp->requests);

	if (requests & REQ_PROTECT) {
		mmu_protect_code(vp, atomic_load(&vp->protect_page));
		atomic_fetch_and(&vp->requests, ~REQ_PROTECT);
	}
	if (requests & REQ_FLUSH_TLB) {
		mmu_flush_all(vp);
		atomic_fetch_and(&vp->requests, ~REQ_FLUSH_TLB);
	}
	if (requests & REQ_FLUSH_JUMPS) {
		atomic_fetch_and(&vp->requests, ~REQ_FLUSH_JUMPS);
		mmu_flush_jumps(vp);
	}
	return atomic_load(&vp->requests) & ~(REQ_PROTECT | REQ_FLUSH_TLB | REQ_FLUSH_JUMPS);
}

/* An interrupt that can be taken now is delivered. Returns 1 when vp->leave is set. */
static int take_interrupt(struct dbt_vp *vp)
{
	int vector;

	atomic_store(&vp->irq_pending, 0);
	if (apic_pending(vp) < 0)
		return 0;
	vector = apic_acknowledge(vp);
	if (vector < 0)
		return vp->leave != LEAVE_NONE; /* the 8259's INTA cycle is the run loop's */
	atomic_store(&vp->irq_pending, 1); /* there may be more */
	stat_add(vp, INTERRUPTS, 1);
	return cpu_deliver_interrupt(vp, vector);
}

/* Events before the next instruction. Returns 1 when control must go to the run loop. */
static int serve_events(struct dbt_vp *vp)
{
	if (vp->exception.vector != VEC_NONE) {
		stat_add(vp, EXCEPTIONS, 1);
		vp->link = NULL;
		vp->leave = LEAVE_NONE;
		vp->answer.valid = false;
		vp->irq_shadow = 0;
		vp->step_once = 0;
		if (cpu_deliver_exception(vp))
			return 1;
	}
	if (unlikely(atomic_load_explicit(&vp->exit_request, memory_order_relaxed))) {
		atomic_exchange(&vp->exit_request, 0);
		if (serve_requests(vp)) {
			vp->leave = LEAVE_REQUEST;
			return 1;
		}
	}
	if (unlikely(vp->irq_pending) && vp->flag_if && !vp->irq_shadow && !vp->step_once && !vp->answer.valid)
		return take_interrupt(vp);
	return 0;
}

static const uint8_t *enter_step(struct dbt_vp *vp, const struct block *block)
{
	vp->step_trap = (vp->eflags_rest & FLAG_TF) != 0;
	vp->stepping = 1;
	vp->irq_shadow = 0;
	vp->step_once = 0;
	stat_add(vp, STEPS, 1);
	return block->code;
}

static uint64_t linear_rip(const struct dbt_vp *vp)
{
	return vp->mode & MODE_CODE64 ? vp->rip : (uint32_t)(vp->seg[VP_CS].base + vp->rip);
}

/* Inline lookups compare the guest rip only: nothing but 64-bit and flat code is entered. */
static bool may_cache_jump(const struct dbt_vp *vp)
{
	return (vp->mode & (MODE_CODE64 | MODE_FLAT)) && vp->mode_slot != MODE_SLOTS - 1;
}

static struct jump_cache_entry *jump_entry(struct dbt_vp *vp)
{
	return &vp->jump_cache[vp->mode_slot][jump_cache_index(vp->rip)];
}

/* An instruction breakpoint at rip raises #DB, unless the handler of the last one set RF. */
static bool at_breakpoint(struct dbt_vp *vp)
{
	uint32_t hits = debug_match(vp, BREAK_EXECUTE, linear_rip(vp), 1);

	if (!hits || (vp->eflags_rest & FLAG_RF))
		return false;
	debug_raise(vp, hits);
	return true;
}

static const uint8_t *find_block(struct dbt_vp *vp)
{
	struct code_cache *cache = vp_partition(vp)->cache;
	bool step = dbt_must_step(vp);
	struct jump_cache_entry *entry = jump_entry(vp);
	struct block_exit *link = vp->link;
	const uint8_t *host;
	struct block *block;
	gpa_t gpa;

	if (unlikely(vp->mode & MODE_WATCH) && at_breakpoint(vp))
		return NULL;
	if (!step && !link && may_cache_jump(vp) && entry->va == vp->rip)
		return (const uint8_t *)entry->code;
	if (mmu_fetch_page(vp, linear_rip(vp), &gpa, &host) < 0)
		return NULL;
	block = code_cache_find(cache, gpa, vp->rip, vp->mode | (step ? MODE_STEP : 0));
	if (block && block->crosses_page) {
		gpa_t second;

		if (mmu_fetch_page(vp, ALIGN_UP(linear_rip(vp) + 1, PAGE_BYTES), &second, &host) < 0)
			return NULL;
		if (second != block->second_page)
			block = NULL;
	}
	if (!block) {
		vp->leave = LEAVE_TRANSLATE;
		return NULL;
	}
	vp->link = NULL;
	if (step)
		return enter_step(vp, block);
	if (link)
		code_cache_link(cache, link, block);
	if (may_cache_jump(vp) && entry != vp->jump_cache[vp->mode_slot]) { /* entry 0 stays empty */
		entry->va = vp->rip;
		entry->code = (uintptr_t)block->code;
		mmu_note_jump(vp, entry);
	}
	return block->code;
}

static void note_block(struct dbt_vp *vp)
{
	trace_note(vp, (struct trace_record){.kind = TRACE_BLOCK,
					     .at = vp->rip,
					     .extra = vp->mode | (vp->stepping ? MODE_STEP : 0)});
}

const uint8_t *dbt_dispatch(struct dbt_vp *vp)
{
	stat_add(vp, DISPATCHES, 1);
	if (unlikely(atomic_load_explicit(&vp->jump_mask, memory_order_relaxed) != JUMP_MASK))
		atomic_store(&vp->jump_mask, JUMP_MASK); /* before exit_request is looked at */
	if (unlikely(vp->stepping))
		end_step(vp);
	vp->aborted = 0;
	for (;;) {
		const uint8_t *code;

		if (unlikely(vp->bounce.bytes) && mmu_finish_bounce(vp))
			return NULL;
		if (unlikely(vp->leave != LEAVE_NONE) && vp->exception.vector == VEC_NONE)
			return NULL;
		if (serve_events(vp))
			return NULL;
		code = find_block(vp);
		if (code && trace_wants(vp, PARTITION_TRACE_BLOCKS))
			note_block(vp);
		if (code || vp->exception.vector == VEC_NONE)
			return code;
	}
}

/*
 * iret.c - IRET in every mode, and the checks it shares with far RET
 *
 * In 64-bit mode SS:RSP is always popped, so the whole frame is read at once. Elsewhere what
 * follows EIP, CS and EFLAGS depends on them: nothing, ESP and SS (less privilege), or all segments
 * (virtual-8086 mode).
 *
 * RF is dropped unless an instruction breakpoint is enabled: nothing else looks at it, and no
 * translated instruction would clear it.
 */
#include "transfer.h"

int return_code_segment(struct dbt_vp *vp, uint16_t selector, uint64_t rip,
			struct vp_segment *ret_cs)
{
	unsigned int rpl = selector & SELECTOR_RPL;
	struct descriptor descriptor;
	uint32_t access;

	if (unlikely(selector_is_null(selector)))
		return fault(vp, VEC_GP, 0);
	if (unlikely(descriptor_read(vp, selector, VEC_GP, &descriptor)))
		return -1;
	access = descriptor_access(descriptor.raw);
	if (unlikely(!access_is_code(access) || rpl < vp->cpl))
		return fault_selector(vp, VEC_GP, selector);
	if (unlikely(access_is_conforming(access) ? access_dpl(access) > rpl
						  : access_dpl(access) != rpl))
		return fault_selector(vp, VEC_GP, selector);
	if (unlikely(code_segment_finish(vp, &descriptor, selector, ret_cs)))
		return -1;
	return code_check_target(vp, ret_cs, rip);
}

int return_to_stack(struct dbt_vp *vp, const struct vp_segment *cs, uint16_t selector,
		    uint64_t pointer, unsigned int cpl)
{
	bool code64 = segment_is_code64(vp, cs);
	struct vp_segment ss;
	struct stack stack;

	if (unlikely(selector_is_null(selector))) {
		if (!code64 || cpl == 3 || (selector & SELECTOR_RPL) != cpl)
			return fault(vp, VEC_GP, 0);
		segment_null(&ss, selector, cpl);
	} else if (unlikely(segment_read_stack(vp, selector, cpl, VEC_GP, &ss))) {
		return -1;
	}
	vp->seg[VP_SS] = ss;
	stack = stack_new(&ss, code64, pointer, cpl);
	stack_commit(vp, &stack);
	return 0;
}

/* What IRET may change of EFLAGS, by the privilege and mode it runs in. */
static uint32_t iret_flags_mask(const struct dbt_vp *vp, uint32_t width)
{
	uint32_t mask = FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT;

	if (width > 2)
		mask |= FLAG_AC | FLAG_ID | (vp->dr7 & 0xff ? FLAG_RF : 0);
	if (vp->cpl == 0)
		mask |= FLAG_IOPL;
	if (vp->cpl == 0 && width > 2 && (vp->cr0 & CR0_PE))
		mask |= FLAG_VIF | FLAG_VIP;
	if (vp->cpl <= flags_iopl(vp))
		mask |= FLAG_IF;
	return mask;
}

/* One that came meanwhile is looked at again. */
static void unmask_nmi(struct dbt_vp *vp)
{
	vp->nmi_masked = 0;
	if (unlikely(atomic_load(&vp->requests) & REQ_NMI))
		vp_request_exit(vp);
}

static void iret_flags(struct dbt_vp *vp, uint32_t flags, uint32_t width)
{
	uint32_t mask = iret_flags_mask(vp, width);

	vp_set_rflags(vp, (vp_rflags(vp) & ~(mask | FLAG_RF)) | (flags & mask));
	vp->rf_loaded = 1;
	unmask_nmi(vp);
}

/* Real mode, and virtual-8086 mode at IOPL 3. */
static enum cpu_result iret_real(struct dbt_vp *vp, uint32_t width)
{
	struct stack stack = stack_current(vp);
	uint64_t values[3];

	if (stack_pop(vp, &stack, values, 3, width))
		return CPU_RESTART;
	if (values[0] > vp->seg[VP_CS].limit)
		return raise_now_error(vp, VEC_GP, 0);
	stack_commit(vp, &stack);
	iret_flags(vp, values[2], width);
	segment_fill_real(vp, &vp->seg[VP_CS], values[1]);
	vp->next_rip = values[0];
	cpu_update_mode(vp);
	return finish(vp);
}

/* @values: EIP, CS, EFLAGS with VM set; the rest is still on @stack. */
static enum cpu_result iret_to_vm86(struct dbt_vp *vp, struct stack *stack,
				    const uint64_t values[3])
{
	static const uint8_t order[] = {VP_ES, VP_DS, VP_FS, VP_GS};
	uint64_t more[6]; /* ESP, SS, ES, DS, FS, GS */

	if (stack_pop(vp, stack, more, 6, 4))
		return CPU_RESTART;
	if (values[0] > 0xffff)
		return raise_now_error(vp, VEC_GP, 0);
	vp_set_rflags(vp, values[2] & 0x3f7fd7 & ~FLAG_RF);
	unmask_nmi(vp);
	segment_fill_real(vp, &vp->seg[VP_CS], values[1]);
	segment_fill_real(vp, &vp->seg[VP_SS], more[1]);
	for (unsigned int i = 0; i < ARRAY_SIZE(order); i++)
		segment_fill_real(vp, &vp->seg[order[i]], more[2 + i]);
	vp->gpr[VP_RSP] = (uint32_t)more[0];
	vp->cpl = 3;
	vp->next_rip = values[0];
	cpu_update_mode(vp);
	return finish(vp);
}

static enum cpu_result iret_protected(struct dbt_vp *vp, uint32_t width)
{
	struct stack stack = stack_current(vp);
	uint64_t values[5]; /* RIP, CS, RFLAGS, RSP, SS */
	bool from64 = in_code64(vp);
	struct vp_segment cs;
	unsigned int cpl;

	if (stack_pop(vp, &stack, values, from64 ? 5 : 3, width))
		return CPU_RESTART;
	if (!from64 && width == 4 && (values[2] & FLAG_VM) && vp->cpl == 0 && !in_long_mode(vp))
		return iret_to_vm86(vp, &stack, values);
	if (return_code_segment(vp, values[1], values[0], &cs))
		return CPU_RESTART;
	cpl = values[1] & SELECTOR_RPL;
	if (from64 || cpl != vp->cpl) {
		if (!from64 && stack_pop(vp, &stack, values + 3, 2, width))
			return CPU_RESTART;
		if (return_to_stack(vp, &cs, values[4], values[3], cpl))
			return CPU_RESTART;
	} else {
		stack_commit(vp, &stack);
	}
	iret_flags(vp, values[2], width);
	if (cpl != vp->cpl)
		segments_drop_privileged(vp, cpl);
	return transfer_to(vp, &cs, values[0], cpl);
}

enum cpu_result helper_iret(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	if (unlikely(!in_protected_mode(vp))) {
		if (in_vm86(vp) && flags_iopl(vp) < 3)
			return raise_now_error(vp, VEC_GP, 0);
		return iret_real(vp, args.op_bytes);
	}
	if (unlikely(vp->eflags_rest & FLAG_NT)) {
		if (in_long_mode(vp))
			return raise_now_error(vp, VEC_GP, 0);
		cpu_fail(vp,
			 "the guest switches tasks by hardware, which this engine cannot do yet");
		return CPU_RESTART;
	}
	return iret_protected(vp, args.op_bytes);
}

/*
 * far.c - JMP, CALL and RET between segments, in every mode
 *
 * SDM vol. 2, the instructions' own pseudocode. In long mode a far jump to a code segment is how
 * 64-bit and compatibility mode change into each other; gates are 32-bit ones only: 64-bit call
 * gates raise #GP, task switches by hardware end the run (VP_EXIT_FAILED).
 */
#include "transfer.h"

struct far_target {
	uint16_t selector;
	uint64_t offset;
};

static int read_target(struct dbt_vp *vp, struct cpu_args args, uint64_t value,
		       struct far_target *ret_target)
{
	uint8_t bytes[16] = {0};

	if (!(args.flags & CPU_ARG_MEM)) {
		ret_target->selector = args.imm16;
		ret_target->offset = truncate_to(value, args.op_bytes);
		return 0;
	}
	if (mmu_read(vp, value, bytes, args.op_bytes + 2, 0))
		return -1;
	__builtin_memcpy(&ret_target->offset, bytes, 8);
	ret_target->offset = truncate_to(ret_target->offset, args.op_bytes);
	ret_target->selector = bytes[args.op_bytes] | bytes[args.op_bytes + 1] << 8;
	return 0;
}

static enum cpu_result go_real(struct dbt_vp *vp, uint16_t selector, uint64_t offset)
{
	segment_fill_real(vp, &vp->seg[VP_CS], selector);
	vp->next_rip = offset;
	cpu_update_mode(vp);
	return finish(vp);
}

/* The return address of a call, pushed on the current stack. */
static int push_return(struct dbt_vp *vp, uint32_t width)
{
	struct stack stack = stack_current(vp);
	uint64_t values[2] = {vp->seg[VP_CS].selector, vp->next_rip};

	if (stack_push(vp, &stack, values, 2, width) < 0)
		return -1;
	stack_commit(vp, &stack);
	return 0;
}

/* Code segment that JMP or CALL names directly. */
static int direct_code_segment(struct dbt_vp *vp, const struct descriptor *descriptor,
			       uint16_t selector, struct vp_segment *ret_cs)
{
	uint32_t access = descriptor_access(descriptor->raw);
	bool allowed = access_is_conforming(access) ? access_dpl(access) <= vp->cpl
						    : access_dpl(access) == vp->cpl &&
							      (selector & SELECTOR_RPL) <= vp->cpl;

	if (!allowed)
		return fault_selector(vp, VEC_GP, selector);
	return code_segment_finish(vp, descriptor, selector, ret_cs);
}

/* --- call gates --- */

struct call_gate {
	uint16_t selector;
	uint32_t offset, width;
	unsigned int parameters;
};

static int gate_decode(struct dbt_vp *vp, const struct descriptor *descriptor, uint16_t selector,
		       struct call_gate *ret_gate)
{
	uint32_t access = descriptor_access(descriptor->raw);
	uint32_t type = access_type(access);

	if (!in_long_mode(vp) &&
	    (type == SYSTEM_TASK_GATE || type == SYSTEM_TSS || type == SYSTEM_TSS16))
		return cpu_fail(
			vp,
			"the guest switches tasks by hardware, which this engine cannot do yet");
	if (in_long_mode(vp) || (type != SYSTEM_CALL && type != SYSTEM_CALL16))
		return fault_selector(vp, VEC_GP, selector);
	if (access_dpl(access) < vp->cpl || access_dpl(access) < (selector & SELECTOR_RPL))
		return fault_selector(vp, VEC_GP, selector);
	if (!(access & VP_SEG_P))
		return fault_selector(vp, VEC_NP, selector);
	ret_gate->selector = descriptor->raw >> 16;
	ret_gate->width = type == SYSTEM_CALL ? 4 : 2;
	ret_gate->offset = truncate_to(
		(descriptor->raw & 0xffff) | (descriptor->raw >> 32 & 0xffff0000), ret_gate->width);
	ret_gate->parameters = descriptor->raw >> 32 & 31;
	return 0;
}

/* The code segment behind a gate; *ret_cpl is the privilege it runs at. */
static int gate_code_segment(struct dbt_vp *vp, const struct call_gate *gate, bool call,
			     struct vp_segment *ret_cs, unsigned int *ret_cpl)
{
	struct descriptor descriptor;
	uint32_t access;

	if (selector_is_null(gate->selector))
		return fault(vp, VEC_GP, 0);
	if (descriptor_read(vp, gate->selector, VEC_GP, &descriptor))
		return -1;
	access = descriptor_access(descriptor.raw);
	if (!access_is_code(access) || access_dpl(access) > vp->cpl)
		return fault_selector(vp, VEC_GP, gate->selector);
	*ret_cpl = access_is_conforming(access) ? vp->cpl : access_dpl(access);
	if (!call && *ret_cpl != vp->cpl)
		return fault_selector(vp, VEC_GP, gate->selector);
	if (code_segment_finish(vp, &descriptor, gate->selector, ret_cs))
		return -1;
	return code_check_target(vp, ret_cs, gate->offset);
}

#define GATE_VALUES (2 + 31 + 2)

/* Old SS:ESP, the parameters, and the return address onto the inner stack, which becomes current.
 */
static int gate_change_stack(struct dbt_vp *vp, const struct call_gate *gate, unsigned int cpl)
{
	struct stack old = stack_current(vp), inner;
	uint64_t values[GATE_VALUES], parameters[31];
	struct vp_segment ss;
	unsigned int count = 0;
	uint16_t selector;
	uint32_t esp;

	if (tss_read_stack(vp, cpl, &selector, &esp))
		return -1;
	if (selector_is_null(selector))
		return fault_selector(vp, VEC_TS, selector);
	if (segment_read_stack(vp, selector, cpl, VEC_TS, &ss) ||
	    stack_pop(vp, &old, parameters, gate->parameters, gate->width))
		return -1;
	values[count++] = vp->seg[VP_SS].selector;
	values[count++] = vp->gpr[VP_RSP];
	for (unsigned int i = gate->parameters; i > 0; i--)
		values[count++] = parameters[i - 1];
	values[count++] = vp->seg[VP_CS].selector;
	values[count++] = vp->next_rip;
	inner = stack_new(&ss, false, esp, cpl);
	inner.error = selector & ~SELECTOR_RPL;
	if (stack_push(vp, &inner, values, count, gate->width) < 0)
		return -1;
	vp->seg[VP_SS] = ss;
	stack_commit(vp, &inner);
	return 0;
}

static enum cpu_result through_gate(struct dbt_vp *vp, const struct descriptor *descriptor,
				    uint16_t selector, bool call)
{
	struct call_gate gate;
	struct vp_segment cs;
	unsigned int cpl;

	if (gate_decode(vp, descriptor, selector, &gate) ||
	    gate_code_segment(vp, &gate, call, &cs, &cpl))
		return CPU_RESTART;
	if (call &&
	    (cpl != vp->cpl ? gate_change_stack(vp, &gate, cpl) : push_return(vp, gate.width)))
		return CPU_RESTART;
	return transfer_to(vp, &cs, gate.offset, cpl);
}

/* --- the instructions --- */

static enum cpu_result far_transfer(struct dbt_vp *vp, struct cpu_args args, uint64_t value,
				    bool call)
{
	struct far_target target;
	struct descriptor descriptor;
	struct vp_segment cs;

	if (read_target(vp, args, value, &target))
		return CPU_RESTART;
	if (!in_protected_mode(vp)) {
		if (target.offset > vp->seg[VP_CS].limit)
			return raise_now_error(vp, VEC_GP, 0);
		if (call && push_return(vp, args.op_bytes))
			return CPU_RESTART;
		return go_real(vp, target.selector, target.offset);
	}
	if (selector_is_null(target.selector))
		return raise_now_error(vp, VEC_GP, 0);
	if (descriptor_read(vp, target.selector, VEC_GP, &descriptor))
		return CPU_RESTART;
	if (!(descriptor_access(descriptor.raw) & VP_SEG_S))
		return through_gate(vp, &descriptor, target.selector, call);
	if (!access_is_code(descriptor_access(descriptor.raw)))
		return raise_now_error(vp, VEC_GP, target.selector & ~SELECTOR_RPL);
	if (direct_code_segment(vp, &descriptor, target.selector, &cs) ||
	    code_check_target(vp, &cs, target.offset))
		return CPU_RESTART;
	if (call && push_return(vp, args.op_bytes))
		return CPU_RESTART;
	return transfer_to(vp, &cs, target.offset, vp->cpl);
}

enum cpu_result helper_jmp_far(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return far_transfer(vp, args, value, false);
}

enum cpu_result helper_call_far(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return far_transfer(vp, args, value, true);
}

static enum cpu_result ret_far_real(struct dbt_vp *vp, struct cpu_args args)
{
	struct stack stack = stack_current(vp);
	uint64_t values[2];

	if (stack_pop(vp, &stack, values, 2, args.op_bytes))
		return CPU_RESTART;
	if (values[0] > vp->seg[VP_CS].limit)
		return raise_now_error(vp, VEC_GP, 0);
	stack.pointer += args.imm16;
	stack_commit(vp, &stack);
	return go_real(vp, values[1], values[0]);
}

enum cpu_result helper_ret_far(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	struct stack stack = stack_current(vp);
	struct vp_segment cs;
	uint64_t address[2], outer[2]; /* offset, selector */
	unsigned int cpl;

	if (!in_protected_mode(vp))
		return ret_far_real(vp, args);
	if (stack_pop(vp, &stack, address, 2, args.op_bytes) ||
	    return_code_segment(vp, address[1], address[0], &cs))
		return CPU_RESTART;
	stack.pointer = (stack.pointer + args.imm16) & stack.mask;
	cpl = address[1] & SELECTOR_RPL;
	if (cpl == vp->cpl) {
		stack_commit(vp, &stack);
		return transfer_to(vp, &cs, address[0], cpl);
	}
	if (stack_pop(vp, &stack, outer, 2, args.op_bytes))
		return CPU_RESTART;
	if (return_to_stack(vp, &cs, outer[1], outer[0] + args.imm16, cpl))
		return CPU_RESTART;
	segments_drop_privileged(vp, cpl);
	return transfer_to(vp, &cs, address[0], cpl);
}

/*
 * segments.c - instructions that move selectors between segment registers, memory and registers
 *
 * In 64-bit mode only FS, GS and the checks matter, and the mode word does not depend on what is
 * loaded; elsewhere a load may change MODE_FLAT and MODE_STACK32.
 */
#include "segmentation.h"

static enum cpu_result finish_load(struct dbt_vp *vp, enum vp_segment_index index)
{
	if (index == VP_SS)
		vp->irq_shadow = 1;
	if (!in_code64(vp))
		cpu_update_mode(vp);
	return finish(vp);
}

enum cpu_result helper_mov_to_seg(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	enum vp_segment_index index = args.reg & 7;
	uint16_t selector;

	if (unlikely(index == VP_CS || index > VP_GS))
		return raise_now(vp, VEC_UD);
	if (read_selector(vp, args, value, &selector) || segment_load(vp, index, selector))
		return CPU_RESTART;
	return finish_load(vp, index);
}

enum cpu_result helper_mov_from_seg(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	enum vp_segment_index index = args.reg & 7;

	if (unlikely(index > VP_GS))
		return raise_now(vp, VEC_UD);
	if (args.flags & CPU_ARG_MEM) {
		if (mmu_write(vp, value, &vp->seg[index].selector, 2, 0) < 0)
			return CPU_RESTART;
		return finish(vp);
	}
	write_gpr(vp, args.rm, args.op_bytes, vp->seg[index].selector);
	return CPU_DONE;
}

/* PUSH and POP have no 32-bit form in 64-bit mode. */
static uint32_t push_width(const struct dbt_vp *vp, struct cpu_args args)
{
	return in_code64(vp) && args.op_bytes != 2 ? 8 : args.op_bytes;
}

/* The slot's upper part becomes zero, as on AMD processors. */
enum cpu_result helper_push_seg(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	struct stack stack = stack_current(vp);
	uint64_t selector = vp->seg[args.reg & 7].selector;

	if (stack_push(vp, &stack, &selector, 1, push_width(vp, args)) < 0)
		return CPU_RESTART;
	stack_commit(vp, &stack);
	return finish(vp);
}

enum cpu_result helper_pop_seg(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	enum vp_segment_index index = args.reg & 7;
	struct stack stack = stack_current(vp);
	uint64_t selector;

	if (unlikely(index == VP_CS || index > VP_GS))
		return raise_now(vp, VEC_UD);
	if (stack_pop(vp, &stack, &selector, 1, push_width(vp, args)) ||
	    segment_load(vp, index, selector))
		return CPU_RESTART;
	stack_commit(vp, &stack);
	return finish_load(vp, index);
}

/* LES, LSS, LDS, LFS, LGS: offset first, selector after it. */
enum cpu_result helper_load_far_pointer(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	enum vp_segment_index index = args.imm16 & 7;
	uint64_t offset;
	uint8_t bytes[16] = {0};
	uint16_t selector;

	if (unlikely(!(args.flags & CPU_ARG_MEM) || index == VP_CS || index > VP_GS))
		return raise_now(vp, VEC_UD);
	if (mmu_read(vp, value, bytes, args.op_bytes + 2, 0))
		return CPU_RESTART;
	__builtin_memcpy(&offset, bytes, 8);
	selector = bytes[args.op_bytes] | bytes[args.op_bytes + 1] << 8;
	if (segment_load(vp, index, selector))
		return CPU_RESTART;
	write_gpr(vp, args.reg, args.op_bytes, offset);
	return finish_load(vp, index);
}

/*
 * stack.c - pushes and pops of far transfers, with the stack's size, limit and privilege
 *
 * A frame goes to memory in one access whenever it does not wrap around the end of a 16- or 32-bit
 * stack, so that it is written entirely or not at all. When that faults it is done again element
 * by element, from the top as a processor does it, so that CR2 is the one a processor would report.
 */
#include "segmentation.h"

#define FRAME_BYTES_MAX 64

struct stack stack_new(const struct vp_segment *ss, bool code64, uint64_t pointer, unsigned int cpl)
{
	struct stack stack = {.pointer = pointer, .mask = ~0ull};

	stack.access = cpl == 3 ? ACCESS_USER : ACCESS_SUPERVISOR;
	if (code64)
		return stack;
	stack.segment = ss;
	stack.mask = ss->access & VP_SEG_DB ? 0xffffffff : 0xffff;
	stack.pointer &= stack.mask;
	return stack;
}

struct stack stack_current(const struct dbt_vp *vp)
{
	struct stack stack = stack_new(&vp->seg[VP_SS], in_code64(vp), vp->gpr[VP_RSP], vp->cpl);

	stack.access = 0; /* as any access of the program, AC included */
	return stack;
}

void stack_commit(struct dbt_vp *vp, const struct stack *stack)
{
	if (stack->mask == 0xffff)
		vp->gpr[VP_RSP] = (vp->gpr[VP_RSP] & ~0xffffull) | (stack->pointer & 0xffff);
	else
		vp->gpr[VP_RSP] = stack->pointer & stack->mask;
}

static bool within_limit(const struct vp_segment *segment, uint64_t mask, uint64_t first,
			 uint32_t bytes)
{
	uint64_t last = first + bytes - 1;

	if (segment->access & VP_SEG_UNUSABLE)
		return false;
	if ((segment->access & (TYPE_CODE | TYPE_EXPAND_DOWN)) == TYPE_EXPAND_DOWN)
		return first > segment->limit && last <= mask;
	return last <= segment->limit;
}

/* *ret_linear: where @bytes at @offset are in linear memory. */
static int stack_address(struct dbt_vp *vp, const struct stack *stack, uint64_t offset,
			 uint32_t bytes, uint64_t *ret_linear)
{
	if (likely(!stack->segment)) {
		*ret_linear = offset;
		if (likely(is_canonical(offset) && is_canonical(offset + bytes - 1)))
			return 0;
		return fault(vp, VEC_SS, stack->error);
	}
	if (!within_limit(stack->segment, stack->mask, offset, bytes))
		return fault(vp, VEC_SS, stack->error);
	*ret_linear = (uint32_t)(stack->segment->base + offset);
	return 0;
}

static void put_value(uint8_t *at, uint64_t value, uint32_t width)
{
	if (width == 8)
		*(uint64_t *)at = value;
	else if (width == 4)
		*(uint32_t *)at = value;
	else
		*(uint16_t *)at = value;
}

static uint64_t get_value(const uint8_t *at, uint32_t width)
{
	return width == 8 ? *(uint64_t *)at : width == 4 ? *(uint32_t *)at : *(uint16_t *)at;
}

static bool wraps(const struct stack *stack, uint64_t first, uint32_t bytes)
{
	return stack->segment && first + bytes - 1 > stack->mask;
}

/* One element at a time; how the processor does it in principle. */
static int push_wrapping(struct dbt_vp *vp, struct stack *stack, const uint64_t *values,
			 unsigned int count, uint32_t width)
{
	int result = 0;

	for (unsigned int i = 0; i < count; i++) {
		uint64_t linear;
		int r;

		stack->pointer = (stack->pointer - width) & stack->mask;
		if (stack_address(vp, stack, stack->pointer, width, &linear))
			return -1;
		r = mmu_write(vp, linear, &values[i], width, stack->access);
		if (r < 0)
			return -1;
		result |= r;
	}
	return result;
}

int stack_push(struct dbt_vp *vp, struct stack *stack, const uint64_t *values, unsigned int count,
	       uint32_t width)
{
	uint8_t frame[FRAME_BYTES_MAX] __attribute__((aligned(8)));
	uint32_t bytes = count * width;
	uint64_t pointer = (stack->pointer - bytes) & stack->mask;
	uint64_t linear;
	int r;

	if (unlikely(bytes > sizeof(frame) || wraps(stack, pointer, bytes)))
		return push_wrapping(vp, stack, values, count, width);
	for (unsigned int i = 0; i < count; i++)
		put_value(frame + (count - 1 - i) * width, values[i], width);
	if (stack_address(vp, stack, pointer, bytes, &linear))
		return -1;
	r = mmu_write(vp, linear, frame, bytes, stack->access);
	if (unlikely(r < 0))
		return push_wrapping(vp, stack, values, count, width);
	stack->pointer = pointer;
	return r;
}

static int pop_wrapping(struct dbt_vp *vp, struct stack *stack, uint64_t *ret_values,
			unsigned int count, uint32_t width)
{
	for (unsigned int i = 0; i < count; i++) {
		uint64_t linear;

		ret_values[i] = 0;
		if (stack_address(vp, stack, stack->pointer, width, &linear) ||
		    mmu_read(vp, linear, &ret_values[i], width, stack->access))
			return -1;
		stack->pointer = (stack->pointer + width) & stack->mask;
	}
	return 0;
}

int stack_pop(struct dbt_vp *vp, struct stack *stack, uint64_t *ret_values, unsigned int count,
	      uint32_t width)
{
	uint8_t frame[FRAME_BYTES_MAX] __attribute__((aligned(8)));
	uint32_t bytes = count * width;
	uint64_t linear;

	if (unlikely(bytes > sizeof(frame) || wraps(stack, stack->pointer, bytes)))
		return pop_wrapping(vp, stack, ret_values, count, width);
	if (likely(width == 8)) { /* IRETQ */
		if (stack_address(vp, stack, stack->pointer, bytes, &linear))
			return -1;
		stack->pointer = (stack->pointer + bytes) & stack->mask;
		return mmu_read(vp, linear, ret_values, bytes, stack->access);
	}
	if (stack_address(vp, stack, stack->pointer, bytes, &linear) ||
	    mmu_read(vp, linear, frame, bytes, stack->access))
		return -1;
	for (unsigned int i = 0; i < count; i++)
		ret_values[i] = get_value(frame + i * width, width);
	stack->pointer = (stack->pointer + bytes) & stack->mask;
	return 0;
}

int tss_read_stack(struct dbt_vp *vp, unsigned int cpl, uint16_t *ret_ss, uint32_t *ret_esp)
{
	const struct vp_segment *tr = &vp->seg[VP_TR];
	bool wide = access_type(tr->access) & 8;
	uint32_t offset = wide ? 4 + 8 * cpl : 2 + 4 * cpl;
	uint8_t bytes[8] __attribute__((aligned(8)));
	uint32_t size = wide ? 6 : 4;

	if (offset + size - 1 > tr->limit)
		return fault_selector(vp, VEC_TS, tr->selector);
	if (mmu_read(vp, tr->base + offset, bytes, size, ACCESS_SUPERVISOR))
		return -1;
	*ret_esp = get_value(bytes, wide ? 4 : 2);
	*ret_ss = get_value(bytes + (wide ? 4 : 2), 2);
	return 0;
}

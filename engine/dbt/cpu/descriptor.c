/*
 * descriptor.c - segment descriptors: where they are, what they allow, how they get into a register
 *
 * SDM vol. 3, "Protected-Mode Memory Management" and "Protection". One 8-byte read per load; the
 * accessed bit is written only when it is clear, so tables may be in read-only memory.
 */
#include "segmentation.h"

void cpu_set_failed(struct dbt_vp *vp, const char *why)
{
	size_t i;

	vp->exit.reason = VP_EXIT_FAILED;
	vp->exit.failed.rip = vp->rip;
	for (i = 0; i < sizeof(vp->exit.failed.why) - 1 && why[i]; i++)
		vp->exit.failed.why[i] = why[i];
	vp->exit.failed.why[i] = 0;
	vp->exception.vector = VEC_NONE;
	vp->leave = LEAVE_EXIT;
}

bool descriptor_find(const struct dbt_vp *vp, uint16_t selector, uint32_t bytes,
		     uint64_t *ret_address)
{
	const struct vp_segment *ldt = &vp->seg[VP_LDTR];
	uint32_t offset = selector & ~7u;

	if (selector & SELECTOR_TI) {
		if ((ldt->access & VP_SEG_UNUSABLE) || (uint64_t)offset + bytes - 1 > ldt->limit)
			return false;
		*ret_address = ldt->base + offset;
		return true;
	}
	if (offset + bytes - 1 > vp->gdtr.limit)
		return false;
	*ret_address = vp->gdtr.base + offset;
	return true;
}

int descriptor_read(struct dbt_vp *vp, uint16_t selector, uint8_t vector,
		    struct descriptor *ret_descriptor)
{
	if (unlikely(!descriptor_find(vp, selector, 8, &ret_descriptor->address)))
		return fault_selector(vp, vector, selector);
	return mmu_read(vp, ret_descriptor->address, &ret_descriptor->raw, 8, ACCESS_SUPERVISOR);
}

int descriptor_mark(struct dbt_vp *vp, const struct descriptor *descriptor, uint8_t set)
{
	uint8_t type = descriptor->raw >> 40;

	if (likely((type & set) == set))
		return 0;
	type |= set;
	return mmu_write(vp, descriptor->address + 5, &type, 1, ACCESS_SUPERVISOR) < 0 ? -1 : 0;
}

void segment_fill(struct vp_segment *segment, uint16_t selector, uint64_t raw)
{
	segment->base = descriptor_base(raw);
	segment->limit = descriptor_limit(raw);
	segment->access = descriptor_access(raw);
	if (segment->access & VP_SEG_S)
		segment->access |= TYPE_ACCESSED;
	segment->selector = selector;
}

void segment_null(struct vp_segment *segment, uint16_t selector, unsigned int dpl)
{
	segment->base = 0;
	segment->limit = 0;
	segment->access = VP_SEG_UNUSABLE | dpl << VP_SEG_DPL_SHIFT;
	segment->selector = selector;
}

/* Real mode keeps limit and attributes, which is what makes "unreal mode" work. */
void segment_fill_real(const struct dbt_vp *vp, struct vp_segment *segment, uint16_t selector)
{
	segment->selector = selector;
	segment->base = (uint64_t)selector << 4;
	if (in_vm86(vp)) {
		segment->limit = 0xffff;
		segment->access = 0xf3;
	} else if (segment->access & VP_SEG_UNUSABLE) {
		segment->limit = 0xffff;
		segment->access = 0x93;
	}
}

int segment_read_stack(struct dbt_vp *vp, uint16_t selector, unsigned int cpl, uint8_t vector,
		       struct vp_segment *ret_segment)
{
	struct descriptor descriptor;
	uint32_t access;

	if (unlikely(descriptor_read(vp, selector, vector, &descriptor)))
		return -1;
	access = descriptor_access(descriptor.raw);
	if (unlikely((selector & SELECTOR_RPL) != cpl || access_dpl(access) != cpl ||
		     !access_is_writable_data(access)))
		return fault_selector(vp, vector, selector);
	if (unlikely(!(access & VP_SEG_P)))
		return fault_selector(vp, VEC_SS, selector);
	if (unlikely(descriptor_mark(vp, &descriptor, TYPE_ACCESSED)))
		return -1;
	segment_fill(ret_segment, selector, descriptor.raw);
	return 0;
}

static int load_stack_segment(struct dbt_vp *vp, uint16_t selector)
{
	struct vp_segment ss;

	if (selector_is_null(selector)) {
		if (!in_code64(vp) || vp->cpl == 3 || selector != vp->cpl)
			return fault(vp, VEC_GP, 0);
		segment_null(&vp->seg[VP_SS], selector, vp->cpl);
		return 0;
	}
	if (segment_read_stack(vp, selector, vp->cpl, VEC_GP, &ss))
		return -1;
	vp->seg[VP_SS] = ss;
	return 0;
}

static bool data_segment_allowed(const struct dbt_vp *vp, uint16_t selector, uint32_t access)
{
	unsigned int dpl = access_dpl(access);

	if (!(access & VP_SEG_S) || (access & (TYPE_CODE | TYPE_READABLE)) == TYPE_CODE)
		return false;
	if (access_is_code(access) && access_is_conforming(access))
		return true;
	return (selector & SELECTOR_RPL) <= dpl && vp->cpl <= dpl;
}

static int load_data_segment(struct dbt_vp *vp, enum vp_segment_index index, uint16_t selector)
{
	struct descriptor descriptor;
	uint32_t access;

	if (descriptor_read(vp, selector, VEC_GP, &descriptor))
		return -1;
	access = descriptor_access(descriptor.raw);
	if (!data_segment_allowed(vp, selector, access))
		return fault_selector(vp, VEC_GP, selector);
	if (!(access & VP_SEG_P))
		return fault_selector(vp, VEC_NP, selector);
	if (descriptor_mark(vp, &descriptor, TYPE_ACCESSED))
		return -1;
	segment_fill(&vp->seg[index], selector, descriptor.raw);
	return 0;
}

int segment_load(struct dbt_vp *vp, enum vp_segment_index index, uint16_t selector)
{
	if (unlikely(!in_protected_mode(vp))) {
		segment_fill_real(vp, &vp->seg[index], selector);
		return 0;
	}
	if (index == VP_SS)
		return load_stack_segment(vp, selector);
	if (selector_is_null(selector)) {
		segment_null(&vp->seg[index], selector, 0);
		return 0;
	}
	return load_data_segment(vp, index, selector);
}

void segments_drop_privileged(struct dbt_vp *vp, unsigned int cpl)
{
	static const uint8_t data_segments[] = {VP_ES, VP_DS, VP_FS, VP_GS};

	for (unsigned int i = 0; i < ARRAY_SIZE(data_segments); i++) {
		struct vp_segment *segment = &vp->seg[data_segments[i]];

		if (segment->access & VP_SEG_UNUSABLE)
			continue;
		if (access_is_code(segment->access) && access_is_conforming(segment->access))
			continue;
		if (access_dpl(segment->access) < cpl)
			segment_null(segment, 0, 0);
	}
}

int code_segment_finish(struct dbt_vp *vp, const struct descriptor *descriptor, uint16_t selector,
			struct vp_segment *ret_cs)
{
	uint32_t access = descriptor_access(descriptor->raw);

	if (unlikely(!(access & VP_SEG_P)))
		return fault_selector(vp, VEC_NP, selector);
	if (unlikely(in_long_mode(vp) && (access & VP_SEG_L) && (access & VP_SEG_DB)))
		return fault_selector(vp, VEC_GP, selector);
	if (unlikely(descriptor_mark(vp, descriptor, TYPE_ACCESSED)))
		return -1;
	segment_fill(ret_cs, selector, descriptor->raw);
	return 0;
}

int code_check_target(struct dbt_vp *vp, const struct vp_segment *cs, uint64_t rip)
{
	if (segment_is_code64(vp, cs) ? !is_canonical(rip) : rip > cs->limit)
		return fault(vp, VEC_GP, 0);
	return 0;
}

/*
 * mode.c - the mode word: what of the processor's state changes how code is translated
 *
 * cpu_update_mode() runs at every system call, interrupt and return, so it tests the common case,
 * 64-bit code, first and looks at segments only in the others.
 */
#include "debug.h"
#include "segmentation.h"

static bool segment_is_flat(const struct vp_segment *segment, uint32_t wanted)
{
	uint32_t looked_at =
		wanted | VP_SEG_UNUSABLE | TYPE_CODE | (wanted & TYPE_CODE ? 0 : TYPE_EXPAND_DOWN);

	return !segment->base && segment->limit == 0xffffffff &&
	       (segment->access & looked_at) == wanted;
}

/*
 * Data segments must be writable and code readable: flat code skips the checks of both. Data
 * segments that are code, read-only or expand-down take the checked path.
 */
static bool segments_are_flat(const struct dbt_vp *vp)
{
	const uint32_t data = VP_SEG_P | VP_SEG_S | TYPE_WRITABLE;

	return segment_is_flat(&vp->seg[VP_CS], VP_SEG_P | VP_SEG_S | TYPE_CODE | TYPE_READABLE) &&
	       segment_is_flat(&vp->seg[VP_SS], data) && segment_is_flat(&vp->seg[VP_DS], data) &&
	       segment_is_flat(&vp->seg[VP_ES], data);
}

/* Code size, stack size and protection. */
static uint32_t mode_of_segments(const struct dbt_vp *vp)
{
	uint32_t code = vp->seg[VP_CS].access;
	uint32_t mode = 0;

	if (in_long_mode(vp)) {
		if (likely(code & VP_SEG_L))
			return MODE_LONG | MODE_PROTECTED | MODE_CODE64;
		mode = MODE_LONG;
	}
	if (code & VP_SEG_DB)
		mode |= MODE_CODE32;
	if (vp->seg[VP_SS].access & VP_SEG_DB)
		mode |= MODE_STACK32;
	if (in_protected_mode(vp))
		mode |= MODE_PROTECTED;
	else if (in_vm86(vp))
		mode |= MODE_VM86;
	if (segments_are_flat(vp))
		mode |= MODE_FLAT;
	return mode;
}

/* Which of the x87, SSE and AVX units may be used. */
static uint32_t mode_of_units(const struct dbt_vp *vp)
{
	uint32_t mode = 0;

	if (unlikely(vp->cr0 & (CR0_TS | CR0_EM)))
		mode |= MODE_NO_X87 | MODE_NO_SSE;
	if (unlikely(!(vp->cr4 & CR4_OSFXSR)))
		mode |= MODE_NO_SSE;
	if (unlikely(!(vp->cr4 & CR4_OSXSAVE) ||
		     (vp->xcr0 & (XCR0_SSE | XCR0_AVX)) != (XCR0_SSE | XCR0_AVX)))
		mode |= MODE_NO_AVX;
	return mode;
}

static uint32_t mode_of_privilege(const struct dbt_vp *vp)
{
	uint32_t mode = (uint32_t)vp->cpl << MODE_CPL_SHIFT;

	if (vp->cpl == 3)
		mode |= MODE_USER;
	if (vp->cr4 & CR4_SMAP) {
		mode |= MODE_SMAP;
		if (vp->cpl != 3 && vp->flag_ac)
			mode |= MODE_SMAP_AC;
	}
	return mode;
}

uint32_t cpu_mode_with_ac(uint32_t mode, bool ac)
{
	if (ac && (mode & MODE_SMAP) && !(mode & MODE_USER))
		return mode | MODE_SMAP_AC;
	return mode & ~MODE_SMAP_AC;
}

uint32_t cpu_tlb_index(uint32_t mode)
{
	return mode & MODE_USER ? TLB_USER : mode & MODE_SMAP_AC ? TLB_KERNEL_AC : TLB_KERNEL;
}

void cpu_update_mode(struct dbt_vp *vp)
{
	uint32_t mode = mode_of_segments(vp) | mode_of_units(vp) | mode_of_privilege(vp);

	if (unlikely(vp->eflags_rest & FLAG_TF))
		mode |= MODE_STEP;
	if (unlikely(vp->dr7 & DR7_ENABLES))
		mode |= MODE_WATCH;
	vp->mode = mode;
	vp->mode_slot = code_cache_mode_slot(vp, mode);
	vp->tlb_index = cpu_tlb_index(mode);
}

/*
 * segment_access.h - from segment and offset to a linear address, with the checks of each mode
 *
 * 64-bit code: only FS and GS have a base, nothing has a limit; canonical addresses are the MMU's
 * business. Everything else: base and limit, and in protected mode the descriptor's type
 * (SDM vol. 3, "Limit Checking" and "Type Checking"). Light code.
 */
#ifndef DBT_SEGMENT_ACCESS_H
#define DBT_SEGMENT_ACCESS_H

#include "cpu.h"
#include "mmu.h"

#define SEGMENT_TYPE_CODE	 0x8u
#define SEGMENT_TYPE_EXPAND_DOWN 0x4u /* data */
#define SEGMENT_TYPE_WRITABLE	 0x2u /* data */
#define SEGMENT_TYPE_READABLE	 0x2u /* code */

static inline uint64_t address_mask(uint8_t address_bytes)
{
	return address_bytes == 8 ? ~0ull : address_bytes == 4 ? 0xffffffffu : 0xffffu;
}

/* The base that 64-bit code sees. */
static inline uint64_t segment_base64(const struct dbt_vp *vp, unsigned int seg)
{
	return seg == VP_FS || seg == VP_GS ? vp->seg[seg].base : 0;
}

static inline uint64_t segment_address(const struct dbt_vp *vp, unsigned int seg, uint64_t offset)
{
	if (vp->mode & MODE_CODE64)
		return segment_base64(vp, seg) + offset;
	return (uint32_t)(vp->seg[seg].base + offset);
}

/* Protected mode: may this descriptor be used for @access at all? */
static inline bool segment_type_allows(const struct vp_segment *segment, uint32_t access)
{
	bool code = segment->access & SEGMENT_TYPE_CODE;

	if (segment->access & VP_SEG_UNUSABLE)
		return false;
	if (access & ACCESS_WRITE)
		return !code && (segment->access & SEGMENT_TYPE_WRITABLE);
	return !code || (segment->access & SEGMENT_TYPE_READABLE);
}

static inline bool segment_limit_allows(const struct vp_segment *segment, uint64_t offset,
					uint32_t bytes)
{
	uint64_t last = offset + bytes - 1;
	bool data = !(segment->access & SEGMENT_TYPE_CODE);

	if (data && (segment->access & SEGMENT_TYPE_EXPAND_DOWN))
		return offset > segment->limit &&
		       last <= (segment->access & VP_SEG_DB ? 0xffffffffu : 0xffffu);
	return last <= segment->limit;
}

/* segment_allows() - may [offset, offset + bytes) of @seg be accessed? Raises nothing. */
static inline bool segment_allows(const struct dbt_vp *vp, unsigned int seg, uint64_t offset,
				  uint32_t bytes, uint32_t access)
{
	const struct vp_segment *segment = &vp->seg[seg];

	if (vp->mode & MODE_CODE64)
		return true;
	if ((vp->mode & MODE_PROTECTED) && !segment_type_allows(segment, access))
		return false;
	return segment_limit_allows(segment, offset, bytes);
}

/*
 * segment_linear() - linear address of [offset, offset + bytes) in @seg
 * @offset: already cut to the address size; @access: ACCESS_READ and/or ACCESS_WRITE
 * Returns: 0; -1: #GP(0), or #SS(0) for SS, is raised.
 */
static inline int segment_linear(struct dbt_vp *vp, unsigned int seg, uint64_t offset,
				 uint32_t bytes, uint32_t access, uint64_t *ret_linear)
{
	if (!segment_allows(vp, seg, offset, bytes, access)) {
		vp_raise_error(vp, seg == VP_SS ? VEC_SS : VEC_GP, 0);
		return -1;
	}
	*ret_linear = segment_address(vp, seg, offset);
	return 0;
}

#endif

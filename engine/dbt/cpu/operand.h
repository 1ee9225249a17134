/*
 * operand.h - what most instruction helpers start with: registers, privilege, memory, the stack
 *
 * Light code.
 */
#ifndef DBT_OPERAND_H
#define DBT_OPERAND_H

#include "segment_access.h"

static inline enum cpu_result cpu_fault(struct dbt_vp *vp, uint8_t vector)
{
	vp_raise(vp, vector);
	return CPU_RESTART;
}
static inline enum cpu_result cpu_fault_gp(struct dbt_vp *vp)
{
	vp_raise_error(vp, VEC_GP, 0);
	return CPU_RESTART;
}

static inline bool is_code64(const struct dbt_vp *vp)
{
	return vp->mode & MODE_CODE64;
}
static inline bool is_canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* Registers: 32-bit writes clear the upper half, narrower ones keep the rest. */
static inline uint64_t reg_get(const struct dbt_vp *vp, unsigned int reg, unsigned int bytes)
{
	return bytes == 8 ? vp->gpr[reg] : vp->gpr[reg] & ((1ull << (8 * bytes)) - 1);
}
static inline void reg_set(struct dbt_vp *vp, unsigned int reg, unsigned int bytes, uint64_t value)
{
	switch (bytes) {
	case 8:
		vp->gpr[reg] = value;
		break;
	case 4:
		vp->gpr[reg] = (uint32_t)value;
		break;
	case 2:
		vp->gpr[reg] = (vp->gpr[reg] & ~0xffffull) | (uint16_t)value;
		break;
	default:
		vp->gpr[reg] = (vp->gpr[reg] & ~0xffull) | (uint8_t)value;
	}
}

/* The instruction is complete, and vp->leave is set. */
static inline enum cpu_result cpu_done_leave(struct dbt_vp *vp)
{
	vp->rip = vp->next_rip;
	return CPU_DONE_LEAVE;
}
/* What a helper returns after an mmu_write() of its last datum returned @r. */
static inline enum cpu_result write_result(struct dbt_vp *vp, int r)
{
	return r < 0 ? CPU_RESTART : r > 0 ? cpu_done_leave(vp) : CPU_DONE;
}

/* --- the stack --- */

static inline unsigned int stack_bytes(const struct dbt_vp *vp)
{
	return is_code64(vp) ? 8 : vp->mode & MODE_STACK32 ? 4 : 2;
}

/* A non-canonical address is #SS there. Returns @r. */
static inline int stack_fault(struct dbt_vp *vp, int r)
{
	if (unlikely(r < 0) && vp->exception.vector == VEC_GP)
		vp->exception.vector = VEC_SS;
	return r;
}

/* Read or write @bytes at @sp (cut to the stack's size); as mmu_read() and mmu_write() return. */
static inline int stack_read(struct dbt_vp *vp, uint64_t sp, void *buffer, uint32_t bytes)
{
	uint64_t linear;

	sp &= address_mask(stack_bytes(vp));
	if (segment_linear(vp, VP_SS, sp, bytes, ACCESS_READ, &linear) < 0)
		return -1;
	return stack_fault(vp, mmu_read(vp, linear, buffer, bytes, ACCESS_READ));
}
static inline int stack_write(struct dbt_vp *vp, uint64_t sp, const void *buffer, uint32_t bytes)
{
	uint64_t linear;

	sp &= address_mask(stack_bytes(vp));
	if (segment_linear(vp, VP_SS, sp, bytes, ACCESS_WRITE, &linear) < 0)
		return -1;
	return stack_fault(vp, mmu_write(vp, linear, buffer, bytes, ACCESS_WRITE));
}

#endif

/*
 * dispatch.h - what happens between two blocks
 *
 * Light code on the VP thread, called by the thunks with everything saved in the vp.
 */
#ifndef DBT_DISPATCH_H
#define DBT_DISPATCH_H

#include "cpu.h"

/*
 * dbt_dispatch() - deliver what is pending, then find the block for vp->rip
 * Returns its host code, or NULL: back to the run loop, which looks at vp->leave.
 */
const uint8_t *dbt_dispatch(struct dbt_vp *vp);

/* dbt_abort() - the instruction that called a slow path from @host was abandoned: restore rip. */
void dbt_abort(struct dbt_vp *vp, const uint8_t *host);

/* dbt_after_helper() - account for what a helper returned, before dispatching. */
void dbt_after_helper(struct dbt_vp *vp, enum cpu_result result);

/*
 * Slow paths; on failure vp->aborted is set. @what: bytes | access << 16; with MEMORY_ALIGNED
 * a misaligned address is #GP (checked here because that comes before any #PF; on a hit the host
 * CPU finds it).
 */
#define MEMORY_ALIGNED BIT(31)
#define MEMORY_STACK BIT(30) /* through SS: a non-canonical address is #SS, not #GP */
uint64_t dbt_memory(struct dbt_vp *vp, uint64_t va, uint32_t what);
/* @what: seg | bytes << 8 | access << 24; returns the linear address. */
uint64_t dbt_segment(struct dbt_vp *vp, uint64_t offset, uint32_t what);

/* Helpers of the translator itself, called like those of cpu.h. */
enum runtime_helper_id {
	RUNTIME_RAISE,     /* exception imm16, with error code 0 for those that have one */
	RUNTIME_NO_FPU,    /* x87, MMX, SSE or AVX instruction (imm16: enum op_unit) that may not run */
	RUNTIME_CLI_STI,   /* imm16: the new IF; for CPL > 0 or legacy modes, where IOPL decides */
	RUNTIME_STI_SHADOW, /* after STI with an interrupt waiting */
	RUNTIME_COUNT
};
extern const struct cpu_helper_row runtime_helpers[RUNTIME_COUNT];

/* Must the next instruction be a block of its own? */
static inline bool dbt_must_step(const struct dbt_vp *vp)
{
	return vp->irq_shadow || vp->step_once || (vp->eflags_rest & FLAG_TF) || (vp->mode & MODE_WATCH);
}

#endif

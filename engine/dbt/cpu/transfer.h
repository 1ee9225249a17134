/*
 * transfer.h - what far returns and IRET share (iret.c)
 *
 * Light code; same rules as segmentation.h.
 */
#ifndef DBT_TRANSFER_H
#define DBT_TRANSFER_H

#include "segmentation.h"

/* The last step of a far transfer: CS, CPL (also CS's RPL), where to go on, the mode. */
static inline enum cpu_result transfer_to(struct dbt_vp *vp, const struct vp_segment *cs,
					  uint64_t rip, unsigned int cpl)
{
	vp->seg[VP_CS] = *cs;
	vp->seg[VP_CS].selector = (cs->selector & ~SELECTOR_RPL) | cpl;
	vp->cpl = cpl;
	vp->next_rip = rip;
	cpu_update_mode(vp);
	return finish(vp);
}

/* Checks CS:RIP popped by a return; the selector's RPL is the privilege returned to. */
int return_code_segment(struct dbt_vp *vp, uint16_t selector, uint64_t rip,
			struct vp_segment *ret_cs);
/* Checks and loads SS:RSP popped by a return into @cs at @cpl: the last step that can fault. */
int return_to_stack(struct dbt_vp *vp, const struct vp_segment *cs, uint16_t selector,
		    uint64_t pointer, unsigned int cpl);

#endif

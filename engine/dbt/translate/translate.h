/*
 * translate.h - from guest instructions to a block of host code
 */
#ifndef DBT_TRANSLATE_H
#define DBT_TRANSLATE_H

#include "code_cache.h"

/*
 * translate() - translate and publish the block at vp->rip, for vp->mode and a possible step
 * @step: a block of one instruction (MODE_STEP)
 * Context: heavy, part->lock held.
 * Returns: 0; -EAGAIN: vp->exception is raised or vp->leave set, by the instruction fetch;
 *          -ENOSPC: the code cache is full, flush it and try again.
 */
int translate(struct dbt_vp *vp, bool step);

#endif

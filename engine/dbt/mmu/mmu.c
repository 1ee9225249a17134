/* mmu.c - life of a VP's MMU. Not light. */
#include "mmu_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

int mmu_vp_create(struct dbt_vp *vp)
{
	vp->mmu = aligned_alloc(64, ALIGN_UP(sizeof(*vp->mmu), 64ul));
	if (!vp->mmu)
		return -ENOMEM;
	memset(vp->mmu, 0, sizeof(*vp->mmu));
	tlb_init(vp);
	return 0;
}

void mmu_vp_destroy(struct dbt_vp *vp)
{
	free(vp->mmu);
	vp->mmu = NULL;
}

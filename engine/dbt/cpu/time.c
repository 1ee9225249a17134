/*
 * time.c - RDTSC, RDTSCP, RDPID
 *
 * The guest's counter is the host's plus an offset; nothing is scaled. Light code.
 */
#include "control_bits.h"
#include "operand.h"

static void put_tsc(struct dbt_vp *vp)
{
	uint64_t tsc = host_rdtsc() + vp->tsc_offset;

	vp->gpr[VP_RAX] = (uint32_t)tsc;
	vp->gpr[VP_RDX] = tsc >> 32;
}

enum cpu_result helper_rdtsc(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	if (vp->cpl && (vp->cr4 & CR4_TSD))
		return cpu_fault_gp(vp);
	put_tsc(vp);
	return CPU_DONE;
}

/* Waits for earlier loads, as LFENCE does. */
enum cpu_result helper_rdtscp(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	if (vp->cpl && (vp->cr4 & CR4_TSD))
		return cpu_fault_gp(vp);
	__asm__ volatile("lfence" : : : "memory");
	put_tsc(vp);
	vp->gpr[VP_RCX] = (uint32_t)vp->tsc_aux;
	return CPU_DONE;
}

enum cpu_result helper_rdpid(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	vp->gpr[args.rm] = (uint32_t)vp->tsc_aux;
	return CPU_DONE;
}

/* No counters: the processor that CPUID shows has no performance monitoring. */
enum cpu_result helper_rdpmc(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return cpu_fault_gp(vp);
}

/*
 * syscall.c - SYSCALL, SYSRET, SYSENTER, SYSEXIT
 *
 * The hottest of all helpers: no memory is touched, segments become constants.
 *
 * Who may use what follows the vendor that the guest's CPUID shows: SYSCALL outside 64-bit mode is
 * AMD's, SYSENTER in long mode is Intel's. SYSRET fills SS entirely, as Intel does; AMD leaves SS's
 * attributes alone, which no system relies on.
 *
 * A step trap after SYSCALL depends on TF after it: with TF in SFMASK the handler is not stepped.
 */
#include "cpuid_lookup.h"
#include "segmentation.h"

/* Bits that SYSRET takes from R11: all but RF, VM and reserved ones (SDM, "SYSRET"). */
#define SYSRET_FLAGS 0x3c7fd7u

static void set_flat(struct vp_segment *segment, uint16_t selector, uint32_t access,
		     unsigned int cpl)
{
	segment->base = 0;
	segment->limit = 0xffffffff;
	segment->access = access | cpl << VP_SEG_DPL_SHIFT;
	segment->selector = selector;
}

/* CS and SS of one of these instructions, and everything that follows from them. */
static void enter_flat(struct dbt_vp *vp, unsigned int cpl, uint16_t cs, uint32_t cs_access,
		       uint16_t ss)
{
	set_flat(&vp->seg[VP_CS], cs, cs_access, cpl);
	set_flat(&vp->seg[VP_SS], ss, ACCESS_DATA32, cpl);
	vp->cpl = cpl;
	cpu_update_mode(vp);
}

enum cpu_result helper_syscall(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector = vp->star >> 32 & 0xfffc;
	uint32_t flags = vp_rflags(vp) & ~FLAG_RF;

	if (unlikely(!(vp->efer & EFER_SCE) || (!in_code64(vp) && !cpuid_is_amd(vp_partition(vp)))))
		return raise_now(vp, VEC_UD);
	vp->gpr[VP_RCX] = vp->next_rip;
	if (likely(in_long_mode(vp))) {
		vp->gpr[VP_R11] = flags;
		vp->next_rip = in_code64(vp) ? vp->lstar : vp->cstar;
		vp_set_rflags(vp, flags & ~vp->sfmask);
		if (!(vp->eflags_rest & FLAG_TF))
			vp->step_trap = 0;
		enter_flat(vp, 0, selector, ACCESS_CODE64, selector + 8);
	} else {
		vp->next_rip = (uint32_t)vp->star;
		vp_set_rflags(vp, flags & ~(FLAG_IF | FLAG_VM));
		enter_flat(vp, 0, selector, ACCESS_CODE32, selector + 8);
	}
	return CPU_DONE;
}

enum cpu_result helper_sysret(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector = vp->star >> 48;
	uint64_t rip = args.op_bytes == 8 ? vp->gpr[VP_RCX] : (uint32_t)vp->gpr[VP_RCX];

	if (unlikely(!(vp->efer & EFER_SCE) || (!in_code64(vp) && !cpuid_is_amd(vp_partition(vp)))))
		return raise_now(vp, VEC_UD);
	if (unlikely(!in_protected_mode(vp) || vp->cpl || !is_canonical(rip)))
		return raise_now_error(vp, VEC_GP, 0);
	if (likely(in_long_mode(vp)))
		vp_set_rflags(vp, vp->gpr[VP_R11] & SYSRET_FLAGS);
	else
		vp->flag_if = 1;
	vp->next_rip = rip;
	if (likely(args.op_bytes == 8 && in_long_mode(vp)))
		enter_flat(vp, 3, (selector + 16) | 3, ACCESS_CODE64, (selector + 8) | 3);
	else
		enter_flat(vp, 3, selector | 3, ACCESS_CODE32, (selector + 8) | 3);
	return CPU_DONE;
}

enum cpu_result helper_sysenter(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector = vp->sysenter_cs & 0xfffc;
	bool wide = in_long_mode(vp);

	if (wide && cpuid_is_amd(vp_partition(vp)))
		return raise_now(vp, VEC_UD);
	if (!(vp->cr0 & CR0_PE) || !selector)
		return raise_now_error(vp, VEC_GP, 0);
	vp_set_rflags(vp, vp_rflags(vp) & ~(FLAG_VM | FLAG_IF | FLAG_RF));
	vp->gpr[VP_RSP] = wide ? vp->sysenter_esp : (uint32_t)vp->sysenter_esp;
	vp->next_rip = wide ? vp->sysenter_eip : (uint32_t)vp->sysenter_eip;
	enter_flat(vp, 0, selector, wide ? ACCESS_CODE64 : ACCESS_CODE32, selector + 8);
	return CPU_DONE;
}

enum cpu_result helper_sysexit(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector = vp->sysenter_cs & 0xfffc;
	bool wide = args.op_bytes == 8;
	uint64_t rip = wide ? vp->gpr[VP_RDX] : (uint32_t)vp->gpr[VP_RDX];
	uint64_t rsp = wide ? vp->gpr[VP_RCX] : (uint32_t)vp->gpr[VP_RCX];

	if (in_long_mode(vp) && cpuid_is_amd(vp_partition(vp)))
		return raise_now(vp, VEC_UD);
	if (!in_protected_mode(vp) || vp->cpl || !selector || !is_canonical(rip) ||
	    !is_canonical(rsp))
		return raise_now_error(vp, VEC_GP, 0);
	vp->gpr[VP_RSP] = rsp;
	vp->next_rip = rip;
	if (wide)
		enter_flat(vp, 3, (selector + 32) | 3, ACCESS_CODE64, (selector + 40) | 3);
	else
		enter_flat(vp, 3, (selector + 16) | 3, ACCESS_CODE32, (selector + 24) | 3);
	return CPU_DONE;
}

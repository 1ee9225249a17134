/*
 * state.c - a VP's whole state out of and into struct vp_state
 *
 * Not light; runs on the VP thread between exits, when the vector state is in vp->xsave.
 *
 * A state to be set may come from a file: everything is checked before the first change, so that
 * nothing in it can later make the host's XRSTOR fault or the translator meet a mode that cannot be.
 */
#include <errno.h>
#include <string.h>

#include "apic.h"
#include "segmentation.h"
#include "x87.h"

#define CR4_DEFINED                                                                                \
	(CR4_VME | CR4_PVI | CR4_TSD | CR4_DE | CR4_PSE | CR4_PAE | CR4_MCE | CR4_PGE | CR4_PCE |  \
	 CR4_OSFXSR | CR4_OSXMMEXCPT | CR4_UMIP | CR4_FSGSBASE | CR4_PCIDE | CR4_OSXSAVE |         \
	 CR4_SMEP | CR4_SMAP)
#define EFER_DEFINED (EFER_SCE | EFER_LME | EFER_LMA | EFER_NXE | EFER_AIBRSE)
#define RFLAGS_RESERVED (~0x3f7fd7ull)
#define SEG_ACCESS_KNOWN (0xf0ffu | VP_SEG_UNUSABLE)
#define XCR0_AVX512 0xe0ull
#define MXCSR_KNOWN 0xffffu

/* --- out --- */

static void get_control(const struct dbt_vp *vp, struct vp_state *state)
{
	state->gdtr = vp->gdtr;
	state->idtr = vp->idtr;
	state->cr0 = vp->cr0;
	state->cr2 = vp->cr2;
	state->cr3 = vp->cr3;
	state->cr4 = vp->cr4;
	state->efer = vp->efer;
	state->xcr0 = vp->xcr0;
	memcpy(state->dr, vp->dr, sizeof(state->dr));
	state->dr6 = vp->dr6;
	state->dr7 = vp->dr7;
}

static void get_msrs(struct dbt_vp *vp, struct vp_state *state)
{
	state->star = vp->star;
	state->lstar = vp->lstar;
	state->cstar = vp->cstar;
	state->sfmask = vp->sfmask;
	state->kernel_gs_base = vp->kernel_gs_base;
	state->sysenter_cs = vp->sysenter_cs;
	state->sysenter_esp = vp->sysenter_esp;
	state->sysenter_eip = vp->sysenter_eip;
	state->pat = vp->pat;
	state->tsc = partition_tsc(vp_partition(vp)) + vp->tsc_offset;
	state->tsc_aux = vp->tsc_aux;
	state->tsc_adjust = vp->tsc_adjust;
	state->misc_enable = vp->misc_enable;
	state->mtrr_def_type = vp->mtrr_def_type;
	memcpy(state->mtrr_fixed, vp->mtrr_fixed, sizeof(state->mtrr_fixed));
	memcpy(state->mtrr_base, vp->mtrr_base, sizeof(state->mtrr_base));
	memcpy(state->mtrr_mask, vp->mtrr_mask, sizeof(state->mtrr_mask));
}

/* A pending #PF's address is CR2 already, for whoever looks. */
static void get_events(struct dbt_vp *vp, struct vp_state *state)
{
	state->activity = vp->activity;
	state->sti_shadow = vp->irq_shadow;
	state->nmi_masked = vp->nmi_masked;
	state->nmi_pending = (atomic_load(&vp->requests) & REQ_NMI) != 0;
	state->sipi_vector = atomic_load(&vp->sipi_vector);
	if (vp->exception.vector == VEC_NONE)
		return;
	state->exception_pending = 1;
	state->exception_vector = vp->exception.vector;
	state->exception_has_error = vp->exception.has_error;
	state->exception_error = vp->exception.error;
	if (vp->exception.vector == VEC_PF)
		state->cr2 = vp->exception.cr2;
}

void cpu_get_state(struct dbt_vp *vp, struct vp_state *ret_state)
{
	memset(ret_state, 0, sizeof(*ret_state));
	memcpy(ret_state->regs.gpr, vp->gpr, sizeof(vp->gpr));
	ret_state->regs.rip = vp->rip;
	ret_state->regs.rflags = vp_rflags(vp);
	memcpy(ret_state->segment, vp->seg, sizeof(vp->seg));
	get_control(vp, ret_state);
	get_msrs(vp, ret_state);
	get_events(vp, ret_state);
	memcpy(ret_state->xsave, vp->xsave, sizeof(vp->xsave));
	x87_show(vp, ret_state->xsave, true);
	apic_get_state(vp, ret_state);
}

/* --- checks --- */

static bool control_ok(struct dbt_vp *vp, const struct vp_state *state)
{
	bool paging = state->cr0 & CR0_PG, lme = state->efer & EFER_LME, lma = state->efer & EFER_LMA;

	if ((state->cr0 & ~CR0_DEFINED) || (paging && !(state->cr0 & CR0_PE)))
		return false;
	if ((state->cr0 & CR0_NW) && !(state->cr0 & CR0_CD))
		return false;
	if ((state->cr4 & ~CR4_DEFINED) || (state->efer & ~EFER_DEFINED) || lma != (lme && paging))
		return false;
	if ((lma && !(state->cr4 & CR4_PAE)) || ((state->cr4 & CR4_PCIDE) && !lma))
		return false;
	if (state->cr3 >> vp_partition(vp)->physical_bits || state->cr8 > 15)
		return false;
	return !(state->dr6 >> 32) && !(state->dr7 >> 32);
}

static bool xcr0_ok(uint64_t xcr0)
{
	const uint64_t vector = XCR0_SSE | XCR0_AVX;

	if (!(xcr0 & XCR0_X87) || (xcr0 & ~cpu_xcr0_supported()) || (xcr0 & vector) == XCR0_AVX)
		return false;
	return !(xcr0 & XCR0_AVX512) || (xcr0 & (vector | XCR0_AVX512)) == (vector | XCR0_AVX512);
}

/* XRSTOR of a standard area faults on any of these. */
static bool xsave_ok(const uint8_t *xsave)
{
	const uint64_t *header = (const uint64_t *)(xsave + 512);

	if (*(const uint32_t *)(xsave + 24) & ~MXCSR_KNOWN)
		return false;
	for (unsigned int i = 1; i < 8; i++)
		if (header[i])
			return false;
	return !(header[0] & ~cpu_xcr0_supported());
}

static bool segments_ok(const struct vp_state *state)
{
	uint32_t cs = state->segment[VP_CS].access;

	for (unsigned int i = 0; i < VP_SEGMENT_COUNT; i++)
		if ((state->segment[i].access & ~SEG_ACCESS_KNOWN) || !is_canonical(state->segment[i].base))
			return false;
	if (state->regs.rflags & RFLAGS_RESERVED)
		return false;
	if (!(state->efer & EFER_LMA))
		return !(state->regs.rip >> 32);
	if ((state->regs.rflags & FLAG_VM) || (cs & (VP_SEG_L | VP_SEG_DB)) == (VP_SEG_L | VP_SEG_DB))
		return false;
	return cs & VP_SEG_L || !(state->regs.rip >> 32);
}

static bool addresses_ok(const struct vp_state *state)
{
	const uint64_t addresses[] = { state->lstar, state->cstar, state->kernel_gs_base, state->sysenter_esp,
				       state->sysenter_eip, state->gdtr.base, state->idtr.base };

	for (unsigned int i = 0; i < ARRAY_SIZE(addresses); i++)
		if (!is_canonical(addresses[i]))
			return false;
	return true;
}

static bool pat_ok(uint64_t pat)
{
	for (unsigned int i = 0; i < 8; i++) {
		uint8_t type = pat >> (8 * i);

		if (type > 7 || type == 2 || type == 3)
			return false;
	}
	return true;
}

static bool events_ok(const struct vp_state *state)
{
	return (unsigned int)state->activity <= VP_WAIT_FOR_SIPI &&
	       (!state->exception_pending || (state->exception_vector < 32 && state->exception_vector != VEC_NMI));
}

static bool state_ok(struct dbt_vp *vp, const struct vp_state *state)
{
	return control_ok(vp, state) && xcr0_ok(state->xcr0) && xsave_ok(state->xsave) && segments_ok(state) &&
	       addresses_ok(state) && pat_ok(state->pat) && events_ok(state);
}

/* --- in --- */

static void set_control(struct dbt_vp *vp, const struct vp_state *state)
{
	vp->gdtr = state->gdtr;
	vp->idtr = state->idtr;
	vp->cr0 = state->cr0;
	vp->cr2 = state->cr2;
	vp->cr3 = state->cr3;
	vp->cr4 = state->cr4;
	vp->efer = state->efer;
	vp->xcr0 = state->xcr0;
	memcpy(vp->dr, state->dr, sizeof(vp->dr));
	vp->dr6 = state->dr6;
	vp->dr7 = state->dr7;
}

static void set_msrs(struct dbt_vp *vp, const struct vp_state *state)
{
	vp->star = state->star;
	vp->lstar = state->lstar;
	vp->cstar = state->cstar;
	vp->sfmask = state->sfmask;
	vp->kernel_gs_base = state->kernel_gs_base;
	vp->sysenter_cs = state->sysenter_cs;
	vp->sysenter_esp = state->sysenter_esp;
	vp->sysenter_eip = state->sysenter_eip;
	vp->pat = state->pat;
	vp->tsc_aux = state->tsc_aux;
	vp->tsc_adjust = state->tsc_adjust;
	vp->misc_enable = state->misc_enable;
	vp->mtrr_def_type = state->mtrr_def_type;
	memcpy(vp->mtrr_fixed, state->mtrr_fixed, sizeof(vp->mtrr_fixed));
	memcpy(vp->mtrr_base, state->mtrr_base, sizeof(vp->mtrr_base));
	memcpy(vp->mtrr_mask, state->mtrr_mask, sizeof(vp->mtrr_mask));
}

static void set_exception(struct dbt_vp *vp, const struct vp_state *state)
{
	vp->exception.vector = VEC_NONE;
	if (!state->exception_pending)
		return;
	vp_raise(vp, state->exception_vector);
	vp->exception.has_error = state->exception_has_error != 0;
	vp->exception.error = state->exception_error;
	vp->exception.cr2 = state->cr2;
}

static void set_events(struct dbt_vp *vp, const struct vp_state *state)
{
	vp->activity = state->activity;
	vp->irq_shadow = state->sti_shadow || state->movss_shadow;
	vp->nmi_masked = state->nmi_masked != 0;
	vp->step_once = vp->stepping = vp->step_trap = vp->break_hits = vp->rf_loaded = 0;
	vp->answer.valid = false;
	vp->bounce.bytes = 0;
	vp->link = NULL;
	atomic_store(&vp->sipi_vector, state->sipi_vector);
	if (state->nmi_pending)
		atomic_fetch_or(&vp->requests, REQ_NMI);
	else
		atomic_fetch_and(&vp->requests, ~REQ_NMI);
	set_exception(vp, state);
	atomic_store(&vp->irq_pending, 1);
	vp_request_exit(vp);
}

/* SS's DPL is the privilege level, as every processor's own state format has it. */
static uint8_t privilege_of(const struct vp_state *state)
{
	if (!(state->cr0 & CR0_PE))
		return 0;
	return state->regs.rflags & FLAG_VM ? 3 : access_dpl(state->segment[VP_SS].access);
}

int cpu_set_state(struct dbt_vp *vp, const struct vp_state *state)
{
	const uint64_t old_tsc_offset = vp->tsc_offset;

	if (!state_ok(vp, state))
		return -EINVAL;
	vp->tsc_offset = state->tsc - host_rdtsc(); /* the APIC's deadline counts by it */
	if (apic_set_state(vp, state)) {
		vp->tsc_offset = old_tsc_offset;
		return -EINVAL;
	}
	memcpy(vp->gpr, state->regs.gpr, sizeof(vp->gpr));
	vp->rip = vp->next_rip = state->regs.rip;
	vp_set_rflags(vp, state->regs.rflags);
	memcpy(vp->seg, state->segment, sizeof(vp->seg));
	set_control(vp, state);
	set_msrs(vp, state);
	set_events(vp, state);
	memcpy(vp->xsave, state->xsave, sizeof(vp->xsave));
	x87_take(vp, vp->xsave, true);
	vp->cpl = privilege_of(state);
	mmu_flush_all(vp);
	cpu_update_mode(vp);
	return 0;
}

/*
 * reset.c - the processor after power-on, INIT and SIPI
 *
 * SDM vol. 3, "Processor State After Reset" and table "IA-32 and Intel 64 Processor States
 * Following Power-up, Reset, or INIT". INIT keeps what the table says it keeps: x87 and vector
 * state, the counter, MTRRs, PAT, the APIC's base. EFER becomes 0 with both, as on AMD processors.
 */
#include "apic.h"
#include "cpuid_lookup.h"
#include "segmentation.h"

#define PAT_AFTER_RESET	      0x0007040600070406ull
#define APIC_BASE_AFTER_RESET 0xfee00800ull
#define APIC_BASE_BSP	      BIT(8)

static void reset_segments(struct dbt_vp *vp)
{
	for (unsigned int i = 0; i < VP_SEGMENT_COUNT; i++)
		vp->seg[i] = (struct vp_segment){.limit = 0xffff, .access = 0x93};
	vp->seg[VP_CS] = (struct vp_segment){
		.base = 0xffff0000, .limit = 0xffff, .access = 0x9b, .selector = 0xf000};
	vp->seg[VP_LDTR].access = 0x82;
	vp->seg[VP_TR].access = 0x8b;
	vp->gdtr = (struct vp_table){.limit = 0xffff};
	vp->idtr = (struct vp_table){.limit = 0xffff};
}

/* RDX: family, model and stepping as CPUID leaf 1 shows them. */
static uint32_t processor_signature(struct dbt_vp *vp)
{
	const struct cpuid_leaf *leaf = cpuid_find(vp_partition(vp), 1, 0);

	return leaf ? leaf->eax : 0;
}

static void reset_registers(struct dbt_vp *vp, bool init)
{
	for (unsigned int i = 0; i < VP_GPR_COUNT; i++)
		vp->gpr[i] = 0;
	vp->gpr[VP_RDX] = processor_signature(vp);
	vp->rip = vp->next_rip = 0xfff0;
	vp_set_rflags(vp, 0);
	vp->cpl = 0;
	vp->cr0 = CR0_ET | (init ? vp->cr0 & (CR0_CD | CR0_NW) : CR0_CD | CR0_NW);
	vp->cr2 = vp->cr3 = vp->cr4 = vp->efer = 0;
	for (unsigned int i = 0; i < 4; i++)
		vp->dr[i] = 0;
	vp->dr6 = 0xffff0ff0;
	vp->dr7 = 0x400;
}

/* The legacy region of an XSAVE area: x87 control word, MXCSR; everything else in its initial
 * state. */
static void reset_xsave(struct dbt_vp *vp)
{
	for (unsigned int i = 0; i < sizeof(vp->xsave); i++)
		vp->xsave[i] = 0;
	*(uint16_t *)vp->xsave = 0x037f;
	*(uint32_t *)(vp->xsave + 24) = 0x1f80;
	vp->xcr0 = 1;
}

/* All VPs of a partition count alike, whenever each of them was created. */
static uint64_t reset_tsc_offset(struct dbt_vp *vp)
{
	struct dbt_vp *first = partition_vp(vp_partition(vp), 0);

	return first && first != vp ? first->tsc_offset : -host_rdtsc();
}

static void reset_msrs(struct dbt_vp *vp)
{
	vp->star = vp->lstar = vp->cstar = vp->sfmask = vp->kernel_gs_base = 0;
	vp->sysenter_cs = vp->sysenter_esp = vp->sysenter_eip = 0;
	vp->pat = PAT_AFTER_RESET;
	vp->apic_base = APIC_BASE_AFTER_RESET | (vp->vp.index == 0 ? APIC_BASE_BSP : 0);
	vp->tsc_aux = 0;
	vp->tsc_adjust = 0;
	vp->tsc_offset = reset_tsc_offset(vp);
	vp->misc_enable = 1; /* fast strings */
	vp->mtrr_def_type = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(vp->mtrr_fixed); i++)
		vp->mtrr_fixed[i] = 0;
	for (unsigned int i = 0; i < ARRAY_SIZE(vp->mtrr_base); i++)
		vp->mtrr_base[i] = vp->mtrr_mask[i] = 0;
}

static void reset_events(struct dbt_vp *vp)
{
	vp->activity = vp->vp.index == 0 ? VP_RUNNING : VP_WAIT_FOR_SIPI;
	vp->irq_shadow = vp->nmi_masked = 0;
	vp->step_once = vp->stepping = vp->step_trap = vp->break_hits = vp->rf_loaded = 0;
	vp->exception.vector = VEC_NONE;
	vp->last_vector = VEC_NONE;
	vp->last_error = 0;
	vp->answer.valid = false;
	vp->bounce.bytes = 0;
	vp->link = NULL;
}

void cpu_reset(struct dbt_vp *vp, bool init)
{
	reset_segments(vp);
	reset_registers(vp, init);
	if (!init) {
		reset_xsave(vp);
		reset_msrs(vp);
	}
	reset_events(vp);
	apic_reset(vp, init);
	if (vp->mmu)
		mmu_flush_all(vp);
	cpu_update_mode(vp);
}

void cpu_start_sipi(struct dbt_vp *vp, uint8_t vector)
{
	struct vp_segment *cs = &vp->seg[VP_CS];

	cs->selector = vector << 8;
	cs->base = (uint64_t)vector << 12;
	vp->rip = vp->next_rip = 0;
	vp->activity = VP_RUNNING;
	cpu_update_mode(vp);
}

/*
 * msr.c - RDMSR and WRMSR: the MSRs of a real processor
 *
 * Order of the decisions, hot ones first:
 *  1. ranges the partition asked to see (exit_msrs): VP_EXIT_MSR;
 *  2. the APIC's: TSC_DEADLINE, x2APIC, APIC_BASE;
 *  3. the table below: one row per MSR, with the member that keeps it, the bits that may be
 *     written, and a function where that does not say it all;
 *  4. constants: what kernels read, or write without need, on a processor with such a CPUID;
 *  5. unknown: VP_EXIT_MSR.
 * A VP_EXIT_MSR leaves the instruction undone; run again, it finds the caller's answer in
 * vp->answer. (Intel SDM vol. 4; AMD APM vol. 2, appendix A.)
 */
#include "apic.h"
#include "control_bits.h"
#include "cpuid_lookup.h"
#include "operand.h"

enum {
	MSR_TSC = 0x10,
	MSR_APIC_BASE = 0x1b,
	MSR_TSC_ADJUST = 0x3b,
	MSR_MTRR_CAP = 0xfe,
	MSR_SYSENTER_CS = 0x174,
	MSR_SYSENTER_ESP,
	MSR_SYSENTER_EIP,
	MSR_MISC_ENABLE = 0x1a0,
	MSR_MTRR_VARIABLE = 0x200,
	MSR_MTRR_VARIABLE_LAST = 0x20f,
	MSR_MTRR_FIXED_64K = 0x250,
	MSR_MTRR_FIXED_16K = 0x258,
	MSR_MTRR_FIXED_4K = 0x268,
	MSR_MTRR_FIXED_LAST = 0x26f,
	MSR_PAT = 0x277,
	MSR_MTRR_DEF_TYPE = 0x2ff,
	MSR_TSC_DEADLINE = 0x6e0,
	MSR_X2APIC = 0x800,
	MSR_X2APIC_LAST = 0x8ff,
	MSR_FS_BASE = 0xc0000100,
	MSR_GS_BASE,
	MSR_KERNEL_GS_BASE,
	MSR_TSC_AUX
};

#define LOW32		   0xffffffffull
#define MTRR_CAP_VALUE	   0x508ull /* 8 variable ranges, fixed ranges, write combining */
#define MTRR_DEF_TYPE_BITS 0xcffull
#define MTRR_FIXED_COUNT   11
#define MISC_ENABLE_FIXED  0x1800ull /* no branch trace store, no precise event sampling */
#define MISC_ENABLE_WRITABLE                                                                       \
	0x400409ull /* fast strings, thermal control, perfmon, CPUID limit: kept */

/* --- checked writes; -1: #GP --- */

struct msr_row {
	uint32_t index;
	uint32_t offset;   /* of a uint64_t in struct dbt_vp */
	uint64_t writable; /* a write with any other bit set is a #GP */
	/* After that check; NULL: just store. */
	int (*write)(struct dbt_vp *vp, const struct msr_row *row, uint64_t value);
};

static uint64_t *msr_member(struct dbt_vp *vp, const struct msr_row *row)
{
	return (uint64_t *)((uint8_t *)vp + row->offset);
}

static int write_canonical(struct dbt_vp *vp, const struct msr_row *row, uint64_t value)
{
	if (!is_canonical(value))
		return -1;
	*msr_member(vp, row) = value;
	return 0;
}

static uint64_t efer_allowed(const struct dbt_partition *part)
{
	uint64_t allowed = EFER_LMA;

	if (cpuid_has(part, 0x80000001, CPUID_EDX, 11))
		allowed |= EFER_SCE;
	if (cpuid_has(part, 0x80000001, CPUID_EDX, 29))
		allowed |= EFER_LME | EFER_SCE;
	if (cpuid_has(part, 0x80000001, CPUID_EDX, 20))
		allowed |= EFER_NXE;
	if (cpuid_has(part, 0x80000021, CPUID_EAX, 8))
		allowed |= EFER_AIBRSE;
	return allowed;
}

static int write_efer(struct dbt_vp *vp, const struct msr_row *row, uint64_t value)
{
	uint64_t old = vp->efer;

	if (value & ~efer_allowed(vp_partition(vp)))
		return -1;
	if (((old ^ value) & EFER_LME) && (vp->cr0 & CR0_PG))
		return -1;
	vp->efer = (value & ~EFER_LMA) | (old & EFER_LMA);
	if ((old ^ vp->efer) & EFER_NXE)
		mmu_mode_changed(vp, vp->cr0, vp->cr4, old);
	cpu_update_mode(vp);
	return 0;
}

/* Is every byte of @value a memory type of @types, a bit mask of type numbers? */
static bool memory_types_valid(uint64_t value, unsigned int types)
{
	for (unsigned int shift = 0; shift < 64; shift += 8) {
		unsigned int type = value >> shift & 0xff;

		if (type > 7 || !(types >> type & 1))
			return false;
	}
	return true;
}
#define MTRR_TYPES 0x73u /* UC, WC, WT, WP, WB */
#define PAT_TYPES  0xf3u /* ... and UC- */

static int write_pat(struct dbt_vp *vp, const struct msr_row *row, uint64_t value)
{
	if (!memory_types_valid(value, PAT_TYPES))
		return -1;
	vp->pat = value;
	return 0;
}

static int write_mtrr_def_type(struct dbt_vp *vp, const struct msr_row *row, uint64_t value)
{
	if ((value & 0xff) > 7 || !(MTRR_TYPES >> (value & 0xff) & 1))
		return -1;
	vp->mtrr_def_type = value;
	return 0;
}

static int write_misc_enable(struct dbt_vp *vp, const struct msr_row *row, uint64_t value)
{
	vp->misc_enable = (value & MISC_ENABLE_WRITABLE) | MISC_ENABLE_FIXED;
	return 0;
}

#define KEPT(index, member, writable, write)                                                       \
	{                                                                                          \
		index, offsetof(struct dbt_vp, member), writable, write                            \
	}

static const struct msr_row msr_rows[] = {
	KEPT(MSR_FS_BASE, seg[VP_FS].base, ~0ull, write_canonical),
	KEPT(MSR_GS_BASE, seg[VP_GS].base, ~0ull, write_canonical),
	KEPT(MSR_KERNEL_GS_BASE, kernel_gs_base, ~0ull, write_canonical),
	KEPT(MSR_TSC_AUX, tsc_aux, LOW32, NULL),
	KEPT(0xc0000080, efer, ~0ull, write_efer),
	KEPT(0xc0000081, star, ~0ull, NULL),
	KEPT(0xc0000082, lstar, ~0ull, write_canonical),
	KEPT(0xc0000083, cstar, ~0ull, write_canonical),
	KEPT(0xc0000084, sfmask, LOW32, NULL),
	KEPT(MSR_SYSENTER_CS, sysenter_cs, ~0ull, NULL),
	KEPT(MSR_SYSENTER_ESP, sysenter_esp, ~0ull, write_canonical),
	KEPT(MSR_SYSENTER_EIP, sysenter_eip, ~0ull, write_canonical),
	KEPT(MSR_PAT, pat, ~0ull, write_pat),
	KEPT(MSR_MISC_ENABLE, misc_enable, ~0ull, write_misc_enable),
	KEPT(MSR_MTRR_DEF_TYPE, mtrr_def_type, MTRR_DEF_TYPE_BITS, write_mtrr_def_type),
};

static const struct msr_row *find_row(uint32_t index)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(msr_rows); i++)
		if (msr_rows[i].index == index)
			return &msr_rows[i];
	return NULL;
}

/* --- MTRRs: kept, but all guest memory is write-back whatever they say --- */

/* Position in mtrr_fixed[], or -1: no fixed-range MTRR. */
static int mtrr_fixed_slot(uint32_t index)
{
	if (index == MSR_MTRR_FIXED_64K)
		return 0;
	if (index == MSR_MTRR_FIXED_16K || index == MSR_MTRR_FIXED_16K + 1)
		return 1 + index - MSR_MTRR_FIXED_16K;
	if (index >= MSR_MTRR_FIXED_4K && index <= MSR_MTRR_FIXED_LAST)
		return 3 + index - MSR_MTRR_FIXED_4K;
	return -1;
}

static uint64_t *mtrr_member(struct dbt_vp *vp, uint32_t index)
{
	int slot = mtrr_fixed_slot(index);

	if (slot >= 0)
		return &vp->mtrr_fixed[slot];
	if (index < MSR_MTRR_VARIABLE || index > MSR_MTRR_VARIABLE_LAST)
		return NULL;
	return index & 1 ? &vp->mtrr_mask[(index - MSR_MTRR_VARIABLE) / 2]
			 : &vp->mtrr_base[(index - MSR_MTRR_VARIABLE) / 2];
}

static int mtrr_write(struct dbt_vp *vp, uint32_t index, uint64_t value)
{
	uint64_t above = ~((1ull << vp_partition(vp)->physical_bits) - 1);
	unsigned int type = value & 0xff;

	if (index > MSR_MTRR_VARIABLE_LAST) {
		if (!memory_types_valid(value, MTRR_TYPES))
			return -1;
	} else if (index & 1) {
		if (value & (above | 0x7ff))
			return -1;
	} else if ((value & (above | 0xf00)) || type > 7 || !(MTRR_TYPES >> type & 1)) {
		return -1;
	}
	*mtrr_member(vp, index) = value;
	return 0;
}

/* --- the time stamp counter --- */

/* Moves the guest's counter; an armed deadline stays at the same count. */
static void tsc_move(struct dbt_vp *vp, uint64_t delta)
{
	vp->tsc_offset += delta;
	vp->tsc_adjust += delta;
	apic_tsc_changed(vp);
}

/* --- constants --- */

#define FOR_INTEL     1u
#define FOR_AMD	      2u
#define IGNORE_WRITES 4u /* else a write is a #GP */
#define ANY	      (FOR_INTEL | FOR_AMD)

/* IA32_ARCH_CAPABILITIES: only statements that something is not affected; nothing to switch. */
#define ARCH_CAPABILITIES_VALUE                                                                    \
	(BIT(0) /* RDCL */ | BIT(3) /* no L1D flush at VM entry */ | BIT(4) /* SSB */ |            \
	 BIT(5) /* MDS */ | BIT(6) /* IF_PSCHANGE_MC */ | BIT(8) /* TAA */ | BIT(13) /* SBDR */ |  \
	 BIT(14) /* FBSDP */ | BIT(15) /* PSDP */ | BIT(20) /* BHI */ | BIT(24) /* PBRSB */ |      \
	 BIT(26) /* GDS */ | BIT(27) /* RFDS */ | BIT(62) /* ITS */)

static const struct msr_constant {
	uint32_t first, last;
	uint64_t value;
	uint8_t flags;
} msr_constants[] = {
	{0x00000000, 0x00000001, 0, ANY | IGNORE_WRITES},	/* P5_MC_ADDR, P5_MC_TYPE */
	{0x00000017, 0x00000017, 0, FOR_INTEL},			/* PLATFORM_ID */
	{0x0000002a, 0x0000002a, 0, FOR_INTEL | IGNORE_WRITES}, /* EBL_CR_POWERON */
	{0x0000003a, 0x0000003a, 1, FOR_INTEL},		  /* FEATURE_CONTROL: locked, all off */
	{0x00000079, 0x00000079, 0, ANY | IGNORE_WRITES}, /* BIOS_UPDT_TRIG */
	{0x0000008b, 0x0000008b, 0x100000000, FOR_INTEL | IGNORE_WRITES}, /* BIOS_SIGN_ID */
	{0x0000008b, 0x0000008b, 0x01000065, FOR_AMD}, /* PATCH_LEVEL, as other hypervisors */
	{0x000000ce, 0x000000ce, 0, FOR_INTEL},	       /* PLATFORM_INFO */
	{MSR_MTRR_CAP, MSR_MTRR_CAP, MTRR_CAP_VALUE, ANY},
	{0x0000010a, 0x0000010a, ARCH_CAPABILITIES_VALUE, FOR_INTEL},
	{0x00000140, 0x00000140, 0, FOR_INTEL | IGNORE_WRITES}, /* MISC_FEATURES_ENABLES */
	{0x00000179, 0x00000179, 0, ANY},			/* MCG_CAP: no banks */
	{0x0000017a, 0x0000017a, 0, ANY | IGNORE_WRITES},	/* MCG_STATUS */
	{0x00000198, 0x0000019c, 0, FOR_INTEL | IGNORE_WRITES}, /* PERF_STATUS ... THERM_STATUS */
	{0x000001d9, 0x000001d9, 0, ANY | IGNORE_WRITES},	/* DEBUGCTL */
	{0x000001db, 0x000001de, 0, ANY},			/* last branch and interrupt */
	{0xc0010010, 0xc0010010, 0, FOR_AMD | IGNORE_WRITES},	/* SYSCFG */
	{0xc0010015, 0xc0010015, BIT(24), FOR_AMD | IGNORE_WRITES}, /* HWCR: TSC runs at P0 */
	{0xc0010016, 0xc001001a, 0, FOR_AMD | IGNORE_WRITES},	    /* IORRs, TOP_MEM */
	{0xc001001d, 0xc001001d, 0, FOR_AMD | IGNORE_WRITES},	    /* TOP_MEM2 */
	{0xc001001f, 0xc001001f, 0, FOR_AMD | IGNORE_WRITES},	    /* NB_CFG */
	{0xc0010055, 0xc0010055, 0, FOR_AMD | IGNORE_WRITES},	    /* INT_PENDING_MSG */
	{0xc0010058, 0xc0010058, 0, FOR_AMD | IGNORE_WRITES},	    /* MMIO_CONF_BASE */
	{0xc0010111, 0xc0010113, 0, FOR_AMD | IGNORE_WRITES}, /* SMM_BASE, SMM_ADDR, SMM_MASK */
	{0xc0010114, 0xc0010114, BIT(4), FOR_AMD | IGNORE_WRITES}, /* VM_CR: SVM disabled */
	{0xc0010140, 0xc0010141, 0, FOR_AMD | IGNORE_WRITES},	   /* OSVW */
	{0xc0011022, 0xc0011023, 0, FOR_AMD | IGNORE_WRITES},	   /* DC_CFG, BU_CFG */
	{0xc0011029, 0xc0011029, BIT(1), FOR_AMD | IGNORE_WRITES}, /* DE_CFG: LFENCE serializes */
	{0xc001102a, 0xc001102a, 0, FOR_AMD | IGNORE_WRITES},	   /* BU_CFG2 */
};

static const struct msr_constant *find_constant(const struct dbt_partition *part, uint32_t index)
{
	uint8_t vendor = cpuid_is_amd(part) ? FOR_AMD : FOR_INTEL;

	for (unsigned int i = 0; i < ARRAY_SIZE(msr_constants); i++) {
		const struct msr_constant *c = &msr_constants[i];

		if (index >= c->first && index <= c->last && (c->flags & vendor))
			return c;
	}
	return NULL;
}

/* --- exits --- */

static bool exit_wanted(const struct dbt_partition *part, uint32_t index)
{
	for (size_t i = 0; i < part->exit_msr_count; i++)
		if (index >= part->exit_msrs[i].first && index <= part->exit_msrs[i].last)
			return true;
	return false;
}

/* Is there an answer to this very access? It is used up. */
static bool take_answer(struct dbt_vp *vp, uint32_t index, bool write)
{
	struct dbt_answer *answer = &vp->answer;

	if (!answer->valid || answer->reason != VP_EXIT_MSR || answer->write != write ||
	    answer->address != index)
		return false;
	answer->valid = false;
	return true;
}

static enum cpu_result msr_exit(struct dbt_vp *vp, uint32_t index, bool write, uint64_t *data)
{
	if (take_answer(vp, index, write)) {
		if (vp->answer.fault)
			return cpu_fault_gp(vp);
		*data = vp->answer.data;
		return CPU_DONE;
	}
	vp->exit.reason = VP_EXIT_MSR;
	vp->exit.msr.index = index;
	vp->exit.msr.write = write;
	vp->exit.msr.fault = false;
	vp->exit.msr.data = write ? *data : ~0ull;
	vp->leave = LEAVE_EXIT;
	return CPU_RESTART;
}

/* --- the instructions --- */

static bool is_apic_msr(uint32_t index)
{
	return index == MSR_TSC_DEADLINE || (index >= MSR_X2APIC && index <= MSR_X2APIC_LAST) ||
	       index == MSR_APIC_BASE;
}

static enum cpu_result done_or_gp(struct dbt_vp *vp, int r)
{
	return r < 0 ? cpu_fault_gp(vp) : CPU_DONE;
}

static enum cpu_result read_other(struct dbt_vp *vp, uint32_t index, uint64_t *ret_value)
{
	const struct msr_constant *constant = find_constant(vp_partition(vp), index);

	if (!constant)
		return msr_exit(vp, index, false, ret_value);
	*ret_value = constant->value;
	return CPU_DONE;
}

static enum cpu_result msr_read(struct dbt_vp *vp, uint32_t index, uint64_t *ret_value)
{
	const struct msr_row *row;
	uint64_t *mtrr;

	if (exit_wanted(vp_partition(vp), index))
		return msr_exit(vp, index, false, ret_value);
	if (is_apic_msr(index))
		return done_or_gp(vp, apic_msr_read(vp, index, ret_value));
	row = find_row(index);
	if (row) {
		*ret_value = *msr_member(vp, row);
		return CPU_DONE;
	}
	if (index == MSR_TSC || index == MSR_TSC_ADJUST) {
		*ret_value = index == MSR_TSC ? host_rdtsc() + vp->tsc_offset : vp->tsc_adjust;
		return CPU_DONE;
	}
	mtrr = mtrr_member(vp, index);
	if (mtrr) {
		*ret_value = *mtrr;
		return CPU_DONE;
	}
	return read_other(vp, index, ret_value);
}

static enum cpu_result write_apic(struct dbt_vp *vp, uint32_t index, uint64_t value)
{
	if (apic_msr_write(vp, index, value) < 0)
		return cpu_fault_gp(vp);
	return vp->leave == LEAVE_NONE ? CPU_DONE : cpu_done_leave(vp);
}

static int write_row(struct dbt_vp *vp, const struct msr_row *row, uint64_t value)
{
	if (value & ~row->writable)
		return -1;
	if (row->write)
		return row->write(vp, row, value);
	*msr_member(vp, row) = value;
	return 0;
}

static enum cpu_result write_other(struct dbt_vp *vp, uint32_t index, uint64_t value)
{
	const struct msr_constant *constant = find_constant(vp_partition(vp), index);

	if (!constant)
		return msr_exit(vp, index, true, &value);
	return constant->flags & IGNORE_WRITES ? CPU_DONE : cpu_fault_gp(vp);
}

static enum cpu_result msr_write(struct dbt_vp *vp, uint32_t index, uint64_t value)
{
	const struct msr_row *row;

	if (exit_wanted(vp_partition(vp), index))
		return msr_exit(vp, index, true, &value);
	if (is_apic_msr(index))
		return write_apic(vp, index, value);
	row = find_row(index);
	if (row)
		return done_or_gp(vp, write_row(vp, row, value));
	if (index == MSR_TSC || index == MSR_TSC_ADJUST) {
		tsc_move(vp, index == MSR_TSC ? value - (host_rdtsc() + vp->tsc_offset)
					      : value - vp->tsc_adjust);
		return CPU_DONE;
	}
	if (mtrr_member(vp, index))
		return done_or_gp(vp, mtrr_write(vp, index, value));
	return write_other(vp, index, value);
}

enum cpu_result helper_rdmsr(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t value = 0;
	enum cpu_result result;

	if (vp->cpl)
		return cpu_fault_gp(vp);
	result = msr_read(vp, vp->gpr[VP_RCX], &value);
	if (result == CPU_DONE) {
		vp->gpr[VP_RAX] = (uint32_t)value;
		vp->gpr[VP_RDX] = value >> 32;
	}
	return result;
}

enum cpu_result helper_wrmsr(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t value = (uint32_t)vp->gpr[VP_RAX] | vp->gpr[VP_RDX] << 32;

	if (vp->cpl)
		return cpu_fault_gp(vp);
	return msr_write(vp, vp->gpr[VP_RCX], value);
}

/*
 * control.c - control and debug registers, XCR0, TLB invalidation, HLT, FS/GS base
 *
 * Every check comes before the first change, so a #GP leaves the processor as it was. A change
 * of CR0, CR3 or CR4 that paging depends on is told to the MMU at once; whatever the mode word
 * depends on is followed by cpu_update_mode(). (SDM vol. 2, "MOV - Move to/from Control
 * Registers"; vol. 3, "Control Registers" and "Initializing IA-32e Mode".)
 */
#include "apic.h"
#include "control_bits.h"
#include "cpuid_lookup.h"
#include "debug.h"
#include "operand.h"

#define CR0_PAGING	   (CR0_PE | CR0_WP | CR0_PG)
#define CR4_PAGING	   (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE | CR4_SMEP | CR4_SMAP)
#define CR3_NO_FLUSH	   BIT(63)
#define CR3_PCID_MASK	   0xfffull
#define PDPTE_PRESENT	   BIT(0)
#define PDPTE_RESERVED_LOW 0x1e6ull /* bits 1, 2, 5..8 */

static uint64_t above_physical(struct dbt_vp *vp)
{
	return ~((1ull << vp_partition(vp)->physical_bits) - 1);
}

/* --- CR3 and the page-directory-pointer table of PAE paging --- */

static bool uses_pae_table(uint64_t cr0, uint64_t cr4, uint64_t efer)
{
	return (cr0 & CR0_PG) && (cr4 & CR4_PAE) && !(efer & EFER_LMA);
}

/* The four entries are loaded by MOV CR, where a reserved bit is a #GP. */
static bool pae_table_valid(struct dbt_vp *vp, uint64_t cr3)
{
	const uint64_t *table = mmu_gpa_to_host(vp_partition(vp), cr3 & 0xffffffe0u, 32);
	uint64_t reserved = PDPTE_RESERVED_LOW | above_physical(vp);

	if (!table)
		return true; /* not memory: the walk will fault */
	for (unsigned int i = 0; i < 4; i++) {
		uint64_t entry = *(const volatile uint64_t *)&table[i];

		if ((entry & PDPTE_PRESENT) && (entry & reserved))
			return false;
	}
	return true;
}

static enum cpu_result set_cr3(struct dbt_vp *vp, uint64_t value)
{
	bool pcid = vp->cr4 & CR4_PCIDE;
	bool keep = pcid && (value & CR3_NO_FLUSH);

	if (pcid)
		value &= ~CR3_NO_FLUSH;
	if ((vp->efer & EFER_LMA) && (value & above_physical(vp)))
		return cpu_fault_gp(vp);
	if (uses_pae_table(vp->cr0, vp->cr4, vp->efer) && !pae_table_valid(vp, value))
		return cpu_fault_gp(vp);
	vp->cr3 = value;
	mmu_switch_cr3(vp, keep);
	return CPU_DONE;
}

/* --- CR0 --- */

/* The checks that depend on CR0 alone. */
static bool cr0_consistent(uint64_t value)
{
	if (value >> 32)
		return false;
	if ((value & CR0_PG) && !(value & CR0_PE))
		return false;
	return !(value & CR0_NW) || (value & CR0_CD);
}

/* Paging goes on or off: may it, and what becomes of EFER? */
static int switch_paging(const struct dbt_vp *vp, bool on, uint64_t *ret_efer)
{
	bool code_long = vp->seg[VP_CS].access & VP_SEG_L;

	*ret_efer = vp->efer & ~EFER_LMA;
	if (!on)
		return is_code64(vp) || (vp->cr4 & CR4_PCIDE) ? -1 : 0;
	if (!(vp->efer & EFER_LME))
		return 0;
	*ret_efer |= EFER_LMA;
	return (vp->cr4 & CR4_PAE) && !code_long ? 0 : -1;
}

static bool loads_pae_table(const struct dbt_vp *vp, uint64_t cr0, uint64_t efer)
{
	return ((vp->cr0 ^ cr0) & (CR0_CD | CR0_NW | CR0_PG)) && uses_pae_table(cr0, vp->cr4, efer);
}

static enum cpu_result set_cr0(struct dbt_vp *vp, uint64_t value)
{
	uint64_t old = vp->cr0, old_efer = vp->efer, efer = vp->efer;

	if (!cr0_consistent(value))
		return cpu_fault_gp(vp);
	value = (value & CR0_DEFINED) | CR0_ET;
	if (((old ^ value) & CR0_PG) && switch_paging(vp, value & CR0_PG, &efer) < 0)
		return cpu_fault_gp(vp);
	if (loads_pae_table(vp, value, efer) && !pae_table_valid(vp, vp->cr3))
		return cpu_fault_gp(vp);
	vp->cr0 = value;
	vp->efer = efer;
	if ((old ^ value) & CR0_PAGING)
		mmu_mode_changed(vp, old, vp->cr4, old_efer);
	cpu_update_mode(vp);
	return CPU_DONE;
}

/* --- CR4 --- */

/* Which bits exist follows from the CPUID that the guest sees. */
static const struct cr4_feature {
	uint32_t bits;
	uint32_t leaf;
	uint8_t reg, bit;
} cr4_features[] = {
	{CR4_VME | CR4_PVI, 1, CPUID_EDX, 1},
	{CR4_TSD, 1, CPUID_EDX, 4},
	{CR4_DE, 1, CPUID_EDX, 2},
	{CR4_PSE, 1, CPUID_EDX, 3},
	{CR4_PAE, 1, CPUID_EDX, 6},
	{CR4_MCE, 1, CPUID_EDX, 7},
	{CR4_PGE, 1, CPUID_EDX, 13},
	{CR4_OSFXSR, 1, CPUID_EDX, 24},
	{CR4_OSXMMEXCPT, 1, CPUID_EDX, 25},
	{CR4_PCIDE, 1, CPUID_ECX, 17},
	{CR4_OSXSAVE, 1, CPUID_ECX, 26},
	{CR4_FSGSBASE, 7, CPUID_EBX, 0},
	{CR4_SMEP, 7, CPUID_EBX, 7},
	{CR4_SMAP, 7, CPUID_EBX, 20},
	{CR4_UMIP, 7, CPUID_ECX, 2},
};

static uint64_t cr4_allowed(const struct dbt_partition *part)
{
	uint64_t allowed = CR4_PCE;

	for (unsigned int i = 0; i < ARRAY_SIZE(cr4_features); i++) {
		const struct cr4_feature *f = &cr4_features[i];

		if (cpuid_has(part, f->leaf, f->reg, f->bit))
			allowed |= f->bits;
	}
	return allowed;
}

static bool cr4_valid(struct dbt_vp *vp, uint64_t value)
{
	uint64_t set = value & ~vp->cr4, cleared = vp->cr4 & ~value;

	/* A bit that is set already may stay: set_state() may have brought it. */
	if (set & ~cr4_allowed(vp_partition(vp)))
		return false;
	if ((cleared & CR4_PAE) && (vp->efer & EFER_LMA))
		return false;
	if ((set & CR4_PCIDE) && (!(vp->efer & EFER_LMA) || (vp->cr3 & CR3_PCID_MASK)))
		return false;
	if (!((set | cleared) & (CR4_PAE | CR4_PGE | CR4_PSE | CR4_SMEP)))
		return true;
	return !uses_pae_table(vp->cr0, value, vp->efer) || pae_table_valid(vp, vp->cr3);
}

static enum cpu_result set_cr4(struct dbt_vp *vp, uint64_t value)
{
	uint64_t old = vp->cr4;

	if (!cr4_valid(vp, value))
		return cpu_fault_gp(vp);
	vp->cr4 = value;
	if ((old ^ value) & CR4_PAGING)
		mmu_mode_changed(vp, vp->cr0, old, vp->efer);
	cpu_update_mode(vp);
	return CPU_DONE;
}

/* --- MOV to and from control registers --- */

static bool cr_exists(unsigned int number)
{
	return number <= 8 && (0x11d >> number & 1); /* 0, 2, 3, 4, 8 */
}

enum cpu_result helper_mov_to_cr(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t value = reg_get(vp, args.rm, is_code64(vp) ? 8 : 4);

	if (!cr_exists(args.reg))
		return cpu_fault(vp, VEC_UD);
	if (vp->cpl)
		return cpu_fault_gp(vp);
	switch (args.reg) {
	case 0: return set_cr0(vp, value);
	case 2: vp->cr2 = value; return CPU_DONE;
	case 3: return set_cr3(vp, value);
	case 4: return set_cr4(vp, value);
	}
	if (value >> 4)
		return cpu_fault_gp(vp);
	apic_set_tpr(vp, value);
	return CPU_DONE;
}

static uint64_t get_cr(struct dbt_vp *vp, unsigned int number)
{
	switch (number) {
	case 0: return vp->cr0;
	case 2: return vp->cr2;
	case 3: return vp->cr3;
	case 4: return vp->cr4;
	}
	return apic_get_tpr(vp);
}

enum cpu_result helper_mov_from_cr(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	if (!cr_exists(args.reg))
		return cpu_fault(vp, VEC_UD);
	if (vp->cpl)
		return cpu_fault_gp(vp);
	reg_set(vp, args.rm, is_code64(vp) ? 8 : 4, get_cr(vp, args.reg));
	return CPU_DONE;
}

enum cpu_result helper_clts(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	if (vp->cpl)
		return cpu_fault_gp(vp);
	vp->cr0 &= ~CR0_TS;
	cpu_update_mode(vp);
	return CPU_DONE;
}

/* LMSW reaches PE, MP, EM and TS only, and cannot clear PE. */
enum cpu_result helper_lmsw(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint16_t value = vp->gpr[args.rm];

	if (vp->cpl)
		return cpu_fault_gp(vp);
	if ((args.flags & CPU_ARG_MEM) && mmu_read(vp, address, &value, 2, ACCESS_READ) < 0)
		return CPU_RESTART;
	return set_cr0(vp, (vp->cr0 & ~0xeull) | (value & 0xf));
}

enum cpu_result helper_smsw(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint16_t value = vp->cr0;

	if (vp->cpl == 3 && (vp->cr4 & CR4_UMIP))
		return cpu_fault_gp(vp);
	if (args.flags & CPU_ARG_MEM)
		return write_result(vp, mmu_write(vp, address, &value, 2, ACCESS_WRITE));
	reg_set(vp, args.rm, args.op_bytes, vp->cr0);
	return CPU_DONE;
}

/* --- debug registers --- */

#define DR6_FIXED    0xffff0ff0ull
#define DR6_WRITABLE 0xe00full
#define DR7_FIXED    0x400ull
#define DR7_WRITABLE 0xffff23ffull

/* DR7.GD: a debugger of higher rank wants to know. */
static enum cpu_result debug_guarded(struct dbt_vp *vp)
{
	debug_raise(vp, DR6_BD);
	return CPU_RESTART;
}

/* DR4 and DR5 are other names of DR6 and DR7 unless CR4.DE. Returns 0..3, 6, 7, or -1: #UD. */
static int debug_register(const struct dbt_vp *vp, unsigned int number)
{
	if (number == 4 || number == 5)
		return vp->cr4 & CR4_DE ? -1 : (int)number + 2;
	return number < 8 ? (int)number : -1;
}

enum cpu_result helper_mov_to_dr(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t value = reg_get(vp, args.rm, is_code64(vp) ? 8 : 4);
	int number = debug_register(vp, args.reg);

	if (number < 0)
		return cpu_fault(vp, VEC_UD);
	if (vp->cpl)
		return cpu_fault_gp(vp);
	if (vp->dr7 & DR7_GD)
		return debug_guarded(vp);
	if (number < 4) {
		vp->dr[number] = value;
		return CPU_DONE;
	}
	if (value >> 32)
		return cpu_fault_gp(vp);
	if (number == 6)
		vp->dr6 = (value & DR6_WRITABLE) | DR6_FIXED;
	else
		vp->dr7 = (value & DR7_WRITABLE) | DR7_FIXED;
	cpu_update_mode(vp);
	return CPU_DONE;
}

enum cpu_result helper_mov_from_dr(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	int number = debug_register(vp, args.reg);

	if (number < 0)
		return cpu_fault(vp, VEC_UD);
	if (vp->cpl)
		return cpu_fault_gp(vp);
	if (vp->dr7 & DR7_GD)
		return debug_guarded(vp);
	reg_set(vp, args.rm, is_code64(vp) ? 8 : 4,
		number < 4    ? vp->dr[number]
		: number == 6 ? vp->dr6
			      : vp->dr7);
	return CPU_DONE;
}

/* --- caches and TLBs --- */

enum cpu_result helper_invlpg(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	if (vp->cpl)
		return cpu_fault_gp(vp);
	if (is_canonical(address))
		mmu_flush_page(vp, address);
	return CPU_DONE;
}

enum { INVPCID_ADDRESS, INVPCID_CONTEXT, INVPCID_ALL, INVPCID_ALL_BUT_GLOBAL };

static bool invpcid_valid(const struct dbt_vp *vp, uint64_t type, const uint64_t descriptor[2])
{
	if (type > INVPCID_ALL_BUT_GLOBAL || (descriptor[0] & ~CR3_PCID_MASK))
		return false;
	if (type == INVPCID_ADDRESS && !is_canonical(descriptor[1]))
		return false;
	return type >= INVPCID_ALL || (vp->cr4 & CR4_PCIDE) || !descriptor[0];
}

enum cpu_result helper_invpcid(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	uint64_t type = reg_get(vp, args.reg, is_code64(vp) ? 8 : 4);
	uint64_t descriptor[2];

	if (vp->cpl)
		return cpu_fault_gp(vp);
	if (mmu_read(vp, address, descriptor, sizeof(descriptor), ACCESS_READ) < 0)
		return CPU_RESTART;
	if (!invpcid_valid(vp, type, descriptor))
		return cpu_fault_gp(vp);
	if (type < INVPCID_ALL)
		mmu_flush_pcid(vp, descriptor[0], type == INVPCID_ADDRESS, descriptor[1]);
	else
		mmu_flush_all(vp); /* dropping global entries too is always allowed */
	return CPU_DONE;
}

/* WBINVD and INVD: guest memory is coherent host memory. */
enum cpu_result helper_wbinvd(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return vp->cpl ? cpu_fault_gp(vp) : CPU_DONE;
}

/* --- XCR0 --- */

/* XGETBV with ECX = 1: the components in use. The guest's are in the host's registers. */
static uint64_t host_xinuse(void)
{
	uint32_t low, high;

	__asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(1));
	return low | (uint64_t)high << 32;
}

enum cpu_result helper_xgetbv(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint32_t index = vp->gpr[VP_RCX];
	uint64_t value = vp->xcr0;

	if (!(vp->cr4 & CR4_OSXSAVE))
		return cpu_fault(vp, VEC_UD);
	if (index > 1 || (index == 1 && !cpuid_has(vp_partition(vp), 0xd, CPUID_EAX, 2)))
		return cpu_fault_gp(vp);
	if (index == 1)
		value &= host_xinuse();
	vp->gpr[VP_RAX] = (uint32_t)value;
	vp->gpr[VP_RDX] = value >> 32;
	return CPU_DONE;
}

static bool xcr0_valid(struct dbt_vp *vp, uint64_t value)
{
	if (!(value & XCR0_X87) || (value & ~cpuid_guest_xcr0(vp_partition(vp))))
		return false;
	return !(value & XCR0_AVX) || (value & XCR0_SSE);
}

enum cpu_result helper_xsetbv(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t value = (uint32_t)vp->gpr[VP_RAX] | vp->gpr[VP_RDX] << 32;

	if (!(vp->cr4 & CR4_OSXSAVE))
		return cpu_fault(vp, VEC_UD);
	if (vp->cpl || (uint32_t)vp->gpr[VP_RCX] || !xcr0_valid(vp, value))
		return cpu_fault_gp(vp);
	vp->xcr0 = value;
	cpu_update_mode(vp);
	return CPU_DONE;
}

/* --- FS and GS base --- */

static bool fsgsbase_usable(const struct dbt_vp *vp)
{
	return is_code64(vp) && (vp->cr4 & CR4_FSGSBASE);
}

static enum cpu_result read_base(struct dbt_vp *vp, struct cpu_args args, unsigned int seg)
{
	if (!fsgsbase_usable(vp))
		return cpu_fault(vp, VEC_UD);
	reg_set(vp, args.rm, args.op_bytes, vp->seg[seg].base);
	return CPU_DONE;
}

static enum cpu_result write_base(struct dbt_vp *vp, struct cpu_args args, unsigned int seg)
{
	uint64_t value = reg_get(vp, args.rm, args.op_bytes);

	if (!fsgsbase_usable(vp))
		return cpu_fault(vp, VEC_UD);
	if (!is_canonical(value))
		return cpu_fault_gp(vp);
	vp->seg[seg].base = value;
	return CPU_DONE;
}

enum cpu_result helper_rdfsbase(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return read_base(vp, args, VP_FS);
}
enum cpu_result helper_rdgsbase(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return read_base(vp, args, VP_GS);
}
enum cpu_result helper_wrfsbase(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return write_base(vp, args, VP_FS);
}
enum cpu_result helper_wrgsbase(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return write_base(vp, args, VP_GS);
}

enum cpu_result helper_swapgs(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t base = vp->seg[VP_GS].base;

	if (!is_code64(vp))
		return cpu_fault(vp, VEC_UD);
	if (vp->cpl)
		return cpu_fault_gp(vp);
	vp->seg[VP_GS].base = vp->kernel_gs_base;
	vp->kernel_gs_base = base;
	return CPU_DONE;
}

/* --- waiting --- */

enum cpu_result helper_hlt(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	if (vp->cpl)
		return cpu_fault_gp(vp);
	vp->activity = VP_HALTED;
	vp->leave = LEAVE_HALT;
	return cpu_done_leave(vp);
}

/* Not shown in CPUID. */
enum cpu_result helper_monitor(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return cpu_fault(vp, VEC_UD);
}
enum cpu_result helper_mwait(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	return cpu_fault(vp, VEC_UD);
}

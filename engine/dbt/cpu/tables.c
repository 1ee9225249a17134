/*
 * tables.c - LGDT, LIDT, LLDT, LTR, what reads them back, and what asks about descriptors
 *
 * SDM vol. 3, "System Instruction Summary". The last group (LAR, LSL, VERR, VERW) answers in ZF and
 * never faults on a bad selector.
 */
#include "segmentation.h"

/* --- GDTR, IDTR --- */

static enum cpu_result load_table(struct dbt_vp *vp, struct cpu_args args, uint64_t value,
				  struct vp_table *table)
{
	uint32_t base_bytes = in_code64(vp) ? 8 : 4;
	uint8_t bytes[10] = {0};
	uint64_t base = 0;

	if (unlikely(!(args.flags & CPU_ARG_MEM)))
		return raise_now(vp, VEC_UD);
	if (vp->cpl || in_vm86(vp))
		return raise_now_error(vp, VEC_GP, 0);
	if (mmu_read(vp, value, bytes, 2 + base_bytes, 0))
		return CPU_RESTART;
	__builtin_memcpy(&base, bytes + 2, 8);
	if (base_bytes == 4)
		base &= args.op_bytes == 2 ? 0xffffff : 0xffffffff;
	if (!is_canonical(base))
		return raise_now_error(vp, VEC_GP, 0);
	table->limit = bytes[0] | bytes[1] << 8;
	table->base = base;
	return CPU_DONE;
}

static bool umip_forbids(const struct dbt_vp *vp)
{
	return vp->cpl && (vp->cr4 & CR4_UMIP);
}

static enum cpu_result store_table(struct dbt_vp *vp, struct cpu_args args, uint64_t value,
				   const struct vp_table *table)
{
	uint8_t bytes[10];

	if (unlikely(!(args.flags & CPU_ARG_MEM)))
		return raise_now(vp, VEC_UD);
	if (umip_forbids(vp))
		return raise_now_error(vp, VEC_GP, 0);
	bytes[0] = table->limit;
	bytes[1] = table->limit >> 8;
	__builtin_memcpy(bytes + 2, &table->base, 8);
	if (mmu_write(vp, value, bytes, in_code64(vp) ? 10 : 6, 0) < 0)
		return CPU_RESTART;
	return finish(vp);
}

enum cpu_result helper_lgdt(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return load_table(vp, args, value, &vp->gdtr);
}

enum cpu_result helper_lidt(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return load_table(vp, args, value, &vp->idtr);
}

enum cpu_result helper_sgdt(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return store_table(vp, args, value, &vp->gdtr);
}

enum cpu_result helper_sidt(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return store_table(vp, args, value, &vp->idtr);
}

/* --- LDTR, TR --- */

/* A system descriptor: 16 bytes in long mode, *ret_high its second half. */
static int read_system(struct dbt_vp *vp, uint16_t selector, struct descriptor *ret_descriptor,
		       uint64_t *ret_high)
{
	uint32_t bytes = in_long_mode(vp) ? 16 : 8;
	uint64_t raw[2] = {0, 0};

	if ((selector & SELECTOR_TI) ||
	    !descriptor_find(vp, selector, bytes, &ret_descriptor->address))
		return fault_selector(vp, VEC_GP, selector);
	if (mmu_read(vp, ret_descriptor->address, raw, bytes, ACCESS_SUPERVISOR))
		return -1;
	ret_descriptor->raw = raw[0];
	*ret_high = raw[1];
	return 0;
}

/* Fills @index from a descriptor whose type is in @types (a bit each); @set: type bits to add. */
static int load_system(struct dbt_vp *vp, enum vp_segment_index index, uint16_t selector,
		       uint32_t types, uint8_t set)
{
	struct descriptor descriptor;
	struct vp_segment segment;
	uint64_t high;
	uint32_t access;

	if (read_system(vp, selector, &descriptor, &high))
		return -1;
	access = descriptor_access(descriptor.raw);
	if ((access & VP_SEG_S) || !(types & BIT(access_type(access))))
		return fault_selector(vp, VEC_GP, selector);
	if (!(access & VP_SEG_P))
		return fault_selector(vp, VEC_NP, selector);
	segment_fill(&segment, selector, descriptor.raw);
	segment.base |= high << 32;
	segment.access |= set;
	if (!is_canonical(segment.base) || (high >> 40 & 0x1f))
		return fault_selector(vp, VEC_GP, selector);
	if (descriptor_mark(vp, &descriptor, set))
		return -1;
	vp->seg[index] = segment;
	return 0;
}

/* What LLDT and LTR check first. */
static int check_system_load(struct dbt_vp *vp)
{
	if (!in_protected_mode(vp)) {
		vp_raise(vp, VEC_UD);
		return -1;
	}
	return vp->cpl ? fault(vp, VEC_GP, 0) : 0;
}

enum cpu_result helper_lldt(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector;

	if (check_system_load(vp) || read_selector(vp, args, value, &selector))
		return CPU_RESTART;
	if (selector_is_null(selector))
		segment_null(&vp->seg[VP_LDTR], selector, 0);
	else if (load_system(vp, VP_LDTR, selector, BIT(SYSTEM_LDT), 0))
		return CPU_RESTART;
	return finish(vp);
}

enum cpu_result helper_ltr(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint32_t types = BIT(SYSTEM_TSS) | (in_long_mode(vp) ? 0 : BIT(SYSTEM_TSS16));
	uint16_t selector;

	if (check_system_load(vp) || read_selector(vp, args, value, &selector))
		return CPU_RESTART;
	if (selector_is_null(selector))
		return raise_now_error(vp, VEC_GP, 0);
	if (load_system(vp, VP_TR, selector, types, 2 /* busy */))
		return CPU_RESTART;
	return finish(vp);
}

static enum cpu_result store_selector(struct dbt_vp *vp, struct cpu_args args, uint64_t value,
				      enum vp_segment_index index)
{
	if (!in_protected_mode(vp))
		return raise_now(vp, VEC_UD);
	if (umip_forbids(vp))
		return raise_now_error(vp, VEC_GP, 0);
	if (args.flags & CPU_ARG_MEM) {
		if (mmu_write(vp, value, &vp->seg[index].selector, 2, 0) < 0)
			return CPU_RESTART;
		return finish(vp);
	}
	write_gpr(vp, args.rm, args.op_bytes, vp->seg[index].selector);
	return CPU_DONE;
}

enum cpu_result helper_sldt(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return store_selector(vp, args, value, VP_LDTR);
}

enum cpu_result helper_str(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return store_selector(vp, args, value, VP_TR);
}

/* --- questions about descriptors --- */

static void set_zf(struct dbt_vp *vp, bool set)
{
	vp->flags_ah = (vp->flags_ah & ~FLAG_ZF) | (set ? FLAG_ZF : 0);
}

/* The descriptor a question is about. -1: exception; 0: there is none that can be read; 1. */
static int ask_descriptor(struct dbt_vp *vp, struct cpu_args args, uint64_t value,
			  uint16_t *ret_selector, uint64_t *ret_raw)
{
	uint64_t address;

	if (!in_protected_mode(vp)) {
		vp_raise(vp, VEC_UD);
		return -1;
	}
	if (read_selector(vp, args, value, ret_selector))
		return -1;
	if (selector_is_null(*ret_selector) || !descriptor_find(vp, *ret_selector, 8, &address))
		return 0;
	return mmu_read(vp, address, ret_raw, 8, ACCESS_SUPERVISOR) ? -1 : 1;
}

static bool visible(const struct dbt_vp *vp, uint16_t selector, uint32_t access)
{
	if (access_is_code(access) && access_is_conforming(access))
		return true;
	return vp->cpl <= access_dpl(access) && (selector & SELECTOR_RPL) <= access_dpl(access);
}

/* System types that LAR and LSL know, a bit each. */
#define LSL_TYPES_LONG	 (BIT(SYSTEM_LDT) | BIT(SYSTEM_TSS) | BIT(SYSTEM_TSS_BUSY))
#define LSL_TYPES_LEGACY (LSL_TYPES_LONG | BIT(SYSTEM_TSS16) | BIT(SYSTEM_TSS16_BUSY))
#define LAR_TYPES_LONG	 (LSL_TYPES_LONG | BIT(SYSTEM_CALL))
#define LAR_TYPES_LEGACY                                                                           \
	(LSL_TYPES_LEGACY | BIT(SYSTEM_CALL) | BIT(SYSTEM_CALL16) | BIT(SYSTEM_TASK_GATE))

static bool answerable(const struct dbt_vp *vp, uint16_t selector, uint64_t raw, uint32_t types)
{
	uint32_t access = descriptor_access(raw);

	return ((access & VP_SEG_S) || (types & BIT(access_type(access)))) &&
	       visible(vp, selector, access);
}

enum cpu_result helper_lar(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector;
	uint64_t raw;
	int found = ask_descriptor(vp, args, value, &selector, &raw);
	bool ok;

	if (found < 0)
		return CPU_RESTART;
	ok = found &&
	     answerable(vp, selector, raw, in_long_mode(vp) ? LAR_TYPES_LONG : LAR_TYPES_LEGACY);
	if (ok)
		write_gpr(vp, args.reg, args.op_bytes, raw >> 32 & 0xffff00);
	set_zf(vp, ok);
	return CPU_DONE;
}

enum cpu_result helper_lsl(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector;
	uint64_t raw;
	int found = ask_descriptor(vp, args, value, &selector, &raw);
	bool ok;

	if (found < 0)
		return CPU_RESTART;
	ok = found &&
	     answerable(vp, selector, raw, in_long_mode(vp) ? LSL_TYPES_LONG : LSL_TYPES_LEGACY);
	if (ok)
		write_gpr(vp, args.reg, args.op_bytes, descriptor_limit(raw));
	set_zf(vp, ok);
	return CPU_DONE;
}

static enum cpu_result verify(struct dbt_vp *vp, struct cpu_args args, uint64_t value, bool write)
{
	uint16_t selector;
	uint64_t raw;
	int found = ask_descriptor(vp, args, value, &selector, &raw);
	bool ok = false;

	if (found < 0)
		return CPU_RESTART;
	if (found) {
		uint32_t access = descriptor_access(raw);
		bool readable = !(access & TYPE_CODE) || (access & TYPE_READABLE);

		ok = (access & VP_SEG_S) && visible(vp, selector, access) &&
		     (write ? access_is_writable_data(access) : readable);
	}
	set_zf(vp, ok);
	return CPU_DONE;
}

enum cpu_result helper_verr(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return verify(vp, args, value, false);
}

enum cpu_result helper_verw(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return verify(vp, args, value, true);
}

/* ARPL: the destination's RPL is raised to the source's. Memory is written even when unchanged. */
enum cpu_result helper_arpl(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	uint16_t selector, source = vp->gpr[args.reg] & SELECTOR_RPL;
	bool raise;

	if (!in_protected_mode(vp))
		return raise_now(vp, VEC_UD);
	if (read_selector(vp, args, value, &selector))
		return CPU_RESTART;
	raise = (selector & SELECTOR_RPL) < source;
	if (raise)
		selector = (selector & ~SELECTOR_RPL) | source;
	if (!(args.flags & CPU_ARG_MEM))
		write_gpr(vp, args.rm, 2, selector);
	else if (mmu_write(vp, value, &selector, 2, 0) < 0)
		return CPU_RESTART;
	set_zf(vp, raise);
	return finish(vp);
}

enum cpu_result helper_ud(struct dbt_vp *vp, struct cpu_args args, uint64_t value)
{
	return raise_now(vp, VEC_UD);
}

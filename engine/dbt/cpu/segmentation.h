/*
 * segmentation.h - descriptors, segment loads and stacks, for the far transfers of this folder
 *
 * Rules that hold for every function here:
 *  1. All checks come before the first change of a register, so that a fault leaves no trace. Guest
 *     memory may already have a descriptor's accessed bit set by then, as on a real processor.
 *  2. -1 means: abandon the instruction, vp->exception is raised or vp->leave is set.
 *  3. Error codes are raised with EXT clear; interrupt.c adds it when an external event was being
 *     delivered.
 * Light code.
 */
#ifndef DBT_SEGMENTATION_H
#define DBT_SEGMENTATION_H

#include "control_bits.h"
#include "cpu.h"
#include "mmu.h"

#define SELECTOR_RPL 3u
#define SELECTOR_TI  4u

/* Types of code and data segments. */
#define TYPE_ACCESSED	 1u
#define TYPE_WRITABLE	 2u /* data */
#define TYPE_READABLE	 2u /* code */
#define TYPE_EXPAND_DOWN 4u /* data */
#define TYPE_CONFORMING	 4u /* code */
#define TYPE_CODE	 8u
/* System descriptors (S clear). */
enum {
	SYSTEM_TSS16 = 1,
	SYSTEM_LDT = 2,
	SYSTEM_TSS16_BUSY = 3,
	SYSTEM_CALL16 = 4,
	SYSTEM_TASK_GATE = 5,
	SYSTEM_INT16 = 6,
	SYSTEM_TRAP16 = 7,
	SYSTEM_TSS = 9,
	SYSTEM_TSS_BUSY = 11,
	SYSTEM_CALL = 12,
	SYSTEM_INT = 14,
	SYSTEM_TRAP = 15
};

/* What SYSCALL and its relatives put into CS and SS; the privilege level is added. */
#define ACCESS_CODE64 0xa09bu
#define ACCESS_CODE32 0xc09bu
#define ACCESS_DATA32 0xc093u

/* --- modes --- */

static inline bool in_code64(const struct dbt_vp *vp)
{
	return vp->mode & MODE_CODE64;
}
static inline bool in_long_mode(const struct dbt_vp *vp)
{
	return vp->efer & EFER_LMA;
}
static inline bool in_vm86(const struct dbt_vp *vp)
{
	return (vp->eflags_rest & FLAG_VM) && (vp->cr0 & CR0_PE);
}
/* Protected mode proper: selectors name descriptors. */
static inline bool in_protected_mode(const struct dbt_vp *vp)
{
	return (vp->cr0 & CR0_PE) && !(vp->eflags_rest & FLAG_VM);
}
static inline unsigned int flags_iopl(const struct dbt_vp *vp)
{
	return (vp->eflags_rest & FLAG_IOPL) >> 12;
}
static inline bool is_canonical(uint64_t address)
{
	return (uint64_t)((int64_t)(address << 16) >> 16) == address;
}

/* --- results --- */

static inline enum cpu_result raise_now(struct dbt_vp *vp, uint8_t vector)
{
	vp_raise(vp, vector);
	return CPU_RESTART;
}
static inline enum cpu_result raise_now_error(struct dbt_vp *vp, uint8_t vector, uint32_t error)
{
	vp_raise_error(vp, vector, error);
	return CPU_RESTART;
}
static inline int fault(struct dbt_vp *vp, uint8_t vector, uint32_t error)
{
	vp_raise_error(vp, vector, error);
	return -1;
}
static inline int fault_selector(struct dbt_vp *vp, uint8_t vector, uint16_t selector)
{
	return fault(vp, vector, selector & ~SELECTOR_RPL);
}
/* The end of a helper that completed: a store of it may have asked for the run loop. */
static inline enum cpu_result finish(struct dbt_vp *vp)
{
	if (likely(vp->leave == LEAVE_NONE))
		return CPU_DONE;
	vp->rip = vp->next_rip;
	return CPU_DONE_LEAVE;
}

/* cpu_fail() - give up on this VP: VP_EXIT_FAILED with @why. Returns -1. */
void cpu_set_failed(struct dbt_vp *vp, const char *why);
static inline int cpu_fail(struct dbt_vp *vp, const char *why)
{
	cpu_set_failed(vp, why);
	return -1;
}

/* --- registers --- */

static inline void write_gpr(struct dbt_vp *vp, unsigned int reg, uint32_t bytes, uint64_t value)
{
	if (bytes == 8)
		vp->gpr[reg] = value;
	else if (bytes == 4)
		vp->gpr[reg] = (uint32_t)value;
	else
		vp->gpr[reg] = (vp->gpr[reg] & ~0xffffull) | (uint16_t)value;
}
static inline uint64_t truncate_to(uint64_t value, uint32_t bytes)
{
	return bytes == 8 ? value : bytes == 4 ? (uint32_t)value : (uint16_t)value;
}

/* The 16-bit selector operand in memory or a register. */
static inline int read_selector(struct dbt_vp *vp, struct cpu_args args, uint64_t value,
				uint16_t *ret_selector)
{
	if (args.flags & CPU_ARG_MEM)
		return mmu_read(vp, value, ret_selector, 2, 0);
	*ret_selector = vp->gpr[args.rm];
	return 0;
}

/* --- descriptors (descriptor.c) --- */

struct descriptor {
	uint64_t raw;
	uint64_t address; /* linear */
};

static inline bool selector_is_null(uint16_t selector)
{
	return !(selector & ~SELECTOR_RPL);
}
static inline uint32_t descriptor_access(uint64_t raw)
{
	return raw >> 40 & 0xf0ff;
}
static inline uint32_t access_type(uint32_t access)
{
	return access & VP_SEG_TYPE_MASK;
}
static inline unsigned int access_dpl(uint32_t access)
{
	return (access & VP_SEG_DPL_MASK) >> VP_SEG_DPL_SHIFT;
}
static inline bool access_is_code(uint32_t access)
{
	return (access & (VP_SEG_S | TYPE_CODE)) == (VP_SEG_S | TYPE_CODE);
}
static inline bool access_is_conforming(uint32_t access)
{
	return access & TYPE_CONFORMING;
}
static inline bool access_is_writable_data(uint32_t access)
{
	return (access & (VP_SEG_S | TYPE_CODE | TYPE_WRITABLE)) == (VP_SEG_S | TYPE_WRITABLE);
}
static inline uint64_t descriptor_base(uint64_t raw)
{
	return (raw >> 16 & 0xffffff) | (raw >> 32 & 0xff000000);
}
static inline uint32_t descriptor_limit(uint64_t raw)
{
	uint32_t limit = (raw & 0xffff) | (raw >> 32 & 0xf0000);

	return raw >> 40 & VP_SEG_G ? limit << 12 | 0xfff : limit;
}

/* Where the descriptor of a non-null selector is; false: beyond its table's limit. */
bool descriptor_find(const struct dbt_vp *vp, uint16_t selector, uint32_t bytes,
		     uint64_t *ret_address);
/* Reads it; beyond the limit: @vector(selector). */
int descriptor_read(struct dbt_vp *vp, uint16_t selector, uint8_t vector,
		    struct descriptor *ret_descriptor);
/* Writes the type byte with @set added, if that changes it. */
int descriptor_mark(struct dbt_vp *vp, const struct descriptor *descriptor, uint8_t set);
/* The hidden part of a segment register from a descriptor. */
void segment_fill(struct vp_segment *segment, uint16_t selector, uint64_t raw);
void segment_null(struct vp_segment *segment, uint16_t selector, unsigned int dpl);
/* The real-mode and virtual-8086 forms of a load. */
void segment_fill_real(const struct dbt_vp *vp, struct vp_segment *segment, uint16_t selector);

/* Load of ES, SS, DS, FS or GS by an instruction, in any mode. */
int segment_load(struct dbt_vp *vp, enum vp_segment_index index, uint16_t selector);
/* Checks and fills SS for a stack of privilege @cpl; faults with @vector (#GP or #TS). */
int segment_read_stack(struct dbt_vp *vp, uint16_t selector, unsigned int cpl, uint8_t vector,
		       struct vp_segment *ret_segment);
/* After a return to @cpl: data segments it must not see become null. */
void segments_drop_privileged(struct dbt_vp *vp, unsigned int cpl);
/* CS's DPL and RPL become the selector's; marks the descriptor. -1, or 0 with *ret_cs filled. */
int code_segment_finish(struct dbt_vp *vp, const struct descriptor *descriptor, uint16_t selector,
			struct vp_segment *ret_cs);
/* #GP(0) unless @rip may be executed in @cs. */
int code_check_target(struct dbt_vp *vp, const struct vp_segment *cs, uint64_t rip);
static inline bool segment_is_code64(const struct dbt_vp *vp, const struct vp_segment *cs)
{
	return in_long_mode(vp) && (cs->access & VP_SEG_L);
}

/* --- stacks (stack.c) --- */

/* A stack under way: registers change only in stack_commit(). */
struct stack {
	uint64_t pointer;
	uint64_t mask;			  /* all ones, 32 or 16 bits */
	const struct vp_segment *segment; /* NULL: 64-bit mode, neither base nor limit */
	uint32_t access;		  /* for mmu_read(), mmu_write() */
	uint32_t error;			  /* error code of #SS */
};

struct stack stack_current(const struct dbt_vp *vp);
/* On a segment that is not in SS yet; @code64: what the processor will execute there. */
struct stack stack_new(const struct vp_segment *ss, bool code64, uint64_t pointer,
		       unsigned int cpl);
/* Pushes values[0] first. Returns as mmu_write() does. */
int stack_push(struct dbt_vp *vp, struct stack *stack, const uint64_t *values, unsigned int count,
	       uint32_t width);
/* Pops values[0] first. */
int stack_pop(struct dbt_vp *vp, struct stack *stack, uint64_t *ret_values, unsigned int count,
	      uint32_t width);
/* RSP (or ESP, or SP) becomes the pointer. */
void stack_commit(struct dbt_vp *vp, const struct stack *stack);

/* SS:RSP of privilege @cpl from a 32- or 16-bit TSS. #TS(TR) when it is too short. */
int tss_read_stack(struct dbt_vp *vp, unsigned int cpl, uint16_t *ret_ss, uint32_t *ret_esp);

#endif

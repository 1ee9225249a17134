/*
 * cpu.h - what the processor does beyond plain computation: one C function per instruction
 *
 * Helpers are light code (vp.h). Each is called with vp->rip at its instruction and vp->next_rip
 * after it, all general registers in vp->gpr and all flags in the vp.
 */
#ifndef DBT_CPU_H
#define DBT_CPU_H

#include "partition_dbt.h"

/* What a helper returns. */
enum cpu_result {
	CPU_DONE,      /* completed: go on at vp->next_rip */
	CPU_RESTART,   /* not completed, rip stays: exception raised, vp->leave set or vp->step_once set */
	CPU_DONE_LEAVE /* completed (rip = next_rip), but vp->leave tells the run loop to do something */
};

/* The decoded operands a helper needs; 8 bytes, passed in one register. */
struct cpu_args {
	uint8_t op_bytes;      /* effective operand size: 1, 2, 4, 8 */
	uint8_t address_bytes; /* effective address size: 2, 4, 8 */
	uint8_t reg, rm;       /* ModRM.reg and ModRM.rm with REX/VEX extension (rm: register operand) */
	uint8_t flags;         /* CPU_ARG_* */
	uint8_t seg;           /* enum vp_segment_index of the memory operand, override applied */
	uint16_t imm16;        /* low 16 bits of the immediate (ENTER: nesting level; far pointer: selector) */
};
/*
 * Segment registers are numbered as enum vp_segment_index. MOV Sreg, PUSH Sreg and POP Sreg have it
 * in @reg; LES, LSS, LDS, LFS and LGS (load_far_pointer) have their general register in @reg and the
 * segment register in @imm16. RETF has the bytes to drop in @imm16.
 */
#define CPU_ARG_MEM   1u /* the r/m operand is memory; @value is its linear address */
#define CPU_ARG_REP   2u /* F3 */
#define CPU_ARG_REPNE 4u /* F2 */
#define CPU_ARG_LOCK  8u
#define CPU_ARG_VEX256 16u
#define CPU_ARG_VEX_W 32u

/* @value: linear address of the memory operand, or the immediate (sign-extended) if there is none. */
typedef enum cpu_result cpu_helper(struct dbt_vp *vp, struct cpu_args args, uint64_t value);

/* END: translation of the block stops after it (control transfer, mode or translation may change). */
#define CPU_HELPERS(X)                                                                             \
	/* segments.c, far.c, interrupt.c, syscall.c */                                            \
	X(mov_to_seg, END) X(mov_from_seg, CONT) X(push_seg, CONT) X(pop_seg, END)                 \
	X(load_far_pointer, END) X(jmp_far, END) X(call_far, END) X(ret_far, END) X(iret, END)     \
	X(int_n, END) X(int3, END) X(int1, END) X(into, END)                                       \
	X(syscall, END) X(sysret, END) X(sysenter, END) X(sysexit, END)                            \
	X(lgdt, END) X(lidt, END) X(sgdt, CONT) X(sidt, CONT) X(lldt, END) X(ltr, END)             \
	X(sldt, CONT) X(str, CONT) X(lar, CONT) X(lsl, CONT) X(verr, CONT) X(verw, CONT)           \
	X(arpl, CONT) X(ud, END)                                                                   \
	/* control.c, msr.c, cpuid.c, time.c */                                                    \
	X(mov_to_cr, END) X(mov_from_cr, CONT) X(mov_to_dr, END) X(mov_from_dr, CONT)              \
	X(clts, END) X(lmsw, END) X(smsw, CONT) X(invlpg, END) X(invpcid, END) X(wbinvd, CONT)     \
	X(rdmsr, CONT) X(wrmsr, END) X(cpuid, CONT) X(rdtsc, CONT) X(rdtscp, CONT)                 \
	X(rdpid, CONT) X(rdpmc, CONT) X(xgetbv, CONT) X(xsetbv, END) X(hlt, END)                   \
	X(rdfsbase, CONT) X(rdgsbase, CONT) X(wrfsbase, CONT) X(wrgsbase, CONT)                    \
	X(monitor, CONT) X(mwait, END) X(swapgs, CONT)                                             \
	/* io.c, string.c */                                                                       \
	X(in, CONT) X(out, CONT) X(ins, CONT) X(outs, CONT)                                        \
	X(movs, CONT) X(cmps, CONT) X(stos, CONT) X(lods, CONT) X(scas, CONT)                      \
	/* misc.c */                                                                               \
	X(popf, END) X(pushf, CONT) X(pusha, CONT) X(popa, CONT) X(enter, CONT) X(bound, CONT)     \
	X(daa, CONT) X(das, CONT) X(aaa, CONT) X(aas, CONT) X(aam, CONT) X(aad, CONT)              \
	X(salc, CONT) X(xlat, CONT)                                                                \
	/* vector.c */                                                                             \
	X(xsave, CONT) X(xsavec, CONT) X(xrstor, CONT)                                             \
	X(maskmov, CONT) X(vmaskmov, CONT) X(gather, CONT)                                         \
	/* x87.c */                                                                                \
	X(fldenv, CONT) X(fnstenv, CONT) X(frstor, CONT) X(fnsave, CONT)                           \
	X(fxsave, CONT) X(fxrstor, CONT)

enum cpu_helper_id {
#define X(name, end) HELPER_##name,
	CPU_HELPERS(X)
#undef X
	HELPER_COUNT
};
#define X(name, end) cpu_helper helper_##name;
CPU_HELPERS(X)
#undef X

struct cpu_helper_row {
	const char *name;
	cpu_helper *function;
	bool ends_block;
};
extern const struct cpu_helper_row cpu_helpers[HELPER_COUNT]; /* helpers.c */

/* --- the processor as a whole (interrupt.c, state.c) --- */

/* Recompute mode, mode_slot, tlb_index and cpl-dependent members from the registers. */
void cpu_update_mode(struct dbt_vp *vp);
/* The mode word that @mode becomes after STAC (@ac) or CLAC, and its slot and table. */
uint32_t cpu_mode_with_ac(uint32_t mode, bool ac);
uint32_t cpu_tlb_index(uint32_t mode);

/* Power-on reset and INIT (SDM vol. 3, "Processor State After Reset"). */
void cpu_reset(struct dbt_vp *vp, bool init);
void cpu_start_sipi(struct dbt_vp *vp, uint8_t vector);

/*
 * cpu_deliver_exception() - deliver vp->exception at vp->rip (double and triple faults included)
 * Returns 0: rip, CPL and mode are the handler's; 1: vp->leave is set (VP_EXIT_SHUTDOWN).
 */
int cpu_deliver_exception(struct dbt_vp *vp);
/* The same for an external interrupt or NMI, between two instructions. */
int cpu_deliver_interrupt(struct dbt_vp *vp, uint8_t vector);

/* Whole state in and out (state.c); not light. set: -EINVAL, nothing changed. */
void cpu_get_state(struct dbt_vp *vp, struct vp_state *ret_state);
int cpu_set_state(struct dbt_vp *vp, const struct vp_state *state);

/* cpuid.c */
size_t cpu_supported_cpuid(struct cpuid_leaf leaves[PARTITION_MAX_CPUID]);
uint64_t cpu_xcr0_supported(void);

/* The slot for a mode word (code cache: few distinct words per partition). Light. */
uint32_t code_cache_mode_slot(struct dbt_vp *vp, uint32_t mode);

static inline uint64_t host_rdtsc(void)
{
	uint32_t low, high;

	__asm__ volatile("rdtsc" : "=a"(low), "=d"(high));
	return low | (uint64_t)high << 32;
}

/* The same as the partition's time has it: stopped with that. Any thread. */
static inline uint64_t partition_tsc(struct dbt_partition *part)
{
	uint64_t now = host_rdtsc(), stopped = atomic_load(&part->stopped_tsc);

	return stopped ? stopped : now;
}

#endif

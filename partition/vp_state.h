/*
 * vp_state.h - the complete architectural state of one virtual processor
 *
 * One portable format for every engine: what vp_get_state() of one engine returned,
 * vp_set_state() of another accepts. All members are plain values in the processor's own
 * encodings (Intel SDM vol. 3 / AMD APM vol. 2); nothing here points anywhere.
 */
#ifndef PARTITION_VP_STATE_H
#define PARTITION_VP_STATE_H

#include "base.h"

/* Register numbers as the instruction encodings have them. */
enum vp_gpr {
	VP_RAX, VP_RCX, VP_RDX, VP_RBX, VP_RSP, VP_RBP, VP_RSI, VP_RDI,
	VP_R8, VP_R9, VP_R10, VP_R11, VP_R12, VP_R13, VP_R14, VP_R15,
	VP_GPR_COUNT
};
enum vp_segment_index { VP_ES, VP_CS, VP_SS, VP_DS, VP_FS, VP_GS, VP_LDTR, VP_TR, VP_SEGMENT_COUNT };

/* Bits of vp_segment.access: bits 8..23 of a descriptor's second word, shifted to 0. */
#define VP_SEG_TYPE_MASK 0x000f
#define VP_SEG_S         0x0010 /* code or data, not a system segment */
#define VP_SEG_DPL_SHIFT 5
#define VP_SEG_DPL_MASK  0x0060
#define VP_SEG_P         0x0080
#define VP_SEG_AVL       0x1000
#define VP_SEG_L         0x2000
#define VP_SEG_DB        0x4000
#define VP_SEG_G         0x8000
#define VP_SEG_UNUSABLE  0x10000 /* a null selector was loaded; as VMX has it */

struct vp_segment {
	uint64_t base;
	uint32_t limit; /* in bytes, granularity already applied */
	uint32_t access;
	uint16_t selector;
};

struct vp_table { /* GDTR, IDTR */
	uint64_t base;
	uint16_t limit;
};

struct vp_regs {
	uint64_t gpr[VP_GPR_COUNT];
	uint64_t rip;
	uint64_t rflags;
};

enum vp_activity {
	VP_RUNNING,
	VP_HALTED,       /* HLT: waits for an interrupt */
	VP_WAIT_FOR_SIPI /* an AP after reset or INIT */
};

#define VP_LAPIC_BYTES 1024 /* the 4 KiB register page's used part, as KVM_GET_LAPIC lays it out */
#define VP_XSAVE_BYTES 4096 /* standard (not compacted) XSAVE format */

struct vp_state {
	struct vp_regs regs;
	struct vp_segment segment[VP_SEGMENT_COUNT];
	struct vp_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, cr8;
	uint64_t efer;
	uint64_t xcr0;
	uint64_t dr[4], dr6, dr7;

	/* MSRs */
	uint64_t apic_base;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat;
	uint64_t tsc;          /* the guest's counter at the time of the call */
	uint64_t tsc_aux;
	uint64_t tsc_adjust;
	uint64_t tsc_deadline; /* guest TSC value, 0 = disarmed */
	uint64_t misc_enable;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];

	/* Events between two instructions */
	enum vp_activity activity;
	uint8_t sti_shadow;   /* interrupts are held off for one instruction (STI) */
	uint8_t movss_shadow; /* the same after MOV SS / POP SS */
	uint8_t nmi_masked, nmi_pending;
	uint8_t exception_pending; /* raised but not yet delivered */
	uint8_t exception_vector, exception_has_error;
	uint32_t exception_error;
	uint8_t sipi_vector;

	uint8_t lapic[VP_LAPIC_BYTES];
	uint8_t xsave[VP_XSAVE_BYTES] __attribute__((aligned(64)));
};

#endif

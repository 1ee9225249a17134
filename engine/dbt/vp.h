/*
 * vp.h - one virtual processor of the software CPU engine, as translated code and helpers see it
 *
 * While translated code runs, host registers are guest registers, with these exceptions:
 *   - GS base (host) = struct dbt_vp *: everything below is reached as gs:[offset];
 *   - guest R14 and R15 live in gpr[14], gpr[15]; host R14 and R15 are scratch;
 *   - host RSP = guest RSP (host signals use an alternate stack, helpers switch to host_sp);
 *   - OF SF ZF AF PF CF are in host EFLAGS or, where translated code has put them aside, in
 *     flags_of/flags_ah; IF, DF, AC have a byte each; all other flags are in eflags_rest;
 *   - x87, MMX, SSE and AVX state and MXCSR are in the host's own registers.
 * In helpers (light code) gpr[], flags_of/flags_ah hold the guest's values; vector and x87
 * registers still hold the guest's. So light code is compiled with -mgeneral-regs-only, calls
 * nothing of libc, takes no locks and makes system calls only by raw_syscall(). Anything else is
 * done by the run loop (engine.c) after the vector state was saved: see enum dbt_leave.
 *
 * Threads: members are the VP thread's own, except those marked "any thread".
 */
#ifndef DBT_VP_H
#define DBT_VP_H

#include <stdatomic.h>

#include "partition.h"

struct dbt_partition;
struct trace_buffer;

/* Displaced guest registers and the host scratch registers in their place. */
#define DBT_SCRATCH1 14
#define DBT_SCRATCH2 15

/* Arithmetic flags, as EFLAGS bits. */
#define FLAG_CF 0x0001u
#define FLAG_PF 0x0004u
#define FLAG_AF 0x0010u
#define FLAG_ZF 0x0040u
#define FLAG_SF 0x0080u
#define FLAG_OF 0x0800u
#define FLAGS_ARITH (FLAG_CF | FLAG_PF | FLAG_AF | FLAG_ZF | FLAG_SF | FLAG_OF)
#define FLAG_TF 0x00000100u
#define FLAG_IF 0x00000200u
#define FLAG_DF 0x00000400u
#define FLAG_IOPL 0x00003000u
#define FLAG_NT 0x00004000u
#define FLAG_RF 0x00010000u
#define FLAG_VM 0x00020000u
#define FLAG_AC 0x00040000u
#define FLAG_VIF 0x00080000u
#define FLAG_VIP 0x00100000u
#define FLAG_ID 0x00200000u

enum {
	VEC_DE = 0, VEC_DB = 1, VEC_NMI = 2, VEC_BP = 3, VEC_OF = 4, VEC_BR = 5, VEC_UD = 6, VEC_NM = 7,
	VEC_DF = 8, VEC_TS = 10, VEC_NP = 11, VEC_SS = 12, VEC_GP = 13, VEC_PF = 14, VEC_MF = 16,
	VEC_AC = 17, VEC_MC = 18, VEC_XM = 19,
	VEC_NONE = 0xff
};

/*
 * The mode word: everything that changes how the same bytes are translated. A block is found by
 * (guest physical address, guest virtual address, mode).
 */
#define MODE_CODE64     0x0001u /* 64-bit code; otherwise: */
#define MODE_CODE32     0x0002u /* CS.D; neither: 16-bit code */
#define MODE_STACK32    0x0004u /* SS.B (legacy and compatibility mode) */
#define MODE_LONG       0x0008u /* EFER.LMA */
#define MODE_PROTECTED  0x0010u /* CR0.PE and not virtual-8086 */
#define MODE_VM86       0x0020u
#define MODE_USER       0x0040u /* CPL 3 */
#define MODE_FLAT       0x0080u /* legacy: CS, DS, ES, SS have base 0, limit 4 GiB and are usable */
#define MODE_SMAP_AC    0x0100u /* CPL < 3, SMAP on and EFLAGS.AC set: user pages are open */
#define MODE_NO_X87     0x0200u /* CR0.TS or CR0.EM: x87 and MMX fault (#NM, or #UD for MMX+EM) */
#define MODE_NO_SSE     0x0400u /* CR4.OSFXSR clear or CR0.EM: #UD; TS: #NM */
#define MODE_NO_AVX     0x0800u /* CR4.OSXSAVE clear or XCR0 without AVX: VEX is #UD */
#define MODE_STEP       0x1000u /* blocks of exactly one instruction, ended in the dispatcher */
#define MODE_SMAP       0x2000u /* CR4.SMAP: STAC/CLAC change MODE_SMAP_AC */
#define MODE_WATCH      0x10000u /* DR7 enables breakpoints: single steps, all accesses on the slow path */
#define MODE_CPL_MASK   0xc000u
#define MODE_CPL_SHIFT  14

/* --- the inline TLB: direct-mapped, one table per translation regime --- */

enum { TLB_USER, TLB_KERNEL, TLB_KERNEL_AC, TLB_TABLES }; /* index from the mode word */
#define TLB_ENTRY_BITS 10
#define TLB_ENTRIES (1u << TLB_ENTRY_BITS)

/*
 * Translated code: index = (va >> 12) & (TLB_ENTRIES - 1); hit if (va ^ tag) <= 4096 - size;
 * host address = (va ^ tag) + host. A tag that may not hit is TLB_NEVER(index).
 * Tags and host address change on the VP thread only.
 */
struct tlb_entry {
	uint64_t read_tag;  /* page address: reads (data) may go straight to memory */
	uint64_t write_tag; /* ... and writes: dirty bit set, no translated code in it, dirty log done */
	uint64_t host;      /* host address of the page's first byte */
	uint64_t gpa;       /* guest physical page, and mmu.c's flags in the low bits */
};
#define TLB_NEVER(index) ((uint64_t)((index) ^ 1) << 12)

/* --- the inline jump cache: guest virtual address -> host code, one table per mode slot --- */

#define MODE_SLOTS 16 /* the last one is shared by all further mode words and never filled */
#define JUMP_CACHE_BITS 13
#define JUMP_CACHE_ENTRIES (1u << JUMP_CACHE_BITS)
/* CRC32C is a hash of one instruction, in translated code as well. */
static inline uint32_t jump_cache_index(uint64_t va)
{
	uint64_t hash = 0;

	__asm__("crc32q %1, %0" : "+r"(hash) : "r"(va));
	return hash >> 4 & (JUMP_CACHE_ENTRIES - 1);
}
#define JUMP_MASK ((JUMP_CACHE_ENTRIES - 1) << 4) /* of the hash: byte offset of the entry */
/* The va of an empty entry: one that has another index. */
static inline uint64_t jump_cache_never(uint32_t index)
{
	return jump_cache_index(1) == index ? 2 : 1;
}
#define JUMP_CACHE_NEVER(index) jump_cache_never(index)
struct jump_cache_entry {
	uint64_t va;
	uint64_t code; /* entry point that expects the flags in flags_of/flags_ah */
};

/* Why control came back to the run loop. */
enum dbt_leave {
	LEAVE_NONE,
	LEAVE_EXIT,      /* vp->exit is filled: return it to vp_run()'s caller */
	LEAVE_HALT,      /* HLT done (rip is past it): wait for an event */
	LEAVE_TRANSLATE, /* no block for vp->rip yet */
	LEAVE_HEAVY,     /* call vp->heavy(vp) with the vector state saved in vp->xsave */
	LEAVE_REQUEST    /* vp->requests has something that needs locks */
};

/* The answer that vp_run()'s caller gave; the restarted instruction consumes it. */
struct dbt_answer {
	bool valid;
	enum vp_exit_reason reason; /* PIO, MMIO or MSR */
	bool write;
	bool fault;   /* MSR: raise #GP */
	uint64_t address; /* port, gpa or MSR */
	uint8_t bytes;
	uint64_t data;
};

/* vp->requests, any thread sets, VP thread clears; always with exit_request set after. */
#define REQ_CANCEL      0x01u
#define REQ_FLUSH_TLB   0x02u /* drop all of the TLBs and jump caches (page became code, mapping changed) */
#define REQ_FLUSH_JUMPS 0x04u /* drop the jump caches (blocks were invalidated) */
#define REQ_INIT        0x08u
#define REQ_SIPI        0x10u
#define REQ_NMI         0x20u
#define REQ_STOP        0x40u /* stay out of translated code until cleared */
#define REQ_PROTECT     0x80u /* drop the write tags of protect_page, which got PAGE_HAS_CODE */
#define REQ_TRACE       0x100u /* trace_drain(), from the VP itself */

struct apic {
	uint32_t id;
	/* IRR and its trigger modes: any thread, atomically. */
	_Atomic uint32_t irr[8];
	_Atomic uint32_t tmr[8];
	uint32_t isr[8];
	uint32_t tpr, ldr, dfr, svr, esr, esr_pending;
	uint32_t icr_low, icr_high;
	uint32_t lvt[7]; /* CMCI, timer, thermal, perf, LINT0, LINT1, error: enum apic_lvt of apic.h */
	uint32_t timer_initial, timer_divide;
	uint64_t timer_deadline_tsc; /* guest TSC as written; means nothing once timer_due_tsc is 0 */
	/* Host TSC of the next expiry and the period (0 = once); any thread: apic_timer.c. 0 = disarmed. */
	_Atomic uint64_t timer_due_tsc, timer_period_tsc;
	int extint_vector;          /* of an INTA cycle already run, to be taken next; -1: none */
	int timer_fd;               /* timerfd that the engine's timer thread watches */
};

struct dbt_vp {
	struct vp vp;

	/* registers */
	uint64_t gpr[VP_GPR_COUNT];
	uint64_t rip;      /* in helpers: the instruction being executed */
	uint64_t next_rip; /* in helpers: the one after it; branches overwrite it */
	uint8_t flags_of;  /* 0 or 1 */
	uint8_t flags_ah;  /* SF ZF AF PF CF as LAHF has them */
	uint8_t flag_if, flag_df, flag_ac; /* 0 or 1 */
	uint32_t eflags_rest; /* all other flags; bit 1 is set */
	uint32_t mode;        /* always what cpu_update_mode() computes */
	uint32_t mode_slot;   /* index into jump_cache for mode */
	uint32_t tlb_index;   /* TLB_* for mode */
	uint8_t cpl;

	/*
	 * vp_request_exit() sets the first and clears the second, on any thread; the dispatcher
	 * sets them back, the mask first. Translated code polls exit_request at back edges, and
	 * masks its jump cache index: entry 0 is always empty, so an indirect jump misses then.
	 */
	_Atomic uint32_t exit_request;
	_Atomic uint32_t jump_mask;
	/* an interrupt may be deliverable once IF, TPR or a shadow allow; any thread sets */
	_Atomic uint32_t irq_pending;
	_Atomic uint32_t requests; /* REQ_*, any thread */
	_Atomic uint32_t in_guest; /* 1 while translated or light code may run, for REQ_STOP's author */
	_Atomic uint32_t wake;     /* futex word: changes when a halted VP must look again */
	_Atomic uint32_t waiting;  /* 1 while the VP thread may sleep on wake */
	uint32_t poll_ns;	   /* how long the next halt looks for events before it sleeps */
	_Atomic uint8_t sipi_vector;

	/* host side of the switch into translated code */
	uint64_t host_sp;     /* stack that helpers run on */
	uint64_t guest_sp;    /* guest RSP while on the host stack */
	uint64_t spill[4];    /* for emitted sequences that need one more register */
	struct dbt_vp *self;  /* this struct, for thunks */
	struct block_exit *link; /* direct exit just taken, to be chained by the dispatcher; or NULL */

	/* segmentation and control */
	struct vp_segment seg[VP_SEGMENT_COUNT];
	struct vp_table gdtr, idtr;
	uint64_t cr0, cr2, cr3, cr4, efer, xcr0;
	uint64_t dr[4], dr6, dr7;
	uint64_t star, lstar, cstar, sfmask, kernel_gs_base;
	uint64_t sysenter_cs, sysenter_esp, sysenter_eip;
	uint64_t pat, apic_base, tsc_aux, misc_enable;
	uint64_t tsc_offset; /* guest TSC = host TSC + tsc_offset */
	uint64_t tsc_adjust;
	uint64_t mtrr_def_type, mtrr_fixed[11], mtrr_base[8], mtrr_mask[8];

	/* what the guest last loaded: the x87's own would be addresses of translated code (x87.h) */
	struct x87_pointers {
		uint64_t ip, dp;
		uint16_t cs, ds, opcode;
	} x87_pointers;

	/* events */
	enum vp_activity activity;
	uint8_t irq_shadow;   /* STI, MOV SS: no interrupt before the next instruction */
	uint8_t nmi_masked;
	uint8_t step_once;    /* run the next instruction as a MODE_STEP block */
	uint8_t stepping;     /* inside one: bounce buffers are finished after it */
	uint8_t step_trap;    /* ... which began with TF set: #DB after it */
	uint8_t break_hits;   /* data and I/O breakpoints that the instruction has hit, as in DR6: debug.h */
	uint8_t rf_loaded;    /* the instruction loaded EFLAGS.RF for the next one */
	uint8_t aborted;      /* the last instruction was abandoned; cleared by the dispatcher */
	_Atomic uint64_t protect_page; /* argument of REQ_PROTECT */
	struct {
		uint8_t vector; /* VEC_NONE: none pending */
		bool has_error, soft; /* soft: INT n, INT3, INTO (the return address is the next instruction) */
		uint32_t error;
		uint64_t cr2;   /* #PF only, stored to CR2 at delivery */
	} exception;
	uint8_t last_vector;  /* of the last exception raised, for VP_EXIT_SHUTDOWN */
	uint32_t last_error;

	/* leaving */
	enum dbt_leave leave;
	void (*heavy)(struct dbt_vp *vp);
	uint64_t heavy_args[3];
	struct vp_exit exit;
	struct dbt_answer answer;

	/* accesses that cannot go straight to memory: MMIO, APIC page, page-crossing stores */
	struct {
		uint8_t data[4096] __attribute__((aligned(64)));
		uint64_t va;
		uint32_t bytes;    /* 0: none */
		uint32_t done;     /* bytes already read or written by MMIO exits */
		bool write_back;   /* after the instruction, data goes out to va */
	} bounce;

	struct apic apic;
	uint64_t stats[32]; /* enum dbt_stat of stats.h */
	struct trace_buffer *trace; /* trace.h */

	uint8_t *signal_stack;
	struct mmu *mmu; /* second-level TLB and its bookkeeping; mmu.c owns it */

	struct tlb_entry tlb[TLB_TABLES][TLB_ENTRIES] __attribute__((aligned(64)));
	struct jump_cache_entry jump_cache[MODE_SLOTS][JUMP_CACHE_ENTRIES] __attribute__((aligned(64)));
	uint8_t xsave[VP_XSAVE_BYTES] __attribute__((aligned(64))); /* guest's, while the run loop runs */
};

static inline struct dbt_vp *to_dbt_vp(struct vp *vp)
{
	return (struct dbt_vp *)vp;
}
static inline struct dbt_partition *vp_partition(struct dbt_vp *vp)
{
	return (struct dbt_partition *)vp->vp.part;
}

/* --- flags --- */

static inline uint32_t vp_arith_flags(const struct dbt_vp *vp)
{
	return (vp->flags_ah & (FLAGS_ARITH & 0xff)) | (vp->flags_of ? FLAG_OF : 0);
}
static inline void vp_set_arith_flags(struct dbt_vp *vp, uint32_t flags)
{
	vp->flags_ah = (flags & FLAGS_ARITH & 0xff) | 2;
	vp->flags_of = (flags & FLAG_OF) != 0;
}
static inline uint32_t vp_rflags(const struct dbt_vp *vp)
{
	return vp_arith_flags(vp) | vp->eflags_rest | (vp->flag_if ? FLAG_IF : 0) |
	       (vp->flag_df ? FLAG_DF : 0) | (vp->flag_ac ? FLAG_AC : 0);
}
/* Sets every flag; the caller decided what may change, and calls cpu_update_mode() after. */
static inline void vp_set_rflags(struct dbt_vp *vp, uint32_t flags)
{
	vp_set_arith_flags(vp, flags);
	vp->flag_if = (flags & FLAG_IF) != 0;
	vp->flag_df = (flags & FLAG_DF) != 0;
	vp->flag_ac = (flags & FLAG_AC) != 0;
	vp->eflags_rest = (flags & ~(FLAGS_ARITH | FLAG_IF | FLAG_DF | FLAG_AC) & 0x3fffff) | 2;
}

/* --- raising exceptions (light) --- */

/* Record an exception for the dispatcher to deliver at vp->rip. */
static inline void vp_raise(struct dbt_vp *vp, uint8_t vector)
{
	vp->exception.vector = vector;
	vp->exception.has_error = false;
	vp->exception.soft = false;
	vp->exception.error = 0;
}
static inline void vp_raise_error(struct dbt_vp *vp, uint8_t vector, uint32_t error)
{
	vp_raise(vp, vector);
	vp->exception.has_error = true;
	vp->exception.error = error;
}

/* Have the VP come to the dispatcher soon, if it is in translated code. Any thread; light. */
static inline void vp_request_exit(struct dbt_vp *vp)
{
	atomic_store(&vp->exit_request, 1);
	atomic_store(&vp->jump_mask, 0);
}

/* dbt_kick() - make the VP look at its requests and interrupts soon. Any thread; light. */
void dbt_kick(struct dbt_vp *vp);

/* A system call that leaves vector registers alone, for light code. */
static inline long raw_syscall(long number, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long result;

	__asm__ volatile("syscall"
			 : "=a"(result)
			 : "a"(number), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	return result;
}

#endif

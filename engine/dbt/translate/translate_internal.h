/*
 * translate_internal.h - shared by the files of the translator
 *
 * Flags. Arithmetic flags are live from where they are written to where they are read; translate()
 * computes live_in for each instruction, taking all six as live at the block's end. While emitting,
 * `flags_in_host` says where their value is: in EFLAGS, or put aside in the vp. Whatever clobbers
 * EFLAGS (a TLB check, a poll, a call) puts live flags aside before; an instruction that reads
 * flags, or keeps some live ones, brings them back before.
 */
#ifndef DBT_TRANSLATE_INTERNAL_H
#define DBT_TRANSLATE_INTERNAL_H

#include "cpu.h"
#include "decode.h"
#include "dispatch.h"
#include "mmu.h"
#include "stats.h"
#include "translate.h"

#define MAX_INSNS 64
#define MAX_STUBS (MAX_INSNS * 4 + 8)
#define MAX_POINTS (MAX_INSNS * 3 + MAX_STUBS)

#define OFF(member) ((uint32_t)offsetof(struct dbt_vp, member))
#define GPR(reg) (OFF(gpr) + 8 * (reg))

/* Code at the end of the block, reached by a forward jump from its body. */
struct stub {
	enum { STUB_MEMORY, STUB_GO_TO, STUB_LINK, STUB_CROSS_PAGE, STUB_STI } kind;
	uint8_t *field;       /* displacement that leads here; NULL: set by the exit itself */
	uint8_t *resume;      /* writable address to continue at */
	uint16_t guest;       /* offset of the instruction */
	bool flags_in_host;
	uint32_t tag, what;   /* STUB_MEMORY */
	uint64_t rip;         /* STUB_GO_TO, STUB_CROSS_PAGE: guest target */
	struct block_exit *exit;
};

struct translation {
	struct dbt_vp *vp;
	struct code_cache *cache;
	struct block *block;
	struct emit e;
	uint8_t *start;

	struct insn insns[MAX_INSNS];
	uint16_t offsets[MAX_INSNS]; /* of each instruction, from the block's rip */
	uint16_t live_in[MAX_INSNS];
	unsigned int count, current;
	uint8_t raise_last;          /* exception that the undecodable last one raises, or VEC_NONE */
	int poll_at;                 /* instruction before which to look at exit_request; -1: none */

	uint32_t mode, mode_slot, tlb_index; /* change inside the block by STAC and CLAC */
	bool step;
	bool flags_in_host;
	bool ended;                  /* control never falls out of what was emitted last */
	unsigned int exit_count;

	struct stub stubs[MAX_STUBS];
	unsigned int stub_count;
	struct block_point points[MAX_POINTS];
	unsigned int point_count;
};

static inline const struct insn *current_insn(const struct translation *t)
{
	return &t->insns[t->current];
}
static inline uint64_t insn_rip(const struct translation *t, unsigned int index)
{
	return t->block->rip + t->offsets[index];
}
/* rip of the instruction after the current one, wrapped as the code size wants */
uint64_t wrap_rip(const struct translation *t, uint64_t rip);
static inline uint64_t next_rip(const struct translation *t)
{
	return wrap_rip(t, insn_rip(t, t->current) + current_insn(t)->length);
}
static inline bool is_displaced(unsigned int reg)
{
	return reg == DBT_SCRATCH1 || reg == DBT_SCRATCH2;
}

/* emit_flags.c */
void flags_put_aside(struct translation *t, unsigned int scratch);
/* Before EFLAGS are clobbered inside the current instruction. */
void flags_keep_live(struct translation *t, unsigned int scratch);
void flags_bring_back(struct translation *t, unsigned int scratch);
/* Before the operation of @insn itself: bring flags back if it needs them; note what it leaves. */
void flags_for_operation(struct translation *t, const struct insn *insn, unsigned int scratch);

/* emit_memory.c */
/* Where the guest's @reg is: itself, or loaded into @scratch. */
unsigned int guest_register(struct translation *t, unsigned int reg, unsigned int scratch);
void set_guest_register(struct translation *t, unsigned int reg, unsigned int from, unsigned int bytes);
/* S1 = effective address (offset), no segment; clobbers S2, keeps flags. */
void effective_address(struct translation *t, const struct insn *insn, int64_t extra);
/* S1 = linear address; may put flags aside. @bytes, @access for segment limits. */
void linear_address(struct translation *t, const struct insn *insn, unsigned int bytes, unsigned int access);
void add_segment(struct translation *t, unsigned int seg, unsigned int bytes, unsigned int access);
/* S1: linear address -> host address. Keeps live flags aside. */
void host_address(struct translation *t, unsigned int bytes, uint32_t access);
#define ACCESS_ALIGNED (MEMORY_ALIGNED >> 16) /* with @access */
#define ACCESS_STACK (MEMORY_STACK >> 16)
/* S1 = linear address of [SP + disp]. */
void stack_address(struct translation *t, int32_t disp, unsigned int bytes, unsigned int access);
void adjust_stack(struct translation *t, int32_t by);
static inline unsigned int stack_bytes(const struct translation *t)
{
	return t->mode & MODE_CODE64 ? 8 : t->mode & MODE_STACK32 ? 4 : 2;
}

/* emit_exit.c */
struct stub *add_stub(struct translation *t, unsigned int kind, uint8_t *field);
void add_point(struct translation *t, uint16_t guest);
/* Go on at guest @rip; @condition -1: always, otherwise a host condition code. */
void exit_direct(struct translation *t, int condition, uint64_t rip);
/* Go on at the guest rip in S1. */
void exit_indirect(struct translation *t);
void emit_poll(struct translation *t);
void emit_stubs(struct translation *t);

/* emit_copy.c */
void emit_copy(struct translation *t, const struct insn *insn);

/* emit_special.c */
void emit_special(struct translation *t, const struct insn *insn);

/* emit_helper.c */
void emit_helper_call(struct translation *t, unsigned int thunk, const struct insn *insn, uint16_t imm16);
void emit_thunk_call(struct translation *t, const uint8_t *thunk);

#endif

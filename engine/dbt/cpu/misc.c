/*
 * misc.c - flags on the stack, PUSHA and POPA, ENTER, BOUND, decimal arithmetic, XLAT
 *
 * All but POPF, PUSHF, ENTER and XLAT exist outside 64-bit mode only. SP is written when all of the
 * stack accesses have succeeded. Flags that the manual leaves undefined are cleared.
 */
#include "operand.h"

/* --- POPF, PUSHF --- */

#define POPF_ALWAYS (FLAGS_ARITH | FLAG_TF | FLAG_DF | FLAG_NT)

static unsigned int flags_iopl(const struct dbt_vp *vp)
{
	return (vp->eflags_rest & FLAG_IOPL) >> 12;
}

static bool vm86_without_iopl(const struct dbt_vp *vp)
{
	return (vp->mode & MODE_VM86) && flags_iopl(vp) < 3;
}

/* What POPF may change here (SDM vol. 2, POPF, table of effects); VME is not offered. */
static uint32_t popf_mask(const struct dbt_vp *vp, unsigned int op_bytes)
{
	uint32_t mask = POPF_ALWAYS;

	if (op_bytes > 2)
		mask |= FLAG_AC | FLAG_ID;
	if (vp->cpl == 0)
		mask |= FLAG_IOPL;
	if (vp->cpl <= flags_iopl(vp))
		mask |= FLAG_IF;
	return mask;
}

static void move_sp(struct dbt_vp *vp, int64_t bytes)
{
	reg_set(vp, VP_RSP, stack_bytes(vp), vp->gpr[VP_RSP] + bytes);
}

enum cpu_result helper_popf(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint32_t mask = popf_mask(vp, args.op_bytes), flags = vp_rflags(vp);
	uint64_t value = 0;

	if (vm86_without_iopl(vp))
		return cpu_fault_gp(vp);
	if (stack_read(vp, vp->gpr[VP_RSP], &value, args.op_bytes) < 0)
		return CPU_RESTART;
	flags = (flags & ~mask) | ((uint32_t)value & mask);
	if (args.op_bytes > 2)
		flags &= ~FLAG_RF;
	move_sp(vp, args.op_bytes);
	vp_set_rflags(vp, flags);
	cpu_update_mode(vp);
	return CPU_DONE;
}

enum cpu_result helper_pushf(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t value = vp_rflags(vp) & ~(FLAG_VM | FLAG_RF);
	int r;

	if (vm86_without_iopl(vp))
		return cpu_fault_gp(vp);
	r = stack_write(vp, vp->gpr[VP_RSP] - args.op_bytes, &value, args.op_bytes);
	if (r >= 0)
		move_sp(vp, -(int64_t)args.op_bytes);
	return write_result(vp, r);
}

/* --- PUSHA, POPA --- */

#define ALL_REGISTERS 8

/* Do [sp, sp + bytes) follow each other, without a wrap around of SP? */
static bool stack_contiguous(const struct dbt_vp *vp, uint64_t sp, uint32_t bytes)
{
	uint64_t mask = address_mask(stack_bytes(vp));

	return (sp & mask) <= mask - (bytes - 1);
}

/* The eight registers in memory, RDI lowest. */
union all_registers {
	uint16_t words[ALL_REGISTERS];
	uint32_t dwords[ALL_REGISTERS];
	uint8_t bytes[ALL_REGISTERS * 4];
};

enum cpu_result helper_pusha(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint32_t bytes = args.op_bytes, total = ALL_REGISTERS * bytes;
	uint64_t sp = vp->gpr[VP_RSP];
	union all_registers image;
	int r = 0;

	for (unsigned int i = 0; i < ALL_REGISTERS; i++) {
		if (bytes == 2)
			image.words[i] = vp->gpr[VP_RDI - i];
		else
			image.dwords[i] = vp->gpr[VP_RDI - i];
	}
	if (stack_contiguous(vp, sp - total, total)) {
		r = stack_write(vp, sp - total, image.bytes, total);
	} else {
		for (unsigned int i = ALL_REGISTERS; r >= 0 && i-- > 0;)
			r = stack_write(vp, sp - total + i * bytes, image.bytes + i * bytes, bytes);
	}
	if (r >= 0)
		move_sp(vp, -(int64_t)total);
	return write_result(vp, r);
}

enum cpu_result helper_popa(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint32_t bytes = args.op_bytes, total = ALL_REGISTERS * bytes;
	uint64_t sp = vp->gpr[VP_RSP];
	union all_registers image;
	int r = 0;

	if (stack_contiguous(vp, sp, total)) {
		r = stack_read(vp, sp, image.bytes, total);
	} else {
		for (unsigned int i = 0; r >= 0 && i < ALL_REGISTERS; i++)
			r = stack_read(vp, sp + i * bytes, image.bytes + i * bytes, bytes);
	}
	if (r < 0)
		return CPU_RESTART;
	for (unsigned int i = 0; i < ALL_REGISTERS; i++)
		if (VP_RDI - i != VP_RSP)
			reg_set(vp, VP_RDI - i, bytes, bytes == 2 ? image.words[i] : image.dwords[i]);
	move_sp(vp, total);
	return CPU_DONE;
}

/* --- ENTER --- */

#define ENTER_LEVELS 32

/* Copies the frame pointers of the enclosing procedures; then the new one is pushed. */
static int push_display(struct dbt_vp *vp, unsigned int bytes, unsigned int level, uint64_t frame,
			uint64_t *sp)
{
	uint64_t rbp = vp->gpr[VP_RBP], value = 0;
	int r = 0;

	for (unsigned int i = 1; i < level && r >= 0; i++) {
		rbp -= bytes;
		if (stack_read(vp, rbp, &value, bytes) < 0)
			return -1;
		*sp -= bytes;
		r = stack_write(vp, *sp, &value, bytes);
	}
	if (r < 0)
		return r;
	*sp -= bytes;
	return stack_write(vp, *sp, &frame, bytes);
}

/* ENTER faults when a write where its stack pointer ends up would. */
static int probe_frame(struct dbt_vp *vp, uint64_t sp, unsigned int bytes)
{
	uint64_t linear, unused;

	sp &= address_mask(stack_bytes(vp));
	if (segment_linear(vp, VP_SS, sp, bytes, ACCESS_WRITE, &linear) < 0)
		return -1;
	return stack_fault(vp, mmu_read(vp, linear, &unused, bytes, ACCESS_READ | ACCESS_WRITE));
}

enum cpu_result helper_enter(struct dbt_vp *vp, struct cpu_args args, uint64_t size)
{
	unsigned int level = args.imm16 % ENTER_LEVELS, bytes = args.op_bytes;
	uint64_t sp = vp->gpr[VP_RSP] - bytes, frame = sp;
	int r = stack_write(vp, sp, &vp->gpr[VP_RBP], bytes);

	if (r >= 0 && level)
		r = push_display(vp, bytes, level, frame, &sp);
	if (r == 0)
		r = probe_frame(vp, sp - (uint16_t)size, bytes);
	if (r < 0)
		return CPU_RESTART;
	reg_set(vp, VP_RBP, bytes, frame);
	reg_set(vp, VP_RSP, stack_bytes(vp), sp - (uint16_t)size);
	return write_result(vp, r);
}

/* --- BOUND --- */

static int64_t sign_extend(uint64_t value, unsigned int bytes)
{
	return bytes == 2 ? (int16_t)value : (int32_t)value;
}

enum cpu_result helper_bound(struct dbt_vp *vp, struct cpu_args args, uint64_t address)
{
	int64_t index = sign_extend(vp->gpr[args.reg], args.op_bytes), low, high;
	uint64_t bounds = 0;

	if (mmu_read(vp, address, &bounds, 2 * args.op_bytes, ACCESS_READ) < 0)
		return CPU_RESTART;
	low = sign_extend(bounds, args.op_bytes);
	high = sign_extend(bounds >> (8 * args.op_bytes), args.op_bytes);
	return index < low || index > high ? cpu_fault(vp, VEC_BR) : CPU_DONE;
}

/* --- decimal arithmetic --- */

static uint32_t result_flags(uint8_t al)
{
	uint32_t flags = al & 0x80 ? FLAG_SF : 0;

	if (!al)
		flags |= FLAG_ZF;
	if (!(__builtin_popcount(al) & 1))
		flags |= FLAG_PF;
	return flags;
}

static void set_al(struct dbt_vp *vp, uint8_t al)
{
	reg_set(vp, VP_RAX, 1, al);
}
static void set_ax(struct dbt_vp *vp, uint16_t ax)
{
	reg_set(vp, VP_RAX, 2, ax);
}

/* DAA and DAS; @sign: +1 or -1. */
static void adjust_packed(struct dbt_vp *vp, int sign)
{
	uint8_t old = vp->gpr[VP_RAX], al = old;
	uint32_t flags = vp_arith_flags(vp), new_flags = 0;

	if ((old & 0xf) > 9 || (flags & FLAG_AF)) {
		al += sign * 6;
		new_flags |= FLAG_AF;
		/* DAS: the borrow of this step counts as well. */
		if ((flags & FLAG_CF) || (sign < 0 && old < 6))
			new_flags |= FLAG_CF;
	}
	if (old > 0x99 || (flags & FLAG_CF)) {
		al += sign * 0x60;
		new_flags |= FLAG_CF;
	}
	set_al(vp, al);
	vp_set_arith_flags(vp, new_flags | result_flags(al));
}

enum cpu_result helper_daa(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	adjust_packed(vp, 1);
	return CPU_DONE;
}
enum cpu_result helper_das(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	adjust_packed(vp, -1);
	return CPU_DONE;
}

/* AAA and AAS: 6 to AL and 1 to AH as one 16-bit addition, then the high digit goes. */
static void adjust_unpacked(struct dbt_vp *vp, int sign)
{
	uint16_t ax = vp->gpr[VP_RAX];
	uint32_t flags = 0;

	if ((ax & 0xf) > 9 || (vp_arith_flags(vp) & FLAG_AF)) {
		ax += sign * 0x106;
		flags = FLAG_AF | FLAG_CF;
	}
	set_ax(vp, ax & 0xff0f);
	vp_set_arith_flags(vp, flags);
}

enum cpu_result helper_aaa(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	adjust_unpacked(vp, 1);
	return CPU_DONE;
}
enum cpu_result helper_aas(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	adjust_unpacked(vp, -1);
	return CPU_DONE;
}

enum cpu_result helper_aam(struct dbt_vp *vp, struct cpu_args args, uint64_t base)
{
	uint8_t al = vp->gpr[VP_RAX], divisor = base;

	if (!divisor)
		return cpu_fault(vp, VEC_DE);
	set_ax(vp, (al / divisor) << 8 | al % divisor);
	vp_set_arith_flags(vp, result_flags(al % divisor));
	return CPU_DONE;
}

enum cpu_result helper_aad(struct dbt_vp *vp, struct cpu_args args, uint64_t base)
{
	uint16_t ax = vp->gpr[VP_RAX];
	uint8_t al = (ax & 0xff) + (ax >> 8) * (uint8_t)base;

	set_ax(vp, al);
	vp_set_arith_flags(vp, result_flags(al));
	return CPU_DONE;
}

/* --- others --- */

enum cpu_result helper_salc(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	set_al(vp, vp_arith_flags(vp) & FLAG_CF ? 0xff : 0);
	return CPU_DONE;
}

enum cpu_result helper_xlat(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	uint64_t offset = vp->gpr[VP_RBX] + (uint8_t)vp->gpr[VP_RAX], va;
	uint8_t al;

	offset &= address_mask(args.address_bytes);
	if (segment_linear(vp, args.seg, offset, 1, ACCESS_READ, &va) < 0)
		return CPU_RESTART;
	if (mmu_read(vp, va, &al, 1, ACCESS_READ) < 0)
		return CPU_RESTART;
	set_al(vp, al);
	return CPU_DONE;
}

/*
 * emit_memory.c - guest addresses and the inline software MMU
 *
 * A hit costs: lea; rorx; and; xor tag; cmp; ja; add. The page-crossing check is part of the tag
 * compare: (va ^ tag) is the offset in the page exactly when the page matches, and must leave
 * room for the access. The slow path undoes the xor and calls mmu_access().
 */
#include "translate_internal.h"

unsigned int guest_register(struct translation *t, unsigned int reg, unsigned int scratch)
{
	if (!is_displaced(reg))
		return reg;
	emit_load_gs(&t->e, scratch, GPR(reg));
	return scratch;
}

void set_guest_register(struct translation *t, unsigned int reg, unsigned int from, unsigned int bytes)
{
	if (is_displaced(reg))
		emit_gs(&t->e, 0x89, from, GPR(reg), bytes == 4 ? 8 : bytes);
	else
		emit_mov(&t->e, reg, from, bytes);
}

static void absolute_address(struct translation *t, const struct insn *insn, int64_t disp)
{
	if (insn->rip_relative)
		disp += insn_rip(t, t->current) + insn->length;
	if (insn->address_bytes == 4)
		disp = (uint32_t)disp;
	else if (insn->address_bytes == 2)
		disp = (uint16_t)disp;
	emit_mov_imm(&t->e, S1, disp);
}

void effective_address(struct translation *t, const struct insn *insn, int64_t extra)
{
	struct emit *e = &t->e;
	int64_t disp = insn->disp + extra;
	unsigned int width = insn->address_bytes == 8 ? 8 : 4;
	unsigned int base, index;

	if (insn->base == NO_REG && insn->index == NO_REG) {
		absolute_address(t, insn, disp);
		return;
	}
	base = insn->base == NO_REG ? NO_REG : guest_register(t, insn->base, S1);
	if (insn->index == NO_REG) {
		emit_lea(e, S1, base, disp, width);
	} else {
		index = guest_register(t, insn->index, S2);
		if (base == NO_REG)
			emit_lea_scaled(e, S1, index, insn->scale, disp, width);
		else
			emit_lea_indexed(e, S1, base, index, insn->scale, disp, width);
	}
	if (insn->address_bytes == 2)
		emit_reg_reg(e, 0x0fb7, S1, S1, 4);
}

void add_segment(struct translation *t, unsigned int seg, unsigned int bytes, unsigned int access)
{
	bool extra = seg == VP_FS || seg == VP_GS;

	if (t->mode & MODE_CODE64) {
		if (extra) {
			emit_load_gs(&t->e, S2, OFF(seg) + seg * (uint32_t)sizeof(struct vp_segment) +
							 offsetof(struct vp_segment, base));
			emit_lea_indexed(&t->e, S1, S1, S2, 1, 0, 8);
		}
		return;
	}
	if ((t->mode & MODE_FLAT) && !extra)
		return;
	flags_keep_live(t, S2);
	emit_mov_imm(&t->e, S2, seg | MIN(bytes, 0xffffu) << 8 | access << 24);
	emit_thunk_call(t, t->cache->thunks.segment);
}

void linear_address(struct translation *t, const struct insn *insn, unsigned int bytes, unsigned int access)
{
	effective_address(t, insn, 0);
	add_segment(t, insn->seg, bytes, access);
}

/* S2 = offset of the TLB entry for the address in S1 */
static void tlb_entry_offset(struct translation *t)
{
	struct emit *e = &t->e;
	const unsigned int shift = 12 - 5;

	static_assert(sizeof(struct tlb_entry) == 32, "index is scaled by the shift");
	if (t->cache->has_bmi2) { /* rorx s2, s1, shift */
		emit8(e, 0xc4);
		emit8(e, 0x43);
		emit8(e, 0xfb);
		emit8(e, 0xf0);
		emit_modrm(e, 3, S2, S1);
		emit8(e, shift);
	} else {
		emit_mov(e, S2, S1, 8);
		emit_rex(e, 8, 0, 0, S2);
		emit8(e, 0xc1); /* shr s2, shift */
		emit_modrm(e, 3, 5, S2);
		emit8(e, shift);
	}
	emit_group1(e, 4, S2, (TLB_ENTRIES - 1) << 5, 4);
}

void host_address(struct translation *t, unsigned int bytes, uint32_t access)
{
	struct emit *e = &t->e;
	uint32_t table = OFF(tlb) + t->tlb_index * TLB_ENTRIES * sizeof(struct tlb_entry);
	uint32_t tag = table + (access & ACCESS_WRITE ? offsetof(struct tlb_entry, write_tag) :
							offsetof(struct tlb_entry, read_tag));
	struct stub *stub;

	flags_keep_live(t, S2);
	tlb_entry_offset(t);
	emit_gs_indexed(e, 0x33, S1, S2, tag, 8); /* xor */
	emit_rex(e, 8, 0, 0, S1);                 /* cmp s1, imm32 */
	emit8(e, 0x81);
	emit_modrm(e, 3, 7, S1);
	emit32(e, PAGE_BYTES - bytes);
	/* With breakpoints every access is looked at. */
	stub = add_stub(t, STUB_MEMORY, t->mode & MODE_WATCH ? emit_jmp(e) : emit_jcc(e, CC_A));
	stub->tag = tag;
	stub->what = bytes | access << 16;
	emit_gs_indexed(e, 0x03, S1, S2, table + offsetof(struct tlb_entry, host), 8); /* add */
	stub->resume = e->at;
}

void stack_address(struct translation *t, int32_t disp, unsigned int bytes, unsigned int access)
{
	unsigned int width = stack_bytes(t);

	emit_lea(&t->e, S1, RSP, disp, width == 8 ? 8 : 4);
	if (width == 2)
		emit_reg_reg(&t->e, 0x0fb7, S1, S1, 4);
	if (!(t->mode & MODE_CODE64))
		add_segment(t, VP_SS, bytes, access);
}

void adjust_stack(struct translation *t, int32_t by)
{
	emit_lea(&t->e, RSP, RSP, by, stack_bytes(t));
}

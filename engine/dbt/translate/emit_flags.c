/*
 * emit_flags.c - moving the arithmetic flags between EFLAGS and the vp
 *
 * Aside they are in LAHF's format plus a byte for OF: three cheap instructions each way, where
 * PUSHF and POPF would be slow and need a stack.
 */
#include "translate_internal.h"

static_assert(offsetof(struct dbt_vp, flags_ah) == offsetof(struct dbt_vp, flags_of) + 1,
	      "stored as one word");

void flags_put_aside(struct translation *t, unsigned int scratch)
{
	struct emit *e = &t->e;

	if (!t->flags_in_host)
		return;
	emit_mov(e, scratch, RAX, 8);
	emit8(e, 0x9f); /* lahf */
	emit8(e, 0x0f); /* seto al */
	emit8(e, 0x90);
	emit8(e, 0xc0);
	emit_gs(e, 0x89, RAX, OFF(flags_of), 2);
	emit_mov(e, RAX, scratch, 8);
	t->flags_in_host = false;
}

void flags_keep_live(struct translation *t, unsigned int scratch)
{
	if (t->live_in[t->current])
		flags_put_aside(t, scratch);
}

void flags_bring_back(struct translation *t, unsigned int scratch)
{
	struct emit *e = &t->e;

	if (t->flags_in_host)
		return;
	emit_mov(e, scratch, RAX, 8);
	emit_gs(e, 0x0fb7, RAX, OFF(flags_of), 4);
	emit8(e, 0x04); /* add al, 127: overflows when OF was 1 */
	emit8(e, 0x7f);
	emit8(e, 0x9e); /* sahf */
	emit_mov(e, RAX, scratch, 8);
	t->flags_in_host = true;
}

void flags_for_operation(struct translation *t, const struct insn *insn, unsigned int scratch)
{
	uint16_t kept = t->live_in[t->current] & ~insn->flags_written;

	if (insn->flags_read || (insn->flags_written && kept))
		flags_bring_back(t, scratch);
	else if (insn->flags_written)
		t->flags_in_host = true;
}

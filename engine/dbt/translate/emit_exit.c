/*
 * emit_exit.c - leaving a block: chained jumps, the jump cache, polls, and the stubs behind it all
 */
#include "translate_internal.h"

struct stub *add_stub(struct translation *t, unsigned int kind, uint8_t *field)
{
	struct stub *stub = &t->stubs[t->stub_count];

	assert(t->stub_count < MAX_STUBS);
	t->stub_count++;
	*stub = (struct stub){
		.kind = kind,
		.field = field,
		.guest = t->offsets[t->current],
		.flags_in_host = t->flags_in_host,
	};
	return stub;
}

void add_point(struct translation *t, uint16_t guest)
{
	assert(t->point_count < MAX_POINTS);
	t->points[t->point_count++] = (struct block_point){
		.host = t->e.at - t->start,
		.guest = guest | (t->flags_in_host ? POINT_FLAGS_IN_HOST : 0),
	};
}

/* May jumps from here be looked up by rip alone? */
static bool inline_lookup(const struct translation *t)
{
	return (t->mode & (MODE_CODE64 | MODE_FLAT)) && t->mode_slot != MODE_SLOTS - 1 && !t->step;
}

static bool same_page(const struct translation *t, uint64_t rip)
{
	uint64_t base = t->mode & MODE_CODE64 ? 0 : t->vp->seg[VP_CS].base;

	return ((t->block->rip + base) ^ (rip + base)) < PAGE_BYTES &&
	       (((t->block->rip + base) ^ (rip + base)) & ~(PAGE_BYTES - 1)) == 0;
}

/* Pad so that the four bytes at @ahead from here are patched in one piece. */
static void align_field(struct translation *t, unsigned int ahead)
{
	while (((uintptr_t)(t->e.at + ahead) & 63) > 60)
		emit8(&t->e, 0x90);
}

static void exit_chained(struct translation *t, int condition, uint64_t rip)
{
	struct block_exit *exit = &t->block->exits[t->exit_count++];
	uint8_t *field;

	align_field(t, condition < 0 ? 1 : 2);
	field = condition < 0 ? emit_jmp(&t->e) : emit_jcc(&t->e, condition);
	*exit = (struct block_exit){
		.source = t->block,
		.field = field,
		.rip = rip,
		.mode = t->mode,
		.flags_in_host = t->flags_in_host,
	};
	add_stub(t, STUB_LINK, field)->exit = exit;
}

/* Through the jump cache, at an index known now. Flags are aside. */
static void cross_page(struct translation *t, uint64_t rip)
{
	struct emit *e = &t->e;
	uint32_t entry = OFF(jump_cache) + (t->mode_slot * JUMP_CACHE_ENTRIES + jump_cache_index(rip)) *
						   (uint32_t)sizeof(struct jump_cache_entry);

	emit_mov_imm(e, S1, rip);
	if (inline_lookup(t)) {
		emit_gs(e, 0x39, S1, entry + offsetof(struct jump_cache_entry, va), 8); /* cmp */
		emit_jcc_to(e, CC_NE, t->cache->thunks.miss);
		emit_gs(e, 0xff, 4, entry + offsetof(struct jump_cache_entry, code), 4); /* jmp */
	} else {
		emit_jmp_to(e, t->cache->thunks.miss);
	}
}

void exit_direct(struct translation *t, int condition, uint64_t rip)
{
	if (condition < 0)
		t->ended = true;
	if (!t->step && !t->block->crosses_page && same_page(t, rip)) {
		exit_chained(t, condition, rip);
	} else if (condition >= 0) {
		add_stub(t, STUB_CROSS_PAGE, emit_jcc(&t->e, condition))->rip = rip;
	} else {
		flags_put_aside(t, S1);
		cross_page(t, rip);
	}
}

void exit_indirect(struct translation *t)
{
	struct emit *e = &t->e;
	uint32_t table = OFF(jump_cache) +
			 t->mode_slot * JUMP_CACHE_ENTRIES * (uint32_t)sizeof(struct jump_cache_entry);

	t->ended = true;
	flags_put_aside(t, S2);
	if (!inline_lookup(t)) {
		emit_jmp_to(e, t->cache->thunks.miss);
		return;
	}
	emit_mov_imm(e, S2, 0);
	emit_crc32(e);
	emit_gs(e, 0x23, S2, OFF(jump_mask), 4); /* and */
	emit_gs_indexed(e, 0x3b, S1, S2, table + offsetof(struct jump_cache_entry, va), 8);
	emit_jcc_to(e, CC_NE, t->cache->thunks.miss);
	emit_gs_indexed(e, 0xff, 4, S2, table + offsetof(struct jump_cache_entry, code), 4);
}

void emit_poll(struct translation *t)
{
	flags_keep_live(t, S1);
	emit_test_gs(&t->e, OFF(exit_request));
	add_stub(t, STUB_GO_TO, emit_jcc(&t->e, CC_NE))->rip = insn_rip(t, t->current);
}

static void memory_stub(struct translation *t, const struct stub *stub)
{
	struct emit *e = &t->e;

	emit_gs_indexed(e, 0x33, S1, S2, stub->tag, 8);
	emit_mov_imm(e, S2, stub->what);
	emit_thunk_call(t, t->cache->thunks.memory);
	emit_jmp_to(e, stub->resume + e->run_delta);
}

static void link_stub(struct translation *t, const struct stub *stub)
{
	struct emit *e = &t->e;

	stub->exit->stub = emit_run_address(e);
	flags_put_aside(t, S1);
	emit_mov_imm(e, S1, stub->exit->rip);
	emit_mov_imm(e, S2, (uintptr_t)stub->exit);
	emit_jmp_to(e, t->cache->thunks.link);
}

/* After STI, an interrupt is waiting: one more instruction, then it comes. */
static void sti_stub(struct translation *t, const struct stub *stub)
{
	struct emit *e = &t->e;

	emit_mov_imm(e, S1, stub->rip);
	emit_store_gs(e, S1, OFF(rip));
	emit_store_gs(e, S1, OFF(next_rip));
	emit_mov_imm(e, S2, 0);
	emit_thunk_call(t, t->cache->thunks.helper[HELPER_COUNT + RUNTIME_STI_SHADOW]);
}

void emit_stubs(struct translation *t)
{
	for (unsigned int i = 0; i < t->stub_count; i++) {
		const struct stub *stub = &t->stubs[i];

		emit_land(&t->e, stub->field);
		t->flags_in_host = stub->flags_in_host;
		add_point(t, stub->guest);
		switch (stub->kind) {
		case STUB_MEMORY:
			memory_stub(t, stub);
			break;
		case STUB_GO_TO:
			emit_mov_imm(&t->e, S1, stub->rip);
			emit_jmp_to(&t->e, t->cache->thunks.miss);
			break;
		case STUB_LINK:
			link_stub(t, stub);
			break;
		case STUB_CROSS_PAGE:
			flags_put_aside(t, S1);
			cross_page(t, stub->rip);
			break;
		case STUB_STI:
			sti_stub(t, stub);
			break;
		}
	}
}

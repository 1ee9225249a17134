/*
 * translate.c - from guest instructions to a block of host code
 *
 * A block is a run of instructions within one page, up to the first that may change control,
 * mode or address translation. Three passes: decode; find where flags are live, backwards; emit.
 * An instruction that reaches into the next page is a block of its own.
 */
#include "translate_internal.h"
#include "trace.h"

#include <errno.h>

#define INSN_MAX_BYTES 15
#define CODE_RESERVE 0x8000 /* more than any block needs */

uint64_t wrap_rip(const struct translation *t, uint64_t rip)
{
	if (t->mode & MODE_CODE64)
		return rip;
	return t->mode & MODE_CODE32 ? (uint32_t)rip : (uint16_t)rip;
}

static int decode_mode(uint32_t mode)
{
	return mode & MODE_CODE64 ? DECODE_64 : mode & MODE_CODE32 ? DECODE_32 : DECODE_16;
}

/* --- decoding --- */

/* What a fetch of code reads: bytes of one page, and where they are. */
struct fetch {
	gpa_t gpa;
	const uint8_t *host;
	uint32_t bytes;
};

static int fetch_page(struct translation *t, uint64_t linear, struct fetch *ret_fetch)
{
	if (mmu_fetch_page(t->vp, linear, &ret_fetch->gpa, &ret_fetch->host) < 0)
		return -EAGAIN;
	ret_fetch->bytes = PAGE_BYTES - linear % PAGE_BYTES;
	return 0;
}

/* Watch, then read: no later write to these bytes goes unnoticed. */
static int read_code(struct translation *t, const struct fetch *fetch, uint32_t offset, uint8_t *bytes,
		     uint32_t *ret_count)
{
	uint32_t count = MIN(INSN_MAX_BYTES, fetch->bytes - offset);

	if (code_cache_watch(t->vp, fetch->gpa + offset, count) < 0)
		return -ENOSPC;
	memcpy(bytes, fetch->host + offset, count);
	*ret_count = count;
	return 0;
}

/* The undecodable ends the block and raises. */
static void accept_undecodable(struct translation *t, enum decode_status status)
{
	struct insn *insn = &t->insns[t->count];

	*insn = (struct insn){.length = 1, .kind = OP_HELPER, .id = HELPER_ud, .base = NO_REG, .index = NO_REG};
	t->raise_last = status == DECODE_TOO_LONG ? VEC_GP : VEC_UD;
	t->count++;
}

static bool ends_block(const struct insn *insn)
{
	if (insn->kind == OP_HELPER)
		return cpu_helpers[insn->id].ends_block;
	if (insn->kind == OP_COPY)
		return false;
	switch (insn->id) {
	case SPECIAL_CALL_REL:
	case SPECIAL_CALL_IND:
	case SPECIAL_RET:
	case SPECIAL_JMP_REL:
	case SPECIAL_JMP_IND:
	case SPECIAL_JCC:
	case SPECIAL_LOOP:
		return true;
	default:
		return false;
	}
}

/* The first instruction reaches into the next page. */
static int decode_crossing(struct translation *t, const struct fetch *first, uint64_t linear)
{
	struct insn *insn = &t->insns[0];
	uint8_t bytes[2 * INSN_MAX_BYTES];
	uint32_t count, more;
	struct fetch second;
	enum decode_status status;
	int r;

	r = read_code(t, first, 0, bytes, &count);
	if (r == 0)
		r = fetch_page(t, linear + first->bytes, &second);
	if (r == 0)
		r = read_code(t, &second, 0, bytes + count, &more);
	if (r < 0)
		return r;
	status = decode(bytes, MIN(count + more, INSN_MAX_BYTES), decode_mode(t->mode), insn);
	if (status != DECODE_OK) {
		accept_undecodable(t, status == DECODE_TRUNCATED ? DECODE_TOO_LONG : status);
		return 0;
	}
	t->count = 1;
	t->block->crosses_page = insn->length > first->bytes;
	t->block->second_page = second.gpa;
	t->block->guest_bytes = insn->length;
	return 0;
}

static int decode_block(struct translation *t)
{
	uint64_t base = t->mode & MODE_CODE64 ? 0 : t->vp->seg[VP_CS].base;
	uint64_t linear = t->mode & MODE_CODE64 ? t->block->rip : (uint32_t)(base + t->block->rip);
	struct fetch fetch;
	uint32_t offset = 0;
	int r = fetch_page(t, linear, &fetch);

	if (r < 0)
		return r;
	t->block->gpa = fetch.gpa;
	while (t->count < MAX_INSNS && offset < fetch.bytes && !(t->step && t->count)) {
		uint8_t bytes[INSN_MAX_BYTES];
		struct insn *insn = &t->insns[t->count];
		uint32_t available;
		enum decode_status status;

		r = read_code(t, &fetch, offset, bytes, &available);
		if (r < 0)
			return r;
		status = decode(bytes, available, decode_mode(t->mode), insn);
		t->offsets[t->count] = offset;
		if (status == DECODE_TRUNCATED && available < INSN_MAX_BYTES)
			return t->count ? 0 : decode_crossing(t, &fetch, linear);
		if (status != DECODE_OK) {
			accept_undecodable(t, status == DECODE_TRUNCATED ? DECODE_TOO_LONG : status);
			t->block->guest_bytes = MIN(offset + available, fetch.bytes);
			return 0;
		}
		offset += insn->length;
		t->count++;
		t->block->guest_bytes = offset;
		if (ends_block(insn))
			break;
	}
	return 0;
}

/* --- flags --- */

static void find_live_flags(struct translation *t)
{
	uint16_t live = FLAGS_ARITH;

	for (unsigned int i = t->count; i-- > 0;) {
		const struct insn *insn = &t->insns[i];

		if (insn->kind == OP_HELPER)
			live = FLAGS_ARITH; /* helpers work on all the flags in the vp */
		else
			live = (live & ~insn->flags_written) | insn->flags_read;
		t->live_in[i] = live & FLAGS_ARITH;
	}
}

/* A block that may close a loop looks for requests, best where no flags are live. */
static void place_poll(struct translation *t)
{
	const struct insn *last = &t->insns[t->count - 1];
	bool direct = last->kind == OP_SPECIAL &&
		      (last->id == SPECIAL_JMP_REL || last->id == SPECIAL_JCC || last->id == SPECIAL_LOOP ||
		       last->id == SPECIAL_CALL_REL);

	t->poll_at = -1;
	if (!direct || last->imm > 0 || t->step)
		return;
	t->poll_at = t->count - 1;
	for (unsigned int i = t->count; i-- > 0;) {
		if (t->live_in[i] == 0) {
			t->poll_at = i;
			return;
		}
	}
}

/* --- emitting --- */

static bool unit_may_run(const struct translation *t, const struct insn *insn)
{
	static const uint32_t forbids[] = {
		[UNIT_INTEGER] = 0,
		[UNIT_X87] = MODE_NO_X87,
		[UNIT_MMX] = MODE_NO_X87,
		[UNIT_SSE] = MODE_NO_SSE,
		[UNIT_AVX] = MODE_NO_SSE | MODE_NO_AVX,
	};

	return !(t->mode & forbids[insn->unit]);
}

/* These have an immediate, or a number the decoder made up, besides the first one. */
static bool second_immediate(const struct insn *insn)
{
	return insn->id == HELPER_jmp_far || insn->id == HELPER_call_far || insn->id == HELPER_enter ||
	       insn->id == HELPER_load_far_pointer;
}

static void emit_insn(struct translation *t, const struct insn *insn)
{
	if (!unit_may_run(t, insn)) {
		emit_helper_call(t, HELPER_COUNT + RUNTIME_NO_FPU, insn, insn->unit);
		t->ended = true;
	} else if (insn->kind == OP_COPY) {
		emit_copy(t, insn);
	} else if (insn->kind == OP_SPECIAL) {
		emit_special(t, insn);
	} else {
		emit_helper_call(t, insn->id, insn, second_immediate(insn) ? insn->imm2 : insn->imm);
		t->ended = cpu_helpers[insn->id].ends_block;
	}
}

static void emit_block(struct translation *t)
{
	/* Entry for flags put aside: bring them back only if the block wants them. */
	t->flags_in_host = false;
	if (t->live_in[0])
		flags_bring_back(t, S1);
	t->flags_in_host = true;
	t->block->code_flags = emit_run_address(&t->e);
	for (t->current = 0; t->current < t->count && !t->ended; t->current++) {
		const struct insn *insn = current_insn(t);

		add_point(t, t->offsets[t->current]);
		if ((int)t->current == t->poll_at)
			emit_poll(t);
		if (t->raise_last != VEC_NONE && t->current == t->count - 1) {
			emit_helper_call(t, HELPER_COUNT + RUNTIME_RAISE, insn, t->raise_last);
			t->ended = true;
		} else {
			emit_insn(t, insn);
		}
	}
	if (t->ended)
		return;
	t->current = t->count - 1;
	exit_direct(t, -1, next_rip(t));
}

static void note_translation(struct translation *t)
{
	const struct block *block = t->block;

	trace_note(t->vp, (struct trace_record){.kind = TRACE_TRANSLATION,
						.at = block->rip,
						.extra = block->mode,
						.value = block->guest_bytes | (uint64_t)block->host_bytes << 32});
}

static int finish(struct translation *t)
{
	struct block *block = t->block;
	uint64_t bytes = t->point_count * sizeof(*block->points);

	if (t->e.full)
		return -ENOSPC;
	block->points = code_cache_meta(t->cache, bytes);
	if (!block->points)
		return -ENOSPC;
	memcpy(block->points, t->points, bytes);
	block->point_count = t->point_count;
	block->host_bytes = t->e.at - t->start;
	code_cache_publish(t->vp, block, &t->e);
	stat_add(t->vp, BLOCKS_TRANSLATED, 1);
	stat_add(t->vp, INSNS_TRANSLATED, t->count);
	stat_add(t->vp, BYTES_EMITTED, block->host_bytes);
	if (trace_wants(t->vp, PARTITION_TRACE_BLOCKS))
		note_translation(t);
	return 0;
}

int translate(struct dbt_vp *vp, bool step)
{
	struct code_cache *cache = vp_partition(vp)->cache;
	struct translation translation, *t = &translation;
	struct block *block = code_cache_meta(cache, sizeof(*block));
	int r;

	if (!block || cache->sorted_count == cache->sorted_max)
		return -ENOSPC;
	*block = (struct block){.rip = vp->rip, .mode = vp->mode | (step ? MODE_STEP : 0)};
	t->vp = vp;
	t->cache = cache;
	t->block = block;
	t->e = code_cache_emitter(cache);
	t->start = t->e.at;
	t->mode = vp->mode;
	t->mode_slot = vp->mode_slot;
	t->tlb_index = vp->tlb_index;
	t->step = step;
	t->count = t->current = t->exit_count = t->stub_count = t->point_count = 0;
	t->ended = false;
	t->raise_last = VEC_NONE;
	if (t->e.limit - t->e.at < CODE_RESERVE)
		return -ENOSPC;
	block->code = emit_run_address(&t->e);
	r = decode_block(t);
	if (r < 0)
		return r;
	find_live_flags(t);
	place_poll(t);
	emit_block(t);
	emit_stubs(t);
	return finish(t);
}

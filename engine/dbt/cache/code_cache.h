/*
 * code_cache.h - translated blocks: where they are kept, found, chained and thrown away
 *
 * Host code lives in one memfd mapped twice: writable, and executable (W^X). Space is handed out
 * upwards; when it is used up everything is thrown away at once, with all VPs stopped.
 *
 * Invariants:
 *  1. A block is looked up by (gpa of its first byte, rip, mode); all three must match.
 *  2. Host code and struct block stay readable until the next flush of the whole cache, even after
 *     the block was invalidated: a VP may still be inside, and leaves at its next poll.
 *  3. Direct chaining joins blocks of one guest page only, so it needs no check of translations;
 *     everything else goes through the jump caches, which TLB flushes empty.
 *  4. Each guest byte that was translated is marked in its code_page, and the page has
 *     PAGE_HAS_CODE before the byte is read, so that no later store goes unnoticed.
 *
 * Locks: part->lock for translation, invalidation, flush. link_lock, a spin lock that light code
 * only ever tries to take, for the links between blocks.
 */
#ifndef DBT_CODE_CACHE_H
#define DBT_CODE_CACHE_H

#include "emit.h"
#include "partition_dbt.h"

struct block;

/* A direct jump out of a block; field is patched when source and target are chained. */
struct block_exit {
	struct block *source;
	uint8_t *field;      /* rel32, writable mapping */
	uint8_t *stub;       /* executable address: asks the dispatcher */
	uint64_t rip;        /* guest target */
	uint32_t mode;
	bool flags_in_host;  /* arithmetic flags at the exit: in EFLAGS or put aside */
	bool linked;         /* in its target's incoming list; link_lock */
	bool far;            /* the target may not be chained: goes through the jump cache */
	struct block_exit *next_incoming;
};

/* host offset -> guest offset of one instruction; bit 15: flags are in host EFLAGS there */
struct block_point {
	uint16_t host, guest;
};
#define POINT_FLAGS_IN_HOST 0x8000u

struct block {
	gpa_t gpa;
	uint64_t rip;
	uint32_t mode;
	uint16_t guest_bytes;
	bool crosses_page; /* its only instruction reaches into a second page: never chained */
	bool invalid;
	gpa_t second_page; /* if crosses_page */
	uint32_t host_bytes;
	uint8_t *code;       /* executable; entry with flags put aside */
	uint8_t *code_flags; /* entry with flags in EFLAGS */
	struct block *_Atomic hash_next;
	struct block *page_next[2]; /* of the page, and of the second page */
	struct block_exit exits[2];
	struct block_exit *incoming;
	struct block_point *points; /* ascending by host offset */
	uint32_t point_count;
};

#define CODE_GRANULE 8
struct code_page {
	struct block *blocks;
	uint64_t granules[PAGE_BYTES / CODE_GRANULE / 64]; /* bit set: translated bytes there */
};

/* Where translated code jumps to; emitted once per partition (thunks.c). */
struct thunks {
	uint8_t *enter;        /* void enter(struct dbt_vp *, code): C calls it */
	uint8_t *leave;        /* back to enter's caller */
	uint8_t *miss;         /* S1 = rip, flags put aside: find the block */
	uint8_t *link;         /* the same, S2 = struct block_exit * */
	uint8_t *memory;       /* slow path of a memory access: S1 = va, S2 = bytes | access << 16 */
	uint8_t *segment;      /* S1 = offset, S2 = seg | bytes << 8 | access << 24: S1 = linear */
	uint8_t *fault;        /* after a native fault: state is in the vp */
	uint8_t *helper[128];  /* by enum cpu_helper_id; then the translator's own */
};

#define CODE_HASH_BITS 16
static inline uint32_t block_hash(gpa_t gpa, uint64_t rip, uint32_t mode)
{
	uint64_t h = (gpa ^ rip << 1 ^ (uint64_t)mode << 20) * 0x9e3779b97f4a7c15ull;

	return h >> (64 - CODE_HASH_BITS);
}

struct code_cache {
	int fd;
	uint8_t *write_base, *run_base;
	uint64_t bytes, used, thunk_bytes;
	uint8_t *meta_base;  /* blocks, points, code pages; dropped with the code */
	uint64_t meta_bytes, meta_used;
	struct block *_Atomic hash[1u << CODE_HASH_BITS];
	struct block **sorted; /* by code address, for code_cache_find_host() */
	_Atomic uint32_t sorted_count;
	uint32_t sorted_max;
	_Atomic uint32_t link_lock;
	_Atomic uint32_t mode_slot[MODE_SLOTS]; /* mode word + 1 of each slot; never emptied */
	struct thunks thunks;
	bool has_bmi2;
};

int code_cache_new(struct dbt_partition *part, uint64_t bytes);
void code_cache_free(struct dbt_partition *part);

/* code_cache_find() - the block, or NULL. Light, any VP thread. */
struct block *code_cache_find(struct code_cache *cache, gpa_t gpa, uint64_t rip, uint32_t mode);

/* code_cache_find_host() - the block whose host code holds @host, or NULL. Light. */
struct block *code_cache_find_host(struct code_cache *cache, const uint8_t *host);
/* Guest rip of the last point at or before @host. */
uint64_t block_guest_rip(const struct block *block, const uint8_t *host, bool *ret_flags_in_host);

/* code_cache_link() - chain @exit to @target if that is allowed. Light; may do nothing. */
void code_cache_link(struct code_cache *cache, struct block_exit *exit, struct block *target);

/* The rest: part->lock held, not light. */

/* Room for translation; NULL: flush first. */
void *code_cache_meta(struct code_cache *cache, uint64_t bytes);
struct emit code_cache_emitter(struct code_cache *cache);
/* Enters a finished block into all tables; the emitter's bytes become used. */
void code_cache_publish(struct dbt_vp *vp, struct block *block, const struct emit *emit);

/*
 * code_cache_watch() - mark [gpa, gpa + bytes) as translated, before its bytes are read
 * No VP can write there unnoticed after the return. -ENOMEM: flush first.
 */
int code_cache_watch(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes);
/* Blocks with bytes of [gpa, gpa + bytes), within one page, are gone; @vp is the caller's or NULL. */
void code_cache_invalidate(struct dbt_partition *part, struct dbt_vp *vp, gpa_t gpa, uint32_t bytes);
/* Throws everything away. All VPs are stopped by the caller (stop_vps()). */
void code_cache_flush(struct dbt_partition *part);

/*
 * stop_vps() - wait until no VP but @self (may be NULL) is in translated or light code, and keep
 * them out until resume_vps(). part->lock held from before stop to after resume.
 */
void stop_vps(struct dbt_partition *part, struct dbt_vp *self);
void resume_vps(struct dbt_partition *part, struct dbt_vp *self);

void thunks_emit(struct code_cache *cache, struct emit *emit);

#endif

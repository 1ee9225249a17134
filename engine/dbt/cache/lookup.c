/*
 * lookup.c - the light side of the code cache: finding, chaining, and noticing guest writes
 */
#include "code_cache.h"
#include "cpu.h"
#include "mmu.h"
#include "stats.h"

struct block *code_cache_find(struct code_cache *cache, gpa_t gpa, uint64_t rip, uint32_t mode)
{
	struct block *block = atomic_load_explicit(&cache->hash[block_hash(gpa, rip, mode)], memory_order_acquire);

	while (block && (block->gpa != gpa || block->rip != rip || block->mode != mode))
		block = atomic_load_explicit(&block->hash_next, memory_order_acquire);
	return block;
}

struct block *code_cache_find_host(struct code_cache *cache, const uint8_t *host)
{
	uint32_t low = 0, high = atomic_load_explicit(&cache->sorted_count, memory_order_acquire);

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (cache->sorted[middle]->code <= host)
			low = middle + 1;
		else
			high = middle;
	}
	if (low == 0 || host > cache->sorted[low - 1]->code + cache->sorted[low - 1]->host_bytes)
		return NULL;
	return cache->sorted[low - 1];
}

uint64_t block_guest_rip(const struct block *block, const uint8_t *host, bool *ret_flags_in_host)
{
	uint32_t offset = host - block->code, low = 0, high = block->point_count;
	uint16_t guest;

	while (low < high) {
		uint32_t middle = (low + high) / 2;

		if (block->points[middle].host <= offset)
			low = middle + 1;
		else
			high = middle;
	}
	guest = low ? block->points[low - 1].guest : 0;
	*ret_flags_in_host = guest & POINT_FLAGS_IN_HOST;
	return block->rip + (guest & ~POINT_FLAGS_IN_HOST);
}

static bool may_link(const struct block_exit *exit, const struct block *target)
{
	return !exit->source->invalid && !target->invalid && !target->crosses_page &&
	       !exit->source->crosses_page && exit->rip == target->rip && exit->mode == target->mode &&
	       ((exit->source->gpa ^ target->gpa) & ~(PAGE_BYTES - 1)) == 0;
}

void code_cache_link(struct code_cache *cache, struct block_exit *exit, struct block *target)
{
	ptrdiff_t run_delta = cache->run_base - cache->write_base;
	uint8_t *entry = exit->flags_in_host ? target->code_flags : target->code;

	if (target->crosses_page)
		exit->far = true;
	if (atomic_exchange_explicit(&cache->link_lock, 1, memory_order_acquire))
		return;
	if (may_link(exit, target) && !exit->linked) {
		exit->next_incoming = target->incoming;
		target->incoming = exit;
		exit->linked = true;
		__atomic_store_n((int32_t *)exit->field, entry - (exit->field + run_delta + 4), __ATOMIC_RELEASE);
	}
	atomic_store_explicit(&cache->link_lock, 0, memory_order_release);
}

/* Mode words are few; a slot number is a word's place in the table. The last slot is shared. */
uint32_t code_cache_mode_slot(struct dbt_vp *vp, uint32_t mode)
{
	struct code_cache *cache = vp_partition(vp)->cache;

	for (uint32_t i = 0; i < MODE_SLOTS - 1; i++) {
		uint32_t word = atomic_load_explicit(&cache->mode_slot[i], memory_order_relaxed);

		if (word == mode + 1)
			return i;
		if (word == 0 && atomic_compare_exchange_strong(&cache->mode_slot[i], &word, mode + 1))
			return i;
		if (word == mode + 1)
			return i;
	}
	return MODE_SLOTS - 1;
}

static bool touches_code(const struct code_page *page, gpa_t gpa, uint32_t bytes)
{
	unsigned int first = gpa % PAGE_BYTES / CODE_GRANULE;
	unsigned int last = (gpa % PAGE_BYTES + bytes - 1) / CODE_GRANULE;

	for (unsigned int i = first; i <= last && i < PAGE_BYTES / CODE_GRANULE; i++)
		if (page->granules[i / 64] & BIT(i % 64))
			return true;
	return false;
}

static void invalidate_heavy(struct dbt_vp *vp)
{
	struct dbt_partition *part = vp_partition(vp);

	pthread_mutex_lock(&part->lock);
	code_cache_invalidate(part, vp, vp->heavy_args[0], vp->heavy_args[1]);
	pthread_mutex_unlock(&part->lock);
}

bool code_write_hook(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes)
{
	struct memory_slot *slot = find_slot(vp_partition(vp), gpa);
	struct code_page *page = slot ? slot->code_pages[(gpa - slot->gpa) / PAGE_BYTES] : NULL;

	stat_add(vp, CODE_PAGE_STORES, 1);
	if (!page || !touches_code(page, gpa, bytes))
		return false;
	vp->leave = LEAVE_HEAVY;
	vp->heavy = invalidate_heavy;
	vp->heavy_args[0] = gpa;
	vp->heavy_args[1] = bytes;
	return true;
}

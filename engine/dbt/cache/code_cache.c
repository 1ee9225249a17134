/*
 * code_cache.c - block storage, lookup, chaining and invalidation; theory in code_cache.h
 *
 * The light functions (find, find_host, link, code_write_hook) are in lookup.c.
 */
#include "code_cache.h"

#include <errno.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mmu.h"
#include "stats.h"

#define META_RATIO 2 /* bytes of bookkeeping reserved per byte of code (address space only) */

static int map_code(struct code_cache *cache)
{
	cache->fd = memfd_create("mullion-code", MFD_CLOEXEC);
	if (cache->fd < 0 || ftruncate(cache->fd, cache->bytes) < 0)
		return -errno;
	cache->write_base = mmap(NULL, cache->bytes, PROT_READ | PROT_WRITE, MAP_SHARED, cache->fd, 0);
	if (cache->write_base == MAP_FAILED)
		return -errno;
	cache->run_base = mmap(NULL, cache->bytes, PROT_READ | PROT_EXEC, MAP_SHARED, cache->fd, 0);
	if (cache->run_base == MAP_FAILED)
		return -errno;
	return 0;
}

static int map_meta(struct code_cache *cache)
{
	cache->meta_bytes = cache->bytes * META_RATIO;
	cache->meta_base = mmap(NULL, cache->meta_bytes, PROT_READ | PROT_WRITE,
				MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (cache->meta_base == MAP_FAILED)
		return -errno;
	cache->sorted_max = cache->bytes / 128;
	cache->sorted = mmap(NULL, cache->sorted_max * sizeof(*cache->sorted), PROT_READ | PROT_WRITE,
			     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	return cache->sorted == MAP_FAILED ? -errno : 0;
}

int code_cache_new(struct dbt_partition *part, uint64_t bytes)
{
	struct code_cache *cache = calloc(1, sizeof(*cache));
	struct emit emit;
	int r;

	if (!cache)
		return -ENOMEM;
	part->cache = cache;
	cache->bytes = bytes;
	cache->has_bmi2 = __builtin_cpu_supports("bmi2");
	r = map_code(cache);
	if (r == 0)
		r = map_meta(cache);
	if (r < 0)
		return r;
	emit = code_cache_emitter(cache);
	thunks_emit(cache, &emit);
	cache->thunk_bytes = ALIGN_UP((uint64_t)(emit.at - cache->write_base), 64);
	cache->used = cache->thunk_bytes;
	return 0;
}

static void unmap(void *base, uint64_t bytes)
{
	if (base && base != MAP_FAILED)
		munmap(base, bytes);
}

void code_cache_free(struct dbt_partition *part)
{
	struct code_cache *cache = part->cache;

	if (!cache)
		return;
	unmap(cache->write_base, cache->bytes);
	unmap(cache->run_base, cache->bytes);
	unmap(cache->meta_base, cache->meta_bytes);
	unmap(cache->sorted, cache->sorted_max * sizeof(*cache->sorted));
	if (cache->fd >= 0)
		close(cache->fd);
	free(cache);
	part->cache = NULL;
}

void *code_cache_meta(struct code_cache *cache, uint64_t bytes)
{
	uint8_t *at = cache->meta_base + cache->meta_used;

	bytes = ALIGN_UP(bytes, 8);
	if (cache->meta_bytes - cache->meta_used < bytes)
		return NULL;
	cache->meta_used += bytes;
	return at;
}

struct emit code_cache_emitter(struct code_cache *cache)
{
	return (struct emit){
		.at = cache->write_base + cache->used,
		.limit = cache->write_base + cache->bytes,
		.run_delta = cache->run_base - cache->write_base,
	};
}

/* --- pages that hold code --- */

static struct code_page **page_entry(struct dbt_partition *part, gpa_t gpa)
{
	struct memory_slot *slot = find_slot(part, gpa);

	return slot ? &slot->code_pages[(gpa - slot->gpa) / PAGE_BYTES] : NULL;
}

static _Atomic uint8_t *page_flags(struct dbt_partition *part, gpa_t gpa)
{
	struct memory_slot *slot = find_slot(part, gpa);

	return slot ? &slot->page_flags[(gpa - slot->gpa) / PAGE_BYTES] : NULL;
}

static void wait_protected(struct dbt_vp *other, uint32_t request)
{
	while (atomic_load(&other->requests) & request) {
		if (!atomic_load(&other->in_guest))
			return; /* it will look before it runs */
		sched_yield();
	}
}

/* Make every VP drop its write tags for @page, and wait until it did. */
static void protect_everywhere(struct dbt_vp *vp, gpa_t page)
{
	struct dbt_partition *part = vp_partition(vp);

	mmu_protect_code(vp, page);
	for (unsigned int i = 0; i < part->part.vp_count; i++) {
		struct dbt_vp *other = partition_vp(part, i);
		uint32_t request = REQ_PROTECT;

		if (!other || other == vp)
			continue;
		if (atomic_load(&other->requests) & REQ_PROTECT)
			request = REQ_FLUSH_TLB; /* the argument is taken */
		else
			atomic_store(&other->protect_page, page);
		atomic_fetch_or(&other->requests, request);
		vp_request_exit(other);
		wait_protected(other, request);
	}
}

static void mark_granules(struct code_page *page, gpa_t gpa, uint32_t bytes)
{
	unsigned int first = gpa % PAGE_BYTES / CODE_GRANULE;
	unsigned int last = (gpa + bytes - 1) % PAGE_BYTES / CODE_GRANULE;

	for (unsigned int i = first; i <= last; i++)
		page->granules[i / 64] |= BIT(i % 64);
}

int code_cache_watch(struct dbt_vp *vp, gpa_t gpa, uint32_t bytes)
{
	struct dbt_partition *part = vp_partition(vp);
	struct code_page **entry = page_entry(part, gpa);
	_Atomic uint8_t *flags = page_flags(part, gpa);

	if (!entry)
		return -EFAULT;
	if (!*entry) {
		struct code_page *page = code_cache_meta(part->cache, sizeof(*page));

		if (!page)
			return -ENOMEM;
		memset(page, 0, sizeof(*page));
		*entry = page;
	}
	mark_granules(*entry, gpa, bytes);
	if (!(atomic_fetch_or(flags, PAGE_HAS_CODE) & PAGE_HAS_CODE))
		protect_everywhere(vp, gpa & ~(PAGE_BYTES - 1));
	return 0;
}

/* --- publishing --- */

static void join_page(struct dbt_partition *part, struct block *block, gpa_t gpa, unsigned int which)
{
	struct code_page *page = *page_entry(part, gpa);

	block->page_next[which] = page->blocks;
	page->blocks = block;
}

void code_cache_publish(struct dbt_vp *vp, struct block *block, const struct emit *emit)
{
	struct dbt_partition *part = vp_partition(vp);
	struct code_cache *cache = part->cache;
	struct block *_Atomic *bucket = &cache->hash[block_hash(block->gpa, block->rip, block->mode)];
	uint32_t count = atomic_load_explicit(&cache->sorted_count, memory_order_relaxed);

	cache->used = ALIGN_UP((uint64_t)(emit->at - cache->write_base), 16);
	join_page(part, block, block->gpa, 0);
	if (block->crosses_page)
		join_page(part, block, block->second_page, 1);
	cache->sorted[count] = block;
	atomic_store_explicit(&cache->sorted_count, count + 1, memory_order_release);
	atomic_store_explicit(&block->hash_next, atomic_load(bucket), memory_order_relaxed);
	atomic_store_explicit(bucket, block, memory_order_release);
}

/* --- invalidation --- */

static void take_link_lock(struct code_cache *cache)
{
	while (atomic_exchange_explicit(&cache->link_lock, 1, memory_order_acquire))
		sched_yield();
}

static void drop_link_lock(struct code_cache *cache)
{
	atomic_store_explicit(&cache->link_lock, 0, memory_order_release);
}

static void unhash(struct code_cache *cache, struct block *block)
{
	struct block *_Atomic *at = &cache->hash[block_hash(block->gpa, block->rip, block->mode)];

	for (; atomic_load(at); at = &atomic_load(at)->hash_next) {
		if (atomic_load(at) != block)
			continue;
		atomic_store_explicit(at, atomic_load(&block->hash_next), memory_order_release);
		return;
	}
}

/* No chained jump leads into @block any more. */
static void unlink_incoming(struct code_cache *cache, struct block *block)
{
	ptrdiff_t run_delta = cache->run_base - cache->write_base;

	take_link_lock(cache);
	block->invalid = true;
	for (struct block_exit *exit = block->incoming; exit; exit = exit->next_incoming) {
		int32_t rel = exit->stub - (exit->field + run_delta + 4);

		exit->linked = false;
		__atomic_store_n((int32_t *)exit->field, rel, __ATOMIC_RELEASE);
	}
	block->incoming = NULL;
	drop_link_lock(cache);
}

static unsigned int page_index(const struct block *block, gpa_t page)
{
	return (block->gpa & ~(PAGE_BYTES - 1)) == page ? 0 : 1;
}

static bool block_overlaps(const struct block *block, gpa_t gpa, uint32_t bytes)
{
	gpa_t page = gpa & ~(PAGE_BYTES - 1);
	uint64_t in_first = MIN((uint64_t)block->guest_bytes, PAGE_BYTES - block->gpa % PAGE_BYTES);

	if (page_index(block, page) == 0)
		return block->gpa < gpa + bytes && gpa < block->gpa + in_first;
	return gpa < block->second_page + (block->guest_bytes - in_first);
}

/* Take @block out of @page's list. */
static void leave_page(struct dbt_partition *part, struct block *block, gpa_t gpa)
{
	gpa_t base = gpa & ~(PAGE_BYTES - 1);
	struct code_page *page = *page_entry(part, gpa);
	struct block **at = &page->blocks;

	while (*at && *at != block)
		at = &(*at)->page_next[page_index(*at, base)];
	if (*at)
		*at = block->page_next[page_index(block, base)];
}

static void invalidate_block(struct dbt_partition *part, struct block *block)
{
	unhash(part->cache, block);
	unlink_incoming(part->cache, block);
	leave_page(part, block, block->gpa);
	if (block->crosses_page)
		leave_page(part, block, block->second_page);
}

static void remark_page(struct dbt_partition *part, struct code_page *page, gpa_t base)
{
	memset(page->granules, 0, sizeof(page->granules));
	if (!page->blocks)
		atomic_fetch_and(page_flags(part, base), (uint8_t)~PAGE_HAS_CODE);
	for (struct block *block = page->blocks; block; block = block->page_next[page_index(block, base)]) {
		uint64_t in_first = MIN((uint64_t)block->guest_bytes, PAGE_BYTES - block->gpa % PAGE_BYTES);

		if (page_index(block, base) == 0)
			mark_granules(page, block->gpa, in_first);
		else
			mark_granules(page, base, block->guest_bytes - in_first);
	}
}

void code_cache_invalidate(struct dbt_partition *part, struct dbt_vp *vp, gpa_t gpa, uint32_t bytes)
{
	gpa_t base = gpa & ~(PAGE_BYTES - 1);
	struct code_page **entry = page_entry(part, gpa);
	struct block *next;

	if (!entry || !*entry)
		return;
	for (struct block *block = (*entry)->blocks; block; block = next) {
		next = block->page_next[page_index(block, base)];
		if (!block_overlaps(block, gpa, bytes))
			continue;
		invalidate_block(part, block);
		if (vp)
			stat_add(vp, BLOCKS_INVALIDATED, 1);
	}
	remark_page(part, *entry, base);
	if (vp)
		mmu_flush_jumps(vp);
	for (unsigned int i = 0; i < part->part.vp_count; i++) {
		struct dbt_vp *other = partition_vp(part, i);

		if (!other || other == vp)
			continue;
		atomic_fetch_or(&other->requests, REQ_FLUSH_JUMPS);
		vp_request_exit(other);
	}
}

static void forget_code_pages(struct dbt_partition *part)
{
	for (unsigned int i = 0; i < part->slot_count; i++) {
		struct memory_slot *slot = &part->slots[i];

		for (uint64_t page = 0; page < slot->bytes / PAGE_BYTES; page++) {
			if (!slot->code_pages[page])
				continue;
			slot->code_pages[page] = NULL;
			atomic_fetch_and(&slot->page_flags[page], (uint8_t)~PAGE_HAS_CODE);
		}
	}
}

void code_cache_flush(struct dbt_partition *part)
{
	struct code_cache *cache = part->cache;

	forget_code_pages(part);
	memset(cache->hash, 0, sizeof(cache->hash));
	atomic_store(&cache->sorted_count, 0);
	cache->used = cache->thunk_bytes;
	cache->meta_used = 0;
	for (unsigned int i = 0; i < part->part.vp_count; i++) {
		struct dbt_vp *vp = partition_vp(part, i);

		if (!vp)
			continue;
		vp->link = NULL;
		mmu_flush_jumps(vp);
		stat_add(vp, CACHE_FLUSHES, 1);
	}
}

void stop_vps(struct dbt_partition *part, struct dbt_vp *self)
{
	for (unsigned int i = 0; i < part->part.vp_count; i++) {
		struct dbt_vp *vp = partition_vp(part, i);

		if (!vp || vp == self)
			continue;
		atomic_fetch_or(&vp->requests, REQ_STOP);
		vp_request_exit(vp);
		while (atomic_load(&vp->in_guest))
			sched_yield();
	}
}

void resume_vps(struct dbt_partition *part, struct dbt_vp *self)
{
	for (unsigned int i = 0; i < part->part.vp_count; i++) {
		struct dbt_vp *vp = partition_vp(part, i);

		if (vp && vp != self)
			atomic_fetch_and(&vp->requests, ~REQ_STOP);
	}
}

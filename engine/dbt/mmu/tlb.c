/*
 * tlb.c - the TLBs, the logs of what they hold, and flushes
 *
 * Invariants:
 *  1. An inline TLB entry that is not empty is in tlb_log[0] or, when it is global, in tlb_log[1]
 *     (its P_LOGGED bits tell), so a flush touches just what was filled. The same holds for jump
 *     cache entries and jump_log; there a bitmap tells.
 *  2. An entry is in each log at most once, so the logs never overflow.
 *  3. A second-level entry is alive when its asid is the current one or the one of global pages.
 *     Numbers are given out upwards; when they run out, everything is emptied.
 *  4. Any page that is a piece of a large one is in large_bloom (by its 2M or 1G region), so
 *     that INVLPG knows when one page is not enough. Bits are cleared by full flushes only.
 */
#include "mmu_internal.h"

#include "stats.h"

#define EMPTY_TAG ASID_EMPTY
enum { NOT_GLOBAL, GLOBAL }; /* the logs */

/* --- the inline TLB --- */

static struct tlb_entry *logged_entry(struct dbt_vp *vp, uint32_t id)
{
	return &vp->tlb[id >> TLB_ENTRY_BITS][id & (TLB_ENTRIES - 1)];
}

static void empty_entry(struct tlb_entry *entry, uint32_t id)
{
	entry->read_tag = entry->write_tag = TLB_NEVER(id & (TLB_ENTRIES - 1));
	entry->gpa &= P_LOGS;
}

/* Empties entries of one log; those that became of the other kind since stay. */
static void empty_log(struct dbt_vp *vp, unsigned int which)
{
	struct mmu *mmu = vp->mmu;
	uint64_t logged = which == GLOBAL ? P_LOGGED_GLOBAL : P_LOGGED;

	for (uint32_t i = 0; i < mmu->tlb_logged[which]; i++) {
		uint32_t id = mmu->tlb_log[which][i];
		struct tlb_entry *entry = logged_entry(vp, id);

		entry->gpa &= ~logged;
		if (((entry->gpa & P_GLOBAL) != 0) == (which == GLOBAL))
			empty_entry(entry, id);
	}
	mmu->tlb_logged[which] = 0;
}

static void empty_matching(struct dbt_vp *vp, bool (*matches)(const struct tlb_entry *, uint64_t),
			   uint64_t what)
{
	struct mmu *mmu = vp->mmu;

	for (unsigned int which = NOT_GLOBAL; which <= GLOBAL; which++) {
		for (uint32_t i = 0; i < mmu->tlb_logged[which]; i++) {
			uint32_t id = mmu->tlb_log[which][i];
			struct tlb_entry *entry = logged_entry(vp, id);

			if (matches(entry, what))
				empty_entry(entry, id);
		}
	}
}

static bool is_large_near(const struct tlb_entry *entry, uint64_t va)
{
	return (entry->gpa & P_LARGE) && (entry->read_tag ^ va) >> 30 == 0;
}

static bool takes_writes_of(const struct tlb_entry *entry, uint64_t gpa)
{
	return ((entry->gpa ^ gpa) & ~P_FLAGS) == 0;
}

void mmu_protect_code(struct dbt_vp *vp, gpa_t page)
{
	struct mmu *mmu = vp->mmu;

	for (unsigned int which = NOT_GLOBAL; which <= GLOBAL; which++) {
		for (uint32_t i = 0; i < mmu->tlb_logged[which]; i++) {
			uint32_t id = mmu->tlb_log[which][i];
			struct tlb_entry *entry = logged_entry(vp, id);

			if (takes_writes_of(entry, page))
				entry->write_tag = TLB_NEVER(id & (TLB_ENTRIES - 1));
		}
	}
}

/* --- jump caches --- */

static bool is_known_global(struct mmu *mmu, uint64_t va)
{
	const struct page_entry *page = tlb_lookup(mmu, va);

	return page && (page->gpa & P_GLOBAL);
}

void mmu_note_jump(struct dbt_vp *vp, struct jump_cache_entry *entry)
{
	struct mmu *mmu = vp->mmu;
	uint32_t id = entry - vp->jump_cache[0];
	uint64_t *word;
	unsigned int which;

	/* A block near the end of its page may reach into the next one. */
	which = is_known_global(mmu, entry->va) &&
		((entry->va & P_FLAGS) < 0xc00 || is_known_global(mmu, entry->va + PAGE_BYTES));
	bloom_add(mmu->jump_bloom, entry->va >> 12);
	word = &mmu->jump_in_log[which][id / 64];
	if (*word & BIT(id % 64))
		return;
	*word |= BIT(id % 64);
	mmu->jump_log[which][mmu->jump_logged[which]++] = id;
}

static struct jump_cache_entry *jump_entry(struct dbt_vp *vp, uint32_t id)
{
	return &vp->jump_cache[id / JUMP_CACHE_ENTRIES][id % JUMP_CACHE_ENTRIES];
}

static void empty_jump(struct dbt_vp *vp, uint32_t id)
{
	jump_entry(vp, id)->va = JUMP_CACHE_NEVER(id % JUMP_CACHE_ENTRIES);
}

static void empty_jump_log(struct dbt_vp *vp, unsigned int which)
{
	struct mmu *mmu = vp->mmu;

	for (uint32_t i = 0; i < mmu->jump_logged[which]; i++) {
		uint32_t id = mmu->jump_log[which][i];

		mmu->jump_in_log[which][id / 64] &= ~BIT(id % 64);
		empty_jump(vp, id);
	}
	mmu->jump_logged[which] = 0;
}

void mmu_flush_jumps(struct dbt_vp *vp)
{
	empty_jump_log(vp, NOT_GLOBAL);
	empty_jump_log(vp, GLOBAL);
	clear_words(vp->mmu->jump_bloom, BLOOM_BITS / 64);
}

/* Jumps into the page of @va, and to its predecessor, whose blocks may reach into it. */
static void empty_page_jumps(struct dbt_vp *vp, uint64_t va)
{
	struct mmu *mmu = vp->mmu;
	uint64_t page = va >> 12;

	if (!bloom_has(mmu->jump_bloom, page) && !bloom_has(mmu->jump_bloom, page - 1))
		return;
	for (unsigned int which = NOT_GLOBAL; which <= GLOBAL; which++) {
		for (uint32_t i = 0; i < mmu->jump_logged[which]; i++) {
			uint32_t id = mmu->jump_log[which][i];

			if (page - (jump_entry(vp, id)->va >> 12) <= 1)
				empty_jump(vp, id);
		}
	}
}

/* --- the second level --- */

static void empty_pages(struct mmu *mmu)
{
	for (unsigned int set = 0; set < L2_SETS; set++) {
		for (unsigned int way = 0; way < L2_WAYS; way++)
			mmu->pages[set][way].tag = EMPTY_TAG;
	}
	clear_words((uint64_t *)mmu->pcid_asid, sizeof(mmu->pcid_asid) / 8);
	clear_words(mmu->large_bloom, BLOOM_BITS / 64);
	mmu->last_asid = 0;
}

static uint32_t global_asid(const struct mmu *mmu)
{
	return mmu->asid ^ mmu->asid_delta;
}

/* Gives the current PCID its number, a new one if it has none; @global: global pages too. */
static void choose_asids(struct mmu *mmu, bool new_global)
{
	uint32_t global = global_asid(mmu);

	if (mmu->last_asid + 2 > ASID_MAX) {
		empty_pages(mmu);
		new_global = true;
	}
	if (new_global)
		global = ++mmu->last_asid;
	if (!mmu->pcid_asid[mmu->pcid])
		mmu->pcid_asid[mmu->pcid] = ++mmu->last_asid;
	mmu->asid = mmu->pcid_asid[mmu->pcid];
	mmu->asid_delta = mmu->asid ^ global;
}

static struct page_entry *choose_way(struct mmu *mmu, uint64_t va)
{
	struct page_entry *set = tlb_set(mmu, va);
	struct page_entry *found = tlb_lookup(mmu, va);

	if (found)
		return found;
	for (unsigned int way = 0; way < L2_WAYS; way++) {
		if (set[way].tag == EMPTY_TAG)
			return &set[way];
	}
	return &set[mmu->victim++ % L2_WAYS];
}

struct page_entry *tlb_insert(struct mmu *mmu, uint64_t va, const struct page_entry *page)
{
	struct page_entry *entry = choose_way(mmu, va);

	*entry = *page;
	entry->tag = (va & ~P_FLAGS) | (page->gpa & P_GLOBAL ? global_asid(mmu) : mmu->asid);
	if (page->gpa & P_LARGE)
		bloom_add(mmu->large_bloom, page->gpa & P_HUGE ? va >> 30 : va >> 21);
	return entry;
}

/* Large pages of address space @asid, and global ones if asked, in the 1G region of @va. */
static void empty_large_pages(struct mmu *mmu, uint64_t va, uint32_t asid, bool global)
{
	for (unsigned int i = 0; i < L2_SETS * L2_WAYS; i++) {
		struct page_entry *page = &mmu->pages[i / L2_WAYS][i % L2_WAYS];
		uint32_t owner = page->tag & P_FLAGS;

		if (!(page->gpa & P_LARGE) || (page->tag ^ va) >> 30 != 0)
			continue;
		if (owner == asid || (global && owner == global_asid(mmu)))
			page->tag = EMPTY_TAG;
	}
}

/* The page of @va in @asid; returns true when large pages may lie around it. */
static bool empty_page(struct mmu *mmu, uint64_t va, uint32_t asid, bool global)
{
	struct page_entry *set = tlb_set(mmu, va);

	for (unsigned int way = 0; way < L2_WAYS; way++) {
		uint32_t owner = set[way].tag & P_FLAGS;

		if ((set[way].tag ^ va) >> 12 != 0)
			continue;
		if (owner == asid || (global && owner == global_asid(mmu)))
			set[way].tag = EMPTY_TAG;
	}
	/* 4M pages: either half of the region may be the one that was seen. */
	return bloom_has(mmu->large_bloom, va >> 21) || bloom_has(mmu->large_bloom, va >> 21 ^ 1) ||
	       bloom_has(mmu->large_bloom, va >> 30);
}

/* --- flushes --- */

static void empty_inline(struct dbt_vp *vp, bool global)
{
	empty_log(vp, NOT_GLOBAL);
	empty_jump_log(vp, NOT_GLOBAL);
	if (global) {
		empty_log(vp, GLOBAL);
		empty_jump_log(vp, GLOBAL);
		clear_words(vp->mmu->jump_bloom, BLOOM_BITS / 64);
	}
}

void mmu_flush_all(struct dbt_vp *vp)
{
	struct mmu *mmu = vp->mmu;

	stat_add(vp, TLB_FLUSHES, 1);
	empty_inline(vp, true);
	mmu_update_regime(vp);
	mmu->pcid = vp->cr4 & CR4_PCIDE ? vp->cr3 & 0xfff : 0;
	clear_words((uint64_t *)mmu->pcid_asid, sizeof(mmu->pcid_asid) / 8);
	clear_words(mmu->large_bloom, BLOOM_BITS / 64);
	choose_asids(mmu, true);
}

void mmu_flush_non_global(struct dbt_vp *vp)
{
	struct mmu *mmu = vp->mmu;

	stat_add(vp, TLB_FLUSHES, 1);
	empty_inline(vp, false);
	if (vp->cr4 & CR4_PCIDE)
		clear_words((uint64_t *)mmu->pcid_asid, sizeof(mmu->pcid_asid) / 8);
	mmu->pcid_asid[mmu->pcid] = 0;
	choose_asids(mmu, false);
}

void mmu_switch_cr3(struct dbt_vp *vp, bool keep)
{
	struct mmu *mmu = vp->mmu;

	stat_add(vp, TLB_FLUSHES, 1);
	empty_inline(vp, false);
	mmu->pcid = vp->cr4 & CR4_PCIDE ? vp->cr3 & 0xfff : 0;
	if (!keep || !(vp->cr4 & CR4_PCIDE))
		mmu->pcid_asid[mmu->pcid] = 0;
	choose_asids(mmu, false);
}

void mmu_flush_page(struct dbt_vp *vp, uint64_t va)
{
	struct mmu *mmu = vp->mmu;
	uint32_t index = va >> 12 & (TLB_ENTRIES - 1);

	va &= mmu->va_mask;
	for (unsigned int table = 0; table < TLB_TABLES; table++) {
		struct tlb_entry *entry = &vp->tlb[table][index];

		if ((entry->read_tag ^ va) >> 12 == 0)
			empty_entry(entry, index);
	}
	if (empty_page(mmu, va, mmu->asid, true)) {
		empty_matching(vp, is_large_near, va);
		empty_large_pages(mmu, va, mmu->asid, true);
		mmu_flush_jumps(vp);
	} else {
		empty_page_jumps(vp, va);
	}
}

void mmu_flush_pcid(struct dbt_vp *vp, uint32_t pcid, bool one_page, uint64_t va)
{
	struct mmu *mmu = vp->mmu;
	uint32_t asid = mmu->pcid_asid[pcid & 0xfff];

	pcid &= 0xfff;
	if (one_page) {
		if (pcid == mmu->pcid)
			mmu_flush_page(vp, va); /* global pages as well, which is allowed */
		else if (asid && empty_page(mmu, va, asid, false))
			empty_large_pages(mmu, va, asid, false);
		return;
	}
	mmu->pcid_asid[pcid] = 0;
	if (pcid != mmu->pcid)
		return;
	stat_add(vp, TLB_FLUSHES, 1);
	empty_inline(vp, false);
	choose_asids(mmu, false);
}

void mmu_mode_changed(struct dbt_vp *vp, uint64_t old_cr0, uint64_t old_cr4, uint64_t old_efer)
{
	uint64_t cr0 = vp->cr0 ^ old_cr0, cr4 = vp->cr4 ^ old_cr4, efer = vp->efer ^ old_efer;

	if ((cr0 & (CR0_PG | 1)) || (efer & (EFER_LMA | EFER_NXE)) ||
	    (cr4 & (CR4_PSE | CR4_PAE | CR4_PGE | CR4_PCIDE))) {
		mmu_flush_all(vp);
	} else if ((cr0 & CR0_WP) || (cr4 & (CR4_SMEP | CR4_SMAP))) {
		mmu_update_regime(vp); /* the second level keeps what it knows: it is checked anew */
		empty_inline(vp, true);
	}
}

/* --- life --- */

void tlb_init(struct dbt_vp *vp)
{
	for (unsigned int table = 0; table < TLB_TABLES; table++) {
		for (unsigned int index = 0; index < TLB_ENTRIES; index++) {
			vp->tlb[table][index] = (struct tlb_entry){.host = 0};
			empty_entry(&vp->tlb[table][index], index);
		}
	}
	for (uint32_t id = 0; id < MODE_SLOTS * JUMP_CACHE_ENTRIES; id++)
		empty_jump(vp, id);
	empty_pages(vp->mmu);
	mmu_flush_all(vp);
}

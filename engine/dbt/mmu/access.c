/*
 * access.c - slow paths of accesses: from an address to a host pointer, a fault or the bounce buffer
 *
 * Accesses come here when the inline TLB has no match. Most hit the second level and are plain
 * memory inside one page: fill the inline TLB, return the host address. What is left:
 *   - the page is not (or not so) mapped: a walk, then the same, or an exception;
 *   - it holds translated code and is written to: the code cache decides;
 *   - it crosses into another page, or is a device's: the instruction is done again as a single
 *     step (vp->step_once), with the bounce buffer in place of memory.
 * Both pages of a crossing access are checked before either has its D bit set.
 */
#include "mmu_internal.h"

#include "apic.h"
#include "debug.h"
#include "stats.h"

static void raise_fault(struct dbt_vp *vp, const struct mmu_fault *fault, uint64_t va)
{
	vp_raise_error(vp, fault->vector, fault->error);
	vp->exception.cr2 = va;
}

/* A page as an access of some kind may use it. */
enum page_kind {
	PAGE_PLAIN,
	PAGE_CODE,  /* plain, but code_write_hook() must hear of the write */
	PAGE_DEVICE /* APIC, MMIO, ROM write */
};

static inline struct page_entry *translate(struct dbt_vp *vp, uint64_t va, unsigned int table,
				    uint32_t access, struct mmu_fault *ret_fault)
{
	struct mmu *mmu = vp->mmu;
	struct page_entry *page = tlb_lookup(mmu, va);
	struct permission rule = mmu->permission[table][access & 7];
	struct page_entry walked;

	if (likely(page && (page->gpa & rule.mask) == rule.need))
		return page;
	if (mmu_walk(vp, va, table, access, false, &walked, ret_fault) < 0)
		return NULL;
	return tlb_insert(mmu, va, &walked);
}

/* The same, raising what it raises. Returns 0 or -1. */
static int translate_copy(struct dbt_vp *vp, uint64_t va, uint32_t access,
			  struct page_entry *ret_page)
{
	struct mmu_fault fault;
	struct page_entry *page = translate(vp, va, access_table(vp, access), access, &fault);

	if (!page) {
		raise_fault(vp, &fault, va);
		return -1;
	}
	*ret_page = *page;
	return 0;
}

static int probe_write(struct dbt_vp *vp, uint64_t va, uint32_t access)
{
	struct page_entry page;
	struct mmu_fault fault;

	if (mmu_walk(vp, va, access_table(vp, access), access, true, &page, &fault) < 0) {
		raise_fault(vp, &fault, va);
		return -1;
	}
	return 0;
}

/* The two pages of a crossing access. Returns 0; -1: raised. */
static int translate_two(struct dbt_vp *vp, uint64_t va, uint64_t last, uint32_t access,
			 struct page_entry pages[2])
{
	bool write = access & ACCESS_WRITE;

	if ((vp->efer & EFER_LMA) && (!is_canonical(va) || !is_canonical(last))) {
		vp_raise_error(vp, VEC_GP, 0);
		return -1;
	}
	if (write ? probe_write(vp, va, access) : translate_copy(vp, va, access, &pages[0]))
		return -1;
	if (translate_copy(vp, last & ~(PAGE_BYTES - 1), access, &pages[1]) < 0)
		return -1;
	return write ? translate_copy(vp, va, access, &pages[0]) : 0;
}

/* A store into [va, va + bytes) of a page that holds code. Returns false: abandon, step. */
static bool allow_code_store(struct dbt_vp *vp, const struct page_entry *page, uint64_t va,
			     uint32_t bytes)
{
	stat_add(vp, CODE_PAGE_STORES, 1);
	return !code_write_hook(vp, (page->gpa & ~P_FLAGS) | (va & P_FLAGS), bytes) || vp->stepping;
}

static inline enum page_kind classify_page(const struct page_entry *page, uint32_t access)
{
	uint8_t now;

	if (!(page->gpa & P_READABLE))
		return PAGE_DEVICE;
	if (!(access & ACCESS_WRITE))
		return PAGE_PLAIN;
	if (!(page->gpa & P_WRITABLE))
		return PAGE_DEVICE;
	now = atomic_load_explicit(page->page_flags, memory_order_relaxed);
	if (unlikely((page->gpa & P_DIRTY_LOG) && !(now & PAGE_DIRTY)))
		atomic_fetch_or(page->page_flags, PAGE_DIRTY);
	return unlikely(now & PAGE_HAS_CODE) ? PAGE_CODE : PAGE_PLAIN;
}

/* --- accesses by translated code --- */

/* The access needs the bounce buffer, which needs a single step. */
static void *access_bounced(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access,
			    const struct page_entry *first, const struct page_entry *second)
{
	if (!vp->stepping) {
		vp->step_once = 1;
		return NULL;
	}
	bounce_start(vp, va, bytes, first, second);
	if (!bounce_gather(vp, access & ACCESS_READ))
		return NULL;
	if (access & ACCESS_WRITE)
		bounce_write_back(vp);
	else
		vp->bounce.bytes = 0;
	return vp->bounce.data;
}

static void *access_crossing(struct dbt_vp *vp, uint64_t va, uint64_t last, uint32_t bytes,
			     uint32_t access)
{
	struct page_entry pages[2];
	enum page_kind kind[2];

	if (translate_two(vp, va, last, access, pages) < 0)
		return NULL;
	kind[0] = classify_page(&pages[0], access);
	kind[1] = classify_page(&pages[1], access);
	if (kind[0] == PAGE_PLAIN && kind[1] == PAGE_PLAIN) {
		if (pages[1].host == pages[0].host + PAGE_BYTES)
			return (void *)(uintptr_t)(pages[0].host + (va & P_FLAGS));
		if (!(access & ACCESS_WRITE)) {
			bounce_start(vp, va, bytes, &pages[0], &pages[1]);
			bounce_gather(vp, false);
			vp->bounce.bytes = 0;
			return vp->bounce.data;
		}
	}
	return access_bounced(vp, va, bytes, access, &pages[0], &pages[1]);
}

void *mmu_access(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access)
{
	unsigned int table = access_table(vp, 0);
	struct mmu_fault fault;
	struct page_entry *page;
	uint64_t last;

	stat_add(vp, TLB_MISSES, 1);
	va &= vp->mmu->va_mask;
	if (unlikely(vp->mode & MODE_WATCH))
		debug_note_access(vp, va, bytes, access & ACCESS_READ, access & ACCESS_WRITE);
	last = (va + bytes - 1) & vp->mmu->va_mask;
	if (unlikely((va ^ last) >> 12))
		return access_crossing(vp, va, last, bytes, access);
	page = translate(vp, va, table, access, &fault);
	if (unlikely(!page)) {
		raise_fault(vp, &fault, va);
		return NULL;
	}
	switch (classify_page(page, access)) {
	case PAGE_PLAIN: break;
	case PAGE_CODE:
		if (!allow_code_store(vp, page, va, bytes)) {
			vp->step_once = 1;
			return NULL;
		}
		break;
	case PAGE_DEVICE: return access_bounced(vp, va, bytes, access, page, NULL);
	}
	tlb_fill(vp, table, va, page);
	return (void *)(uintptr_t)(page->host + (va & P_FLAGS));
}

/* --- accesses by helpers --- */

/* Through the inline TLB; NULL when it has no match. */
static void *inline_lookup(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access)
{
	struct tlb_entry *entry;
	uint64_t tag;

	if (access & (ACCESS_SUPERVISOR | ACCESS_USER))
		return NULL;
	entry = &vp->tlb[access_table(vp, 0)][va >> 12 & (TLB_ENTRIES - 1)];
	tag = access & ACCESS_WRITE ? entry->write_tag : entry->read_tag;
	return (va ^ tag) <= PAGE_BYTES - bytes ? (void *)(uintptr_t)(entry->host + (va ^ tag)) : NULL;
}

/*
 * The pages of a helper's access, raising what it raises. Returns how many, or -1; *ret_host is
 * set when it may go straight to memory, and then the pages may not have been looked at.
 */
static int helper_pages(struct dbt_vp *vp, uint64_t va, uint32_t bytes, uint32_t access,
			struct page_entry pages[2], void **ret_host)
{
	unsigned int table = access_table(vp, access);
	uint64_t last = (va + bytes - 1) & vp->mmu->va_mask;
	struct mmu_fault fault;
	struct page_entry *page;

	*ret_host = inline_lookup(vp, va, bytes, access);
	if (*ret_host)
		return 1;
	if ((va ^ last) >> 12)
		return translate_two(vp, va, last, access, pages) < 0 ? -1 : 2;
	page = translate(vp, va, table, access, &fault);
	if (!page) {
		raise_fault(vp, &fault, va);
		return -1;
	}
	pages[0] = *page;
	if (classify_page(page, access) == PAGE_PLAIN) {
		*ret_host = (void *)(uintptr_t)(page->host + (va & P_FLAGS));
		if (!(access & (ACCESS_SUPERVISOR | ACCESS_USER)))
			tlb_fill(vp, table, va, page);
	}
	return 1;
}

int mmu_read(struct dbt_vp *vp, uint64_t va, void *buffer, uint32_t bytes, uint32_t access)
{
	struct page_entry pages[2];
	void *host;
	int count;

	va &= vp->mmu->va_mask;
	access |= ACCESS_READ;
	if (unlikely(vp->mode & MODE_WATCH) && !(access & ACCESS_SUPERVISOR))
		debug_note_access(vp, va, bytes, true, false);
	count = helper_pages(vp, va, bytes, access, pages, &host);
	if (count < 0)
		return -1;
	if (host) {
		copy_bytes(buffer, host, bytes);
		return 0;
	}
	bounce_start(vp, va, bytes, &pages[0], count == 2 ? &pages[1] : NULL);
	if (!bounce_gather(vp, true))
		return -1;
	vp->bounce.bytes = 0;
	copy_bytes(buffer, vp->bounce.data, bytes);
	return 0;
}

int mmu_write(struct dbt_vp *vp, uint64_t va, const void *buffer, uint32_t bytes, uint32_t access)
{
	struct page_entry pages[2];
	void *host;
	int count;

	va &= vp->mmu->va_mask;
	access |= ACCESS_WRITE;
	if (unlikely(vp->mode & MODE_WATCH) && !(access & ACCESS_SUPERVISOR))
		debug_note_access(vp, va, bytes, false, true);
	count = helper_pages(vp, va, bytes, access, pages, &host);
	if (count < 0)
		return -1;
	if (host) {
		copy_bytes(host, buffer, bytes);
		return 0;
	}
	bounce_start(vp, va, bytes, &pages[0], count == 2 ? &pages[1] : NULL);
	copy_bytes(vp->bounce.data, buffer, bytes);
	bounce_write_back(vp);
	mmu_finish_bounce(vp);
	return vp->leave != LEAVE_NONE;
}

void *mmu_host_span(struct dbt_vp *vp, uint64_t va, uint32_t access, uint64_t *ret_bytes)
{
	unsigned int table = access_table(vp, access);
	struct mmu_fault fault;
	struct page_entry *page;

	va &= vp->mmu->va_mask;
	page = translate(vp, va, table, access, &fault);
	if (!page || classify_page(page, access) != PAGE_PLAIN)
		return NULL;
	*ret_bytes = PAGE_BYTES - (va & P_FLAGS);
	return (void *)(uintptr_t)(page->host + (va & P_FLAGS));
}

/* --- instruction fetch --- */

int mmu_fetch_page(struct dbt_vp *vp, uint64_t va, gpa_t *ret_gpa, const uint8_t **ret_host)
{
	struct mmu_fault fault;
	struct page_entry *page;

	va &= vp->mmu->va_mask;
	page = translate(vp, va, access_table(vp, 0), ACCESS_EXECUTE, &fault);
	if (!page) {
		raise_fault(vp, &fault, va);
		return -1;
	}
	*ret_gpa = (page->gpa & ~P_FLAGS) | (va & P_FLAGS);
	if (unlikely(!(page->gpa & P_READABLE))) {
		/* Nothing answers on the bus: all ones, which decode as FF /7. */
		vp_raise(vp, VEC_UD);
		return -1;
	}
	*ret_host = (const uint8_t *)(uintptr_t)(page->host + (va & P_FLAGS));
	return 0;
}

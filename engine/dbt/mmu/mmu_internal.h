/*
 * mmu_internal.h - the second-level TLB and what the files of this folder share
 *
 * A translation is looked for in three places: the inline TLB of struct dbt_vp (translated code
 * itself), the second-level TLB here (tlb.c), the guest's page tables (walk.c). The second level
 * keeps the walked permissions, so one entry serves all privilege levels, and carries an address
 * space number (asid), so that giving the current space a new number empties it at no cost.
 */
#ifndef DBT_MMU_INTERNAL_H
#define DBT_MMU_INTERNAL_H

#include "mmu.h"

#define CR0_WP BIT(16)
#define CR0_PG BIT(31)
#define CR4_PSE BIT(4)
#define CR4_PAE BIT(5)
#define CR4_PGE BIT(7)
#define CR4_PCIDE BIT(17)
#define CR4_SMEP BIT(20)
#define CR4_SMAP BIT(21)
#define EFER_LMA BIT(10)
#define EFER_NXE BIT(11)

/* Flags beside the page address in page_entry.gpa; the inline TLB's gpa has the same, and P_LOGS. */
#define P_USER     0x001u
#define P_WRITE    0x002u
#define P_NX       0x004u
#define P_DIRTY    0x008u /* D is set in the page tables */
#define P_GLOBAL   0x010u
#define P_LARGE    0x020u /* a piece of a larger page: INVLPG of any piece drops all */
#define P_READABLE 0x040u /* plain memory ... */
#define P_WRITABLE 0x080u /* ... whose slot allows writes */
#define P_DIRTY_LOG 0x100u /* the slot logs writes: page_flags has PAGE_DIRTY once it is logged */
#define P_LOGGED        0x200u /* inline TLB: the entry is in log[0] */
#define P_LOGGED_GLOBAL 0x400u /* ... in log[1] */
#define P_HUGE     0x800u /* with P_LARGE: of a 1G page */
#define P_LOGS (P_LOGGED | P_LOGGED_GLOBAL)
#define P_FLAGS 0xfffull

struct page_entry {
	uint64_t tag;  /* linear page | asid */
	uint64_t host; /* of the page's first byte; 0 when it is not plain memory */
	uint64_t gpa;  /* | P_* */
	_Atomic uint8_t *page_flags;
};

#define L2_WAYS 4
#define L2_SETS 1024
#define ASID_EMPTY 0xfffu /* no address space has it: tags of empty entries */
#define ASID_MAX 0xffeu
#define BLOOM_BITS 4096

/* Entry [access] says what a page's flags must be: (flags & mask) == need. */
struct permission {
	uint16_t need, mask;
};

struct paging_format {
	uint8_t levels; /* 0: paging is off */
	uint8_t index_bits;
	uint8_t entry_bytes;
};

struct mmu {
	/* What the control registers mean, by mmu_update_regime(). */
	struct paging_format format;
	uint8_t large_levels; /* bit n: bit 7 of a level n entry makes it a leaf */
	uint64_t va_mask;
	uint64_t root_mask;
	uint64_t reserved[5], reserved_large[5]; /* by level; 1 is the page table */
	struct permission permission[TLB_TABLES][8]; /* by table and ACCESS_* */

	/* The second level. */
	uint32_t asid;
	uint32_t asid_delta; /* asid ^ the asid of global pages */
	uint32_t last_asid;
	uint32_t pcid;
	uint32_t victim;
	uint16_t pcid_asid[4096]; /* 0: nothing is cached of this PCID */
	uint64_t large_bloom[BLOOM_BITS / 64]; /* hashed 2M (P_LARGE) and 1G (P_HUGE) regions with an entry */
	struct page_entry pages[L2_SETS][L2_WAYS] __attribute__((aligned(64)));

	/* Inline TLB entries (table << TLB_ENTRY_BITS | index) that are not empty: [1] global ones. */
	uint16_t tlb_log[2][TLB_TABLES * TLB_ENTRIES];
	uint32_t tlb_logged[2];

	/* The same for jump caches; the bitmaps say what is in the logs. */
	uint32_t jump_log[2][MODE_SLOTS * JUMP_CACHE_ENTRIES];
	uint32_t jump_logged[2];
	uint64_t jump_in_log[2][MODE_SLOTS * JUMP_CACHE_ENTRIES / 64];
	uint64_t jump_bloom[BLOOM_BITS / 64]; /* hashed pages with a logged jump */

	/* What the bounce buffer stands for, fixed when it was set up: bounce.c. */
	gpa_t bounce_gpa[2];
	uint32_t bounce_split; /* bytes that are in the first page */
	/* An MMIO read that takes several exits: its bytes so far are in bounce.data. */
	uint64_t reading_va;
	uint32_t reading_bytes, reading_done;
};

/* --- small things --- */

typedef uint16_t unaligned_u16 __attribute__((aligned(1)));
typedef uint32_t unaligned_u32 __attribute__((aligned(1)));
typedef uint64_t unaligned_u64 __attribute__((aligned(1)));

/* Guest and host bytes; a single access when the size allows it, as other VPs may look. */
static inline void copy_bytes(void *to, const void *from, uint64_t bytes)
{
	switch (bytes) {
	case 1: *(volatile uint8_t *)to = *(const volatile uint8_t *)from; return;
	case 2: *(volatile unaligned_u16 *)to = *(const volatile unaligned_u16 *)from; return;
	case 4: *(volatile unaligned_u32 *)to = *(const volatile unaligned_u32 *)from; return;
	case 8: *(volatile unaligned_u64 *)to = *(const volatile unaligned_u64 *)from; return;
	}
	__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(bytes) : : "memory");
}

static inline void clear_words(uint64_t *to, uint64_t words)
{
	__asm__ volatile("rep stosq" : "+D"(to), "+c"(words) : "a"(0ull) : "memory");
}

static inline bool is_canonical(uint64_t va)
{
	return (uint64_t)((int64_t)(va << 16) >> 16) == va;
}

static inline unsigned int bloom_hash(uint64_t x)
{
	return (x ^ x >> 12 ^ x >> 24) & (BLOOM_BITS - 1);
}
static inline void bloom_add(uint64_t *bloom, uint64_t x)
{
	bloom[bloom_hash(x) / 64] |= BIT(bloom_hash(x) % 64);
}
static inline bool bloom_has(const uint64_t *bloom, uint64_t x)
{
	return bloom[bloom_hash(x) / 64] >> (bloom_hash(x) % 64) & 1;
}

/* The inline table of accesses with @access: also the regime whose permissions hold. */
static inline unsigned int access_table(const struct dbt_vp *vp, uint32_t access)
{
	if (unlikely(access & (ACCESS_SUPERVISOR | ACCESS_USER)))
		return access & ACCESS_USER ? TLB_USER : TLB_KERNEL;
	if (vp->cpl == 3)
		return TLB_USER;
	return (vp->cr4 & CR4_SMAP) && vp->flag_ac ? TLB_KERNEL_AC : TLB_KERNEL;
}

/* --- walk.c --- */

/* Recompute what depends on CR0, CR4, EFER and the partition's processor model. */
void mmu_update_regime(struct dbt_vp *vp);

/*
 * mmu_walk() - translate the page of @va by the page tables
 * @table: TLB_*; @access: ACCESS_* without SUPERVISOR and USER; @probe: change no A and D bits
 * Returns: 0 with *ret_page (tag not set); -1: the exception to raise is in *ret_fault.
 */
struct mmu_fault {
	uint8_t vector;
	uint32_t error;
};
int mmu_walk(struct dbt_vp *vp, uint64_t va, unsigned int table, uint32_t access, bool probe,
	     struct page_entry *ret_page, struct mmu_fault *ret_fault);

/* --- tlb.c --- */

void tlb_init(struct dbt_vp *vp);
/* Enter @page (of @va) into the second level; returns the entry there. */
struct page_entry *tlb_insert(struct mmu *mmu, uint64_t va, const struct page_entry *page);
static inline struct page_entry *tlb_set(struct mmu *mmu, uint64_t va)
{
	return mmu->pages[(va >> 12 ^ va >> 22) & (L2_SETS - 1)];
}

static inline struct page_entry *tlb_lookup(struct mmu *mmu, uint64_t va)
{
	struct page_entry *set = tlb_set(mmu, va);
	uint64_t want = (va & ~P_FLAGS) | mmu->asid;

	for (unsigned int way = 0; way < L2_WAYS; way++) {
		uint64_t difference = set[way].tag ^ want;

		if (difference == 0 || difference == mmu->asid_delta)
			return &set[way];
	}
	return NULL;
}

/* May the inline TLB let writes to @page through, given what its page_flags are @now? */
static inline bool is_open_for_writes(const struct page_entry *page, struct permission write,
				      uint8_t now)
{
	const uint64_t need = P_DIRTY | P_WRITABLE;

	if ((page->gpa & (write.mask | need)) != (write.need | need))
		return false;
	return !(now & PAGE_HAS_CODE) && (!(page->gpa & P_DIRTY_LOG) || (now & PAGE_DIRTY));
}

/* Enter a P_READABLE @page into the inline TLB of @table; the access that led here was allowed. */
static inline void tlb_fill(struct dbt_vp *vp, unsigned int table, uint64_t va,
			    const struct page_entry *page)
{
	struct mmu *mmu = vp->mmu;
	uint32_t index = va >> 12 & (TLB_ENTRIES - 1);
	struct tlb_entry *entry = &vp->tlb[table][index];
	uint8_t now = atomic_load_explicit(page->page_flags, memory_order_relaxed);
	bool writes = is_open_for_writes(page, mmu->permission[table][ACCESS_WRITE], now);
	unsigned int which = page->gpa & P_GLOBAL ? 1 : 0;
	uint64_t logged = P_LOGGED << which;
	uint64_t logs = entry->gpa & P_LOGS;

	if (unlikely(!(logs & logged)))
		mmu->tlb_log[which][mmu->tlb_logged[which]++] = table << TLB_ENTRY_BITS | index;
	entry->read_tag = va & ~P_FLAGS;
	entry->write_tag = writes ? va & ~P_FLAGS : TLB_NEVER(index);
	entry->host = page->host;
	entry->gpa = page->gpa | logs | logged;
}

/* --- bounce.c --- */

/* A buffer of @bytes from @va, @split of them in page @first, the others in page @second. */
void bounce_start(struct dbt_vp *vp, uint64_t va, uint32_t bytes, const struct page_entry *first,
		  const struct page_entry *second);
/* Read all of it (or just plain memory); false: LEAVE_EXIT is prepared, restart and call again. */
bool bounce_gather(struct dbt_vp *vp, bool devices);
/* Arrange for bounce_scatter() to write all of it. */
void bounce_write_back(struct dbt_vp *vp);

#endif

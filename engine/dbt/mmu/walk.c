/*
 * walk.c - page walks (SDM vol. 3, "Paging"): 32-bit, PAE and 4-level, or none
 *
 * One loop serves all formats; what differs is in struct paging_format and the masks of reserved
 * bits that mmu_update_regime() computes. A walk first reads the entries down to the leaf and
 * checks them, and only when the access is allowed sets A (every level) and D (leaf, for writes)
 * with compare-and-exchange; if an entry changed meanwhile the walk is done again. So a fault
 * leaves no trace in the tables.
 *
 * Tables are the guest's: their addresses may point anywhere. What is not plain memory reads as
 * all ones, as from an empty bus.
 */
#include "mmu_internal.h"

#include "apic.h"
#include "stats.h"
#include "trace.h"

#define PTE_P BIT(0)
#define PTE_W BIT(1)
#define PTE_U BIT(2)
#define PTE_A BIT(5)
#define PTE_D BIT(6)
#define PTE_LARGE BIT(7)
#define PTE_G BIT(8)
#define PTE_NX BIT(63)
#define PTE_ADDRESS 0x000ffffffffff000ull

#define PF_PRESENT 1u
#define PF_WRITE 2u
#define PF_USER 4u
#define PF_RESERVED 8u
#define PF_FETCH 16u

/* A table entry on the way down. */
struct walk_step {
	void *entry; /* NULL: not in memory */
	uint64_t value;
	struct memory_slot *slot;
	gpa_t gpa;
	uint8_t level;
};

struct walk {
	struct walk_step step[4];
	unsigned int steps;
	uint64_t gpa;
	uint32_t flags; /* P_* */
};

void *mmu_gpa_to_host(struct dbt_partition *part, gpa_t gpa, uint32_t bytes)
{
	struct memory_slot *slot = find_slot(part, gpa);
	uint64_t offset;

	if (!slot || !(slot->access & MAP_GPA_READ))
		return NULL;
	offset = gpa - slot->gpa;
	return bytes <= slot->bytes - offset ? slot->hva + offset : NULL;
}

/* --- what the control registers mean --- */

static uint64_t bits_between(unsigned int low, unsigned int high)
{
	return low > high ? 0 : (BIT(high - low) * 2 - 1) << low;
}

static unsigned int physical_bits(struct dbt_vp *vp)
{
	unsigned int bits = vp_partition(vp)->physical_bits;

	return bits < 32 ? 40 : MIN(bits, 52u);
}

static void set_format_32(struct dbt_vp *vp, struct mmu *mmu)
{
	mmu->format = (struct paging_format){.levels = 2, .index_bits = 10, .entry_bytes = 4};
	mmu->root_mask = 0xfffff000;
	mmu->reserved[1] = mmu->reserved[2] = 0;
	mmu->large_levels = vp->cr4 & CR4_PSE ? BIT(2) : 0;
	/* PSE-36: bits 13 to 20 of a large entry are bits 32 to 39 of the address. */
	mmu->reserved_large[2] = BIT(21) | bits_between(MIN(physical_bits(vp), 40u) - 19, 20);
}

static void set_format_pae(struct dbt_vp *vp, struct mmu *mmu)
{
	uint64_t high = bits_between(physical_bits(vp), 62) | (vp->efer & EFER_NXE ? 0 : PTE_NX);

	mmu->format = (struct paging_format){.levels = 3, .index_bits = 9, .entry_bytes = 8};
	mmu->root_mask = 0xffffffe0;
	mmu->reserved[1] = mmu->reserved[2] = high;
	mmu->reserved[3] = high | PTE_NX | 0x1e6;
	mmu->large_levels = BIT(2);
	mmu->reserved_large[2] = high | bits_between(13, 20);
}

static void set_format_long(struct dbt_vp *vp, struct mmu *mmu)
{
	uint64_t high = bits_between(physical_bits(vp), 51) | (vp->efer & EFER_NXE ? 0 : PTE_NX);
	bool has_1g = vp_partition(vp)->has_1g_pages;

	mmu->format = (struct paging_format){.levels = 4, .index_bits = 9, .entry_bytes = 8};
	mmu->root_mask = PTE_ADDRESS & ~high;
	mmu->reserved[1] = mmu->reserved[2] = high;
	mmu->reserved[3] = high | (has_1g ? 0 : PTE_LARGE);
	mmu->reserved[4] = high | PTE_LARGE;
	mmu->large_levels = BIT(2) | (has_1g ? BIT(3) : 0);
	mmu->reserved_large[2] = high | bits_between(13, 20);
	mmu->reserved_large[3] = high | bits_between(13, 29);
}

static struct permission permission_of(const struct dbt_vp *vp, unsigned int table, uint32_t access)
{
	bool paging = vp->cr0 & CR0_PG;
	bool smap = paging && (vp->cr4 & CR4_SMAP), smep = paging && (vp->cr4 & CR4_SMEP);
	uint16_t need = 0, deny = 0;

	if (access & ACCESS_EXECUTE)
		deny |= P_NX;
	if (access & ACCESS_WRITE)
		need |= P_DIRTY;
	if (table == TLB_USER) {
		need |= P_USER | (access & ACCESS_WRITE ? P_WRITE : 0);
	} else {
		if ((access & ACCESS_WRITE) && paging && (vp->cr0 & CR0_WP))
			need |= P_WRITE;
		if (access & ACCESS_EXECUTE ? smep : smap && table == TLB_KERNEL)
			deny |= P_USER;
	}
	return (struct permission){.need = need, .mask = need | deny};
}

void mmu_update_regime(struct dbt_vp *vp)
{
	struct mmu *mmu = vp->mmu;

	mmu->va_mask = vp->efer & EFER_LMA ? ~0ull : 0xffffffff;
	if (!(vp->cr0 & CR0_PG))
		mmu->format.levels = 0;
	else if (vp->efer & EFER_LMA)
		set_format_long(vp, mmu);
	else if (vp->cr4 & CR4_PAE)
		set_format_pae(vp, mmu);
	else
		set_format_32(vp, mmu);
	for (unsigned int table = 0; table < TLB_TABLES; table++) {
		for (uint32_t access = 0; access < 8; access++)
			mmu->permission[table][access] = permission_of(vp, table, access);
	}
}

/* --- down the tables --- */

static void read_step(struct dbt_vp *vp, struct walk_step *step, gpa_t gpa, unsigned int level)
{
	unsigned int bytes = vp->mmu->format.entry_bytes;

	step->gpa = gpa;
	step->level = level;
	step->slot = find_slot(vp_partition(vp), gpa);
	step->entry = NULL;
	step->value = bytes == 4 ? 0xffffffff : ~0ull;
	if (!step->slot || !(step->slot->access & MAP_GPA_READ))
		return;
	step->entry = step->slot->hva + (gpa - step->slot->gpa);
	step->value = bytes == 4 ? __atomic_load_n((uint32_t *)step->entry, __ATOMIC_RELAXED) :
				   __atomic_load_n((uint64_t *)step->entry, __ATOMIC_RELAXED);
}

/* PAE's top-level entries hold nothing but an address. */
static bool has_permissions(const struct mmu *mmu, unsigned int level)
{
	return !(mmu->format.levels == 3 && level == 3);
}

static uint64_t leaf_address(const struct mmu *mmu, uint64_t value, unsigned int level)
{
	uint64_t address = value & PTE_ADDRESS;

	if (mmu->format.entry_bytes == 4 && level == 2)
		address = (value & 0xffc00000) | (value >> 13 & 0xff) << 32;
	return address;
}

static void end_walk(const struct dbt_vp *vp, struct walk *walk, uint64_t va, uint64_t value,
		     unsigned int level)
{
	const struct mmu *mmu = vp->mmu;
	uint64_t offset = BIT(12 + mmu->format.index_bits * (level - 1)) - 1;

	walk->gpa = ((leaf_address(mmu, value, level) & ~offset) | (va & offset)) & ~P_FLAGS;
	walk->flags |= value & PTE_D ? P_DIRTY : 0;
	walk->flags |= (value & PTE_G) && (vp->cr4 & CR4_PGE) ? P_GLOBAL : 0;
	walk->flags |= level > 1 ? P_LARGE : 0;
	walk->flags |= level > 2 ? P_HUGE : 0;
}

/* Returns 0 at a leaf, or else P and RSVD of the page fault's error code, | PF_FAULT. */
#define PF_FAULT 0x80000000u
static uint32_t go_down(struct dbt_vp *vp, uint64_t va, struct walk *walk)
{
	struct mmu *mmu = vp->mmu;
	uint64_t table = vp->cr3 & mmu->root_mask;

	walk->flags = P_USER | P_WRITE;
	walk->steps = 0;
	for (unsigned int level = mmu->format.levels;; level--) {
		struct walk_step *step = &walk->step[walk->steps++];
		uint64_t index = va >> (12 + mmu->format.index_bits * (level - 1));
		bool leaf, large;

		index &= BIT(mmu->format.index_bits) - 1;
		read_step(vp, step, table + index * mmu->format.entry_bytes, level);
		if (!(step->value & PTE_P))
			return PF_FAULT;
		large = (step->value & PTE_LARGE) && (mmu->large_levels & BIT(level));
		leaf = large || level == 1;
		if (step->value & (large ? mmu->reserved_large : mmu->reserved)[level])
			return PF_FAULT | PF_PRESENT | PF_RESERVED;
		if (has_permissions(mmu, level)) {
			if (!(step->value & PTE_U))
				walk->flags &= ~P_USER;
			if (!(step->value & PTE_W))
				walk->flags &= ~P_WRITE;
			if (step->value & PTE_NX)
				walk->flags |= P_NX;
		}
		if (leaf) {
			end_walk(vp, walk, va, step->value, level);
			return 0;
		}
		table = step->value & PTE_ADDRESS;
	}
}

/* --- A and D --- */

static bool exchange_entry(const struct walk_step *step, uint64_t want, unsigned int bytes)
{
	uint64_t old = step->value;
	uint32_t old32 = step->value;

	if (bytes == 4)
		return __atomic_compare_exchange_n((uint32_t *)step->entry, &old32, want, false,
						   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
	return __atomic_compare_exchange_n((uint64_t *)step->entry, &old, want, false,
					   __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
}

static bool update_step(struct dbt_vp *vp, const struct walk_step *step, uint64_t bits)
{
	unsigned int bytes = vp->mmu->format.entry_bytes;
	_Atomic uint8_t *page_flags;

	if ((step->value & bits) == bits || !step->entry || !(step->slot->access & MAP_GPA_WRITE))
		return true;
	page_flags = &step->slot->page_flags[(step->gpa - step->slot->gpa) / PAGE_BYTES];
	if (atomic_load_explicit(page_flags, memory_order_relaxed) & PAGE_HAS_CODE)
		code_write_hook(vp, step->gpa, bytes); /* the block may go on: it did not store there */
	if ((step->slot->access & MAP_GPA_DIRTY) && !(atomic_load(page_flags) & PAGE_DIRTY))
		atomic_fetch_or(page_flags, PAGE_DIRTY);
	return exchange_entry(step, step->value | bits, bytes);
}

/* Returns false when an entry is not what it was any more. */
static bool update_tables(struct dbt_vp *vp, struct walk *walk, bool write)
{
	for (unsigned int i = 0; i < walk->steps; i++) {
		bool leaf = i == walk->steps - 1;

		if (!has_permissions(vp->mmu, walk->step[i].level))
			continue;
		if (!update_step(vp, &walk->step[i], leaf && write ? PTE_A | PTE_D : PTE_A))
			return false;
	}
	if (write)
		walk->flags |= P_DIRTY;
	return true;
}

/* --- the whole --- */

static void describe_page(struct dbt_vp *vp, const struct walk *walk, struct page_entry *ret_page)
{
	struct memory_slot *slot = find_slot(vp_partition(vp), walk->gpa);
	uint64_t offset;

	ret_page->gpa = walk->gpa | walk->flags;
	ret_page->host = 0;
	ret_page->page_flags = NULL;
	if (!slot || !(slot->access & MAP_GPA_READ) || apic_owns(vp, walk->gpa))
		return;
	offset = walk->gpa - slot->gpa;
	ret_page->host = (uintptr_t)slot->hva + offset;
	ret_page->page_flags = &slot->page_flags[offset / PAGE_BYTES];
	ret_page->gpa |= P_READABLE;
	if (slot->access & MAP_GPA_WRITE)
		ret_page->gpa |= P_WRITABLE;
	if (slot->access & MAP_GPA_DIRTY)
		ret_page->gpa |= P_DIRTY_LOG;
}

static uint32_t fault_code(const struct dbt_vp *vp, unsigned int table, uint32_t access)
{
	bool tells_fetch = (vp->cr4 & CR4_SMEP) || ((vp->cr4 & CR4_PAE) && (vp->efer & EFER_NXE));

	return (table == TLB_USER ? PF_USER : 0) | (access & ACCESS_WRITE ? PF_WRITE : 0) |
	       ((access & ACCESS_EXECUTE) && tells_fetch ? PF_FETCH : 0);
}

static void note_walk(struct dbt_vp *vp, uint64_t va, uint32_t access, gpa_t page)
{
	trace_note(vp, (struct trace_record){.kind = TRACE_WALK, .extra = access, .at = va, .value = page});
}

static void note_fault(struct dbt_vp *vp, uint64_t va, uint32_t access, const struct mmu_fault *fault)
{
	trace_note(vp, (struct trace_record){.kind = TRACE_WALK_FAULT,
					     .vector = fault->vector,
					     .error = fault->error,
					     .extra = access,
					     .at = va});
}

int mmu_walk(struct dbt_vp *vp, uint64_t va, unsigned int table, uint32_t access, bool probe,
	     struct page_entry *ret_page, struct mmu_fault *ret_fault)
{
	struct mmu *mmu = vp->mmu;
	struct permission rule = mmu->permission[table][access & 7];
	struct walk walk;

	if (!mmu->format.levels) {
		walk.gpa = va & ~P_FLAGS;
		walk.flags = P_USER | P_WRITE | P_DIRTY;
		describe_page(vp, &walk, ret_page);
		return 0;
	}
	if ((vp->efer & EFER_LMA) && !is_canonical(va)) {
		*ret_fault = (struct mmu_fault){.vector = VEC_GP};
		return -1;
	}
	stat_add(vp, PAGE_WALKS, 1);
	do {
		uint32_t wrong = go_down(vp, va, &walk);

		if (!wrong && (walk.flags & rule.mask & ~P_DIRTY) != (rule.need & ~P_DIRTY))
			wrong = PF_FAULT | PF_PRESENT;
		if (wrong) {
			ret_fault->vector = VEC_PF;
			ret_fault->error = (wrong & ~PF_FAULT) | fault_code(vp, table, access);
			if (trace_wants(vp, PARTITION_TRACE_MMU))
				note_fault(vp, va, access, ret_fault);
			return -1;
		}
	} while (!probe && !update_tables(vp, &walk, access & ACCESS_WRITE));
	if (trace_wants(vp, PARTITION_TRACE_MMU))
		note_walk(vp, va, access, walk.gpa);
	describe_page(vp, &walk, ret_page);
	return 0;
}

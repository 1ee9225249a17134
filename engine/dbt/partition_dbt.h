/*
 * partition_dbt.h - a partition of the software CPU engine: memory map, VPs, configuration
 *
 * Locks: `lock` guards slots, doorbells and the code cache; it is never taken in light code.
 * Slots are read without it: a change stops all VPs first (code_cache.h, stop_vps()).
 */
#ifndef DBT_PARTITION_DBT_H
#define DBT_PARTITION_DBT_H

#include <pthread.h>

#include "vp.h"

struct code_cache;
struct apic_timers;

struct memory_slot {
	gpa_t gpa;
	uint64_t bytes;
	uint8_t *hva;
	unsigned int access; /* MAP_GPA_* */
	/*
	 * One byte per page, any thread, atomically: PAGE_HAS_CODE, PAGE_DIRTY. A page with
	 * PAGE_HAS_CODE, or without PAGE_DIRTY in a MAP_GPA_DIRTY slot, never gets a write_tag.
	 */
	_Atomic uint8_t *page_flags;
	struct code_page **code_pages; /* one per page, NULL without code; the code cache's */
};
#define PAGE_HAS_CODE 1u
#define PAGE_DIRTY    2u

struct dbt_partition {
	struct partition part;
	pthread_mutex_t lock;
	struct memory_slot slots[PARTITION_MAX_SLOTS]; /* sorted by gpa */
	unsigned int slot_count;
	struct doorbell doorbells[64];
	unsigned int doorbell_count;
	struct cpuid_leaf cpuid[PARTITION_MAX_CPUID];
	size_t cpuid_count;
	struct msr_range exit_msrs[PARTITION_MAX_MSR_RANGES];
	size_t exit_msr_count;
	int (*acknowledge_extint)(void *ctx);
	void *ctx;
	_Atomic uint32_t extint; /* level of the 8259's INTR */
	uint64_t tsc_hz;         /* host TSC, measured or from CPUID/KVM */
	_Atomic uint64_t stopped_tsc; /* the host's TSC when time was stopped; 0: it runs */
	unsigned int physical_bits; /* MAXPHYADDR shown to the guest */
	bool has_1g_pages;
	struct apic_timers *timers;
	struct code_cache *cache;
};

static inline struct dbt_vp *partition_vp(struct dbt_partition *part, unsigned int index)
{
	return index < part->part.vp_count ? (struct dbt_vp *)part->part.vps[index] : NULL;
}

/* find_slot() - the slot that holds @gpa, or NULL. Light. */
static inline struct memory_slot *find_slot(struct dbt_partition *part, gpa_t gpa)
{
	for (unsigned int i = 0; i < part->slot_count; i++) {
		struct memory_slot *slot = &part->slots[i];

		if (gpa - slot->gpa < slot->bytes)
			return slot;
	}
	return NULL;
}

#endif

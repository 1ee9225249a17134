/*
 * cpuid_lookup.h - what the partition's CPUID says, for those who must obey it
 *
 * Light code.
 */
#ifndef DBT_CPUID_LOOKUP_H
#define DBT_CPUID_LOOKUP_H

#include "cpu.h"

enum cpuid_register { CPUID_EAX, CPUID_EBX, CPUID_ECX, CPUID_EDX };

/* cpuid_find() - the configured leaf, or NULL: it reads as zeros */
const struct cpuid_leaf *cpuid_find(const struct dbt_partition *part, uint32_t leaf,
				    uint32_t subleaf);

/* cpuid_has() - is this feature bit shown to the guest? */
bool cpuid_has(const struct dbt_partition *part, uint32_t leaf, enum cpuid_register reg,
	       unsigned int bit);

/* The guest's processor is an AMD one by its vendor string (or a Hygon). */
bool cpuid_is_amd(const struct dbt_partition *part);

/* Bits of XCR0 that the guest may set: what its leaf 0xD says and the host can do. */
uint64_t cpuid_guest_xcr0(const struct dbt_partition *part);

#endif

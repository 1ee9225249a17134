/*
 * cpuid_policy.h - the CPUID policy: what of an engine's abilities a guest is shown
 *
 * Pure functions; any thread.
 */
#ifndef VM_CPUID_POLICY_H
#define VM_CPUID_POLICY_H

#include "partition.h"

/*
 * cpuid_policy_apply() - make an engine's leaves those of one socket with @vp_count cores
 * @leaves: in: engine.supported_cpuid(); out: for partition_config
 * Leaf 1 says that a hypervisor is present; members that depend on the VP are the engine's.
 * Returns: the new count.
 */
size_t cpuid_policy_apply(struct cpuid_leaf leaves[PARTITION_MAX_CPUID], size_t count,
			  unsigned int vp_count);

/* cpuid_policy_find() - NULL when there is no such leaf. */
struct cpuid_leaf *cpuid_policy_find(struct cpuid_leaf *leaves, size_t count, uint32_t leaf,
				     uint32_t subleaf);

#endif

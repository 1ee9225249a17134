/*
 * cpuid.c - what the partition is told it may do, should do, and how large it may be
 *
 * Everything offered is implemented in this folder; what only pays if the engine makes it cheap is
 * offered when the engine's service for it is there. Not offered, and why:
 *  - VP_RUNTIME: how long a VP ran is not known here.
 *  - EOI, ICR, TPR: they are the local APIC's, which no service reaches; unless the engine has
 *    them, and with them the VP assist page, which saves the guest most writes of EOI.
 *  - The idle MSR, for the same reason.
 *  - Partition id, CPU management, isolation: Linux takes a partition that has them for the root.
 */
#include "hv_internal.h"

#define MAX_VPS		   PARTITION_MAX_VPS
#define SPINS_BEFORE_YIELD 4095u
#define NEVER_YIELD	   UINT32_MAX

/* The host that the guest shall take us for: Windows Server 2022. */
#define HOST_BUILD 20348u
#define HOST_MAJOR 10u
#define HOST_MINOR 0u

uint64_t hv_privileges(const struct hv_config *config)
{
	uint64_t privileges = HV_ACCESS_TIME_REF_COUNT | HV_ACCESS_SYNIC | HV_ACCESS_HYPERCALL |
			      HV_ACCESS_VP_INDEX | HV_ACCESS_RESET | HV_ACCESS_REFERENCE_TSC |
			      HV_ACCESS_FREQUENCIES | HV_ACCESS_REENLIGHTENMENT | HV_POST_MESSAGES |
			      HV_SIGNAL_EVENTS | HV_EXTENDED_HYPERCALLS;

	if (config->synthetic_timers)
		privileges |= HV_ACCESS_STIMER;
	if (config->apic_msrs)
		privileges |= HV_ACCESS_APIC;
	if (config->tsc_invariant)
		privileges |= HV_ACCESS_TSC_INVARIANT;
	return privileges;
}

static struct cpuid_leaf features_leaf(const struct hv_config *config)
{
	uint64_t privileges = hv_privileges(config);
	uint32_t features = HV_FEATURE_FREQUENCIES | HV_FEATURE_CRASH_MSRS;

	if (config->services.get_xmm)
		features |= HV_FEATURE_XMM_INPUT;
	if (config->synthetic_timers)
		features |= HV_FEATURE_DIRECT_STIMER;
	return (struct cpuid_leaf){.leaf = HV_CPUID_FEATURES,
				   .eax = (uint32_t)privileges,
				   .ebx = privileges >> 32,
				   .edx = features};
}

static struct cpuid_leaf hints_leaf(const struct hv_config *config)
{
	uint32_t hints = HV_HINT_RELAXED_TIMING | HV_HINT_NO_AUTO_EOI;

	if (config->apic_msrs)
		hints |= HV_HINT_APIC_MSRS;
	if (config->services.flush_tlb)
		hints |= HV_HINT_REMOTE_FLUSH | HV_HINT_CLUSTER_IPI | HV_HINT_EX_CALLS;
	return (struct cpuid_leaf){.leaf = HV_CPUID_HINTS,
				   .eax = hints,
				   .ebx = config->services.yield ? SPINS_BEFORE_YIELD
								 : NEVER_YIELD};
}

/* Leaves of zeros are listed too: KVM answers one that is not with another leaf's contents. */
size_t hv_cpuid(const struct hv_config *config, struct cpuid_leaf leaves[HV_CPUID_LEAVES])
{
	const struct cpuid_leaf rows[] = {
		{.leaf = HV_CPUID_VENDOR,
		 .eax = HV_CPUID_HARDWARE,
		 .ebx = 0x7263694d, /* "Microsoft Hv" */
		 .ecx = 0x666f736f,
		 .edx = 0x76482074},
		{.leaf = HV_CPUID_INTERFACE, .eax = HV_INTERFACE_HV1},
		{.leaf = HV_CPUID_VERSION, .eax = HOST_BUILD, .ebx = HOST_MAJOR << 16 | HOST_MINOR},
		features_leaf(config),
		hints_leaf(config),
		{.leaf = HV_CPUID_LIMITS, .eax = MAX_VPS, .ebx = MAX_VPS},
		{.leaf = HV_CPUID_HARDWARE},
	};
	size_t count = 0;

	for (; count < ARRAY_SIZE(rows); count++)
		leaves[count] = rows[count];
	for (uint32_t leaf = HV_CPUID_HARDWARE + 1; leaf <= HV_CPUID_ISOLATION; leaf++)
		leaves[count++] = (struct cpuid_leaf){.leaf = leaf};
	for (uint32_t leaf = HV_CPUID_VS_VENDOR; leaf <= HV_CPUID_VS_FEATURES; leaf++)
		leaves[count++] = (struct cpuid_leaf){.leaf = leaf};
	assert(count == HV_CPUID_LEAVES);
	return count;
}

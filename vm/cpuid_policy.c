/*
 * cpuid_policy.c - topology leaves for one socket of N single-threaded cores
 *
 * APIC ids are VP indexes, so the core part of an id has ceil(log2(N)) bits. All places that
 * speak of topology must agree, or a guest's scheduler sees nonsense: leaf 1 (EBX[23:16], HTT),
 * 4, 0xb, 0x1f, 0x80000001 (CmpLegacy), 0x80000008 (ECX), 0x8000001d and 0x8000001e. Sources:
 * Intel SDM vol. 2 "CPUID", AMD APM vol. 3 appendix E.
 */
#include "cpuid_policy.h"

#define LEAF1_ECX_HYPERVISOR BIT(31)
#define LEAF1_EDX_HTT	     BIT(28)
#define EXT1_ECX_CMP_LEGACY  BIT(1)
#define EXT1_ECX_TOPOEXT     BIT(22)
#define LEAF_AMD_IDENTIFIERS 0x8000001eu

enum topology_level { LEVEL_NONE, LEVEL_SMT, LEVEL_CORE };

struct topology {
	unsigned int vp_count;
	unsigned int id_bits;
};

struct cpuid_leaf *cpuid_policy_find(struct cpuid_leaf *leaves, size_t count, uint32_t leaf,
				     uint32_t subleaf)
{
	for (size_t i = 0; i < count; i++) {
		if (leaves[i].leaf == leaf &&
		    (!leaves[i].subleaf_matters || leaves[i].subleaf == subleaf))
			return &leaves[i];
	}
	return NULL;
}

static void set_bits(uint32_t *value, unsigned int shift, unsigned int width, uint32_t bits)
{
	uint32_t mask = (BIT(width) - 1) << shift;

	*value = (*value & ~mask) | (bits << shift & mask);
}

static void fix_leaf_1(struct cpuid_leaf *leaf, const struct topology *topology)
{
	leaf->ecx |= LEAF1_ECX_HYPERVISOR;
	set_bits(&leaf->ebx, 16, 8, topology->vp_count);
	leaf->edx &= ~LEAF1_EDX_HTT;
	if (topology->vp_count > 1)
		leaf->edx |= LEAF1_EDX_HTT;
}

/* Levels 1 and 2 belong to one core, level 3 to all. The same layout on Intel and AMD. */
static void fix_cache(struct cpuid_leaf *leaf, const struct topology *topology)
{
	unsigned int level = leaf->eax >> 5 & 7;

	if (!(leaf->eax & 0x1f))
		return;
	set_bits(&leaf->eax, 14, 12, level >= 3 ? BIT(topology->id_bits) - 1 : 0);
}

static void fix_leaf_4(struct cpuid_leaf *leaf, const struct topology *topology)
{
	fix_cache(leaf, topology);
	if (leaf->eax & 0x1f)
		set_bits(&leaf->eax, 26, 6, BIT(topology->id_bits) - 1);
}

static void fix_ext_1(struct cpuid_leaf *leaf, const struct topology *topology)
{
	leaf->ecx &= ~EXT1_ECX_CMP_LEGACY;
	if (topology->vp_count > 1)
		leaf->ecx |= EXT1_ECX_CMP_LEGACY;
}

static void fix_ext_8(struct cpuid_leaf *leaf, const struct topology *topology)
{
	set_bits(&leaf->ecx, 0, 8, topology->vp_count - 1);
	set_bits(&leaf->ecx, 12, 4, topology->id_bits);
}

/* One thread a core, one node; the engine puts the APIC id and the core id in. */
static void fix_ext_1e(struct cpuid_leaf *leaf, const struct topology *topology)
{
	leaf->eax = 0;
	leaf->ebx = 0;
	leaf->ecx = 0;
	leaf->edx = 0;
}

static const struct {
	uint32_t leaf;
	void (*fix)(struct cpuid_leaf *leaf, const struct topology *topology);
} fixes[] = {
	{1, fix_leaf_1},	 {4, fix_leaf_4},	  {0x80000001, fix_ext_1},
	{0x80000008, fix_ext_8}, {0x8000001d, fix_cache}, {LEAF_AMD_IDENTIFIERS, fix_ext_1e},
};

/* AMD processors have no leaf 4; giving them one would be odd, so only existing leaves change. */
static void fix_existing(struct cpuid_leaf *leaves, size_t count, const struct topology *topology)
{
	for (size_t i = 0; i < count; i++) {
		for (size_t j = 0; j < ARRAY_SIZE(fixes); j++) {
			if (leaves[i].leaf == fixes[j].leaf)
				fixes[j].fix(&leaves[i], topology);
		}
	}
}

static size_t remove_leaf(struct cpuid_leaf *leaves, size_t count, uint32_t leaf)
{
	size_t kept = 0;

	for (size_t i = 0; i < count; i++) {
		if (leaves[i].leaf != leaf)
			leaves[kept++] = leaves[i];
	}
	return kept;
}

/* Leaves 0xb and 0x1f: subleaf 0 is the (single) thread, 1 the core, 2 the end. EDX: the engine. */
static size_t add_topology_leaf(struct cpuid_leaf *leaves, size_t count, uint32_t leaf,
				const struct topology *topology)
{
	const struct cpuid_leaf levels[] = {
		{.eax = 0, .ebx = 1, .ecx = LEVEL_SMT << 8 | 0},
		{.eax = topology->id_bits, .ebx = topology->vp_count, .ecx = LEVEL_CORE << 8 | 1},
		{.ecx = LEVEL_NONE << 8 | 2},
	};

	for (size_t i = 0; i < ARRAY_SIZE(levels) && count < PARTITION_MAX_CPUID; i++) {
		leaves[count] = levels[i];
		leaves[count].leaf = leaf;
		leaves[count].subleaf = i;
		leaves[count].subleaf_matters = true;
		count++;
	}
	return count;
}

/* An engine may leave it out as being the host's; with TOPOEXT the guest looks there. */
static size_t add_amd_identifiers(struct cpuid_leaf *leaves, size_t count)
{
	const struct cpuid_leaf *ext_1 = cpuid_policy_find(leaves, count, 0x80000001, 0);

	if (!ext_1 || !(ext_1->ecx & EXT1_ECX_TOPOEXT) || count == PARTITION_MAX_CPUID ||
	    cpuid_policy_find(leaves, count, LEAF_AMD_IDENTIFIERS, 0))
		return count;
	leaves[count] = (struct cpuid_leaf){.leaf = LEAF_AMD_IDENTIFIERS};
	return count + 1;
}

size_t cpuid_policy_apply(struct cpuid_leaf leaves[PARTITION_MAX_CPUID], size_t count,
			  unsigned int vp_count)
{
	static const uint32_t topology_leaves[] = {0xb, 0x1f};
	struct topology topology = {.vp_count = vp_count};
	const struct cpuid_leaf *leaf_0 = cpuid_policy_find(leaves, count, 0, 0);
	uint32_t max_leaf = leaf_0 ? leaf_0->eax : 0;

	while (BIT(topology.id_bits) < vp_count)
		topology.id_bits++;
	fix_existing(leaves, count, &topology);
	count = add_amd_identifiers(leaves, count);
	for (size_t i = 0; i < ARRAY_SIZE(topology_leaves); i++) {
		count = remove_leaf(leaves, count, topology_leaves[i]);
		if (topology_leaves[i] <= max_leaf)
			count = add_topology_leaf(leaves, count, topology_leaves[i], &topology);
	}
	return count;
}

/*
 * cpuid.c - what processor the guest sees
 *
 * cpu_supported_cpuid() proposes: the host's CPUID, leaf by leaf, cut down by the table below to
 * what the translator and the helpers can do, plus what is done in software and so exists on any
 * host (x2APIC, PCID, SMEP and the like). vm decides what a partition gets; the topology that is
 * proposed is one core of one thread, which vm widens. helper_cpuid() then looks leaves up and
 * fills in what depends on the VP: its APIC id, OSXSAVE, the XSAVE area's sizes.
 *
 * About speculation: no feature that needs microcode is offered (IBRS, STIBP, SSBD, ...), and
 * "not affected" bits are, so that a guest does not pay for mitigations which do nothing for
 * translated code.
 *
 * Light code, cpu_supported_cpuid() too.
 */
#include <cpuid.h>

#include "cpuid_lookup.h"
#include "control_bits.h"
#include "operand.h"

#define XSAVE_LEGACY_BYTES 576u /* x87, SSE and the header */
#define XSAVE_AVX_BYTES	   256u
#define CR_XCR0_KNOWN	   (XCR0_X87 | XCR0_SSE | XCR0_AVX)

#define B(n) (1u << (n))

/* --- looking up --- */

const struct cpuid_leaf *cpuid_find(const struct dbt_partition *part, uint32_t leaf,
				    uint32_t subleaf)
{
	for (size_t i = 0; i < part->cpuid_count; i++) {
		const struct cpuid_leaf *row = &part->cpuid[i];

		if (row->leaf == leaf && (!row->subleaf_matters || row->subleaf == subleaf))
			return row;
	}
	return NULL;
}

bool cpuid_has(const struct dbt_partition *part, uint32_t leaf, enum cpuid_register reg,
	       unsigned int bit)
{
	const struct cpuid_leaf *row = cpuid_find(part, leaf, 0);

	/* XSAVE's abilities are in a subleaf. */
	if (leaf == 0xd)
		row = cpuid_find(part, leaf, 1);
	return row && ((&row->eax)[reg] >> bit & 1);
}

bool cpuid_is_amd(const struct dbt_partition *part)
{
	const struct cpuid_leaf *row = cpuid_find(part, 0, 0);

	return row && (row->ebx == 0x68747541 /* Auth */ || row->ebx == 0x6f677948 /* Hygo */);
}

uint64_t cpuid_guest_xcr0(const struct dbt_partition *part)
{
	const struct cpuid_leaf *row = cpuid_find(part, 0xd, 0);

	return row ? (row->eax | (uint64_t)row->edx << 32) & CR_XCR0_KNOWN : XCR0_X87;
}

/* --- the instruction --- */

static uint32_t xsave_bytes(uint64_t xcr0)
{
	return XSAVE_LEGACY_BYTES + (xcr0 & XCR0_AVX ? XSAVE_AVX_BYTES : 0);
}

static void fix_features(struct dbt_vp *vp, uint32_t subleaf, struct cpuid_leaf *leaf)
{
	leaf->ebx = (leaf->ebx & 0x00ffffff) | vp->apic.id << 24;
	leaf->ecx &= ~B(27);
	if (vp->cr4 & CR4_OSXSAVE)
		leaf->ecx |= B(27);
	if (!(vp->apic_base & BIT(11)))
		leaf->edx &= ~B(9);
}

static void fix_topology(struct dbt_vp *vp, uint32_t subleaf, struct cpuid_leaf *leaf)
{
	leaf->ecx = (leaf->ecx & ~0xffu) | (subleaf & 0xff);
	leaf->edx = vp->apic.id;
}

/* AMD, "Identifiers": extended APIC id, compute unit. */
static void fix_identifiers(struct dbt_vp *vp, uint32_t subleaf, struct cpuid_leaf *leaf)
{
	uint32_t threads = (leaf->ebx >> 8 & 0xff) + 1;

	leaf->eax = vp->apic.id;
	leaf->ebx = (leaf->ebx & ~0xffu) | (vp->apic.id / threads & 0xff);
}

static void fix_xsave(struct dbt_vp *vp, uint32_t subleaf, struct cpuid_leaf *leaf)
{
	/* With AVX as the only extended component both formats have the same layout. */
	if (subleaf <= 1)
		leaf->ebx = xsave_bytes(vp->xcr0);
}

/* Intel: base, maximum and bus frequency in MHz. Linux derives the TSC's frequency from it. */
static void fix_frequency(struct dbt_vp *vp, uint32_t subleaf, struct cpuid_leaf *leaf)
{
	uint32_t mhz = (vp_partition(vp)->tsc_hz + 500000) / 1000000;

	if (!leaf->eax && mhz) {
		leaf->eax = mhz;
		leaf->ebx = mhz;
		leaf->ecx = 100;
	}
}

static const struct cpuid_fix {
	uint32_t leaf;
	void (*fix)(struct dbt_vp *vp, uint32_t subleaf, struct cpuid_leaf *leaf);
} cpuid_fixes[] = {
	{1, fix_features}, {0xb, fix_topology},	  {0x1f, fix_topology},
	{0xd, fix_xsave},  {0x16, fix_frequency}, {0x8000001e, fix_identifiers},
};

static void apply_fixes(struct dbt_vp *vp, uint32_t subleaf, struct cpuid_leaf *leaf)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(cpuid_fixes); i++)
		if (cpuid_fixes[i].leaf == leaf->leaf)
			cpuid_fixes[i].fix(vp, subleaf, leaf);
}

static uint32_t range_max(const struct dbt_partition *part, uint32_t first)
{
	const struct cpuid_leaf *row = cpuid_find(part, first, 0);

	return row ? row->eax : 0;
}

/* Beyond the last leaf an Intel processor answers with the last basic one; AMD's with zeros. */
static uint32_t leaf_answered(const struct dbt_partition *part, uint32_t leaf)
{
	uint32_t range = leaf & 0xffff0000;

	if (leaf >> 30 == 1 || cpuid_is_amd(part) || leaf <= range_max(part, range))
		return leaf;
	return range_max(part, 0);
}

/* A level beyond the last of a topology leaf still tells the level and the APIC id. */
static bool is_topology(const struct dbt_partition *part, uint32_t leaf)
{
	return (leaf == 0xb || leaf == 0x1f) && cpuid_find(part, leaf, 0);
}

enum cpu_result helper_cpuid(struct dbt_vp *vp, struct cpu_args args, uint64_t unused)
{
	const struct dbt_partition *part = vp_partition(vp);
	uint32_t number = leaf_answered(part, vp->gpr[VP_RAX]), subleaf = vp->gpr[VP_RCX];
	const struct cpuid_leaf *row = cpuid_find(part, number, subleaf);
	struct cpuid_leaf leaf = {.leaf = number};

	if (row)
		leaf = *row;
	if (row || is_topology(part, number))
		apply_fixes(vp, subleaf, &leaf);
	vp->gpr[VP_RAX] = leaf.eax;
	vp->gpr[VP_RBX] = leaf.ebx;
	vp->gpr[VP_RCX] = leaf.ecx;
	vp->gpr[VP_RDX] = leaf.edx;
	return CPU_DONE;
}

/* --- the proposal --- */

uint64_t cpu_xcr0_supported(void)
{
	uint32_t eax, ebx, ecx, edx;

	__cpuid(1, eax, ebx, ecx, edx);
	if (!(ecx & B(27)))
		return XCR0_X87 | XCR0_SSE;
	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax & CR_XCR0_KNOWN;
}

/* Features, by the manuals' names. ECX_1 etc.: register and leaf. */
#define ECX_1_HOST                                                                                 \
	(B(0) /* SSE3 */ | B(1) /* PCLMULQDQ */ | B(9) /* SSSE3 */ | B(13) /* CX16 */ |            \
	 B(19) /* SSE4.1 */ | B(20) /* SSE4.2 */ | B(22) /* MOVBE */ | B(23) /* POPCNT */ |        \
	 B(25) /* AES */ | B(26) /* XSAVE */ | B(30) /* RDRAND */)
#define ECX_1_AVX (B(12) /* FMA */ | B(28) /* AVX */ | B(29) /* F16C */)
#define ECX_1_SOFTWARE                                                                             \
	(B(17) /* PCID */ | B(21) /* x2APIC */ | B(24) /* TSC deadline */ | B(31) /* hypervisor    \
										   */)
#define EDX_1_HOST (B(27) /* self snoop */)
#define EDX_1_SOFTWARE                                                                             \
	(B(0) /* x87 */ | B(2) /* DE */ | B(3) /* PSE */ | B(4) /* TSC */ | B(5) /* MSR */ |       \
	 B(6) /* PAE */ | B(7) /* MCE */ | B(8) /* CX8 */ | B(9) /* APIC */ | B(11) /* SEP */ |    \
	 B(12) /* MTRR */ | B(13) /* PGE */ | B(14) /* MCA */ | B(15) /* CMOV */ |                 \
	 B(16) /* PAT */ | B(17) /* PSE36 */ | B(19) /* CLFLUSH */ | B(23) /* MMX */ |             \
	 B(24) /* FXSR */ | B(25) /* SSE */ | B(26) /* SSE2 */)
#define EBX_7_HOST                                                                                 \
	(B(3) /* BMI1 */ | B(6) /* FDP only on exceptions */ | B(8) /* BMI2 */ | B(9) /* ERMS */ | \
	 B(13) /* no FPU CS and DS */ | B(18) /* RDSEED */ | B(19) /* ADX */ |                     \
	 B(23) /* CLFLUSHOPT */ | B(24) /* CLWB */ | B(29) /* SHA */)
#define EBX_7_AVX (B(5) /* AVX2 */)
#define EBX_7_SOFTWARE                                                                             \
	(B(0) /* FSGSBASE */ | B(1) /* TSC_ADJUST */ | B(7) /* SMEP */ | B(10) /* INVPCID */ |     \
	 B(20) /* SMAP */)
#define ECX_7_HOST     (B(8) /* GFNI */)
#define ECX_7_AVX      (B(9) /* VAES */ | B(10) /* VPCLMULQDQ */)
#define ECX_7_SOFTWARE (B(22) /* RDPID */)
#define EDX_7_HOST     (B(4) /* FSRM */)
#define EDX_7_INTEL    (B(29) /* ARCH_CAPABILITIES */)
#define EAX_D1_HOST    (B(0) /* XSAVEOPT */ | B(1) /* XSAVEC */ | B(2) /* XGETBV with ECX = 1 */)
#define ECX_80000001_HOST                                                                          \
	(B(0) /* LAHF */ | B(5) /* ABM */ | B(6) /* SSE4A */ | B(8) /* PREFETCHW */ |              \
	 B(22) /* TOPOEXT */)
#define EDX_80000001_COPY (EDX_1_SOFTWARE & 0x0183f3ff) /* AMD repeats leaf 1 here */
#define EDX_80000001_SOFTWARE                                                                      \
	(B(11) /* SYSCALL */ | B(20) /* NX */ | B(26) /* 1 GiB pages */ | B(27) /* RDTSCP */ |     \
	 B(29) /* long mode */)
#define EDX_80000001_AMD  (B(22) /* MMX extensions */)
#define EBX_80000008_HOST (B(2) /* FXSAVE always saves error pointers */)
#define EBX_80000008_AMD  (B(26) /* SSB_NO */ | B(29) /* BTC_NO */)
#define EAX_80000021_HOST                                                                          \
	(B(0) /* no nested data breakpoints */ | B(2) /* LFENCE serializes */ |                    \
	 B(6) /* a null selector clears the base */)
#define EAX_80000021_AMD (B(29) /* SRSO_NO */)
#define ECX_80000021_AMD (B(1) /* TSA_SQ_NO */ | B(2) /* TSA_L1_NO */)

enum { ON_ANY, ON_INTEL, ON_AMD };

/* Per leaf: what of the host's answer stays, and what is added. */
static const struct leaf_rule {
	uint32_t leaf, subleaf;
	uint8_t vendor;
	bool subleaf_matters;
	uint32_t host[4];     /* the host's bits that stay */
	uint32_t avx[4];      /* ... when the host's system has AVX enabled */
	uint32_t software[4]; /* always set */
} leaf_rules[] = {
	{.leaf = 0, .host = {0, ~0u, ~0u, ~0u}},
	{.leaf = 1,
	 .host = {~0u, 0x0000ff00, ECX_1_HOST, EDX_1_HOST},
	 .avx = {0, 0, ECX_1_AVX, 0},
	 .software = {0, 0x00010000, ECX_1_SOFTWARE, EDX_1_SOFTWARE}},
	{.leaf = 2, .vendor = ON_INTEL, .host = {~0u, ~0u, ~0u, ~0u}},
	/* Caches: type and geometry, but nobody to share them with. */
	{.leaf = 4, .subleaf_matters = true, .vendor = ON_INTEL, .host = {0x3fff, ~0u, ~0u, 7}},
	{.leaf = 4,
	 .subleaf = 1,
	 .subleaf_matters = true,
	 .vendor = ON_INTEL,
	 .host = {0x3fff, ~0u, ~0u, 7}},
	{.leaf = 4,
	 .subleaf = 2,
	 .subleaf_matters = true,
	 .vendor = ON_INTEL,
	 .host = {0x3fff, ~0u, ~0u, 7}},
	{.leaf = 4,
	 .subleaf = 3,
	 .subleaf_matters = true,
	 .vendor = ON_INTEL,
	 .host = {0x3fff, ~0u, ~0u, 7}},
	{.leaf = 6, .software = {B(2) /* the APIC timer always runs */}},
	{.leaf = 7,
	 .subleaf_matters = true,
	 .host = {0, EBX_7_HOST, ECX_7_HOST, EDX_7_HOST},
	 .avx = {0, EBX_7_AVX, ECX_7_AVX, 0},
	 .software = {0, EBX_7_SOFTWARE, ECX_7_SOFTWARE, 0}},
	/* One thread per core, one core: level type in ECX[15:8]. */
	{.leaf = 0xb, .subleaf_matters = true, .software = {0, 1, 0x100, 0}},
	{.leaf = 0xb, .subleaf = 1, .subleaf_matters = true, .software = {0, 1, 0x201, 0}},
	{.leaf = 0xd, .subleaf_matters = true},
	{.leaf = 0xd, .subleaf = 1, .subleaf_matters = true, .host = {EAX_D1_HOST}},
	{.leaf = 0xd, .subleaf = 2, .subleaf_matters = true, .avx = {~0u, ~0u, 0, 0}},
	{.leaf = 0x16, .vendor = ON_INTEL},
	{.leaf = 0x80000000, .host = {0, ~0u, ~0u, ~0u}},
	{.leaf = 0x80000001,
	 .host = {~0u, 0, ECX_80000001_HOST, 0},
	 .software = {0, 0, 0, EDX_80000001_SOFTWARE}},
	{.leaf = 0x80000002, .host = {~0u, ~0u, ~0u, ~0u}},
	{.leaf = 0x80000003, .host = {~0u, ~0u, ~0u, ~0u}},
	{.leaf = 0x80000004, .host = {~0u, ~0u, ~0u, ~0u}},
	{.leaf = 0x80000005, .vendor = ON_AMD, .host = {~0u, ~0u, ~0u, ~0u}},
	{.leaf = 0x80000006, .host = {~0u, ~0u, ~0u, ~0u}},
	{.leaf = 0x80000007, .host = {0, 0, 0, B(8) /* invariant TSC */}},
	{.leaf = 0x80000008, .host = {0xff, EBX_80000008_HOST, 0, 0}, .software = {48 << 8}},
	{.leaf = 0x80000019, .vendor = ON_AMD, .host = {~0u, ~0u, 0, 0}},
	{.leaf = 0x8000001a, .vendor = ON_AMD, .host = {7, 0, 0, 0}},
	{.leaf = 0x8000001d,
	 .subleaf_matters = true,
	 .vendor = ON_AMD,
	 .host = {0x3fff, ~0u, ~0u, 3}},
	{.leaf = 0x8000001d,
	 .subleaf = 1,
	 .subleaf_matters = true,
	 .vendor = ON_AMD,
	 .host = {0x3fff, ~0u, ~0u, 3}},
	{.leaf = 0x8000001d,
	 .subleaf = 2,
	 .subleaf_matters = true,
	 .vendor = ON_AMD,
	 .host = {0x3fff, ~0u, ~0u, 3}},
	{.leaf = 0x8000001d,
	 .subleaf = 3,
	 .subleaf_matters = true,
	 .vendor = ON_AMD,
	 .host = {0x3fff, ~0u, ~0u, 3}},
	{.leaf = 0x8000001e, .vendor = ON_AMD},
	{.leaf = 0x80000021, .vendor = ON_AMD, .host = {EAX_80000021_HOST, 0, 0, 0}},
};

/* Bits that are added on one vendor's processors only. */
static const struct vendor_bits {
	uint32_t leaf;
	uint8_t vendor;
	uint32_t bits[4];
} vendor_bits[] = {
	{7, ON_INTEL, {0, 0, 0, EDX_7_INTEL}},
	{0x80000001, ON_AMD, {0, 0, 0, EDX_80000001_COPY | EDX_80000001_AMD}},
	{0x80000008, ON_AMD, {0, EBX_80000008_AMD, 0, 0}},
	{0x80000021, ON_AMD, {EAX_80000021_AMD, 0, ECX_80000021_AMD, 0}},
};

/* What the host says; leaves beyond its maximum are zeros. */
static struct cpuid_leaf host_leaf(uint32_t leaf, uint32_t subleaf)
{
	struct cpuid_leaf host = {.leaf = leaf, .subleaf = subleaf};
	uint32_t max, ebx, ecx, edx;

	__cpuid(leaf & 0x80000000, max, ebx, ecx, edx);
	if (leaf <= max)
		__cpuid_count(leaf, subleaf, host.eax, host.ebx, host.ecx, host.edx);
	return host;
}

static bool host_is_amd(void)
{
	uint32_t ebx = host_leaf(0, 0).ebx;

	return ebx == 0x68747541 || ebx == 0x6f677948;
}

static struct cpuid_leaf apply_rule(const struct leaf_rule *rule, bool avx, bool amd)
{
	struct cpuid_leaf leaf = host_leaf(rule->leaf, rule->subleaf);
	uint32_t *regs = &leaf.eax;

	leaf.subleaf_matters = rule->subleaf_matters;
	for (unsigned int r = 0; r < 4; r++)
		regs[r] =
			(regs[r] & (rule->host[r] | (avx ? rule->avx[r] : 0))) | rule->software[r];
	for (unsigned int i = 0; i < ARRAY_SIZE(vendor_bits); i++) {
		const struct vendor_bits *v = &vendor_bits[i];

		if (v->leaf != rule->leaf || v->vendor != (amd ? ON_AMD : ON_INTEL))
			continue;
		for (unsigned int r = 0; r < 4; r++)
			regs[r] |= v->bits[r];
	}
	return leaf;
}

/* XSAVE's leaf is ours altogether: only x87, SSE and AVX exist. */
static void propose_xsave(struct cpuid_leaf *leaf, uint64_t xcr0)
{
	leaf->eax = xcr0;
	leaf->ebx = xsave_bytes(XCR0_X87);
	leaf->ecx = xsave_bytes(xcr0);
	leaf->edx = 0;
}

/* The highest leaf of each range that is in the proposal. */
static void propose_maxima(struct cpuid_leaf *leaves, size_t count)
{
	for (size_t i = 0; i < count; i++) {
		uint32_t range = leaves[i].leaf;

		if (range & 0x7fffffff)
			continue;
		for (size_t j = 0; j < count; j++)
			if ((leaves[j].leaf & 0x80000000) == range)
				leaves[i].eax = MAX(leaves[i].eax, leaves[j].leaf);
	}
}

size_t cpu_supported_cpuid(struct cpuid_leaf leaves[PARTITION_MAX_CPUID])
{
	uint64_t xcr0 = cpu_xcr0_supported();
	bool xsave = host_leaf(1, 0).ecx & B(27), amd = host_is_amd();
	size_t count = 0;

	for (unsigned int i = 0; i < ARRAY_SIZE(leaf_rules); i++) {
		const struct leaf_rule *rule = &leaf_rules[i];

		if (rule->vendor && rule->vendor != (amd ? ON_AMD : ON_INTEL))
			continue;
		if (rule->leaf == 0xd && !xsave)
			continue;
		leaves[count] = apply_rule(rule, xcr0 & XCR0_AVX, amd);
		if (rule->leaf == 0xd && rule->subleaf == 0)
			propose_xsave(&leaves[count], xcr0);
		if (rule->leaf == 1 && !xsave)
			leaves[count].ecx &= ~B(26);
		count++;
	}
	propose_maxima(leaves, count);
	return count;
}

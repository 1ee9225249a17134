/*
 * cpuid.c - what this host's KVM can show a guest, and showing it
 *
 * Offered is what KVM supports, less
 *   - features whose state struct vp_state does not carry: a saved VP would lose it;
 *   - the host's topology (leaves 4, 0xb, 0x1f, 0x8000001e): the guest's is its configuration's;
 *   - KVM's own paravirtual leaves.
 * APIC ids are put in per VP; OSXSAVE, OSPKE and the XSAVE sizes the kernel keeps up to date.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "kvm_internal.h"

enum cpuid_register { EAX, EBX, ECX, EDX };

/* Bits taken away from what KVM proposes. */
static const struct {
	uint32_t leaf, subleaf;
	enum cpuid_register reg;
	uint32_t bits;
} hidden[] = {
	/* APIC id; how many logical processors; HTT; VMX, SMX, PDCM (performance MSRs) */
	{0x1, 0, EBX, 0xffff0000},
	{0x1, 0, ECX, BIT(5) | BIT(6) | BIT(15)},
	{0x1, 0, EDX, BIT(28)},
	/* cores and threads that share a cache */
	{0x4, 0, EAX, 0xffffc000},
	{0x4, 1, EAX, 0xffffc000},
	{0x4, 2, EAX, 0xffffc000},
	{0x4, 3, EAX, 0xffffc000},
	/* SGX, MPX, processor trace */
	{0x7, 0, EBX, BIT(2) | BIT(14) | BIT(25)},
	/* WAITPKG, shadow stacks, bus lock detection, ENQCMD, SGX_LC */
	{0x7, 0, ECX, BIT(5) | BIT(7) | BIT(24) | BIT(29) | BIT(30)},
	/* UINTR, IBT, AMX-BF16/TILE/INT8, SPEC_CTRL, STIBP, ARCH_CAPABILITIES, CORE_CAP., SSBD */
	{0x7, 0, EDX,
	 BIT(5) | BIT(20) | BIT(22) | BIT(24) | BIT(25) | BIT(26) | BIT(27) | BIT(29) | BIT(30) |
		 BIT(31)},
	/* FRED, LKGS, WRMSRNS, AMX-FP16, HRESET, LAM */
	{0x7, 1, EAX, BIT(17) | BIT(18) | BIT(19) | BIT(21) | BIT(22) | BIT(26)},
	/* only x87, SSE, AVX, AVX-512 and PKRU are in 4096 bytes of standard XSAVE area */
	{0xd, 0, EAX, ~0x2e7u},
	{0xd, 0, EDX, 0xffffffff},
	{0xd, 1, EAX, BIT(3) | BIT(4)}, /* XSAVES and XFD: supervisor state */
	{0xd, 1, ECX, 0xffffffff},
	{0xd, 1, EDX, 0xffffffff},
	/* SVM, IBS, performance counters, topology extensions */
	{0x80000001, 0, ECX, BIT(2) | BIT(10) | BIT(22) | BIT(23) | BIT(24) | BIT(28)},
	/* IBRS, STIBP, their always-on forms, SSBD */
	{0x80000008, 0, EBX,
	 BIT(14) | BIT(15) | BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(24) | BIT(25)},
	{0x80000008, 0, ECX, 0xffffffff},
};

/* Leaves that are not offered at all, with all their subleaves. */
static const uint32_t hidden_leaves[] = {
	0xa,	    0xb,	0xf,	    0x10,	0x12,	    0x14,	0x17,	    0x18,
	0x1a,	    0x1b,	0x1c,	    0x1d,	0x1e,	    0x1f,	0x20,	    0x24,
	0x8000000a, 0x8000001b, 0x8000001c, 0x8000001e, 0x8000001f, 0x80000020, 0x80000022,
};

static bool leaf_is_hidden(uint32_t leaf)
{
	if (leaf >= 0x40000000 && leaf < 0x50000000)
		return true;
	for (size_t i = 0; i < ARRAY_SIZE(hidden_leaves); i++)
		if (leaf == hidden_leaves[i])
			return true;
	return false;
}

/* State components of leaf 0xd that leaf 0xd.0 does not offer are not described either. */
static bool component_is_hidden(const struct kvm_cpuid_entry2 *entry)
{
	return entry->function == 0xd && entry->index >= 2 &&
	       (entry->index >= 32 || !(0x2e7u & (1u << entry->index)));
}

static void hide_bits(struct cpuid_leaf *leaf)
{
	uint32_t *regs[] = {
		[EAX] = &leaf->eax, [EBX] = &leaf->ebx, [ECX] = &leaf->ecx, [EDX] = &leaf->edx};

	for (size_t i = 0; i < ARRAY_SIZE(hidden); i++)
		if (hidden[i].leaf == leaf->leaf && hidden[i].subleaf == leaf->subleaf)
			*regs[hidden[i].reg] &= ~hidden[i].bits;
}

static struct cpuid_leaf offer(const struct kvm_cpuid_entry2 *entry, bool tsc_deadline)
{
	struct cpuid_leaf leaf = {
		.leaf = entry->function,
		.subleaf = entry->index,
		.subleaf_matters = (entry->flags & KVM_CPUID_FLAG_SIGNIFCANT_INDEX) != 0,
		.eax = entry->eax,
		.ebx = entry->ebx,
		.ecx = entry->ecx,
		.edx = entry->edx,
	};

	hide_bits(&leaf);
	if (leaf.leaf == 1) {
		/* Older kernels leave these to user space; both come with the kernel's local APIC.
		 */
		leaf.ecx |= BIT(21) | (tsc_deadline ? BIT(24) : 0);
		leaf.ecx |= BIT(31);  /* a hypervisor is present */
		leaf.ecx &= ~BIT(27); /* OSXSAVE follows the guest's CR4 */
	}
	if (leaf.leaf == 7 && leaf.subleaf == 0)
		leaf.ebx |= BIT(1); /* TSC_ADJUST: in every kernel with a split irqchip */
	return leaf;
}

static int read_supported(int fd, struct kvm_cpuid2 **ret_cpuid)
{
	for (unsigned int count = 64; count <= 1024; count *= 2) {
		struct kvm_cpuid2 *cpuid =
			calloc(1, sizeof(*cpuid) + count * sizeof(cpuid->entries[0]));
		int r;

		if (!cpuid)
			return -ENOMEM;
		cpuid->nent = count;
		r = kvm_call(fd, KVM_GET_SUPPORTED_CPUID, cpuid);
		if (r >= 0) {
			*ret_cpuid = cpuid;
			return 0;
		}
		free(cpuid);
		if (r != -E2BIG)
			return r;
	}
	return -E2BIG;
}

size_t kvm_supported_cpuid(struct cpuid_leaf leaves[PARTITION_MAX_CPUID])
{
	struct kvm_cpuid2 *cpuid;
	bool tsc_deadline;
	size_t count = 0;
	int fd = open(KVM_DEVICE, O_RDWR | O_CLOEXEC);

	if (fd < 0)
		return 0;
	tsc_deadline = ioctl(fd, KVM_CHECK_EXTENSION, KVM_CAP_TSC_DEADLINE_TIMER) > 0;
	if (read_supported(fd, &cpuid) < 0) {
		close(fd);
		return 0;
	}
	close(fd);
	for (unsigned int i = 0; i < cpuid->nent && count < PARTITION_MAX_CPUID; i++)
		if (!leaf_is_hidden(cpuid->entries[i].function) &&
		    !component_is_hidden(&cpuid->entries[i]))
			leaves[count++] = offer(&cpuid->entries[i], tsc_deadline);
	free(cpuid);
	return count;
}

int kvm_cpuid_from_config(const struct partition_config *config, struct kvm_cpuid2 **ret_cpuid)
{
	struct kvm_cpuid2 *cpuid =
		calloc(1, sizeof(*cpuid) + config->cpuid_count * sizeof(cpuid->entries[0]));

	if (!cpuid)
		return -ENOMEM;
	cpuid->nent = (uint32_t)config->cpuid_count;
	for (size_t i = 0; i < config->cpuid_count; i++) {
		const struct cpuid_leaf *leaf = &config->cpuid[i];

		cpuid->entries[i] = (struct kvm_cpuid_entry2){
			.function = leaf->leaf,
			.index = leaf->subleaf,
			.flags = leaf->subleaf_matters ? KVM_CPUID_FLAG_SIGNIFCANT_INDEX : 0,
			.eax = leaf->eax,
			.ebx = leaf->ebx,
			.ecx = leaf->ecx,
			.edx = leaf->edx,
		};
	}
	*ret_cpuid = cpuid;
	return 0;
}

static void put_apic_id(struct kvm_cpuid_entry2 *entry, uint32_t apic_id)
{
	switch (entry->function) {
	case 0x1: entry->ebx = (entry->ebx & 0x00ffffff) | apic_id << 24; break;
	case 0xb:
	case 0x1f: entry->edx = apic_id; break;
	case 0x8000001e: entry->eax = apic_id; break;
	}
}

int kvm_vp_set_cpuid(struct kvm_vp *vp)
{
	const struct kvm_cpuid2 *config = kvm_vp_partition(vp)->cpuid;
	size_t bytes = sizeof(*config) + config->nent * sizeof(config->entries[0]);
	struct kvm_cpuid2 *cpuid = malloc(bytes);
	int r;

	if (!cpuid)
		return -ENOMEM;
	memcpy(cpuid, config, bytes);
	for (unsigned int i = 0; i < cpuid->nent; i++)
		put_apic_id(&cpuid->entries[i], vp->vp.index);
	r = kvm_call(vp->fd, KVM_SET_CPUID2, cpuid);
	free(cpuid);
	return r;
}

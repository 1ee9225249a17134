/*
 * msrs.c - the MSRs of struct vp_state, and which MSRs exit
 *
 * State: a table names each MSR's place in struct vp_state. A KVM_GET_MSRS call stops at the first
 * MSR the host does not know; such an MSR reads as 0, and only a nonzero value cannot be set.
 *
 * Exits: an MSR that KVM does not know exits by itself; those of config.exit_msrs are denied by a
 * filter, in bitmaps of at most 0x3000 MSRs, of which KVM takes 16.
 */
#include <errno.h>
#include <string.h>

#include "kvm_internal.h"

#define MSR_FILTER_MAX_MSRS 0x3000u

#define MSR(number, member)                                                                        \
	{                                                                                          \
		number, offsetof(struct vp_state, member)                                          \
	}
#define MSR_TSC		 0x10
#define MSR_TSC_DEADLINE 0x6e0
#define TSC_FAR_OFF	 BIT(40) /* minutes */

static const struct {
	uint32_t index;
	size_t offset;
} state_msrs[] = {
	MSR(0xc0000081, star),
	MSR(0xc0000082, lstar),
	MSR(0xc0000083, cstar),
	MSR(0xc0000084, sfmask),
	MSR(0xc0000102, kernel_gs_base),
	MSR(0x174, sysenter_cs),
	MSR(0x175, sysenter_esp),
	MSR(0x176, sysenter_eip),
	MSR(0x277, pat),
	MSR(MSR_TSC, tsc),
	MSR(0xc0000103, tsc_aux),
	MSR(0x3b, tsc_adjust),
	MSR(0x1a0, misc_enable),
	MSR(0x2ff, mtrr_def_type),
	MSR(0x250, mtrr_fixed[0]),
	MSR(0x258, mtrr_fixed[1]),
	MSR(0x259, mtrr_fixed[2]),
	MSR(0x268, mtrr_fixed[3]),
	MSR(0x269, mtrr_fixed[4]),
	MSR(0x26a, mtrr_fixed[5]),
	MSR(0x26b, mtrr_fixed[6]),
	MSR(0x26c, mtrr_fixed[7]),
	MSR(0x26d, mtrr_fixed[8]),
	MSR(0x26e, mtrr_fixed[9]),
	MSR(0x26f, mtrr_fixed[10]),
	MSR(0x200, mtrr_base[0]),
	MSR(0x201, mtrr_mask[0]),
	MSR(0x202, mtrr_base[1]),
	MSR(0x203, mtrr_mask[1]),
	MSR(0x204, mtrr_base[2]),
	MSR(0x205, mtrr_mask[2]),
	MSR(0x206, mtrr_base[3]),
	MSR(0x207, mtrr_mask[3]),
	MSR(0x208, mtrr_base[4]),
	MSR(0x209, mtrr_mask[4]),
	MSR(0x20a, mtrr_base[5]),
	MSR(0x20b, mtrr_mask[5]),
	MSR(0x20c, mtrr_base[6]),
	MSR(0x20d, mtrr_mask[6]),
	MSR(0x20e, mtrr_base[7]),
	MSR(0x20f, mtrr_mask[7]),
	MSR(MSR_TSC_DEADLINE, tsc_deadline),
};
#define STATE_MSRS ARRAY_SIZE(state_msrs)

/* struct kvm_msrs with its entries inside. */
struct msr_list {
	uint32_t count, pad;
	struct kvm_msr_entry entries[STATE_MSRS];
};
static_assert(offsetof(struct msr_list, entries) == offsetof(struct kvm_msrs, entries), "kvm_msrs");

static uint64_t *value_in(const struct vp_state *state, size_t i)
{
	return (uint64_t *)((char *)state + state_msrs[i].offset);
}

int kvm_vp_get_msrs(struct kvm_vp *vp, struct vp_state *state)
{
	for (size_t first = 0; first < STATE_MSRS;) {
		struct msr_list list = {.count = (uint32_t)(STATE_MSRS - first)};
		int count;

		for (size_t i = first; i < STATE_MSRS; i++)
			list.entries[i - first].index = state_msrs[i].index;
		count = kvm_call(vp->fd, KVM_GET_MSRS, &list);
		if (count < 0)
			return count;
		for (int i = 0; i < count; i++)
			*value_in(state, first + (size_t)i) = list.entries[i].data;
		first += (size_t)count;
		if (first < STATE_MSRS)
			*value_in(state, first++) = 0; /* the one this host does not know */
	}
	return 0;
}

static int set_one(struct kvm_vp *vp, uint32_t index, uint64_t value)
{
	struct msr_list list = {.count = 1, .entries[0] = {.index = index, .data = value}};
	int count = kvm_call(vp->fd, KVM_SET_MSRS, &list);

	if (count < 0)
		return count;
	return count == 1 || value == 0 ? 0 : -EINVAL;
}

int kvm_vp_set_msrs(struct kvm_vp *vp, const struct vp_state *state)
{
	for (size_t i = 0; i < STATE_MSRS; i++) {
		int r;

		if (state_msrs[i].index == MSR_TSC_DEADLINE)
			continue;
		r = set_one(vp, state_msrs[i].index, *value_in(state, i));
		if (r < 0)
			return r;
	}
	return 0;
}

int kvm_vp_set_tsc_deadline(struct kvm_vp *vp, uint64_t deadline)
{
	return set_one(vp, MSR_TSC_DEADLINE, deadline);
}

/* Appends @range in pieces; all of its bits in @bitmap are clear, which means "denied". */
static int deny_range(struct kvm_msr_filter *filter, size_t *used, struct msr_range range,
		      uint8_t *bitmap)
{
	uint64_t end = (uint64_t)range.last + 1;

	for (uint64_t base = range.first; base < end; base += MSR_FILTER_MAX_MSRS) {
		if (*used == KVM_MSR_FILTER_MAX_RANGES)
			return -EINVAL;
		filter->ranges[(*used)++] = (struct kvm_msr_filter_range){
			.flags = KVM_MSR_FILTER_READ | KVM_MSR_FILTER_WRITE,
			.base = (uint32_t)base,
			.nmsrs = (uint32_t)MIN(end - base, MSR_FILTER_MAX_MSRS),
			.bitmap = bitmap,
		};
	}
	return 0;
}

int kvm_set_msr_filter(struct kvm_partition *part, const struct partition_config *config)
{
	struct kvm_enable_cap exits = {
		.cap = KVM_CAP_X86_USER_SPACE_MSR,
		.args[0] = KVM_MSR_EXIT_REASON_UNKNOWN | KVM_MSR_EXIT_REASON_FILTER,
	};
	struct kvm_msr_filter filter = {.flags = KVM_MSR_FILTER_DEFAULT_ALLOW};
	uint8_t bitmap[MSR_FILTER_MAX_MSRS / 8] = {0};
	size_t used = 0;
	int r;

	r = kvm_call(part->vm_fd, KVM_ENABLE_CAP, &exits);
	for (size_t i = 0; r >= 0 && i < config->exit_msr_count; i++)
		r = deny_range(&filter, &used, config->exit_msrs[i], bitmap);
	if (r < 0 || !used)
		return r;
	return kvm_call(part->vm_fd, KVM_X86_SET_MSR_FILTER, &filter);
}

/* --- the TSC --- */

int kvm_vp_get_tsc_deadline(struct kvm_vp *vp, uint64_t *ret_deadline)
{
	struct msr_list list = {.count = 1, .entries[0].index = MSR_TSC_DEADLINE};
	int count = kvm_call(vp->fd, KVM_GET_MSRS, &list);

	if (count < 0)
		return count;
	*ret_deadline = count == 1 ? list.entries[0].data : 0; /* a host that does not know it */
	return 0;
}

static int tsc_offset_attribute(struct kvm_vp *vp, unsigned long request, uint64_t *offset)
{
	struct kvm_device_attr attribute = {
		.group = KVM_VCPU_TSC_CTRL, .attr = KVM_VCPU_TSC_OFFSET, .addr = (uintptr_t)offset};

	return kvm_call(vp->fd, request, &attribute);
}

/*
 * The reading that took the shortest time says best what the host's TSC was at that moment. A
 * processor's clock cannot be read more exactly from outside.
 */
static int measure_tsc_offset(struct kvm_vp *vp, uint64_t *ret_offset)
{
	struct msr_list tsc = {.count = 1, .entries[0].index = MSR_TSC};
	uint64_t shortest = UINT64_MAX;

	for (int tries = 0; tries < 16; tries++) {
		uint64_t before = __builtin_ia32_rdtsc(), took;
		int r = kvm_call(vp->fd, KVM_GET_MSRS, &tsc);

		if (r != 1)
			return r < 0 ? r : -EIO;
		took = __builtin_ia32_rdtsc() - before;
		if (took >= shortest)
			continue;
		shortest = took;
		*ret_offset = tsc.entries[0].data - (before + took / 2);
	}
	return 0;
}

int kvm_vp_get_tsc_offset(struct kvm_vp *vp, uint64_t *ret_offset)
{
	if (tsc_offset_attribute(vp, KVM_GET_DEVICE_ATTR, ret_offset) >= 0)
		return 0;
	return measure_tsc_offset(vp, ret_offset);
}

/*
 * KVM takes a value within a second of what the last one written to any VP has become since for an
 * attempt to synchronize the VPs, and keeps that one's offset. So VP 0's is first written with a
 * value that is far off, and the other VPs follow it.
 */
int kvm_vp_set_tsc(struct kvm_vp *vp, uint64_t offset, uint64_t tsc)
{
	int r = 0;

	if (tsc_offset_attribute(vp, KVM_SET_DEVICE_ATTR, &offset) >= 0)
		return 0;
	if (vp->vp.index == 0)
		r = set_one(vp, MSR_TSC, tsc + TSC_FAR_OFF);
	return r < 0 ? r : set_one(vp, MSR_TSC, tsc);
}

/*
 * msr.c - the synthetic MSRs: one row each, or for each run of equal ones
 *
 * A row is found by index and checked against the partition's privileges; then its handler runs
 * with the lock held (rows that are UNLOCKED take it themselves, or need none). What has no row,
 * no privilege or no handler raises #GP, and so does a value that its handler refuses.
 *
 * A page that an MSR names is ordinary guest RAM here: it is filled when the MSR makes it appear,
 * and what was there before does not come back. Pages outside of RAM are accepted and not used,
 * except for the hypercall page.
 */
#include "hv_internal.h"

#include <string.h>

#define UNLOCKED true

struct access {
	struct hv *hv;
	unsigned int vp;
	unsigned int offset; /* of the MSR in its row */
	uint64_t value;
	bool long_mode;
	struct hv_after after;
};

struct msr {
	uint32_t first, last;
	uint64_t privilege; /* 0: none needed */
	uint64_t (*read)(struct access *access);
	bool (*write)(struct access *access);
	bool unlocked;
};

static struct hv_vp *vp_of(struct access *access)
{
	return &access->hv->vps[access->vp];
}

static uint64_t read_zero(struct access *access)
{
	return 0;
}

/* --- identity and hypercall page --- */

static uint64_t read_guest_os_id(struct access *access)
{
	return hv_guest_os_id(access->hv);
}

/* A guest that takes its name back loses its hypercall page. */
static bool write_guest_os_id(struct access *access)
{
	struct hv *hv = access->hv;

	__atomic_store_n(&hv->guest_os_id, access->value, __ATOMIC_RELAXED);
	if (!access->value)
		__atomic_fetch_and(&hv->hypercall_page, ~HV_PAGE_ENABLE, __ATOMIC_RELAXED);
	return true;
}

static uint64_t read_hypercall(struct access *access)
{
	return __atomic_load_n(&access->hv->hypercall_page, __ATOMIC_RELAXED);
}

/* The lock bit is not offered. A guest without a name gets no page. */
static uint64_t possible_hypercall(struct hv *hv, uint64_t value)
{
	value &= ~HV_HYPERCALL_LOCKED;
	return hv_guest_os_id(hv) ? value : value & ~HV_PAGE_ENABLE;
}

static bool place_hypercall_page(struct access *access, uint64_t value)
{
	struct hv *hv = access->hv;
	void *page;

	if (hv_page_appears(hv->hypercall_page, value)) {
		page = hv_enabled_page(hv, value, 0, PAGE_BYTES);
		if (!page)
			return false;
		memcpy(page, vp_of(access)->scratch, PAGE_BYTES);
		hv_note_written(&access->after, value & HV_PAGE_ADDRESS, PAGE_BYTES);
	}
	__atomic_store_n(&hv->hypercall_page, value, __ATOMIC_RELAXED);
	return true;
}

/* The page is made before the lock is taken, in case that it is wanted. */
static bool write_hypercall(struct access *access)
{
	struct hv *hv = access->hv;
	bool accepted;

	if (access->value & HV_PAGE_ENABLE)
		hv->services.write_hypercall_page(hv->services.ctx, access->long_mode,
						  vp_of(access)->scratch);
	hv_lock(hv);
	accepted = place_hypercall_page(access, possible_hypercall(hv, access->value));
	hv_unlock(hv, &access->after);
	return accepted;
}

static uint64_t read_vp_index(struct access *access)
{
	return access->vp;
}

static bool write_reset(struct access *access)
{
	if (access->value & 1)
		access->hv->services.reset(access->hv->services.ctx);
	return true;
}

/* --- time --- */

static uint64_t read_time(struct access *access)
{
	return hv_reference_time(access->hv);
}

static uint64_t read_reference_tsc(struct access *access)
{
	return access->hv->reference_tsc;
}

static bool write_reference_tsc(struct access *access)
{
	hv_write_reference_tsc(access->hv, access->value, &access->after);
	return true;
}

static uint64_t read_tsc_frequency(struct access *access)
{
	return access->hv->config.tsc_hz;
}

static uint64_t read_apic_frequency(struct access *access)
{
	return access->hv->config.apic_hz;
}

static uint64_t read_tsc_invariant(struct access *access)
{
	return access->hv->tsc_invariant;
}

static bool write_tsc_invariant(struct access *access)
{
	if (access->value & ~1ull)
		return false;
	access->hv->tsc_invariant = access->value;
	return true;
}

/* Stored only: the guest's TSC never changes its rate. */
static uint64_t read_reenlightenment(struct access *access)
{
	return access->hv->reenlightenment[access->offset];
}

static bool write_reenlightenment(struct access *access)
{
	access->hv->reenlightenment[access->offset] = access->value;
	return true;
}

/* --- VP assist page --- */

static uint64_t read_assist(struct access *access)
{
	return vp_of(access)->assist_page;
}

/* Its first word, "no EOI required", is the only one that a guest may rely on; it stays 0. */
static bool write_assist(struct access *access)
{
	struct hv_vp *vp = vp_of(access);
	bool appears = hv_page_appears(vp->assist_page, access->value);
	uint32_t *assist =
		appears ? hv_enabled_page(access->hv, access->value, 0, sizeof(*assist)) : NULL;

	vp->assist_page = access->value;
	if (assist) {
		__atomic_store_n(assist, 0, __ATOMIC_RELAXED);
		hv_note_written(&access->after, access->value & HV_PAGE_ADDRESS, sizeof(*assist));
	}
	return true;
}

/* --- SynIC --- */

static uint64_t read_scontrol(struct access *access)
{
	return vp_of(access)->scontrol;
}

static bool write_scontrol(struct access *access)
{
	vp_of(access)->scontrol = access->value;
	hv_synic_retry(access->hv, access->vp, &access->after);
	return true;
}

static uint64_t read_sversion(struct access *access)
{
	return HV_SVERSION_1;
}

static uint64_t read_siefp(struct access *access)
{
	return vp_of(access)->siefp;
}

static bool write_siefp(struct access *access)
{
	hv_write_siefp(access->hv, access->vp, access->value, &access->after);
	hv_synic_retry(access->hv, access->vp, &access->after);
	return true;
}

static uint64_t read_simp(struct access *access)
{
	return vp_of(access)->simp;
}

static bool write_simp(struct access *access)
{
	hv_write_simp(access->hv, access->vp, access->value, &access->after);
	hv_synic_retry(access->hv, access->vp, &access->after);
	return true;
}

static bool write_eom(struct access *access)
{
	hv_synic_retry(access->hv, access->vp, &access->after);
	return true;
}

static uint64_t read_sint(struct access *access)
{
	return vp_of(access)->sints[access->offset];
}

static bool write_sint(struct access *access)
{
	if (!hv_write_sint(access->hv, access->vp, access->offset, access->value))
		return false;
	hv_synic_retry(access->hv, access->vp, &access->after);
	return true;
}

/* --- timers: CONFIG and COUNT alternate --- */

static uint64_t read_stimer(struct access *access)
{
	const struct hv_stimer *stimer = &vp_of(access)->stimers[access->offset / 2];

	return access->offset % 2 ? stimer->count : stimer->config;
}

static bool write_stimer(struct access *access)
{
	unsigned int timer = access->offset / 2;

	if (!(access->offset % 2))
		return hv_write_stimer_config(access->hv, access->vp, timer, access->value,
					      &access->after);
	hv_write_stimer_count(access->hv, access->vp, timer, access->value, &access->after);
	return true;
}

/* --- crash --- */

static uint64_t read_crash_parameter(struct access *access)
{
	return access->hv->crash_parameters[access->offset];
}

static bool write_crash_parameter(struct access *access)
{
	access->hv->crash_parameters[access->offset] = access->value;
	return true;
}

static uint64_t read_crash_abilities(struct access *access)
{
	return HV_CRASH_NOTIFY | HV_CRASH_MESSAGE;
}

static bool write_crash_control(struct access *access)
{
	if (access->value & HV_CRASH_NOTIFY)
		hv_report_crash(access->hv, access->value);
	return true;
}

/* --- the table --- */

#define ONE(name)	 HV_MSR_##name, HV_MSR_##name
#define RUN(first, last) HV_MSR_##first, HV_MSR_##last
#define ANY		 0
#define WRITE_ONLY	 read_zero
#define READ_ONLY	 NULL

/* clang-format off */
static const struct msr msrs[] = {
	/* MSR			privilege		   read			 write */
	{ONE(GUEST_OS_ID),	HV_ACCESS_HYPERCALL,	   read_guest_os_id,	 write_guest_os_id},
	{ONE(HYPERCALL),	HV_ACCESS_HYPERCALL,	   read_hypercall,	 write_hypercall, UNLOCKED},
	{ONE(VP_INDEX),		HV_ACCESS_VP_INDEX,	   read_vp_index,	 READ_ONLY},
	{ONE(RESET),		HV_ACCESS_RESET,	   read_zero,		 write_reset, UNLOCKED},
	{ONE(TIME_REF_COUNT),	HV_ACCESS_TIME_REF_COUNT,  read_time,		 READ_ONLY, UNLOCKED},
	{ONE(REFERENCE_TSC),	HV_ACCESS_REFERENCE_TSC,   read_reference_tsc,	 write_reference_tsc},
	{ONE(TSC_FREQUENCY),	HV_ACCESS_FREQUENCIES,	   read_tsc_frequency,	 READ_ONLY},
	{ONE(APIC_FREQUENCY),	HV_ACCESS_FREQUENCIES,	   read_apic_frequency,	 READ_ONLY},
	/* Linux writes it whatever the privileges say. */
	{ONE(VP_ASSIST_PAGE),	ANY,			   read_assist,		 write_assist},
	{ONE(SCONTROL),		HV_ACCESS_SYNIC,	   read_scontrol,	 write_scontrol},
	{ONE(SVERSION),		HV_ACCESS_SYNIC,	   read_sversion,	 READ_ONLY},
	{ONE(SIEFP),		HV_ACCESS_SYNIC,	   read_siefp,		 write_siefp},
	{ONE(SIMP),		HV_ACCESS_SYNIC,	   read_simp,		 write_simp},
	{ONE(EOM),		HV_ACCESS_SYNIC,	   WRITE_ONLY,		 write_eom},
	{RUN(SINT0, SINT15),	HV_ACCESS_SYNIC,	   read_sint,		 write_sint},
	{RUN(STIMER0_CONFIG, STIMER3_COUNT),
				HV_ACCESS_STIMER,	   read_stimer,		 write_stimer},
	{RUN(CRASH_P0, CRASH_P4), ANY,			   read_crash_parameter, write_crash_parameter},
	{ONE(CRASH_CTL),	ANY,			   read_crash_abilities, write_crash_control, UNLOCKED},
	{RUN(REENLIGHTENMENT, TSC_EMULATION_STATUS),
				HV_ACCESS_REENLIGHTENMENT, read_reenlightenment, write_reenlightenment},
	{ONE(TSC_INVARIANT),	HV_ACCESS_TSC_INVARIANT,   read_tsc_invariant,	 write_tsc_invariant},
};
/* clang-format on */

static const struct msr *find_msr(const struct hv *hv, uint32_t index)
{
	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++)
		if (index >= msrs[i].first && index <= msrs[i].last)
			return (msrs[i].privilege & ~hv->privileges) ? NULL : &msrs[i];
	return NULL;
}

bool hv_read_msr(struct hv *hv, unsigned int vp, uint32_t index, uint64_t *ret_value)
{
	const struct msr *msr = find_msr(hv, index);
	struct access access = {.hv = hv, .vp = vp};

	if (!msr)
		return false;
	access.offset = index - msr->first;
	if (!msr->unlocked)
		hv_lock(hv);
	*ret_value = msr->read(&access);
	if (!msr->unlocked)
		hv_unlock(hv, &access.after);
	return true;
}

bool hv_write_msr(struct hv *hv, unsigned int vp, uint32_t index, uint64_t value, bool long_mode)
{
	const struct msr *msr = find_msr(hv, index);
	struct access access = {.hv = hv, .vp = vp, .value = value, .long_mode = long_mode};
	bool accepted;

	if (!msr || !msr->write)
		return false;
	access.offset = index - msr->first;
	if (!msr->unlocked)
		hv_lock(hv);
	accepted = msr->write(&access);
	if (!msr->unlocked)
		hv_unlock(hv, &access.after);
	return accepted;
}

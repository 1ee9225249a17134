/*
 * time.c - reference time, and the page that lets the guest compute it by itself
 *
 *	time = (guest TSC * scale >> 64) + offset
 *
 * is what everybody uses: TIME_REF_COUNT, the timers, the reference TSC page. So they agree to the
 * tick, and time never goes backwards unless the guest's TSC does. scale is fixed for the
 * partition's life; offset changes at reset and when a saved partition continues.
 *
 * hv_reference_time() takes no lock: arm_timer() may ask for it.
 */
#include "hv_internal.h"

#include <string.h>

/* 10^7 * 2^64 / @tsc_hz by long division; fits because @tsc_hz > 10^7. */
uint64_t hv_scale(uint64_t tsc_hz)
{
	uint64_t remainder = HV_REFERENCE_HZ, scale = 0;

	for (int bit = 63; bit >= 0; bit--) {
		bool carry = remainder >> 63;

		remainder <<= 1;
		if (carry || remainder >= tsc_hz) {
			remainder -= tsc_hz;
			scale |= BIT(bit);
		}
	}
	return scale;
}

static uint64_t scaled_tsc(struct hv *hv)
{
	uint64_t tsc = hv->services.guest_tsc(hv->services.ctx);

	return (unsigned __int128)tsc * hv->scale >> 64;
}

uint64_t hv_reference_time(struct hv *hv)
{
	return scaled_tsc(hv) + __atomic_load_n(&hv->offset_100ns, __ATOMIC_RELAXED);
}

void hv_start_time(struct hv *hv, uint64_t now_100ns)
{
	__atomic_store_n(&hv->offset_100ns, now_100ns - scaled_tsc(hv), __ATOMIC_RELAXED);
}

/* Neither 0 nor 0xffffffff, which early versions of the TLFS had for "not valid" too. */
static uint32_t next_sequence(struct hv *hv)
{
	do
		hv->tsc_sequence++;
	while (hv->tsc_sequence == 0 || hv->tsc_sequence == UINT32_MAX);
	return hv->tsc_sequence;
}

/* Readers retry while the sequence is 0 or changes; VPs may be reading. Each store releases, so
 * that none overtakes the one before. */
static void fill_tsc_page(struct hv *hv, struct hv_after *after)
{
	struct hv_reference_tsc_page *page =
		hv_enabled_page(hv, hv->reference_tsc, 0, sizeof(*page));

	if (!page)
		return;
	__atomic_store_n(&page->sequence, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&page->reserved, 0, __ATOMIC_RELEASE);
	__atomic_store_n(&page->scale, hv->scale, __ATOMIC_RELEASE);
	__atomic_store_n(&page->offset, __atomic_load_n(&hv->offset_100ns, __ATOMIC_RELAXED),
			 __ATOMIC_RELEASE);
	__atomic_store_n(&page->sequence, next_sequence(hv), __ATOMIC_RELEASE);
	hv_note_written(after, hv->reference_tsc & HV_PAGE_ADDRESS, sizeof(*page));
}

void hv_write_reference_tsc(struct hv *hv, uint64_t value, struct hv_after *after)
{
	bool appears = hv_page_appears(hv->reference_tsc, value);

	hv->reference_tsc = value;
	if (appears)
		fill_tsc_page(hv, after);
}

void hv_set_reference_time(struct hv *hv, uint64_t now_100ns)
{
	struct hv_after after = {};

	hv_lock(hv);
	hv_start_time(hv, now_100ns);
	fill_tsc_page(hv, &after);
	hv_stimers_rearm(hv);
	hv_unlock(hv, &after);
}

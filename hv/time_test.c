/*
 * time_test.c - reference time, from the MSR and from the page
 */
#include "test_rig.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

#define PAGE (RIG_PAGE(4) | HV_PAGE_ENABLE)

static struct rig *rig_at_hz(uint64_t tsc_hz)
{
	struct rig *rig = rig_alloc();
	struct hv_config config = rig_config(rig);

	config.tsc_hz = tsc_hz;
	rig_start(rig, &config);
	return rig;
}

/* What the guest does. */
static uint64_t time_from_page(struct rig *rig)
{
	const struct hv_reference_tsc_page *page = rig_at(rig, RIG_PAGE(4));

	assert_int_not_equal(page->sequence, 0);
	assert_int_not_equal(page->sequence, UINT32_MAX);
	return ((unsigned __int128)atomic_load(&rig->tsc) * page->scale >> 64) + page->offset;
}

static void time_is_the_tsc_in_units_of_100_ns(void **state)
{
	static const uint64_t rates[] = {10000001,   999999937,	 1000000000, 2899998000,
					 6000000000, 1ull << 62, UINT64_MAX};

	for (size_t i = 0; i < ARRAY_SIZE(rates); i++) {
		struct rig *rig = rig_at_hz(rates[i]);
		uint64_t seconds, before;

		assert_int_equal(hv_reference_time(rig->hv), 0);
		/* As many seconds as the TSC can count, a million at most. */
		seconds = MIN(1000000, (UINT64_MAX - rig->tsc) / rates[i]);
		atomic_fetch_add(&rig->tsc, seconds * rates[i]);
		before = hv_reference_time(rig->hv);
		/* The scale is rounded down: less than a tick for every 2^64 / 10^7 TSC ticks. */
		assert_true(before <= seconds * HV_REFERENCE_HZ);
		assert_true(before + 2 + (rig->tsc >> 63) >= seconds * HV_REFERENCE_HZ);
		rig_write(rig, 0, HV_MSR_REFERENCE_TSC, PAGE);
		assert_int_equal(time_from_page(rig), before);
		assert_int_equal(rig_read(rig, 2, HV_MSR_TIME_REF_COUNT), before);
		rig_free(rig);
	}
}

static void time_never_goes_backwards(void **state)
{
	struct rig *rig = rig_at_hz(2899998000);
	uint64_t last = 0;

	for (unsigned int i = 0; i < 10000; i++) {
		uint64_t now = hv_reference_time(rig->hv);

		assert_true(now >= last);
		last = now;
		atomic_fetch_add(&rig->tsc, i * 7 % 613);
	}
	assert_true(last > 0);
	rig_free(rig);
}

static void the_page_is_filled_when_it_appears(void **state)
{
	struct rig *rig = rig_new();
	const struct hv_reference_tsc_page *page = rig_at(rig, RIG_PAGE(4)),
					   *other = rig_at(rig, RIG_PAGE(5));
	uint32_t sequence;

	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, RIG_PAGE(4));
	assert_int_equal(page->sequence, 0);
	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, PAGE | 0xffe);
	assert_int_equal(rig_read(rig, 3, HV_MSR_REFERENCE_TSC), PAGE | 0xffe);
	sequence = page->sequence;
	assert_int_not_equal(sequence, 0);
	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, PAGE);
	assert_int_equal(page->sequence, sequence);
	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, PAGE + PAGE_BYTES);
	assert_int_not_equal(other->sequence, 0);
	assert_int_equal(other->scale, page->scale);
	rig_free(rig);
}

static void a_restored_time_continues_everywhere(void **state)
{
	static const uint64_t times[] = {123456789, 1, 1ull << 60};
	struct rig *rig = rig_new();
	const struct hv_reference_tsc_page *page = rig_at(rig, RIG_PAGE(4));
	uint64_t offset;

	rig_advance(rig, 1000);
	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, PAGE);
	for (size_t i = 0; i < ARRAY_SIZE(times); i++) {
		uint32_t sequence = page->sequence;

		hv_set_reference_time(rig->hv, times[i]);
		assert_int_equal(hv_reference_time(rig->hv), times[i]);
		assert_int_equal(time_from_page(rig), times[i]);
		assert_int_not_equal(page->sequence, sequence);
		rig_advance(rig, 100);
		assert_true(hv_reference_time(rig->hv) >= times[i] + 99);
	}
	/* A page that is disabled is the guest's. */
	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, RIG_PAGE(4));
	offset = page->offset;
	hv_set_reference_time(rig->hv, 5);
	assert_int_equal(page->offset, offset);
	rig_free(rig);
}

static void timers_follow_a_restored_time(void **state)
{
	struct rig *rig = rig_new();

	rig_write(rig, 1, HV_MSR_STIMER0_CONFIG, 0x1ed9);
	rig_write(rig, 1, HV_MSR_STIMER0_COUNT, 5000);
	rig->due_100ns[1][0] = 0;
	hv_set_reference_time(rig->hv, 4000);
	assert_int_equal(rig->due_100ns[1][0], 5000);
	hv_set_reference_time(rig->hv, 6000);
	rig_advance(rig, 0);
	assert_int_equal(rig->interrupts[1][0xed], 1);
	rig_free(rig);
}

/* What vm does after a pause when the engine could not stop the TSC: it has run on by a minute. */
static void a_pause_that_the_tsc_ran_through_moves_no_time(void **state)
{
	struct rig *rig = rig_new();
	uint64_t paused;

	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, PAGE);
	rig_write(rig, 1, HV_MSR_STIMER0_CONFIG, 0x1ed9);
	rig_write(rig, 1, HV_MSR_STIMER0_COUNT, 5000);
	rig_advance(rig, 4000);
	paused = hv_reference_time(rig->hv);
	atomic_fetch_add(&rig->tsc, 60 * rig_config(rig).tsc_hz);
	assert_true(hv_reference_time(rig->hv) > paused + 59 * (uint64_t)HV_REFERENCE_HZ);
	hv_set_reference_time(rig->hv, paused);
	assert_int_equal(hv_reference_time(rig->hv), paused);
	assert_int_equal(time_from_page(rig), paused);
	hv_timer_expired(rig->hv, 1, 0);
	assert_int_equal(rig->interrupts[1][0xed], 0);
	rig_advance(rig, 2000);
	assert_int_equal(rig->interrupts[1][0xed], 1);
	rig_free(rig);
}

static void reset_begins_time_again(void **state)
{
	struct rig *rig = rig_new();
	const struct hv_reference_tsc_page *page = rig_at(rig, RIG_PAGE(4));
	uint32_t sequence;

	rig_write(rig, 0, HV_MSR_REFERENCE_TSC, PAGE);
	rig_advance(rig, 100000);
	sequence = page->sequence;
	hv_reset(rig->hv);
	assert_int_equal(hv_reference_time(rig->hv), 0);
	assert_int_equal(rig_read(rig, 0, HV_MSR_REFERENCE_TSC), 0);
	assert_int_equal(page->sequence, sequence);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(time_is_the_tsc_in_units_of_100_ns),
		cmocka_unit_test(time_never_goes_backwards),
		cmocka_unit_test(the_page_is_filled_when_it_appears),
		cmocka_unit_test(a_restored_time_continues_everywhere),
		cmocka_unit_test(timers_follow_a_restored_time),
		cmocka_unit_test(a_pause_that_the_tsc_ran_through_moves_no_time),
		cmocka_unit_test(reset_begins_time_again),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

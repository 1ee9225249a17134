/*
 * stimer_test.c - synthetic timers
 */
#include "test_rig.h"

#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>

#define VP	      1
#define CONFIG(n)     (HV_MSR_STIMER0_CONFIG + 2 * (n))
#define COUNT(n)      (HV_MSR_STIMER0_COUNT + 2 * (n))
#define ENABLE	      HV_STIMER_ENABLE
#define PERIODIC      HV_STIMER_PERIODIC
#define AUTO	      HV_STIMER_AUTO_ENABLE
#define DIRECT	      HV_STIMER_DIRECT
#define VECTOR(v)     ((uint64_t)(v) << 4)
#define SINT(s)	      ((uint64_t)(s) << 16)
#define LINUX_DIRECT  0x1ed9 /* what Linux writes: direct, vector 0xed, auto-enable, enable */
#define LINUX_MESSAGE 0x20009
#define DIRECT_VECTOR 0xed
#define FAULTS	      true

static unsigned int fired(struct rig *rig)
{
	return rig->interrupts[VP][DIRECT_VECTOR];
}

static uint64_t now(struct rig *rig)
{
	return rig_read(rig, VP, HV_MSR_TIME_REF_COUNT);
}

static void set_timer(struct rig *rig, unsigned int timer, uint64_t config, uint64_t count)
{
	rig_write(rig, VP, CONFIG(timer), config);
	rig_write(rig, VP, COUNT(timer), count);
}

static void config_values_are_checked(void **state)
{
	static const struct {
		uint64_t value;
		bool faults;
		uint64_t stored;
	} rows[] = {
		{LINUX_DIRECT, false, LINUX_DIRECT},
		{LINUX_MESSAGE, false, LINUX_MESSAGE},
		{0, false, 0},
		{ENABLE, false, 0},
		{ENABLE | SINT(15), false, ENABLE | SINT(15)},
		{AUTO | PERIODIC | HV_STIMER_LAZY, false, AUTO | PERIODIC | HV_STIMER_LAZY},
		{DIRECT | VECTOR(15), false, DIRECT | VECTOR(15)},
		{DIRECT | VECTOR(15) | ENABLE, FAULTS},
		{DIRECT | VECTOR(15) | AUTO, FAULTS},
		{DIRECT | VECTOR(16) | ENABLE, false, DIRECT | VECTOR(16) | ENABLE},
		{DIRECT | VECTOR(255) | AUTO | SINT(3), false,
		 DIRECT | VECTOR(255) | AUTO | SINT(3)},
		{BIT(13), FAULTS},
		{BIT(15), FAULTS},
		{BIT(20), FAULTS},
		{BIT(63) | ENABLE | SINT(2), FAULTS},
		{UINT64_MAX, FAULTS},
	};
	struct rig *rig = rig_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_write(rig, VP, CONFIG(3), 0);
		if (rig_write_faults(rig, VP, CONFIG(3), rows[i].value) != rows[i].faults ||
		    rig_read(rig, VP, CONFIG(3)) != rows[i].stored)
			fail_msg("row %zu", i);
		assert_int_equal(rig->due_100ns[VP][3], 0);
	}
	rig_free(rig);
}

/* As Linux uses timer 0, tick after tick. */
static void a_one_shot_fires_on_time_and_is_enabled_again_by_its_count(void **state)
{
	struct rig *rig = rig_new();

	set_timer(rig, 0, 0, 0);
	rig_write(rig, VP, CONFIG(0), LINUX_DIRECT);
	assert_int_equal(rig->due_100ns[VP][0], 0);
	for (unsigned int tick = 1; tick < 10; tick++) {
		rig_write(rig, VP, COUNT(0), now(rig) + 1000);
		assert_int_equal(rig_read(rig, VP, CONFIG(0)), LINUX_DIRECT);
		rig_advance(rig, 990);
		assert_int_equal(fired(rig), tick - 1);
		rig_advance(rig, 20);
		assert_int_equal(fired(rig), tick);
		assert_int_equal(rig_read(rig, VP, CONFIG(0)), LINUX_DIRECT & ~ENABLE);
		rig_advance(rig, 5000);
		assert_int_equal(fired(rig), tick);
	}
	assert_int_equal(rig->interrupt_count, fired(rig));
	rig_free(rig);
}

static void a_one_shot_in_the_past_fires_at_once(void **state)
{
	struct rig *rig = rig_new();

	rig_advance(rig, 1000);
	set_timer(rig, 0, LINUX_DIRECT, 1);
	assert_int_equal(fired(rig), 1);
	/* The other order: COUNT waits for CONFIG. */
	set_timer(rig, 1, 0, 5);
	assert_int_equal(fired(rig), 1);
	rig_write(rig, VP, CONFIG(1), LINUX_DIRECT);
	assert_int_equal(fired(rig), 2);
	assert_int_equal(rig->due_100ns[VP][0] | rig->due_100ns[VP][1], 0);
	rig_free(rig);
}

static void a_stopped_timer_does_not_fire(void **state)
{
	static const struct {
		uint32_t msr;
		uint64_t value;
		uint64_t config; /* afterwards */
	} rows[] = {
		{COUNT(2), 0, LINUX_DIRECT & ~ENABLE},
		{CONFIG(2), 0, 0},
		{CONFIG(2), LINUX_DIRECT & ~ENABLE, LINUX_DIRECT & ~ENABLE},
		{CONFIG(2), ENABLE, 0},
	};
	struct rig *rig = rig_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		rig_write(rig, VP, COUNT(2), 0);
		set_timer(rig, 2, LINUX_DIRECT, now(rig) + 1000);
		assert_int_not_equal(rig->due_100ns[VP][2], 0);
		rig_write(rig, VP, rows[i].msr, rows[i].value);
		assert_int_equal(rig->due_100ns[VP][2], 0);
		assert_int_equal(rig_read(rig, VP, CONFIG(2)), rows[i].config);
		rig_advance(rig, 2000);
		hv_timer_expired(rig->hv, VP, 2);
		assert_int_equal(fired(rig), 0);
	}
	rig_free(rig);
}

static void calls_that_come_early_or_for_nothing_are_harmless(void **state)
{
	struct rig *rig = rig_new();
	uint64_t due = now(rig) + 1000;

	set_timer(rig, 0, LINUX_DIRECT, due);
	rig->due_100ns[VP][0] = 0;
	hv_timer_expired(rig->hv, VP, 0);
	assert_int_equal(rig->due_100ns[VP][0], due);
	hv_timer_expired(rig->hv, VP, 3);
	hv_timer_expired(rig->hv, VP, HV_STIMERS);
	hv_timer_expired(rig->hv, RIG_VPS, 0);
	assert_int_equal(rig->interrupt_count, 0);
	rig_free(rig);
}

static void a_periodic_timer_fires_once_for_what_it_missed(void **state)
{
	struct rig *rig = rig_new();

	set_timer(rig, 0, LINUX_DIRECT | PERIODIC, 1000);
	rig_advance(rig, 10010);
	assert_int_equal(fired(rig), 10);
	/* The host slept. */
	atomic_fetch_add(&rig->tsc, 50 * 100000ull);
	rig_advance(rig, 0);
	assert_int_equal(fired(rig), 11);
	assert_true(rig->due_100ns[VP][0] > now(rig));
	assert_true(rig->due_100ns[VP][0] <= now(rig) + 1000);
	assert_int_equal(rig_read(rig, VP, CONFIG(0)), LINUX_DIRECT | PERIODIC);
	assert_int_equal(rig_read(rig, VP, COUNT(0)), 1000);
	rig_free(rig);
}

static void periods_have_a_lower_bound_and_no_upper_one(void **state)
{
	static const struct {
		uint64_t count, due_in;
	} rows[] = {
		{1, 500},	 {3, 501},
		{499, 998},	 {500, 500},
		{501, 501},	 {1ull << 40, 1ull << 40},
		{UINT64_MAX, 0}, {UINT64_MAX - 5, 0},
	};
	struct rig *rig = rig_new();

	rig_advance(rig, 1000);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint64_t expected = rows[i].due_in ? now(rig) + rows[i].due_in : UINT64_MAX;

		set_timer(rig, 0, LINUX_DIRECT | PERIODIC, rows[i].count);
		if (rig->due_100ns[VP][0] != expected)
			fail_msg("row %zu: %lu", i, rig->due_100ns[VP][0] - now(rig));
		assert_int_equal(rig_read(rig, VP, COUNT(0)), rows[i].count);
	}
	assert_int_equal(fired(rig), 0);
	rig_free(rig);
}

static const struct hv_timer_payload *payload_of(const struct hv_message *slot)
{
	return (const void *)slot->payload;
}

static void a_message_tells_timer_and_times(void **state)
{
	struct rig *rig = rig_new();
	const struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);
	uint64_t due;

	rig_enable_synic(rig, VP);
	due = now(rig) + 1000;
	set_timer(rig, 3, LINUX_MESSAGE, due);
	rig_advance(rig, 1010);
	assert_int_equal(slot->type, HV_MESSAGE_TIMER_EXPIRED);
	assert_int_equal(slot->payload_bytes, 24);
	assert_int_equal(payload_of(slot)->timer, 3);
	assert_int_equal(payload_of(slot)->reserved, 0);
	assert_int_equal(payload_of(slot)->expiration_100ns, due);
	assert_true(payload_of(slot)->delivery_100ns >= due);
	assert_int_equal(rig->interrupts[VP][RIG_VECTOR], 1);
	assert_int_equal(rig_read(rig, VP, CONFIG(3)), LINUX_MESSAGE & ~ENABLE);
	rig_free(rig);
}

static void free_slot(struct rig *rig)
{
	uint32_t zero = 0;

	rig_put(rig, RIG_PAGE(2 * VP) + RIG_SINT * 256, &zero, sizeof(zero));
}

static void messages_wait_for_the_slot_until_eom(void **state)
{
	struct rig *rig = rig_new();
	const struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);
	uint64_t due = 2000;

	rig_enable_synic(rig, VP);
	hv_post_message(rig->hv, VP, RIG_SINT, HV_MESSAGE_VMBUS, "m", 1);
	set_timer(rig, 0, LINUX_MESSAGE, due);
	set_timer(rig, 1, LINUX_MESSAGE | PERIODIC, 1500);
	rig_advance(rig, 100000);
	assert_int_equal(slot->type, HV_MESSAGE_VMBUS);
	assert_int_equal(slot->flags, HV_MESSAGE_PENDING);
	assert_int_equal(rig->interrupt_count, 1);
	free_slot(rig);
	rig_write(rig, VP, HV_MSR_EOM, 0);
	assert_int_equal(slot->type, HV_MESSAGE_TIMER_EXPIRED);
	assert_int_equal(slot->flags, HV_MESSAGE_PENDING);
	assert_int_equal(payload_of(slot)->timer, 0);
	assert_int_equal(payload_of(slot)->expiration_100ns, due);
	assert_true(payload_of(slot)->delivery_100ns > 99000);
	free_slot(rig);
	rig_write(rig, VP, HV_MSR_EOM, 0);
	/* The first tick that found the slot taken; the later ones are lost. */
	assert_int_equal(payload_of(slot)->timer, 1);
	assert_int_equal(payload_of(slot)->expiration_100ns, 1500);
	assert_int_equal(slot->flags, 0);
	assert_int_equal(rig->interrupt_count, 3);
	free_slot(rig);
	rig_write(rig, VP, HV_MSR_EOM, 0);
	assert_int_equal(slot->type, 0);
	/* Timers are not what synic_ready() is about. */
	assert_int_equal(rig->synic_ready, 0);
	rig_free(rig);
}

static void a_write_drops_a_message_that_waits(void **state)
{
	static const uint32_t msrs[] = {CONFIG(0), COUNT(0)};
	struct rig *rig = rig_new();
	const struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);

	rig_enable_synic(rig, VP);
	for (size_t i = 0; i < ARRAY_SIZE(msrs); i++) {
		hv_post_message(rig->hv, VP, RIG_SINT, HV_MESSAGE_VMBUS, "m", 1);
		set_timer(rig, 0, LINUX_MESSAGE, 1);
		rig_advance(rig, 10);
		rig_write(rig, VP, msrs[i], 0);
		free_slot(rig);
		rig_write(rig, VP, HV_MSR_EOM, 0);
		assert_int_equal(slot->type, 0);
	}
	rig_free(rig);
}

static void messages_wait_while_the_synic_is_off(void **state)
{
	struct rig *rig = rig_new();
	const struct hv_message *slot = rig_slot(rig, VP, RIG_SINT);

	set_timer(rig, 0, LINUX_MESSAGE, 1);
	rig_advance(rig, 10);
	assert_int_equal(slot->type, 0);
	rig_enable_synic(rig, VP);
	assert_int_equal(slot->type, HV_MESSAGE_TIMER_EXPIRED);
	assert_int_equal(rig->interrupts[VP][RIG_VECTOR], 1);
	rig_free(rig);
}

static void each_vp_has_timers_of_its_own(void **state)
{
	struct rig *rig = rig_new();

	for (unsigned int vp = 0; vp < RIG_VPS; vp++) {
		for (unsigned int timer = 0; timer < HV_STIMERS; timer++) {
			rig_write(rig, vp, CONFIG(timer),
				  DIRECT | AUTO | VECTOR(0x20 + vp * 16 + timer));
			rig_write(rig, vp, COUNT(timer), 1000 + vp * 10 + timer);
		}
	}
	rig_advance(rig, 2000);
	assert_int_equal(rig->interrupt_count, RIG_VPS * HV_STIMERS);
	for (unsigned int vp = 0; vp < RIG_VPS; vp++)
		for (unsigned int timer = 0; timer < HV_STIMERS; timer++)
			assert_int_equal(rig->interrupts[vp][0x20 + vp * 16 + timer], 1);
	rig_free(rig);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(config_values_are_checked),
		cmocka_unit_test(a_one_shot_fires_on_time_and_is_enabled_again_by_its_count),
		cmocka_unit_test(a_one_shot_in_the_past_fires_at_once),
		cmocka_unit_test(a_stopped_timer_does_not_fire),
		cmocka_unit_test(calls_that_come_early_or_for_nothing_are_harmless),
		cmocka_unit_test(a_periodic_timer_fires_once_for_what_it_missed),
		cmocka_unit_test(periods_have_a_lower_bound_and_no_upper_one),
		cmocka_unit_test(a_message_tells_timer_and_times),
		cmocka_unit_test(messages_wait_for_the_slot_until_eom),
		cmocka_unit_test(a_write_drops_a_message_that_waits),
		cmocka_unit_test(messages_wait_while_the_synic_is_off),
		cmocka_unit_test(each_vp_has_timers_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * rtc_test.c - time, alarms and interrupts of the MC146818; the fixture's UTC starts at
 * 2024-02-29 12:34:56
 */
#include <time.h>

#include "fixture.h"

#include "rtc.h"

static uint8_t get(struct fixture *f, uint8_t index)
{
	outb(f, 0x70, index);
	return (uint8_t)inb(f, 0x71);
}

static void set(struct fixture *f, uint8_t index, uint8_t value)
{
	outb(f, 0x70, index);
	outb(f, 0x71, value);
}

static void seconds(uint64_t count)
{
	stepped_advance_ns(count * 1000000000u);
}

/* Second, minute, hour, weekday, day, month, year, century */
static void assert_time(struct fixture *f, const uint8_t expected[8])
{
	static const uint8_t index[8] = {0, 2, 4, 6, 7, 8, 9, 0x32};

	for (unsigned int i = 0; i < 8; i++)
		assert_int_equal(get(f, index[i]), expected[i]);
}

static unsigned int irqs(struct fixture *f)
{
	unsigned int count = (unsigned int)f->msi_count;

	f->msi_count = 0;
	return count;
}

static void unmask_irq(struct fixture *f)
{
	mmio_write(f, PC_IOAPIC_GPA, 4, 0x10 + 2 * PC_GSI_RTC);
	mmio_write(f, PC_IOAPIC_GPA + 0x10, 4, 0x38);
	irqs(f);
}

static void the_time_is_the_hosts_utc_in_every_format(void **state)
{
	static const struct {
		uint8_t b;
		uint64_t after_seconds;
		uint8_t time[8];
	} cases[] = {
		{0x02, 0, {0x56, 0x34, 0x12, 5, 0x29, 0x02, 0x24, 0x20}},
		{0x06, 0, {56, 34, 12, 5, 29, 2, 24, 0x20}},
		{0x00, 0, {0x56, 0x34, 0x92, 5, 0x29, 0x02, 0x24, 0x20}},
		{0x04, 0, {56, 34, 0x80 | 12, 5, 29, 2, 24, 0x20}},
		{0x00, 3600, {0x56, 0x34, 0x81, 5, 0x29, 0x02, 0x24, 0x20}},
		{0x02, 12 * 3600, {0x56, 0x34, 0x01, 6, 0x01, 0x03, 0x24, 0x20}},
		{0x00, 0, {0x56, 0x34, 0x01, 6, 0x01, 0x03, 0x24, 0x20}},
		{0x00, 23 * 3600, {0x56, 0x34, 0x12, 7, 0x02, 0x03, 0x24, 0x20}},
	};
	struct fixture *f = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		seconds(cases[i].after_seconds);
		set(f, 0x0b, cases[i].b);
		assert_time(f, cases[i].time);
	}
}

static void the_calendar_is_right_for_a_century(void **state)
{
	struct fixture *f = *state;
	time_t utc = FIXTURE_UTC_SECONDS;

	set(f, 0x0b, 0x06);
	for (unsigned int i = 0; i < 100 * 366 / 5; i++) {
		struct tm tm;

		gmtime_r(&utc, &tm);
		assert_int_equal(get(f, 7), tm.tm_mday);
		assert_int_equal(get(f, 8), tm.tm_mon + 1);
		assert_int_equal(get(f, 9), tm.tm_year % 100);
		assert_int_equal(get(f, 6), tm.tm_wday + 1);
		fixture_step_utc_seconds(5 * 86400);
		utc += 5 * 86400;
	}
}

static void update_in_progress_warns_of_the_next_second(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0x0a), 0x26);
	stepped_advance_ns(997700000);
	assert_int_equal(get(f, 0x0a), 0x26);
	stepped_advance_ns(100000);
	assert_int_equal(get(f, 0x0a), 0xa6);
	assert_int_equal(get(f, 0), 0x56);
	stepped_advance_ns(2200000);
	assert_int_equal(get(f, 0x0a), 0x26);
	assert_int_equal(get(f, 0), 0x57);
	set(f, 0x0b, 0x82); /* no updates while SET */
	stepped_advance_ns(999000000);
	assert_int_equal(get(f, 0x0a), 0x26);
}

static void the_time_can_be_set_and_goes_on_from_there(void **state)
{
	static const uint8_t new_time[8] = {0x58, 0x59, 0x23, 6, 0x31, 0x12, 0x99, 0x19};
	static const uint8_t index[8] = {0, 2, 4, 6, 7, 8, 9, 0x32};
	struct fixture *f = *state;

	set(f, 0x0b, 0x82);
	for (unsigned int i = 0; i < 8; i++)
		set(f, index[i], new_time[i]);
	seconds(5);
	assert_time(f, new_time);
	set(f, 0x0b, 0x02);
	seconds(1);
	assert_int_equal(get(f, 0), 0x59);
	seconds(2);
	assert_time(f, (const uint8_t[8]){0x01, 0, 0, 7, 0x01, 0x01, 0x00, 0x20});
	chipset_reset(f->chipset); /* has a battery */
	assert_time(f, (const uint8_t[8]){0x01, 0, 0, 7, 0x01, 0x01, 0x00, 0x20});
	set(f, 9, 0x38); /* without SET */
	assert_int_equal(get(f, 9), 0x38);
	assert_int_equal(get(f, 0), 0x01);
}

static void nonsense_in_the_time_becomes_the_nearest_time(void **state)
{
	struct fixture *f = *state;

	for (unsigned int b = 0; b < 8; b += 2) {
		set(f, 0x0b, (uint8_t)(0x80 | b));
		for (unsigned int i = 0; i < 10; i++)
			set(f, (uint8_t)i, 0xff);
		set(f, 0x32, 0xff);
		set(f, 0x0b, (uint8_t)b);
		seconds(1);
		set(f, 0x0b, 0x06);
		assert_in_range(get(f, 8), 1, 12);
		assert_int_equal(get(f, 0x32), 0x22);
	}
}

static void reading_c_shows_what_happened_and_clears_it(void **state)
{
	struct fixture *f = *state;

	get(f, 0x0c);
	set(f, 1, 0x58);
	set(f, 3, 0x34);
	set(f, 5, 0x12);
	seconds(1);
	assert_int_equal(get(f, 0x0c), 0x50); /* PF, UF, though nothing is enabled */
	assert_int_equal(get(f, 0x0c), 0x00);
	seconds(1);
	assert_int_equal(get(f, 0x0c), 0x70);
	seconds(1);
	assert_int_equal(get(f, 0x0c), 0x50);
	assert_int_equal(stepped_timers_armed(), 0);
}

static void update_interrupts_come_once_a_second_if_acknowledged(void **state)
{
	struct fixture *f = *state;

	unmask_irq(f);
	set(f, 0x0b, 0x12);
	seconds(3);
	assert_int_equal(irqs(f), 1);
	assert_int_equal(get(f, 0x0c) & 0x90, 0x90);
	for (unsigned int i = 0; i < 10; i++) {
		seconds(1);
		assert_int_equal(irqs(f), 1);
		assert_int_equal(get(f, 0x0c) & 0x90, 0x90);
	}
}

static void periodic_interrupts_have_the_rate_of_register_a(void **state)
{
	static const struct {
		uint8_t rate;
		uint64_t period_ns;
	} cases[] = {{3, 122070}, {6, 976562}, {15, 500000000}, {1, 3906250}, {2, 7812500}};
	struct fixture *f = *state;

	unmask_irq(f);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		set(f, 0x0a, 0x20 | cases[i].rate);
		get(f, 0x0c);
		set(f, 0x0b, 0x42);
		get(f, 0x0c);
		irqs(f);
		for (unsigned int k = 0; k < 20; k++) {
			stepped_advance_ns(cases[i].period_ns + 1);
			assert_int_equal(irqs(f), 1);
			assert_int_equal(get(f, 0x0c) & 0xc0, 0xc0);
		}
		set(f, 0x0b, 0x02);
	}
	set(f, 0x0a, 0x20); /* rate 0: none */
	set(f, 0x0b, 0x42);
	assert_int_equal(stepped_timers_armed(), 0);
}

static void alarms_match_their_fields(void **state)
{
	/* Now is 12:34:56; seconds until the alarm goes off. */
	static const struct {
		uint8_t hour, minute, second;
		uint32_t wait;
	} cases[] = {
		{0x12, 0x35, 0x06, 10},	   {0x12, 0x34, 0x56, 86400}, {0x12, 0x34, 0x55, 86399},
		{0x00, 0x00, 0x00, 41104}, {0xff, 0xff, 0x00, 4},     {0xff, 0x00, 0x00, 1504},
		{0xff, 0xff, 0xff, 1},	   {0x23, 0xc0, 0xc0, 37504}, {0x11, 0xff, 0x30, 80734},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture *f = fixture_new_pc();

		unmask_irq(f);
		set(f, 1, cases[i].second);
		set(f, 3, cases[i].minute);
		set(f, 5, cases[i].hour);
		set(f, 0x0b, 0x22);
		seconds(cases[i].wait - 1);
		stepped_advance_ns(999999990);
		assert_int_equal(irqs(f), 0);
		stepped_advance_ns(20);
		assert_int_equal(irqs(f), 1);
		assert_int_equal(get(f, 0x0c) & 0xa0, 0xa0);
		fixture_free(f);
	}
}

static void an_impossible_alarm_never_goes_off(void **state)
{
	struct fixture *f = *state;

	set(f, 5, 0x25);
	set(f, 0x0b, 0x22);
	assert_int_equal(stepped_timers_armed(), 0);
}

static void a_host_clock_that_jumps_does_no_harm(void **state)
{
	struct fixture *f = *state;

	unmask_irq(f);
	set(f, 0x0b, 0x12);
	fixture_step_utc_seconds(-7200);
	seconds(3);
	get(f, 0x0c);
	irqs(f);
	seconds(2);
	assert_int_equal(irqs(f), 1);
	fixture_step_utc_seconds(-1709200000);
	assert_int_equal(get(f, 9), 0x70); /* 1970 at the earliest */
	get(f, 0x0c);
	fixture_step_utc_seconds(7500000000);
	get(f, 0x0c);
	assert_int_equal(get(f, 0x32), 0x22);
}

static void memory_is_kept_and_tells_the_memory_size(void **state)
{
	struct fixture *f = *state;

	assert_int_equal(get(f, 0x15) | get(f, 0x16) << 8, 640);
	assert_int_equal(get(f, 0x17) | get(f, 0x18) << 8, 0xfc00);
	assert_int_equal(get(f, 0x34) | get(f, 0x35) << 8, (3072 - 16) * 16);
	assert_int_equal(get(f, 0x5b) | get(f, 0x5c) << 8 | get(f, 0x5d) << 16, 2048 * 16);
	for (unsigned int i = 0x0e; i < 0x80; i++)
		set(f, (uint8_t)i, (uint8_t)(i ^ 0x55));
	for (unsigned int i = 0x0e; i < 0x80; i++) {
		if (i != 0x32)
			assert_int_equal(get(f, (uint8_t)(i | 0x80)), i ^ 0x55); /* NMI bit */
	}
	assert_int_equal(inb(f, 0x70), 0xff);
	set(f, 0x0d, 0);
	assert_int_equal(get(f, 0x0d), 0x80);
}

static void its_state_survives_saving(void **state)
{
	struct fixture *f = *state;

	unmask_irq(f);
	set(f, 0x0b, 0x82);
	set(f, 9, 0x30);
	set(f, 0x0b, 0x12);
	set(f, 0x40, 0x99);
	fixture_save_and_restore(f);
	assert_int_equal(get(f, 0x0b), 0x12);
	assert_int_equal(get(f, 0x40), 0x99);
	assert_int_equal(get(f, 9), 0x30);
	irqs(f);
	seconds(1);
	assert_int_equal(irqs(f), 1);
}

#define RTC_TEST(name) cmocka_unit_test_setup_teardown(name, fixture_setup, fixture_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		RTC_TEST(the_time_is_the_hosts_utc_in_every_format),
		RTC_TEST(the_calendar_is_right_for_a_century),
		RTC_TEST(update_in_progress_warns_of_the_next_second),
		RTC_TEST(the_time_can_be_set_and_goes_on_from_there),
		RTC_TEST(nonsense_in_the_time_becomes_the_nearest_time),
		RTC_TEST(reading_c_shows_what_happened_and_clears_it),
		RTC_TEST(update_interrupts_come_once_a_second_if_acknowledged),
		RTC_TEST(periodic_interrupts_have_the_rate_of_register_a),
		RTC_TEST(alarms_match_their_fields),
		RTC_TEST(an_impossible_alarm_never_goes_off),
		RTC_TEST(a_host_clock_that_jumps_does_no_harm),
		RTC_TEST(memory_is_kept_and_tells_the_memory_size),
		RTC_TEST(its_state_survives_saving),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

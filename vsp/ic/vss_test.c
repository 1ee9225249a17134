/*
 * vss_test.c - freezing and thawing, with guests that refuse, are silent, or go away
 */
#include "ic_test.h"

#define SERVICE IC_VSS

enum { CHECK = 2, COMPLETE = 4, FREEZE = 5, THAW = 6 };

static struct ic *connected(void)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 5, 0);
	return ic;
}

/* The next request must be @operation. */
static struct fixture_packet take_operation(uint8_t operation)
{
	struct fixture_packet packet = take_only(SERVICE);

	assert_int_equal(packet.message.header.type, IC_MESSAGE_VSS);
	assert_int_equal(packet.bytes, 28 + 12);
	assert_int_equal(packet.message.body[0], operation);
	return packet;
}

static void answer(uint8_t operation, uint32_t status)
{
	struct fixture_packet packet = take_operation(operation);

	fixture_answer(SERVICE, &packet, status);
}

static void freeze(struct ic *ic)
{
	struct outcome outcome = {};

	assert_int_equal(ic_freeze(ic, note_done, &outcome), 0);
	answer(CHECK, 0);
	assert_int_equal(outcome.count, 0);
	answer(FREEZE, 0);
	assert_ended(&outcome, 0);
	assert_silent(SERVICE);
}

static void a_guest_is_checked_frozen_thawed_and_told_that_it_is_over(void **state)
{
	struct ic *ic = connected();

	for (int i = 0; i < 3; i++) {
		struct outcome outcome = {};

		freeze(ic);
		assert_int_equal(ic_thaw(ic, note_done, &outcome), 0);
		answer(THAW, 0);
		assert_int_equal(outcome.count, 0);
		answer(COMPLETE, i ? 0 : 0x80004005); /* no matter */
		assert_ended(&outcome, 0);
		assert_int_equal(ic_thaw(ic, NULL, NULL), -EALREADY);
	}
	assert_int_equal(stepped_timers_armed(), 0);
	fixture_free(ic);
}

static void a_guest_without_a_daemon_is_not_frozen(void **state)
{
	static const struct {
		uint32_t status;
		int result;
		const char *part;
	} cases[] = {
		{0x80004005, -ENOTCONN, "daemon"},
		{0x8007048f, -ENOTCONN, "daemon"},
		{0x80070032, -EREMOTEIO, "not supported"},
	};
	struct ic *ic = connected();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};

		assert_int_equal(ic_freeze(ic, note_done, &outcome), 0);
		answer(CHECK, cases[i].status);
		assert_ended(&outcome, cases[i].result);
		assert_non_null(strstr(outcome.text, cases[i].part));
		assert_silent(SERVICE);
	}
	fixture_free(ic);
}

static void a_freeze_that_is_refused_is_undone(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();

	assert_int_equal(ic_freeze(ic, note_done, &outcome), 0);
	answer(CHECK, 0);
	answer(FREEZE, 0x80004005);
	answer(THAW, 0);
	answer(COMPLETE, 0);
	assert_ended(&outcome, -EREMOTEIO);
	assert_non_null(strstr(outcome.text, "freezing"));
	freeze(ic);
	fixture_free(ic);
}

static void what_failed_first_is_told(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();

	assert_int_equal(ic_freeze(ic, note_done, &outcome), 0);
	answer(CHECK, 0);
	take_operation(FREEZE);
	stepped_advance_ns(61 * SECOND);
	answer(THAW, 0x80070032);
	assert_ended(&outcome, -ETIMEDOUT);
	assert_non_null(strstr(outcome.text, "freezing"));
	/* It is still thawed, by itself. */
	stepped_advance_ns(10 * SECOND);
	answer(THAW, 0);
	answer(COMPLETE, 0);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EALREADY);
	assert_int_equal(outcome.count, 0);
	fixture_free(ic);
}

static void a_freeze_that_takes_too_long_is_undone(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet freeze;

	assert_int_equal(ic_freeze(ic, note_done, &outcome), 0);
	answer(CHECK, 0);
	freeze = take_operation(FREEZE);
	stepped_advance_ns(61 * SECOND);
	fixture_answer(SERVICE, &freeze, 0); /* late */
	answer(THAW, 0);
	answer(COMPLETE, 0);
	assert_ended(&outcome, -ETIMEDOUT);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EALREADY);
	fixture_free(ic);
}

static void a_check_without_an_answer_times_out(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();

	assert_int_equal(ic_freeze(ic, note_done, &outcome), 0);
	take_operation(CHECK);
	stepped_advance_ns(36 * SECOND);
	assert_ended(&outcome, -ETIMEDOUT);
	assert_silent(SERVICE);
	fixture_free(ic);
}

static void a_guest_is_thawed_by_itself_after_a_minute(void **state)
{
	struct ic *ic = connected();

	freeze(ic);
	stepped_advance_ns(60 * SECOND - 1);
	assert_silent(SERVICE);
	stepped_advance_ns(1);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EBUSY);
	answer(THAW, 0);
	answer(COMPLETE, 0);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EALREADY);
	assert_int_equal(ic_keep_frozen(ic), -EALREADY);
	freeze(ic);
	fixture_free(ic);
}

static void the_minute_begins_anew_on_request(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();

	assert_int_equal(ic_keep_frozen(ic), -EALREADY);
	freeze(ic);
	for (int i = 0; i < 5; i++) {
		stepped_advance_ns(50 * SECOND);
		assert_silent(SERVICE);
		assert_int_equal(ic_keep_frozen(ic), 0);
	}
	assert_int_equal(ic_thaw(ic, note_done, &outcome), 0);
	assert_int_equal(ic_keep_frozen(ic), -EALREADY);
	answer(THAW, 0);
	answer(COMPLETE, 0);
	assert_ended(&outcome, 0);
	fixture_free(ic);
}

static void a_thaw_that_fails_is_tried_again_a_few_times(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();

	freeze(ic);
	assert_int_equal(ic_thaw(ic, note_done, &outcome), 0);
	answer(THAW, 0x80004005);
	assert_ended(&outcome, -EREMOTEIO);
	assert_int_equal(ic_keep_frozen(ic), -EALREADY);
	for (int i = 0; i < 3; i++) {
		assert_silent(SERVICE);
		stepped_advance_ns(10 * SECOND);
		answer(THAW, 0x80004005);
	}
	stepped_advance_ns(1000 * SECOND);
	assert_silent(SERVICE);
	assert_int_equal(outcome.count, 0);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EALREADY);
	freeze(ic);
	fixture_free(ic);
}

static void a_thaw_that_failed_may_be_asked_for_again(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet late;

	freeze(ic);
	assert_int_equal(ic_thaw(ic, note_done, &outcome), 0);
	late = take_operation(THAW);
	stepped_advance_ns(36 * SECOND);
	assert_ended(&outcome, -ETIMEDOUT);
	assert_int_equal(ic_thaw(ic, note_done, &outcome), 0);
	fixture_answer(SERVICE, &late, 0);
	answer(THAW, 0);
	answer(COMPLETE, 0);
	assert_ended(&outcome, 0);
	fixture_free(ic);
}

static void one_thing_at_a_time(void **state)
{
	struct ic *ic = fixture_new();

	assert_int_equal(ic_freeze(ic, NULL, NULL), -ENOTCONN);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -ENOTCONN);
	assert_int_equal(ic_keep_frozen(ic), -ENOTCONN);
	fixture_connect(SERVICE, 3, 5, 0);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EALREADY);
	assert_int_equal(ic_freeze(ic, NULL, NULL), 0);
	assert_int_equal(ic_freeze(ic, NULL, NULL), -EBUSY);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EBUSY);
	answer(CHECK, 0);
	assert_int_equal(ic_thaw(ic, NULL, NULL), -EBUSY);
	answer(FREEZE, 0);
	assert_int_equal(ic_freeze(ic, NULL, NULL), -EBUSY);
	fixture_free(ic);
}

static void freezing_came_with_version_5(void **state)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 4, 0);
	assert_int_equal(ic_freeze(ic, NULL, NULL), -ENOTSUP);
	fixture_free(ic);
}

/* The channel closes in each phase. */
static void a_guest_that_goes_away_ends_what_is_going_on(void **state)
{
	for (int steps = 0; steps < 5; steps++) {
		static const uint8_t operations[] = {CHECK, FREEZE, THAW, COMPLETE};
		struct outcome outcome = {};
		struct ic *ic = connected();

		assert_int_equal(ic_freeze(ic, note_done, &outcome), 0);
		for (int i = 0; i < steps; i++) {
			if (i == 2) {
				assert_ended(&outcome, 0);
				assert_int_equal(ic_thaw(ic, note_done, &outcome), 0);
			}
			if (i < 4)
				answer(operations[i], 0);
		}
		if (steps == 4)
			assert_ended(&outcome, 0);
		fixture_close(SERVICE);
		if (steps == 2)
			assert_ended(&outcome, 0); /* was frozen */
		else if (steps == 3)
			assert_ended(&outcome, 0); /* was thawed */
		else if (steps < 2)
			assert_ended(&outcome, -ENOTCONN);
		assert_int_equal(outcome.count, 0);
		assert_int_equal(stepped_timers_armed(), 0);
		fixture_connect(SERVICE, 3, 5, 0);
		assert_int_equal(ic_thaw(ic, NULL, NULL), -EALREADY);
		freeze(ic);
		fixture_free(ic);
	}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_is_checked_frozen_thawed_and_told_that_it_is_over),
		cmocka_unit_test(a_guest_without_a_daemon_is_not_frozen),
		cmocka_unit_test(a_freeze_that_is_refused_is_undone),
		cmocka_unit_test(what_failed_first_is_told),
		cmocka_unit_test(a_freeze_that_takes_too_long_is_undone),
		cmocka_unit_test(a_check_without_an_answer_times_out),
		cmocka_unit_test(a_guest_is_thawed_by_itself_after_a_minute),
		cmocka_unit_test(the_minute_begins_anew_on_request),
		cmocka_unit_test(a_thaw_that_fails_is_tried_again_a_few_times),
		cmocka_unit_test(a_thaw_that_failed_may_be_asked_for_again),
		cmocka_unit_test(one_thing_at_a_time),
		cmocka_unit_test(freezing_came_with_version_5),
		cmocka_unit_test(a_guest_that_goes_away_ends_what_is_going_on),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * timesync_test.c - when the guest is told the time, and how exactly
 */
#include "ic_test.h"

#define SERVICE IC_TIMESYNC
#define EPOCH	116444736000000000ull

struct told {
	uint64_t parent_time, reference_time;
	uint8_t flags;
};

/* Version 4's body. */
static struct told told_by(const struct fixture_packet *packet)
{
	struct told told;

	assert_true(packet->bytes >= 28 + 22);
	memcpy(&told.parent_time, packet->message.body, 8);
	memcpy(&told.reference_time, packet->message.body + 8, 8);
	told.flags = packet->message.body[16];
	return told;
}

static struct ic *connected(void)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 4, 0);
	return ic;
}

/* The guest answers the message that is in its ring. Returns its flags. */
static uint8_t answer(void)
{
	struct fixture_packet packet = take_only(SERVICE);
	uint8_t flags = told_by(&packet).flags;

	fixture_answer(SERVICE, &packet, 0);
	return flags;
}

static void the_guest_is_set_right_at_open_then_sampled_each_five_seconds(void **state)
{
	struct ic *ic = connected();

	assert_int_equal(answer(), 1);
	for (int i = 0; i < 10; i++) {
		stepped_advance_ns(5 * SECOND - 1);
		assert_silent(SERVICE);
		stepped_advance_ns(1);
		assert_int_equal(answer(), 2);
	}
	fixture_free(ic);
}

static void messages_say_both_times_of_one_moment(void **state)
{
	struct ic *ic = connected();
	struct fixture_packet packet = take_only(SERVICE);
	struct told told = told_by(&packet);

	assert_int_equal(packet.message.header.type, IC_MESSAGE_TIMESYNC);
	assert_true(packet.message.header.flags & IC_FLAG_TRANSACTION);
	assert_int_equal(told.parent_time, EPOCH + FIXTURE_REAL_NS / 100);
	assert_int_equal(told.reference_time, fixture_reference_100ns());
	fixture_answer(SERVICE, &packet, 0);
	stepped_advance_ns(5 * SECOND);
	packet = take_only(SERVICE);
	told = told_by(&packet);
	assert_int_equal(told.parent_time, EPOCH + FIXTURE_REAL_NS / 100 + 50000000);
	assert_int_equal(told.reference_time, fixture_reference_100ns());
	fixture_free(ic);
}

static void older_versions_have_their_own_body(void **state)
{
	static const uint16_t majors[] = {1, 3};

	for (size_t i = 0; i < ARRAY_SIZE(majors); i++) {
		struct ic *ic = fixture_new();
		struct fixture_packet packet;
		uint64_t times[3];

		fixture_connect(SERVICE, 3, majors[i], 0);
		packet = take_only(SERVICE);
		assert_int_equal(packet.bytes, 28 + 28);
		memcpy(times, packet.message.body, sizeof(times));
		assert_int_equal(times[0], EPOCH + FIXTURE_REAL_NS / 100);
		assert_int_equal(times[1], 0);
		assert_int_equal(packet.message.body[24], 1);
		fixture_free(ic);
	}
}

static void a_step_of_the_hosts_clock_steps_the_guest(void **state)
{
	static const struct {
		int64_t step_ns;
		uint8_t flags;
	} cases[] = {
		{0, 2},
		{99000000, 2},
		{-99000000, 2},
		{101000000, 1},
		{-101000000, 1},
		{3600ll * 1000000000, 1},
		{-3600ll * 1000000000, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ic *ic = connected();

		answer();
		stepped_advance_ns(4 * SECOND);
		fixture_step_real_ns(cases[i].step_ns);
		stepped_advance_ns(1 * SECOND);
		assert_int_equal(answer(), cases[i].flags);
		stepped_advance_ns(5 * SECOND);
		assert_int_equal(answer(), 2);
		fixture_free(ic);
	}
}

static void small_steps_add_up(void **state)
{
	struct ic *ic = connected();

	answer();
	for (int i = 0; i < 3; i++) {
		fixture_step_real_ns(40000000);
		stepped_advance_ns(5 * SECOND);
		assert_int_equal(answer(), i < 2 ? 2 : 1);
	}
	fixture_free(ic);
}

static void a_thread_that_was_stopped_while_it_read_the_clocks_reads_them_again(void **state)
{
	struct ic *ic = connected();
	struct fixture_packet packet;
	struct told told;

	answer();
	stepped_advance_ns(5 * SECOND - 1);
	/* The first tries are torn by seconds; that looks like a step, and is none. */
	stepped_disturb(6, 3 * SECOND, 0);
	stepped_advance_ns(1);
	packet = take_only(SERVICE);
	told = told_by(&packet);
	assert_int_equal(told.flags, 2);
	assert_int_equal(told.reference_time, fixture_reference_100ns());
	fixture_free(ic);
}

static void clocks_that_cannot_be_read_as_one_are_no_step(void **state)
{
	struct ic *ic = connected();

	answer();
	stepped_advance_ns(5 * SECOND - 1);
	stepped_disturb(1000, SECOND, 0);
	stepped_advance_ns(1);
	stepped_disturb(0, 0, 0);
	assert_int_equal(answer(), 2);
	fixture_free(ic);
}

static void the_tightest_reading_counts(void **state)
{
	struct ic *ic = connected();

	answer();
	stepped_advance_ns(5 * SECOND - 1);
	/* The first try is good enough to see the step, the later ones are not. */
	fixture_step_real_ns(-250000000);
	stepped_disturb(1000, 30000000, 30000000);
	stepped_advance_ns(1);
	stepped_disturb(0, 0, 0);
	assert_int_equal(answer(), 1);
	fixture_free(ic);
}

static void a_call_tells_the_time_now(void **state)
{
	struct ic *ic = fixture_new();

	assert_int_equal(ic_sync_time(ic, true), -ENOTCONN);
	fixture_connect(SERVICE, 3, 4, 0);
	answer();
	stepped_advance_ns(1 * SECOND);
	assert_int_equal(ic_sync_time(ic, true), 0);
	assert_int_equal(answer(), 1);
	assert_int_equal(ic_sync_time(ic, false), 0);
	assert_int_equal(answer(), 2);
	/* The next sample comes five seconds after that. */
	stepped_advance_ns(5 * SECOND - 1);
	assert_silent(SERVICE);
	stepped_advance_ns(1);
	assert_int_equal(answer(), 2);
	fixture_free(ic);
}

static void a_call_waits_for_the_answer_that_is_out(void **state)
{
	struct ic *ic = connected();
	struct fixture_packet packet = take_only(SERVICE);

	assert_int_equal(ic_sync_time(ic, true), 0);
	assert_int_equal(ic_sync_time(ic, false), 0);
	stepped_advance_ns(3600 * SECOND);
	assert_silent(SERVICE);
	fixture_answer(SERVICE, &packet, 0);
	assert_int_equal(answer(), 1);
	assert_silent(SERVICE);
	fixture_free(ic);
}

static void closing_forgets_what_was_wanted(void **state)
{
	struct ic *ic = connected();

	assert_int_equal(ic_sync_time(ic, true), 0);
	fixture_close(SERVICE);
	assert_int_equal(stepped_timers_armed(), 0);
	fixture_connect(SERVICE, 3, 4, 0);
	assert_int_equal(answer(), 1);
	assert_silent(SERVICE);
	fixture_free(ic);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_guest_is_set_right_at_open_then_sampled_each_five_seconds),
		cmocka_unit_test(messages_say_both_times_of_one_moment),
		cmocka_unit_test(older_versions_have_their_own_body),
		cmocka_unit_test(a_step_of_the_hosts_clock_steps_the_guest),
		cmocka_unit_test(small_steps_add_up),
		cmocka_unit_test(
			a_thread_that_was_stopped_while_it_read_the_clocks_reads_them_again),
		cmocka_unit_test(clocks_that_cannot_be_read_as_one_are_no_step),
		cmocka_unit_test(the_tightest_reading_counts),
		cmocka_unit_test(a_call_tells_the_time_now),
		cmocka_unit_test(a_call_waits_for_the_answer_that_is_out),
		cmocka_unit_test(closing_forgets_what_was_wanted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * heartbeat_test.c - a guest that lives, one that is stopped, one that lies
 */
#include "ic_test.h"

#define SERVICE IC_HEARTBEAT

static struct ic_heartbeat heartbeat(const struct ic *ic)
{
	struct ic_heartbeat heartbeat;

	ic_get_heartbeat(ic, &heartbeat);
	return heartbeat;
}

/* The guest's answer; @plus is added to the sequence. */
static void answer(struct fixture_packet *packet, uint64_t plus, uint32_t application_state)
{
	struct ic_heartbeat_body body;

	memcpy(&body, packet->message.body, sizeof(body));
	body.sequence += plus;
	body.application_state = application_state;
	memcpy(packet->message.body, &body, sizeof(body));
	fixture_answer(SERVICE, packet, 0);
}

static uint64_t sequence_of(const struct fixture_packet *packet)
{
	uint64_t sequence;

	memcpy(&sequence, packet->message.body, sizeof(sequence));
	return sequence;
}

static void a_guest_that_answers_is_asked_every_two_seconds(void **state)
{
	struct ic *ic = fixture_new();
	uint64_t sequence = 0;

	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_NO_CONTACT);
	fixture_connect(SERVICE, 3, 3, 0);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_NO_CONTACT);
	for (int i = 0; i < 20; i++) {
		struct fixture_packet packet = take_only(SERVICE);

		assert_true(packet.bytes >= 28 + 16);
		assert_int_equal(packet.message.header.type, IC_MESSAGE_HEARTBEAT);
		if (i)
			assert_int_equal(sequence_of(&packet), sequence + 1);
		sequence = sequence_of(&packet);
		answer(&packet, 1, 1);
		assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_OK);
		assert_int_equal(heartbeat(ic).age_ns, 0);
		assert_int_equal(heartbeat(ic).sequence, sequence);
		assert_int_equal(heartbeat(ic).application_state, 1);
		stepped_advance_ns(2 * SECOND - 1);
		assert_silent(SERVICE);
		assert_int_equal(heartbeat(ic).age_ns, 2 * SECOND - 1);
		stepped_advance_ns(1);
	}
	fixture_free(ic);
}

static void a_stopped_guest_is_lost_and_owes_one_answer(void **state)
{
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 0);
	packet = take_only(SERVICE);
	answer(&packet, 1, 0);
	stepped_advance_ns(2 * SECOND);
	packet = take_only(SERVICE);
	stepped_advance_ns(8 * SECOND);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_OK);
	stepped_advance_ns(1);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_LOST);
	stepped_advance_ns(3600 * SECOND);
	assert_silent(SERVICE);
	assert_int_equal(heartbeat(ic).age_ns, 3610 * SECOND + 1);
	answer(&packet, 1, 0);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_OK);
	stepped_advance_ns(2 * SECOND);
	take_only(SERVICE);
	fixture_free(ic);
}

static void a_guest_that_never_answers_is_lost_without_an_age(void **state)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 3, 0);
	stepped_advance_ns(10 * SECOND);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_NO_CONTACT);
	stepped_advance_ns(1);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_LOST);
	assert_int_equal(heartbeat(ic).age_ns, 0);
	fixture_free(ic);
}

static void answers_that_prove_nothing_do_not_count(void **state)
{
	static const struct {
		uint64_t plus;
		uint16_t body_bytes;
		uint32_t status;
	} cases[] = {
		{0, 16, 0}, {2, 16, 0}, {UINT64_MAX, 16, 0}, {1, 0, 0},
		{1, 8, 0},  {1, 11, 0}, {1, 16, 0x80004005},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ic *ic = fixture_new();
		struct fixture_packet packet;
		uint64_t sequence;

		fixture_connect(SERVICE, 3, 3, 0);
		packet = take_only(SERVICE);
		sequence = sequence_of(&packet) + cases[i].plus;
		memcpy(packet.message.body, &sequence, sizeof(sequence));
		packet.message.header.body_bytes = cases[i].body_bytes;
		fixture_answer(SERVICE, &packet, cases[i].status);
		assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_NO_CONTACT);
		/* It is asked again nevertheless. */
		stepped_advance_ns(2 * SECOND);
		packet = take_only(SERVICE);
		answer(&packet, 1, 0);
		assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_OK);
		fixture_free(ic);
	}
}

static void a_closed_service_has_no_contact_and_asks_nothing(void **state)
{
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 0);
	packet = take_only(SERVICE);
	answer(&packet, 1, 2);
	fixture_close(SERVICE);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_NO_CONTACT);
	assert_int_equal(heartbeat(ic).age_ns, 0);
	assert_int_equal(stepped_timers_armed(), 0);
	stepped_advance_ns(60 * SECOND);
	fixture_connect(SERVICE, 3, 3, 0);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_NO_CONTACT);
	assert_int_equal(heartbeat(ic).application_state, 0);
	packet = take_only(SERVICE);
	answer(&packet, 1, 0);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_OK);
	fixture_free(ic);
}

static void a_full_ring_gets_one_question(void **state)
{
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 0);
	packet = take_only(SERVICE);
	answer(&packet, 1, 0);
	fixture_set_write_result(SERVICE, -EAGAIN);
	stepped_advance_ns(30 * SECOND);
	fixture_set_write_result(SERVICE, 0);
	fixture_signal(SERVICE);
	packet = take_only(SERVICE);
	answer(&packet, 1, 0);
	assert_int_equal(heartbeat(ic).state, IC_HEARTBEAT_OK);
	fixture_free(ic);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_that_answers_is_asked_every_two_seconds),
		cmocka_unit_test(a_stopped_guest_is_lost_and_owes_one_answer),
		cmocka_unit_test(a_guest_that_never_answers_is_lost_without_an_age),
		cmocka_unit_test(answers_that_prove_nothing_do_not_count),
		cmocka_unit_test(a_closed_service_has_no_contact_and_asks_nothing),
		cmocka_unit_test(a_full_ring_gets_one_question),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

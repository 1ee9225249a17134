/*
 * shutdown_test.c - what is asked, and what guests answer
 */
#include "ic_test.h"

#define SERVICE IC_SHUTDOWN

static struct ic_shutdown_body body_of(const struct fixture_packet *packet)
{
	struct ic_shutdown_body body;

	assert_int_equal(packet->bytes, 28 + sizeof(body));
	memcpy(&body, packet->message.body, sizeof(body));
	return body;
}

static void flags_say_what_the_guest_shall_do(void **state)
{
	static const struct {
		enum ic_shutdown_kind kind;
		bool force;
		uint32_t flags;
	} cases[] = {
		{IC_SHUTDOWN_POWER_OFF, false, 0}, {IC_SHUTDOWN_POWER_OFF, true, 1},
		{IC_SHUTDOWN_REBOOT, false, 2},	   {IC_SHUTDOWN_REBOOT, true, 3},
		{IC_SHUTDOWN_HIBERNATE, false, 4}, {IC_SHUTDOWN_HIBERNATE, true, 5},
	};
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 3, 2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};
		struct fixture_packet packet;
		struct ic_shutdown_body body;

		assert_int_equal(
			ic_shutdown(ic, cases[i].kind, cases[i].force, "", note_done, &outcome), 0);
		packet = take_only(SERVICE);
		body = body_of(&packet);
		assert_int_equal(packet.message.header.type, IC_MESSAGE_SHUTDOWN);
		assert_int_equal(body.flags, cases[i].flags);
		assert_int_equal(body.reason, 0x80000000);
		assert_int_equal(body.timeout_seconds, 0);
		assert_int_equal(outcome.count, 0);
		fixture_answer(SERVICE, &packet, 0);
		assert_ended(&outcome, 0);
		assert_string_equal(outcome.text, "");
	}
	fixture_free(ic);
}

static void hibernation_needs_a_guest_that_knows_it(void **state)
{
	static const struct {
		uint16_t major, minor;
		int result;
	} cases[] = {{1, 0, -ENOTSUP}, {3, 0, -ENOTSUP}, {3, 1, -ENOTSUP}, {3, 2, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ic *ic = fixture_new();

		fixture_connect(SERVICE, 3, cases[i].major, cases[i].minor);
		assert_int_equal(ic_shutdown(ic, IC_SHUTDOWN_HIBERNATE, false, NULL, NULL, NULL),
				 cases[i].result);
		if (cases[i].result)
			assert_int_equal(
				ic_shutdown(ic, IC_SHUTDOWN_POWER_OFF, false, NULL, NULL, NULL), 0);
		take_only(SERVICE);
		fixture_free(ic);
	}
}

static void a_guest_may_refuse(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 2);
	ic_shutdown(ic, IC_SHUTDOWN_HIBERNATE, false, NULL, note_done, &outcome);
	packet = take_only(SERVICE);
	fixture_answer(SERVICE, &packet, IC_STATUS_FAIL);
	assert_ended(&outcome, -EREMOTEIO);
	assert_non_null(strstr(outcome.text, "0x80004005"));
	fixture_free(ic);
}

static void the_reason_is_sent_as_far_as_it_fits(void **state)
{
	char text[1023 + 8], long_reason[3000], multibyte[1026];
	struct ic *ic = fixture_new();
	const struct {
		const char *reason;
		size_t kept;
	} cases[] = {
		{NULL, 0}, {"", 0}, {"maintenance", 11}, {long_reason, 1023}, {multibyte, 1022}};

	memset(long_reason, 'x', sizeof(long_reason));
	long_reason[sizeof(long_reason) - 1] = 0;
	for (size_t i = 0; i + 2 < sizeof(multibyte); i += 2)
		memcpy(multibyte + i, "\xc3\xa9", 3);
	fixture_connect(SERVICE, 3, 3, 2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct fixture_packet packet;
		struct ic_shutdown_body body;

		assert_int_equal(
			ic_shutdown(ic, IC_SHUTDOWN_REBOOT, false, cases[i].reason, NULL, NULL), 0);
		packet = take_only(SERVICE);
		body = body_of(&packet);
		assert_int_equal(utf16_to_utf8(body.text, 1024, text, sizeof(text)), cases[i].kept);
		if (cases[i].reason)
			assert_memory_equal(text, cases[i].reason, cases[i].kept);
		fixture_answer(SERVICE, &packet, 0);
	}
	assert_int_equal(ic_shutdown(ic, IC_SHUTDOWN_REBOOT, false, "\xff", NULL, NULL), -EILSEQ);
	assert_silent(SERVICE);
	fixture_free(ic);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(flags_say_what_the_guest_shall_do),
		cmocka_unit_test(hibernation_needs_a_guest_that_knows_it),
		cmocka_unit_test(a_guest_may_refuse),
		cmocka_unit_test(the_reason_is_sent_as_far_as_it_fits),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

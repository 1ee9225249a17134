/*
 * provider_test.c - framing, negotiation, requests and their ends; by means of the shutdown service
 */
#include "ic_test.h"

#define SERVICE IC_SHUTDOWN

static void offers_are_pipes_that_keep_messages_apart(void **state)
{
	static const struct {
		const char *name, *class;
	} rows[IC_SERVICE_COUNT] = {
		[IC_HEARTBEAT] = {"heartbeat", "57164f39-9115-4e78-ab55-382f3bd5422d"},
		[IC_SHUTDOWN] = {"shutdown", "0e0b6031-5213-4934-818b-38d90ced39db"},
		[IC_TIMESYNC] = {"timesync", "9527e630-d0ae-497b-adce-e80ab0175caf"},
		[IC_KVP] = {"kvp", "a9a0f4e7-5a45-4d96-b827-8a841e8c03e6"},
		[IC_VSS] = {"vss", "35fa2e29-ea23-4236-96ae-3a6ebacba440"},
		[IC_FCOPY] = {"fcopy", "34d14be3-dee4-41c8-9ae7-6b174977c192"},
	};
	static const uint8_t message_pipe[120] = {4};
	struct ic *ic = fixture_new();

	assert_int_equal(fixture_offers(), IC_SERVICE_COUNT);
	for (int i = 0; i < IC_SERVICE_COUNT; i++) {
		const struct vmbus_offer *offer = fixture_offer((enum ic_service)i);
		char text[GUID_TEXT_BYTES];

		assert_string_equal(offer->name, rows[i].name);
		assert_string_equal(guid_format(&offer->class, text), rows[i].class);
		assert_int_equal(offer->flags, 0x11);
		assert_memory_equal(offer->user_data, message_pipe, sizeof(message_pipe));
		for (int k = 0; k < i; k++)
			assert_false(guid_equal(&offer->instance,
						&fixture_offer((enum ic_service)k)->instance));
	}
	fixture_free(ic);
}

static void an_offer_that_fails_leaves_nothing_behind(void **state)
{
	struct ic_config config = {};
	struct ic *ic = fixture_new();

	fixture_free(ic);
	for (int i = 0; i < IC_SERVICE_COUNT; i++) {
		fixture_fail_offer(i);
		assert_int_equal(ic_new(&config, &ic), -ENOSPC);
		assert_int_equal(fixture_offers(), 0);
		assert_int_equal(stepped_timers_armed(), 0);
	}
}

/* The versions that Linux 6.1 takes; and that others know. */
static const struct negotiation {
	enum ic_service service;
	uint16_t count;
	uint16_t versions[4][2];
} negotiations[] = {
	{IC_HEARTBEAT, 2, {{1, 0}, {3, 0}}},
	{IC_SHUTDOWN, 4, {{1, 0}, {3, 0}, {3, 1}, {3, 2}}},
	{IC_TIMESYNC, 3, {{1, 0}, {3, 0}, {4, 0}}},
	{IC_KVP, 3, {{1, 0}, {3, 0}, {4, 0}}},
	{IC_VSS, 2, {{4, 0}, {5, 0}}},
	{IC_FCOPY, 1, {{1, 1}}},
};

static void the_host_speaks_first_and_says_its_versions(void **state)
{
	struct ic *ic = fixture_new();

	for (size_t i = 0; i < ARRAY_SIZE(negotiations); i++) {
		const struct negotiation *expected = &negotiations[i];
		uint16_t count = expected->count;
		struct fixture_packet packet;
		uint16_t body[4 + 2 * 2 + 2 * 4] = {2, count, 0, 0, 1, 0, 3, 0};
		size_t bytes = 16 + 4 * count;

		memcpy(body + 8, expected->versions, 4 * count);
		fixture_flushes();
		fixture_open(expected->service);
		assert_int_equal(fixture_flushes(), 1);
		packet = take_only(expected->service);
		assert_int_equal(packet.bytes, 28 + bytes);
		assert_int_equal(packet.message.pipe.type, 1);
		assert_int_equal(packet.message.pipe.bytes, 20 + bytes);
		assert_int_equal(packet.message.header.type, IC_MESSAGE_NEGOTIATE);
		assert_int_equal(packet.message.header.body_bytes, bytes);
		assert_int_equal(packet.message.header.flags, 3);
		assert_int_equal(packet.message.header.status, 0);
		assert_memory_equal(packet.message.body, body, bytes);
	}
	fixture_free(ic);
}

static void a_service_is_open_with_the_versions_that_the_guest_chose(void **state)
{
	for (size_t i = 0; i < ARRAY_SIZE(negotiations); i++) {
		for (uint16_t k = 0; k < negotiations[i].count; k++) {
			enum ic_service service = negotiations[i].service;
			const uint16_t *version = negotiations[i].versions[k];
			struct ic_status status[IC_SERVICE_COUNT];
			struct ic *ic = fixture_new();

			ic_get_status(ic, status);
			assert_false(status[service].open);
			fixture_connect(service, 3, version[0], version[1]);
			ic_get_status(ic, status);
			assert_true(status[service].open);
			assert_int_equal(status[service].framework[0], 3);
			assert_int_equal(status[service].framework[1], 0);
			assert_memory_equal(status[service].message, version, 4);
			fixture_close(service);
			ic_get_status(ic, status);
			assert_false(status[service].open);
			assert_int_equal(status[service].message[0], 0);
			fixture_free(ic);
		}
	}
}

static bool is_open(struct ic *ic, enum ic_service service)
{
	struct ic_status status[IC_SERVICE_COUNT];

	ic_get_status(ic, status);
	return status[service].open;
}

static void versions_that_were_not_offered_end_the_service_until_it_is_opened_again(void **state)
{
	static const struct {
		uint16_t framework_count, message_count, body_bytes;
		uint16_t versions[4];
	} cases[] = {
		{0, 0, 16, {3, 0, 3, 2}},	    {1, 0, 16, {3, 0, 3, 2}},
		{0, 1, 16, {3, 0, 3, 2}},	    {2, 4, 16, {3, 0, 3, 2}},
		{0xffff, 0xffff, 16, {3, 0, 3, 2}}, {1, 1, 16, {2, 0, 3, 2}},
		{1, 1, 16, {3, 1, 3, 2}},	    {1, 1, 16, {3, 0, 3, 3}},
		{1, 1, 16, {3, 0, 0xffff, 0xffff}}, {1, 1, 16, {0, 0, 0, 0}},
		{1, 1, 15, {3, 0, 3, 2}},	    {1, 1, 0, {3, 0, 3, 2}},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct ic *ic = fixture_new();
		struct fixture_packet packet;
		uint16_t body[8] = {cases[i].framework_count, cases[i].message_count};

		memcpy(body + 4, cases[i].versions, 8);
		fixture_open(SERVICE);
		packet = take_only(SERVICE);
		memcpy(packet.message.body, body, sizeof(body));
		packet.message.header.body_bytes = cases[i].body_bytes;
		fixture_answer(SERVICE, &packet, 0);
		assert_false(is_open(ic, SERVICE));
		/* A right answer is too late. */
		memcpy(body, (uint16_t[]){1, 1, 0, 0, 3, 0, 3, 2}, sizeof(body));
		memcpy(packet.message.body, body, sizeof(body));
		packet.message.header.body_bytes = 16;
		fixture_answer(SERVICE, &packet, 0);
		assert_false(is_open(ic, SERVICE));
		assert_int_equal(fixture_unread(SERVICE), 0);
		fixture_close(SERVICE);
		fixture_connect(SERVICE, 3, 3, 2);
		assert_true(is_open(ic, SERVICE));
		fixture_free(ic);
	}
}

static int ask(struct ic *ic, struct outcome *outcome)
{
	return ic_shutdown(ic, IC_SHUTDOWN_POWER_OFF, false, NULL, note_done, outcome);
}

/* What a guest changes in an answer that would be right. */
struct change {
	size_t offset; /* in the packet; SIZE_MAX: nothing */
	uint32_t value;
	size_t bytes; /* of the value, or of the packet */
	uint16_t type;
};

static void answers_that_are_wrong_are_dropped(void **state)
{
	static const struct change changes[] = {
		{0, 0, 4, 6},	       /* pipe type */
		{0, 2, 4, 6},	       /* a partial message */
		{4, 0, 4, 6},	       /* pipe length */
		{4, 19, 4, 6},	       /* shorter than a header */
		{4, 2081, 4, 6},       /* longer than the packet */
		{4, 0xffffffff, 4, 6}, /* and more */
		{4, 0xfffffff8, 4, 6}, /* wraps with the header */
		{4, 2079, 4, 6},       /* shorter than the body */
		{12, 0, 2, 6},	       /* negotiation again */
		{12, 1, 2, 6},	       /* another service's */
		{18, 2061, 2, 6},      /* the body does not fit */
		{18, 0xffff, 2, 6},
		{24, 0, 1, 6}, /* another transaction */
		{24, 1, 1, 6}, /* that of the negotiation */
		{24, 3, 1, 6}, /* one that comes later */
		{25, 0, 1, 6}, /* flags */
		{25, 3, 1, 6},
		{25, 1, 1, 6},
		{25, 4, 1, 6},
		{SIZE_MAX, 0, 2088, 7}, /* packet types */
		{SIZE_MAX, 0, 2088, 11},
		{SIZE_MAX, 0, 0, 6}, /* sizes */
		{SIZE_MAX, 0, 7, 6},
		{SIZE_MAX, 0, 8, 6},
		{SIZE_MAX, 0, 27, 6},
		{SIZE_MAX, 0, 28, 6},
		{SIZE_MAX, 0, 2087, 6},
	};

	for (size_t i = 0; i < ARRAY_SIZE(changes); i++) {
		const struct change *change = &changes[i];
		struct outcome outcome = {};
		struct ic *ic = fixture_new();
		struct fixture_packet packet, wrong;
		size_t bytes;

		fixture_connect(SERVICE, 3, 3, 2);
		assert_int_equal(ask(ic, &outcome), 0);
		packet = take_only(SERVICE);
		assert_int_equal(packet.bytes, 2088);
		wrong = packet;
		wrong.message.header.flags = 5;
		bytes = packet.bytes;
		if (change->offset == SIZE_MAX)
			bytes = change->bytes;
		else
			memcpy((uint8_t *)&wrong.message + change->offset, &change->value,
			       change->bytes);
		fixture_send(SERVICE, change->type, &wrong.message, bytes, true);
		assert_int_equal(outcome.count, 0);
		assert_int_equal(fixture_unread(SERVICE), 0);
		fixture_answer(SERVICE, &packet, 0);
		assert_ended(&outcome, 0);
		fixture_free(ic);
	}
}

static void an_answer_counts_once_and_only_when_asked_for(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 2);
	assert_int_equal(ask(ic, &outcome), 0);
	packet = take_only(SERVICE);
	fixture_answer(SERVICE, &packet, 0);
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, 0);
	fixture_answer(SERVICE, &packet, 0);
	assert_int_equal(outcome.count, 0);
	assert_silent(SERVICE);
	fixture_free(ic);
}

static void a_longer_packet_than_the_message_is_taken(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	/* Padding to eight, or more. */
	fixture_connect(SERVICE, 3, 3, 2);
	assert_int_equal(ask(ic, &outcome), 0);
	packet = take_only(SERVICE);
	packet.bytes += 8;
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, 0);
	fixture_free(ic);
}

static void requests_carry_the_versions_and_a_new_id(void **state)
{
	struct ic *ic = fixture_new();
	uint8_t last_id = 0;

	fixture_connect(SERVICE, 1, 3, 1);
	for (int i = 0; i < 300; i++) {
		struct outcome outcome = {};
		struct fixture_packet packet;

		assert_int_equal(ask(ic, &outcome), 0);
		packet = take_only(SERVICE);
		assert_int_equal(packet.message.header.framework.major, 1);
		assert_int_equal(packet.message.header.message.major, 3);
		assert_int_equal(packet.message.header.message.minor, 1);
		assert_int_equal(packet.message.header.flags, 3);
		assert_int_not_equal(packet.message.header.transaction_id, last_id);
		last_id = packet.message.header.transaction_id;
		fixture_answer(SERVICE, &packet, 0);
		assert_ended(&outcome, 0);
	}
	fixture_free(ic);
}

static void calls_are_refused_while_the_service_is_not_open_or_busy(void **state)
{
	struct outcome outcome = {}, second = {};
	struct ic *ic = fixture_new();

	assert_int_equal(ask(ic, &outcome), -ENOTCONN);
	fixture_open(SERVICE);
	assert_int_equal(ask(ic, &outcome), -ENOTCONN);
	fixture_close(SERVICE);
	fixture_connect(SERVICE, 3, 3, 2);
	assert_int_equal(ask(ic, &outcome), 0);
	assert_int_equal(ask(ic, &second), -EBUSY);
	assert_int_equal(second.count, 0);
	fixture_close(SERVICE);
	assert_ended(&outcome, -ENOTCONN);
	assert_int_equal(ask(ic, &outcome), -ENOTCONN);
	fixture_free(ic);
}

static void a_request_without_an_answer_times_out_and_the_late_answer_is_dropped(void **state)
{
	struct outcome first = {}, second = {};
	struct ic *ic = fixture_new();
	struct fixture_packet late, packet;

	fixture_connect(SERVICE, 3, 3, 2);
	assert_int_equal(ask(ic, &first), 0);
	late = take_only(SERVICE);
	stepped_advance_ns(34 * SECOND);
	assert_int_equal(first.count, 0);
	stepped_advance_ns(2 * SECOND);
	assert_ended(&first, -ETIMEDOUT);
	assert_string_not_equal(first.text, "");
	assert_int_equal(ask(ic, &second), 0);
	packet = take_only(SERVICE);
	fixture_answer(SERVICE, &late, 0);
	assert_int_equal(second.count, 0);
	fixture_answer(SERVICE, &packet, IC_STATUS_OK);
	assert_ended(&second, 0);
	stepped_advance_ns(100 * SECOND);
	assert_int_equal(first.count + second.count, 0);
	fixture_free(ic);
}

static void closing_ends_the_request_and_opening_negotiates_anew(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = fixture_new();
	struct fixture_packet old;

	fixture_connect(SERVICE, 3, 3, 2);
	assert_int_equal(ask(ic, &outcome), 0);
	old = take_only(SERVICE);
	fixture_close(SERVICE);
	assert_ended(&outcome, -ENOTCONN);
	assert_int_equal(stepped_timers_armed(), 0);
	fixture_open(SERVICE);
	fixture_answer(SERVICE, &old, 0);
	assert_false(is_open(ic, SERVICE));
	assert_int_equal(take_only(SERVICE).message.header.type, IC_MESSAGE_NEGOTIATE);
	fixture_free(ic);
}

static void a_full_ring_only_delays(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 2);
	fixture_set_write_result(SERVICE, -EAGAIN);
	fixture_flushes();
	assert_int_equal(ask(ic, &outcome), 0);
	assert_int_equal(ask(ic, &outcome), -EBUSY);
	fixture_signal(SERVICE);
	assert_silent(SERVICE);
	assert_int_equal(fixture_flushes(), 0);
	fixture_set_write_result(SERVICE, 0);
	fixture_signal(SERVICE);
	fixture_signal(SERVICE);
	packet = take_only(SERVICE);
	assert_int_equal(fixture_flushes(), 1);
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, 0);
	fixture_free(ic);
}

static void a_request_that_never_left_is_not_sent_after_its_timeout(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 3, 2);
	fixture_set_write_result(SERVICE, -EAGAIN);
	assert_int_equal(ask(ic, &outcome), 0);
	stepped_advance_ns(36 * SECOND);
	assert_ended(&outcome, -ETIMEDOUT);
	fixture_set_write_result(SERVICE, 0);
	fixture_signal(SERVICE);
	assert_silent(SERVICE);
	assert_int_equal(ask(ic, &outcome), 0);
	take_only(SERVICE);
	fixture_free(ic);
}

static void an_answer_to_what_was_not_sent_yet_is_dropped(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = fixture_new();
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 2);
	assert_int_equal(ask(ic, &outcome), 0);
	packet = take_only(SERVICE);
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, 0);
	fixture_set_write_result(SERVICE, -EAGAIN);
	assert_int_equal(ask(ic, &outcome), 0);
	packet.message.header.transaction_id++;
	fixture_answer(SERVICE, &packet, 0);
	assert_int_equal(outcome.count, 0);
	fixture_close(SERVICE);
	assert_ended(&outcome, -ENOTCONN);
	fixture_free(ic);
}

static void a_negotiation_that_finds_no_room_is_sent_later(void **state)
{
	struct ic *ic = fixture_new();

	fixture_set_write_result(SERVICE, -EAGAIN);
	fixture_open(SERVICE);
	assert_silent(SERVICE);
	fixture_set_write_result(SERVICE, 0);
	fixture_signal(SERVICE);
	assert_int_equal(take_only(SERVICE).message.header.type, IC_MESSAGE_NEGOTIATE);
	fixture_free(ic);
}

static void what_can_never_be_sent_is_refused_at_once(void **state)
{
	static const struct {
		int write, call;
	} cases[] = {{-EMSGSIZE, -EMSGSIZE}, {-EPROTO, -ENOTCONN}};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};
		struct ic *ic = fixture_new();

		fixture_connect(SERVICE, 3, 3, 2);
		fixture_set_write_result(SERVICE, cases[i].write);
		assert_int_equal(ask(ic, &outcome), cases[i].call);
		fixture_free(ic);
		assert_int_equal(outcome.count, 0);
	}
}

static void a_guest_that_floods_the_host_gets_its_turn_and_no_more(void **state)
{
	struct ic *ic = fixture_new();
	size_t left, before = 100;

	fixture_connect(SERVICE, 3, 3, 2);
	for (size_t i = 0; i < before; i++)
		fixture_send(SERVICE, 6, "nonsense", 8, false);
	fixture_signal(SERVICE);
	while ((left = fixture_unread(SERVICE))) {
		assert_true(left < before && before - left <= 32);
		before = left;
		assert_int_equal(stepped_run_posted(), 1);
	}
	stepped_run_posted();
	assert_int_equal(stepped_run_posted(), 0);
	fixture_free(ic);
}

static void closing_forgets_the_packets_that_were_left(void **state)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 3, 2);
	for (int i = 0; i < 100; i++)
		fixture_send(SERVICE, 6, "nonsense", 8, false);
	fixture_signal(SERVICE);
	fixture_close(SERVICE);
	assert_int_equal(stepped_run_posted(), 0);
	fixture_free(ic);
}

struct chain {
	struct ic *ic;
	struct outcome outcome;
	int next; /* what the next call returned */
};

static void ask_again(void *ctx, int result, const char *text)
{
	struct chain *chain = ctx;

	chain->next = ask(chain->ic, &chain->outcome);
}

static void a_callback_may_make_the_next_call(void **state)
{
	struct chain chain = {.ic = fixture_new()};
	struct fixture_packet packet;

	fixture_connect(SERVICE, 3, 3, 2);
	ic_shutdown(chain.ic, IC_SHUTDOWN_REBOOT, false, NULL, ask_again, &chain);
	packet = take_only(SERVICE);
	fixture_answer(SERVICE, &packet, IC_STATUS_FAIL);
	assert_int_equal(chain.next, 0);
	packet = take_only(SERVICE);
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&chain.outcome, 0);
	/* Not when the service is just being closed. */
	ic_shutdown(chain.ic, IC_SHUTDOWN_REBOOT, false, NULL, ask_again, &chain);
	fixture_close(SERVICE);
	assert_int_equal(chain.next, -ENOTCONN);
	fixture_free(chain.ic);
}

static void refusals_say_the_guests_code(void **state)
{
	static const struct {
		uint32_t status;
		const char *part;
	} cases[] = {
		{0x80004005, "it failed (code 0x80004005)"},
		{0x80070032, "not supported"},
		{0x80070070, "disk is full"},
		{1, "code 0x00000001"},
		{0xffffffff, "code 0xffffffff"},
	};
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 3, 2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};
		struct fixture_packet packet;

		ask(ic, &outcome);
		packet = take_only(SERVICE);
		fixture_answer(SERVICE, &packet, cases[i].status);
		assert_ended(&outcome, -EREMOTEIO);
		assert_non_null(strstr(outcome.text, cases[i].part));
	}
	fixture_free(ic);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(offers_are_pipes_that_keep_messages_apart),
		cmocka_unit_test(an_offer_that_fails_leaves_nothing_behind),
		cmocka_unit_test(the_host_speaks_first_and_says_its_versions),
		cmocka_unit_test(a_service_is_open_with_the_versions_that_the_guest_chose),
		cmocka_unit_test(
			versions_that_were_not_offered_end_the_service_until_it_is_opened_again),
		cmocka_unit_test(answers_that_are_wrong_are_dropped),
		cmocka_unit_test(an_answer_counts_once_and_only_when_asked_for),
		cmocka_unit_test(a_longer_packet_than_the_message_is_taken),
		cmocka_unit_test(requests_carry_the_versions_and_a_new_id),
		cmocka_unit_test(calls_are_refused_while_the_service_is_not_open_or_busy),
		cmocka_unit_test(
			a_request_without_an_answer_times_out_and_the_late_answer_is_dropped),
		cmocka_unit_test(closing_ends_the_request_and_opening_negotiates_anew),
		cmocka_unit_test(a_full_ring_only_delays),
		cmocka_unit_test(a_request_that_never_left_is_not_sent_after_its_timeout),
		cmocka_unit_test(an_answer_to_what_was_not_sent_yet_is_dropped),
		cmocka_unit_test(a_negotiation_that_finds_no_room_is_sent_later),
		cmocka_unit_test(what_can_never_be_sent_is_refused_at_once),
		cmocka_unit_test(a_guest_that_floods_the_host_gets_its_turn_and_no_more),
		cmocka_unit_test(closing_forgets_the_packets_that_were_left),
		cmocka_unit_test(a_callback_may_make_the_next_call),
		cmocka_unit_test(refusals_say_the_guests_code),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

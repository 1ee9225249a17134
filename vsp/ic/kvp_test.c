/*
 * kvp_test.c - walks through pools, changes and addresses, with honest and other guests
 */
#include "ic_test.h"

#define SERVICE IC_KVP
#define NO_MORE 0x80070103u

static struct ic *connected(void)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 4, 0);
	return ic;
}

/* The request to enumerate @index of @pool. */
static struct fixture_packet take_enumerate(uint8_t pool, uint32_t index)
{
	struct fixture_packet packet = take_only(SERVICE);
	uint32_t asked;

	assert_int_equal(packet.message.header.type, IC_MESSAGE_KVP);
	assert_int_equal(packet.bytes, 28 + 2580);
	assert_int_equal(packet.message.body[0], 3);
	assert_int_equal(packet.message.body[1], pool);
	memcpy(&asked, packet.message.body + 4, 4);
	assert_int_equal(asked, index);
	return packet;
}

/* The value struct of an enumeration's answer. */
static struct ic_kvp_value value_of(const char *key, const char *text)
{
	struct ic_kvp_value value = {.type = 1};

	value.key_bytes = 2 * ((uint32_t)utf16_from_utf8(key, value.key, 256) + 1);
	value.value_bytes = 2 * ((uint32_t)utf16_from_utf8(text, value.value, 1024) + 1);
	return value;
}

static void answer_value(struct fixture_packet *packet, const struct ic_kvp_value *value)
{
	memcpy(packet->message.body + 8, value, sizeof(*value));
	fixture_answer(SERVICE, packet, 0);
}

static void answer_pair(struct fixture_packet *packet, const char *key, const char *text)
{
	struct ic_kvp_value value = value_of(key, text);

	answer_value(packet, &value);
}

static const char *const auto_pool[][2] = {
	{"FullyQualifiedDomainName", "guest.example"},
	{"NetworkAddressIPv4", ""},
	{"OSName", "Debian \xc3\xa9\xf0\x9f\x98\x80"},
};

static void a_pool_is_walked_until_the_guest_says_end(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet packet;

	assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
	for (uint32_t i = 0; i < ARRAY_SIZE(auto_pool); i++) {
		packet = take_enumerate(2, i);
		assert_int_equal(outcome.pairs, i);
		answer_pair(&packet, auto_pool[i][0], auto_pool[i][1]);
		assert_string_equal(outcome.keys[i], auto_pool[i][0]);
		assert_string_equal(outcome.values[i], auto_pool[i][1]);
		assert_int_equal(outcome.count, 0);
	}
	packet = take_enumerate(2, ARRAY_SIZE(auto_pool));
	fixture_answer(SERVICE, &packet, NO_MORE);
	assert_ended(&outcome, 0);
	assert_int_equal(outcome.pairs, ARRAY_SIZE(auto_pool));
	assert_string_equal(outcome.text, "");
	assert_silent(SERVICE);
	fixture_free(ic);
}

static void one_key_is_looked_for(void **state)
{
	static const struct {
		const char *key;
		unsigned int requests, pairs;
		int result;
	} cases[] = {
		{"FullyQualifiedDomainName", 1, 1, 0},
		{"OSName", 3, 1, 0},
		{"osname", 4, 0, -ENOENT},
		{"", 4, 0, -ENOENT},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};
		struct ic *ic = connected();

		assert_int_equal(ic_kvp_get(ic, IC_KVP_GUEST, cases[i].key, note_pair, &outcome),
				 0);
		for (uint32_t k = 0; k < cases[i].requests; k++) {
			struct fixture_packet packet = take_enumerate(1, k);

			if (k < ARRAY_SIZE(auto_pool))
				answer_pair(&packet, auto_pool[k][0], auto_pool[k][1]);
			else
				fixture_answer(SERVICE, &packet, NO_MORE);
		}
		assert_silent(SERVICE);
		assert_ended(&outcome, cases[i].result);
		assert_int_equal(outcome.pairs, cases[i].pairs);
		if (cases[i].pairs)
			assert_string_equal(outcome.keys[0], cases[i].key);
		fixture_free(ic);
	}
}

static void numbers_come_as_text(void **state)
{
	static const struct {
		uint32_t type;
		uint64_t number;
		const char *text;
	} cases[] = {
		{4, 0xffffffff, "4294967295"},
		{4, 0x123456789, "591751049"}, /* the low half */
		{8, 0x123456789, "4886718345"},
		{11, UINT64_MAX, "18446744073709551615"},
		{2, 'x', "x"},
		{3, 'x', ""},
		{0xffffffff, 'x', ""},
	};
	struct ic *ic = connected();

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};
		struct ic_kvp_value value = value_of("key", "");
		struct fixture_packet packet;

		value.type = cases[i].type;
		value.value_bytes = 8;
		memcpy(value.value, &cases[i].number, 8);
		assert_int_equal(ic_kvp_get(ic, IC_KVP_GUEST, "key", note_pair, &outcome), 0);
		packet = take_enumerate(1, 0);
		answer_value(&packet, &value);
		assert_ended(&outcome, 0);
		assert_string_equal(outcome.values[0], cases[i].text);
	}
	fixture_free(ic);
}

static void sizes_that_lie_end_the_walk(void **state)
{
	static const struct {
		uint32_t key_bytes, value_bytes;
		uint16_t body_bytes;
		int result; /* 1: the walk goes on */
	} cases[] = {
		{514, 2, 2580, -EPROTO},
		{0xffffffff, 2, 2580, -EPROTO},
		{2, 2050, 2580, -EPROTO},
		{2, 0xffffffff, 2580, -EPROTO},
		{2, 0x80000000, 2580, -EPROTO},
		{2, 2050, 7428, -EPROTO},
		{2, 6896, 7428, -EPROTO},
		{2, 2048, 2579, -EPROTO},
		{2, 1, 532, -EPROTO},
		{2, 0, 531, -EPROTO},
		{2, 0, 0, -EPROTO},
		{512, 2048, 2580, 1},
		{0, 0, 532, 1},
		{511, 2047, 2580, 1},
		{2, 16, 548, 1},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct outcome outcome = {};
		struct ic *ic = connected();
		struct fixture_packet packet;
		struct ic_kvp_value value = {.type = 1};

		/* Without a NUL anywhere. */
		memset(value.key, 0x41, sizeof(value.key));
		memset(value.value, 0x42, sizeof(value.value));
		value.key_bytes = cases[i].key_bytes;
		value.value_bytes = cases[i].value_bytes;
		assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
		packet = take_enumerate(2, 0);
		packet.message.header.body_bytes = cases[i].body_bytes;
		packet.message.pipe.bytes = 20 + cases[i].body_bytes;
		packet.bytes = 28 + cases[i].body_bytes;
		answer_value(&packet, &value);
		if (cases[i].result == 1) {
			assert_int_equal(outcome.pairs, 1);
			assert_int_equal(strlen(outcome.keys[0]), cases[i].key_bytes / 2 * 3);
			assert_int_equal(strlen(outcome.values[0]), cases[i].value_bytes / 2 * 3);
			take_enumerate(2, 1);
		} else {
			assert_ended(&outcome, cases[i].result);
			assert_int_equal(outcome.pairs, 0);
			assert_silent(SERVICE);
			/* The service is not worse for it. */
			assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
		}
		fixture_free(ic);
	}
}

static void a_pool_without_end_is_left(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();

	assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
	for (uint32_t i = 0; i < 4096; i++) {
		struct fixture_packet packet = take_enumerate(2, i);

		assert_int_equal(outcome.count, 0);
		answer_pair(&packet, "again", "and again");
	}
	assert_silent(SERVICE);
	assert_ended(&outcome, -E2BIG);
	fixture_free(ic);
}

static void a_walk_ends_with_what_stops_it(void **state)
{
	struct ic *ic = connected();
	struct outcome outcome = {};
	struct fixture_packet packet;

	assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
	packet = take_enumerate(2, 0);
	answer_pair(&packet, "a", "b");
	packet = take_enumerate(2, 1);
	fixture_answer(SERVICE, &packet, 0x80004005);
	assert_ended(&outcome, -EREMOTEIO);
	assert_non_null(strstr(outcome.text, "0x80004005"));

	assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
	packet = take_enumerate(2, 0);
	answer_pair(&packet, "a", "b");
	stepped_advance_ns(36 * SECOND);
	assert_ended(&outcome, -ETIMEDOUT);
	take_enumerate(2, 1);

	assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
	packet = take_enumerate(2, 0);
	fixture_set_write_result(SERVICE, -EPROTO);
	answer_pair(&packet, "a", "b");
	assert_ended(&outcome, -ENOTCONN);
	fixture_set_write_result(SERVICE, 0);

	assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), 0);
	fixture_close(SERVICE);
	assert_ended(&outcome, -ENOTCONN);
	assert_int_equal(ic_kvp_enumerate(ic, IC_KVP_AUTO, note_pair, &outcome), -ENOTCONN);
	fixture_free(ic);
}

struct nosy {
	struct ic *ic;
	int calls[4];
	unsigned int count;
};

static void call_from_a_pair(void *ctx, int result, const char *key, const char *value)
{
	struct nosy *nosy = ctx;

	if (nosy->count < ARRAY_SIZE(nosy->calls))
		nosy->calls[nosy->count++] =
			ic_kvp_delete(nosy->ic, IC_KVP_EXTERNAL, "x", NULL, NULL);
}

static void calls_are_refused_within_a_walk_and_taken_at_its_end(void **state)
{
	struct nosy nosy = {.ic = connected()};
	struct fixture_packet packet;

	assert_int_equal(ic_kvp_enumerate(nosy.ic, IC_KVP_AUTO, call_from_a_pair, &nosy), 0);
	packet = take_enumerate(2, 0);
	answer_pair(&packet, "a", "b");
	packet = take_enumerate(2, 1);
	fixture_answer(SERVICE, &packet, NO_MORE);
	assert_int_equal(nosy.count, 2);
	assert_int_equal(nosy.calls[0], -EBUSY);
	assert_int_equal(nosy.calls[1], 0);
	assert_int_equal(take_only(SERVICE).message.body[0], 2);
	fixture_free(nosy.ic);
}

static void values_are_set_as_strings(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet packet;
	struct ic_kvp_value value, expected = value_of("Schl\xc3\xbcssel", "Wert \xf0\x9f\x98\x80");

	assert_int_equal(ic_kvp_set(ic, IC_KVP_EXTERNAL, "Schl\xc3\xbcssel",
				    "Wert \xf0\x9f\x98\x80", note_done, &outcome),
			 0);
	packet = take_only(SERVICE);
	assert_int_equal(packet.bytes, 28 + 2580);
	assert_int_equal(packet.message.body[0], 1);
	assert_int_equal(packet.message.body[1], 0);
	memcpy(&value, packet.message.body + 4, sizeof(value));
	assert_memory_equal(&value, &expected, sizeof(value));
	assert_int_equal(value.key_bytes, 2 * 10);
	assert_int_equal(value.value_bytes, 2 * 8);
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, 0);
	fixture_free(ic);
}

static void keys_are_deleted(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet packet;
	uint32_t key_bytes;

	assert_int_equal(ic_kvp_delete(ic, IC_KVP_AUTO_EXTERNAL, "gone", note_done, &outcome), 0);
	packet = take_only(SERVICE);
	assert_int_equal(packet.bytes, 28 + 2580);
	assert_int_equal(packet.message.body[0], 2);
	assert_int_equal(packet.message.body[1], 3);
	memcpy(&key_bytes, packet.message.body + 4, 4);
	assert_int_equal(key_bytes, 10);
	assert_memory_equal(packet.message.body + 8, "g\0o\0n\0e\0\0", 10);
	fixture_answer(SERVICE, &packet, NO_MORE);
	assert_ended(&outcome, -EREMOTEIO);
	assert_non_null(strstr(outcome.text, "no such item"));
	fixture_free(ic);
}

static void what_does_not_fit_is_refused(void **state)
{
	char key255[256], key256[257], value1023[1024], value1024[1025];
	struct outcome outcome = {};
	struct ic *ic = connected();
	const struct {
		const char *key, *value;
		int result;
	} cases[] = {
		{key256, "", -E2BIG},  {"", value1024, -E2BIG}, {"\xff", "", -EILSEQ},
		{"", "\xff", -EILSEQ}, {key255, value1023, 0},
	};

	memset(key255, 'k', 255);
	memset(key256, 'k', 256);
	memset(value1023, 'v', 1023);
	memset(value1024, 'v', 1024);
	key255[255] = key256[256] = value1023[1023] = value1024[1024] = 0;
	assert_int_equal(ic_kvp_delete(ic, IC_KVP_GUEST, key256, NULL, NULL), -E2BIG);
	assert_int_equal(ic_kvp_get(ic, IC_KVP_GUEST, key256, note_pair, &outcome), -E2BIG);
	assert_int_equal(ic_kvp_get(ic, IC_KVP_GUEST, "\xff", note_pair, &outcome), -EILSEQ);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		assert_int_equal(ic_kvp_set(ic, IC_KVP_GUEST, cases[i].key, cases[i].value,
					    note_done, &outcome),
				 cases[i].result);
		if (cases[i].result)
			assert_silent(SERVICE);
	}
	take_only(SERVICE);
	assert_int_equal(outcome.count, 0);
	fixture_free(ic);
}

/* --- addresses --- */

static struct fixture_packet take_get_ip(const char *adapter)
{
	struct fixture_packet packet = take_only(SERVICE);
	char text[400];

	assert_int_equal(packet.bytes, 28 + 7428);
	assert_int_equal(packet.message.body[0], 4);
	utf16_to_utf8(packet.message.body + 2, 128, text, sizeof(text));
	assert_string_equal(text, adapter);
	return packet;
}

static void addresses_come_one_by_one(void **state)
{
	static const char *const expected[][2] = {
		{"ipv4", "10.0.0.5"}, {"ipv6", "fe80::1"},     {"netmask", "255.255.255.0"},
		{"netmask", "/64"},   {"gateway", "10.0.0.1"}, {"dns", "10.0.0.2"},
		{"dns", "10.0.0.3"},  {"dhcp", "yes"},
	};
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet packet;
	struct ic_kvp_ip_body body;

	assert_int_equal(ic_kvp_get_ip(ic, "00:15:5d:0a:Bc:ff", note_pair, &outcome), 0);
	packet = take_get_ip("00:15:5D:0A:BC:FF");
	memcpy(&body, packet.message.body, sizeof(body));
	body.dhcp = 1;
	utf16_from_utf8("10.0.0.5;fe80::1;", body.addresses, 1024);
	utf16_from_utf8("255.255.255.0;/64", body.subnets, 1024);
	utf16_from_utf8(";;10.0.0.1;", body.gateways, 512);
	utf16_from_utf8("10.0.0.2;10.0.0.3", body.dns, 1024);
	memcpy(packet.message.body, &body, sizeof(body));
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, 0);
	assert_int_equal(outcome.pairs, ARRAY_SIZE(expected));
	for (size_t i = 0; i < ARRAY_SIZE(expected); i++) {
		assert_string_equal(outcome.keys[i], expected[i][0]);
		assert_string_equal(outcome.values[i], expected[i][1]);
	}
	fixture_free(ic);
}

static void lists_without_an_end_stay_within_their_field(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet packet;

	assert_int_equal(ic_kvp_get_ip(ic, "00:15:5d:00:00:01", note_pair, &outcome), 0);
	packet = take_get_ip("00:15:5D:00:00:01");
	memset(packet.message.body, 0x41, 7428);
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, 0);
	assert_int_equal(outcome.pairs, 5);
	assert_int_equal(strlen(outcome.values[0]), 3 * 1024);
	assert_int_equal(strlen(outcome.values[2]), 3 * 512);
	fixture_free(ic);
}

static void addresses_can_fail(void **state)
{
	struct outcome outcome = {};
	struct ic *ic = connected();
	struct fixture_packet packet;

	assert_int_equal(ic_kvp_get_ip(ic, "00:15:5d:00:00:01", note_pair, &outcome), 0);
	packet = take_get_ip("00:15:5D:00:00:01");
	fixture_answer(SERVICE, &packet, 0x80004005);
	assert_ended(&outcome, -EREMOTEIO);
	assert_int_equal(ic_kvp_get_ip(ic, "00:15:5d:00:00:01", note_pair, &outcome), 0);
	packet = take_get_ip("00:15:5D:00:00:01");
	packet.message.header.body_bytes--;
	fixture_answer(SERVICE, &packet, 0);
	assert_ended(&outcome, -EPROTO);
	assert_int_equal(outcome.pairs, 0);
	assert_int_equal(ic_kvp_get_ip(ic, "00:15:5d:00:00:01", note_pair, &outcome), 0);
	fixture_close(SERVICE);
	assert_ended(&outcome, -ENOTCONN);
	fixture_free(ic);
}

static void a_mac_is_checked(void **state)
{
	static const char *const wrong[] = {
		"",
		"00:15:5d:00:00:0",
		"00:15:5d:00:00:011",
		"00-15-5d-00-00-01",
		"00:15:5g:00:00:01",
		"0:015:5d:00:00:01",
		"00:15:5d:00:00:0\xc3",
	};
	struct ic *ic = connected();

	for (size_t i = 0; i < ARRAY_SIZE(wrong); i++)
		assert_int_equal(ic_kvp_get_ip(ic, wrong[i], note_pair, NULL), -EINVAL);
	assert_silent(SERVICE);
	fixture_free(ic);
}

static void addresses_came_with_version_4(void **state)
{
	struct ic *ic = fixture_new();

	fixture_connect(SERVICE, 3, 3, 0);
	assert_int_equal(ic_kvp_get_ip(ic, "00:15:5d:00:00:01", note_pair, NULL), -ENOTSUP);
	fixture_free(ic);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_pool_is_walked_until_the_guest_says_end),
		cmocka_unit_test(one_key_is_looked_for),
		cmocka_unit_test(numbers_come_as_text),
		cmocka_unit_test(sizes_that_lie_end_the_walk),
		cmocka_unit_test(a_pool_without_end_is_left),
		cmocka_unit_test(a_walk_ends_with_what_stops_it),
		cmocka_unit_test(calls_are_refused_within_a_walk_and_taken_at_its_end),
		cmocka_unit_test(values_are_set_as_strings),
		cmocka_unit_test(keys_are_deleted),
		cmocka_unit_test(what_does_not_fit_is_refused),
		cmocka_unit_test(addresses_come_one_by_one),
		cmocka_unit_test(lists_without_an_end_stay_within_their_field),
		cmocka_unit_test(addresses_can_fail),
		cmocka_unit_test(a_mac_is_checked),
		cmocka_unit_test(addresses_came_with_version_4),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * channel_test.c - the ring's side: batches, a full ring, too many requests, sub-channels
 */
#include <errno.h>
#include <string.h>

#include "storvsp_fixture.h"

static void put_test_unit_ready(struct vmbus_channel *channel, uint64_t transaction_id)
{
	static const uint8_t cdb[6];
	struct storvsc_packet packet = storvsp_srb(0, cdb, 6, STORVSC_DATA_NONE, 0);
	struct fixture_packet made = fixture_packet(transaction_id, &packet);

	fixture_put(channel, &made);
}

static void a_batch_is_kicked_and_signalled_once(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);
	struct storvsc_packet reply;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	fixture_submitted.kicks = channel->flushes = 0;
	for (unsigned int i = 0; i < 8; i++) {
		storvsp_put_read(fixture, 0, 2 * i + 1, 1);
		put_test_unit_ready(channel, 2 * i + 2);
	}
	fixture_signal(channel);
	assert_int_equal(fixture_submitted.kicks, 1);
	assert_int_equal(channel->flushes, 1);
	for (unsigned int i = 0; i < 8; i++)
		storvsp_expect_reply(fixture, 2 * i + 2, &reply);

	/* Of eight that are done together the guest hears with one signal, or two: the last is not
	 * kept. */
	fixture_run_disk(8);
	fixture_run_posted();
	assert_in_range(channel->flushes, 2, 3);
	for (unsigned int i = 0; i < 8; i++)
		storvsp_expect_reply(fixture, 2 * i + 1, &reply);
}

static void nothing_is_signalled_for_nothing(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	channel->flushes = 0;
	fixture_signal(channel);
	fixture_run_posted();
	assert_int_equal(channel->flushes, 0);
}

static void a_single_completion_is_signalled_at_once(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_put_read(fixture, 0, 7, 1);
	fixture_signal(channel);
	channel->flushes = 0;
	fixture_run_disk(1);
	assert_int_equal(channel->flushes, 1);
}

static void completions_wait_for_room_in_order(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);
	struct storvsc_packet reply;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	channel->room = 1;
	for (unsigned int i = 1; i <= 3; i++)
		storvsp_put_read(fixture, 0, i, 1);
	fixture_signal(channel);
	fixture_run_disk(2);
	put_test_unit_ready(channel, 4); /* done at once, but not before the others */
	fixture_signal(channel);
	fixture_run_disk(1);
	fixture_run_posted();
	storvsp_expect_reply(fixture, 1, &reply);
	assert_int_equal(channel->out_count, 0);

	channel->room = 1;
	fixture_signal(channel);
	storvsp_expect_reply(fixture, 2, &reply);
	assert_int_equal(channel->out_count, 0);
	channel->room = 9;
	channel->flushes = 0;
	fixture_signal(channel);
	storvsp_expect_reply(fixture, 4, &reply);
	storvsp_expect_reply(fixture, 3, &reply);
	assert_int_equal(channel->flushes, 1);
}

static void more_requests_than_the_pool_holds_are_read_later(void **state)
{
	enum { REQUESTS = 2 * STORVSP_CHANNEL_REQUESTS - 12 };
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);
	struct storvsc_packet reply;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	for (unsigned int i = 1; i <= REQUESTS; i++)
		storvsp_put_read(fixture, 0, i, 1);
	fixture_submitted.count = 0;
	fixture_signal(channel);
	fixture_run_posted();
	assert_int_equal(fixture_submitted.count, STORVSP_CHANNEL_REQUESTS);
	fixture_signal(channel); /* changes nothing */
	fixture_run_posted();
	assert_int_equal(fixture_submitted.count, STORVSP_CHANNEL_REQUESTS);

	/* No signal of the guest is needed to go on. */
	fixture_run_disk(1);
	fixture_run_posted();
	assert_int_equal(fixture_submitted.count, STORVSP_CHANNEL_REQUESTS + 1);
	while (fixture_run_disk(17))
		fixture_run_posted();
	for (unsigned int i = 1; i <= REQUESTS; i++)
		storvsp_expect_reply(fixture, i, &reply);
}

static void a_full_ring_and_an_empty_pool_come_out_together(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);
	struct storvsc_packet reply;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	channel->room = 0;
	for (unsigned int i = 1; i <= STORVSP_CHANNEL_REQUESTS + 5; i++)
		put_test_unit_ready(channel, i);
	fixture_signal(channel);
	fixture_run_posted();
	assert_int_equal(channel->in_count, 5);
	channel->room = FIXTURE_PACKETS;
	fixture_signal(channel);
	fixture_run_posted();
	for (unsigned int i = 1; i <= STORVSP_CHANNEL_REQUESTS + 5; i++)
		storvsp_expect_reply(fixture, i, &reply);
	assert_int_equal(channel->in_count, 0);
}

static void one_turn_does_not_last_for_ever(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	for (unsigned int i = 1; i <= 400; i++)
		put_test_unit_ready(channel, i);
	fixture_signal(channel);
	assert_in_range(channel->in_count, 1, 399);
	fixture_run_posted();
	assert_int_equal(channel->in_count, 0);
	assert_int_equal(channel->out_count, 400);
}

/* --- sub-channels --- */

static struct storvsc_packet ask_for(struct storvsp_fixture *fixture, unsigned int count)
{
	struct storvsc_packet packet = {.operation = STORVSC_CREATE_SUB_CHANNELS, .flags = 1},
			      reply;

	packet.subchannels = (uint16_t)count;
	storvsp_ask(fixture, &packet, &reply);
	return reply;
}

static void as_many_subchannels_as_promised_are_offered(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsc_packet query = {.operation = STORVSC_QUERY_PROPERTIES, .flags = 1}, reply;
	struct storvsc_packet version = {.operation = STORVSC_QUERY_PROTOCOL_VERSION, .flags = 1};

	version.version.version = STORVSC_VERSION_6_0;
	assert_int_equal(fixture_open(storvsp_primary(fixture)), 0);
	storvsp_ask_operation(fixture, STORVSC_BEGIN_INITIALIZATION);
	storvsp_ask(fixture, &version, &reply);
	storvsp_ask(fixture, &query, &reply);
	assert_int_equal(reply.properties.max_subchannels, 3);
	assert_int_equal(reply.properties.flags, STORVSC_PROPERTY_MULTI_CHANNEL);
	assert_int_equal(reply.properties.max_transfer_bytes, 1 * MIB);
	assert_int_equal(ask_for(fixture, 0).status, STORVSC_STATUS_INVALID_PARAMETER);
	assert_int_equal(ask_for(fixture, 4).status, STORVSC_STATUS_INVALID_PARAMETER);
	assert_int_equal(fixture->bus.channel_count, 1);
	assert_int_equal(ask_for(fixture, 3).status, 0);
	assert_int_equal(fixture->bus.channel_count, 4);
	assert_int_equal(ask_for(fixture, 1).status, STORVSC_STATUS_INVALID_PARAMETER);
	assert_int_equal(storvsp_ask_operation(fixture, STORVSC_END_INITIALIZATION), 0);
}

static void old_protocols_and_ide_have_no_subchannels(void **state)
{
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_4_2);
	assert_int_equal(ask_for(fixture, 1).status, STORVSC_STATUS_INVALID_PARAMETER);
	storvsp_fixture_restart(fixture, STORVSP_IDE, 0);
	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	assert_int_equal(ask_for(fixture, 1).status, STORVSC_STATUS_INVALID_PARAMETER);
}

static void each_channel_answers_for_itself(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *second = &fixture->bus.channels[2];
	struct fixture_packet packet;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	assert_int_equal(ask_for(fixture, 2).status, 0);
	assert_int_equal(fixture_open(second), 0);
	put_test_unit_ready(second, 77);
	fixture_signal(second);
	assert_int_equal(storvsp_primary(fixture)->out_count, 0);
	assert_true(fixture_take(second, &packet));
	assert_true(packet.transaction_id == 77);

	/* It carries commands and resets, nothing else. */
	packet =
		fixture_packet(78, &(struct storvsc_packet){.operation = STORVSC_QUERY_PROPERTIES});
	fixture_put(second, &packet);
	packet = fixture_packet(79, &(struct storvsc_packet){.operation = STORVSC_RESET_LUN});
	fixture_put(second, &packet);
	fixture_signal(second);
	assert_true(fixture_take(second, &packet));
	assert_int_equal(((struct storvsc_packet *)packet.payload)->status,
			 STORVSC_STATUS_INVALID_DEVICE_STATE);
	assert_true(fixture_take(second, &packet));
	assert_int_equal(((struct storvsc_packet *)packet.payload)->status, 0);

	fixture_close(second);
	assert_int_equal(second->closed, 1);
	put_test_unit_ready(storvsp_primary(fixture), 80);
	fixture_signal(storvsp_primary(fixture));
	assert_int_equal(storvsp_primary(fixture)->out_count, 1);
}

static void a_subchannel_waits_until_initialization_ends(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *second = &fixture->bus.channels[1];
	struct storvsc_packet version = {.operation = STORVSC_QUERY_PROTOCOL_VERSION, .flags = 1};
	struct storvsc_packet reply;

	version.version.version = STORVSC_VERSION_6_0;
	fixture_open(storvsp_primary(fixture));
	storvsp_ask_operation(fixture, STORVSC_BEGIN_INITIALIZATION);
	storvsp_ask(fixture, &version, &reply);
	storvsp_ask_operation(fixture, STORVSC_QUERY_PROPERTIES);
	assert_int_equal(ask_for(fixture, 1).status, 0);
	assert_int_equal(fixture_open(second), 0);
	put_test_unit_ready(second, 77);
	fixture_signal(second);
	fixture_run_posted();
	assert_int_equal(second->out_count, 0);
	storvsp_ask_operation(fixture, STORVSC_END_INITIALIZATION);
	fixture_run_posted();
	assert_int_equal(second->out_count, 1);
	assert_int_equal(((struct storvsc_packet *)second->out[0].payload)->status, 0);
}

static void primary_and_subchannel_may_close_in_any_order(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *primary = storvsp_primary(fixture);
	struct vmbus_channel *second = &fixture->bus.channels[1];
	static const uint8_t read[10] = {SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0};
	struct storvsc_packet packet = storvsp_srb(0, read, 10, STORVSC_DATA_IN, 512);
	struct fixture_packet made = fixture_packet(77, &packet);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	assert_int_equal(ask_for(fixture, 1).status, 0);
	assert_int_equal(fixture_open(second), 0);
	made.type = VMBUS_PACKET_GPA_DIRECT;
	made.range_count = made.data_count = 1;
	made.data[0] = (struct iovec){fixture->data, 512};
	fixture_put(second, &made);
	fixture_signal(second);
	fixture_close(primary);
	assert_int_equal(primary->closed, 1);
	assert_int_equal(second->closed, 0);
	fixture_close(second);
	assert_int_equal(second->closed, 0);
	fixture_run_disk(1);
	assert_int_equal(second->closed, 1);
	assert_int_equal(second->out_count, 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, storvsp_fixture_begin, storvsp_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_batch_is_kicked_and_signalled_once),
		TEST(nothing_is_signalled_for_nothing),
		TEST(a_single_completion_is_signalled_at_once),
		TEST(completions_wait_for_room_in_order),
		TEST(more_requests_than_the_pool_holds_are_read_later),
		TEST(a_full_ring_and_an_empty_pool_come_out_together),
		TEST(one_turn_does_not_last_for_ever),
		TEST(as_many_subchannels_as_promised_are_offered),
		TEST(old_protocols_and_ide_have_no_subchannels),
		TEST(each_channel_answers_for_itself),
		TEST(a_subchannel_waits_until_initialization_ends),
		TEST(primary_and_subchannel_may_close_in_any_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * protocol_test.c - states, versions, and the way from an SRB to a drive
 */
#include <string.h>

#include "storvsp_fixture.h"

#define OUT_OF_ORDER  STORVSC_STATUS_INVALID_DEVICE_STATE
#define BAD_PARAMETER STORVSC_STATUS_INVALID_PARAMETER

static uint32_t ask_version(struct storvsp_fixture *fixture, uint16_t version)
{
	struct storvsc_packet packet = {.operation = STORVSC_QUERY_PROTOCOL_VERSION, .flags = 1};
	struct storvsc_packet reply;
	uint32_t status;

	packet.version.version = version;
	status = storvsp_ask(fixture, &packet, &reply);
	assert_int_equal(reply.version.version, version);
	return status;
}

static void versions_are_taken_or_refused_without_a_change_of_state(void **state)
{
	static const uint16_t bad[] = {0, 0x0001, 0x0100, 0x0201, 0x0500, 0x0601, 0x0603, 0xffff};
	static const uint16_t good[] = {0x0200, 0x0402, 0x0501, 0x0600, 0x0602};

	for (size_t i = 0; i < ARRAY_SIZE(good); i++) {
		struct storvsp_fixture *fixture = *state;

		assert_int_equal(fixture_open(storvsp_primary(fixture)), 0);
		assert_int_equal(storvsp_ask_operation(fixture, STORVSC_BEGIN_INITIALIZATION), 0);
		for (size_t j = 0; j < ARRAY_SIZE(bad); j++)
			assert_int_equal(ask_version(fixture, bad[j]), 0xc0000059);
		assert_int_equal(ask_version(fixture, good[i]), 0);
		assert_int_equal(storvsp_ask_operation(fixture, STORVSC_QUERY_PROPERTIES), 0);
		fixture_close(storvsp_primary(fixture));
	}
}

/* Every operation in every state: which succeed, and that the others change nothing. */
static void what_comes_out_of_order_is_refused_and_changes_nothing(void **state)
{
	static const uint32_t way[] = {STORVSC_BEGIN_INITIALIZATION, STORVSC_QUERY_PROTOCOL_VERSION,
				       STORVSC_QUERY_PROPERTIES, STORVSC_END_INITIALIZATION, 0};
	struct storvsp_fixture *fixture = *state;

	assert_int_equal(fixture_open(storvsp_primary(fixture)), 0);
	for (size_t at = 0; at < ARRAY_SIZE(way); at++) {
		bool ready = at == 4;

		for (uint32_t operation = 3; operation <= 10; operation++) {
			bool reset =
				operation >= STORVSC_RESET_LUN && operation <= STORVSC_RESET_BUS;

			if (operation == way[at] || (ready && operation == STORVSC_EXECUTE_SRB))
				continue;
			assert_int_equal(storvsp_ask_operation(fixture, operation),
					 ready && reset ? 0 : OUT_OF_ORDER);
		}
		if (at < 3)
			assert_int_equal(
				storvsp_ask_operation(fixture, STORVSC_CREATE_SUB_CHANNELS),
				OUT_OF_ORDER);
		if (way[at] == STORVSC_QUERY_PROTOCOL_VERSION)
			assert_int_equal(ask_version(fixture, STORVSC_VERSION_6_2), 0);
		else if (way[at])
			assert_int_equal(storvsp_ask_operation(fixture, way[at]), 0);
	}
}

static void unknown_operations_are_refused(void **state)
{
	static const uint32_t operations[] = {0, 1, 2, 11, 12, 14, 15, 255, 256, 0xffffffff};
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	for (size_t i = 0; i < ARRAY_SIZE(operations); i++)
		assert_int_equal(storvsp_ask_operation(fixture, operations[i]), BAD_PARAMETER);
}

static void replies_are_as_long_as_requests(void **state)
{
	static const struct {
		uint32_t sent, received, status;
	} cases[] = {
		{64, 64, 0},
		{48, 48, 0},
		{56, 56, 0},
		{80, 64, 0},
		{40, 48, BAD_PARAMETER},
		{8, 48, BAD_PARAMETER},
		{0, 48, BAD_PARAMETER},
	};
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct storvsc_packet ask = {.operation = STORVSC_RESET_BUS}, reply;
		struct fixture_packet packet = fixture_packet(0x123456789abcdef0ull + i, &ask);

		packet.payload_bytes = cases[i].sent;
		fixture_put(channel, &packet);
		fixture_signal(channel);
		assert_int_equal(channel->out[0].payload_bytes, cases[i].received);
		storvsp_expect_reply(fixture, 0x123456789abcdef0ull + i, &reply);
		assert_int_equal(reply.status, cases[i].status);
	}
}

static void who_wants_no_answer_gets_none(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);
	struct storvsc_packet ask = {.operation = STORVSC_RESET_BUS};
	struct fixture_packet packet = fixture_packet(5, &ask);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	packet.wants_completion = false;
	fixture_put(channel, &packet);
	packet.wants_completion = true;
	packet.type = VMBUS_PACKET_COMPLETION;
	fixture_put(channel, &packet);
	packet.type = VMBUS_PACKET_TRANSFER_PAGES;
	fixture_put(channel, &packet);
	fixture_signal(channel);
	assert_int_equal(channel->out_count, 0);
	assert_int_equal(storvsp_ask_operation(fixture, STORVSC_RESET_BUS), 0);
}

/* --- SRBs --- */

static struct storvsc_srb run(struct storvsp_fixture *fixture, const struct storvsc_packet *packet,
			      uint32_t range_bytes, uint32_t *ret_status)
{
	struct fixture_packet made = fixture_packet(9, packet);
	struct storvsc_packet reply;

	if (range_bytes) {
		made.type = VMBUS_PACKET_GPA_DIRECT;
		made.range_count = 1;
		made.data_count = 2;
		made.data[0] = (struct iovec){fixture->data, 3};
		made.data[1] = (struct iovec){fixture->data + 3, range_bytes - 3};
	}
	fixture_put(storvsp_primary(fixture), &made);
	fixture_signal(storvsp_primary(fixture));
	fixture_run_disk(9);
	fixture_run_posted();
	storvsp_expect_reply(fixture, 9, &reply);
	*ret_status = reply.status;
	return reply.srb;
}

static void an_answer_says_all_that_guests_read(void **state)
{
	static const uint8_t inquiry[6] = {SCSI_INQUIRY, 0, 0, 0, 36};
	struct storvsp_fixture *fixture = *state;
	struct storvsc_packet packet = storvsp_srb(0, inquiry, 6, STORVSC_DATA_IN, 36);
	struct storvsc_srb srb;
	uint32_t status;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	memset(fixture->data, 0xcc, 64);
	packet.srb.port = 3;
	srb = run(fixture, &packet, 64, &status); /* a longer range than is used */
	assert_int_equal(status, 0);
	assert_int_equal(srb.length, 52);
	assert_int_equal(srb.srb_status, STORVSC_SRB_SUCCESS);
	assert_int_equal(srb.scsi_status, 0);
	assert_int_equal(srb.port, 3);
	assert_int_equal(srb.cdb_length, 16);
	assert_int_equal(srb.sense_length, 20);
	assert_int_equal(srb.data_transfer_length, 36);
	assert_int_equal(srb.sense[0], 0);
	assert_int_equal(fixture->data[36], 0xcc);
	assert_memory_equal(fixture->data + 8, "Msft", 4);
	assert_int_equal(storvsp_primary(fixture)->written_bytes, 36);
}

static void old_protocols_have_shorter_answers(void **state)
{
	static const uint8_t unknown[6] = {0xff};
	struct storvsp_fixture *fixture = *state;
	struct storvsc_packet packet = storvsp_srb(0, unknown, 6, STORVSC_DATA_NONE, 0);
	struct storvsc_srb srb;
	uint32_t status;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_4_2);
	srb = run(fixture, &packet, 0, &status);
	assert_int_equal(status, STORVSC_STATUS_IO_DEVICE_ERROR);
	assert_int_equal(srb.length, 36);
	assert_int_equal(srb.sense_length, 18);
	assert_int_equal(srb.srb_status, 0x86);
	assert_int_equal(srb.scsi_status, 2);
	assert_int_equal(srb.sense[2], 5);
	assert_int_equal(srb.sense[12], 0x20);
}

static void srb_status_decides_the_packets_status(void **state)
{
	static const uint8_t unknown[6] = {0xff}, test_unit_ready[6] = {0};
	static const uint8_t inquiry[6] = {SCSI_INQUIRY, 0, 0, 0, 36};
	static const struct {
		const uint8_t *cdb;
		uint8_t lun;
		uint32_t bytes;
		uint8_t srb_status;
		uint32_t status;
	} cases[] = {
		{test_unit_ready, 0, 0, 0x01, 0},
		{unknown, 0, 0, 0x86, 0xc0000185},
		{test_unit_ready, 1, 0, 0x20, 0xc00000c0},
		{test_unit_ready, 64, 0, 0x20, 0xc00000c0},
		{test_unit_ready, 255, 0, 0x20, 0xc00000c0},
		{inquiry, 0, 8, 0x92, 0x80000005},
		{inquiry, 9, 36, 0x01, 0},
	};
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct storvsc_packet packet = storvsp_srb(
			cases[i].lun, cases[i].cdb, 6,
			cases[i].bytes ? STORVSC_DATA_IN : STORVSC_DATA_NONE, cases[i].bytes);
		struct storvsc_srb srb;
		uint32_t status;

		srb = run(fixture, &packet, cases[i].bytes, &status);
		assert_int_equal(srb.srb_status, cases[i].srb_status);
		assert_int_equal(status, cases[i].status);
	}
}

static void data_that_is_not_where_it_says_is_refused(void **state)
{
	static const uint8_t read[10] = {SCSI_READ_10, 0, 0, 0, 0, 0, 0, 0, 1, 0};
	static const struct {
		uint32_t ranges, range_bytes, length;
		uint8_t cdb_length, srb_status;
	} cases[] = {
		{1, 512, 512, 10, STORVSC_SRB_SUCCESS},
		{1, 1024, 512, 16, STORVSC_SRB_SUCCESS},
		{1, 511, 512, 10, 0x86}, /* range shorter than the length */
		{1, 0, 512, 10, 0x86},	 /* the bus finds no memory */
		{2, 512, 512, 10, 0x86},
		{0, 512, 512, 10, 0x86},
		{1, 512, 512, 17, 0x86}, /* a CDB longer than there is room for */
		{1, 512, 512, 255, 0x86},
		{1, 512, 0xffffffff, 10, 0x86},
		{1, 512, 1 * MIB + 1, 10, 0x86},
	};
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct storvsc_packet packet = storvsp_srb(0, read, 10, STORVSC_DATA_IN,
							   cases[i].length),
				      reply;
		struct fixture_packet made;

		packet.srb.cdb_length = cases[i].cdb_length;
		made = fixture_packet(9, &packet);
		made.type = VMBUS_PACKET_GPA_DIRECT;
		made.range_count = cases[i].ranges;
		made.data_count = cases[i].range_bytes ? 1 : 0;
		made.data[0] = (struct iovec){fixture->data, cases[i].range_bytes};
		fixture_put(storvsp_primary(fixture), &made);
		fixture_signal(storvsp_primary(fixture));
		fixture_run_disk(9);
		storvsp_expect_reply(fixture, 9, &reply);
		assert_int_equal(reply.srb.srb_status, cases[i].srb_status);
	}
}

/* --- addresses --- */

static uint8_t inquire(struct storvsp_fixture *fixture, uint8_t path, uint8_t target, uint8_t lun)
{
	static const uint8_t inquiry[6] = {SCSI_INQUIRY, 0, 0, 0, 36};
	struct storvsc_packet packet = storvsp_srb(lun, inquiry, 6, STORVSC_DATA_IN, 36);
	uint32_t status;

	packet.srb.path_id = path;
	packet.srb.target_id = target;
	run(fixture, &packet, 36, &status);
	assert_int_equal(status, 0);
	return fixture->data[0];
}

static uint32_t count_luns(struct storvsp_fixture *fixture, uint8_t path, uint8_t target)
{
	static const uint8_t report[12] = {SCSI_REPORT_LUNS, 0, 0, 0, 0, 0, 0, 0, 16, 0};
	struct storvsc_packet packet = storvsp_srb(0, report, 12, STORVSC_DATA_IN, 4096);
	uint32_t status;

	packet.srb.path_id = path;
	packet.srb.target_id = target;
	run(fixture, &packet, 4096, &status);
	assert_int_equal(status, 0);
	return scsi_get_be32(fixture->data) / 8;
}

static void a_disk_is_found_at_one_address_only(void **state)
{
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	for (unsigned int path = 0; path < 8; path++) {
		for (unsigned int target = 0; target < 2; target++) {
			bool there = path == 0 && target == 0;

			assert_int_equal(inquire(fixture, path, target, 0), there ? 0 : 0x7f);
			assert_int_equal(count_luns(fixture, path, target), there);
		}
	}
	assert_int_equal(inquire(fixture, 0, 0, 1), 0x7f);
}

static void an_ide_disk_is_found_at_its_target(void **state)
{
	for (unsigned int number = 0; number < 4; number++) {
		struct storvsp_fixture *fixture = *state;
		struct storvsp_drive drive = {.disk = &fixture->disk};
		unsigned int channel = number / 2, device = number % 2;

		storvsp_fixture_restart(fixture, STORVSP_IDE, number);
		assert_int_equal(storvsp_attach(fixture->storvsp, 0, &drive), 0);
		storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
		assert_int_equal(inquire(fixture, 0, device, 0), 0);
		assert_int_equal(inquire(fixture, 1, device, 0), 0); /* the path does not count */
		assert_int_equal(inquire(fixture, 0, !device, 0), 0x7f);
		assert_int_equal(inquire(fixture, 0, device, 1), 0x7f);
		assert_int_equal(count_luns(fixture, channel, device), 1);
		assert_int_equal(count_luns(fixture, !channel, device), 0);
		assert_int_equal(count_luns(fixture, channel, !device), 0);
	}
}

static void an_ide_device_has_one_channel(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsc_packet query = {.operation = STORVSC_QUERY_PROPERTIES, .flags = 1}, reply;

	storvsp_fixture_restart(fixture, STORVSP_IDE, 0);
	fixture_open(storvsp_primary(fixture));
	storvsp_ask_operation(fixture, STORVSC_BEGIN_INITIALIZATION);
	assert_int_equal(ask_version(fixture, STORVSC_VERSION_6_2), 0);
	memset(query.payload, 0xaa, sizeof(query.payload));
	assert_int_equal(storvsp_ask(fixture, &query, &reply), 0);
	assert_int_equal(reply.properties.max_subchannels, 0);
	assert_int_equal(reply.properties.flags, 0);
	assert_int_equal(reply.properties.reserved, 0);
	assert_int_equal(reply.payload[51], 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, storvsp_fixture_begin, storvsp_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(versions_are_taken_or_refused_without_a_change_of_state),
		TEST(what_comes_out_of_order_is_refused_and_changes_nothing),
		TEST(unknown_operations_are_refused),
		TEST(replies_are_as_long_as_requests),
		TEST(who_wants_no_answer_gets_none),
		TEST(an_answer_says_all_that_guests_read),
		TEST(old_protocols_have_shorter_answers),
		TEST(srb_status_decides_the_packets_status),
		TEST(data_that_is_not_where_it_says_is_refused),
		TEST(a_disk_is_found_at_one_address_only),
		TEST(an_ide_disk_is_found_at_its_target),
		TEST(an_ide_device_has_one_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * storvsp_fixture.c - see storvsp_fixture.h
 */
#include "storvsp_fixture.h"

#include <stdlib.h>
#include <string.h>

static void disk_full(void *ctx, const char *path, bool full)
{
	struct storvsp_fixture *fixture = ctx;

	fixture->full = full;
	fixture->full_path = path;
	fixture->full_calls++;
}

struct vmbus_channel *storvsp_primary(struct storvsp_fixture *fixture)
{
	return &fixture->bus.channels[0];
}

static void start(struct storvsp_fixture *fixture, enum storvsp_kind kind, unsigned int number)
{
	struct storvsp_config config = {
		.bus = &fixture->bus,
		.loop = fixture_main_loop,
		.kind = kind,
		.number = number,
		.instance = {{0x11}},
		.max_subchannels = 3,
		.disk_full = disk_full,
		.ctx = fixture,
	};
	struct storvsp_drive drive = {.disk = &fixture->disk, .serial = "disk-0"};

	assert_int_equal(storvsp_new(&config, &fixture->storvsp), 0);
	if (kind == STORVSP_SCSI)
		assert_int_equal(storvsp_attach(fixture->storvsp, 0, &drive), 0);
	fixture_run_posted();
}

/* As a machine that ends: every channel closes, what is under way finishes. */
static void stop(struct storvsp_fixture *fixture)
{
	if (!fixture->storvsp)
		return;
	for (unsigned int i = 0; i < fixture->bus.channel_count; i++)
		if (fixture->bus.channels[i].open && !fixture->bus.channels[i].closing)
			fixture_close(&fixture->bus.channels[i]);
	while (fixture_run_disk(1))
		;
	for (unsigned int i = 0; i < fixture->bus.channel_count; i++)
		assert_false(fixture->bus.channels[i].open);
	storvsp_free(fixture->storvsp);
	fixture->storvsp = NULL;
	fixture_run_posted();
}

int storvsp_fixture_begin(void **state)
{
	struct storvsp_fixture *fixture = calloc(1, sizeof(*fixture));

	fixture_reset();
	fixture_bus_init(&fixture->bus);
	fixture_disk_init(&fixture->disk, 1 * GIB);
	start(fixture, STORVSP_SCSI, 0);
	*state = fixture;
	return 0;
}

int storvsp_fixture_end(void **state)
{
	struct storvsp_fixture *fixture = *state;

	stop(fixture);
	fixture_bus_free(&fixture->bus);
	fixture_disk_free(&fixture->disk);
	free(fixture);
	return 0;
}

void storvsp_fixture_restart(struct storvsp_fixture *fixture, enum storvsp_kind kind,
			     unsigned int number)
{
	stop(fixture);
	start(fixture, kind, number);
}

uint32_t storvsp_ask(struct storvsp_fixture *fixture, const struct storvsc_packet *packet,
		     struct storvsc_packet *ret_reply)
{
	static uint64_t transaction_id = 0xfffffffffffff000ull;
	struct fixture_packet made = fixture_packet(++transaction_id, packet);

	fixture_put(storvsp_primary(fixture), &made);
	fixture_signal(storvsp_primary(fixture));
	storvsp_expect_reply(fixture, transaction_id, ret_reply);
	return ret_reply->status;
}

uint32_t storvsp_ask_operation(struct storvsp_fixture *fixture, uint32_t operation)
{
	struct storvsc_packet packet = {.operation = operation, .flags = 1}, reply;

	return storvsp_ask(fixture, &packet, &reply);
}

void storvsp_fixture_initialize(struct storvsp_fixture *fixture, uint16_t version)
{
	struct storvsc_packet query = {.operation = STORVSC_QUERY_PROTOCOL_VERSION, .flags = 1};
	struct storvsc_packet reply;

	query.version.version = version;
	assert_int_equal(storvsp_ask_operation(fixture, STORVSC_BEGIN_INITIALIZATION), 0);
	assert_int_equal(storvsp_ask(fixture, &query, &reply), 0);
	assert_int_equal(reply.version.version, version);
	assert_int_equal(storvsp_ask_operation(fixture, STORVSC_QUERY_PROPERTIES), 0);
	assert_int_equal(storvsp_ask_operation(fixture, STORVSC_END_INITIALIZATION), 0);
}

void storvsp_fixture_connect(struct storvsp_fixture *fixture, uint16_t version)
{
	assert_int_equal(fixture_open(storvsp_primary(fixture)), 0);
	storvsp_fixture_initialize(fixture, version);
	fixture_run_posted();
}

struct storvsc_packet storvsp_srb(unsigned int lun, const uint8_t *cdb, unsigned int cdb_bytes,
				  uint8_t direction, uint32_t bytes)
{
	struct storvsc_packet packet = {
		.operation = STORVSC_EXECUTE_SRB,
		.flags = 1,
		.srb = {.length = 52,
			.lun = (uint8_t)lun,
			.cdb_length = (uint8_t)cdb_bytes,
			.sense_length = 20,
			.data_in = direction,
			.data_transfer_length = bytes},
	};

	memcpy(packet.srb.cdb, cdb, cdb_bytes);
	return packet;
}

static void put_transfer(struct storvsp_fixture *fixture, uint8_t opcode, unsigned int lun,
			 uint64_t transaction_id, unsigned int blocks)
{
	bool in = opcode == SCSI_READ_10;
	bool dvd = storvsp_unit(fixture->storvsp, lun) && storvsp_unit(fixture->storvsp, lun)->dvd;
	uint8_t cdb[10] = {opcode, 0, 0, 0, 0, 0, 0, 0, (uint8_t)blocks, 0};
	uint32_t bytes = blocks * (dvd ? 2048 : 512);
	struct storvsc_packet packet =
		storvsp_srb(lun, cdb, 10, in ? STORVSC_DATA_IN : STORVSC_DATA_OUT, bytes);
	struct fixture_packet made = fixture_packet(transaction_id, &packet);

	made.type = VMBUS_PACKET_GPA_DIRECT;
	made.range_count = 1;
	made.data_count = 1;
	made.data[0] = (struct iovec){fixture->data, bytes};
	fixture_put(storvsp_primary(fixture), &made);
}

void storvsp_put_read(struct storvsp_fixture *fixture, unsigned int lun, uint64_t transaction_id,
		      unsigned int blocks)
{
	put_transfer(fixture, SCSI_READ_10, lun, transaction_id, blocks);
}

void storvsp_put_write(struct storvsp_fixture *fixture, unsigned int lun, uint64_t transaction_id,
		       unsigned int blocks)
{
	put_transfer(fixture, SCSI_WRITE_10, lun, transaction_id, blocks);
}

void storvsp_expect_reply(struct storvsp_fixture *fixture, uint64_t transaction_id,
			  struct storvsc_packet *ret_reply)
{
	struct fixture_packet packet;

	assert_true(fixture_take(storvsp_primary(fixture), &packet));
	assert_int_equal(packet.type, VMBUS_PACKET_COMPLETION);
	assert_true(packet.transaction_id == transaction_id);
	memset(ret_reply, 0xee, sizeof(*ret_reply));
	memcpy(ret_reply, packet.payload, packet.payload_bytes);
	assert_int_equal(ret_reply->operation, STORVSC_COMPLETE_IO);
	assert_int_equal(ret_reply->flags, 0);
}

void storvsp_expect_enumerate(struct storvsp_fixture *fixture, uint32_t bytes)
{
	static const uint8_t rest[60];
	struct fixture_packet packet;

	assert_int_equal(fixture_take(storvsp_primary(fixture), &packet), bytes != 0);
	if (!bytes)
		return;
	assert_int_equal(packet.type, VMBUS_PACKET_DATA);
	assert_int_equal(packet.transaction_id, 0);
	assert_int_equal(packet.payload_bytes, bytes);
	assert_int_equal(packet.payload[0], STORVSC_ENUMERATE_BUS);
	assert_memory_equal(packet.payload + 1, rest, bytes - 4);
}

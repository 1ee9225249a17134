/*
 * vmbus_test.c - the bus as a guest's driver and a provider see it: messages, states, signals
 */
#include "fixture.h"

#include <errno.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "hv_tlfs.h"

/* --- the sequence of a boot, byte by byte --- */

static void expect_bytes(struct fixture *f, const void *bytes, uint32_t count)
{
	const struct kept_message *message = next_message(f);

	assert_non_null(message);
	assert_int_equal(message->bytes, count);
	assert_memory_equal(message->payload, bytes, count);
}

static void a_boot_is_answered_byte_by_byte(void **state)
{
	static const uint8_t contact[40] = {0x0e, 0, 0, 0, 0, 0, 0,    0, 3, 0, 5, 0, 3, 0,
					    0,	  0, 2, 0, 0, 0, 0,    0, 0, 0, 0, 0, 1, 0,
					    0,	  0, 0, 0, 0, 0, 0x11, 0, 0, 0, 0, 0};
	static const uint8_t accepted[16] = {0x0f, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0};
	static const uint8_t request[8] = {3}, delivered[8] = {4}, unload[8] = {0x10};
	static const uint8_t unloaded[8] = {0x11};
	static const uint8_t packet[48] = {6,	0,   2,	  0,   5,   0,	 1,   0,   1,
					   0,	0,   0,	  0,   0,   0,	 0,   'p', 'a',
					   'y', 'l', 'o', 'a', 'd', ' ', 'o', 'f', ' ',
					   '2', '0', ' ', 'b', 'y', 't', 'e', 's', '.'};
	struct fixture *f = fixture_new();
	struct provider provider = {.echo = true};
	struct vmbus_offer_channel offer;
	struct guest_rings rings;

	provider_offer(f, &provider, 7, NULL);
	post(f, contact, sizeof(contact));
	assert_int_equal(f->hv.messages[0].vp, 3);
	expect_bytes(f, accepted, sizeof(accepted));
	post(f, request, sizeof(request));
	memcpy(&offer, expect(f, VMBUS_OFFER_CHANNEL), sizeof(offer));
	assert_memory_equal(offer.class, "\xd9\x63\x61\xba\xa1\x04\x29\x4d", 8);
	assert_memory_equal(offer.instance, "\x07\0\0\0\x22\x11\x44\x33\x01\x02", 10);
	assert_int_equal(offer.flags, VMBUS_OFFER_ENUMERATE_INTERFACE);
	assert_int_equal(offer.mmio_megabytes, 8);
	assert_memory_equal(offer.user_data, "\xaa\xbb\0", 3);
	assert_int_equal(offer.subchannel_index, 0);
	assert_int_equal(offer.relid, 1);
	assert_int_equal(offer.monitor_id, 0xff);
	assert_int_equal(offer.monitor_allocated, 0);
	assert_int_equal(offer.dedicated_interrupt, 1);
	assert_int_equal(offer.connection_id, 0x2001);
	expect_bytes(f, delivered, sizeof(delivered));
	rings = open_channel(f, &provider, 8);
	/* The host reads the packet, and writes its answer with the trailer at 0. */
	memcpy(rings.up.data, packet, sizeof(packet));
	rings.up.control->write_index = sizeof(packet);
	assert_int_equal(vmbus_signal_event(f->bus, offer.connection_id, 0), HV_STATUS_SUCCESS);
	turn(f);
	assert_int_equal(rings.up.control->read_index, sizeof(packet));
	assert_memory_equal(rings.down.data, "\x0b\0\x02\0\x05\0\0\0\x01\0\0\0\0\0\0\0", 16);
	assert_memory_equal(rings.down.data + 16, packet + 16, 32);
	assert_int_equal(rings.down.control->write_index, sizeof(packet));
	assert_int_equal(f->hv.flags[1][1], 1);
	post(f, unload, sizeof(unload));
	expect_bytes(f, unloaded, sizeof(unloaded));
	assert_int_equal(provider.closes, 1);
	fixture_free(f);
}

/* --- contact --- */

static void versions_are_negotiated_down(void **state)
{
	static const struct {
		uint32_t version, supported, id;
		unsigned int vp; /* asked for 2 */
	} rows[] = {
		{VMBUS_VERSION_WS2008, 0, 0, 0},
		{VMBUS_VERSION_WIN7, 0, 0, 0},
		{VMBUS_VERSION_WIN8, 1, VMBUS_VERSION_WIN8, 0},
		{VMBUS_VERSION_WIN8_1, 1, VMBUS_VERSION_WIN8_1, 2},
		{VMBUS_VERSION_WIN10, 1, VMBUS_VERSION_WIN10, 2},
		{VMBUS_VERSION_WIN10_RS3, 1, VMBUS_VERSION_WIN10_RS3, 2},
		{VMBUS_VERSION_5_0, 1, VMBUS_CONNECTION_CONTACT, 2},
		{VMBUS_VERSION_5_1, 1, VMBUS_CONNECTION_CONTACT, 2},
		{VMBUS_VERSION_5_2, 1, VMBUS_CONNECTION_CONTACT, 2},
		{VMBUS_VERSION_5_3, 1, VMBUS_CONNECTION_CONTACT, 2},
		{0x60000, 0, 0, 2},
		{0, 0, 0, 0},
		{0xffffffff, 0, 0, 2},
	};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct vmbus_version_response *response;
		struct vmbus_status status;

		post_contact(f, rows[i].version, 2);
		assert_int_equal(f->hv.messages[f->hv.first].vp, rows[i].vp);
		assert_int_equal(f->hv.messages[f->hv.first].bytes, 16);
		response = expect(f, VMBUS_VERSION_RESPONSE);
		assert_int_equal(response->supported, rows[i].supported);
		assert_int_equal(response->connection_state, 0);
		assert_int_equal(response->connection_id, rows[i].id);
		vmbus_get_status(f->bus, &status);
		assert_int_equal(status.version, rows[i].supported ? rows[i].version : 0);
	}
	expect_none(f);
	fixture_free(f);
}

static void contact_at_another_sint_or_trust_level_is_refused(void **state)
{
	static const struct {
		uint32_t version;
		uint8_t sint, vtl, supported;
	} rows[] = {
		{VMBUS_VERSION_5_3, 2, 0, 1},
		{VMBUS_VERSION_5_3, 3, 0, 0},
		{VMBUS_VERSION_5_3, 2, 2, 0},
		/* These bytes are an address before 5.0. */
		{VMBUS_VERSION_WIN10, 3, 1, 1},
	};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct vmbus_initiate_contact contact = {
			.header.type = VMBUS_INITIATE_CONTACT,
			.version = rows[i].version,
			.sint = rows[i].sint,
			.vtl = rows[i].vtl,
		};
		const struct vmbus_version_response *response;

		post(f, &contact, sizeof(contact));
		response = expect(f, VMBUS_VERSION_RESPONSE);
		assert_int_equal(response->supported, rows[i].supported);
	}
	fixture_free(f);
}

static void a_vp_that_does_not_exist_gets_no_messages(void **state)
{
	struct fixture *f = fixture_new();

	post_contact(f, VMBUS_VERSION_5_3, VP_COUNT);
	assert_int_equal(f->hv.messages[0].vp, 0);
	fixture_free(f);
}

static void before_contact_only_unload_is_answered(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	post_relid(f, VMBUS_REQUEST_OFFERS, 0);
	post_gpadl(f, 1, 2, 3, 4);
	post_open(f, 1, 2, 2, 0);
	post_relid(f, VMBUS_RELID_RELEASED, 1);
	expect_none(f);
	post_relid(f, VMBUS_UNLOAD, 0);
	expect(f, VMBUS_UNLOAD_RESPONSE);
	expect_none(f);
	fixture_free(f);
}

static void offers_are_made_once_in_a_connection_and_keep_their_relids(void **state)
{
	const struct vmbus_message_header request = {.type = VMBUS_REQUEST_OFFERS};
	struct fixture *f = fixture_new();
	struct provider providers[3] = {};

	for (unsigned int i = 0; i < 3; i++)
		provider_offer(f, &providers[i], i + 1, NULL);
	for (unsigned int round = 0; round < 3; round++) {
		post_contact(f, VMBUS_VERSION_5_3, 0);
		expect(f, VMBUS_VERSION_RESPONSE);
		post(f, &request, sizeof(request));
		for (unsigned int i = 0; i < 3; i++) {
			const struct vmbus_offer_channel *offer = expect(f, VMBUS_OFFER_CHANNEL);

			assert_int_equal(offer->relid, providers[i].relid);
			assert_int_equal(offer->instance[0], i + 1);
		}
		expect(f, VMBUS_ALL_OFFERS_DELIVERED);
		post(f, &request, sizeof(request));
		expect_none(f);
	}
	fixture_free(f);
}

static void short_and_unknown_messages_are_ignored(void **state)
{
	static const struct {
		uint32_t type, bytes; /* one less than what would be served */
	} rows[] = {
		{VMBUS_REQUEST_OFFERS, 7},
		{VMBUS_OPEN_CHANNEL, 147},
		{VMBUS_GPADL_HEADER, 19},
		{VMBUS_GPADL_TEARDOWN, 15},
		{VMBUS_INITIATE_CONTACT, 15},
		{VMBUS_UNLOAD, 7},
		{VMBUS_MODIFY_CHANNEL, 15},
		{VMBUS_TL_CONNECT_REQUEST, 39},
		{VMBUS_CLOSE_RESERVED_CHANNEL, 11},
		{0, 240},
		{25, 240},
		{0xffffffff, 240},
		{VMBUS_OFFER_CHANNEL, 240},
		{VMBUS_OPEN_RESULT, 240},
		{VMBUS_REQUEST_OFFERS, 0},
	};
	struct fixture *f = fixture_new();

	connect_guest(f);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint32_t message[60] = {rows[i].type};

		post(f, message, rows[i].bytes);
		expect_none(f);
	}
	fixture_free(f);
}

/* --- doors --- */

static void the_doors_know_their_connections(void **state)
{
	static const uint8_t bytes[241];
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	assert_int_equal(post_status(f, 1, bytes, 240), HV_STATUS_SUCCESS);
	assert_int_equal(post_status(f, 4, bytes, 240), HV_STATUS_SUCCESS);
	assert_int_equal(post_status(f, 4, bytes, 241), HV_STATUS_INVALID_PARAMETER);
	assert_int_equal(post_status(f, 4, bytes, 0xffffffff), HV_STATUS_INVALID_PARAMETER);
	for (uint32_t id = 0; id < 8; id++) {
		if (id != 1 && id != 4)
			assert_int_equal(post_status(f, id, bytes, 8), 0x12);
	}
	assert_int_equal(post_status(f, 0x2001, bytes, 8), 0x12);
	assert_int_equal(vmbus_signal_event(f->bus, 0x2001, 0), HV_STATUS_SUCCESS);
	assert_int_equal(vmbus_signal_event(f->bus, 0x2001, 1), HV_STATUS_INVALID_PARAMETER);
	assert_int_equal(vmbus_signal_event(f->bus, 0x2000, 0), 0x12);
	assert_int_equal(vmbus_signal_event(f->bus, 0x2002, 0), 0x12);
	assert_int_equal(vmbus_signal_event(f->bus, 0x2800, 0), 0x12);
	assert_int_equal(vmbus_signal_event(f->bus, 1, 0), 0x12);
	assert_int_equal(vmbus_signal_event(f->bus, 0xffffffff, 0), 0x12);
	turn(f);
	fixture_free(f);
}

static void a_full_queue_of_messages_pushes_back_and_loses_none(void **state)
{
	const struct vmbus_gpadl_teardown teardown = {.header.type = VMBUS_GPADL_TEARDOWN};
	struct fixture *f = fixture_new();

	connect_guest(f);
	for (unsigned int i = 0; i < VMBUS_IN_MESSAGES; i++)
		assert_int_equal(post_status(f, 4, &teardown, sizeof(teardown)), 0);
	assert_int_equal(post_status(f, 4, &teardown, sizeof(teardown)), 0x13);
	turn(f);
	for (unsigned int i = 0; i < VMBUS_IN_MESSAGES; i++)
		expect(f, VMBUS_GPADL_TORNDOWN);
	expect_none(f);
	assert_int_equal(post_status(f, 4, &teardown, sizeof(teardown)), 0);
	fixture_free(f);
}

static void messages_wait_in_order_for_the_slot(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	f->hv.slot_taken = true;
	provider_offer(f, &provider, 1, NULL);
	post_contact(f, VMBUS_VERSION_5_3, 1);
	post_relid(f, VMBUS_REQUEST_OFFERS, 0);
	expect_none(f);
	vmbus_synic_ready(f->bus);
	turn(f);
	expect_none(f);
	f->hv.slot_taken = false;
	vmbus_synic_ready(f->bus);
	turn(f);
	expect(f, VMBUS_VERSION_RESPONSE);
	expect(f, VMBUS_OFFER_CHANNEL);
	expect(f, VMBUS_ALL_OFFERS_DELIVERED);
	expect_none(f);
	fixture_free(f);
}

static void a_guest_that_takes_no_messages_is_disconnected(void **state)
{
	const struct vmbus_gpadl_teardown teardown = {.header.type = VMBUS_GPADL_TEARDOWN};
	struct fixture *f = fixture_new();
	struct provider provider = {};
	struct vmbus_status status;

	offer_and_open(f, &provider, 8);
	f->hv.slot_taken = true;
	for (unsigned int i = 0; i <= VMBUS_OUT_MESSAGES; i++) {
		assert_int_equal(post_status(f, 4, &teardown, sizeof(teardown)), 0);
		if (i % 128 == 0)
			turn(f);
	}
	turn(f);
	vmbus_get_status(f->bus, &status);
	assert_int_equal(status.version, 0);
	assert_int_equal(provider.closes, 1);
	/* It may come back. */
	f->hv.slot_taken = false;
	connect_guest(f);
	open_channel(f, &provider, 8);
	fixture_free(f);
}

/* --- offers --- */

static void a_bus_holds_2047_channels_of_different_instances(void **state)
{
	struct fixture *f = fixture_new();
	struct provider *providers = calloc(VMBUS_RELID_LIMIT, sizeof(*providers));
	struct vmbus_channel *channel;
	struct vmbus_offer offer;

	/* Some hosts let a process open few files. */
	for (unsigned int i = 1; i < 100; i++) {
		provider_offer(f, &providers[i], i, NULL);
		assert_int_equal(providers[i].relid, i);
	}
	offer = providers[1].channel->offer;
	assert_int_equal(vmbus_offer(f->bus, &offer, &channel), -EEXIST);
	for (unsigned int i = 100; i < VMBUS_RELID_LIMIT; i++)
		f->bus->relids[i].revoked = true;
	offer.instance.bytes[0] = 0xff;
	assert_int_equal(vmbus_offer(f->bus, &offer, &channel), -ENOSPC);
	for (unsigned int i = 100; i < VMBUS_RELID_LIMIT; i++)
		f->bus->relids[i].revoked = false;
	assert_int_equal(vmbus_offer(f->bus, &offer, &channel), 0);
	fixture_free(f);
	free(providers);
}

static void a_device_added_later_is_offered_at_once_and_after_a_released_relid(void **state)
{
	struct fixture *f = fixture_new();
	struct provider first = {}, second = {}, third = {};

	provider_offer(f, &first, 1, NULL);
	post_contact(f, VMBUS_VERSION_5_3, 0);
	expect(f, VMBUS_VERSION_RESPONSE);
	provider_offer(f, &second, 2, NULL);
	expect_none(f);
	connect_guest(f);
	provider_rescind(&second);
	turn(f);
	assert_true(second.rescinded);
	assert_int_equal(
		((const struct vmbus_relid_message *)expect(f, VMBUS_RESCIND_OFFER))->relid, 2);
	/* The guest has not released relid 2. */
	provider_offer(f, &third, 3, NULL);
	assert_int_equal(
		((const struct vmbus_offer_channel *)expect(f, VMBUS_OFFER_CHANNEL))->relid, 3);
	post_relid(f, VMBUS_RELID_RELEASED, 2);
	provider_offer(f, &second, 2, NULL);
	assert_int_equal(
		((const struct vmbus_offer_channel *)expect(f, VMBUS_OFFER_CHANNEL))->relid, 2);
	/* With the connection the guest forgets everything. */
	provider_rescind(&second);
	turn(f);
	expect(f, VMBUS_RESCIND_OFFER);
	connect_guest(f);
	provider_offer(f, &second, 2, NULL);
	assert_int_equal(second.relid, 2);
	fixture_free(f);
}

static void an_offer_the_guest_releases_comes_back_with_the_next_connection(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	create_gpadl(f, 1, 5, 10, 2);
	post_relid(f, VMBUS_RELID_RELEASED, 1);
	post_gpadl(f, 1, 6, 10, 2);
	assert_int_not_equal(
		((const struct vmbus_gpadl_created *)expect(f, VMBUS_GPADL_CREATED))->status, 0);
	post_open(f, 1, 5, 1, 0);
	assert_int_not_equal(open_status(f, 1), 0);
	connect_guest(f);
	open_channel(f, &provider, 4);
	/* What is open cannot be released. */
	post_relid(f, VMBUS_RELID_RELEASED, 1);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	assert_int_equal(provider.closes, 1);
	fixture_free(f);
}

/* --- GPADLs --- */

static void gpadls_of_any_length_are_created(void **state)
{
	static const uint32_t pages[] = {1, 2, 25, 26, 27, 54, 55, 100, 8190};
	struct fixture *f = fixture_new();
	struct provider provider = {};
	uint64_t before;

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	for (uint32_t i = 0; i < ARRAY_SIZE(pages); i++) {
		before = announced_bytes;
		create_gpadl(f, 1, i, 100, pages[i]);
		assert_int_equal(announced_bytes - before, pages[i] * PAGE_BYTES);
		expect_none(f);
	}
	for (uint32_t i = 0; i < ARRAY_SIZE(pages); i++) {
		post_teardown(f, 1, i);
		assert_int_equal(
			((const struct vmbus_gpadl_torndown *)expect(f, VMBUS_GPADL_TORNDOWN))
				->gpadl,
			i);
	}
	assert_int_equal(f->bus->gpadl_count, 0);
	assert_int_equal(f->bus->gpadl_words, 0);
	fixture_free(f);
}

struct list_row {
	uint16_t range_bytes, range_count;
	uint32_t relid;
	uint32_t message_words; /* behind the header */
	uint64_t list[27];
	bool answered, created;
};

static void lists_are_checked_before_they_are_created(void **state)
{
	static const struct list_row rows[] = {
		{16, 1, 1, 2, {0x1000, 5}, true, true},
		{16, 1, 1, 27, {0x1000, 5, ~0ull}, true, true}, /* padded */
		{24, 1, 1, 3, {0x1001, 5, 6}, true, true},
		{24, 1, 1, 3, {0x1000 | 1ull << 32, 5, 6}, true, true},
		{32, 2, 1, 4, {0x800, 5, 0x800, 6}, true, true},
		{40, 2, 1, 5, {0x2000, 5, 6, 0x10, 7}, true, true},
		{16, 1, 1, 1, {0x1000}, false, false}, /* a body is to come */
		{0, 1, 1, 2, {0x1000, 5}, true, false},
		{12, 1, 1, 2, {0x1000, 5}, true, false},
		{16, 0, 1, 2, {0x1000, 5}, true, false},
		{16, 2, 1, 2, {0x1000, 5}, true, false},
		{8, 1, 1, 1, {0x1000}, true, false},
		{8, 1, 1, 1, {0}, true, false},
		{16, 1, 1, 2, {0x1001, 5}, true, false},
		{16, 1, 1, 2, {0x1000 | 1ull << 32, 5}, true, false},
		{16, 1, 1, 2, {0xffffffff, 5}, true, false},
		{16, 1, 1, 2, {~0ull, 5}, true, false},
		{16, 1, 1, 2, {0x1000, MEMORY_BYTES / PAGE_BYTES}, true, false},
		{16, 1, 1, 2, {0x1000, ~0ull}, true, false},
		{16, 1, 1, 2, {0x1000, 1ull << 52}, true, false},
		{16, 1, 0, 2, {0x1000, 5}, true, false},
		{16, 1, 2, 2, {0x1000, 5}, true, false},
		{16, 1, 2048, 2, {0x1000, 5}, true, false},
		{16, 1, 0xffffffff, 2, {0x1000, 5}, true, false},
	};
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	for (uint32_t i = 0; i < ARRAY_SIZE(rows); i++) {
		uint8_t message[VMBUS_MESSAGE_BYTES_MAX];
		const struct vmbus_gpadl_header header = {
			.header.type = VMBUS_GPADL_HEADER,
			.relid = rows[i].relid,
			.gpadl = 0x100 + i,
			.range_bytes = rows[i].range_bytes,
			.range_count = rows[i].range_count,
		};
		const struct vmbus_gpadl_created *created;

		memcpy(message, &header, sizeof(header));
		memcpy(message + sizeof(header), rows[i].list, sizeof(rows[i].list));
		post(f, message, sizeof(header) + rows[i].message_words * 8);
		if (!rows[i].answered) {
			expect_none(f);
			continue;
		}
		created = expect(f, VMBUS_GPADL_CREATED);
		assert_int_equal(created->relid, rows[i].relid);
		assert_int_equal(created->gpadl, 0x100 + i);
		if (!created->status != rows[i].created)
			fail_msg("row %u gave status 0x%x", i, created->status);
	}
	fixture_free(f);
}

static void a_gpadl_number_is_used_once_a_channel(void **state)
{
	struct fixture *f = fixture_new();
	struct provider providers[2] = {};

	provider_offer(f, &providers[0], 1, NULL);
	provider_offer(f, &providers[1], 2, NULL);
	connect_guest(f);
	create_gpadl(f, 1, 7, 10, 30);
	create_gpadl(f, 2, 7, 50, 30);
	post_gpadl(f, 1, 7, 10, 3);
	assert_int_not_equal(
		((const struct vmbus_gpadl_created *)expect(f, VMBUS_GPADL_CREATED))->status, 0);
	/* A body for nobody is not answered, a teardown is. */
	post(f, &(struct vmbus_gpadl_body){{VMBUS_GPADL_BODY}, 0, 99}, 16);
	expect_none(f);
	post_teardown(f, 1, 99);
	expect(f, VMBUS_GPADL_TORNDOWN);
	fixture_free(f);
}

static void all_gpadls_together_are_bounded(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};
	uint32_t created = 0;

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	for (uint32_t id = 0; id <= VMBUS_GPADL_WORDS / 8191; id++) {
		const struct vmbus_gpadl_header header = {
			.header.type = VMBUS_GPADL_HEADER,
			.relid = 1,
			.gpadl = id,
			.range_bytes = 8191 * 8,
			.range_count = 1,
		};

		post(f, &header, sizeof(header));
		created += !next_message(f);
	}
	assert_int_equal(created, VMBUS_GPADL_WORDS / 8191);
	fixture_free(f);
}

/* --- opening --- */

static void only_rings_are_opened(void **state)
{
	static const struct {
		uint32_t relid, gpadl, offset, vp;
		bool opened;
	} rows[] = {
		{1, 1, 4, 0, true},	      {1, 1, 2, VP_COUNT - 1, true}, {1, 1, 6, 0, true},
		{1, 1, 4, VMBUS_NO_VP, true}, {1, 1, 0, 0, false},	     {1, 1, 1, 0, false},
		{1, 1, 7, 0, false},	      {1, 1, 8, 0, false},	     {1, 1, 9, 0, false},
		{1, 1, 0xffffffff, 0, false}, {1, 1, 4, VP_COUNT, false},    {1, 1, 4, 64, false},
		{1, 2, 4, 0, false},	      {1, 9, 4, 0, false},	     {2, 1, 4, 0, false},
		{0, 1, 4, 0, false},	      {0xffffffff, 1, 4, 0, false},  {1, 3, 1027, 0, false},
		{1, 3, 4, 0, false},	      {1, 4, 1, 0, false},
	};
	const uint64_t two_ranges[] = {0x4000, 16, 17, 18, 19, 0x4000, 20, 21, 22, 23};
	struct vmbus_gpadl_header header = {{VMBUS_GPADL_HEADER}, 1, 2, sizeof(two_ranges), 2};
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX];
	struct fixture *f = fixture_new();
	struct provider provider = {};
	unsigned int opened = 0;

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	create_gpadl(f, 1, 1, 16, 8);
	create_gpadl(f, 1, 3, 100, 1100);
	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), two_ranges, sizeof(two_ranges));
	post(f, message, sizeof(message));
	assert_int_equal(
		((const struct vmbus_gpadl_created *)expect(f, VMBUS_GPADL_CREATED))->status, 0);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		post_open(f, rows[i].relid, rows[i].gpadl, rows[i].offset, rows[i].vp);
		if (!open_status(f, rows[i].relid) != rows[i].opened)
			fail_msg("row %zu was answered otherwise", i);
		if (rows[i].opened)
			post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
		opened += rows[i].opened;
		assert_int_equal(provider.opens, opened);
		assert_int_equal(provider.closes, opened);
	}
	assert_int_equal(f->bus->ring_mappings, 0);
	fixture_free(f);
}

static void indices_that_are_wild_at_the_open_refuse_it(void **state)
{
	static const struct {
		bool up;
		uint32_t index;
		bool opened;
	} rows[] = {
		{true, 0, true},	  {true, 3 * 4096 - 8, true}, {true, 3 * 4096, false},
		{true, 4, false},	  {true, 0xfffffff8, false},  {false, 3 * 4096 - 8, true},
		{false, 3 * 4096, false}, {false, 1, false},
	};
	struct fixture *f = fixture_new();
	struct provider provider = {};
	struct guest_rings rings;

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	create_gpadl(f, 1, 1, 16, 8);
	rings = guest_rings_init(f, 16, 8);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		rings.up.control->read_index = rings.up.control->write_index =
			rows[i].up ? rows[i].index : 0;
		rings.down.control->write_index = rings.down.control->read_index =
			rows[i].up ? 0 : rows[i].index;
		rings.down.control->features = 0;
		rings.down.control->pending_send_size = 64;
		rings.up.control->interrupt_mask = 1;
		post_open(f, 1, 1, 4, 0);
		assert_int_equal(!open_status(f, 1), rows[i].opened);
		if (rows[i].opened) {
			/* Our own fields are set anew. */
			assert_int_equal(rings.down.control->features, 1);
			assert_int_equal(rings.down.control->pending_send_size, 0);
			assert_int_equal(rings.up.control->interrupt_mask, 0);
			post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
		}
	}
	fixture_free(f);
}

static void a_channel_is_opened_once_and_again_after_its_close(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	offer_and_open(f, &provider, 8);
	post_open(f, 1, RING_GPADL, 4, 0);
	assert_int_not_equal(open_status(f, 1), 0);
	assert_int_equal(provider.opens, 1);
	for (unsigned int i = 2; i < 5; i++) {
		post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
		post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
		expect_none(f);
		assert_int_equal(provider.closes, i - 1);
		post_teardown(f, 1, RING_GPADL);
		expect(f, VMBUS_GPADL_TORNDOWN);
		open_channel(f, &provider, 8);
		assert_int_equal(provider.opens, i);
	}
	fixture_free(f);
}

static void a_provider_may_refuse(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.open_result = -EIO};
	struct vmbus_status status;

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	create_gpadl(f, 1, 1, 16, 8);
	guest_rings_init(f, 16, 8);
	post_open(f, 1, 1, 4, 0);
	assert_int_not_equal(open_status(f, 1), 0);
	assert_int_equal(provider.closes, 0);
	vmbus_get_status(f->bus, &status);
	assert_int_equal(status.open, 0);
	provider.open_result = 0;
	post_open(f, 1, 1, 4, 0);
	assert_int_equal(open_status(f, 1), 0);
	vmbus_get_status(f->bus, &status);
	assert_int_equal(status.open, 1);
	assert_int_equal(status.offered, 1);
	fixture_free(f);
}

static void an_open_while_the_channel_closes_waits_for_it(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};

	offer_and_open(f, &provider, 8);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_open(f, 1, RING_GPADL, 4, 2);
	expect_none(f);
	/* Another is one too many; a close takes it back. */
	post_open(f, 1, RING_GPADL, 4, 2);
	assert_int_not_equal(open_status(f, 1), 0);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_open(f, 1, RING_GPADL, 4, 2);
	expect_none(f);
	assert_int_equal(provider.opens, 1);
	vmbus_channel_closed(provider.channel);
	turn(f);
	assert_int_equal(open_status(f, 1), 0);
	assert_int_equal(provider.opens, 2);
	provider.hold_close = false;
	fixture_free(f);
}

static void a_gpadl_is_torn_down_when_its_channel_is_closed(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};

	offer_and_open(f, &provider, 8);
	create_gpadl(f, 1, 5, 100, 3);
	create_gpadl(f, 1, 6, 100, 3);
	/* What is not the ring goes at once while the channel is open. */
	post_teardown(f, 1, 5);
	expect(f, VMBUS_GPADL_TORNDOWN);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_teardown(f, 1, RING_GPADL);
	post_teardown(f, 1, 6);
	post_teardown(f, 1, 6);
	expect_none(f);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect(f, VMBUS_GPADL_TORNDOWN);
	expect(f, VMBUS_GPADL_TORNDOWN);
	expect_none(f);
	assert_int_equal(f->bus->gpadl_count, 0);
	fixture_free(f);
}

static void tearing_the_rings_down_closes_the_channel(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};

	offer_and_open(f, &provider, 8);
	post_teardown(f, 1, RING_GPADL);
	assert_int_equal(provider.closes, 1);
	expect_none(f);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect(f, VMBUS_GPADL_TORNDOWN);
	/* To the guest it is open still. */
	create_gpadl(f, 1, RING_GPADL, RING_PFN, 8);
	post_open(f, 1, RING_GPADL, 4, 1);
	assert_int_not_equal(open_status(f, 1), 0);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_open(f, 1, RING_GPADL, 4, 1);
	assert_int_equal(open_status(f, 1), 0);
	provider.hold_close = false;
	fixture_free(f);
}

static void a_broken_ring_costs_the_channel_only(void **state)
{
	struct fixture *f = fixture_new();
	struct provider providers[2] = {};
	struct guest_rings rings;

	provider_offer(f, &providers[0], 1, NULL);
	provider_offer(f, &providers[1], 2, NULL);
	connect_guest(f);
	create_gpadl(f, 2, 9, 0x200, 8);
	guest_rings_init(f, 0x200, 8);
	post_open(f, 2, 9, 4, 0);
	assert_int_equal(open_status(f, 2), 0);
	rings = open_channel(f, &providers[0], 8);
	rings.up.control->write_index = 12;
	vmbus_signal_event(f->bus, 0x2001, 0);
	turn(f);
	assert_int_equal(providers[0].read_result, -EPROTO);
	assert_int_equal(providers[0].closes, 1);
	assert_int_equal(providers[1].closes, 0);
	expect_none(f);
	rings.up.control->write_index = 0;
	post_open(f, 1, RING_GPADL, 4, 0);
	assert_int_not_equal(open_status(f, 1), 0);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_open(f, 1, RING_GPADL, 4, 0);
	assert_int_equal(open_status(f, 1), 0);
	fixture_free(f);
}

static void a_ring_broken_during_the_open_fails_it(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.read_in_open = true};
	struct guest_rings rings;

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	create_gpadl(f, 1, RING_GPADL, RING_PFN, 8);
	rings = guest_rings_init(f, RING_PFN, 8);
	rings.up.control->write_index = 8;
	post_open(f, 1, RING_GPADL, 4, 0);
	assert_int_equal(provider.read_result, -EPROTO);
	assert_int_not_equal(open_status(f, 1), 0);
	assert_int_equal(provider.closes, 1);
	/* An open that failed needs no close. */
	rings.up.control->write_index = 0;
	post_open(f, 1, RING_GPADL, 4, 0);
	assert_int_equal(open_status(f, 1), 0);
	expect_none(f);
	fixture_free(f);
}

/* --- messages that arrive while the channel's loop still opens it --- */

/* Posts without serving, so that the bus sees the second message before the provider answers. */
static void post_late(struct fixture *f, const void *message, uint32_t bytes)
{
	assert_int_equal(post_status(f, 1, message, bytes), 0);
}

static struct vmbus_open_channel ring_open(uint32_t relid)
{
	return (struct vmbus_open_channel){{VMBUS_OPEN_CHANNEL}, relid, 0x1000 + relid,
					   RING_GPADL,		 0,	4};
}

static void a_close_that_overtakes_the_open_is_obeyed(void **state)
{
	const struct vmbus_relid_message close = {{VMBUS_CLOSE_CHANNEL}, 1};
	const struct vmbus_open_channel open = ring_open(1);
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	create_gpadl(f, 1, RING_GPADL, RING_PFN, 8);
	guest_rings_init(f, RING_PFN, 8);
	post_late(f, &open, sizeof(open));
	post_late(f, &close, sizeof(close));
	turn(f);
	assert_int_equal(provider.opens, 1);
	assert_int_equal(provider.closes, 1);
	expect_none(f);
	/* Open, close, open again, all before the provider saw the first. */
	post_late(f, &open, sizeof(open));
	post_late(f, &close, sizeof(close));
	post_late(f, &open, sizeof(open));
	turn(f);
	assert_int_equal(provider.opens, 3);
	assert_int_equal(provider.closes, 2);
	assert_int_equal(open_status(f, 1), 0);
	expect_none(f);
	fixture_free(f);
}

static void an_unload_or_a_rescind_that_overtakes_the_open_is_obeyed(void **state)
{
	const struct vmbus_message_header unload = {VMBUS_UNLOAD};
	const struct vmbus_open_channel open = ring_open(1);

	for (unsigned int rescind = 0; rescind < 2; rescind++) {
		for (int result = 0; result >= -EIO; result -= EIO) {
			struct fixture *f = fixture_new();
			struct provider provider = {.open_result = result};

			provider_offer(f, &provider, 1, NULL);
			connect_guest(f);
			create_gpadl(f, 1, RING_GPADL, RING_PFN, 8);
			guest_rings_init(f, RING_PFN, 8);
			post_late(f, &open, sizeof(open));
			if (rescind) {
				struct in_message message = {.bytes = sizeof(open)};

				memcpy(message.payload, &open, sizeof(open));
				f->bus->in_count = 0;
				connection_message(f->bus, &message);
				provider_rescind(&provider);
			} else {
				post_late(f, &unload, sizeof(unload));
			}
			turn(f);
			expect(f, rescind ? VMBUS_RESCIND_OFFER : VMBUS_UNLOAD_RESPONSE);
			expect_none(f);
			assert_int_equal(provider.opens, 1);
			assert_int_equal(provider.closes, result == 0);
			assert_int_equal(provider.rescinded, rescind);
			fixture_free(f);
		}
	}
}

/* --- removal --- */

static void a_rescind_follows_the_close_and_what_comes_late_is_tolerated(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};

	offer_and_open(f, &provider, 8);
	provider_rescind(&provider);
	turn(f);
	assert_int_equal(provider.closes, 1);
	/* The answer to an open is the RESCIND. */
	post_open(f, 1, RING_GPADL, 4, 1);
	expect_none(f);
	assert_false(provider.rescinded);
	vmbus_channel_closed(provider.channel);
	turn(f);
	assert_true(provider.rescinded);
	expect(f, VMBUS_RESCIND_OFFER);
	expect_none(f);
	post_open(f, 1, RING_GPADL, 4, 1);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	expect_none(f);
	create_gpadl(f, 1, 70, 100, 2);
	post_teardown(f, 1, 70);
	expect(f, VMBUS_GPADL_TORNDOWN);
	post_teardown(f, 1, RING_GPADL);
	expect(f, VMBUS_GPADL_TORNDOWN);
	create_gpadl(f, 1, 71, 100, 2);
	post_relid(f, VMBUS_RELID_RELEASED, 1);
	assert_int_equal(f->bus->gpadl_count, 0);
	post_gpadl(f, 1, 72, 100, 2);
	assert_int_not_equal(
		((const struct vmbus_gpadl_created *)expect(f, VMBUS_GPADL_CREATED))->status, 0);
	fixture_free(f);
}

static void a_rescind_answers_the_teardowns_first(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};

	offer_and_open(f, &provider, 8);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_teardown(f, 1, RING_GPADL);
	provider_rescind(&provider);
	turn(f);
	expect_none(f);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect(f, VMBUS_GPADL_TORNDOWN);
	expect(f, VMBUS_RESCIND_OFFER);
	assert_true(provider.rescinded);
	fixture_free(f);
}

static void what_was_never_offered_is_not_rescinded(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	provider_rescind(&provider);
	assert_false(provider.rescinded); /* told from the loop, not from within */
	turn(f);
	assert_true(provider.rescinded);
	post_contact(f, VMBUS_VERSION_5_3, 0);
	provider_offer(f, &provider, 1, NULL);
	assert_int_equal(provider.relid, 1);
	provider_rescind(&provider);
	turn(f);
	expect(f, VMBUS_VERSION_RESPONSE);
	expect_none(f);
	fixture_free(f);
}

static void a_bus_that_goes_first_tells_who_waits_for_a_rescind(void **state)
{
	struct fixture *f = fixture_new();
	struct provider providers[2] = {};

	provider_offer(f, &providers[0], 1, NULL);
	provider_offer(f, &providers[1], 2, NULL);
	provider_rescind(&providers[0]);
	provider_rescind(&providers[1]);
	fixture_free(f);
	assert_true(providers[0].rescinded);
	assert_true(providers[1].rescinded);
}

/* --- the end of the connection --- */

static void an_unload_waits_for_all_that_is_in_flight(void **state)
{
	struct fixture *f = fixture_new();
	struct provider providers[2] = {{.hold_close = true}, {.hold_close = true}};

	provider_offer(f, &providers[0], 1, NULL);
	provider_offer(f, &providers[1], 2, NULL);
	connect_guest(f);
	open_channel(f, &providers[0], 8);
	create_gpadl(f, 2, 9, 0x200, 8);
	guest_rings_init(f, 0x200, 8);
	post_open(f, 2, 9, 4, 0);
	assert_int_equal(open_status(f, 2), 0);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_teardown(f, 1, RING_GPADL); /* whose answer the unload makes needless */
	post_relid(f, VMBUS_UNLOAD, 0);
	assert_int_equal(providers[0].closes + providers[1].closes, 2);
	/* Nothing else is heard any more. */
	post_teardown(f, 1, RING_GPADL);
	post_open(f, 1, RING_GPADL, 4, 0);
	vmbus_channel_closed(providers[0].channel);
	turn(f);
	expect_none(f);
	vmbus_channel_closed(providers[1].channel);
	turn(f);
	expect(f, VMBUS_UNLOAD_RESPONSE);
	expect_none(f);
	post_relid(f, VMBUS_RELID_RELEASED, 1);
	connect_guest(f);
	assert_int_equal(f->bus->gpadl_count, 0);
	fixture_free(f);
}

static void a_crash_kernel_is_answered_on_its_vp_without_leftovers(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};
	const struct kept_message *message;

	offer_and_open(f, &provider, 8);
	f->hv.slot_taken = true;
	post_teardown(f, 1, 99); /* whose answer nobody will read */
	post_contact(f, VMBUS_VERSION_5_2, 3);
	assert_int_equal(provider.closes, 1);
	post_contact(f, VMBUS_VERSION_5_1, 2); /* the later one counts */
	vmbus_channel_closed(provider.channel);
	f->hv.slot_taken = false;
	turn(f);
	message = next_message(f);
	assert_int_equal(message->vp, 2);
	assert_int_equal(((const struct vmbus_message_header *)message->payload)->type,
			 VMBUS_VERSION_RESPONSE);
	expect_none(f);
	assert_int_equal(f->bus->version, VMBUS_VERSION_5_1);
	provider.hold_close = false;
	fixture_free(f);
}

static void a_reset_closes_everything_silently_and_offers_stay(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};

	offer_and_open(f, &provider, 8);
	fixture_reset(f);
	assert_int_equal(provider.closes, 1);
	assert_false(f->reset_done);
	vmbus_channel_closed(provider.channel);
	turn(f);
	assert_true(f->reset_done);
	expect_none(f);
	provider.hold_close = false;
	fixture_reset(f);
	assert_true(f->reset_done);
	connect_guest(f);
	open_channel(f, &provider, 8);
	assert_int_equal(provider.opens, 2);
	fixture_free(f);
}

/* --- target VPs and signals --- */

static void modify(struct fixture *f, uint32_t relid, uint32_t vp)
{
	const struct vmbus_modify_channel message = {{VMBUS_MODIFY_CHANNEL}, relid, vp};

	post(f, &message, sizeof(message));
}

static void a_channel_moves_to_another_vp(void **state)
{
	static const struct {
		uint32_t relid, vp;
		bool moved;
	} rows[] = {
		{1, 2, true},  {1, VP_COUNT, false}, {1, VMBUS_NO_VP, false},
		{2, 1, false}, {3, 1, false},
	};
	struct fixture *f = fixture_new();
	struct provider providers[2] = {};

	provider_offer(f, &providers[0], 1, NULL);
	provider_offer(f, &providers[1], 2, NULL);
	connect_guest(f);
	open_channel(f, &providers[0], 8);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct vmbus_modify_channel_response *response;

		modify(f, rows[i].relid, rows[i].vp);
		response = expect(f, VMBUS_MODIFY_CHANNEL_RESPONSE);
		assert_int_equal(response->relid, rows[i].relid);
		assert_int_equal(!response->status, rows[i].moved);
	}
	assert_int_equal(f->hv.flags[2][1], 1);
	channel_signal(providers[0].channel);
	assert_int_equal(f->hv.flags[1][1], 0);
	assert_int_equal(f->hv.flags[2][1], 2);
	fixture_free(f);
}

static void older_guests_get_no_answer_to_a_move(void **state)
{
	static const struct {
		uint32_t version;
		unsigned int flags; /* on the new VP */
	} rows[] = {{VMBUS_VERSION_5_2, 1}, {VMBUS_VERSION_WIN10_RS3, 1}, {VMBUS_VERSION_WIN10, 0}};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture *f = fixture_new();
		struct provider provider = {};
		struct vmbus_status status;

		provider_offer(f, &provider, 1, NULL);
		post_contact(f, rows[i].version, 0);
		expect(f, VMBUS_VERSION_RESPONSE);
		post_relid(f, VMBUS_REQUEST_OFFERS, 0);
		expect(f, VMBUS_OFFER_CHANNEL);
		expect(f, VMBUS_ALL_OFFERS_DELIVERED);
		open_channel(f, &provider, 8);
		vmbus_get_status(f->bus, &status);
		assert_int_equal(status.version, rows[i].version);
		modify(f, 1, 3);
		expect_none(f);
		assert_int_equal(f->hv.flags[3][1], rows[i].flags);
		fixture_free(f);
	}
}

static void signals_wait_for_a_vp_that_takes_none(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	offer_and_open(f, &provider, 8);
	f->hv.flags_refused = true;
	channel_signal(provider.channel);
	channel_signal(provider.channel);
	vmbus_synic_ready(f->bus);
	turn(f);
	assert_int_equal(f->hv.flags[1][1], 0);
	f->hv.flags_refused = false;
	vmbus_synic_ready(f->bus);
	turn(f);
	assert_int_equal(f->hv.flags[1][1], 1);
	vmbus_synic_ready(f->bus);
	turn(f);
	assert_int_equal(f->hv.flags[1][1], 1);
	fixture_free(f);
}

static void no_signal_comes_before_the_answer_to_the_open_or_after_the_close(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};
	struct vmbus_channel *channel;

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	channel = provider.channel;
	channel_signal(channel);
	open_channel(f, &provider, 8);
	assert_int_equal(f->hv.flags[1][1], 0);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	channel_signal(channel);
	assert_int_equal(f->hv.flags[1][1], 0);
	/* During the open they are held back. */
	pthread_mutex_lock(&channel->signal_lock);
	channel->signals = SIGNALS_HELD;
	pthread_mutex_unlock(&channel->signal_lock);
	channel_signal(channel);
	assert_int_equal(f->hv.flags[1][1], 0);
	assert_true(channel->signal_latched);
	post_open(f, 1, RING_GPADL, 4, 3);
	assert_int_equal(open_status(f, 1), 0);
	assert_int_equal(f->hv.flags[3][1], 1);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	post_open(f, 1, RING_GPADL, 4, VMBUS_NO_VP);
	assert_int_equal(open_status(f, 1), 0);
	channel_signal(channel);
	assert_int_equal(f->hv.flags[3][1], 1);
	fixture_free(f);
}

/* --- sub-channels --- */

static void expect_subchannels(struct fixture *f, uint16_t count)
{
	for (uint16_t i = 1; i <= count; i++) {
		const struct vmbus_offer_channel *offer = expect(f, VMBUS_OFFER_CHANNEL);

		assert_int_equal(offer->subchannel_index, i);
		assert_int_equal(offer->relid, 1 + i);
		assert_int_equal(offer->connection_id, 0x2001 + i);
		assert_int_equal(offer->instance[0], 1);
	}
}

static void subchannels_come_and_go_with_their_primary(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.subchannels = 3};

	provider_offer(f, &provider, 1, NULL);
	connect_guest(f);
	for (unsigned int round = 1; round < 4; round++) {
		open_channel(f, &provider, 8);
		expect_subchannels(f, 3);
		assert_int_equal(vmbus_offer_subchannels(provider.channel, 1, NULL), -EBUSY);
		create_gpadl(f, 3, 9, 0x200, 8);
		guest_rings_init(f, 0x200, 8);
		post_open(f, 3, 9, 4, 0);
		assert_int_equal(open_status(f, 3), 0);
		assert_int_equal(provider.opens, 2 * round);
		post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
		assert_int_equal(provider.closes, 2 * round);
		for (unsigned int i = 0; i < 3; i++)
			expect(f, VMBUS_RESCIND_OFFER);
		post_teardown(f, 1, RING_GPADL);
		expect(f, VMBUS_GPADL_TORNDOWN);
		for (uint32_t i = 2; i < 5; i++)
			post_relid(f, VMBUS_RELID_RELEASED, i);
		expect_none(f);
	}
	fixture_free(f);
}

static void subchannels_end_silently_with_the_connection(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.subchannels = 2, .hold_close = true};
	struct vmbus_channel *subchannel;
	struct vmbus_status status;

	offer_and_open(f, &provider, 8);
	expect_subchannels(f, 2);
	create_gpadl(f, 3, 9, 0x200, 8);
	guest_rings_init(f, 0x200, 8);
	post_open(f, 3, 9, 4, 0);
	assert_int_equal(open_status(f, 3), 0);
	subchannel = f->bus->relids[3].channel;
	post_relid(f, VMBUS_UNLOAD, 0);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect_none(f);
	vmbus_channel_closed(subchannel);
	turn(f);
	expect(f, VMBUS_UNLOAD_RESPONSE);
	expect_none(f);
	vmbus_get_status(f->bus, &status);
	assert_int_equal(status.offered, 1);
	fixture_free(f);
}

static void a_rescinded_primary_takes_its_subchannels_along(void **state)
{
	static const uint32_t order[] = {2, 3, 1};
	struct fixture *f = fixture_new();
	struct provider provider = {.subchannels = 2};

	offer_and_open(f, &provider, 8);
	expect_subchannels(f, 2);
	provider_rescind(&provider);
	turn(f);
	assert_true(provider.rescinded);
	for (unsigned int i = 0; i < 3; i++)
		assert_int_equal(
			((const struct vmbus_relid_message *)expect(f, VMBUS_RESCIND_OFFER))->relid,
			order[i]);
	fixture_free(f);
}

static void numbers_of_subchannels_are_checked(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	assert_int_equal(vmbus_offer_subchannels(provider.channel, 0, NULL), -EINVAL);
	assert_int_equal(vmbus_offer_subchannels(provider.channel, 65, NULL), -EINVAL);
	/* Not open: nothing comes of it, and it may be asked again. */
	assert_int_equal(vmbus_offer_subchannels(provider.channel, 64, NULL), 0);
	turn(f);
	connect_guest(f);
	open_channel(f, &provider, 8);
	assert_int_equal(vmbus_offer_subchannels(provider.channel, 1, NULL), 0);
	turn(f);
	expect_subchannels(f, 1);
	fixture_free(f);
}

/* --- doorbells, and messages that are only refused --- */

struct bells {
	uint32_t open; /* one bit a relid */
	unsigned int changes;
};

static void bell_opened(void *ctx, uint32_t connection_id, int eventfd)
{
	struct bells *bells = ctx;

	assert_true(eventfd >= 0);
	assert_false(bells->open & BIT(connection_id - 0x2000));
	bells->open |= BIT(connection_id - 0x2000);
	bells->changes++;
}

static void bell_closed(void *ctx, uint32_t connection_id, int eventfd)
{
	struct bells *bells = ctx;

	assert_true(bells->open & BIT(connection_id - 0x2000));
	bells->open &= ~BIT(connection_id - 0x2000);
	bells->changes++;
}

static void doorbells_follow_the_open_channels(void **state)
{
	struct bells bells = {};
	const struct vmbus_doorbell_events events = {bell_opened, bell_closed, &bells};
	static const struct vmbus_doorbell_events none;
	struct fixture *f = fixture_new();
	struct provider provider = {};

	offer_and_open(f, &provider, 8);
	vmbus_set_doorbell_events(f->bus, &events);
	assert_int_equal(bells.open, 2);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	assert_int_equal(bells.open, 0);
	post_open(f, 1, RING_GPADL, 4, 1);
	assert_int_equal(bells.open, 2);
	vmbus_set_doorbell_events(f->bus, &none);
	assert_int_equal(bells.open, 0);
	assert_int_equal(bells.changes, 4);
	vmbus_set_doorbell_events(f->bus, &events);
	fixture_reset(f);
	assert_int_equal(bells.open, 0);
	fixture_free(f);
}

static void sockets_and_reserved_channels_are_refused_in_form(void **state)
{
	const struct vmbus_tl_connect_request request = {
		{VMBUS_TL_CONNECT_REQUEST}, {1, 2, 3}, {4, 5, 6}};
	struct fixture *f = fixture_new();
	const struct vmbus_tl_connect_result *result;

	connect_guest(f);
	post(f, &request, sizeof(request));
	result = expect(f, VMBUS_TL_CONNECT_RESULT);
	assert_memory_equal(result->endpoint, request.endpoint, 32);
	assert_int_equal(result->status, 0xc0000236);
	post_relid(f, VMBUS_CLOSE_RESERVED_CHANNEL, 77);
	assert_int_equal(
		((const struct vmbus_relid_message *)expect(f, VMBUS_CLOSE_RESERVED_RESPONSE))
			->relid,
		77);
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_boot_is_answered_byte_by_byte),
		cmocka_unit_test(versions_are_negotiated_down),
		cmocka_unit_test(contact_at_another_sint_or_trust_level_is_refused),
		cmocka_unit_test(a_vp_that_does_not_exist_gets_no_messages),
		cmocka_unit_test(before_contact_only_unload_is_answered),
		cmocka_unit_test(offers_are_made_once_in_a_connection_and_keep_their_relids),
		cmocka_unit_test(short_and_unknown_messages_are_ignored),
		cmocka_unit_test(the_doors_know_their_connections),
		cmocka_unit_test(a_full_queue_of_messages_pushes_back_and_loses_none),
		cmocka_unit_test(messages_wait_in_order_for_the_slot),
		cmocka_unit_test(a_guest_that_takes_no_messages_is_disconnected),
		cmocka_unit_test(a_bus_holds_2047_channels_of_different_instances),
		cmocka_unit_test(
			a_device_added_later_is_offered_at_once_and_after_a_released_relid),
		cmocka_unit_test(an_offer_the_guest_releases_comes_back_with_the_next_connection),
		cmocka_unit_test(gpadls_of_any_length_are_created),
		cmocka_unit_test(lists_are_checked_before_they_are_created),
		cmocka_unit_test(a_gpadl_number_is_used_once_a_channel),
		cmocka_unit_test(all_gpadls_together_are_bounded),
		cmocka_unit_test(only_rings_are_opened),
		cmocka_unit_test(indices_that_are_wild_at_the_open_refuse_it),
		cmocka_unit_test(a_channel_is_opened_once_and_again_after_its_close),
		cmocka_unit_test(a_provider_may_refuse),
		cmocka_unit_test(an_open_while_the_channel_closes_waits_for_it),
		cmocka_unit_test(a_gpadl_is_torn_down_when_its_channel_is_closed),
		cmocka_unit_test(tearing_the_rings_down_closes_the_channel),
		cmocka_unit_test(a_broken_ring_costs_the_channel_only),
		cmocka_unit_test(a_ring_broken_during_the_open_fails_it),
		cmocka_unit_test(a_close_that_overtakes_the_open_is_obeyed),
		cmocka_unit_test(an_unload_or_a_rescind_that_overtakes_the_open_is_obeyed),
		cmocka_unit_test(a_rescind_follows_the_close_and_what_comes_late_is_tolerated),
		cmocka_unit_test(a_rescind_answers_the_teardowns_first),
		cmocka_unit_test(what_was_never_offered_is_not_rescinded),
		cmocka_unit_test(a_bus_that_goes_first_tells_who_waits_for_a_rescind),
		cmocka_unit_test(an_unload_waits_for_all_that_is_in_flight),
		cmocka_unit_test(a_crash_kernel_is_answered_on_its_vp_without_leftovers),
		cmocka_unit_test(a_reset_closes_everything_silently_and_offers_stay),
		cmocka_unit_test(a_channel_moves_to_another_vp),
		cmocka_unit_test(older_guests_get_no_answer_to_a_move),
		cmocka_unit_test(signals_wait_for_a_vp_that_takes_none),
		cmocka_unit_test(no_signal_comes_before_the_answer_to_the_open_or_after_the_close),
		cmocka_unit_test(subchannels_come_and_go_with_their_primary),
		cmocka_unit_test(subchannels_end_silently_with_the_connection),
		cmocka_unit_test(a_rescinded_primary_takes_its_subchannels_along),
		cmocka_unit_test(numbers_of_subchannels_are_checked),
		cmocka_unit_test(doorbells_follow_the_open_channels),
		cmocka_unit_test(sockets_and_reserved_channels_are_refused_in_form),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

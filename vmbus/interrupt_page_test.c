/*
 * interrupt_page_test.c - guests of Server 2008 (0.13) and 2008 R2 (1.1)
 */
#include "fixture.h"

#include <errno.h>

#include "hv_tlfs.h"

#define PAGE_GPA  UINT64_C(0x8000)
#define ANY_VP	  0xe1e11u /* these guests name a GPADL where later ones name a VP */
#define LAST_PAGE (MEMORY_BYTES - PAGE_BYTES)

static const uint32_t old_versions[] = {VMBUS_VERSION_WIN7, VMBUS_VERSION_WS2008};

static struct vmbus_interrupt_page *page_of(struct fixture *f)
{
	return (void *)(f->memory.base + PAGE_GPA);
}

static void set_bit(uint8_t *bits, uint32_t bit)
{
	bits[bit / 8] |= (uint8_t)BIT(bit % 8);
}

/* The bit, which is clear afterwards. */
static bool take_bit(uint8_t *bits, uint32_t bit)
{
	bool set = bits[bit / 8] >> bit % 8 & 1;

	bits[bit / 8] &= (uint8_t)~BIT(bit % 8);
	return set;
}

static bool all_are(const uint8_t *bytes, size_t count, uint8_t value)
{
	for (size_t i = 0; i < count; i++) {
		if (bytes[i] != value)
			return false;
	}
	return true;
}

static bool contact(struct fixture *f, uint32_t version, uint64_t interrupt_page)
{
	const struct vmbus_initiate_contact message = {
		.header.type = VMBUS_INITIATE_CONTACT,
		.version = version,
		.target_vp = 3,
		.interrupt_page = interrupt_page,
	};
	const struct vmbus_version_response *response;

	assert_int_equal(post_status(f, VMBUS_CONNECTION_MESSAGES, &message, sizeof(message)), 0);
	turn(f);
	assert_int_equal(f->hv.messages[f->hv.first].bytes, 16);
	assert_int_equal(f->hv.messages[f->hv.first].vp, 0);
	response = expect(f, VMBUS_VERSION_RESPONSE);
	assert_int_equal(response->connection_state, 0);
	assert_int_equal(response->connection_id, response->supported ? version : 0);
	return response->supported;
}

static void connect_old(struct fixture *f, uint32_t version)
{
	assert_true(contact(f, version, PAGE_GPA));
	post_relid(f, VMBUS_REQUEST_OFFERS, 0);
	while (((const struct vmbus_message_header *)next_message(f)->payload)->type !=
	       VMBUS_ALL_OFFERS_DELIVERED)
		;
	expect_none(f);
}

/* Rings of 8 pages, a place for each relid. */
static struct guest_rings open_old(struct fixture *f, uint32_t relid)
{
	uint64_t first_pfn = RING_PFN + relid * UINT64_C(8);
	struct guest_rings rings = guest_rings_init(f, first_pfn, 8);

	create_gpadl(f, relid, relid, first_pfn, 8);
	post_open(f, relid, relid, 4, ANY_VP);
	assert_int_equal(open_status(f, relid), 0);
	return rings;
}

/* As Linux 3.10: vmbus_set_event(). */
static void signal_host(struct fixture *f, uint32_t version, uint32_t relid)
{
	uint32_t connection_id = VMBUS_EVENT_CONNECTIONS + relid;

	if (version == VMBUS_VERSION_WS2008) {
		set_bit(page_of(f)->to_host, relid);
		connection_id = VMBUS_CONNECTION_EVENTS;
	}
	assert_int_equal(vmbus_signal_event(f->bus, connection_id, 0), HV_STATUS_SUCCESS);
	turn(f);
}

/* --- the contact --- */

static void a_guest_that_goes_down_from_the_newest_version_ends_at_the_oldest(void **state)
{
	static const struct {
		uint32_t version;
		bool page; /* else SINT 2 */
	} rows[] = {
		{VMBUS_VERSION_5_3, false},	 {VMBUS_VERSION_5_2, false},
		{VMBUS_VERSION_5_1, false},	 {VMBUS_VERSION_5_0, false},
		{VMBUS_VERSION_WIN10_RS3, true}, {VMBUS_VERSION_WIN10, true},
		{VMBUS_VERSION_WIN8_1, true},	 {VMBUS_VERSION_WIN8, true},
		{VMBUS_VERSION_WIN7, true},	 {VMBUS_VERSION_WS2008, true},
	};
	struct fixture *f = fixture_new();

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		const struct vmbus_initiate_contact message = {
			.header.type = VMBUS_INITIATE_CONTACT,
			.version = rows[i].version,
			.interrupt_page = rows[i].page ? PAGE_GPA : VMBUS_SINT,
		};
		const struct vmbus_version_response *response;
		uint64_t announced = announced_bytes;
		struct vmbus_status status;

		post(f, &message, sizeof(message));
		response = expect(f, VMBUS_VERSION_RESPONSE);
		assert_int_equal(response->supported, 1);
		assert_int_equal(response->connection_id,
				 rows[i].page ? rows[i].version : VMBUS_CONNECTION_CONTACT);
		vmbus_get_status(f->bus, &status);
		assert_int_equal(status.version, rows[i].version);
		/* Only in the last two does the host write the page, and say so. */
		assert_int_equal(announced_bytes - announced, i < 8 ? 0 : PAGE_BYTES);
		assert_int_equal(vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 0),
				 i < 8 ? HV_STATUS_INVALID_CONNECTION_ID : HV_STATUS_SUCCESS);
	}
	expect_none(f);
	fixture_free(f);
}

static void only_a_page_of_memory_is_an_interrupt_page(void **state)
{
	static const struct {
		uint64_t gpa;
		bool taken;
	} rows[] = {
		{0, false},
		{PAGE_GPA + 8, false},
		{PAGE_GPA + PAGE_BYTES / 2, false},
		{LAST_PAGE, true},
		{LAST_PAGE + 1, false},
		{MEMORY_BYTES, false},
		{UINT64_C(1) << 52, false},
		{-PAGE_BYTES, false},
		{UINT64_MAX, false},
		{PAGE_GPA, true},
	};
	struct fixture *f = fixture_new();

	for (size_t v = 0; v < ARRAY_SIZE(old_versions); v++) {
		for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
			uint32_t status =
				rows[i].taken ? HV_STATUS_SUCCESS : HV_STATUS_INVALID_CONNECTION_ID;

			assert_int_equal(contact(f, old_versions[v], rows[i].gpa), rows[i].taken);
			assert_int_equal(vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 0),
					 status);
			/* After a refusal there is no connection. */
			post_relid(f, VMBUS_REQUEST_OFFERS, 0);
			if (rows[i].taken)
				expect(f, VMBUS_ALL_OFFERS_DELIVERED);
			expect_none(f);
		}
	}
	fixture_free(f);
}

static void a_contact_that_ends_before_its_page_is_refused(void **state)
{
	const struct vmbus_initiate_contact message = {
		.header.type = VMBUS_INITIATE_CONTACT,
		.version = VMBUS_VERSION_WIN7,
		.interrupt_page = PAGE_GPA,
	};
	const struct vmbus_version_response *response;
	struct fixture *f = fixture_new();

	post(f, &message, offsetof(struct vmbus_initiate_contact, interrupt_page));
	response = expect(f, VMBUS_VERSION_RESPONSE);
	assert_int_equal(response->supported, 0);
	fixture_free(f);
}

/* --- signals --- */

static void the_guest_is_signalled_by_a_bit_and_flag_0_of_vp_0(void **state)
{
	/* In the first, the second and the third word that is looked at together. */
	static const uint32_t relids[] = {1, 63, 64, 130};

	for (size_t v = 0; v < ARRAY_SIZE(old_versions); v++) {
		struct fixture *f = fixture_new();
		struct provider providers[131] = {};
		struct vmbus_interrupt_page *page = page_of(f);

		for (uint32_t i = 1; i <= 130; i++)
			provider_offer(f, &providers[i], i, NULL);
		connect_old(f, old_versions[v]);
		for (unsigned int i = 0; i < ARRAY_SIZE(relids); i++) {
			open_old(f, relids[i]);
			assert_int_equal(f->hv.flags[0][0], i);
			channel_signal(providers[relids[i]].channel);
			assert_int_equal(f->hv.flags[0][0], i + 1);
			assert_int_equal(f->hv.flags[0][relids[i]], 0);
			assert_true(take_bit(page->to_guest, relids[i]));
			assert_true(all_are((void *)page, sizeof(*page), 0));
		}
		fixture_free(f);
	}
}

static void bits_that_the_guest_has_not_taken_stay(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};
	struct vmbus_interrupt_page *page = page_of(f);

	provider_offer(f, &provider, 1, NULL);
	connect_old(f, VMBUS_VERSION_WIN7);
	open_old(f, 1);
	memset(page, 0xa5, sizeof(*page));
	channel_signal(provider.channel);
	channel_signal(provider.channel);
	assert_int_equal(f->hv.flags[0][0], 2);
	assert_int_equal(page->to_guest[0], 0xa7);
	assert_true(all_are((uint8_t *)page + 1, sizeof(*page) - 1, 0xa5));
	fixture_free(f);
}

static void a_signal_that_vp_0_refuses_comes_later_with_its_bit(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};

	provider_offer(f, &provider, 1, NULL);
	connect_old(f, VMBUS_VERSION_WS2008);
	open_old(f, 1);
	f->hv.flags_refused = true;
	channel_signal(provider.channel);
	/* The guest, whose SynIC is off, clears its page. */
	memset(page_of(f), 0, PAGE_BYTES);
	f->hv.flags_refused = false;
	vmbus_synic_ready(f->bus);
	turn(f);
	assert_int_equal(f->hv.flags[0][0], 1);
	assert_true(take_bit(page_of(f)->to_guest, 1));
	fixture_free(f);
}

static void packets_go_both_ways(void **state)
{
	for (size_t v = 0; v < ARRAY_SIZE(old_versions); v++) {
		struct fixture *f = fixture_new();
		struct provider providers[2] = {{.echo = true}, {.echo = true}};
		struct guest_rings rings[2];
		uint8_t packet[64];
		bool signal;

		provider_offer(f, &providers[0], 1, NULL);
		provider_offer(f, &providers[1], 2, NULL);
		connect_old(f, old_versions[v]);
		rings[0] = open_old(f, 1);
		rings[1] = open_old(f, 2);
		for (unsigned int i = 0; i < 6; i++) {
			struct guest_rings *ring = &rings[i % 2];

			assert_int_equal(guest_write(&ring->up, VMBUS_PACKET_DATA,
						     VMBUS_PACKET_WANTS_COMPLETION, i, "abc", 4,
						     &signal),
					 0);
			assert_true(signal);
			signal_host(f, old_versions[v], 1 + i % 2);
			assert_true(take_bit(page_of(f)->to_guest, 1 + i % 2));
			assert_int_equal(f->hv.flags[0][0], i + 1);
			assert_int_equal(guest_read(&ring->down, packet, sizeof(packet), &signal),
					 24);
			assert_string_equal(packet + 16, "abc");
			assert_int_equal(providers[i % 2].packets, i / 2 + 1);
			assert_true(all_are((void *)page_of(f), PAGE_BYTES, 0));
		}
		fixture_free(f);
	}
}

static void one_signal_speaks_for_all_whose_bits_are_set(void **state)
{
	for (size_t v = 0; v < ARRAY_SIZE(old_versions); v++) {
		struct fixture *f = fixture_new();
		struct provider providers[71] = {};

		for (uint32_t i = 1; i <= 70; i++)
			provider_offer(f, &providers[i], i, NULL);
		connect_old(f, old_versions[v]);
		for (uint32_t i = 1; i <= 70; i++) {
			open_old(f, i);
			assert_int_equal(providers[i].signals, 1); /* as after every open */
			if (i % 2)
				set_bit(page_of(f)->to_host, i);
		}
		vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 0);
		turn(f);
		for (uint32_t i = 1; i <= 70; i++)
			assert_int_equal(providers[i].signals, 1 + i % 2);
		assert_true(all_are((void *)page_of(f), PAGE_BYTES, 0));
		fixture_free(f);
	}
}

static void bits_of_what_is_not_open_wake_nobody(void **state)
{
	struct fixture *f = fixture_new();
	struct provider open = {}, closed = {}, gone = {};

	provider_offer(f, &open, 1, NULL);
	provider_offer(f, &closed, 2, NULL);
	provider_offer(f, &gone, 3, NULL);
	connect_old(f, VMBUS_VERSION_WS2008);
	open_old(f, 1);
	open_old(f, 3);
	provider_rescind(&gone);
	turn(f);
	expect(f, VMBUS_RESCIND_OFFER);
	memset(page_of(f)->to_host, 0xff, sizeof(page_of(f)->to_host));
	assert_int_equal(vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 1),
			 HV_STATUS_INVALID_PARAMETER);
	turn(f);
	assert_int_equal(open.signals, 1);
	assert_int_equal(vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 0), HV_STATUS_SUCCESS);
	turn(f);
	assert_int_equal(open.signals, 2);
	assert_int_equal(gone.signals, 1);
	assert_int_equal(closed.signals, 0);
	assert_true(all_are(page_of(f)->to_guest, sizeof(page_of(f)->to_guest), 0));
	assert_true(all_are(page_of(f)->to_host, VMBUS_RELID_LIMIT / 8, 0));
	/* Nor is anything left for when it opens. */
	open_old(f, 2);
	turn(f);
	assert_int_equal(closed.signals, 1);
	fixture_free(f);
}

static void a_bit_set_while_the_channel_opens_is_not_lost(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};
	struct vmbus_channel *channel;

	provider_offer(f, &provider, 1, NULL);
	connect_old(f, VMBUS_VERSION_WS2008);
	open_old(f, 1);
	channel = provider.channel;
	/* Its loop has called open and looked at the ring; the bus' has yet to hear of it. */
	channel->state = CHANNEL_OPENING;
	set_bit(page_of(f)->to_host, 1);
	vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 0);
	turn(f);
	assert_int_equal(provider.signals, 2);
	channel->state = CHANNEL_OPEN;
	fixture_free(f);
}

/* --- what these guests do not have --- */

static void subchannels_are_not_offered(void **state)
{
	for (size_t v = 0; v < ARRAY_SIZE(old_versions); v++) {
		struct fixture *f = fixture_new();
		struct provider provider = {};

		provider_offer(f, &provider, 1, NULL);
		connect_old(f, old_versions[v]);
		open_old(f, 1);
		assert_int_equal(vmbus_offer_subchannels(provider.channel, 1, NULL), -ENOTSUP);
		turn(f);
		expect_none(f);
		fixture_free(f);
	}
}

static void a_channel_stays_with_vp_0(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {};
	const struct vmbus_modify_channel modify = {{VMBUS_MODIFY_CHANNEL}, 1, 3};

	provider_offer(f, &provider, 1, NULL);
	connect_old(f, VMBUS_VERSION_WIN7);
	create_gpadl(f, 1, 1, RING_PFN, 8);
	guest_rings_init(f, RING_PFN, 8);
	post_open(f, 1, 1, 4, VMBUS_NO_VP); /* which does not mean "no signals" yet */
	assert_int_equal(open_status(f, 1), 0);
	post(f, &modify, sizeof(modify));
	expect_none(f);
	channel_signal(provider.channel);
	assert_int_equal(f->hv.flags[0][0], 1);
	fixture_free(f);
}

/* --- the end of the connection --- */

static void unload(struct fixture *f)
{
	post_relid(f, VMBUS_UNLOAD, 0);
}

static void refused_contact(struct fixture *f)
{
	assert_false(contact(f, VMBUS_VERSION_WIN7, 0));
}

static void the_page_is_forgotten_with_its_connection(void **state)
{
	static const struct {
		uint32_t version;
		void (*end)(struct fixture *f);
		bool answered;
	} rows[] = {
		{VMBUS_VERSION_WS2008, unload, false},
		{VMBUS_VERSION_WIN7, unload, true},
		{VMBUS_VERSION_WS2008, fixture_reset, false},
		{VMBUS_VERSION_WIN7, fixture_reset, false},
		{VMBUS_VERSION_WS2008, refused_contact, false},
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture *f = fixture_new();
		struct provider provider = {};
		struct vmbus_status status;

		provider_offer(f, &provider, 1, NULL);
		connect_old(f, rows[i].version);
		open_old(f, 1);
		memset(page_of(f)->to_host, 0xff, sizeof(page_of(f)->to_host));
		rows[i].end(f);
		if (rows[i].answered)
			expect(f, VMBUS_UNLOAD_RESPONSE);
		expect_none(f);
		vmbus_get_status(f->bus, &status);
		assert_int_equal(status.version, 0);
		assert_int_equal(provider.closes, 1);
		assert_int_equal(vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 0),
				 HV_STATUS_INVALID_CONNECTION_ID);
		channel_signal(provider.channel);
		turn(f);
		/* A newer kernel's connection knows nothing of it. */
		connect_guest(f);
		open_channel(f, &provider, 8);
		channel_signal(provider.channel);
		assert_int_equal(f->hv.flags[1][1], 1);
		assert_int_equal(f->hv.flags[0][0], 0);
		assert_true(all_are(page_of(f)->to_guest, sizeof(page_of(f)->to_guest), 0));
		assert_true(all_are(page_of(f)->to_host, sizeof(page_of(f)->to_host), 0xff));
		fixture_free(f);
	}
}

static void a_closing_channel_is_not_woken_and_signals_nobody(void **state)
{
	struct fixture *f = fixture_new();
	struct provider provider = {.hold_close = true};

	provider_offer(f, &provider, 1, NULL);
	connect_old(f, VMBUS_VERSION_WIN7);
	open_old(f, 1);
	post_relid(f, VMBUS_UNLOAD, 0);
	assert_int_equal(provider.closes, 1);
	/* Whatever the guest signals meanwhile: a channel that closes is not woken, nor signals. */
	set_bit(page_of(f)->to_host, 1);
	vmbus_signal_event(f->bus, VMBUS_CONNECTION_EVENTS, 0);
	turn(f);
	channel_signal(provider.channel);
	assert_int_equal(provider.signals, 1);
	assert_int_equal(f->hv.flags[0][0], 0);
	expect_none(f);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect(f, VMBUS_UNLOAD_RESPONSE);
	assert_true(all_are(page_of(f)->to_guest, sizeof(page_of(f)->to_guest), 0));
	provider.hold_close = false;
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_guest_that_goes_down_from_the_newest_version_ends_at_the_oldest),
		cmocka_unit_test(only_a_page_of_memory_is_an_interrupt_page),
		cmocka_unit_test(a_contact_that_ends_before_its_page_is_refused),
		cmocka_unit_test(the_guest_is_signalled_by_a_bit_and_flag_0_of_vp_0),
		cmocka_unit_test(bits_that_the_guest_has_not_taken_stay),
		cmocka_unit_test(a_signal_that_vp_0_refuses_comes_later_with_its_bit),
		cmocka_unit_test(packets_go_both_ways),
		cmocka_unit_test(one_signal_speaks_for_all_whose_bits_are_set),
		cmocka_unit_test(bits_of_what_is_not_open_wake_nobody),
		cmocka_unit_test(a_bit_set_while_the_channel_opens_is_not_lost),
		cmocka_unit_test(subchannels_are_not_offered),
		cmocka_unit_test(a_channel_stays_with_vp_0),
		cmocka_unit_test(the_page_is_forgotten_with_its_connection),
		cmocka_unit_test(a_closing_channel_is_not_woken_and_signals_nobody),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

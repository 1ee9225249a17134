/*
 * gpadl_test.c - GPADLs that providers use; vmbus_test.c has the messages
 */
#include "fixture.h"

#include <errno.h>
#include <sys/uio.h>

#define ID 77u

/* A list of @words in one message. Returns the status of its answer. */
static uint32_t post_words(struct fixture *f, uint32_t relid, uint16_t ranges,
			   const uint64_t *words, uint16_t count)
{
	uint8_t message[VMBUS_MESSAGE_BYTES_MAX] = {};
	const struct vmbus_gpadl_header header = {
		{VMBUS_GPADL_HEADER}, relid, ID, (le16)(count * 8), ranges};

	memcpy(message, &header, sizeof(header));
	memcpy(message + sizeof(header), words, count * 8u);
	post(f, message, (uint32_t)sizeof(header) + count * 8);
	return ((const struct vmbus_gpadl_created *)expect(f, VMBUS_GPADL_CREATED))->status;
}

static struct fixture *fixture_with_channel(struct provider *provider)
{
	struct fixture *f = fixture_new();

	provider_offer(f, provider, 1, NULL);
	connect_guest(f);
	open_channel(f, provider, 8);
	return f;
}

static struct vmbus_gpadl *acquire(struct provider *provider)
{
	struct vmbus_gpadl *gpadl;

	assert_int_equal(vmbus_gpadl_acquire(provider->channel, ID, &gpadl), 0);
	return gpadl;
}

static void a_provider_finds_memory_by_offset(void **state)
{
	static const uint64_t words[] = {5 * PAGE_BYTES, 0x400, 0x300, 0x301, 0x500, 0x501};
	static const struct {
		uint32_t offset, bytes;
		size_t max;
		int result;
		struct {
			uint64_t gpa;
			size_t bytes;
		} entries[3];
	} rows[] = {
		{0, 16, 8, 1, {{0x400000, 16}}},
		{0xff8, 16, 8, 2, {{0x400ff8, 8}, {0x300000, 8}}},
		{0x1800, 0x1000, 8, 1, {{0x300800, 0x1000}}},
		{0, 0x5000, 8, 3, {{0x400000, 0x1000}, {0x300000, 0x2000}, {0x500000, 0x2000}}},
		{0, 0x5000, 3, 3, {{0x400000, 0x1000}, {0x300000, 0x2000}, {0x500000, 0x2000}}},
		{0, 0x5000, 2, -E2BIG, {}},
		{0x4fff, 1, 1, 1, {{0x501fff, 1}}},
		{0x5000, 0, 1, 0, {}},
		{0x4fff, 2, 8, -EINVAL, {}},
		{0x5001, 0, 8, -EINVAL, {}},
		{0x1000, 0xfffff000, 8, -EINVAL, {}},
		{0xffffffff, 0xffffffff, 8, -EINVAL, {}},
	};
	struct provider provider = {};
	struct fixture *f = fixture_with_channel(&provider);
	struct vmbus_gpadl *gpadl;

	assert_int_equal(post_words(f, 1, 1, words, ARRAY_SIZE(words)), 0);
	gpadl = acquire(&provider);
	assert_int_equal(vmbus_gpadl_bytes(gpadl), 0x5000);
	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct iovec iov[8];

		assert_int_equal(vmbus_gpadl_iovec(provider.channel, gpadl, rows[i].offset,
						   rows[i].bytes, iov, rows[i].max),
				 rows[i].result);
		for (int entry = 0; entry < rows[i].result; entry++) {
			assert_ptr_equal(iov[entry].iov_base,
					 f->memory.base + rows[i].entries[entry].gpa);
			assert_int_equal(iov[entry].iov_len, rows[i].entries[entry].bytes);
		}
	}
	vmbus_gpadl_release(provider.channel, gpadl);
	fixture_free(f);
}

static void only_whole_pages_of_the_channel_itself_are_given(void **state)
{
	static const struct {
		uint32_t relid;
		uint16_t ranges, count;
		uint64_t words[4];
		int result;
	} rows[] = {
		{1, 1, 3, {0x2000, 0x300, 0x301}, 0},
		{2, 1, 3, {0x2000, 0x300, 0x301}, -ENOENT},	    /* another channel's */
		{1, 1, 2, {0x800, 0x300}, -EINVAL},		    /* half a page */
		{1, 1, 3, {0x80000001000, 0x300, 0x301}, -EINVAL},  /* not at its start */
		{1, 2, 4, {0x1000, 0x300, 0x1000, 0x301}, -EINVAL}, /* two ranges */
	};

	for (size_t i = 0; i < ARRAY_SIZE(rows); i++) {
		struct fixture *f = fixture_new();
		struct provider providers[2] = {};
		struct vmbus_gpadl *gpadl;

		provider_offer(f, &providers[0], 1, NULL);
		provider_offer(f, &providers[1], 2, NULL);
		connect_guest(f);
		open_channel(f, &providers[0], 8);
		assert_int_equal(vmbus_gpadl_acquire(providers[0].channel, ID, &gpadl), -ENOENT);
		assert_int_equal(
			post_words(f, rows[i].relid, rows[i].ranges, rows[i].words, rows[i].count),
			0);
		assert_int_equal(vmbus_gpadl_acquire(providers[0].channel, ID, &gpadl),
				 rows[i].result);
		if (!rows[i].result)
			vmbus_gpadl_release(providers[0].channel, gpadl);
		fixture_free(f);
	}
}

static void a_list_is_given_when_it_is_complete_and_valid(void **state)
{
	static const uint64_t wild[] = {PAGE_BYTES, 1 << 20};
	const struct vmbus_gpadl_header header = {{VMBUS_GPADL_HEADER}, 1, ID, 24, 1};
	struct {
		struct vmbus_gpadl_body body;
		uint64_t words[3];
	} rest = {{{VMBUS_GPADL_BODY}, 0, ID}, {0x2000, 0x300, 0x301}};
	struct provider provider = {};
	struct fixture *f = fixture_with_channel(&provider);
	struct vmbus_gpadl *gpadl;

	assert_int_not_equal(post_words(f, 1, 1, wild, ARRAY_SIZE(wild)), 0);
	assert_int_equal(vmbus_gpadl_acquire(provider.channel, ID, &gpadl), -ENOENT);
	post(f, &header, sizeof(header));
	assert_int_equal(vmbus_gpadl_acquire(provider.channel, ID, &gpadl), -ENOENT);
	post(f, &rest, sizeof(rest));
	expect(f, VMBUS_GPADL_CREATED);
	vmbus_gpadl_release(provider.channel, acquire(&provider));
	fixture_free(f);
}

static void a_teardown_waits_for_the_last_release(void **state)
{
	struct provider provider = {};
	struct fixture *f = fixture_with_channel(&provider);
	struct vmbus_gpadl *gpadl;

	create_gpadl(f, 1, ID, 0x300, 4);
	gpadl = acquire(&provider);
	assert_ptr_equal(acquire(&provider), gpadl);
	vmbus_gpadl_release(provider.channel, gpadl);
	turn(f); /* Nobody waits for it: nothing is said. */
	expect_none(f);
	assert_ptr_equal(acquire(&provider), gpadl);
	post_teardown(f, 1, ID);
	post_teardown(f, 1, ID);
	assert_int_equal(vmbus_gpadl_acquire(provider.channel, ID, &gpadl), -ENOENT);
	vmbus_gpadl_release(provider.channel, gpadl);
	turn(f);
	expect_none(f);
	vmbus_gpadl_release(provider.channel, gpadl);
	turn(f);
	assert_int_equal(
		((const struct vmbus_gpadl_torndown *)expect(f, VMBUS_GPADL_TORNDOWN))->gpadl, ID);
	expect_none(f);
	/* The channel does not suffer, and the number may be used again. */
	assert_int_equal(provider.closes, 0);
	create_gpadl(f, 1, ID, 0x300, 4);
	vmbus_gpadl_release(provider.channel, acquire(&provider));
	post_teardown(f, 1, ID);
	expect(f, VMBUS_GPADL_TORNDOWN);
	fixture_free(f);
}

static void one_release_answers_for_its_own_teardown_only(void **state)
{
	struct provider provider = {};
	struct fixture *f = fixture_with_channel(&provider);
	struct vmbus_gpadl *gpadls[2];

	for (uint32_t i = 0; i < 2; i++) {
		create_gpadl(f, 1, ID + i, 0x300, 4);
		assert_int_equal(vmbus_gpadl_acquire(provider.channel, ID + i, &gpadls[i]), 0);
		post_teardown(f, 1, ID + i);
	}
	expect_none(f);
	for (uint32_t i = 0; i < 2; i++) {
		const struct vmbus_gpadl_torndown *torndown;

		vmbus_gpadl_release(provider.channel, gpadls[i]);
		turn(f);
		torndown = expect(f, VMBUS_GPADL_TORNDOWN);
		assert_int_equal(torndown->gpadl, ID + i);
		expect_none(f);
	}
	fixture_free(f);
}

static void what_is_released_while_the_channel_closes_is_answered_when_it_is_closed(void **state)
{
	struct provider provider = {.hold_close = true};
	struct fixture *f = fixture_with_channel(&provider);
	struct vmbus_gpadl *gpadl;

	create_gpadl(f, 1, ID, 0x300, 4);
	gpadl = acquire(&provider);
	post_teardown(f, 1, ID);
	post_relid(f, VMBUS_CLOSE_CHANNEL, 1);
	assert_int_equal(provider.closes, 1);
	vmbus_gpadl_release(provider.channel, gpadl);
	turn(f);
	expect_none(f);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect(f, VMBUS_GPADL_TORNDOWN);
	expect_none(f);
	provider.hold_close = false;
	fixture_free(f);
}

static void an_unload_waits_for_the_provider_and_forgets_the_teardown(void **state)
{
	struct provider provider = {.hold_close = true};
	struct fixture *f = fixture_with_channel(&provider);
	struct vmbus_gpadl *gpadl;

	create_gpadl(f, 1, ID, 0x300, 4);
	gpadl = acquire(&provider);
	post_teardown(f, 1, ID);
	post_relid(f, VMBUS_UNLOAD, 0);
	vmbus_gpadl_release(provider.channel, gpadl);
	turn(f);
	expect_none(f);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect(f, VMBUS_UNLOAD_RESPONSE);
	expect_none(f);
	assert_int_equal(f->bus->gpadl_count, 0);
	provider.hold_close = false;
	fixture_free(f);
}

static void rings_that_a_provider_uses_too_still_end_their_channel(void **state)
{
	struct provider provider = {.hold_close = true};
	struct fixture *f = fixture_with_channel(&provider);
	struct vmbus_gpadl *gpadl;

	assert_int_equal(vmbus_gpadl_acquire(provider.channel, RING_GPADL, &gpadl), 0);
	post_teardown(f, 1, RING_GPADL);
	assert_int_equal(provider.closes, 1);
	vmbus_gpadl_release(provider.channel, gpadl);
	turn(f);
	expect_none(f);
	vmbus_channel_closed(provider.channel);
	turn(f);
	expect(f, VMBUS_GPADL_TORNDOWN);
	provider.hold_close = false;
	fixture_free(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_provider_finds_memory_by_offset),
		cmocka_unit_test(only_whole_pages_of_the_channel_itself_are_given),
		cmocka_unit_test(a_list_is_given_when_it_is_complete_and_valid),
		cmocka_unit_test(a_teardown_waits_for_the_last_release),
		cmocka_unit_test(one_release_answers_for_its_own_teardown_only),
		cmocka_unit_test(
			what_is_released_while_the_channel_closes_is_answered_when_it_is_closed),
		cmocka_unit_test(an_unload_waits_for_the_provider_and_forgets_the_teardown),
		cmocka_unit_test(rings_that_a_provider_uses_too_still_end_their_channel),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

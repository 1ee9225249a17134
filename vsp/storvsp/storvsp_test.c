/*
 * storvsp_test.c - drives that come and go, writes that wait for room, channels that close
 */
#include "storvsp_fixture.h"

#include <errno.h>
#include <string.h>

static void counted(void *ctx)
{
	++*(unsigned int *)ctx;
}

/* --- creation --- */

static void a_scsi_controller_is_offered_plainly(void **state)
{
	static const struct guid class = STORVSC_CLASS_SCSI;
	static const uint8_t zero[120];
	struct storvsp_fixture *fixture = *state;
	const struct vmbus_offer *offer = &fixture->bus.channels[0].offer;

	assert_true(guid_equal(&offer->class, &class));
	assert_int_equal(offer->instance.bytes[0], 0x11);
	assert_int_equal(offer->flags, 0);
	assert_memory_equal(offer->user_data, zero, 120);
	assert_string_equal(offer->name, "scsi 0");
}

static void an_ide_device_is_named_by_instance_and_properties(void **state)
{
	static const struct guid class = STORVSC_CLASS_IDE;
	static const struct {
		uint8_t instance[16];
		uint8_t properties[24];
	} cases[] = {
		{{0, 0, 0, 0, 0, 0, 0x99, 0x88}, {0, 0, 0, 0, 0, 0, 0, 0, 2}},
		{{0, 0, 0, 0, 1, 0, 0x99, 0x88}, {0, 0, 0, 1, 0, 0, 0, 0, 2}},
		{{1, 0, 0, 0, 0, 0, 0x99, 0x88}, {0, 0, 1, 0, 0, 0, 0, 0, 2}},
		{{1, 0, 0, 0, 1, 0, 0x99, 0x88}, {0, 0, 1, 1, 0, 0, 0, 0, 2}},
	};

	for (unsigned int number = 0; number < 4; number++) {
		struct storvsp_fixture *fixture = *state;
		const struct vmbus_offer *offer = &fixture->bus.channels[0].offer;

		storvsp_fixture_restart(fixture, STORVSP_IDE, number);
		assert_true(guid_equal(&offer->class, &class));
		assert_memory_equal(offer->instance.bytes, cases[number].instance, 16);
		assert_memory_equal(offer->user_data, cases[number].properties, 24);
		assert_int_equal(offer->flags, VMBUS_OFFER_ENUMERATE_INTERFACE);
	}
}

static void controllers_that_cannot_be_are_refused(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_config config = {
		.bus = &fixture->bus, .loop = fixture_main_loop, .number = 4};
	struct storvsp *storvsp;

	assert_int_equal(storvsp_new(&config, &storvsp), -EINVAL);
	config.number = 0;
	config.loop = NULL;
	assert_int_equal(storvsp_new(&config, &storvsp), -EINVAL);
	config.loop = fixture_main_loop;
	fixture->bus.offer_error = -ENOSPC;
	assert_int_equal(storvsp_new(&config, &storvsp), -ENOSPC);
	storvsp_free(NULL);
}

static void drives_that_cannot_be_are_refused(void **state)
{
	struct storvsp_fixture *fixture = *state;
	static const struct storvsp_drive nothing, empty_dvd = {.dvd = true};
	struct storvsp_drive disk = {.disk = &fixture->disk};

	assert_int_equal(storvsp_attach(fixture->storvsp, 0, &disk), -EEXIST);
	assert_int_equal(storvsp_attach(fixture->storvsp, 64, &disk), -EINVAL);
	assert_int_equal(storvsp_attach(fixture->storvsp, 1, &nothing), -EINVAL);
	fixture->disk.info.logical_sector = 3;
	assert_int_equal(storvsp_attach(fixture->storvsp, 1, &disk), -EINVAL);
	fixture->disk.info.logical_sector = 512;
	assert_int_equal(storvsp_attach(fixture->storvsp, 63, &disk), 0);
	assert_int_equal(storvsp_attach(fixture->storvsp, 1, &empty_dvd), 0);
	assert_int_equal(storvsp_detach(fixture->storvsp, 2, NULL, NULL), -ENOENT);
	assert_int_equal(storvsp_detach(fixture->storvsp, 64, NULL, NULL), -ENOENT);

	storvsp_fixture_restart(fixture, STORVSP_IDE, 0);
	assert_int_equal(storvsp_attach(fixture->storvsp, 0, &empty_dvd), -EINVAL);
	assert_int_equal(storvsp_attach(fixture->storvsp, 1, &disk), -EINVAL);
	assert_int_equal(storvsp_attach(fixture->storvsp, 0, &disk), 0);
}

/* --- coming and going --- */

static void the_guest_hears_of_drives_that_come_and_go(void **state)
{
	static const struct {
		uint16_t version;
		uint32_t bytes;
	} cases[] = {
		{STORVSC_VERSION_2_0, 0}, /* has no word for it */
		{STORVSC_VERSION_4_2, 48},
		{STORVSC_VERSION_5_1, 64},
		{STORVSC_VERSION_6_2, 64},
	};
	struct storvsp_fixture *fixture = *state;
	struct storvsp_drive drive = {.disk = &fixture->disk};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int done = 0;

		storvsp_fixture_connect(fixture, cases[i].version);
		assert_int_equal(storvsp_attach(fixture->storvsp, 1, &drive), 0);
		fixture_run_posted();
		storvsp_expect_enumerate(fixture, cases[i].bytes);
		assert_int_equal(storvsp_detach(fixture->storvsp, 1, counted, &done), 0);
		fixture_run_posted();
		storvsp_expect_enumerate(fixture, cases[i].bytes);
		assert_int_equal(done, 1);
		fixture_close(storvsp_primary(fixture));
	}
}

static void several_changes_at_once_are_told_once(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_drive drive = {.disk = &fixture->disk};
	struct fixture_packet packet;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_attach(fixture->storvsp, 1, &drive);
	storvsp_attach(fixture->storvsp, 2, &drive);
	storvsp_detach(fixture->storvsp, 1, NULL, NULL);
	fixture_run_posted();
	storvsp_expect_enumerate(fixture, 64);
	assert_false(fixture_take(storvsp_primary(fixture), &packet));
}

static void nothing_is_told_before_the_guest_is_ready(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_drive drive = {.disk = &fixture->disk};
	struct fixture_packet packet;

	storvsp_attach(fixture->storvsp, 1, &drive);
	fixture_run_posted();
	assert_int_equal(fixture_open(storvsp_primary(fixture)), 0);
	storvsp_attach(fixture->storvsp, 2, &drive);
	fixture_run_posted();
	assert_false(fixture_take(storvsp_primary(fixture), &packet));
	storvsp_fixture_initialize(fixture, STORVSC_VERSION_6_2);
	fixture_run_posted();
	assert_false(fixture_take(storvsp_primary(fixture), &packet));
}

static void a_full_ring_delays_the_news(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_drive drive = {.disk = &fixture->disk};

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_primary(fixture)->room = 0;
	storvsp_attach(fixture->storvsp, 1, &drive);
	fixture_run_posted();
	assert_int_equal(storvsp_primary(fixture)->out_count, 0);
	storvsp_primary(fixture)->room = 8;
	fixture_signal(storvsp_primary(fixture));
	storvsp_expect_enumerate(fixture, 64);
}

static void a_drive_leaves_when_its_last_command_is_done(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsc_packet reply;
	unsigned int done = 0;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_put_read(fixture, 0, 7, 1);
	storvsp_put_read(fixture, 0, 8, 1);
	fixture_signal(storvsp_primary(fixture));
	assert_int_equal(storvsp_detach(fixture->storvsp, 0, counted, &done), 0);
	fixture_run_posted();
	storvsp_expect_enumerate(fixture, 64);
	fixture_run_disk(1);
	fixture_run_posted();
	assert_int_equal(done, 0);
	fixture_run_disk(1);
	assert_int_equal(done, 0); /* from the loop only */
	fixture_run_posted();
	assert_int_equal(done, 1);
	storvsp_expect_reply(fixture, 7, &reply);
	assert_int_equal(reply.srb.srb_status, STORVSC_SRB_SUCCESS);
	storvsp_expect_reply(fixture, 8, &reply);

	/* Later ones find no drive, with which Linux removes the disk. */
	storvsp_put_read(fixture, 0, 9, 1);
	fixture_signal(storvsp_primary(fixture));
	storvsp_expect_reply(fixture, 9, &reply);
	assert_int_equal(reply.srb.srb_status, STORVSC_SRB_INVALID_LUN);
	assert_int_equal(reply.status, STORVSC_STATUS_DEVICE_NOT_THERE);
}

static void a_place_can_be_taken_again_while_its_drive_leaves(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_drive drive = {.disk = &fixture->disk};
	unsigned int done = 0;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_put_read(fixture, 0, 7, 1);
	fixture_signal(storvsp_primary(fixture));
	storvsp_detach(fixture->storvsp, 0, counted, &done);
	assert_int_equal(storvsp_attach(fixture->storvsp, 0, &drive), 0);
	assert_int_equal(storvsp_detach(fixture->storvsp, 0, counted, &done), 0);
	fixture_run_posted();
	assert_int_equal(done, 1); /* the second, which nobody used */
	fixture_run_disk(1);
	fixture_run_posted();
	assert_int_equal(done, 2);
}

static void what_leaves_at_the_end_is_told_too(void **state)
{
	struct storvsp_fixture *fixture = *state;
	unsigned int done = 0;

	storvsp_detach(fixture->storvsp, 0, counted, &done);
	assert_int_equal(done, 0);
	storvsp_free(fixture->storvsp);
	fixture->storvsp = NULL;
	assert_int_equal(done, 1);
	fixture_run_posted(); /* nothing of it is left there */
}

static void media_are_changed_while_the_old_one_is_read(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_drive dvd = {.disk = &fixture->disk, .dvd = true};
	struct storvsc_packet reply;
	unsigned int done = 0;
	struct disk other;

	fixture_disk_init(&other, 1 * MIB);
	assert_int_equal(storvsp_attach(fixture->storvsp, 1, &dvd), 0);
	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_put_read(fixture, 1, 7, 4);
	fixture_signal(storvsp_primary(fixture));
	assert_int_equal(storvsp_change_medium(fixture->storvsp, 1, &other, counted, &done), 0);
	fixture_run_posted();
	assert_int_equal(done, 0);
	fixture_run_disk(1);
	fixture_run_posted();
	assert_int_equal(done, 1);
	storvsp_expect_reply(fixture, 7, &reply);
	assert_int_equal(reply.srb.srb_status, STORVSC_SRB_SUCCESS);

	/* The new one is there; eject it; then there is nothing to eject. */
	assert_int_equal(storvsp_change_medium(fixture->storvsp, 1, NULL, counted, &done), 0);
	fixture_run_posted();
	assert_int_equal(done, 2);
	assert_int_equal(storvsp_change_medium(fixture->storvsp, 1, NULL, counted, &done), 0);
	fixture_run_posted();
	assert_int_equal(done, 3);
	assert_int_equal(storvsp_change_medium(fixture->storvsp, 0, &other, NULL, NULL), -EINVAL);
	assert_int_equal(storvsp_change_medium(fixture->storvsp, 9, &other, NULL, NULL), -ENOENT);
	other.info.bytes = 512;
	assert_int_equal(storvsp_change_medium(fixture->storvsp, 1, &other, NULL, NULL), -EINVAL);
	fixture_disk_free(&other);
}

static void statistics_are_of_the_drive(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_stats stats;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_put_read(fixture, 0, 7, 4);
	storvsp_put_write(fixture, 0, 8, 2);
	fixture_signal(storvsp_primary(fixture));
	fixture_run_disk(9);
	storvsp_get_stats(fixture->storvsp, 0, &stats);
	assert_int_equal(stats.reads, 1);
	assert_int_equal(stats.read_bytes, 2048);
	assert_int_equal(stats.writes, 1);
	assert_int_equal(stats.written_bytes, 1024);
	storvsp_get_stats(fixture->storvsp, 5, &stats);
	assert_int_equal(stats.reads, 0);
}

/* --- no room on the host's disk --- */

#define SECOND_NS 1000000000ull

static void starve(struct storvsp_fixture *fixture, unsigned int requests)
{
	fixture->disk.error = -ENOSPC;
	fixture->disk.errors = requests;
	fixture->disk.error_ops = BIT(DISK_WRITE);
}

static void a_write_without_room_waits_and_is_done_again(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsc_packet reply;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	starve(fixture, 3); /* two writes, one of them twice */
	storvsp_put_write(fixture, 0, 7, 2);
	storvsp_put_write(fixture, 0, 8, 2);
	storvsp_put_read(fixture, 0, 9, 1);
	fixture_signal(storvsp_primary(fixture));
	fixture_run_disk(9);
	fixture_run_posted();
	assert_int_equal(fixture->full_calls, 1);
	assert_true(fixture->full);
	assert_string_equal(fixture->full_path, "/images/test.vhd");
	storvsp_expect_reply(fixture, 9, &reply); /* reads go on */

	stepped_advance_ns(SECOND_NS - 1);
	assert_int_equal(fixture_run_disk(9), 0);
	stepped_advance_ns(1);
	assert_int_equal(fixture_run_disk(9), 2);
	fixture_run_posted();
	storvsp_expect_reply(fixture, 8, &reply);
	assert_int_equal(reply.srb.srb_status, STORVSC_SRB_SUCCESS);
	assert_int_equal(reply.srb.data_transfer_length, 1024);
	assert_int_equal(fixture->full_calls, 1);

	storvsp_retry(fixture->storvsp);
	fixture_run_posted();
	assert_int_equal(fixture_run_disk(9), 1);
	fixture_run_posted();
	storvsp_expect_reply(fixture, 7, &reply);
	assert_int_equal(fixture->full_calls, 2);
	assert_false(fixture->full);
	stepped_advance_ns(10 * SECOND_NS); /* nobody waits any more */
	assert_int_equal(fixture_run_disk(9), 0);
}

static void waiting_writes_of_a_channel_that_closes_are_dropped(void **state)
{
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	starve(fixture, 9);
	storvsp_put_write(fixture, 0, 7, 2);
	fixture_signal(storvsp_primary(fixture));
	fixture_run_disk(9);
	fixture_run_posted();
	assert_true(fixture->full);
	fixture_close(storvsp_primary(fixture));
	assert_int_equal(storvsp_primary(fixture)->closed, 1);
	fixture_run_posted();
	assert_false(fixture->full);
	stepped_advance_ns(10 * SECOND_NS);
	assert_int_equal(fixture_run_disk(9), 0);
}

static void a_write_that_finds_no_room_after_the_close_does_not_wait(void **state)
{
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	starve(fixture, 9);
	storvsp_put_write(fixture, 0, 7, 2);
	fixture_signal(storvsp_primary(fixture));
	fixture_close(storvsp_primary(fixture));
	assert_int_equal(storvsp_primary(fixture)->closed, 0);
	fixture_run_disk(9);
	assert_int_equal(storvsp_primary(fixture)->closed, 1);
}

static void detaching_ends_the_writes_that_wait(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct storvsp_drive drive = {.disk = &fixture->disk};
	struct storvsc_packet reply;
	unsigned int done = 0;

	storvsp_attach(fixture->storvsp, 1, &drive);
	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	starve(fixture, 2);
	storvsp_put_write(fixture, 0, 7, 2);
	storvsp_put_write(fixture, 1, 8, 2);
	fixture_signal(storvsp_primary(fixture));
	fixture_run_disk(9);
	fixture_run_posted();
	storvsp_detach(fixture->storvsp, 0, counted, &done);
	storvsp_expect_reply(fixture, 7, &reply);
	assert_int_equal(reply.srb.srb_status, STORVSC_SRB_ERROR | STORVSC_SRB_AUTOSENSE_VALID);
	assert_int_equal(reply.srb.sense[2], SCSI_KEY_MEDIUM_ERROR);
	fixture_run_posted();
	assert_int_equal(done, 1);
	assert_int_equal(fixture->full_calls, 3); /* two drives are full, one is not any more */

	/* The other's goes on. */
	storvsp_retry(fixture->storvsp);
	fixture_run_posted();
	fixture_run_disk(9);
	fixture_run_posted();
	storvsp_expect_enumerate(fixture, 64);
	storvsp_expect_reply(fixture, 8, &reply);
	assert_int_equal(reply.srb.srb_status, STORVSC_SRB_SUCCESS);
}

/* --- closing --- */

static void a_channel_is_closed_when_its_last_command_is_done(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_put_read(fixture, 0, 7, 2);
	storvsp_put_write(fixture, 0, 8, 2);
	fixture_signal(channel);
	fixture_close(channel);
	fixture_run_posted();
	assert_int_equal(channel->closed, 0);
	fixture_run_disk(1);
	assert_int_equal(channel->written_bytes, 1024); /* still announced */
	assert_int_equal(channel->closed, 0);
	fixture_run_disk(1);
	assert_int_equal(channel->closed, 1);
	assert_int_equal(channel->out_count, 0);

	/* The next guest begins from the start. */
	storvsp_fixture_connect(fixture, STORVSC_VERSION_5_1);
}

static void an_idle_channel_closes_at_once_and_forgets_what_it_could_not_send(void **state)
{
	struct storvsp_fixture *fixture = *state;
	struct vmbus_channel *channel = storvsp_primary(fixture);

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	channel->room = 0;
	storvsp_put_read(fixture, 0, 7, 2);
	fixture_signal(channel);
	fixture_run_disk(1);
	fixture_close(channel);
	assert_int_equal(channel->closed, 1);
	channel->room = FIXTURE_PACKETS;
	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	assert_int_equal(channel->out_count, 0);
}

static void the_end_of_the_primary_is_a_loss_of_power(void **state)
{
	struct storvsp_fixture *fixture = *state;

	storvsp_fixture_connect(fixture, STORVSC_VERSION_6_2);
	storvsp_unit(fixture->storvsp, 0)->reservation.registered = true;
	fixture_close(storvsp_primary(fixture));
	assert_false(storvsp_unit(fixture->storvsp, 0)->reservation.registered);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, storvsp_fixture_begin, storvsp_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_scsi_controller_is_offered_plainly),
		TEST(an_ide_device_is_named_by_instance_and_properties),
		TEST(controllers_that_cannot_be_are_refused),
		TEST(drives_that_cannot_be_are_refused),
		TEST(the_guest_hears_of_drives_that_come_and_go),
		TEST(several_changes_at_once_are_told_once),
		TEST(nothing_is_told_before_the_guest_is_ready),
		TEST(a_full_ring_delays_the_news),
		TEST(a_drive_leaves_when_its_last_command_is_done),
		TEST(a_place_can_be_taken_again_while_its_drive_leaves),
		TEST(what_leaves_at_the_end_is_told_too),
		TEST(media_are_changed_while_the_old_one_is_read),
		TEST(statistics_are_of_the_drive),
		TEST(a_write_without_room_waits_and_is_done_again),
		TEST(waiting_writes_of_a_channel_that_closes_are_dropped),
		TEST(a_write_that_finds_no_room_after_the_close_does_not_wait),
		TEST(detaching_ends_the_writes_that_wait),
		TEST(a_channel_is_closed_when_its_last_command_is_done),
		TEST(an_idle_channel_closes_at_once_and_forgets_what_it_could_not_send),
		TEST(the_end_of_the_primary_is_a_loss_of_power),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

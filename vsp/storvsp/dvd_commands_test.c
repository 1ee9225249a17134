/*
 * dvd_commands_test.c - a DVD drive: its medium, its tray, its commands
 *
 * The medium has sectors 0 to 0x7ffff.
 */
#include <string.h>

#include "scsi_fixture.h"

#define INVALID_CDB SCSI_SENSE_INVALID_FIELD_IN_CDB
#define TRAY_CLOSED SCSI_SENSE_NO_MEDIUM_TRAY_CLOSED
#define TRAY_OPEN   SCSI_SENSE_NO_MEDIUM_TRAY_OPEN
#define EJECT(...)  "eject", CDB(0x1b, 0, 0, 0, 2, 0), NONE, __VA_ARGS__
#define LOAD(...)   "load", CDB(0x1b, 0, 0, 0, 3, 0), NONE, __VA_ARGS__
#define READY(...)  "TEST UNIT READY", CDB(0, 0, 0, 0, 0, 0), NONE, __VA_ARGS__
#define MEDIA_EVENT CDB(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 8, 0), IN, 8, .transferred = 8

static void sectors_are_2048_bytes(void **state)
{
	static const struct {
		uint8_t cdb[16];
		uint8_t cdb_bytes;
		uint64_t offset;
		uint32_t bytes;
	} cases[] = {
		{{0x28, 0, 0, 0, 0, 3, 0, 0, 2, 0}, 10, 3 * 2048, 4096},
		{{0xa8, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0}, 12, 3 * 2048, 4096},
		{{0x88, 0, 0, 0, 0, 0, 0, 0, 0, 3, 0, 0, 0, 2, 0, 0}, 16, 3 * 2048, 4096},
		{{0xbe, 0, 0, 0, 0, 3, 0, 0, 2, 0x10, 0, 0}, 12, 3 * 2048, 4096},
		{{0x28, 0, 0, 7, 0xff, 0xff, 0, 0, 1, 0}, 10, 0x7ffffull * 2048, 2048},
	};
	struct scsi_fixture *fixture = *state;

	memset(fixture->disk.bytes + 3 * 2048, 0x37, 4096);
	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		scsi_run(fixture, cases[i].cdb, cases[i].cdb_bytes, IN, cases[i].bytes);
		assert_int_equal(scsi_sense_of(fixture), 0);
		assert_int_equal(fixture->command->transferred, cases[i].bytes);
		assert_true(fixture_submitted.offset == cases[i].offset);
		assert_int_equal(fixture->data[0], i < 4 ? 0x37 : 0);
	}
}

static void a_medium_is_described(void **state)
{
	static const struct scsi_case cases[] = {
		{READY(0)},
		{"READ CAPACITY", CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 8, .transferred = 8,
		 EXPECT(0, 7, 0xff, 0xff, 0, 0, 8, 0)},
		{"past the end", CDB(0x28, 0, 0, 8, 0, 0, 0, 0, 1, 0), IN, 2048,
		 .sense = SCSI_SENSE_LBA_OUT_OF_RANGE},
		{"READ TOC", CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 255, 0), IN, 255, .transferred = 20,
		 EXPECT(0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0, 0, 0x14, 0xaa, 0, 0, 8, 0, 0)},
		{"READ TOC in MSF", CDB(0x43, 2, 0, 0, 0, 0, 0, 0, 255, 0), IN, 255,
		 .transferred = 20,
		 EXPECT(0, 18, 1, 1, 0, 0x14, 1, 0, 0, 0, 2, 0, 0, 0x14, 0xaa, 0, 0, 116, 32, 38)},
		{"READ TOC, lead-out", CDB(0x43, 0, 0, 0, 0, 0, 0xaa, 0, 255, 0), IN, 255,
		 .transferred = 12, EXPECT(0, 10, 1, 1, 0, 0x14, 0xaa, 0, 0, 8, 0, 0)},
		{"READ TOC, track 2", CDB(0x43, 0, 0, 0, 0, 0, 2, 0, 255, 0), IN, 255,
		 .sense = INVALID_CDB},
		{"READ TOC, header", CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 4, 0), IN, 4, .transferred = 4,
		 EXPECT(0, 18, 1, 1)},
		{"READ TOC, sessions", CDB(0x43, 0, 1, 0, 0, 0, 0, 0, 12, 0), IN, 12,
		 .transferred = 12, EXPECT(0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0)},
		{"READ TOC, sessions, as Linux asks", CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0x40), IN,
		 12, .transferred = 12, EXPECT(0, 10, 1, 1, 0, 0x14, 1, 0, 0, 0, 0, 0)},
		{"READ TOC, full", CDB(0x43, 0, 2, 0, 0, 0, 0, 0, 255, 0), IN, 255,
		 .sense = INVALID_CDB},
		{"READ DISC INFORMATION", CDB(0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0), IN, 34,
		 .transferred = 34, EXPECT(0, 32, 0x0e, 1, 1, 1, 1, 0x20)},
		{"READ DISC INFORMATION, other", CDB(0x51, 1, 0, 0, 0, 0, 0, 0, 34, 0), IN, 34,
		 .sense = INVALID_CDB},
		{"READ TRACK INFORMATION", CDB(0x52, 1, 0, 0, 0, 1, 0, 0, 36, 0), IN, 36,
		 .transferred = 36, .offset = 24, EXPECT(0, 8, 0, 0)},
		{"READ TRACK INFORMATION by sector", CDB(0x52, 0, 0, 7, 0xff, 0xff, 0, 0, 8, 0), IN,
		 8, .transferred = 8, EXPECT(0, 34, 1, 1, 0, 4, 1, 0)},
		{"READ TRACK INFORMATION, track 2", CDB(0x52, 1, 0, 0, 0, 2, 0, 0, 36, 0), IN, 36,
		 .sense = INVALID_CDB},
		{"READ TRACK INFORMATION, no such sector", CDB(0x52, 0, 0, 8, 0, 0, 0, 0, 36, 0),
		 IN, 36, .sense = INVALID_CDB},
		{"READ DVD STRUCTURE", CDB(0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4, 0, 0), IN, 2052,
		 .transferred = 2052,
		 EXPECT(8, 2, 0, 0, 1, 0x0f, 1, 0, 0, 3, 0, 0, 0, 0x0a, 0xff, 0xff)},
		{"READ DVD STRUCTURE, layer 1", CDB(0xad, 0, 0, 0, 0, 0, 1, 0, 8, 4, 0, 0), IN,
		 2052, .sense = INVALID_CDB},
		{"READ DVD STRUCTURE, copyright", CDB(0xad, 0, 0, 0, 0, 0, 0, 1, 8, 4, 0, 0), IN,
		 2052, .sense = INVALID_CDB},
		{"READ BUFFER CAPACITY", CDB(0x5c, 0, 0, 0, 0, 0, 0, 0, 12, 0), IN, 12,
		 .transferred = 12, EXPECT(0, 10, 0, 0)},
		{"GET PERFORMANCE", CDB(0xac, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), IN, 24,
		 .transferred = 24,
		 EXPECT(0, 0, 0, 20, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x2b, 0x48, 0, 7, 0xff, 0xff)},
		{"GET PERFORMANCE, header", CDB(0xac, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 24,
		 .transferred = 8, EXPECT(0, 0, 0, 20)},
		{"GET PERFORMANCE, other type", CDB(0xac, 0, 0, 0, 0, 0, 0, 0, 0, 1, 3, 0), IN, 24,
		 .sense = INVALID_CDB},
		{"MECHANISM STATUS", CDB(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0), IN, 8,
		 .transferred = 8, EXPECT(0, 0, 0, 0, 0, 0, 0, 0)},
		{"SET STREAMING", CDB(0xb6, 0, 0, 0, 0, 0, 0, 0, 0, 0, 28, 0), OUT, 28},
		{"SET CD SPEED", CDB(0xbb, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), NONE},
		{"READ CD, audio", CDB(0xbe, 4, 0, 0, 0, 0, 0, 0, 1, 0x10, 0, 0), IN, 2352,
		 .sense = INVALID_CDB},
		{"READ CD, headers", CDB(0xbe, 0, 0, 0, 0, 0, 0, 0, 1, 0xf8, 0, 0), IN, 2352,
		 .sense = INVALID_CDB},
		{"READ CD, nothing", CDB(0xbe, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0), IN, 2352},
		{"WRITE", CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 2048,
		 .sense = SCSI_SENSE_INVALID_OPCODE},
		{"READ CAPACITY(16)", CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0),
		 IN, 32, .sense = SCSI_SENSE_INVALID_OPCODE},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void configuration_follows_the_medium(void **state)
{
	static const struct scsi_case with[] = {
		{"header", CDB(0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0), IN, 8, .transferred = 8,
		 EXPECT(0, 0, 0, 80, 0, 0, 0, 0x10)},
		{"all", CDB(0x46, 0, 0, 0, 0, 0, 0, 1, 0, 0), IN, 256, .transferred = 84,
		 .offset = 8, EXPECT(0, 0, 3, 8, 0, 0x10, 1, 0, 0, 8, 0, 0, 0, 1, 7, 8)},
		{"one", CDB(0x46, 2, 0, 0x10, 0, 0, 0, 1, 0, 0), IN, 256, .transferred = 20,
		 .offset = 8, EXPECT(0, 0x10, 1, 8, 0, 0, 8, 0, 0, 16, 0, 0)},
		{"one that is not", CDB(0x46, 2, 0, 0x20, 0, 0, 0, 1, 0, 0), IN, 256,
		 .transferred = 8, EXPECT(0, 0, 0, 4)},
		{"from the last on", CDB(0x46, 0, 1, 5, 0, 0, 0, 1, 0, 0), IN, 256,
		 .transferred = 16, .offset = 8, EXPECT(1, 5, 3, 4)},
		{"reserved", CDB(0x46, 3, 0, 0, 0, 0, 0, 1, 0, 0), IN, 256, .sense = INVALID_CDB},
	};
	static const struct scsi_case without[] = {
		{"header", CDB(0x46, 0, 0, 0, 0, 0, 0, 0, 8, 0), IN, 8, .transferred = 8,
		 EXPECT(0, 0, 0, 80, 0, 0, 0, 0)},
		{"current only", CDB(0x46, 1, 0, 0, 0, 0, 0, 1, 0, 0), IN, 256, .transferred = 60,
		 .offset = 8, EXPECT(0, 0, 3, 8, 0, 0x10, 0, 0)},
	};
	struct scsi_fixture *fixture = *state;

	scsi_run_cases(fixture, with, ARRAY_SIZE(with));
	scsi_set_medium(&fixture->unit, NULL);
	scsi_run_cases(fixture, without, ARRAY_SIZE(without));
}

static void without_a_medium_the_drive_is_not_ready(void **state)
{
	static const struct scsi_case cases[] = {
		{READY(.sense = TRAY_CLOSED)},
		{"READ", CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), IN, 2048, .sense = TRAY_CLOSED},
		{"READ CAPACITY", CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 8,
		 .sense = TRAY_CLOSED},
		{"READ TOC", CDB(0x43, 0, 0, 0, 0, 0, 0, 0, 12, 0), IN, 12, .sense = TRAY_CLOSED},
		{"READ DISC INFORMATION", CDB(0x51, 0, 0, 0, 0, 0, 0, 0, 34, 0), IN, 34,
		 .sense = TRAY_CLOSED},
		{"READ DVD STRUCTURE", CDB(0xad, 0, 0, 0, 0, 0, 0, 0, 8, 4, 0, 0), IN, 2052,
		 .sense = TRAY_CLOSED},
		{"MODE SENSE", CDB(0x1a, 0, 0x2a, 0, 128, 0), IN, 128, .transferred = 26},
		{"REQUEST SENSE", CDB(3, 0, 0, 0, 18, 0), IN, 18, .transferred = 18,
		 EXPECT(0x70, 0, 0)},
		{EJECT(0)},
		{READY(.sense = TRAY_OPEN)},
		{"MECHANISM STATUS", CDB(0xbd, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0), IN, 8,
		 .transferred = 8, EXPECT(0, 0x10)},
		{LOAD(0)},
		{READY(.sense = TRAY_CLOSED)},
	};
	struct scsi_fixture *fixture = *state;

	scsi_set_medium(&fixture->unit, NULL);
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void a_guest_opens_and_closes_the_tray(void **state)
{
	static const struct scsi_case cases[] = {
		{"start without load", CDB(0x1b, 0, 0, 0, 1, 0), NONE},
		{"stop", CDB(0x1b, 0, 0, 0, 0, 0), NONE},
		{"power condition", CDB(0x1b, 0, 0, 0, 0x32, 0), NONE},
		{READY(0)},
		{"load what is loaded", CDB(0x1b, 0, 0, 0, 3, 0), NONE},
		{"no event", MEDIA_EVENT, EXPECT(0, 6, 4, 0x7e, 0, 2, 0, 0)},
		{EJECT(0)},
		{READY(.sense = TRAY_OPEN)},
		{"removal", MEDIA_EVENT, EXPECT(0, 6, 4, 0x7e, 3, 1, 0, 0)},
		{"told once", MEDIA_EVENT, EXPECT(0, 6, 4, 0x7e, 0, 1, 0, 0)},
		{LOAD(0)},
		{"the attention is not told with events", MEDIA_EVENT,
		 EXPECT(0, 6, 4, 0x7e, 2, 2, 0, 0)},
		{READY(.sense = SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED)},
		{READY(0)},
		{"prevent", CDB(0x1e, 0, 0, 0, 1, 0), NONE},
		{EJECT(.sense = SCSI_SENSE_REMOVAL_PREVENTED)},
		{"prevent persistently", CDB(0x1e, 0, 0, 0, 3, 0), NONE},
		{"allow", CDB(0x1e, 0, 0, 0, 0, 0), NONE},
		{EJECT(.sense = SCSI_SENSE_REMOVAL_PREVENTED)},
		{"allow persistently", CDB(0x1e, 0, 0, 0, 2, 0), NONE},
		{EJECT(0)},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void an_empty_drive_can_be_locked_too(void **state)
{
	static const struct scsi_case cases[] = {
		{"prevent", CDB(0x1e, 0, 0, 0, 1, 0), NONE},
		{EJECT(.sense = SCSI_SENSE_NOT_READY_REMOVAL_PREVENTED)},
	};
	struct scsi_fixture *fixture = *state;

	scsi_set_medium(&fixture->unit, NULL);
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void events_other_than_of_media_are_none(void **state)
{
	static const struct scsi_case cases[] = {
		{"asynchronous", CDB(0x4a, 0, 0, 0, 0x10, 0, 0, 0, 8, 0), IN, 8,
		 .sense = INVALID_CDB},
		{"no class", CDB(0x4a, 1, 0, 0, 0, 0, 0, 0, 8, 0), IN, 8, .transferred = 4,
		 EXPECT(0, 2, 0x80, 0x7e)},
		{"power", CDB(0x4a, 1, 0, 0, 4, 0, 0, 0, 8, 0), IN, 8, .transferred = 8,
		 EXPECT(0, 6, 2, 0x7e, 0, 1, 0, 0)},
		{"lowest of several", CDB(0x4a, 1, 0, 0, 0x52, 0, 0, 0, 8, 0), IN, 8,
		 .transferred = 8, EXPECT(0, 6, 1, 0x7e, 0, 0, 0, 0)},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void a_swap_by_the_host_is_removal_then_a_new_medium(void **state)
{
	static const struct scsi_case cases[] = {
		{"too short to tell", CDB(0x4a, 1, 0, 0, 0x10, 0, 0, 0, 4, 0), IN, 4,
		 .transferred = 4, EXPECT(0, 6, 4, 0x7e)},
		{"news before others", CDB(0x4a, 1, 0, 0, 0x12, 0, 0, 0, 8, 0), IN, 8,
		 .transferred = 8, EXPECT(0, 6, 4, 0x7e, 3, 0, 0, 0)},
		{"new", MEDIA_EVENT, EXPECT(0, 6, 4, 0x7e, 2, 2, 0, 0)},
		{"nothing", MEDIA_EVENT, EXPECT(0, 6, 4, 0x7e, 0, 2, 0, 0)},
		{"INQUIRY", CDB(0x12, 0, 0, 0, 1, 0), IN, 1, .transferred = 1, EXPECT(5)},
		{"GET CONFIGURATION", CDB(0x46, 0, 0, 0, 0, 0, 0, 0, 4, 0), IN, 4,
		 .transferred = 4},
		{READY(.sense = SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED)},
		{READY(0)},
		{"REQUEST SENSE", CDB(3, 0, 0, 0, 18, 0), IN, 18, .transferred = 18,
		 EXPECT(0x70, 0, 0)},
	};
	struct scsi_fixture *fixture = *state;

	scsi_set_medium(&fixture->unit, &fixture->medium);
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void request_sense_takes_the_attention(void **state)
{
	static const struct scsi_case cases[] = {
		{"REQUEST SENSE", CDB(3, 0, 0, 0, 18, 0), IN, 18, .transferred = 18,
		 EXPECT(0x70, 0, 6, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x28, 0)},
		{READY(0)},
	};
	struct scsi_fixture *fixture = *state;

	scsi_set_medium(&fixture->unit, &fixture->medium);
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void reading_goes_on_with_the_medium_it_began_with(void **state)
{
	static const uint8_t read[16] = {0x28, 0, 0, 0, 0, 3, 0, 0, 1, 0};
	struct scsi_fixture *fixture = *state;

	memset(fixture->disk.bytes + 3 * 2048, 0x37, 2048);
	scsi_start(fixture, read, 10, IN, 2048);
	scsi_set_medium(&fixture->unit, NULL);
	assert_int_equal(fixture->medium.users, 1);
	assert_int_equal(fixture_run_disk(9), 1);
	assert_int_equal(fixture->done, 1);
	assert_int_equal(fixture->medium.users, 0);
	assert_int_equal(fixture->command->status, SCSI_STATUS_GOOD);
	assert_int_equal(fixture->data[2047], 0x37);
}

#define DVD_TEST(name) cmocka_unit_test_setup_teardown(name, scsi_fixture_dvd, scsi_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DVD_TEST(sectors_are_2048_bytes),
		DVD_TEST(a_medium_is_described),
		DVD_TEST(configuration_follows_the_medium),
		DVD_TEST(without_a_medium_the_drive_is_not_ready),
		DVD_TEST(a_guest_opens_and_closes_the_tray),
		DVD_TEST(an_empty_drive_can_be_locked_too),
		DVD_TEST(events_other_than_of_media_are_none),
		DVD_TEST(a_swap_by_the_host_is_removal_then_a_new_medium),
		DVD_TEST(request_sense_takes_the_attention),
		DVD_TEST(reading_goes_on_with_the_medium_it_began_with),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

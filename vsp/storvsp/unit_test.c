/*
 * unit_test.c - dispatch, and the commands that disks and DVD drives share
 */
#include <errno.h>
#include <string.h>

#include "scsi_fixture.h"

#define INVALID_CDB    SCSI_SENSE_INVALID_FIELD_IN_CDB
#define INVALID_OPCODE SCSI_SENSE_INVALID_OPCODE

static void commands_without_disk_access_are_answered(void **state)
{
	static const struct scsi_case cases[] = {
		{"TEST UNIT READY", CDB(0, 0, 0, 0, 0, 0), NONE},
		{"TEST UNIT READY, short CDB", CDB(0, 0, 0, 0, 0), NONE, .sense = INVALID_CDB},
		{"unknown opcode", CDB(0xff, 0, 0, 0, 0, 0), NONE, .sense = INVALID_OPCODE},
		{"MAINTENANCE IN", CDB(0xa3, 0x0c, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 512,
		 .sense = INVALID_OPCODE},
		{"MMC on a disk", CDB(0x46, 0, 0, 0, 0, 0, 0, 0, 64, 0), IN, 64,
		 .sense = INVALID_OPCODE},
		{"SEND DIAGNOSTIC self-test", CDB(0x1d, 4, 0, 0, 0, 0), NONE},
		{"SEND DIAGNOSTIC other test", CDB(0x1d, 0x24, 0, 0, 0, 0), NONE,
		 .sense = INVALID_CDB},
		{"SEND DIAGNOSTIC with a list", CDB(0x1d, 4, 0, 0, 4, 0), OUT, 4,
		 .sense = INVALID_CDB},
		{"PREVENT REMOVAL", CDB(0x1e, 0, 0, 0, 1, 0), NONE},
		{"RESERVE(6)", CDB(0x16, 0, 0, 0, 0, 0), NONE},
		{"RELEASE(6)", CDB(0x17, 0, 0, 0, 0, 0), NONE},
		{"RESERVE(10)", CDB(0x56, 0, 0, 0, 0, 0, 0, 0, 0, 0), NONE},
		{"RELEASE(10)", CDB(0x57, 0, 0, 0, 0, 0, 0, 0, 0, 0), NONE},
		{"FORMAT UNIT", CDB(0x04, 0, 0, 0, 0, 0), NONE},
		{"LOG SENSE, pages", CDB(0x4d, 0, 0x40, 0, 0, 0, 0, 0, 255, 0), IN, 255,
		 .transferred = 5, EXPECT(0, 0, 0, 1, 0)},
		{"LOG SENSE, header only", CDB(0x4d, 0, 0x40, 0, 0, 0, 0, 0, 4, 0), IN, 4,
		 .transferred = 4, EXPECT(0, 0, 0, 1)},
		{"LOG SENSE, other page", CDB(0x4d, 0, 0x4d, 0, 0, 0, 0, 0, 255, 0), IN, 255,
		 .sense = INVALID_CDB},
		{"START STOP, start", CDB(0x1b, 0, 0, 0, 1, 0), NONE},
		{"START STOP, eject a disk", CDB(0x1b, 0, 0, 0, 2, 0), NONE, .sense = INVALID_CDB},
		{"SERVICE ACTION IN, GET LBA STATUS",
		 CDB(0x9e, 0x12, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0), IN, 32,
		 .sense = INVALID_CDB},
		{"answer into the wrong direction", CDB(0x12, 0, 0, 0, 36, 0), OUT, 36,
		 .sense = INVALID_CDB},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
	assert_int_equal(fixture_submitted.count, 0);
}

static void capacity_is_told(void **state)
{
	static const struct scsi_case cases[] = {
		{"READ CAPACITY(10)", CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 8, .transferred = 8,
		 EXPECT(0, 0x1f, 0xff, 0xff, 0, 0, 2, 0)},
		{"READ CAPACITY(10), LBA without PMI", CDB(0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0), IN, 8,
		 .sense = INVALID_CDB},
		{"READ CAPACITY(10), LBA with PMI", CDB(0x25, 0, 0, 0, 0, 1, 0, 0, 1, 0), IN, 8,
		 .transferred = 8, EXPECT(0, 0x1f, 0xff, 0xff, 0, 0, 2, 0)},
		{"READ CAPACITY(10), short buffer", CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 5,
		 .sense = INVALID_CDB, .transferred = 5, EXPECT(0, 0x1f, 0xff, 0xff, 0)},
		{"READ CAPACITY(16)", CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0),
		 IN, 32, .transferred = 32,
		 EXPECT(0, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 2, 0, 0, 3, 0x80, 0)},
		{"READ CAPACITY(16), truncated",
		 CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 12, 0, 0), IN, 32,
		 .transferred = 12, EXPECT(0, 0, 0, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 2, 0)},
		{"READ CAPACITY(16), nothing wanted",
		 CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0), NONE, 0},
		{"READ CAPACITY(16), 12-byte CDB", CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0),
		 IN, 32, .sense = INVALID_CDB},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void a_capacity_beyond_32_bits_is_capped_in_the_short_form(void **state)
{
	static const struct scsi_case cases[] = {
		{"READ CAPACITY(10)", CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 8, .transferred = 8,
		 EXPECT(0xff, 0xff, 0xff, 0xff, 0, 0, 2, 0)},
		{"READ CAPACITY(16)", CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0),
		 IN, 32, .transferred = 32, EXPECT(0, 0, 0, 1, 0, 0, 0, 0x1f)},
	};
	struct scsi_fixture *fixture = *state;

	fixture->medium.blocks = 0x100000020ull;
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void sense_is_told_once_more_and_then_gone(void **state)
{
	static const struct scsi_case cases[] = {
		{"nothing yet", CDB(3, 0, 0, 0, 252, 0), IN, 252, .transferred = 18,
		 EXPECT(0x70, 0, 0, 0, 0, 0, 0, 10)},
		{"a failure", CDB(0xff, 0, 0, 0, 0, 0), NONE, .sense = INVALID_OPCODE},
		{"its sense, in part", CDB(3, 0, 0, 0, 14, 0), IN, 252, .transferred = 14,
		 EXPECT(0x70, 0, 5, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0x20, 0)},
		{"none left", CDB(3, 0, 0, 0, 18, 0), IN, 18, .transferred = 18,
		 EXPECT(0x70, 0, 0)},
		{"a failure", CDB(0x25, 0, 0, 0, 0, 1, 0, 0, 0, 0), IN, 8, .sense = INVALID_CDB},
		{"descriptor format", CDB(3, 1, 0, 0, 18, 0), IN, 18, .transferred = 8,
		 EXPECT(0x72, 5, 0x24, 0, 0, 0, 0, 0)},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void a_unit_attention_fails_one_command_but_not_inquiry(void **state)
{
	static const struct scsi_case cases[] = {
		{"INQUIRY", CDB(0x12, 0, 0, 0, 5, 0), IN, 5, .transferred = 5,
		 EXPECT(0, 0, 5, 2, 91)},
		{"READ CAPACITY", CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 8,
		 .sense = SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED},
		{"READ CAPACITY again", CDB(0x25, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 8,
		 .transferred = 8},
	};
	struct scsi_fixture *fixture = *state;

	fixture->unit.attention = SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED;
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void run_alone(struct scsi_fixture *fixture, const uint8_t *cdb, unsigned int lun,
		      uint32_t bytes)
{
	uint8_t whole[16] = {0};

	memcpy(whole, cdb, 12);
	scsi_start(fixture, (const uint8_t[16]){0}, 6, NONE, 0); /* sets callbacks */
	memcpy(fixture->command->cdb, whole, 16);
	fixture->command->cdb_bytes = 12;
	fixture->command->direction = IN;
	fixture->command->iov[0] = (struct iovec){fixture->data, bytes};
	fixture->command->iov_count = 1;
	fixture->command->data_bytes = bytes;
	memset(fixture->data, SCSI_FILLER, sizeof(fixture->data));
	fixture->done = 0;
	if (cdb[0] == SCSI_REPORT_LUNS)
		scsi_report_luns(fixture->command, BIT(0) | BIT(5) | BIT(63));
	else
		scsi_execute_absent(fixture->command, lun);
	assert_int_equal(fixture->done, 1);
}

static void luns_are_reported_with_any_allocation_from_16_on(void **state)
{
	static const uint8_t expected[32] = {0, 0, 0, 24, 0, 0, 0, 0, 0, 0, 0, 0, 0,
					     0, 0, 0, 0,  5, 0, 0, 0, 0, 0, 0, 0, 63};
	static const struct {
		uint8_t select, allocation_high, allocation;
		uint32_t sense, bytes;
	} cases[] = {
		{0, 16, 0, 0, 32}, /* 4096 */
		{2, 16, 0, 0, 32},	    {0, 0, 16, 0, 16}, {0, 0, 20, 0, 20},
		{0, 0, 15, INVALID_CDB, 0}, {1, 16, 0, 0, 8},  {3, 16, 0, INVALID_CDB, 0},
	};

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scsi_fixture *fixture = *state;
		uint8_t cdb[12] = {0xa0,
				   0,
				   cases[i].select,
				   0,
				   0,
				   0,
				   0,
				   0,
				   cases[i].allocation_high,
				   cases[i].allocation};

		run_alone(fixture, cdb, 0, 4096);
		assert_int_equal(scsi_sense_of(fixture), cases[i].sense);
		assert_int_equal(fixture->command->transferred, cases[i].bytes);
		if (cases[i].bytes > 8)
			assert_memory_equal(fixture->data, expected, cases[i].bytes);
		assert_int_equal(fixture->data[cases[i].bytes], SCSI_FILLER);
	}
}

static void an_absent_lun_answers_inquiry_and_nothing_else(void **state)
{
	static const uint8_t inquiry[12] = {0x12, 0, 0, 0, 36}, vpd[12] = {0x12, 1, 0, 0, 36};
	static const uint8_t test_unit_ready[12] = {0}, mode_sense[12] = {0x1a, 0, 8, 0, 4};
	struct scsi_fixture *fixture = *state;

	run_alone(fixture, inquiry, 0, 36);
	assert_int_equal(fixture->command->srb_status, STORVSC_SRB_SUCCESS);
	assert_int_equal(fixture->command->transferred, 36);
	assert_int_equal(fixture->data[0], 0x7f);
	assert_memory_equal(fixture->data + 8, "Msft    ", 8);

	run_alone(fixture, inquiry, 1, 36);
	assert_int_equal(fixture->data[0], 0x7f);
	assert_int_equal(fixture->data[8], 0);

	run_alone(fixture, vpd, 0, 36);
	assert_int_equal(scsi_sense_of(fixture), INVALID_CDB);

	run_alone(fixture, test_unit_ready, 0, 0);
	assert_int_equal(fixture->command->srb_status, STORVSC_SRB_INVALID_LUN);
	assert_int_equal(fixture->command->status, SCSI_STATUS_CHECK_CONDITION);

	/* Linux takes this for a success: what it reads must not be what was there before. */
	run_alone(fixture, mode_sense, 0, 4);
	assert_int_equal(fixture->command->srb_status, STORVSC_SRB_INVALID_LUN);
	assert_memory_equal(fixture->data, "\0\0\0\0", 4);
	assert_true(fixture->command->memory_written);
}

static void disks_that_cannot_be_a_drive_are_refused(void **state)
{
	static const struct {
		uint64_t bytes;
		uint32_t sector;
		bool dvd;
		int result;
	} cases[] = {
		{512, 512, false, 0},	     {511, 512, false, -EINVAL},
		{4096, 4096, false, 0},	     {4096, 8192, false, -EINVAL},
		{4096, 520, false, -EINVAL}, {4096, 0, false, -EINVAL},
		{2048, 512, true, 0},	     {1536, 512, true, -EINVAL},
		{8192, 4096, true, -EINVAL},
	};
	struct scsi_fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		struct scsi_medium medium;

		fixture->disk.info.bytes = cases[i].bytes;
		fixture->disk.info.logical_sector = cases[i].sector;
		assert_int_equal(scsi_medium_init(&medium, &fixture->disk, cases[i].dvd),
				 cases[i].result);
	}
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, scsi_fixture_disk, scsi_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(commands_without_disk_access_are_answered),
		DISK_TEST(capacity_is_told),
		DISK_TEST(a_capacity_beyond_32_bits_is_capped_in_the_short_form),
		DISK_TEST(sense_is_told_once_more_and_then_gone),
		DISK_TEST(a_unit_attention_fails_one_command_but_not_inquiry),
		DISK_TEST(luns_are_reported_with_any_allocation_from_16_on),
		DISK_TEST(an_absent_lun_answers_inquiry_and_nothing_else),
		DISK_TEST(disks_that_cannot_be_a_drive_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

/*
 * mode_test.c - mode pages
 */
#include <string.h>

#include "scsi_fixture.h"

#define INVALID_CDB  SCSI_SENSE_INVALID_FIELD_IN_CDB
#define INVALID_LIST SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS
#define LIST_LENGTH  SCSI_SENSE_PARAMETER_LIST_LENGTH

static void a_disk_has_caching_and_control_pages(void **state)
{
	static const struct scsi_case cases[] = {
		{"(6) all, header only, as Linux asks", CDB(0x1a, 0, 0x3f, 0, 4, 0), IN, 4,
		 .transferred = 4, EXPECT(35, 0, 0x10, 0)},
		{"(6) caching, in part", CDB(0x1a, 0, 8, 0, 4, 0), IN, 4, .transferred = 4,
		 EXPECT(23, 0, 0x10, 0)},
		{"(6) caching", CDB(0x1a, 0, 8, 0, 24, 0), IN, 24, .transferred = 24,
		 EXPECT(23, 0, 0x10, 0, 8, 18, 4, 0)},
		{"(6) DBD changes nothing", CDB(0x1a, 8, 8, 0, 24, 0), IN, 24, .transferred = 24,
		 EXPECT(23, 0, 0x10, 0, 8, 18, 4, 0)},
		{"(6) what could be changed", CDB(0x1a, 0, 0x48, 0, 24, 0), IN, 24,
		 .transferred = 24, EXPECT(23, 0, 0x10, 0, 8, 18, 0, 0)},
		{"(6) defaults", CDB(0x1a, 0, 0x88, 0, 24, 0), IN, 24, .transferred = 24,
		 EXPECT(23, 0, 0x10, 0, 8, 18, 4, 0)},
		{"(6) saved", CDB(0x1a, 0, 0xc8, 0, 24, 0), IN, 24,
		 .sense = SCSI_SENSE_SAVING_NOT_SUPPORTED, EXPECT(0, 0, 0, 0, 0, 0)},
		{"(6) page of a DVD drive", CDB(0x1a, 0, 0x2a, 0, 24, 0), IN, 24,
		 .sense = INVALID_CDB, EXPECT(0, 0, 0, 0)},
		{"(6) sub-page", CDB(0x1a, 0, 0x0a, 1, 24, 0), IN, 24, .sense = INVALID_CDB},
		{"(6) all sub-pages", CDB(0x1a, 0, 0x3f, 0xff, 255, 0), IN, 255, .transferred = 36},
		{"(10) all", CDB(0x5a, 0, 0x3f, 0, 0, 0, 0, 1, 0, 0), IN, 256, .transferred = 40,
		 EXPECT(0, 38, 0, 0x10, 0, 0, 0, 0, 8, 18, 4)},
		{"(10) control", CDB(0x5a, 0, 0x0a, 0, 0, 0, 0, 1, 0, 0), IN, 256,
		 .transferred = 20, .offset = 8, EXPECT(0x0a, 10, 0, 0x10)},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void write_protection_is_told(void **state)
{
	static const struct scsi_case cases[] = {
		{"(6)", CDB(0x1a, 0, 0x3f, 0, 4, 0), IN, 4, .transferred = 4,
		 EXPECT(35, 0, 0x90, 0)},
		{"(10)", CDB(0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 8, 0), IN, 8, .transferred = 8,
		 EXPECT(0, 38, 0, 0x90)},
	};
	struct scsi_fixture *fixture = *state;

	fixture->unit.read_only = true;
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
	fixture->unit.read_only = false;
	fixture->medium.info.read_only = true; /* the image's file */
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void selecting_what_is_so_succeeds_and_all_else_fails(void **state)
{
	static const struct scsi_case cases[] = {
		{"(6) no list", CDB(0x15, 0x10, 0, 0, 0, 0), NONE, 0},
		{"(6) header only", CDB(0x15, 0x10, 0, 0, 4, 0), OUT, 4, .transferred = 4,
		 EXPECT(0, 0, 0, 0)},
		{"(6) save", CDB(0x15, 0x11, 0, 0, 4, 0), OUT, 4, .sense = INVALID_CDB},
		{"(6) half a header", CDB(0x15, 0x10, 0, 0, 3, 0), OUT, 3, .sense = LIST_LENGTH},
		{"(6) caching as it is", CDB(0x15, 0x10, 0, 0, 24, 0), OUT, 24, .transferred = 24,
		 EXPECT(0, 0, 0, 0, 8, 18, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"(6) caching off", CDB(0x15, 0x10, 0, 0, 24, 0), OUT, 24, .sense = INVALID_LIST,
		 EXPECT(0, 0, 0, 0, 8, 18, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"(6) a page cut off", CDB(0x15, 0x10, 0, 0, 20, 0), OUT, 20, .sense = INVALID_LIST,
		 EXPECT(0, 0, 0, 0, 8, 18, 4, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"(6) one byte of a page", CDB(0x15, 0x10, 0, 0, 5, 0), OUT, 5,
		 .sense = LIST_LENGTH, EXPECT(0, 0, 0, 0, 8)},
		{"(6) unknown page", CDB(0x15, 0x10, 0, 0, 6, 0), OUT, 6, .sense = INVALID_LIST,
		 EXPECT(0, 0, 0, 0, 0x1c, 0)},
		{"(6) block descriptors", CDB(0x15, 0x10, 0, 0, 12, 0), OUT, 12,
		 .sense = INVALID_LIST, EXPECT(0, 0, 0, 8, 0, 0, 0, 0, 0, 0, 2, 0)},
		{"(6) list longer than the data", CDB(0x15, 0x10, 0, 0, 24, 0), OUT, 4,
		 .sense = INVALID_CDB},
		{"(10) control as it is", CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, 20, 0), OUT, 20,
		 .transferred = 20,
		 EXPECT(0, 0, 0, 0, 0, 0, 0, 0, 0x0a, 10, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"(10) half a header", CDB(0x55, 0x10, 0, 0, 0, 0, 0, 0, 7, 0), OUT, 7,
		 .sense = LIST_LENGTH},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void a_dvd_drive_has_its_own_pages(void **state)
{
	static const struct scsi_case cases[] = {
		{"(6) capabilities, as Linux asks", CDB(0x1a, 0, 0x2a, 0, 128, 0), IN, 128,
		 .transferred = 26,
		 EXPECT(25, 0, 0, 0, 0x2a, 20, 0x3b, 0, 0x70, 0, 0x29, 0, 0x2b, 0x48)},
		{"(10) capabilities", CDB(0x5a, 0, 0x2a, 0, 0, 0, 0, 0, 128, 0), IN, 128,
		 .transferred = 30, EXPECT(0, 28, 0, 0, 0, 0, 0, 0, 0x2a, 20)},
		{"(10) error recovery", CDB(0x5a, 0, 1, 0, 0, 0, 0, 0, 128, 0), IN, 128,
		 .transferred = 20, EXPECT(0, 18, 0, 0, 0, 0, 0, 0, 1, 10, 0, 5)},
		{"(10) all", CDB(0x5a, 0, 0x3f, 0, 0, 0, 0, 0, 255, 0), IN, 255, .transferred = 66,
		 EXPECT(0, 64)},
		{"(10) caching", CDB(0x5a, 0, 8, 0, 0, 0, 0, 0, 128, 0), IN, 128,
		 .sense = INVALID_CDB},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, scsi_fixture_disk, scsi_fixture_end)
#define DVD_TEST(name)	cmocka_unit_test_setup_teardown(name, scsi_fixture_dvd, scsi_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(a_disk_has_caching_and_control_pages),
		DISK_TEST(write_protection_is_told),
		DISK_TEST(selecting_what_is_so_succeeds_and_all_else_fails),
		DVD_TEST(a_dvd_drive_has_its_own_pages),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

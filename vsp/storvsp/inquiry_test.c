/*
 * inquiry_test.c - what drives say of themselves
 */
#include <string.h>

#include "scsi_fixture.h"

#define INVALID_CDB SCSI_SENSE_INVALID_FIELD_IN_CDB
#define MSFT	    'M', 's', 'f', 't', ' ', ' ', ' ', ' '

static void a_disk_describes_itself(void **state)
{
	static const struct scsi_case cases[] = {
		{"standard, 36 bytes", CDB(0x12, 0, 0, 0, 36, 0), IN, 36, .transferred = 36,
		 EXPECT(0, 0, 5, 2, 91, 0, 0, 2, MSFT, 'V', 'i', 'r', 't', 'u', 'a', 'l', ' ', 'D',
			'i', 's', 'k', ' ', ' ', ' ', ' ', '1', '.', '0', ' ')},
		{"standard, all", CDB(0x12, 0, 0, 0xff, 0xff, 0), IN, 4096, .transferred = 96,
		 .offset = 58, EXPECT(0, 0x60, 3, 0, 3, 0x20)},
		{"standard, nothing", CDB(0x12, 0, 0, 0, 0, 0), NONE, 0},
		{"standard, buffer shorter than allocation", CDB(0x12, 0, 0, 0, 36, 0), IN, 8,
		 .sense = INVALID_CDB, .transferred = 8, EXPECT(0, 0, 5, 2, 91)},
		{"standard with a page", CDB(0x12, 0, 0x80, 0, 36, 0), IN, 36, .sense = INVALID_CDB,
		 EXPECT(0, 0, 0, 0)},
		{"command support data", CDB(0x12, 2, 0, 0, 36, 0), IN, 36, .sense = INVALID_CDB},
		{"VPD 00", CDB(0x12, 1, 0, 0, 255, 0), IN, 255, .transferred = 10,
		 EXPECT(0, 0, 0, 6, 0, 0x80, 0x83, 0xb0, 0xb1, 0xb2)},
		{"VPD 00, header", CDB(0x12, 1, 0, 0, 4, 0), IN, 4, .transferred = 4,
		 EXPECT(0, 0, 0, 6)},
		{"VPD 80", CDB(0x12, 1, 0x80, 0, 255, 0), IN, 255, .transferred = 12,
		 EXPECT(0, 0x80, 0, 8, 's', 'e', 'r', 'i', 'a', 'l', '-', '1')},
		{"VPD 83", CDB(0x12, 1, 0x83, 0, 255, 0), IN, 255, .transferred = 52,
		 EXPECT(0, 0x83, 0, 48, 1, 1, 0, 24, MSFT)},
		{"VPD 83, NAA", CDB(0x12, 1, 0x83, 0, 255, 0), IN, 255, .transferred = 52,
		 .offset = 32, EXPECT(1, 3, 0, 16, 0x60, 0x02, 0x24, 0x80)},
		{"VPD B0", CDB(0x12, 1, 0xb0, 0, 64, 0), IN, 64, .transferred = 64,
		 EXPECT(0, 0xb0, 0, 60, 1, 0, 0, 8, 0, 0, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff,
			0xff, 0xff, 0, 0, 1, 0, 0, 0, 0, 8, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40,
			0)},
		{"VPD B1", CDB(0x12, 1, 0xb1, 0, 64, 0), IN, 64, .transferred = 64,
		 EXPECT(0, 0xb1, 0, 60, 0, 1, 0, 0)},
		{"VPD B2", CDB(0x12, 1, 0xb2, 0, 64, 0), IN, 64, .transferred = 8,
		 EXPECT(0, 0xb2, 0, 4, 0, 0xe0, 2, 0)},
		{"VPD 89", CDB(0x12, 1, 0x89, 0, 64, 0), IN, 64, .sense = INVALID_CDB,
		 EXPECT(0, 0, 0, 0, 0, 0, 0, 0)},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

static void without_discard_nothing_of_it_is_promised(void **state)
{
	static const struct scsi_case cases[] = {
		{"VPD 00", CDB(0x12, 1, 0, 0, 255, 0), IN, 255, .transferred = 9,
		 EXPECT(0, 0, 0, 5, 0, 0x80, 0x83, 0xb0, 0xb1)},
		{"VPD B0", CDB(0x12, 1, 0xb0, 0, 64, 0), IN, 64, .transferred = 64, .offset = 20,
		 EXPECT(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)},
		{"VPD B2", CDB(0x12, 1, 0xb2, 0, 64, 0), IN, 64, .sense = INVALID_CDB},
		{"READ CAPACITY(16)", CDB(0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0),
		 IN, 32, .transferred = 32, .offset = 14, EXPECT(0)},
		{"UNMAP", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0), OUT, 8,
		 .sense = SCSI_SENSE_INVALID_OPCODE},
		{"WRITE SAME with UNMAP", CDB(0x41, 8, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 512,
		 .sense = INVALID_CDB},
	};
	struct scsi_fixture *fixture = *state;

	fixture->medium.info.can_discard = false;
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
}

static void granularity_of_unmap_is_that_of_the_image(void **state)
{
	static const struct scsi_case one = {
		"VPD B0",     CDB(0x12, 1, 0xb0, 0, 64, 0), IN, 64, .transferred = 64,
		.offset = 28, EXPECT(0, 0, 0x10, 0)};
	struct scsi_fixture *fixture = *state;

	fixture->medium.info.block_bytes = 2 * MIB;
	scsi_run_cases(fixture, &one, 1);
}

static void identity(struct scsi_fixture *fixture, const char *serial, uint8_t id[16])
{
	struct storvsp_drive drive = {.disk = &fixture->disk};

	strcpy(drive.serial, serial);
	scsi_unit_init(&fixture->unit, &drive, &fixture->medium);
	scsi_run(fixture, (const uint8_t[16]){0x12, 1, 0x83, 0, 52}, 6, IN, 52);
	memcpy(id, fixture->data + 16, 16);
}

static void identity_follows_the_serial(void **state)
{
	static const uint8_t of_guid[16] = {0xd9, 0x63, 0x61, 0xba, 0xa1, 0x04, 0x29, 0x4d,
					    0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f};
	struct scsi_fixture *fixture = *state;
	uint8_t one[16], two[16];

	identity(fixture, "ba6163d9-04a1-4d29-b605-72e2ffb1dc7f", one);
	assert_memory_equal(one, of_guid, 16);
	assert_memory_equal(fixture->data + 36 + 4, of_guid, 6);
	assert_memory_equal(fixture->data + 36 + 10, of_guid + 10, 6);
	identity(fixture, "a", one);
	identity(fixture, "b", two);
	assert_memory_not_equal(one, two, 16);
	identity(fixture, "a", two);
	assert_memory_equal(one, two, 16);

	memset(fixture->medium.info.id.bytes, 0x77, 16);
	identity(fixture, "", one);
	assert_int_equal(one[3], 0x77);
	/* No serial, no page of it. */
	scsi_run(fixture, (const uint8_t[16]){0x12, 1, 0x80, 0, 52}, 6, IN, 52);
	assert_int_equal(scsi_sense_of(fixture), INVALID_CDB);
}

static void a_serial_without_an_end_is_cut(void **state)
{
	struct scsi_fixture *fixture = *state;
	struct storvsp_drive drive = {.disk = &fixture->disk};

	memset(drive.serial, 'x', sizeof(drive.serial));
	scsi_unit_init(&fixture->unit, &drive, &fixture->medium);
	scsi_run(fixture, (const uint8_t[16]){0x12, 1, 0x80, 0, 255}, 6, IN, 255);
	assert_int_equal(fixture->command->transferred, 4 + 36);
}

static void a_dvd_drive_describes_itself(void **state)
{
	static const struct scsi_case cases[] = {
		{"standard", CDB(0x12, 0, 0, 0, 36, 0), IN, 36, .transferred = 36,
		 EXPECT(5, 0x80, 0, 2, 31, 0, 0, 0, MSFT, 'V', 'i', 'r', 't', 'u', 'a', 'l', ' ',
			'D', 'V', 'D', '-', 'R', 'O', 'M', ' ', '1', '.', '0', ' ')},
		{"VPD 00", CDB(0x12, 1, 0, 0, 255, 0), IN, 255, .transferred = 7,
		 EXPECT(5, 0, 0, 3, 0, 0x80, 0x83)},
		{"VPD 83", CDB(0x12, 1, 0x83, 0, 8, 0), IN, 8, .transferred = 8,
		 EXPECT(5, 0x83, 0, 48, 1, 1, 0, 24)},
		{"VPD B0", CDB(0x12, 1, 0xb0, 0, 64, 0), IN, 64, .sense = INVALID_CDB},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
	scsi_set_medium(&((struct scsi_fixture *)*state)->unit, NULL);
	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, scsi_fixture_disk, scsi_fixture_end)
#define DVD_TEST(name)	cmocka_unit_test_setup_teardown(name, scsi_fixture_dvd, scsi_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(a_disk_describes_itself),
		DISK_TEST(without_discard_nothing_of_it_is_promised),
		DISK_TEST(granularity_of_unmap_is_that_of_the_image),
		DISK_TEST(identity_follows_the_serial),
		DISK_TEST(a_serial_without_an_end_is_cut),
		DVD_TEST(a_dvd_drive_describes_itself),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

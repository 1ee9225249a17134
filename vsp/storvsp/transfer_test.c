/*
 * transfer_test.c - READ, WRITE, VERIFY, SYNCHRONIZE CACHE, WRITE SAME, UNMAP
 *
 * The disk has blocks 0 to 0x1fffff.
 */
#include <errno.h>
#include <string.h>

#include "scsi_fixture.h"

#define INVALID_CDB  SCSI_SENSE_INVALID_FIELD_IN_CDB
#define OUT_OF_RANGE SCSI_SENSE_LBA_OUT_OF_RANGE

static const uint8_t none[16];

static void ranges_are_taken_from_every_size_of_cdb(void **state)
{
	static const struct {
		uint8_t cdb[16];
		uint8_t cdb_bytes;
		uint64_t offset;
		uint32_t blocks;
	} cases[] = {
		{{0x08, 0x01, 0x02, 0x03, 2, 0}, 6, 0x10203ull * 512, 2},
		{{0x08, 0, 0, 0, 0, 0}, 6, 0, 256}, /* 0 means 256 */
		{{0x28, 0, 0, 0x01, 0x02, 0x03, 0, 0, 8, 0}, 10, 0x10203ull * 512, 8},
		{{0xa8, 0, 0, 0x01, 0x02, 0x03, 0, 0, 0, 8, 0, 0}, 12, 0x10203ull * 512, 8},
		{{0x88, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0, 0, 0, 8, 0, 0}, 16, 0x10203ull * 512, 8},
		{{0x28, 0x10, 0, 0x1f, 0xff, 0xff, 0, 0, 1, 0}, 10, 0x1fffffull * 512, 1}, /* DPO */
	};
	struct scsi_fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		uint32_t bytes = cases[i].blocks * 512;

		scsi_run(fixture, cases[i].cdb, cases[i].cdb_bytes, IN, bytes);
		assert_int_equal(scsi_sense_of(fixture), 0);
		assert_int_equal(fixture->command->transferred, bytes);
		assert_int_equal(fixture_submitted.op, DISK_READ);
		assert_true(fixture_submitted.offset == cases[i].offset);
		assert_int_equal(fixture_submitted.bytes, bytes);
	}
}

static void what_lies_outside_or_asks_for_more_is_refused(void **state)
{
	static const struct scsi_case cases[] = {
		{"the block after the last", CDB(0x28, 0, 0, 0x20, 0, 0, 0, 0, 1, 0), IN, 512,
		 .sense = OUT_OF_RANGE},
		{"one block too many", CDB(0x28, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 2, 0), IN, 1024,
		 .sense = OUT_OF_RANGE},
		{"none after the last", CDB(0x28, 0, 0, 0x20, 0, 0, 0, 0, 0, 0), NONE,
		 .sense = OUT_OF_RANGE},
		{"none", CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 0, 0), NONE},
		{"a wrapping range",
		 CDB(0x88, 0, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 2, 0, 0), IN,
		 1024, .sense = OUT_OF_RANGE},
		{"the largest length",
		 CDB(0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, 0), IN, 1024,
		 .sense = OUT_OF_RANGE},
		{"more than the buffer", CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0), IN, 1023,
		 .sense = INVALID_CDB},
		{"no buffer", CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 2, 0), IN, 0, .sense = INVALID_CDB},
		{"protection", CDB(0x28, 0x20, 0, 0, 0, 0, 0, 0, 1, 0), IN, 512,
		 .sense = INVALID_CDB},
		{"relative address", CDB(0x28, 1, 0, 0, 0, 0, 0, 0, 1, 0), IN, 512,
		 .sense = INVALID_CDB},
		{"into the wrong direction", CDB(0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 512,
		 .sense = INVALID_CDB},
		{"a write from the wrong direction", CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), IN, 512,
		 .sense = INVALID_CDB},
		{"short CDB", CDB(0x88, 0, 0, 0, 0, 0, 0, 0, 0, 0), IN, 512, .sense = INVALID_CDB},
		{"VERIFY", CDB(0x2f, 0, 0, 0, 0, 0, 0, 0, 8, 0), NONE},
		{"VERIFY past the end", CDB(0x2f, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 2, 0), NONE,
		 .sense = OUT_OF_RANGE},
		{"VERIFY with data", CDB(0x2f, 2, 0, 0, 0, 0, 0, 0, 1, 0), NONE,
		 .sense = INVALID_CDB},
		{"VERIFY(12)", CDB(0xaf, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0), NONE},
		{"VERIFY(16)", CDB(0x8f, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 8, 0, 0), NONE},
		{"SYNCHRONIZE CACHE past the end", CDB(0x35, 0, 0, 0x20, 0, 0, 0, 0, 0, 0), NONE,
		 .sense = OUT_OF_RANGE},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
	assert_int_equal(fixture_submitted.count, 0);
}

static void data_arrives_where_it_belongs(void **state)
{
	struct scsi_fixture *fixture = *state;
	static const uint8_t write[16] = {0x2a, 0, 0, 0, 0, 7, 0, 0, 3, 0};
	static const uint8_t read[16] = {0x28, 0, 0, 0, 0, 7, 0, 0, 3, 0};

	for (unsigned int i = 0; i < 4 * 512; i++)
		fixture->data[i] = (uint8_t)(i * 7 + i / 256);
	/* The buffer may be longer than the range: the rest is not part of it. */
	scsi_run(fixture, write, 10, OUT, 4 * 512);
	assert_int_equal(fixture->command->transferred, 3 * 512);
	assert_memory_equal(fixture->disk.bytes + 7 * 512, fixture->data, 3 * 512);
	assert_int_equal(fixture->disk.bytes[6 * 512 + 511], 0);
	assert_int_equal(fixture->disk.bytes[10 * 512], 0);
	assert_false(fixture->command->memory_written);

	memset(fixture->data, SCSI_FILLER, sizeof(fixture->data));
	scsi_run(fixture, read, 10, IN, 4 * 512);
	assert_int_equal(fixture->command->transferred, 3 * 512);
	assert_memory_equal(fixture->data, fixture->disk.bytes + 7 * 512, 3 * 512);
	assert_int_equal(fixture->data[3 * 512], SCSI_FILLER);
	assert_true(fixture->command->memory_written);
	assert_int_equal(fixture->unit.stats.reads, 1);
	assert_int_equal(fixture->unit.stats.read_bytes, 3 * 512);
	assert_int_equal(fixture->unit.stats.writes, 1);
	assert_int_equal(fixture->unit.stats.written_bytes, 3 * 512);
}

static void larger_blocks_move_offsets(void **state)
{
	static const uint8_t read[16] = {0x28, 0, 0, 0, 0, 7, 0, 0, 2, 0};
	struct scsi_fixture *fixture = *state;

	fixture->disk.info.logical_sector = 4096;
	assert_int_equal(scsi_medium_init(&fixture->medium, &fixture->disk, false), 0);
	scsi_run(fixture, read, 10, IN, 8192);
	assert_int_equal(fixture->command->transferred, 8192);
	assert_int_equal(fixture_submitted.offset, 7 * 4096);
}

static void caches_are_flushed_when_it_is_asked_for(void **state)
{
	static const struct {
		uint8_t cdb[16];
		uint8_t cdb_bytes, direction;
		enum disk_op op;
		bool fua;
		unsigned int requests;
	} cases[] = {
		{{0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 10, OUT, DISK_WRITE, false, 1},
		{{0x2a, 8, 0, 0, 0, 0, 0, 0, 1, 0}, 10, OUT, DISK_WRITE, true, 1},
		{{0x8a, 8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 16, OUT, DISK_WRITE, true, 1},
		{{0x0a, 8, 0, 0, 1, 0}, 6, OUT, DISK_WRITE, false, 1}, /* a bit of the address */
		{{0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0}, 10, OUT, DISK_WRITE, true, 1},
		{{0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1}, 16, OUT, DISK_WRITE, true, 1},
		{{0x28, 8, 0, 0, 0, 0, 0, 0, 1, 0}, 10, IN, DISK_READ, false, 2}, /* flush, read */
		{{0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 10, NONE, DISK_FLUSH, false, 1},
		{{0x35, 2, 0, 0, 0, 0, 0, 0, 8, 0}, 10, NONE, DISK_FLUSH, false, 1},
		{{0x91, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0}, 16, NONE, DISK_FLUSH, false, 1},
		{{0x1b, 0, 0, 0, 0, 0}, 6, NONE, DISK_FLUSH, false, 1}, /* stop */
	};
	struct scsi_fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		unsigned int before = fixture_submitted.count;

		scsi_run(fixture, cases[i].cdb, cases[i].cdb_bytes, cases[i].direction,
			 cases[i].direction == NONE ? 0 : 512);
		assert_int_equal(scsi_sense_of(fixture), 0);
		assert_int_equal(fixture_submitted.op, cases[i].op);
		assert_int_equal(fixture_submitted.fua, cases[i].fua);
		assert_int_equal(fixture_submitted.count - before, cases[i].requests);
	}
	assert_int_equal(fixture->unit.stats.flushes, 5);
}

static void errors_of_the_image_become_sense(void **state)
{
	static const uint8_t read[16] = {0x28, 0, 0, 0, 0, 0, 0, 0, 1, 0};
	static const uint8_t write[16] = {0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0};
	static const uint8_t flush[16] = {0x35};
	static const struct {
		const uint8_t *cdb;
		uint8_t direction;
		int error;
		uint32_t sense;
	} cases[] = {
		{read, IN, -EIO, SCSI_SENSE_READ_ERROR},
		{read, IN, -ENOSPC, SCSI_SENSE_READ_ERROR},
		{read, IN, -ERANGE, SCSI_SENSE_LBA_OUT_OF_RANGE},
		{write, OUT, -EIO, SCSI_SENSE_WRITE_ERROR},
		{write, OUT, -EROFS, SCSI_SENSE_WRITE_PROTECTED},
		{flush, NONE, -EIO, SCSI_SENSE_WRITE_ERROR},
	};
	struct scsi_fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		fixture->disk.errors = 1;
		fixture->disk.error = cases[i].error;
		scsi_run(fixture, cases[i].cdb, 10, cases[i].direction, 512);
		assert_int_equal(scsi_sense_of(fixture), cases[i].sense);
		assert_int_equal(fixture->command->transferred, 0);
		/* A read that failed may have put something there. */
		assert_int_equal(fixture->command->memory_written, cases[i].direction == IN);
	}
	assert_int_equal(fixture->unit.stats.errors, ARRAY_SIZE(cases));
}

static void nothing_writes_to_a_protected_disk(void **state)
{
	static const struct scsi_case cases[] = {
		{"WRITE(6)", CDB(0x0a, 0, 0, 0, 1, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE(10)", CDB(0x2a, 0, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE(12)", CDB(0xaa, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE(16)", CDB(0x8a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE AND VERIFY(10)", CDB(0x2e, 0, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE AND VERIFY(12)", CDB(0xae, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE AND VERIFY(16)", CDB(0x8e, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0),
		 OUT, 512, .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE SAME(10)", CDB(0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"WRITE SAME(16)", CDB(0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0), OUT, 512,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"UNMAP", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0), OUT, 8,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		{"FORMAT UNIT", CDB(0x04, 0, 0, 0, 0, 0), NONE,
		 .sense = SCSI_SENSE_WRITE_PROTECTED},
		/* There is nothing to flush, which an image may refuse. */
		{"SYNCHRONIZE CACHE", CDB(0x35, 0, 0, 0, 0, 0, 0, 0, 0, 0), NONE},
	};
	struct scsi_fixture *fixture = *state;

	fixture->unit.read_only = true;
	scsi_run_cases(fixture, cases, ARRAY_SIZE(cases));
	assert_int_equal(fixture_submitted.count, 0);
}

static void write_same_repeats_its_block(void **state)
{
	static const uint8_t cdb[16] = {0x93, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 1, 1, 0, 0};
	struct scsi_fixture *fixture = *state;

	for (unsigned int i = 0; i < 512; i++)
		fixture->data[i] = (uint8_t)(i + 1);
	scsi_run(fixture, cdb, 16, OUT, 512);
	assert_int_equal(scsi_sense_of(fixture), 0);
	assert_int_equal(fixture->command->transferred, 512);
	assert_int_equal(fixture_submitted.op, DISK_WRITE);
	for (unsigned int block = 2; block < 2 + 257; block++)
		assert_memory_equal(fixture->disk.bytes + block * 512, fixture->data, 512);
	assert_int_equal(fixture->disk.bytes[511 + 512], 0);
	assert_int_equal(fixture->disk.bytes[259 * 512], 0);
}

static void write_same_of_zeroes_is_left_to_the_image(void **state)
{
	static const struct {
		uint8_t cdb[16];
		uint8_t cdb_bytes;
		uint32_t data;
		bool may_unmap;
		uint64_t blocks;
	} cases[] = {
		{{0x41, 0, 0, 0, 0, 2, 0, 0, 8, 0}, 10, 512, false, 8},
		{{0x41, 8, 0, 0, 0, 2, 0, 0, 8, 0}, 10, 512, true, 8},
		{{0x93, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0x40, 0, 0, 0}, 16, 512, false, 0x4000},
		{{0x93, 1, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0}, 16, 0, false, 8},
		{{0x93, 9, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 8, 0, 0}, 16, 0, true, 8},
	};
	struct scsi_fixture *fixture = *state;

	for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
		memset(fixture->disk.bytes, 0xee, 12 * 512);
		scsi_run(fixture, cases[i].cdb, cases[i].cdb_bytes, OUT, cases[i].data);
		assert_int_equal(scsi_sense_of(fixture), 0);
		assert_int_equal(fixture_submitted.op, DISK_WRITE_ZEROES);
		assert_int_equal(fixture_submitted.may_unmap, cases[i].may_unmap);
		assert_int_equal(fixture_submitted.bytes, cases[i].blocks * 512);
		assert_int_equal(fixture->disk.bytes[1023], 0xee);
		assert_int_equal(fixture->disk.bytes[1024], 0);
	}
}

static void write_same_keeps_to_its_limits(void **state)
{
	static const struct scsi_case cases[] = {
		{"no blocks", CDB(0x41, 0, 0, 0, 0, 0, 0, 0, 0, 0), OUT, 512, .sense = INVALID_CDB},
		{"more than 8 MiB", CDB(0x93, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x40, 1, 0, 0), OUT,
		 512, .sense = INVALID_CDB},
		{"past the end", CDB(0x41, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 2, 0), OUT, 512,
		 .sense = OUT_OF_RANGE},
		{"anchor", CDB(0x41, 0x18, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 512, .sense = INVALID_CDB},
		{"no data in (10)", CDB(0x41, 1, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 512,
		 .sense = INVALID_CDB},
		{"less than a block", CDB(0x41, 0, 0, 0, 0, 0, 0, 0, 1, 0), OUT, 511,
		 .sense = INVALID_CDB},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
	assert_int_equal(fixture_submitted.count, 0);
}

static void unmap_discards_each_range(void **state)
{
	static const uint8_t cdb[16] = {0x42, 0, 0, 0, 0, 0, 0, 0, 56, 0};
	static const uint8_t list[56] = {
		0,    54, 0, 48, 0, 0,	  0,	0, /* header */
		0,    0,  0, 0,	 0, 0,	  0,	2,
		0,    0,  0, 4,	 0, 0,	  0,	0, /* 4 at 2 */
		0xff, 0,  0, 0,	 0, 0,	  0,	2,
		0,    0,  0, 0,	 0, 0,	  0,	0, /* nothing, anywhere */
		0,    0,  0, 0,	 0, 0x1f, 0xff, 0xff,
		0,    0,  0, 1,	 0, 0,	  0,	0, /* the last block */
	};
	struct scsi_fixture *fixture = *state;

	memset(fixture->disk.bytes, 0xee, 8 * 512);
	memcpy(fixture->data, list, sizeof(list));
	scsi_run(fixture, cdb, 10, OUT, sizeof(list));
	assert_int_equal(scsi_sense_of(fixture), 0);
	assert_int_equal(fixture->command->transferred, 56);
	assert_int_equal(fixture->unit.stats.discards, 2);
	assert_int_equal(fixture_submitted.op, DISK_DISCARD);
	assert_true(fixture_submitted.offset == 0x1fffffull * 512);
	assert_int_equal(fixture->disk.bytes[1023], 0xee);
	assert_int_equal(fixture->disk.bytes[1024], 0);
	assert_int_equal(fixture->disk.bytes[6 * 512], 0xee);
}

static void bad_unmap_lists_discard_nothing(void **state)
{
	static const struct scsi_case cases[] = {
		{"no list", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 0, 0), NONE, 0},
		{"a header", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 8, 0), OUT, 8, .transferred = 8,
		 EXPECT(0, 6, 0, 0, 0, 0, 0, 0)},
		{"half a header", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 7, 0), OUT, 7,
		 .sense = SCSI_SENSE_PARAMETER_LIST_LENGTH},
		{"anchor", CDB(0x42, 1, 0, 0, 0, 0, 0, 0, 8, 0), OUT, 8, .sense = INVALID_CDB},
		{"no whole descriptors", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), OUT, 24,
		 .sense = SCSI_SENSE_PARAMETER_LIST_LENGTH, EXPECT(0, 22, 0, 15)},
		{"more than the list", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), OUT, 24,
		 .sense = SCSI_SENSE_PARAMETER_LIST_LENGTH, EXPECT(0, 22, 0, 32)},
		{"list longer than the data", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 24, 0), OUT, 8,
		 .sense = INVALID_CDB},
		{"too many descriptors", CDB(0x42, 0, 0, 0, 0, 0, 0, 0x10, 0x18, 0), OUT, 4120,
		 .sense = SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS, EXPECT(0x10, 0x16, 0x10, 0x10)},
		{"a good and a bad range", CDB(0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0), OUT, 40,
		 .sense = OUT_OF_RANGE,
		 EXPECT(0, 38, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0, 0, 4, 0, 0, 0, 0, 0,
			0, 0, 0, 0, 0x1f, 0xff, 0xff, 0, 0, 0, 2, 0, 0, 0, 0)},
	};

	scsi_run_cases(*state, cases, ARRAY_SIZE(cases));
	assert_int_equal(fixture_submitted.count, 0);
}

static void a_starved_write_is_done_again_from_the_start(void **state)
{
	static const uint8_t cdb[16] = {0x2a, 8, 0, 0, 0, 3, 0, 0, 2, 0};
	struct scsi_fixture *fixture = *state;

	memset(fixture->data, 0x42, 1024);
	fixture->disk.error = -ENOSPC;
	fixture->disk.errors = 2;
	scsi_start(fixture, cdb, 10, OUT, 1024);
	assert_int_equal(fixture_run_disk(9), 1);
	assert_int_equal(fixture->done, 0);
	assert_int_equal(fixture->starved, 1);
	scsi_retry(fixture->command);
	assert_int_equal(fixture_run_disk(9), 1);
	assert_int_equal(fixture->starved, 2);
	scsi_retry(fixture->command);
	assert_true(fixture_submitted.fua);
	assert_int_equal(fixture_run_disk(9), 1);
	assert_int_equal(fixture->done, 1);
	assert_int_equal(fixture->fed, 1);
	assert_int_equal(fixture->command->transferred, 1024);
	assert_memory_equal(fixture->disk.bytes + 3 * 512, fixture->data, 1024);
	assert_int_equal(fixture->unit.stats.errors, 0);
}

static void a_starved_pattern_is_done_again_too(void **state)
{
	static const uint8_t cdb[16] = {0x41, 0, 0, 0, 0, 3, 0, 1, 0, 0};
	struct scsi_fixture *fixture = *state;

	memset(fixture->data, 0x42, 512);
	fixture->disk.error = -ENOSPC;
	fixture->disk.errors = 1;
	scsi_start(fixture, cdb, 10, OUT, 512);
	fixture_run_disk(9);
	memset(fixture->data, 0, 512); /* the block was taken once */
	scsi_retry(fixture->command);
	fixture_run_disk(9);
	assert_int_equal(fixture->done, 1);
	assert_int_equal(fixture->disk.bytes[3 * 512], 0x42);
	assert_int_equal(fixture->disk.bytes[259 * 512 - 1], 0x42);
	assert_int_equal(fixture->disk.bytes[259 * 512], 0);
}

static void a_starved_discard_goes_on_where_it_was(void **state)
{
	static const uint8_t cdb[16] = {0x42, 0, 0, 0, 0, 0, 0, 0, 40, 0};
	static const uint8_t list[40] = {0, 38, 0, 32, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 0,
					 0, 1,	0, 0,  0, 0, 0, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0, 1};
	struct scsi_fixture *fixture = *state;

	memset(fixture->disk.bytes, 0xee, 8 * 512);
	memcpy(fixture->data, list, sizeof(list));
	fixture->disk.error = -ENOSPC;
	fixture->disk.errors = 1;
	scsi_start(fixture, cdb, 10, OUT, sizeof(list));
	fixture_run_disk(9);
	assert_int_equal(fixture->starved, 1);
	scsi_retry(fixture->command);
	fixture_run_disk(9);
	assert_int_equal(fixture->done, 1);
	assert_int_equal(fixture->disk.bytes[2 * 512], 0);
	assert_int_equal(fixture->disk.bytes[4 * 512], 0);
	assert_int_equal(fixture->disk.bytes[3 * 512], 0xee);
}

static void a_starved_write_can_be_given_up(void **state)
{
	static const uint8_t cdb[16] = {0x2a, 0, 0, 0, 0, 3, 0, 0, 2, 0};
	struct scsi_fixture *fixture = *state;

	fixture->disk.error = -ENOSPC;
	fixture->disk.errors = 1;
	scsi_start(fixture, cdb, 10, OUT, 1024);
	fixture_run_disk(9);
	scsi_cancel(fixture->command);
	assert_int_equal(fixture->done, 1);
	assert_int_equal(fixture->fed, 1);
	assert_int_equal(scsi_sense_of(fixture), SCSI_SENSE_WRITE_ERROR);
	assert_int_equal(fixture->command->transferred, 0);
}

static void the_largest_transfer_is_one_request(void **state)
{
	/* 130560 of the buffer's 131064 bytes. */
	static const uint8_t cdb[16] = {0x28, 0, 0, 0, 0, 0, 0, 0, 255, 0};
	struct scsi_fixture *fixture = *state;
	struct scsi_command *command;

	scsi_run(fixture, none, 6, NONE, 0);
	command = fixture->command;
	memcpy(command->cdb, cdb, 16);
	command->cdb_bytes = 10;
	command->direction = IN;
	/* As many pieces as the iovec has. */
	for (unsigned int i = 0; i < SCSI_MAX_IOVECS; i++)
		command->iov[i] = (struct iovec){fixture->data + i * 508, 508};
	command->iov_count = SCSI_MAX_IOVECS;
	command->data_bytes = SCSI_MAX_IOVECS * 508;
	fixture->done = 0;
	memset(fixture->disk.bytes, 0x31, 256 * 512);
	scsi_execute(&fixture->unit, command);
	assert_int_equal(fixture_run_disk(9), 1);
	assert_int_equal(fixture->done, 1);
	assert_int_equal(command->transferred, 255 * 512);
	assert_int_equal(fixture->data[255 * 512 - 1], 0x31);
}

#define DISK_TEST(name) cmocka_unit_test_setup_teardown(name, scsi_fixture_disk, scsi_fixture_end)

int main(void)
{
	const struct CMUnitTest tests[] = {
		DISK_TEST(ranges_are_taken_from_every_size_of_cdb),
		DISK_TEST(what_lies_outside_or_asks_for_more_is_refused),
		DISK_TEST(data_arrives_where_it_belongs),
		DISK_TEST(larger_blocks_move_offsets),
		DISK_TEST(caches_are_flushed_when_it_is_asked_for),
		DISK_TEST(errors_of_the_image_become_sense),
		DISK_TEST(nothing_writes_to_a_protected_disk),
		DISK_TEST(write_same_repeats_its_block),
		DISK_TEST(write_same_of_zeroes_is_left_to_the_image),
		DISK_TEST(write_same_keeps_to_its_limits),
		DISK_TEST(unmap_discards_each_range),
		DISK_TEST(bad_unmap_lists_discard_nothing),
		DISK_TEST(a_starved_write_is_done_again_from_the_start),
		DISK_TEST(a_starved_pattern_is_done_again_too),
		DISK_TEST(a_starved_discard_goes_on_where_it_was),
		DISK_TEST(a_starved_write_can_be_given_up),
		DISK_TEST(the_largest_transfer_is_one_request),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}

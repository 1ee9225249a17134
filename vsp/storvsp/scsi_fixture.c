/*
 * scsi_fixture.c - see scsi_fixture.h
 */
#include "scsi_fixture.h"

#include <stdlib.h>
#include <string.h>

static struct scsi_fixture *fixture_of(struct scsi_unit *unit)
{
	return container_of(unit, struct scsi_fixture, unit);
}

static struct scsi_fixture *running;

static void starved(struct scsi_command *command)
{
	fixture_of(command->unit)->starved++;
}

static void fed(struct scsi_command *command)
{
	fixture_of(command->unit)->fed++;
}

static void done(struct scsi_command *command)
{
	running->done++;
}

static int set_up(void **state, bool dvd)
{
	struct scsi_fixture *fixture = calloc(1, sizeof(*fixture));
	struct storvsp_drive drive = {.disk = &fixture->disk, .dvd = dvd, .serial = "serial-1"};

	fixture_reset();
	fixture_disk_init(&fixture->disk, SCSI_DISK_BYTES);
	assert_int_equal(scsi_medium_init(&fixture->medium, &fixture->disk, dvd), 0);
	scsi_unit_init(&fixture->unit, &drive, &fixture->medium);
	fixture->unit.starved = starved;
	fixture->unit.fed = fed;
	fixture->command = calloc(1, sizeof(*fixture->command));
	*state = fixture;
	return 0;
}

int scsi_fixture_disk(void **state)
{
	return set_up(state, false);
}

int scsi_fixture_dvd(void **state)
{
	return set_up(state, true);
}

int scsi_fixture_end(void **state)
{
	struct scsi_fixture *fixture = *state;

	/* Whatever the test did, nothing is left under way. */
	assert_int_equal(fixture->unit.users, 0);
	assert_int_equal(fixture->medium.users, 0);
	fixture_disk_free(&fixture->disk);
	free(fixture->command);
	free(fixture);
	return 0;
}

/* Uneven pieces: 3 bytes, 509 bytes, the rest. */
static void set_iov(struct scsi_command *command, uint8_t *data, uint32_t bytes)
{
	static const uint32_t sizes[] = {3, 509, UINT32_MAX};

	command->data_bytes = bytes;
	command->iov_count = 0;
	for (size_t i = 0; i < ARRAY_SIZE(sizes) && bytes; i++) {
		uint32_t part = MIN(sizes[i], bytes);

		command->iov[command->iov_count++] = (struct iovec){data, part};
		data += part;
		bytes -= part;
	}
}

void scsi_start(struct scsi_fixture *fixture, const uint8_t *cdb, unsigned int cdb_bytes,
		uint8_t direction, uint32_t bytes)
{
	struct scsi_command *command = fixture->command;

	assert_in_range(bytes, 0, sizeof(fixture->data));
	/* What a command leaves behind is no concern of the next. */
	memset(command, 0x5a, sizeof(*command));
	memcpy(command->cdb, cdb, 16);
	command->cdb_bytes = (uint8_t)cdb_bytes;
	command->direction = direction;
	command->done = done;
	set_iov(command, fixture->data, bytes);
	running = fixture;
	fixture->done = 0;
	scsi_execute(&fixture->unit, command);
}

static void check_status(const struct scsi_command *command)
{
	bool check = command->status == SCSI_STATUS_CHECK_CONDITION;

	assert_int_equal(!!(command->srb_status & STORVSC_SRB_AUTOSENSE_VALID), check);
	assert_int_equal(command->srb_status == STORVSC_SRB_SUCCESS,
			 command->status == SCSI_STATUS_GOOD);
	assert_int_equal(command->sense[0], check ? 0x70 : 0);
	if (!check)
		return;
	assert_int_equal(command->sense[7], 10);
	if ((command->srb_status & 0x3f) != STORVSC_SRB_DATA_OVERRUN)
		assert_int_equal(command->srb_status & 0x3f,
				 command->sense[2] == SCSI_KEY_ILLEGAL_REQUEST
					 ? STORVSC_SRB_INVALID_REQUEST
					 : STORVSC_SRB_ERROR);
}

void scsi_run(struct scsi_fixture *fixture, const uint8_t *cdb, unsigned int cdb_bytes,
	      uint8_t direction, uint32_t bytes)
{
	scsi_start(fixture, cdb, cdb_bytes, direction, bytes);
	while (!fixture->done && fixture_run_disk(1))
		;
	assert_int_equal(fixture->done, 1);
	assert_int_equal(fixture_run_disk(1), 0);
	check_status(fixture->command);
}

uint32_t scsi_sense_of(const struct scsi_fixture *fixture)
{
	const uint8_t *sense = fixture->command->sense;

	return SCSI_SENSE(sense[2], sense[12], sense[13]);
}

static bool untouched(const uint8_t *data, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++)
		if (data[i] != SCSI_FILLER)
			return false;
	return true;
}

static void run_case(struct scsi_fixture *fixture, const struct scsi_case *one)
{
	const uint8_t *data = fixture->data;

	memset(fixture->data, SCSI_FILLER, sizeof(fixture->data));
	if (one->direction == OUT)
		memcpy(fixture->data + one->offset, one->expected, one->expected_bytes);
	scsi_run(fixture, one->cdb, one->cdb_bytes, one->direction, one->bytes);
	if (scsi_sense_of(fixture) != one->sense)
		fail_msg("%s: sense %06x, not %06x", one->name, scsi_sense_of(fixture), one->sense);
	if (fixture->command->transferred != one->transferred)
		fail_msg("%s: %u bytes moved, not %u", one->name, fixture->command->transferred,
			 one->transferred);
	if (one->direction == OUT)
		return;
	if (memcmp(data + one->offset, one->expected, one->expected_bytes) != 0)
		for (uint32_t i = 0; i < one->expected_bytes; i++)
			if (data[one->offset + i] != one->expected[i])
				fail_msg("%s: byte %u is %02x, not %02x", one->name,
					 one->offset + i, data[one->offset + i], one->expected[i]);
	if (!one->sense &&
	    !untouched(data + one->transferred, sizeof(fixture->data) - one->transferred))
		fail_msg("%s: bytes after the answer were written", one->name);
	if (!untouched(data + one->bytes, sizeof(fixture->data) - one->bytes))
		fail_msg("%s: bytes after the buffer were written", one->name);
	if (!untouched(data, sizeof(fixture->data)) && !fixture->command->memory_written)
		fail_msg("%s: memory was written and nobody told", one->name);
}

void scsi_run_cases(struct scsi_fixture *fixture, const struct scsi_case *cases, size_t count)
{
	for (size_t i = 0; i < count; i++)
		run_case(fixture, &cases[i]);
}

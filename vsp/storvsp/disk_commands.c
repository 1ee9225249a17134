/*
 * disk_commands.c - what a disk understands (SPC-3, SBC-3), and its commands of few bytes
 */
#include "unit_internal.h"

#include <string.h>

static uint8_t physical_exponent(const struct scsi_medium *medium)
{
	uint32_t bytes = medium->block_bytes;
	uint8_t exponent = 0;

	while (bytes < medium->info.physical_sector && exponent < 15) {
		bytes *= 2;
		exponent++;
	}
	return exponent;
}

#define PROVISIONING_MANAGED 0x80 /* LBPME */

static void read_capacity_16(struct scsi_command *command)
{
	const struct scsi_medium *medium = command->medium;
	uint8_t data[32] = {0};

	if (!(command->cdb[14] & 1) && scsi_get_be64(command->cdb + 2)) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	scsi_put_be64(data, medium->blocks - 1);
	scsi_put_be32(data + 8, medium->block_bytes);
	data[13] = physical_exponent(medium);
	data[14] = medium->info.can_discard ? PROVISIONING_MANAGED : 0;
	scsi_reply(command, data, sizeof(data), scsi_get_be32(command->cdb + 10));
}

#define START 0x01
#define LOAD  0x02

/* Stopping flushes. Power conditions change nothing; there is nothing to load or eject. */
static void start_stop(struct scsi_command *command)
{
	uint8_t what = command->cdb[4];

	if (what & LOAD)
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	else if (what & START)
		scsi_good(command);
	else
		scsi_flush(command);
}

/* Only the page that lists the pages, which is itself. */
static void log_sense(struct scsi_command *command)
{
	static const uint8_t data[5] = {0, 0, 0, 1, 0};

	if ((command->cdb[2] & 0x3f) || command->cdb[3])
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	else
		scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 7));
}

#define ANY	  SCSI_NO_ACTION
#define IN	  STORVSC_DATA_IN
#define OUT	  STORVSC_DATA_OUT
#define NONE	  STORVSC_DATA_NONE
#define ATTENTION SCSI_ROW_ATTENTION
#define WRITES	  SCSI_ROW_WRITES

/* The usual ones first: the table is searched in order. */
const struct scsi_row scsi_disk_rows[] = {
	{SCSI_READ_10, ANY, 10, IN, 0, scsi_read},
	{SCSI_WRITE_10, ANY, 10, OUT, WRITES, scsi_write},
	{SCSI_READ_16, ANY, 16, IN, 0, scsi_read},
	{SCSI_WRITE_16, ANY, 16, OUT, WRITES, scsi_write},
	{SCSI_SYNCHRONIZE_CACHE_10, ANY, 10, NONE, 0, scsi_synchronize_cache},
	{SCSI_UNMAP, ANY, 10, OUT, WRITES, scsi_unmap},

	{SCSI_TEST_UNIT_READY, ANY, 6, NONE, 0, scsi_test_unit_ready},
	{SCSI_REQUEST_SENSE, ANY, 6, IN, ATTENTION, scsi_request_sense},
	{SCSI_FORMAT_UNIT, ANY, 6, OUT, WRITES, scsi_nothing},
	{SCSI_READ_6, ANY, 6, IN, 0, scsi_read},
	{SCSI_WRITE_6, ANY, 6, OUT, WRITES, scsi_write},
	{SCSI_INQUIRY, ANY, 6, IN, ATTENTION, scsi_inquiry},
	{SCSI_MODE_SELECT_6, ANY, 6, OUT, 0, scsi_mode_select},
	{SCSI_RESERVE_6, ANY, 6, NONE, 0, scsi_reserve},
	{SCSI_RELEASE_6, ANY, 6, NONE, 0, scsi_reserve},
	{SCSI_MODE_SENSE_6, ANY, 6, IN, 0, scsi_mode_sense},
	{SCSI_START_STOP_UNIT, ANY, 6, NONE, 0, start_stop},
	{SCSI_SEND_DIAGNOSTIC, ANY, 6, NONE, 0, scsi_send_diagnostic},
	{SCSI_PREVENT_ALLOW_REMOVAL, ANY, 6, NONE, 0, scsi_nothing},
	{SCSI_READ_CAPACITY_10, ANY, 10, IN, 0, scsi_read_capacity_10},
	{SCSI_WRITE_AND_VERIFY_10, ANY, 10, OUT, WRITES, scsi_write_and_verify},
	{SCSI_VERIFY_10, ANY, 10, NONE, 0, scsi_verify},
	{SCSI_WRITE_SAME_10, ANY, 10, OUT, WRITES, scsi_write_same},
	{SCSI_LOG_SENSE, ANY, 10, IN, 0, log_sense},
	{SCSI_MODE_SELECT_10, ANY, 10, OUT, 0, scsi_mode_select},
	{SCSI_RESERVE_10, ANY, 10, NONE, 0, scsi_reserve},
	{SCSI_RELEASE_10, ANY, 10, NONE, 0, scsi_reserve},
	{SCSI_MODE_SENSE_10, ANY, 10, IN, 0, scsi_mode_sense},
	{SCSI_PERSISTENT_RESERVE_IN, 0, 10, IN, 0, scsi_persistent_reserve_in},
	{SCSI_PERSISTENT_RESERVE_IN, 1, 10, IN, 0, scsi_persistent_reserve_in},
	{SCSI_PERSISTENT_RESERVE_IN, 2, 10, IN, 0, scsi_persistent_reserve_in},
	{SCSI_PERSISTENT_RESERVE_OUT, ANY, 10, OUT, 0, scsi_persistent_reserve_out},
	{SCSI_WRITE_AND_VERIFY_16, ANY, 16, OUT, WRITES, scsi_write_and_verify},
	{SCSI_VERIFY_16, ANY, 16, NONE, 0, scsi_verify},
	{SCSI_SYNCHRONIZE_CACHE_16, ANY, 16, NONE, 0, scsi_synchronize_cache},
	{SCSI_WRITE_SAME_16, ANY, 16, OUT, WRITES, scsi_write_same},
	{SCSI_SERVICE_ACTION_IN_16, SCSI_READ_CAPACITY_16, 16, IN, 0, read_capacity_16},
	{SCSI_READ_12, ANY, 12, IN, 0, scsi_read},
	{SCSI_WRITE_12, ANY, 12, OUT, WRITES, scsi_write},
	{SCSI_WRITE_AND_VERIFY_12, ANY, 12, OUT, WRITES, scsi_write_and_verify},
	{SCSI_VERIFY_12, ANY, 12, NONE, 0, scsi_verify},
	{0},
};

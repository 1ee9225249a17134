/*
 * unit.c - logical units: from a CDB to its row, and every way in which a command ends
 *
 * scsi_execute() looks the operation code up in the drive's table, checks what the row promises
 * (length of the CDB, direction, medium, write protection, unit attention), and calls the
 * handler. Handlers end a command through the functions here, which fill in status, SRB status
 * and sense and call done(): nothing else sets them.
 *
 * Invariants:
 * 1. A command's medium is chosen when it begins; a later change does not touch it.
 * 2. done() is called once, with unit and medium already released.
 * 3. Answers of INQUIRY and MODE SENSE are never left unwritten, even on failure: Linux takes a
 *    failure of these for success and would read what was in its buffer before.
 */
#include "unit_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- data of a few bytes between us and the guest's memory --- */

static void copy_to_guest(struct scsi_command *command, const uint8_t *data, uint32_t bytes)
{
	command->memory_written = true;
	for (int i = 0; i < command->iov_count && bytes; i++) {
		uint32_t part = (uint32_t)MIN(command->iov[i].iov_len, bytes);

		memcpy(command->iov[i].iov_base, data, part);
		data += part;
		bytes -= part;
	}
}

static void copy_from_guest(struct scsi_command *command, uint8_t *data, uint32_t bytes)
{
	for (int i = 0; i < command->iov_count && bytes; i++) {
		uint32_t part = (uint32_t)MIN(command->iov[i].iov_len, bytes);

		memcpy(data, command->iov[i].iov_base, part);
		data += part;
		bytes -= part;
	}
}

static void zero_data(struct scsi_command *command)
{
	command->memory_written = true;
	for (int i = 0; i < command->iov_count; i++)
		memset(command->iov[i].iov_base, 0, command->iov[i].iov_len);
}

/* --- ends of a command --- */

static void release(struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;
	struct scsi_medium *medium = command->medium;

	free(command->buffer);
	command->buffer = NULL;
	command->unit = NULL;
	command->medium = NULL;
	if (medium && --medium->users == 0 && medium->idle)
		medium->idle(medium);
	if (unit && --unit->users == 0 && unit->idle)
		unit->idle(unit);
}

static void finish(struct scsi_command *command, enum scsi_status status, uint8_t srb_status)
{
	command->status = status;
	command->srb_status = srb_status;
	if (command->starvations)
		command->unit->fed(command);
	release(command);
	command->done(command);
}

void scsi_good(struct scsi_command *command)
{
	finish(command, SCSI_STATUS_GOOD, STORVSC_SRB_SUCCESS);
}

void scsi_conflict(struct scsi_command *command)
{
	command->transferred = 0;
	finish(command, SCSI_STATUS_RESERVATION_CONFLICT, STORVSC_SRB_ERROR);
}

void scsi_busy(struct scsi_command *command)
{
	command->transferred = 0;
	finish(command, SCSI_STATUS_BUSY, STORVSC_SRB_BUSY);
}

static void put_sense(uint8_t *bytes, uint32_t sense)
{
	memset(bytes, 0, SCSI_SENSE_FIXED_BYTES);
	bytes[0] = 0x70;
	bytes[2] = (uint8_t)(sense >> 16);
	bytes[7] = SCSI_SENSE_FIXED_BYTES - 8;
	bytes[12] = (uint8_t)(sense >> 8);
	bytes[13] = (uint8_t)sense;
}

static void check_condition(struct scsi_command *command, enum scsi_sense sense,
			    enum storvsc_srb_status srb_status)
{
	put_sense(command->sense, sense);
	if (command->unit)
		command->unit->sense = sense;
	finish(command, SCSI_STATUS_CHECK_CONDITION, srb_status | STORVSC_SRB_AUTOSENSE_VALID);
}

static bool must_write_answer(const struct scsi_command *command)
{
	uint8_t opcode = command->cdb[0];

	return command->direction != STORVSC_DATA_OUT &&
	       (opcode == SCSI_INQUIRY || opcode == SCSI_MODE_SENSE_6 ||
		opcode == SCSI_MODE_SENSE_10);
}

void scsi_fail(struct scsi_command *command, enum scsi_sense sense)
{
	bool illegal = sense >> 16 == SCSI_KEY_ILLEGAL_REQUEST;

	command->transferred = 0;
	if (must_write_answer(command))
		zero_data(command);
	check_condition(command, sense, illegal ? STORVSC_SRB_INVALID_REQUEST : STORVSC_SRB_ERROR);
}

void scsi_overrun(struct scsi_command *command)
{
	check_condition(command, SCSI_SENSE_INVALID_FIELD_IN_CDB, STORVSC_SRB_DATA_OVERRUN);
}

void scsi_reply(struct scsi_command *command, const void *data, uint32_t bytes, uint32_t allocation)
{
	uint32_t wanted = MIN(bytes, allocation);

	command->transferred = MIN(wanted, command->data_bytes);
	copy_to_guest(command, data, command->transferred);
	if (command->transferred < wanted)
		scsi_overrun(command);
	else
		scsi_good(command);
}

bool scsi_parameters(struct scsi_command *command, uint32_t bytes)
{
	if (command->data_bytes < bytes) {
		scsi_overrun(command);
		return false;
	}
	command->buffer = malloc(bytes ? bytes : 1);
	if (!command->buffer) {
		scsi_busy(command);
		return false;
	}
	copy_from_guest(command, command->buffer, bytes);
	command->buffer_bytes = bytes;
	command->transferred = bytes;
	return true;
}

/* --- beginning of a command --- */

static void begin(struct scsi_unit *unit, struct scsi_command *command)
{
	command->unit = unit;
	command->medium = unit ? scsi_reachable_medium(unit) : NULL;
	command->transferred = 0;
	command->memory_written = false;
	command->starvations = 0;
	command->buffer = NULL;
	command->step = NULL;
	memset(command->sense, 0, sizeof(command->sense));
	if (command->medium)
		command->medium->users++;
	if (unit)
		unit->users++;
}

static const struct scsi_row *find_row(const struct scsi_row *rows, const uint8_t *cdb,
				       bool *ret_opcode_known)
{
	*ret_opcode_known = false;
	for (const struct scsi_row *row = rows; row->handler; row++) {
		if (row->opcode != cdb[0])
			continue;
		*ret_opcode_known = true;
		if (row->action == SCSI_NO_ACTION || row->action == (cdb[1] & 0x1f))
			return row;
	}
	return NULL;
}

static bool direction_fits(const struct scsi_row *row, const struct scsi_command *command)
{
	if (row->direction == STORVSC_DATA_NONE || !command->data_bytes)
		return true;
	return (row->direction == STORVSC_DATA_OUT) == (command->direction == STORVSC_DATA_OUT);
}

/* Returns the sense with which a command fails before its handler; SCSI_SENSE_NONE: none. */
static enum scsi_sense check_row(const struct scsi_row *row, const struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;

	if (command->cdb_bytes < row->cdb_bytes || !direction_fits(row, command))
		return SCSI_SENSE_INVALID_FIELD_IN_CDB;
	if (unit->attention && !(row->flags & SCSI_ROW_ATTENTION)) {
		enum scsi_sense attention = unit->attention;

		unit->attention = SCSI_SENSE_NONE;
		return attention;
	}
	if ((row->flags & SCSI_ROW_MEDIUM) && !command->medium)
		return unit->tray_open ? SCSI_SENSE_NO_MEDIUM_TRAY_OPEN
				       : SCSI_SENSE_NO_MEDIUM_TRAY_CLOSED;
	if ((row->flags & SCSI_ROW_WRITES) && scsi_write_protected(unit))
		return SCSI_SENSE_WRITE_PROTECTED;
	return SCSI_SENSE_NONE;
}

void scsi_execute(struct scsi_unit *unit, struct scsi_command *command)
{
	const struct scsi_row *row;
	enum scsi_sense sense;
	bool opcode_known;

	begin(unit, command);
	row = find_row(unit->dvd ? scsi_dvd_rows : scsi_disk_rows, command->cdb, &opcode_known);
	if (!row) {
		scsi_fail(command, opcode_known ? SCSI_SENSE_INVALID_FIELD_IN_CDB
						: SCSI_SENSE_INVALID_OPCODE);
		return;
	}
	sense = check_row(row, command);
	if (sense)
		scsi_fail(command, sense);
	else
		row->handler(command);
}

/* --- without a unit --- */

static void inquire_absent(struct scsi_command *command, unsigned int lun)
{
	uint8_t data[36] = {SCSI_TYPE_ABSENT, 0, 5, 2, sizeof(data) - 5};

	if (command->cdb[1] || command->cdb[2]) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	if (lun == 0)
		memcpy(data + 8, "Msft    Virtual Disk    1.0 ", 28);
	scsi_reply(command, data, sizeof(data), scsi_get_be16(command->cdb + 3));
}

void scsi_execute_absent(struct scsi_command *command, unsigned int lun)
{
	begin(NULL, command);
	if (command->cdb[0] == SCSI_INQUIRY && command->direction != STORVSC_DATA_OUT) {
		inquire_absent(command, lun);
		return;
	}
	if (must_write_answer(command))
		zero_data(command);
	finish(command, SCSI_STATUS_CHECK_CONDITION, STORVSC_SRB_INVALID_LUN);
}

void scsi_refuse(struct scsi_command *command)
{
	begin(NULL, command);
	command->iov_count = 0;
	command->data_bytes = 0;
	scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
}

void scsi_report_luns(struct scsi_command *command, uint64_t luns)
{
	uint32_t allocation = scsi_get_be32(command->cdb + 6);
	uint8_t data[8 + 8 * STORVSP_MAX_LUNS] = {0};
	uint32_t bytes = 8;

	begin(NULL, command);
	if (command->cdb_bytes < 12 || command->cdb[2] > 2 || allocation < 16 ||
	    command->direction == STORVSC_DATA_OUT) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	/* Select 1: only well-known logical units, of which there are none. */
	for (unsigned int lun = 0; lun < STORVSP_MAX_LUNS && command->cdb[2] != 1; lun++) {
		if (luns & BIT(lun)) {
			data[bytes + 1] = (uint8_t)lun;
			bytes += 8;
		}
	}
	scsi_put_be32(data, bytes - 8);
	scsi_reply(command, data, bytes, allocation);
}

/* --- commands of both kinds of drive --- */

void scsi_test_unit_ready(struct scsi_command *command)
{
	scsi_good(command);
}

void scsi_nothing(struct scsi_command *command)
{
	scsi_good(command);
}

/*
 * Sense went out with the command that failed (autosense); a guest that asks again gets it once
 * more, then none. A unit attention goes first.
 */
void scsi_request_sense(struct scsi_command *command)
{
	struct scsi_unit *unit = command->unit;
	uint32_t sense = unit->attention ? unit->attention : unit->sense;
	uint8_t data[SCSI_SENSE_FIXED_BYTES];
	uint32_t bytes = SCSI_SENSE_FIXED_BYTES;

	if (!unit->attention || unit->dvd)
		unit->sense = SCSI_SENSE_NONE;
	if (unit->dvd && !unit->attention)
		sense = SCSI_SENSE_NONE;
	unit->attention = SCSI_SENSE_NONE;
	put_sense(data, sense);
	if (command->cdb[1] & 1) { /* the descriptor format */
		memset(data, 0, sizeof(data));
		data[0] = 0x72;
		scsi_put_be24(data + 1, sense);
		bytes = SCSI_SENSE_DESCRIPTOR_BYTES;
	}
	scsi_reply(command, data, bytes, command->cdb[4]);
}

/* Only the default self-test, which always succeeds. */
void scsi_send_diagnostic(struct scsi_command *command)
{
	if ((command->cdb[1] & ~0x04) || scsi_get_be16(command->cdb + 3))
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	else
		scsi_good(command);
}

void scsi_read_capacity_10(struct scsi_command *command)
{
	uint64_t last = command->medium->blocks - 1;
	uint8_t data[8];

	if (!(command->cdb[8] & 1) && scsi_get_be32(command->cdb + 2)) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	scsi_put_be32(data, (uint32_t)MIN(last, UINT32_MAX));
	scsi_put_be32(data + 4, command->medium->block_bytes);
	scsi_reply(command, data, sizeof(data), sizeof(data));
}

/* --- making a unit --- */

int scsi_medium_init(struct scsi_medium *medium, struct disk *disk, bool dvd)
{
	uint32_t sector;

	*medium = (struct scsi_medium){.disk = disk};
	disk_get_info(disk, &medium->info);
	sector = medium->info.logical_sector;
	if (sector < 512 || sector > (dvd ? 2048 : 4096) || (sector & (sector - 1)))
		return -EINVAL;
	medium->block_bytes = dvd ? 2048 : sector;
	medium->blocks = medium->info.bytes / medium->block_bytes;
	return medium->blocks ? 0 : -EINVAL;
}

/* The identity of VPD page 0x83: the serial's GUID, or its hash (FNV-1a, twice). */
static void make_id(struct scsi_unit *unit)
{
	struct guid guid;

	if (!unit->serial[0] && unit->medium) {
		memcpy(unit->id, unit->medium->info.id.bytes, sizeof(unit->id));
		return;
	}
	if (guid_parse(unit->serial, &guid) == 0) {
		memcpy(unit->id, guid.bytes, sizeof(unit->id));
		return;
	}
	for (unsigned int half = 0; half < 2; half++) {
		uint64_t hash = 0xcbf29ce484222325ull + half;

		for (const char *at = unit->serial; *at; at++)
			hash = (hash ^ (uint8_t)*at) * 0x100000001b3ull;
		scsi_put_be64(unit->id + 8 * half, hash);
	}
}

void scsi_unit_init(struct scsi_unit *unit, const struct storvsp_drive *drive,
		    struct scsi_medium *medium)
{
	*unit = (struct scsi_unit){
		.dvd = drive->dvd,
		.read_only = drive->read_only,
		.medium = medium,
	};
	memcpy(unit->serial, drive->serial, sizeof(unit->serial) - 1);
	make_id(unit);
}

void scsi_set_medium(struct scsi_unit *unit, struct scsi_medium *medium)
{
	bool had = scsi_reachable_medium(unit);

	unit->medium = medium;
	unit->tray_open = false;
	unit->removal_event |= had;
	unit->new_medium_event = medium;
	unit->attention = medium ? SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED : SCSI_SENSE_NONE;
}

void scsi_power_on(struct scsi_unit *unit)
{
	unit->sense = SCSI_SENSE_NONE;
	unit->attention = SCSI_SENSE_NONE;
	unit->reservation = (struct scsi_reservation){0};
	unit->prevent = unit->persistent_prevent = false;
	unit->removal_event = unit->new_medium_event = false;
}

/*
 * scsi_fuzz.c - commands and their data against a disk and a DVD drive
 *
 * Input: a byte that chooses the drive, then for each command its CDB, the CDB's length and
 * direction, the length of the data buffer, how many disk requests fail and how, and the data.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fixture.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define COMMAND_BYTES 20
#define DISK_BYTES    (128 * KIB)
#define BUFFER_BYTES  (64 * KIB)

static unsigned int done_calls;
static struct scsi_command *starved_command;

static void done(struct scsi_command *command)
{
	done_calls++;
}

static void starved(struct scsi_command *command)
{
	starved_command = command;
}

static void fed(struct scsi_command *command)
{
}

static void check_answer(const struct scsi_command *command)
{
	bool check = command->status == SCSI_STATUS_CHECK_CONDITION;

	assert(done_calls == 1 && !command->unit && !command->medium && !command->buffer);
	assert(check == !!(command->srb_status & STORVSC_SRB_AUTOSENSE_VALID));
	assert((command->status == SCSI_STATUS_GOOD) ==
	       (command->srb_status == STORVSC_SRB_SUCCESS));
	assert(command->transferred <= command->data_bytes);
}

/* The command's own memory, exactly as long as it says. */
static void set_data(struct scsi_command *command, uint8_t *buffer, uint32_t bytes)
{
	uint32_t first = bytes / 3;

	command->iov[0] = (struct iovec){buffer, first};
	command->iov[1] = (struct iovec){buffer + first, bytes - first};
	command->iov_count = bytes ? 2 : 0;
	command->data_bytes = bytes;
}

static void finish(struct scsi_command *command, unsigned int retries)
{
	while (!done_calls) {
		unsigned int count = fixture_run_disk(1);

		if (!starved_command) {
			assert(done_calls || count);
			continue;
		}
		starved_command = NULL;
		if (retries--)
			scsi_retry(command);
		else
			scsi_cancel(command);
	}
}

static void run(struct scsi_unit *unit, struct disk *disk, const uint8_t *in, const uint8_t *data,
		uint32_t data_bytes)
{
	struct scsi_command *command = calloc(1, sizeof(*command));
	uint32_t bytes = (in[18] << 8 | in[19]) % BUFFER_BYTES;
	uint8_t *buffer = calloc(1, bytes ? bytes : 1);

	memcpy(buffer, data, MIN(bytes, data_bytes));
	memcpy(command->cdb, in, 16);
	command->cdb_bytes = in[16] & 0x1f;
	command->direction = in[16] >> 5;
	command->done = done;
	set_data(command, buffer, bytes);
	disk->errors = in[17] & 3;
	disk->error = in[17] & 4 ? -ENOSPC : -EIO;
	done_calls = 0;
	starved_command = NULL;
	scsi_execute(unit, command);
	finish(command, in[17] >> 3 & 3);
	check_answer(command);
	free(buffer);
	free(command);
}

static void prepare(struct scsi_unit *unit, struct scsi_medium *medium, struct disk *disk,
		    uint8_t what)
{
	struct storvsp_drive drive = {
		.disk = disk, .dvd = what & 1, .read_only = what & 2, .serial = "0123"};

	disk->info.logical_sector = what & 4 && !drive.dvd ? 4096 : 512;
	disk->info.can_discard = !(what & 8);
	assert(scsi_medium_init(medium, disk, drive.dvd) == 0);
	scsi_unit_init(unit, &drive, medium);
	unit->starved = starved;
	unit->fed = fed;
	if (drive.dvd && (what & 0x10))
		scsi_set_medium(unit, what & 0x20 ? medium : NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct scsi_medium medium;
	struct scsi_unit unit;
	struct disk disk;

	if (!size)
		return 0;
	fixture_reset();
	fixture_disk_init(&disk, DISK_BYTES);
	prepare(&unit, &medium, &disk, *data++);
	size--;
	for (unsigned int i = 0; i < 32 && size >= COMMAND_BYTES; i++) {
		uint32_t bytes = (uint32_t)MIN(size - COMMAND_BYTES, 64u);

		run(&unit, &disk, data, data + COMMAND_BYTES, bytes);
		data += COMMAND_BYTES + bytes;
		size -= COMMAND_BYTES + bytes;
	}
	assert(unit.users == 0 && medium.users == 0);
	fixture_disk_free(&disk);
	return 0;
}

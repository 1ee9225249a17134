/*
 * transfer.c - commands that reach the disk image: READ to UNMAP
 *
 * Data goes straight between the guest's memory and the image: the disk gets a copy of the
 * command's iovec (it may change its own; ours is wanted again for a retry, and to say which
 * memory was written). A command is a chain of disk requests, one at a time: step() is called
 * after each that succeeded.
 *
 * A request other than a read that fails with -ENOSPC does not end its command: the unit's owner
 * keeps the command and calls scsi_retry(), which submits the same request again.
 */
#include "unit_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

/* --- requests --- */

static void request_done(struct disk_request *request, int result);

static void submit(struct scsi_command *command)
{
	struct disk_request *request = &command->disk;

	request->done = request_done;
	disk_submit(command->unit->queue, command->medium->disk, request);
}

/* The disk's own iovec for the first @bytes of the command's data. */
static void set_data(struct scsi_command *command, uint64_t bytes)
{
	int count = 0;

	while (bytes) {
		command->disk_iov[count] = command->iov[count];
		if (command->disk_iov[count].iov_len > bytes)
			command->disk_iov[count].iov_len = bytes;
		bytes -= command->disk_iov[count].iov_len;
		count++;
	}
	command->disk.iov = command->disk_iov;
	command->disk.iov_count = count;
}

/* All of it is the one buffer with the pattern, again and again. */
static void set_pattern(struct scsi_command *command, uint64_t bytes)
{
	int count = 0;

	for (; bytes; count++) {
		command->disk_iov[count].iov_base = command->buffer;
		command->disk_iov[count].iov_len = MIN(bytes, command->buffer_bytes);
		bytes -= command->disk_iov[count].iov_len;
	}
	command->disk.iov = command->disk_iov;
	command->disk.iov_count = count;
}

static void set_request(struct scsi_command *command, enum disk_op op,
			const struct scsi_range *range)
{
	uint32_t block_bytes = command->medium->block_bytes;

	command->disk = (struct disk_request){
		.op = op,
		.offset = range->lba * block_bytes,
		.bytes = range->blocks * block_bytes,
	};
}

void scsi_submit(struct scsi_command *command, enum disk_op op, const struct scsi_range *range,
		 void (*step)(struct scsi_command *command))
{
	set_request(command, op, range);
	command->step = step;
	submit(command);
}

static void count_request(struct scsi_command *command)
{
	struct storvsp_stats *stats = &command->unit->stats;
	uint64_t bytes = command->disk.bytes;

	switch (command->disk.op) {
	case DISK_READ:
		stats->reads++;
		stats->read_bytes += bytes;
		break;
	case DISK_WRITE:
	case DISK_WRITE_ZEROES:
		stats->writes++;
		stats->written_bytes += bytes;
		break;
	case DISK_FLUSH: stats->flushes++; break;
	case DISK_DISCARD: stats->discards++; break;
	}
}

static enum scsi_sense sense_of(int error, enum disk_op op)
{
	if (error == -EROFS)
		return SCSI_SENSE_WRITE_PROTECTED;
	if (error == -ERANGE)
		return SCSI_SENSE_LBA_OUT_OF_RANGE;
	return op == DISK_READ ? SCSI_SENSE_READ_ERROR : SCSI_SENSE_WRITE_ERROR;
}

static void request_failed(struct scsi_command *command, int error)
{
	if (error == -ENOSPC && command->disk.op != DISK_READ) {
		command->starvations++;
		command->unit->starved(command);
		return;
	}
	command->unit->stats.errors++;
	scsi_fail(command, sense_of(error, command->disk.op));
}

static void request_done(struct disk_request *request, int result)
{
	struct scsi_command *command = container_of(request, struct scsi_command, disk);

	if (result < 0) {
		request_failed(command, result);
		return;
	}
	count_request(command);
	if (command->step)
		command->step(command);
	else
		scsi_good(command);
}

void scsi_retry(struct scsi_command *command)
{
	struct scsi_range range = {
		command->disk.offset / command->medium->block_bytes,
		command->disk.bytes / command->medium->block_bytes,
	};
	bool fua = command->disk.fua, may_unmap = command->disk.may_unmap;
	bool with_data = command->disk.op == DISK_WRITE;

	set_request(command, command->disk.op, &range);
	command->disk.fua = fua;
	command->disk.may_unmap = may_unmap;
	if (with_data && command->buffer)
		set_pattern(command, command->disk.bytes);
	else if (with_data)
		set_data(command, command->disk.bytes);
	submit(command);
}

void scsi_cancel(struct scsi_command *command)
{
	command->unit->stats.errors++;
	scsi_fail(command, SCSI_SENSE_WRITE_ERROR);
}

/* --- ranges --- */

struct scsi_range scsi_get_range(const uint8_t *cdb)
{
	switch (cdb[0] >> 5) {
	case 0: /* six bytes; a length of 0 means 256 */
		return (struct scsi_range){scsi_get_be24(cdb + 1) & 0x1fffff,
					   cdb[4] ? cdb[4] : 256};
	case 4: return (struct scsi_range){scsi_get_be64(cdb + 2), scsi_get_be32(cdb + 10)};
	case 5: return (struct scsi_range){scsi_get_be32(cdb + 2), scsi_get_be32(cdb + 6)};
	default: return (struct scsi_range){scsi_get_be32(cdb + 2), scsi_get_be16(cdb + 7)};
	}
}

bool scsi_range_fits(struct scsi_command *command, const struct scsi_range *range)
{
	uint64_t blocks = command->medium->blocks;

	if (range->lba < blocks && range->blocks <= blocks - range->lba)
		return true;
	scsi_fail(command, SCSI_SENSE_LBA_OUT_OF_RANGE);
	return false;
}

/* --- READ, WRITE --- */

#define CDB_FUA		0x08
#define CDB_HINTS	0x12 /* DPO, FUA_NV */
#define CDB_DPO		0x10
#define CDB_IMMEDIATE	0x06 /* SYNCHRONIZE CACHE: IMMED, SYNC_NV */
#define CDB_UNMAP	0x08 /* WRITE SAME */
#define CDB_NO_DATA_OUT 0x01 /* WRITE SAME(16): the pattern is zeroes, none is sent */

static bool six_byte(const uint8_t *cdb)
{
	return cdb[0] >> 5 == 0;
}

/*
 * Bits of CDB byte 1 that a command has no use for fail it: protection information, which no drive
 * here has, VERIFY's comparison with data, ANCHOR, addresses relative to a linked command's.
 */
static bool flags_fit(struct scsi_command *command, uint8_t allowed)
{
	if (six_byte(command->cdb) || !(command->cdb[1] & ~allowed))
		return true;
	scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	return false;
}

static bool has_fua(const uint8_t *cdb)
{
	return !six_byte(cdb) && (cdb[1] & CDB_FUA);
}

static void transfer(struct scsi_command *command, enum disk_op op, const struct scsi_range *range,
		     bool fua)
{
	uint64_t bytes = range->blocks * command->medium->block_bytes;

	set_request(command, op, range);
	set_data(command, bytes);
	command->disk.fua = fua;
	command->memory_written = op == DISK_READ;
	command->transferred = (uint32_t)bytes;
	command->step = NULL;
	submit(command);
}

/* The range lies on the medium, its data in the buffer; else, or if empty, the command has ended. */
static bool transfer_fits(struct scsi_command *command, const struct scsi_range *range)
{
	if (!scsi_range_fits(command, range))
		return false;
	if (!range->blocks) {
		scsi_good(command);
		return false;
	}
	if (range->blocks * command->medium->block_bytes > command->data_bytes) {
		scsi_overrun(command);
		return false;
	}
	return true;
}

void scsi_read_range(struct scsi_command *command, const struct scsi_range *range)
{
	if (transfer_fits(command, range))
		transfer(command, DISK_READ, range, false);
}

/* Nothing was written to what cannot be written. */
static void flush(struct scsi_command *command, void (*step)(struct scsi_command *command))
{
	struct scsi_range none = {0};

	if (!scsi_write_protected(command->unit))
		scsi_submit(command, DISK_FLUSH, &none, step);
	else
		step(command);
}

void scsi_flush(struct scsi_command *command)
{
	flush(command, scsi_good);
}

static void read_after_flush(struct scsi_command *command)
{
	struct scsi_range range = scsi_get_range(command->cdb);

	transfer(command, DISK_READ, &range, false);
}

/*
 * READ with FUA: what is read shall be on the medium, so what is in caches goes there first. No
 * usual guest asks for it.
 */
void scsi_read(struct scsi_command *command)
{
	struct scsi_range range = scsi_get_range(command->cdb);

	if (!flags_fit(command, CDB_FUA | CDB_HINTS))
		return;
	if (!has_fua(command->cdb))
		scsi_read_range(command, &range);
	else if (transfer_fits(command, &range))
		flush(command, read_after_flush);
}

void scsi_write(struct scsi_command *command)
{
	struct scsi_range range = scsi_get_range(command->cdb);

	if (flags_fit(command, CDB_FUA | CDB_HINTS) && transfer_fits(command, &range))
		transfer(command, DISK_WRITE, &range, has_fua(command->cdb));
}

/* On stable storage when it is done, which is what verification is wanted for. */
void scsi_write_and_verify(struct scsi_command *command)
{
	struct scsi_range range = scsi_get_range(command->cdb);

	if (flags_fit(command, CDB_DPO) && transfer_fits(command, &range))
		transfer(command, DISK_WRITE, &range, true);
}

/* Without a comparison there is nothing that reading the image would tell. */
void scsi_verify(struct scsi_command *command)
{
	struct scsi_range range = scsi_get_range(command->cdb);

	if (flags_fit(command, CDB_DPO) && scsi_range_fits(command, &range))
		scsi_good(command);
}

/* The whole cache, whatever range is named; IMMED does not make it answer before. */
void scsi_synchronize_cache(struct scsi_command *command)
{
	struct scsi_range range = scsi_get_range(command->cdb);

	if (flags_fit(command, CDB_IMMEDIATE) && scsi_range_fits(command, &range))
		scsi_flush(command);
}

/* --- WRITE SAME --- */

#define PATTERN_BYTES (64 * KIB)
static_assert(SCSI_WRITE_SAME_MAX_BYTES / PATTERN_BYTES <= SCSI_MAX_IOVECS,
	      "a WRITE SAME is one request");

static void write_zeroes(struct scsi_command *command, const struct scsi_range *range)
{
	set_request(command, DISK_WRITE_ZEROES, range);
	command->disk.may_unmap = command->cdb[1] & CDB_UNMAP;
	command->step = NULL;
	submit(command);
}

/* command->buffer holds one block: make it many. */
static bool grow_pattern(struct scsi_command *command)
{
	uint8_t *pattern = malloc(PATTERN_BYTES);

	if (!pattern) {
		scsi_busy(command);
		return false;
	}
	for (uint32_t at = 0; at < PATTERN_BYTES; at += command->buffer_bytes)
		memcpy(pattern + at, command->buffer, command->buffer_bytes);
	free(command->buffer);
	command->buffer = pattern;
	command->buffer_bytes = PATTERN_BYTES;
	return true;
}

static void write_pattern(struct scsi_command *command, const struct scsi_range *range)
{
	if (!grow_pattern(command))
		return;
	set_request(command, DISK_WRITE, range);
	set_pattern(command, command->disk.bytes);
	command->step = NULL;
	submit(command);
}

static bool all_zero(const uint8_t *bytes, size_t count)
{
	return count == 0 || (bytes[0] == 0 && !memcmp(bytes, bytes + 1, count - 1));
}

static bool write_same_fits(struct scsi_command *command, const struct scsi_range *range)
{
	uint32_t block_bytes = command->medium->block_bytes;
	bool sixteen = command->cdb[0] == SCSI_WRITE_SAME_16;
	uint8_t allowed = sixteen ? CDB_NO_DATA_OUT : 0;

	if (command->medium->info.can_discard)
		allowed |= CDB_UNMAP;
	if (!flags_fit(command, allowed) || !scsi_range_fits(command, range))
		return false;
	/* VPD page B0 promises: not 0, which would mean "to the end"; at most so many. */
	if (!range->blocks || range->blocks > SCSI_WRITE_SAME_MAX_BYTES / block_bytes) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return false;
	}
	return true;
}

void scsi_write_same(struct scsi_command *command)
{
	struct scsi_range range = scsi_get_range(command->cdb);
	bool sixteen = command->cdb[0] == SCSI_WRITE_SAME_16;

	if (!write_same_fits(command, &range))
		return;
	if (sixteen && (command->cdb[1] & CDB_NO_DATA_OUT)) {
		write_zeroes(command, &range);
		return;
	}
	if (!scsi_parameters(command, command->medium->block_bytes))
		return;
	if (all_zero(command->buffer, command->buffer_bytes))
		write_zeroes(command, &range);
	else
		write_pattern(command, &range);
}

/* --- UNMAP --- */

#define UNMAP_HEADER_BYTES     8
#define UNMAP_DESCRIPTOR_BYTES 16

static struct scsi_range get_descriptor(const uint8_t *bytes)
{
	return (struct scsi_range){scsi_get_be64(bytes), scsi_get_be32(bytes + 8)};
}

static void unmap_next(struct scsi_command *command)
{
	while (command->buffer_position < command->buffer_bytes) {
		struct scsi_range range =
			get_descriptor(command->buffer + command->buffer_position);

		command->buffer_position += UNMAP_DESCRIPTOR_BYTES;
		if (range.blocks) {
			scsi_submit(command, DISK_DISCARD, &range, unmap_next);
			return;
		}
	}
	scsi_good(command);
}

/* All descriptors are good before the first is done. */
static bool descriptors_fit(struct scsi_command *command)
{
	for (uint32_t at = UNMAP_HEADER_BYTES; at < command->buffer_bytes;
	     at += UNMAP_DESCRIPTOR_BYTES) {
		struct scsi_range range = get_descriptor(command->buffer + at);

		if (range.blocks && !scsi_range_fits(command, &range))
			return false;
	}
	return true;
}

void scsi_unmap(struct scsi_command *command)
{
	uint32_t list_bytes = scsi_get_be16(command->cdb + 7);
	uint32_t bytes;

	if (!command->medium->info.can_discard) {
		scsi_fail(command, SCSI_SENSE_INVALID_OPCODE);
		return;
	}
	if (command->cdb[1]) { /* ANCHOR */
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	if (!list_bytes) {
		scsi_good(command);
		return;
	}
	if (list_bytes < UNMAP_HEADER_BYTES) {
		scsi_fail(command, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return;
	}
	if (!scsi_parameters(command, list_bytes))
		return;
	bytes = scsi_get_be16(command->buffer + 2);
	if (bytes % UNMAP_DESCRIPTOR_BYTES || UNMAP_HEADER_BYTES + bytes > list_bytes) {
		scsi_fail(command, SCSI_SENSE_PARAMETER_LIST_LENGTH);
		return;
	}
	if (bytes / UNMAP_DESCRIPTOR_BYTES > SCSI_UNMAP_DESCRIPTORS) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS);
		return;
	}
	command->buffer_bytes = UNMAP_HEADER_BYTES + bytes;
	command->buffer_position = UNMAP_HEADER_BYTES;
	if (descriptors_fit(command))
		unmap_next(command);
}

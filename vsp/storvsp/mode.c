/*
 * mode.c - MODE SENSE and MODE SELECT, six and ten bytes
 *
 * Pages are constants, nothing can be changed: MODE SELECT accepts what is so already and fails
 * everything else. There are no block descriptors and no saved values.
 */
#include "unit_internal.h"

#include <stdlib.h>
#include <string.h>

enum {
	FOR_DISK = 1,
	FOR_DVD = 2,
};

#define PAGE_MAX_BYTES 32

struct page {
	uint8_t code, bytes; /* with its two bytes of header, which are made from these */
	uint8_t drives;
	uint8_t body[PAGE_MAX_BYTES - 2];
};

/* Sorted by code. */
static const struct page pages[] = {
	/* Read error recovery: try a few times. */
	{0x01, 12, FOR_DVD, {0, 5}},
	/* Caching: WCE, so that guests send flushes. */
	{0x08, 20, FOR_DISK, {0x04}},
	/* Control: commands may be reordered. */
	{0x0a, 12, FOR_DISK, {0, 0x10}},
	/* Power condition; timeout and protect: all zero. */
	{0x1a, 12, FOR_DVD, {0}},
	{0x1d, 12, FOR_DVD, {0}},
	/*
	 * Capabilities of the drive: reads CD-R, CD-RW, DVD-ROM, DVD-R; mode 2, multi-session;
	 * a tray that locks and ejects; speed in kB/s, 8-fold for DVD.
	 */
	{0x2a, 22, FOR_DVD,
	 {0x3b, 0x00, 0x70, 0x00, 0x29, 0x00, 0x2b, 0x48, 0x00, 0x02, 0x02, 0x00, 0x2b, 0x48}},
};
#define ALL_PAGES 0x3f

enum { CURRENT, CHANGEABLE, DEFAULT, SAVED };

static bool page_of_drive(const struct page *page, const struct scsi_unit *unit)
{
	return page->drives & (unit->dvd ? FOR_DVD : FOR_DISK);
}

static uint32_t put_page(uint8_t *at, const struct page *page, unsigned int control)
{
	at[0] = page->code;
	at[1] = page->bytes - 2;
	memset(at + 2, 0, page->bytes - 2);
	if (control != CHANGEABLE)
		memcpy(at + 2, page->body, page->bytes - 2);
	return page->bytes;
}

/* Returns the bytes put; 0: the drive has no such page. */
static uint32_t put_pages(const struct scsi_unit *unit, uint8_t *at, const uint8_t *cdb)
{
	uint8_t code = cdb[2] & 0x3f, subpage = cdb[3];
	uint32_t bytes = 0;

	if (subpage && !(code == ALL_PAGES && subpage == 0xff))
		return 0;
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (page_of_drive(&pages[i], unit) && (code == ALL_PAGES || code == pages[i].code))
			bytes += put_page(at + bytes, &pages[i], cdb[2] >> 6);
	return bytes;
}

#define WRITE_PROTECT 0x80
#define HAS_DPO_FUA   0x10

static uint8_t device_parameter(const struct scsi_unit *unit)
{
	if (unit->dvd)
		return 0;
	return HAS_DPO_FUA | (scsi_write_protected(unit) ? WRITE_PROTECT : 0);
}

static bool is_ten(const struct scsi_command *command)
{
	return command->cdb[0] == SCSI_MODE_SENSE_10 || command->cdb[0] == SCSI_MODE_SELECT_10;
}

void scsi_mode_sense(struct scsi_command *command)
{
	uint8_t data[8 + PAGE_MAX_BYTES * ARRAY_SIZE(pages)] = {0};
	uint32_t header = is_ten(command) ? 8 : 4;
	uint32_t bytes;

	if (command->cdb[2] >> 6 == SAVED) {
		scsi_fail(command, SCSI_SENSE_SAVING_NOT_SUPPORTED);
		return;
	}
	bytes = put_pages(command->unit, data + header, command->cdb);
	if (!bytes) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	bytes += header;
	if (is_ten(command)) {
		scsi_put_be16(data, (uint16_t)(bytes - 2));
		data[3] = device_parameter(command->unit);
		scsi_reply(command, data, bytes, scsi_get_be16(command->cdb + 7));
	} else {
		data[0] = (uint8_t)(bytes - 1);
		data[2] = device_parameter(command->unit);
		scsi_reply(command, data, bytes, command->cdb[4]);
	}
}

/* @at: a page of a parameter list, with at least its header. Its bytes, or 0: not what is so. */
static uint32_t match_page(const struct scsi_unit *unit, const uint8_t *at, uint32_t left)
{
	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		const struct page *page = &pages[i];

		if (!page_of_drive(page, unit) || (at[0] & 0x7f) != page->code)
			continue;
		if (at[1] != page->bytes - 2 || left < page->bytes ||
		    memcmp(at + 2, page->body, page->bytes - 2) != 0)
			return 0;
		return page->bytes;
	}
	return 0;
}

static enum scsi_sense check_pages(const struct scsi_unit *unit, const uint8_t *at, uint32_t left)
{
	while (left) {
		uint32_t bytes = left >= 2 ? match_page(unit, at, left) : 0;

		if (!bytes)
			return left < 2 ? SCSI_SENSE_PARAMETER_LIST_LENGTH
					: SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS;
		at += bytes;
		left -= bytes;
	}
	return SCSI_SENSE_NONE;
}

static enum scsi_sense check_list(const struct scsi_command *command)
{
	uint32_t header = is_ten(command) ? 8 : 4;
	const uint8_t *list = command->buffer;
	uint32_t descriptors;

	if (command->buffer_bytes < header)
		return SCSI_SENSE_PARAMETER_LIST_LENGTH;
	descriptors = is_ten(command) ? scsi_get_be16(list + 6) : list[3];
	if (descriptors)
		return SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS;
	return check_pages(command->unit, list + header, command->buffer_bytes - header);
}

#define SELECT_SAVE 0x01

void scsi_mode_select(struct scsi_command *command)
{
	uint32_t bytes = is_ten(command) ? scsi_get_be16(command->cdb + 7) : command->cdb[4];
	enum scsi_sense sense;

	if (command->cdb[1] & SELECT_SAVE) {
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
		return;
	}
	if (!bytes) {
		scsi_good(command);
		return;
	}
	if (!scsi_parameters(command, bytes))
		return;
	sense = check_list(command);
	if (sense)
		scsi_fail(command, sense);
	else
		scsi_good(command);
}

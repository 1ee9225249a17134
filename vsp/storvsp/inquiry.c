/*
 * inquiry.c - INQUIRY: what a drive says of itself
 *
 * Vendor "Msft" and these products are what guests know Hyper-V's drives by; Linux makes rules of
 * protocol versions depend on the vendor. Identity (pages 0x80, 0x83) comes from the drive's
 * serial and is stable over reboots.
 */
#include "unit_internal.h"

#include <string.h>

#define PAGE_HEADER_BYTES 4

struct page {
	uint8_t code;
	bool (*exists)(const struct scsi_unit *unit); /* NULL: always */
	/* Fills what follows the header, zeroed before; returns its bytes. */
	uint32_t (*fill)(const struct scsi_unit *unit, uint8_t *body);
};

static bool is_disk(const struct scsi_unit *unit)
{
	return !unit->dvd;
}

static bool has_serial(const struct scsi_unit *unit)
{
	return unit->serial[0];
}

static bool can_unmap(const struct scsi_unit *unit)
{
	return !unit->dvd && unit->medium->info.can_discard;
}

static uint32_t fill_page_list(const struct scsi_unit *unit, uint8_t *body);

static uint32_t fill_serial(const struct scsi_unit *unit, uint8_t *body)
{
	size_t bytes = strlen(unit->serial);

	memcpy(body, unit->serial, bytes);
	return (uint32_t)bytes;
}

/* Two designators: T10 vendor identification with 16 bytes, and a NAA name of type 6. */
static uint32_t fill_identification(const struct scsi_unit *unit, uint8_t *body)
{
	static const uint8_t t10[4] = {0x01, 0x01, 0, 24}, naa[4] = {0x01, 0x03, 0, 16};
	static const uint8_t naa_vendor[4] = {0x60, 0x02, 0x24, 0x80};

	memcpy(body, t10, 4);
	memcpy(body + 4, "Msft    ", 8);
	memcpy(body + 12, unit->id, 16);
	memcpy(body + 28, naa, 4);
	memcpy(body + 32, naa_vendor, 4);
	memcpy(body + 36, unit->id, 6);
	memcpy(body + 42, unit->id + 10, 6);
	return 48;
}

/* Block limits; offsets as in the standard, less the header. */
static uint32_t fill_block_limits(const struct scsi_unit *unit, uint8_t *body)
{
	const struct disk_info *info = &unit->medium->info;
	uint32_t block = unit->medium->block_bytes;

	body[0] = 1; /* WSNZ: WRITE SAME of 0 blocks is refused */
	scsi_put_be16(body + 2, (uint16_t)MAX(info->physical_sector / block, 1u));
	scsi_put_be32(body + 4, (uint32_t)(SCSI_MAX_TRANSFER_BYTES / block));
	scsi_put_be64(body + 32, SCSI_WRITE_SAME_MAX_BYTES / block);
	if (!info->can_discard)
		return 60;
	scsi_put_be32(body + 16, UINT32_MAX);
	scsi_put_be32(body + 20, SCSI_UNMAP_DESCRIPTORS);
	scsi_put_be32(body + 24, MAX(MAX(info->physical_sector, info->block_bytes) / block, 1u));
	scsi_put_be32(body + 28, 0x80000000); /* alignment valid: 0 */
	return 60;
}

static uint32_t fill_characteristics(const struct scsi_unit *unit, uint8_t *body)
{
	scsi_put_be16(body, 1); /* does not rotate */
	return 60;
}

/* Thin; UNMAP and WRITE SAME with UNMAP. Nothing is promised of what unmapped blocks read as. */
static uint32_t fill_provisioning(const struct scsi_unit *unit, uint8_t *body)
{
	body[1] = 0xe0;
	body[2] = 2;
	return 4;
}

/* Sorted by code. */
static const struct page pages[] = {
	{0x00, NULL, fill_page_list},
	{0x80, has_serial, fill_serial},
	{0x83, NULL, fill_identification},
	{0xb0, is_disk, fill_block_limits},
	{0xb1, is_disk, fill_characteristics},
	{0xb2, can_unmap, fill_provisioning},
};

static bool page_exists(const struct page *page, const struct scsi_unit *unit)
{
	return !page->exists || page->exists(unit);
}

static uint32_t fill_page_list(const struct scsi_unit *unit, uint8_t *body)
{
	uint32_t bytes = 0;

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++)
		if (page_exists(&pages[i], unit))
			body[bytes++] = pages[i].code;
	return bytes;
}

static void inquire_page(struct scsi_command *command, uint32_t allocation)
{
	const struct scsi_unit *unit = command->unit;
	uint8_t data[PAGE_HEADER_BYTES + 64] = {0};

	for (size_t i = 0; i < ARRAY_SIZE(pages); i++) {
		uint32_t bytes;

		if (pages[i].code != command->cdb[2] || !page_exists(&pages[i], unit))
			continue;
		bytes = pages[i].fill(unit, data + PAGE_HEADER_BYTES);
		data[0] = unit->dvd ? SCSI_TYPE_DVD : SCSI_TYPE_DISK;
		data[1] = pages[i].code;
		scsi_put_be16(data + 2, (uint16_t)bytes);
		scsi_reply(command, data, PAGE_HEADER_BYTES + bytes, allocation);
		return;
	}
	scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
}

static void inquire_disk(struct scsi_command *command, uint32_t allocation)
{
	/* Version descriptors: SAM-3, SPC-3, SBC-2. */
	static const uint8_t versions[6] = {0x00, 0x60, 0x03, 0x00, 0x03, 0x20};
	uint8_t data[96] = {SCSI_TYPE_DISK, 0, 5, 2, sizeof(data) - 5, 0, 0, 0x02 /* queues */};

	memcpy(data + 8, "Msft    Virtual Disk    1.0 ", 28);
	memcpy(data + 58, versions, sizeof(versions));
	scsi_reply(command, data, sizeof(data), allocation);
}

static void inquire_dvd(struct scsi_command *command, uint32_t allocation)
{
	uint8_t data[36] = {SCSI_TYPE_DVD, 0x80 /* removable */, 0, 2, sizeof(data) - 5};

	memcpy(data + 8, "Msft    Virtual DVD-ROM 1.0 ", 28);
	scsi_reply(command, data, sizeof(data), allocation);
}

void scsi_inquiry(struct scsi_command *command)
{
	uint32_t allocation = scsi_get_be16(command->cdb + 3);

	if (command->cdb[1] & 1)
		inquire_page(command, allocation);
	else if (command->cdb[1] || command->cdb[2])
		scsi_fail(command, SCSI_SENSE_INVALID_FIELD_IN_CDB);
	else if (command->unit->dvd)
		inquire_dvd(command, allocation);
	else
		inquire_disk(command, allocation);
}

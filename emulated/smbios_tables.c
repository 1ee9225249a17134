/*
 * smbios_tables.c - writes the SMBIOS structures, one table row each
 */
#include "smbios_tables.h"

#include <errno.h>
#include <string.h>

#include "smbios.h"

#define VERSION_MAJOR 2
#define VERSION_MINOR 4
#define CHASSIS_DESKTOP 3
#define STATE_SAFE	3

struct writer {
	uint8_t *buffer;
	size_t bytes, used, largest;
	unsigned int structures;
	bool overflow;
};

static void append(struct writer *writer, const void *bytes, size_t count)
{
	if (writer->overflow || count > writer->bytes - writer->used) {
		writer->overflow = true;
		return;
	}
	memcpy(writer->buffer + writer->used, bytes, count);
	writer->used += count;
}

/* @structure begins with its header, whose length and handle are set here. */
static void add(struct writer *writer, struct smbios_header *structure, size_t bytes,
		const char *const *strings)
{
	size_t start = writer->used;

	structure->bytes = bytes;
	structure->handle = writer->structures++;
	append(writer, structure, bytes);
	for (; *strings; strings++)
		append(writer, *strings, strlen(*strings) + 1);
	if (writer->used == start + bytes)
		append(writer, "", 1);
	append(writer, "", 1);
	writer->largest = MAX(writer->largest, writer->used - start);
}

static void add_firmware(struct writer *writer)
{
	static const char *const strings[] = {"Mullion", "1.0", "01/01/2026", NULL};
	struct smbios_firmware firmware = {
		.header.type = SMBIOS_FIRMWARE,
		.vendor = 1,
		.version = 2,
		.segment = 0xf000,
		.date = 3,
		.characteristics = SMBIOS_CHARACTERISTICS_UNSUPPORTED,
		.extension = {0, SMBIOS_EXTENSION_VIRTUAL_MACHINE},
		.major = 1,
		.controller_major = 0xff,
		.controller_minor = 0xff,
	};

	add(writer, &firmware.header, sizeof(firmware), strings);
}

static void add_system(struct writer *writer, const struct smbios_tables_config *config)
{
	const char *const strings[] = {"Microsoft Corporation", "Virtual Machine", "7.0",
				       *config->serial ? config->serial : NULL, NULL};
	struct smbios_system system = {
		.header.type = SMBIOS_SYSTEM,
		.manufacturer = 1,
		.product = 2,
		.version = 3,
		.serial = *config->serial ? 4 : 0,
		.wake_up = 6, /* power switch */
	};

	memcpy(system.uuid, config->uuid.bytes, sizeof(system.uuid));
	add(writer, &system.header, sizeof(system), strings);
}

static void add_board_and_chassis(struct writer *writer)
{
	static const char *const strings[] = {"Microsoft Corporation", "Virtual Machine", "7.0",
					      NULL};
	static const char *const chassis_strings[] = {"Microsoft Corporation", "7.0", NULL};
	struct smbios_baseboard board = {
		.header.type = SMBIOS_BASEBOARD, .manufacturer = 1, .product = 2, .version = 3};
	struct smbios_chassis chassis = {
		.header.type = SMBIOS_CHASSIS,
		.manufacturer = 1,
		.type = CHASSIS_DESKTOP,
		.version = 2,
		.boot_state = STATE_SAFE,
		.power_state = STATE_SAFE,
		.thermal_state = STATE_SAFE,
		.security = STATE_SAFE,
	};

	add(writer, &board.header, sizeof(board), strings);
	add(writer, &chassis.header, sizeof(chassis), chassis_strings);
}

static void add_end(struct writer *writer)
{
	static const char *const none[] = {NULL};
	struct smbios_boot boot = {.header.type = SMBIOS_BOOT};
	struct smbios_header end = {.type = SMBIOS_END};

	add(writer, &boot.header, sizeof(boot), none);
	add(writer, &end, sizeof(end), none);
}

static uint8_t checksum(const void *bytes, size_t count)
{
	uint8_t sum = 0;

	for (size_t i = 0; i < count; i++)
		sum += ((const uint8_t *)bytes)[i];
	return -sum;
}

static void write_entry_point(const struct writer *writer, uint8_t *to, uint32_t table_address)
{
	struct smbios_entry_point entry = {
		.anchor = {'_', 'S', 'M', '_'},
		.bytes = sizeof(entry),
		.major = VERSION_MAJOR,
		.minor = VERSION_MINOR,
		.largest_structure = writer->largest,
		.intermediate_anchor = {'_', 'D', 'M', 'I', '_'},
		.table_bytes = writer->used,
		.table_address = table_address,
		.structure_count = writer->structures,
		.bcd_revision = VERSION_MAJOR << 4 | VERSION_MINOR,
	};
	const uint8_t *second = (const uint8_t *)&entry.intermediate_anchor;

	entry.intermediate_checksum = checksum(
		second, sizeof(entry) - offsetof(struct smbios_entry_point, intermediate_anchor));
	entry.checksum = checksum(&entry, sizeof(entry));
	memcpy(to, &entry, sizeof(entry));
}

int smbios_tables_write(const struct smbios_tables_config *config, uint8_t *buffer, size_t bytes,
			gpa_t gpa)
{
	size_t table_at = ALIGN_UP(sizeof(struct smbios_entry_point), (size_t)16);
	struct writer writer = {.buffer = buffer + table_at, .bytes = bytes - table_at};

	if (!IS_ALIGNED(gpa, 16) || gpa + bytes > MIB)
		return -EINVAL;
	if (bytes < table_at)
		return -ENOSPC;
	add_firmware(&writer);
	add_system(&writer, config);
	add_board_and_chassis(&writer);
	add_end(&writer);
	if (writer.overflow)
		return -ENOSPC;
	write_entry_point(&writer, buffer, (uint32_t)(gpa + table_at));
	return (int)(table_at + writer.used);
}

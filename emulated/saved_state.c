/*
 * saved_state.c - all devices' numbered fields to and from a byte stream
 *
 * The stream, little-endian, without alignment:
 *   header:  magic "MULLCHIP", u32 version, u32 number of sections, u64 clock in ns
 *   section: name[16] of the class, u32 instance (0 for the first device of that class, ...),
 *            u32 bytes of the fields that follow
 *   field:   u16 number, u16 zero, u32 bytes, the bytes
 *
 * A field is copied only when the class has its number with the same size, at most once. Fields
 * are bytes until the class's rebuild() has accepted them: nothing acts on them before. A field
 * that a class gained later is absent from old streams and keeps its power-on value.
 */
#include "bus_internal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#define STREAM_MAGIC   "MULLCHIP"
#define STREAM_VERSION 1

struct stream_header {
	char magic[8];
	le32 version, sections;
	le64 clock_ns;
};
WIRE_SIZE(struct stream_header, 24);

struct stream_section {
	char name[16];
	le32 instance, bytes;
};
WIRE_SIZE(struct stream_section, 24);

struct stream_field {
	le16 number, zero;
	le32 bytes;
};
WIRE_SIZE(struct stream_field, 8);

/* --- save --- */

static size_t section_bytes(const struct device *dev)
{
	size_t bytes = 0;

	for (const struct state_field *field = dev->class->state; field && field->bytes; field++)
		bytes += sizeof(struct stream_field) + field->bytes;
	return bytes;
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t count)
{
	memcpy(at, bytes, count);
	return at + count;
}

/* The place of @dev among the devices of its class. */
static uint32_t instance_of(const struct chipset *chipset, const struct device *dev)
{
	uint32_t instance = 0;

	for (size_t i = 0; chipset->devices[i] != dev; i++)
		instance += chipset->devices[i]->class == dev->class;
	return instance;
}

static uint8_t *put_section(uint8_t *at, const struct chipset *chipset, const struct device *dev)
{
	struct stream_section section = {.instance = instance_of(chipset, dev),
					 .bytes = (uint32_t)section_bytes(dev)};

	assert(strlen(dev->class->name) < sizeof(section.name));
	memcpy(section.name, dev->class->name, strlen(dev->class->name));
	at = put(at, &section, sizeof(section));
	for (const struct state_field *field = dev->class->state; field->bytes; field++) {
		struct stream_field header = {.number = field->number, .bytes = field->bytes};

		at = put(at, &header, sizeof(header));
		at = put(at, (const uint8_t *)dev + field->offset, field->bytes);
	}
	return at;
}

static int save_locked(struct chipset *chipset, uint8_t **ret_bytes, size_t *ret_count)
{
	struct stream_header header = {.magic = STREAM_MAGIC, .version = STREAM_VERSION};
	size_t count = sizeof(header);
	uint8_t *bytes, *at;

	for (size_t i = 0; i < chipset->device_count; i++) {
		if (!chipset->devices[i]->class->state)
			continue;
		count += sizeof(struct stream_section) + section_bytes(chipset->devices[i]);
		header.sections++;
	}
	bytes = malloc(count);
	if (!bytes)
		return -ENOMEM;
	header.clock_ns = chipset_now_ns(chipset);
	at = put(bytes, &header, sizeof(header));
	for (size_t i = 0; i < chipset->device_count; i++) {
		if (chipset->devices[i]->class->state)
			at = put_section(at, chipset, chipset->devices[i]);
	}
	*ret_bytes = bytes;
	*ret_count = count;
	return 0;
}

int chipset_save(struct chipset *chipset, uint8_t **ret_bytes, size_t *ret_count)
{
	int r;

	chipset_lock(chipset);
	r = save_locked(chipset, ret_bytes, ret_count);
	chipset_unlock(chipset);
	return r;
}

/* --- restore --- */

struct reader {
	const uint8_t *at;
	size_t left;
};

static bool take(struct reader *reader, void *ret, size_t count)
{
	if (count > reader->left)
		return false;
	memcpy(ret, reader->at, count);
	reader->at += count;
	reader->left -= count;
	return true;
}

static struct device *find_device(const struct chipset *chipset,
				  const struct stream_section *section)
{
	for (size_t i = 0; i < chipset->device_count; i++) {
		struct device *dev = chipset->devices[i];
		char name[sizeof(section->name)] = "";

		strncpy(name, dev->class->name, sizeof(name) - 1);
		if (dev->class->state && !memcmp(name, section->name, sizeof(name)) &&
		    instance_of(chipset, dev) == section->instance)
			return dev;
	}
	return NULL;
}

static int restore_field(struct device *dev, struct reader *reader, uint64_t *seen)
{
	struct stream_field header;
	unsigned int i = 0;

	if (!take(reader, &header, sizeof(header)) || header.zero)
		return -EINVAL;
	while (dev->class->state[i].bytes && dev->class->state[i].number != header.number)
		i++;
	if (!dev->class->state[i].bytes)
		return -ENOTSUP;
	if (dev->class->state[i].bytes != header.bytes || (*seen & BIT(i)))
		return -EINVAL;
	*seen |= BIT(i);
	return take(reader, (uint8_t *)dev + dev->class->state[i].offset, header.bytes) ? 0
											: -EINVAL;
}

static int restore_section(struct chipset *chipset, struct reader *reader,
			   bool seen[CHIPSET_MAX_DEVICES])
{
	struct stream_section section;
	struct reader fields;
	struct device *dev;
	uint64_t seen_fields = 0;
	size_t index = 0;
	int r = 0;

	if (!take(reader, &section, sizeof(section)) || section.bytes > reader->left)
		return -EINVAL;
	dev = find_device(chipset, &section);
	if (!dev)
		return -EINVAL;
	while (chipset->devices[index] != dev)
		index++;
	if (seen[index])
		return -EINVAL;
	seen[index] = true;
	fields = (struct reader){reader->at, section.bytes};
	reader->at += section.bytes;
	reader->left -= section.bytes;
	while (r == 0 && fields.left)
		r = restore_field(dev, &fields, &seen_fields);
	return r;
}

static int check_header(const struct stream_header *header)
{
	if (memcmp(header->magic, STREAM_MAGIC, sizeof(header->magic)))
		return -EINVAL;
	if (header->version != STREAM_VERSION)
		return -ENOTSUP;
	/* A clock of centuries is not one of ours, and must not overflow a device's sums. */
	if (header->clock_ns > UINT64_MAX / 8 || header->sections > CHIPSET_MAX_DEVICES)
		return -EINVAL;
	return 0;
}

static int restore_fields(struct chipset *chipset, struct reader *reader)
{
	bool seen[CHIPSET_MAX_DEVICES] = {false};
	struct stream_header header;
	int r;

	if (!take(reader, &header, sizeof(header)))
		return -EINVAL;
	r = check_header(&header);
	if (r < 0)
		return r;
	chipset->frozen_ns = header.clock_ns;
	chipset_reset_locked(chipset);
	for (uint32_t i = 0; r == 0 && i < header.sections; i++)
		r = restore_section(chipset, reader, seen);
	return r == 0 && reader->left ? -EINVAL : r;
}

static int rebuild_all(struct chipset *chipset)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < chipset->device_count; i++) {
		struct device *dev = chipset->devices[i];

		if (dev->class->rebuild)
			r = dev->class->rebuild(dev);
	}
	return r;
}

static int restore_locked(struct chipset *chipset, const uint8_t *bytes, size_t count)
{
	struct reader reader = {bytes, count};
	int r = restore_fields(chipset, &reader);

	return r < 0 ? r : rebuild_all(chipset);
}

/* With what is there now as a backup: a refused stream may have changed any field before. */
static int restore_or_keep(struct chipset *chipset, const uint8_t *bytes, size_t count)
{
	uint8_t *backup;
	size_t backup_count;
	int r = save_locked(chipset, &backup, &backup_count);

	if (r < 0)
		return r;
	r = restore_locked(chipset, bytes, count);
	if (r < 0 && restore_locked(chipset, backup, backup_count) < 0)
		chipset_reset_locked(chipset);
	free(backup);
	return r;
}

int chipset_restore(struct chipset *chipset, const uint8_t *bytes, size_t count)
{
	bool clock_ran;
	int r;

	chipset_lock(chipset);
	clock_ran = chipset->clock_runs;
	chipset_stop_clock_locked(chipset); /* the stream's clock replaces it; no timer meanwhile */
	r = restore_or_keep(chipset, bytes, count);
	if (clock_ran)
		chipset_start_clock_locked(chipset);
	chipset_unlock(chipset);
	return r;
}

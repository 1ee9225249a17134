/*
 * vhdx_create.c - new VHDX images, laid out as Windows does it
 *
 * Log at 1 MiB, metadata region at 2 MiB, block table at 3 MiB, blocks behind it. A fixed image has
 * all blocks in the file, one behind the other; the others have none. The identifier, which makes
 * the file a VHDX, is written last, when everything else is durable: one that was left half made is
 * taken for nothing.
 *
 * Children name the parent by its relative path and by an absolute one: some readers want the
 * latter, of which they use the last part.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crc32c.h"
#include "create.h"
#include "utf16.h"
#include "vhdx_internal.h"

#define LOG_AT		(1 * MIB)
#define METADATA_AT	(2 * MIB)
#define TABLE_AT	(3 * MIB)
#define CREATOR		"Mullion"
#define LOCATOR_BYTES	(16 * KIB)
#define PHYSICAL_SECTOR 4096u
#define ENTRIES		8192u /* of the table, written at once */

/* --- metadata --- */

/* The region as it is built up: the table, then the items. */
struct metadata {
	uint8_t bytes[VHDX_METADATA_TABLE_BYTES + 64 + LOCATOR_BYTES];
	uint32_t used; /* with the items so far */
};

static void add_item(struct metadata *metadata, struct guid guid, uint32_t flags, const void *bytes,
		     uint32_t count)
{
	struct vhdx_metadata_header *header = (struct vhdx_metadata_header *)metadata->bytes;
	struct vhdx_metadata_entry *entry =
		(struct vhdx_metadata_entry *)(header + 1) + header->entry_count++;

	*entry = (struct vhdx_metadata_entry){
		.guid = guid, .offset = metadata->used, .length = count, .flags = flags};
	memcpy(metadata->bytes + metadata->used, bytes, count);
	metadata->used += ALIGN_UP(count, 4u);
}

static void add_items(struct metadata *metadata, const struct creation *creation)
{
	const struct vhdx_file_parameters parameters = {
		.block_size = creation->block_bytes,
		.flags = creation->parent	       ? VHDX_HAS_PARENT
			 : creation_is_fixed(creation) ? VHDX_LEAVE_BLOCKS_ALLOCATED
						       : 0};
	const uint32_t disk = VHDX_ITEM_DISK | VHDX_ITEM_REQUIRED;
	struct guid id;

	if (creation->parent)
		id = creation->parent->id;
	else
		guid_random(&id);
	memcpy(metadata->bytes, VHDX_METADATA_SIGNATURE, 8);
	metadata->used = VHDX_METADATA_TABLE_BYTES;
	add_item(metadata, (struct guid)VHDX_ITEM_FILE_PARAMETERS, VHDX_ITEM_REQUIRED, &parameters,
		 sizeof(parameters));
	add_item(metadata, (struct guid)VHDX_ITEM_DISK_SIZE, disk, &creation->bytes, 8);
	add_item(metadata, (struct guid)VHDX_ITEM_LOGICAL_SECTOR, disk, &creation->logical_sector,
		 4);
	add_item(metadata, (struct guid)VHDX_ITEM_PHYSICAL_SECTOR, disk, &creation->physical_sector,
		 4);
	add_item(metadata, (struct guid)VHDX_ITEM_DISK_ID, disk, &id, sizeof(id));
}

/* --- the parent locator --- */

struct locator {
	uint8_t bytes[LOCATOR_BYTES];
	uint32_t used;
};

/* UTF-16LE without a terminator; the length in bytes, or -errno. */
static int add_text(struct locator *locator, const char *text, uint32_t *ret_offset)
{
	size_t room = (sizeof(locator->bytes) - locator->used) / 2;
	int units = utf16_from_utf8(text, locator->bytes + locator->used, room);

	if (units < 0)
		return units == -E2BIG ? -ENAMETOOLONG : units;
	*ret_offset = locator->used;
	locator->used += units * 2;
	return units * 2;
}

static int add_pair(struct locator *locator, const char *key, const char *value)
{
	struct vhdx_parent_locator *header = (struct vhdx_parent_locator *)locator->bytes;
	struct vhdx_locator_entry *entry =
		(struct vhdx_locator_entry *)(header + 1) + header->count++;
	uint32_t key_offset, value_offset;
	int key_length = add_text(locator, key, &key_offset);
	int value_length = key_length < 0 ? key_length : add_text(locator, value, &value_offset);

	if (value_length < 0)
		return value_length;
	*entry = (struct vhdx_locator_entry){.key_offset = key_offset,
					     .value_offset = value_offset,
					     .key_length = key_length,
					     .value_length = value_length};
	return 0;
}

static int fill_locator(struct locator *locator, const struct creation *creation)
{
	struct vhdx_parent_locator *header = (struct vhdx_parent_locator *)locator->bytes;
	char text[GUID_TEXT_BYTES], linkage[GUID_TEXT_BYTES + 2];
	struct creation_names names;
	int r = creation_name_parent(creation, &names);

	if (r < 0)
		return r;
	header->type = (struct guid)VHDX_PARENT_LOCATOR_TYPE;
	locator->used = sizeof(*header) + 3 * sizeof(struct vhdx_locator_entry);
	snprintf(linkage, sizeof(linkage), "{%s}", guid_format(&creation->parent->link, text));
	for (char *at = names.parent; *at; at++) {
		if (*at == '/')
			*at = '\\';
	}
	r = add_pair(locator, "parent_linkage", linkage);
	if (!r)
		r = add_pair(locator, "relative_path", names.relative);
	return r ? r : add_pair(locator, "absolute_win32_path", names.parent);
}

static int add_locator(struct metadata *metadata, const struct creation *creation)
{
	struct locator *locator = calloc(1, sizeof(*locator));
	int r = locator ? fill_locator(locator, creation) : -ENOMEM;

	if (!r)
		add_item(metadata, (struct guid)VHDX_ITEM_PARENT_LOCATOR, VHDX_ITEM_REQUIRED,
			 locator->bytes, locator->used);
	free(locator);
	return r == -EILSEQ ? creation_bad_name(creation) : r;
}

static int write_metadata(const struct creation *creation)
{
	struct metadata *metadata = calloc(1, sizeof(*metadata));
	int r = metadata ? 0 : -ENOMEM;

	if (!r)
		add_items(metadata, creation);
	if (!r && creation->parent)
		r = add_locator(metadata, creation);
	if (!r)
		r = file_write(creation->fd, METADATA_AT, metadata->bytes, metadata->used);
	free(metadata);
	return r;
}

/* --- the block table --- */

struct layout {
	uint32_t chunk_blocks; /* blocks with bits in one sector bitmap block */
	uint64_t blocks, entries, table_bytes, data_at;
};

static struct layout lay_out(const struct creation *creation)
{
	struct layout layout = {
		.chunk_blocks =
			VHDX_CHUNK_SECTORS * creation->logical_sector / creation->block_bytes,
		.blocks = (creation->bytes + creation->block_bytes - 1) / creation->block_bytes};
	uint64_t chunks = (layout.blocks + layout.chunk_blocks - 1) / layout.chunk_blocks;

	layout.entries = creation->parent
				 ? chunks * (layout.chunk_blocks + 1)
				 : layout.blocks + (layout.blocks - 1) / layout.chunk_blocks;
	layout.table_bytes = ALIGN_UP(layout.entries * sizeof(le64), VHDX_UNIT);
	layout.data_at = TABLE_AT + layout.table_bytes;
	return layout;
}

static void fill_entries(const struct creation *creation, const struct layout *layout,
			 uint64_t first, uint32_t count, le64 *entries)
{
	for (uint32_t i = 0; i < count; i++) {
		uint64_t index = first + i, stride = layout->chunk_blocks + 1;
		uint64_t block = index / stride * layout->chunk_blocks + index % stride;

		entries[i] = index % stride == layout->chunk_blocks
				     ? VHDX_BLOCK_NOT_PRESENT
				     : (layout->data_at + block * creation->block_bytes) |
					       VHDX_BLOCK_FULLY_PRESENT;
	}
}

static int write_full_table(const struct creation *creation, const struct layout *layout)
{
	le64 *entries = malloc(ENTRIES * sizeof(*entries));
	int r = entries ? 0 : -ENOMEM;

	for (uint64_t at = 0; !r && at < layout->entries; at += ENTRIES) {
		uint32_t count = MIN(layout->entries - at, ENTRIES);

		fill_entries(creation, layout, at, count, entries);
		r = file_write(creation->fd, TABLE_AT + at * sizeof(*entries), entries,
			       count * sizeof(*entries));
	}
	free(entries);
	return r;
}

static int make_room(const struct creation *creation, const struct layout *layout)
{
	uint64_t data = creation_is_fixed(creation) ? layout->blocks * creation->block_bytes : 0;

	if (ftruncate(creation->fd, layout->data_at + data) < 0)
		return -errno;
	if (data && creation->options->preallocate &&
	    fallocate(creation->fd, 0, layout->data_at, data) < 0)
		return -errno;
	return creation_is_fixed(creation) ? write_full_table(creation, layout) : 0;
}

/* --- the first MiB --- */

static int write_headers(const struct creation *creation)
{
	struct vhdx_header header = {.version = VHDX_VERSION,
				     .log_version = VHDX_LOG_VERSION,
				     .log_length = VHDX_UNIT,
				     .log_offset = LOG_AT};
	int r = 0;

	guid_random(&header.file_write_guid);
	guid_random(&header.data_write_guid);
	for (uint32_t i = 0; !r && i < 2; i++) {
		header.sequence_number = i + 1;
		vhdx_seal_header(&header);
		r = file_write(creation->fd, VHDX_HEADER_AT + i * VHDX_COPY_STRIDE, &header,
			       sizeof(header));
	}
	return r;
}

static int write_regions(const struct creation *creation, const struct layout *layout)
{
	uint8_t *table = calloc(1, VHDX_REGIONS_BYTES);
	struct vhdx_region_table_header *header = (void *)table;
	struct vhdx_region *region = (void *)(header + 1);
	int r = table ? 0 : -ENOMEM;

	if (r)
		return r;
	memcpy(header->signature, VHDX_REGIONS_SIGNATURE, sizeof(header->signature));
	header->entry_count = 2;
	region[0] = (struct vhdx_region){.guid = VHDX_REGION_BAT,
					 .file_offset = TABLE_AT,
					 .length = layout->table_bytes,
					 .flags = VHDX_REGION_REQUIRED};
	region[1] = (struct vhdx_region){.guid = VHDX_REGION_METADATA,
					 .file_offset = METADATA_AT,
					 .length = TABLE_AT - METADATA_AT,
					 .flags = VHDX_REGION_REQUIRED};
	header->checksum = crc32c_with_hole(table, VHDX_REGIONS_BYTES,
					    offsetof(struct vhdx_region_table_header, checksum));
	for (uint32_t i = 0; !r && i < 2; i++)
		r = file_write(creation->fd, VHDX_REGIONS_AT + i * VHDX_COPY_STRIDE, table,
			       VHDX_REGIONS_BYTES);
	free(table);
	return r;
}

static int write_identifier(const struct creation *creation)
{
	struct vhdx_identifier identifier = {};

	memcpy(identifier.signature, VHDX_SIGNATURE, sizeof(identifier.signature));
	utf16_from_utf8(CREATOR, identifier.creator, VHDX_CREATOR_UNITS);
	return file_write(creation->fd, VHDX_IDENTIFIER_AT, &identifier, sizeof(identifier));
}

static int fill(struct creation *creation)
{
	struct layout layout = lay_out(creation);
	int r;

	if (!creation->physical_sector)
		creation->physical_sector = PHYSICAL_SECTOR;
	r = make_room(creation, &layout);
	if (!r)
		r = write_metadata(creation);
	if (!r)
		r = write_regions(creation, &layout);
	if (!r)
		r = write_headers(creation);
	if (!r)
		r = file_sync(creation->fd);
	return r ? r : write_identifier(creation);
}

static bool is_sector_size(uint32_t bytes)
{
	return bytes == 512 || bytes == 4096;
}

static int check(const struct creation *creation)
{
	const char *path = creation->path;

	if (!is_sector_size(creation->logical_sector) ||
	    (creation->physical_sector && !is_sector_size(creation->physical_sector)))
		return disk_fail(creation->error, -EINVAL,
				 "%s: the sectors of a VHDX have 512 or 4096 bytes", path);
	if (creation->bytes > VHDX_MAX_BYTES)
		return disk_fail(creation->error, -EINVAL, "%s: a VHDX has 64 TiB at most", path);
	if (creation->block_bytes & (creation->block_bytes - 1) ||
	    creation->block_bytes < VHDX_MIN_BLOCK_BYTES ||
	    creation->block_bytes > VHDX_MAX_BLOCK_BYTES)
		return disk_fail(creation->error, -EINVAL,
				 "%s: the block size of a VHDX is a power of two from 1 MiB to 256 "
				 "MiB",
				 path);
	return 0;
}

const struct creator vhdx_creator = {.driver = &vhdx_driver,
				     .block_bytes = 32 * MIB,
				     .child_block_bytes = 2 * MIB,
				     .check = check,
				     .fill = fill};

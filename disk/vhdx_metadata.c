/*
 * vhdx_metadata.c - the metadata items of a VHDX, and its parent locator
 *
 * A table of items, found by GUID. Those we know are read, each once; unknown ones are skipped,
 * unless they are required and the system's. Nothing here has a checksum, so it is the sizes and
 * ranges that are checked.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "utf16.h"
#include "vhdx_internal.h"

#define MAX_LOCATOR_BYTES (64 * KIB)

/* What the items say. */
struct items {
	struct vhdx_file_parameters parameters;
	le64 disk_size;
	struct guid disk_id;
	le32 logical_sector, physical_sector;
};

static const struct item {
	struct guid guid;
	const char *name;
	uint32_t offset, bytes; /* in struct items; 0: the parent locator */
} known_items[] = {
	{VHDX_ITEM_FILE_PARAMETERS, "file parameters", offsetof(struct items, parameters), 8},
	{VHDX_ITEM_DISK_SIZE, "disk size", offsetof(struct items, disk_size), 8},
	{VHDX_ITEM_DISK_ID, "disk identity", offsetof(struct items, disk_id), 16},
	{VHDX_ITEM_LOGICAL_SECTOR, "logical sector", offsetof(struct items, logical_sector), 4},
	{VHDX_ITEM_PHYSICAL_SECTOR, "physical sector", offsetof(struct items, physical_sector), 4},
	{VHDX_ITEM_PARENT_LOCATOR, "parent locator", 0, 0},
};
#define LOCATOR (ARRAY_SIZE(known_items) - 1)

struct loader {
	struct image *image;
	uint8_t *table;
	uint64_t at[ARRAY_SIZE(known_items)]; /* in the file; 0: missing */
	uint32_t locator_bytes;
	struct items items;
	struct disk_error *error;
};

/* --- the table --- */

static int read_item(struct loader *loader, uint32_t index, const struct vhdx_metadata_entry *entry,
		     uint64_t at)
{
	const struct image *image = loader->image;
	const struct item *item = &known_items[index];
	int r;

	if (loader->at[index])
		return vhdx_damaged(image, loader->error, at, "a second %s item", item->name);
	if (index == LOCATOR ? !entry->length || entry->length > MAX_LOCATOR_BYTES
			     : entry->length != item->bytes)
		return vhdx_damaged(image, loader->error, at, "a %s item of %" PRIu32 " bytes",
				    item->name, entry->length);
	loader->at[index] = image->vhdx->metadata_offset + entry->offset;
	if (index == LOCATOR) {
		loader->locator_bytes = entry->length;
		return 0;
	}
	r = vhdx_read(image, loader->at[index], (char *)&loader->items + item->offset, item->bytes);
	if (r < 0)
		return disk_fail(loader->error, r, "%s: cannot read its %s: %s", image->path,
				 item->name, strerror(-r));
	return 0;
}

static int take_entry(struct loader *loader, const struct vhdx_metadata_entry *entry, uint64_t at)
{
	const struct image *image = loader->image;
	char text[GUID_TEXT_BYTES];

	if (entry->length &&
	    (entry->offset < VHDX_METADATA_TABLE_BYTES || entry->length > VHDX_MAX_ITEM_BYTES ||
	     entry->offset > image->vhdx->metadata_bytes ||
	     entry->length > image->vhdx->metadata_bytes - entry->offset))
		return vhdx_damaged(image, loader->error, at,
				    "a metadata item of %" PRIu32 " bytes at %" PRIu32
				    ", outside its region",
				    entry->length, entry->offset);
	for (uint32_t i = 0; i < ARRAY_SIZE(known_items) && !(entry->flags & VHDX_ITEM_USER); i++) {
		if (guid_equal(&entry->guid, &known_items[i].guid))
			return read_item(loader, i, entry, at);
	}
	if (entry->flags & VHDX_ITEM_REQUIRED)
		return disk_fail(loader->error, -ENOTSUP,
				 "%s: needs an unknown metadata item, %s (at byte %" PRIu64
				 " of the file)",
				 image->path, guid_format(&entry->guid, text), at);
	return 0;
}

static int read_table(struct loader *loader)
{
	const struct vhdx_metadata_header *header = (const void *)loader->table;
	const struct vhdx_metadata_entry *entries = (const void *)(header + 1);
	const struct image *image = loader->image;
	uint64_t at = image->vhdx->metadata_offset;
	int r = vhdx_read(image, at, loader->table, VHDX_METADATA_TABLE_BYTES);

	if (r < 0)
		return disk_fail(loader->error, r, "%s: cannot read its metadata: %s", image->path,
				 strerror(-r));
	if (memcmp(header->signature, VHDX_METADATA_SIGNATURE, sizeof(header->signature)) ||
	    header->entry_count > VHDX_MAX_METADATA)
		return vhdx_damaged(image, loader->error, at,
				    "there is no metadata table where its region table says");
	for (uint32_t i = 0; !r && i < header->entry_count; i++)
		r = take_entry(loader, &entries[i],
			       at + sizeof(*header) + i * sizeof(struct vhdx_metadata_entry));
	return r;
}

/* --- what the items say --- */

static bool is_sector_size(uint32_t bytes)
{
	return bytes == 512 || bytes == 4096;
}

static int check_items(const struct loader *loader)
{
	const struct items *items = &loader->items;
	const struct image *image = loader->image;
	uint32_t block = items->parameters.block_size;

	for (uint32_t i = 0; i < LOCATOR; i++) {
		if (!loader->at[i])
			return vhdx_damaged(image, loader->error, image->vhdx->metadata_offset,
					    "its metadata have no %s", known_items[i].name);
	}
	if (block & (block - 1) || block < VHDX_MIN_BLOCK_BYTES || block > VHDX_MAX_BLOCK_BYTES)
		return vhdx_damaged(image, loader->error, loader->at[0],
				    "a block size of %" PRIu32
				    " bytes; powers of two from 1 MiB to 256 MiB are possible",
				    block);
	if (!is_sector_size(items->logical_sector) || !is_sector_size(items->physical_sector))
		return vhdx_damaged(image, loader->error, loader->at[3],
				    "sectors of %" PRIu32 " bytes, physical %" PRIu32
				    "; 512 and 4096 are possible",
				    items->logical_sector, items->physical_sector);
	if (!items->disk_size || items->disk_size % items->logical_sector ||
	    items->disk_size > VHDX_MAX_BYTES)
		return vhdx_damaged(image, loader->error, loader->at[1],
				    "a disk size of %" PRIu64
				    " bytes, which is no number of sectors up to 64 TiB",
				    items->disk_size);
	if (items->parameters.flags & VHDX_HAS_PARENT && !loader->at[LOCATOR])
		return vhdx_damaged(image, loader->error, loader->at[0],
				    "it has a parent, but does not say where");
	return 0;
}

static void use_items(const struct loader *loader)
{
	const struct items *items = &loader->items;
	struct image *image = loader->image;
	struct blocks *blocks = &image->vhdx->blocks;

	image->bytes = items->disk_size;
	image->id = items->disk_id;
	image->logical_sector = items->logical_sector;
	image->physical_sector = items->physical_sector;
	image->differencing = items->parameters.flags & VHDX_HAS_PARENT;
	image->format = image->differencing ? DISK_VHDX_DIFFERENCING
			: items->parameters.flags & VHDX_LEAVE_BLOCKS_ALLOCATED ? DISK_VHDX_FIXED
										: DISK_VHDX_DYNAMIC;
	blocks->block_bytes = items->parameters.block_size;
	blocks->block_shift = __builtin_ctz(blocks->block_bytes);
	blocks->block_count = (image->bytes + blocks->block_bytes - 1) >> blocks->block_shift;
	blocks->place_shift = __builtin_ctzll(VHDX_UNIT);
	blocks->sector_shift = __builtin_ctz(image->logical_sector);
	blocks->unit_shift = __builtin_ctz(VHDX_BITMAP_PAGE_BITS);
	blocks->bitmap_bytes = VHDX_BITMAP_PAGE;
}

/* --- the parent locator --- */

struct locator {
	const uint8_t *bytes;
	uint32_t count;
};

static char *locator_text(const struct locator *locator, uint32_t offset, uint32_t length)
{
	size_t room = UTF16_TO_UTF8_BYTES(length / 2);
	char *text = malloc(room);

	if (text)
		utf16_to_utf8(locator->bytes + offset, length / 2, text, room);
	return text;
}

static void take_value(struct vhdx *vhdx, const char *key, char **value)
{
	const struct {
		const char *key;
		char **text;
		struct guid *guid;
	} values[] = {{"relative_path", &vhdx->relative_path, NULL},
		      {"absolute_win32_path", &vhdx->absolute_path, NULL},
		      {"volume_path", &vhdx->volume_path, NULL},
		      {"parent_linkage", NULL, &vhdx->linkage},
		      {"parent_linkage2", NULL, &vhdx->linkage2}};

	for (size_t i = 0; i < ARRAY_SIZE(values); i++) {
		if (strcmp(values[i].key, key))
			continue;
		if (values[i].guid)
			guid_parse(*value, values[i].guid);
		else if (!*values[i].text)
			*values[i].text = TAKE(*value);
	}
}

static bool lies_in(const struct locator *locator, uint32_t offset, uint32_t length)
{
	return offset <= locator->count && length <= locator->count - offset;
}

static int take_pair(struct vhdx *vhdx, const struct locator *locator,
		     const struct vhdx_locator_entry *entry)
{
	char *key, *value;
	int r = 0;

	if (!lies_in(locator, entry->key_offset, entry->key_length) ||
	    !lies_in(locator, entry->value_offset, entry->value_length))
		return -EBADMSG;
	key = locator_text(locator, entry->key_offset, entry->key_length);
	value = locator_text(locator, entry->value_offset, entry->value_length);
	if (key && value)
		take_value(vhdx, key, &value);
	else
		r = -ENOMEM;
	free(key);
	free(value);
	return r;
}

/* Keys may come twice, and values in each other: what counts is that all lies inside. */
static int parse_locator(struct vhdx *vhdx, const struct locator *locator)
{
	static const struct guid type = VHDX_PARENT_LOCATOR_TYPE;
	const struct vhdx_parent_locator *header = (const void *)locator->bytes;
	const struct vhdx_locator_entry *entry = (const void *)(header + 1);
	int r = 0;

	if (locator->count < sizeof(*header) || !guid_equal(&header->type, &type) ||
	    !lies_in(locator, sizeof(*header), header->count * sizeof(*entry)))
		return -EBADMSG;
	/* Five are known; a hostile image could have each of 5000 entries name 64 KiB. */
	for (uint32_t i = 0; !r && i < MIN(header->count, 64u); i++)
		r = take_pair(vhdx, locator, &entry[i]);
	return r;
}

static int read_locator(const struct loader *loader)
{
	const struct image *image = loader->image;
	uint64_t at = loader->at[LOCATOR];
	uint8_t *bytes = malloc(loader->locator_bytes);
	struct locator locator = {bytes, loader->locator_bytes};
	int r = bytes ? vhdx_read(image, at, bytes, loader->locator_bytes) : -ENOMEM;

	if (!r)
		r = parse_locator(image->vhdx, &locator);
	free(bytes);
	if (r == -EBADMSG)
		return vhdx_damaged(image, loader->error, at, "its parent locator");
	if (r < 0)
		return disk_fail(loader->error, r, "%s: cannot read its parent locator: %s",
				 image->path, strerror(-r));
	return 0;
}

int vhdx_load_metadata(struct image *image, struct disk_error *ret_error)
{
	struct loader loader = {.image = image, .error = ret_error};
	int r;

	loader.table = malloc(VHDX_METADATA_TABLE_BYTES);
	if (!loader.table)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", image->path);
	r = read_table(&loader);
	free(loader.table);
	if (!r)
		r = check_items(&loader);
	if (r < 0)
		return r;
	use_items(&loader);
	return image->differencing ? read_locator(&loader) : 0;
}

/* --- parents --- */

/* "\\?\C:\images\base.vhdx": with slashes, and without what only Windows needs. */
static char *plain_path(const char *path)
{
	char *plain;

	if (!strncmp(path, "\\\\?\\", 4))
		path += 4;
	plain = strdup(path);
	for (char *at = plain; at && *at; at++) {
		if (*at == '\\')
			*at = '/';
	}
	return plain;
}

void vhdx_parent_hints(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	const struct vhdx *vhdx = child->vhdx;
	const struct {
		const char *path;
		bool relative;
	} paths[] = {{vhdx->relative_path, true},
		     {vhdx->absolute_path, false},
		     {vhdx->volume_path, false}};

	for (size_t i = 0; i < ARRAY_SIZE(paths); i++) {
		char *path = paths[i].path ? plain_path(paths[i].path) : NULL;

		if (path && paths[i].relative && path[0] != '/')
			hint(ctx, PARENT_RELATIVE, path);
		if (path && !paths[i].relative && path[0] == '/')
			hint(ctx, PARENT_ABSOLUTE, path);
		if (path)
			hint(ctx, PARENT_NAME, path);
		free(path);
	}
}

int vhdx_check_parent(const struct image *child, const struct image *parent,
		      struct disk_error *ret_error)
{
	static const struct guid none;
	const struct vhdx *vhdx = child->vhdx;

	if (parent->driver != &vhdx_driver || guid_equal(&parent->link, &none) ||
	    (!guid_equal(&parent->link, &vhdx->linkage) &&
	     !guid_equal(&parent->link, &vhdx->linkage2)))
		return -ESTALE;
	if (parent->logical_sector != child->logical_sector)
		return vhdx_damaged(child, ret_error, vhdx->metadata_offset,
				    "its sectors have %" PRIu32 " bytes, its parent's %" PRIu32,
				    child->logical_sector, parent->logical_sector);
	return 0;
}

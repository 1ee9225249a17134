/*
 * vhdx_table.c - the block allocation table of a VHDX, read and checked
 *
 * The table holds an entry for each block, and after each chunk's blocks one for the sector bitmap
 * block of that chunk. It is read once, when the image is opened; where its file has holes, which
 * is most of it for a large and empty disk, nothing is read. Everything the image refers to
 * (regions, log, blocks, bitmap blocks) is entered in a map of the file's MiB, so that two claims
 * to one of them are found.
 *
 * In memory the states are those of blocks.h. Where there is no parent, not present, undefined,
 * zero and unmapped all mean that zeros are read, and are absent. Space that such entries reserve
 * is not used again.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "vhdx_internal.h"

#define READ_ENTRIES 16384u

struct loader {
	struct image *image;
	struct disk_error *error;
	uint64_t *used;	      /* a bit for each MiB of the file */
	uint64_t file_places; /* how many MiB it has */
	uint8_t *partial;     /* of each chunk: has it a partially present block? */
	le64 *entries;
	uint64_t entry_count;
	bool outside; /* some block reaches past the end of the file */
};

/* --- who has which MiB --- */

/* False: some of them were taken already. */
static bool take(struct loader *loader, uint64_t first, uint64_t count)
{
	bool taken = false;

	for (uint64_t at = first; at < first + count;) {
		uint64_t bit = at % 64, some = MIN(64 - bit, first + count - at);
		uint64_t mask = (some == 64 ? UINT64_MAX : BIT(some) - 1) << bit;

		taken |= loader->used[at / 64] & mask;
		loader->used[at / 64] |= mask;
		at += some;
	}
	loader->image->vhdx->used_end = MAX(loader->image->vhdx->used_end, (first + count) * MIB);
	return !taken;
}

static int take_structure(struct loader *loader, uint64_t offset, uint64_t bytes, uint64_t at)
{
	/* The last MiB of the file may be incomplete; the ranges were checked to lie in it. */
	if (take(loader, offset / VHDX_UNIT, bytes / VHDX_UNIT))
		return 0;
	return vhdx_damaged(loader->image, loader->error, at,
			    "its log and regions share byte %" PRIu64 " of the file", offset);
}

static int take_structures(struct loader *loader)
{
	const struct vhdx *vhdx = loader->image->vhdx;
	const struct vhdx_region_table_header *header = (const void *)vhdx->regions;
	const struct vhdx_region *region = (const void *)(header + 1);
	uint64_t at = VHDX_REGIONS_AT + sizeof(*header);
	int r;

	take(loader, 0, 1);
	r = take_structure(loader, vhdx->log_offset, vhdx->log_bytes, VHDX_HEADER_AT);
	for (uint32_t i = 0; !r && i < header->entry_count; i++)
		r = take_structure(loader, region[i].file_offset, region[i].length,
				   at + i * sizeof(*region));
	return r;
}

/* A block, or bitmap block, that an entry says to be in the file. @at: of the entry. */
static int take_block(struct loader *loader, uint64_t entry, uint64_t bytes, uint64_t at)
{
	struct image *image = loader->image;
	uint64_t first = entry / VHDX_UNIT, count = bytes / VHDX_UNIT;
	uint64_t offset = first * VHDX_UNIT;

	if (first + count > loader->file_places) {
		loader->outside = true;
		if (image->read_only && first < VHDX_MAX_PLACES - count)
			return 0;
		return vhdx_damaged(image, loader->error, at,
				    "a block at byte %" PRIu64
				    ", which reaches past the end of the file; it can still be "
				    "opened read-only",
				    offset);
	}
	if (!take(loader, first, count))
		return vhdx_damaged(image, loader->error, at,
				    "a block at byte %" PRIu64
				    ", which belongs to something else already",
				    offset);
	return 0;
}

/* --- entries --- */

static int bad_entry(struct loader *loader, uint64_t entry, uint64_t at)
{
	return vhdx_damaged(loader->image, loader->error, at,
			    "0x%016" PRIx64 " is no entry of its block table", entry);
}

static int set_block(struct loader *loader, uint32_t block, uint32_t place)
{
	struct blocks *blocks = &loader->image->vhdx->blocks;

	if (table_reserve(blocks, block) < 0)
		return disk_fail(loader->error, -ENOMEM, "%s: no memory for its block table",
				 loader->image->path);
	table_set(blocks, block, place);
	return 0;
}

/* Space that is only reserved may be anybody's; but it is not beyond the end of what is in use. */
static void note_reserved(struct loader *loader, uint64_t entry)
{
	struct vhdx *vhdx = loader->image->vhdx;
	uint64_t end = (entry & VHDX_BAT_OFFSET) + vhdx->blocks.block_bytes;

	if (entry & VHDX_BAT_OFFSET && end <= loader->file_places * MIB)
		vhdx->used_end = MAX(vhdx->used_end, end);
}

static int load_block(struct loader *loader, uint32_t block, uint64_t entry, uint64_t at)
{
	struct image *image = loader->image;
	struct vhdx *vhdx = image->vhdx;
	int r;

	switch (entry & VHDX_BAT_STATE) {
	case VHDX_BLOCK_NOT_PRESENT: note_reserved(loader, entry); return 0;
	case VHDX_BLOCK_UNDEFINED:
	case VHDX_BLOCK_ZERO:
	case VHDX_BLOCK_UNMAPPED:
		note_reserved(loader, entry);
		return image->differencing ? set_block(loader, block, BLOCK_ZERO) : 0;
	case VHDX_BLOCK_FULLY_PRESENT: break;
	case VHDX_BLOCK_PARTIALLY_PRESENT:
		if (!image->differencing)
			return bad_entry(loader, entry, at);
		loader->partial[block / vhdx->chunk_blocks] = true;
		break;
	default: return bad_entry(loader, entry, at);
	}
	r = take_block(loader, entry, vhdx->blocks.block_bytes, at);
	if (!r)
		r = set_block(loader, block, entry / VHDX_UNIT);
	if (!r && (entry & VHDX_BAT_STATE) == VHDX_BLOCK_FULLY_PRESENT)
		table_set_full(&vhdx->blocks, block);
	return r;
}

static int load_bitmap_block(struct loader *loader, uint32_t chunk, uint64_t entry, uint64_t at)
{
	struct vhdx *vhdx = loader->image->vhdx;
	int r;

	if ((entry & VHDX_BAT_STATE) == VHDX_BLOCK_NOT_PRESENT)
		return 0;
	if ((entry & VHDX_BAT_STATE) != VHDX_BLOCK_FULLY_PRESENT)
		return bad_entry(loader, entry, at);
	r = take_block(loader, entry, VHDX_UNIT, at);
	if (!r && vhdx->chunk_places)
		vhdx->chunk_places[chunk] = entry / VHDX_UNIT;
	return r;
}

static int load_entry(struct loader *loader, uint64_t index, uint64_t entry)
{
	const struct vhdx *vhdx = loader->image->vhdx;
	uint64_t chunk = index / (vhdx->chunk_blocks + 1);
	uint32_t within = index % (vhdx->chunk_blocks + 1);
	uint64_t block = chunk * vhdx->chunk_blocks + within;
	uint64_t at = vhdx->bat_offset + index * sizeof(le64);

	if (entry & VHDX_BAT_RESERVED)
		return bad_entry(loader, entry, at);
	if (within == vhdx->chunk_blocks)
		return load_bitmap_block(loader, chunk, entry, at);
	return block < vhdx->blocks.block_count ? load_block(loader, block, entry, at) : 0;
}

/* --- the table --- */

/* The first entry from @index on that is not in a hole of the file. */
static uint64_t skip_hole(const struct loader *loader, uint64_t index)
{
	const struct image *image = loader->image;
	off_t at;

	if (image->vhdx->log.bytes)
		return index;
	at = lseek(image->fd, image->vhdx->bat_offset + index * sizeof(le64), SEEK_DATA);
	if (at < 0)
		return errno == ENXIO ? loader->entry_count : index;
	return ((uint64_t)at - image->vhdx->bat_offset) / sizeof(le64);
}

static int load_entries(struct loader *loader)
{
	const struct image *image = loader->image;
	uint64_t index = skip_hole(loader, 0);

	while (index < loader->entry_count) {
		uint32_t count = MIN(loader->entry_count - index, READ_ENTRIES);
		int r = vhdx_read(image, image->vhdx->bat_offset + index * sizeof(le64),
				  loader->entries, count * sizeof(le64));

		if (r < 0)
			return disk_fail(loader->error, r == -ENODATA ? -EBADMSG : r,
					 "%s: cannot read its block table: %s", image->path,
					 strerror(-r));
		for (uint32_t i = 0; i < count; i++) {
			r = loader->entries[i] ? load_entry(loader, index + i, loader->entries[i])
					       : 0;
			if (r < 0)
				return r;
		}
		index = skip_hole(loader, index + count);
	}
	return 0;
}

static int check_bitmap_blocks(struct loader *loader)
{
	const struct vhdx *vhdx = loader->image->vhdx;

	for (uint32_t chunk = 0; chunk < vhdx->chunk_count; chunk++) {
		if (loader->partial[chunk] && !vhdx->chunk_places[chunk])
			return vhdx_damaged(loader->image, loader->error,
					    vhdx->bat_offset +
						    vhdx_bitmap_index(vhdx, chunk) * sizeof(le64),
					    "a partially present block, and no bitmap for it");
	}
	return 0;
}

/* The geometry of the table; that it fits its region. */
static int measure(struct loader *loader)
{
	struct image *image = loader->image;
	struct vhdx *vhdx = image->vhdx;
	const struct blocks *blocks = &vhdx->blocks;
	uint64_t file_bytes = MAX(image->file_bytes, vhdx->log.file_bytes);

	vhdx->chunk_blocks = VHDX_CHUNK_SECTORS >> (blocks->block_shift - blocks->sector_shift);
	vhdx->chunk_count = (blocks->block_count + vhdx->chunk_blocks - 1) / vhdx->chunk_blocks;
	loader->entry_count = image->differencing
				      ? (uint64_t)vhdx->chunk_count * (vhdx->chunk_blocks + 1)
				      : vhdx_bat_index(vhdx, blocks->block_count - 1) + 1;
	loader->file_places = MIN((file_bytes + VHDX_UNIT - 1) / VHDX_UNIT, VHDX_MAX_PLACES);
	if (loader->entry_count * sizeof(le64) > vhdx->bat_bytes)
		return vhdx_damaged(image, loader->error, vhdx->bat_offset,
				    "a block table of %" PRIu32 " bytes for %" PRIu64 " entries",
				    vhdx->bat_bytes, loader->entry_count);
	if (MAX(vhdx->bat_offset + vhdx->bat_bytes, vhdx->log_offset + vhdx->log_bytes) >
	    VHDX_MAX_PLACES * VHDX_UNIT)
		return disk_fail(loader->error, -EFBIG, "%s: a file of more than 256 TiB",
				 image->path);
	return 0;
}

static int allocate(struct loader *loader)
{
	struct image *image = loader->image;
	struct vhdx *vhdx = image->vhdx;

	/* Regions nobody knows may lie anywhere in the file. */
	loader->used = calloc(loader->file_places / 64 + 1, sizeof(*loader->used));
	loader->partial = calloc(vhdx->chunk_count, 1);
	loader->entries = malloc(READ_ENTRIES * sizeof(*loader->entries));
	if (image->differencing)
		vhdx->chunk_places = calloc(vhdx->chunk_count, sizeof(*vhdx->chunk_places));
	if (!loader->used || !loader->partial || !loader->entries ||
	    (image->differencing && !vhdx->chunk_places) ||
	    blocks_init(&vhdx->blocks, vhdx->blocks.block_count) < 0)
		return disk_fail(loader->error, -ENOMEM, "%s: no memory for its block table",
				 image->path);
	return 0;
}

int vhdx_load_table(struct image *image, struct disk_error *ret_error)
{
	struct loader loader = {.image = image, .error = ret_error};
	int r = measure(&loader);

	if (!r)
		r = allocate(&loader);
	if (!r)
		r = take_structures(&loader);
	if (!r)
		r = load_entries(&loader);
	if (!r && image->differencing)
		r = check_bitmap_blocks(&loader);
	if (!r && loader.outside)
		log_warning("%s: some blocks reach past the end of the file; reading them fails",
			    image->path);
	free(loader.used);
	free(loader.partial);
	free(loader.entries);
	return r;
}

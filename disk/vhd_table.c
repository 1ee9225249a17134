/*
 * vhd_table.c - the block allocation table of a VHD, read and checked
 *
 * It is read once, when the image is opened: every entry is checked to lie inside the file, clear
 * of the metadata and of every other block.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "vhd_internal.h"

#define READ_ENTRIES 16384u

/* Bytes [from, to) of the file that no block may touch. */
struct extent {
	uint64_t from, to;
};

struct loader {
	struct image *image;
	struct extent taken[3 + VHD_LOCATORS];
	size_t taken_count;
	uint32_t *sectors; /* of allocated blocks, in the table's order, for the overlap check */
	size_t count, room;
	bool outside; /* some block reaches past the end of the file */
};

static void take_extent(struct loader *loader, uint64_t from, uint64_t bytes)
{
	loader->taken[loader->taken_count++] = (struct extent){from, from + bytes};
}

/* Extents were checked to lie in the file when the header was. */
static void take_metadata(struct loader *loader)
{
	const struct vhd *vhd = loader->image->vhd;

	take_extent(loader, 0, VHD_FOOTER_BYTES);
	take_extent(loader, be64toh(vhd->footer.data_offset), sizeof(vhd->header));
	take_extent(loader, vhd->table_offset, (uint64_t)vhd->blocks.block_count * sizeof(be32));
	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *locator = &vhd->header.locators[i];

		if (be32toh(locator->platform) && loader->image->format == DISK_VHD_DIFFERENCING)
			take_extent(loader, be64toh(locator->offset), be32toh(locator->length));
	}
}

static bool touches_metadata(const struct loader *loader, uint64_t from, uint64_t to)
{
	for (size_t i = 0; i < loader->taken_count; i++) {
		if (from < loader->taken[i].to && loader->taken[i].from < to)
			return true;
	}
	return false;
}

static int remember(struct loader *loader, uint32_t sector)
{
	if (loader->count == loader->room) {
		size_t room = loader->room ? loader->room * 2 : 1024;
		uint32_t *sectors = reallocarray(loader->sectors, room, sizeof(*sectors));

		if (!sectors)
			return -ENOMEM;
		loader->sectors = sectors;
		loader->room = room;
	}
	loader->sectors[loader->count++] = sector;
	return 0;
}

static int load_entry(struct loader *loader, uint32_t block, uint32_t sector,
		      struct disk_error *ret_error)
{
	struct image *image = loader->image;
	struct vhd *vhd = image->vhd;
	uint64_t from = (uint64_t)sector * VHD_SECTOR;
	uint64_t to = from + vhd->blocks.bitmap_bytes + vhd->blocks.block_bytes;
	int r;

	if (sector >= BLOCK_PLACES || touches_metadata(loader, from, to))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: block %" PRIu32 " lies on the image's own metadata",
				 image->path, block);
	if (to > vhd->blocks.end) {
		loader->outside = true;
		if (!image->read_only)
			return disk_fail(ret_error, -EBADMSG,
					 "%s: damaged: block %" PRIu32
					 " reaches past the end of the "
					 "file; it can still be opened read-only",
					 image->path, block);
	}
	r = remember(loader, sector);
	if (!r)
		r = table_reserve(&vhd->blocks, block);
	if (r < 0)
		return disk_fail(ret_error, r, "%s: no memory for its block table", image->path);
	table_set(&vhd->blocks, block, sector);
	return 0;
}

static int load_entries(struct loader *loader, be32 *entries, struct disk_error *ret_error)
{
	const struct vhd *vhd = loader->image->vhd;
	uint32_t count;
	int r;

	for (uint32_t block = 0; block < vhd->blocks.block_count; block += count) {
		count = MIN(vhd->blocks.block_count - block, READ_ENTRIES);
		r = file_read(loader->image->fd, vhd->table_offset + block * sizeof(be32), entries,
			      count * sizeof(be32));
		if (r < 0)
			return disk_fail(ret_error, r == -ENODATA ? -EBADMSG : r,
					 "%s: cannot read its block table: %s", loader->image->path,
					 strerror(-r));
		for (uint32_t i = 0; i < count; i++) {
			if (entries[i] == VHD_UNALLOCATED)
				continue;
			r = load_entry(loader, block + i, be32toh(entries[i]), ret_error);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* One pass of a radix sort, over 11 bits. */
static void sort_pass(const uint32_t *from, uint32_t *to, size_t count, unsigned int shift)
{
	size_t at[2048] = {}, sum = 0;

	for (size_t i = 0; i < count; i++)
		at[from[i] >> shift & 2047]++;
	for (size_t i = 0; i < ARRAY_SIZE(at); i++) {
		size_t here = at[i];

		at[i] = sum;
		sum += here;
	}
	for (size_t i = 0; i < count; i++)
		to[at[from[i] >> shift & 2047]++] = from[i];
}

static int sort_sectors(struct loader *loader)
{
	uint32_t *other = reallocarray(NULL, loader->count, sizeof(*other)), *result;

	if (!other)
		return -ENOMEM;
	sort_pass(loader->sectors, other, loader->count, 0);
	sort_pass(other, loader->sectors, loader->count, 11);
	sort_pass(loader->sectors, other, loader->count, 22);
	result = other;
	free(loader->sectors);
	loader->sectors = result;
	return 0;
}

static int check_overlap(struct loader *loader, struct disk_error *ret_error)
{
	const struct vhd *vhd = loader->image->vhd;
	uint32_t span = (vhd->blocks.bitmap_bytes + vhd->blocks.block_bytes) / VHD_SECTOR;

	if (!loader->count)
		return 0;
	if (sort_sectors(loader) < 0)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory to check its block table",
				 loader->image->path);
	for (size_t i = 1; i < loader->count; i++) {
		if (loader->sectors[i] - loader->sectors[i - 1] < span)
			return disk_fail(ret_error, -EBADMSG,
					 "%s: damaged: two blocks share sector %" PRIu32
					 " of the file",
					 loader->image->path, loader->sectors[i]);
	}
	return 0;
}

/* With its tail lost, the file's content ends where its last block or metadata does. */
static void find_end(struct loader *loader)
{
	struct vhd *vhd = loader->image->vhd;
	uint64_t span = vhd->blocks.bitmap_bytes + vhd->blocks.block_bytes, end = 0;
	struct vhd_batmap_header batmap;
	uint64_t after_table = ALIGN_UP(vhd->table_offset + vhd->blocks.block_count * sizeof(be32),
					(uint64_t)VHD_SECTOR);

	for (size_t i = 0; i < loader->taken_count; i++)
		end = MAX(end, loader->taken[i].to);
	if (loader->count)
		end = MAX(end, loader->sectors[loader->count - 1] * (uint64_t)VHD_SECTOR + span);
	if (!file_read(loader->image->fd, after_table, &batmap, sizeof(batmap)) &&
	    !memcmp(batmap.cookie, VHD_BATMAP_COOKIE, sizeof(batmap.cookie)) &&
	    be64toh(batmap.offset) < vhd->blocks.end)
		end = MAX(end, MIN(vhd->blocks.end,
				   be64toh(batmap.offset) +
					   be32toh(batmap.sectors) * (uint64_t)VHD_SECTOR));
	vhd->blocks.end = ALIGN_UP(end, (uint64_t)VHD_SECTOR);
}

int vhd_load_table(struct image *image, struct disk_error *ret_error)
{
	struct loader loader = {.image = image};
	struct vhd *vhd = image->vhd;
	be32 *entries = malloc(READ_ENTRIES * sizeof(*entries));
	int r;

	if (!entries || blocks_init(&vhd->blocks, vhd->blocks.block_count) < 0) {
		free(entries);
		return disk_fail(ret_error, -ENOMEM, "%s: no memory for its block table",
				 image->path);
	}
	take_metadata(&loader);
	r = load_entries(&loader, entries, ret_error);
	if (!r)
		r = check_overlap(&loader, ret_error);
	if (!r && loader.outside)
		log_warning("%s: some blocks reach past the end of the file; reading them fails",
			    image->path);
	if (!r && vhd->tail_dirty)
		find_end(&loader);
	free(loader.sectors);
	free(entries);
	return r;
}

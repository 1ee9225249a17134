/*
 * map.c - where the bytes of a disk are: look-ups through the chain of images
 *
 * With the disk's lock. Flat images and those with blocks are looked up here, on the way of every
 * request; only other formats are asked through their driver.
 */
#include <errno.h>

#include "disk_internal.h"

static void run_in_file(struct image *image, uint64_t offset, struct run *run)
{
	run->kind = RUN_FILE;
	run->image = image;
	run->fd = image->fd;
	run->offset = offset;
	run->fill_from = image->fill_from;
}

/* As far as the bits of a partial block are equal. */
static int map_bits(struct disk *disk, struct image *image, uint64_t offset, struct task *task,
		    struct run *run, bool *ret_set)
{
	const struct blocks *blocks = image->blocks;
	uint64_t sector = offset >> blocks->sector_shift;
	uint32_t unit = sector >> blocks->unit_shift, at = sector & (BIT(blocks->unit_shift) - 1);
	uint64_t left = MIN(run->bytes >> blocks->sector_shift, BIT(blocks->unit_shift) - at);
	struct bitmap *bitmap;
	int r = bitmap_get(disk, image, unit, task, &bitmap);

	if (r)
		return r;
	run->bytes = (uint64_t)bitmap_run(bitmap, at, left, ret_set) << blocks->sector_shift;
	return 0;
}

static int map_block(struct disk *disk, struct image *image, uint64_t offset, struct task *task,
		     struct run *run)
{
	const struct blocks *blocks = image->blocks;
	uint32_t block = offset >> blocks->block_shift, place = table_get(blocks, block);
	uint64_t within = offset & (blocks->block_bytes - 1);
	bool set = true;

	run->bytes = MIN(run->bytes, blocks->block_bytes - within);
	run->kind = place == BLOCK_ABSENT ? RUN_PARENT : RUN_ZEROS;
	run->image = image;
	if (place >= BLOCK_PLACES)
		return 0;
	if (!table_is_full(blocks, block)) {
		int r = map_bits(disk, image, offset, task, run, &set);

		if (r)
			return r;
	}
	run->kind = RUN_PARENT;
	if (set)
		run_in_file(image, block_offset(blocks, place) + within, run);
	return 0;
}

static int map_by_driver(struct image *image, uint64_t offset, struct run *run)
{
	run->image = image;
	run->fd = image->fd;
	run->fill_from = UINT64_MAX;
	return image->driver->map(image, offset, run);
}

int map_read(struct disk *disk, uint64_t offset, struct task *task, struct run *run)
{
	struct image *image = disk->top;

	for (; image && offset < image->bytes; image = image->parent) {
		int r;

		run->bytes = MIN(run->bytes, image->bytes - offset);
		if (image->flat) {
			run_in_file(image, offset, run);
			return 0;
		}
		r = image->blocks ? map_block(disk, image, offset, task, run)
				  : map_by_driver(image, offset, run);
		if (r || run->kind != RUN_PARENT)
			return r;
	}
	run->kind = RUN_PARENT;
	run->image = NULL;
	return 0;
}

/* With a bitmap to be set later, only so many may be dirty. */
static int map_partial_block(struct disk *disk, uint64_t offset, struct task *task, struct run *run)
{
	const struct blocks *blocks = disk->top->blocks;
	uint64_t sector = offset >> blocks->sector_shift;
	uint32_t unit = sector >> blocks->unit_shift, at = sector & (BIT(blocks->unit_shift) - 1);
	struct bitmap *bitmap;
	int r = bitmap_get(disk, disk->top, unit, task, &bitmap);

	if (r)
		return r;
	if (!bitmap->dirty && bitmap_too_many_dirty(disk)) {
		commit_join(disk, task, false);
		return WAIT;
	}
	run->bytes = MIN(run->bytes, (BIT(blocks->unit_shift) - at) << blocks->sector_shift);
	bitmap->pins++;
	run->bitmap = bitmap;
	return 0;
}

static int map_absent_write(struct disk *disk, uint32_t block, uint32_t place, bool zeroes,
			    struct task *task, struct run *run)
{
	if (!zeroes || (place == BLOCK_ABSENT && disk->top->differencing))
		return allocate_block(disk, block, task);
	run->kind = RUN_NOTHING;
	return 0;
}

int map_write(struct disk *disk, uint64_t offset, bool zeroes, struct task *task, struct run *run)
{
	struct image *image = disk->top;
	const struct blocks *blocks = image->blocks;
	uint32_t block, place;
	uint64_t within;
	int r = 0;

	if (image->flat) {
		run_in_file(image, offset, run);
		return 0;
	}
	block = offset >> blocks->block_shift;
	within = offset & (blocks->block_bytes - 1);
	run->bytes = MIN(run->bytes, blocks->block_bytes - within);
	place = table_get(blocks, block);
	if (place >= BLOCK_PLACES)
		return map_absent_write(disk, block, place, zeroes, task, run);
	if (unlikely(!image->begun)) {
		commit_join(disk, task, false);
		return WAIT;
	}
	if (!table_is_full(blocks, block))
		r = map_partial_block(disk, offset, task, run);
	if (!r)
		run_in_file(image, block_offset(blocks, place) + within, run);
	return r;
}

/* Only what is in this file can be given up; the rest reads as it did. */
int map_discard(struct disk *disk, uint64_t offset, struct task *task, struct run *run)
{
	struct image *image = disk->top;
	int r;

	if (image->flat) {
		run_in_file(image, offset, run);
		return 0;
	}
	r = map_block(disk, image, offset, task, run);
	if (r)
		return r;
	if (run->kind != RUN_FILE) {
		run->kind = RUN_NOTHING;
		return 0;
	}
	if (unlikely(!image->begun)) {
		commit_join(disk, task, false);
		return WAIT;
	}
	return 0;
}

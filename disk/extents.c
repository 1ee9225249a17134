/*
 * extents.c - what of a disk is data, and where it lies: for tools that copy, compare and show
 */
#include <errno.h>
#include <unistd.h>

#include "disk_internal.h"

/* The file's own position, which these move, is used by nobody else. */

/* The first byte from @offset on that is not in a hole; @none if there is none. */
static uint64_t file_next_data(int fd, uint64_t offset, uint64_t none)
{
	off_t at = lseek(fd, offset, SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? none : offset;
	return at;
}

static uint64_t file_next_hole(int fd, uint64_t offset, uint64_t none)
{
	off_t at = lseek(fd, offset, SEEK_HOLE);

	return at < 0 ? none : (uint64_t)at;
}

/* --- the first byte that may be other than zero --- */

static uint64_t driver_next_data(struct image *image, uint64_t offset)
{
	while (offset < image->bytes) {
		struct run run = {
			.bytes = image->bytes - offset, .fd = image->fd, .fill_from = UINT64_MAX};

		if (image->driver->map(image, offset, &run) || !run.bytes ||
		    (run.kind != RUN_PARENT && run.kind != RUN_ZEROS))
			return offset;
		offset += run.bytes;
	}
	return UINT64_MAX;
}

/* Of what is in this image. */
static uint64_t image_next_data(struct image *image, uint64_t offset)
{
	const struct blocks *blocks = image->blocks;
	uint32_t block;

	if (offset >= image->bytes)
		return UINT64_MAX;
	if (image->flat)
		return MIN(file_next_data(image->fd, offset, image->bytes), image->bytes);
	if (!blocks)
		return driver_next_data(image, offset);
	block = table_next_present(blocks, offset >> blocks->block_shift);
	while (block < blocks->block_count && table_get(blocks, block) == BLOCK_ZERO)
		block = table_next_present(blocks, block + 1);
	if (block >= blocks->block_count)
		return UINT64_MAX;
	return MAX(offset, (uint64_t)block << blocks->block_shift);
}

uint64_t disk_next_data(struct disk *disk, uint64_t offset)
{
	uint64_t next = disk->top->bytes;

	pthread_mutex_lock(&disk->lock);
	for (struct image *image = disk->top; image; image = image->parent) {
		uint64_t at = image_next_data(image, offset);

		next = MIN(next, at);
	}
	pthread_mutex_unlock(&disk->lock);
	return ALIGN_DOWN(next, (uint64_t)disk->sector);
}

/* --- extents --- */

struct waiter {
	struct task task;
	bool woken;
};

static void resume(struct task *task)
{
	container_of(task, struct waiter, task)->woken = true;
}

/* A look-up that waits for the bitmaps it needs. With the lock, which it gives up meanwhile. */
static int look_up(struct disk *disk, uint64_t offset, struct run *run)
{
	struct waiter waiter = {.task = {.queue = disk->sync_queue, .resume = resume}};
	uint64_t bytes = run->bytes;
	int r;

	for (;;) {
		run->bytes = bytes;
		r = map_read(disk, offset, &waiter.task, run);
		if (r != WAIT)
			return r;
		pthread_mutex_unlock(&disk->lock);
		queue_run_until(disk->sync_queue, &waiter.woken);
		pthread_mutex_lock(&disk->lock);
		if (waiter.task.error)
			return waiter.task.error;
		waiter.woken = false;
	}
}

static unsigned int depth_of(const struct disk *disk, const struct image *found)
{
	unsigned int depth = 0;

	for (const struct image *image = disk->top; image && image != found; image = image->parent)
		depth++;
	return depth;
}

/* Data that are not there, because the file ends too early, are no zeros. */
static bool ends_too_early(const struct run *run)
{
	off_t end = lseek(run->fd, 0, SEEK_END);

	return run->fill_from == UINT64_MAX && end >= 0 && (uint64_t)end < run->offset + run->bytes;
}

/*
 * Where the next hole begins. Asked for each of many blocks the kernel would walk over the same long
 * stretch of data again and again, so the last one is remembered. Should a hole have come into
 * it since, then zeros are called data, which they may be.
 */
static uint64_t next_hole(struct disk *disk, const struct run *run, uint64_t data, uint64_t end)
{
	struct known_data *known = &disk->known_data;

	if (known->fd != run->fd || data < known->from || data >= known->to)
		*known = (struct known_data){
			run->fd, data, MAX(file_next_hole(run->fd, data, end), data + 1)};
	return MIN(known->to, end);
}

/* A hole in a file of plain bytes is zeros; data end where the next hole begins. */
static void cut_at_holes(struct disk *disk, const struct run *run, struct disk_extent *extent)
{
	uint64_t end = run->offset + run->bytes, sector = run->image->logical_sector, data;

	if (ends_too_early(run))
		return;
	data = MIN(file_next_data(run->fd, run->offset, end), end);
	if (data - run->offset >= sector) {
		extent->kind = DISK_EXTENT_ZERO;
		extent->path = NULL;
		extent->file_offset = 0;
		extent->bytes = ALIGN_DOWN(data - run->offset, sector);
	} else {
		end = next_hole(disk, run, data, end);
		extent->bytes = MIN(ALIGN_UP(end - run->offset, sector), run->bytes);
	}
}

static void describe(struct disk *disk, const struct run *run, struct disk_extent *extent)
{
	extent->bytes = run->bytes;
	if (!run->image)
		return;
	extent->depth = depth_of(disk, run->image);
	if (run->kind == RUN_ZEROS) {
		extent->kind = DISK_EXTENT_ZERO;
		return;
	}
	extent->kind = DISK_EXTENT_DATA;
	extent->path = run->path ? run->path : run->image->path;
	extent->file_offset = run->kind == RUN_FILE ? run->offset : UINT64_MAX;
	if (run->kind == RUN_FILE)
		cut_at_holes(disk, run, extent);
}

/* Where an image that has nothing at @offset next may have something. */
static uint64_t next_present(const struct image *image, const struct disk_extent *absent)
{
	const struct blocks *blocks = image->blocks;
	uint32_t block;

	if (absent->offset >= image->bytes)
		return UINT64_MAX;
	if (!blocks)
		return absent->offset + absent->bytes;
	block = table_next_present(blocks, absent->offset >> blocks->block_shift);
	return block < blocks->block_count ? (uint64_t)block << blocks->block_shift : UINT64_MAX;
}

/* What no image has goes on to where one of them has something. */
static void extend_absent(const struct disk *disk, struct disk_extent *absent)
{
	uint64_t next = disk->top->bytes;

	for (const struct image *image = disk->top; image; image = image->parent) {
		uint64_t at = next_present(image, absent);

		next = MIN(next, at);
	}
	if (next > absent->offset + absent->bytes)
		absent->bytes = next - absent->offset;
}

int disk_next_extent(struct disk *disk, uint64_t offset, struct disk_extent *ret_extent)
{
	struct disk_extent extent = {.offset = offset, .kind = DISK_EXTENT_ABSENT};
	struct run run = {};
	int r;

	if (offset >= disk->top->bytes)
		return -ERANGE;
	run.bytes = disk->top->bytes - offset;
	pthread_mutex_lock(&disk->sync_lock);
	pthread_mutex_lock(&disk->lock);
	r = look_up(disk, offset, &run);
	if (!r) {
		describe(disk, &run, &extent);
		if (extent.kind == DISK_EXTENT_ABSENT)
			extend_absent(disk, &extent);
	}
	pthread_mutex_unlock(&disk->lock);
	pthread_mutex_unlock(&disk->sync_lock);
	if (r)
		return disk_request_error(r);
	*ret_extent = extent;
	return 0;
}

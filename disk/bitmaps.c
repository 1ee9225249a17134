/*
 * bitmaps.c - a bounded cache of sector bitmaps
 *
 * Only blocks whose bits are not all ones need one: a block that is found full is marked so in the
 * table and not looked up again. Bits are set when the data they stand for were written, so a
 * copy of the bitmap taken at any moment names only sectors whose data the next sync makes durable.
 *
 * An entry stays while it is being read, has bits to be committed, or is pinned by a write; the
 * least recently used of the others goes when the cache is full. Pins are bounded by the queues'
 * depths, dirty entries by DIRTY_BYTES, so the cache is bounded by the sum of the three.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk_internal.h"

#define CACHE_BYTES (4 * MIB)
#define DIRTY_BYTES (2 * MIB)

static struct bitmap **bucket_of(struct disk *disk, const struct image *image, uint32_t unit)
{
	uintptr_t hash = ((uintptr_t)image >> 5) * 31 + unit;

	return &disk->bitmaps.buckets[hash % BITMAP_BUCKETS];
}

static void list_remove(struct bitmap_cache *cache, struct bitmap *bitmap)
{
	*(bitmap->newer ? &bitmap->newer->older : &cache->newest) = bitmap->older;
	*(bitmap->older ? &bitmap->older->newer : &cache->oldest) = bitmap->newer;
}

static void list_add(struct bitmap_cache *cache, struct bitmap *bitmap)
{
	bitmap->newer = NULL;
	bitmap->older = cache->newest;
	*(cache->newest ? &cache->newest->newer : &cache->oldest) = bitmap;
	cache->newest = bitmap;
}

static struct bitmap *look_up(struct disk *disk, const struct image *image, uint32_t unit)
{
	struct bitmap *bitmap = *bucket_of(disk, image, unit);

	while (bitmap && (bitmap->image != image || bitmap->unit != unit))
		bitmap = bitmap->hash_next;
	return bitmap;
}

void bitmap_drop(struct disk *disk, struct bitmap *bitmap)
{
	struct bitmap **link = bucket_of(disk, bitmap->image, bitmap->unit);

	while (*link != bitmap)
		link = &(*link)->hash_next;
	*link = bitmap->hash_next;
	list_remove(&disk->bitmaps, bitmap);
	disk->bitmaps.bytes -= bitmap->image->blocks->bitmap_bytes;
	free(bitmap);
}

static bool is_idle(const struct bitmap *bitmap)
{
	return !bitmap->loading && !bitmap->dirty && !bitmap->committing && !bitmap->unborn &&
	       !bitmap->pins;
}

static void make_room(struct disk *disk, size_t bytes)
{
	struct bitmap *bitmap = disk->bitmaps.oldest, *newer;

	for (; bitmap && disk->bitmaps.bytes + bytes > CACHE_BYTES; bitmap = newer) {
		newer = bitmap->newer;
		if (is_idle(bitmap))
			bitmap_drop(disk, bitmap);
	}
}

struct bitmap *bitmap_new(struct disk *disk, struct image *image, uint32_t unit, uint64_t offset)
{
	struct bitmap **bucket = bucket_of(disk, image, unit), *bitmap;
	size_t bytes = image->blocks->bitmap_bytes;

	make_room(disk, bytes);
	bitmap = calloc(1, sizeof(*bitmap) + bytes);
	if (!bitmap)
		return NULL;
	bitmap->image = image;
	bitmap->unit = unit;
	bitmap->offset = offset;
	bitmap->hash_next = *bucket;
	*bucket = bitmap;
	list_add(&disk->bitmaps, bitmap);
	disk->bitmaps.bytes += bytes;
	return bitmap;
}

/*
 * A block whose bits are all set is full. Where a block has several units nobody looks: it would
 * take all of them.
 */
static void mark_full_blocks(struct bitmap *bitmap, uint32_t sector, uint32_t count)
{
	struct blocks *blocks = bitmap->image->blocks;
	uint32_t bits = blocks->block_bytes >> blocks->sector_shift;
	uint64_t first = (uint64_t)bitmap->unit << blocks->unit_shift;

	if (bits > BIT(blocks->unit_shift))
		return;
	for (uint32_t at = ALIGN_DOWN(sector, bits); at < sector + count; at += bits) {
		uint32_t block = (first + at) / bits;
		bool set;

		if (block < blocks->block_count && table_get(blocks, block) < BLOCK_PLACES &&
		    bitmap_run(bitmap, at, bits, &set) == bits && set)
			table_set_full(blocks, block);
	}
}

static void was_read(struct bitmap *bitmap)
{
	struct image *image = bitmap->image;

	if (image->driver->blocks->bitmap_read)
		image->driver->blocks->bitmap_read(image, bitmap);
	mark_full_blocks(bitmap, 0, BIT(image->blocks->unit_shift));
}

static void loaded(struct disk_io *io, int result)
{
	struct disk *disk = io->owner;
	struct bitmap *bitmap = io->pinned;
	struct task_list waiters;

	if (result == -EINTR || result == -EAGAIN) {
		queue_submit_io(io);
		return;
	}
	pthread_mutex_lock(&disk->lock);
	waiters = bitmap->waiters;
	bitmap->waiters.first = NULL;
	bitmap->loading = false;
	/* Bits are zero at first; a file that the log has yet to extend may end among them. */
	if (result == (int)bitmap->image->blocks->bitmap_bytes ||
	    (result >= 0 && bitmap->image->fill_from != UINT64_MAX)) {
		was_read(bitmap);
	} else {
		for (struct task *task = waiters.first; task; task = task->next)
			task->error = -EIO;
		bitmap_drop(disk, bitmap);
	}
	pthread_mutex_unlock(&disk->lock);
	queue_give_io(io);
	task_list_wake(&waiters);
}

static int load(struct disk *disk, struct image *image, uint32_t unit, struct task *task)
{
	struct disk_io *io = queue_take_io(task->queue);
	struct bitmap *bitmap;

	if (!io) {
		queue_wait_io(task->queue, task);
		return WAIT;
	}
	bitmap = bitmap_new(disk, image, unit, image->driver->blocks->bitmap_offset(image, unit));
	if (!bitmap) {
		queue_give_io(io);
		return -ENOMEM;
	}
	bitmap->loading = true;
	task_list_add(&bitmap->waiters, task);
	io->own_iov[0] = (struct iovec){bitmap->bits, image->blocks->bitmap_bytes};
	io->kind = IO_READ;
	io->fd = image->fd;
	io->mode = 0;
	io->offset = bitmap->offset;
	io->iov = io->own_iov;
	io->iov_count = 1;
	io->owner = disk;
	io->pinned = bitmap;
	io->done = loaded;
	queue_submit_io(io);
	return WAIT;
}

int bitmap_get(struct disk *disk, struct image *image, uint32_t unit, struct task *task,
	       struct bitmap **ret_bitmap)
{
	struct bitmap *bitmap = look_up(disk, image, unit);

	if (!bitmap)
		return load(disk, image, unit, task);
	if (bitmap->loading) {
		task_list_add(&bitmap->waiters, task);
		return WAIT;
	}
	list_remove(&disk->bitmaps, bitmap);
	list_add(&disk->bitmaps, bitmap);
	*ret_bitmap = bitmap;
	return 0;
}

struct bitmap *bitmap_cached(struct disk *disk, const struct image *image, uint32_t unit)
{
	return look_up(disk, image, unit);
}

static uint8_t bit_of(const struct bitmap *bitmap, uint32_t sector)
{
	return 1u << (sector % 8 ^ bitmap->image->blocks->first_bit);
}

uint32_t bitmap_run(const struct bitmap *bitmap, uint32_t sector, uint32_t max, bool *ret_set)
{
	uint32_t at = sector + 1, end = sector + max;
	bool set = bitmap->bits[sector / 8] & bit_of(bitmap, sector);
	uint8_t whole = set ? 0xff : 0;

	while (at < end) {
		if (at % 8 == 0 && at + 8 <= end && bitmap->bits[at / 8] == whole)
			at += 8;
		else if (!(bitmap->bits[at / 8] & bit_of(bitmap, at)) == !set)
			at++;
		else
			break;
	}
	*ret_set = set;
	return at - sector;
}

void bitmap_mark_dirty(struct disk *disk, struct bitmap *bitmap)
{
	if (bitmap->dirty)
		return;
	bitmap->dirty = true;
	bitmap->dirty_next = disk->bitmaps.dirty;
	disk->bitmaps.dirty = bitmap;
	disk->bitmaps.dirty_bytes += bitmap->image->blocks->bitmap_bytes;
}

/* Some bits are to be @value: has any changed? */
static bool put_bits(struct bitmap *bitmap, uint32_t sector, uint32_t count, bool value)
{
	bool changed = false;

	for (uint32_t at = sector; at < sector + count; at++) {
		uint8_t *byte = &bitmap->bits[at / 8], bit = bit_of(bitmap, at);

		if (!(*byte & bit) == value) {
			*byte ^= bit;
			changed = true;
		}
	}
	return changed;
}

void bitmap_set(struct disk *disk, struct bitmap *bitmap, uint32_t sector, uint32_t count)
{
	if (!put_bits(bitmap, sector, count, true))
		return;
	bitmap_mark_dirty(disk, bitmap);
	mark_full_blocks(bitmap, sector, count);
}

void bitmap_clear(struct disk *disk, struct bitmap *bitmap, uint32_t sector, uint32_t count)
{
	if (put_bits(bitmap, sector, count, false))
		bitmap_mark_dirty(disk, bitmap);
}

bool bitmap_too_many_dirty(const struct disk *disk)
{
	return disk->bitmaps.dirty_bytes >= DIRTY_BYTES;
}

void bitmap_cache_free(struct disk *disk)
{
	while (disk->bitmaps.newest)
		bitmap_drop(disk, disk->bitmaps.newest);
}

/*
 * bitmaps.c - a bounded cache of sector bitmaps
 *
 * Only blocks whose bitmap is not all ones are here: a block that is found full is marked so in
 * the table and never looked up again. Bits are set when the data they stand for were written, so a
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

static struct bitmap **bucket_of(struct disk *disk, const struct image *image, uint32_t block)
{
	uintptr_t hash = ((uintptr_t)image >> 5) * 31 + block;

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

static struct bitmap *look_up(struct disk *disk, const struct image *image, uint32_t block)
{
	struct bitmap *bitmap = *bucket_of(disk, image, block);

	while (bitmap && (bitmap->image != image || bitmap->block != block))
		bitmap = bitmap->hash_next;
	return bitmap;
}

void bitmap_drop(struct disk *disk, struct bitmap *bitmap)
{
	struct bitmap **link = bucket_of(disk, bitmap->image, bitmap->block);

	while (*link != bitmap)
		link = &(*link)->hash_next;
	*link = bitmap->hash_next;
	list_remove(&disk->bitmaps, bitmap);
	disk->bitmaps.bytes -= bitmap->image->vhd->bitmap_bytes;
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

struct bitmap *bitmap_new(struct disk *disk, struct image *image, uint32_t block, uint32_t sector)
{
	struct bitmap **bucket = bucket_of(disk, image, block), *bitmap;
	size_t bytes = image->vhd->bitmap_bytes;

	make_room(disk, bytes);
	bitmap = calloc(1, sizeof(*bitmap) + bytes);
	if (!bitmap)
		return NULL;
	bitmap->image = image;
	bitmap->block = block;
	bitmap->sector = sector;
	bitmap->hash_next = *bucket;
	*bucket = bitmap;
	list_add(&disk->bitmaps, bitmap);
	disk->bitmaps.bytes += bytes;
	return bitmap;
}

static void mark_full(struct bitmap *bitmap)
{
	struct vhd *vhd = bitmap->image->vhd;
	uint32_t sectors = vhd->block_bytes / VHD_SECTOR;
	bool set;

	if (bitmap_run(bitmap, 0, sectors, &set) == sectors && set)
		table_set_full(vhd, bitmap->block);
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
	if (result == (int)bitmap->image->vhd->bitmap_bytes) {
		mark_full(bitmap);
	} else {
		for (struct task *task = waiters.first; task; task = task->next)
			task->error = -EIO;
		bitmap_drop(disk, bitmap);
	}
	pthread_mutex_unlock(&disk->lock);
	queue_give_io(io);
	task_list_wake(&waiters);
}

static int load(struct disk *disk, struct image *image, uint32_t block, struct task *task)
{
	struct disk_io *io = queue_take_io(task->queue);
	struct bitmap *bitmap;

	if (!io) {
		queue_wait_io(task->queue, task);
		return WAIT;
	}
	bitmap = bitmap_new(disk, image, block, table_get(image->vhd, block));
	if (!bitmap) {
		queue_give_io(io);
		return -ENOMEM;
	}
	bitmap->loading = true;
	task_list_add(&bitmap->waiters, task);
	io->own_iov[0] = (struct iovec){bitmap->bits, image->vhd->bitmap_bytes};
	io->kind = IO_READ;
	io->fd = image->fd;
	io->mode = 0;
	io->offset = (uint64_t)bitmap->sector * VHD_SECTOR;
	io->iov = io->own_iov;
	io->iov_count = 1;
	io->owner = disk;
	io->pinned = bitmap;
	io->done = loaded;
	queue_submit_io(io);
	return WAIT;
}

int bitmap_get(struct disk *disk, struct image *image, uint32_t block, struct task *task,
	       struct bitmap **ret_bitmap)
{
	struct bitmap *bitmap = look_up(disk, image, block);

	if (!bitmap)
		return load(disk, image, block, task);
	if (bitmap->loading) {
		task_list_add(&bitmap->waiters, task);
		return WAIT;
	}
	list_remove(&disk->bitmaps, bitmap);
	list_add(&disk->bitmaps, bitmap);
	*ret_bitmap = bitmap;
	return 0;
}

/* Sector 0 is the most significant bit of byte 0. */
static bool test_bit(const struct bitmap *bitmap, uint32_t sector)
{
	return bitmap->bits[sector / 8] & 0x80 >> sector % 8;
}

uint32_t bitmap_run(const struct bitmap *bitmap, uint32_t sector, uint32_t max, bool *ret_set)
{
	bool set = test_bit(bitmap, sector);
	uint32_t at = sector + 1, end = sector + max;
	uint8_t whole = set ? 0xff : 0;

	while (at < end) {
		if (at % 8 == 0 && at + 8 <= end && bitmap->bits[at / 8] == whole)
			at += 8;
		else if (test_bit(bitmap, at) == set)
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
	disk->bitmaps.dirty_bytes += bitmap->image->vhd->bitmap_bytes;
}

void bitmap_set(struct disk *disk, struct bitmap *bitmap, uint32_t sector, uint32_t count)
{
	bool changed = false;

	for (uint32_t at = sector; at < sector + count; at++) {
		if (!test_bit(bitmap, at)) {
			bitmap->bits[at / 8] |= 0x80 >> at % 8;
			changed = true;
		}
	}
	if (!changed)
		return;
	bitmap_mark_dirty(disk, bitmap);
	mark_full(bitmap);
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

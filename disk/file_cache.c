/*
 * file_cache.c - parts of files in sets of four; the one of the set used longest ago makes way
 */
#include "file_cache.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base.h"

#define WAYS 4u

void file_cache_init(struct file_cache *cache)
{
	memset(cache, 0, sizeof(*cache));
	pthread_mutex_init(&cache->lock, NULL);
}

void file_cache_free(struct file_cache *cache)
{
	for (size_t i = 0; i < FILE_CACHE_PARTS; i++)
		free(cache->parts[i].bytes);
	pthread_mutex_destroy(&cache->lock);
}

static struct file_cache_part *set_of(struct file_cache *cache, int fd, uint64_t offset)
{
	uint64_t number = offset / FILE_CACHE_PART_BYTES + (unsigned int)fd;

	return &cache->parts[number % (FILE_CACHE_PARTS / WAYS) * WAYS];
}

/* The part that holds @offset, or the one to give up for it. */
static struct file_cache_part *choose(struct file_cache_part *set, int fd, uint64_t offset)
{
	struct file_cache_part *oldest = set;

	for (size_t i = 0; i < WAYS; i++) {
		if (set[i].valid && set[i].fd == fd && set[i].offset == offset)
			return &set[i];
		if (set[i].used < oldest->used)
			oldest = &set[i];
	}
	oldest->valid = 0;
	return oldest;
}

/* As much as there is before the end of the file. */
static int fill(struct file_cache_part *part, int fd, uint64_t offset)
{
	uint32_t got = 0;
	ssize_t moved = 1;

	if (offset > INT64_MAX - FILE_CACHE_PART_BYTES)
		return -ENODATA;
	if (!part->bytes)
		part->bytes = malloc(FILE_CACHE_PART_BYTES);
	if (!part->bytes)
		return -ENOMEM;
	while (got < FILE_CACHE_PART_BYTES && moved) {
		moved = pread(fd, part->bytes + got, FILE_CACHE_PART_BYTES - got, offset + got);
		if (moved < 0 && errno != EINTR)
			return -errno;
		got += MAX(moved, 0);
	}
	part->fd = fd;
	part->offset = offset;
	part->valid = got;
	return 0;
}

int file_cache_read(struct file_cache *cache, int fd, uint64_t offset, void *bytes, size_t count)
{
	uint64_t start = ALIGN_DOWN(offset, (uint64_t)FILE_CACHE_PART_BYTES);
	struct file_cache_part *part;
	int r = 0;

	pthread_mutex_lock(&cache->lock);
	part = choose(set_of(cache, fd, start), fd, start);
	part->used = ++cache->clock;
	if (!part->valid)
		r = fill(part, fd, start);
	if (!r && offset - start + count > part->valid)
		r = -ENODATA;
	if (!r)
		memcpy(bytes, part->bytes + (offset - start), count);
	pthread_mutex_unlock(&cache->lock);
	return r;
}

/*
 * file_cache.h - the tables of images that are only read: parts of files, a bounded number of them
 *
 * Whoever walks a table reads each entry through the cache, which keeps the parts of the files
 * around the entries read last: FILE_CACHE_PARTS * FILE_CACHE_PART_BYTES bytes of memory at most
 * (1 MiB), nothing until the first read. Any thread; a read that misses does I/O with the cache's
 * own lock held.
 */
#ifndef DISK_FILE_CACHE_H
#define DISK_FILE_CACHE_H

#include <pthread.h>
#include <stddef.h>
#include <stdint.h>

#define FILE_CACHE_PART_BYTES 16384u
#define FILE_CACHE_PARTS      64u

struct file_cache_part {
	int fd;
	uint32_t valid; /* bytes; fewer at the file's end; 0: not in use */
	uint64_t offset;
	uint64_t used; /* when: the cache's clock */
	uint8_t *bytes;
};

struct file_cache {
	pthread_mutex_t lock;
	uint64_t clock;
	struct file_cache_part parts[FILE_CACHE_PARTS];
};

void file_cache_init(struct file_cache *cache);
void file_cache_free(struct file_cache *cache);

/*
 * file_cache_read() - some bytes of a file that does not change
 * They must not cross a multiple of FILE_CACHE_PART_BYTES.
 * Returns: 0; -ENODATA past the end of the file; -ENOMEM; -errno of the file.
 */
int file_cache_read(struct file_cache *cache, int fd, uint64_t offset, void *bytes, size_t count);

#endif

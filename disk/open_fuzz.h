/*
 * open_fuzz.h - what the fuzz targets of formats that are only read have in common
 */
#ifndef DISK_OPEN_FUZZ_H
#define DISK_OPEN_FUZZ_H

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "disk_internal.h"
#include "log.h"

#define OPEN_FUZZ_MAX_BYTES   (1 * MIB)
#define OPEN_FUZZ_MAX_EXTENTS 200

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static inline int open_fuzz_file(const uint8_t *data, size_t size)
{
	int fd = memfd_create("image", MFD_CLOEXEC);

	if (fd < 0 || write(fd, data, size) != (ssize_t)size)
		abort();
	return fd;
}

static inline void open_fuzz_read(struct disk *disk, uint64_t offset, uint64_t bytes)
{
	static uint8_t found[64 * 1024];
	uint64_t part = MIN(bytes, sizeof(found));
	int r = disk_pread(disk, offset, found, part);

	if (r && r != -EIO)
		abort();
}

/* Where something begins, its first bytes; then the end, and places in between. */
static inline void open_fuzz_read_all_over(struct disk *disk)
{
	struct disk_info info;
	struct disk_extent extent = {};
	uint64_t at = 0;

	disk_get_info(disk, &info);
	for (unsigned int i = 0; i < OPEN_FUZZ_MAX_EXTENTS && at < info.bytes; i++) {
		int r = disk_next_extent(disk, at, &extent);

		if (r && r != -EIO)
			abort();
		if (!r && (extent.offset != at || !extent.bytes || extent.bytes > info.bytes - at ||
			   extent.bytes % 512))
			abort();
		open_fuzz_read(disk, at, info.bytes - at);
		at += r ? 64 * KIB : extent.bytes;
	}
	for (unsigned int i = 0; i < 16; i++)
		open_fuzz_read(disk, ALIGN_DOWN(info.bytes / 16 * i, (uint64_t)info.logical_sector),
			       info.logical_sector);
	open_fuzz_read(disk, info.bytes - info.logical_sector, info.logical_sector);
}

static inline int open_fuzz(enum disk_format format, const uint8_t *data, size_t size)
{
	struct disk_options options = {.read_only = true, .format = format, .no_parents = true};
	struct disk_error error = {};
	struct disk *disk;
	char path[64];
	int fd, r;

	log_set_level(LOG_ERROR);
	if (size > OPEN_FUZZ_MAX_BYTES)
		return 0;
	fd = open_fuzz_file(data, size);
	snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
	r = disk_open(path, &options, &disk, &error);
	if (r < 0 && !error.text[0])
		abort();
	if (!r) {
		open_fuzz_read_all_over(disk);
		disk_close(disk);
	}
	close(fd);
	return 0;
}

#endif

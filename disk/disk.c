/*
 * disk.c - virtual disk images: one interface over every format
 */
#include "disk.h"

#include <errno.h>

const char *disk_format_name(enum disk_format format)
{
	return "?";
}

int disk_open(const char *path, const struct disk_options *options, struct disk **ret_disk,
	      struct disk_error *ret_error)
{
	return -ENOSYS;
}

void disk_close(struct disk *disk)
{
}

void disk_get_info(const struct disk *disk, struct disk_info *ret_info)
{
}

int disk_create(const char *path, const struct disk_create_options *options,
		struct disk_error *ret_error)
{
	return -ENOSYS;
}

int disk_queue_new(struct loop *loop, unsigned int depth, struct disk_queue **ret_queue)
{
	return -ENOSYS;
}

void disk_queue_free(struct disk_queue *queue)
{
}

void disk_submit(struct disk_queue *queue, struct disk *disk, struct disk_request *request)
{
}

void disk_queue_kick(struct disk_queue *queue)
{
}

int disk_pread(struct disk *disk, uint64_t offset, void *bytes, size_t count)
{
	return -ENOSYS;
}

int disk_pwrite(struct disk *disk, uint64_t offset, const void *bytes, size_t count)
{
	return -ENOSYS;
}

int disk_flush(struct disk *disk)
{
	return -ENOSYS;
}

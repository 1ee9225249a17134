/*
 * raw.c - files without any format: the disk is the file, rounded up to whole sectors
 */
#include <errno.h>
#include <string.h>

#include "disk_internal.h"

#define RAW_SECTOR 512u

const struct image_driver raw_driver = {.name = "raw", .first = DISK_RAW, .last = DISK_RAW};

void image_derive_id(struct image *image)
{
	memcpy(image->id.bytes, &image->device, 8);
	memcpy(image->id.bytes + 8, &image->inode, 8);
	image->id.bytes[7] = (image->id.bytes[7] & 0x0f) | 0x80; /* version 8: custom */
	image->id.bytes[8] = (image->id.bytes[8] & 0x3f) | 0x80;
	image->link = image->id;
}

int image_become_raw(struct image *image, struct disk_error *ret_error)
{
	if (!image->file_bytes)
		return disk_fail(ret_error, -EINVAL, "%s: empty: a disk has one sector at least",
				 image->path);
	image->driver = &raw_driver;
	image->format = DISK_RAW;
	image->bytes = ALIGN_UP(image->file_bytes, (uint64_t)RAW_SECTOR);
	image->fill_from = image->file_bytes;
	image->flat = image->can_discard = image->begun = true;
	image_derive_id(image);
	return 0;
}

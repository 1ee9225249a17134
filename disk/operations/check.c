/*
 * check.c - is an image sound?
 *
 * The formats check every structure when an image is opened, so an image that opens has no
 * overlaps, nothing outside its file, and valid checksums; what they find wrong is the finding
 * here. What they can mend, a lost footer or header copy, a log that was not replayed, they mend
 * when the image is opened for writing, each in an order that a power cut may end anywhere. Then
 * the file is measured: what of a VHD nothing refers to is not damage, but space.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "vhd_edit.h"

static uint64_t vhd_unused(const struct image *image)
{
	const struct vhd *vhd = image->vhd;
	const struct blocks *blocks = &vhd->blocks;
	uint64_t table = (uint64_t)be32toh(vhd->header.max_table_entries) * sizeof(be32);
	uint64_t used = VHD_FOOTER_BYTES + sizeof(vhd->header) + ALIGN_UP(table, PAGE_BYTES);

	for (uint32_t i = 0; (i = table_next_present(blocks, i)) < blocks->block_count; i++)
		used += ALIGN_UP((uint64_t)blocks->bitmap_bytes + blocks->block_bytes, PAGE_BYTES);
	return blocks->end > used ? blocks->end - used : 0;
}

/* 0: it opens; what it says is in the report. Else -EBADMSG and its like in the error. */
static int look(const char *path, enum disk_format format, bool writable, struct disk_check *check,
		struct disk_error *ret_error)
{
	struct image *image;
	int r = image_open(path, !writable, format, true, &image, ret_error);

	if (r < 0)
		return r;
	check->format = image->format;
	check->needs_repair = image->needs_repair;
	if (writable && image->needs_repair) {
		r = image->driver->repair ? image->driver->repair(image) : -ENOTSUP;
		if (r < 0)
			disk_fail(ret_error, r, "%s: cannot be repaired: %s", path, strerror(-r));
		check->repaired = !r;
	}
	if (!r && image->driver == &vhd_driver && !image->flat)
		check->unused_bytes = vhd_unused(image);
	image_free(image);
	return r;
}

int disk_check(const char *path, enum disk_format format, bool repair, struct disk_check *ret_check,
	       struct disk_error *ret_error)
{
	struct disk_check check = {};
	int r = look(path, format, false, &check, ret_error);

	if (r == -EBADMSG) {
		check.damaged = true;
		snprintf(check.damage, sizeof(check.damage), "%s", ret_error->text);
		r = 0;
	} else if (!r && repair && check.needs_repair) {
		r = look(path, format, true, &check, ret_error);
	}
	if (!r)
		*ret_check = check;
	return r;
}

/*
 * vhd_edit.c - changing a VHD's structure in place, in steps of which each leaves an image that
 * opens
 *
 * What holds between any two writes, whatever of those since the last sync is lost:
 *
 *   1. One footer at least is valid. If both are, the one at the end counts; opening the image for
 *      writing makes the other like it. If the end is lost, opening finds it from the table.
 *   2. A footer, a table entry and the part of the header that is ever changed lie in one sector
 *      each, and are changed by one write of it.
 *   3. What such a write makes visible, a new table or a block's copy, was durable before.
 */
#include "vhd_edit.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

int (*vhd_truncate_hook)(int fd, uint64_t bytes);

int vhd_truncate(int fd, uint64_t bytes)
{
	if (vhd_truncate_hook)
		return vhd_truncate_hook(fd, bytes);
	return ftruncate(fd, bytes) < 0 ? -errno : 0;
}

int vhd_edit_fail(const struct vhd_edit *edit, int result, const char *what)
{
	if (result == -ECANCELED)
		return disk_fail(edit->error, result, "%s: interrupted; what it holds is unchanged",
				 edit->path);
	return disk_fail(edit->error, result, "%s: cannot %s: %s", edit->path, what,
			 strerror(-result));
}

static bool has_batmap(const struct image *image)
{
	const struct vhd *vhd = image->vhd;
	uint64_t table =
		vhd->table_offset + (uint64_t)be32toh(vhd->header.max_table_entries) * sizeof(be32);
	struct vhd_batmap_header batmap;

	return !file_read(image->fd, ALIGN_UP(table, (uint64_t)VHD_SECTOR), &batmap,
			  sizeof(batmap)) &&
	       !memcmp(batmap.cookie, VHD_BATMAP_COOKIE, sizeof(batmap.cookie));
}

static int refuse_unfit(const struct vhd_edit *edit)
{
	const struct image *image = edit->image;

	if (image->driver != &vhd_driver)
		return image->flat ? 0
				   : disk_fail(edit->error, -ENOTSUP,
					       "%s: a %s image cannot be changed in place; convert "
					       "it",
					       edit->path, disk_format_name(image->format));
	if (image->vhd->footer.saved_state == 1)
		return disk_fail(
			edit->error, -EBUSY,
			"%s: belongs to a machine in saved state; start it and shut it down "
			"first",
			edit->path);
	if (!image->flat && has_batmap(image))
		return disk_fail(edit->error, -ENOTSUP,
				 "%s: has XenServer's map of full blocks, which is not kept up; "
				 "convert it to a new image",
				 edit->path);
	return 0;
}

int vhd_edit_open(struct vhd_edit *edit, bool allow_raw)
{
	int r = image_open(edit->path, false, DISK_AUTO, allow_raw, &edit->image, edit->error);

	if (r < 0)
		return r;
	r = refuse_unfit(edit);
	if (!r && edit->image->driver->repair) {
		r = edit->image->driver->repair(edit->image);
		if (r < 0)
			vhd_edit_fail(edit, r, "rewrite its footer");
	}
	if (r < 0)
		vhd_edit_close(edit);
	return r;
}

void vhd_edit_close(struct vhd_edit *edit)
{
	image_free(edit->image);
	edit->image = NULL;
}

int vhd_edit_entry(const struct vhd_edit *edit, uint32_t block, uint32_t sector)
{
	be32 entry = htobe32(sector);

	return file_write(edit->image->fd, edit->image->vhd->table_offset + block * sizeof(entry),
			  &entry, sizeof(entry));
}

int vhd_edit_set_end(const struct vhd_edit *edit, uint64_t end)
{
	struct vhd *vhd = edit->image->vhd;
	int fd = edit->image->fd, r;

	r = file_write(fd, end, &vhd->footer, sizeof(vhd->footer));
	if (!r)
		r = file_sync(fd);
	if (!r && end < vhd->blocks.end)
		r = vhd_truncate(fd, end + sizeof(vhd->footer));
	if (!r)
		r = file_sync(fd);
	if (!r)
		vhd->blocks.end = end;
	return r;
}

int vhd_edit_footers(const struct vhd_edit *edit)
{
	struct vhd *vhd = edit->image->vhd;
	int fd = edit->image->fd, r;

	r = file_write(fd, vhd->blocks.end, &vhd->footer, sizeof(vhd->footer));
	if (!r)
		r = file_sync(fd);
	if (!r)
		r = file_write(fd, 0, &vhd->footer, sizeof(vhd->footer));
	return r ? r : file_sync(fd);
}

int vhd_edit_header(const struct vhd_edit *edit)
{
	struct vhd *vhd = edit->image->vhd;
	int r;

	vhd_header_seal(&vhd->header);
	r = file_write(edit->image->fd, be64toh(vhd->footer.data_offset), &vhd->header, VHD_SECTOR);
	return r ? r : file_sync(edit->image->fd);
}

/*
 * resize.c - a disk of another size, in place
 *
 * Raw: the file gets longer or shorter. Fixed VHD: the new footer is durable before the old one is
 * wiped (growing) or cut off (shrinking); should power go in between, one sector of what is beyond
 * the smaller size holds a footer. Dynamic VHD: first the table gets its further entries, in place
 * where there is room up to whatever lies behind it, else as a longer copy at the end of the file
 * to which the header's first sector is switched; then the footers say the new size. Shrinking is
 * the footers' size first, then the entries beyond it are cleared; the space is for disk_compact().
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "vhd_edit.h"

#define PIECE_BYTES MIB

struct resize {
	struct vhd_edit edit;
	uint64_t old_bytes, bytes;
	bool force;
};

/* --- may what lies beyond the new size go? --- */

/* 0; -ENOTEMPTY; -errno */
static int check_zeros(int fd, uint64_t from, uint64_t to)
{
	uint8_t *buffer = malloc(PIECE_BYTES);
	int r = buffer ? 0 : -ENOMEM;

	while (!r && from < to) {
		size_t count = MIN(to - from, PIECE_BYTES);

		r = file_read(fd, from, buffer, count);
		if (!r && !bytes_are_zero(buffer, count))
			r = -ENOTEMPTY;
		from += count;
	}
	free(buffer);
	return r;
}

static int check_block_zeros(const struct resize *resize, uint32_t block)
{
	const struct blocks *blocks = resize->edit.image->blocks;
	uint64_t start = (uint64_t)block << blocks->block_shift;
	uint64_t within = resize->bytes > start ? resize->bytes - start : 0;
	uint64_t length = MIN(blocks->block_bytes, resize->old_bytes - start);
	uint64_t data = block_offset(blocks, table_get(blocks, block));

	return check_zeros(resize->edit.image->fd, data + within, data + length);
}

static int check_tail(const struct resize *resize)
{
	const struct image *image = resize->edit.image;
	int r = 0;

	if (resize->force || resize->bytes >= resize->old_bytes)
		return 0;
	if (image->flat) {
		r = check_zeros(image->fd, resize->bytes,
				MIN(resize->old_bytes, image->file_bytes));
	} else {
		uint32_t block = resize->bytes >> image->blocks->block_shift;

		while (!r && (block = table_next_present(image->blocks, block)) <
				     image->blocks->block_count)
			r = check_block_zeros(resize, block++);
	}
	if (r == -ENOTEMPTY)
		return disk_fail(resize->edit.error, r,
				 "%s: what lies beyond %" PRIu64
				 " bytes is not empty; shrink the partitions first, or give it up "
				 "(--force-shrink)",
				 resize->edit.path, resize->bytes);
	return r ? vhd_edit_fail(&resize->edit, r, "read it") : 0;
}

/* --- flat images --- */

static int resize_raw(struct resize *resize)
{
	int fd = resize->edit.image->fd, r = vhd_truncate(fd, resize->bytes);

	return r ? r : file_sync(fd);
}

static int resize_fixed(struct resize *resize)
{
	static const uint8_t zeros[VHD_SECTOR];
	struct vhd *vhd = resize->edit.image->vhd;
	int fd = resize->edit.image->fd, r;

	vhd_footer_set_size(&vhd->footer, resize->bytes);
	r = file_write(fd, resize->bytes, &vhd->footer, sizeof(vhd->footer));
	if (!r)
		r = file_sync(fd);
	if (!r && resize->bytes > resize->old_bytes)
		r = file_write(fd, resize->old_bytes, zeros,
			       MIN(sizeof(zeros), resize->bytes - resize->old_bytes));
	if (!r && resize->bytes < resize->old_bytes)
		r = vhd_truncate(fd, resize->bytes + sizeof(vhd->footer));
	return r ? r : file_sync(fd);
}

/* --- dynamic images --- */

/* How far the table could go on before something else begins. */
static uint64_t table_room(const struct image *image)
{
	const struct vhd *vhd = image->vhd;
	const struct blocks *blocks = image->blocks;
	uint64_t table = vhd->table_offset, header = be64toh(vhd->footer.data_offset);
	uint64_t limit = blocks->end;
	uint32_t block = 0;

	if (header > table)
		limit = MIN(limit, header);
	for (; (block = table_next_present(blocks, block)) < blocks->block_count; block++) {
		uint64_t at = (uint64_t)table_get(blocks, block) << blocks->place_shift;

		if (at > table)
			limit = MIN(limit, at);
	}
	return limit - table;
}

/* Entries that were never counted, or were once, are clear. */
static int clear_entries(const struct resize *resize, uint32_t from, uint32_t to)
{
	int r = 0;

	for (; !r && from < to; from++)
		r = vhd_edit_entry(&resize->edit, from, VHD_UNALLOCATED);
	return r ? r : file_sync(resize->edit.image->fd);
}

/* A longer copy of the table behind everything else; nothing refers to it yet. */
static int copy_table(const struct resize *resize, uint32_t count, uint64_t *ret_offset)
{
	struct image *image = resize->edit.image;
	struct blocks *blocks = image->blocks;
	uint64_t at = ALIGN_UP(blocks->end + VHD_FOOTER_BYTES, PAGE_BYTES);
	uint64_t bytes = ALIGN_UP((uint64_t)count * sizeof(be32), PAGE_BYTES);
	be32 *entries = malloc(bytes);
	int r;

	if (!entries)
		return -ENOMEM;
	memset(entries, 0xff, bytes);
	for (uint32_t i = 0; i < blocks->block_count; i++)
		entries[i] = htobe32(table_get(blocks, i));
	r = file_write(image->fd, at, entries, bytes);
	free(entries);
	*ret_offset = at;
	return r ? r : vhd_edit_set_end(&resize->edit, at + bytes);
}

static int grow_table(const struct resize *resize, uint32_t count)
{
	struct image *image = resize->edit.image;
	struct vhd *vhd = image->vhd;
	uint64_t offset = vhd->table_offset;
	int r;

	if ((uint64_t)count * sizeof(be32) <= table_room(image))
		r = clear_entries(resize, image->blocks->block_count, count);
	else
		r = copy_table(resize, count, &offset);
	if (r || (offset == vhd->table_offset && be32toh(vhd->header.max_table_entries) >= count))
		return r;
	vhd->header.table_offset = htobe64(offset);
	vhd->header.max_table_entries = htobe32(count);
	r = vhd_edit_header(&resize->edit);
	vhd->table_offset = offset;
	return r;
}

/* Of the last block, what no size has covered so far, or not since it was larger. */
static int clear_last_block(const struct resize *resize)
{
	static const uint8_t zeros[64 * KIB];
	const struct image *image = resize->edit.image;
	const struct blocks *blocks = image->blocks;
	uint32_t place = table_get(blocks, blocks->block_count - 1);
	uint64_t within = resize->old_bytes & (blocks->block_bytes - 1);
	int r = 0;

	if (!within || place >= BLOCK_PLACES)
		return 0;
	while (!r && within < blocks->block_bytes) {
		uint64_t count = MIN(sizeof(zeros), blocks->block_bytes - within);

		r = file_write(image->fd, block_offset(blocks, place) + within, zeros, count);
		within += count;
	}
	return r;
}

static int resize_dynamic(struct resize *resize)
{
	struct vhd *vhd = resize->edit.image->vhd;
	struct blocks *blocks = &vhd->blocks;
	uint32_t count = (resize->bytes + blocks->block_bytes - 1) >> blocks->block_shift;
	int r = 0;

	if (resize->bytes > resize->old_bytes) {
		r = clear_last_block(resize);
		if (!r)
			r = grow_table(resize, count);
		if (!r)
			r = file_sync(resize->edit.image->fd);
	}
	vhd_footer_set_size(&vhd->footer, resize->bytes);
	if (!r)
		r = vhd_edit_footers(&resize->edit);
	if (!r && count < blocks->block_count)
		r = clear_entries(resize, count, blocks->block_count);
	return r;
}

/* --- */

static int check_size(const struct resize *resize)
{
	enum disk_format format = resize->edit.image->format;

	if (format == DISK_VHD_DIFFERENCING)
		return disk_fail(resize->edit.error, -ENOTSUP,
				 "%s: a differencing image has the size of its parent; merge or "
				 "convert it first",
				 resize->edit.path);
	if (!resize->bytes || resize->bytes % VHD_SECTOR || resize->bytes > INT64_MAX / 2 ||
	    (format == DISK_VHD_DYNAMIC && resize->bytes > VHD_MAX_DYNAMIC_BYTES))
		return disk_fail(
			resize->edit.error, -EINVAL,
			"%s: %" PRIu64
			" bytes: a disk is a multiple of 512 bytes, a dynamic VHD 2040 GiB "
			"at most",
			resize->edit.path, resize->bytes);
	return 0;
}

static int run(struct resize *resize)
{
	const struct image *image = resize->edit.image;
	int r;

	resize->old_bytes = image->bytes;
	r = check_size(resize);
	if (r || resize->bytes == resize->old_bytes)
		return r;
	r = check_tail(resize);
	if (r)
		return r;
	r = !image->flat		   ? resize_dynamic(resize)
	    : image->driver == &vhd_driver ? resize_fixed(resize)
					   : resize_raw(resize);
	return r ? vhd_edit_fail(&resize->edit, r, "resize it") : 0;
}

int disk_resize(const char *path, uint64_t bytes, bool force_shrink, struct disk_error *ret_error)
{
	struct resize resize = {
		.edit = {.path = path, .error = ret_error}, .bytes = bytes, .force = force_shrink};
	int r = vhd_edit_open(&resize.edit, true);

	if (r < 0)
		return r;
	r = run(&resize);
	vhd_edit_close(&resize.edit);
	return r;
}

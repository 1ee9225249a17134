/*
 * vhdx.c - the VHDX format: opening, repairing, closing
 *
 * An image is read in this order, each part checked before the next relies on it: identifier,
 * headers (vhdx_header.c), region table, log (vhdx_log.c), metadata items (vhdx_metadata.c), block
 * table (vhdx_table.c). Every structure from the metadata on is read through vhdx_read(), which
 * lays what the log has to say over the file's bytes. So an image that was not closed properly can
 * be checked as a whole, and read, without a write to it. Opening for writing replays the log into
 * the file once everything was found right.
 *
 * The disk's identity is the SCSI identity of the metadata ("page 83"); it is the same in a parent
 * and its children. What a child knows its parent by is the header's DataWriteGuid.
 */
#include "vhdx_internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "utf16.h"

int vhdx_damaged(const struct image *image, struct disk_error *ret_error, uint64_t offset,
		 const char *format, ...)
{
	char text[300];
	va_list args;

	va_start(args, format);
	vsnprintf(text, sizeof(text), format, args);
	va_end(args);
	return disk_fail(ret_error, -EBADMSG, "%s: damaged: %s (at byte %" PRIu64 " of the file)",
			 image->path, text, offset);
}

int vhdx_read(const struct image *image, uint64_t offset, void *bytes, size_t count)
{
	const struct vhdx_log *log = &image->vhdx->log;
	size_t there = count;
	int r;

	/* With a log the file may still be too short. */
	if (log->bytes && offset + count > image->file_bytes) {
		there = offset < image->file_bytes ? image->file_bytes - offset : 0;
		memset((char *)bytes + there, 0, count - there);
	}
	r = file_read(image->fd, offset, bytes, there);
	if (!r)
		vhdx_log_patch(log, offset, bytes, count);
	return r;
}

/* --- opening --- */

static int vhdx_probe(struct image *image, struct disk_error *ret_error)
{
	char signature[8];

	if (file_read(image->fd, VHDX_IDENTIFIER_AT, signature, sizeof(signature)) < 0 ||
	    memcmp(signature, VHDX_SIGNATURE, sizeof(signature)))
		return 0;
	image->format = DISK_VHDX_DYNAMIC;
	return 1;
}

static void read_creator(struct image *image)
{
	struct vhdx_identifier identifier;

	if (!file_read(image->fd, VHDX_IDENTIFIER_AT, &identifier, sizeof(identifier)))
		utf16_to_utf8(identifier.creator, VHDX_CREATOR_UNITS, image->vhdx->creator,
			      sizeof(image->vhdx->creator));
}

static int vhdx_load(struct image *image, struct disk_error *ret_error)
{
	static int (*const steps[])(struct image * image, struct disk_error * ret_error) = {
		vhdx_load_header, vhdx_load_regions, vhdx_load_log, vhdx_load_metadata,
		vhdx_load_table};
	struct vhdx *vhdx = calloc(1, sizeof(*vhdx));

	if (!vhdx)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", image->path);
	image->vhdx = vhdx;
	read_creator(image);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int r = steps[i](image, ret_error);

		if (r < 0)
			return r;
	}
	image->link = vhdx->header.data_write_guid;
	image->blocks = &vhdx->blocks;
	image->can_discard = true;
	if (vhdx->log.bytes && image->file_bytes < vhdx->log.file_bytes)
		image->fill_from = image->file_bytes;
	image->needs_repair =
		vhdx->log.bytes || vhdx->bad_header || vhdx->bad_regions[0] || vhdx->bad_regions[1];
	vhdx->blocks.end = ALIGN_UP(MAX(image->file_bytes, vhdx->used_end), VHDX_UNIT);
	return 0;
}

static void vhdx_release(struct image *image)
{
	struct vhdx *vhdx = image->vhdx;

	if (!vhdx)
		return;
	blocks_free(&vhdx->blocks);
	vhdx_log_free(&vhdx->log);
	vhdx_commit_free(&vhdx->commit);
	free(vhdx->chunk_places);
	free(vhdx->regions);
	free(vhdx->relative_path);
	free(vhdx->absolute_path);
	free(vhdx->volume_path);
	free(vhdx);
}

static void vhdx_info(const struct image *image, struct disk_info *info)
{
	snprintf(info->creator, sizeof(info->creator), "%s", image->vhdx->creator);
}

/* --- repair --- */

static int rewrite_regions(struct image *image)
{
	struct vhdx *vhdx = image->vhdx;

	for (uint32_t i = 0; i < ARRAY_SIZE(vhdx->bad_regions); i++) {
		int r;

		if (!vhdx->bad_regions[i])
			continue;
		log_warning("%s: copy %u of its region table was damaged; writing it anew",
			    image->path, i + 1);
		r = file_write(image->fd, VHDX_REGIONS_AT + i * VHDX_COPY_STRIDE, vhdx->regions,
			       VHDX_REGIONS_BYTES);
		if (r < 0)
			return r;
		vhdx->bad_regions[i] = false;
	}
	return 0;
}

/* Behind what the image refers to there may be blocks that a power cut left without an owner. */
static void cut_off_rest(struct image *image)
{
	struct vhdx *vhdx = image->vhdx;

	if (vhdx->used_end >= vhdx->blocks.end || ftruncate(image->fd, vhdx->used_end) < 0)
		return;
	image->file_bytes = vhdx->blocks.end = vhdx->used_end;
}

static int vhdx_repair(struct image *image)
{
	struct vhdx *vhdx = image->vhdx;
	bool replay = vhdx->log.bytes;
	int r;

	if (!image->needs_repair)
		return 0;
	r = rewrite_regions(image);
	if (!r && replay) {
		log_warning("%s: was not closed properly; replaying its log", image->path);
		r = vhdx_replay(image);
	}
	if (!r)
		r = file_sync(image->fd);
	if (!r) {
		memset(&vhdx->header.log_guid, 0, sizeof(vhdx->header.log_guid));
		r = vhdx_write_headers(image);
	}
	if (r < 0)
		return r;
	if (replay)
		cut_off_rest(image);
	vhdx_log_free(&vhdx->log);
	image->fill_from = UINT64_MAX;
	image->needs_repair = false;
	return 0;
}

/* --- closing --- */

/* What the last commit wrote to its place becomes durable, and the log is needed no more. */
static int vhdx_close(struct image *image)
{
	struct vhdx *vhdx = image->vhdx;
	int r;

	if (!image->begun)
		return 0;
	r = file_sync(image->fd);
	if (r < 0)
		return r;
	memset(&vhdx->header.log_guid, 0, sizeof(vhdx->header.log_guid));
	return vhdx_write_headers(image);
}

const struct image_driver vhdx_driver = {.name = "VHDX", .family = "vhdx",
					 .first = DISK_VHDX_FIXED,
					 .last = DISK_VHDX_DIFFERENCING,
					 .suffixes = {".vhdx", ".avhdx"},
					 .probe = vhdx_probe,
					 .load = vhdx_load,
					 .repair = vhdx_repair,
					 .close = vhdx_close,
					 .release = vhdx_release,
					 .info = vhdx_info,
					 .parent_hints = vhdx_parent_hints,
					 .check_parent = vhdx_check_parent,
					 .blocks = &vhdx_blocks};

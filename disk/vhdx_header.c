/*
 * vhdx_header.c - the two headers and the two region tables of a VHDX
 *
 * Of the headers the valid one with the greater sequence number counts. An update writes the other
 * one, so that at any instant one is valid, and then does the same again, so that both say the
 * same. The region tables are written once, when the image is made; one good copy is enough.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "vhdx_internal.h"

/* The log is read into memory as a whole when it has to be replayed; Windows makes one of 1 MiB. */
#define MAX_LOG_BYTES (64 * MIB)

static uint64_t header_offset(uint32_t slot)
{
	return VHDX_HEADER_AT + slot * VHDX_COPY_STRIDE;
}

/* --- headers --- */

static bool header_is_valid(const struct vhdx_header *header)
{
	return !memcmp(header->signature, VHDX_HEADER_SIGNATURE, sizeof(header->signature)) &&
	       header->checksum == crc32c_with_hole(header, sizeof(*header),
						    offsetof(struct vhdx_header, checksum));
}

void vhdx_seal_header(struct vhdx_header *header)
{
	memcpy(header->signature, VHDX_HEADER_SIGNATURE, sizeof(header->signature));
	header->checksum =
		crc32c_with_hole(header, sizeof(*header), offsetof(struct vhdx_header, checksum));
}

static int choose_header(struct image *image, const struct vhdx_header headers[2],
			 struct disk_error *ret_error)
{
	struct vhdx *vhdx = image->vhdx;
	bool valid[2];

	for (uint32_t i = 0; i < 2; i++)
		valid[i] = header_is_valid(&headers[i]);
	if (!valid[0] && !valid[1])
		return vhdx_damaged(image, ret_error, header_offset(0),
				    "neither of its headers is valid");
	if (valid[0] && valid[1] && headers[0].sequence_number == headers[1].sequence_number &&
	    memcmp(&headers[0], &headers[1], sizeof(headers[0])))
		return vhdx_damaged(image, ret_error, header_offset(0),
				    "its two headers have the same number, %" PRIu64 ", and differ",
				    headers[0].sequence_number);
	vhdx->bad_header = !valid[0] || !valid[1];
	vhdx->slot =
		!valid[0] || (valid[1] && headers[1].sequence_number > headers[0].sequence_number);
	vhdx->header = headers[vhdx->slot];
	return 0;
}

static bool lies_in_file(const struct image *image, uint64_t offset, uint64_t bytes)
{
	return offset <= image->file_bytes && bytes <= image->file_bytes - offset;
}

static int check_header(struct image *image, struct disk_error *ret_error)
{
	struct vhdx *vhdx = image->vhdx;
	const struct vhdx_header *header = &vhdx->header;
	uint64_t at = header_offset(vhdx->slot);

	if (header->version != VHDX_VERSION)
		return disk_fail(
			ret_error, -ENOTSUP,
			"%s: VHDX version %u; only 1 is known (at byte %" PRIu64 " of the file)",
			image->path, header->version, at + offsetof(struct vhdx_header, version));
	if (header->sequence_number > UINT64_MAX - 1024)
		return vhdx_damaged(image, ret_error, at, "its header's number cannot grow");
	if (!header->log_length || header->log_length % VHDX_UNIT ||
	    header->log_offset % VHDX_UNIT || header->log_offset < VHDX_UNIT ||
	    !lies_in_file(image, header->log_offset, header->log_length))
		return vhdx_damaged(image, ret_error, at + offsetof(struct vhdx_header, log_length),
				    "a log of %" PRIu32 " bytes at byte %" PRIu64
				    ", not on whole MiB or outside the file",
				    header->log_length, header->log_offset);
	if (header->log_length > MAX_LOG_BYTES)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: a log of %" PRIu32
				 " bytes; 64 MiB are supported (at byte %" PRIu64 " of the file)",
				 image->path, header->log_length,
				 at + offsetof(struct vhdx_header, log_length));
	vhdx->log_offset = header->log_offset;
	vhdx->log_bytes = header->log_length;
	return 0;
}

int vhdx_load_header(struct image *image, struct disk_error *ret_error)
{
	struct vhdx_header headers[2];
	int r;

	for (uint32_t i = 0; i < 2; i++) {
		r = file_read(image->fd, header_offset(i), &headers[i], sizeof(headers[i]));
		if (r == -ENODATA)
			return vhdx_damaged(image, ret_error, image->file_bytes,
					    "truncated inside its headers");
		if (r < 0)
			return disk_fail(ret_error, r, "%s: cannot read its headers: %s",
					 image->path, strerror(-r));
	}
	r = choose_header(image, headers, ret_error);
	return r ? r : check_header(image, ret_error);
}

int vhdx_write_headers(struct image *image)
{
	struct vhdx *vhdx = image->vhdx;

	for (int i = 0; i < 2; i++) {
		struct vhdx_header header = vhdx->header;
		int r;

		header.sequence_number++;
		vhdx_seal_header(&header);
		r = file_write(image->fd, header_offset(!vhdx->slot), &header, sizeof(header));
		if (!r)
			r = file_sync(image->fd);
		if (r < 0)
			return r;
		vhdx->header = header;
		vhdx->slot = !vhdx->slot;
	}
	vhdx->bad_header = false;
	return 0;
}

/* --- regions --- */

static bool regions_are_valid(const uint8_t *table)
{
	const struct vhdx_region_table_header *header = (const void *)table;

	return !memcmp(header->signature, VHDX_REGIONS_SIGNATURE, sizeof(header->signature)) &&
	       header->checksum ==
		       crc32c_with_hole(table, VHDX_REGIONS_BYTES,
					offsetof(struct vhdx_region_table_header, checksum)) &&
	       header->entry_count <= VHDX_MAX_REGIONS;
}

static int check_region(const struct image *image, const struct vhdx_region *region, uint64_t at,
			struct disk_error *ret_error)
{
	if (region->file_offset % VHDX_UNIT || region->file_offset < VHDX_UNIT || !region->length ||
	    region->length % VHDX_UNIT ||
	    !lies_in_file(image, region->file_offset, region->length) ||
	    region->file_offset + region->length > (uint64_t)VHDX_MAX_PLACES * VHDX_UNIT)
		return vhdx_damaged(image, ret_error, at,
				    "a region of %" PRIu32 " bytes at byte %" PRIu64
				    ", not on whole MiB, outside the file or beyond 256 TiB",
				    region->length, region->file_offset);
	return 0;
}

/* Is it one of those we know? */
static int place_region(struct image *image, const struct vhdx_region *region, uint64_t at,
			struct disk_error *ret_error)
{
	static const struct guid bat = VHDX_REGION_BAT, metadata = VHDX_REGION_METADATA;
	struct vhdx *vhdx = image->vhdx;
	bool is_bat = guid_equal(&region->guid, &bat);
	uint64_t *offset = is_bat ? &vhdx->bat_offset : &vhdx->metadata_offset;
	char text[GUID_TEXT_BYTES];

	if (!is_bat && !guid_equal(&region->guid, &metadata)) {
		if (region->flags & VHDX_REGION_REQUIRED)
			return disk_fail(ret_error, -ENOTSUP,
					 "%s: needs an unknown region, %s (at byte %" PRIu64
					 " of the file)",
					 image->path, guid_format(&region->guid, text), at);
		return 0;
	}
	if (*offset)
		return vhdx_damaged(image, ret_error, at, "a second %s region",
				    is_bat ? "block table" : "metadata");
	*offset = region->file_offset;
	*(is_bat ? &vhdx->bat_bytes : &vhdx->metadata_bytes) = region->length;
	return 0;
}

static int take_regions(struct image *image, uint64_t at, struct disk_error *ret_error)
{
	struct vhdx *vhdx = image->vhdx;
	const struct vhdx_region_table_header *header = (const void *)vhdx->regions;
	const struct vhdx_region *region = (const void *)(header + 1);
	uint64_t first = at + sizeof(*header);

	for (uint32_t i = 0; i < header->entry_count; i++) {
		uint64_t place = first + i * sizeof(*region);
		int r = check_region(image, &region[i], place, ret_error);

		if (!r)
			r = place_region(image, &region[i], place, ret_error);
		if (r < 0)
			return r;
	}
	if (!vhdx->bat_offset || !vhdx->metadata_offset)
		return vhdx_damaged(image, ret_error, at, "its region table names no %s",
				    vhdx->bat_offset ? "metadata" : "block table");
	return 0;
}

int vhdx_load_regions(struct image *image, struct disk_error *ret_error)
{
	struct vhdx *vhdx = image->vhdx;
	uint32_t good = 0;

	vhdx->regions = malloc(VHDX_REGIONS_BYTES);
	if (!vhdx->regions)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", image->path);
	/* The second first: the first stays in memory if it is good. */
	for (uint32_t i = 2; i-- > 0;) {
		int r = file_read(image->fd, VHDX_REGIONS_AT + i * VHDX_COPY_STRIDE, vhdx->regions,
				  VHDX_REGIONS_BYTES);

		vhdx->bad_regions[i] = r < 0 || !regions_are_valid(vhdx->regions);
		good += !vhdx->bad_regions[i];
	}
	if (!good)
		return vhdx_damaged(image, ret_error, VHDX_REGIONS_AT,
				    "neither copy of its region table is valid");
	if (vhdx->bad_regions[0] && file_read(image->fd, VHDX_REGIONS_AT + VHDX_COPY_STRIDE,
					      vhdx->regions, VHDX_REGIONS_BYTES) < 0)
		return disk_fail(ret_error, -EIO, "%s: cannot read its region table", image->path);
	return take_regions(image, VHDX_REGIONS_AT + (vhdx->bad_regions[0] ? VHDX_COPY_STRIDE : 0),
			    ret_error);
}

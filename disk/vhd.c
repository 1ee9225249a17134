/*
 * vhd.c - VHD footers and headers: what an image says about itself, checked
 *
 * A dynamic image has its footer twice, at its start and at its end. The end is authoritative
 * where it is valid; one lost copy (power went while the file grew) is rewritten before the
 * image is written to. Anything else that is wrong refuses the image.
 *
 * The size is the footer's "current size" for every creator, as Hyper-V has it. Virtual PC and
 * Virtual Server show their guests cylinders * heads * sectors, which may be less.
 */
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "log.h"
#include "vhd_internal.h"

#define MIN_BLOCK_BYTES 4096u
#define MAX_BLOCK_BYTES (256u * (uint32_t)MIB)
#define MAX_BLOCKS	(16u << 20)

uint32_t vhd_checksum(const void *bytes, size_t count, size_t checksum_offset)
{
	const uint8_t *byte = bytes;
	uint32_t sum = 0;

	for (size_t i = 0; i < count; i++) {
		if (i - checksum_offset >= sizeof(be32))
			sum += byte[i];
	}
	return ~sum;
}

/* The specification's appendix; everything rounds down. */
struct vhd_geometry vhd_geometry(uint64_t bytes)
{
	uint64_t sectors = MIN(bytes / VHD_SECTOR, 65535ull * 16 * 255);
	uint32_t per_track = 255, heads = 16, tracks;

	if (sectors < 65535ull * 16 * 63) {
		per_track = 17;
		tracks = sectors / per_track;
		heads = MAX((tracks + 1023) / 1024, 4u);
		if (tracks >= heads * 1024 || heads > 16) {
			per_track = 31;
			heads = 16;
			tracks = sectors / per_track;
		}
		if (tracks >= heads * 1024)
			per_track = 63;
	}
	return (struct vhd_geometry){sectors / per_track / heads, heads, per_track};
}

/* --- footers --- */

enum footer_state { FOOTER_ABSENT, FOOTER_DAMAGED, FOOTER_VALID };

static enum footer_state judge_footer(const struct vhd_footer *footer)
{
	if (memcmp(footer->cookie, VHD_COOKIE, sizeof(footer->cookie)) &&
	    memcmp(footer->cookie, VHD_COOKIE_DISABLED, sizeof(footer->cookie)))
		return FOOTER_ABSENT;
	if (be32toh(footer->checksum) !=
	    vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum)))
		return FOOTER_DAMAGED;
	return FOOTER_VALID;
}

/* Reads @bytes (511 is an old footer's length), the rest zero. */
static enum footer_state read_footer(const struct image *image, uint64_t offset, size_t bytes,
				     struct vhd_footer *ret_footer)
{
	memset(ret_footer, 0, sizeof(*ret_footer));
	if (file_read(image->fd, offset, ret_footer, bytes) < 0)
		return FOOTER_ABSENT;
	return judge_footer(ret_footer);
}

static enum footer_state read_tail(const struct image *image, struct vhd_footer *ret_footer,
				   uint64_t *ret_offset)
{
	size_t bytes = image->file_bytes % VHD_SECTOR == VHD_OLD_FOOTER_BYTES ? VHD_OLD_FOOTER_BYTES
									      : VHD_FOOTER_BYTES;

	if (image->file_bytes < bytes)
		return FOOTER_ABSENT;
	*ret_offset = image->file_bytes - bytes;
	return read_footer(image, *ret_offset, bytes, ret_footer);
}

static bool is_sparse_type(uint32_t type)
{
	return type == VHD_TYPE_DYNAMIC || type == VHD_TYPE_DIFFERENCING;
}

/*
 * Do the two copies describe different disks? XenServer once changed a flag in only one; and
 * whoever changes the size, or the header's place, writes the one at the end first.
 */
static bool footers_disagree(const struct vhd_footer *a, const struct vhd_footer *b)
{
	return a->disk_type != b->disk_type ||
	       memcmp(a->unique_id, b->unique_id, sizeof(a->unique_id));
}

static const struct {
	uint32_t type;
	enum disk_format format;
} type_formats[] = {{VHD_TYPE_FIXED, DISK_VHD_FIXED},
		    {VHD_TYPE_DYNAMIC, DISK_VHD_DYNAMIC},
		    {VHD_TYPE_DIFFERENCING, DISK_VHD_DIFFERENCING}};

static int check_type(struct image *image, const struct vhd_footer *footer,
		      struct disk_error *ret_error)
{
	uint32_t type = be32toh(footer->disk_type);

	if (!memcmp(footer->cookie, VHD_COOKIE_DISABLED, sizeof(footer->cookie)))
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: XenServer marked this image as not to be used", image->path);
	if (be32toh(footer->version) >> 16 != VHD_VERSION >> 16)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: VHD version %" PRIu32 ".%" PRIu32 "; only 1.0 is known",
				 image->path, be32toh(footer->version) >> 16,
				 be32toh(footer->version) & 0xffff);
	for (size_t i = 0; i < ARRAY_SIZE(type_formats); i++) {
		if (type_formats[i].type == type) {
			image->format = type_formats[i].format;
			return 0;
		}
	}
	return disk_fail(ret_error, -ENOTSUP,
			 "%s: VHD disk type %" PRIu32
			 "; only fixed (2), dynamic (3) and differencing (4) are known",
			 image->path, type);
}

static int check_size(struct image *image, const struct vhd_footer *footer,
		      struct disk_error *ret_error)
{
	uint64_t bytes = be64toh(footer->current_size);

	if (!bytes || bytes % VHD_SECTOR || bytes > INT64_MAX)
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: a disk size of %" PRIu64
				 " bytes, which is no number of sectors",
				 image->path, bytes);
	if (image->format == DISK_VHD_FIXED && bytes > image->vhd->blocks.end)
		return disk_fail(ret_error, -EBADMSG,
				 "%s: truncated: the disk has %" PRIu64
				 " bytes, the file only %" PRIu64 " of them",
				 image->path, bytes, image->vhd->blocks.end);
	if (image->format != DISK_VHD_FIXED && bytes > VHD_MAX_DYNAMIC_BYTES)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: a disk size of %" PRIu64
				 " bytes; a VHD that is not fixed has 2040 GiB at most",
				 image->path, bytes);
	image->bytes = bytes;
	return 0;
}

static void warn_of_geometry(const struct image *image, const struct vhd_footer *footer)
{
	uint64_t geometry =
		(uint64_t)be16toh(footer->cylinders) * footer->heads * footer->sectors * VHD_SECTOR;

	if ((!memcmp(footer->creator, "vpc ", 4) || !memcmp(footer->creator, "vs  ", 4)) &&
	    geometry < image->bytes && be16toh(footer->cylinders) != UINT16_MAX)
		log_warning("%s: made by Virtual PC or Virtual Server, which show %" PRIu64
			    " of its %" PRIu64 " bytes",
			    image->path, geometry, image->bytes);
}

/* Both copies are known: which one counts, and what has to be rewritten. */
static int choose_footer(struct image *image, enum footer_state tail_state,
			 const struct vhd_footer *tail, struct disk_error *ret_error)
{
	struct vhd *vhd = image->vhd;
	enum footer_state front_state;
	struct vhd_footer front;

	if (tail_state == FOOTER_VALID && !is_sparse_type(be32toh(tail->disk_type))) {
		vhd->footer =
			*tail; /* what is at the start of a fixed image belongs to the guest */
		return 0;
	}
	front_state = read_footer(image, 0, sizeof(front), &front);
	if (tail_state != FOOTER_VALID &&
	    (front_state != FOOTER_VALID || !is_sparse_type(be32toh(front.disk_type))))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: the VHD footer's checksum is wrong, and there is "
				 "no valid copy of it",
				 image->path);
	vhd->footer = tail_state == FOOTER_VALID ? *tail : front;
	vhd->tail_dirty = tail_state != FOOTER_VALID;
	if (vhd->tail_dirty)
		vhd->blocks.end = image->file_bytes;
	vhd->front_dirty =
		front_state != FOOTER_VALID || memcmp(&front, &vhd->footer, sizeof(front));
	if (!vhd->tail_dirty && front_state == FOOTER_VALID && !image->read_only &&
	    footers_disagree(tail, &front))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: its two footers describe different disks; it can "
				 "still be opened read-only, as the one at the end has it",
				 image->path);
	return 0;
}

static int vhd_probe(struct image *image, struct disk_error *ret_error)
{
	struct vhd_footer tail, front;
	uint64_t tail_offset = 0;
	enum footer_state tail_state = read_tail(image, &tail, &tail_offset);
	int r;

	if (tail_state == FOOTER_ABSENT &&
	    read_footer(image, 0, sizeof(front), &front) == FOOTER_ABSENT)
		return 0;
	image->vhd = calloc(1, sizeof(*image->vhd));
	if (!image->vhd)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", image->path);
	image->vhd->blocks.end = tail_offset;
	r = choose_footer(image, tail_state, &tail, ret_error);
	if (!r)
		r = check_type(image, &image->vhd->footer, ret_error);
	if (!r)
		r = check_size(image, &image->vhd->footer, ret_error);
	if (r < 0)
		return r;
	memcpy(image->id.bytes, image->vhd->footer.unique_id, sizeof(image->id.bytes));
	image->link = image->id;
	warn_of_geometry(image, &image->vhd->footer);
	return 1;
}

/* --- the dynamic header --- */

static bool outside(const struct image *image, uint64_t offset, uint64_t bytes)
{
	return offset > image->file_bytes || bytes > image->file_bytes - offset;
}

static int check_header(const struct image *image, struct disk_error *ret_error)
{
	const struct vhd_dynamic_header *header = &image->vhd->header;
	uint32_t block_bytes = be32toh(header->block_size);

	if (memcmp(header->cookie, VHD_DYNAMIC_COOKIE, sizeof(header->cookie)))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: there is no dynamic header where its footer says",
				 image->path);
	if (be32toh(header->checksum) !=
	    vhd_checksum(header, sizeof(*header), offsetof(struct vhd_dynamic_header, checksum)))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: the checksum of its dynamic header is wrong",
				 image->path);
	if (be32toh(header->version) >> 16 != VHD_VERSION >> 16)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: dynamic header of version %" PRIu32 ".%" PRIu32
				 "; only 1.0 is known",
				 image->path, be32toh(header->version) >> 16,
				 be32toh(header->version) & 0xffff);
	if (block_bytes & (block_bytes - 1) || block_bytes < MIN_BLOCK_BYTES ||
	    block_bytes > MAX_BLOCK_BYTES)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: a block size of %" PRIu32
				 " bytes; powers of two from 4 KiB to 256 MiB are known",
				 image->path, block_bytes);
	return 0;
}

/* The bitmaps of the first version of XenServer's tapdisk have their bits the other way round. */
static bool has_reversed_bitmaps(const struct vhd_footer *footer)
{
	return !memcmp(footer->creator, "tap", 3) && be32toh(footer->creator_version) == 1;
}

static int check_table(const struct image *image, uint64_t blocks, struct disk_error *ret_error)
{
	const struct vhd *vhd = image->vhd;
	uint64_t bytes = blocks * sizeof(be32), header = be64toh(vhd->footer.data_offset);

	if (blocks > be32toh(vhd->header.max_table_entries))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: a block table of %" PRIu32
				 " entries for a disk of %" PRIu64 " blocks",
				 image->path, be32toh(vhd->header.max_table_entries), blocks);
	if (blocks > MAX_BLOCKS)
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: %" PRIu64 " blocks; up to %u are supported", image->path,
				 blocks, MAX_BLOCKS);
	if (vhd->table_offset % VHD_SECTOR || vhd->table_offset < VHD_FOOTER_BYTES ||
	    outside(image, vhd->table_offset, bytes) ||
	    (vhd->table_offset < header + sizeof(vhd->header) &&
	     header < vhd->table_offset + bytes))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: its block table would begin at byte %" PRIu64
				 ", outside the file or inside other metadata",
				 image->path, vhd->table_offset);
	if (has_reversed_bitmaps(&vhd->footer))
		return disk_fail(ret_error, -ENOTSUP,
				 "%s: made by tapdisk 0.1, whose bitmaps are not understood",
				 image->path);
	return 0;
}

static int check_locators(const struct image *image, struct disk_error *ret_error)
{
	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *locator = &image->vhd->header.locators[i];

		if (be32toh(locator->platform) &&
		    outside(image, be64toh(locator->offset), be32toh(locator->length)))
			return disk_fail(ret_error, -EBADMSG,
					 "%s: damaged: parent locator %zu lies outside the file",
					 image->path, i);
	}
	return 0;
}

static int read_header(struct image *image, struct disk_error *ret_error)
{
	struct vhd *vhd = image->vhd;
	uint64_t offset = be64toh(vhd->footer.data_offset);
	int r;

	if (offset % VHD_SECTOR || offset < VHD_FOOTER_BYTES ||
	    outside(image, offset, sizeof(vhd->header)))
		return disk_fail(ret_error, -EBADMSG,
				 "%s: damaged: its dynamic header would begin at byte %" PRIu64
				 ", outside the file",
				 image->path, offset);
	r = file_read(image->fd, offset, &vhd->header, sizeof(vhd->header));
	if (r < 0)
		return disk_fail(ret_error, r, "%s: cannot read its dynamic header: %s",
				 image->path, strerror(-r));
	return check_header(image, ret_error);
}

static void set_blocks(struct image *image)
{
	struct vhd *vhd = image->vhd;
	struct blocks *blocks = &vhd->blocks;

	blocks->block_bytes = be32toh(vhd->header.block_size);
	blocks->block_shift = __builtin_ctz(blocks->block_bytes);
	blocks->sector_shift = blocks->place_shift = __builtin_ctz(VHD_SECTOR);
	blocks->unit_shift = blocks->block_shift - blocks->sector_shift;
	blocks->bitmap_bytes = ALIGN_UP((blocks->block_bytes / VHD_SECTOR + 7) / 8, VHD_SECTOR);
	blocks->skip = blocks->bitmap_bytes;
	blocks->first_bit = 7;
	image->blocks = blocks;
}

static int vhd_load(struct image *image, struct disk_error *ret_error)
{
	struct vhd *vhd = image->vhd;
	uint64_t blocks;
	int r;

	image->begun = true;
	image->flat = image->format == DISK_VHD_FIXED;
	image->differencing = image->format == DISK_VHD_DIFFERENCING;
	image->can_discard = image->flat;
	if (image->flat)
		return 0;
	image->needs_repair = vhd->tail_dirty || vhd->front_dirty;
	r = read_header(image, ret_error);
	if (r < 0)
		return r;
	set_blocks(image);
	vhd->table_offset = be64toh(vhd->header.table_offset);
	blocks = (image->bytes + vhd->blocks.block_bytes - 1) >> vhd->blocks.block_shift;
	r = check_table(image, blocks, ret_error);
	if (!r && image->differencing)
		r = check_locators(image, ret_error);
	if (r < 0)
		return r;
	vhd->blocks.block_count = blocks;
	return vhd_load_table(image, ret_error);
}

/* The other copy is valid: at any instant at least one is. */
static int vhd_repair(struct image *image)
{
	struct vhd *vhd = image->vhd;
	int r = 0;

	if (vhd->front_dirty) {
		log_warning("%s: the copy of its footer was lost or differs; writing it anew",
			    image->path);
		r = file_write(image->fd, 0, &vhd->footer, sizeof(vhd->footer));
	}
	if (!r && vhd->tail_dirty) {
		log_warning("%s: was not closed properly; writing its footer anew", image->path);
		r = file_write(image->fd, vhd->blocks.end, &vhd->footer, sizeof(vhd->footer));
		if (!r && ftruncate(image->fd, vhd->blocks.end + sizeof(vhd->footer)) < 0)
			r = -errno;
	}
	if (!r && (vhd->front_dirty || vhd->tail_dirty))
		r = file_sync(image->fd);
	if (!r)
		vhd->front_dirty = vhd->tail_dirty = image->needs_repair = false;
	return r;
}

static void vhd_release(struct image *image)
{
	if (image->vhd)
		blocks_free(&image->vhd->blocks);
	free(image->vhd);
}

static void vhd_info(const struct image *image, struct disk_info *info)
{
	const struct vhd_footer *footer = &image->vhd->footer;

	info->cylinders = be16toh(footer->cylinders);
	info->heads = footer->heads;
	info->sectors = footer->sectors;
	for (size_t i = 0;
	     i < sizeof(footer->creator) && footer->creator[i] >= ' ' && footer->creator[i] <= '~';
	     i++)
		info->creator[i] = footer->creator[i];
}

const struct image_driver vhd_driver = {.name = "VHD", .family = "vhd",
					.first = DISK_VHD_FIXED,
					.last = DISK_VHD_DIFFERENCING,
					.suffixes = {".vhd", ".avhd"},
					.probe = vhd_probe,
					.load = vhd_load,
					.repair = vhd_repair,
					.release = vhd_release,
					.info = vhd_info,
					.parent_hints = vhd_parent_hints,
					.check_parent = vhd_check_parent,
					.blocks = &vhd_blocks};

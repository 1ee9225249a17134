/*
 * vhd_create.c - new VHD images
 *
 * Layout of a dynamic or differencing image: footer copy, header, the places of the parent locators
 * (differencing), the table on a page of its own, the footer on the next free page.
 *
 * The creator is given as "win ", Windows: to any name that qemu does not know it shows a disk of
 * cylinders * heads * sectors, which cuts off the end.
 */
#include <endian.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "create.h"
#include "vhd_internal.h"

#define LOCATOR_SPACE	4096u
#define W2RU_AT		4096u
#define MACX_AT		8192u
#define DYNAMIC_TABLE	4096u
#define CHILD_TABLE	12288u
#define CREATOR_VERSION 0x000a0000u
#define MIN_BLOCK	4096u
#define MAX_BLOCK	(256 * MIB)

struct vhd_creation {
	struct creation *common;
	struct vhd_footer footer;
	struct vhd_dynamic_header header;
};

/* --- names of the parent --- */

/* 0 at the end; UINT32_MAX: no UTF-8 */
static uint32_t get_utf8(const uint8_t **at)
{
	static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
	uint32_t lead = *(*at)++, code, more;

	if (lead < 0x80)
		return lead;
	more = lead >= 0xf0 ? 3 : lead >= 0xe0 ? 2 : 1;
	if (lead < 0xc2 || lead > 0xf4)
		return UINT32_MAX;
	code = lead & (0x3f >> more);
	for (uint32_t i = 0; i < more; i++) {
		if ((**at & 0xc0) != 0x80)
			return UINT32_MAX;
		code = code << 6 | (*(*at)++ & 0x3f);
	}
	if (code < least[more] || code > 0x10ffff || (code >= 0xd800 && code < 0xe000))
		return UINT32_MAX;
	return code;
}

static void put_unit(uint8_t *out, uint32_t unit, bool big_endian)
{
	out[big_endian ? 0 : 1] = unit >> 8;
	out[big_endian ? 1 : 0] = unit;
}

/* Bytes, at most @room; -EILSEQ: no UTF-8; -ENAMETOOLONG. */
static int encode_utf16(const char *text, bool big_endian, uint8_t *out, size_t room)
{
	const uint8_t *at = (const uint8_t *)text;
	size_t used = 0;
	uint32_t code;

	while ((code = get_utf8(&at))) {
		if (code == UINT32_MAX)
			return -EILSEQ;
		if (used + (code < 0x10000 ? 2 : 4) > room)
			return -ENAMETOOLONG;
		if (code >= 0x10000) {
			put_unit(out + used, 0xd800 + ((code - 0x10000) >> 10), big_endian);
			used += 2;
			code = 0xdc00 + (code & 0x3ff);
		}
		put_unit(out + used, code, big_endian);
		used += 2;
	}
	return used;
}

static int encode_url(const char *path, char *out, size_t room)
{
	size_t used = snprintf(out, room, "file://");

	for (; *path; path++) {
		bool plain = (*path >= 'a' && *path <= 'z') || (*path >= 'A' && *path <= 'Z') ||
			     (*path >= '0' && *path <= '9') || strchr("-._~/", *path);

		if (used + 4 > room)
			return -ENAMETOOLONG;
		used += snprintf(out + used, room - used, plain ? "%c" : "%%%02X", (uint8_t)*path);
	}
	return used;
}

static void set_locator(struct vhd_locator *locator, enum vhd_platform platform, uint64_t offset,
			uint32_t length)
{
	*locator = (struct vhd_locator){.platform = htobe32(platform),
					.space = htobe32(LOCATOR_SPACE),
					.length = htobe32(length),
					.offset = htobe64(offset)};
}

static int write_names(struct vhd_creation *creation, const char *parent, const char *relative)
{
	uint8_t text[LOCATOR_SPACE];
	int length, r;

	length = encode_utf16(strrchr(parent, '/') + 1, true,
			      (uint8_t *)creation->header.parent_name,
			      sizeof(creation->header.parent_name));
	if (length < 0)
		return length;
	length = encode_utf16(relative, false, text, sizeof(text));
	if (length < 0)
		return length;
	set_locator(&creation->header.locators[0], VHD_PLATFORM_W2RU, W2RU_AT, length);
	r = file_write(creation->common->fd, W2RU_AT, text, length);
	if (r < 0)
		return r;
	length = encode_url(parent, (char *)text, sizeof(text));
	if (length < 0)
		return 0; /* the relative path is what counts */
	set_locator(&creation->header.locators[1], VHD_PLATFORM_MACX, MACX_AT, length);
	return file_write(creation->common->fd, MACX_AT, text, length);
}

static int name_parent(struct vhd_creation *creation)
{
	struct creation_names names;
	int r = creation_name_parent(creation->common, &names);

	if (!r)
		r = write_names(creation, names.parent, names.relative);
	if (r == -EILSEQ)
		return creation_bad_name(creation->common);
	return r;
}

/* --- structures --- */

static uint32_t time_stamp(time_t when)
{
	return htobe32(when > VHD_EPOCH_UNIX ? (uint32_t)(when - VHD_EPOCH_UNIX) : 0);
}

static const uint32_t disk_types[] = {[DISK_VHD_FIXED] = VHD_TYPE_FIXED,
				      [DISK_VHD_DYNAMIC] = VHD_TYPE_DYNAMIC,
				      [DISK_VHD_DIFFERENCING] = VHD_TYPE_DIFFERENCING};

static void make_footer(struct vhd_creation *creation)
{
	struct vhd_geometry geometry = vhd_geometry(creation->common->bytes);
	enum disk_format format = creation->common->options->format;
	struct vhd_footer *footer = &creation->footer;
	struct guid id;

	*footer = (struct vhd_footer){
		.features = htobe32(VHD_FEATURES),
		.version = htobe32(VHD_VERSION),
		.data_offset = format == DISK_VHD_FIXED ? VHD_NO_OFFSET : htobe64(VHD_FOOTER_BYTES),
		.time_stamp = time_stamp(time(NULL)),
		.creator_version = htobe32(CREATOR_VERSION),
		.creator_host = htobe32(VHD_HOST_WINDOWS),
		.original_size = htobe64(creation->common->bytes),
		.current_size = htobe64(creation->common->bytes),
		.cylinders = htobe16(geometry.cylinders),
		.heads = geometry.heads,
		.sectors = geometry.sectors,
		.disk_type = htobe32(disk_types[format])};
	memcpy(footer->cookie, VHD_COOKIE, sizeof(footer->cookie));
	memcpy(footer->creator, "win ", sizeof(footer->creator));
	guid_random(&id);
	memcpy(footer->unique_id, id.bytes, sizeof(id.bytes));
	footer->checksum = htobe32(
		vhd_checksum(footer, sizeof(*footer), offsetof(struct vhd_footer, checksum)));
}

static uint32_t block_count(const struct vhd_creation *creation)
{
	return (creation->common->bytes + creation->common->block_bytes - 1) /
	       creation->common->block_bytes;
}

static int make_header(struct vhd_creation *creation)
{
	struct vhd_dynamic_header *header = &creation->header;
	const struct image *parent = creation->common->parent;
	struct stat status;
	int r = 0;

	header->data_offset = VHD_NO_OFFSET;
	header->table_offset = htobe64(parent ? CHILD_TABLE : DYNAMIC_TABLE);
	header->version = htobe32(VHD_VERSION);
	header->max_table_entries = htobe32(block_count(creation));
	header->block_size = htobe32(creation->common->block_bytes);
	memcpy(header->cookie, VHD_DYNAMIC_COOKIE, sizeof(header->cookie));
	if (parent) {
		memcpy(header->parent_id, parent->id.bytes, sizeof(header->parent_id));
		if (!fstat(parent->fd, &status))
			header->parent_time_stamp = time_stamp(status.st_mtime);
		r = name_parent(creation);
	}
	header->checksum = htobe32(vhd_checksum(header, sizeof(*header),
						offsetof(struct vhd_dynamic_header, checksum)));
	return r;
}

static int write_table(struct vhd_creation *creation, uint64_t *ret_end)
{
	uint64_t at = be64toh(creation->header.table_offset);
	uint64_t end = ALIGN_UP(at + (uint64_t)block_count(creation) * sizeof(be32), PAGE_BYTES);
	size_t bytes = 64 * KIB;
	uint8_t *ones = malloc(bytes);
	int r = ones ? 0 : -ENOMEM;

	if (ones)
		memset(ones, 0xff, bytes);
	for (; !r && at < end; at += MIN(bytes, end - at))
		r = file_write(creation->common->fd, at, ones, MIN(bytes, end - at));
	free(ones);
	*ret_end = end;
	return r;
}

static int write_sparse(struct vhd_creation *creation)
{
	uint64_t end;
	int r = make_header(creation);

	if (!r)
		r = write_table(creation, &end);
	if (!r)
		r = file_write(creation->common->fd, VHD_FOOTER_BYTES, &creation->header,
			       sizeof(creation->header));
	if (!r)
		r = file_write(creation->common->fd, end, &creation->footer,
			       sizeof(creation->footer));
	if (!r)
		r = file_write(creation->common->fd, 0, &creation->footer,
			       sizeof(creation->footer));
	return r;
}

static int write_flat(struct vhd_creation *creation)
{
	const struct creation *common = creation->common;

	if (common->options->preallocate &&
	    fallocate(common->fd, 0, 0, common->bytes + VHD_FOOTER_BYTES) < 0)
		return -errno;
	if (ftruncate(common->fd, common->bytes) < 0)
		return -errno;
	return file_write(common->fd, common->bytes, &creation->footer, sizeof(creation->footer));
}

static int fill(struct creation *common)
{
	struct vhd_creation creation = {.common = common};

	make_footer(&creation);
	return creation_is_fixed(common) ? write_flat(&creation) : write_sparse(&creation);
}

static int check(const struct creation *creation)
{
	const char *path = creation->path;

	if (creation->logical_sector != VHD_SECTOR)
		return disk_fail(creation->error, -EINVAL, "%s: a VHD has sectors of 512 bytes",
				 path);
	if (creation_is_fixed(creation))
		return 0;
	if (creation->bytes > VHD_MAX_DYNAMIC_BYTES)
		return disk_fail(creation->error, -EINVAL,
				 "%s: a %s image has 2040 GiB at most; a VHDX, or a fixed VHD, may "
				 "have more",
				 path, disk_format_name(creation->options->format));
	if (creation->block_bytes & (creation->block_bytes - 1) ||
	    creation->block_bytes < MIN_BLOCK || creation->block_bytes > MAX_BLOCK)
		return disk_fail(creation->error, -EINVAL,
				 "%s: the block size is a power of two from 4 KiB to 256 MiB",
				 path);
	return 0;
}

const struct creator vhd_creator = {.driver = &vhd_driver,
				    .block_bytes = VHD_DEFAULT_BLOCK_BYTES,
				    .check = check,
				    .fill = fill};

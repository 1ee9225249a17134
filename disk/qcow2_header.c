/*
 * qcow2_header.c - what an image of QEMU says about itself, checked
 *
 * Refcounts and internal snapshots do not matter to who only reads the active disk, so what the
 * header says of them is not looked at. Features that change where data are, or what they mean,
 * have a bit among the incompatible ones: an unknown one refuses the image.
 */
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk_internal.h"
#include "qcow2_image.h"

#define MIN_CLUSTER_BITS   9u
#define MAX_CLUSTER_BITS   21u
#define MAX_L1_BYTES	   (32 * MIB) /* QEMU's limit, too */
#define MAX_REFCOUNT_ORDER 6u
#define SECTOR		   512u
#define KNOWN_FEATURES                                                                             \
	(QCOW2_DIRTY | QCOW2_CORRUPT | QCOW2_EXTERNAL_DATA | QCOW2_COMPRESSION_TYPE |              \
	 QCOW2_EXTENDED_L2)

struct opening {
	int fd;
	uint64_t file_bytes;
	const char *path;
	struct disk_error *error;
	struct qcow2_header header;
	uint32_t header_bytes;
	struct qcow2_facts *facts;
};

#define BYTE_OF(field) ((unsigned int)offsetof(struct qcow2_header, field))

static int damaged(const struct opening *opening, unsigned int at, const char *field,
		   uint64_t value)
{
	return disk_fail(opening->error, -EBADMSG,
			 "%s: damaged: byte %u of its header: %s %" PRIu64, opening->path, at,
			 field, value);
}

static int unknown(const struct opening *opening, unsigned int at, const char *field,
		   uint64_t value)
{
	return disk_fail(opening->error, -ENOTSUP,
			 "%s: byte %u of its header: %s %" PRIu64 ", which is not supported",
			 opening->path, at, field, value);
}

static uint64_t cluster_bytes(const struct opening *opening)
{
	return BIT(opening->facts->map.cluster_bits);
}

/* --- the first fields --- */

static int check_version(struct opening *opening)
{
	const struct qcow2_header *header = &opening->header;
	uint32_t version = be32toh(header->version), length = QCOW2_V2_HEADER_BYTES;
	uint32_t bits = be32toh(header->cluster_bits);

	if (be32toh(header->magic) != QCOW2_MAGIC)
		return damaged(opening, 0, "the magic number", be32toh(header->magic));
	if (version != 2 && version != 3)
		return unknown(opening, BYTE_OF(version), "version", version);
	if (bits < MIN_CLUSTER_BITS)
		return damaged(opening, BYTE_OF(cluster_bits), "cluster_bits", bits);
	if (bits > MAX_CLUSTER_BITS)
		return unknown(opening, BYTE_OF(cluster_bits), "cluster_bits", bits);
	if (version == 3)
		length = be32toh(header->header_length);
	if (version == 3 && (length < QCOW2_V3_HEADER_BYTES || length > BIT(bits) || length % 8))
		return damaged(opening, BYTE_OF(header_length), "header_length", length);
	opening->facts->map.version = version;
	opening->facts->map.cluster_bits = bits;
	opening->header_bytes = length;
	return 0;
}

/* Fields that this version, or this length of the header, does not have, are 0. */
static int read_fields(struct opening *opening)
{
	struct qcow2_header *header = &opening->header;
	size_t bytes = MIN(opening->file_bytes, sizeof(*header));
	int r = 0;

	if (bytes < QCOW2_V2_HEADER_BYTES)
		return disk_fail(opening->error, -EBADMSG, "%s: truncated: shorter than its header",
				 opening->path);
	r = file_read(opening->fd, 0, header, bytes);
	if (r < 0)
		return disk_fail(opening->error, r, "%s: cannot read its header: %s", opening->path,
				 strerror(-r));
	r = check_version(opening);
	if (r < 0)
		return r;
	if (opening->header_bytes > opening->file_bytes)
		return disk_fail(opening->error, -EBADMSG, "%s: truncated: shorter than its header",
				 opening->path);
	if (opening->header_bytes < sizeof(*header))
		memset((uint8_t *)header + opening->header_bytes, 0,
		       sizeof(*header) - opening->header_bytes);
	return 0;
}

static int check_compression(const struct opening *opening, uint64_t features)
{
	uint8_t type = opening->header.compression_type;

	if (!(features & QCOW2_COMPRESSION_TYPE) != (type == QCOW2_DEFLATE))
		return damaged(opening, BYTE_OF(compression_type),
			       "a compression type that its features deny:", type);
	if (type > QCOW2_ZSTD)
		return unknown(opening, BYTE_OF(compression_type), "compression type", type);
	opening->facts->map.method = type == QCOW2_ZSTD ? UNPACK_ZSTD : UNPACK_DEFLATE;
	return 0;
}

static int check_features(const struct opening *opening)
{
	uint64_t features = be64toh(opening->header.incompatible_features);
	struct qcow2_facts *facts = opening->facts;

	if (be32toh(opening->header.crypt_method))
		return disk_fail(opening->error, -ENOTSUP,
				 "%s: encrypted (method %" PRIu32 "), which is not supported",
				 opening->path, be32toh(opening->header.crypt_method));
	if (features & ~(uint64_t)KNOWN_FEATURES)
		return unknown(opening, BYTE_OF(incompatible_features),
			       "unknown incompatible features, bits",
			       features & ~(uint64_t)KNOWN_FEATURES);
	if (features & QCOW2_EXTERNAL_DATA)
		return disk_fail(opening->error, -ENOTSUP,
				 "%s: its data are in another file, which is not supported; "
				 "convert it with qemu-img first",
				 opening->path);
	if (features & QCOW2_EXTENDED_L2 && facts->map.cluster_bits < QCOW2_MIN_EXTENDED_BITS)
		return damaged(opening, BYTE_OF(cluster_bits),
			       "too small for subclusters: cluster_bits", facts->map.cluster_bits);
	if (be32toh(opening->header.refcount_order) > MAX_REFCOUNT_ORDER)
		return damaged(opening, BYTE_OF(refcount_order), "refcount_order",
			       be32toh(opening->header.refcount_order));
	facts->map.extended = features & QCOW2_EXTENDED_L2;
	facts->dirty = features & QCOW2_DIRTY;
	facts->corrupt = features & QCOW2_CORRUPT;
	return check_compression(opening, features);
}

/* --- sizes and the L1 table --- */

/* The L1 entries of the disk: all of them have to be in the table, and in the file. */
static uint64_t entries_needed(const struct opening *opening)
{
	const struct qcow2_map *map = &opening->facts->map;
	unsigned int covered = map->cluster_bits * 2 - (map->extended ? 4 : 3);

	return (map->bytes >> covered) + ((map->bytes & (BIT(covered) - 1)) != 0);
}

static int check_l1(const struct opening *opening)
{
	uint64_t offset = be64toh(opening->header.l1_table_offset);
	uint64_t bytes = (uint64_t)be32toh(opening->header.l1_size) * sizeof(be64);

	if (bytes > MAX_L1_BYTES)
		return unknown(opening, BYTE_OF(l1_size), "l1_size", bytes / sizeof(be64));
	if (bytes / sizeof(be64) < entries_needed(opening))
		return damaged(opening, BYTE_OF(l1_size), "too small for the disk: l1_size",
			       bytes / sizeof(be64));
	if (!offset || offset & (cluster_bytes(opening) - 1) || offset > opening->file_bytes ||
	    bytes > opening->file_bytes - offset)
		return damaged(opening, BYTE_OF(l1_table_offset),
			       "unaligned or outside the file: l1_table_offset", offset);
	opening->facts->map.l1_offset = offset;
	return 0;
}

static int check_size(const struct opening *opening)
{
	uint64_t bytes = be64toh(opening->header.size);

	if (!bytes || bytes % SECTOR || bytes > INT64_MAX)
		return damaged(opening, BYTE_OF(size), "no number of sectors: size", bytes);
	opening->facts->map.bytes = bytes;
	return 0;
}

/* --- extensions and the backing file's name --- */

static bool is_text(const char *text, size_t bytes)
{
	for (size_t i = 0; i < bytes; i++) {
		if (iscntrl((unsigned char)text[i]))
			return false;
	}
	return true;
}

static int take_format(const struct opening *opening, const char *text, uint32_t bytes)
{
	struct qcow2_facts *facts = opening->facts;

	if (!bytes || bytes >= sizeof(facts->backing_format) || !is_text(text, bytes))
		return disk_fail(opening->error, -ENOTSUP,
				 "%s: its backing file has a format that is not supported",
				 opening->path);
	if (facts->backing_format[0])
		return disk_fail(opening->error, -EBADMSG,
				 "%s: damaged: two extensions name the backing file's format",
				 opening->path);
	memcpy(facts->backing_format, text, bytes);
	return 0;
}

/* @area: from the end of the header to the backing file's name, or the end of the cluster. */
static int walk_extensions(const struct opening *opening, const char *area, uint32_t bytes)
{
	uint32_t at = 0;

	while (bytes - at >= sizeof(struct qcow2_extension)) {
		struct qcow2_extension extension;
		uint32_t length;
		int r = 0;

		memcpy(&extension, area + at, sizeof(extension));
		if (be32toh(extension.type) == QCOW2_EXTENSION_END)
			return 0;
		at += sizeof(extension);
		length = be32toh(extension.length);
		if (length > bytes - at)
			return disk_fail(opening->error, -EBADMSG,
					 "%s: damaged: the header extension at byte %" PRIu32
					 " has a length of %" PRIu32,
					 opening->path,
					 opening->header_bytes + at - (uint32_t)sizeof(extension),
					 length);
		if (be32toh(extension.type) == QCOW2_EXTENSION_BACKING_FORMAT)
			r = take_format(opening, area + at, length);
		if (r < 0)
			return r;
		at = MIN(bytes, ALIGN_UP(at + length, 8u));
	}
	return 0;
}

static int read_extensions(const struct opening *opening)
{
	uint64_t name = be64toh(opening->header.backing_file_offset);
	uint64_t end = name ? name : MIN(cluster_bytes(opening), opening->file_bytes);
	uint32_t bytes = end - opening->header_bytes;
	char *area = malloc(MAX(bytes, 1u));
	int r;

	if (!area)
		return disk_fail(opening->error, -ENOMEM, "%s: no memory", opening->path);
	r = file_read(opening->fd, opening->header_bytes, area, bytes);
	if (r < 0)
		r = disk_fail(opening->error, r, "%s: cannot read its header: %s", opening->path,
			      strerror(-r));
	else
		r = walk_extensions(opening, area, bytes);
	free(area);
	return r;
}

static int read_backing_name(const struct opening *opening)
{
	uint64_t offset = be64toh(opening->header.backing_file_offset);
	uint32_t bytes = be32toh(opening->header.backing_file_size);
	uint64_t end = MIN(cluster_bytes(opening), opening->file_bytes);
	char *name = opening->facts->backing_file;
	int r;

	if (!offset)
		return 0;
	if (offset < opening->header_bytes || offset > end)
		return damaged(opening, BYTE_OF(backing_file_offset),
			       "outside the first cluster: backing_file_offset", offset);
	if (!bytes || bytes > QCOW2_MAX_NAME_BYTES || bytes > end - offset)
		return damaged(opening, BYTE_OF(backing_file_size), "backing_file_size", bytes);
	r = file_read(opening->fd, offset, name, bytes);
	if (r < 0)
		return disk_fail(opening->error, r, "%s: cannot read its backing file's name: %s",
				 opening->path, strerror(-r));
	name[bytes] = 0;
	if (!is_text(name, bytes))
		return damaged(opening, BYTE_OF(backing_file_offset),
			       "control characters in the backing file's name at byte", offset);
	return 0;
}

int qcow2_read_header(int fd, uint64_t file_bytes, const char *path, struct qcow2_facts *ret_facts,
		      struct disk_error *ret_error)
{
	static int (*const steps[])(const struct opening *opening) = {
		check_features, check_size, check_l1, read_backing_name, read_extensions};
	struct opening opening = {.fd = fd,
				  .file_bytes = file_bytes,
				  .path = path,
				  .error = ret_error,
				  .facts = ret_facts};
	int r;

	*ret_facts = (struct qcow2_facts){.map = {.fd = fd, .file_bytes = file_bytes}};
	r = read_fields(&opening);
	for (size_t i = 0; !r && i < ARRAY_SIZE(steps); i++)
		r = steps[i](&opening);
	return r;
}

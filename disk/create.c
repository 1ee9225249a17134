/*
 * create.c - new images
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
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "disk_internal.h"

#define LOCATOR_SPACE	4096u
#define W2RU_AT		4096u
#define MACX_AT		8192u
#define DYNAMIC_TABLE	4096u
#define CHILD_TABLE	12288u
#define CREATOR_VERSION 0x000a0000u
#define MIN_BLOCK	4096u
#define MAX_BLOCK	(256 * MIB)

struct creation {
	const char *path;
	const struct disk_create_options *options;
	struct disk_error *error;
	int fd;
	uint64_t bytes;
	uint32_t block_bytes;
	struct image *parent;
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

/* How to get from folder @from to file @to, both absolute and resolved; Windows' way. */
static int relative_path(const char *from, const char *to, char *out, size_t room)
{
	size_t common = 0, used;

	for (size_t i = 0; from[i] && from[i] == to[i]; i++) {
		if (to[i] == '/')
			common = i + 1;
	}
	if (!strncmp(from, to, strlen(from)) && to[strlen(from)] == '/')
		common = strlen(from) + 1;
	used = snprintf(out, room, ".\\");
	for (const char *up = from + MIN(common, strlen(from)); *up; up += strspn(up, "/")) {
		up += strcspn(up, "/");
		used += snprintf(out + used, room - used, "..\\");
		if (used + 4 > room)
			return -ENAMETOOLONG;
	}
	if (used + strlen(to + common) + 1 > room)
		return -ENAMETOOLONG;
	strcpy(out + used, to + common);
	for (; out[used]; used++) {
		if (out[used] == '/')
			out[used] = '\\';
	}
	return 0;
}

static int resolved_folder(const char *path, char folder[PATH_MAX])
{
	const char *slash = strrchr(path, '/');
	char copy[PATH_MAX];

	if (snprintf(copy, sizeof(copy), "%.*s", slash ? (int)(slash - path) : 1,
		     slash ? path : ".") >= (int)sizeof(copy))
		return -ENAMETOOLONG;
	if (!realpath(*copy ? copy : "/", folder))
		return -errno;
	return 0;
}

static void set_locator(struct vhd_locator *locator, enum vhd_platform platform, uint64_t offset,
			uint32_t length)
{
	*locator = (struct vhd_locator){.platform = htobe32(platform),
					.space = htobe32(LOCATOR_SPACE),
					.length = htobe32(length),
					.offset = htobe64(offset)};
}

static int write_names(struct creation *creation, const char *parent, const char *relative)
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
	r = file_write(creation->fd, W2RU_AT, text, length);
	if (r < 0)
		return r;
	length = encode_url(parent, (char *)text, sizeof(text));
	if (length < 0)
		return 0; /* the relative path is what counts */
	set_locator(&creation->header.locators[1], VHD_PLATFORM_MACX, MACX_AT, length);
	return file_write(creation->fd, MACX_AT, text, length);
}

static int name_parent(struct creation *creation)
{
	char folder[PATH_MAX], parent[PATH_MAX], relative[LOCATOR_SPACE];
	int r = resolved_folder(creation->path, folder);

	if (!r && !realpath(creation->options->parent, parent))
		r = -errno;
	if (!r && strchr(parent, '\\'))
		r = -EILSEQ;
	if (!r)
		r = relative_path(folder, parent, relative, sizeof(relative));
	if (!r)
		r = write_names(creation, parent, relative);
	if (r == -EILSEQ)
		return disk_fail(creation->error, -EINVAL,
				 "%s: a VHD cannot hold the name of its parent %s: no UTF-8, or "
				 "with a backslash",
				 creation->path, creation->options->parent);
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

static void make_footer(struct creation *creation)
{
	struct vhd_geometry geometry = vhd_geometry(creation->bytes);
	enum disk_format format = creation->options->format;
	struct vhd_footer *footer = &creation->footer;
	struct guid id;

	*footer = (struct vhd_footer){
		.features = htobe32(VHD_FEATURES),
		.version = htobe32(VHD_VERSION),
		.data_offset = format == DISK_VHD_FIXED ? VHD_NO_OFFSET : htobe64(VHD_FOOTER_BYTES),
		.time_stamp = time_stamp(time(NULL)),
		.creator_version = htobe32(CREATOR_VERSION),
		.creator_host = htobe32(VHD_HOST_WINDOWS),
		.original_size = htobe64(creation->bytes),
		.current_size = htobe64(creation->bytes),
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

static uint32_t block_count(const struct creation *creation)
{
	return (creation->bytes + creation->block_bytes - 1) / creation->block_bytes;
}

static int make_header(struct creation *creation)
{
	struct vhd_dynamic_header *header = &creation->header;
	const struct image *parent = creation->parent;
	struct stat status;
	int r = 0;

	header->data_offset = VHD_NO_OFFSET;
	header->table_offset = htobe64(parent ? CHILD_TABLE : DYNAMIC_TABLE);
	header->version = htobe32(VHD_VERSION);
	header->max_table_entries = htobe32(block_count(creation));
	header->block_size = htobe32(creation->block_bytes);
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

/* --- files --- */

static int write_table(struct creation *creation, uint64_t *ret_end)
{
	uint64_t at = be64toh(creation->header.table_offset);
	uint64_t end = ALIGN_UP(at + (uint64_t)block_count(creation) * sizeof(be32), PAGE_BYTES);
	size_t bytes = 64 * KIB;
	uint8_t *ones = malloc(bytes);
	int r = ones ? 0 : -ENOMEM;

	if (ones)
		memset(ones, 0xff, bytes);
	for (; !r && at < end; at += MIN(bytes, end - at))
		r = file_write(creation->fd, at, ones, MIN(bytes, end - at));
	free(ones);
	*ret_end = end;
	return r;
}

static int write_sparse(struct creation *creation)
{
	uint64_t end;
	int r = make_header(creation);

	if (!r)
		r = write_table(creation, &end);
	if (!r)
		r = file_write(creation->fd, VHD_FOOTER_BYTES, &creation->header,
			       sizeof(creation->header));
	if (!r)
		r = file_write(creation->fd, end, &creation->footer, sizeof(creation->footer));
	if (!r)
		r = file_write(creation->fd, 0, &creation->footer, sizeof(creation->footer));
	return r;
}

static int write_flat(struct creation *creation)
{
	bool vhd = creation->options->format == DISK_VHD_FIXED;

	if (creation->options->preallocate &&
	    fallocate(creation->fd, 0, 0, creation->bytes + (vhd ? VHD_FOOTER_BYTES : 0)) < 0)
		return -errno;
	if (ftruncate(creation->fd, creation->bytes) < 0)
		return -errno;
	if (!vhd)
		return 0;
	return file_write(creation->fd, creation->bytes, &creation->footer,
			  sizeof(creation->footer));
}

static int sync_folder(const char *path)
{
	char folder[PATH_MAX];
	int r = resolved_folder(path, folder), fd;

	if (r < 0)
		return r;
	fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	/* Some file systems have no sync of folders. */
	r = fsync(fd) < 0 && errno != EINVAL ? -errno : 0;
	close(fd);
	return r;
}

static int fill(struct creation *creation)
{
	bool flat = creation->options->format == DISK_RAW ||
		    creation->options->format == DISK_VHD_FIXED;
	int r;

	if (creation->options->format != DISK_RAW)
		make_footer(creation);
	r = flat ? write_flat(creation) : write_sparse(creation);
	if (!r && fsync(creation->fd) < 0)
		r = -errno;
	return r ? r : sync_folder(creation->path);
}

static int create_file(struct creation *creation)
{
	int r;

	creation->fd = open(creation->path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
	if (creation->fd < 0)
		return disk_fail(creation->error, -errno, "%s: %s", creation->path,
				 strerror(errno));
	creation->error->text[0] = 0;
	r = fill(creation);
	close(creation->fd);
	if (!r)
		return 0;
	unlink(creation->path);
	if (creation->error->text[0])
		return r;
	return disk_fail(creation->error, r, "%s: cannot create it: %s", creation->path,
			 strerror(-r));
}

/* --- what is asked for --- */

static int check_options(const struct creation *creation)
{
	const char *path = creation->path;
	enum disk_format format = creation->options->format;

	if (!creation->bytes || creation->bytes % VHD_SECTOR || creation->bytes > INT64_MAX / 2)
		return disk_fail(creation->error, -EINVAL,
				 "%s: a disk has a multiple of 512 bytes, not %" PRIu64, path,
				 creation->bytes);
	if (format == DISK_RAW || format == DISK_VHD_FIXED)
		return 0;
	if (creation->bytes > VHD_MAX_DYNAMIC_BYTES)
		return disk_fail(creation->error, -EINVAL,
				 "%s: a %s image has 2040 GiB at most; a fixed or raw one may have "
				 "more",
				 path, disk_format_name(format));
	if (creation->block_bytes & (creation->block_bytes - 1) ||
	    creation->block_bytes < MIN_BLOCK || creation->block_bytes > MAX_BLOCK)
		return disk_fail(creation->error, -EINVAL,
				 "%s: the block size is a power of two from 4 KiB to 256 MiB",
				 path);
	return 0;
}

static int use_parent(struct creation *creation)
{
	const struct disk_create_options *options = creation->options;
	unsigned int length;
	int r;

	if (!options->parent)
		return disk_fail(creation->error, -EINVAL,
				 "%s: a differencing image needs a parent", creation->path);
	r = image_open(options->parent, true, DISK_AUTO, false, &creation->parent, creation->error);
	if (!r) /* the whole chain has to be there */
		r = image_open_parents(creation->parent, 63, &length, creation->error);
	if (r < 0)
		return r;
	creation->bytes = creation->parent->bytes;
	if (!image_is_flat(creation->parent) && !options->block_bytes)
		creation->block_bytes = creation->parent->vhd->block_bytes;
	return 0;
}

int disk_create(const char *path, const struct disk_create_options *options,
		struct disk_error *ret_error)
{
	struct creation creation = {.path = path, .options = options, .error = ret_error};
	int r = 0;

	if (options->format <= DISK_AUTO || options->format > DISK_VHD_DIFFERENCING)
		return disk_fail(ret_error, -EINVAL, "%s: which format to create was not said",
				 path);
	creation.bytes = options->bytes;
	creation.block_bytes =
		options->block_bytes ? options->block_bytes : VHD_DEFAULT_BLOCK_BYTES;
	if (options->format == DISK_VHD_DIFFERENCING)
		r = use_parent(&creation);
	if (!r)
		r = check_options(&creation);
	if (!r)
		r = create_file(&creation);
	image_free(creation.parent);
	return r;
}

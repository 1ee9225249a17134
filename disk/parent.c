/*
 * parent.c - the parents of a differencing image
 *
 * A child names its parent by paths, of which only the relative one is likely to mean something on
 * this host, and by the unique id of its footer. The paths are candidates, tried in a fixed order
 * (docs/formats/vhd.md); the first VHD image with the right id is the parent. The paths come out of
 * a file that may be hostile, so a candidate is opened read-only, must be a regular file (or
 * a block device), and is no parent unless it is a valid VHD with that id: a raw file never is.
 */
#include <ctype.h>
#include <dirent.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_internal.h"
#include "log.h"

#define MAX_LOCATOR_BYTES 4096u
#define MAX_NAME_BYTES	  (MAX_LOCATOR_BYTES * 2) /* UTF-8 of a UTF-16 locator */

/* --- text --- */

static size_t put_utf8(char *out, uint32_t code)
{
	if (code < 0x80) {
		out[0] = code;
		return 1;
	}
	if (code < 0x800) {
		out[0] = 0xc0 | code >> 6;
		out[1] = 0x80 | (code & 0x3f);
		return 2;
	}
	if (code < 0x10000) {
		out[0] = 0xe0 | code >> 12;
		out[1] = 0x80 | (code >> 6 & 0x3f);
		out[2] = 0x80 | (code & 0x3f);
		return 3;
	}
	out[0] = 0xf0 | code >> 18;
	out[1] = 0x80 | (code >> 12 & 0x3f);
	out[2] = 0x80 | (code >> 6 & 0x3f);
	out[3] = 0x80 | (code & 0x3f);
	return 4;
}

static uint32_t get_unit(const uint8_t *bytes, size_t index, bool big_endian)
{
	bytes += index * 2;
	return big_endian ? bytes[0] << 8 | bytes[1] : bytes[1] << 8 | bytes[0];
}

/* @out has room for two bytes for each of @units * 2, and a NUL. Ends at a NUL. -EILSEQ. */
static int decode_utf16(const uint8_t *bytes, size_t units, bool big_endian, char *out)
{
	size_t used = 0;

	for (size_t i = 0; i < units; i++) {
		uint32_t unit = get_unit(bytes, i, big_endian), low;

		if (!unit)
			break;
		if (unit >= 0xd800 && unit < 0xdc00 && i + 1 < units) {
			low = get_unit(bytes, ++i, big_endian);
			if (low < 0xdc00 || low > 0xdfff)
				return -EILSEQ;
			unit = 0x10000 + ((unit & 0x3ff) << 10) + (low & 0x3ff);
		} else if (unit >= 0xd800 && unit < 0xe000) {
			return -EILSEQ;
		}
		used += put_utf8(out + used, unit);
	}
	out[used] = 0;
	return used ? 0 : -EILSEQ;
}

static int hex_digit(char digit)
{
	if (isdigit((unsigned char)digit))
		return digit - '0';
	return isxdigit((unsigned char)digit) ? tolower((unsigned char)digit) - 'a' + 10 : -1;
}

/* "file://host/a%20b" -> "/a b", in place. -EILSEQ for what is no file URL. */
static int decode_url(char *text)
{
	static const char scheme[] = "file://";
	char *from, *to = text;

	if (strncmp(text, scheme, strlen(scheme)))
		return -EILSEQ;
	from = strchr(text + strlen(scheme), '/');
	if (!from)
		return -EILSEQ;
	for (; *from; from++) {
		int high = *from == '%' ? hex_digit(from[1]) : -1;
		int low = high >= 0 ? hex_digit(from[2]) : -1;

		if (low >= 0) {
			if (!high && !low)
				return -EILSEQ;
			*to++ = high << 4 | low;
			from += 2;
		} else {
			*to++ = *from;
		}
	}
	*to = 0;
	return 0;
}

static void slashes(char *path)
{
	for (; *path; path++) {
		if (*path == '\\')
			*path = '/';
	}
}

/* --- candidates --- */

struct search {
	const struct image *child; /* looks for its parent */
	struct image *chain;	   /* the top image: all found so far hang on it */
	struct image *parent;
	bool other_id, loop; /* some candidate was not it, or was in the chain already */
	struct disk_error why;
	int error; /* of the last candidate that exists but is no valid image */
	char tried[PATH_MAX];
};

static bool in_chain(const struct image *chain, const struct stat *status)
{
	for (; chain; chain = chain->parent) {
		if (chain->device == status->st_dev && chain->inode == status->st_ino)
			return true;
	}
	return false;
}

static void try_file(struct search *search, const char *path)
{
	struct disk_error error;
	struct image *image;
	struct stat status;
	int r;

	if (search->parent)
		return;
	if (!search->tried[0])
		snprintf(search->tried, sizeof(search->tried), "%s", path);
	if (stat(path, &status) < 0)
		return;
	if (in_chain(search->chain, &status)) {
		search->loop = true;
		return;
	}
	r = image_open(path, true, DISK_AUTO, false, &image, &error);
	if (r < 0) {
		search->error = r;
		search->why = error;
		return;
	}
	if (memcmp(image->id.bytes, search->child->vhd->header.parent_id, 16)) {
		search->other_id = true;
		image_free(image);
		return;
	}
	search->parent = image;
}

/* The one entry of @folder that is @name but for the case of letters. */
static bool find_other_case(const char *folder, const char *name, char *ret_name, size_t bytes)
{
	DIR *dir = opendir(*folder ? folder : ".");
	struct dirent *entry;
	bool found = false;

	while (dir && !found && (entry = readdir(dir))) {
		found = !strcasecmp(entry->d_name, name);
		if (found)
			snprintf(ret_name, bytes, "%s", entry->d_name);
	}
	if (dir)
		closedir(dir);
	return found;
}

/* Windows does not mind the case of letters: every part of @path that is not there as it is
 * written. */
static bool correct_case(const char *path, char *ret_path, size_t bytes)
{
	char part[NAME_MAX + 1], other[NAME_MAX + 1];
	size_t used = 0;

	ret_path[0] = 0;
	while (*path) {
		size_t slash = strspn(path, "/"), length = strcspn(path + slash, "/");

		if (length > NAME_MAX || used + length + 2 > bytes)
			return false;
		if (slash)
			ret_path[used++] = '/';
		ret_path[used] = 0;
		snprintf(part, sizeof(part), "%.*s", (int)length, path + slash);
		snprintf(ret_path + used, bytes - used, "%s", part);
		if (*part && access(ret_path, F_OK) < 0) {
			ret_path[used] = 0;
			if (!find_other_case(ret_path, part, other, sizeof(other)) ||
			    used + strlen(other) + 2 > bytes)
				return false;
			snprintf(ret_path + used, bytes - used, "%s", other);
		}
		used += strlen(ret_path + used);
		path += slash + length;
	}
	return true;
}

static void try_path(struct search *search, const char *path)
{
	char other[PATH_MAX];

	if (!access(path, F_OK))
		try_file(search, path);
	else if (correct_case(path, other, sizeof(other)))
		try_file(search, other);
	else
		try_file(search, path);
}

static void try_relative(struct search *search, const char *path)
{
	const char *child = search->child->path, *slash = strrchr(child, '/');
	char full[PATH_MAX];
	int length;

	while (path[0] == '.' && path[1] == '/')
		path += 2;
	length = snprintf(full, sizeof(full), "%.*s%s", slash ? (int)(slash + 1 - child) : 0, child,
			  path);
	if (length > 0 && length < (int)sizeof(full))
		try_path(search, full);
}

static void try_last_part(struct search *search, const char *path)
{
	const char *slash = strrchr(path, '/');

	path = slash ? slash + 1 : path;
	if (*path && strcmp(path, ".") && strcmp(path, ".."))
		try_relative(search, path);
}

/* --- what the image names --- */

static int locator_bytes(const struct search *search, enum vhd_platform platform,
			 uint8_t bytes[MAX_LOCATOR_BYTES])
{
	const struct vhd *vhd = search->child->vhd;

	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *locator = &vhd->header.locators[i];
		uint32_t length = be32toh(locator->length);

		if (be32toh(locator->platform) != platform || !length || length > MAX_LOCATOR_BYTES)
			continue;
		if (file_read(search->child->fd, be64toh(locator->offset), bytes, length) < 0)
			continue;
		return length;
	}
	return 0;
}

static bool locator_path(const struct search *search, enum vhd_platform platform, char *path)
{
	uint8_t bytes[MAX_LOCATOR_BYTES];
	int length = locator_bytes(search, platform, bytes);

	if (!length || decode_utf16(bytes, length / 2, false, path) < 0)
		return false;
	slashes(path);
	return true;
}

static void try_w2ru(struct search *search)
{
	char path[MAX_NAME_BYTES + 1];

	if (locator_path(search, VHD_PLATFORM_W2RU, path) && path[0] != '/')
		try_relative(search, path);
}

static void try_macx(struct search *search)
{
	char path[MAX_LOCATOR_BYTES + 1];
	int length = locator_bytes(search, VHD_PLATFORM_MACX, (uint8_t *)path);

	path[length] = 0;
	if (decode_url(path))
		return;
	try_path(search, path);
	try_last_part(search, path);
}

/* "C:\images\base.vhd": the drive means nothing here; a file moved along with the child may be. */
static void try_w2ku(struct search *search)
{
	char path[MAX_NAME_BYTES + 1];

	if (!locator_path(search, VHD_PLATFORM_W2KU, path))
		return;
	if (path[0] == '/')
		try_path(search, path);
	try_last_part(search, path);
}

/* One known writer had it little-endian, though Windows reads that too. */
static void try_name(struct search *search)
{
	const uint8_t *name = (const uint8_t *)search->child->vhd->header.parent_name;
	char path[VHD_PARENT_NAME_UNITS * 4 + 1];

	for (int big_endian = 1; big_endian >= 0; big_endian--) {
		if (decode_utf16(name, VHD_PARENT_NAME_UNITS, big_endian, path) < 0)
			continue;
		slashes(path);
		try_last_part(search, path);
	}
}

static void (*const candidates[])(struct search *search) = {try_w2ru, try_macx, try_w2ku, try_name};

static int not_found(const struct search *search, struct disk_error *ret_error)
{
	const char *child = search->child->path;

	if (search->other_id)
		return disk_fail(ret_error, -ESTALE,
				 "%s: its parent %s is not the image it was made from (their ids "
				 "differ)",
				 child, search->tried);
	if (search->loop)
		return disk_fail(ret_error, -ELOOP, "%s: its chain of parents leads back to itself",
				 child);
	if (search->error)
		return disk_fail(ret_error, search->error,
				 "%s: its parent cannot be opened: %.300s", child,
				 search->why.text);
	return disk_fail(ret_error, -ENOENT, "%s: its parent %s is not there", child,
			 search->tried[0] ? search->tried : "has no name that it");
}

/* Windows records nothing or the file's time, others that of the footer: a hint, no proof. */
static void check_time(const struct image *child, const struct image *parent)
{
	uint32_t stamp = be32toh(child->vhd->header.parent_time_stamp);
	struct stat status;

	if (!stamp || stamp == be32toh(parent->vhd->footer.time_stamp) ||
	    fstat(parent->fd, &status) < 0)
		return;
	if (llabs((int64_t)status.st_mtime - VHD_EPOCH_UNIX - stamp) > 2)
		log_warning("%s: its parent %s may have been changed since it was made (their time "
			    "stamps differ)",
			    child->path, parent->path);
}

static int find_parent(struct image *chain, struct image *child, struct disk_error *ret_error)
{
	struct search search = {.child = child, .chain = chain};

	for (size_t i = 0; i < ARRAY_SIZE(candidates) && !search.parent; i++)
		candidates[i](&search);
	if (!search.parent)
		return not_found(&search, ret_error);
	if (search.parent->bytes > child->bytes) {
		image_free(search.parent);
		return disk_fail(ret_error, -EBADMSG, "%s: damaged: smaller than its parent",
				 child->path);
	}
	check_time(child, search.parent);
	child->parent = search.parent;
	return 0;
}

int image_open_parents(struct image *image, unsigned int max, unsigned int *ret_length,
		       struct disk_error *ret_error)
{
	struct image *last = image;
	unsigned int length = 1;

	for (; last->format == DISK_VHD_DIFFERENCING; last = last->parent, length++) {
		int r;

		if (length >= max)
			return disk_fail(ret_error, -ELOOP,
					 "%s: a chain of more than %u images; merge some",
					 image->path, max);
		r = find_parent(image, last, ret_error);
		if (r < 0)
			return r;
	}
	*ret_length = length;
	return 0;
}

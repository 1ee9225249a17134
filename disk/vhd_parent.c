/*
 * vhd_parent.c - where a differencing VHD says its parent is, and how it knows it
 *
 * By paths, of which only the relative one is likely to mean something on this host, and by the
 * unique id of its footer. The order of the paths: docs/formats/vhd.md.
 */
#include <ctype.h>
#include <endian.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "log.h"
#include "vhd_internal.h"

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

/* --- what the image names --- */

static int locator_bytes(const struct image *child, enum vhd_platform platform,
			 uint8_t bytes[MAX_LOCATOR_BYTES])
{
	const struct vhd *vhd = child->vhd;

	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *locator = &vhd->header.locators[i];
		uint32_t length = be32toh(locator->length);

		if (be32toh(locator->platform) != platform || !length || length > MAX_LOCATOR_BYTES)
			continue;
		if (file_read(child->fd, be64toh(locator->offset), bytes, length) < 0)
			continue;
		return length;
	}
	return 0;
}

static bool locator_path(const struct image *child, enum vhd_platform platform, char *path)
{
	uint8_t bytes[MAX_LOCATOR_BYTES];
	int length = locator_bytes(child, platform, bytes);

	if (!length || decode_utf16(bytes, length / 2, false, path) < 0)
		return false;
	slashes(path);
	return true;
}

static void hint_w2ru(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	char path[MAX_NAME_BYTES + 1];

	if (locator_path(child, VHD_PLATFORM_W2RU, path) && path[0] != '/')
		hint(ctx, PARENT_RELATIVE, path);
}

static void hint_macx(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	char path[MAX_LOCATOR_BYTES + 1];
	int length = locator_bytes(child, VHD_PLATFORM_MACX, (uint8_t *)path);

	path[length] = 0;
	if (decode_url(path))
		return;
	hint(ctx, PARENT_ABSOLUTE, path);
	hint(ctx, PARENT_NAME, path);
}

/* "C:\images\base.vhd": the drive means nothing here; a file moved along with the child may be. */
static void hint_w2ku(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	char path[MAX_NAME_BYTES + 1];

	if (!locator_path(child, VHD_PLATFORM_W2KU, path))
		return;
	if (path[0] == '/')
		hint(ctx, PARENT_ABSOLUTE, path);
	hint(ctx, PARENT_NAME, path);
}

/* One known writer had it little-endian, though Windows reads that too. */
static void hint_name(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	const uint8_t *name = (const uint8_t *)child->vhd->header.parent_name;
	char path[VHD_PARENT_NAME_UNITS * 4 + 1];

	for (int big_endian = 1; big_endian >= 0; big_endian--) {
		if (decode_utf16(name, VHD_PARENT_NAME_UNITS, big_endian, path) < 0)
			continue;
		slashes(path);
		hint(ctx, PARENT_NAME, path);
	}
}

void vhd_parent_hints(const struct image *child, parent_hint_fn *hint, void *ctx)
{
	hint_w2ru(child, hint, ctx);
	hint_macx(child, hint, ctx);
	hint_w2ku(child, hint, ctx);
	hint_name(child, hint, ctx);
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

int vhd_check_parent(const struct image *child, const struct image *parent,
		     struct disk_error *ret_error)
{
	if (parent->driver != &vhd_driver ||
	    memcmp(parent->id.bytes, child->vhd->header.parent_id, sizeof(parent->id.bytes)))
		return -ESTALE;
	if (parent->bytes > child->bytes)
		return disk_fail(ret_error, -EBADMSG, "%s: damaged: smaller than its parent",
				 child->path);
	check_time(child, parent);
	return 0;
}

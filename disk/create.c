/*
 * create.c - new images: what is asked for, and the file
 *
 * A file is made under its name, exclusively, filled by its format, synced with its folder, and
 * removed again when anything fails.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "create.h"

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

int creation_name_parent(const struct creation *creation, struct creation_names *ret_names)
{
	char folder[PATH_MAX];
	int r = resolved_folder(creation->path, folder);

	if (r < 0)
		return r;
	if (!realpath(creation->options->parent, ret_names->parent))
		return -errno;
	if (strchr(ret_names->parent, '\\'))
		return -EILSEQ;
	return relative_path(folder, ret_names->parent, ret_names->relative,
			     sizeof(ret_names->relative));
}

int creation_bad_name(const struct creation *creation)
{
	return disk_fail(
		creation->error, -EINVAL,
		"%s: a differencing image cannot hold the name of its parent %s: no UTF-8, "
		"or with a backslash",
		creation->path, creation->options->parent);
}

/* --- the file --- */

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

static int fill_raw(struct creation *creation)
{
	if (creation->options->preallocate && fallocate(creation->fd, 0, 0, creation->bytes) < 0)
		return -errno;
	return ftruncate(creation->fd, creation->bytes) < 0 ? -errno : 0;
}

static int check_raw(const struct creation *creation)
{
	return 0;
}

static const struct creator raw_creator = {
	.driver = &raw_driver, .check = check_raw, .fill = fill_raw};

static const struct creator *const creators[DISK_FORMATS] = {
	[DISK_RAW] = &raw_creator,
	[DISK_VHD_FIXED] = &vhd_creator,
	[DISK_VHD_DYNAMIC] = &vhd_creator,
	[DISK_VHD_DIFFERENCING] = &vhd_creator,
	[DISK_VHDX_FIXED] = &vhdx_creator,
	[DISK_VHDX_DYNAMIC] = &vhdx_creator,
	[DISK_VHDX_DIFFERENCING] = &vhdx_creator,
};

static int fill(struct creation *creation)
{
	int r = creators[creation->options->format]->fill(creation);

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

static int check_sizes(const struct creation *creation)
{
	uint32_t sector = creation->logical_sector;

	if (!creation->bytes || creation->bytes % sector || creation->bytes > INT64_MAX / 2)
		return disk_fail(creation->error, -EINVAL,
				 "%s: a disk has a multiple of %" PRIu32 " bytes, not %" PRIu64,
				 creation->path, sector, creation->bytes);
	return creators[creation->options->format]->check(creation);
}

static int use_parent(struct creation *creation, const struct creator *creator)
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
	if (creation->parent->driver != creator->driver)
		return disk_fail(creation->error, -EINVAL,
				 "%s: its parent %s is a %s image; that of a %s image is one too",
				 creation->path, options->parent, creation->parent->driver->name,
				 creator->driver->name);
	creation->bytes = creation->parent->bytes;
	creation->logical_sector = creation->parent->logical_sector;
	creation->physical_sector = creation->parent->physical_sector;
	return 0;
}

static uint32_t usual_block(const struct creation *creation, const struct creator *creator)
{
	if (creation->parent && creator->child_block_bytes)
		return creator->child_block_bytes;
	if (creation->parent && creation->parent->blocks)
		return creation->parent->blocks->block_bytes;
	return creator->block_bytes;
}

int disk_create(const char *path, const struct disk_create_options *options,
		struct disk_error *ret_error)
{
	struct creation creation = {.path = path,
				    .options = options,
				    .error = ret_error,
				    .bytes = options->bytes,
				    .logical_sector = options->logical_sector,
				    .physical_sector = options->physical_sector};
	const struct creator *creator =
		(unsigned int)options->format < DISK_FORMATS ? creators[options->format] : NULL;
	int r = 0;

	if (!creator)
		return disk_fail(ret_error, -EINVAL,
				 "%s: which format to create was not said, or it can only be read",
				 path);
	if (!creation.logical_sector)
		creation.logical_sector = 512;
	if (options->format == DISK_VHD_DIFFERENCING || options->format == DISK_VHDX_DIFFERENCING)
		r = use_parent(&creation, creator);
	creation.block_bytes =
		options->block_bytes ? options->block_bytes : usual_block(&creation, creator);
	if (!r)
		r = check_sizes(&creation);
	if (!r)
		r = create_file(&creation);
	image_free(creation.parent);
	return r;
}

/*
 * image.c - one file of a chain: opened, locked, its format found
 *
 * A file is asked for each format by its contents. The one its name stands for comes first, so that
 * a guest that writes another format's mark into its disk does not change what the disk is.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "disk_internal.h"

void image_free(struct image *image)
{
	struct image *parent;

	for (; image; image = parent) {
		parent = image->parent;
		if (image->driver && image->driver->release)
			image->driver->release(image);
		if (image->fd >= 0)
			close(image->fd);
		free(image->path);
		free(image->parent_name);
		free(image);
	}
}

/* Locks of the open file description: dropped with its descriptor, whoever else opens the file. */
static int image_lock(struct image *image, struct disk_error *ret_error)
{
	struct flock lock = {.l_type = image->read_only ? F_RDLCK : F_WRLCK, .l_whence = SEEK_SET};

	if (fcntl(image->fd, F_OFD_SETLK, &lock) == 0)
		return 0;
	if (errno == EAGAIN || errno == EACCES)
		return disk_fail(
			ret_error, -EAGAIN,
			image->read_only
				? "%s: in use: another virtual machine or tool writes to it"
				: "%s: in use by another virtual machine or tool",
			image->path);
	return disk_fail(ret_error, -errno, "%s: cannot lock it: %s", image->path, strerror(errno));
}

static int image_measure(struct image *image, struct disk_error *ret_error)
{
	struct stat status;
	uint64_t bytes;

	if (fstat(image->fd, &status) < 0)
		return disk_fail(ret_error, -errno, "%s: %s", image->path, strerror(errno));
	image->device = status.st_dev;
	image->inode = status.st_ino;
	image->file_bytes = status.st_size;
	if (S_ISREG(status.st_mode))
		return 0;
	if (!S_ISBLK(status.st_mode))
		return disk_fail(ret_error, -EINVAL, "%s: neither a file nor a block device",
				 image->path);
	if (ioctl(image->fd, BLKGETSIZE64, &bytes) < 0)
		return disk_fail(ret_error, -errno, "%s: cannot tell its size: %s", image->path,
				 strerror(errno));
	image->file_bytes = bytes;
	return 0;
}

/* --- whose format it is --- */

static bool has_suffix(const char *path, const char *suffix)
{
	size_t length = strlen(path), wanted = strlen(suffix);

	return length > wanted && !strcasecmp(path + length - wanted, suffix);
}

static bool is_named_for(const char *path, const struct image_driver *driver)
{
	for (size_t i = 0; i < ARRAY_SIZE(driver->suffixes) && driver->suffixes[i]; i++) {
		if (has_suffix(path, driver->suffixes[i]))
			return true;
	}
	return false;
}

const char *disk_family_of_name(const char *path)
{
	for (size_t i = 0; image_drivers[i]; i++) {
		if (is_named_for(path, image_drivers[i]))
			return image_drivers[i]->family;
	}
	return NULL;
}

const char *disk_format_family(enum disk_format format)
{
	for (size_t i = 0; image_drivers[i]; i++) {
		if (image_drivers[i]->first <= format && format <= image_drivers[i]->last)
			return image_drivers[i]->family;
	}
	return NULL;
}

/* As of probe(). */
static int ask(struct image *image, const struct image_driver *driver, struct disk_error *ret_error)
{
	image->driver = driver;
	return driver->probe(image, ret_error);
}

static int ask_all(struct image *image, enum disk_format format, bool by_name,
		   struct disk_error *ret_error)
{
	for (size_t i = 0; image_drivers[i]; i++) {
		const struct image_driver *driver = image_drivers[i];
		int r;

		if (format != DISK_AUTO && (format < driver->first || format > driver->last))
			continue;
		if (by_name && !is_named_for(image->path, driver))
			continue;
		r = ask(image, driver, ret_error);
		if (r)
			return r;
	}
	image->driver = NULL;
	return 0;
}

/*
 * What is at the start and the end of some formats' files belongs to the guest: it could write
 * another format's mark there. Where a file has two and its name does not settle it, somebody must.
 */
static int refuse_two_marks(const struct image *image, struct disk_error *ret_error)
{
	for (size_t i = 0; image_drivers[i]; i++) {
		struct image other = {.fd = image->fd,
				      .read_only = true,
				      .path = image->path,
				      .file_bytes = image->file_bytes};
		struct disk_error ignored;
		int r;

		if (image_drivers[i] == image->driver)
			continue;
		r = ask(&other, image_drivers[i], &ignored);
		if (other.driver->release)
			other.driver->release(&other);
		if (r > 0)
			return disk_fail(
				ret_error, -EINVAL,
				"%s: could be a %s or a %s image: say which, or name it so",
				image->path, image->driver->name, other.driver->name);
	}
	return 0;
}

static int load(struct image *image, enum disk_format format, struct disk_error *ret_error)
{
	int r;

	if (image->driver->read_only && !image->read_only)
		return disk_fail(ret_error, -EROFS,
				 "%s: %s images can only be read; convert it to write to it",
				 image->path, image->driver->name);
	r = image->driver->load(image, ret_error);
	if (!r && format != DISK_AUTO && format != image->format)
		return disk_fail(ret_error, -EINVAL, "%s: its format is %s, not %s", image->path,
				 disk_format_name(image->format), disk_format_name(format));
	return r;
}

static int identify(struct image *image, enum disk_format format, bool allow_raw,
		    struct disk_error *ret_error)
{
	int r;

	if (format == DISK_RAW)
		return image_become_raw(image, ret_error);
	r = ask_all(image, format, true, ret_error);
	if (!r) {
		r = ask_all(image, format, false, ret_error);
		if (r > 0 && format == DISK_AUTO && refuse_two_marks(image, ret_error) < 0)
			return -EINVAL;
	}
	if (r < 0)
		return r;
	if (r > 0)
		return load(image, format, ret_error);
	if (format == DISK_AUTO && allow_raw)
		return image_become_raw(image, ret_error);
	return disk_fail(ret_error, -EBADMSG,
			 "%s: bears the mark of no known format (a VHD has it at its end): no disk "
			 "image, or truncated",
			 image->path);
}

static int image_open_file(struct image *image, struct disk_error *ret_error)
{
	/* O_NONBLOCK: a FIFO must not stop us; regular files do not mind. */
	int flags = (image->read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC | O_NONBLOCK | O_NOCTTY;
	int r;

	image->fd = open(image->path, flags);
	if (image->fd < 0)
		return disk_fail(ret_error, -errno, "%s: %s", image->path, strerror(errno));
	r = image_measure(image, ret_error);
	if (!r)
		r = image_lock(image, ret_error);
	/* Again: it may have grown before we had the lock. */
	return r ? r : image_measure(image, ret_error);
}

int image_open(const char *path, bool read_only, enum disk_format format, bool allow_raw,
	       struct image **ret_image, struct disk_error *ret_error)
{
	_cleanup_(image_freep) struct image *image = calloc(1, sizeof(*image));
	int r;

	if (!image)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", path);
	image->fd = -1;
	image->read_only = read_only;
	image->logical_sector = image->physical_sector = 512;
	image->fill_from = UINT64_MAX;
	image->path = strdup(path);
	if (!image->path)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", path);
	r = image_open_file(image, ret_error);
	if (!r)
		r = identify(image, format, allow_raw, ret_error);
	if (r < 0)
		return r;
	image_name_parent(image);
	*ret_image = TAKE(image);
	return 0;
}

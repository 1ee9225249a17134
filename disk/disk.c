/*
 * disk.c - opening and closing disks, and the synchronous face
 */
#include "disk.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <linux/fs.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "disk_internal.h"
#include "log.h"

#define DEFAULT_MAX_CHAIN 64u
#define SYNC_DEPTH	  16

static const char *const format_names[] = {[DISK_AUTO] = "auto",
					   [DISK_RAW] = "raw",
					   [DISK_VHD_FIXED] = "vhd-fixed",
					   [DISK_VHD_DYNAMIC] = "vhd-dynamic",
					   [DISK_VHD_DIFFERENCING] = "vhd-differencing"};

const char *disk_format_name(enum disk_format format)
{
	return (unsigned int)format < ARRAY_SIZE(format_names) ? format_names[format] : "unknown";
}

int disk_fail(struct disk_error *ret_error, int result, const char *format, ...)
{
	va_list args;

	va_start(args, format);
	vsnprintf(ret_error->text, sizeof(ret_error->text), format, args);
	va_end(args);
	return result;
}

/* --- one file --- */

void image_free(struct image *image)
{
	struct image *parent;

	for (; image; image = parent) {
		parent = image->parent;
		vhd_free(image->vhd);
		if (image->fd >= 0)
			close(image->fd);
		free(image->path);
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

/* A raw image has no id of its own: one that stays the same as long as the file does. */
static void derive_id(struct image *image)
{
	memcpy(image->id.bytes, &image->device, 8);
	memcpy(image->id.bytes + 8, &image->inode, 8);
	image->id.bytes[7] = (image->id.bytes[7] & 0x0f) | 0x80; /* version 8: custom */
	image->id.bytes[8] = (image->id.bytes[8] & 0x3f) | 0x80;
}

static int become_raw(struct image *image, struct disk_error *ret_error)
{
	if (!image->file_bytes)
		return disk_fail(ret_error, -EINVAL, "%s: empty: a disk has one sector at least",
				 image->path);
	image->format = DISK_RAW;
	image->bytes = ALIGN_UP(image->file_bytes, (uint64_t)VHD_SECTOR);
	derive_id(image);
	return 0;
}

static int identify(struct image *image, enum disk_format format, bool allow_raw,
		    struct disk_error *ret_error)
{
	int r;

	if (format == DISK_RAW)
		return become_raw(image, ret_error);
	r = vhd_probe(image, ret_error);
	if (r < 0)
		return r;
	if (!image->vhd && format == DISK_AUTO && allow_raw)
		return become_raw(image, ret_error);
	if (!image->vhd)
		return disk_fail(ret_error, -EBADMSG,
				 "%s: no VHD footer at its end or its start: not a VHD image, or "
				 "truncated",
				 image->path);
	if (format != DISK_AUTO && format != image->format)
		return disk_fail(ret_error, -EINVAL, "%s: its format is %s, not %s", image->path,
				 disk_format_name(image->format), disk_format_name(format));
	return image_is_flat(image) ? 0 : vhd_load(image, ret_error);
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
	image->path = strdup(path);
	if (!image->path)
		return disk_fail(ret_error, -ENOMEM, "%s: no memory", path);
	r = image_open_file(image, ret_error);
	if (!r)
		r = identify(image, format, allow_raw, ret_error);
	if (r < 0)
		return r;
	*ret_image = TAKE(image);
	return 0;
}

/* --- the disk --- */

static int disk_new(struct disk **ret_disk)
{
	struct disk *disk = calloc(1, sizeof(*disk));
	int r;

	if (!disk)
		return -ENOMEM;
	r = queue_new(NULL, SYNC_DEPTH, &inline_backend, &disk->sync_queue);
	if (r < 0) {
		free(disk);
		return r;
	}
	pthread_mutex_init(&disk->lock, NULL);
	pthread_mutex_init(&disk->sync_lock, NULL);
	commit_init(disk);
	*ret_disk = disk;
	return 0;
}

static void disk_free(struct disk *disk)
{
	bitmap_cache_free(disk);
	image_free(disk->top);
	disk_queue_free(disk->sync_queue);
	pthread_mutex_destroy(&disk->lock);
	pthread_mutex_destroy(&disk->sync_lock);
	free(disk);
}

static int open_chain(struct disk *disk, const char *path, const struct disk_options *options,
		      struct disk_error *ret_error)
{
	unsigned int max = options->max_chain ? options->max_chain : DEFAULT_MAX_CHAIN;
	int r = image_open(path, options->read_only, options->format, options->allow_raw,
			   &disk->top, ret_error);

	if (!r)
		r = image_open_parents(disk->top, max, &disk->chain_length, ret_error);
	if (r < 0 || options->read_only || !disk->top->vhd)
		return r;
	r = vhd_repair(disk->top);
	if (r < 0)
		return disk_fail(ret_error, r, "%s: cannot rewrite its footer: %s", path,
				 strerror(-r));
	return 0;
}

int disk_open(const char *path, const struct disk_options *options, struct disk **ret_disk,
	      struct disk_error *ret_error)
{
	struct disk *disk;
	int r = disk_new(&disk);

	if (r < 0)
		return disk_fail(ret_error, r, "%s: %s", path, strerror(-r));
	disk->read_only = options->read_only;
	r = open_chain(disk, path, options, ret_error);
	if (r < 0) {
		disk_free(disk);
		return r;
	}
	*ret_disk = disk;
	return 0;
}

void disk_close(struct disk *disk)
{
	int r;

	if (!disk)
		return;
	r = disk_flush(disk);
	if (r < 0)
		log_error("%s: what was written last may be lost: %s", disk->top->path,
			  strerror(-r));
	while (disk->pending) {
		struct allocation *allocation = disk->pending;

		disk->pending = allocation->next;
		free(allocation);
	}
	disk_free(disk);
}

void disk_get_info(const struct disk *disk, struct disk_info *ret_info)
{
	const struct image *top = disk->top;
	const struct vhd *vhd = top->vhd;

	*ret_info = (struct disk_info){.format = top->format,
				       .bytes = top->bytes,
				       .logical_sector = VHD_SECTOR,
				       .physical_sector = VHD_SECTOR,
				       .id = top->id,
				       .read_only = disk->read_only,
				       .can_discard = image_is_flat(top) && !disk->read_only,
				       .chain_length = disk->chain_length,
				       .path = top->path};
	if (!vhd)
		return;
	ret_info->block_bytes = vhd->block_bytes;
	ret_info->cylinders = be16toh(vhd->footer.cylinders);
	ret_info->heads = vhd->footer.heads;
	ret_info->sectors = vhd->footer.sectors;
}

/* --- the synchronous face --- */

struct sync_request {
	struct disk_request request;
	struct iovec iov;
	bool done;
	int result;
};

static void sync_request_done(struct disk_request *request, int result)
{
	struct sync_request *sync = container_of(request, struct sync_request, request);

	sync->result = result;
	sync->done = true;
}

static int perform(struct disk *disk, enum disk_op op, uint64_t offset, void *bytes, size_t count)
{
	struct sync_request sync = {.request = {.op = op,
						.offset = offset,
						.bytes = count,
						.iov = &sync.iov,
						.iov_count = 1,
						.done = sync_request_done},
				    .iov = {bytes, count}};

	pthread_mutex_lock(&disk->sync_lock);
	disk_submit(disk->sync_queue, disk, &sync.request);
	queue_run_until(disk->sync_queue, &sync.done);
	pthread_mutex_unlock(&disk->sync_lock);
	return sync.result;
}

int disk_pread(struct disk *disk, uint64_t offset, void *bytes, size_t count)
{
	return perform(disk, DISK_READ, offset, bytes, count);
}

int disk_pwrite(struct disk *disk, uint64_t offset, const void *bytes, size_t count)
{
	return perform(disk, DISK_WRITE, offset, (void *)bytes, count);
}

int disk_flush(struct disk *disk)
{
	return perform(disk, DISK_FLUSH, 0, NULL, 0);
}

/* The file's own position, which this moves, is used by nobody else. */
static uint64_t flat_next_data(const struct image *image, uint64_t offset)
{
	off_t at = lseek(image->fd, offset, SEEK_DATA);

	if (at < 0)
		return errno == ENXIO ? image->bytes : offset;
	return MIN((uint64_t)at, image->bytes);
}

static uint64_t image_next_data(const struct image *image, uint64_t offset)
{
	const struct vhd *vhd = image->vhd;
	uint32_t block;

	if (offset >= image->bytes)
		return UINT64_MAX;
	if (image_is_flat(image))
		return flat_next_data(image, offset);
	block = table_next_allocated(vhd, offset >> vhd->block_shift);
	return MAX(offset, (uint64_t)block << vhd->block_shift);
}

uint64_t disk_next_data(struct disk *disk, uint64_t offset)
{
	uint64_t next = disk->top->bytes;

	pthread_mutex_lock(&disk->lock);
	for (const struct image *image = disk->top; image; image = image->parent) {
		uint64_t at = image_next_data(image, offset);

		next = MIN(next, at);
	}
	pthread_mutex_unlock(&disk->lock);
	return ALIGN_DOWN(next, (uint64_t)VHD_SECTOR);
}

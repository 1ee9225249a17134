/*
 * disk.c - opening and closing disks, and the synchronous face
 */
#include "disk.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "disk_internal.h"
#include "log.h"

#define DEFAULT_MAX_CHAIN 64u
#define SYNC_DEPTH	  16

static const char *const format_names[DISK_FORMATS] = {[DISK_AUTO] = "auto",
						       [DISK_RAW] = "raw",
						       [DISK_VHD_FIXED] = "vhd-fixed",
						       [DISK_VHD_DYNAMIC] = "vhd-dynamic",
						       [DISK_VHD_DIFFERENCING] = "vhd-differencing",
						       [DISK_VHDX_FIXED] = "vhdx-fixed",
						       [DISK_VHDX_DYNAMIC] = "vhdx-dynamic",
						       [DISK_VHDX_DIFFERENCING] =
							       "vhdx-differencing",
						       [DISK_VMDK] = "vmdk",
						       [DISK_QCOW2] = "qcow2"};

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

/* A guest that has a raw disk could write an image into it that names other files of the host's. */
static int check_name(const struct image *image, struct disk_error *ret_error)
{
	const char *found = disk_format_family(image->format);
	const char *named = disk_family_of_name(image->path);

	if (!found || (named && !strcmp(found, named)))
		return 0;
	return disk_fail(ret_error, -EINVAL,
			 "%s: has the contents of a %s image but not its name; say format=%s or "
			 "format=raw",
			 image->path, found, found);
}

static int open_chain(struct disk *disk, const char *path, const struct disk_options *options,
		      struct disk_error *ret_error)
{
	unsigned int max = options->max_chain ? options->max_chain : DEFAULT_MAX_CHAIN;
	int r = image_open(path, options->read_only, options->format, options->allow_raw,
			   &disk->top, ret_error);

	disk->chain_length = 1;
	if (!r && options->by_name && options->format == DISK_AUTO)
		r = check_name(disk->top, ret_error);
	if (!r && !options->no_parents)
		r = image_open_parents(disk->top, max, &disk->chain_length, ret_error);
	if (r < 0)
		return r;
	disk->sector = disk->top->logical_sector;
	if (options->read_only || !disk->top->driver->repair)
		return 0;
	r = disk->top->driver->repair(disk->top);
	if (r < 0)
		return disk_fail(ret_error, r, "%s: cannot repair what was not closed properly: %s",
				 path, strerror(-r));
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
	if (!r && !disk->read_only && disk->top->driver->close)
		r = disk->top->driver->close(disk->top);
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

	*ret_info = (struct disk_info){.format = top->format,
				       .bytes = top->bytes,
				       .logical_sector = top->logical_sector,
				       .physical_sector = top->physical_sector,
				       .block_bytes = top->blocks ? top->blocks->block_bytes : 0,
				       .id = top->id,
				       .link = top->link,
				       .read_only = disk->read_only,
				       .can_discard = top->can_discard && !disk->read_only,
				       .chain_length = disk->chain_length,
				       .path = top->path};
	if (top->driver->info)
		top->driver->info(top, ret_info);
}

int disk_get_image(const struct disk *disk, unsigned int depth, struct disk_image *ret_image)
{
	const struct image *image = disk->top;

	for (; image && depth; depth--)
		image = image->parent;
	if (!image)
		return -ERANGE;
	*ret_image =
		(struct disk_image){.format = image->format,
				    .bytes = image->bytes,
				    .file_bytes = image->file_bytes,
				    .block_bytes = image->blocks ? image->blocks->block_bytes : 0,
				    .id = image->id,
				    .link = image->link,
				    .path = image->path,
				    .parent_name = image->parent_name,
				    .needs_repair = image->needs_repair};
	return 0;
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

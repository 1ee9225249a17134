/*
 * convert.c - the disk that a chain of images shows, as one new image
 *
 * The new image is made under another name, filled by copy.c, flushed, closed, and only then gets
 * its name. Nothing of the source is changed.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "copy.h"
#include "new_file.h"
#include "vhd_footer.h"

struct conversion {
	const char *source, *target;
	const struct disk_convert_options *options;
	struct disk_error *error;
	struct disk *source_disk;
	uint64_t source_bytes, target_bytes;
};

static bool is_stream(const char *path)
{
	return !strcmp(path, DISK_STREAM);
}

/* --- what goes in --- */

/* A file that is redirected into us says how long it is. */
static int stream_size(struct conversion *conversion)
{
	off_t at = lseek(STDIN_FILENO, 0, SEEK_CUR);
	struct stat status;

	conversion->source_bytes = conversion->options->bytes;
	if (!conversion->source_bytes && at >= 0 && !fstat(STDIN_FILENO, &status) &&
	    S_ISREG(status.st_mode) && status.st_size > at)
		conversion->source_bytes = status.st_size - at;
	if (!conversion->source_bytes)
		return disk_fail(
			conversion->error, -EINVAL,
			"standard input: how large the disk is must be said (--size), since "
			"a stream does not tell");
	conversion->source_bytes = ALIGN_UP(conversion->source_bytes, (uint64_t)VHD_SECTOR);
	return 0;
}

static int open_source(struct conversion *conversion)
{
	struct disk_options open = {
		.read_only = true, .allow_raw = true, .format = conversion->options->source_format};
	struct disk_info info;
	int r;

	if (is_stream(conversion->source))
		return stream_size(conversion);
	r = disk_open(conversion->source, &open, &conversion->source_disk, conversion->error);
	if (r < 0)
		return r;
	disk_get_info(conversion->source_disk, &info);
	conversion->source_bytes = info.bytes;
	return 0;
}

/* It may be longer than was said. */
static int check_stream_end(const struct conversion *conversion)
{
	char byte;

	if (!conversion->source_disk && read(STDIN_FILENO, &byte, 1) > 0)
		return disk_fail(conversion->error, -EFBIG,
				 "standard input: holds more than the %" PRIu64
				 " bytes that were said",
				 conversion->source_bytes);
	return 0;
}

static int copy_into(const struct conversion *conversion, struct copy_end target)
{
	struct copy copy = {
		.source = {.disk = conversion->source_disk,
			   .stream = STDIN_FILENO,
			   .name = conversion->source_disk ? conversion->source : "standard input"},
		.target = target,
		.bytes = conversion->source_bytes,
		.progress_total = conversion->source_bytes,
		.progress = conversion->options->progress};
	int r = copy_run(&copy, conversion->error);

	return r ? r : check_stream_end(conversion);
}

/* --- what comes out --- */

static int fill_image(const struct conversion *conversion, const char *path)
{
	struct disk_options open = {.format = conversion->options->format};
	struct disk *disk;
	int r = disk_open(path, &open, &disk, conversion->error);

	if (r < 0)
		return r;
	r = copy_into(conversion, (struct copy_end){.disk = disk, .name = conversion->target});
	if (!r) {
		r = disk_flush(disk);
		if (r < 0)
			disk_fail(conversion->error, r, "%s: cannot bring it to disk: %s",
				  conversion->target, strerror(-r));
	}
	disk_close(disk);
	return r;
}

static int make_image(const struct conversion *conversion)
{
	struct disk_create_options create = {.format = conversion->options->format,
					     .bytes = conversion->target_bytes,
					     .block_bytes = conversion->options->block_bytes,
					     .preallocate = conversion->options->preallocate};
	struct new_file file;
	int r = new_file_begin(&file, conversion->target, conversion->error);

	if (r < 0)
		return r;
	r = disk_create(file.part, &create, conversion->error);
	if (!r) {
		r = fill_image(conversion, file.part);
		if (!r)
			r = new_file_finish(&file, conversion->error);
		if (r < 0)
			new_file_drop(&file);
	}
	if (r < 0)
		new_file_name_error(&file, conversion->error);
	return r;
}

static int write_all(int fd, const void *bytes, size_t count)
{
	const uint8_t *at = bytes;

	while (count) {
		ssize_t moved = write(fd, at, count);

		if (moved < 0 && errno != EINTR)
			return -errno;
		if (moved > 0) {
			at += moved;
			count -= moved;
		}
	}
	return 0;
}

static int make_stream(const struct conversion *conversion)
{
	static const uint8_t zeros[64 * KIB];
	uint64_t missing = conversion->target_bytes - conversion->source_bytes;
	struct vhd_footer footer;
	int r = copy_into(conversion,
			  (struct copy_end){.stream = STDOUT_FILENO, .name = "standard output"});

	if (r < 0)
		return r;
	for (; !r && missing; missing -= MIN(missing, sizeof(zeros)))
		r = write_all(STDOUT_FILENO, zeros, MIN(missing, sizeof(zeros)));
	if (!r && conversion->options->format == DISK_VHD_FIXED) {
		vhd_fixed_footer(&footer, conversion->target_bytes);
		r = write_all(STDOUT_FILENO, &footer, sizeof(footer));
	}
	if (r < 0)
		return disk_fail(conversion->error, r, "standard output: cannot write to it: %s",
				 strerror(-r));
	return 0;
}

/* --- */

static int check_options(const struct conversion *conversion)
{
	const struct disk_convert_options *options = conversion->options;
	bool flat = options->format == DISK_RAW || options->format == DISK_VHD_FIXED;

	if (is_stream(conversion->target) && !flat)
		return disk_fail(
			conversion->error, -EINVAL,
			"standard output: takes raw or vhd-fixed; a %s image is not written "
			"from front to end",
			disk_format_name(options->format));
	if (is_stream(conversion->source) && options->source_format != DISK_RAW &&
	    options->source_format != DISK_AUTO)
		return disk_fail(conversion->error, -EINVAL,
				 "standard input: is read as raw; put a %s image in a file",
				 disk_format_name(options->source_format));
	if (options->azure && options->format != DISK_VHD_FIXED)
		return disk_fail(conversion->error, -EINVAL,
				 "%s: Azure takes vhd-fixed only, not %s", conversion->target,
				 disk_format_name(options->format));
	return 0;
}

int disk_convert(const char *source, const char *target, const struct disk_convert_options *options,
		 struct disk_error *ret_error)
{
	struct conversion conversion = {
		.source = source, .target = target, .options = options, .error = ret_error};
	int r = check_options(&conversion);

	if (!r)
		r = open_source(&conversion);
	if (r < 0)
		return r;
	conversion.target_bytes =
		options->azure ? ALIGN_UP(conversion.source_bytes, MIB) : conversion.source_bytes;
	r = is_stream(target) ? make_stream(&conversion) : make_image(&conversion);
	disk_close(conversion.source_disk);
	return r;
}

/*
 * vhd_make.c - `mullion vhd create` and `convert`: new images
 */
#include <string.h>

#include "log.h"
#include "vhd.h"

static bool is_differencing(enum disk_format format)
{
	return format == DISK_VHD_DIFFERENCING || format == DISK_VHDX_DIFFERENCING;
}

static enum disk_format format_to_create(const struct vhd_options *options)
{
	enum disk_format format =
		options->format ? vhd_format_named(options->format)
				: vhd_format_of_name(options->files.items[0], options->parent);

	if (format == DISK_AUTO)
		return options->parent ? DISK_VHD_DIFFERENCING : DISK_VHD_DYNAMIC;
	return format;
}

int vhd_create(const struct vhd_options *options)
{
	struct disk_create_options create = {.bytes = options->bytes,
					     .parent = options->parent,
					     .block_bytes = options->block_bytes,
					     .preallocate = options->preallocate,
					     .logical_sector = options->sector.value,
					     .format = format_to_create(options)};
	struct disk_error error;

	if (is_differencing(create.format) != !!options->parent) {
		log_error("--parent FILE goes with --format vhd-differencing or "
			  "vhdx-differencing, and only with them");
		return EXIT_USAGE;
	}
	if (!options->parent == !options->bytes) {
		log_error("either --size or --parent says how large the disk is");
		return EXIT_USAGE;
	}
	return vhd_report(disk_create(options->files.items[0], &create, &error), &error);
}

int vhd_convert(const struct vhd_options *options)
{
	const char *target = options->files.items[1];
	struct disk_convert_options convert = {
		.source_format = vhd_format_named(options->source_format),
		.format = options->format  ? vhd_format_named(options->format)
			  : options->azure ? DISK_VHD_FIXED
					   : vhd_format_of_name(target, false),
		.block_bytes = options->block_bytes,
		.bytes = options->bytes,
		.preallocate = options->preallocate,
		.azure = options->azure};
	struct disk_error error;
	int r;

	if (convert.format == DISK_AUTO || is_differencing(convert.format)) {
		log_error("--format says what to convert to: raw, vhd-fixed, vhd-dynamic, "
			  "vhdx-fixed or vhdx-dynamic");
		return EXIT_USAGE;
	}
	if (options->bytes && strcmp(options->files.items[0], DISK_STREAM)) {
		log_error("--size: only for standard input; an image says itself how large it is");
		return EXIT_USAGE;
	}
	convert.progress = vhd_progress_begin(options);
	r = disk_convert(options->files.items[0], target, &convert, &error);
	vhd_progress_end();
	return vhd_report(r, &error);
}

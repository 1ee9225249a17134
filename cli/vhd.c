/*
 * vhd.c - `mullion vhd`: create disk images, convert them, say what they are
 *
 * An image is converted in pieces of PIECE_BYTES. What no image of the source's chain has, and
 * pieces that read as zeros, are not written, so the result is as sparse as its format can be. The
 * result is complete and on disk, or it is removed.
 */
#include <errno.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "command.h"
#include "disk.h"
#include "log.h"
#include "run_options.h"
#include "size.h"

#define PIECE_BYTES (64 * KIB)
#define READ_BYTES  (MIB)
#define BAR_WIDTH   50u

static enum disk_format format_named(const char *name)
{
	enum disk_format format = DISK_VHD_DIFFERENCING;

	while (format != DISK_AUTO && strcmp(name, disk_format_name(format)))
		format--;
	return format;
}

static int report(int result, const struct disk_error *error)
{
	if (result < 0)
		log_error("%s", error->text);
	return result < 0 ? EXIT_FAILED : EXIT_OK;
}

/* --- create --- */

static int vhd_create(const struct vhd_options *options)
{
	struct disk_create_options create = {.bytes = options->bytes, .parent = options->parent};
	struct disk_error error;

	create.format = options->format	  ? format_named(options->format)
			: options->parent ? DISK_VHD_DIFFERENCING
					  : DISK_VHD_DYNAMIC;
	if ((create.format == DISK_VHD_DIFFERENCING) != !!options->parent) {
		log_error("--parent FILE goes with --format vhd-differencing, and only with it");
		return EXIT_USAGE;
	}
	if (!options->parent == !options->bytes) {
		log_error("either --size or --parent says how large the disk is");
		return EXIT_USAGE;
	}
	return report(disk_create(options->files.items[0], &create, &error), &error);
}

/* --- convert --- */

struct conversion {
	struct disk *source, *target;
	uint64_t bytes;
	uint8_t *buffer;
	bool bar;
	unsigned int shown; /* percent */
};

static void show_progress(struct conversion *conversion, uint64_t at)
{
	unsigned int percent = conversion->bytes ? at * 100.0 / conversion->bytes : 100;
	unsigned int filled = percent * BAR_WIDTH / 100;
	char bar[BAR_WIDTH + 1];

	if (!conversion->bar || percent == conversion->shown)
		return;
	conversion->shown = percent;
	memset(bar, ' ', BAR_WIDTH);
	memset(bar, '#', filled);
	bar[BAR_WIDTH] = 0;
	fprintf(stderr, "\r[%s] %3u%%", bar, percent);
}

static bool is_zero(const uint8_t *bytes, size_t count)
{
	return !bytes[0] && !memcmp(bytes, bytes + 1, count - 1);
}

static int copy_pieces(struct conversion *conversion, uint64_t offset, size_t count)
{
	int r = disk_pread(conversion->source, offset, conversion->buffer, count);

	if (r < 0)
		log_error("cannot read the source at byte %" PRIu64 ": %s", offset, strerror(-r));
	for (size_t at = 0, part; !r && at < count; at += part) {
		part = MIN(count - at, PIECE_BYTES);
		if (is_zero(conversion->buffer + at, part))
			continue;
		r = disk_pwrite(conversion->target, offset + at, conversion->buffer + at, part);
		if (r < 0)
			log_error("cannot write the result at byte %" PRIu64 ": %s", offset + at,
				  strerror(-r));
	}
	return r;
}

static int copy_all(struct conversion *conversion)
{
	uint64_t at = 0, next;
	int r = 0;

	while (!r && (at = disk_next_data(conversion->source, at)) < conversion->bytes) {
		next = MIN(ALIGN_DOWN(at, READ_BYTES) + READ_BYTES, conversion->bytes);
		r = copy_pieces(conversion, at, next - at);
		at = next;
		show_progress(conversion, at);
	}
	if (!r)
		show_progress(conversion, conversion->bytes);
	if (conversion->bar)
		fprintf(stderr, "\n");
	if (r)
		return r;
	r = disk_flush(conversion->target);
	if (r < 0)
		log_error("cannot bring the result to disk: %s", strerror(-r));
	return r;
}

static int open_source(const struct vhd_options *options, struct disk **ret_disk,
		       struct disk_error *error)
{
	struct disk_options open = {.read_only = true, .allow_raw = true};

	if (options->source_format)
		open.format = format_named(options->source_format);
	return disk_open(options->files.items[0], &open, ret_disk, error);
}

static int convert_to(struct conversion *conversion, const char *path, enum disk_format format)
{
	struct disk_create_options create = {.format = format, .bytes = conversion->bytes};
	struct disk_options open = {.format = format};
	struct disk_error error;
	int r = disk_create(path, &create, &error);

	if (r < 0)
		return report(r, &error);
	r = disk_open(path, &open, &conversion->target, &error);
	if (r < 0) {
		report(r, &error);
	} else {
		r = copy_all(conversion);
		disk_close(conversion->target);
	}
	if (r < 0)
		unlink(path);
	return r < 0 ? EXIT_FAILED : EXIT_OK;
}

static int vhd_convert(const struct vhd_options *options)
{
	struct conversion conversion = {.bar = isatty(STDERR_FILENO), .shown = UINT32_MAX};
	enum disk_format format = options->format ? format_named(options->format) : DISK_AUTO;
	struct disk_error error;
	struct disk_info info;
	int r;

	if (format == DISK_AUTO || format == DISK_VHD_DIFFERENCING) {
		log_error("--format says what to convert to: raw, vhd-fixed or vhd-dynamic");
		return EXIT_USAGE;
	}
	r = open_source(options, &conversion.source, &error);
	if (r < 0)
		return report(r, &error);
	disk_get_info(conversion.source, &info);
	conversion.bytes = info.bytes;
	conversion.buffer = malloc(READ_BYTES);
	r = conversion.buffer ? convert_to(&conversion, options->files.items[1], format)
			      : EXIT_HOST_CANNOT;
	free(conversion.buffer);
	disk_close(conversion.source);
	return r;
}

/* --- info --- */

static void print_text(const struct disk_info *info)
{
	char size[SIZE_TEXT_BYTES], block[SIZE_TEXT_BYTES], id[GUID_TEXT_BYTES];

	printf("image:    %s\nformat:   %s\nsize:     %" PRIu64 " bytes (%s)\nid:       %s\n",
	       info->path, disk_format_name(info->format), info->bytes,
	       size_format(info->bytes, size), guid_format(&info->id, id));
	if (info->format != DISK_RAW)
		printf("geometry: %u cylinders, %u heads, %u sectors\n", info->cylinders,
		       info->heads, info->sectors);
	if (info->block_bytes)
		printf("blocks:   %s\n", size_format(info->block_bytes, block));
	if (info->chain_length > 1)
		printf("chain:    %u images\n", info->chain_length);
}

static int print_json(const struct disk_info *info)
{
	char id[GUID_TEXT_BYTES];
	json_t *root = json_pack("{s:s, s:s, s:I, s:s, s:I, s:i, s:{s:i, s:i, s:i}}", "image",
				 info->path, "format", disk_format_name(info->format), "bytes",
				 (json_int_t)info->bytes, "id", guid_format(&info->id, id),
				 "block_bytes", (json_int_t)info->block_bytes, "chain_length",
				 (int)info->chain_length, "geometry", "cylinders", info->cylinders,
				 "heads", info->heads, "sectors", info->sectors);
	/* NULL for a path that is no UTF-8, which JSON cannot hold. */
	int r = root ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;

	json_decref(root);
	if (r < 0) {
		log_error("%s: cannot be shown as JSON", info->path);
		return EXIT_FAILED;
	}
	printf("\n");
	return EXIT_OK;
}

static int vhd_info(const struct vhd_options *options)
{
	struct disk_error error;
	struct disk_info info;
	struct disk *disk;
	int r = open_source(options, &disk, &error);

	if (r < 0)
		return report(r, &error);
	disk_get_info(disk, &info);
	r = EXIT_OK;
	if (options->json)
		r = print_json(&info);
	else
		print_text(&info);
	disk_close(disk);
	return r;
}

/* --- */

static const struct {
	const char *name;
	size_t files;
	const char *usage;
	int (*run)(const struct vhd_options *options);
} actions[] = {{"create", 1, "one FILE", vhd_create},
	       {"convert", 2, "a SOURCE and a RESULT", vhd_convert},
	       {"info", 1, "one FILE", vhd_info}};

int command_vhd(const void *options, const char *argument)
{
	const struct vhd_options *vhd = options;

	for (size_t i = 0; i < ARRAY_SIZE(actions); i++) {
		if (strcmp(actions[i].name, argument))
			continue;
		if (vhd->files.count != actions[i].files) {
			log_error("vhd %s: wants %s", argument, actions[i].usage);
			return EXIT_USAGE;
		}
		return actions[i].run(vhd);
	}
	log_error("vhd %s: is none of create, convert, info", argument);
	return EXIT_USAGE;
}

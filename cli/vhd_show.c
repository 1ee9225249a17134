/*
 * vhd_show.c - `mullion vhd info`, `map` and `compare`: what images are and have
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "log.h"
#include "size.h"
#include "vhd.h"

/* --- info --- */

/* What a file says of itself may be made to play tricks with a terminal. */
static void print_their_text(const char *label, const char *text)
{
	fputs(label, stdout);
	for (; *text; text++)
		putchar((unsigned char)*text < ' ' || *text == 0x7f ? '?' : *text);
	putchar('\n');
}

static void print_text(const struct disk_info *info)
{
	char size[SIZE_TEXT_BYTES], block[SIZE_TEXT_BYTES], id[GUID_TEXT_BYTES];

	printf("image:    %s\nformat:   %s%s%s\nsize:     %" PRIu64
	       " bytes (%s)\nsectors:  %u bytes, physical %u\nid:       %s\n",
	       info->path, disk_format_name(info->format), *info->subformat ? ", " : "",
	       info->subformat, info->bytes, size_format(info->bytes, size), info->logical_sector,
	       info->physical_sector, guid_format(&info->id, id));
	if (info->cylinders)
		printf("geometry: %u cylinders, %u heads, %u sectors\n", info->cylinders,
		       info->heads, info->sectors);
	if (*info->creator)
		print_their_text("creator:  ", info->creator);
	if (info->block_bytes)
		printf("blocks:   %s\n", size_format(info->block_bytes, block));
	if (info->chain_length > 1)
		printf("chain:    %u images\n", info->chain_length);
}

static void print_chain_text(const struct disk *disk)
{
	char size[SIZE_TEXT_BYTES], id[GUID_TEXT_BYTES];
	struct disk_image image;

	for (unsigned int i = 0; !disk_get_image(disk, i, &image); i++) {
		printf("%2u: %s\n    %s, %s, id %s%s\n", i, image.path,
		       disk_format_name(image.format), size_format(image.bytes, size),
		       guid_format(&image.id, id),
		       image.needs_repair ? ", was not closed properly" : "");
		if (image.parent_name)
			print_their_text("    parent as recorded: ", image.parent_name);
	}
}

static json_t *image_json(const struct disk_image *image)
{
	char id[GUID_TEXT_BYTES], link[GUID_TEXT_BYTES];

	return json_pack(
		"{s:s, s:s, s:I, s:I, s:I, s:s, s:s, s:s?, s:b}", "image", image->path, "format",
		disk_format_name(image->format), "bytes", (json_int_t)image->bytes, "file_bytes",
		(json_int_t)image->file_bytes, "block_bytes", (json_int_t)image->block_bytes, "id",
		guid_format(&image->id, id), "link", guid_format(&image->link, link),
		"parent_recorded", image->parent_name, "needs_repair", image->needs_repair);
}

static json_t *chain_json(const struct disk *disk)
{
	json_t *chain = json_array();
	struct disk_image image;

	for (unsigned int i = 0; chain && !disk_get_image(disk, i, &image); i++) {
		if (json_array_append_new(chain, image_json(&image)) < 0) {
			json_decref(chain);
			return NULL;
		}
	}
	return chain;
}

static json_t *info_json(const struct disk_info *info)
{
	char id[GUID_TEXT_BYTES];

	return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:I, s:i, s:i, s:i, s:{s:i, s:i, s:i}}",
			 "image", info->path, "format", disk_format_name(info->format), "subformat",
			 info->subformat, "creator", info->creator, "bytes",
			 (json_int_t)info->bytes, "id", guid_format(&info->id, id), "block_bytes",
			 (json_int_t)info->block_bytes, "logical_sector", (int)info->logical_sector,
			 "physical_sector", (int)info->physical_sector, "chain_length",
			 (int)info->chain_length, "geometry", "cylinders", info->cylinders, "heads",
			 info->heads, "sectors", info->sectors);
}

static int print_info_json(const struct disk *disk, const struct disk_info *info, bool chain)
{
	json_t *root = info_json(info);

	if (root && chain && json_object_set_new(root, "chain", chain_json(disk)) < 0) {
		json_decref(root);
		root = NULL;
	}
	return vhd_print_json(root, info->path);
}

int vhd_info(const struct vhd_options *options)
{
	struct disk_info info;
	struct disk *disk;
	int r = vhd_open(options, false, &disk);

	if (r)
		return r;
	disk_get_info(disk, &info);
	if (options->json)
		r = print_info_json(disk, &info, options->chain);
	else
		print_text(&info);
	if (options->chain && !options->json)
		print_chain_text(disk);
	disk_close(disk);
	return r;
}

/* --- map --- */

static const char *const kind_names[] = {
	[DISK_EXTENT_DATA] = "data", [DISK_EXTENT_ZERO] = "zero", [DISK_EXTENT_ABSENT] = "absent"};

/* Can @next be told as part of @extent? */
static bool joins(const struct disk_extent *extent, const struct disk_extent *next)
{
	if (extent->kind != next->kind)
		return false;
	if (extent->kind == DISK_EXTENT_ABSENT)
		return true;
	if (extent->depth != next->depth || extent->kind == DISK_EXTENT_ZERO)
		return extent->depth == next->depth;
	if (extent->file_offset == UINT64_MAX || next->file_offset == UINT64_MAX)
		return extent->file_offset == next->file_offset;
	return extent->file_offset + extent->bytes == next->file_offset &&
	       !strcmp(extent->path, next->path);
}

/* JSON by hand: a map may have millions of rows. The file's name is in "images". */
static void print_extent(const struct disk_extent *extent, bool json, bool first)
{
	bool plain = extent->kind == DISK_EXTENT_DATA && extent->file_offset != UINT64_MAX;

	if (json) {
		printf("%s\n    {\"offset\": %" PRIu64 ", \"bytes\": %" PRIu64 ", \"kind\": \"%s\"",
		       first ? "" : ",", extent->offset, extent->bytes, kind_names[extent->kind]);
		if (extent->kind != DISK_EXTENT_ABSENT)
			printf(", \"depth\": %u", extent->depth);
		if (plain)
			printf(", \"file_offset\": %" PRIu64, extent->file_offset);
		printf("}");
		return;
	}
	printf("%#16" PRIx64 " %#14" PRIx64 "  %-6s", extent->offset, extent->bytes,
	       kind_names[extent->kind]);
	if (plain)
		printf(" %#16" PRIx64 "  %s", extent->file_offset, extent->path);
	printf("\n");
}

static int print_extents(struct disk *disk, bool json)
{
	struct disk_extent extent = {}, next;
	bool first = true;
	int r;

	while (!(r = disk_next_extent(disk, extent.offset + extent.bytes, &next))) {
		if (extent.bytes && joins(&extent, &next)) {
			extent.bytes += next.bytes;
			continue;
		}
		if (extent.bytes) {
			print_extent(&extent, json, first);
			first = false;
		}
		extent = next;
	}
	if (extent.bytes)
		print_extent(&extent, json, first);
	return r == -ERANGE ? 0 : r;
}

static int print_map_json(struct disk *disk, const char *path)
{
	json_t *chain = chain_json(disk);
	char *images = chain ? json_dumps(chain, JSON_INDENT(2)) : NULL;
	int r;

	json_decref(chain);
	if (!images)
		return vhd_print_json(NULL, path);
	printf("{\n  \"images\": %s,\n  \"extents\": [", images);
	free(images);
	r = print_extents(disk, true);
	printf("\n  ]\n}\n");
	return r;
}

int vhd_map(const struct vhd_options *options)
{
	const char *path = options->files.items[0];
	struct disk *disk;
	int r = vhd_open(options, false, &disk);

	if (r)
		return r;
	if (options->json) {
		r = print_map_json(disk, path);
	} else {
		printf("%16s %14s  %-6s %16s  %s\n", "offset", "bytes", "kind", "in the file",
		       "file");
		r = print_extents(disk, false);
	}
	disk_close(disk);
	if (r < 0)
		log_error("%s: cannot read where its data are: %s", path, strerror(-r));
	return r < 0 ? EXIT_FAILED : r;
}

/* --- compare --- */

static int print_comparison(const struct disk_comparison *comparison, bool json)
{
	json_t *root;

	if (!json) {
		if (comparison->equal)
			printf("The disks are equal.\n");
		else
			printf("The disks differ, first at byte %" PRIu64 ".\n",
			       comparison->first_difference);
		return EXIT_OK;
	}
	root = json_pack("{s:b, s:[I, I]}", "equal", comparison->equal, "bytes",
			 (json_int_t)comparison->bytes[0], (json_int_t)comparison->bytes[1]);
	if (root && !comparison->equal)
		json_object_set_new(root, "first_difference",
				    json_integer(comparison->first_difference));
	return vhd_print_json(root, "the comparison");
}

int vhd_compare(const struct vhd_options *options)
{
	const enum disk_format formats[2] = {vhd_format_named(options->source_format),
					     vhd_format_named(options->format)};
	struct disk_comparison comparison;
	struct disk_error error;
	int r = disk_compare(options->files.items, formats, vhd_progress_begin(options),
			     &comparison, &error);

	vhd_progress_end();
	if (r < 0)
		return vhd_report(r, &error);
	r = print_comparison(&comparison, options->json);
	return r ? r : comparison.equal ? EXIT_OK : EXIT_DIFFERENT;
}

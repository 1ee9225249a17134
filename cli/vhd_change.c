/*
 * vhd_change.c - `mullion vhd resize`, `compact` and `merge`: images changed in place
 */
#include <inttypes.h>
#include <stdio.h>

#include "log.h"
#include "vhd.h"

int vhd_resize(const struct vhd_options *options)
{
	struct disk_error error;

	if (!options->bytes) {
		log_error("--size says how large the disk is to be");
		return EXIT_USAGE;
	}
	return vhd_report(
		disk_resize(options->files.items[0], options->bytes, options->force_shrink, &error),
		&error);
}

int vhd_compact(const struct vhd_options *options)
{
	struct disk_compaction compaction;
	struct disk_error error;
	int r = disk_compact(options->files.items[0], vhd_progress_begin(options), &compaction,
			     &error);

	vhd_progress_end();
	if (r < 0)
		return vhd_report(r, &error);
	if (options->json)
		return vhd_print_json(json_pack("{s:I, s:I, s:I, s:I}", "bytes_before",
						(json_int_t)compaction.bytes_before, "bytes_after",
						(json_int_t)compaction.bytes_after, "dropped",
						(json_int_t)compaction.dropped, "moved",
						(json_int_t)compaction.moved),
				      options->files.items[0]);
	printf("%" PRIu64 " bytes before, %" PRIu64 " after: %u blocks dropped, %u moved\n",
	       compaction.bytes_before, compaction.bytes_after, compaction.dropped,
	       compaction.moved);
	return EXIT_OK;
}

int vhd_merge(const struct vhd_options *options)
{
	struct disk_error error;
	int r = disk_merge(options->files.items[0], options->keep, vhd_progress_begin(options),
			   &error);

	vhd_progress_end();
	return vhd_report(r, &error);
}

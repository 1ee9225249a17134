/*
 * vhd_check.c - `mullion vhd check`: is an image sound, and mending what can be mended
 */
#include <inttypes.h>
#include <stdio.h>

#include "vhd.h"

static int print_json(const struct disk_check *check, const char *path)
{
	return vhd_print_json(json_pack("{s:s, s:s, s:b, s:s, s:b, s:b, s:I}", "image", path,
					"format", disk_format_name(check->format), "damaged",
					check->damaged, "damage", check->damage, "needs_repair",
					check->needs_repair, "repaired", check->repaired,
					"unused_bytes", (json_int_t)check->unused_bytes),
			      path);
}

static void print_text(const struct disk_check *check, const char *path)
{
	if (check->damaged)
		printf("%s\nIt cannot be repaired.\n", check->damage);
	else if (check->repaired)
		printf("%s: was not closed properly, and is repaired.\n", path);
	else if (check->needs_repair)
		printf("%s: was not closed properly; --repair, or its next use, repairs it.\n",
		       path);
	else
		printf("%s: is sound.\n", path);
	if (check->unused_bytes)
		printf("%s: %" PRIu64 " bytes of the file are unused; 'mullion vhd compact' gives "
		       "them back.\n",
		       path, check->unused_bytes);
}

int vhd_check(const struct vhd_options *options)
{
	const char *path = options->files.items[0];
	struct disk_check check;
	struct disk_error error;
	int r = disk_check(path, vhd_format_named(options->source_format), options->repair, &check,
			   &error);

	if (r < 0)
		return vhd_report(r, &error);
	if (options->json)
		r = print_json(&check, path);
	else
		print_text(&check, path);
	if (r)
		return r;
	return check.damaged || (check.needs_repair && !check.repaired) ? EXIT_DIFFERENT : EXIT_OK;
}

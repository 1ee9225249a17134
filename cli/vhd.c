/*
 * vhd.c - `mullion vhd`: the table of its actions, and what they share
 *
 * The work is done in disk/operations; here are the words around it.
 */
#include "vhd.h"

#include <stdio.h>
#include <string.h>

#include "log.h"

int vhd_report(int result, const struct disk_error *error)
{
	if (result < 0)
		log_error("%s", error->text);
	return result < 0 ? EXIT_FAILED : EXIT_OK;
}

enum disk_format vhd_format_named(const char *name)
{
	enum disk_format format = DISK_FORMATS;

	if (!name)
		return DISK_AUTO;
	while (--format > DISK_AUTO && strcmp(name, disk_format_name(format)))
		;
	return format;
}

static const struct {
	const char *end;
	enum disk_format format, differencing;
} name_ends[] = {{".vhdx", DISK_VHDX_DYNAMIC, DISK_VHDX_DIFFERENCING},
		 {".avhdx", DISK_VHDX_DYNAMIC, DISK_VHDX_DIFFERENCING},
		 {".vhd", DISK_VHD_DYNAMIC, DISK_VHD_DIFFERENCING},
		 {".avhd", DISK_VHD_DYNAMIC, DISK_VHD_DIFFERENCING},
		 {".raw", DISK_RAW, DISK_AUTO},
		 {".img", DISK_RAW, DISK_AUTO}};

enum disk_format vhd_format_of_name(const char *path, bool differencing)
{
	const char *end = strrchr(path, '.');

	for (size_t i = 0; end && i < ARRAY_SIZE(name_ends); i++) {
		if (!strcasecmp(end, name_ends[i].end))
			return differencing ? name_ends[i].differencing : name_ends[i].format;
	}
	return DISK_AUTO;
}

int vhd_open(const struct vhd_options *options, bool no_parents, struct disk **ret_disk)
{
	struct disk_options open = {.read_only = true,
				    .allow_raw = true,
				    .no_parents = no_parents,
				    .format = vhd_format_named(options->source_format)};
	struct disk_error error;

	return vhd_report(disk_open(options->files.items[0], &open, ret_disk, &error), &error);
}

int vhd_print_json(json_t *root, const char *path)
{
	int r = root ? json_dumpf(root, stdout, JSON_INDENT(2)) : -1;

	json_decref(root);
	if (r < 0) {
		log_error("%s: cannot be shown as JSON: a name in it is no UTF-8", path);
		return EXIT_FAILED;
	}
	printf("\n");
	return EXIT_OK;
}

static const struct {
	const char *name;
	size_t files;
	const char *usage;
	int (*run)(const struct vhd_options *options);
} actions[] = {{"create", 1, "one FILE", vhd_create},
	       {"convert", 2, "a SOURCE and a RESULT", vhd_convert},
	       {"info", 1, "one FILE", vhd_info},
	       {"map", 1, "one FILE", vhd_map},
	       {"compare", 2, "two FILEs", vhd_compare},
	       {"read", 1, "one FILE", vhd_read},
	       {"write", 1, "one FILE", vhd_write},
	       {"check", 1, "one FILE", vhd_check},
	       {"resize", 1, "one FILE", vhd_resize},
	       {"compact", 1, "one FILE", vhd_compact},
	       {"merge", 1, "one FILE, the child", vhd_merge},
	       {"mount", 1, "one FILE", vhd_mount}};

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
	log_error("vhd %s: is no action; 'mullion vhd --help' lists them", argument);
	return EXIT_USAGE;
}

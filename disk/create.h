/*
 * create.h - a new image in the making: what create.c and the formats share
 */
#ifndef DISK_CREATE_H
#define DISK_CREATE_H

#include <limits.h>

#include "disk_internal.h"

struct creation {
	const char *path;
	const struct disk_create_options *options;
	struct disk_error *error;
	int fd;
	uint64_t bytes;
	uint32_t block_bytes, logical_sector, physical_sector;
	struct image *parent; /* NULL: not differencing */
};

/* How a format makes images. */
struct creator {
	const struct image_driver *driver; /* parents have it too */
	uint32_t block_bytes,
		child_block_bytes; /* 0: none; as the parent has it, else block_bytes */
	/* Is it possible? Fails with a sentence. */
	int (*check)(const struct creation *creation);
	/* Write the new, empty file; it is synced afterwards. 0 or -errno, with a sentence or
	 * without. */
	int (*fill)(struct creation *creation);
};
extern const struct creator vhd_creator, vhdx_creator;

static inline bool creation_is_fixed(const struct creation *creation)
{
	enum disk_format format = creation->options->format;

	return format == DISK_RAW || format == DISK_VHD_FIXED || format == DISK_VHDX_FIXED;
}

/* The parent's names, as a child gives them. */
struct creation_names {
	char parent[PATH_MAX];	 /* absolute, with slashes */
	char relative[PATH_MAX]; /* ".\..\base.vhd" */
};
/* 0; -EILSEQ: the name has a backslash, see creation_bad_name(); other -errno. */
int creation_name_parent(const struct creation *creation, struct creation_names *ret_names);
int creation_bad_name(const struct creation *creation); /* the sentence for -EILSEQ */

#endif

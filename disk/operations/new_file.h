/*
 * new_file.h - a file that appears under its name when it is complete, or not at all
 */
#ifndef DISK_OPERATIONS_NEW_FILE_H
#define DISK_OPERATIONS_NEW_FILE_H

#include <limits.h>

#include "disk.h"

struct new_file {
	const char *path;
	char part[PATH_MAX]; /* what it is called until then, in the same folder */
};

/* -EEXIST when the path is taken; nothing is created yet. */
int new_file_begin(struct new_file *file, const char *path, struct disk_error *ret_error);
/* The part, complete and synced, gets its name; durable at the return. */
int new_file_finish(struct new_file *file, struct disk_error *ret_error);
/* Likewise in the place of the file that has the name now. */
int new_file_replace(struct new_file *file, struct disk_error *ret_error);
void new_file_drop(struct new_file *file);
/* An error about the part becomes one about the file, as its user knows it. */
void new_file_name_error(const struct new_file *file, struct disk_error *error);

/* folder_sync() - the entry of @path in its folder is durable: 0 or -errno */
int folder_sync(const char *path);

#endif

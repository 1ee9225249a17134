/*
 * vhd.h - what the files of `mullion vhd` share
 */
#ifndef CLI_VHD_H
#define CLI_VHD_H

#include <jansson.h>

#include "disk_operations.h"
#include "run_options.h"

/* An exit status; after an error one line on standard error that says it. */
int vhd_report(int result, const struct disk_error *error);
/* DISK_AUTO for NULL. */
enum disk_format vhd_format_named(const char *name);
/* By the end of the name: ".vhdx", ".vhd", ".raw", ".img"; DISK_AUTO: it says nothing. */
enum disk_format vhd_format_of_name(const char *path, bool differencing);
/* Opens the first of options->files to be read; on failure an exit status and the line is out. */
int vhd_open(const struct vhd_options *options, bool no_parents, struct disk **ret_disk);
/* Prints and drops @root, which may be NULL: then a name is no UTF-8. */
int vhd_print_json(json_t *root, const char *path);

/*
 * The operation's progress on standard error: a bar on a terminal, lines of JSON if they are asked
 * for. SIGINT and SIGTERM cancel from now on, until vhd_progress_end(). One at a time.
 */
struct disk_progress *vhd_progress_begin(const struct vhd_options *options);
void vhd_progress_end(void);

/* The actions: each returns the exit status. */
int vhd_create(const struct vhd_options *options);
int vhd_convert(const struct vhd_options *options);
int vhd_info(const struct vhd_options *options);
int vhd_map(const struct vhd_options *options);
int vhd_compare(const struct vhd_options *options);
int vhd_read(const struct vhd_options *options);
int vhd_write(const struct vhd_options *options);
int vhd_resize(const struct vhd_options *options);
int vhd_compact(const struct vhd_options *options);
int vhd_merge(const struct vhd_options *options);
int vhd_check(const struct vhd_options *options);
int vhd_mount(const struct vhd_options *options);

#endif

/*
 * neighbour.h - files that an image names: its extents, its parent
 *
 * The names come out of a file that may be hostile, and what they name is shown to whoever reads
 * the image. So they are confined to the folder of the image that names them: no absolute path
 * (unless into that folder), no "..", no symbolic link that leads out of it, and regular files
 * only. Who trusts the image can lift that.
 */
#ifndef DISK_NEIGHBOUR_H
#define DISK_NEIGHBOUR_H

#include <stdbool.h>
#include <stdint.h>

struct disk_error;
struct image;

struct neighbour {
	int fd; /* read-only, with a shared lock */
	uint64_t bytes;
	char *path; /* for messages, and to open it as an image */
};

/*
 * neighbour_open() - open the file that @image_path's image calls @name
 * @anywhere: trusted: any path, block devices too; relative ones are still relative to the folder
 * Returns: 0; -EPERM outside the folder or no regular file; -EAGAIN somebody writes to it;
 *          -ENOMEM; -errno of the file. Then *ret_error says it.
 */
int neighbour_open(const char *image_path, const char *name, bool anywhere,
		   struct neighbour *ret_neighbour, struct disk_error *ret_error);
/* Closes it, unless the caller took .fd and left -1 there. */
void neighbour_close(struct neighbour *neighbour);

/* neighbour_check_name() - 0, or -EPERM: as text, @name leads out of the folder of the image */
int neighbour_check_name(const char *image_path, const char *name, struct disk_error *ret_error);

/*
 * neighbour_check() - may @parent, which was opened, be the parent of @image_path's image?
 * Returns: 0; -EPERM it lies outside the folder; as neighbour_open().
 */
int neighbour_check(const char *image_path, const struct image *parent,
		    struct disk_error *ret_error);

#endif

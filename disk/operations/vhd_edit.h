/*
 * vhd_edit.h - changing a VHD's structure in place, in steps of which each leaves an image that
 * opens
 */
#ifndef DISK_OPERATIONS_VHD_EDIT_H
#define DISK_OPERATIONS_VHD_EDIT_H

#include "disk_operations.h"
#include "vhd_footer.h"

struct vhd_edit {
	const char *path;
	struct disk_error *error;
	struct disk_progress *progress;
	struct image *image; /* locked, checked, mended; nobody else has it */
};

/* Also a raw image, if @allow_raw. Refuses what must not be changed: -EBUSY, -ENOTSUP. */
int vhd_edit_open(struct vhd_edit *edit, bool allow_raw);
void vhd_edit_close(struct vhd_edit *edit);
/* Fills edit->error: cannot @what. Returns @result. */
int vhd_edit_fail(const struct vhd_edit *edit, int result, const char *what);

/* Each is 0 or -errno. Those that say "durable" sync. */
int vhd_edit_entry(const struct vhd_edit *edit, uint32_t block, uint32_t sector);
/* vhd->footer becomes durable behind @end, where the content ends from now on; the file ends there.
 */
int vhd_edit_set_end(const struct vhd_edit *edit, uint64_t end);
/* vhd->footer, changed and sealed, becomes durable at the end and then at the start. */
int vhd_edit_footers(const struct vhd_edit *edit);
/* What of vhd->header is in its first sector becomes durable at once. */
int vhd_edit_header(const struct vhd_edit *edit);

/* ftruncate(), and what tests have instead. */
extern int (*vhd_truncate_hook)(int fd, uint64_t bytes);
int vhd_truncate(int fd, uint64_t bytes);

#endif

/*
 * controllers.h - the SCSI and IDE controllers of a machine, and the drives on them
 *
 * All of it on the loop's thread.
 */
#ifndef VM_CONTROLLERS_H
#define VM_CONTROLLERS_H

#include "disk.h"
#include "vm.h"
#include "vmbus.h"

struct storvsp;

struct controllers {
	/* the owner's to fill in; the rest begins as zeros */
	struct vmbus *bus;
	struct loop *loop;
	unsigned int vp_count;
	/* A drive's image has no room for a write, or has again. */
	void (*disk_full)(void *ctx, const char *path, bool full);
	void *ctx;
	/* made so far */
	struct storvsp *scsi[VM_SCSI_CONTROLLERS], *ide[VM_IDE_CHANNELS * VM_IDE_DEVICES];
};

/* Returns 0 or -errno; then there may be something to end, too. */
int controllers_begin(struct controllers *controllers);
/* After vmbus_reset() is done, and before vmbus_free(). */
void controllers_end(struct controllers *controllers);

/*
 * controllers_attach() - a drive, in a place that exists, with its image
 * @disk: borrowed until the drive is detached; NULL: an empty DVD drive
 * Returns: 0; -EEXIST the place is taken; -EINVAL no DVD's size; what making a controller returned.
 */
int controllers_attach(struct controllers *controllers, const struct vm_drive *drive,
		       struct disk *disk);
/* @done: the image is in use no more. -ENOENT without it when there is no drive. */
int controllers_detach(struct controllers *controllers, const struct vm_drive *drive,
		       void (*done)(void *ctx), void *ctx);
/* NULL ejects. @done as above, of the old medium. -ENOENT; -EINVAL no DVD drive, or no DVD's size.
 */
int controllers_change_medium(struct controllers *controllers, const struct vm_drive *drive,
			      struct disk *disk, void (*done)(void *ctx), void *ctx);

#endif

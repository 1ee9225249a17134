/*
 * drives.h - the drives of a machine: their images stay open over the guest's reboots
 *
 * All of it on the loop's thread.
 */
#ifndef VM_DRIVES_H
#define VM_DRIVES_H

#include "controllers.h"
#include "error.h"

struct drives;

int drives_new(struct drives **ret_drives); /* 0, -ENOMEM */
/* Closes what is open. No machine has them any more. NULL is taken. */
void drives_free(struct drives *drives);

/*
 * drives_add() - open the image, note the drive, and attach it to @controllers (NULL: later)
 * Returns: 0; -EINVAL no such place; -EEXIST place taken; disk_open()'s errors. Then *ret_error.
 */
int drives_add(struct drives *drives, const struct vm_drive *drive, struct controllers *controllers,
	       struct vm_error *ret_error);
/* At each boot. Returns 0, or -errno with *ret_error. */
int drives_attach_all(struct drives *drives, struct controllers *controllers,
		      struct vm_error *ret_error);
/* The machine is gone: what it was still detaching is closed, and the waiting are told. */
void drives_machine_gone(struct drives *drives);

/* As vm_detach_drive(), vm_change_medium(), vm_drives(). */
int drives_remove(struct drives *drives, const struct vm_drive *place,
		  struct controllers *controllers, void (*done)(void *ctx), void *ctx);
int drives_change_medium(struct drives *drives, const struct vm_drive *place, const char *path,
			 struct controllers *controllers, struct vm_error *ret_error);
/* An image's file has no room to grow (or has again); the path as the user gave it. */
void drives_set_full(struct drives *drives, const char *path, bool full);
/* One that has no room, or NULL. */
const char *drives_full_path(const struct drives *drives);
size_t drives_list(const struct drives *drives, struct vm_drive *list, size_t max);

#endif

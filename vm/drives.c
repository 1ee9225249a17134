/*
 * drives.c - the list of drives and their open images
 *
 * An image's format is not guessed where a guess could be steered by the guest: name and contents
 * must stand for the same one, or the user says which it is. So a guest that writes an image to its
 * raw disk gains nothing.
 */
#include "drives.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "log.h"

struct drive {
	struct drives *drives;
	struct vm_drive place; /* its path is ours */
	struct disk *disk;     /* NULL: an empty DVD drive */
	struct disk *old;      /* a medium that is on its way out */
	bool removing, full;
	void (*done)(void *ctx);
	void *ctx;
};

struct drives {
	struct drive *list[VM_MAX_DRIVES]; /* in order of arrival; NULL-free up to count */
	size_t count;
};

static enum vm_blame blame_of(const struct vm_drive *drive)
{
	return drive->dvd ? BLAME_DVD : BLAME_DRIVE;
}

static struct drive *find(const struct drives *drives, const struct vm_drive *place)
{
	for (size_t i = 0; i < drives->count; i++)
		if (vm_same_place(&drives->list[i]->place, place))
			return drives->list[i];
	return NULL;
}

static bool place_exists(const struct vm_drive *place)
{
	return place->controller < vm_controllers(place->bus) && place->lun < vm_luns(place->bus);
}

/* --- images --- */

static bool is_raw(const struct vm_drive *drive)
{
	return drive->format == VM_FORMAT_RAW || (drive->format == VM_FORMAT_AUTO && drive->dvd);
}

/* What the user says that the image is, by word or by its name; NULL: raw. */
static const char *family_of(const struct vm_drive *drive)
{
	static const char *const names[] = VM_FORMAT_NAMES;

	if (is_raw(drive))
		return NULL;
	return drive->format == VM_FORMAT_AUTO ? disk_family_of_name(drive->path)
					       : names[drive->format];
}

/* The user says what it is; without a word of the user's, disk_open() has compared name and
 * contents. */
static int check_family(const struct vm_drive *drive, enum disk_format format,
			struct vm_error *error)
{
	const char *wanted = family_of(drive), *found = disk_format_family(format);

	if (!wanted || (found && !strcmp(wanted, found)))
		return 0;
	return vm_fail(error, -EINVAL, blame_of(drive), "%s: a %s image, not %s; say format=%s",
		       drive->path, found ?: "raw", wanted, found ?: "raw");
}

/* What the user can do about an image that cannot be opened; "" when disk has said all there is. */
static const char *advice(const struct vm_drive *drive, int error)
{
	bool writes = !drive->read_only && !drive->dvd;

	switch (error) {
	case -EACCES:
	case -EPERM:
	case -EROFS:
		return writes && !access(drive->path, R_OK)
			       ? "; it may be read, so it can be attached with read-only"
			       : "";
	case -EAGAIN:
		return writes ? "; end that first (several can have it at a time only if each has "
				"it "
				"with read-only)"
			      : "; end that first";
	default: return "";
	}
}

/* A DVD's sectors have 2048 bytes. A disk's last one is filled up, but that may be no intention. */
static int check_sectors(const struct vm_drive *drive, struct disk *disk, struct vm_error *error)
{
	unsigned int sector = drive->dvd ? 2048 : 512;
	struct disk_image image;

	if (disk_get_image(disk, 0, &image) < 0 || image.format != DISK_RAW ||
	    !(image.file_bytes % sector))
		return 0;
	if (drive->dvd)
		return vm_fail(
			error, -EINVAL, BLAME_DVD,
			"%s: %" PRIu64 " bytes are no whole number of 2048-byte sectors: no ISO "
			"image, or cut short; copy it again, or fill it up with 'truncate -s "
			"%%2048'",
			drive->path, image.file_bytes);
	log_warning("%s: %" PRIu64
		    " bytes are no whole number of 512-byte sectors; the guest sees the "
		    "last one filled up with zeros",
		    drive->path, image.file_bytes);
	return 0;
}

static int open_image(const struct vm_drive *drive, struct disk **ret_disk, struct vm_error *error)
{
	const struct disk_options options = {
		.read_only = drive->read_only || drive->dvd,
		.format = is_raw(drive) ? DISK_RAW : DISK_AUTO,
		.allow_raw = !family_of(drive),
		.by_name = drive->format == VM_FORMAT_AUTO,
	};
	struct disk_error why;
	struct disk_info info;
	struct disk *disk;
	int r = disk_open(drive->path, &options, &disk, &why);

	if (r < 0)
		return vm_fail(error, r, blame_of(drive), "%s%s", why.text, advice(drive, r));
	disk_get_info(disk, &info);
	r = check_family(drive, info.format, error);
	if (!r)
		r = check_sectors(drive, disk, error);
	if (r < 0) {
		disk_close(disk);
		return r;
	}
	*ret_disk = disk;
	return 0;
}

/* A copy of @path and its image, opened; both NULL for a drive without a medium. */
static int open_copy(const struct vm_drive *drive, char **ret_path, struct disk **ret_disk,
		     struct vm_error *error)
{
	int r;

	*ret_path = NULL;
	*ret_disk = NULL;
	if (!drive->path)
		return 0;
	*ret_path = strdup(drive->path);
	if (!*ret_path)
		return vm_fail(error, -ENOMEM, BLAME_HOST, "out of memory");
	r = open_image(drive, ret_disk, error);
	if (r < 0)
		free(TAKE(*ret_path));
	return r;
}

static void free_drive(struct drive *drive)
{
	if (drive->disk)
		disk_close(drive->disk);
	if (drive->old)
		disk_close(drive->old);
	free((char *)drive->place.path);
	free(drive);
}

static int new_drive(struct drives *drives, const struct vm_drive *place, struct drive **ret_drive,
		     struct vm_error *error)
{
	struct drive *drive = calloc(1, sizeof(*drive));
	char *path;
	int r;

	if (!drive)
		return vm_fail(error, -ENOMEM, BLAME_HOST, "out of memory");
	r = open_copy(place, &path, &drive->disk, error);
	if (r < 0) {
		free(drive);
		return r;
	}
	drive->drives = drives;
	drive->place = *place;
	drive->place.path = path;
	*ret_drive = drive;
	return 0;
}

/* --- the list --- */

int drives_new(struct drives **ret_drives)
{
	*ret_drives = calloc(1, sizeof(**ret_drives));
	return *ret_drives ? 0 : -ENOMEM;
}

void drives_free(struct drives *drives)
{
	if (!drives)
		return;
	for (size_t i = 0; i < drives->count; i++)
		free_drive(drives->list[i]);
	free(drives);
}

static void forget(struct drives *drives, struct drive *drive)
{
	size_t i = 0;

	while (drives->list[i] != drive)
		i++;
	memmove(drives->list + i, drives->list + i + 1,
		(--drives->count - i) * sizeof(drives->list[0]));
	free_drive(drive);
}

static int attach(struct drive *drive, struct controllers *controllers, struct vm_error *error)
{
	int r = controllers_attach(controllers, &drive->place, drive->disk);

	return r < 0 ? vm_fail(error, r, blame_of(&drive->place), "%s: cannot be attached: %s",
			       drive->place.path ?: "DVD drive", strerror(-r))
		     : 0;
}

static int check_place(const struct drives *drives, const struct vm_drive *place,
		       struct vm_error *error)
{
	if (!place_exists(place))
		return vm_fail(error, -EINVAL, blame_of(place),
			       "there is no controller %u with LUN %u", place->controller,
			       place->lun);
	if (place->dvd && place->bus == VM_BUS_IDE)
		return vm_fail(error, -EINVAL, BLAME_DVD,
			       "%s: the synthetic IDE carries disks only; use bus=scsi",
			       place->path ?: "DVD drive");
	if (find(drives, place) || drives->count == VM_MAX_DRIVES)
		return vm_fail(error, -EEXIST, blame_of(place),
			       "%s: LUN %u of controller %u has a drive already",
			       place->path ?: "DVD drive", place->lun, place->controller);
	return 0;
}

int drives_add(struct drives *drives, const struct vm_drive *place, struct controllers *controllers,
	       struct vm_error *ret_error)
{
	struct drive *drive = NULL;
	int r = check_place(drives, place, ret_error);

	if (r < 0)
		return r;
	r = new_drive(drives, place, &drive, ret_error);
	if (r < 0)
		return r;
	if (controllers)
		r = attach(drive, controllers, ret_error);
	if (r < 0) {
		free_drive(drive);
		return r;
	}
	drives->list[drives->count++] = drive;
	return 0;
}

int drives_attach_all(struct drives *drives, struct controllers *controllers,
		      struct vm_error *ret_error)
{
	for (size_t i = 0; i < drives->count; i++) {
		int r = attach(drives->list[i], controllers, ret_error);

		if (r < 0)
			return r;
	}
	return 0;
}

/* --- taking away --- */

static void removed(struct drive *drive)
{
	void (*done)(void *ctx) = drive->done;
	void *ctx = drive->ctx;

	forget(drive->drives, drive);
	if (done)
		done(ctx);
}

static void on_detached(void *ctx)
{
	struct drive *drive = ctx;

	if (drive->removing) {
		removed(drive);
		return;
	}
	disk_close(drive->old);
	drive->old = NULL;
}

int drives_remove(struct drives *drives, const struct vm_drive *place,
		  struct controllers *controllers, void (*done)(void *ctx), void *ctx)
{
	struct drive *drive = find(drives, place);
	int r;

	if (!drive)
		return -ENOENT;
	if (drive->removing || drive->old)
		return -EBUSY;
	drive->removing = true;
	drive->done = done;
	drive->ctx = ctx;
	r = controllers_detach(controllers, &drive->place, on_detached, drive);
	if (r < 0)
		drive->removing = false;
	return r;
}

int drives_change_medium(struct drives *drives, const struct vm_drive *place, const char *path,
			 struct controllers *controllers, struct vm_error *ret_error)
{
	struct drive *drive = find(drives, place);
	struct vm_drive changed;
	struct disk *disk;
	char *own_path;
	int r;

	ret_error->text[0] = 0;
	if (!drive)
		return -ENOENT;
	if (!drive->place.dvd)
		return vm_fail(ret_error, -EINVAL, BLAME_DRIVE,
			       "%s is a disk, not a DVD; disk-remove takes a disk away",
			       drive->place.path);
	if (drive->removing || drive->old)
		return vm_fail(ret_error, -EBUSY, BLAME_DRIVE, "the drive is busy; try again");
	changed = drive->place;
	changed.path = path;
	r = open_copy(&changed, &own_path, &disk, ret_error);
	if (r < 0)
		return r;
	r = controllers_change_medium(controllers, &drive->place, disk,
				      drive->disk ? on_detached : NULL, drive);
	if (r < 0) {
		free(own_path);
		if (disk)
			disk_close(disk);
		return vm_fail(ret_error, r, BLAME_DRIVE, "the medium cannot be changed: %s",
			       strerror(-r));
	}
	drive->old = drive->disk;
	drive->disk = disk;
	free((char *)drive->place.path);
	drive->place.path = own_path;
	return 0;
}

/* Only one drive can write to an image: it has the lock. */
void drives_set_full(struct drives *drives, const char *path, bool full)
{
	for (size_t i = 0; i < drives->count; i++) {
		struct drive *drive = drives->list[i];

		if (!drive->place.read_only && drive->place.path &&
		    !strcmp(drive->place.path, path))
			drive->full = full;
	}
}

const char *drives_full_path(const struct drives *drives)
{
	for (size_t i = 0; i < drives->count; i++)
		if (drives->list[i]->full)
			return drives->list[i]->place.path;
	return NULL;
}

void drives_machine_gone(struct drives *drives)
{
	for (size_t i = drives->count; i-- > 0;) {
		struct drive *drive = drives->list[i];

		drive->full = false;
		if (drive->old)
			disk_close(drive->old);
		drive->old = NULL;
		if (drive->removing)
			removed(drive);
	}
}

size_t drives_list(const struct drives *drives, struct vm_drive *list, size_t max)
{
	size_t count = MIN(drives->count, max);

	for (size_t i = 0; i < count; i++)
		list[i] = drives->list[i]->place;
	return count;
}

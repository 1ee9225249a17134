/*
 * controllers.c - the SCSI and IDE controllers of a machine, made when their first drive is
 * attached
 */
#include "controllers.h"

#include <errno.h>
#include <stdio.h>

#include "storvsp.h"

/* Each IDE device is a controller of its own here. */
static unsigned int ide_number(const struct vm_drive *drive)
{
	return drive->controller * VM_IDE_DEVICES + drive->lun;
}

static struct storvsp **controller_of(struct controllers *controllers, const struct vm_drive *drive)
{
	if (drive->bus == VM_BUS_IDE)
		return &controllers->ide[ide_number(drive)];
	return &controllers->scsi[drive->controller];
}

static unsigned int lun_of(const struct vm_drive *drive)
{
	return drive->bus == VM_BUS_IDE ? 0 : drive->lun;
}

/* Each SCSI controller keeps its number in its instance, so that a guest finds it again. */
static struct guid scsi_instance(unsigned int number)
{
	return (struct guid)GUID(0x6d756c6cu + number, 0x696f, 0x4e53, 0x80, 0x43, 0x53, 0x49, 0, 0,
				 0, 0);
}

static int need_controller(struct controllers *controllers, const struct vm_drive *drive)
{
	struct storvsp **controller = controller_of(controllers, drive);
	bool ide = drive->bus == VM_BUS_IDE;
	const struct storvsp_config config = {
		.bus = controllers->bus,
		.loop = controllers->loop,
		.kind = ide ? STORVSP_IDE : STORVSP_SCSI,
		.number = ide ? ide_number(drive) : drive->controller,
		.instance = scsi_instance(drive->controller),
		.max_subchannels = controllers->vp_count - 1,
		.disk_full = controllers->disk_full,
		.ctx = controllers->ctx,
	};

	return *controller ? 0 : storvsp_new(&config, controller);
}

/* Letters and digits that stay the same for an image wherever it is attached. */
static void make_serial(const struct vm_drive *drive, struct disk *disk, char serial[37])
{
	struct disk_info info;

	if (!disk || drive->dvd) {
		snprintf(serial, 37, "dvd-%u-%u", drive->controller, drive->lun);
		return;
	}
	disk_get_info(disk, &info);
	for (int i = 0; i < 16; i++)
		snprintf(serial + 2 * i, 3, "%02x", info.id.bytes[i]);
}

int controllers_attach(struct controllers *controllers, const struct vm_drive *drive,
		       struct disk *disk)
{
	struct storvsp_drive scsi = {
		.disk = disk, .dvd = drive->dvd, .read_only = drive->read_only};
	int r = need_controller(controllers, drive);

	if (r < 0)
		return r;
	make_serial(drive, disk, scsi.serial);
	return storvsp_attach(*controller_of(controllers, drive), lun_of(drive), &scsi);
}

int controllers_detach(struct controllers *controllers, const struct vm_drive *drive,
		       void (*done)(void *ctx), void *ctx)
{
	struct storvsp *controller = *controller_of(controllers, drive);

	return controller ? storvsp_detach(controller, lun_of(drive), done, ctx) : -ENOENT;
}

int controllers_change_medium(struct controllers *controllers, const struct vm_drive *drive,
			      struct disk *disk, void (*done)(void *ctx), void *ctx)
{
	struct storvsp *controller = *controller_of(controllers, drive);

	return controller ? storvsp_change_medium(controller, lun_of(drive), disk, done, ctx)
			  : -ENOENT;
}

/* The first SCSI controller is always there, for disks that come later. */
int controllers_begin(struct controllers *controllers)
{
	const struct vm_drive first = {.bus = VM_BUS_SCSI};

	return need_controller(controllers, &first);
}

void controllers_end(struct controllers *controllers)
{
	for (unsigned int i = 0; i < ARRAY_SIZE(controllers->scsi); i++)
		storvsp_free(controllers->scsi[i]);
	for (unsigned int i = 0; i < ARRAY_SIZE(controllers->ide); i++)
		storvsp_free(controllers->ide[i]);
}

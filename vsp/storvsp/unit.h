/*
 * unit.h - SCSI logical units: a disk or a DVD drive that executes commands
 *
 * Knows nothing of VMBus. A command is filled in by its initiator, handed to scsi_execute(), and
 * comes back through command->done(), perhaps before scsi_execute() returns. Everything here runs
 * on one thread, the controller's I/O thread.
 *
 * A unit holds a medium (a disk image); a DVD drive may hold none. Commands that are under way
 * count in their unit and in the medium they began with: a unit or a medium that was taken away
 * reports through idle() when the last of them is done.
 */
#ifndef VSP_STORVSP_UNIT_H
#define VSP_STORVSP_UNIT_H

#include "disk.h"
#include "scsi.h"
#include "storvsc.h"
#include "storvsp.h"

/*
 * Bytes of one command's data. 1 MiB: a guest splits a big sequential transfer into few packets,
 * while the packet with its 257 page numbers (2 KiB) is small in a ring of 128 KiB.
 */
#define SCSI_MAX_TRANSFER_BYTES (1 * MIB)
/* Pages that such a buffer touches when it begins and ends inside of one. */
#define SCSI_MAX_IOVECS (SCSI_MAX_TRANSFER_BYTES / PAGE_BYTES + 2)

struct scsi_unit;
struct scsi_command;

struct scsi_medium {
	struct disk *disk;
	struct disk_info info;
	uint32_t block_bytes; /* as the guest sees it: DVD 2048 */
	uint64_t blocks;
	unsigned int users;			  /* commands */
	void (*idle)(struct scsi_medium *medium); /* NULL while it is in use */
};

struct scsi_reservation {
	bool registered, held;
	uint8_t type;
	uint64_t key;
	uint32_t generation;
};

struct scsi_unit {
	/* Configuration. */
	bool dvd, read_only;
	char serial[37];
	uint8_t id[16];

	/* Borrowed. */
	struct disk_queue *queue;
	/* A write found the host's file system full: scsi_retry() or scsi_cancel() it later. */
	void (*starved)(struct scsi_command *command);
	/* A command that was starved is over, well or not. */
	void (*fed)(struct scsi_command *command);

	/* The modelled drive. */
	struct scsi_medium *medium;
	uint32_t sense;	    /* of the last command that failed; REQUEST SENSE takes it */
	uint32_t attention; /* unit attention that waits for the next command */
	struct scsi_reservation reservation;
	bool tray_open, prevent, persistent_prevent;
	bool removal_event, new_medium_event;

	/* Bookkeeping. */
	unsigned int users;		      /* commands */
	void (*idle)(struct scsi_unit *unit); /* NULL while it is attached */
	struct storvsp_stats stats;
};

struct scsi_command {
	/* The initiator's; stays as it is until done(). */
	uint8_t cdb[16];
	uint8_t cdb_bytes;
	uint8_t direction;   /* enum storvsc_direction */
	uint32_t data_bytes; /* the sum of the iovec */
	struct iovec iov[SCSI_MAX_IOVECS];
	int iov_count;
	void (*done)(struct scsi_command *command);

	/* The answer. */
	uint8_t status;	    /* enum scsi_status */
	uint8_t srb_status; /* enum storvsc_srb_status and flags */
	uint8_t sense[SCSI_SENSE_FIXED_BYTES];
	uint32_t transferred; /* bytes moved between iovec and drive */
	bool memory_written;  /* something may have been put into the iovec, also on failure */

	/* The unit's. */
	struct scsi_unit *unit;
	struct scsi_medium *medium;
	struct disk_request disk;
	struct iovec disk_iov[SCSI_MAX_IOVECS];
	void (*step)(struct scsi_command *command); /* after the disk request; NULL: good */
	uint8_t *buffer; /* parameter list or pattern, freed with the command */
	uint32_t buffer_bytes, buffer_position;
	unsigned int starvations;  /* times that the host's disk was full */
	struct scsi_command *next; /* for whoever holds the command */
};

/*
 * scsi_medium_init() - what a unit sees of @disk
 * Returns: 0; -EINVAL a size or sector size that a drive of this kind cannot have.
 */
int scsi_medium_init(struct scsi_medium *medium, struct disk *disk, bool dvd);

/* scsi_unit_init() - a drive with @medium (DVD: may be NULL). The serial is copied. */
void scsi_unit_init(struct scsi_unit *unit, const struct storvsp_drive *drive,
		    struct scsi_medium *medium);

/*
 * scsi_set_medium() - DVD: the host changes the medium, the tray is closed; the guest is told
 * Commands under way go on with the medium they began with.
 */
void scsi_set_medium(struct scsi_unit *unit, struct scsi_medium *medium);

/* scsi_power_on() - as after a loss of power: reservations, locks and stored sense are gone */
void scsi_power_on(struct scsi_unit *unit);

void scsi_execute(struct scsi_unit *unit, struct scsi_command *command);
/* scsi_retry() - a starved command: submit its write again */
void scsi_retry(struct scsi_command *command);
/* scsi_cancel() - a starved command: end it with a write error */
void scsi_cancel(struct scsi_command *command);

/* Without a unit: what a controller answers itself. */
void scsi_execute_absent(struct scsi_command *command, unsigned int lun);
/* @luns: bit n for LUN n */
void scsi_report_luns(struct scsi_command *command, uint64_t luns);
/* scsi_refuse() - a request whose data is not where it says */
void scsi_refuse(struct scsi_command *command);

#endif

/*
 * unit_internal.h - between the files that make up a logical unit
 *
 * A handler ends its command with exactly one of scsi_good(), scsi_fail(), scsi_reply(),
 * scsi_conflict(), or submits a disk request whose end leads to one of them.
 */
#ifndef VSP_STORVSP_UNIT_INTERNAL_H
#define VSP_STORVSP_UNIT_INTERNAL_H

#include "unit.h"

/* --- unit.c --- */

#define SCSI_NO_ACTION 0xff

enum {
	SCSI_ROW_MEDIUM = 1,	/* DVD: not without a medium */
	SCSI_ROW_ATTENTION = 2, /* does not report a unit attention, nor clear it */
	SCSI_ROW_WRITES = 4,	/* not on a write-protected medium */
};

/* What a drive understands. */
struct scsi_row {
	uint8_t opcode;
	uint8_t action; /* low five bits of CDB byte 1, or SCSI_NO_ACTION */
	uint8_t cdb_bytes;
	uint8_t direction; /* enum storvsc_direction */
	uint8_t flags;
	void (*handler)(struct scsi_command *command);
};

extern const struct scsi_row scsi_disk_rows[]; /* end at a row without handler */
extern const struct scsi_row scsi_dvd_rows[];

void scsi_good(struct scsi_command *command);
void scsi_fail(struct scsi_command *command, enum scsi_sense sense);
void scsi_conflict(struct scsi_command *command);
void scsi_busy(struct scsi_command *command); /* no memory: the initiator tries again */
/* Data buffer shorter than what the CDB asks for. */
void scsi_overrun(struct scsi_command *command);
/* scsi_reply() - answer with @bytes of @data, cut to the CDB's @allocation */
void scsi_reply(struct scsi_command *command, const void *data, uint32_t bytes,
		uint32_t allocation);
/*
 * scsi_parameters() - copy the parameter list of exactly @bytes in, into command->buffer
 * False: there are not so many, or no memory; the command has ended.
 */
bool scsi_parameters(struct scsi_command *command, uint32_t bytes);

/* --- transfer.c: commands that move data between guest memory and disk --- */

struct scsi_range {
	uint64_t lba, blocks;
};

/* scsi_get_range() - LBA and length of any CDB of the READ layout, by its group */
struct scsi_range scsi_get_range(const uint8_t *cdb);
/* scsi_range_fits() - it lies on the medium; else the command has ended */
bool scsi_range_fits(struct scsi_command *command, const struct scsi_range *range);
/* scsi_submit() - a request without data for the medium; @step as in the command */
void scsi_submit(struct scsi_command *command, enum disk_op op, const struct scsi_range *range,
		 void (*step)(struct scsi_command *command));

/* scsi_flush() - everything that was written before is on stable storage when the command ends */
void scsi_flush(struct scsi_command *command);

void scsi_read(struct scsi_command *command);
void scsi_read_range(struct scsi_command *command, const struct scsi_range *range);
void scsi_write(struct scsi_command *command);
void scsi_write_and_verify(struct scsi_command *command);
void scsi_verify(struct scsi_command *command);
void scsi_synchronize_cache(struct scsi_command *command);
void scsi_write_same(struct scsi_command *command);
void scsi_unmap(struct scsi_command *command);
#define SCSI_UNMAP_DESCRIPTORS	  256
#define SCSI_WRITE_SAME_MAX_BYTES (8 * MIB)

/* --- inquiry.c, mode.c, reservation.c --- */

void scsi_inquiry(struct scsi_command *command);
void scsi_mode_sense(struct scsi_command *command);
void scsi_mode_select(struct scsi_command *command);
void scsi_persistent_reserve_in(struct scsi_command *command);
void scsi_persistent_reserve_out(struct scsi_command *command);
void scsi_reserve(struct scsi_command *command);

/* --- unit.c: the same for disks and DVD drives --- */

void scsi_test_unit_ready(struct scsi_command *command);
void scsi_request_sense(struct scsi_command *command);
void scsi_nothing(struct scsi_command *command);
void scsi_send_diagnostic(struct scsi_command *command);
void scsi_read_capacity_10(struct scsi_command *command);

/* The medium that the guest can reach: none while the tray is open. */
static inline struct scsi_medium *scsi_reachable_medium(const struct scsi_unit *unit)
{
	return unit->tray_open ? NULL : unit->medium;
}

static inline bool scsi_write_protected(const struct scsi_unit *unit)
{
	return unit->dvd || unit->read_only || (unit->medium && unit->medium->info.read_only);
}

#endif

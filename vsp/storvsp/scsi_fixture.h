/*
 * scsi_fixture.h - a unit on a disk of the fixture, and tables of commands with their answers
 */
#ifndef VSP_STORVSP_SCSI_FIXTURE_H
#define VSP_STORVSP_SCSI_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fixture.h"

#define SCSI_DATA_BYTES (128 * KIB)
#define SCSI_FILLER	0xcc

#define IN   STORVSC_DATA_IN
#define OUT  STORVSC_DATA_OUT
#define NONE STORVSC_DATA_NONE

struct scsi_fixture {
	struct disk disk;
	struct scsi_medium medium;
	struct scsi_unit unit;
	struct scsi_command *command; /* an own allocation, for the sanitizer */
	unsigned int done, starved, fed;
	uint8_t data[SCSI_DATA_BYTES];
};

/* 1 GiB: blocks 0 to 0x1fffff; DVD: sectors 0 to 0x7ffff. */
#define SCSI_DISK_BYTES (1 * GIB)

int scsi_fixture_disk(void **state); /* cmocka setups and teardown */
int scsi_fixture_dvd(void **state);
int scsi_fixture_end(void **state);

/* scsi_start() - hand a command with @bytes of fixture->data over, in uneven pieces */
void scsi_start(struct scsi_fixture *fixture, const uint8_t *cdb, unsigned int cdb_bytes,
		uint8_t direction, uint32_t bytes);
/* scsi_run() - and wait for it: it is done once, its status and sense fit together */
void scsi_run(struct scsi_fixture *fixture, const uint8_t *cdb, unsigned int cdb_bytes,
	      uint8_t direction, uint32_t bytes);
/* Sense of the last command; 0: none. */
uint32_t scsi_sense_of(const struct scsi_fixture *fixture);

struct scsi_case {
	const char *name;
	uint8_t cdb[16];
	uint8_t cdb_bytes, direction;
	uint32_t bytes; /* of the data buffer */
	uint32_t sense;
	uint32_t transferred;
	/* Of the answer, from @offset; or of the data that is sent. */
	uint32_t offset, expected_bytes;
	uint8_t expected[64];
};

#define EXPECT(...) .expected = {__VA_ARGS__}, .expected_bytes = sizeof((uint8_t[]){__VA_ARGS__})
#define CDB(...)    .cdb = {__VA_ARGS__}, .cdb_bytes = sizeof((uint8_t[]){__VA_ARGS__})

/* Each case by itself, on the same unit; fails with the case's name. */
void scsi_run_cases(struct scsi_fixture *fixture, const struct scsi_case *cases, size_t count);

#endif

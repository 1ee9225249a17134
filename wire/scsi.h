/*
 * scsi.h - SCSI as storvsp's drives speak it: operation codes, status, sense
 *
 * Sources: T10 SAM-4, SPC-3, SBC-3, MMC-5. Fields of SCSI data are big-endian and of odd places;
 * the code that makes them names their offsets.
 */
#ifndef WIRE_SCSI_H
#define WIRE_SCSI_H

#include "base.h"

enum scsi_opcode {
	SCSI_TEST_UNIT_READY = 0x00,
	SCSI_REQUEST_SENSE = 0x03,
	SCSI_FORMAT_UNIT = 0x04,
	SCSI_READ_6 = 0x08,
	SCSI_WRITE_6 = 0x0a,
	SCSI_INQUIRY = 0x12,
	SCSI_MODE_SELECT_6 = 0x15,
	SCSI_RESERVE_6 = 0x16,
	SCSI_RELEASE_6 = 0x17,
	SCSI_MODE_SENSE_6 = 0x1a,
	SCSI_START_STOP_UNIT = 0x1b,
	SCSI_SEND_DIAGNOSTIC = 0x1d,
	SCSI_PREVENT_ALLOW_REMOVAL = 0x1e,
	SCSI_READ_CAPACITY_10 = 0x25,
	SCSI_READ_10 = 0x28,
	SCSI_WRITE_10 = 0x2a,
	SCSI_SEEK_10 = 0x2b,
	SCSI_WRITE_AND_VERIFY_10 = 0x2e,
	SCSI_VERIFY_10 = 0x2f,
	SCSI_SYNCHRONIZE_CACHE_10 = 0x35,
	SCSI_WRITE_SAME_10 = 0x41,
	SCSI_UNMAP = 0x42,
	SCSI_READ_TOC = 0x43,
	SCSI_GET_CONFIGURATION = 0x46,
	SCSI_GET_EVENT_STATUS = 0x4a,
	SCSI_LOG_SENSE = 0x4d,
	SCSI_READ_DISC_INFORMATION = 0x51,
	SCSI_READ_TRACK_INFORMATION = 0x52,
	SCSI_MODE_SELECT_10 = 0x55,
	SCSI_RESERVE_10 = 0x56,
	SCSI_RELEASE_10 = 0x57,
	SCSI_MODE_SENSE_10 = 0x5a,
	SCSI_READ_BUFFER_CAPACITY = 0x5c,
	SCSI_PERSISTENT_RESERVE_IN = 0x5e,
	SCSI_PERSISTENT_RESERVE_OUT = 0x5f,
	SCSI_READ_16 = 0x88,
	SCSI_WRITE_16 = 0x8a,
	SCSI_WRITE_AND_VERIFY_16 = 0x8e,
	SCSI_VERIFY_16 = 0x8f,
	SCSI_SYNCHRONIZE_CACHE_16 = 0x91,
	SCSI_WRITE_SAME_16 = 0x93,
	SCSI_SERVICE_ACTION_IN_16 = 0x9e,
	SCSI_REPORT_LUNS = 0xa0,
	SCSI_READ_12 = 0xa8,
	SCSI_WRITE_12 = 0xaa,
	SCSI_GET_PERFORMANCE = 0xac,
	SCSI_READ_DVD_STRUCTURE = 0xad,
	SCSI_WRITE_AND_VERIFY_12 = 0xae,
	SCSI_VERIFY_12 = 0xaf,
	SCSI_SET_STREAMING = 0xb6,
	SCSI_SET_CD_SPEED = 0xbb,
	SCSI_MECHANISM_STATUS = 0xbd,
	SCSI_READ_CD = 0xbe,
};

#define SCSI_READ_CAPACITY_16 0x10 /* service action of SERVICE ACTION IN(16) */

enum scsi_status {
	SCSI_STATUS_GOOD = 0x00,
	SCSI_STATUS_CHECK_CONDITION = 0x02,
	SCSI_STATUS_BUSY = 0x08,
	SCSI_STATUS_RESERVATION_CONFLICT = 0x18,
};

enum scsi_device_type {
	SCSI_TYPE_DISK = 0x00,
	SCSI_TYPE_DVD = 0x05,
	SCSI_TYPE_ABSENT = 0x7f, /* with the peripheral qualifier that no device can be there */
};

enum scsi_key {
	SCSI_KEY_NO_SENSE = 0,
	SCSI_KEY_NOT_READY = 2,
	SCSI_KEY_MEDIUM_ERROR = 3,
	SCSI_KEY_ILLEGAL_REQUEST = 5,
	SCSI_KEY_UNIT_ATTENTION = 6,
	SCSI_KEY_DATA_PROTECT = 7,
};

/* Sense key, additional sense code and its qualifier in one number. */
#define SCSI_SENSE(key, asc, ascq) ((uint32_t)(key) << 16 | (asc) << 8 | (ascq))

enum scsi_sense {
	SCSI_SENSE_NONE = 0,
	SCSI_SENSE_NO_MEDIUM_TRAY_CLOSED = SCSI_SENSE(2, 0x3a, 0x01),
	SCSI_SENSE_NO_MEDIUM_TRAY_OPEN = SCSI_SENSE(2, 0x3a, 0x02),
	SCSI_SENSE_NOT_READY_REMOVAL_PREVENTED = SCSI_SENSE(2, 0x53, 0x02),
	SCSI_SENSE_WRITE_ERROR = SCSI_SENSE(3, 0x0c, 0x00),
	SCSI_SENSE_READ_ERROR = SCSI_SENSE(3, 0x11, 0x00),
	SCSI_SENSE_PARAMETER_LIST_LENGTH = SCSI_SENSE(5, 0x1a, 0x00),
	SCSI_SENSE_INVALID_OPCODE = SCSI_SENSE(5, 0x20, 0x00),
	SCSI_SENSE_LBA_OUT_OF_RANGE = SCSI_SENSE(5, 0x21, 0x00),
	SCSI_SENSE_INVALID_FIELD_IN_CDB = SCSI_SENSE(5, 0x24, 0x00),
	SCSI_SENSE_INVALID_FIELD_IN_PARAMETERS = SCSI_SENSE(5, 0x26, 0x00),
	SCSI_SENSE_INVALID_RELEASE = SCSI_SENSE(5, 0x26, 0x04),
	SCSI_SENSE_SAVING_NOT_SUPPORTED = SCSI_SENSE(5, 0x39, 0x00),
	SCSI_SENSE_REMOVAL_PREVENTED = SCSI_SENSE(5, 0x53, 0x02),
	SCSI_SENSE_MEDIUM_MAY_HAVE_CHANGED = SCSI_SENSE(6, 0x28, 0x00),
	SCSI_SENSE_WRITE_PROTECTED = SCSI_SENSE(7, 0x27, 0x00),
};

#define SCSI_SENSE_FIXED_BYTES	    18
#define SCSI_SENSE_DESCRIPTOR_BYTES 8

/* Fields of SCSI data. */
static inline uint16_t scsi_get_be16(const uint8_t *bytes)
{
	return (uint16_t)(bytes[0] << 8 | bytes[1]);
}

static inline uint32_t scsi_get_be24(const uint8_t *bytes)
{
	return (uint32_t)bytes[0] << 16 | bytes[1] << 8 | bytes[2];
}

static inline uint32_t scsi_get_be32(const uint8_t *bytes)
{
	return (uint32_t)scsi_get_be16(bytes) << 16 | scsi_get_be16(bytes + 2);
}

static inline uint64_t scsi_get_be64(const uint8_t *bytes)
{
	return (uint64_t)scsi_get_be32(bytes) << 32 | scsi_get_be32(bytes + 4);
}

static inline void scsi_put_be16(uint8_t *bytes, uint16_t value)
{
	bytes[0] = (uint8_t)(value >> 8);
	bytes[1] = (uint8_t)value;
}

static inline void scsi_put_be24(uint8_t *bytes, uint32_t value)
{
	bytes[0] = (uint8_t)(value >> 16);
	scsi_put_be16(bytes + 1, (uint16_t)value);
}

static inline void scsi_put_be32(uint8_t *bytes, uint32_t value)
{
	scsi_put_be16(bytes, (uint16_t)(value >> 16));
	scsi_put_be16(bytes + 2, (uint16_t)value);
}

static inline void scsi_put_be64(uint8_t *bytes, uint64_t value)
{
	scsi_put_be32(bytes, (uint32_t)(value >> 32));
	scsi_put_be32(bytes + 4, (uint32_t)value);
}

#endif

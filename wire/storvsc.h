/*
 * storvsc.h - the protocol between storvsc (guest) and storvsp (host) on a VMBus channel
 *
 * Sources: Linux drivers/scsi/storvsc_drv.c, FreeBSD sys/dev/hyperv/storvsc, OpenVMM
 * storvsp_protocol; docs/protocols/storvsc.md has what each is good for.
 */
#ifndef WIRE_STORVSC_H
#define WIRE_STORVSC_H

#include "base.h"

/* Initialisers for a struct guid. */
#define STORVSC_CLASS_SCSI                                                                         \
	GUID(0xba6163d9, 0x04a1, 0x4d29, 0xb6, 0x05, 0x72, 0xe2, 0xff, 0xb1, 0xdc, 0x7f)
#define STORVSC_CLASS_IDE                                                                          \
	GUID(0x32412632, 0x86cb, 0x44a2, 0x9b, 0x5c, 0x50, 0xd1, 0x41, 0x73, 0x54, 0xf5)
#define STORVSC_IDE_INSTANCE(channel, device)                                                      \
	GUID((uint32_t)(channel), (uint16_t)(device), 0x8899, 0, 0, 0, 0, 0, 0, 0, 0)

enum storvsc_operation {
	STORVSC_COMPLETE_IO = 1,
	STORVSC_REMOVE_DEVICE = 2,
	STORVSC_EXECUTE_SRB = 3,
	STORVSC_RESET_LUN = 4,
	STORVSC_RESET_ADAPTER = 5,
	STORVSC_RESET_BUS = 6,
	STORVSC_BEGIN_INITIALIZATION = 7,
	STORVSC_END_INITIALIZATION = 8,
	STORVSC_QUERY_PROTOCOL_VERSION = 9,
	STORVSC_QUERY_PROPERTIES = 10,
	STORVSC_ENUMERATE_BUS = 11,
	STORVSC_FCHBA_DATA = 12,
	STORVSC_CREATE_SUB_CHANNELS = 13,
};

enum storvsc_version {
	STORVSC_VERSION_2_0 = 0x0200, /* Windows Server 2008: 48-byte packets */
	STORVSC_VERSION_4_2 = 0x0402, /* 2008 R2: ENUMERATE_BUS */
	STORVSC_VERSION_5_1 = 0x0501, /* 2012: 64-byte packets, sub-channels */
	STORVSC_VERSION_6_0 = 0x0600, /* 2012 R2 */
	STORVSC_VERSION_6_2 = 0x0602, /* 2016: Linux uses WRITE SAME */
};

#define STORVSC_FLAG_WANTS_COMPLETION 1u

/* Values of a packet's status: NTSTATUS. */
#define STORVSC_STATUS_SUCCESS		      0x00000000u
#define STORVSC_STATUS_DEVICE_BUSY	      0x80000011u
#define STORVSC_STATUS_BUFFER_OVERFLOW	      0x80000005u
#define STORVSC_STATUS_UNSUCCESSFUL	      0xc0000001u
#define STORVSC_STATUS_INVALID_PARAMETER      0xc000000du
#define STORVSC_STATUS_INVALID_DEVICE_REQUEST 0xc0000010u
#define STORVSC_STATUS_REVISION_MISMATCH      0xc0000059u
#define STORVSC_STATUS_IO_TIMEOUT	      0xc00000b5u
#define STORVSC_STATUS_DEVICE_NOT_CONNECTED   0xc000009du
#define STORVSC_STATUS_DEVICE_NOT_THERE	      0xc00000c0u
#define STORVSC_STATUS_CANCELLED	      0xc0000120u
#define STORVSC_STATUS_INVALID_DEVICE_STATE   0xc0000184u
#define STORVSC_STATUS_IO_DEVICE_ERROR	      0xc0000185u

/* SRB status: the low six bits; the two flags go on top. */
enum storvsc_srb_status {
	STORVSC_SRB_SUCCESS = 0x01,
	STORVSC_SRB_ABORTED = 0x02,
	STORVSC_SRB_ERROR = 0x04,
	STORVSC_SRB_BUSY = 0x05,
	STORVSC_SRB_INVALID_REQUEST = 0x06,
	STORVSC_SRB_DATA_OVERRUN = 0x12,
	STORVSC_SRB_INVALID_LUN = 0x20,
};
#define STORVSC_SRB_AUTOSENSE_VALID 0x80u
#define STORVSC_SRB_QUEUE_FROZEN    0x40u

enum storvsc_direction { STORVSC_DATA_OUT, STORVSC_DATA_IN, STORVSC_DATA_NONE };

#define STORVSC_CDB_BYTES	16
#define STORVSC_SENSE_BYTES	20 /* from 5.1 on */
#define STORVSC_SENSE_BYTES_OLD 18 /* 2.0, 4.2 */

struct storvsc_srb {
	le16 length;
	uint8_t srb_status;
	uint8_t scsi_status;
	uint8_t port;
	uint8_t path_id;
	uint8_t target_id;
	uint8_t lun;
	uint8_t cdb_length;
	uint8_t sense_length;
	uint8_t data_in; /* enum storvsc_direction */
	uint8_t properties;
	le32 data_transfer_length;
	union {
		uint8_t cdb[STORVSC_CDB_BYTES];
		uint8_t sense[STORVSC_SENSE_BYTES];
	};
	/* From 5.1 on: */
	le16 reserve;
	uint8_t queue_tag;
	uint8_t queue_action;
	le32 srb_flags;
	le32 time_out_value;
	le32 queue_sort_key;
};
WIRE_SIZE(struct storvsc_srb, 52);
WIRE_AT(struct storvsc_srb, data_transfer_length, 12);
WIRE_AT(struct storvsc_srb, cdb, 16);
WIRE_AT(struct storvsc_srb, reserve, 36);
WIRE_AT(struct storvsc_srb, srb_flags, 40);
#define STORVSC_SRB_BYTES_OLD 36

struct storvsc_protocol_version {
	le16 version;
	le16 revision;
};
WIRE_SIZE(struct storvsc_protocol_version, 4);

struct storvsc_channel_properties {
	le32 reserved;
	le16 max_subchannels;
	le16 reserved2;
	le32 flags;
	le32 max_transfer_bytes;
	le64 reserved3;
} __attribute__((packed));
WIRE_SIZE(struct storvsc_channel_properties, 24);
WIRE_AT(struct storvsc_channel_properties, max_transfer_bytes, 12);
#define STORVSC_PROPERTY_MULTI_CHANNEL 1u

struct storvsc_packet {
	le32 operation;
	le32 flags;
	le32 status;
	union {
		struct storvsc_srb srb;
		struct storvsc_protocol_version version;
		struct storvsc_channel_properties properties;
		le16 subchannels;
		uint8_t payload[52];
	};
};
WIRE_SIZE(struct storvsc_packet, 64);
WIRE_AT(struct storvsc_packet, payload, 12);
#define STORVSC_PACKET_BYTES	 64 /* from 5.1 on */
#define STORVSC_PACKET_BYTES_OLD 48

/* Start of the offer's user data, IDE only. */
struct storvsc_offer_properties {
	le16 reserved;
	uint8_t path_id;
	uint8_t target_id;
	le32 reserved2;
	le32 flags;
	le32 reserved3[3];
};
WIRE_SIZE(struct storvsc_offer_properties, 24);
#define STORVSC_OFFER_IDE 2u

#endif

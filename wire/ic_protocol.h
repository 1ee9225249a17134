/*
 * ic_protocol.h - messages of the integration services, in VMBus packets of pipe channels
 *
 * The host asks, the guest answers with the same message, its status and results filled in.
 * A packet is a pipe header, an IC header and a body.
 *
 * Source: Linux 6.1, include/linux/hyperv.h and include/uapi/linux/hyperv.h; OpenVMM,
 * vm/devices/hyperv_ic_protocol.
 */
#ifndef WIRE_IC_PROTOCOL_H
#define WIRE_IC_PROTOCOL_H

#include "base.h"

/* What the offer says: an interface to enumerate, a pipe that keeps messages apart. */
#define IC_OFFER_FLAGS	     0x0011u
#define IC_PIPE_TYPE_MESSAGE 4u

#define IC_PACKET_INBAND 6u /* packet type of both directions; never with a completion */

#define IC_PIPE_DATA 1u
struct ic_pipe_header {
	le32 type;  /* IC_PIPE_DATA */
	le32 bytes; /* behind this header */
};
WIRE_SIZE(struct ic_pipe_header, 8);

struct ic_version {
	le16 major, minor;
};
WIRE_SIZE(struct ic_version, 4);

enum ic_message_type {
	IC_MESSAGE_NEGOTIATE = 0,
	IC_MESSAGE_HEARTBEAT = 1,
	IC_MESSAGE_KVP = 2,
	IC_MESSAGE_SHUTDOWN = 3,
	IC_MESSAGE_TIMESYNC = 4,
	IC_MESSAGE_VSS = 5,
	IC_MESSAGE_FCOPY = 7,
};

#define IC_FLAG_TRANSACTION 1u
#define IC_FLAG_REQUEST	    2u
#define IC_FLAG_RESPONSE    4u

struct ic_header {
	struct ic_version framework;
	le16 type; /* enum ic_message_type */
	struct ic_version message;
	le16 body_bytes;
	le32 status; /* IC_STATUS_* */
	uint8_t transaction_id;
	uint8_t flags; /* IC_FLAG_* */
	le16 reserved;
};
WIRE_SIZE(struct ic_header, 20);
WIRE_AT(struct ic_header, status, 12);
WIRE_AT(struct ic_header, transaction_id, 16);

#define IC_STATUS_OK		       0x00000000u
#define IC_STATUS_FAIL		       0x80004005u
#define IC_STATUS_NOT_FOUND	       0x80041002u
#define IC_STATUS_NOT_SUPPORTED	       0x80070032u
#define IC_STATUS_ALREADY_EXISTS       0x80070050u
#define IC_STATUS_INVALID_ARGUMENT     0x80070057u
#define IC_STATUS_DISK_FULL	       0x80070070u
#define IC_STATUS_NO_MORE_ITEMS	       0x80070103u
#define IC_STATUS_DEVICE_NOT_CONNECTED 0x8007048fu
#define IC_STATUS_MACHINE_LOCKED       0x800704f7u

/* Followed by framework_count + message_count versions. In the answer the counts are 1, or 0. */
struct ic_negotiate {
	le16 framework_count, message_count;
	le32 reserved;
};
WIRE_SIZE(struct ic_negotiate, 8);

struct ic_heartbeat_body {
	le64 sequence;		/* the answer: one more */
	le32 application_state; /* the guest's, in newer versions */
	le32 reserved;
};
WIRE_SIZE(struct ic_heartbeat_body, 16);

#define IC_SHUTDOWN_PLANNED	   0x80000000u /* reason */
#define IC_SHUTDOWN_FLAG_FORCE	   1u
#define IC_SHUTDOWN_FLAG_RESTART   2u
#define IC_SHUTDOWN_FLAG_HIBERNATE 4u
#define IC_SHUTDOWN_TEXT_UNITS	   1024u

struct ic_shutdown_body {
	le32 reason;
	le32 timeout_seconds;
	le32 flags;
	le16 text[IC_SHUTDOWN_TEXT_UNITS];
};
WIRE_SIZE(struct ic_shutdown_body, 2060);

/* Times count 100 ns since 1601-01-01 UTC; this is 1970-01-01. */
#define IC_TIME_UNIX_EPOCH	116444736000000000ull
#define IC_TIMESYNC_FLAG_PROBE	0u
#define IC_TIMESYNC_FLAG_SYNC	1u
#define IC_TIMESYNC_FLAG_SAMPLE 2u

/* Versions below 4. Linux has it without the tail. */
struct ic_timesync_body {
	le64 parent_time;
	le64 child_time;
	le64 round_trip_time;
	uint8_t flags;
	uint8_t reserved[3];
} __attribute__((packed));
WIRE_SIZE(struct ic_timesync_body, 28);

/* Version 4. */
struct ic_timesync_reference_body {
	le64 parent_time;
	le64 reference_time; /* the partition's, at the same moment */
	uint8_t flags;
	uint8_t leap, stratum;
	uint8_t reserved[5];
};
WIRE_SIZE(struct ic_timesync_reference_body, 24);
WIRE_AT(struct ic_timesync_reference_body, flags, 16);

enum ic_kvp_operation {
	IC_KVP_GET = 0,
	IC_KVP_SET = 1,
	IC_KVP_DELETE = 2,
	IC_KVP_ENUMERATE = 3,
	IC_KVP_GET_IP = 4,
	IC_KVP_SET_IP = 5,
};

enum ic_kvp_type {
	IC_KVP_STRING = 1,
	IC_KVP_EXPAND_STRING = 2,
	IC_KVP_DWORD = 4,
	IC_KVP_QWORD_LINUX = 8,
	IC_KVP_QWORD = 11,
};

#define IC_KVP_KEY_UNITS   256u
#define IC_KVP_VALUE_UNITS 1024u

struct ic_kvp_header {
	uint8_t operation;
	uint8_t pool;
	le16 reserved;
};
WIRE_SIZE(struct ic_kvp_header, 4);

struct ic_kvp_value {
	le32 type;
	le32 key_bytes;	  /* with the NUL */
	le32 value_bytes; /* with the NUL */
	le16 key[IC_KVP_KEY_UNITS];
	uint8_t value[2 * IC_KVP_VALUE_UNITS];
};
WIRE_SIZE(struct ic_kvp_value, 2572);
WIRE_AT(struct ic_kvp_value, value, 524);

struct ic_kvp_set_body {
	struct ic_kvp_header header;
	struct ic_kvp_value value;
	le32 reserved; /* Linux has a union of all operations' structs */
};
WIRE_SIZE(struct ic_kvp_set_body, 2580);

struct ic_kvp_delete_body {
	struct ic_kvp_header header;
	le32 key_bytes;
	le16 key[IC_KVP_KEY_UNITS];
	uint8_t reserved[2060];
};
WIRE_SIZE(struct ic_kvp_delete_body, 2580);

struct ic_kvp_enumerate_body {
	struct ic_kvp_header header;
	le32 index;
	struct ic_kvp_value value;
};
WIRE_SIZE(struct ic_kvp_enumerate_body, 2580);

#define IC_KVP_IPV4 1u
#define IC_KVP_IPV6 2u

/* From version 4.0 on; lists are separated by semicolons. */
struct ic_kvp_ip_body {
	uint8_t operation;
	uint8_t pool;
	le16 adapter_id[128];
	uint8_t family; /* IC_KVP_IPV4 | IC_KVP_IPV6 */
	uint8_t dhcp;
	le16 addresses[1024];
	le16 subnets[1024];
	le16 gateways[512];
	le16 dns[1024];
};
WIRE_SIZE(struct ic_kvp_ip_body, 7428);
WIRE_AT(struct ic_kvp_ip_body, family, 258);
WIRE_AT(struct ic_kvp_ip_body, dns, 5380);

enum ic_vss_operation {
	IC_VSS_CREATE = 0,
	IC_VSS_DELETE = 1,
	IC_VSS_HOT_BACKUP = 2,
	IC_VSS_GET_DM_INFO = 3,
	IC_VSS_BACKUP_COMPLETE = 4,
	IC_VSS_FREEZE = 5, /* this and the next from version 5.0 on */
	IC_VSS_THAW = 6,
	IC_VSS_AUTO_RECOVER = 7,
};

struct ic_vss_body {
	uint8_t operation;
	uint8_t reserved[7];
	le32 flags;
};
WIRE_SIZE(struct ic_vss_body, 12);

enum ic_fcopy_operation {
	IC_FCOPY_START = 0,
	IC_FCOPY_WRITE = 1,
	IC_FCOPY_COMPLETE = 2,
	IC_FCOPY_CANCEL = 3,
};

struct ic_fcopy_header {
	le32 operation;
	uint8_t service_ids[32];
};
WIRE_SIZE(struct ic_fcopy_header, 36);

#define IC_FCOPY_OVERWRITE   1u
#define IC_FCOPY_CREATE_PATH 2u
#define IC_FCOPY_PATH_UNITS  260u

struct ic_fcopy_start_body {
	struct ic_fcopy_header header;
	le16 file_name[IC_FCOPY_PATH_UNITS];
	le16 path_name[IC_FCOPY_PATH_UNITS];
	le32 flags;
	le64 size;
} __attribute__((packed));
WIRE_SIZE(struct ic_fcopy_start_body, 1088);
WIRE_AT(struct ic_fcopy_start_body, size, 1080);

#define IC_FCOPY_DATA_BYTES 6144u

struct ic_fcopy_write_body {
	struct ic_fcopy_header header;
	le32 reserved;
	le64 offset;
	le32 bytes;
	uint8_t data[IC_FCOPY_DATA_BYTES];
} __attribute__((packed));
WIRE_SIZE(struct ic_fcopy_write_body, 6196);
WIRE_AT(struct ic_fcopy_write_body, data, 52);

#endif

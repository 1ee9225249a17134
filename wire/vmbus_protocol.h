/*
 * vmbus_protocol.h - VMBus: control messages, offers, ring buffers, packets
 *
 * Not called vmbus.h because vmbus/vmbus.h is. Control messages travel in SynIC messages of type 1
 * (guest's: HvCallPostMessage); "up" is from the guest to the host. All little-endian. Sources:
 * Linux, include/linux/hyperv.h and drivers/hv/hyperv_vmbus.h, and OpenVMM's vmbus_core; see
 * docs/protocols/vmbus.md.
 */
#ifndef WIRE_VMBUS_PROTOCOL_H
#define WIRE_VMBUS_PROTOCOL_H

#include "base.h"

#define VMBUS_SINT		  2
#define VMBUS_SYNIC_MESSAGE_TYPE  1
#define VMBUS_MESSAGE_BYTES_MAX	  240
#define VMBUS_CONNECTION_MESSAGES 1    /* for messages, before version 5.0 */
#define VMBUS_CONNECTION_EVENTS   2    /* for signals to all channels, before version 1.1 */
#define VMBUS_CONNECTION_CONTACT  4    /* for VMBUS_INITIATE_CONTACT since 5.0 */
#define VMBUS_RELID_LIMIT	  2048 /* relids are 1..2047 */
#define VMBUS_NO_VP		  0xffffffffu
#define VMBUS_USER_DATA_BYTES	  120

#define VMBUS_VERSION_WS2008	0x0000000du
#define VMBUS_VERSION_WIN7	0x00010001u
#define VMBUS_VERSION_WIN8	0x00020004u
#define VMBUS_VERSION_WIN8_1	0x00030000u
#define VMBUS_VERSION_WIN10	0x00040000u
#define VMBUS_VERSION_WIN10_RS3 0x00040001u
#define VMBUS_VERSION_5_0	0x00050000u
#define VMBUS_VERSION_5_1	0x00050001u
#define VMBUS_VERSION_5_2	0x00050002u
#define VMBUS_VERSION_5_3	0x00050003u

enum vmbus_message_type {
	VMBUS_OFFER_CHANNEL = 1,
	VMBUS_RESCIND_OFFER = 2,
	VMBUS_REQUEST_OFFERS = 3,
	VMBUS_ALL_OFFERS_DELIVERED = 4,
	VMBUS_OPEN_CHANNEL = 5,
	VMBUS_OPEN_RESULT = 6,
	VMBUS_CLOSE_CHANNEL = 7,
	VMBUS_GPADL_HEADER = 8,
	VMBUS_GPADL_BODY = 9,
	VMBUS_GPADL_CREATED = 10,
	VMBUS_GPADL_TEARDOWN = 11,
	VMBUS_GPADL_TORNDOWN = 12,
	VMBUS_RELID_RELEASED = 13,
	VMBUS_INITIATE_CONTACT = 14,
	VMBUS_VERSION_RESPONSE = 15,
	VMBUS_UNLOAD = 16,
	VMBUS_UNLOAD_RESPONSE = 17,
	VMBUS_OPEN_RESERVED_CHANNEL = 18,
	VMBUS_CLOSE_RESERVED_CHANNEL = 19,
	VMBUS_CLOSE_RESERVED_RESPONSE = 20,
	VMBUS_TL_CONNECT_REQUEST = 21,
	VMBUS_MODIFY_CHANNEL = 22,
	VMBUS_TL_CONNECT_RESULT = 23,
	VMBUS_MODIFY_CHANNEL_RESPONSE = 24,
	VMBUS_MESSAGE_TYPES
};

/* Statuses in answers: the guest only tests for 0. */
#define VMBUS_STATUS_SUCCESS	0u
#define VMBUS_STATUS_FAILED	0x8000ffffu /* E_UNEXPECTED */
#define VMBUS_STATUS_TL_REFUSED 0xc0000236u /* STATUS_CONNECTION_REFUSED */

struct vmbus_message_header {
	le32 type; /* enum vmbus_message_type */
	le32 padding;
};
WIRE_SIZE(struct vmbus_message_header, 8);

struct vmbus_initiate_contact {
	struct vmbus_message_header header;
	le32 version;
	le32 target_vp; /* takes the host's messages, since 3.0 */
	union {
		le64 interrupt_page; /* before 5.0; see struct vmbus_interrupt_page */
		struct {
			uint8_t sint, vtl;
			uint8_t reserved[6];
		};
	};
	le64 monitor_page_to_guest;
	le64 monitor_page_to_host;
};
WIRE_SIZE(struct vmbus_initiate_contact, 40);
WIRE_AT(struct vmbus_initiate_contact, sint, 16);
WIRE_AT(struct vmbus_initiate_contact, monitor_page_to_guest, 24);

/* Before 2.4: a bit for each relid, set by who signals and cleared by who is signalled. */
struct vmbus_interrupt_page {
	uint8_t to_guest[2048];
	uint8_t to_host[2048]; /* 1.1: not for channels with a dedicated interrupt */
};
WIRE_SIZE(struct vmbus_interrupt_page, 4096);

struct vmbus_version_response {
	struct vmbus_message_header header;
	uint8_t supported;
	uint8_t connection_state; /* 0: fine */
	le16 reserved;
	le32 connection_id; /* for messages, since 5.0; before: the version */
};
WIRE_SIZE(struct vmbus_version_response, 16);
WIRE_AT(struct vmbus_version_response, connection_id, 12);

/* Bits of vmbus_offer_channel.flags. */
#define VMBUS_OFFER_ENUMERATE_INTERFACE 0x0001
#define VMBUS_OFFER_NAMED_PIPE		0x0010 /* user data starts with a pipe type */
#define VMBUS_OFFER_HVSOCK		0x2000

#define VMBUS_PIPE_TYPE_BYTE	0
#define VMBUS_PIPE_TYPE_MESSAGE 4

struct vmbus_offer_channel {
	struct vmbus_message_header header;
	uint8_t class[16];
	uint8_t instance[16];
	uint8_t reserved1[16];
	le16 flags;
	le16 mmio_megabytes;
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
	le16 subchannel_index; /* 0: primary */
	le16 reserved2;
	le32 relid;
	uint8_t monitor_id; /* VMBUS_NO_MONITOR: none */
	uint8_t monitor_allocated;
	le16 dedicated_interrupt; /* 1: signals carry no bit in the interrupt page */
	le32 connection_id;	  /* for HvCallSignalEvent */
};
WIRE_SIZE(struct vmbus_offer_channel, 196);
WIRE_AT(struct vmbus_offer_channel, flags, 56);
WIRE_AT(struct vmbus_offer_channel, user_data, 60);
WIRE_AT(struct vmbus_offer_channel, subchannel_index, 180);
WIRE_AT(struct vmbus_offer_channel, relid, 184);
WIRE_AT(struct vmbus_offer_channel, dedicated_interrupt, 190);
WIRE_AT(struct vmbus_offer_channel, connection_id, 192);

#define VMBUS_NO_MONITOR 0xff

/* RESCIND_OFFER, CLOSE_CHANNEL, RELID_RELEASED; CLOSE_RESERVED_RESPONSE with the reserved id. */
struct vmbus_relid_message {
	struct vmbus_message_header header;
	le32 relid;
};
WIRE_SIZE(struct vmbus_relid_message, 12);

struct vmbus_open_channel {
	struct vmbus_message_header header;
	le32 relid;
	le32 open_id; /* echoed in the result */
	le32 ring_gpadl;
	le32 target_vp;		     /* takes the channel's signals; VMBUS_NO_VP: none */
	le32 downstream_page_offset; /* host-to-guest ring, in pages from the GPADL's start */
	uint8_t user_data[VMBUS_USER_DATA_BYTES];
};
WIRE_SIZE(struct vmbus_open_channel, 148);
WIRE_AT(struct vmbus_open_channel, user_data, 28);

struct vmbus_open_result {
	struct vmbus_message_header header;
	le32 relid;
	le32 open_id;
	le32 status;
};
WIRE_SIZE(struct vmbus_open_result, 20);

/*
 * The list of ranges follows in 8-byte units, which may be continued in bodies:
 * {le32 bytes, le32 offset} and a le64 page number for every page the range touches, range_count
 * times. Only the 4-byte alignment of the message is certain.
 */
struct vmbus_gpadl_header {
	struct vmbus_message_header header;
	le32 relid;
	le32 gpadl;
	le16 range_bytes; /* of the list, all messages together */
	le16 range_count;
};
WIRE_SIZE(struct vmbus_gpadl_header, 20);

struct vmbus_gpadl_body {
	struct vmbus_message_header header;
	le32 number; /* Linux: always 0 */
	le32 gpadl;
};
WIRE_SIZE(struct vmbus_gpadl_body, 16);

struct vmbus_gpadl_created {
	struct vmbus_message_header header;
	le32 relid;
	le32 gpadl;
	le32 status;
};
WIRE_SIZE(struct vmbus_gpadl_created, 20);

struct vmbus_gpadl_teardown {
	struct vmbus_message_header header;
	le32 relid;
	le32 gpadl;
};
WIRE_SIZE(struct vmbus_gpadl_teardown, 16);

struct vmbus_gpadl_torndown {
	struct vmbus_message_header header;
	le32 gpadl;
};
WIRE_SIZE(struct vmbus_gpadl_torndown, 12);

struct vmbus_modify_channel {
	struct vmbus_message_header header;
	le32 relid;
	le32 target_vp;
};
WIRE_SIZE(struct vmbus_modify_channel, 16);

struct vmbus_modify_channel_response {
	struct vmbus_message_header header;
	le32 relid;
	le32 status;
};
WIRE_SIZE(struct vmbus_modify_channel_response, 16);

struct vmbus_tl_connect_request {
	struct vmbus_message_header header;
	uint8_t endpoint[16];
	uint8_t service[16];
};
WIRE_SIZE(struct vmbus_tl_connect_request, 40);

struct vmbus_tl_connect_result {
	struct vmbus_message_header header;
	uint8_t endpoint[16];
	uint8_t service[16];
	le32 status;
};
WIRE_SIZE(struct vmbus_tl_connect_result, 44);

/* --- rings --- */

/* First page of each ring; the data follow on the next pages. Indices are bytes into the data. */
struct vmbus_ring_control {
	le32 write_index;
	le32 read_index;
	le32 interrupt_mask;	/* the reader: do not signal me */
	le32 pending_send_size; /* the writer: signal me when there is room for so many bytes */
	uint8_t reserved[48];
	le32 features; /* VMBUS_RING_* */
};
WIRE_SIZE(struct vmbus_ring_control, 68);
WIRE_AT(struct vmbus_ring_control, features, 64);

#define VMBUS_RING_PENDING_SEND_SIZE 1 /* pending_send_size is honoured */

#define VMBUS_PACKET_DATA	      6
#define VMBUS_PACKET_TRANSFER_PAGES   7
#define VMBUS_PACKET_GPA_DIRECT	      9
#define VMBUS_PACKET_COMPLETION	      0xb
#define VMBUS_PACKET_WANTS_COMPLETION 1 /* in flags */

struct vmbus_packet_descriptor {
	le16 type;    /* VMBUS_PACKET_* */
	le16 offset8; /* of the payload, in units of 8 bytes */
	le16 length8; /* descriptor to padding, without the trailer */
	le16 flags;
	le64 transaction_id;
};
WIRE_SIZE(struct vmbus_packet_descriptor, 16);

/* What follows the descriptor of TRANSFER_PAGES; a list of vmbus_transfer_range comes after it. */
struct vmbus_transfer_pages {
	le16 set_id;
	uint8_t sender_owns_set;
	uint8_t reserved;
	le32 range_count;
};
WIRE_SIZE(struct vmbus_transfer_pages, 8);

struct vmbus_transfer_range {
	le32 bytes;
	le32 offset; /* into the buffer that the device's protocol agreed upon */
};
WIRE_SIZE(struct vmbus_transfer_range, 8);

/* What follows the descriptor of GPA_DIRECT; ranges come after it, each with its page numbers. */
struct vmbus_gpa_direct {
	le32 reserved;
	le32 range_count;
};
WIRE_SIZE(struct vmbus_gpa_direct, 8);

struct vmbus_gpa_range {
	le32 bytes;
	le32 offset; /* into the first page */
		     /* le64 page numbers, one for every page that is touched */
};
WIRE_SIZE(struct vmbus_gpa_range, 8);

struct vmbus_packet_trailer {
	le32 reserved;
	le32 start; /* write index before the packet */
};
WIRE_SIZE(struct vmbus_packet_trailer, 8);

/* In channels offered as named pipes, the payload starts with this. */
struct vmbus_pipe_header {
	le32 type; /* VMBUS_PIPE_DATA */
	le32 bytes;
};
WIRE_SIZE(struct vmbus_pipe_header, 8);

#define VMBUS_PIPE_DATA 1

#endif

/*
 * nbd.h - the NBD protocol: fixed newstyle negotiation, simple and structured replies
 *
 * Everything is big-endian; see docs/protocols/nbd.md.
 * Source: "The NBD protocol", doc/proto.md of NetworkBlockDevice/nbd.
 */
#ifndef WIRE_NBD_H
#define WIRE_NBD_H

#include "base.h"

/* Big-endian fields; be32toh() and its like read them. */
typedef uint16_t be16;
typedef uint32_t be32;
typedef uint64_t be64;

#define NBD_MAX_STRING 4096u

/* --- handshake --- */

#define NBD_MAGIC		  0x4e42444d41474943ull /* "NBDMAGIC" */
#define NBD_OPTION_MAGIC	  0x49484156454f5054ull /* "IHAVEOPT" */
#define NBD_REPLY_MAGIC		  0x0003e889045565a9ull
#define NBD_FLAG_FIXED_NEWSTYLE	  0x0001u
#define NBD_FLAG_NO_ZEROES	  0x0002u
#define NBD_FLAG_C_FIXED_NEWSTYLE 0x00000001u
#define NBD_FLAG_C_NO_ZEROES	  0x00000002u

struct nbd_greeting { /* server to client */
	be64 magic, option_magic;
	be16 flags;
} __attribute__((packed));
WIRE_SIZE(struct nbd_greeting, 18);

struct nbd_client_flags {
	be32 flags;
} __attribute__((packed));
WIRE_SIZE(struct nbd_client_flags, 4);

enum nbd_option_kind {
	NBD_OPT_EXPORT_NAME = 1,
	NBD_OPT_ABORT = 2,
	NBD_OPT_LIST = 3,
	NBD_OPT_STARTTLS = 5,
	NBD_OPT_INFO = 6,
	NBD_OPT_GO = 7,
	NBD_OPT_STRUCTURED_REPLY = 8,
	NBD_OPT_LIST_META_CONTEXT = 9,
	NBD_OPT_SET_META_CONTEXT = 10
};

struct nbd_option { /* client to server; then the data */
	be64 magic;
	be32 kind;
	be32 bytes;
} __attribute__((packed));
WIRE_SIZE(struct nbd_option, 16);
WIRE_AT(struct nbd_option, bytes, 12);

#define NBD_REP_ACK	     1u
#define NBD_REP_SERVER	     2u
#define NBD_REP_INFO	     3u
#define NBD_REP_META_CONTEXT 4u
#define NBD_REP_ERROR	     0x80000000u
#define NBD_REP_ERR_UNSUP    (NBD_REP_ERROR + 1)
#define NBD_REP_ERR_INVALID  (NBD_REP_ERROR + 3)
#define NBD_REP_ERR_UNKNOWN  (NBD_REP_ERROR + 6)
#define NBD_REP_ERR_TOO_BIG  (NBD_REP_ERROR + 9)

struct nbd_option_reply { /* server to client; then the data */
	be64 magic;
	be32 option; /* the kind it answers */
	be32 kind;
	be32 bytes;
} __attribute__((packed));
WIRE_SIZE(struct nbd_option_reply, 20);

struct nbd_export_reply { /* to NBD_OPT_EXPORT_NAME; the zeroes as negotiated */
	be64 bytes;
	be16 flags;
	uint8_t zeroes[124];
} __attribute__((packed));
WIRE_SIZE(struct nbd_export_reply, 134);
WIRE_AT(struct nbd_export_reply, zeroes, 10);

#define NBD_INFO_EXPORT	     0u
#define NBD_INFO_NAME	     1u
#define NBD_INFO_DESCRIPTION 2u
#define NBD_INFO_BLOCK_SIZE  3u

struct nbd_info_export {
	be16 kind;
	be64 bytes;
	be16 flags;
} __attribute__((packed));
WIRE_SIZE(struct nbd_info_export, 12);

struct nbd_info_block_size {
	be16 kind;
	be32 minimum, preferred, maximum_payload;
} __attribute__((packed));
WIRE_SIZE(struct nbd_info_block_size, 14);

/* Transmission flags. */
#define NBD_FLAG_HAS_FLAGS	   BIT(0)
#define NBD_FLAG_READ_ONLY	   BIT(1)
#define NBD_FLAG_SEND_FLUSH	   BIT(2)
#define NBD_FLAG_SEND_FUA	   BIT(3)
#define NBD_FLAG_SEND_TRIM	   BIT(5)
#define NBD_FLAG_SEND_WRITE_ZEROES BIT(6)
#define NBD_FLAG_SEND_DF	   BIT(7)
#define NBD_FLAG_CAN_MULTI_CONN	   BIT(8)
#define NBD_FLAG_SEND_CACHE	   BIT(10)

/* --- transmission --- */

#define NBD_REQUEST_MAGIC	   0x25609513u
#define NBD_SIMPLE_REPLY_MAGIC	   0x67446698u
#define NBD_STRUCTURED_REPLY_MAGIC 0x668e33efu

enum nbd_command {
	NBD_CMD_READ = 0,
	NBD_CMD_WRITE = 1,
	NBD_CMD_DISC = 2,
	NBD_CMD_FLUSH = 3,
	NBD_CMD_TRIM = 4,
	NBD_CMD_CACHE = 5,
	NBD_CMD_WRITE_ZEROES = 6,
	NBD_CMD_BLOCK_STATUS = 7
};

#define NBD_CMD_FLAG_FUA     BIT(0)
#define NBD_CMD_FLAG_NO_HOLE BIT(1)
#define NBD_CMD_FLAG_DF	     BIT(2)
#define NBD_CMD_FLAG_REQ_ONE BIT(3)

struct nbd_request { /* client to server; a write's data follow */
	be32 magic;
	be16 flags;
	be16 command;
	be64 cookie;
	be64 offset;
	be32 bytes;
} __attribute__((packed));
WIRE_SIZE(struct nbd_request, 28);
WIRE_AT(struct nbd_request, cookie, 8);
WIRE_AT(struct nbd_request, bytes, 24);

struct nbd_simple_reply { /* server to client; a read's data follow */
	be32 magic;
	be32 error;
	be64 cookie;
} __attribute__((packed));
WIRE_SIZE(struct nbd_simple_reply, 16);

#define NBD_REPLY_FLAG_DONE	    BIT(0)
#define NBD_REPLY_TYPE_NONE	    0u
#define NBD_REPLY_TYPE_OFFSET_DATA  1u
#define NBD_REPLY_TYPE_BLOCK_STATUS 5u
#define NBD_REPLY_TYPE_ERROR	    0x8001u

struct nbd_chunk { /* structured reply: server to client; then the payload */
	be32 magic;
	be16 flags;
	be16 type;
	be64 cookie;
	be32 bytes;
} __attribute__((packed));
WIRE_SIZE(struct nbd_chunk, 20);
WIRE_AT(struct nbd_chunk, bytes, 16);

struct nbd_chunk_error { /* then the text */
	be32 error;
	be16 text_bytes;
} __attribute__((packed));
WIRE_SIZE(struct nbd_chunk_error, 6);

#define NBD_STATE_HOLE BIT(0)
#define NBD_STATE_ZERO BIT(1)

struct nbd_extent {
	be32 bytes;
	be32 state;
} __attribute__((packed));
WIRE_SIZE(struct nbd_extent, 8);

enum nbd_error {
	NBD_EPERM = 1,
	NBD_EIO = 5,
	NBD_ENOMEM = 12,
	NBD_EINVAL = 22,
	NBD_ENOSPC = 28,
	NBD_EOVERFLOW = 75,
	NBD_ESHUTDOWN = 108
};

#endif

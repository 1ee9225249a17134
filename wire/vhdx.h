/*
 * vhdx.h - virtual hard disk images, version 2
 *
 * Everything is little-endian, text is UTF-16LE, checksums are CRC-32C with their own field as 0;
 * see docs/formats/vhdx.md. Source: MS-VHDX.
 */
#ifndef WIRE_VHDX_H
#define WIRE_VHDX_H

#include "guid.h"

/* All but the first MiB is laid out in units of one. */
#define VHDX_UNIT MIB

#define VHDX_MAX_BYTES	     (64 * 1024 * GIB)
#define VHDX_MIN_BLOCK_BYTES MIB
#define VHDX_MAX_BLOCK_BYTES (256 * MIB)

/* --- the first MiB --- */

#define VHDX_IDENTIFIER_AT 0u
#define VHDX_HEADER_AT	   (64 * KIB) /* two of them, like the region tables */
#define VHDX_REGIONS_AT	   (192 * KIB)
#define VHDX_COPY_STRIDE   (64 * KIB)

#define VHDX_SIGNATURE	   "vhdxfile"
#define VHDX_CREATOR_UNITS 256
struct vhdx_identifier {
	char signature[8];
	uint8_t creator[VHDX_CREATOR_UNITS * 2]; /* UTF-16LE, informational */
} __attribute__((packed));
WIRE_SIZE(struct vhdx_identifier, 520);

#define VHDX_HEADER_SIGNATURE "head"
#define VHDX_LOG_VERSION      0
#define VHDX_VERSION	      1
struct vhdx_header {
	char signature[4];
	le32 checksum;		     /* over all 4096 bytes */
	le64 sequence_number;	     /* the valid header with the greater one counts */
	struct guid file_write_guid; /* new at the first change of anything after opening */
	struct guid data_write_guid; /* likewise of what the guest sees; children record it */
	struct guid log_guid;	     /* of the entries to replay; zero: none */
	le16 log_version;
	le16 version;
	le32 log_length;
	le64 log_offset;
	uint8_t reserved[4016];
} __attribute__((packed));
WIRE_SIZE(struct vhdx_header, 4096);
WIRE_AT(struct vhdx_header, file_write_guid, 16);
WIRE_AT(struct vhdx_header, log_guid, 48);
WIRE_AT(struct vhdx_header, log_length, 68);
WIRE_AT(struct vhdx_header, log_offset, 72);

#define VHDX_REGIONS_SIGNATURE "regi"
#define VHDX_REGIONS_BYTES     (64 * KIB)
#define VHDX_MAX_REGIONS       2047u
struct vhdx_region_table_header {
	char signature[4];
	le32 checksum; /* over all 64 KiB */
	le32 entry_count;
	le32 reserved;
} __attribute__((packed));
WIRE_SIZE(struct vhdx_region_table_header, 16);

#define VHDX_REGION_REQUIRED BIT(0)
struct vhdx_region {
	struct guid guid;
	le64 file_offset;
	le32 length;
	le32 flags;
} __attribute__((packed));
WIRE_SIZE(struct vhdx_region, 32);
WIRE_AT(struct vhdx_region, file_offset, 16);

#define VHDX_REGION_BAT                                                                            \
	GUID(0x2dc27766, 0xf623, 0x4200, 0x9d, 0x64, 0x11, 0x5e, 0x9b, 0xfd, 0x4a, 0x08)
#define VHDX_REGION_METADATA                                                                       \
	GUID(0x8b7ca206, 0x4790, 0x4b9a, 0xb8, 0xfe, 0x57, 0x5f, 0x05, 0x0f, 0x88, 0x6e)

/* --- metadata --- */

#define VHDX_METADATA_SIGNATURE	  "metadata"
#define VHDX_METADATA_TABLE_BYTES (64 * KIB) /* items lie behind it */
#define VHDX_MAX_METADATA	  2047u
#define VHDX_MAX_ITEM_BYTES	  MIB
struct vhdx_metadata_header {
	char signature[8];
	le16 reserved;
	le16 entry_count;
	uint8_t reserved2[20];
} __attribute__((packed));
WIRE_SIZE(struct vhdx_metadata_header, 32);

#define VHDX_ITEM_USER	   BIT(0)
#define VHDX_ITEM_DISK	   BIT(1)
#define VHDX_ITEM_REQUIRED BIT(2)
struct vhdx_metadata_entry {
	struct guid guid;
	le32 offset; /* from the region's start */
	le32 length;
	le32 flags;
	le32 reserved;
} __attribute__((packed));
WIRE_SIZE(struct vhdx_metadata_entry, 32);
WIRE_AT(struct vhdx_metadata_entry, flags, 24);

#define VHDX_ITEM_FILE_PARAMETERS                                                                  \
	GUID(0xcaa16737, 0xfa36, 0x4d43, 0xb3, 0xb6, 0x33, 0xf0, 0xaa, 0x44, 0xe7, 0x6b)
#define VHDX_ITEM_DISK_SIZE                                                                        \
	GUID(0x2fa54224, 0xcd1b, 0x4876, 0xb2, 0x11, 0x5d, 0xbe, 0xd8, 0x3b, 0xf4, 0xb8)
#define VHDX_ITEM_DISK_ID                                                                          \
	GUID(0xbeca12ab, 0xb2e6, 0x4523, 0x93, 0xef, 0xc3, 0x09, 0xe0, 0x00, 0xc7, 0x46)
#define VHDX_ITEM_LOGICAL_SECTOR                                                                   \
	GUID(0x8141bf1d, 0xa96f, 0x4709, 0xba, 0x47, 0xf2, 0x33, 0xa8, 0xfa, 0xab, 0x5f)
#define VHDX_ITEM_PHYSICAL_SECTOR                                                                  \
	GUID(0xcda348c7, 0x445d, 0x4471, 0x9c, 0xc9, 0xe9, 0x88, 0x52, 0x51, 0xc5, 0x56)
#define VHDX_ITEM_PARENT_LOCATOR                                                                   \
	GUID(0xa8d35f2d, 0xb30b, 0x454d, 0xab, 0xf7, 0xd3, 0xd8, 0x48, 0x34, 0xab, 0x0c)

#define VHDX_LEAVE_BLOCKS_ALLOCATED BIT(0)
#define VHDX_HAS_PARENT		    BIT(1)
struct vhdx_file_parameters {
	le32 block_size;
	le32 flags;
} __attribute__((packed));
WIRE_SIZE(struct vhdx_file_parameters, 8);

#define VHDX_PARENT_LOCATOR_TYPE                                                                   \
	GUID(0xb04aefb7, 0xd19e, 0x4a81, 0xb7, 0x89, 0x25, 0xb8, 0xe9, 0x44, 0x59, 0x13)
struct vhdx_parent_locator {
	struct guid type;
	le16 reserved;
	le16 count;
} __attribute__((packed));
WIRE_SIZE(struct vhdx_parent_locator, 20);

/* A key and its value; offsets from the item's start, lengths in bytes, no terminators. */
struct vhdx_locator_entry {
	le32 key_offset;
	le32 value_offset;
	le16 key_length;
	le16 value_length;
} __attribute__((packed));
WIRE_SIZE(struct vhdx_locator_entry, 12);

/* --- the block allocation table --- */

/* An entry: the state, and the offset in the file, which is a multiple of VHDX_UNIT. */
#define VHDX_BAT_STATE	  7ull
#define VHDX_BAT_RESERVED (VHDX_UNIT - 8)
#define VHDX_BAT_OFFSET	  (~(VHDX_UNIT - 1))
enum vhdx_block_state {
	VHDX_BLOCK_NOT_PRESENT = 0, /* also of sector bitmap blocks */
	VHDX_BLOCK_UNDEFINED = 1,
	VHDX_BLOCK_ZERO = 2,
	VHDX_BLOCK_UNMAPPED = 3,
	VHDX_BLOCK_FULLY_PRESENT = 6, /* likewise */
	VHDX_BLOCK_PARTIALLY_PRESENT = 7
};

/* A sector bitmap block has a bit for each of so many sectors: a chunk of the disk. */
#define VHDX_CHUNK_SECTORS BIT(23)

/* --- the log --- */

#define VHDX_LOG_SECTOR	     4096u
#define VHDX_ENTRY_SIGNATURE "loge"
struct vhdx_log_entry {
	char signature[4];
	le32 checksum; /* over the whole entry */
	le32 entry_length;
	le32 tail; /* offset in the log of the oldest entry that still matters */
	le64 sequence_number;
	le32 descriptor_count;
	le32 reserved;
	struct guid log_guid;
	le64 flushed_file_offset; /* the file was at least so long on stable storage */
	le64 last_file_offset;	  /* the file has to be so long */
} __attribute__((packed));
WIRE_SIZE(struct vhdx_log_entry, 64);
WIRE_AT(struct vhdx_log_entry, log_guid, 32);

/* They follow the entry's header; data sectors follow them, on the next multiple of 4 KiB. */
#define VHDX_DATA_SIGNATURE "desc"
#define VHDX_ZERO_SIGNATURE "zero"
struct vhdx_log_descriptor {
	char signature[4];
	union {
		uint8_t trailing_bytes[4]; /* data: of the page, bytes 4092.. */
		le32 reserved;
	};
	union {
		uint8_t leading_bytes[8]; /* data: bytes 0.. */
		le64 zero_length;
	};
	le64 file_offset;
	le64 sequence_number; /* the entry's */
} __attribute__((packed));
WIRE_SIZE(struct vhdx_log_descriptor, 32);
WIRE_AT(struct vhdx_log_descriptor, file_offset, 16);

#define VHDX_FIRST_DESCRIPTORS 126u /* in the first sector */
#define VHDX_MORE_DESCRIPTORS  128u /* in each other */

#define VHDX_DATA_SECTOR_SIGNATURE "data"
struct vhdx_log_data {
	char signature[4];
	le32 sequence_high;
	uint8_t bytes[4084]; /* of the page, bytes 8.. */
	le32 sequence_low;
} __attribute__((packed));
WIRE_SIZE(struct vhdx_log_data, VHDX_LOG_SECTOR);
WIRE_AT(struct vhdx_log_data, sequence_low, 4092);

#endif

/*
 * vmdk.h - VMware virtual disks: hosted sparse extents, and the markers of stream-optimized ones
 *
 * Everything is little-endian; offsets and sizes are in sectors of 512 bytes; see
 * docs/formats/vmdk.md. Source: VMware, "Virtual Disk Format 5.0"; what it leaves open from files
 * of qemu 7.2.
 */
#ifndef WIRE_VMDK_H
#define WIRE_VMDK_H

#include "base.h"

#define VMDK_SECTOR 512u

#define VMDK_SPARSE_MAGIC	 0x564d444bu /* "KDMV" as the file has it */
#define VMDK_COWD_MAGIC		 0x44574f43u /* "COWD": ESX deltas */
#define VMDK_SESPARSE_MAGIC	 0xcafebabeu /* first 32 of 64 bits: ESX space-efficient sparse */
#define VMDK_DESCRIPTOR_COOKIE	 "# Disk DescriptorFile"
#define VMDK_NO_PARENT		 0xffffffffu /* parentCID */
#define VMDK_DIRECTORY_AT_END	 UINT64_MAX  /* the footer has the true header */
#define VMDK_TABLE_ENTRIES	 512u
#define VMDK_COMPRESSION_NONE	 0
#define VMDK_COMPRESSION_DEFLATE 1

enum vmdk_flag {
	VMDK_FLAG_NEWLINE_TEST = 1,
	VMDK_FLAG_REDUNDANT = 2,
	VMDK_FLAG_ZERO_GRAINS = 4, /* entry 1 of a grain table: zeros, whatever the parent has */
	VMDK_FLAG_COMPRESSED = 0x10000,
	VMDK_FLAG_MARKERS = 0x20000
};

struct vmdk_sparse_header {
	le32 magic;
	le32 version; /* 1 to 3 */
	le32 flags;
	le64 capacity;
	le64 grain_sectors;
	le64 descriptor_offset;
	le64 descriptor_sectors;
	le32 table_entries; /* of each grain table */
	le64 redundant_directory;
	le64 directory;
	le64 overhead;
	uint8_t unclean;
	char newlines[4]; /* "\n \r\n": a transfer as text damages it */
	le16 compression;
	uint8_t reserved[433];
} __attribute__((packed));
WIRE_SIZE(struct vmdk_sparse_header, VMDK_SECTOR);
WIRE_AT(struct vmdk_sparse_header, capacity, 12);
WIRE_AT(struct vmdk_sparse_header, table_entries, 44);
WIRE_AT(struct vmdk_sparse_header, directory, 56);
WIRE_AT(struct vmdk_sparse_header, newlines, 73);
WIRE_AT(struct vmdk_sparse_header, compression, 77);
#define VMDK_NEWLINES "\n \r\n"

/* Entries of grain directories and tables. */
#define VMDK_ABSENT	0u
#define VMDK_ZERO_GRAIN 1u /* with VMDK_FLAG_ZERO_GRAINS */

/* Before each compressed grain, whose bytes follow at once; with 0 bytes: a marker of a sector. */
struct vmdk_grain_marker {
	le64 sector; /* of the disk; of markers: how many sectors follow */
	le32 bytes;
} __attribute__((packed));
WIRE_SIZE(struct vmdk_grain_marker, 12);

enum vmdk_marker {
	VMDK_MARKER_END = 0,
	VMDK_MARKER_TABLE = 1,
	VMDK_MARKER_DIRECTORY = 2,
	VMDK_MARKER_FOOTER = 3
};

/* The end of a stream: a footer marker, the footer, an end marker. */
#define VMDK_FOOTER_FROM_END (2 * VMDK_SECTOR)

#endif

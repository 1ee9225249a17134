/*
 * vhd.h - virtual hard disk images, version 1: footer, dynamic header, parent locators
 *
 * Everything is big-endian and in sectors of 512 bytes; see docs/formats/vhd.md.
 * Source: "Virtual Hard Disk Image Format Specification", version 1.0.
 */
#ifndef WIRE_VHD_H
#define WIRE_VHD_H

#include "base.h"

/* Big-endian fields; be32toh() and its like read them. */
typedef uint16_t be16;
typedef uint32_t be32;
typedef uint64_t be64;

#define VHD_SECTOR 512u

#define VHD_COOKIE	     "conectix"
#define VHD_COOKIE_DISABLED  "v_poison"	 /* XenServer: an image nobody may use */
#define VHD_VERSION	     0x00010000u /* major 16, minor 16; of footer and dynamic header */
#define VHD_FEATURES	     0x00000002u /* a reserved bit that is always set */
#define VHD_NO_OFFSET	     UINT64_MAX
#define VHD_HOST_WINDOWS     0x5769326bu /* "Wi2k" */
#define VHD_EPOCH_UNIX	     946684800u	 /* 2000-01-01 00:00 UTC, where time stamps begin */
#define VHD_FOOTER_BYTES     512u
#define VHD_OLD_FOOTER_BYTES 511u /* before Virtual PC 2004 */

enum vhd_disk_type {
	VHD_TYPE_NONE = 0,
	VHD_TYPE_FIXED = 2,
	VHD_TYPE_DYNAMIC = 3,
	VHD_TYPE_DIFFERENCING = 4
};

struct vhd_footer {
	char cookie[8];
	be32 features;
	be32 version;
	be64 data_offset; /* of the dynamic header; fixed: VHD_NO_OFFSET */
	be32 time_stamp;
	char creator[4];
	be32 creator_version;
	be32 creator_host;
	be64 original_size;
	be64 current_size; /* bytes, what the guest sees */
	be16 cylinders;
	uint8_t heads;
	uint8_t sectors;
	be32 disk_type;
	be32 checksum;
	uint8_t unique_id[16];
	uint8_t saved_state;
	uint8_t reserved[427];
} __attribute__((packed));
WIRE_SIZE(struct vhd_footer, VHD_FOOTER_BYTES);
WIRE_AT(struct vhd_footer, data_offset, 16);
WIRE_AT(struct vhd_footer, current_size, 48);
WIRE_AT(struct vhd_footer, disk_type, 60);
WIRE_AT(struct vhd_footer, unique_id, 68);
WIRE_AT(struct vhd_footer, reserved, 85);

#define VHD_LOCATORS 8
struct vhd_locator {
	be32 platform;
	be32 space; /* in bytes where it is a multiple of 512 (every known writer), else sectors */
	be32 length;
	be32 reserved;
	be64 offset;
} __attribute__((packed));
WIRE_SIZE(struct vhd_locator, 24);

enum vhd_platform {
	VHD_PLATFORM_NONE = 0,
	VHD_PLATFORM_W2RU = 0x57327275, /* relative path, UTF-16LE */
	VHD_PLATFORM_W2KU = 0x57326b75, /* absolute path, UTF-16LE */
	VHD_PLATFORM_MACX = 0x4d616358	/* file: URL, UTF-8 */
};

#define VHD_DYNAMIC_COOKIE    "cxsparse"
#define VHD_PARENT_NAME_UNITS 256
struct vhd_dynamic_header {
	char cookie[8];
	be64 data_offset;
	be64 table_offset; /* of the block allocation table */
	be32 version;
	be32 max_table_entries;
	be32 block_size;
	be32 checksum;
	uint8_t parent_id[16];
	be32 parent_time_stamp;
	be32 reserved;
	be16 parent_name[VHD_PARENT_NAME_UNITS]; /* UTF-16BE */
	struct vhd_locator locators[VHD_LOCATORS];
	uint8_t reserved2[256];
} __attribute__((packed));
WIRE_SIZE(struct vhd_dynamic_header, 1024);
WIRE_AT(struct vhd_dynamic_header, table_offset, 16);
WIRE_AT(struct vhd_dynamic_header, checksum, 36);
WIRE_AT(struct vhd_dynamic_header, parent_name, 64);
WIRE_AT(struct vhd_dynamic_header, locators, 576);
WIRE_AT(struct vhd_dynamic_header, reserved2, 768);

/* A table entry: the sector where the block's bitmap begins; its data follow. */
#define VHD_UNALLOCATED		UINT32_MAX
#define VHD_DEFAULT_BLOCK_BYTES (2 * MIB)
#define VHD_MAX_DYNAMIC_BYTES	(2040 * GIB)

/* XenServer keeps a map of full blocks behind the table. */
#define VHD_BATMAP_COOKIE "tdbatmap"
struct vhd_batmap_header {
	char cookie[8];
	be64 offset;
	be32 sectors;
	be32 version;
	be32 checksum;
} __attribute__((packed));
WIRE_SIZE(struct vhd_batmap_header, 28);

#endif

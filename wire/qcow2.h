/*
 * qcow2.h - images of QEMU, versions 2 and 3: header, extensions, table entries
 *
 * Everything is big-endian; offsets are in bytes; see docs/formats/qcow2.md.
 * Source: QEMU, "Qcow2 Image File Format" (docs/interop/qcow2).
 */
#ifndef WIRE_QCOW2_H
#define WIRE_QCOW2_H

#include "base.h"
#include "vhd.h" /* be32, be64 */

#define QCOW2_MAGIC 0x514649fbu /* "QFI\xfb" */

#define QCOW2_V2_HEADER_BYTES 72u
#define QCOW2_V3_HEADER_BYTES 104u /* at least */
#define QCOW2_MAX_NAME_BYTES  1023u

struct qcow2_header {
	be32 magic;
	be32 version;
	be64 backing_file_offset;
	be32 backing_file_size;
	be32 cluster_bits;
	be64 size;
	be32 crypt_method;
	be32 l1_size; /* entries */
	be64 l1_table_offset;
	be64 refcount_table_offset;
	be32 refcount_table_clusters;
	be32 nb_snapshots;
	be64 snapshots_offset;
	/* version 3 */
	be64 incompatible_features;
	be64 compatible_features;
	be64 autoclear_features;
	be32 refcount_order;
	be32 header_length;
	/* where header_length reaches so far */
	uint8_t compression_type;
	uint8_t padding[7];
} __attribute__((packed));
WIRE_SIZE(struct qcow2_header, 112);
WIRE_AT(struct qcow2_header, size, 24);
WIRE_AT(struct qcow2_header, l1_table_offset, 40);
WIRE_AT(struct qcow2_header, incompatible_features, QCOW2_V2_HEADER_BYTES);
WIRE_AT(struct qcow2_header, compression_type, QCOW2_V3_HEADER_BYTES);

enum qcow2_incompatible {
	QCOW2_DIRTY = 1,
	QCOW2_CORRUPT = 2,
	QCOW2_EXTERNAL_DATA = 4,
	QCOW2_COMPRESSION_TYPE = 8,
	QCOW2_EXTENDED_L2 = 16
};

enum qcow2_compression { QCOW2_DEFLATE = 0, QCOW2_ZSTD = 1 };

struct qcow2_extension {
	be32 type;
	be32 length; /* of the data that follow, padded to 8 bytes */
} __attribute__((packed));
WIRE_SIZE(struct qcow2_extension, 8);

#define QCOW2_EXTENSION_END	       0u
#define QCOW2_EXTENSION_FEATURES       0x6803f857u
#define QCOW2_EXTENSION_BACKING_FORMAT 0xe2792acau

struct qcow2_feature_name {
	uint8_t kind; /* 0: incompatible */
	uint8_t bit;
	char name[46];
} __attribute__((packed));
WIRE_SIZE(struct qcow2_feature_name, 48);

/* Entries of the L1 table and of L2 tables. */
#define QCOW2_OFFSET_MASK     0x00fffffffffffe00ull
#define QCOW2_ENTRY_ZERO      BIT(0)  /* version 3, without extended entries */
#define QCOW2_ENTRY_PACKED    BIT(62) /* a compressed cluster */
#define QCOW2_DESCRIPTOR_MASK (BIT(62) - 1)

/* An extended L2 entry has a second word: bits 0-31 allocated, bits 32-63 zeros. */
#define QCOW2_SUBCLUSTERS	32u
#define QCOW2_MIN_EXTENDED_BITS 14u
#define QCOW2_PACKED_SECTOR	512u

#endif

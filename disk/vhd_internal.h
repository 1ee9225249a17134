/*
 * vhd_internal.h - what the files of the VHD format share
 */
#ifndef DISK_VHD_INTERNAL_H
#define DISK_VHD_INTERNAL_H

#include "disk_internal.h"
#include "vhd.h"

struct vhd {
	struct vhd_footer footer;
	struct vhd_dynamic_header header; /* not of fixed images, like all that follows */
	uint64_t table_offset;
	struct blocks blocks;	      /* .end: where the footer is, or will be once it is written */
	bool tail_dirty, front_dirty; /* a copy of the footer was lost */
};

/* vhd.c */
uint32_t vhd_checksum(const void *bytes, size_t count, size_t checksum_offset);
struct vhd_geometry {
	uint16_t cylinders;
	uint8_t heads, sectors;
};
struct vhd_geometry vhd_geometry(uint64_t bytes);

/* vhd_table.c: read the block table, all checked */
int vhd_load_table(struct image *image, struct disk_error *ret_error);
/* vhd_parent.c */
void vhd_parent_hints(const struct image *child, parent_hint_fn *hint, void *ctx);
int vhd_check_parent(const struct image *child, const struct image *parent,
		     struct disk_error *ret_error);
/* vhd_blocks.c */
extern const struct blocks_driver vhd_blocks;

#endif

/*
 * vhd_footer.h - VHD footers and headers as operations write them
 */
#ifndef DISK_OPERATIONS_VHD_FOOTER_H
#define DISK_OPERATIONS_VHD_FOOTER_H

#include "vhd_internal.h"

/* That of a new fixed image, with a new id. */
void vhd_fixed_footer(struct vhd_footer *ret_footer, uint64_t bytes);
/* Another size, and the geometry that goes with it. */
void vhd_footer_set_size(struct vhd_footer *footer, uint64_t bytes);
void vhd_footer_seal(struct vhd_footer *footer); /* the checksum; after every change */
void vhd_header_seal(struct vhd_dynamic_header *header);

#endif

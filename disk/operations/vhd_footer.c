/*
 * vhd_footer.c - VHD footers and headers as operations write them
 */
#include "vhd_footer.h"

#include <endian.h>
#include <string.h>
#include <time.h>

#define CREATOR_VERSION 0x000a0000u

void vhd_footer_seal(struct vhd_footer *footer)
{
	size_t at = offsetof(struct vhd_footer, checksum);

	footer->checksum = htobe32(vhd_checksum(footer, sizeof(*footer), at));
}

void vhd_header_seal(struct vhd_dynamic_header *header)
{
	size_t at = offsetof(struct vhd_dynamic_header, checksum);

	header->checksum = htobe32(vhd_checksum(header, sizeof(*header), at));
}

void vhd_footer_set_size(struct vhd_footer *footer, uint64_t bytes)
{
	struct vhd_geometry geometry = vhd_geometry(bytes);

	footer->current_size = htobe64(bytes);
	footer->cylinders = htobe16(geometry.cylinders);
	footer->heads = geometry.heads;
	footer->sectors = geometry.sectors;
	vhd_footer_seal(footer);
}

void vhd_fixed_footer(struct vhd_footer *ret_footer, uint64_t bytes)
{
	struct guid id;

	*ret_footer = (struct vhd_footer){.features = htobe32(VHD_FEATURES),
					  .version = htobe32(VHD_VERSION),
					  .data_offset = VHD_NO_OFFSET,
					  .time_stamp = htobe32(time(NULL) - VHD_EPOCH_UNIX),
					  .creator_version = htobe32(CREATOR_VERSION),
					  .creator_host = htobe32(VHD_HOST_WINDOWS),
					  .original_size = htobe64(bytes),
					  .disk_type = htobe32(VHD_TYPE_FIXED)};
	memcpy(ret_footer->cookie, VHD_COOKIE, sizeof(ret_footer->cookie));
	memcpy(ret_footer->creator, "win ", sizeof(ret_footer->creator));
	guid_random(&id);
	memcpy(ret_footer->unique_id, id.bytes, sizeof(id.bytes));
	vhd_footer_set_size(ret_footer, bytes);
}

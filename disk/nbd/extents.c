/*
 * extents.c - what of a range is data, as a block status reply tells it
 *
 * What is not allocated, and what is known to be zeros, is told as a hole of zeros: a write there
 * may find the host's file system full.
 */
#include <endian.h>
#include <errno.h>

#include "nbd_internal.h"

/* Neighbours of the same kind are told as one; so many look-ups are made for one reply. */
#define MAX_LOOK_UPS 4096u

static uint32_t state_of(const struct disk_extent *extent)
{
	return extent->kind == DISK_EXTENT_DATA ? 0 : NBD_STATE_HOLE | NBD_STATE_ZERO;
}

int describe_extents(struct disk *disk, uint64_t offset, uint64_t bytes, unsigned int max,
		     struct nbd_extent *extents)
{
	unsigned int count = 0;

	for (unsigned int i = 0; bytes && i < MAX_LOOK_UPS; i++) {
		struct disk_extent found;
		uint32_t state, part;
		int r = disk_next_extent(disk, offset, &found);

		if (r < 0)
			return count ? (int)count : r;
		part = MIN(found.bytes, bytes);
		state = htobe32(state_of(&found));
		if (count && extents[count - 1].state == state)
			extents[count - 1].bytes =
				htobe32(be32toh(extents[count - 1].bytes) + part);
		else if (count < max)
			extents[count++] = (struct nbd_extent){htobe32(part), state};
		else
			break;
		offset += part;
		bytes -= part;
	}
	return count;
}

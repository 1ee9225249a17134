/*
 * vhd_blocks.c - new blocks of a VHD, and its commits: an order of writes that power may cut
 * anywhere
 *
 * Layout: the data of a new block begin on a page of the file, the bitmap right before them, the
 * footer right behind them. A footer's place is never used again: a write of it in flight can meet
 * no write of a bitmap, and the old one stays valid until the file has grown. Blocks stand 2 MiB +
 * 4 KiB apart.
 *
 * What the file may lose at a power cut is any subset of the writes since the last fdatasync(). The
 * image must then still open, with all flushed data. The invariants:
 *
 *   1. The footer copy at the start of the file is never written while the image is in use (only
 *      the repair at opening writes it, with the other copy valid), so one valid footer is always
 *      there. The footer at the end is written behind every block the file has room for; until
 *      that is on disk, opening takes the copy and finds the end of the file's content from the
 *      block table.
 *   2. A table entry is written only once the block's bitmap and the file's length are durable. A
 *      bit of a bitmap that a table entry names is written only once the sector's data are durable;
 *      a block that no entry names may have any bitmap. Bits that are clear stand for sectors never
 *      written here: zeros in the file, whatever the parent has to a reader.
 *   3. Table entries never change once written: blocks neither move nor go.
 *
 * So a commit writes the bitmaps of new blocks, and the footer; syncs, which makes data, those
 * bitmaps and the file's length durable; writes the table entries of new blocks and the bitmaps of
 * old ones; and syncs again.
 */
#include <endian.h>
#include <errno.h>
#include <string.h>

#include "vhd_internal.h"

static uint8_t all_ones[4096];

__attribute__((constructor)) static void fill_all_ones(void)
{
	memset(all_ones, 0xff, sizeof(all_ones));
}

/* The unit of a bitmap is a block. */
static uint64_t bitmap_offset(const struct image *image, uint32_t unit)
{
	return (uint64_t)table_get(image->blocks, unit) * VHD_SECTOR;
}

/* --- allocation --- */

static uint64_t file_bytes(const struct image *image)
{
	return image->blocks->end + VHD_FOOTER_BYTES;
}

/* The bitmap of a block with a parent says which sectors are here; else it is all ones. */
static int place(struct disk *disk, struct allocation *allocation, struct task *task)
{
	struct image *image = disk->top;
	const struct blocks *blocks = image->blocks;
	uint64_t data = ALIGN_UP(file_bytes(image) + blocks->skip, PAGE_BYTES);
	uint64_t offset = data - blocks->skip;

	if (offset / VHD_SECTOR >= BLOCK_PLACES)
		return -ENOSPC;
	allocation->place = offset / VHD_SECTOR;
	allocation->end = data + blocks->block_bytes;
	allocation->file_bytes = allocation->end + VHD_FOOTER_BYTES;
	if (!image->differencing)
		return 0;
	allocation->bitmap = bitmap_new(disk, image, allocation->block, offset);
	if (!allocation->bitmap)
		return -ENOMEM;
	allocation->bitmap->unborn = true;
	return 0;
}

static void adopt(struct disk *disk, struct allocation *allocation)
{
	struct blocks *blocks = disk->top->blocks;

	table_set(blocks, allocation->block, allocation->place);
	if (!allocation->bitmap)
		table_set_full(blocks, allocation->block);
	else
		bitmap_mark_dirty(disk, allocation->bitmap);
	disk->more_pending = true; /* the footer */
}

static void abandon(struct disk *disk, struct allocation *allocation)
{
	if (allocation->bitmap)
		bitmap_drop(disk, allocation->bitmap);
}

/* --- the phases of a commit --- */

static void write_ones(struct disk_io *io, uint64_t offset, size_t count)
{
	commit_write(io, offset, all_ones, MIN(count, sizeof(all_ones)));
	io->bytes = count;
	for (io->iov_count = 0; count; io->iov_count++) {
		size_t part = MIN(count, sizeof(all_ones));

		io->own_iov[io->iov_count] = (struct iovec){all_ones, part};
		count -= part;
	}
}

static bool next_initialise(struct disk *disk, struct disk_io *io)
{
	struct allocation *allocation = disk->commit.next_allocation;
	size_t bytes = disk->top->blocks->bitmap_bytes;
	uint64_t offset;

	if (!allocation)
		return false;
	disk->commit.next_allocation = allocation->next;
	offset = (uint64_t)allocation->place * VHD_SECTOR;
	if (allocation->bitmap)
		commit_write(io, offset, allocation->bitmap->copy, bytes);
	else
		write_ones(io, offset, bytes);
	return true;
}

static bool next_footer(struct disk *disk, struct disk_io *io)
{
	struct commit *commit = &disk->commit;

	if (!commit->more || commit->began)
		return false;
	commit->began = true;
	commit_write(io, commit->end, &disk->top->vhd->footer, VHD_FOOTER_BYTES);
	return true;
}

static bool next_metadata_sync(struct disk *disk, struct disk_io *io)
{
	return (disk->commit.allocations || disk->commit.bitmaps) && commit_sync(disk, io);
}

static bool next_entry(struct disk *disk, struct disk_io *io)
{
	struct allocation *allocation = disk->commit.next_allocation;

	if (!allocation)
		return false;
	disk->commit.next_allocation = allocation->next;
	allocation->entry = htobe32(allocation->place);
	commit_write(io, disk->top->vhd->table_offset + allocation->block * sizeof(be32),
		     &allocation->entry, sizeof(allocation->entry));
	return true;
}

static bool next_bitmap(struct disk *disk, struct disk_io *io)
{
	struct commit *commit = &disk->commit;
	struct bitmap *bitmap = commit->next_bitmap;

	/* That of a new block was written already. */
	while (bitmap && bitmap->unborn)
		bitmap = bitmap->commit_next;
	if (!bitmap)
		return false;
	commit->next_bitmap = bitmap->commit_next;
	commit_write(io, bitmap->offset, bitmap->copy, disk->top->blocks->bitmap_bytes);
	return true;
}

static commit_phase_fn *const phases[] = {next_initialise, next_footer, commit_sync,
					  next_entry,	   next_bitmap, next_metadata_sync};

const struct blocks_driver vhd_blocks = {.bitmap_offset = bitmap_offset,
					 .place = place,
					 .adopt = adopt,
					 .abandon = abandon,
					 .file_bytes = file_bytes,
					 .phases = phases,
					 .phase_count = ARRAY_SIZE(phases)};

/*
 * vhdx_commit.c - new blocks of a VHDX, and its commits: the order in which its log wants things
 *
 * Before the first write to an image a commit begins it: it writes an empty entry with a new log
 * GUID into the log, syncs, and then both headers with that GUID, a new FileWriteGuid and a new
 * DataWriteGuid. From then on, until it is closed, opening the image takes the log into account.
 *
 * Pages of 4 KiB of the block table and of sector bitmap blocks change, never in place before the
 * log has them:
 *
 *   read      the pages of the table that change
 *   sync      data, the file's length, and the pages that the entry before wrote to their places
 *             are durable now
 *   log       one entry with the new contents of up to 126 pages
 *   sync      the entry is durable: so is all that it says
 *   in place  the pages
 *
 * and once more from the sync on, if there are more pages. Invariants:
 *
 *   1. Each entry is a sequence of its own: its tail is itself. When it is written, everything the
 *      entries before said has its place, durably; so only the last one matters. Entries are
 *      written to the two halves of the log in turn, so that the last one is never overwritten.
 *      A power cut that tears the new one leaves the one before, and replaying that changes
 *      nothing: pages are written in place only once their own entry is durable.
 *   2. All changes of the table go into one entry, the last of a commit; bitmaps fill the ones
 *      before. So a block that the table says is partially present has its bitmap block, and the
 *      bits of it that mean data.
 *   3. Bits of blocks that are not partially present may say anything (another writer's, or a
 * commit that was cut off): they are cleared in memory when the block becomes partially present,
 * and written with or before the table's entry.
 *
 * Blocks begin on a MiB at the end of the file; a chunk's sector bitmap block comes right before
 * the first of its blocks that needs one. They read as zeros, since the file has just grown.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "crc32c.h"
#include "vhdx_internal.h"

/* --- bitmaps --- */

static uint64_t bitmap_offset(const struct image *image, uint32_t unit)
{
	const uint32_t pages = VHDX_UNIT / VHDX_BITMAP_PAGE;

	return image->vhdx->chunk_places[unit / pages] * VHDX_UNIT +
	       unit % pages * VHDX_BITMAP_PAGE;
}

static void bitmap_read(struct image *image, struct bitmap *bitmap)
{
	vhdx_log_patch(&image->vhdx->log, bitmap->offset, bitmap->bits, VHDX_BITMAP_PAGE);
}

/* The bits of a block: in whole units, or in a part of one. */
struct block_bits {
	uint32_t first_unit, units;
	uint32_t first, count; /* in each */
};

static struct block_bits bits_of(const struct blocks *blocks, uint32_t block)
{
	uint32_t count = blocks->block_bytes >> blocks->sector_shift;
	uint64_t first = (uint64_t)block * count;

	return (struct block_bits){.first_unit = first / VHDX_BITMAP_PAGE_BITS,
				   .units = MAX(count / VHDX_BITMAP_PAGE_BITS, 1u),
				   .first = first % VHDX_BITMAP_PAGE_BITS,
				   .count = MIN(count, VHDX_BITMAP_PAGE_BITS)};
}

/* --- the table's pages that change --- */

static bool is_dirty(const struct vhdx_dirty_pages *dirty, uint32_t page)
{
	for (uint32_t i = 0; i < dirty->count; i++) {
		if (dirty->page[i] == page)
			return true;
	}
	return false;
}

static void mark_entry(struct vhdx *vhdx, uint32_t index)
{
	uint32_t page = index / VHDX_PAGE_ENTRIES;

	if (!is_dirty(&vhdx->dirty, page))
		vhdx->dirty.page[vhdx->dirty.count++] = page;
}

/* An allocation changes two pages at most. What a commit took may come back. */
static bool has_room(const struct vhdx *vhdx)
{
	return vhdx->dirty.count + vhdx->commit.dirty.count + 2 <= VHDX_MAX_DIRTY_PAGES;
}

/* --- allocation --- */

static uint64_t file_bytes(const struct image *image)
{
	return image->blocks->end;
}

static void unpin(struct disk *disk, const struct allocation *allocation)
{
	struct block_bits bits = bits_of(disk->top->blocks, allocation->block);

	for (uint32_t i = 0; i < allocation->pinned; i++)
		bitmap_cached(disk, disk->top, bits.first_unit + i)->pins--;
}

/* So that adopt() has the block's bits at hand. */
static int pin_bits(struct disk *disk, struct allocation *allocation, struct task *task)
{
	struct block_bits bits = bits_of(disk->top->blocks, allocation->block);

	for (uint32_t i = 0; i < bits.units; i++) {
		struct bitmap *bitmap;
		int r = bitmap_get(disk, disk->top, bits.first_unit + i, task, &bitmap);

		if (r) {
			unpin(disk, allocation);
			return r;
		}
		bitmap->pins++;
		allocation->pinned++;
	}
	return 0;
}

static bool becomes_partial(const struct disk *disk, const struct allocation *allocation)
{
	return disk->top->differencing &&
	       table_get(disk->top->blocks, allocation->block) == BLOCK_ABSENT;
}

static int place(struct disk *disk, struct allocation *allocation, struct task *task)
{
	const struct vhdx *vhdx = disk->top->vhdx;
	const struct blocks *blocks = disk->top->blocks;
	bool partial = becomes_partial(disk, allocation);
	uint64_t at = blocks->end / VHDX_UNIT;

	if (!has_room(vhdx)) {
		commit_join(disk, task, false);
		return WAIT;
	}
	if (partial && !vhdx->chunk_places[allocation->block / vhdx->chunk_blocks])
		allocation->chunk_place = at++;
	allocation->place = at;
	allocation->end = at * VHDX_UNIT + blocks->block_bytes;
	allocation->file_bytes = allocation->end;
	if (allocation->end > VHDX_MAX_PLACES * VHDX_UNIT)
		return -ENOSPC;
	return partial && !allocation->chunk_place ? pin_bits(disk, allocation, task) : 0;
}

static void clear_bits(struct disk *disk, const struct allocation *allocation)
{
	struct block_bits bits = bits_of(disk->top->blocks, allocation->block);

	for (uint32_t i = 0; i < allocation->pinned; i++)
		bitmap_clear(disk, bitmap_cached(disk, disk->top, bits.first_unit + i), bits.first,
			     bits.count);
	unpin(disk, allocation);
}

static void adopt(struct disk *disk, struct allocation *allocation)
{
	struct vhdx *vhdx = disk->top->vhdx;
	uint32_t chunk = allocation->block / vhdx->chunk_blocks;
	bool partial = becomes_partial(disk, allocation);

	table_set(&vhdx->blocks, allocation->block, allocation->place);
	mark_entry(vhdx, vhdx_bat_index(vhdx, allocation->block));
	if (!partial) {
		table_set_full(&vhdx->blocks, allocation->block);
		return;
	}
	allocation->partial = true;
	clear_bits(disk, allocation);
	if (!allocation->chunk_place)
		return;
	vhdx->chunk_places[chunk] = allocation->chunk_place;
	mark_entry(vhdx, vhdx_bitmap_index(vhdx, chunk));
}

static void abandon(struct disk *disk, struct allocation *allocation)
{
	unpin(disk, allocation);
}

/* --- what a commit takes --- */

static int take_pages(struct disk *disk)
{
	struct vhdx *vhdx = disk->top->vhdx;
	struct vhdx_commit *commit = &vhdx->commit;
	uint32_t count = disk->commit.bitmap_count + commit->dirty.count;
	uint8_t *bat;

	commit->pages = calloc(MAX(count, 1u), sizeof(*commit->pages));
	bat = commit->bat_bytes = malloc(MAX(commit->dirty.count, 1u) * PAGE_BYTES);
	commit->entry = malloc((1 + VHDX_FIRST_DESCRIPTORS) * VHDX_LOG_SECTOR);
	if (!commit->pages || !commit->bat_bytes || !commit->entry)
		return -ENOMEM;
	for (struct bitmap *bitmap = disk->commit.bitmaps; bitmap; bitmap = bitmap->commit_next)
		commit->pages[commit->page_count++] =
			(struct vhdx_page){bitmap->offset, bitmap->copy};
	for (uint32_t i = 0; i < commit->dirty.count; i++, bat += PAGE_BYTES)
		commit->pages[commit->page_count++] = (struct vhdx_page){
			vhdx->bat_offset + commit->dirty.page[i] * PAGE_BYTES, bat};
	return 0;
}

static int commit_take(struct disk *disk)
{
	struct vhdx *vhdx = disk->top->vhdx;
	struct vhdx_commit *commit = &vhdx->commit;

	commit->dirty = vhdx->dirty;
	vhdx->dirty.count = 0;
	commit->page_count = commit->first = commit->batch = commit->next = 0;
	commit->file_bytes = disk->commit.end;
	return take_pages(disk);
}

void vhdx_commit_free(struct vhdx_commit *commit)
{
	free(TAKE(commit->pages));
	free(TAKE(commit->bat_bytes));
	free(TAKE(commit->entry));
}

static void commit_over(struct disk *disk, int error)
{
	struct image *image = disk->top;
	struct vhdx *vhdx = image->vhdx;
	struct vhdx_commit *commit = &vhdx->commit;

	if (!image->begun && commit->began) {
		image->begun = true;
		image->link = vhdx->header.data_write_guid;
	}
	for (uint32_t i = 0; error && i < commit->dirty.count; i++) {
		if (!is_dirty(&vhdx->dirty, commit->dirty.page[i]))
			vhdx->dirty.page[vhdx->dirty.count++] = commit->dirty.page[i];
	}
	commit->dirty.count = 0;
	vhdx_commit_free(commit);
}

/* --- beginning an image --- */

void vhdx_make_entry(const struct vhdx *vhdx, uint32_t tail, const struct vhdx_page *pages,
		     uint32_t count, uint64_t file_bytes, uint8_t *entry)
{
	struct vhdx_log_entry *header = (struct vhdx_log_entry *)entry;
	struct vhdx_log_descriptor *descriptor = (struct vhdx_log_descriptor *)(header + 1);
	struct vhdx_log_data *data = (struct vhdx_log_data *)(entry + VHDX_LOG_SECTOR);

	memset(entry, 0, VHDX_LOG_SECTOR);
	memcpy(header->signature, VHDX_ENTRY_SIGNATURE, sizeof(header->signature));
	header->entry_length = (1 + count) * VHDX_LOG_SECTOR;
	header->tail = tail;
	header->sequence_number = vhdx->log_sequence;
	header->descriptor_count = count;
	header->log_guid = vhdx->header.log_guid;
	header->flushed_file_offset = header->last_file_offset = file_bytes;
	for (uint32_t i = 0; i < count; i++, descriptor++, data++) {
		const uint8_t *page = pages[i].bytes;

		memcpy(descriptor->signature, VHDX_DATA_SIGNATURE, sizeof(descriptor->signature));
		memcpy(descriptor->leading_bytes, page, 8);
		memcpy(data->bytes, page + 8, sizeof(data->bytes));
		memcpy(descriptor->trailing_bytes, page + 8 + sizeof(data->bytes), 4);
		descriptor->file_offset = pages[i].offset;
		descriptor->sequence_number = vhdx->log_sequence;
		memcpy(data->signature, VHDX_DATA_SECTOR_SIGNATURE, sizeof(data->signature));
		data->sequence_high = vhdx->log_sequence >> 32;
		data->sequence_low = vhdx->log_sequence;
	}
	header->checksum = crc32c_with_hole(entry, header->entry_length,
					    offsetof(struct vhdx_log_entry, checksum));
}

static bool write_entry(struct disk *disk, struct disk_io *io, uint32_t pages)
{
	struct vhdx *vhdx = disk->top->vhdx;
	struct vhdx_commit *commit = &vhdx->commit;
	uint32_t half = ALIGN_DOWN(vhdx->log_bytes / 2, VHDX_LOG_SECTOR);
	uint32_t at = vhdx->log_sequence % 2 ? 0 : half;

	if (disk->commit.began)
		return false;
	disk->commit.began = true;
	vhdx_make_entry(vhdx, at, commit->pages + commit->first, pages, commit->file_bytes,
			commit->entry);
	vhdx->log_sequence++;
	commit_write(io, vhdx->log_offset + at, commit->entry, (1 + pages) * VHDX_LOG_SECTOR);
	return true;
}

static bool next_empty_entry(struct disk *disk, struct disk_io *io)
{
	struct vhdx *vhdx = disk->top->vhdx;

	if (disk->top->begun || disk->commit.began)
		return false;
	vhdx->log_sequence = 1;
	guid_random(&vhdx->header.file_write_guid);
	guid_random(&vhdx->header.data_write_guid);
	guid_random(&vhdx->header.log_guid);
	return write_entry(disk, io, 0);
}

static bool next_begin_sync(struct disk *disk, struct disk_io *io)
{
	return !disk->top->begun && commit_sync(disk, io);
}

static bool next_header(struct disk *disk, struct disk_io *io)
{
	struct vhdx *vhdx = disk->top->vhdx;
	struct vhdx_header *header = &vhdx->commit.next_header;

	if (disk->top->begun || disk->commit.began)
		return false;
	disk->commit.began = true;
	*header = vhdx->header;
	header->sequence_number++;
	vhdx_seal_header(header);
	commit_write(io, VHDX_HEADER_AT + !vhdx->slot * VHDX_COPY_STRIDE, header, sizeof(*header));
	return true;
}

/* --- the pages --- */

static uint32_t first_of_table(const struct vhdx_commit *commit)
{
	return commit->page_count - commit->dirty.count;
}

static bool next_read(struct disk *disk, struct disk_io *io)
{
	struct vhdx_commit *commit = &disk->top->vhdx->commit;
	struct vhdx_page *page;

	if (commit->next == commit->page_count)
		return false;
	page = &commit->pages[commit->next++];
	commit_write(io, page->offset, page->bytes, PAGE_BYTES);
	io->kind = IO_READ;
	return true;
}

static bool has_batch(struct disk *disk)
{
	return disk->top->vhdx->commit.batch;
}

static bool next_log(struct disk *disk, struct disk_io *io)
{
	return has_batch(disk) && write_entry(disk, io, disk->top->vhdx->commit.batch);
}

static bool next_log_sync(struct disk *disk, struct disk_io *io)
{
	return has_batch(disk) && commit_sync(disk, io);
}

static bool next_in_place(struct disk *disk, struct disk_io *io)
{
	struct vhdx_commit *commit = &disk->top->vhdx->commit;
	const struct vhdx_page *page = &commit->pages[commit->next];

	if (commit->next == commit->first + commit->batch)
		return false;
	commit->next++;
	commit_write(io, page->offset, page->bytes, PAGE_BYTES);
	return true;
}

/* --- from phase to phase --- */

enum phase {
	EMPTY_ENTRY,
	EMPTY_ENTRY_SYNC,
	FIRST_HEADER,
	FIRST_HEADER_SYNC,
	SECOND_HEADER,
	SECOND_HEADER_SYNC,
	READ_TABLE,
	SYNC_DATA,
	LOG,
	LOG_SYNC,
	IN_PLACE,
	PHASES
};

static commit_phase_fn *const phases[PHASES] = {
	[EMPTY_ENTRY] = next_empty_entry,
	[EMPTY_ENTRY_SYNC] = next_begin_sync,
	[FIRST_HEADER] = next_header,
	[FIRST_HEADER_SYNC] = next_begin_sync,
	[SECOND_HEADER] = next_header,
	[SECOND_HEADER_SYNC] = next_begin_sync,
	[READ_TABLE] = next_read,
	[SYNC_DATA] = commit_sync,
	[LOG] = next_log,
	[LOG_SYNC] = next_log_sync,
	[IN_PLACE] = next_in_place,
};

static void header_is_durable(struct image *image)
{
	struct vhdx *vhdx = image->vhdx;

	if (image->begun)
		return;
	vhdx->header = vhdx->commit.next_header;
	vhdx->slot = !vhdx->slot;
	vhdx->bad_header = false;
}

static void set_entry(struct vhdx *vhdx, uint32_t index, uint64_t value)
{
	struct vhdx_commit *commit = &vhdx->commit;
	uint64_t page = vhdx->bat_offset + index / VHDX_PAGE_ENTRIES * PAGE_BYTES;

	for (uint32_t i = first_of_table(commit); i < commit->page_count; i++) {
		if (commit->pages[i].offset == page)
			((le64 *)commit->pages[i].bytes)[index % VHDX_PAGE_ENTRIES] = value;
	}
}

static void set_entries(struct disk *disk)
{
	struct vhdx *vhdx = disk->top->vhdx;

	for (const struct allocation *at = disk->commit.allocations; at; at = at->next) {
		set_entry(vhdx, vhdx_bat_index(vhdx, at->block),
			  at->place * VHDX_UNIT | (at->partial ? VHDX_BLOCK_PARTIALLY_PRESENT
							       : VHDX_BLOCK_FULLY_PRESENT));
		if (at->chunk_place)
			set_entry(vhdx, vhdx_bitmap_index(vhdx, at->block / vhdx->chunk_blocks),
				  at->chunk_place * VHDX_UNIT | VHDX_BLOCK_FULLY_PRESENT);
	}
}

/* The pages of the next entry: the rest, or only bitmaps, when the table does not fit as a whole.
 */
static void begin_batch(struct vhdx_commit *commit, uint32_t first)
{
	uint32_t left = commit->page_count - first;

	commit->first = commit->next = first;
	commit->batch = left <= VHDX_FIRST_DESCRIPTORS
				? left
				: MIN(first_of_table(commit) - first, VHDX_FIRST_DESCRIPTORS);
}

static unsigned int commit_next(struct disk *disk, unsigned int phase)
{
	struct vhdx_commit *commit = &disk->top->vhdx->commit;

	switch (phase) {
	case FIRST_HEADER_SYNC: header_is_durable(disk->top); break;
	case SECOND_HEADER_SYNC:
		header_is_durable(disk->top);
		commit->began = true;
		commit->next = first_of_table(commit);
		break;
	case READ_TABLE:
		set_entries(disk);
		begin_batch(commit, 0);
		break;
	case IN_PLACE:
		begin_batch(commit, commit->first + commit->batch);
		return commit->batch ? SYNC_DATA : PHASES;
	}
	return phase + 1;
}

const struct blocks_driver vhdx_blocks = {.bitmap_offset = bitmap_offset,
					  .bitmap_read = bitmap_read,
					  .place = place,
					  .adopt = adopt,
					  .abandon = abandon,
					  .file_bytes = file_bytes,
					  .phases = phases,
					  .phase_count = PHASES,
					  .commit_take = commit_take,
					  .commit_next = commit_next,
					  .commit_over = commit_over};

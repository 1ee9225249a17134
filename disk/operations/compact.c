/*
 * compact.c - a shorter VHD for the same disk, in place
 *
 * First blocks that say nothing lose their table entry. Then the last block of the file is copied
 * into the lowest hole that takes it, and so on while the hole is below the block: a batch of
 * copies, a sync, their entries, a sync. A hole that a batch fills was free before the batch began,
 * and nothing is written to what its moves leave free, so either place of a block holds the same.
 * At last the footer goes behind what is left and the file is cut.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "copy.h"
#include "vhd_edit.h"

#define BATCH	    64u
#define PIECE_BYTES MIB

/* In use of the file. */
struct used {
	uint64_t from, to;
	uint32_t block; /* VHD_UNALLOCATED: metadata, which stays */
};

struct move {
	uint32_t block, sector;
};

struct compaction {
	struct vhd_edit edit;
	struct disk_compaction result;
	struct used *used; /* by place */
	size_t used_count;
	uint64_t span; /* bitmap and data */
	uint8_t *buffer;
	struct move moves[BATCH];
	unsigned int move_count;
	uint64_t done, total; /* blocks, in bytes */
};

static int step(struct compaction *compaction)
{
	compaction->done += compaction->edit.image->blocks->block_bytes;
	progress_report(compaction->edit.progress, MIN(compaction->done, compaction->total),
			compaction->total);
	return progress_cancelled(compaction->edit.progress) ? -ECANCELED : 0;
}

/* --- blocks that say nothing --- */

static int is_empty(const struct compaction *compaction, uint64_t offset, bool *ret_empty)
{
	const struct image *image = compaction->edit.image;
	const struct blocks *blocks = image->blocks;
	/* A child's block without a bit; any other by its data, which are zero where no bit is. */
	uint64_t count = blocks->bitmap_bytes;
	int r = 0;

	if (!image->differencing) {
		offset += blocks->bitmap_bytes;
		count = blocks->block_bytes;
	}
	*ret_empty = true;
	for (uint64_t part; !r && *ret_empty && count; offset += part, count -= part) {
		part = MIN(count, PIECE_BYTES);
		r = file_read(image->fd, offset, compaction->buffer, part);
		*ret_empty = bytes_are_zero(compaction->buffer, part);
	}
	return r;
}

static int drop_empty(struct compaction *compaction)
{
	struct blocks *blocks = compaction->edit.image->blocks;
	uint32_t block = 0;
	int r = 0;

	for (; !r && (block = table_next_present(blocks, block)) < blocks->block_count; block++) {
		uint32_t place = table_get(blocks, block);
		bool empty;

		r = is_empty(compaction, (uint64_t)place << blocks->place_shift, &empty);
		if (!r && empty) {
			r = vhd_edit_entry(&compaction->edit, block, VHD_UNALLOCATED);
			table_set(blocks, block, BLOCK_ABSENT);
			compaction->result.dropped++;
		}
		if (!r)
			r = step(compaction);
	}
	return r ? r : file_sync(compaction->edit.image->fd);
}

/* --- what is in use --- */

static void add_used(struct compaction *compaction, uint64_t from, uint64_t bytes, uint32_t block)
{
	compaction->used[compaction->used_count++] = (struct used){from, from + bytes, block};
}

static int by_place(const void *a, const void *b)
{
	const struct used *left = a, *right = b;

	return left->from < right->from ? -1 : left->from > right->from;
}

static void add_metadata(struct compaction *compaction)
{
	const struct vhd *vhd = compaction->edit.image->vhd;

	add_used(compaction, 0, VHD_FOOTER_BYTES, VHD_UNALLOCATED);
	add_used(compaction, be64toh(vhd->footer.data_offset), sizeof(vhd->header),
		 VHD_UNALLOCATED);
	add_used(compaction, vhd->table_offset,
		 (uint64_t)be32toh(vhd->header.max_table_entries) * sizeof(be32), VHD_UNALLOCATED);
	for (size_t i = 0; i < VHD_LOCATORS; i++) {
		const struct vhd_locator *locator = &vhd->header.locators[i];
		uint64_t space = be32toh(locator->space);

		if (space < VHD_SECTOR) /* see wire/vhd.h */
			space *= VHD_SECTOR;
		space = MAX(space, be32toh(locator->length));
		if (be32toh(locator->platform) && be64toh(locator->offset) < vhd->blocks.end)
			add_used(compaction, be64toh(locator->offset),
				 MIN(space, vhd->blocks.end - be64toh(locator->offset)),
				 VHD_UNALLOCATED);
	}
}

static int list_used(struct compaction *compaction)
{
	const struct blocks *blocks = compaction->edit.image->blocks;
	size_t count = 3 + VHD_LOCATORS;
	uint32_t block;

	for (block = 0; (block = table_next_present(blocks, block)) < blocks->block_count; block++)
		count++;
	compaction->used = reallocarray(NULL, count, sizeof(struct used));
	if (!compaction->used)
		return -ENOMEM;
	add_metadata(compaction);
	for (block = 0; (block = table_next_present(blocks, block)) < blocks->block_count; block++)
		add_used(compaction, (uint64_t)table_get(blocks, block) << blocks->place_shift,
			 compaction->span, block);
	qsort(compaction->used, compaction->used_count, sizeof(struct used), by_place);
	return 0;
}

/* --- moving --- */

/* A place behind @from for bitmap and data that ends at @to at most; 0: there is none. */
static uint64_t place_between(const struct compaction *compaction, uint64_t from, uint64_t to)
{
	uint64_t bitmap = compaction->edit.image->blocks->bitmap_bytes;
	uint64_t aligned = ALIGN_UP(from + bitmap, PAGE_BYTES) - bitmap;

	if (aligned + compaction->span <= to)
		return aligned;
	from = ALIGN_UP(from, (uint64_t)VHD_SECTOR);
	return from + compaction->span <= to ? from : 0;
}

static int copy_block(struct compaction *compaction, uint64_t from, uint64_t to)
{
	uint64_t left = compaction->span;
	int fd = compaction->edit.image->fd, r = 0;

	for (uint64_t part; !r && left; left -= part, from += part, to += part) {
		part = MIN(left, PIECE_BYTES);
		r = file_read(fd, from, compaction->buffer, part);
		if (!r)
			r = file_write(fd, to, compaction->buffer, part);
	}
	return r;
}

static int finish_batch(struct compaction *compaction)
{
	int fd = compaction->edit.image->fd, r = 0;

	if (!compaction->move_count)
		return 0;
	r = file_sync(fd);
	for (unsigned int i = 0; !r && i < compaction->move_count; i++)
		r = vhd_edit_entry(&compaction->edit, compaction->moves[i].block,
				   compaction->moves[i].sector);
	compaction->result.moved += compaction->move_count;
	compaction->move_count = 0;
	return r ? r : file_sync(fd);
}

static int move_block(struct compaction *compaction, struct used *used, uint64_t place)
{
	int r = copy_block(compaction, used->from, place);

	if (r)
		return r;
	compaction->moves[compaction->move_count++] =
		(struct move){used->block, place >> compaction->edit.image->blocks->place_shift};
	r = compaction->move_count == BATCH ? finish_batch(compaction) : 0;
	return r ? r : step(compaction);
}

/* The last of what is in use and may move; the metadata behind it stay where they are. */
static struct used *last_block(const struct compaction *compaction, size_t below)
{
	while (below-- > 0) {
		if (compaction->used[below].block != VHD_UNALLOCATED)
			return &compaction->used[below];
	}
	return NULL;
}

/* Fills holes from the start with blocks from the end; returns where the content ends in @ret_end.
 */
static int fill_holes(struct compaction *compaction, uint64_t *ret_end)
{
	struct used *used = compaction->used, *last;
	uint64_t at = used[0].to, end = 0;
	size_t next = 1, count = compaction->used_count;
	int r = 0;

	last = last_block(compaction, count);
	while (!r && last && next <= (size_t)(last - used)) {
		uint64_t place = place_between(compaction, at, used[next].from);

		if (place) {
			r = move_block(compaction, last, place);
			at = place + compaction->span;
			last->to = last->from; /* free from now on */
			end = MAX(end, at);
			last = last_block(compaction, last - used);
		} else {
			at = MAX(at, used[next].to);
			next++;
		}
	}
	if (!r)
		r = finish_batch(compaction);
	for (size_t i = 0; i < count; i++)
		end = used[i].to > used[i].from ? MAX(end, used[i].to) : end;
	*ret_end = ALIGN_UP(end, (uint64_t)VHD_SECTOR);
	return r;
}

/* --- */

static int run(struct compaction *compaction)
{
	struct vhd *vhd = compaction->edit.image->vhd;
	struct blocks *blocks = &vhd->blocks;
	uint64_t end;
	int r;

	compaction->result.bytes_before = blocks->end + VHD_FOOTER_BYTES;
	compaction->span = blocks->bitmap_bytes + blocks->block_bytes;
	for (uint32_t i = 0; (i = table_next_present(blocks, i)) < blocks->block_count; i++)
		compaction->total += 2ull * blocks->block_bytes;
	compaction->buffer = malloc(PIECE_BYTES);
	r = compaction->buffer ? drop_empty(compaction) : -ENOMEM;
	if (!r)
		r = list_used(compaction);
	if (!r)
		r = fill_holes(compaction, &end);
	if (!r && end < blocks->end)
		r = vhd_edit_set_end(&compaction->edit, end);
	if (!r)
		progress_report(compaction->edit.progress, compaction->total, compaction->total);
	compaction->result.bytes_after = blocks->end + VHD_FOOTER_BYTES;
	free(compaction->used);
	free(compaction->buffer);
	return r;
}

int disk_compact(const char *path, struct disk_progress *progress,
		 struct disk_compaction *ret_compaction, struct disk_error *ret_error)
{
	struct compaction compaction = {
		.edit = {.path = path, .error = ret_error, .progress = progress}};
	int r = vhd_edit_open(&compaction.edit, false);

	if (r < 0)
		return r;
	if (compaction.edit.image->flat)
		r = disk_fail(ret_error, -ENOTSUP,
			      "%s: a %s image has no blocks to give up; convert it to vhd-dynamic",
			      path, disk_format_name(compaction.edit.image->format));
	else
		r = run(&compaction);
	if (r < 0 && r != -ENOTSUP)
		vhd_edit_fail(&compaction.edit, r, "compact it");
	vhd_edit_close(&compaction.edit);
	if (!r)
		*ret_compaction = compaction.result;
	return r;
}

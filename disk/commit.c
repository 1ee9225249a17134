/*
 * commit.c - metadata from memory to the image, in an order that power may cut anywhere
 *
 * What the file may lose at a power cut is any subset of the writes since the last fdatasync(). The
 * image must then still open, with all flushed data. The invariants:
 *
 *   1. The footer copy at the start of the file is never written while the image is in use (only
 *      vhd_repair() writes it, with the other copy valid), so one valid footer is always there. The
 *      footer at the end is written behind every block the file has room for; until that is on
 *      disk, opening takes the copy and finds the end of the file's content from the block table.
 *   2. A table entry is written only once the block's bitmap and the file's length are durable. A
 * bit of a bitmap that a table entry names is written only once the sector's data are durable; a
 *      block that no entry names may have any bitmap. Bits that are clear stand for sectors never
 *      written here: zeros in the file, whatever the parent has to a reader.
 *   3. Table entries never change once written: blocks neither move nor go.
 *
 * So metadata stay in memory until somebody wants them durable: a flush, a write with FUA, the
 * bitmap cache being full of dirty entries, closing. One commit runs at a time:
 *
 *   take      what is pending: new blocks, and a copy of each dirty bitmap. Bits are set when their
 *             data were written, so a copy stands for data that the next sync covers.
 *   write     the bitmaps of new blocks, and the footer
 *   sync      data, those bitmaps and the file's length are durable now
 *   write     table entries of new blocks, bitmaps of old ones
 *   sync      all is durable
 *
 * With nothing pending a flush is a plain sync. A flush that comes while a commit runs waits
 * for the next one, since it may cover data that was written after the copies were taken. When a
 * commit fails, everything it took is pending again. A sync that fails may have lost data that the
 * kernel now believes clean, so the disk takes no writes or flushes from then on.
 */
#include <endian.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk_internal.h"
#include "log.h"

static uint8_t all_ones[4096];

__attribute__((constructor)) static void fill_all_ones(void)
{
	memset(all_ones, 0xff, sizeof(all_ones));
}

bool commit_needed(const struct disk *disk)
{
	return disk->commit.running || disk->pending || disk->bitmaps.dirty ||
	       (disk->top->vhd && disk->top->vhd->tail_dirty);
}

/* --- taking what is pending; with the lock --- */

static int take_bitmaps(struct disk *disk)
{
	struct commit *commit = &disk->commit;
	struct bitmap *bitmap;
	uint8_t *at;

	commit->bitmaps = NULL;
	commit->copies = NULL;
	if (!disk->bitmaps.dirty)
		return 0;
	at = commit->copies = malloc(disk->bitmaps.dirty_bytes);
	if (!at)
		return -ENOMEM;
	while ((bitmap = disk->bitmaps.dirty)) {
		size_t bytes = bitmap->image->vhd->bitmap_bytes;

		disk->bitmaps.dirty = bitmap->dirty_next;
		bitmap->dirty = false;
		bitmap->committing = true;
		bitmap->copy = memcpy(at, bitmap->bits, bytes);
		at += bytes;
		bitmap->commit_next = commit->bitmaps;
		commit->bitmaps = bitmap;
	}
	disk->bitmaps.dirty_bytes = 0;
	return 0;
}

static int take_pending(struct disk *disk)
{
	struct commit *commit = &disk->commit;
	struct vhd *vhd = disk->top->vhd;
	int r = disk->failed ? -EIO : take_bitmaps(disk);

	if (r < 0)
		return r;
	commit->allocations = TAKE(disk->pending);
	commit->footer = vhd->tail_dirty;
	commit->end = vhd->end;
	vhd->tail_dirty = false;
	commit->metadata = commit->allocations || commit->bitmaps;
	return 0;
}

/* --- one write after the other; what was taken is the commit's own, so without the lock --- */

static void commit_continue(struct disk *disk);

static void write_next(struct disk_io *io, uint64_t offset, const void *bytes, size_t count)
{
	io->kind = IO_WRITE;
	io->offset = offset;
	io->own_iov[0] = (struct iovec){(void *)bytes, count};
	io->iov_count = 1;
	io->bytes = count;
}

static void write_ones(struct disk_io *io, uint64_t offset, size_t count)
{
	write_next(io, offset, all_ones, MIN(count, sizeof(all_ones)));
	io->bytes = count;
	for (io->iov_count = 0; count; io->iov_count++) {
		size_t part = MIN(count, sizeof(all_ones));

		io->own_iov[io->iov_count] = (struct iovec){all_ones, part};
		count -= part;
	}
}

/* Each fills @io with the phase's next operation; false: there is none left. */

static bool next_initialise(struct disk *disk, struct disk_io *io)
{
	struct allocation *allocation = disk->commit.next_allocation;
	size_t bytes = disk->top->vhd->bitmap_bytes;
	uint64_t offset;

	if (!allocation)
		return false;
	disk->commit.next_allocation = allocation->next;
	offset = (uint64_t)allocation->sector * VHD_SECTOR;
	if (allocation->bitmap)
		write_next(io, offset, allocation->bitmap->copy, bytes);
	else
		write_ones(io, offset, bytes);
	return true;
}

static bool next_footer(struct disk *disk, struct disk_io *io)
{
	struct commit *commit = &disk->commit;

	if (!commit->footer)
		return false;
	commit->footer = false;
	write_next(io, commit->end, &disk->top->vhd->footer, VHD_FOOTER_BYTES);
	return true;
}

static bool next_sync(struct disk *disk, struct disk_io *io)
{
	if (disk->commit.began)
		return false;
	disk->commit.began = true;
	io->kind = IO_SYNC;
	io->bytes = 0;
	return true;
}

static bool next_metadata_sync(struct disk *disk, struct disk_io *io)
{
	return disk->commit.metadata && next_sync(disk, io);
}

static bool next_entry(struct disk *disk, struct disk_io *io)
{
	struct allocation *allocation = disk->commit.next_allocation;

	if (!allocation)
		return false;
	disk->commit.next_allocation = allocation->next;
	allocation->entry = htobe32(allocation->sector);
	write_next(io, disk->top->vhd->table_offset + allocation->block * sizeof(be32),
		   &allocation->entry, sizeof(allocation->entry));
	return true;
}

static bool next_bitmap(struct disk *disk, struct disk_io *io)
{
	struct commit *commit = &disk->commit;
	struct bitmap *bitmap = commit->next_bitmap;
	const struct vhd *vhd = disk->top->vhd;

	/* That of a new block was written already. */
	while (bitmap && bitmap->unborn)
		bitmap = bitmap->commit_next;
	if (!bitmap)
		return false;
	commit->next_bitmap = bitmap->commit_next;
	write_next(io, (uint64_t)bitmap->sector * VHD_SECTOR, bitmap->copy, vhd->bitmap_bytes);
	return true;
}

static bool (*const next_of[COMMIT_PHASES])(struct disk *disk, struct disk_io *io) = {
	[COMMIT_INITIALISE] = next_initialise, [COMMIT_FOOTER] = next_footer,
	[COMMIT_SYNC_DATA] = next_sync,	       [COMMIT_TABLE] = next_entry,
	[COMMIT_BITMAPS] = next_bitmap,	       [COMMIT_SYNC_METADATA] = next_metadata_sync};

static void operation_done(struct disk_io *io, int result)
{
	struct disk *disk = io->owner;
	struct commit *commit = &disk->commit;

	if (result == -EINTR || result == -EAGAIN) {
		queue_submit_io(io);
		return;
	}
	if (io->kind == IO_SYNC && result < 0) {
		pthread_mutex_lock(&disk->lock);
		disk->failed = true;
		pthread_mutex_unlock(&disk->lock);
	}
	if (result >= 0 && io->kind == IO_WRITE && (uint64_t)result != io->bytes)
		result = -EIO; /* a short write into a file that has the room: no error that says
				  why */
	if (result < 0 && !commit->error)
		commit->error = disk_request_error(result);
	commit->in_flight--;
	queue_give_io(io);
	commit_continue(disk);
}

/* --- the end --- */

static void put_back(struct disk *disk)
{
	struct commit *commit = &disk->commit;
	struct allocation **last = &disk->pending;

	while (*last)
		last = &(*last)->next;
	*last = TAKE(commit->allocations);
	while (commit->bitmaps) {
		struct bitmap *bitmap = commit->bitmaps;

		commit->bitmaps = bitmap->commit_next;
		bitmap->committing = false;
		bitmap_mark_dirty(disk, bitmap);
	}
	if (disk->top->vhd)
		disk->top->vhd->tail_dirty = true;
}

static void forget_taken(struct commit *commit)
{
	while (commit->allocations) {
		struct allocation *allocation = commit->allocations;

		commit->allocations = allocation->next;
		if (allocation->bitmap)
			allocation->bitmap->unborn = false;
		free(allocation);
	}
	while (commit->bitmaps) {
		commit->bitmaps->committing = false;
		commit->bitmaps = commit->bitmaps->commit_next;
	}
}

static void finish(struct disk *disk)
{
	struct commit *commit = &disk->commit;
	struct task_list waiters;

	pthread_mutex_lock(&disk->lock);
	if (commit->error)
		put_back(disk);
	else
		forget_taken(commit);
	free(TAKE(commit->copies));
	waiters = commit->waiters;
	for (struct task *task = waiters.first; task; task = task->next)
		task->error = commit->error;
	commit->waiters.first = NULL;
	task_list_move(&commit->waiters, &commit->next_waiters);
	if (commit->waiters.first) {
		commit->task.queue = commit->waiters.first->queue;
		task_wake(&commit->task);
	} else {
		commit->running = false;
	}
	pthread_mutex_unlock(&disk->lock);
	task_list_wake(&waiters);
}

/* --- the walk through the phases --- */

static void begin_phase(struct commit *commit, enum commit_phase phase)
{
	commit->phase = phase;
	commit->began = false;
	commit->next_allocation = commit->allocations;
	commit->next_bitmap = commit->bitmaps;
}

static bool submit_next(struct disk *disk, struct disk_io *io)
{
	io->fd = disk->top->fd;
	io->mode = 0;
	io->iov = io->own_iov;
	io->owner = disk;
	io->done = operation_done;
	if (!next_of[disk->commit.phase](disk, io)) {
		queue_give_io(io);
		return false;
	}
	disk->commit.in_flight++;
	queue_submit_io(io);
	return true;
}

static void commit_continue(struct disk *disk)
{
	struct commit *commit = &disk->commit;

	for (;;) {
		struct disk_io *io;

		if (commit->error || commit->phase == COMMIT_PHASES)
			break;
		if (commit->waiting)
			return;
		io = queue_take_io(commit->task.queue);
		if (!io) {
			commit->waiting = true;
			queue_wait_io(commit->task.queue, &commit->task);
			return;
		}
		if (submit_next(disk, io))
			continue;
		if (commit->in_flight)
			return;
		begin_phase(commit, commit->phase + 1);
	}
	if (!commit->in_flight && !commit->waiting)
		finish(disk);
}

static void resume(struct task *task)
{
	struct commit *commit = container_of(task, struct commit, task);
	struct disk *disk = container_of(commit, struct disk, commit);

	if (commit->waiting) {
		commit->waiting = false;
	} else {
		pthread_mutex_lock(&disk->lock);
		commit->error = take_pending(disk);
		pthread_mutex_unlock(&disk->lock);
		begin_phase(commit, COMMIT_INITIALISE);
	}
	commit_continue(disk);
}

void commit_join(struct disk *disk, struct task *task, bool whole)
{
	struct commit *commit = &disk->commit;

	if (commit->running) {
		task_list_add(whole ? &commit->next_waiters : &commit->waiters, task);
		return;
	}
	commit->running = true;
	task_list_add(&commit->waiters, task);
	commit->task.queue = task->queue;
	task_wake(&commit->task);
}

void commit_init(struct disk *disk)
{
	disk->commit.task.resume = resume;
}

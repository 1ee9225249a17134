/*
 * commit.c - metadata from memory to the image, when somebody wants them durable
 *
 * Metadata that change stay in memory until a flush, a write with FUA, the bitmap cache being full
 * of dirty entries, or closing. Then a commit takes what is pending, new blocks and a copy of each
 * dirty unit of the bitmaps, and writes it, in phases which the format gives (vhd_blocks.c,
 * vhdx_commit.c), so that power may go at any instant. Bits are set when their data were written,
 * so a copy stands for data that the commit's first sync covers. A phase ends when all its
 * operations are done.
 *
 * One commit runs at a time. With nothing pending a flush is a plain sync. A flush that comes while
 * a commit runs waits for the next one, since it may cover data that was written after the copies
 * were taken. When a commit fails, everything it took is pending again. A sync that fails may have
 * lost data that the kernel now believes clean, so the disk takes no writes or flushes from then
 * on.
 *
 * Some formats mark the file as changed before the first write to it (image->begun): they do that
 * in a commit too, which whoever wants to write waits for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "disk_internal.h"
#include "log.h"

bool commit_needed(const struct disk *disk)
{
	return disk->commit.running || disk->pending || disk->bitmaps.dirty || disk->more_pending;
}

static const struct blocks_driver *format_of(const struct disk *disk)
{
	return disk->top->driver->blocks;
}

/* --- taking what is pending; with the lock --- */

static int take_bitmaps(struct disk *disk)
{
	struct commit *commit = &disk->commit;
	struct bitmap *bitmap;
	uint8_t *at;

	commit->bitmaps = NULL;
	commit->bitmap_count = 0;
	commit->copies = NULL;
	if (!disk->bitmaps.dirty)
		return 0;
	at = commit->copies = malloc(disk->bitmaps.dirty_bytes);
	if (!at)
		return -ENOMEM;
	while ((bitmap = disk->bitmaps.dirty)) {
		size_t bytes = bitmap->image->blocks->bitmap_bytes;

		disk->bitmaps.dirty = bitmap->dirty_next;
		bitmap->dirty = false;
		bitmap->committing = true;
		bitmap->copy = memcpy(at, bitmap->bits, bytes);
		at += bytes;
		bitmap->commit_next = commit->bitmaps;
		commit->bitmaps = bitmap;
		commit->bitmap_count++;
	}
	disk->bitmaps.dirty_bytes = 0;
	return 0;
}

static int take_pending(struct disk *disk)
{
	struct commit *commit = &disk->commit;
	int r = disk->failed ? -EIO : take_bitmaps(disk);

	if (r < 0)
		return r;
	commit->allocations = TAKE(disk->pending);
	commit->more = disk->more_pending;
	commit->end = disk->top->blocks->end;
	disk->more_pending = false;
	return format_of(disk)->commit_take ? format_of(disk)->commit_take(disk) : 0;
}

/* --- one operation after the other; what was taken is the commit's own, so without the lock --- */

static void commit_continue(struct disk *disk);

void commit_write(struct disk_io *io, uint64_t offset, const void *bytes, size_t count)
{
	io->kind = IO_WRITE;
	io->offset = offset;
	io->own_iov[0] = (struct iovec){(void *)bytes, count};
	io->iov_count = 1;
	io->bytes = count;
}

bool commit_sync(struct disk *disk, struct disk_io *io)
{
	if (disk->commit.began)
		return false;
	disk->commit.began = true;
	io->kind = IO_SYNC;
	io->bytes = 0;
	return true;
}

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
	/* A short write into a file that has the room: no error says why. */
	if (result >= 0 && io->kind != IO_SYNC && (uint64_t)result != io->bytes)
		result = -EIO;
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
	disk->more_pending |= commit->more;
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
	if (format_of(disk)->commit_over)
		format_of(disk)->commit_over(disk, commit->error);
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

static void begin_phase(struct commit *commit, unsigned int phase)
{
	commit->phase = phase;
	commit->began = false;
	commit->next_allocation = commit->allocations;
	commit->next_bitmap = commit->bitmaps;
}

static unsigned int phase_after(struct disk *disk, unsigned int phase)
{
	const struct blocks_driver *format = format_of(disk);

	return format->commit_next ? format->commit_next(disk, phase) : phase + 1;
}

static bool submit_next(struct disk *disk, struct disk_io *io)
{
	io->fd = disk->top->fd;
	io->mode = 0;
	io->iov = io->own_iov;
	io->owner = disk;
	io->done = operation_done;
	if (!format_of(disk)->phases[disk->commit.phase](disk, io)) {
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

		if (commit->error || commit->phase == format_of(disk)->phase_count)
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
		begin_phase(commit, phase_after(disk, commit->phase));
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
		begin_phase(commit, 0);
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
